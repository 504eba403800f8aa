"""What every set of action clips offers, and how its clips become batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from gaitkeeper.errors import DataError
from gaitkeeper.motion.skeletons import Layout

if TYPE_CHECKING:
    from torch import Tensor

    from gaitkeeper.motion.motion import Motion

CAPTURE_FRAMES = 60
"""Frames of a clip that is made of a take of motion capture, as in the attacks' papers."""

CAPTURE_FPS = 60.0
"""Recordings of more frames a second than this are motion capture."""


class ClipSample(Protocol):
    """One recorded action: a name that is unique in its set, the class's number, who acts."""

    @property
    def key(self) -> str:
        """The sample's name."""
        ...

    @property
    def label(self) -> int:
        """The class's number."""
        ...

    @property
    def subject(self) -> str:
        """Who acts; "unknown" where the data do not tell."""
        ...


class Clips(Protocol):
    """A set of action clips of one layout. ``biometric`` tells whether real people are in it."""

    name: str
    biometric: bool
    layout: Layout
    fps: float
    classes: tuple[str, ...]

    @property
    def samples(self) -> Sequence[ClipSample]:
        """The clips, in a fixed order."""
        ...

    def load(self, indices: Sequence[int]) -> list[np.ndarray | DataError]:
        """Return, for each clip asked for, joints ``(m, t, v, 3)`` float32 in metres or what is wrong with it."""
        ...


class Selected:
    """The clips of some subjects of a set.

    Args:
        data: the set.
        subjects: whose clips are kept.

    Raises:
        DataError: a subject is not in the set.
    """

    def __init__(self, data: Clips, subjects: Sequence[str]) -> None:
        known = sorted({sample.subject for sample in data.samples})
        unknown = [name for name in subjects if name not in known]
        if unknown:
            there = ", ".join(known[:8]) + (", ..." if len(known) > 8 else "")
            raise DataError(f"{data.name}: unknown subject {', '.join(unknown)}; there are {there}")
        self._data = data
        self._index = [i for i, sample in enumerate(data.samples) if sample.subject in subjects]
        self.name, self.biometric, self.layout = data.name, data.biometric, data.layout
        self.fps, self.classes = data.fps, data.classes
        self.samples: Sequence[ClipSample] = [data.samples[i] for i in self._index]

    def load(self, indices: Sequence[int]) -> list[np.ndarray | DataError]:
        """Return what the set itself gives for the clips asked for."""
        return self._data.load([self._index[i] for i in indices])


def clip_frames(data: Clips, frames: int | None = None) -> int | None:
    """Return how many frames clips of a set get: those asked for, 60 of motion capture, else those recorded."""
    if frames is None and data.fps > CAPTURE_FPS:
        return CAPTURE_FRAMES
    return frames


def to_skeletons(
    arrays: Sequence[np.ndarray],
    layout: Layout,
    *,
    fps: float | Sequence[float],
    frames: int | None = None,
    persons: int | None = None,
) -> Motion:
    """Make a batch of clips, zero-padded to the longest.

    Args:
        arrays: each ``(m, t, v, 3)`` in metres; a person whose numbers are all 0 in a frame is absent there.
        layout: of all.
        fps: frames a second, as recorded; one for all, or each clip's.
        frames: resample each clip to so many frames, whatever it lasts; None keeps those recorded.
        persons: persons that a clip has room for; None for as many as there are.

    Returns:
        Data ``(n, 3, t, v, m)``, with the frames a second of each clip in ``extras["fps"]``.

    Raises:
        DataError: a clip shows more persons than there is room for.
    """
    import torch

    from gaitkeeper.motion.motion import Motion

    most = max(len(array) for array in arrays)
    if persons is not None and most > persons:
        raise DataError(f"expected clips of at most {persons} persons, got one of {most}")
    clips = [torch.from_numpy(np.ascontiguousarray(array, np.float32)) for array in arrays]
    rates = [float(rate) for rate in (fps if isinstance(fps, Sequence) else [fps] * len(clips))]
    if frames is not None:
        # A single frame lasts as long as any.
        rates = [rate * (frames - 1) / max(1, clip.shape[1] - 1) for rate, clip in zip(rates, clips, strict=True)]
        clips = [_resampled(clip, frames, layout) for clip in clips]
    lengths = [clip.shape[1] for clip in clips]
    longest = max(lengths)
    data = torch.zeros(len(clips), persons or most, longest, len(layout), 3)
    for row, clip in zip(data, clips, strict=True):
        row[: len(clip), : clip.shape[1]] = clip
    return Motion(
        data=data.permute(0, 4, 2, 3, 1).contiguous(),
        lengths=None if min(lengths) == longest else torch.tensor(lengths),
        extras={"fps": torch.tensor(rates)},
    )


def _resampled(clip: Tensor, frames: int, layout: Layout) -> Tensor:
    """Resample persons; one who is absent in a frame is neither moved there nor mixed with nobody."""
    import torch

    from gaitkeeper.motion.kinematics import resample

    made = resample(clip, frames, layout)
    present = clip.ne(0).any(3).any(2)
    if present.all():
        return made
    times = torch.linspace(0, clip.shape[1] - 1, frames)
    both = present[:, times.floor().long()] & present[:, times.ceil().long()]
    return torch.where(both[:, :, None, None], made, clip[:, times.round().long()])
