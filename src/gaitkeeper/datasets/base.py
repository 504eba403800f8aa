"""What every set of silhouette sequences offers, and how its sequences become batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from gaitkeeper.errors import DataError

if TYPE_CHECKING:
    from gaitkeeper.motion.motion import Motion


@dataclass(frozen=True, order=True)
class Sample:
    """One recorded walk: who, under which condition and take, from where.

    Args:
        subject: identity.
        condition: condition and take, ``nm-05``.
        view: camera direction in degrees as the data set counts them. CASIA-B, and what follows it, has 0 seen from
            the front and 90 from the side; CASIA-A has it the other way round.
    """

    subject: str
    condition: str
    view: int

    @property
    def key(self) -> str:
        """The sample's name, in the form of CASIA-B's folders."""
        return f"{self.subject}/{self.condition}/{self.view:03d}"


class Sequences(Protocol):
    """A set of silhouette sequences. ``biometric`` tells whether real people are in it."""

    name: str
    biometric: bool
    samples: Sequence[Sample]

    def load(self, indices: Sequence[int]) -> list[np.ndarray | DataError]:
        """Return, for each sample asked for, its silhouettes ``(t, 64, 44)`` uint8 or what is wrong with it."""
        ...


class _Keyed(Protocol):
    @property
    def key(self) -> str: ...


class _Loading(Protocol):
    @property
    def samples(self) -> Sequence[_Keyed]: ...

    def load(self, indices: Sequence[int]) -> list[np.ndarray | DataError]: ...


def load_usable(
    data: _Loading, indices: Sequence[int], skipped: list[tuple[str, str]]
) -> tuple[list[int], list[np.ndarray]]:
    """Load samples; those that cannot be used are appended to ``skipped`` as (sample, reason)."""
    kept, arrays = [], []
    for index, found in zip(indices, data.load(indices), strict=True):
        if isinstance(found, DataError):
            skipped.append((data.samples[index].key, str(found)))
        else:
            kept.append(index)
            arrays.append(found)
    return kept, arrays


def to_motion(arrays: Sequence[np.ndarray], views: Sequence[int] | None = None, *, fps: float | None = None) -> Motion:
    """Make a batch of sequences, zero-padded to the longest.

    Args:
        arrays: each ``(t, h, w)`` uint8.
        views: camera views in degrees.
    """
    import torch

    from gaitkeeper.motion.motion import Motion

    lengths = [len(array) for array in arrays]
    longest = max(lengths)
    data = np.zeros((len(arrays), longest, *arrays[0].shape[1:]), np.float32)
    for row, array in zip(data, arrays, strict=True):
        np.divide(array, np.float32(255), out=row[: len(array)])
    return Motion(
        data=torch.from_numpy(data),
        lengths=None if min(lengths) == longest else torch.tensor(lengths),
        fps=fps,
        extras={} if views is None else {"view": torch.tensor(views)},
    )


def batches(count: int, size: int) -> Iterator[range]:
    """Yield ranges of at most ``size`` that cover 0 .. count - 1."""
    for start in range(0, count, size):
        yield range(start, min(start + size, count))
