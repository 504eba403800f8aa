"""Silhouettes in folders: what the readers of all published layouts share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from gaitkeeper.datasets.base import Sample
from gaitkeeper.errors import DataError
from gaitkeeper.motion.silhouettes import HEIGHT, WIDTH, align

ALIGNED = ((HEIGHT, 64), (HEIGHT, WIDTH))
"""Rows and columns of pictures that are aligned already: as GaitSet stores them, and as networks take them."""

MIN_FRAMES = 5
"""Fewest usable frames of a sequence (OpenGait warns below the same number)."""


class SequenceTree(ABC):
    """Silhouette sequences of real people, a folder each; a subclass knows one layout.

    Args:
        path: the folder of subjects.
        subjects: names to keep; None keeps all.
        views: camera views in degrees to keep; None keeps all.

    Raises:
        DataError: the folder is missing, holds no sequences in this layout, or lacks a subject or view asked for.
    """

    biometric = True
    layout: ClassVar[str]
    """The folders and files that are expected, for messages."""
    files: ClassVar[str]
    """The pattern of a sequence's files."""

    def __init__(
        self, path: Path, *, subjects: Sequence[str] | None = None, views: Sequence[int] | None = None
    ) -> None:
        check_folder(path)
        self.name = path.resolve().name
        found: dict[Sample, Path] = {}
        for sample, folder in self.find(path):
            if sample in found:
                raise DataError(f"{folder}: expected one folder of {sample.key}, found {found[sample]} too")
            found[sample] = folder
        if not found:
            raise DataError(f"{path}: expected folders {self.layout}, found none")
        _check_known(path, "subject", subjects, sorted({sample.subject for sample in found}))
        _check_known(path, "view", views, sorted({sample.view for sample in found}))
        self._folders = {
            sample: folder
            for sample, folder in found.items()
            if (subjects is None or sample.subject in subjects) and (views is None or sample.view in views)
        }
        if not self._folders:
            raise DataError(f"{path}: the subjects asked for have no sequence in the views asked for")
        self.samples: Sequence[Sample] = list(self._folders)

    @staticmethod
    @abstractmethod
    def find(path: Path) -> Iterator[tuple[Sample, Path]]:
        """Yield every sequence below a folder of subjects and its own folder, by name."""

    @staticmethod
    @abstractmethod
    def read(folder: Path) -> np.ndarray:
        """Read one sequence's aligned silhouettes ``(t, 64, 44)`` uint8, or raise a DataError that names the file."""

    def load(self, indices: Sequence[int]) -> list[np.ndarray | DataError]:
        """Return each sample's aligned silhouettes ``(t, 64, 44)`` uint8, or what is wrong with it."""
        found: list[np.ndarray | DataError] = []
        for index in indices:
            try:
                found.append(self.read(self._folders[self.samples[index]]))
            except DataError as error:
                found.append(error)
        return found


def check_folder(path: Path) -> None:
    """Raise a DataError unless the path is a folder."""
    if not path.is_dir():
        raise DataError(f"{path}: expected a folder of silhouettes, found {'a file' if path.exists() else 'nothing'}")


def view_folders(path: Path) -> Iterator[tuple[Sample, Path]]:
    """Yield the sequences of a tree ``<subject>/<condition>/<view in degrees>/``, by name."""
    for folder in sorted(path.glob("*/*/*")):
        subject, condition, view = folder.relative_to(path).parts
        if view.isdecimal() and folder.is_dir():
            yield Sample(subject, condition, int(view)), folder


def read_bounded(file: Path, limit: int) -> bytes:
    """Read a whole file of at most ``limit`` bytes.

    Raises:
        DataError: it is no file, cannot be read, or is larger.
    """
    try:
        if not file.is_file():
            raise DataError(f"{file}: expected a file, found {'something else' if file.exists() else 'nothing'}")
        size = file.stat().st_size
        if size > limit:
            raise DataError(f"{file}: expected at most {limit} bytes, found {size}")
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from error


def usable_frames(pictures: Iterable[np.ndarray], source: Path) -> np.ndarray:
    """Bring a sequence's pictures to aligned silhouettes and drop those without a person.

    Pictures of 64 rows and 64 or 44 columns are taken as aligned already; all others are aligned to the person.

    Args:
        pictures: ``(rows, columns)`` uint8 each, 0 is background and 255 the person; used one after the other.
        source: the file or folder that they are from.

    Returns:
        ``(t, 64, 44)`` uint8.

    Raises:
        DataError: sizes differ, values are 0 and 1, or fewer than ``MIN_FRAMES`` frames show a person.
    """
    kept: list[np.ndarray] = []
    sizes: list[tuple[int, ...]] = []
    brightest = 0
    for picture in pictures:
        sizes.append(picture.shape)
        if picture.shape != sizes[0]:
            found = ", ".join(f"{rows}x{columns}" for rows, columns in sorted({sizes[0], picture.shape}))
            raise DataError(f"{source}: expected pictures of one size, found {found} (frames 1 and {len(sizes)})")
        brightest = max(brightest, int(picture.max()))
        frame = _cut(picture) if picture.shape in ALIGNED else align(picture)
        if frame is not None:
            kept.append(frame)
    if brightest == 1:
        raise DataError(f"{source}: expected grey values from 0 to 255, found only 0 and 1")
    if len(kept) < MIN_FRAMES:
        raise DataError(
            f"{source}: expected at least {MIN_FRAMES} frames with a person, found {len(kept)} of {len(sizes)}"
        )
    return np.stack(kept)


def _cut(picture: np.ndarray) -> np.ndarray | None:
    """Return the middle columns of an aligned picture, or None where it is empty."""
    margin = (picture.shape[1] - WIDTH) // 2
    picture = picture[:, margin : margin + WIDTH]
    return picture if picture.any() else None


def _check_known(path: Path, what: str, asked: Sequence[object] | None, there: Sequence[object]) -> None:
    unknown = [str(name) for name in asked or () if name not in there]
    if unknown:
        shown = ", ".join(map(str, there[:10])) + (" ..." if len(there) > 10 else "")
        raise DataError(f"{path}: no {what} {', '.join(unknown)}; it has {shown}")
