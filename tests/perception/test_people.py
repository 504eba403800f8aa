from pathlib import Path

import cv2
import numpy as np
import pytest

from gaitkeeper.errors import VideoError
from gaitkeeper.perception.people import find_people, walking_track
from gaitkeeper.perception.pictures import contact_sheet, outlined, overview, tiled
from gaitkeeper.perception.video import Clip, read_clip, write_clip
from tests.perception import ellipse_figures

REAL = Path(__file__).parents[3] / "shared" / "real" / "video" / "sports2d_demo.mp4"
NAME = Path("clip.mp4")


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """A written and read clip of one figure, its true masks and what was found in it."""
    path = tmp_path_factory.mktemp("people") / "walk.mkv"
    frames, masks = ellipse_figures.clip()
    write_clip(path, frames, fps=ellipse_figures.FPS, quality=12)
    return masks, find_people(read_clip(path))


def test_masks_agree_with_the_truth(walked):
    masks, scene = walked
    track = walking_track(scene)
    assert len(scene.tracks) == 1
    assert len(track.frames) >= 73
    found = np.stack([track.mask(int(i), masks[0].shape) for i in track.frames])
    true = masks[track.frames]
    overlap = (found & true).sum(axis=(1, 2)) / (found | true).sum(axis=(1, 2))
    assert overlap.min() > 0.8
    assert overlap.mean() > 0.85


def test_masks_are_not_shifted(walked):
    masks, scene = walked
    track = walking_track(scene)
    found = [track.mask(int(i), masks[0].shape) for i in track.frames]
    off = [
        np.argwhere(f).mean(axis=0) - np.argwhere(masks[i]).mean(axis=0)
        for f, i in zip(found, track.frames, strict=True)
    ]
    down, right = np.abs(np.mean(off, axis=0))
    assert right < 0.3
    assert down < 0.8  # the tips of the feet are lost now and then


def test_dark_legs_are_not_taken_for_the_shadow_beside_them():
    frames, masks = ellipse_figures.clip(60, jump=False)
    floor = np.random.default_rng(1).normal((120, 120, 118), 3, frames[:, 120:].shape)
    cast = np.zeros_like(masks)
    for i, mask in enumerate(masks):
        cv2.ellipse(drawn := np.zeros(mask.shape, np.uint8), (75 + round(250 * i / 60), 161), (40, 7), 0, 0, 360, 1, -1)
        cast[i] = (drawn > 0) & ~mask
        picture = frames[i].astype(float)
        picture[120:] = floor[i]
        picture[cast[i]] *= (0.65, 0.68, 0.72)
        picture[100:][mask[100:]] = (40, 42, 50)
        frames[i] = picture.clip(0, 255)
    track = walking_track(find_people(Clip(frames, ellipse_figures.FPS, NAME)))
    found = np.stack([track.mask(int(i), masks[0].shape) for i in track.kept])[:, 130:]
    true, dark = masks[track.kept][:, 130:], cast[track.kept][:, 130:]
    assert (found & true).sum() > 0.9 * true.sum()
    assert (found & dark).sum() < 0.15 * dark.sum()


def test_the_walk_is_measured(walked):
    track = walking_track(walked[1])
    assert track.problems == ()
    assert track.silhouettes.shape == (len(track.kept), 64, 44)
    assert len(track.kept) > 60
    assert track.walk.cadence == pytest.approx(108, abs=3)
    assert track.walk.speed == pytest.approx(250 / 3 / 120, rel=0.1)
    assert track.walk.height == pytest.approx(120, abs=3)


def test_the_background_is_empty(walked):
    scene = walked[1]
    assert np.abs(scene.background - ellipse_figures.background()).mean() < 4


def test_somebody_who_stands_most_of_the_time_does_not_become_background():
    frames, masks = ellipse_figures.clip(100, walks=False, jump=False)
    for i in range(20, 85):
        masks[i] = ellipse_figures.figure(150 + 0.3 * (i % 7), 0.2)
        frames[i][masks[i]] = (40, 40, 60)
    scene = find_people(Clip(frames, 25.0, NAME))
    assert np.abs(scene.background - ellipse_figures.background()).mean() < 4
    assert scene.tracks[0].frames[[0, -1]].tolist() == [20, 84]
    with pytest.raises(VideoError, match=r"frames 20-84.*: \d+ whole frames of walking"):
        walking_track(scene)


