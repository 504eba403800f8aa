"""Pickles of strangers, read without running anything in them: containers, strings, numbers and numpy arrays.

Nothing of numpy is called either until type, shape and size have been checked: the few globals that a pickled array
needs are replaced by ones that only take notes.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from gaitkeeper.errors import DataError

_MAX_AXES = 8
"""Most axes of an array."""

_NUMBERS = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")


def unpickle(file: Path, what: str, *, limit: int, steps: int) -> Any:
    """Read a pickle.

    Args:
        file: the pickle.
        what: what it should be, for messages.
        limit: most bytes of the file.
        steps: most instructions; an array takes some forty.

    Returns:
        What was pickled: built-in containers, strings, bytes and numbers, among which numpy's; arrays as
        :class:`PickledArray`.

    Raises:
        DataError: naming the file: it is missing, too large, damaged, or asks for any other global.
    """
    if not file.is_file():
        raise DataError(f"{file}: expected a file, found {'something else' if file.exists() else 'nothing'}")
    try:
        with file.open("rb") as stream:
            size = stream.seek(0, io.SEEK_END)
            if size > limit:
                raise DataError(f"{file}: expected at most {limit} bytes, found {size}")
            stream.seek(0)
            _check_steps(stream, size, steps)
            stream.seek(0)
            return _Unpickler(stream, file, size).load()
    except DataError:
        raise
    # What a hostile or damaged pickle makes its reader raise has no end.
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{file}: not a pickle of {what} ({reason[:120]})") from error


class PickledArray:
    """What a pickled array would be made of, all of it unchecked; stands in for ``numpy.ndarray``."""

    def __init__(self, shape: Any = None, kind: Any = None, order: Any = "C", raw: Any = None) -> None:
        self._shape, self._kind, self._raw = shape, kind, raw
        self._fortran = order == "F"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, self._shape, self._kind, fortran, self._raw = state
        self._fortran = bool(fortran)

    def array(self, source: object, kinds: Sequence[str], called: str) -> np.ndarray:
        """Return the array; its contents are not copied.

        Args:
            source: where it is from, for messages.
            kinds: types that are accepted, as ``numpy.dtype.str`` without the byte order.
            called: these types in words.

        Raises:
            DataError: naming the source: another type, no shape, or another number of bytes than they say.
        """
        if not isinstance(self._kind, _Kind):
            raise DataError(f"{source}: expected a pickled array, found an array without contents")
        name, shape = self._kind.name, self._shape
        if name not in kinds:
            raise DataError(f"{source}: expected an array of type {called}, found {name!r}")
        whole = isinstance(shape, tuple) and len(shape) <= _MAX_AXES
        if not whole or not all(type(size) is int and 0 <= size < 2**40 for size in shape):
            raise DataError(f"{source}: expected the shape of an array, found {str(shape)[:60]}")
        stored = np.dtype(name).newbyteorder(self._kind.order)
        needed = math.prod(shape) * stored.itemsize
        if not isinstance(self._raw, (bytes, bytearray)) or len(self._raw) != needed:
            held = len(self._raw) if isinstance(self._raw, (bytes, bytearray)) else "no"
            raise DataError(f"{source}: expected {needed} bytes of an array {str(shape)[:60]}, found {held}")
        # Any byte but 0 is true, which arrays of bool that numpy made need not be told.
        array = np.frombuffer(self._raw, np.uint8) != 0 if name == "b1" else np.frombuffer(self._raw, stored)
        try:
            return array.reshape(shape, order="F" if self._fortran else "C")
        # Of nothing, but along axes whose product is beyond what numpy counts.
        except ValueError as error:
            raise DataError(f"{source}: expected the shape of an array, found {shape}") from error


def _check_steps(stream: IO[bytes], size: int, most: int) -> None:
    """Refuse pickles that would take memory by an instruction's word: long programs, and far places to remember."""
    for step, (instruction, argument, _) in enumerate(pickletools.genops(stream)):
        if step > most:
            raise ValueError(f"more than {most} instructions")
        if instruction.name in {"PUT", "BINPUT", "LONG_BINPUT"} and not 0 <= int(argument or 0) <= step:
            raise ValueError(f"it would remember a value at place {argument}")
        if instruction.name == "FRAME" and not 0 <= int(argument or 0) <= size:
            raise ValueError(f"a frame of {argument} bytes in a file of {size}")


class _Kind:
    """Stands in for ``numpy.dtype``: a type's name and byte order."""

    def __init__(self, name: str, *flags: object) -> None:
        self.name = str(name)[:20].lstrip("|<>=")
        self.order: Any = "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] not in {"|", "<", ">", "="}:
            raise ValueError(f"unknown byte order {str(state[1])[:20]!r}")
        self.order = state[1]


class _Global:
    """A global of a pickle: it can be called, and nothing can be set on it."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., object]) -> None:
        self._function = function

    def __call__(self, *arguments: object) -> object:
        return self._function(*arguments)

    def __setstate__(self, state: object) -> None:
        raise ValueError("it changes a global")


def _reconstruct(*arguments: object) -> PickledArray:
    """Stands in for ``numpy.core.multiarray._reconstruct``, which makes an empty array that is filled later."""
    return PickledArray()


def _from_buffer(raw: object, kind: object, shape: object, order: object) -> PickledArray:
    """Stands in for ``numpy.core.numeric._frombuffer``, which pickles since protocol 5 call."""
    return PickledArray(shape, kind, order, raw)


# An array's class is only ever handed to _reconstruct.
_GLOBALS: dict[tuple[str, str], Callable[..., object]] = {
    ("numpy", "ndarray"): _reconstruct,
    ("numpy", "dtype"): _Kind,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _from_buffer for core in ("core", "_core")},
}


class _Unpickler(pickle.Unpickler):
    """An unpickler that knows the globals of a numpy array, as stand-ins made anew for each file."""

    def __init__(self, stream: IO[bytes], file: Path, size: int) -> None:
        super().__init__(stream)
        self._file, self._left = file, size
        self._globals = {name: _Global(function) for name, function in _GLOBALS.items()}
        self._globals["_codecs", "encode"] = _Global(self._encode)
        self._globals["numpy.core.multiarray", "scalar"] = _Global(self._scalar)
        self._globals["numpy._core.multiarray", "scalar"] = _Global(self._scalar)

    def find_class(self, module: str, name: str) -> _Global:
        """Return the stand-in of a global, or raise a DataError that names it."""
        if (module, name) not in self._globals:
            raise DataError(
                f"{self._file}: the pickle asks for {module[:60]}.{name[:60]}, which no array needs; it is not read"
            )
        return self._globals[module, name]

    def _scalar(self, kind: object, raw: object) -> object:
        """Stands in for ``numpy.core.multiarray.scalar``; returns Python's number of the same value."""
        return PickledArray((), kind, "C", raw).array(self._file, _NUMBERS, "bool, int or float").item()

    def _encode(self, text: str, encoding: str = "latin1") -> bytes:
        """Stands in for ``_codecs.encode``, by which pickles up to protocol 2 hold bytes.

        All bytes of a file are in it once; one that makes more copies a text over and over.
        """
        if encoding != "latin1":
            raise ValueError(f"bytes in the encoding {str(encoding)[:20]!r}")
        self._left -= len(text)
        if self._left < 0:
            raise ValueError("it makes more bytes than the file has")
        return text.encode("latin1")
