"""Skeletons as pyskl and mmaction2 prepare them: one pickle of annotations and splits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gaitkeeper.datasets.pickles import PickledArray, unpickle
from gaitkeeper.datasets.st_gcn_arrays import is_label, named_clips
from gaitkeeper.datasets.stored import load_each, present_people
from gaitkeeper.errors import DataError
from gaitkeeper.motion.skeletons import NTU_25

MAX_BYTES = 4 * 2**30
"""Largest file that is read: NTU RGB+D 120 in 3-D takes some 2 GiB, pickled in the oldest way half as much again."""

_MAX_STEPS = 15_000_000
"""Most instructions of a pickle; a sample takes some fifty."""

_KINDS = ("f2", "f4", "f8")


class Pyskl:
    """A pickle ``{"split": {name: [ids]}, "annotations": [...]}`` of 25 Kinect joints, as pyskl and mmaction2 have it.

    Each annotation is a dict of ``frame_dir`` (the id), ``label``, ``total_frames`` and ``keypoint`` ``(m, t, 25, 3)``
    floats in metres, most often float16; more entries are ignored. All annotations are held in memory as they are in
    the file. Forms with keypoints found in pictures are refused: they have 17 other joints, no depth and no metres.

    Args:
        path: the file.
        split: its name in the file, such as ``xsub_train``, ``xview_val`` or ``xset_val``.

    Raises:
        DataError: the file is missing, too large, no such pickle, lacks the split, or has other joints.

    Reference:
        Duan et al., "PYSKL: towards good practices for skeleton action recognition", ACM Multimedia 2022.
    """

    biometric = True
    layout = NTU_25
    fps = 30.0

    def __init__(self, path: Path, *, split: str = "xsub_val") -> None:
        self.name = path.stem
        self._path = path
        found: Any = unpickle(path, "annotations and splits", limit=MAX_BYTES, steps=_MAX_STEPS)
        if not isinstance(found, dict) or not isinstance(found.get("split"), dict):
            kind = f"a dict of {', '.join(map(str, found))}"[:80] if isinstance(found, dict) else type(found).__name__
            raise DataError(f"{path}: expected a dict of split and annotations, found {kind}")
        if not isinstance(found["split"].get(split), list):
            names = ", ".join(map(str, found["split"]))
            raise DataError(f"{path}: expected a split {split!r}, found {names[:200] or 'none'}")
        annotations = self._annotations(found.get("annotations"))
        ids = [name for name in found["split"][split] if isinstance(name, str)]
        kept = [annotations[name] for name in ids if name in annotations]
        if not kept:
            raise DataError(f"{path}: expected annotations of the split {split!r}, found none")
        self.missing: Sequence[str] = [name for name in ids if name not in annotations]
        """Ids of the split without an annotation."""
        _check_joints(path, kept[0])
        self.classes, self.samples = named_clips([(item["frame_dir"], item["label"]) for item in kept], path)
        self._items = kept

    def load(self, indices: Sequence[int]) -> list[np.ndarray | DataError]:
        """Return, for each sample asked for, its people's joints or what is wrong with it.

        Each is ``(m, t, 25, 3)`` float32 in metres of one or two people, 0 where one is absent; there is somebody in
        every frame.
        """
        return load_each(indices, self._read)

    def _annotations(self, found: Any) -> dict[str, dict[str, Any]]:
        if not isinstance(found, list):
            raise DataError(f"{self._path}: expected a list of annotations, found {type(found).__name__}")
        for number, item in enumerate(found):
            named = isinstance(item, dict) and isinstance(item.get("frame_dir"), str)
            if not named or not is_label(item.get("label")):
                raise DataError(f"{self._path}: expected frame_dir and label of the annotation {number}, found others")
        of_name = {item["frame_dir"]: item for item in found}
        if len(of_name) != len(found):
            raise DataError(f"{self._path}: expected one annotation of each id, found {len(found)} of {len(of_name)}")
        return of_name

    def _read(self, index: int) -> np.ndarray:
        item = self._items[index]
        where = f"{self._path}, {item['frame_dir']}"
        joints = _check_joints(where, item)
        frames = item.get("total_frames", joints.shape[1])
        if frames != joints.shape[1]:
            raise DataError(f"{where}: expected {str(frames)[:20]} frames of keypoints, found {joints.shape[1]}")
        return present_people(joints, where)


def _check_joints(source: object, item: dict[str, Any]) -> np.ndarray:
    """Return an annotation's joints, ``(m, t, 25, 3)`` as stored."""
    keypoint = item.get("keypoint")
    if not isinstance(keypoint, PickledArray):
        raise DataError(f"{source}: expected an array keypoint, found {type(keypoint).__name__}")
    joints = keypoint.array(source, _KINDS, "float16, float32 or float64")
    if joints.ndim != 4 or joints.shape[2:] != (len(NTU_25), 3):
        why = ""
        if joints.ndim == 4 and joints.shape[3] == 2:
            why = ": these are points of a picture, without depth and not in metres"
        raise DataError(
            f"{source}: expected keypoints of (people, frames, {len(NTU_25)} joints, x y z), found {joints.shape}{why}"
        )
    return joints
