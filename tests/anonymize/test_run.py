"""A written film goes in, a written film comes out, and nothing of who walks is in it."""

import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import get_args

import av
import numpy as np
import pytest

from gaitkeeper.anonymize import survey as surveying
from gaitkeeper.anonymize.run import anonymize_file, find_videos, mosaic, preview_file, target_of
from gaitkeeper.anonymize.settings import AnonymizeSettings, MethodName
from gaitkeeper.errors import DataError, GaitkeeperError, VideoError
from gaitkeeper.perception.stream import Frames, probe
from gaitkeeper.perception.video import read_clip, write_clip
from gaitkeeper.perception.writer import Writer
from tests.anonymize.scenes import EMPTY, filmed, leaks
from tests.perception.test_stream import encode, everything_told, frame_of, jpeg

ROWS, COLUMNS = 120, 160
SECRETS = ("Jane at home", "2019-07-21", "she says", "my voice", "my face")
HIDE = AnonymizeSettings(method="hide")


def scene():
    return filmed(rows=ROWS, columns=COLUMNS)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """A walker with a title, a time, a voice, subtitles and a cover."""
    folder = tmp_path_factory.mktemp("film")
    words = folder / "words.srt"
    words.write_text("1\n00:00:00,000 --> 00:00:01,000\nshe says\n")
    path = folder / "walker.mkv"
    rng = np.random.default_rng(0)
    with av.open(str(words)) as subtitles, av.open(str(path), "w") as container:
        container.metadata.update({"title": SECRETS[0], "creation_time": f"{SECRETS[1]}T10:00:00Z"})
        stream = container.add_stream("libx264", rate=25, width=COLUMNS, height=ROWS, options={"crf": "12"})
        audio = container.add_stream("aac", rate=48_000, layout="mono")
        audio.metadata["title"] = SECRETS[3]
        container.add_attachment("my face.jpg", "image/jpeg", jpeg())
        text = container.add_stream_from_template(subtitles.streams.subtitles[0])
        for packet in subtitles.demux():
            if packet.dts is not None:
                packet.stream = text
                container.mux(packet)
        for i, picture in enumerate(scene()[0].frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            container.mux(stream.encode(frame))
        for i in range(100):
            samples = frame_of(rng.normal(0, 0.1, (1, 1024)).astype(np.float32))
            samples.pts, samples.time_base = 1024 * i, Fraction(1, 48_000)
            container.mux(audio.encode(samples))
        for target in (stream, audio):
            container.mux(target.encode())
    assert all(secret.encode() in path.read_bytes() for secret in SECRETS if secret != SECRETS[1])
    return path


@pytest.fixture(scope="module")
def shown(film, tmp_path_factory):
    target = tmp_path_factory.mktemp("shown") / "new" / "a.mp4"
    return anonymize_file(film, target, AnonymizeSettings(seed=3, clothes="random"))


def kinds(path):
    with av.open(str(path)) as container:
        return [stream.type for stream in container.streams]


def leaking(original, written, masks):
    """Pairs of pixels of the person in a written film; ``near`` allows for what the codec changes."""
    return leaks(read_clip(original).frames, read_clip(written).frames, masks, scene()[2], near=6)


def test_size_rate_and_frames_are_kept_and_nothing_but_pictures_travels(film, shown):
    before, after = probe(film), probe(shown.target)
    assert (after.rows, after.columns, after.frames) == (ROWS, COLUMNS, len(scene()[0]))
    assert float(after.fps) == pytest.approx(float(before.fps), rel=1e-3)
    assert before.audio
    assert not after.audio
    assert kinds(shown.target) == ["video"]
    data, told = shown.target.read_bytes(), everything_told(shown.target)
    for secret in SECRETS:
        assert secret.encode() not in data
        assert secret not in told
    assert os.listdir(shown.target.parent) == ["a.mp4"]


def test_somebody_walks_and_it_is_not_who_walked(film, shown):
    _, masks, empty = scene()
    assert len(shown.drawn) == 1
    assert (shown.shown[EMPTY + 6 :] == 1).mean() > 0.8
    pictures = read_clip(shown.target).frames.astype(int)
    there = (np.abs(pictures - empty).max(axis=-1) > 40).sum(axis=(1, 2))
    frames = np.flatnonzero(shown.shown)
    assert 0.4 < np.median(there[frames] / masks[frames].sum(axis=(1, 2))) < 2
    # A new person's colors are the old one's here and there.
    assert leaking(film, shown.target, masks).sum() < 0.02 * masks.sum()


def test_hidden_people_leave_no_pixel(film, tmp_path):
    masks = scene()[1]
    done = anonymize_file(film, tmp_path / "a.mp4", HIDE)
    assert leaking(film, film, masks).sum() > 10_000, "the measure sees nothing"
    assert leaking(film, done.target, masks).sum() == 0
    assert done.hidden[EMPTY + 5 :].all()


@pytest.mark.parametrize("broken", ["detect", "changed", "segment"])
def test_a_stage_that_fails_in_half_of_the_frames_writes_nobody(film, tmp_path, monkeypatch, broken):
    rng = np.random.default_rng(1)
    working = getattr(surveying, broken)

    def failing(*given):
        found = working(*given)
        if broken == "segment":
            boxes, masks = found
            return boxes, [mask & (rng.random() < 0.5) for mask in masks]
        if rng.random() < 0.5:
            return found
        return found[:0] if broken == "detect" else np.zeros_like(found)

    monkeypatch.setattr(surveying, broken, failing)
    anonymize_file(film, tmp_path / "a.mp4", HIDE)
    assert leaking(film, tmp_path / "a.mp4", scene()[1]).sum() == 0


def test_a_seed_repeats_everything_and_is_written_nowhere(film, shown, tmp_path):
    drawn = {}
    for name, chosen in (("same", 3), ("other", 4), ("none", None), ("again", None)):
        target = tmp_path / f"{name}.mp4"
        drawn[name] = anonymize_file(film, target, AnonymizeSettings(seed=chosen, clothes="random")).target.read_bytes()
    assert drawn["same"] == shown.target.read_bytes()
    assert len(set(drawn.values())) == 4


def test_sound_is_kept_on_demand_alone(film, tmp_path):
    done = anonymize_file(film, tmp_path / "a.mp4", AnonymizeSettings(method="hide", keep_audio=True))
    assert kinds(done.target) == ["video", "audio"]
    assert SECRETS[3] not in everything_told(done.target)


@pytest.mark.parametrize("name", [n for n in get_args(MethodName) if n not in {"replacement", "hide"}])
def test_every_method_shows_somebody(film, tmp_path, name):
    done = anonymize_file(film, tmp_path / "a.mp4", AnonymizeSettings(method=name, seed=1))
    assert done.shown.sum() > 30
    frames = np.flatnonzero(done.shown)
    pictures = read_clip(done.target).frames[frames].astype(int)
    assert (np.abs(pictures - scene()[2]).max(axis=-1) > 40).sum(axis=(1, 2)).min() > 40


def test_a_black_shape_is_black(film, tmp_path):
    done = anonymize_file(film, tmp_path / "a.mp4", AnonymizeSettings(method="black"))
    _, masks, empty = scene()
    frames = np.flatnonzero(done.shown)
    pictures = read_clip(done.target).frames[frames].astype(int)
    inside = masks[frames] & (np.abs(pictures - empty).max(axis=-1) > 40)
    assert pictures[inside].max(axis=-1).mean() < 30


def test_what_cannot_be_scaled_is_told_before_anything_is_read(film, tmp_path):
    def read(done, total, text):
        raise AssertionError("the video was read")

    for work in (anonymize_file, preview_file):
        with pytest.raises(GaitkeeperError, match="replacement: has no strength to set, got 2"):
            work(film, tmp_path / "a.mp4", AnonymizeSettings(strength=2), progress=read)
    with pytest.raises(GaitkeeperError, match="expected a strength above 0"):
        anonymize_file(film, tmp_path / "a.mp4", AnonymizeSettings(method="deformation", strength=float("nan")))
    assert not list(tmp_path.iterdir())


def test_faces_are_covered_unless_they_are_kept(film, tmp_path):
    original, masks = read_clip(film).frames.astype(int), scene()[1]
    apart = {}
    for faces in ("cover", "keep"):
        settings = AnonymizeSettings(method="dilate", faces=faces)
        done = anonymize_file(film, tmp_path / f"{faces}.mp4", settings)
        pictures = read_clip(done.target).frames.astype(int)
        differences = []
        for t in np.flatnonzero(done.shown):
            rows = np.flatnonzero(masks[t].any(axis=1))
            head = masks[t].copy()
            head[rows[0] + round(0.12 * len(rows)) :] = False
            differences.append(np.abs(pictures[t] - original[t])[head].mean())
        apart[faces] = np.mean(differences)
    assert apart["cover"] > 1.3 * apart["keep"]


@pytest.mark.parametrize("stage", ["empty scene", "following", "together"])
def test_an_interrupted_run_leaves_nothing(film, tmp_path, stage):
    def stop(done, total, text):
        if stage in text:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        anonymize_file(film, tmp_path / "a.mp4", HIDE, progress=stop)
    assert not list(tmp_path.iterdir())


def test_a_preview_shows_both_and_writes_one_picture(film, tmp_path):
    import cv2

    number = preview_file(film, tmp_path / "a.png", AnonymizeSettings(seed=1))
    assert EMPTY < number < len(scene()[0])
    picture = cv2.imread(str(tmp_path / "a.png"))[..., ::-1]
    assert picture.shape == (ROWS, 2 * COLUMNS, 3)
    np.testing.assert_array_equal(picture[:, :COLUMNS], read_clip(film).frames[number])
    assert leaks(picture[None, :, :COLUMNS], picture[None, :, COLUMNS:], scene()[1][[number]], scene()[2]).sum() < 12
    assert os.listdir(tmp_path) == ["a.png"]


# What users bring


def write_masks(folder, masks, *, cut=0):
    import cv2

    folder.mkdir()
    for i, mask in enumerate(masks):
        cv2.imwrite(str(folder / f"{i:04d}.png"), 255 * mask[cut:].astype(np.uint8))
    return folder


def test_masks_of_the_user_are_used(film, tmp_path):
    masks = scene()[1]
    folder = write_masks(tmp_path / "masks", masks)
    done = anonymize_file(film, tmp_path / "a.mp4", AnonymizeSettings(method="hide", masks=folder))
    assert leaking(film, done.target, masks).sum() == 0
    assert done.hidden[EMPTY + 3 :].all()
    # Masks that show nobody do not make anybody visible.
    nobody = write_masks(tmp_path / "nobody", np.zeros_like(masks))
    done = anonymize_file(film, tmp_path / "b.mp4", AnonymizeSettings(method="hide", masks=nobody))
    assert not done.survey.people
    assert leaking(film, done.target, masks).sum() == 0


def test_masks_and_pictures_that_do_not_fit_are_told(film, tmp_path):
    import cv2

    masks = scene()[1]
    (tmp_path / "none").mkdir()
    torn = write_masks(tmp_path / "torn", masks)
    (torn / "0007.png").write_bytes(b"no picture")
    (tmp_path / "text.png").write_text("no picture")
    cv2.imwrite(str(tmp_path / "small.png"), np.zeros((60, 80, 3), np.uint8))
    cases = [
        ({"masks": tmp_path / "absent"}, "absent: expected a folder with a PNG mask for each frame, found none"),
        ({"masks": tmp_path / "none"}, "none: expected a folder with a PNG mask for each frame, found none"),
        ({"masks": write_masks(tmp_path / "few", masks[1:])}, "few: expected 60 PNG masks, one a frame, found 59"),
        (
            {"masks": write_masks(tmp_path / "cut", masks, cut=9)},
            "0000.png: expected a mask of 160x120 .* found 160x111",
        ),
        ({"masks": torn}, "0007.png: expected a PNG mask, found a file that is none"),
        ({"background": tmp_path / "absent.png"}, "absent.png: expected a picture of the empty scene, found nothing"),
        ({"background": tmp_path / "text.png"}, "text.png: expected a picture .*, found a file that is none"),
        ({"background": tmp_path / "small.png"}, "small.png: expected a picture of 160x120 .*, found 80x60"),
    ]
    before = set(tmp_path.iterdir())
    for given, message in cases:
        with pytest.raises(DataError, match=message):
            anonymize_file(film, tmp_path / "a.mp4", AnonymizeSettings(force=True, **given))
    assert set(tmp_path.iterdir()) == before


def test_a_picture_of_the_empty_scene_finds_who_never_moves(tmp_path):
    import cv2

    clip, masks, empty = scene()
    still = int(np.argmax(masks.sum(axis=(1, 2))))
    rng = np.random.default_rng(0)
    frames = clip.frames[still] + rng.normal(0, 1.5, (40, ROWS, COLUMNS, 3))
    path = tmp_path / "still.mp4"
    write_clip(path, frames.round().clip(0, 255).astype(np.uint8), fps=25)
    cv2.imwrite(str(tmp_path / "empty.png"), empty.round().astype(np.uint8)[..., ::-1])
    done = anonymize_file(path, tmp_path / "a.mp4", AnonymizeSettings(background=tmp_path / "empty.png"))
    assert done.hidden.all()
    assert not done.survey.unverified.any()
    assert leaking(path, done.target, masks[[still] * 40]).sum() == 0


# Bad input


def test_what_is_no_video_is_told_even_with_force(tmp_path):
    (tmp_path / "a.mp4").write_text("no video")
    for force in (False, True):
        with pytest.raises(VideoError, match=r"a\.mp4: expected a video that decodes"):
            anonymize_file(tmp_path / "a.mp4", tmp_path / "b.mp4", AnonymizeSettings(force=force))
    assert os.listdir(tmp_path) == ["a.mp4"]


def test_a_truncated_video_is_refused_and_taken_as_far_as_it_goes_with_force(tmp_path):
    # Its index is in front, so that it can be read from the beginning.
    write_clip(tmp_path / "plain.mp4", scene()[0].frames, fps=25)
    with Frames(tmp_path / "plain.mp4") as frames, Writer(tmp_path / "front.mp4", frames.recording, quality=8) as out:
        for picture, when in frames:
            out.add(picture, when)
    data = (tmp_path / "front.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) * 3 // 4])
    with pytest.raises(VideoError, match=r"cut\.mp4: expected .*truncated"):
        anonymize_file(tmp_path / "cut.mp4", tmp_path / "a.mp4", HIDE)
    assert not (tmp_path / "a.mp4").exists()
    done = anonymize_file(tmp_path / "cut.mp4", tmp_path / "a.mp4", AnonymizeSettings(method="hide", force=True))
    assert 20 < len(done.shown) < 60
    assert probe(done.target).frames == len(done.shown)
    assert any("could be read only in part" in note for note in done.notes)
    count = len(done.shown)
    shown = read_clip(done.target).frames
    original = read_clip(tmp_path / "plain.mp4").frames[:count]
    assert leaks(original, shown, scene()[1][:count], scene()[2], near=6).sum() == 0
    preview_file(tmp_path / "cut.mp4", tmp_path / "a.png", AnonymizeSettings(method="hide", force=True))
    assert (tmp_path / "a.png").exists()


def moved(clip):
    large = filmed(frames=44)[0].frames
    return np.stack([picture[20 : 20 + ROWS, i : i + COLUMNS] for i, picture in enumerate(large)])


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        (moved, "expected a camera that stands still, found the picture shifting by"),
        (lambda clip: clip[20:25], "expected at least 8 frames to tell people from background, found 5"),
        (lambda clip: np.zeros_like(clip[:20]), "expected a visible scene, found black frames"),
    ],
)
def test_what_cannot_be_done_in_part_is_obscured_whole_on_force(tmp_path, frames, reason):
    pictures = frames(scene()[0].frames)
    write_clip(tmp_path / "a.mp4", pictures, fps=25)
    with pytest.raises(VideoError, match=rf"a\.mp4: {reason}.*; --force obscures all of the picture"):
        anonymize_file(tmp_path / "a.mp4", tmp_path / "b.mp4", HIDE)
    done = anonymize_file(tmp_path / "a.mp4", tmp_path / "b.mp4", AnonymizeSettings(force=True))
    assert done.survey is None
    assert (done.obscured == 1).all()
    assert any(reason in note for note in done.notes)
    assert probe(done.target).frames == len(pictures)
    expected = np.stack([mosaic(picture) for picture in read_clip(tmp_path / "a.mp4").frames]).astype(int)
    assert np.abs(read_clip(done.target).frames - expected).mean() < 4
    preview_file(tmp_path / "a.mp4", tmp_path / "b.png", AnonymizeSettings(force=True))


