"""``python -m benchmarks``: run all of them."""

from benchmarks import attacks, rendering, sparse

for benchmark in (rendering, attacks, sparse):
    print(f"\n== {benchmark.__name__.removeprefix('benchmarks.')}")
    benchmark.main()
