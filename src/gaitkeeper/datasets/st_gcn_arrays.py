"""NTU RGB+D as arrays in ``.npy`` files with pickled labels, the form of ST-GCN's and 2s-AGCN's preparations."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from gaitkeeper.datasets.ntu import Recording, edition
from gaitkeeper.datasets.pickles import unpickle
from gaitkeeper.datasets.stored import MAX_CLASSES, StoredClip, load_each, mapped_array, present_people
from gaitkeeper.errors import DataError
from gaitkeeper.motion.skeletons import NTU_25

MAX_LABEL_BYTES = 64 * 2**20
"""Largest file of labels that is read: five times those of NTU RGB+D 120."""

_MAX_STEPS = 2_000_000
"""Most instructions of pickled labels; a sample takes three or four."""

FILE = re.compile(r"(train|val)(_data|_data_joint)\.npy")
"""Names of files of joints: split, form."""

_ENDINGS = ("_data.npy", "_data_joint.npy")
_UPRIGHT = 1e-3
"""Sine of the angle to the z axis, and metres from the origin, below which a spine was put there."""


class StGcnArrays:
    """NTU RGB+D as ST-GCN's and 2s-AGCN's preparations leave it: one array of joints and a pickle of labels a split.

    The folder has ``{train,val}_data.npy`` (ST-GCN) or ``{train,val}_data_joint.npy`` (2s-AGCN, AAGCN, MS-G3D), each
    ``(n, 3, t, 25, 2)`` of coordinates, frames, joints and people in metres, and ``{train,val}_label.pkl`` of names
    and labels. Joints are read from the file as they are asked for. ST-GCN's are as recorded. 2s-AGCN's are around the
    first person's spine in each frame, turned so that it stands along z and the shoulders along x, and repeated up to
    the last frame; these are returned once and with y up.

    Args:
        path: the folder, or an array in it.
        split: ``train`` or ``test``, which these files call val.

    Raises:
        DataError: the folder or a file is missing, the array has another shape or type, or the pickle is none of
            labels or of another number of samples.

    Reference:
        Yan, Xiong, Lin, "Spatial temporal graph convolutional networks for skeleton-based action recognition", AAAI
        2018; Shi et al., "Two-stream adaptive graph convolutional networks for skeleton-based action recognition",
        CVPR 2019.

    Deviations:
        2s-AGCN repeats each person by themselves; here a clip ends where the first person begins again.
    """

    biometric = True
    layout = NTU_25
    fps = 30.0

    def __init__(self, path: Path, *, split: Literal["train", "test"] = "test") -> None:
        part = {"train": "train", "test": "val"}[split]
        self._path = _find(path, part)
        self.name = self._path.parent.resolve().name
        self._data = mapped_array(self._path)
        if self._data.ndim != 5 or self._data.shape[1] != 3 or self._data.shape[3:] != (len(NTU_25), 2):
            raise DataError(
                f"{self._path}: expected joints (n, 3, t, {len(NTU_25)}, 2) in metres, found {self._data.shape}"
            )
        labels = self._path.parent / f"{part}_label.pkl"
        pairs = _labels(labels)
        if len(pairs) != len(self._data):
            raise DataError(f"{labels}: expected labels of {len(self._data)} samples, found {len(pairs)}")
        self.classes, self.samples = named_clips(pairs, labels)

    def load(self, indices: Sequence[int]) -> list[np.ndarray | DataError]:
        """Return, for each sample asked for, its people's joints or what is wrong with it.

        Each is ``(m, t, 25, 3)`` float32 in metres of one or two people, y up, 0 where one is absent; there is
        somebody in every frame.
        """
        return load_each(indices, self._read)

    def _read(self, index: int) -> np.ndarray:
        joints = np.array(self._data[index], np.float32).transpose(3, 1, 2, 0)
        return present_people(_once(_y_up(joints)), f"{self._path}[{index}]")


_PLAIN = re.compile(r"[^\W_][\w .,()+=@#-]{0,199}")
"""Names of samples that are safe as names of files."""


def named_clips(pairs: Sequence[tuple[str, int]], source: Path) -> tuple[tuple[str, ...], Sequence[StoredClip]]:
    """Return the classes and clips of samples by name and label.

    Names of NTU RGB+D tell who acts and the names of classes; where there are others, classes are numbered.

    Raises:
        DataError: naming the source: labels are out of range or not those of the names, or a name is there twice or
            could lead out of a folder.
    """
    strange = next((name for name, _ in pairs if not _PLAIN.fullmatch(name)), None)
    if strange is not None:
        raise DataError(f"{source}: expected names of samples that can name files, found {strange[:60]!r}")
    recordings = [Recording.of(name.removesuffix(".skeleton")) for name, _ in pairs]
    known = [recording for recording in recordings if recording is not None]
    most = max(label for _, label in pairs)
    classes = edition(known) if len(known) == len(pairs) else tuple(f"class {i}" for i in range(most + 1))
    clips: dict[str, StoredClip] = {}
    for (name, label), recording in zip(pairs, recordings, strict=True):
        if name in clips:
            raise DataError(f"{source}: expected each sample once, found {name[:60]} twice")
        if recording is None:
            clips[name] = StoredClip(name, label)
        elif recording.label != label:
            raise DataError(f"{source}: expected the label {recording.label} of {name}, found {label}")
        else:
            clips[name] = StoredClip(name, label, recording.subject)
    return classes, list(clips.values())


def is_label(value: object) -> bool:
    """Return whether a value can be a class's number."""
    return type(value) is int and 0 <= value < MAX_CLASSES


