"""Kinetics-skeleton: OpenPose's points of people in videos, as ST-GCN's authors published them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from gaitkeeper.datasets.stored import MAX_CLASSES, StoredClip, check_folder, load_each, present_people, read_json
from gaitkeeper.errors import DataError
from gaitkeeper.motion.skeletons import KINETICS_18

MAX_BYTES = 8 * 2**20
"""Largest file of a clip that is read: 300 frames of fifty people."""

MAX_LABEL_BYTES = 128 * 2**20
"""Largest file of labels that is read: four times that of the training clips."""

FRAMES = 300
"""Frames of a clip at most."""


FILE = re.compile(r"kinetics_(train|val)_label\.json")
"""Names of the files of labels."""


class Kinetics:
    """Clips of Kinetics-skeleton: a ``.json`` file each, and one of labels.

    The folder has ``kinetics_{train,val}/<id>.json`` and ``kinetics_{train,val}_label.json``. Joints are OpenPose's
    (x, y, score): shares of the picture's width and height from its middle, y down, and how sure it was; a point that
    it did not find is 0. Where a frame has more than two people, those with the greatest sums of scores are kept, in
    that order, so that a place may pass from one to the other. Who acts is not stored.

    Args:
        path: the folder, or with ``labels`` that of the clips' files.
        split: ``train`` or ``test``, which these files call val.
        labels: the file of labels; None takes the published names.

    Raises:
        DataError: a folder or file is missing, the labels are damaged, or no clip has a skeleton.

    Reference:
        Yan, Xiong, Lin, "Spatial temporal graph convolutional networks for skeleton-based action recognition", AAAI
        2018; Kay et al., "The Kinetics human action video dataset", 2017.

    Deviations:
        The published reader looks at the first five people of a frame only. Frames in which nobody was found are left
        out, which settles whether files count frames from 0 or from 1: readers disagree, and both are taken.
    """

    biometric = True
    layout = KINETICS_18
    fps = 30.0
    name = "kinetics-skeleton"

    def __init__(self, path: Path, *, split: Literal["train", "test"] = "test", labels: Path | None = None) -> None:
        check_folder(path, "Kinetics-skeleton")
        part = {"train": "kinetics_train", "test": "kinetics_val"}[split]
        self._folder = path / part if labels is None else path
        check_folder(self._folder, "Kinetics-skeleton's clips (.json)")
        labels = path / f"{part}_label.json" if labels is None else labels
        self._names, clips = _labels(labels)
        if not clips:
            raise DataError(f"{labels}: expected clips with a skeleton, found none")
        self.classes = tuple(self._names.get(i, f"class {i}") for i in range(max(self._names) + 1))
        self.samples: Sequence[StoredClip] = clips

    def load(self, indices: Sequence[int]) -> list[np.ndarray | DataError]:
        """Return, for each clip asked for, its people's points or what is wrong with it.

        Each is ``(m, t, 18, 3)`` float32 of one or two people, 0 where one is absent; there is somebody in every
        frame.
        """
        return load_each(indices, self._read)

    def _read(self, index: int) -> np.ndarray:
        clip = self.samples[index]
        file = self._folder / f"{clip.key}.json"
        found = read_json(file, MAX_BYTES)
        if not isinstance(found, dict) or not isinstance(found.get("data"), list):
            raise DataError(f"{file}: expected an object of data and label_index, found something else")
        if found.get("label_index") != clip.label:
            raise DataError(
                f"{file}: expected the label {clip.label} as in the file of labels, "
                f"found {str(found.get('label_index'))[:20]}"
            )
        people = np.zeros((2, FRAMES + 1, len(KINETICS_18), 3), np.float32)
        seen: set[int] = set()
        for number, frame in enumerate(found["data"]):
            where = f"{file}, frame {number + 1} of the file"
            place = frame.get("frame_index") if isinstance(frame, dict) else None
            if type(place) is not int or place in seen or not 0 <= place <= FRAMES:
                raise DataError(f"{where}: expected a frame_index from 0 to {FRAMES} once, found {str(place)[:20]}")
            seen.add(place)
            for row, points in enumerate(_best(frame.get("skeleton"), where)):
                people[row, place] = points
        if {0, FRAMES} <= seen:
            raise DataError(f"{file}: expected {FRAMES} frames from 0 or from 1, found the frames 0 and {FRAMES}")
        return present_people(people, file)


def _labels(file: Path) -> tuple[dict[int, str], list[StoredClip]]:
    """Return the names of classes by number, and the clips that have a skeleton, by id."""
    found = read_json(file, MAX_LABEL_BYTES)
    if not isinstance(found, dict):
        raise DataError(f"{file}: expected an object of labels by id, found {type(found).__name__}")
    names: dict[int, str] = {}
    clips = []
    for key, entry in sorted(found.items()):
        label = entry.get("label_index") if isinstance(entry, dict) else None
        if type(label) is not int or not 0 <= label < MAX_CLASSES or not isinstance(entry.get("label"), str):
            raise DataError(f"{file}: expected label and label_index of {key[:60]}, found {str(entry)[:60]}")
        if names.setdefault(label, entry["label"]) != entry["label"]:
            raise DataError(f"{file}: expected one name of the class {label}, found another at {key[:60]}")
        # A name that leads to another folder is no id.
        if "/" in key or "\\" in key or key.startswith("."):
            raise DataError(f"{file}: expected ids, found {key[:60]!r}")
        if entry.get("has_skeleton", True):
            clips.append(StoredClip(key, label))
    return names, clips


def _best(skeletons: Any, where: str) -> list[np.ndarray]:
    """Return the points ``(18, 3)`` of the at most two people with the greatest sums of scores."""
    if not isinstance(skeletons, list):
        raise DataError(f"{where}: expected a list skeleton, found {type(skeletons).__name__}")
    found = []
    for entry in skeletons:
        pose = _numbers(entry, "pose", 2 * len(KINETICS_18), where).reshape(-1, 2)
        score = _numbers(entry, "score", len(KINETICS_18), where)
        points = np.concatenate([pose - 0.5, score[:, None]], axis=1)
        points[score == 0] = 0
        found.append(points)
    return sorted(found, key=lambda points: -points[:, 2].sum())[:2]


def _numbers(entry: Any, key: str, count: int, where: str) -> np.ndarray:
    values = entry.get(key) if isinstance(entry, dict) else None
    if not isinstance(values, list) or len(values) != count:
        raise DataError(
            f"{where}: expected {count} numbers {key}, found {len(values) if isinstance(values, list) else 'none'}"
        )
    if not all(type(value) in (int, float) and abs(value) < float("inf") for value in values):
        raise DataError(f"{where}: expected finite numbers {key}, found others")
    return np.array(values, np.float64)
