"""Contact sheets: many silhouettes in one picture, to be looked at."""

from collections.abc import Sequence

import numpy as np

from gaitkeeper.synthetic.population import VIEWS
from gaitkeeper.synthetic.walkers import Walkers

_GAP = 1


def _grid(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Join rows of ``(n, h, w)`` pictures by thin grey lines."""
    padded = [np.pad(row, ((0, 0), (0, _GAP), (0, _GAP)), constant_values=40) for row in rows]
    return np.concatenate([np.concatenate(list(row), axis=1) for row in padded], axis=0)


def by_view(walkers: Walkers, walks: Sequence[tuple[int, str]], *, views: Sequence[int] = VIEWS) -> np.ndarray:
    """Return a sheet with a row a walk and a column a view.

    Args:
        walkers: the population.
        walks: subject and condition of each row.
        views: camera angles.

    Returns:
        Grey picture, uint8.
    """
    return _grid([walkers.silhouettes(subject, condition, views, frames=8)[:, 4] for subject, condition in walks])


def over_time(
    walkers: Walkers, walks: Sequence[tuple[int, str]], *, view: int = 90, step: int = 2, frames: int = 36
) -> np.ndarray:
    """Return a sheet with a row a walk and a column each ``step`` frames, seen from one view.

    Args:
        walkers: the population.
        walks: subject and condition of each row.
        view: camera angle.
        step: frames between columns.
        frames: length of the walk.

    Returns:
        Grey picture, uint8.
    """
    rows = [walkers.silhouettes(subject, condition, [view], frames=frames)[0, ::step] for subject, condition in walks]
    return _grid(rows)
