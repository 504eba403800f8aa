"""Random streams by name: what is drawn for one purpose never shifts what is drawn for another."""

import hashlib
from collections.abc import Sequence

import numpy as np


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """Return the generator of one named stream.

    The same seed and names give the same draws in every process; other names give independent ones.

    Args:
        seed: the experiment's seed.
        names: what the draws are for, for instance ``"walk", 17, "nm-01"``.
    """
    digest = hashlib.blake2b(repr((seed, *names)).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little")))


class SampleStreams:
    """One random stream a sample of a batch, so that batching and order do not change a draw.

    Each call draws from a stream of its own: how much one draw takes, which may depend on the longest sample of a
    batch, does not move the next.

    Args:
        seed: the experiment's seed.
        keys: what identifies each sample, one entry each.
    """

    def __init__(self, seed: int, keys: Sequence[str | int]) -> None:
        self._generators = [stream(seed, "sample", key) for key in keys]

    def __len__(self) -> int:
        return len(self._generators)

    def select(self, indices: Sequence[int]) -> "SampleStreams":
        """Return the streams of some samples; they go on where they are (shared, not copied)."""
        chosen = SampleStreams(0, ())
        chosen._generators = [self._generators[int(i)] for i in indices]
        return chosen

    def uniform(self, shape: Sequence[int], low: float = 0.0, high: float = 1.0) -> np.ndarray:
        """Draw float64 of shape ``(samples, *shape)`` uniformly from [low, high)."""
        return np.stack([g.spawn(1)[0].uniform(low, high, tuple(shape)) for g in self._generators])

    def normal(self, shape: Sequence[int]) -> np.ndarray:
        """Draw standard normal float64 of shape ``(samples, *shape)``."""
        return np.stack([g.spawn(1)[0].standard_normal(tuple(shape)) for g in self._generators])
