"""The decoding process: ``python -m gaitkeeper.perception.decoder`` reads one video and writes what was asked of it.

It stands alone so that a file that crashes, hangs or bloats the decoder takes only this process along. Standard input
is one line of JSON, the request, whose ``task`` says what standard output carries:

- ``clip``: a line of JSON (``rows``, ``columns``, ``fps``, ``scale``) and then the frames, ``rows * columns * 3`` bytes
  of RGB each, within limits of number and memory;
- ``probe``: a line of JSON with what is known of the video once its first frame is decoded;
- ``frames``: the same line, and then each frame behind its time stamp, 8 bytes, in ticks since the start of the file;
- ``sound``: the sound goes to a file of its own; a line with a dot now and then shows that it goes on, then a line of
  JSON.

Standard error ends in one line of JSON with the problem, if any.
"""

import itertools
import json
import os
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any, BinaryIO

MEMORY = 6 * 2**30
"""Address space of the process in bytes: decoders keep reference frames, threads reserve stacks."""

CONTAINERS = "mov,matroska,avi,mpegts,mpeg,mpegvideo,ogg,flv,asf,mxf,ivf,h264,hevc,m4v,gif,dv,yuv4mpegpipe,wav,mp3,flac"
"""Formats that hold their own content, those of sound so that the message can say that it is sound. Playlists and
session descriptions, which name other files, are left out."""

STAMP = struct.Struct("<q")
"""How the time stamp of a frame is sent."""

COPIED = frozenset({"aac", "mp3", "opus", "ac3", "eac3"})
"""Sound that MP4 takes and whose headers have no room for titles; Vorbis and FLAC carry theirs inside."""

LOOKAHEAD = 300
"""Packets by which a probe judges whether the frame rate varies."""

LONGEST = 1000 * 3600
"""Latest time stamp in seconds; what is beyond is damage, and would overflow writers."""

UNSPECIFIED = 2
"""FFmpeg's number for a matrix, transfer or primaries that a file does not tell."""

_LIMITED_GREY = ("h264", "hevc", "vp9", "av1", "libdav1d")
"""Codecs whose grey is from 16 to 235 unless they say otherwise; pictures (JPEG, PNG, GIF) use all levels."""


class Refused(Exception):
    """The file is not as expected; the first argument is the sentence for the caller."""


def decode(request: dict[str, Any], out: BinaryIO) -> None:
    """Decode the video named in a request and write its frames.

    Args:
        request: ``path``, ``max_rows`` (or None), ``frames``, ``pixels`` and ``memory`` (limits).
        out: where header and frames go.

    Raises:
        Refused: with what was expected and what was found.
    """
    with _opened(request["path"]) as container:
        stream = _video_stream(container, request["pixels"])
        if stream.frames > request["frames"]:
            raise Refused(f"expected at most {request['frames']} frames, found {stream.frames}")
        pictures = _Pictures(stream, request)
        for _, picture, scale in pictures:
            if pictures.count == 1:
                rows, columns = picture.shape[:2]
                header = {"rows": rows, "columns": columns, "fps": float(_rate(stream)), "scale": scale}
                out.write(json.dumps(header).encode() + b"\n")
            if pictures.count > request["frames"]:
                raise Refused(f"expected at most {request['frames']} frames, found more")
            if pictures.count * picture.nbytes > request["memory"]:
                raise Refused(
                    f"expected at most {request['memory'] / 2**20:.0f} MiB of decoded frames, "
                    f"found more after {pictures.count} frames of {columns}x{rows} pixels"
                )
            out.write(picture.data)
        pictures.check_complete()


