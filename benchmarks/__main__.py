"""``python -m benchmarks``: run all of them."""

from benchmarks import anonymizing, attacks, rendering, skeletons, sparse

for benchmark in (rendering, attacks, sparse, skeletons, anonymizing):
    print(f"\n== {benchmark.__name__.removeprefix('benchmarks.')}")
    benchmark.main()
