"""What people do today to hide somebody: nothing but a black shape, blur, large pixels, a fatter outline.

All are fixed: the same person is changed in the same way each time. A recognizer that has not seen it is lost, one that
is trained on it gets back nearly all (:mod:`gaitkeeper.audit` measures both).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gaitkeeper.anonymize.walk import Anonymized, Walk, bodies
from gaitkeeper.motion.contours import Correspondence, contour_sequence, refill


@dataclass(frozen=True, kw_only=True)
class Unchanged:
    """The silhouettes as they are, in black: the shape that people cover others with."""

    def __call__(self, walk: Walk, rng: np.random.Generator) -> Anonymized:
        """Return the walk."""
        black = np.zeros((*walk.silhouettes.shape, 3), np.uint8)
        return Anonymized(silhouettes=walk.silhouettes.copy(), colors=black)


@dataclass(frozen=True, kw_only=True)
class ContourRoundTrip:
    """Contours and back, nothing else: what methods that move contours change without meaning to.

    Args:
        points: points of an outline.
        correspondence: as in :func:`~gaitkeeper.motion.contours.contour_sequence`.
    """

    points: int = 256
    correspondence: Correspondence = "landmarks"

    def __post_init__(self) -> None:
        if self.points < 8:
            raise ValueError(f"expected at least 8 points, got {self.points}")

    def __call__(self, walk: Walk, rng: np.random.Generator) -> Anonymized:
        """Trace and refill every frame."""
        traced = contour_sequence(walk.silhouettes, self.points, correspondence=self.correspondence)
        return Anonymized(silhouettes=refill(traced))


@dataclass(frozen=True, kw_only=True)
class Blur:
    """A Gaussian blur of the silhouette. The result is grey, as blurred video is.

    Args:
        sigma: standard deviation in body heights.
    """

    sigma: float = 3 / 64

    def __post_init__(self) -> None:
        _check("sigma", self.sigma)

    def __call__(self, walk: Walk, rng: np.random.Generator) -> Anonymized:
        """Blur every frame; beyond its edges there is nobody."""
        import cv2

        sigma = self.sigma * _height(walk)
        if not sigma > 0:
            return Anonymized(silhouettes=walk.silhouettes.copy())
        blurred = [
            cv2.GaussianBlur(frame, (0, 0), sigmaX=sigma, borderType=cv2.BORDER_CONSTANT) for frame in walk.silhouettes
        ]
        return Anonymized(silhouettes=np.stack(blurred))


@dataclass(frozen=True, kw_only=True)
class Pixelate:
    """Large square pixels, each as grey as the silhouette is within it on average.

    Args:
        cell: their side in body heights, rounded to whole pixels and at least two unless it is 0. They are counted
            from the frame's upper left corner.
    """

    cell: float = 8 / 64

    def __post_init__(self) -> None:
        _check("cell", self.cell)

    def __call__(self, walk: Walk, rng: np.random.Generator) -> Anonymized:
        """Average cells of every frame; beyond its edges there is nobody."""
        height = _height(walk)
        if not self.cell * height > 0:
            return Anonymized(silhouettes=walk.silhouettes.copy())
        side = max(2, round(self.cell * height))
        t, h, w = walk.silhouettes.shape
        rows, columns = -(-h // side), -(-w // side)
        padded = np.pad(walk.silhouettes, ((0, 0), (0, rows * side - h), (0, columns * side - w)))
        mean = padded.reshape(t, rows, side, columns, side).mean(axis=(2, 4))
        large = np.rint(mean).astype(np.uint8).repeat(side, axis=1).repeat(side, axis=2)
        return Anonymized(silhouettes=np.ascontiguousarray(large[:, :h, :w]))


@dataclass(frozen=True, kw_only=True)
class Dilate:
    """A fatter outline.

    Args:
        radius: by how much, in body heights, rounded to whole pixels and at least one unless it is 0.
    """

    radius: float = 3 / 64

    def __post_init__(self) -> None:
        _check("radius", self.radius)

    def __call__(self, walk: Walk, rng: np.random.Generator) -> Anonymized:
        """Give each pixel the largest value within a disk."""
        import cv2

        height = _height(walk)
        if not self.radius * height > 0:
            return Anonymized(silhouettes=walk.silhouettes.copy())
        radius = max(1, round(self.radius * height))
        reach = np.arange(-radius, radius + 1)
        disk = (reach[:, None] ** 2 + reach**2 <= radius**2).astype(np.uint8)
        return Anonymized(silhouettes=np.stack([cv2.dilate(frame, disk) for frame in walk.silhouettes]))


def _check(name: str, value: float) -> None:
    if not (np.isfinite(value) and value >= 0):
        raise ValueError(f"expected a {name} of at least 0 body heights, got {value}")


def _height(walk: Walk) -> float:
    return bodies(walk.silhouettes).height