def test_a_mosaic_leaves_cells_of_one_color():
    picture = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    shown = mosaic(picture)
    assert shown.shape == picture.shape
    assert len(np.unique(shown.reshape(-1, 3), axis=0)) <= 16 * 21
    assert mosaic(picture[:3, :1]).shape == (3, 1, 3)


@pytest.mark.parametrize("kind", ["uneven times", "turned", "odd size", "ten bits", "grey"])
def test_unusual_videos_are_anonymized_as_others(tmp_path, kind):
    clip, masks, empty = scene()
    pictures, path = clip.frames, tmp_path / "a.mkv"
    if kind == "uneven times":
        times = np.cumsum(np.random.default_rng(0).choice([0.02, 0.03, 0.06], len(pictures)))
        encode(path, pictures, times=times)
    elif kind == "turned":
        path, unit = tmp_path / "a.mp4", 1 << 16
        matrix = [0, -unit, 0, unit, 0, 0, 0, 0, 1 << 30]
        lying = np.rot90(pictures, -1, axes=(1, 2)).copy()
        encode(path, lying, setup=lambda _, stream: stream.set_display_matrix(matrix))
    elif kind == "odd size":
        pictures, masks, empty = pictures[:, :-1, :-3], masks[:, :-1, :-3], empty[:-1, :-3]
        path = tmp_path / "a.mp4"
        write_clip(path, pictures, fps=25)
    else:
        encode(path, pictures, pix_fmt="gray" if kind == "grey" else "yuv420p10le")
    done = anonymize_file(path, tmp_path / "b.mp4", HIDE)
    before, after = probe(path), probe(done.target)
    assert (after.rows, after.columns) == pictures.shape[1:3]
    assert (after.frames, after.variable, after.rotation) == (len(pictures), kind == "uneven times", 0)
    assert after.bits == 8
    assert any("10 bits" in note for note in done.notes) == (kind == "ten bits")
    assert done.hidden[EMPTY + 5 :].all()
    grey = empty.mean(axis=-1, keepdims=True).repeat(3, -1) if kind == "grey" else empty
    first, second = read_clip(path).frames, read_clip(done.target).frames
    assert leaks(first, second, masks, grey, near=6).sum() <= 4
    assert before.frames in {None, len(pictures)}


