"""Silhouettes as contours: one outline a frame with a fixed number of points, and silhouettes again from it.

A person's outline is a vector that networks can learn from only if a point means the same place in every frame. So
parts are joined, small holes closed, large ones kept aside, and the points are shared out between landmarks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from gaitkeeper.motion.tracing import Contour, Rule, compiled, coverage, fill, signed_area, trace

__all__ = [
    "HOLE",
    "PART",
    "Contour",
    "ContourSequence",
    "Correspondence",
    "Placement",
    "Rule",
    "contour_sequence",
    "fill",
    "refill",
    "signed_area",
    "trace",
]

PART = 0.002
"""Parts of the person below this share of their area are left out."""

HOLE = 0.002
"""Holes below this share of the person's area are closed."""

_SPLAY = np.deg2rad(60)
"""The feet are where the body reaches farthest in the two directions this far from straight down."""

_FLANK = 0.38
"""Share of the points between the head's top and a foot; the rest lies between the feet."""

_HEIGHTS = (0.2, 0.5)
_SHARES = (0.24, 0.51)
"""Where a flank gets down to these heights, in body heights from the top, these shares of its points are used up: the
means over walkers. More heights would hold the points stiller and leave too few of them to a lifted arm."""

_WINDOW = 0.5
"""Refilled pixels look at this window around their centers: corners that points cut off hardly count."""

Correspondence = Literal["landmarks", "arc"]


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where and how large a person is, in pixels and the same over a clip: what they move is part of the gait.

    Args:
        middle: the column that contours count from, the points' mean.
        top: the row that they count from, the first of the body.
        height: of the body.
    """

    middle: float
    top: float
    height: float

    def normalized(self, points: np.ndarray) -> np.ndarray:
        """Return pixels ``(..., 2)`` as body heights."""
        return (points - (self.middle, self.top)) / self.height

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """Return body heights ``(..., 2)`` as pixels."""
        return points * self.height + (self.middle, self.top)


@dataclass(frozen=True, kw_only=True)
class ContourSequence:
    """The outlines of one person over time.

    Args:
        points: ``(t, p, 2)`` float32, x to the right of the placement's middle and y below its top, in body heights.
            Clockwise from the head's top; zeros in frames without a person.
        present: ``(t,)`` bool, whether there is a person in the frame.
        holes: of each frame the outlines of its large holes, ``(k, 2)`` float32 in the same coordinates.
        placement: what undoes the normalization.
        shape: rows and columns of a frame.
    """

    points: np.ndarray
    present: np.ndarray
    holes: tuple[tuple[np.ndarray, ...], ...]
    placement: Placement
    shape: tuple[int, int]

    def moved(self, points: np.ndarray) -> ContourSequence:
        """Put other points in the place of these. Holes follow the points around them.

        Args:
            points: ``(t, p, 2)``, as many as there are, in body heights.

        Raises:
            ValueError: another shape, or not finite where a person is.
        """
        points = np.asarray(points, np.float32)
        if points.shape != self.points.shape:
            raise ValueError(f"expected points {self.points.shape}, got {points.shape}")
        if not np.isfinite(points[self.present]).all():
            raise ValueError("expected finite points, got infinite ones or NaN")
        holes = []
        for own, other, inner in zip(self.points, points, self.holes, strict=True):
            holes.append(tuple(_carried(hole, own, other - own) for hole in inner))
        return replace(self, points=np.where(self.present[:, None, None], points, np.float32(0)), holes=tuple(holes))


def _carried(hole: np.ndarray, outline: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Move a hole by the shifts of the outline's points, near ones counting most: inverse squared distances."""
    apart = ((hole[:, None] - outline[None]) ** 2).sum(axis=2)
    weight = 1 / (apart + 1e-6)
    return (hole + weight @ shift / weight.sum(axis=1, keepdims=True)).astype(np.float32)


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    """Join outlines by their shortest bridges, there and back, into one; the largest is first."""
    whole, *others = parts
    while others:
        best = None
        for index, other in enumerate(others):
            apart = ((whole[:, None] - other[None]) ** 2).sum(axis=2)
            here, there = np.unravel_index(apart.argmin(), apart.shape)
            if best is None or apart[here, there] < best[0]:
                best = apart[here, there], index, int(here), int(there)
        assert best is not None
        _, index, here, there = best
        other = np.roll(others.pop(index), -there, axis=0)
        whole = np.concatenate([whole[: here + 1], other, other[:1], whole[here:]])
    return whole


def _outline(silhouette: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]] | None:
    """Return the one outline in pixels and those of the large holes, None without a person."""
    contours = trace(silhouette)
    parts = sorted((c for c in contours if not c.hole), key=lambda c: -c.area)
    if not parts:
        return None
    whole = sum(c.area for c in parts)
    kept = [c.points for c in parts if c.area >= PART * whole]
    holes = [c.points for c in contours if c.hole and c.area >= HOLE * whole]
    return _joined(kept or [parts[0].points]), holes


def _landmarks(outline: np.ndarray, points: int) -> tuple[np.ndarray, np.ndarray]:
    """Return which points, fractions, lie at which of the outline's: from the head's top to the feet and back."""
    ends = np.array([0.0, points]), np.array([0, len(outline)])
    right = int((outline @ (np.sin(_SPLAY), np.cos(_SPLAY))).argmax())
    left = int((outline @ (-np.sin(_SPLAY), np.cos(_SPLAY))).argmax())
    if not 0 < right <= left:
        return ends
    crotch = right + int(outline[right : left + 1, 1].argmin())
    depth = outline[:, 1] - outline[0, 1]
    heights = np.array(_HEIGHTS) * depth.max()
    # The deepest so far, down the right flank and, backward, down the left one.
    down = np.maximum.accumulate(depth[: right + 1])
    up = np.maximum.accumulate(depth[left:][::-1])
    shares = np.array(_SHARES)
    reached = heights < min(down[-1], up[-1])
    one = np.searchsorted(down, heights[reached])
    other = len(outline) - 1 - np.searchsorted(up, heights[reached])
    share = np.concatenate(
        [[0], _FLANK * shares[reached], [_FLANK, 0.5, 1 - _FLANK], 1 - _FLANK * shares[reached][::-1], [1]]
    )
    return share * points, np.concatenate([[0], one, [right, crotch, left], other[::-1], [len(outline)]])


