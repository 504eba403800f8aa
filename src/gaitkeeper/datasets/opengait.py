"""Pickled silhouettes as OpenGait prepares them, read without running anything in them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gaitkeeper.datasets.base import Sample
from gaitkeeper.datasets.pickles import PickledArray, unpickle
from gaitkeeper.datasets.tree import ALIGNED, SequenceTree, usable_frames, view_folders
from gaitkeeper.errors import DataError

MAX_BYTES = 64 * 2**20
"""Largest file that is read: nine minutes of walking."""

_MAX_STEPS = 1000
"""Most instructions of a pickle; an array takes some forty."""

_KINDS = ("u1", "b1", "f2", "f4", "f8")


class OpenGaitFolder(SequenceTree):
    """Silhouette sequences as ``<subject>/<type>/<view>/<view>.pkl``, each a numpy array of aligned pictures.

    Arrays are ``(t, 64, 64)`` or ``(t, 64, 44)``: uint8 from 0 to 255 as OpenGait writes them, or bool, or floats
    in [0, 1]. Of several pickles in a folder the one named after the view is read.

    Args:
        path: the folder of subjects.
        subjects: names to keep; None keeps all.
        views: camera views in degrees to keep; None keeps all.

    Raises:
        DataError: the folder is missing, holds no sequences in this layout, or lacks a subject or view asked for.

    Reference:
        Fan et al., "OpenGait: Revisiting gait recognition toward better practicality", CVPR 2023; the layout is
        that of its ``datasets/pretreatment.py``.
    """

    layout = "<subject>/<type>/<view in degrees>/ of pickled arrays (.pkl)"
    files = "*.pkl"

    @staticmethod
    def find(path: Path) -> Iterator[tuple[Sample, Path]]:
        """Yield every sequence below a folder of subjects and its own folder, by name."""
        return view_folders(path)

    @staticmethod
    def read(folder: Path) -> np.ndarray:
        """Read the silhouettes of one sequence's folder, ``(t, 64, 44)`` uint8.

        Raises:
            DataError: naming the folder or file: no pickle or several of which none is named after the view, and
                all that :func:`read_pickle` refuses; too few frames with a person in them.
        """
        files = sorted(file for file in folder.glob("*.pkl") if not file.name.startswith("."))
        if not files:
            raise DataError(f"{folder}: expected a pickled array (.pkl), found none")
        named = [file for file in files if file.stem == folder.name]
        if len(files) > 1 and not named:
            names = ", ".join(file.name for file in files[:6])
            raise DataError(f"{folder}: expected one pickle or one named {folder.name}.pkl, found {names}")
        file = (named or files)[0]
        return usable_frames(read_pickle(file), file)


def read_pickle(file: Path) -> np.ndarray:
    """Read a pickled array of aligned silhouettes, without running anything that the file names.

    Returns:
        ``(t, 64, 64)`` or ``(t, 64, 44)`` uint8.

    Raises:
        DataError: naming the file: too large, damaged, a global that no array needs, another type or shape, values
            that are no silhouette's.
    """
    found = unpickle(file, "an array of silhouettes", limit=MAX_BYTES, steps=_MAX_STEPS)
    if not isinstance(found, PickledArray):
        raise DataError(f"{file}: expected a pickled array, found {type(found).__name__}")
    array = found.array(file, _KINDS, "uint8, bool or float")
    if array.ndim != 3 or array.shape[1:] not in ALIGNED:
        sizes = " or ".join(f"(frames, {rows}, {columns})" for rows, columns in ALIGNED)
        raise DataError(f"{file}: expected an array of shape {sizes}, found {array.shape}")
    return _grey(file, array)


def _grey(file: Path, array: np.ndarray) -> np.ndarray:
    """Return an array's values as grey from 0 to 255."""
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return np.where(array, np.uint8(255), np.uint8(0))
    if not np.isfinite(array).all():
        raise DataError(f"{file}: expected finite values, found NaN or infinite ones")
    if array.size and not (array.min() >= 0 and array.max() <= 1):
        raise DataError(f"{file}: expected floats from 0 to 1, found {array.min():g} to {array.max():g}")
    return np.rint(255 * array.astype(np.float32)).astype(np.uint8)
