import itertools
import os
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from gaitkeeper.errors import VideoError
from gaitkeeper.perception.stream import Frames, Recording, StreamLimits
from gaitkeeper.perception.writer import Writer

CLIPS = {"sports2d_demo.mp4": 8, "one-by-one-person-detection.mp4": 25}
"""The real clips and how many packets of pictures are kept of them."""

CASES = int(os.environ.get("GAITKEEPER_FUZZ", "1"))
"""Damaged versions of each clip and kind; a night's worth is a number of your own."""


@pytest.fixture(scope="module", params=CLIPS)
def short(request, shared, tmp_path_factory):
    """The beginning of a real clip, copied without decoding, with its sound."""
    path = tmp_path_factory.mktemp("fuzz") / request.param
    with av.open(str(shared / "real" / "video" / request.param)) as source, av.open(str(path), "w") as target:
        streams = {stream.index: target.add_stream_from_template(stream) for stream in source.streams}
        pictures = itertools.count()
        for packet in source.demux():
            if packet.stream.type == "video" and next(pictures) == CLIPS[request.param]:
                break
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                target.mux(packet)
    return path


def flipped(data: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    data[rng.integers(0, len(data), rng.integers(1, 100))] ^= np.uint8(1 << rng.integers(0, 8))
    return data


def cut(data: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return data[: rng.integers(1, len(data))]


def swapped(data: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    size = int(rng.integers(16, len(data) // 8))
    a, b = rng.integers(0, len(data) - size, 2)
    first, second = data[a : a + size].copy(), data[b : b + size].copy()
    data[a : a + size], data[b : b + size] = second, first
    return data


def beheaded(data: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    data[: rng.integers(1, 200)] = 0
    return data


def with_wrong_index(data: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Damage the index, where MP4 keeps sizes, counts and offsets."""
    start = data.tobytes().rfind(b"moov")
    where = rng.integers(start, min(len(data), start + 3000), 12)
    data[where] = rng.integers(0, 256, 12)
    return data


def with_junk(data: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.concatenate([data, rng.integers(0, 256, rng.integers(1, 20_000), dtype=np.uint8)])


@pytest.mark.parametrize("case", range(CASES))
@pytest.mark.parametrize("damage", [flipped, cut, swapped, beheaded, with_wrong_index, with_junk])
def test_damaged_files_decode_or_are_refused(
    tmp_path: Path, short: Path, damage: Callable[[np.ndarray, np.random.Generator], np.ndarray], case: int
) -> None:
    rng = np.random.default_rng([case, len(damage.__name__), len(short.name)])
    path = tmp_path / "damaged.mp4"
    path.write_bytes(damage(np.frombuffer(short.read_bytes(), np.uint8).copy(), rng).tobytes())
    began, limits = time.monotonic(), StreamLimits(stall=20)
    refusals = [read_all(path, limits), write_with_sound(path, tmp_path / "out.mp4", limits)]
    assert all(refusal is None or refusal.startswith(f"{path}: expected ") for refusal in refusals)
    assert (refusals[1] is None) == (tmp_path / "out.mp4").exists()
    assert time.monotonic() - began < 60
    assert {found.name for found in tmp_path.iterdir()} <= {"damaged.mp4", "out.mp4"}


def read_all(path: Path, limits: StreamLimits) -> str | None:
    last = None
    try:
        with Frames(path, limits=limits, partial=True, max_rows=90) as frames:
            for picture, when in frames:
                assert picture.shape == frames.shape
                assert last is None or when > last
                last = when
    except VideoError as refusal:
        return str(refusal)
    assert last is not None
    assert frames.damaged is None or frames.damaged.startswith("expected ")
    return None


def write_with_sound(source: Path, target: Path, limits: StreamLimits) -> str | None:
    recording = Recording(path=source, rows=16, columns=16, fps=Fraction(25))
    try:
        with Writer(target, recording, sound=source, limits=limits) as writer:
            for i in range(3):
                writer.add(np.zeros((16, 16, 3), np.uint8), i / 25)
    except VideoError as refusal:
        return str(refusal)
    return None
