"""NTU RGB+D as arrays in one ``.npz`` file, the form of CTR-GCN's preparation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from gaitkeeper.datasets.ntu import CLASSES_120
from gaitkeeper.datasets.stored import StoredClip, archived_array, load_each, present_people
from gaitkeeper.errors import DataError
from gaitkeeper.motion.skeletons import NTU_25


class NtuArrays:
    """NTU RGB+D as CTR-GCN's preparation leaves it: one ``.npz`` with ``x_train``, ``y_train``, ``x_test``, ``y_test``.

    ``x`` is ``(n, t, 150)``, two people of 25 joints in metres relative to where the first person's spine is at the
    start, 0 where somebody is absent and behind the end; ``y`` is one-hot. Samples are read from the file as they are
    asked for. Who performs is not stored.

    Args:
        path: the file.
        split: ``train`` or ``test``.

    Raises:
        DataError: the file is missing or no such archive, is compressed, or its arrays do not fit each other.

    Reference:
        Chen et al., "Channel-wise topology refinement graph convolution for skeleton-based action recognition",
        ICCV 2021.
    """

    biometric = True
    layout = NTU_25
    fps = 30.0

    def __init__(self, path: Path, *, split: Literal["train", "test"] = "test") -> None:
        self.name = path.stem
        self._path, self._split = path, split
        self._data = archived_array(path, f"x_{split}")
        hot = archived_array(path, f"y_{split}")
        width = 2 * len(NTU_25) * 3
        if self._data.ndim != 3 or self._data.shape[2] != width or hot.ndim != 2 or len(hot) != len(self._data):
            raise DataError(
                f"{path}: expected x_{split} (n, t, {width}) and y_{split} (n, classes), "
                f"found {self._data.shape} and {hot.shape}"
            )
        if hot.shape[1] not in (60, 120):
            raise DataError(f"{path}: expected 60 or 120 classes in y_{split}, found {hot.shape[1]}")
        wrong = np.flatnonzero((hot != 0).sum(1) != 1)
        if len(wrong):
            raise DataError(f"{path}: expected one class a sample in y_{split}, sample {wrong[0]} has another number")
        self.classes = CLASSES_120[: hot.shape[1]]
        # By what is not 0, as was checked: the entry of the class may be any other number.
        labels = (hot != 0).argmax(1)
        self.samples: Sequence[StoredClip] = [
            StoredClip(f"{split}/{index:06d}", int(label)) for index, label in enumerate(labels)
        ]

    def load(self, indices: Sequence[int]) -> list[np.ndarray | DataError]:
        """Return, for each sample asked for, its people's joints or what is wrong with it.

        Each is ``(m, t, 25, 3)`` float32 in metres of one or two people, 0 where one is absent; there is somebody in
        every frame.
        """
        return load_each(indices, self._read)

    def _read(self, index: int) -> np.ndarray:
        joints = np.array(self._data[index], np.float32).reshape(-1, 2, len(NTU_25), 3).transpose(1, 0, 2, 3)
        return present_people(joints, f"{self._path}, x_{self._split}[{index}]")
