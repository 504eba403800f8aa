"""Contour vectors as published: the pixels along the outline, zeros after the last."""

from __future__ import annotations

import numpy as np

LENGTH = 2000
"""Contour pixels of a published vector."""


def published_vectors(silhouettes: np.ndarray, length: int = LENGTH) -> tuple[np.ndarray, np.ndarray]:
    """Write down the pixels along the largest outer contour of each frame, clockwise from the topmost, leftmost one.

    Args:
        silhouettes: ``(t, h, w)`` uint8, person from 128 on.
        length: pixels of a vector. Of a contour that has more, this many are kept, evenly spaced.

    Returns:
        ``(t, 2 length)`` float32: x and y, column and row, of one pixel after the other, zeros from the end of the
        contour on; and how many pixels each contour has, ``(t,)`` int64, 0 without a person.

    Raises:
        ValueError: not ``(t, h, w)`` uint8.

    Reference:
        Tieu et al., "Spatio-temporal generative adversarial network for gait anonymization", JISA 2019, section 3.2.

    Deviations:
        The paper names neither direction, start, nor what becomes of several parts, of holes (here left out) and of
        longer contours.
    """
    import cv2

    if silhouettes.ndim != 3 or silhouettes.dtype != np.uint8:
        raise ValueError(f"expected silhouettes (t, h, w) uint8, got {silhouettes.shape} {silhouettes.dtype}")
    vectors = np.zeros((len(silhouettes), length, 2), np.float32)
    counts = np.zeros(len(silhouettes), np.int64)
    for t, mask in enumerate((silhouettes >= 128).astype(np.uint8)):
        contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        if not contours:
            continue
        # OpenCV runs counterclockwise as one sees the picture.
        outline = max((c[:, 0] for c in contours), key=lambda c: (cv2.contourArea(c), len(c)))[::-1]
        outline = np.roll(outline, -int(np.lexsort(outline.T)[0]), axis=0)
        counts[t] = min(len(outline), length)
        vectors[t, : counts[t]] = outline[np.arange(counts[t]) * len(outline) // counts[t]]
    return vectors.reshape(len(silhouettes), 2 * length), counts


def from_published(vectors: np.ndarray, counts: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Fill contours given as :func:`published_vectors`.

    Args:
        vectors: ``(t, 2 length)`` x and y in pixels.
        counts: ``(t,)``, how many pixels of each are meant.
        shape: rows and columns; what is outside is cut off.

    Returns:
        ``(t, h, w)`` uint8 of 0 and 255. Contour pixels belong to the person.

    Raises:
        ValueError: shapes that do not fit, or values that are not finite.
    """
    import cv2

    pairs = np.asarray(vectors, np.float64)
    if pairs.ndim != 2 or pairs.shape[1] % 2 or np.shape(counts) != pairs.shape[:1]:
        raise ValueError(f"expected vectors (t, 2 length) and counts (t,), got {pairs.shape} and {np.shape(counts)}")
    if not np.isfinite(pairs).all():
        raise ValueError("expected finite vectors, got infinite values or NaN")
    pairs = pairs.reshape(len(pairs), -1, 2)
    # Far outside is as good as just outside, and fits into 32 bits.
    pairs = np.rint(np.clip(pairs, -4 * max(shape), 4 * max(shape))).astype(np.int32)
    frames = np.zeros((len(pairs), *shape), np.uint8)
    for frame, pair, count in zip(frames, pairs, counts, strict=True):
        if count:
            cv2.fillPoly(frame, [pair[:count]], 255)
    return frames
