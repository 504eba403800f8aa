"""Opening a folder of silhouettes in whichever published layout it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gaitkeeper.datasets.base import Sequences
from gaitkeeper.datasets.casia_a import CasiaAFolder
from gaitkeeper.datasets.folder import SilhouetteFolder
from gaitkeeper.datasets.opengait import OpenGaitFolder
from gaitkeeper.datasets.tree import SequenceTree, check_folder, view_folders
from gaitkeeper.errors import DataError

_LAYOUTS: tuple[tuple[str, type[SequenceTree]], ...] = (
    ("CASIA-B", SilhouetteFolder),
    ("CASIA-A", CasiaAFolder),
    ("OpenGait", OpenGaitFolder),
)


def open_sequences(
    path: Path, *, subjects: Sequence[str] | None = None, views: Sequence[int] | None = None
) -> Sequences:
    """Open a folder of silhouettes: CASIA-B's or CASIA-A's PNG files, or OpenGait's pickles.

    Args:
        path: the folder of subjects.
        subjects: names to keep; None keeps all.
        views: camera views in degrees to keep, as the data set counts them; None keeps all.

    Raises:
        DataError: the folder is missing or in none of these layouts, or lacks a subject or view asked for.
    """
    check_folder(path)
    return _recognize(path)(path, subjects=subjects, views=views)


def _recognize(path: Path) -> type[SequenceTree]:
    """Return the reader of the first sequence that holds a file, so that whole data sets are not listed twice."""
    for _, folder in CasiaAFolder.find(path):
        if any(folder.glob(CasiaAFolder.files)):
            return CasiaAFolder
    for _, folder in view_folders(path):
        for reader in (OpenGaitFolder, SilhouetteFolder):
            if any(folder.glob(reader.files)):
                return reader
    layouts = " or ".join(f"{reader.layout} ({name})" for name, reader in _LAYOUTS)
    raise DataError(f"{path}: expected folders {layouts}, found none")
