"""Writing a video frame by frame, whole or not at all, and nothing but pictures and sound."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from gaitkeeper.errors import VideoError
from gaitkeeper.files import replacing
from gaitkeeper.perception.decoder import UNSPECIFIED, coefficients
from gaitkeeper.perception.process import DecodingProcess
from gaitkeeper.perception.stream import Recording, StreamLimits


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
        with DecodingProcess(self.sound, request, self.limits.stall) as decoder:
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
