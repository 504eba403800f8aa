"""Silhouettes as PNG files in the folders of CASIA-B: the published ones, aligned ones, and a user's own."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gaitkeeper.datasets.base import Sample
from gaitkeeper.datasets.tree import SequenceTree, read_bounded, usable_frames, view_folders
from gaitkeeper.errors import DataError

MAX_PIXELS = 4096 * 4096
"""Largest picture that is decoded."""

MAX_BYTES = 64 * 2**20
"""Largest file that is read."""

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


class SilhouetteFolder(SequenceTree):
    """Silhouette sequences as ``<subject>/<condition>/<view>/*.png``, for instance CASIA-B as published.

    CASIA-B holds ``001/nm-01/000/001-nm-01-000-001.png``, binary pictures of 240 rows and 320 columns that show
    the whole scene. Pictures of 64 rows and 64 or 44 columns are taken as aligned already; all others are aligned
    to the person. Sequences may differ in size. Anything but PNG files in a sequence's folder is ignored.

    Args:
        path: the folder of subjects.
        subjects: names to keep; None keeps all.
        views: camera views in degrees to keep; None keeps all.

    Raises:
        DataError: the folder is missing, holds no sequences in this layout, or lacks a subject or view asked for.
    """

    layout = "<subject>/<condition>/<view in degrees>/ of PNG files"
    files = "*.png"

    @staticmethod
    def find(path: Path) -> Iterator[tuple[Sample, Path]]:
        """Yield every sequence below a folder of subjects and its own folder, by name."""
        return view_folders(path)

    @staticmethod
    def read(folder: Path) -> np.ndarray:
        """Read one sequence; see :func:`read_sequence`."""
        return read_sequence(folder)


def read_sequence(folder: Path) -> np.ndarray:
    """Read one sequence's PNG files in order of their names, numbers in them by value, ``(t, 64, 44)`` uint8.

    Raises:
        DataError: naming the folder or file: no pictures, an unreadable one, sizes that differ, too few frames with
            a person in them.
    """
    # Archives made on a Mac hold a hidden file beside each picture.
    files = sorted((file for file in folder.glob("*.png") if not file.name.startswith(".")), key=_frame_order)
    if not files:
        raise DataError(f"{folder}: expected PNG files, found none")
    return usable_frames(map(_read_grey, files), folder)


def _frame_order(file: Path) -> list[str | int]:
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", file.name)]


def _read_grey(file: Path) -> np.ndarray:
    import cv2

    data = read_bounded(file, MAX_BYTES)
    if data[:8] != _SIGNATURE or len(data) < 24:
        raise DataError(f"{file}: expected a PNG picture, found {len(data)} bytes of something else")
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    if width * height > MAX_PIXELS:
        raise DataError(f"{file}: expected at most {MAX_PIXELS} pixels, found {width}x{height}")
    _check_chunks(file, data)
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    except cv2.error:
        picture = None
    if picture is None:
        raise DataError(f"{file}: the picture cannot be decoded")
    return picture


def _check_chunks(file: Path, data: bytes) -> None:
    """Raise a DataError unless a PNG file is whole and its checksums hold: decoders fill in what is missing."""
    at, kind = len(_SIGNATURE), b""
    while kind != b"IEND":
        length = int.from_bytes(data[at : at + 4], "big")
        kind, end = data[at + 4 : at + 8], at + 12 + length
        if end > len(data):
            raise DataError(f"{file}: the picture is truncated: its end is missing after {len(data)} bytes")
        if zlib.crc32(data[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise DataError(f"{file}: the picture is damaged: a checksum at byte {at} does not hold")
        at = end
