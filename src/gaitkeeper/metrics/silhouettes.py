"""How silhouettes look: components, area, height, and how near one set is to another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

SPECK = 4
"""Components of at most this many pixels count as specks, not as parts of a figure."""


@dataclass(frozen=True, kw_only=True)
class Looks:
    """Figures of single masks, each ``(n,)``.

    Args:
        single: whether there is just one component, specks left out.
        area: share of the picture that is person.
        height: rows from the highest to the lowest pixel, as a share of the picture's.
    """

    single: np.ndarray
    area: np.ndarray
    height: np.ndarray


def looks(silhouettes: np.ndarray) -> Looks:
    """Measure masks.

    Args:
        silhouettes: ``(n, h, w)`` uint8, person from 128 on.
    """
    import cv2

    masks = (silhouettes >= 128).astype(np.uint8)
    single = np.zeros(len(masks), bool)
    for i, mask in enumerate(masks):
        _, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        single[i] = (stats[1:, cv2.CC_STAT_AREA] > SPECK).sum() == 1
    rows = np.asarray(masks.any(axis=2))
    first, last = rows.argmax(axis=1), masks.shape[1] - rows[:, ::-1].argmax(axis=1)
    height = np.where(rows.any(axis=1), last - first, 0) / masks.shape[1]
    return Looks(single=single, area=masks.mean(axis=(1, 2)), height=height)


def nearest_overlap(silhouettes: np.ndarray, others: np.ndarray, *, chunk: int = 512) -> np.ndarray:
    """Return the largest intersection over union of each mask with any mask of another set, ``(n,)``.

    Args:
        silhouettes: ``(n, h, w)`` uint8, person from 128 on.
        others: ``(m, h, w)`` uint8.
        chunk: masks compared at once, with eight times as many of the other set.
    """
    ours, theirs = (torch.from_numpy((s >= 128).reshape(len(s), -1)).float() for s in (silhouettes, others))
    best = torch.zeros(len(ours))
    for at, part in enumerate(ours.split(chunk)):
        place = best[at * chunk : at * chunk + len(part)]
        for other in theirs.split(8 * chunk):
            both = part @ other.T
            either = part.sum(1)[:, None] + other.sum(1)[None] - both
            torch.maximum(place, (both / either.clamp_min(1)).amax(1), out=place)
    return best.numpy()