def probe(request: dict[str, Any], out: BinaryIO) -> None:
    """Write what is known of a video without decoding more than its first frame.

    Args:
        request: ``path``, ``bytes`` and ``pixels`` (limits).
        out: where the line goes.

    Raises:
        Refused: with what was expected and what was found.
    """
    _check_file(request["path"], request["bytes"])
    with _opened(request["path"]) as container:
        stream = _video_stream(container, request["pixels"])
        for frame, picture, _ in _Pictures(stream, request):
            header = {**_facts(stream, frame, request), "delivered": picture.shape}
            out.write(json.dumps(header).encode() + b"\n")
            return
    raise Refused("expected video frames, found none that decode")


def stream_frames(request: dict[str, Any], out: BinaryIO) -> None:
    """Write what :func:`probe` writes and then every frame behind its time stamp; time stamps increase.

    Args:
        request: ``path``, ``max_rows`` (or None), ``bytes`` and ``pixels`` (limits).
        out: where header and frames go.

    Raises:
        Refused: with what was expected and what was found.
    """
    _check_file(request["path"], request["bytes"])
    with _opened(request["path"]) as container:
        stream = _video_stream(container, request["pixels"])
        base = stream.time_base
        start = round(_start(container) / base)
        step = max(1, round(1 / _rate(stream) / base))
        stamp = -step
        pictures = _Pictures(stream, request)
        for frame, picture, _ in pictures:
            if pictures.count == 1:
                header = {**_facts(stream, frame, request), "delivered": picture.shape}
                out.write(json.dumps(header).encode() + b"\n")
            # Frames without a stamp, and those that would go back in time, follow at the average rate.
            given = stamp if frame.pts is None else frame.pts - start
            stamp = given if given > max(stamp, -1) else stamp + step
            if stamp * base > LONGEST:
                raise Refused(f"expected time stamps of at most {LONGEST} s, found {float(stamp * base):.0f} s")
            out.write(STAMP.pack(stamp))
            out.write(picture.data)
        pictures.check_complete()


def extract_sound(request: dict[str, Any], out: BinaryIO) -> None:
    """Put the sound of a video into an MP4 file of its own: copied where MP4 takes it, else as AAC; without metadata.

    Args:
        request: ``path``, ``bytes`` (limit), ``sound``, the file to write, and ``partial``, to stop at damage.
        out: where signs of life and the line go: ``codec`` (null without sound) and whether it was ``copied``.

    Raises:
        Refused: with what was expected and what was found.
    """
    import av

    _check_file(request["path"], request["bytes"])
    with _opened(request["path"]) as source:
        stream = source.streams.best("audio")
        if stream is None:
            out.write(b'{"codec": null, "copied": false}\n')
            return
        if not request["partial"] and (missing := _missing(stream)):
            raise Refused(missing)
        codec = stream.codec_context.codec.canonical_name
        copied = codec in COPIED
        start = _start(source)
        with av.open(request["sound"], mode="w", format="mp4", options={"fflags": "+bitexact"}) as target:
            packets = _copied(source, stream, target, start) if copied else _encoded(source, stream, target, start)
            sent = 0
            try:
                for packet in packets:
                    target.mux(packet)
                    sent += 1
                    if sent % 1000 == 0:
                        out.write(b".\n")
                        out.flush()
            except (av.FFmpegError, Refused):
                if not request["partial"]:
                    raise
    out.write(json.dumps({"codec": codec if sent else None, "copied": copied}).encode() + b"\n")


@contextmanager
def _opened(path: str) -> Iterator[Any]:
    import av

    av.logging.set_level(av.logging.PANIC)
    with av.open(path, mode="r", options={"protocol_whitelist": "file", "format_whitelist": CONTAINERS}) as container:
        yield container


def _check_file(path: str, limit: int) -> None:
    if not os.path.exists(path):
        raise Refused("expected a video file, found nothing there")
    if not os.path.isfile(path):
        raise Refused(f"expected a video file, found {'a folder' if os.path.isdir(path) else 'no regular file'}")
    size = os.path.getsize(path)
    if size == 0:
        raise Refused("expected a video file, found 0 bytes")
    if size > limit:
        raise Refused(f"expected at most {limit} bytes, found {size}")


