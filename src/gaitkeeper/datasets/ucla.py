"""Northwestern-UCLA: ten actions seen by three Kinects, split by camera, as CTR-GCN's preparation leaves them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gaitkeeper.datasets.stored import (
    Split,
    StoredClip,
    check_folder,
    chosen,
    load_each,
    present_people,
    read_json,
)
from gaitkeeper.errors import DataError
from gaitkeeper.motion.skeletons import UCLA_20

ACTIONS = {
    1: "pick up with one hand",
    2: "pick up with two hands",
    3: "drop trash",
    4: "walk around",
    5: "sit down",
    6: "stand up",
    8: "donning",
    9: "doffing",
    11: "throw",
    12: "carry",
}
"""Names of classes by the numbers in the files' names; 7 and 10 do not exist."""

TRAIN_VIEWS = ("v01", "v02")
TEST_VIEWS = ("v03",)

MIN_FRAMES = 2
"""Fewest frames of a clip: published test clips have as few as six."""

MAX_BYTES = 8 * 2**20
"""Largest file that is read: a minute."""

FILE = re.compile(r"a(\d\d)_s(\d\d)_e(\d\d)_v(\d\d)\.json", re.ASCII)
"""Names of clips' files: action, subject, take, camera."""


class Ucla:
    """Clips of Northwestern-UCLA as joints in metres: ``.json`` files anywhere below a folder, y up, 30 a second.

    Files are named ``a01_s01_e00_v01.json`` by action, subject, take and camera, and hold an object of ``file_name``,
    ``skeletons`` ``[t][20][3]`` and ``label``. The class is that of the name, as in the published lists.

    Args:
        path: the folder.
        split: ``train`` keeps what cameras 1 and 2 saw, ``test`` camera 3.
        subjects: subjects to keep, ``s01``; None keeps all.

    Raises:
        DataError: the folder is missing, holds no clips of the split and subjects, or holds one twice; it lacks a
            subject that is asked for.

    Reference:
        Wang et al., "Cross-view action modeling, learning and recognition", CVPR 2014; Chen et al., "Channel-wise
        topology refinement graph convolution for skeleton-based action recognition", ICCV 2021.
    """

    name = "nw-ucla"
    biometric = True
    layout = UCLA_20
    fps = UCLA_20.fps
    classes = tuple(ACTIONS.values())

    def __init__(self, path: Path, *, split: Split = "all", subjects: Sequence[str] | None = None) -> None:
        check_folder(path, "Northwestern-UCLA's clips")
        files: dict[StoredClip, Path] = {}
        views: dict[StoredClip, str] = {}
        for file in sorted(path.rglob("*.json")):
            found = FILE.fullmatch(file.name)
            if found and int(found[1]) in ACTIONS:
                clip = StoredClip(file.stem, list(ACTIONS).index(int(found[1])), f"s{found[2]}")
                if clip in files:
                    raise DataError(f"{file}: expected one file of {clip.key}, found {files[clip]} too")
                files[clip], views[clip] = file, f"v{found[4]}"
        there = sorted({clip.subject for clip in files})
        kept = chosen("subject", path, subjects, there, there)
        seen = {"train": TRAIN_VIEWS, "test": TEST_VIEWS, "all": TRAIN_VIEWS + TEST_VIEWS}[split]
        self._files = {clip: file for clip, file in files.items() if clip.subject in kept and views[clip] in seen}
        if not self._files:
            raise DataError(f"{path}: expected clips aAA_sSS_eEE_vVV.json in the split {split!r}, found none")
        self.samples: Sequence[StoredClip] = sorted(self._files)

    def load(self, indices: Sequence[int]) -> list[np.ndarray | DataError]:
        """Return, for each clip asked for, its joints ``(1, t, 20, 3)`` float32 in metres or what is wrong."""
        return load_each(indices, self._read)

    def _read(self, index: int) -> np.ndarray:
        file = self._files[self.samples[index]]
        found: Any = read_json(file, MAX_BYTES)
        if not isinstance(found, dict) or not isinstance(found.get("skeletons"), list):
            raise DataError(f"{file}: expected an object of file_name, skeletons and label, found something else")
        if found.get("file_name", file.stem) != file.stem:
            raise DataError(f"{file}: expected the clip {file.stem}, found {str(found['file_name'])[:40]}")
        try:
            joints = np.array(found["skeletons"], np.float64)
        # Rows of different lengths, or something else than numbers.
        except (ValueError, TypeError) as error:
            raise DataError(f"{file}: expected skeletons of frames, 20 joints and 3 numbers, found others") from error
        if joints.ndim != 3 or joints.shape[1:] != (len(UCLA_20), 3):
            raise DataError(f"{file}: expected skeletons (t, {len(UCLA_20)}, 3), found {joints.shape}")
        return present_people(joints[None], file, least=MIN_FRAMES)
