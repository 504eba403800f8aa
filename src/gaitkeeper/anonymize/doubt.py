"""Where an estimated background may show somebody. What cannot be trusted to be empty is never passed on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gaitkeeper.perception.detectors import find_bodies

_STATIC = 1.0
"""Seconds for which a place must differ from the background to count as changed for good."""

_WENT = 0.5
"""How far somebody must go, in body heights, to have been seen to come or to leave."""

_RESTLESS = 2.0
"""Noise, as a multiple of the picture's usual, of a place where somebody stands, breathes and sways."""

_TALL = 0.2
"""Least height of such a place, as a share of the picture's."""

_SLENDER = 1.2
"""Least height of such a place over its width: people stand upright, trees in the wind are wide."""

_BODY = 2.2
"""Least height of somebody who was found in the picture over the width of what was found; legs are easily missed."""

_COVERED = 0.25
"""Share of the time in which people seen to come or go explain that a place is restless."""


class Lasting:
    """Where the picture differs from the background from the beginning on, or until the end.

    Args:
        shape: rows and columns of the masks of changes.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self.first, self.run = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
        self.count = 0

    def step(self, mask: np.ndarray) -> None:
        """Take in the next frame's changes, nonzero where there are any."""
        differs = mask > 0
        self.first += differs & (self.first == self.count)
        self.run = (self.run + 1) * differs
        self.count += 1


@dataclass(frozen=True)
class Passage:
    """Where somebody was while they were followed.

    Args:
        frames: ``(t,)`` frame numbers.
        boxes: ``(t, 4)`` boxes ``x0, y0, x1, y1`` in pixels of the video.
    """

    frames: np.ndarray
    boxes: np.ndarray

    @property
    def went(self) -> bool:
        """Whether they were seen to go somewhere, rather than to stand."""
        middle = (self.boxes[:, :2] + self.boxes[:, 2:]) / 2
        height = np.median(self.boxes[:, 3] - self.boxes[:, 1])
        return bool(np.linalg.norm(middle - middle[0], axis=1).max() > _WENT * height)


def doubtful(
    background: np.ndarray, noise: np.ndarray, lasting: Lasting, people: Sequence[Passage], fps: float
) -> np.ndarray:
    """Return where the background may be somebody who stood still for most of the video.

    Three signs: a place differs from the background up to an end of the video and nobody was seen to come or leave; a
    detector finds a body or a face in it; or a place as tall and slender as a person is restless, as people are.

    Args:
        background: ``(rows, columns, 3)``, the estimated empty scene.
        noise: standard deviations of its pixels in grey levels, ``(r, c, 3)`` of any size.
        lasting: after all frames.
        people: those who were followed.
        fps: frames a second.

    Returns:
        ``(rows, columns)`` bool.
    """
    import cv2

    picture = background.round().clip(0, 255).astype(np.uint8)
    rows, columns = picture.shape[:2]
    gone = [person for person in people if person.went]
    for_good = cv2.resize(_for_good(lasting, gone, fps, rows), (columns, rows), interpolation=cv2.INTER_NEAREST) > 0
    strength = noise.max(axis=-1)
    noisy = strength > _RESTLESS * np.median(strength)
    restless = _restless(noisy, gone, lasting.count, noisy.shape[0] / rows)
    wide, standing = (
        cv2.resize(mask.astype(np.uint8), (columns, rows), interpolation=cv2.INTER_NEAREST) > 0
        for mask in (noisy, restless)
    )
    # A body in the picture that is as quiet as the rest of it is a railing, louvres, a poster.
    count, labels = cv2.connectedComponents(find_bodies(picture).astype(np.uint8))
    believed = np.array([False] + [bool(wide[labels == i].mean() > 0.02) for i in range(1, count)])
    return for_good | _down_to_the_feet(believed[labels] | standing)


def _for_good(lasting: Lasting, gone: Sequence[Passage], fps: float, rows: int) -> np.ndarray:
    """Return where the picture differs at one end of the video, and nobody came or went there.

    Somebody who stands still becomes background and, on leaving, a place that differs until the end. Who came to stay
    was seen coming.
    """
    import cv2

    least = max(3, round(_STATIC * fps))
    opening, closing = lasting.first >= least, lasting.run >= least
    scale = len(opening) / rows
    for person in gone:
        for at, frame, region in ((0, 0, opening), (-1, lasting.count - 1, closing)):
            if person.frames[at] == frame:
                x0, y0, x1, y1 = (person.boxes[at] * scale).round().astype(int)
                region[max(0, y0 - 2) : y1 + 2, max(0, x0 - 2) : x1 + 2] = False
    either: np.ndarray = (opening | closing).astype(np.uint8)
    # What has a body's colors and its background's at once is no change: all of an upright shape is in doubt.
    size = max(3, len(either) // 40 | 1)
    upright = _upright(cv2.morphologyEx(either, cv2.MORPH_CLOSE, np.ones((size, size), np.uint8)))
    return np.maximum(cv2.dilate(either, np.ones((5, 5), np.uint8)), upright.astype(np.uint8))


def _restless(noisy: np.ndarray, gone: Sequence[Passage], count: int, scale: float) -> np.ndarray:
    """Return boxes of a person's size and shape in which the picture is restless without anybody coming by."""
    import cv2

    rows = len(noisy)
    covered = np.zeros(noisy.shape, np.int32)
    for person in gone:
        for x0, y0, x1, y1 in (person.boxes * scale).round().astype(int):
            covered[max(0, y0) : y1, max(0, x0) : x1] += 1
    mask: np.ndarray = (noisy & (covered < _COVERED * count)).astype(np.uint8)
    for step, size in ((cv2.MORPH_CLOSE, rows / 40), (cv2.MORPH_OPEN, rows / 90)):
        mask = cv2.morphologyEx(mask, step, np.ones((max(3, int(size) | 1),) * 2, np.uint8))
    return _upright(mask)


def _upright(mask: np.ndarray) -> np.ndarray:
    """Return boxes, with some room, around what has a person's size and shape in a mask."""
    import cv2

    marked = np.zeros(mask.shape, bool)
    for x, y, width, height, _ in cv2.connectedComponentsWithStats(mask)[2][1:]:
        if height > _TALL * len(mask) and height > _SLENDER * width:
            room = height // 10
            marked[max(0, y - room) : y + height + room, max(0, x - room) : x + width + room] = True
    return marked


def _down_to_the_feet(found: np.ndarray) -> np.ndarray:
    """Return what was found of people, each part of it down to where their feet may be."""
    import cv2

    marked = found.copy()
    for x, y, width, height, _ in cv2.connectedComponentsWithStats(found.astype(np.uint8))[2][1:]:
        marked[y : y + max(height, round(_BODY * width)), x : x + width] = True
    return marked
