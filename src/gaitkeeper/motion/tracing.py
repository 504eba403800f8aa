"""Outlines of pictures: traced between the pixels, and filled again.

A pixel covers the unit square from its column and row on, so its center is half a pixel further. Floating point is
strict and the code runs on one thread: the same picture gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numba
import numpy as np

LEVEL = 127.5
"""The grey value between person and background."""

SUBROWS = 8
"""Lines along which a row of pixels is filled; along a line, coverage is exact."""

Rule = Literal["nonzero", "evenodd"]


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function, keeping the result on disk where a place for it can be written."""
    try:
        return numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # neither beside the source nor in the user's cache
        return numba.njit(nogil=True)(function)


@compiled
def _area(points: np.ndarray) -> float:
    double = 0.0
    x0, y0 = points[-1]
    for i in range(points.shape[0]):
        x1, y1 = points[i]
        double += x0 * y1 - y0 * x1
        x0 = x1
        y0 = y1
    return double / 2


def signed_area(points: np.ndarray) -> float:
    """Return the area enclosed by ``(k, 2)`` points, negative where they run counterclockwise as one sees them."""
    return float(_area(np.ascontiguousarray(points, np.float64))) if len(points) else 0.0


@dataclass(frozen=True, kw_only=True)
class Contour:
    """A closed outline.

    Args:
        points: ``(k, 2)`` float64, x and y in pixels, the last joined to the first. Outer outlines are clockwise as
            one sees the picture, those of holes counterclockwise: the person is always on the right hand.
        hole: whether it is the outline of a hole.
    """

    points: np.ndarray
    hole: bool

    @property
    def area(self) -> float:
        """The enclosed area in square pixels."""
        return abs(signed_area(self.points))


@compiled
def _link(picture: np.ndarray, after: np.ndarray) -> int:
    """Find where the level crosses the lines between neighboring pixels, and which crossing follows which.

    Args:
        picture: ``(h, w)`` uint8 with an empty border.
        after: ``(2 h w,)`` int64 of -1, filled with the next crossing. A crossing's number is twice that of its upper
            or left pixel, one more where the other pixel is below.

    Returns:
        The number of crossings.
    """
    rows, columns = picture.shape
    count = 0
    inside = np.empty(4, np.bool_)
    edges = np.empty(4, np.int64)
    for r in range(rows - 1):
        for c in range(columns - 1):
            # The corners of a square of four pixel centers, clockwise from the upper left one.
            inside[0] = picture[r, c] > LEVEL
            inside[1] = picture[r, c + 1] > LEVEL
            inside[2] = picture[r + 1, c + 1] > LEVEL
            inside[3] = picture[r + 1, c] > LEVEL
            within = int(inside[0]) + int(inside[1]) + int(inside[2]) + int(inside[3])
            if within == 0 or within == 4:
                continue
            at = 2 * (r * columns + c)
            edges[0] = at
            edges[1] = at + 3
            edges[2] = at + 2 * columns
            edges[3] = at + 1
            # Two opposite corners inside: they hang together where the square's middle is inside.
            step = -1
            if within == 2 and inside[0] == inside[2]:
                middle = 0.0
                for i in range(2):
                    for k in range(2):
                        middle += picture[r + i, c + k]
                if middle >= 4 * LEVEL:
                    step = 1
            for side in range(4):
                if inside[side] and not inside[(side + 1) % 4]:
                    end = (side + step) % 4
                    while inside[end] or not inside[(end + 1) % 4]:
                        end = (end + step) % 4
                    after[edges[side]] = edges[end]
                    count += 1
    return count


@compiled
def _follow(picture: np.ndarray, after: np.ndarray, points: np.ndarray, ends: np.ndarray) -> int:
    """Follow the crossings around; ``points`` ``(n, 2)`` and ``ends``, after each outline's last point, are filled.

    Returns:
        The number of outlines.
    """
    columns = picture.shape[1]
    found = 0
    outlines = 0
    for first in range(after.shape[0]):
        if after[first] < 0:
            continue
        at = first
        while after[at] >= 0:
            pixel = at // 2
            r = pixel // columns
            c = pixel % columns
            value = float(picture[r, c])
            # In the picture without its border, pixel centers lie half a pixel before the index with it.
            if at % 2:
                points[found, 0] = c - 0.5
                points[found, 1] = r - 0.5 + (LEVEL - value) / (picture[r + 1, c] - value)
            else:
                points[found, 0] = c - 0.5 + (LEVEL - value) / (picture[r, c + 1] - value)
                points[found, 1] = r - 0.5
            found += 1
            following = after[at]
            after[at] = -1
            at = following
        ends[outlines] = found
        outlines += 1
    return outlines


