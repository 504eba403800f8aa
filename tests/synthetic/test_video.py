from pathlib import Path

import cv2
import numpy as np
import pytest

from gaitkeeper.datasets.base import Sample
from gaitkeeper.datasets.export import render_walkers, write_sequence, write_sheet
from gaitkeeper.errors import DataError
from gaitkeeper.motion.silhouettes import energy_image
from gaitkeeper.perception.people import find_people, walking_track
from gaitkeeper.perception.video import Clip, read_clip
from gaitkeeper.synthetic import sheet
from gaitkeeper.synthetic.population import Population
from gaitkeeper.synthetic.video import Footage, video
from gaitkeeper.synthetic.walkers import Walkers


@pytest.fixture(scope="module")
def walkers() -> Walkers:
    return Walkers()


@pytest.fixture(scope="module")
def footage(walkers) -> Footage:
    return video(walkers, 7, "nm-01", 90)


def in_usual_light(footage: Footage) -> np.ndarray:
    """Return the frames ``(t, h, w)``, grey, with changes of exposure taken out, over the empty place."""
    empty = footage.background.mean(axis=-1) + 4
    ratio = (footage.frames.mean(axis=-1) + 4) / empty
    return ratio / np.median(ratio, axis=(1, 2), keepdims=True)


def near(masks: np.ndarray, pixels: int) -> np.ndarray:
    kernel = np.ones((2 * pixels + 1, 2 * pixels + 1), np.uint8)
    return np.stack([cv2.dilate(mask, kernel) > 0 for mask in masks])


def test_what_is_returned(footage):
    assert footage.frames.shape == (60, 240, 320, 3)
    assert footage.masks.shape == (60, 240, 320)
    assert footage.background.shape == (240, 320, 3)
    assert {a.dtype for a in (footage.frames, footage.masks, footage.background)} == {np.dtype(np.uint8)}
    assert np.unique(footage.masks).tolist() == [0, 255]
    assert footage.fps == 30


def test_same_population_gives_same_bytes_in_any_order(walkers):
    asked = [(3, "nm-01", 90), (50, "cl-02", 36), (3, "nm-01", 0)]
    small = {"frames": 3, "rows": 96, "columns": 128}
    forward = {key: video(walkers, *key, **small) for key in asked}
    fresh = Walkers(Population())
    for key in reversed(asked):
        again = video(fresh, *key, **small)
        for name in ("frames", "masks", "background"):
            np.testing.assert_array_equal(getattr(again, name), getattr(forward[key], name))
    other = video(Walkers(Population(seed=1)), 3, "nm-01", 90, **small)
    assert (other.background != forward[3, "nm-01", 90].background).mean() > 0.5


@pytest.mark.parametrize("condition", ["nm-04", "bg-01", "cl-02"])
@pytest.mark.parametrize("view", [0, 54, 90, 162])
def test_the_walker_crosses_the_picture_and_is_whole_in_it(walkers, condition, view):
    shot = video(walkers, 11, condition, view, rows=120, columns=160)
    assert (shot.masks[:, 20:-20, 20:-20].any(axis=(1, 2))).all()
    assert not shot.masks[:, [0, -1]].any()
    assert not shot.masks[:, :, [0, -1]].any()
    if view == 90:
        middles = [np.nonzero(mask)[1].mean() for mask in shot.masks]
        # The camera is on the walker's left. Arms and legs swing faster than the body moves, but not for long.
        assert (np.array(middles[6:]) < np.array(middles[:-6])).all()
        assert middles[0] - middles[-1] > 50


def test_longer_walks_are_seen_from_farther_away(walkers):
    shot = video(walkers, 11, "nm-01", 90, frames=150, rows=96, columns=128)
    assert shot.masks.any(axis=(1, 2)).all()
    assert not shot.masks[:, :, [0, -1]].any()


def test_other_sizes_show_the_same(walkers, footage):
    large = video(walkers, 7, "nm-01", 90, rows=480, columns=640, frames=60).masks[30]
    smaller = cv2.resize(large, (320, 240), interpolation=cv2.INTER_AREA) > 127
    same = footage.masks[30] > 0
    assert (smaller & same).sum() > 0.95 * (smaller | same).sum()


def test_the_masks_are_where_the_picture_changes(footage):
    change = np.abs(in_usual_light(footage) - 1)
    inside = footage.masks > 0
    assert (change[inside] > 0.1).mean() > 0.75
    away = ~near(footage.masks, 40)
    assert (change[away] > 0.1).mean() < 0.002


def test_a_shadow_falls_beside_the_person(footage):
    light = in_usual_light(footage)
    beside = near(footage.masks, 25) & ~near(footage.masks, 3)
    for ratio, region, mask in zip(light, beside, footage.masks, strict=True):
        dark = region & (cv2.blur(ratio, (3, 3)) < 0.9)
        assert dark.sum() > 30
        assert (region & (cv2.blur(ratio, (3, 3)) > 1.1)).sum() < 3
        # Shadows lie on the floor, not around the head.
        assert np.nonzero(dark)[0].mean() > np.nonzero(mask)[0].mean()