def test_two_figures_are_two_tracks():
    frames, _ = ellipse_figures.clip(60, walks=False)
    for i in range(60):
        for middle, color in ((40 + 1.4 * i, (60, 20, 20)), (170 + 1.9 * i, (20, 20, 60))):
            frames[i][ellipse_figures.figure(middle, 0.25 * i, height=110)] = color
    tracks = find_people(Clip(frames, 25.0, NAME)).tracks
    assert [len(t.frames) for t in tracks] == [60, 60]


def test_frames_cut_by_the_edge_are_left_out():
    frames, _ = ellipse_figures.clip(75, walks=False)
    for i in range(75):
        mask = ellipse_figures.figure(-20 + 4.5 * i, 2 * np.pi * 0.9 * i / 25)
        frames[i][mask] = (150, 40, 40)
    track = walking_track(find_people(Clip(frames, 25.0, NAME)))
    boxes = track.boxes[np.isin(track.frames, track.kept)]
    assert boxes[:, 0].min() > 1
    assert boxes[:, 2].max() < ellipse_figures.COLUMNS - 1
    assert len(track.kept) > 45


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        (lambda: np.zeros((40, 90, 120, 3), np.uint8), "black"),
        (lambda: ellipse_figures.clip(1)[0], "at least 8 frames .* found 1"),
        (lambda: ellipse_figures.clip(60, walks=False)[0], "nobody"),
        (lambda: ellipse_figures.clip(60, pan=2.0)[0], "camera that stands still"),
        (lambda: ellipse_figures.clip(60)[0][:16], "whole frames of walking"),
        (lambda: np.random.default_rng(0).integers(0, 256, (30, 90, 120, 3), dtype=np.uint8), "expected"),
    ],
    ids=["black", "one frame", "empty", "moving camera", "short", "noise"],
)
def test_unusable_clips_are_refused_with_the_reason(frames, reason):
    with pytest.raises(VideoError, match=reason) as caught:
        walking_track(find_people(Clip(frames(), 25.0, NAME)))
    assert str(caught.value).startswith("clip.mp4: expected ")


def test_pictures(walked):
    _, scene = walked
    track = walking_track(scene)
    frame = int(track.kept[10])
    drawn = outlined(scene, track, frame)
    changed = (drawn != scene.clip.frames[frame]).any(axis=2)
    x0, y0, x1, y1 = track.boxes[list(track.frames).index(frame)]
    assert changed[y0:y1, x0:x1].any()
    changed[max(0, y0 - 3) : y1 + 3, max(0, x0 - 3) : x1 + 3] = False
    assert not changed.any()
    rows, columns = ellipse_figures.ROWS, ellipse_figures.COLUMNS
    assert overview(scene, track, count=4, columns=2).shape == (2 * rows + 4, 2 * columns + 4, 3)
    sheet = contact_sheet(track.silhouettes[:24], every=2, columns=6, zoom=1)
    assert sheet.shape == (2 * 64 + 4, 6 * 44 + 5 * 4, 3)
    np.testing.assert_array_equal(sheet[:64, 48:92, 0], track.silhouettes[2])
    with pytest.raises(ValueError, match="one size"):
        tiled([], columns=2)


def test_the_real_clip_shows_a_walking_woman():
    if not REAL.is_file():
        pytest.skip(f"needs the real clip {REAL}")
    scene = find_people(read_clip(REAL, max_rows=270))
    track = walking_track(scene)
    # The man on the roof is in the picture longer, but it is she who walks, in the lower half, leftward.
    assert len(track.kept) >= 110
    assert set(range(86, 160)) <= set(track.kept.tolist())
    boxes = track.boxes[np.isin(track.frames, track.kept)]
    assert boxes[:, 1].min() > 0.45 * 270
    assert boxes[0, 0] - boxes[-1, 0] > 220
    assert 85 < track.walk.cadence < 115
    assert (np.abs(np.diff(boxes[:, 3] - boxes[:, 1])) < 12).mean() > 0.97
    # Feet and legs: the lowest rows of the average are filled and wider than the waist.
    average = track.silhouettes.mean(axis=0) / 255
    assert ((average > 0.1).sum(axis=1)[-6:] > (average > 0.5).sum(axis=1)[30]).all()