def _find(path: Path, part: str) -> Path:
    """Return the array of joints of a split, in a folder or beside another array."""
    if path.is_file() and not path.name.endswith(_ENDINGS):
        raise DataError(
            f"{path}: expected joints, an array *{' or *'.join(_ENDINGS)} (bones and motion are computed from these)"
        )
    if path.is_file():
        return path.with_name(part + next(ending for ending in reversed(_ENDINGS) if path.name.endswith(ending)))
    found = [path / f"{part}{ending}" for ending in _ENDINGS if (path / f"{part}{ending}").is_file()]
    if len(found) != 1:
        raise DataError(
            f"{path}: expected one array {part}{f' or {part}'.join(_ENDINGS)}, found {'both' if found else 'none'}"
        )
    return found[0]


def _labels(file: Path) -> list[tuple[str, int]]:
    found: Any = unpickle(file, "labels", limit=MAX_LABEL_BYTES, steps=_MAX_STEPS)
    whole = isinstance(found, (tuple, list)) and len(found) == 2 and all(isinstance(part, list) for part in found)
    if not whole or len(found[0]) != len(found[1]) or not found[0]:
        raise DataError(f"{file}: expected two lists of the same length, names and labels, found something else")
    for name, label in zip(*found, strict=True):
        if not isinstance(name, str) or not is_label(label):
            raise DataError(f"{file}: expected a name and a label from 0, found {str((name, label))[:60]}")
    return list(zip(*found, strict=True))


def _y_up(joints: np.ndarray) -> np.ndarray:
    """Return joints with y up where the first person's spine was put at the origin and along z."""
    base, middle = joints[0, 0, :2].astype(np.float64)
    spine = middle - base
    length = np.linalg.norm(spine)
    aligned = length > 0 and np.linalg.norm(spine[:2]) < _UPRIGHT * length and spine[2] > 0
    if not aligned or np.abs(middle).max() > _UPRIGHT:
        return joints
    return np.stack([joints[..., 0], joints[..., 2], -joints[..., 1]], axis=-1)


def _once(joints: np.ndarray) -> np.ndarray:
    """Return joints up to where the first person's movement begins again and goes on to the end as before."""
    person = joints[0]
    if not person[0].any():
        return joints
    for start in 1 + np.flatnonzero((person[1:] == person[0]).all((1, 2))):
        if np.array_equal(person[start:], person[:-start]):
            return joints[:, :start]
    return joints
