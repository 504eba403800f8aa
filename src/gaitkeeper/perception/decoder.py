"""The decoding process: ``python -m gaitkeeper.perception.decoder`` reads one video and writes raw frames.

It stands alone so that a file that crashes, hangs or bloats the decoder takes only this process along.
Standard output carries a line of JSON (``rows``, ``columns``, ``fps``, ``scale``) and then the frames,
``rows * columns * 3`` bytes of RGB each; standard error ends in one line of JSON with the problem, if any.
"""

import json
import math
import sys
from typing import Any, BinaryIO

MEMORY = 6 * 2**30
"""Address space of the process in bytes: decoders keep reference frames, threads reserve stacks."""


CONTAINERS = "mov,matroska,avi,mpegts,mpeg,mpegvideo,ogg,flv,asf,mxf,ivf,h264,hevc,m4v,gif,dv,yuv4mpegpipe,wav,mp3,flac"
"""Formats that hold their own content, those of sound so that the message can say that it is sound. Playlists and
session descriptions, which name other files, are left out."""


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
    import av
    import numpy as np

    av.logging.set_level(av.logging.PANIC)
    options = {"protocol_whitelist": "file", "format_whitelist": CONTAINERS}
    with av.open(request["path"], mode="r", options=options) as container:
        if not container.streams.video:
            found = sorted({stream.type for stream in container.streams}) or ["nothing"]
            raise Refused(f"expected a video stream, found only {' and '.join(found)}")
        stream = container.streams.video[0]
        context = stream.codec_context
        # With several threads, closing a decoder in the middle of a damaged stream can wait forever.
        context.thread_type = "NONE"
        context.thread_count = 1
        _check_size(context.width, context.height, request["pixels"])
        fps = float(stream.average_rate or stream.guessed_rate or 0)
        if not (math.isfinite(fps) and 0 < fps <= 1000):
            raise Refused(f"expected a frame rate between 0 and 1000 frames/s, found {fps:g}")
        declared = stream.frames
        if declared > request["frames"]:
            raise Refused(f"expected at most {request['frames']} frames, found {declared}")
        size: tuple[int, int] | None = None
        shape: tuple[int, int, int] | None = None
        count, last = 0, 0.0
        for frame in container.decode(stream):
            if size is None:
                _check_size(frame.width, frame.height, request["pixels"])
                size = (frame.width, frame.height)
            if (frame.width, frame.height) != size:
                raise Refused(
                    f"expected {size[0]}x{size[1]} pixels in every frame, "
                    f"found {frame.width}x{frame.height} in frame {count}"
                )
            if frame.is_corrupt:
                raise Refused(f"expected a whole video, found frame {count} damaged")
            quarter_turns = round(getattr(frame, "rotation", 0) / 90) % 4
            width, height, scale = _shrunk(*size, quarter_turns, request["max_rows"])
            picture = frame.to_ndarray(format="rgb24", width=width, height=height, interpolation="AREA")
            picture = np.ascontiguousarray(np.rot90(picture, quarter_turns))
            if shape is None:
                shape = picture.shape
                header = {"rows": shape[0], "columns": shape[1], "fps": fps, "scale": scale}
                out.write(json.dumps(header).encode() + b"\n")
            if picture.shape != shape:
                raise Refused(f"expected frames of one orientation, found frame {count} turned")
            count += 1
            if count > request["frames"]:
                raise Refused(f"expected at most {request['frames']} frames, found more")
            if count * picture.nbytes > request["memory"]:
                raise Refused(
                    f"expected at most {request['memory'] / 2**20:.0f} MiB of decoded frames, "
                    f"found more after {count} frames of {shape[1]}x{shape[0]} pixels"
                )
            out.write(picture.tobytes())
            last = frame.time if frame.time is not None else last
        _check_complete(count, declared, last, stream, len(container.streams))


def _check_size(width: int, height: int, pixels: int) -> None:
    if width <= 0 or height <= 0:
        raise Refused(f"expected a picture size, found {width}x{height} pixels")
    if width * height > pixels:
        raise Refused(f"expected at most {pixels} pixels a frame, found {width}x{height}")


def _shrunk(width: int, height: int, quarter_turns: int, max_rows: int | None) -> tuple[int, int, float]:
    """Return width and height before turning, and the scale, so that the turned picture fits ``max_rows``."""
    rows = width if quarter_turns % 2 else height
    if max_rows is None or rows <= max_rows:
        return width, height, 1.0
    scale = max_rows / rows
    return max(1, round(width * scale)), max(1, round(height * scale)), scale


def _check_complete(count: int, declared: int, last: float, stream: Any, streams: int) -> None:
    """Refuse a file whose header promises more than it holds; encoders miscount by a few frames."""
    if count == 0:
        raise Refused("expected video frames, found none that decode")
    if declared and count < declared - max(3, declared // 50):
        raise Refused(f"expected the {declared} frames that the header announces, found {count}: truncated")
    container = stream.container
    seconds = 0.0
    if stream.duration and stream.time_base:
        seconds = float(stream.duration * stream.time_base)
    elif streams == 1 and container.duration:
        seconds = container.duration / 1e6
    if seconds > 0 and last < 0.9 * seconds - 1:
        raise Refused(f"expected the {seconds:.1f} s that the header announces, found {last:.1f} s: truncated")


def main() -> int:
    """Read the request from standard input, decode, report; return the exit status."""
    _limit_memory()
    try:
        decode(json.loads(sys.stdin.buffer.readline()), sys.stdout.buffer)
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
