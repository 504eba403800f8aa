import contextlib
import dataclasses
import glob
import os
import signal
import threading
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from gaitkeeper.errors import VideoError
from gaitkeeper.perception.stream import Color, Frames, Recording, StreamLimits, probe
from gaitkeeper.perception.video import read_clip, write_clip
from gaitkeeper.perception.writer import Writer
from tests.perception import ellipse_figures

ROWS, COLUMNS = 48, 64


def gradient(rows=ROWS, columns=COLUMNS):
    """A picture without fine color, so that halving the color planes costs little; each corner is its own."""
    y, x = np.mgrid[:rows, :columns] / [[[rows]], [[columns]]]
    return np.stack([40 + 150 * x, 60 + 120 * y, 200 - 70 * x - 60 * y], axis=-1).astype(np.uint8)


def encode(path, planes, *, codec="libx264", pix_fmt="yuv420p", times=None, options=None, setup=None, **context):
    """Write a file with PyAV alone: ``planes`` are frames as ``pix_fmt`` arrays, or RGB ones to be converted."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options={"crf": "1"} if options is None else options)
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for name, value in context.items():
            setattr(stream.codec_context, name, value)
        for i, picture in enumerate(planes):
            rgb = picture.ndim == 3 and picture.shape[-1] == 3
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24" if rgb else pix_fmt)
            if i == 0:
                stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, pix_fmt
                if setup:
                    setup(container, stream)
            frame = frame.reformat(format=pix_fmt)
            frame.time_base = Fraction(1, 25) if times is None else Fraction(1, 1000)
            frame.pts = i if times is None else round(times[i] * 1000)
            for name in {"colorspace", "color_range"} & set(context):
                setattr(frame, name, context[name])
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def read(path, **options):
    with Frames(path, **options) as frames:
        pictures, times = zip(*frames, strict=True)
    return np.stack(pictures), list(times), frames


def difference(a, b):
    return np.abs(a.astype(int) - b.astype(int))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    path = tmp_path_factory.mktemp("stream") / "small.mp4"
    write_clip(path, ellipse_figures.clip(24)[0], fps=25)
    return path


def test_frames_are_those_of_the_whole_clip_each_with_its_time(small):
    clip = read_clip(small, max_rows=90)
    with Frames(small, max_rows=90) as frames:
        assert frames.shape == (90, 160, 3)
        assert frames.scale == 0.5
        assert frames.recording == probe(small)
        first = [(picture, when) for (picture, when), _ in zip(frames, range(5), strict=False)]
    assert list(frames) == []
    with frames:
        again = list(frames)
        assert list(frames) == []
    np.testing.assert_array_equal(np.stack([picture for picture, _ in again]), clip.frames)
    assert [when for _, when in again] == [Fraction(i, 25) for i in range(24)]
    assert all((a == b).all() and s == t for (a, s), (b, t) in zip(first, again, strict=False))
    assert frames.damaged is None


def test_a_probe_tells_what_the_file_is(small):
    found = probe(small)
    assert (found.path, found.rows, found.columns, found.fps, found.frames) == (small, 180, 320, 25, 24)
    assert found.seconds == pytest.approx(24 / 25)
    assert (found.pixel_format, found.bits, found.codec) == ("yuv420p", 8, "h264")
    assert (found.variable, found.audio, found.interlaced) == (False, False, False)
    assert (found.rotation, found.damaged) == (0, None)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_uneven_time_stamps_are_kept(tmp_path, suffix):
    times = np.cumsum(np.random.default_rng(1).choice([0.02, 0.04, 0.2, 1.0], 30)) - 0.02
    encode(tmp_path / "a.mkv", [gradient()] * 30, times=times)
    pictures, read_times, frames = read(tmp_path / "a.mkv")
    assert frames.recording.variable
    start = read_times[0]
    assert np.allclose([float(t - start) for t in read_times], times - times[0], atol=1e-9)
    target = tmp_path / f"b{suffix}"
    with Writer(target, frames.recording) as writer:
        for picture, when in zip(pictures, read_times, strict=True):
            writer.add(picture, when)
    written = read(target)[1]
    assert [t - written[0] for t in written] == [t - start for t in read_times]
    assert probe(target).variable


def test_time_stamps_beyond_any_video_are_damage(tmp_path):
    encode(tmp_path / "a.mkv", [gradient()] * 4, times=[0, 0.04, 0.08, 5_000_000])
    pictures, times, frames = read(tmp_path / "a.mkv", partial=True)
    assert len(pictures) == len(times) == 3
    assert frames.damaged == "expected time stamps of at most 3600000 s, found 5000000 s"


def test_frames_without_time_stamps_follow_at_the_given_rate(tmp_path):
    encode(tmp_path / "a.h264", [gradient()] * 10)
    assert np.allclose(np.diff([float(t) for t in read(tmp_path / "a.h264")[1]]), 1 / 25)


@pytest.mark.parametrize(("degrees", "flip"), [(0, True), (90, False), (90, True), (180, False), (270, False)])
def test_turned_videos_come_upright_and_are_written_upright(tmp_path, degrees, flip):
    # Where a player puts pixel (x, y), from the matrix that turns by so many degrees counterclockwise.
    cos, sin = round(np.cos(np.radians(degrees))), round(np.sin(np.radians(degrees)))
    a, b, c, d = cos, -sin, sin, cos
    if flip:
        a, c = -a, -c
    unit = 1 << 16
    matrix = [a * unit, b * unit, 0, c * unit, d * unit, 0, 0, 0, 1 << 30]
    picture = gradient()
    encode(tmp_path / "a.mp4", [picture] * 3, setup=lambda _, stream: stream.set_display_matrix(matrix))
    expected = np.rot90(picture, degrees // 90)
    expected = expected[:, ::-1] if flip else expected
    pictures, times, frames = read(tmp_path / "a.mp4")
    assert pictures[0].shape == expected.shape == (frames.recording.rows, frames.recording.columns, 3)
    assert difference(pictures[0], expected).mean() <= 2
    if not flip:
        assert frames.recording.rotation == -degrees % 360
    with Writer(tmp_path / "b.mp4", frames.recording) as writer:
        for upright, when in zip(pictures, times, strict=True):
            writer.add(upright, when)
    with av.open(str(tmp_path / "b.mp4")) as container:
        frame = next(container.decode(video=0))
    assert frame.rotation == 0
    plain = frame.to_ndarray(format="rgb24")
    assert difference(plain, expected).mean() <= 4


@pytest.mark.parametrize("size", [(47, 63), (300, 18)])
def test_any_size_is_kept(tmp_path, size):
    picture = gradient(*size)
    with Writer(tmp_path / "a.mp4", Recording(path=Path(), rows=size[0], columns=size[1], fps=Fraction(25))) as writer:
        for i in range(3):
            writer.add(picture, Fraction(i, 25))
    pictures, _, frames = read(tmp_path / "a.mp4")
    assert pictures.shape == (3, *size, 3)
    assert difference(pictures[0], picture).mean() < 3
    assert frames.recording.frames == 3


def test_pixels_that_are_not_square_stay_so(tmp_path):
    encode(tmp_path / "a.mp4", [gradient()] * 3, sample_aspect_ratio=Fraction(16, 11))
    assert probe(tmp_path / "a.mp4").aspect == Fraction(16, 11)
    copy(tmp_path / "a.mp4", tmp_path / "b.mp4")
    assert probe(tmp_path / "b.mp4").aspect == Fraction(16, 11)


def copy(source, target, **options):
    with Frames(source) as frames, Writer(target, frames.recording, **options) as writer:
        for picture, when in frames:
            writer.add(picture, when)
    return writer


SHARES = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}
"""Of red and blue in luma (H.273, table 4)."""


def yuv(rgb, matrix, full):
    """4:4:4 planes by the definition."""
    red, blue = SHARES[matrix]
    r, g, b = np.moveaxis(rgb / 255, -1, 0)
    luma = red * r + (1 - red - blue) * g + blue * b
    chroma = np.stack([(b - luma) / (2 - 2 * blue), (r - luma) / (2 - 2 * red)])
    scales = (0, 255, 255) if full else (16, 219, 224)
    planes = np.concatenate([scales[0] + scales[1] * luma[None], 128 + scales[2] * chroma])
    return np.rint(planes).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(("matrix", "full"), [(1, False), (1, True), (5, True), (6, False), (9, False)])
def test_colors_are_those_of_the_file_there_and_back(tmp_path, matrix, full):
    picture = gradient()
    planes = yuv(picture, matrix, full)
    tags = {"colorspace": matrix, "color_range": 2 if full else 1, "color_trc": 1, "color_primaries": 9}
    encode(tmp_path / "a.mp4", [planes] * 4, pix_fmt="yuv444p", options={"crf": "1"}, **tags)
    pictures, _, frames = read(tmp_path / "a.mp4")
    assert frames.recording.color == Color(matrix=matrix, full=full, transfer=1, primaries=9)
    assert difference(pictures[0], picture).max() <= 4
    assert difference(pictures[0], picture).mean() <= 1
    assert abs((pictures[0].astype(int) - picture).mean(axis=(0, 1))).max() < 1
    copy(tmp_path / "a.mp4", tmp_path / "b.mp4", quality=4)
    back, _, frames = read(tmp_path / "b.mp4")
    assert frames.recording.color == Color(matrix=matrix, full=full, transfer=1, primaries=9)
    assert difference(back, picture).max() <= 6
    assert difference(back, picture).mean() <= 1.5
    with av.open(str(tmp_path / "b.mp4")) as container:
        luma = next(container.decode(video=0)).to_ndarray()[:ROWS]
    assert difference(luma, planes[0]).max() <= 4
    assert difference(luma, planes[0]).mean() <= 1.2


def test_colors_stay_where_the_file_does_not_tell_its_matrix(tmp_path):
    planes = yuv(gradient(), 6, False)
    encode(tmp_path / "a.mp4", [planes] * 3, pix_fmt="yuv444p")
    copy(tmp_path / "a.mp4", tmp_path / "b.mp4", quality=4)
    assert probe(tmp_path / "a.mp4").color == probe(tmp_path / "b.mp4").color == Color()
    assert difference(read(tmp_path / "b.mp4")[0][0], gradient()).mean() <= 1.5


def test_ten_bits_come_as_eight(tmp_path):
    planes = np.concatenate([plane.reshape(-1, COLUMNS) for plane in yuv(gradient(), 6, False)]).astype(np.uint16) * 4
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=25, width=COLUMNS, height=ROWS)
        stream.pix_fmt = "yuv444p10le"
        for i in range(3):
            frame = av.VideoFrame(COLUMNS, ROWS, "yuv444p10le")
            for plane, values in zip(frame.planes, planes.reshape(3, ROWS, COLUMNS), strict=True):
                line = np.zeros((ROWS, plane.line_size // 2), np.uint16)
                line[:, :COLUMNS] = values
                plane.update(line.tobytes())
            frame.pts, frame.time_base = i, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    pictures, _, frames = read(tmp_path / "a.mkv")
    assert (frames.recording.bits, frames.recording.pixel_format) == (10, "yuv444p10le")
    assert difference(pictures[0], gradient()).max() <= 3


@pytest.mark.parametrize(
    ("codec", "tags", "full"),
    [("libx264", {}, False), ("ffv1", {}, True), ("ffv1", {"color_range": 1}, False)],
)
def test_grey_is_grey_in_the_levels_that_are_meant(tmp_path, codec, tags, full):
    levels = np.tile(np.linspace(20, 230, COLUMNS).astype(np.uint8), (ROWS, 1))
    encode(tmp_path / "a.mkv", [levels] * 3, codec=codec, pix_fmt="gray", options={}, **tags)
    expected = levels if full else (levels.astype(float) - 16) * 255 / 219
    pictures, _, frames = read(tmp_path / "a.mkv")
    assert np.ptp(pictures, axis=-1).max() == 0
    assert difference(pictures[0, ..., 0], expected.clip(0, 255)).mean() <= 1.5
    assert frames.recording.color.full == full
    copy(tmp_path / "a.mkv", tmp_path / "b.mp4", quality=4)
    assert difference(read(tmp_path / "b.mp4")[0], pictures).mean() <= 1.5


def test_rgb_is_stored_in_the_usual_matrix(tmp_path):
    write_clip(tmp_path / "a.mkv", np.stack([gradient()] * 3), fps=25, lossless=True)
    copy(tmp_path / "a.mkv", tmp_path / "b.mp4", quality=4)
    assert probe(tmp_path / "b.mp4").color.matrix == 6
    assert difference(read(tmp_path / "b.mp4")[0][0], gradient()).mean() <= 1.5


def test_interlaced_frames_are_told(tmp_path):
    encode(tmp_path / "a.mkv", [gradient()] * 3, options={"x264-params": "tff=1"})
    assert read(tmp_path / "a.mkv")[2].recording.interlaced


def frame_of(samples, rate=48_000):
    frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
    frame.sample_rate = rate
    return frame


def jpeg(rows=32, columns=32):
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = columns, rows, "yuvj420p", Fraction(1, 25)
    frame = av.VideoFrame.from_ndarray(gradient(rows, columns), format="rgb24").reformat(format="yuvj420p")
    return b"".join(bytes(packet) for packet in (*encoder.encode(frame), *encoder.encode(None)))


SECRETS = ("Jane at home", "2019-07-21", "Anna wrote this", "Kitchen", "she says", "my voice", "my face")


def crowded(path, *, sound="aac"):
    """A video with everything that must not travel, its sound 0.2 s late; returns the packets of sound."""
    subtitles = path.with_suffix(".srt")
    subtitles.write_text("1\n00:00:00,000 --> 00:00:01,000\nshe says\n")
    rng = np.random.default_rng(0)
    with av.open(str(subtitles)) as words, av.open(str(path), "w") as container:
        container.metadata.update(
            {"title": SECRETS[0], "creation_time": f"{SECRETS[1]}T10:00:00Z", "comment": SECRETS[2]}
        )
        container.set_chapters(
            [{"id": 1, "start": 0, "end": 1, "time_base": Fraction(1), "metadata": {"title": SECRETS[3]}}]
        )
        stream = container.add_stream("libx264", rate=25, width=COLUMNS, height=ROWS)
        stream.metadata.update({"title": SECRETS[0], "language": "swe"})
        other = container.add_stream("mpeg4", rate=25, width=32, height=32)
        audio = container.add_stream(sound, rate=48_000, layout="mono")
        audio.metadata["title"] = SECRETS[5]
        container.add_attachment("my face.jpg", "image/jpeg", jpeg())
        text = container.add_stream_from_template(words.streams.subtitles[0])
        for packet in words.demux():
            if packet.dts is not None:
                packet.stream = text
                container.mux(packet)
        for i in range(50):
            for target, shape in ((stream, (ROWS, COLUMNS)), (other, (32, 32))):
                frame = av.VideoFrame.from_ndarray(np.roll(gradient(*shape), i, axis=1), format="rgb24")
                frame.pts, frame.time_base = i, Fraction(1, 25)
                container.mux(target.encode(frame))
        for i in range(80):
            samples = frame_of(rng.normal(0, 0.1, (1, 1024)).astype(np.float32))
            samples.pts, samples.time_base = 9_600 + 1024 * i, Fraction(1, 48_000)
            container.mux(audio.encode(samples))
        for target in (stream, other, audio):
            container.mux(target.encode())
    return path


def sound_of(path):
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        packets = [(bytes(packet), packet.pts * packet.time_base) for packet in container.demux(stream) if packet.size]
        return [data for data, _ in packets], np.array([float(when) for _, when in packets])


def everything_told(path):
    """All text that PyAV exposes of a file."""
    with av.open(str(path)) as container:
        texts = [str(container.metadata), str(container.chapters())]
        texts += [f"{stream.metadata} {stream.language}" for stream in container.streams]
        return " ".join(texts)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_nothing_but_pictures_and_wanted_sound_travels(tmp_path, suffix):
    source = crowded(tmp_path / "a.mkv")
    told = everything_told(source)
    assert [secret in told for secret in SECRETS] == [True, True, True, True, False, True, True]
    # Matroska counts its time of creation, MP4 too.
    assert all(secret.encode() in source.read_bytes() for secret in SECRETS if secret != SECRETS[1])
    writer = copy(source, tmp_path / f"silent{suffix}")
    assert writer.copied_sound is None
    writer = copy(source, tmp_path / f"loud{suffix}", sound=source)
    assert writer.copied_sound is True
    for name, kinds in (("silent", ["video"]), ("loud", ["video", "audio"])):
        path = tmp_path / f"{name}{suffix}"
        data, told = path.read_bytes(), everything_told(path)
        with av.open(str(path)) as container:
            assert [stream.type for stream in container.streams] == kinds
            assert not container.chapters()
            keys = set(container.metadata).union(*(stream.metadata for stream in container.streams))
            assert container.metadata.get("encoder", "Lavf") == "Lavf"  # Matroska demands a name, not a version
        assert keys <= {
            "encoder",
            "major_brand", "minor_version", "compatible_brands", "language", "handler_name", "vendor_id", "DURATION",
        }  # fmt: skip
        for secret in (*SECRETS, "swe", "x264 - core", "Lavf62", "libx264"):
            assert secret.encode() not in data
            assert secret not in told
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["a.mkv", "a.srt", f"silent{suffix}", f"loud{suffix}"]
    )


def test_sound_is_copied_packet_by_packet_in_time_with_the_pictures(tmp_path):
    source = crowded(tmp_path / "a.mkv")
    copy(source, tmp_path / "b.mp4", sound=source)
    data, times = sound_of(source)
    copied, copied_times = sound_of(tmp_path / "b.mp4")
    kept = times < 2
    assert len(copied) > 70
    assert copied == [packet for packet, keep in zip(data, kept, strict=True) if keep]
    shift = float(read(source)[1][0] - read(tmp_path / "b.mp4")[1][0])
    np.testing.assert_allclose(copied_times + shift, times[kept], atol=0.002)


def test_sound_whose_header_has_room_for_titles_is_encoded_anew(tmp_path):
    source = crowded(tmp_path / "a.mkv", sound="flac")
    writer = copy(source, tmp_path / "b.mp4", sound=source)
    assert writer.copied_sound is False
    times = sound_of(tmp_path / "b.mp4")[1]
    with av.open(str(tmp_path / "b.mp4")) as container:
        assert container.streams.audio[0].codec_context.name == "aac"
        heard = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    assert times[0] == pytest.approx(0.2 - 1024 / 48_000, abs=0.003)
    assert heard[2048:-2048].std() == pytest.approx(0.1, rel=0.2)


def test_damaged_sound_is_refused_or_ends_there(tmp_path):
    source = crowded(tmp_path / "a.mkv")
    copy(source, tmp_path / "whole.mp4", sound=source)
    data = (tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) * 3 // 5])
    recording = Recording(path=Path(), rows=ROWS, columns=COLUMNS, fps=Fraction(1))

    def write(partial):
        with Writer(tmp_path / "b.mp4", recording, sound=tmp_path / "cut.mp4", partial=partial) as writer:
            for when in range(2):
                writer.add(gradient(), when)

    with pytest.raises(VideoError, match=r"cut\.mp4: expected .* truncated"):
        write(False)
    assert not (tmp_path / "b.mp4").exists()
    write(True)
    whole, kept = sound_of(tmp_path / "whole.mp4")[0], sound_of(tmp_path / "b.mp4")[0]
    assert 5 < len(kept) < len(whole)
    assert kept == whole[: len(kept)]


def test_a_video_without_sound_stays_without(tmp_path, small):
    writer = copy(small, tmp_path / "b.mp4", sound=small)
    assert writer.copied_sound is None
    assert not probe(tmp_path / "b.mp4").audio


def test_sound_that_does_not_decode_leaves_nothing(tmp_path, small):
    (tmp_path / "noise.mp4").write_bytes(b"noise" * 1000)
    with pytest.raises(VideoError, match=r"noise\.mp4: expected a video that decodes"):
        copy(small, tmp_path / "b.mp4", sound=tmp_path / "noise.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["noise.mp4"]


@pytest.mark.parametrize("error", [RuntimeError, ValueError, KeyboardInterrupt])
def test_an_interrupted_writer_leaves_what_was_there(tmp_path, error):
    recording = Recording(path=Path(), rows=ROWS, columns=COLUMNS, fps=Fraction(25))
    (tmp_path / "a.mp4").write_bytes(b"before")

    def interrupted(frames):
        with Writer(tmp_path / "a.mp4", recording) as writer:
            for i in range(frames):
                writer.add(gradient(), Fraction(i, 25))
            raise error("mine")

    for frames in (0, 60):
        with pytest.raises(error, match="mine"):
            interrupted(frames)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
    assert (tmp_path / "a.mp4").read_bytes() == b"before"


@pytest.mark.parametrize(
    ("name", "picture", "times", "message"),
    [
        ("a.mp4", gradient(), [], "expected frames to write, found none"),
        ("a.mp4", gradient()[:-1], [0], r"expected frames \(48, 64, 3\) uint8, found \(47, 64, 3\) uint8"),
        ("a.mp4", gradient().astype(float), [0], r"found \(48, 64, 3\) float64"),
        ("a.mp4", gradient(), [0, 0.2, 0.1], "expected a time after 0.2 s, found 0.1 s"),
        ("a.nonsense", gradient(), [0], "expected a place and a container that take H.264"),
    ],
)
def test_what_cannot_be_written_is_told_and_leaves_nothing(tmp_path, name, picture, times, message):
    recording = Recording(path=Path(), rows=ROWS, columns=COLUMNS, fps=Fraction(25))

    def write():
        with Writer(tmp_path / name, recording) as writer:
            for when in times:
                writer.add(picture, when)

    with pytest.raises(VideoError, match=f"{name}: .*{message}"):
        write()
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path):
    resource = pytest.importorskip("resource")
    recording = Recording(path=Path(), rows=ROWS, columns=COLUMNS, fps=Fraction(25))
    noise = np.random.default_rng(0).integers(0, 256, (ROWS, COLUMNS, 3), dtype=np.uint8)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def write():
        with Writer(tmp_path / "a.mp4", recording) as writer:
            resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
            for i in range(200):
                writer.add(np.roll(noise, i * i, axis=i % 2), Fraction(i, 25))

    try:
        with pytest.raises(VideoError, match=r"a\.mp4: expected a place and a container .*: File too large"):
            write()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


def test_the_first_stream_that_moves_is_read(tmp_path):
    source = crowded(tmp_path / "a.mkv")
    with av.open(str(source)) as container:
        assert len(container.streams.video) == 3
    pictures, _, _ = read(source)
    assert pictures.shape == (50, ROWS, COLUMNS, 3)


def test_a_song_with_a_cover_is_no_video(tmp_path):
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        container.add_attachment("cover.jpg", "image/jpeg", jpeg())
        stream = container.add_stream("aac", rate=48_000, layout="mono")
        container.mux(stream.encode(frame_of(np.zeros((1, 1024), np.float32))))
        container.mux(stream.encode())
    with pytest.raises(VideoError, match="expected a video stream, found only a cover picture and audio"):
        probe(tmp_path / "a.mkv")


def test_frames_that_change_their_size(tmp_path):
    parts = [encode(tmp_path / f"{n}.h264", [gradient(n, 64)] * 5).read_bytes() for n in (48, 64)]
    path = tmp_path / "a.h264"
    path.write_bytes(b"".join(parts))
    with pytest.raises(VideoError, match="expected 64x48 pixels in every frame, found 64x64 in frame 5"):
        read(path)
    pictures, _, frames = read(path, partial=True)
    assert pictures.shape == (5, 48, 64, 3)
    assert frames.damaged == "expected 64x48 pixels in every frame, found 64x64 in frame 5"


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_truncated_files_end_with_the_reason(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 256, (60, ROWS, COLUMNS, 3), dtype=np.uint8)
    codec, options = ("mpeg4", {}) if suffix == ".avi" else ("libx264", {"crf": "30"})
    encode(tmp_path / f"whole{suffix}", noise, codec=codec, options=options)
    whole = tmp_path / f"whole{suffix}"
    if suffix == ".mp4":
        copy(whole, tmp_path / "front.mp4")
        whole = tmp_path / "front.mp4"
    path = tmp_path / f"cut{suffix}"
    data = whole.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 5])
    with pytest.raises(VideoError, match=rf"cut{suffix}: expected .*(truncated|damaged|Invalid data)"):
        read(path)
    pictures, _, frames = read(path, partial=True)
    assert 5 < len(pictures) < 40
    np.testing.assert_array_equal(pictures, read(whole)[0][: len(pictures)])
    assert frames.damaged
    if suffix == ".mp4":
        assert "truncated" in probe(path).damaged


def _absent(folder):
    return folder / "absent.mp4", "nothing there"


def _folder(folder):
    return folder, "a folder"


def _pipe(folder):
    os.mkfifo(folder / "a.mp4")
    return folder / "a.mp4", "no regular file"


def _empty(folder):
    (folder / "a.mp4").touch()
    return folder / "a.mp4", "0 bytes"


def _text(folder):
    (folder / "a.mp4").write_text("no video at all\n" * 100)
    return folder / "a.mp4", "expected a video that decodes"


def _playlist(folder):
    (folder / "a.mp4").write_text(f"ffconcat version 1.0\nfile {folder}/b.mp4\n")
    return folder / "a.mp4", "expected a video that decodes"


def _sound(folder):
    path = folder / "a.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    return path, "expected a video stream, found only audio"


@pytest.mark.parametrize("case", [_absent, _folder, _pipe, _empty, _text, _playlist, _sound])
def test_what_is_no_video_is_named_with_the_reason(tmp_path, case):
    path, reason = case(tmp_path)
    with pytest.raises(VideoError, match=reason) as caught:
        read(path, partial=True)
    assert str(caught.value).startswith(f"{path}: expected ")


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (StreamLimits(bytes=1000), "expected at most 1000 bytes, found"),
        (StreamLimits(pixels=1000), "expected at most 1000 pixels a frame, found 320x180"),
    ],
)
def test_limits(small, limits, reason):
    for look in (read, probe):
        with pytest.raises(VideoError, match=reason):
            look(small, limits=limits)


@contextlib.contextmanager
def _signalled(number):
    """Send a signal to the decoding process that is started meanwhile."""
    mine = f"/proc/{os.getpid()}/task/*/children"
    if not glob.glob(mine):
        pytest.skip("the system does not list a process's children")

    def children():
        return {int(pid) for name in glob.glob(mine) for pid in Path(name).read_text().split()}

    before = children()

    def send():
        for pid in children() - before:
            os.kill(pid, number)

    yield send


@pytest.mark.parametrize(
    ("number", "partial", "reason"),
    [
        (signal.SIGKILL, False, r"killed the decoder \(signal 9\)"),
        (signal.SIGKILL, True, r"killed the decoder \(signal 9\)"),
        (signal.SIGSTOP, True, "within 2 s, found that it hangs"),
    ],
)
def test_a_decoder_that_dies_or_hangs_is_an_error(small, number, partial, reason):
    began = time.monotonic()
    threads = threading.active_count()
    with _signalled(number) as send, Frames(small, limits=StreamLimits(stall=2), partial=partial) as frames:
        next(iter(frames))
        send()
        with pytest.raises(VideoError, match=reason):
            list(frames)
    assert time.monotonic() - began < 30
    assert threading.active_count() == threads


def test_a_slow_reader_is_no_stall(small):
    count = 0
    with Frames(small, limits=StreamLimits(stall=1.5)) as frames:
        for _ in frames:
            if count == 0:
                time.sleep(2)
            count += 1
    assert count == 24


def _resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_memory_does_not_grow_with_the_length(tmp_path):
    if not Path("/proc/self/statm").exists():
        pytest.skip("the system does not tell how much memory a process holds")
    picture, count = gradient(240, 320), 600
    recording = Recording(path=Path(), rows=240, columns=320, fps=Fraction(25))

    def peak(start, frames):
        return max(_resident() - start for i, _ in enumerate(frames) if i % 50 == 49)

    with Writer(tmp_path / "a.mp4", recording) as writer:
        writer.add(picture, 0)
        start = _resident()
        assert peak(start, (writer.add(picture, Fraction(i, 25)) for i in range(1, count))) < 40 * 2**20
    with Frames(tmp_path / "a.mp4") as frames:
        assert peak(_resident(), frames) < 20 * 2**20  # all of them would take 132 MiB
    assert frames.recording.frames == count


def test_a_recording_can_be_adapted_to_other_pictures(tmp_path, small):
    wide = dataclasses.replace(probe(small), rows=180, columns=640)
    with Frames(small) as frames, Writer(tmp_path / "wide.mp4", wide) as writer:
        for picture, when in frames:
            writer.add(np.concatenate([picture, picture], axis=1), when)
    assert probe(tmp_path / "wide.mp4").columns == 640