def test_where_nobody_is_all_frames_are_kept(tmp_path):
    empty = scene()[2]
    rng = np.random.default_rng(0)
    frames = (empty + rng.normal(0, 1.5, (30, *empty.shape))).round().clip(0, 255).astype(np.uint8)
    write_clip(tmp_path / "a.mp4", frames, fps=25)
    done = anonymize_file(tmp_path / "a.mp4", tmp_path / "b.mp4", AnonymizeSettings())
    assert not done.survey.people
    assert len(done.shown) == 30
    assert not done.shown.any()
    assert not done.hidden.any()
    pictures = read_clip(done.target).frames
    assert len(pictures) == 30
    assert np.abs(pictures.astype(float) - empty).mean() < 6


def together(walks, count):
    """Walkers of several films in the place of the first, ``(subject, view, start, shift)`` each."""
    empty = filmed()[2]
    rng = np.random.default_rng(0)
    frames, masks = np.repeat(empty[None], count, 0).astype(float), np.zeros((count, *empty.shape[:2]), bool)
    for subject, view, start, shift in walks:
        clip, true, _ = filmed(subject, view)
        for i in range(EMPTY, min(len(clip), EMPTY + count - start)):
            mask, picture = np.roll(true[i], shift, 1), np.roll(clip.frames[i], shift, 1)
            frames[start + i - EMPTY][mask] = picture[mask]
            masks[start + i - EMPTY] |= mask
    frames += rng.normal(0, 1.5, frames.shape)
    return frames.round().clip(0, 255).astype(np.uint8), masks, empty


