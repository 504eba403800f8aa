"""Pickled silhouettes as OpenGait prepares them, read without running anything in them."""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gaitkeeper.datasets.base import Sample
from gaitkeeper.datasets.tree import ALIGNED, SequenceTree, read_bounded, usable_frames, view_folders
from gaitkeeper.errors import DataError

MAX_BYTES = 64 * 2**20
"""Largest file that is read: nine minutes of walking."""

_MAX_STEPS = 1000
"""Most instructions of a pickle; an array takes some forty."""

_MAX_CALLS = 8
"""Most calls of each global, so that a small file cannot make many large copies."""

_KINDS = ("u1", "b1", "f2", "f4", "f8")


class OpenGaitFolder(SequenceTree):
    """Silhouette sequences as ``<subject>/<type>/<view>/<view>.pkl``, each a numpy array of aligned pictures.

    Arrays are ``(t, 64, 64)`` or ``(t, 64, 44)``: uint8 from 0 to 255 as OpenGait writes them, or bool, or floats
    in [0, 1]. Of several pickles in a folder the one named after the view is read.

    Args:
        path: the folder of subjects.
        subjects: names to keep; None keeps all.
        views: camera views in degrees to keep; None keeps all.

    Raises:
        DataError: the folder is missing, holds no sequences in this layout, or lacks a subject or view asked for.

    Reference:
        Fan et al., "OpenGait: Revisiting gait recognition toward better practicality", CVPR 2023; the layout is
        that of its ``datasets/pretreatment.py``.
    """

    layout = "<subject>/<type>/<view in degrees>/ of pickled arrays (.pkl)"
    files = "*.pkl"

    @staticmethod
    def find(path: Path) -> Iterator[tuple[Sample, Path]]:
        """Yield every sequence below a folder of subjects and its own folder, by name."""
        return view_folders(path)

    @staticmethod
    def read(folder: Path) -> np.ndarray:
        """Read the silhouettes of one sequence's folder, ``(t, 64, 44)`` uint8.

        Raises:
            DataError: naming the folder or file: no pickle or several of which none is named after the view, and
                all that :func:`read_pickle` refuses; too few frames with a person in them.
        """
        files = sorted(file for file in folder.glob("*.pkl") if not file.name.startswith("."))
        if not files:
            raise DataError(f"{folder}: expected a pickled array (.pkl), found none")
        named = [file for file in files if file.stem == folder.name]
        if len(files) > 1 and not named:
            names = ", ".join(file.name for file in files[:6])
            raise DataError(f"{folder}: expected one pickle or one named {folder.name}.pkl, found {names}")
        file = (named or files)[0]
        return usable_frames(read_pickle(file), file)


def read_pickle(file: Path) -> np.ndarray:
    """Read a pickled array of aligned silhouettes, without running anything that the file names.

    Nothing of numpy is called either until type, shape and size have been checked: the few globals that a
    pickled array needs are replaced by ones that only take notes.

    Returns:
        ``(t, 64, 64)`` or ``(t, 64, 44)`` uint8.

    Raises:
        DataError: naming the file: too large, damaged, a global that no array needs, another type or shape, values
            that are no silhouette's.
    """
    data = read_bounded(file, MAX_BYTES)
    try:
        _check_steps(data)
        found = _Unpickler(data, file).load()
    except DataError:
        raise
    # What a hostile or damaged pickle makes its reader raise has no end.
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{file}: not a pickled array of silhouettes ({reason})") from error
    if not isinstance(found, _Array) or not isinstance(found.kind, _Kind):
        kind = "an array without contents" if isinstance(found, _Array) else type(found).__name__
        raise DataError(f"{file}: expected a pickled array, found {kind}")
    if found.kind.name not in _KINDS:
        raise DataError(f"{file}: expected an array of type uint8, bool or float, found {found.kind.name!r}")
    shape = found.shape
    whole = isinstance(shape, tuple) and len(shape) == 3 and all(type(size) is int for size in shape)
    if not whole or shape[1:] not in ALIGNED or shape[0] < 0:
        sizes = " or ".join(f"(frames, {rows}, {columns})" for rows, columns in ALIGNED)
        raise DataError(f"{file}: expected an array of shape {sizes}, found {str(shape)[:60]}")
    stored = np.dtype(found.kind.name).newbyteorder(found.kind.order)
    needed = math.prod(shape) * stored.itemsize
    if not isinstance(found.raw, (bytes, bytearray)) or len(found.raw) != needed:
        held = len(found.raw) if isinstance(found.raw, (bytes, bytearray)) else "no"
        raise DataError(f"{file}: expected {needed} bytes of an array {shape}, found {held}")
    # Any byte but 0 is true, which arrays of bool that numpy made need not be told.
    array = np.frombuffer(found.raw, np.uint8 if found.kind.name == "b1" else stored)
    return _grey(file, array.reshape(shape, order="F" if found.fortran else "C"), found.kind.name)