def _video_stream(container: Any, pixels: int) -> Any:
    """Return the first stream that moves: covers and thumbnails are kept as video, too."""
    import av

    still = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
    videos = [stream for stream in container.streams.video if not stream.disposition & still]
    if not videos:
        kinds = {"a cover picture" if stream.type == "video" else stream.type for stream in container.streams}
        raise Refused(f"expected a video stream, found only {' and '.join(sorted(kinds)) or 'nothing'}")
    stream = videos[0]
    context = stream.codec_context
    # With several threads, closing a decoder in the middle of a damaged stream can wait forever.
    context.thread_type = "NONE"
    context.thread_count = 1
    _check_size(context.width, context.height, pixels)
    _rate(stream)
    return stream


def _rate(stream: Any) -> Fraction:
    rate = Fraction(stream.average_rate or stream.guessed_rate or 0)
    if not 0 < rate <= 1000:
        raise Refused(f"expected a frame rate between 0 and 1000 frames/s, found {float(rate):g}")
    return rate


class _Pictures:
    """The frames of a stream: each as decoded, as an upright RGB picture, and the scale at which that was taken."""

    def __init__(self, stream: Any, request: dict[str, Any]) -> None:
        self.stream, self.pixels, self.max_rows = stream, request["pixels"], request.get("max_rows")
        self.count = 0
        self.end = 0.0

    def __iter__(self) -> Iterator[tuple[Any, Any, float]]:
        size: tuple[int, int] | None = None
        shape: tuple[int, ...] | None = None
        for frame in self._decoded():
            if size is None:
                _check_size(frame.width, frame.height, self.pixels)
                size = (frame.width, frame.height)
            if (frame.width, frame.height) != size:
                raise Refused(
                    f"expected {size[0]}x{size[1]} pixels in every frame, "
                    f"found {frame.width}x{frame.height} in frame {self.count}"
                )
            if frame.is_corrupt:
                raise Refused(f"expected a whole video, found frame {self.count} damaged")
            picture, scale = _upright(frame, _full(frame, self.stream.codec_context.name), self.max_rows)
            if picture.shape != (shape := shape or picture.shape):
                raise Refused(f"expected frames of one orientation, found frame {self.count} turned")
            self.count += 1
            yield frame, picture, scale

    def _decoded(self) -> Iterator[Any]:
        """Read all streams, so that it is known how far the file reaches, and decode one."""
        for packet in self.stream.container.demux():
            if packet.pts is not None:
                self.end = max(self.end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if packet.stream.index == self.stream.index:
                yield from packet.decode()

    def check_complete(self) -> None:
        """Refuse a file whose header promises more than it holds; encoders miscount by a few frames."""
        declared, container = self.stream.frames, self.stream.container
        if self.count == 0:
            raise Refused("expected video frames, found none that decode")
        if missing := _missing(self.stream):
            raise Refused(missing)
        if declared and self.count < declared - max(3, min(declared // 50, 30)):
            raise Refused(f"expected the {declared} frames that the header announces, found {self.count}: truncated")
        seconds, end = (container.duration or 0) / 1e6, self.end - float(_start(container))
        if not declared and end < seconds - 1 - min(0.02 * seconds, 10):
            raise Refused(f"expected the {seconds:.1f} s that the header announces, found {end:.1f} s: truncated")


def _upright(frame: Any, full: bool, max_rows: int | None) -> tuple[Any, float]:
    import numpy as np
    from av.video.reformatter import Interpolation

    turned, steps = _orientation(frame)
    width, height, scale = _shrunk(frame.width, frame.height, turned, max_rows)
    picture = frame.to_ndarray(
        format="rgb24",
        width=width,
        height=height,
        src_colorspace=coefficients(frame.colorspace),
        src_color_range=2 if full else 1,
        # Without the two flags, rounding darkens every picture by a grey level.
        interpolation=Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT,
        threads=1,
    )
    if _grey(frame) and not full:  # the scaler takes every grey format for full range
        levels = (np.arange(256) - 16) * (255 / 219)
        picture = np.rint(levels.clip(0, 255)).astype(np.uint8)[picture]
    picture = picture.swapaxes(0, 1) if turned else picture
    return np.ascontiguousarray(picture[:: steps[0], :: steps[1]]), scale


def _orientation(frame: Any) -> tuple[bool, tuple[int, int]]:
    """Return whether rows and columns change places, and then the step, 1 or -1, along rows and columns."""
    matrix = next((data for data in frame.side_data if data.type.name == "DISPLAYMATRIX"), None)
    if matrix is None:
        return False, (1, 1)
    a, b, _, c, d = struct.unpack("=9i", bytes(matrix)[:36])[:5]  # x' = a x + c y, y' = b x + d y
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return False, (-1 if d < 0 else 1, -1 if a < 0 else 1)
    return True, (-1 if b < 0 else 1, -1 if c < 0 else 1)


def coefficients(matrix: int) -> int:
    """Return the scaler's number for the matrix between YUV and RGB; what it does not know is taken for BT.601.

    Args:
        matrix: as in H.273, table 4.
    """
    return {1: 1, 4: 4, 7: 7, 9: 9, 10: 9}.get(matrix, 5)


def _grey(frame: Any) -> bool:
    return frame.format.name.startswith("gray")


def _full(frame: Any, codec: str) -> bool:
    """Return whether black is 0 and white 255 in what is stored, not 16 and 235."""
    if frame.color_range:
        return frame.color_range == 2
    if _grey(frame):
        return not codec.startswith(_LIMITED_GREY)
    return frame.format.is_rgb or frame.format.name.startswith("yuvj")


def _facts(stream: Any, frame: Any, request: dict[str, Any]) -> dict[str, Any]:
    container = stream.container
    turned, _ = _orientation(frame)
    aspect = Fraction(stream.sample_aspect_ratio or 1) or Fraction(1)
    length = stream.duration * stream.time_base if stream.duration else Fraction(container.duration or 0, 1_000_000)
    codec = stream.codec_context.name
    return {
        "rows": frame.width if turned else frame.height,
        "columns": frame.height if turned else frame.width,
        "fps": str(_rate(stream)),
        "time_base": str(stream.time_base),
        "frames": stream.frames or None,
        "seconds": float(length) or None,
        "variable": _variable(request),
        "audio": bool(container.streams.audio),
        "rotation": round(-frame.rotation / 90) % 4 * 90,
        "codec": codec,
        "pixel_format": frame.format.name,
        "bits": max(component.bits for component in frame.format.components),
        "interlaced": bool(frame.interlaced_frame),
        "aspect": str(1 / aspect if turned else aspect),
        "color": {
            # RGB has no matrix; it is given the usual one of its size.
            "matrix": frame.colorspace if not frame.format.is_rgb else 1 if frame.height >= 720 else 6,
            "full": _full(frame, codec) and not frame.format.is_rgb,
            "transfer": frame.color_trc,
            "primaries": frame.color_primaries,
        },
        "damaged": _missing(stream),
    }


def _variable(request: dict[str, Any]) -> bool:
    """Return whether the first frames are unevenly spaced, by the time stamps of their packets."""
    import av

    stamps = []
    with _opened(request["path"]) as container:
        stream = _video_stream(container, request["pixels"])
        try:
            packets = itertools.islice(container.demux(stream), LOOKAHEAD)
            stamps = sorted(packet.pts for packet in packets if packet.pts is not None)
        except av.FFmpegError:  # what is damaged is told by whoever decodes it
            return False
        if len(stamps) == LOOKAHEAD:
            del stamps[-16:]  # frames that are shown between these may still come
        gaps = sorted(float((b - a) * stream.time_base) for a, b in itertools.pairwise(stamps))
    # Containers round each stamp to a tick, often a millisecond.
    tolerated = max(0.0025, 1.01 * float(stream.time_base))
    return bool(gaps) and gaps[-1] - gaps[0] > max(tolerated, 0.1 * gaps[len(gaps) // 2])


def _missing(stream: Any) -> str | None:
    """Return what the index of an MP4 file promises beyond the file's end."""
    container = stream.container
    if "mp4" not in container.format.name:
        return None
    size = os.path.getsize(container.name)
    entries = stream.index_entries
    ends = [entries[i].pos + entries[i].size for i in range(max(0, len(entries) - 100), len(entries))]
    if max(ends, default=0) <= size:
        return None
    return f"expected the {max(ends)} bytes that the header announces, found {size}: truncated"


def _start(container: Any) -> Fraction:
    return Fraction(container.start_time or 0, 1_000_000)


def _copied(source: Any, stream: Any, target: Any, start: Fraction) -> Iterator[Any]:
    out = target.add_stream_from_template(stream)
    for packet in source.demux(stream):
        if packet.dts is None:
            continue
        if packet.is_corrupt:
            raise Refused("expected whole sound, found a packet damaged")
        shift = round(start / packet.time_base)
        packet.pts -= shift
        packet.dts -= shift
        packet.stream = out
        yield packet


def _encoded(source: Any, stream: Any, target: Any, start: Fraction) -> Iterator[Any]:
    import av

    rate = min(stream.codec_context.sample_rate, 48_000)
    out = target.add_stream("aac", rate=rate, layout="mono" if stream.codec_context.channels == 1 else "stereo")
    resampler = av.AudioResampler(format="fltp", layout=out.layout, rate=rate)
    begin: int | None = None
    done = 0
    for frame in itertools.chain(source.decode(stream), [None]):
        if begin is None and frame is not None:
            begin = round((Fraction(frame.time or 0) - start) * rate)
        for part in resampler.resample(frame):
            # Counted, not taken over: gaps of a stamp or two between frames are rounding.
            part.pts, part.time_base = (begin or 0) + done, Fraction(1, rate)
            done += part.samples
            yield from out.encode(part)
    yield from out.encode(None)


def _check_size(width: int, height: int, pixels: int) -> None:
    if width <= 0 or height <= 0:
        raise Refused(f"expected a picture size, found {width}x{height} pixels")
    if width * height > pixels:
        raise Refused(f"expected at most {pixels} pixels a frame, found {width}x{height}")


def _shrunk(width: int, height: int, turned: bool, max_rows: int | None) -> tuple[int, int, float]:
    """Return width and height before turning, and the scale, so that the turned picture fits ``max_rows``."""
    rows = width if turned else height
    if max_rows is None or rows <= max_rows:
        return width, height, 1.0
    scale = max_rows / rows
    return max(1, round(width * scale)), max(1, round(height * scale)), scale


TASKS = {"clip": decode, "probe": probe, "frames": stream_frames, "sound": extract_sound}
"""What the process can be asked for."""


def main() -> int:
    """Read the request from standard input, do the task, report; return the exit status."""
    _limit_memory()
    try:
        request = json.loads(sys.stdin.buffer.readline())
        TASKS[request.get("task", "clip")](request, sys.stdout.buffer)
        sys.stdout.buffer.flush()
    except Refused as refused:
        problem = str(refused)
    except MemoryError:
        problem = f"expected decoding to fit in {MEMORY >> 30} GiB, found that it does not"
    except Exception as error:  # whatever the decoder throws at a hostile file
        detail = getattr(error, "strerror", None) or str(error) or type(error).__name__
        problem = f"expected a video that decodes, found: {detail}"
    else:
        return 0
    sys.stderr.write("\n" + json.dumps(problem) + "\n")
    return 1


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # not every system has it; the other limits still hold
        return
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    limit = MEMORY if hard == resource.RLIM_INFINITY else min(MEMORY, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


if __name__ == "__main__":
    sys.exit(main())
