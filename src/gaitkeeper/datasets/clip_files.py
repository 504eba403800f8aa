"""Action clips in this package's own files: attacked ones are written so, and read back as any other data."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gaitkeeper.datasets.clips import CAPTURE_FPS, ClipSample
from gaitkeeper.datasets.stored import archived_array, load_each, read_json
from gaitkeeper.errors import DataError
from gaitkeeper.files import replacing, write_text
from gaitkeeper.motion.skeletons import LAYOUTS, Layout

INDEX = "clips.json"
"""Name of the list of a folder's clips."""

FILE = re.compile(re.escape(INDEX))
"""Name of a file by which such a folder is known."""

_MAX_INDEX = 64 * 2**20
_MAX_VALUES = 2**26


@dataclass(frozen=True)
class WrittenClip:
    """One written clip.

    Args:
        key: its name; the file is ``<key>.npz`` below the folder.
        label: the class's number.
        subject: who acts.
        fps: frames a second.
    """

    key: str
    label: int
    subject: str
    fps: float


class ClipFiles:
    """A folder of clips: ``clips.json`` lists them with layout and classes, each is an ``.npz`` with ``joints``.

    Args:
        path: the folder.

    Raises:
        DataError: the list is missing, damaged, names a clip twice, or files outside of the folder.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        index = path / INDEX
        try:
            listed = read_json(index, _MAX_INDEX)
            self.name = str(listed["name"])
            self.biometric = bool(listed["biometric"])
            self.layout = LAYOUTS[listed["layout"]]
            if not isinstance(listed["classes"], list):
                raise TypeError("classes are no list")
            self.classes = tuple(str(name) for name in listed["classes"])
            self._clips = [
                WrittenClip(str(s["key"]), int(s["label"]), str(s["subject"]), float(s["fps"])) for s in listed["clips"]
            ]
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            raise DataError(f"{index}: expected a list of clips as gaitkeeper attack writes it ({error!r})") from error
        seen: set[str] = set()
        for sample in self._clips:
            known = 0 <= sample.label < len(self.classes) and 0 < sample.fps < math.inf
            if not _stays_below(sample.key) or not known or sample.key in seen:
                raise DataError(
                    f"{index}: expected clips of other names below the folder, of one of {len(self.classes)} classes "
                    f"and with a rate, found {str(sample)[:200]}"
                )
            seen.add(sample.key)
        self.samples: Sequence[ClipSample] = self._clips
        # Clips tell their rates themselves; as a set they are none of motion capture that is to be resampled.
        self.fps = min(self.layout.fps, CAPTURE_FPS)

    def load(self, indices: Sequence[int]) -> list[np.ndarray | DataError]:
        """Return, for each clip asked for, joints ``(m, t, v, 3)`` float32 in metres or what is wrong with it."""
        return load_each(indices, lambda index: self._read(self._path / f"{self.samples[index].key}.npz"))

    def _read(self, file: Path) -> np.ndarray:
        joints = archived_array(file, "joints")
        wanted = (len(self.layout), 3)
        if joints.ndim != 4 or joints.shape[2:] != wanted or joints.dtype != np.float32 or joints.size > _MAX_VALUES:
            raise DataError(
                f"{file}: expected float32 joints (m, t, {wanted[0]}, 3), found {joints.shape} {joints.dtype}"
            )
        if not np.isfinite(joints).all():
            raise DataError(f"{file}: expected finite joints, found NaN or infinite ones")
        return np.array(joints)


def _stays_below(key: str) -> bool:
    return key.isprintable() and not Path(key).is_absolute() and ".." not in Path(key).parts


def write_clip(root: Path, key: str, joints: np.ndarray) -> Path:
    """Write a clip ``(m, t, v, 3)`` float32 as ``<key>.npz`` below a folder, whole or not at all.

    Raises:
        DataError: the key would lead out of the folder.
    """
    if not _stays_below(key):
        raise DataError(f"expected a clip's name that stays below {root}, got {key[:80]!r}")
    path = root / f"{key}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, joints=np.ascontiguousarray(joints))
    return path


def write_index(
    root: Path,
    clips: Sequence[Mapping[str, Any]],
    *,
    name: str,
    layout: Layout,
    classes: Sequence[str],
    biometric: bool,
) -> None:
    """Write the list of a folder's clips, each with ``key``, ``label``, ``subject`` and ``fps``."""
    listed = {
        "name": name, "layout": layout.name, "biometric": biometric, "classes": list(classes), "clips": list(clips),
    }  # fmt: skip
    write_text(root / INDEX, json.dumps(listed, indent=1) + "\n")
