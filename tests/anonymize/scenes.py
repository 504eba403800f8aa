"""Filmed walkers with true masks, as short clips whose first frames are empty."""

from functools import cache
from pathlib import Path

import numpy as np

from gaitkeeper.perception.video import Clip
from gaitkeeper.synthetic.population import Population
from gaitkeeper.synthetic.video import video
from gaitkeeper.synthetic.walkers import Walkers

EMPTY = 16
"""Frames without anybody at the beginning."""


@cache
def filmed(
    subject: int = 5, view: int = 90, *, frames: int = 44, rows: int = 180, columns: int = 240
) -> tuple[Clip, np.ndarray, np.ndarray]:
    """Return a clip, its true masks ``(t, rows, columns)`` bool and the empty scene."""
    footage = video(Walkers(Population()), subject, "nm-01", view, frames=frames, rows=rows, columns=columns)
    rng = np.random.default_rng(subject)
    empty = footage.background + rng.normal(0, 1.5, (EMPTY, *footage.background.shape))
    pictures = np.concatenate([empty.round().clip(0, 255).astype(np.uint8), footage.frames])
    masks = np.concatenate([np.zeros((EMPTY, rows, columns), bool), footage.masks > 0])
    return Clip(pictures, footage.fps, Path("walker.mp4")), masks, footage.background


def leaks(
    original: np.ndarray, shown: np.ndarray, masks: np.ndarray, empty: np.ndarray, *, near: int = 1
) -> np.ndarray:
    """Return how many pixels of the person are in the output, ``(t,)``.

    Those are pixels of the true masks that clearly differ from the empty scene and that the output shows as they were,
    up to ``near`` grey levels, together with one beside or below them: what is filled in or drawn has a single pixel's
    color now and then by chance.
    """
    visible = np.abs(original.astype(int) - empty.astype(int)).max(axis=-1) > 32
    same = np.abs(original.astype(int) - shown.astype(int)).max(axis=-1) <= near
    alike = masks & visible & same
    beside = alike[:, :, 1:] & alike[:, :, :-1]
    below = alike[:, 1:] & alike[:, :-1]
    return beside.sum(axis=(1, 2)) + below.sum(axis=(1, 2))
