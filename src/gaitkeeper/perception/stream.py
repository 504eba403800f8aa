"""Video of any length, one frame at a time: read from the decoding process, written with its time stamps and colors."""

from __future__ import annotations

import contextlib
import json
import math
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from gaitkeeper.errors import VideoError
from gaitkeeper.files import replacing
from gaitkeeper.perception.decoder import STAMP, UNSPECIFIED, coefficients


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
    with _Decoder(path, request, limits.stall) as decoder:
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
            decoder = stack.enter_context(_Decoder(self.path, request, limits.stall))
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

    def _received(self, decoder: _Decoder) -> Iterator[Frame]:
        base, count = self.recording.time_base, 0
        stamp, size = bytearray(STAMP.size), math.prod(self.shape)
        while decoder.fill(stamp):
            picture = np.empty(size, np.uint8)
            if not decoder.fill(picture.data):
                break
            count += 1
            yield Frame(picture.reshape(self.shape), STAMP.unpack(stamp)[0] * base)
        self.damaged = decoder.finish(partial=self.partial and count > 0)


class Writer:
    """A video that is written frame by frame with H.264: whole or not at all, and nothing but pictures and sound.

    No metadata of file or streams, no cover, chapters, subtitles or other streams, no time of creation, and no settings
    or version of the encoder travel or arise. Sound, if asked for, is copied packet by packet where MP4 takes it (what
    an encoder put inside its packets stays there) and encoded anew elsewhere. Sizes, pixel aspect, time stamps and the
    tags of color are kept. Odd sizes are kept exactly by storing color at full resolution, which not every player
    shows.

    A context manager::

        with Writer(target, frames.recording) as writer:
            for picture, time in frames:
                writer.add(picture, time)

    Args:
        path: the file; its suffix chooses the container (``.mp4``, ``.mkv``, ``.mov``).
        recording: what to keep: size, rate, ticks, aspect and color.
        sound: the video whose sound is kept; None for silence. Sound after the last frame is left out.
        quality: constant rate factor, 0 (best) to 51.
        partial: let the sound end where its file is damaged, instead of raising.
        limits: what the file with the sound may take.

    Attributes:
        copied_sound: after entering, whether the sound is copied (True) or encoded anew (False); None without sound.

    Raises:
        VideoError: the container does not take H.264, the disk is full, frames do not fit, none came, or the sound does
            not decode.
    """

    def __init__(
        self,
        path: Path | str,
        recording: Recording,
        *,
        sound: Path | str | None = None,
        quality: int = 18,
        partial: bool = False,
        limits: StreamLimits | None = None,
    ) -> None:
        self.path, self.recording, self.quality, self.partial = Path(path), recording, quality, partial
        self.sound, self.limits = None if sound is None else Path(sound), limits or StreamLimits()
        self.copied_sound: bool | None = None
        base = recording.time_base
        # Finer ticks than a microsecond overflow what MP4 counts with.
        self._base = base if base.denominator <= 1_000_000 else Fraction(1, 90_000)
        self._last: int | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Writer:
        import av

        with self._complaining(), ExitStack() as stack:
            sound = self._extracted(stack)
            # Leaving runs backwards: the rest is encoded, the container closed, and only then the name taken.
            temporary = stack.enter_context(replacing(self.path))
            options = {"fflags": "+bitexact"}  # leaves the writing library's version out
            if self.path.suffix.lower() in {".mp4", ".m4v", ".mov"}:
                options["movflags"] = "+faststart"  # players begin before all is there
            self._container = av.open(str(temporary), mode="w", options=options)
            stack.callback(self._close)
            self._stream = self._video_stream()
            self._clean = av.bitstream.BitStreamFilterContext("filter_units=remove_types=6", self._stream)
            self._sound = self._sound_packets(sound) if sound else iter(())
            self._next_sound = next(self._sound, None)
            stack.push(self._finish)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._stack.__exit__(kind, error, trace)

    def add(self, picture: np.ndarray, time: Fraction | float) -> None:
        """Write a frame.

        Args:
            picture: ``(rows, columns, 3)`` uint8 RGB.
            time: seconds since the start, later than that of the frame before.

        Raises:
            VideoError: another shape or type, or time stands still.
        """
        import av

        recording = self.recording
        if picture.shape != (recording.rows, recording.columns, 3) or picture.dtype != np.uint8:
            raise VideoError(
                f"{self.path}: expected frames ({recording.rows}, {recording.columns}, 3) uint8, "
                f"found {picture.shape} {picture.dtype}"
            )
        stamp = round(Fraction(time) / self._base)
        if self._last is not None and stamp <= self._last:
            raise VideoError(
                f"{self.path}: expected a time after {float(self._last * self._base):g} s, found {float(time):g} s"
            )
        self._last = stamp
        with self._complaining():
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame = self._converted(frame)
            frame.pts, frame.time_base = stamp, self._base
            frame.duration = max(1, round(1 / recording.fps / self._base))
            self._mux(self._stream.encode(frame))
            while self._next_sound is not None and self._next_sound.time <= time:
                self._mux_sound()

    def _finish(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            return
        if self._last is None:
            raise VideoError(f"{self.path}: expected frames to write, found none")
        end = float(self._last * self._base + 1 / self.recording.fps)
        with self._complaining():
            self._mux(self._stream.encode(None))
            self._container.mux(self._clean.filter(None))
            while self._next_sound is not None and self._next_sound.time < end:
                self._mux_sound()
            self._container.close()

    def _close(self) -> None:
        import av

        with contextlib.suppress(av.FFmpegError, ValueError):  # after a failure there may be nothing to conclude
            self._container.close()

    def _video_stream(self) -> Any:
        recording, color = self.recording, self.recording.color
        rate = recording.fps.limit_denominator(100_000)
        stream = self._container.add_stream("libx264", rate=rate, width=recording.columns, height=recording.rows)
        # 4:2:0 is what every player shows, but its color planes need even sizes.
        even = recording.rows % 2 == 0 and recording.columns % 2 == 0
        stream.pix_fmt = "yuv420p" if even else "yuv444p"
        stream.options = {"crf": str(self.quality), "preset": "veryfast"}
        context = stream.codec_context
        context.time_base = self._base
        context.sample_aspect_ratio = recording.aspect
        context.color_range = 2 if color.full else 1
        # H.264 has no names for the others.
        context.colorspace = color.matrix if color.matrix in range(1, 11) else UNSPECIFIED
        context.color_trc = color.transfer if color.transfer in range(1, 19) else UNSPECIFIED
        context.color_primaries = color.primaries if color.primaries in range(1, 13) else UNSPECIFIED
        return stream

    def _converted(self, frame: Any) -> Any:
        from av.video.reformatter import Interpolation

        color, context = self.recording.color, self._stream.codec_context
        frame = frame.reformat(
            format=self._stream.pix_fmt,
            dst_colorspace=coefficients(color.matrix),
            dst_color_range=2 if color.full else 1,
            interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT,
            threads=1,
        )
        frame.colorspace, frame.color_range = context.colorspace, context.color_range
        return frame

    def _mux(self, packets: list[Any]) -> None:
        for packet in packets:
            # The encoder signs its first packet with its name and settings, in a message that players skip.
            self._container.mux(self._clean.filter(packet))

    def _extracted(self, stack: ExitStack) -> Any:
        """Have the decoding process put the sound into a file that holds nothing else, and return that, opened."""
        import av

        if self.sound is None:
            return None
        path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gaitkeeper-"))) / "sound.mp4"
        request = {"task": "sound", "bytes": self.limits.bytes, "sound": str(path), "partial": self.partial}
        with _Decoder(self.sound, request, self.limits.stall) as decoder:
            while (line := decoder.line()) == b".\n":
                pass
            decoder.finish()
        found = json.loads(line)
        if found["codec"] is None:
            return None
        self.copied_sound = bool(found["copied"])
        return stack.enter_context(av.open(str(path), mode="r"))

    def _sound_packets(self, sound: Any) -> Iterator[_SoundPacket]:
        source = sound.streams.audio[0]
        stream = self._container.add_stream_from_template(source)

        def packets() -> Iterator[_SoundPacket]:
            for packet in sound.demux(source):
                if packet.dts is not None:
                    packet.stream = stream
                    yield _SoundPacket(packet, float(packet.pts * packet.time_base))

        return packets()

    def _mux_sound(self) -> None:
        assert self._next_sound is not None
        self._container.mux(self._next_sound.packet)
        self._next_sound = next(self._sound, None)

    @contextlib.contextmanager
    def _complaining(self) -> Iterator[None]:
        import av

        try:
            yield
        except (av.FFmpegError, ValueError) as error:
            found = getattr(error, "strerror", None) or error
            raise VideoError(
                f"{self.path}: expected a place and a container that take H.264, found: {found}"
            ) from error


class _SoundPacket(NamedTuple):
    packet: Any
    time: float


class _Decoder:
    """The decoding process at work on one file, with a watchdog. A context manager: leaving ends the process."""

    def __init__(self, path: Path, request: Mapping[str, object], stall: float) -> None:
        self.path, self.stall = path, stall
        self._request = json.dumps({"path": str(path.resolve()), **request}).encode() + b"\n"

    def __enter__(self) -> _Decoder:
        with ExitStack() as stack:
            self._errors = stack.enter_context(tempfile.TemporaryFile())
            self._process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "gaitkeeper.perception.decoder"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=self._errors,
                )
            )
            stack.callback(self._hang_up)
            stack.callback(self._process.kill)
            assert self._process.stdin is not None
            self._stdin = self._process.stdin
            self._watchdog = _Watchdog(self._process.kill, self.stall)
            self._watchdog.start()
            stack.callback(self._watchdog.dismiss)
            with contextlib.suppress(BrokenPipeError):  # a process that died already is found out on reading
                self._stdin.write(self._request)
                self._stdin.flush()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def _hang_up(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()

    def line(self) -> bytes:
        """Return the next line, empty at the end."""
        assert self._process.stdout is not None
        with self._watchdog:
            return self._process.stdout.readline()

    def fill(self, buffer: bytearray | memoryview) -> bool:
        """Fill a buffer; return whether there was enough."""
        assert self._process.stdout is not None
        with self._watchdog:
            return self._process.stdout.readinto(buffer) == len(buffer)  # type: ignore[attr-defined]

    def finish(self, *, partial: bool = False) -> str | None:
        """Wait for the process to end by itself, raise what it complains of, or return that if ``partial``."""
        with self._watchdog:
            status = self._process.wait()
        if self._watchdog.bit:
            raise VideoError(f"{self.path}: expected the decoder to go on within {self.stall:g} s, found that it hangs")
        if status < 0:
            raise VideoError(
                f"{self.path}: expected a video that decodes, found that it killed the decoder (signal {-status})"
            )
        if status == 0:
            return None
        self._errors.seek(0)
        line = self._errors.read()[-4096:].decode(errors="replace").strip().rpartition("\n")[2]
        try:
            problem = json.loads(line)
        except ValueError:
            problem = f"expected a video that decodes, found that the decoder failed (status {status}): {line[:200]}"
        if partial:
            return str(problem)
        raise VideoError(f"{self.path}: {problem}")


class _Watchdog(threading.Thread):
    """Bites, once, when it has been waited in it (as a context manager) for longer than some seconds."""

    def __init__(self, bite: Callable[[], None], seconds: float) -> None:
        super().__init__(daemon=True)
        self.bit = False
        self._bite, self._seconds = bite, seconds
        self._since: float | None = None
        self._dismissed = threading.Event()

    def run(self) -> None:
        while not self._dismissed.wait(min(1.0, self._seconds / 4)):
            since = self._since
            if since is not None and time.monotonic() - since > self._seconds:
                self.bit = True
                self._bite()
                return

    def dismiss(self) -> None:
        self._dismissed.set()
        self.join()

    def __enter__(self) -> None:
        self._since = time.monotonic()

    def __exit__(self, *error: object) -> None:
        self._since = None


def _recording(path: Path, facts: Mapping[str, Any]) -> Recording:
    values = {key: value for key, value in facts.items() if key != "delivered"}
    fractions = {key: Fraction(facts[key]) for key in ("fps", "time_base", "aspect")}
    return Recording(path=path, **{**values, **fractions, "color": Color(**facts["color"])})