@compiled
def _sharpest(outline: np.ndarray, places: np.ndarray, points: np.ndarray) -> None:
    """Move points to the sharpest of the outline's own points that are nearer to them than to others.

    Args:
        outline: ``(k, 2)``.
        places: where the points are, as fractional numbers of the outline's points, ascending from 0.
        points: ``(p, 2)``, changed in place where there is one near; the first stays.
    """
    k = outline.shape[0]
    p = places.shape[0]
    for i in range(1, p):
        following = places[i + 1] if i + 1 < p else float(k)
        best = -1.0
        for j in range(int(np.ceil((places[i - 1] + places[i]) / 2)), int(np.ceil((places[i] + following) / 2))):
            x0, y0 = outline[(j - 2) % k]
            x1, y1 = outline[j % k]
            x2, y2 = outline[(j + 2) % k]
            bend = abs((x2 - x0) * (y1 - y0) - (y2 - y0) * (x1 - x0))
            if bend > best:
                best = bend
                points[i, 0] = x1
                points[i, 1] = y1


def _resampled(outline: np.ndarray, points: int, correspondence: Correspondence) -> np.ndarray:
    """Return ``(points, 2)``, evenly spaced along the whole outline or between its landmarks, but for corners."""
    first = int(np.lexsort(outline.T)[0])
    closed = np.concatenate([outline[first:], outline[: first + 1]])
    outline = closed[:-1]
    length = np.concatenate([[0.0], np.hypot(*np.diff(closed, axis=0).T).cumsum()])
    share, index = np.array([0.0, points]), np.array([0, len(outline)])
    if correspondence == "landmarks":
        share, index = _landmarks(outline, points)
    along = np.interp(np.arange(points), share, length[index])
    places = np.interp(along, length, np.arange(len(closed)))
    found = np.stack([np.interp(along, length, closed[:, axis]) for axis in (0, 1)], axis=1)
    _sharpest(outline, places, found)
    return found


def contour_sequence(
    silhouettes: np.ndarray, points: int = 256, *, correspondence: Correspondence = "landmarks"
) -> ContourSequence:
    """Trace a person's outline in every frame.

    Holes below ``HOLE`` of the person's area are closed, larger ones kept aside. Parts below ``PART`` of it are left
    out, others joined by their shortest bridges, which have no width.

    Args:
        silhouettes: ``(t, h, w)`` uint8, 255 the person.
        points: points of each outline.
        correspondence: "landmarks" shares them out between the head's top, the feet and the crotch, so that a point
            means about the same place in every frame; "arc" spaces them evenly along the outline. Both begin at the
            topmost point, of several the leftmost, and give way to sharp corners near a point.

    Raises:
        ValueError: not ``(t, h, w)`` uint8, fewer than 8 points, or an unknown correspondence.
    """
    if silhouettes.ndim != 3 or silhouettes.dtype != np.uint8:
        raise ValueError(f"expected silhouettes (t, h, w) uint8, got {silhouettes.shape} {silhouettes.dtype}")
    if points < 8:
        raise ValueError(f"expected at least 8 points, got {points}")
    if correspondence not in ("landmarks", "arc"):
        raise ValueError(f'expected the correspondence "landmarks" or "arc", got "{correspondence}"')
    found = [_outline(silhouette) for silhouette in silhouettes]
    present = np.array([one is not None for one in found], bool)
    outlines = np.zeros((len(found), points, 2))
    for t, one in enumerate(found):
        if one is not None:
            outlines[t] = _resampled(one[0], points, correspondence)
    placement = _placement(outlines[present])
    normalized = np.where(present[:, None, None], placement.normalized(outlines), 0).astype(np.float32)
    holes = tuple(
        tuple(placement.normalized(hole).astype(np.float32) for hole in one[1]) if one is not None else ()
        for one in found
    )
    shape = int(silhouettes.shape[1]), int(silhouettes.shape[2])
    return ContourSequence(points=normalized, present=present, holes=holes, placement=placement, shape=shape)


def _placement(outlines: np.ndarray) -> Placement:
    """Return the median place and height of outlines ``(t, p, 2)`` in pixels."""
    if not len(outlines):
        return Placement(middle=0.0, top=0.0, height=1.0)
    low, high = outlines.min(axis=1), outlines.max(axis=1)
    height = float(np.median(high[:, 1] - low[:, 1]))
    middle = float(np.median(outlines[..., 0].mean(axis=1)))
    return Placement(middle=middle, top=float(np.median(low[:, 1])), height=max(height, 1.0))


def refill(sequence: ContourSequence) -> np.ndarray:
    """Fill contours again, whatever is within them however they wind, less their holes.

    Returns:
        ``(t, h, w)`` uint8, nothing in frames without a person; what is outside the frame is cut off.
    """
    frames = np.zeros((len(sequence.points), *sequence.shape), np.uint8)
    for t in np.flatnonzero(sequence.present):
        outline, *holes = (
            coverage(sequence.placement.pixels(one.astype(np.float64)), sequence.shape, window=_WINDOW)
            for one in (sequence.points[t], *sequence.holes[t])
        )
        frames[t] = np.rint(255 * np.clip(outline - sum(holes), 0, 1))
    return frames
