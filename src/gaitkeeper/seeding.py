"""Random streams by name: what is drawn for one purpose never shifts what is drawn for another."""

import hashlib
from collections.abc import Callable, Sequence

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

    Args:
        seed: the experiment's seed.
        keys: what identifies each sample, one entry each.
    """

    def __init__(self, seed: int, keys: Sequence[str | int]) -> None:
        self._generators = [stream(seed, "sample", key) for key in keys]
        self._lengths: list[int] | None = None
        self._axis = 0

    def __len__(self) -> int:
        return len(self._generators)

    def select(self, indices: Sequence[int]) -> "SampleStreams":
        """Return the streams of some samples; they go on where they are (shared, not copied)."""
        chosen = SampleStreams(0, ())
        chosen._generators = [self._generators[int(i)] for i in indices]
        chosen._lengths = None if self._lengths is None else [self._lengths[int(i)] for i in indices]
        chosen._axis = self._axis
        return chosen

    def within(self, lengths: Sequence[int], axis: int) -> "SampleStreams":
        """Return the streams, drawing only what is valid of padded samples and zeros for the padding.

        What a sample draws then does not depend on the longest sample of its batch.

        Args:
            lengths: valid entries of each sample.
            axis: of drawn shapes, the samples' own axis left out, along which they are counted; shapes of fewer
                axes are drawn whole.
        """
        bounded = self.select(range(len(self)))
        bounded._lengths, bounded._axis = [int(length) for length in lengths], axis
        return bounded

    def uniform(self, shape: Sequence[int], low: float = 0.0, high: float = 1.0) -> np.ndarray:
        """Draw float64 of shape ``(samples, *shape)`` uniformly from [low, high)."""
        return self._draw(tuple(shape), lambda g, size: g.uniform(low, high, size))

    def normal(self, shape: Sequence[int]) -> np.ndarray:
        """Draw standard normal float64 of shape ``(samples, *shape)``."""
        return self._draw(tuple(shape), lambda g, size: g.standard_normal(size))

    def _draw(
        self, shape: tuple[int, ...], draw: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
    ) -> np.ndarray:
        if self._lengths is None or len(shape) <= self._axis:
            return np.stack([draw(g, shape) for g in self._generators])
        before, after = shape[: self._axis], shape[self._axis + 1 :]
        drawn = np.zeros((len(self), *shape))
        for place, g, length in zip(drawn, self._generators, self._lengths, strict=True):
            place[(*(slice(None) for _ in before), slice(length))] = draw(g, (*before, length, *after))
        return drawn
