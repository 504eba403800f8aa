"""What an anonymizer is given of a person, and what it gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from gaitkeeper.synthetic.substitute import Palette

MARGIN = 0.125
"""Room around the body on every side that :func:`with_margin` adds, in body heights."""


@dataclass(frozen=True, kw_only=True)
class Walk:
    """The silhouettes of one person over time.

    Args:
        silhouettes: ``(t, h, w)`` uint8, 255 the person, edges may be grey. The body has about the same height and
            place in every frame, with some room around it.
        fps: frames a second.
        palette: colors of the person's hair, skin and clothes where they are known and may be used.
    """

    silhouettes: np.ndarray
    fps: float
    palette: Palette | None = None

    def __post_init__(self) -> None:
        given = self.silhouettes
        if given.dtype != np.uint8 or given.ndim != 3 or 0 in given.shape:
            raise ValueError(f"expected silhouettes (t, h, w) uint8, got {given.shape} {given.dtype}")
        if not (np.isfinite(self.fps) and self.fps > 0):
            raise ValueError(f"expected frames a second above 0, got {self.fps}")


@dataclass(frozen=True, kw_only=True)
class Anonymized:
    """What is shown in the person's place.

    Args:
        silhouettes: ``(t, h, w)`` uint8 in the same frame as the walk's.
        colors: ``(t, h, w, 3)`` uint8 RGB where the method paints its own person; None where the original's colors
            are to be used.
        drawn: what was estimated and drawn, by name, for the report. It must not tell the person apart.
    """

    silhouettes: np.ndarray
    colors: np.ndarray | None = None
    drawn: Mapping[str, float | str] = field(default_factory=dict)


class Anonymizer(Protocol):
    """A method. Frozen dataclasses whose fields are its settings; they keep nothing between calls."""

    def __call__(self, walk: Walk, rng: np.random.Generator) -> Anonymized:
        """Anonymize a walk. All that is random is drawn from ``rng``, a fresh one each clip."""
        ...


@dataclass(frozen=True)
class Bodies:
    """Where the body is in each frame, each ``(t,)`` float: first row, row after the last, column that halves the mass.

    Frames without a person have NaN.
    """

    top: np.ndarray
    bottom: np.ndarray
    middle: np.ndarray

    @property
    def height(self) -> float:
        """The median height in pixels, NaN where there is no person in any frame."""
        height = self.bottom - self.top
        return float(np.nanmedian(height)) if np.isfinite(height).any() else float("nan")


def bodies(silhouettes: np.ndarray) -> Bodies:
    """Find the body in each frame of ``(t, h, w)`` uint8 silhouettes."""
    top, bottom, middle = (np.full(len(silhouettes), np.nan) for _ in range(3))
    for t, frame in enumerate(silhouettes):
        rows = np.flatnonzero((frame >= 128).any(axis=1))
        if len(rows):
            top[t], bottom[t] = rows[0], rows[-1] + 1
            mass = frame.sum(axis=0, dtype=np.int64).cumsum()
            middle[t] = np.searchsorted(mass, mass[-1] / 2, side="right")
    return Bodies(top, bottom, middle)


def with_margin(silhouettes: np.ndarray, *, margin: float = MARGIN) -> np.ndarray:
    """Put aligned silhouettes ``(t, h, w)``, whose body fills all rows, into a larger frame.

    Returns:
        ``(t, h + 2 m, w + 2 m)`` uint8 with m rows and columns, ``margin`` body heights, of nothing on every side.
    """
    rows = round(margin * silhouettes.shape[1])
    return np.pad(silhouettes, ((0, 0), (rows, rows), (rows, rows)))