TEN = [
    *((5, 90, 16, 0), (7, 90, 16, -40), (9, 90, 16, 40), (11, 0, 16, -60), (12, 180, 20, 60)),
    *((13, 36, 24, -20), (14, 90, 24, 80), (15, 90, 30, -80), (16, 0, 30, 20), (17, 180, 16, -90)),
]


@pytest.mark.parametrize("walks", [TEN, [(5, 90, 16, 0), (7, 90, 20, 30)]], ids=["ten", "crossing"])
def test_nobody_of_many_leaks(tmp_path, walks):
    frames, masks, empty = together(walks, 60)
    write_clip(tmp_path / "a.mp4", frames, fps=25)
    done = anonymize_file(tmp_path / "a.mp4", tmp_path / "b.mp4", HIDE)
    first, second = read_clip(tmp_path / "a.mp4").frames, read_clip(done.target).frames
    assert leaks(first, first, masks, empty, near=6).sum() > 0.3 * masks.sum()
    # Grey clothes have the color of what stands for people, here and there.
    assert leaks(first, second, masks, empty, near=6).sum() < 0.001 * masks.sum()


@pytest.mark.parametrize("start", [0, 40])
def test_who_comes_late_or_leaves_early_is_hidden(tmp_path, start):
    frames, masks, empty = together([(5, 90, start, 0)], 84)
    write_clip(tmp_path / "a.mp4", frames, fps=25)
    done = anonymize_file(tmp_path / "a.mp4", tmp_path / "b.mp4", HIDE)
    first, second = read_clip(tmp_path / "a.mp4").frames, read_clip(done.target).frames
    assert leaks(first, second, masks, empty, near=6).sum() == 0
    assert done.hidden.sum() >= 40


