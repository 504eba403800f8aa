"""``python -m benchmarks``: run all of them."""

from benchmarks import attacks, rendering

for benchmark in (rendering, attacks):
    print(f"\n== {benchmark.__name__.removeprefix('benchmarks.')}")
    benchmark.main()
