"""Video of any length, one frame at a time: read from the decoding process, with its time stamps and colors."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from gaitkeeper.errors import VideoError
from gaitkeeper.perception.decoder import STAMP, UNSPECIFIED
from gaitkeeper.perception.process import DecodingProcess


@dataclass(frozen=True, kw_only=True)
class StreamLimits:
    """How much a stranger's video may take while it streams; its length is not among it.

    Args:
        bytes: greatest size of the file.
        pixels: most pixels of a frame as stored.
        stall: seconds without a frame after which the decoder counts as hanging. Time in which nobody asks for a
            frame does not count.
    """

    bytes: int = 2**40
    pixels: int = 7680 * 4320
    stall: float = 60.0


@dataclass(frozen=True, kw_only=True)
class Color:
    """How a file means its colors; numbers as in H.273, 2 where the file does not tell.

    Args:
        matrix: between YUV and RGB.
        full: whether black is 0 and white 255 in the file, not 16 and 235.
        transfer: between light and values.
        primaries: what red, green and blue are.
    """

    matrix: int = UNSPECIFIED
    full: bool = False
    transfer: int = UNSPECIFIED
    primaries: int = UNSPECIFIED


@dataclass(frozen=True, kw_only=True)
class Recording:
    """What is known of a video before all of it is decoded.

    Args:
        path: the file.
        rows: height in pixels, upright.
        columns: width in pixels, upright.
        fps: frames a second, on average.
        time_base: the tick that time stamps are counted in, in seconds.
        frames: how many the header announces, if it does.
        seconds: how long the header says it is, if it does.
        variable: whether frames are unevenly spaced, as far as the first few hundred tell.
        audio: whether there is sound.
        rotation: degrees by which players turn the stored pictures clockwise; frames come turned.
        codec: the decoder's name.
        pixel_format: FFmpeg's name of how pixels are stored.
        bits: a channel's; frames come with 8.
        interlaced: whether frames are woven from two moments; they are left so.
        aspect: a pixel's width over its height, upright.
        color: how the colors are meant.
        damaged: what the header alone shows to be missing, if anything.
    """

    path: Path
    rows: int
    columns: int
    fps: Fraction
    time_base: Fraction = Fraction(1, 90_000)
    frames: int | None = None
    seconds: float | None = None
    variable: bool = False
    audio: bool = False
    rotation: int = 0
    codec: str = ""
    pixel_format: str = "yuv420p"
    bits: int = 8
    interlaced: bool = False
    aspect: Fraction = Fraction(1)
    color: Color = field(default_factory=Color)
    damaged: str | None = None


class Frame(NamedTuple):
    """A decoded frame.

    Args:
        picture: ``(rows, columns, 3)`` uint8 RGB, the reader's own.
        time: seconds since the start of the file, exact.
    """

    picture: np.ndarray
    time: Fraction


def probe(path: Path | str, *, limits: StreamLimits | None = None) -> Recording:
    """Look at a video file without decoding more than its first frame.

    Args:
        path: the file, in any container and codec that FFmpeg knows.
        limits: what it may take.

    Returns:
        What is known of it.

    Raises:
        VideoError: the file is missing, no video, beyond a limit, or it killed or stalled the decoder.
    """
    path, limits = Path(path), limits or StreamLimits()
    request = {"task": "probe", "bytes": limits.bytes, "pixels": limits.pixels}
    with DecodingProcess(path, request, limits.stall) as decoder:
        line = decoder.line()
        decoder.finish()
    return _recording(path, json.loads(line))


class Frames:
    """The frames of a video, in order, at most a few of them in memory however long it is.

    A context manager to iterate over once; entered again, it starts from the first frame::

        with Frames(path) as frames:
            for picture, time in frames: ...

    Args:
        path: the file.
        limits: what it may take.
        max_rows: frames with more rows are shrunk to this many; None keeps the size.
        partial: end quietly where the file is damaged, cut short or changes its frames' size, and tell so in
            ``damaged``, instead of raising. A file that kills or stalls the decoder, or of which not even one frame
            decodes, raises all the same.

    Attributes:
        recording: what is known of the file, after entering.
        shape: ``(rows, columns, 3)`` of the pictures, after entering.
        damaged: why the frames ended early, None if they did not.

    Raises:
        VideoError: on entering, the file is missing, no video or beyond a limit; while iterating, it is damaged,
            truncated, changes the size of its frames, or it killed or stalled the decoder.
    """

    recording: Recording
    shape: tuple[int, int, int]

    def __init__(
        self,
        path: Path | str,
        *,
        limits: StreamLimits | None = None,
        max_rows: int | None = None,
        partial: bool = False,
    ) -> None:
        self.path, self.limits, self.max_rows, self.partial = Path(path), limits or StreamLimits(), max_rows, partial
        self.damaged: str | None = None
        self._stack = ExitStack()
        self._frames: Iterator[Frame] = iter(())

    @property
    def scale(self) -> float:
        """Rows of the pictures over rows in the file, after entering."""
        return self.shape[0] / self.recording.rows

    def __enter__(self) -> Frames:
        limits = self.limits
        request = {"task": "frames", "max_rows": self.max_rows, "bytes": limits.bytes, "pixels": limits.pixels}
        with ExitStack() as stack:
            decoder = stack.enter_context(DecodingProcess(self.path, request, limits.stall))
            line = decoder.line()
            if not line.endswith(b"\n"):
                decoder.finish()
            facts = json.loads(line)
            self.recording, self.shape = _recording(self.path, facts), tuple(facts["delivered"])
            if self.recording.damaged and not self.partial:  # known now, instead of after hours
                raise VideoError(f"{self.path}: {self.recording.damaged}")
            self.damaged, self._frames = None, self._received(decoder)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._frames = iter(())
        self._stack.close()

    def __iter__(self) -> Iterator[Frame]:
        return self._frames

    def _received(self, decoder: DecodingProcess) -> Iterator[Frame]:
        base, count = self.recording.time_base, 0
        stamp, size = bytearray(STAMP.size), math.prod(self.shape)
        while decoder.fill(stamp):
            picture = np.empty(size, np.uint8)
            if not decoder.fill(picture.data):
                break
            count += 1
            yield Frame(picture.reshape(self.shape), STAMP.unpack(stamp)[0] * base)
        self.damaged = decoder.finish(partial=self.partial and count > 0)


def _recording(path: Path, facts: Mapping[str, Any]) -> Recording:
    values = {key: value for key, value in facts.items() if key != "delivered"}
    fractions = {key: Fraction(facts[key]) for key in ("fps", "time_base", "aspect")}
    return Recording(path=path, **{**values, **fractions, "color": Color(**facts["color"])})