def test_noise_and_light_are_a_real_camera_s(footage):
    away = ~near(footage.masks, 40).any(axis=0)
    away[:20] = True
    grey = footage.frames.astype(float)[:, away]
    gains = np.median(grey / (footage.background[away] + 1.0), axis=(1, 2))
    noise = (grey / gains[:, None, None]).std(axis=0)
    assert 0.7 < np.median(noise) < 5
    assert 0.01 < np.ptp(gains) < 0.15
    assert np.abs(np.diff(gains)).max() > 0.01  # the exposure jumps


def test_some_clothes_look_like_the_wall_behind(walkers):
    def hidden(subject: int) -> float:
        shot = video(walkers, subject, "nm-01", 90, frames=1, rows=120, columns=160)
        change = np.abs(shot.frames[0].astype(float) - shot.background).mean(axis=-1)
        return float((change[shot.masks[0] > 0] < 15).mean())

    shares = [hidden(subject) for subject in range(1, 13)]
    assert max(shares) > 0.25
    assert min(shares) < 0.03


def test_wrong_requests_are_errors(walkers):
    for asked in ((0, "nm-01", 90), (125, "nm-01", 90), (1, "nm-07", 90), (1, "nm-01", 45)):
        with pytest.raises(DataError, match="unknown"):
            video(walkers, *asked)
    with pytest.raises(DataError, match="at least one frame"):
        video(walkers, 1, "nm-01", 90, frames=0)
    with pytest.raises(DataError, match="got 10 x 320"):
        video(walkers, 1, "nm-01", 90, rows=10)


@pytest.mark.parametrize("subject", [7, 50, 60], ids=["colorful", "black legs", "gray on gray"])
def test_people_found_in_the_video_are_the_walkers(walkers, subject):
    shot = video(walkers, subject, "nm-01", 90, rows=360, columns=480)
    track = walking_track(find_people(Clip(shot.frames, shot.fps, Path("walk.mp4"))))
    assert len(track.kept) > 45
    found = np.stack([track.mask(int(i), shot.masks[0].shape) for i in track.kept])
    true = shot.masks[track.kept] > 0
    overlap = (found & true).sum(axis=(1, 2)) / (found | true).sum(axis=(1, 2))
    assert 0.83 < overlap.mean() < 0.995
    # Legs and shoes are there, and the shadow at them is not.
    below = [int(0.25 * y0 + 0.75 * y1) for y0, y1 in (np.nonzero(mask)[0][[0, -1]] for mask in true)]
    lower = [(f[y:] & t[y:]).sum() / (f[y:] | t[y:]).sum() for f, t, y in zip(found, true, below, strict=True)]
    assert np.mean(lower) > 0.7
    seen = energy_image(track.silhouettes) > 0.5
    known = energy_image(walkers.silhouettes(subject, "nm-01", [90], frames=60)[0]) > 0.5
    assert (seen & known).sum() / (seen | known).sum() > 0.7


def test_written_videos_read_back(walkers, tmp_path):
    asked = {"subjects": [5], "conditions": ["bg-01"], "views": [90], "frames": 12, "form": "video"}
    count = render_walkers(tmp_path, Population(), **asked, progress=lambda *_: None)
    folder = tmp_path / "005" / "bg-01" / "090"
    expected = ["video.mp4", *(f"mask-{i:03d}.png" for i in range(1, 13))]
    assert count == 1
    assert sorted(p.name for p in folder.parent.rglob("*")) == sorted(["090", *expected])
    shot = video(walkers, 5, "bg-01", 90, frames=12)
    clip = read_clip(folder / "video.mp4")
    assert clip.fps == pytest.approx(30)
    assert clip.frames.shape == shot.frames.shape
    # Colors are stored at half the resolution, so brightness is what hardly changes.
    assert np.abs(clip.frames.mean(axis=-1) - shot.frames.mean(axis=-1)).mean() < 2
    for number, mask in enumerate(shot.masks, 1):
        stored = cv2.imread(str(folder / f"mask-{number:03d}.png"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(stored, mask)
    before = (folder / "video.mp4").stat().st_mtime_ns
    render_walkers(tmp_path, Population(), **asked, progress=lambda *_: None)
    assert (folder / "video.mp4").stat().st_mtime_ns == before


def test_what_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(DataError, match=r"001\.png: expected a picture"):
        write_sequence(tmp_path, Sample("001", "nm-01", 90), np.zeros((2, 0, 0), np.uint8))
    assert [p.name for p in (tmp_path / "001").rglob("*")] == ["nm-01"]


def test_contact_sheet(walkers, tmp_path):
    path = tmp_path / "new" / "sheet.png"
    write_sheet(path, Population(), subjects=[1, 2], conditions=["nm-01"])
    stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(stored, sheet.by_view(walkers, [(1, "nm-01"), (2, "nm-01")]))
    with pytest.raises(DataError, match="at least one subject"):
        write_sheet(path, Population(), subjects=[], conditions=["nm-01"])