def _grey(file: Path, array: np.ndarray, kind: str) -> np.ndarray:
    """Return an array's values as grey from 0 to 255."""
    if kind == "u1":
        return array
    if kind == "b1":
        return np.where(array != 0, np.uint8(255), np.uint8(0))
    if not np.isfinite(array).all():
        raise DataError(f"{file}: expected finite values, found NaN or infinite ones")
    if array.size and not (array.min() >= 0 and array.max() <= 1):
        raise DataError(f"{file}: expected floats from 0 to 1, found {array.min():g} to {array.max():g}")
    return np.rint(255 * array.astype(np.float32)).astype(np.uint8)


def _check_steps(data: bytes) -> None:
    """Refuse pickles that would take memory by an instruction's word: long programs, and far places to remember."""
    for step, (instruction, argument, _) in enumerate(pickletools.genops(data)):
        if step > _MAX_STEPS:
            raise ValueError(f"more than {_MAX_STEPS} instructions")
        if instruction.name in {"PUT", "BINPUT", "LONG_BINPUT"} and not 0 <= int(argument or 0) <= _MAX_STEPS:
            raise ValueError(f"it would remember a value at place {argument}")


class _Kind:
    """Stands in for ``numpy.dtype``: a type's name and byte order."""

    def __init__(self, name: str, *flags: object) -> None:
        self.name = str(name)[:20].lstrip("|<>=")
        self.order: Any = "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] not in {"|", "<", ">", "="}:
            raise ValueError(f"unknown byte order {str(state[1])[:20]!r}")
        self.order = state[1]


class _Array:
    """Stands in for ``numpy.ndarray``: what an array would be made of, all of it unchecked."""

    def __init__(self, shape: Any = None, kind: Any = None, order: Any = "C", raw: Any = None) -> None:
        self.shape, self.kind, self.raw = shape, kind, raw
        self.fortran = order == "F"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, self.shape, self.kind, fortran, self.raw = state
        self.fortran = bool(fortran)


class _Global:
    """A global of a pickle: it can be called a few times, and nothing can be set on it."""

    __slots__ = ("_calls", "_function")

    def __init__(self, function: Callable[..., object]) -> None:
        self._function, self._calls = function, 0

    def __call__(self, *arguments: object) -> object:
        self._calls += 1
        if self._calls > _MAX_CALLS:
            raise ValueError("it makes too many objects")
        return self._function(*arguments)

    def __setstate__(self, state: object) -> None:
        raise ValueError("it changes a global")


def _reconstruct(*arguments: object) -> _Array:
    """Stands in for ``numpy.core.multiarray._reconstruct``, which makes an empty array that is filled later."""
    return _Array()


def _from_buffer(raw: object, kind: object, shape: object, order: object) -> _Array:
    """Stands in for ``numpy.core.numeric._frombuffer``, which pickles since protocol 5 call."""
    return _Array(shape, kind, order, raw)


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """Stands in for ``_codecs.encode``, by which pickles up to protocol 2 hold bytes."""
    if encoding != "latin1":
        raise ValueError(f"bytes in the encoding {str(encoding)[:20]!r}")
    return text.encode("latin1")


# An array's class is only ever handed to _reconstruct.
_GLOBALS: dict[tuple[str, str], Callable[..., object]] = {
    ("numpy", "ndarray"): _reconstruct,
    ("numpy", "dtype"): _Kind,
    ("_codecs", "encode"): _encode,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _from_buffer for core in ("core", "_core")},
}


class _Unpickler(pickle.Unpickler):
    """An unpickler that knows the globals of a numpy array, as stand-ins made anew for each file."""

    def __init__(self, data: bytes, file: Path) -> None:
        super().__init__(io.BytesIO(data))
        self._file = file
        self._globals = {name: _Global(function) for name, function in _GLOBALS.items()}

    def find_class(self, module: str, name: str) -> _Global:
        """Return the stand-in of a global, or raise a DataError that names it."""
        if (module, name) not in self._globals:
            raise DataError(
                f"{self._file}: the pickle asks for {module[:60]}.{name[:60]}, which no array needs; it is not read"
            )
        return self._globals[module, name]
