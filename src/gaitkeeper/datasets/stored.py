"""Clips in files: what the readers of all published forms share."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from gaitkeeper.datasets.tree import read_bounded
from gaitkeeper.errors import DataError

Split = Literal["train", "test", "all"]
"""Clips by a published split: for training, for testing, or both."""

MIN_FRAMES = 8
"""Fewest frames of a clip."""

MAX_DISTANCE = 100.0
"""Largest coordinate: a Kinect sees some eight metres, and larger numbers are in other units or damaged."""

MAX_CLASSES = 10_000
"""Most classes of a data set that only numbers them."""

UNKNOWN = "unknown"
"""The subject of clips whose form does not tell who acts."""


@dataclass(frozen=True, order=True)
class StoredClip:
    """One clip of a file or folder.

    Args:
        key: its name, unique in the data set.
        label: the class's number from 0.
        subject: who acts.
    """

    key: str
    label: int
    subject: str = UNKNOWN


def present_people(joints: np.ndarray, source: object, *, least: int = MIN_FRAMES) -> np.ndarray:
    """Return a clip's people, without the frames in which there is nobody.

    Args:
        joints: ``(m, t, v, 3)``, 0 where somebody is absent.
        source: where they are from, for messages.
        least: fewest frames.

    Returns:
        ``(m, t, v, 3)`` float32 of the one or two people who are there at some time.

    Raises:
        DataError: naming the source: coordinates are not finite or beyond ``MAX_DISTANCE``, there are more than two
            people, or too few frames show one.
    """
    joints = np.asarray(joints, np.float32)
    if not np.isfinite(joints).all():
        raise DataError(f"{source}: expected finite joints, found NaN or infinite ones")
    farthest = float(np.abs(joints).max(initial=0))
    if farthest > MAX_DISTANCE:
        raise DataError(f"{source}: expected coordinates within {MAX_DISTANCE:g} m, found {farthest:g}")
    joints = joints[joints.any((1, 2, 3))]
    joints = joints[:, joints.any((0, 2, 3))]
    if len(joints) > 2:
        raise DataError(f"{source}: expected at most two people, found {len(joints)}")
    if joints.shape[1] < least:
        raise DataError(f"{source}: expected at least {least} frames with a body, found {joints.shape[1]}")
    return np.ascontiguousarray(joints)


def load_each(indices: Sequence[int], read: Callable[[int], np.ndarray]) -> list[np.ndarray | DataError]:
    """Return what ``read`` gives for each sample, or the DataError that it raises."""
    found: list[np.ndarray | DataError] = []
    for index in indices:
        try:
            found.append(read(index))
        except DataError as error:
            found.append(error)
    return found


def chosen(
    what: str, path: Path, asked: Sequence[str] | None, split: Sequence[str], there: Sequence[str]
) -> frozenset[str]:
    """Return the names to keep: those of a split that are asked for, all of them if None.

    Raises:
        DataError: a name is asked for that is not there at all.
    """
    unknown = [name for name in asked or () if name not in there]
    if unknown:
        listed = ", ".join(there[:12]) + (" ..." if len(there) > 12 else "")
        raise DataError(f"{path}: no {what} {', '.join(unknown)}; it has {listed}")
    return frozenset(split if asked is None else set(split) & set(asked))


def check_folder(path: Path, what: str) -> None:
    """Raise a DataError unless the path is a folder, which is of ``what``."""
    if not path.is_dir():
        raise DataError(f"{path}: expected a folder of {what}, found {'a file' if path.exists() else 'nothing'}")


def read_json(file: Path, limit: int) -> Any:
    """Read a JSON file of at most ``limit`` bytes.

    Raises:
        DataError: naming the file: it is missing, too large, not UTF-8, cut off or no JSON.
    """
    data = read_bounded(file, limit)
    try:
        return json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: expected UTF-8 text, found byte 0x{data[error.start]:02x}") from error
    except json.JSONDecodeError as error:
        raise DataError(
            f"{file}, line {error.lineno}: expected JSON, it is damaged or cut off ({error.msg})"
        ) from error
    # Numbers of thousands of digits, and lists nested deeper than the reader goes.
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file}: not JSON that can be read ({str(error).splitlines()[0][:120]})") from error


def mapped_array(path: Path) -> np.ndarray:
    """Return the array of an ``.npy`` file without reading it, and without pickles.

    Raises:
        DataError: the file is missing, no array of numbers, or shorter than its header says.
    """
    _check_file(path)
    try:
        found = np.lib.format.open_memmap(path, mode="r")
    # What a damaged header makes its reader raise has no end.
    except Exception as error:
        raise DataError(f"{path}: not an .npy file of numbers that can be read ({_reason(error)})") from error
    if found.dtype.kind not in "fiub":
        raise DataError(f"{path}: expected an array of numbers, found {found.dtype}")
    return found


def archived_array(path: Path, name: str) -> np.ndarray:
    """Return an array of an uncompressed ``.npz`` file without reading it, and without pickles.

    Raises:
        DataError: the file is missing, no archive, lacks the array, holds it compressed or as something else than
            numbers in C order, or is shorter than the array's header says.
    """
    _check_file(path)
    try:
        with zipfile.ZipFile(path) as archive:
            entry = archive.getinfo(f"{name}.npy")
            if entry.compress_type != zipfile.ZIP_STORED:
                raise DataError(f"{path}: expected {name} as numpy.savez stores it, found it compressed")
            with archive.open(entry) as stream:
                version = np.lib.format.read_magic(stream)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, fortran, kind = read(stream)
                header = stream.tell()
        with path.open("rb") as file:
            # The name and extra field before the data may be longer than the directory at the end says.
            file.seek(entry.header_offset)
            local = file.read(30)
            start = entry.header_offset + 30 + int.from_bytes(local[26:28], "little")
            start += int.from_bytes(local[28:30], "little") + header
    except DataError:
        raise
    except KeyError as error:
        raise DataError(f"{path}: expected an array {name}, found none") from error
    # What a damaged archive or header makes its reader raise has no end.
    except Exception as error:
        raise DataError(f"{path}: not an .npz file that can be read ({_reason(error)})") from error
    if kind.kind not in "fiub" or fortran:
        raise DataError(f"{path}: expected numbers in C order in {name}, found {kind}{' in F order' * fortran}")
    size = math.prod(shape) * kind.itemsize
    there = min(entry.file_size - header, path.stat().st_size - start)
    if any(count < 1 for count in shape) or size > there:
        raise DataError(f"{path}: expected {size} bytes of {name} {shape}, found {there}")
    return np.memmap(path, kind, "r", start, shape)


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise DataError(f"{path}: expected a file, found {'something else' if path.exists() else 'nothing'}")


def _reason(error: Exception) -> str:
    return (str(error).splitlines()[0] if str(error) else type(error).__name__)[:120]
