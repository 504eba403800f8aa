"""Reading and writing video files. Decoding happens in a process of its own, within limits."""

import json
import math
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from gaitkeeper.errors import VideoError
from gaitkeeper.files import replacing


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much a stranger's video may take.

    Args:
        bytes: greatest size of the file.
        pixels: most pixels of a frame as stored.
        frames: most frames.
        memory: most bytes of decoded (and shrunk) frames.
        seconds: longest time that decoding may take.
    """

    bytes: int = 2 * 2**30
    pixels: int = 7680 * 4320
    frames: int = 20_000
    memory: int = 3 * 2**30
    seconds: float = 300.0


@dataclass(frozen=True)
class Clip:
    """A decoded video.

    Args:
        frames: ``(frames, rows, columns, 3)`` uint8 RGB.
        fps: frames a second.
        path: the file it came from.
        scale: rows here over rows in the file.
    """

    frames: np.ndarray
    fps: float
    path: Path
    scale: float = 1.0

    def __len__(self) -> int:
        return len(self.frames)


def read_clip(path: Path | str, *, limits: Limits | None = None, max_rows: int | None = 540) -> Clip:
    """Decode a video file.

    Args:
        path: the file, in any container and codec that FFmpeg knows.
        limits: what it may take; exceeding one is an error.
        max_rows: frames with more rows are shrunk to this many on reading; None keeps the size.

    Returns:
        The frames, in memory.

    Raises:
        VideoError: the file is missing, no video, damaged, truncated or beyond a limit, or the decoder died.
    """
    path, limits = Path(path), limits or Limits()
    _check_file(path, limits)
    request = {
        "path": str(path.resolve()),
        "max_rows": max_rows,
        "frames": limits.frames,
        "pixels": limits.pixels,
        "memory": limits.memory,
    }
    timed_out = threading.Event()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "gaitkeeper.perception.decoder"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
        )

        def stop() -> None:
            timed_out.set()
            process.kill()

        watchdog = threading.Timer(limits.seconds, stop)
        watchdog.start()
        try:
            header, pictures = _receive(process, request, limits)
            status = process.wait()
        finally:
            watchdog.cancel()
            process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()
        errors.seek(0)
        last_line = errors.read()[-4096:].decode(errors="replace").strip().rpartition("\n")[2]
    if timed_out.is_set():
        raise VideoError(f"{path}: expected decoding to take at most {limits.seconds:g} s, found it unfinished")
    if status < 0:
        raise VideoError(f"{path}: expected a video that decodes, found that it killed the decoder (signal {-status})")
    if status or not header:
        raise VideoError(f"{path}: {_problem(last_line, status)}")
    return Clip(_stack(pictures), float(header["fps"]), path, float(header["scale"]))


def _check_file(path: Path, limits: Limits) -> None:
    if not path.exists():
        raise VideoError(f"{path}: expected a video file, found nothing there")
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "no regular file"
        raise VideoError(f"{path}: expected a video file, found {kind}")
    size = path.stat().st_size
    if size == 0:
        raise VideoError(f"{path}: expected a video file, found 0 bytes")
    if size > limits.bytes:
        raise VideoError(f"{path}: expected at most {limits.bytes} bytes, found {size}")


def _receive(
    process: "subprocess.Popen[bytes]", request: Mapping[str, object], limits: Limits
) -> tuple[dict[str, float], list[np.ndarray]]:
    """Return the decoder's header (empty if it sent none) and its whole frames, until it closes the pipe."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(dict(request)).encode() + b"\n")
        process.stdin.close()
    except BrokenPipeError:
        return {}, []
    line = process.stdout.readline(1000)
    if not line.endswith(b"\n"):
        return {}, []
    header = json.loads(line)
    shape = (int(header["rows"]), int(header["columns"]), 3)
    size = math.prod(shape)
    pictures: list[np.ndarray] = []
    while len(pictures) < limits.frames:
        data = process.stdout.read(size)
        if len(data) < size:
            break
        pictures.append(np.frombuffer(data, np.uint8).reshape(shape))
    process.stdout.read(1)  # the decoder ends by itself; one frame too many is refused on its side
    return header, pictures


def _problem(line: str, status: int) -> str:
    try:
        problem = json.loads(line)
    except ValueError:
        problem = None
    if isinstance(problem, str):
        return problem
    return f"expected a video that decodes, found that the decoder failed (status {status}): {line[:200]}"


def _stack(pictures: list[np.ndarray]) -> np.ndarray:
    """Stack and free as it goes: memory peaks at one copy."""
    frames = np.empty((len(pictures), *pictures[0].shape), np.uint8)
    pictures.reverse()
    for i in range(len(frames)):
        frames[i] = pictures.pop()
    return frames


def write_clip(path: Path | str, frames: np.ndarray, *, fps: float, lossless: bool = False, quality: int = 18) -> None:
    """Encode a video with H.264, whole or not at all, without metadata and without sound.

    Args:
        path: the file; its suffix chooses the container (``.mp4``, ``.mkv``, ``.mov``).
        frames: ``(frames, rows, columns, 3)`` uint8 RGB.
        fps: frames a second.
        lossless: keep every RGB value exactly. Large, and some players do not show it.
        quality: constant rate factor, 0 (best) to 51.

    Raises:
        VideoError: frames of another kind, or the container does not take them.
    """
    import av

    path = Path(path)
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or 0 in frames.shape:
        raise VideoError(f"{path}: expected frames (t, rows, columns, 3) uint8, found {frames.shape} {frames.dtype}")
    rows, columns = frames.shape[1:3]
    even = rows % 2 == 0 and columns % 2 == 0
    with replacing(path) as temporary:
        try:
            with av.open(str(temporary), mode="w") as container:
                stream = container.add_stream(
                    "libx264rgb" if lossless else "libx264", rate=_fraction(fps), width=columns, height=rows
                )
                # 4:2:0 is what every player shows, but its color planes need even sizes.
                stream.pix_fmt = "rgb24" if lossless else "yuv420p" if even else "yuv444p"
                stream.options = {"crf": "0" if lossless else str(quality), "preset": "veryfast"}
                for picture in frames:
                    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
                    container.mux(stream.encode(frame))
                container.mux(stream.encode())
        except (av.FFmpegError, ValueError) as error:
            raise VideoError(f"{path}: expected a container that takes H.264, found: {error}") from error


def _fraction(fps: float) -> Fraction:
    return Fraction(fps).limit_denominator(1001)