def test_who_stops_for_most_of_the_film_is_hidden_with_their_shoes(tmp_path):
    clip, true, empty = filmed()
    order = [*range(8), *range(EMPTY, 38), *[38] * 60, *range(38, len(clip))]
    rng = np.random.default_rng(0)
    frames = (clip.frames[order] + rng.normal(0, 1.5, (len(order), *empty.shape))).round().clip(0, 255)
    write_clip(tmp_path / "a.mp4", frames.astype(np.uint8), fps=30)
    done = anonymize_file(tmp_path / "a.mp4", tmp_path / "b.mp4", HIDE)
    first, second = read_clip(tmp_path / "a.mp4").frames, read_clip(done.target).frames
    assert done.survey.unverified[true[38]].mean() > 0.98
    assert leaks(first, second, true[order], empty, near=6).max() <= 2


def test_a_decoder_that_is_killed_is_an_error_and_leaves_nothing(film, tmp_path):
    import glob
    import signal

    mine = f"/proc/{os.getpid()}/task/*/children"
    if not glob.glob(mine):
        pytest.skip("the system does not list a process's children")

    def children():
        return {int(pid) for name in glob.glob(mine) for pid in Path(name).read_text().split()}

    before = children()

    def kill(done, total, text):
        if "together" in text:
            for pid in children() - before:
                os.kill(pid, signal.SIGKILL)

    with pytest.raises(VideoError, match=r"killed the decoder \(signal 9\)"):
        anonymize_file(film, tmp_path / "a.mp4", HIDE, progress=kill)
    assert not list(tmp_path.iterdir())


