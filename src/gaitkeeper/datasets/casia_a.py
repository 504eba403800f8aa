"""Silhouettes of CASIA-A as published."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gaitkeeper.datasets.base import Sample
from gaitkeeper.datasets.folder import read_sequence
from gaitkeeper.datasets.tree import SequenceTree

_SEQUENCE = re.compile(r"(00|45|90)_([1-9])")


class CasiaAFolder(SequenceTree):
    """Silhouette sequences of CASIA-A, ``<subject>/<view>_<take>/*.png``.

    20 subjects are named by letters and walk four times in each of three directions, out of doors:
    ``fyc/00_1/fyc-00_1-001.png``, 240 rows and 352 columns. A sample's condition is its take, ``1`` to ``4``, and
    its view is the data set's own angle, between the walking direction and the image plane: 0 is seen from the
    side, 45 obliquely, 90 from the front or back. CASIA-B counts the other way round. Each sequence is a walk of
    its own: takes of the same number in different views were not recorded together.

    Args:
        path: the folder of subjects.
        subjects: names to keep; None keeps all.
        views: 0, 45 or 90; None keeps all.

    Raises:
        DataError: the folder is missing, holds no sequences in this layout, or lacks a subject or view asked for.

    Reference:
        Wang et al., "Silhouette analysis-based gait recognition for human identification", PAMI 2003.
    """

    layout = "<subject>/<00, 45 or 90>_<take>/ of PNG files"
    files = "*.png"

    @staticmethod
    def find(path: Path) -> Iterator[tuple[Sample, Path]]:
        """Yield every sequence below a folder of subjects and its own folder, by name."""
        for folder in sorted(path.glob("*/*")):
            name = _SEQUENCE.fullmatch(folder.name)
            if name and folder.is_dir():
                yield Sample(folder.parent.name, name[2], int(name[1])), folder

    @staticmethod
    def read(folder: Path) -> np.ndarray:
        """Read one sequence; see :func:`~gaitkeeper.datasets.folder.read_sequence`."""
        return read_sequence(folder)
