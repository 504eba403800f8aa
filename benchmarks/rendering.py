"""How fast walkers are rendered, and what sharing a walk between cameras saves."""

import time

from gaitkeeper.synthetic.population import VIEWS
from gaitkeeper.synthetic.walkers import Walkers

WALKS = 24
FRAMES = 40


def _seconds(walkers: Walkers, *, shared: bool) -> float:
    """Return processor seconds a sequence of 40 frames, as the best of three rounds."""
    rounds = []
    for _ in range(3):
        start = time.process_time()
        for subject in range(1, WALKS + 1):
            for views in [VIEWS] if shared else [[view] for view in VIEWS]:
                walkers.silhouettes(subject, "nm-01", views, frames=FRAMES)
        rounds.append((time.process_time() - start) / (WALKS * len(VIEWS)))
    return min(rounds)


def main() -> None:
    """Print sequences a second and core, and the ratio of sharing a walk to rendering each view alone."""
    walkers = Walkers()
    start = time.perf_counter()
    walkers.silhouettes(1, "nm-01", [90], frames=2)
    first = time.perf_counter() - start
    shared, alone = _seconds(walkers, shared=True), _seconds(walkers, shared=False)
    print(f"rendering: first call, with compilation or its cache: {first:.2f} s")
    print(f"rendering: {1 / shared:.0f} sequences a second and core ({FRAMES} frames, {len(VIEWS)} views share a walk)")
    print(f"rendering: {1 / alone:.0f} sequences a second and core (each view alone)")
    print(f"rendering: sharing a walk is {alone / shared:.2f} times as fast")


if __name__ == "__main__":
    main()
