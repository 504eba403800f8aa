import glob
import os
import signal
import threading
import time
from pathlib import Path

import av
import numpy as np
import pytest

from gaitkeeper.errors import VideoError
from gaitkeeper.perception.video import Limits, read_clip, write_clip
from tests.perception import ellipse_figures

REAL = Path(__file__).parents[3] / "shared" / "real" / "video"


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "small.mp4"
    frames, _ = ellipse_figures.clip(24)
    write_clip(path, frames, fps=25)
    return path


def test_lossless_writing_keeps_every_value_and_the_rate(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (5, 31, 45, 3), dtype=np.uint8)
    write_clip(tmp_path / "a.mkv", frames, fps=29.97, lossless=True)
    clip = read_clip(tmp_path / "a.mkv")
    np.testing.assert_array_equal(clip.frames, frames)
    assert clip.fps == pytest.approx(29.97, abs=0.01)
    assert clip.scale == 1
    assert list(tmp_path.iterdir()) == [tmp_path / "a.mkv"]


@pytest.mark.parametrize("size", [(48, 64), (47, 63)])
def test_lossy_writing_is_close(tmp_path, size):
    frames, _ = ellipse_figures.clip(6)
    frames = frames[:, : size[0], : size[1]]
    write_clip(tmp_path / "a.mp4", frames, fps=25)
    clip = read_clip(tmp_path / "a.mp4")
    assert clip.frames.shape == frames.shape
    assert np.abs(clip.frames.astype(int) - frames).mean() < 8


def test_tall_frames_are_shrunk_on_reading(small):
    clip = read_clip(small, max_rows=90)
    assert clip.frames.shape == (24, 90, 160, 3)
    assert clip.scale == 0.5
    full = read_clip(small).frames.astype(float)
    halved = full.reshape(24, 90, 2, 160, 2, 3).mean(axis=(2, 4))
    assert np.abs(clip.frames - halved).mean() < 3


@pytest.mark.parametrize(
    "frames", [np.zeros((3, 8, 8, 3)), np.zeros((3, 8, 8), np.uint8), np.zeros((0, 8, 8, 3), np.uint8)]
)
def test_writing_refuses_other_arrays_and_leaves_nothing(tmp_path, frames):
    with pytest.raises(VideoError, match=r"expected frames .* found"):
        write_clip(tmp_path / "a.mp4", frames, fps=25)
    assert not list(tmp_path.iterdir())


def test_writing_to_an_unknown_container_leaves_nothing(tmp_path):
    with pytest.raises(VideoError, match="container"):
        write_clip(tmp_path / "a.nonsense", np.zeros((3, 16, 16, 3), np.uint8), fps=25)
    assert not list(tmp_path.iterdir())


def _no_file(folder, small):
    return folder / "absent.mp4", "nothing there"


def _folder(folder, small):
    return folder, "a folder"


def _empty(folder, small):
    (folder / "a.mp4").touch()
    return folder / "a.mp4", "0 bytes"


def _text(folder, small):
    (folder / "a.mp4").write_text("no video at all\n" * 100)
    return folder / "a.mp4", "expected a video that decodes"


def _cut(folder, small):
    (folder / "a.mp4").write_bytes(small.read_bytes()[:-2000])
    return folder / "a.mp4", "expected a video that decodes"


def _sound(folder, small):
    path = folder / "a.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    return path, "only audio"


@pytest.mark.parametrize("case", [_no_file, _folder, _empty, _text, _cut, _sound])
def test_unusable_files_are_named_with_the_reason(tmp_path, small, case):
    path, reason = case(tmp_path, small)
    with pytest.raises(VideoError, match=reason) as caught:
        read_clip(path)
    assert str(caught.value).startswith(f"{path}: expected ")


def test_a_stream_that_ends_early_is_truncated(tmp_path, small):
    frames, _ = ellipse_figures.clip(100)
    write_clip(tmp_path / "whole.mkv", frames, fps=25)
    data = (tmp_path / "whole.mkv").read_bytes()
    (tmp_path / "cut.mkv").write_bytes(data[: len(data) // 2])
    with pytest.raises(VideoError, match=r"truncated|damaged|decodes"):
        read_clip(tmp_path / "cut.mkv")


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(bytes=1000), "at most 1000 bytes"),
        (Limits(frames=10), "at most 10 frames"),
        (Limits(pixels=1000), "at most 1000 pixels"),
        (Limits(memory=2**20), "at most 1 MiB"),
        (Limits(seconds=0.01), "at most 0.01 s"),
    ],
)
def test_limits(small, limits, reason):
    with pytest.raises(VideoError, match=reason):
        read_clip(small, limits=limits)


