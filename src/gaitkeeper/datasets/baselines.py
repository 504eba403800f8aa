"""What nearest neighbors recognize: a floor under networks, and a measure of how hard a set of clips is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from gaitkeeper.errors import DataError
from gaitkeeper.motion.skeletons import Layout

FRAMES = 20
"""Frames that are compared of a sequence."""

Part = Literal["frame", "sequence"]
"""What is compared of a clip: its middle frame, or the whole of it."""


def nearest_neighbor(
    train: Sequence[np.ndarray],
    labels: Sequence[int],
    test: Sequence[np.ndarray],
    *,
    layout: Layout,
    part: Part = "sequence",
) -> np.ndarray:
    """Give each clip the class of the training clip that is nearest to it.

    Clips are compared by the Euclidean distance of :func:`features`.

    Args:
        train: clips ``(m, t, v, 3)`` in metres; the first person counts.
        labels: their classes.
        test: clips in the same form.
        layout: of all.
        part: whether the middle frames or the sequences are compared.

    Returns:
        ``(n,)`` int64 predicted classes of the test clips.

    Raises:
        DataError: there is nothing to compare with, labels are not as many as clips, or a clip does not fit the
            layout.
    """
    if not len(train):
        raise DataError("nearest neighbors need at least one training clip, got none")
    if len(labels) != len(train):
        raise DataError(f"expected one label a training clip, got {len(labels)} labels of {len(train)} clips")
    if not len(test):
        return np.empty(0, np.int64)
    known = np.stack([features(clip, layout, part) for clip in train])
    asked = np.stack([features(clip, layout, part) for clip in test])
    squared = (known**2).sum(1) - 2 * asked @ known.T
    return np.asarray(labels, np.int64)[squared.argmin(1)]


def features(clip: np.ndarray, layout: Layout, part: Part = "sequence") -> np.ndarray:
    """Return what is compared of a clip: joints from the root, turned to one direction, in body sizes.

    The root, and the direction between the hips, are taken from the middle frame or from the first of the sequence,
    so that a sequence keeps how the body moves and turns. The size is the sum of all bones.

    Args:
        clip: ``(m, t, v, 3)`` in metres; the first person counts.
        layout: its joints.
        part: whether it is the middle frame or the sequence, resampled to 20 frames.

    Returns:
        ``(v * 3,)`` or ``(20 * v * 3,)`` float64.

    Raises:
        DataError: the clip does not fit the layout, or has no size.
    """
    if clip.ndim != 4 or clip.shape[2:] != (len(layout), 3) or 0 in clip.shape:
        raise DataError(f"expected a clip of shape (m, t, {len(layout)}, 3) of {layout.name}, got {clip.shape}")
    person = clip[0].astype(np.float64)
    starts, ends = (list(column) for column in zip(*layout.bones, strict=True))
    size = float(np.median(np.linalg.norm(person[:, ends] - person[:, starts], axis=2).sum(axis=1)))
    if not size > 0:
        raise DataError("expected a clip that shows a person, got one whose bones have no length")
    person = person[len(person) // 2][None] if part == "frame" else _resampled(person)
    person = person - person[0, layout.root]
    level = [axis for axis in range(3) if axis != layout.up]
    left, right = layout.across[0]
    x, z = (person[0, left] - person[0, right])[level]
    angle = np.arctan2(z, x)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    person[..., level] = person[..., level] @ turn.T
    return (person / size).ravel()


def _resampled(person: np.ndarray) -> np.ndarray:
    """Return ``(20, v, 3)`` joints, interpolated linearly in time."""
    times = np.linspace(0, len(person) - 1, FRAMES)
    before = np.minimum(times.astype(int), max(len(person) - 2, 0))
    after = np.minimum(before + 1, len(person) - 1)
    part = (times - before)[:, None, None]
    return person[before] * (1 - part) + person[after] * part