MEASURE = """
import resource, sys
from pathlib import Path
from gaitkeeper.anonymize import survey
from gaitkeeper.anonymize.run import anonymize_file
from gaitkeeper.anonymize.settings import AnonymizeSettings
survey._WINDOW, survey._SAMPLED = 2 * 2**20, 2**20
anonymize_file(Path(sys.argv[1]), Path(sys.argv[2]), AnonymizeSettings(method="hide"))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_length(tmp_path):
    empty = scene()[2][20:84, :96].round().astype(np.uint8)
    peaks = []
    for count in (200, 1800):
        frames = np.repeat(empty[None], count, 0)
        for t in range(20, count):
            left = abs((t % 160) - 80)
            frames[t, 20:52, left : left + 10] = (200, 30, 30)
        write_clip(tmp_path / f"{count}.mp4", frames, fps=25)
        command = [sys.executable, "-c", MEASURE, str(tmp_path / f"{count}.mp4"), str(tmp_path / "a.mp4")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stdout) / 1024)
    # All frames of the long one would take 32 MiB.
    assert peaks[1] - peaks[0] < 16


# Names


def test_names_with_spaces_and_other_scripts_and_links(film, tmp_path):
    path = tmp_path / "film åäö 歩く 'x' .mkv"
    path.symlink_to(film)
    done = anonymize_file(path, target_of(path, tmp_path / "out put"), HIDE)
    assert done.target == tmp_path / "out put" / "film åäö 歩く 'x' _anonymized.mp4"
    assert probe(done.target).frames == 60


def test_a_folder_gives_its_videos_but_not_our_own(tmp_path):
    for name in ("b.mp4", "a.MKV", "a_anonymized.mp4", "notes.txt"):
        (tmp_path / name).touch()
    assert find_videos([tmp_path, tmp_path / "b.mp4"]) == [tmp_path / "a.MKV", tmp_path / "b.mp4"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty: expected videos \(\.mp4, .*found none in this folder"):
        find_videos([tmp_path / "empty"])
    with pytest.raises(DataError, match=r"absent: expected a video or a folder of videos, found nothing there"):
        find_videos([tmp_path / "absent"])
    assert target_of(Path("x/a.mov"), None) == Path("x/a_anonymized.mp4")