def test_a_killed_decoder_is_an_error(tmp_path):
    path = tmp_path / "long.mp4"
    write_clip(path, np.repeat(ellipse_figures.clip(2)[0], 600, axis=0), fps=25)
    mine = f"/proc/{os.getpid()}/task/*/children"
    if not glob.glob(mine):
        pytest.skip("the system does not list a process's children")
    caught: list[Exception] = []

    def read() -> None:
        try:
            read_clip(path)
        except VideoError as error:
            caught.append(error)

    def children() -> set[int]:
        return {int(pid) for name in glob.glob(mine) for pid in Path(name).read_text().split()}

    before = children()
    reader = threading.Thread(target=read)
    reader.start()
    deadline = time.monotonic() + 10
    while not (started := children() - before) and time.monotonic() < deadline:
        time.sleep(0.01)
    for pid in started:
        os.kill(pid, signal.SIGKILL)
    reader.join(timeout=20)
    assert not reader.is_alive()
    assert "killed the decoder (signal 9)" in str(caught[0])


def _damaged(data: bytes, rng: np.random.Generator) -> bytes:
    kind = rng.integers(3)
    if kind == 0:
        return data[: rng.integers(1, len(data))]
    changed = np.frombuffer(data, np.uint8).copy()
    if kind == 1:
        where = rng.integers(0, len(changed), rng.integers(1, 60))
        changed[where] = rng.integers(0, 256, len(where))
    else:
        start = rng.integers(0, len(changed))
        changed[start : start + 500] = rng.integers(0, 256, len(changed[start : start + 500]))
    return changed.tobytes()


def _check_read_or_refused(path: Path) -> None:
    try:
        clip = read_clip(path, limits=Limits(seconds=60), max_rows=180)
    except VideoError as refusal:
        message = str(refusal)
    else:
        message = f"{path}: expected "
        assert clip.frames.dtype == np.uint8
        assert clip.frames.ndim == 4
        assert len(clip) > 0
    assert message.startswith(f"{path}: expected ")


@pytest.mark.parametrize("seed", range(12))
def test_damaged_files_are_clips_or_errors(tmp_path, small, seed):
    path = tmp_path / "damaged.mp4"
    path.write_bytes(_damaged(small.read_bytes(), np.random.default_rng(seed)))
    _check_read_or_refused(path)


@pytest.fixture(scope="module", params=["sports2d_demo.mp4", "one-by-one-person-detection.mp4"])
def real(request, tmp_path_factory):
    """The first packets of a real clip, copied without decoding."""
    if not (REAL / request.param).is_file():
        pytest.skip(f"needs the real clips in {REAL}")
    path = tmp_path_factory.mktemp("real") / request.param
    with av.open(str(REAL / request.param)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet, _ in zip(source.demux(source.streams.video[0]), range(25), strict=False):
            packet.stream = stream
            target.mux(packet)
    return path


def test_real_clips_are_read(real):
    clip = read_clip(real, max_rows=90)
    assert len(clip) == 25
    assert clip.frames.shape[1] == 90
    assert clip.frames.std() > 20


@pytest.mark.parametrize("seed", range(4))
def test_damaged_real_files_are_clips_or_errors(tmp_path, real, seed):
    path = tmp_path / real.name
    path.write_bytes(_damaged(real.read_bytes(), np.random.default_rng(100 + seed)))
    _check_read_or_refused(path)


@pytest.mark.parametrize("name", ["list.m3u8", "list.ffconcat", "list.mp4"])
def test_a_playlist_never_opens_the_files_it_names(tmp_path, small, name):
    text = (
        f"ffconcat version 1.0\nfile {small}\n"
        if "ffconcat" in name
        else f"#EXTM3U\n#EXTINF:1,\n{small}\n#EXT-X-ENDLIST\n"
    )
    (tmp_path / name).write_text(text)
    with pytest.raises(VideoError, match="expected a video that decodes"):
        read_clip(tmp_path / name)