def trace(silhouette: np.ndarray) -> list[Contour]:
    """Trace the outlines of a silhouette where interpolated grey values cross the middle of their range.

    Args:
        silhouette: ``(h, w)`` uint8, 255 the person. Outside the picture there is nobody.

    Returns:
        The outlines of all parts and holes, by their topmost rows.

    Raises:
        ValueError: not ``(h, w)`` uint8.
    """
    if silhouette.ndim != 2 or silhouette.dtype != np.uint8:
        raise ValueError(f"expected a silhouette (h, w) uint8, got {silhouette.shape} {silhouette.dtype}")
    picture = np.zeros((silhouette.shape[0] + 2, silhouette.shape[1] + 2), np.uint8)
    picture[1:-1, 1:-1] = silhouette
    after = np.full(2 * picture.size, -1, np.int64)
    count = _link(picture, after)
    points, ends = np.empty((count, 2)), np.empty(count // 4 + 1, np.int64)
    ends = ends[: _follow(picture, after, points, ends)]
    pieces = np.split(points, ends[:-1]) if count else []
    return [Contour(points=piece, hole=signed_area(piece) < 0) for piece in pieces]


@compiled
def _line(y: float, rows: int, margin: float) -> int:
    """Return the first line at or below a height: ``SUBROWS`` lines a row of pixels, none in its outer margins."""
    if y <= 0:
        return 0
    if y >= rows:
        return rows * SUBROWS
    row = int(y)
    line = int(np.ceil((y - row - margin) / (1 - 2 * margin) * SUBROWS - 0.5))
    return row * SUBROWS + min(max(line, 0), SUBROWS)


@compiled
def _cover(points: np.ndarray, rows: int, columns: int, nonzero: bool, margin: float) -> np.ndarray:
    """Return how much of each pixel, its margins left out, a closed outline covers: ``(rows, columns)`` in [0, 1]."""
    lines = rows * SUBROWS
    inner = 1 - 2 * margin
    n = points.shape[0]
    counts = np.zeros(lines + 1, np.int64)
    for i in range(n):
        y0 = points[i, 1]
        y1 = points[(i + 1) % n, 1]
        for line in range(_line(min(y0, y1), rows, margin), _line(max(y0, y1), rows, margin)):
            counts[line + 1] += 1
    starts = np.cumsum(counts)
    places = np.empty(starts[lines])
    turns = np.empty(starts[lines], np.int64)
    filled = starts.copy()
    for i in range(n):
        x0, y0 = points[i]
        x1, y1 = points[(i + 1) % n]
        for line in range(_line(min(y0, y1), rows, margin), _line(max(y0, y1), rows, margin)):
            y = line // SUBROWS + margin + (line % SUBROWS + 0.5) * inner / SUBROWS
            x = x0 + (y - y0) / (y1 - y0) * (x1 - x0)
            x = min(max(x, 0.0), float(columns))
            # Sorted as they come: a line meets an outline only a few times.
            k = filled[line]
            while k > starts[line] and places[k - 1] > x:
                places[k] = places[k - 1]
                turns[k] = turns[k - 1]
                k -= 1
            places[k] = x
            turns[k] = 1 if y1 > y0 else -1
            filled[line] += 1
    cover = np.zeros((rows, columns))
    for line in range(lines):
        row = cover[line // SUBROWS]
        winding = 0
        for k in range(starts[line], starts[line + 1] - 1):
            winding += turns[k]
            if (winding == 0) if nonzero else (winding % 2 == 0):
                continue
            left = places[k]
            right = places[k + 1]
            for c in range(int(left), min(int(right), columns - 1) + 1):
                row[c] += max(min(right, c + 1 - margin) - max(left, c + margin), 0.0)
    return cover / (SUBROWS * inner)


def coverage(points: np.ndarray, shape: tuple[int, int], *, rule: Rule = "nonzero", window: float = 1.0) -> np.ndarray:
    """Measure how much of each pixel a closed outline covers.

    Args:
        points: ``(p, 2)`` x and y in pixels; may cross themselves and leave the frame, what is outside is cut off.
        shape: rows and columns.
        rule: what is inside where the outline crosses itself: "nonzero", wherever it winds around at all, or
            "evenodd", only where it winds around an odd number of times.
        window: side of the square around a pixel's center that counts, in pixels, above 0 and at most 1. Smaller ones
            give harder edges, and keep what is thinner than a pixel but holds its center.

    Returns:
        ``(h, w)`` float64 in [0, 1].

    Raises:
        ValueError: not ``(p, 2)``, not finite, or a window out of range.
    """
    points = np.ascontiguousarray(points, np.float64)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"expected points (p, 2), got {points.shape}")
    if not np.isfinite(points).all():
        raise ValueError("expected finite points, got infinite ones or NaN")
    if not 0 < window <= 1:
        raise ValueError(f"expected a window above 0 and at most 1, got {window}")
    if not len(points):
        return np.zeros(shape)
    return np.asarray(_cover(points, shape[0], shape[1], rule == "nonzero", (1 - window) / 2))


def fill(points: np.ndarray, shape: tuple[int, int], *, rule: Rule = "nonzero") -> np.ndarray:
    """Fill a closed outline, each pixel as grey as it is covered.

    Args:
        points: ``(p, 2)`` x and y in pixels, see :func:`coverage`.
        shape: rows and columns.
        rule: see :func:`coverage`.

    Returns:
        ``(h, w)`` uint8.

    Raises:
        ValueError: not ``(p, 2)``, or not finite.
    """
    return np.rint(255 * coverage(points, shape, rule=rule)).astype(np.uint8)
