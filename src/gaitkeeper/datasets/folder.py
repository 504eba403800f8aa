"""A user's own silhouettes, in the folders of CASIA-B."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gaitkeeper.datasets.base import Sample
from gaitkeeper.errors import DataError
from gaitkeeper.motion.silhouettes import HEIGHT, WIDTH, align_sequence

MIN_FRAMES = 5
"""Fewest usable frames of a sequence (OpenGait warns below the same number)."""

MAX_PIXELS = 4096 * 4096
"""Largest picture that is decoded."""


class SilhouetteFolder:
    """Silhouette sequences as ``<subject>/<condition>/<view>/*.png``.

    Pictures of 64 rows and 64 or 44 columns are taken as aligned already; all others are aligned to the person.
    Anything but PNG files in a sequence's folder is ignored.

    Args:
        path: the folder of subjects.
        subjects: names to keep; None keeps all.
        views: camera views in degrees to keep; None keeps all.

    Raises:
        DataError: the folder is missing, holds no sequences in this layout, or lacks a subject asked for.
    """

    biometric = True

    def __init__(
        self, path: Path, *, subjects: Sequence[str] | None = None, views: Sequence[int] | None = None
    ) -> None:
        if not path.is_dir():
            raise DataError(
                f"{path}: expected a folder of silhouettes, found {'a file' if path.exists() else 'nothing'}"
            )
        self.name = path.resolve().name
        self._folders: dict[Sample, Path] = {}
        for folder in sorted(path.glob("*/*/*")):
            subject, condition, view = folder.relative_to(path).parts
            wanted = (subjects is None or subject in subjects) and view.isdecimal()
            if folder.is_dir() and wanted and (views is None or int(view) in views):
                self._folders[Sample(subject, condition, int(view))] = folder
        if not self._folders:
            whose = "" if subjects is None else f" of subjects {', '.join(subjects)}"
            raise DataError(
                f"{path}: expected folders <subject>/<condition>/<view in degrees>/ of PNG files{whose}, found none"
            )
        found = {sample.subject for sample in self._folders}
        unknown = [subject for subject in subjects or () if subject not in found]
        if unknown:
            raise DataError(f"{path}: no subject {', '.join(unknown)}; it has {', '.join(sorted(found)[:10])} ...")
        self.samples: Sequence[Sample] = list(self._folders)

    def load(self, indices: Sequence[int]) -> list[np.ndarray | DataError]:
        """Return each sample's aligned silhouettes ``(t, 64, 44)`` uint8, or what is wrong with it."""
        found: list[np.ndarray | DataError] = []
        for index in indices:
            try:
                found.append(read_sequence(self._folders[self.samples[index]]))
            except DataError as error:
                found.append(error)
        return found


def read_sequence(folder: Path) -> np.ndarray:
    """Read one sequence's PNG files in order of their names, ``(t, 64, 44)`` uint8.

    Raises:
        DataError: naming the folder or file: no pictures, an unreadable one, sizes that differ, too few frames with
            a person in them.
    """
    files = sorted(folder.glob("*.png"))
    if not files:
        raise DataError(f"{folder}: expected PNG files, found none")
    frames = [_read_grey(file) for file in files]
    sizes = {frame.shape for frame in frames}
    if len(sizes) > 1:
        raise DataError(
            f"{folder}: expected pictures of one size, found {', '.join(f'{h}x{w}' for h, w in sorted(sizes))}"
        )
    pictures = np.stack(frames)
    if pictures.shape[1:] == (HEIGHT, 64):
        margin = (64 - WIDTH) // 2
        pictures = pictures[:, :, margin:-margin]
    if pictures.shape[1:] == (HEIGHT, WIDTH):
        usable = pictures[pictures.any(axis=(1, 2))]
    else:
        usable, _ = align_sequence(pictures)
    if len(usable) < MIN_FRAMES:
        raise DataError(
            f"{folder}: expected at least {MIN_FRAMES} frames with a person, found {len(usable)} of {len(pictures)}"
        )
    return usable


def _read_grey(file: Path) -> np.ndarray:
    import cv2

    data = np.frombuffer(file.read_bytes(), np.uint8)
    header = bytes(data[:24])
    if header[:8] != b"\x89PNG\r\n\x1a\n" or len(header) < 24:
        raise DataError(f"{file}: expected a PNG picture, found {len(data)} bytes of something else")
    width, height = int.from_bytes(header[16:20], "big"), int.from_bytes(header[20:24], "big")
    if width * height > MAX_PIXELS:
        raise DataError(f"{file}: expected at most {MAX_PIXELS} pixels, found {width}x{height}")
    if b"IEND" not in bytes(data[-16:]):
        raise DataError(f"{file}: the picture is truncated: its end is missing")
    picture = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
    if picture is None:
        raise DataError(f"{file}: the picture cannot be decoded")
    return picture
