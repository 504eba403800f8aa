"""People in a single picture, by detectors that need no download. They miss people, so they add and never gate."""

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

_WINDOW = (128, 64)
"""Rows and columns of the smallest body that the histograms describe."""

_SIZES = (480, 400, 330)
"""Rows of the sizes to which the picture is shrunk; at some a detector misses what it finds at others."""

_CASCADES = ("frontalface_default", "profileface", "upperbody", "fullbody")


@cache
def _detectors() -> tuple[Any, list[Any]]:
    import cv2

    hog = cv2.HOGDescriptor()
    hog.setSVMDetector(np.asarray(cv2.HOGDescriptor.getDefaultPeopleDetector()))
    folder = Path(cv2.__file__).parent / "data"
    cascades = [cv2.CascadeClassifier(str(folder / f"haarcascade_{name}.xml")) for name in _CASCADES]
    return hog, cascades


def find_bodies(picture: np.ndarray, *, margin: float = 0.15) -> np.ndarray:
    """Mark where a picture may show somebody who stands still.

    Histograms of oriented gradients find whole bodies, cascades of simple features faces and upper bodies.

    Args:
        picture: ``(rows, columns, 3)`` uint8 RGB.
        margin: by how much found boxes are widened, in shares of their size.

    Returns:
        ``(rows, columns)`` bool.

    Reference:
        Dalal and Triggs, "Histograms of oriented gradients for human detection", CVPR 2005; Viola and Jones, "Rapid
        object detection using a boosted cascade of simple features", CVPR 2001.
    """
    rows, columns = picture.shape[:2]
    marked = np.zeros((rows, columns), bool)
    hog, cascades = _detectors()
    found: list[np.ndarray] = []
    for size in _SIZES:
        found += _boxes(lambda grey: hog.detectMultiScale(grey, winStride=(8, 8), scale=1.05)[0], picture, size)
    for cascade in cascades:
        found += _boxes(partial(cascade.detectMultiScale, scaleFactor=1.1, minNeighbors=4), picture, _SIZES[0])
    for left, top, width, height in found:
        x0, x1 = left - margin * width, left + (1 + margin) * width
        y0, y1 = top - margin * height, top + (1 + margin) * height
        marked[max(0, int(y0)) : int(y1) + 1, max(0, int(x0)) : int(x1) + 1] = True
    return marked


def _boxes(detect: Callable[[np.ndarray], Any], picture: np.ndarray, rows: int) -> list[np.ndarray]:
    """Return what a detector finds in a grey picture shrunk to some rows: left, top, width and height as it was."""
    import cv2

    scale = min(1.0, rows / len(picture))
    seen = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    if seen.shape[0] < _WINDOW[0] or seen.shape[1] < _WINDOW[1]:
        return []
    return [np.asarray(box) / scale for box in detect(cv2.cvtColor(seen, cv2.COLOR_RGB2GRAY))]
