"""Colors for an anonymized silhouette: the published rule, with the face covered."""

from __future__ import annotations

import numpy as np

HEAD = 0.16
"""Share of the body's height, from the top, that shows the head."""

_BLUR = 0.06
"""Standard deviation of what covers a face, in body heights; nothing of eyes, nose and mouth is left."""


def nearest_colors(frame: np.ndarray, original: np.ndarray) -> np.ndarray:
    """Return for every pixel the color of the nearest pixel of the original silhouette.

    Inside the silhouette that is the pixel itself, but for its outermost pixels, which are mixed with the background.

    Args:
        frame: ``(rows, columns, 3)`` uint8.
        original: ``(rows, columns)`` bool, the original silhouette; not empty.

    Returns:
        ``(rows, columns, 3)`` uint8.

    Reference:
        Tieu et al., "Spatio-temporal generative adversarial network for gait anonymization", JISA 2019, equation 9.

    Deviations:
        The nearest pixel is sought in the silhouette, whose outermost pixels are left out.
    """
    import cv2

    source = cv2.erode(original.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=0)
    if not source.any():
        source = original.astype(np.uint8)
    _, labels = cv2.distanceTransformWithLabels(1 - source, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    inside = source > 0
    table = np.zeros((int(labels.max()) + 1, 3), np.uint8)
    table[labels[inside]] = frame[inside]
    return table[labels]


def cover_head(colors: np.ndarray, top: float, bottom: float) -> np.ndarray:
    """Return colors whose rows of the head are blurred until no feature of a face is left.

    Where the head is follows from the body's proportions and needs no detector, which might miss it.

    Args:
        colors: ``(rows, columns, 3)`` uint8.
        top: first row of the body, may be outside the picture.
        bottom: row after its last.
    """
    import cv2

    height = bottom - top
    end = int(np.clip(np.ceil(top + HEAD * height), 0, len(colors)))
    covered = colors.copy()
    if end > 0:
        # Only what is shown of the head itself takes part, so that the shirt does not bleed into it.
        covered[:end] = cv2.GaussianBlur(
            colors[:end], (0, 0), max(2.0, _BLUR * height), borderType=cv2.BORDER_REPLICATE
        )
    return covered
