"""What is known before anything is changed: the empty scene and what of it is in doubt, people, where they walk."""

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaitkeeper.anonymize.doubt import Lasting, Passage, doubtful
from gaitkeeper.anonymize.masks import MaskFolder
from gaitkeeper.anonymize.sources import ClipSource, resized, shrunk
from gaitkeeper.anonymize.stretches import stretches
from gaitkeeper.anonymize.survey import Person, survey
from gaitkeeper.errors import DataError, VideoError
from gaitkeeper.perception.detectors import find_bodies
from gaitkeeper.perception.stream import Frames
from gaitkeeper.perception.tracking import Trail
from gaitkeeper.perception.video import Clip
from tests.anonymize.scenes import EMPTY, filmed

FPS = 30.0
PERSON = slice(60, 330), slice(380, 500)
"""Where people stand in the real clip, in frames of 432 rows."""


@pytest.fixture(scope="module")
def walked():
    clip, masks, empty = filmed()
    return survey(ClipSource(clip)), clip, masks, empty


def test_a_walker_is_found_where_they_are(walked) -> None:
    found, clip, masks, empty = walked
    assert found.count == len(clip)
    (person,) = found.people
    assert person.number == 1
    assert not found.unverified.any()
    assert np.abs(found.background.picture - empty).mean() < 4
    overlaps = []
    for i, frame in enumerate(person.frames):
        x0, y0, x1, y1 = person.boxes[i]
        mask = np.zeros(masks.shape[1:], bool)
        mask[y0:y1, x0:x1] = person.mask(i)
        overlaps.append((mask & masks[frame]).sum() / (mask | masks[frame]).sum())
    assert np.median(overlaps) > 0.75
    assert found.changed[: EMPTY - 2].max() < 0.002 < found.changed[EMPTY + 4 :].min()


def test_a_palette_is_the_colors_of_the_clothes(walked) -> None:
    found, clip, masks, _ = walked
    palette = found.people[0].palette()
    assert palette is not None
    frame = len(clip) - 10
    rows = np.flatnonzero(masks[frame].any(axis=1))
    top = masks[frame].copy()
    top[: rows[0] + round(0.25 * len(rows))] = top[rows[0] + round(0.4 * len(rows)) :] = False
    assert np.abs(np.median(clip.frames[frame][top], axis=0) - palette.top).max() < 30
    assert Person(1).palette() is None


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_masks_are_kept_exactly(rows, columns, seed) -> None:
    mask = np.random.default_rng(seed).random((rows, columns)) < 0.5
    person = Person(1)
    person.add(4, np.array([3, 2, 3 + columns, 2 + rows]), mask, np.array([0, 0, 9, 9]))
    np.testing.assert_array_equal(person.mask(0), mask)
    assert person.areas == [mask.sum()]


def test_an_empty_source_and_too_few_frames_are_told() -> None:
    clip = filmed()[0]
    for count, message in ((0, "expected video frames, found none"), (5, "expected at least 8 frames .* found 5")):
        with pytest.raises(VideoError, match=rf"walker\.mp4: {message}"):
            survey(ClipSource(Clip(clip.frames[:count], clip.fps, clip.path)))


def test_sources_shrink_and_never_enlarge() -> None:
    clip = filmed()[0]
    assert shrunk(180, 240, 90) == (90, 120)
    assert shrunk(180, 240, None) == shrunk(180, 240, 500) == (180, 240)
    with ClipSource(clip).open(max_rows=90) as frames:
        assert next(iter(frames)).shape == (90, 120, 3)
    np.testing.assert_array_equal(resized(clip.frames[0], (180, 240)), clip.frames[0])


# Where somebody walks


def test_a_walk_is_one_stretch_in_which_the_body_stays_in_place(walked) -> None:
    found, _, masks, _ = walked
    (stretch,) = stretches(found, found.people[0])
    assert stretch.last - stretch.first > 30
    assert len(stretch.indices) == stretch.last - stretch.first + 1
    for frame in (stretch.first + 5, stretch.last - 5):
        i = frame - stretch.first
        rows = np.flatnonzero(masks[frame].any(axis=1))
        assert abs(stretch.top[i] - rows[0]) < 4
        assert abs(stretch.bottom[i] - rows[-1] - 1) < 4
        # The middle of the body comes to the middle of the frame that anonymizers see.
        x, y = stretch.to_canvas(frame) @ [stretch.middle[i], stretch.top[i], 1]
        assert x == pytest.approx(stretch.shape[1] / 2)
        assert 0 < y < 0.2 * stretch.shape[0]
    shown = stretch.silhouettes(found.scale)
    assert shown.shape == (len(stretch.indices), *stretch.shape)
    assert shown.dtype == np.uint8
    heights = [np.ptp(np.flatnonzero(s.max(axis=1) > 127)) for s in shown[5:-5]]
    assert np.ptp(heights) < 0.12 * np.median(heights)


def test_who_stands_has_no_stretch_and_long_walks_are_cut(walked) -> None:
    found, _, _, _ = walked
    person = found.people[0]
    standing = Person(1)
    for t in range(60):
        standing.add(t, person.boxes[10], person.mask(10), person.detected[10])
    assert stretches(found, standing) == []
    # Forth and back for 400 frames, with nobody cut by the picture's edge.
    long = Person(2)
    for t in range(400):
        left = 60 + abs((t % 200) - 100)
        wide = np.ones((70, 20 + 10 * (t % 15 > 7)), bool)
        long.add(t, np.array([left, 60, left + wide.shape[1], 130]), wide, np.array([left, 60, left + 20, 130]))
    parts = stretches(found, long)
    assert len(parts) >= 2
    assert max(len(part.indices) for part in parts) <= 256
    assert all(a.last < b.first for a, b in pairwise(parts))


# The user's masks


def test_masks_of_a_folder_are_cut_around_each_person(tmp_path) -> None:
    mask = np.zeros((90, 120), np.uint8)
    mask[20:60, 30:45] = 1
    mask[20:60, 80:95] = 255
    for name in ("b.png", "a.png"):
        cv2.imwrite(str(tmp_path / name), mask)
    folder = MaskFolder(tmp_path)
    folder.check(2, 90, 120)
    np.testing.assert_array_equal(folder.read(0, (90, 120)), mask > 0)
    assert folder.read(1, (45, 60)).sum() == pytest.approx((mask > 0).sum() / 4, rel=0.1)
    trail = Trail([0, 1], [np.array([28, 18, 48, 62]), np.array([0, 0, 10, 10])])
    boxes, masks = folder.cut(trail, 0, (90, 120), np.ones(4))
    np.testing.assert_array_equal(boxes[0], [30, 20, 45, 60])
    assert masks[0].all()
    assert masks[1].size == 0, "nobody is where the second box is"
    with pytest.raises(DataError, match="expected 3 PNG masks, one a frame, found 2"):
        folder.check(3, 90, 120)
    with pytest.raises(DataError, match=r"a\.png: expected a mask of 120x91 pixels as the video's, found 120x90"):
        folder.check(2, 91, 120)


# What cannot be trusted to be empty


def lasting(changes):
    found = Lasting(changes.shape[1:])
    for mask in changes:
        found.step(mask)
    return found


@given(st.lists(st.booleans(), min_size=1, max_size=30))
def test_runs_at_both_ends_are_counted(values) -> None:
    found = lasting(np.array(values, np.uint8)[:, None, None])
    text = "".join("x" if value else "." for value in values)
    assert found.first[0, 0] == len(text) - len(text.lstrip("x"))
    assert found.run[0, 0] == len(text) - len(text.rstrip("x"))
    assert found.count == len(values)


PLAIN = np.full((90, 120, 3), 128.0, np.float32)
QUIET = np.full((90, 120, 3), 3.0, np.float32)
PLACE = slice(20, 70), slice(40, 60)


def changes(frames):
    found = np.zeros((60, 90, 120), np.uint8)
    found[frames, *PLACE] = 1
    return lasting(found)


def test_what_differs_until_an_end_is_doubtful_unless_somebody_was_seen_to_come() -> None:
    for frames in (slice(0, 35), slice(25, None)):
        marked = doubtful(PLAIN, QUIET, changes(frames), [], FPS)
        assert marked[PLACE].all()
        assert marked.mean() < 0.3
    assert not doubtful(PLAIN, QUIET, changes(slice(10, 50)), [], FPS).any()
    assert not doubtful(PLAIN, QUIET, changes(slice(0, 20)), [], FPS).any()
    box = np.array([40, 20, 60, 70])
    came = np.stack([box - np.array([40, 0, 40, 0])] + [box] * 34)
    path = Passage(np.arange(25, 60), came)
    assert path.went
    assert not doubtful(PLAIN, QUIET, changes(slice(25, None)), [path], FPS).any()
    stood = Passage(np.arange(25, 60), np.stack([box] * 35))
    assert not stood.went
    assert doubtful(PLAIN, QUIET, changes(slice(25, None)), [stood], FPS)[PLACE].all()


def test_a_restless_place_of_a_persons_shape_is_doubtful_down_to_the_feet() -> None:
    noise = QUIET.copy()
    noise[20:50, 40:60] = 15
    marked = doubtful(PLAIN, noise, changes(slice(0, 0)), [], FPS)
    assert marked[20:65, 40:60].all(), "legs are missed where they stand still"
    noise = QUIET.copy()
    noise[20:40, 10:90] = 15
    assert not doubtful(PLAIN, noise, changes(slice(0, 0)), [], FPS).any(), "a tree in the wind is wide"
    # Where people were seen to go by all the time, that is why.
    noise = QUIET.copy()
    noise[20:70, 40:60] = 15
    box = np.array([40, 20, 60, 70])
    path = Passage(np.arange(60), np.stack([box] * 40 + [box + np.array([50, 0, 50, 0])] * 20))
    assert not doubtful(PLAIN, noise, changes(slice(0, 0)), [path], FPS).any()


@pytest.fixture(scope="module")
def real(shared):
    """The clip of people who stand before a table, every second frame."""
    with Frames(shared / "real/video/one-by-one-person-detection.mp4", max_rows=432) as frames:
        chosen = [frame.picture for i, frame in zip(range(1170), frames, strict=False) if i % 2 == 0]
        return np.stack(chosen), float(frames.recording.fps) / 2


@pytest.mark.parametrize("span", [(90, 175), (250, 430), (525, 680), (770, 840), (950, 1170)])
def test_real_people_who_stand_throughout_are_not_passed_on(real, span) -> None:
    pictures, fps = real
    part = pictures[span[0] // 2 : span[1] // 2][:: 1 if span[1] - span[0] < 120 else 2]
    found = survey(ClipSource(Clip(part, fps, Path("real.mp4"))))
    assert found.unverified[PERSON].mean() > 0.95
    assert found.unverified.mean() < 0.45


def test_a_real_table_that_is_seen_empty_is_trusted(real) -> None:
    pictures, fps = real
    found = survey(ClipSource(Clip(pictures[:350:2], fps / 2, Path("real.mp4"))))
    assert found.unverified[PERSON].mean() < 0.05


def test_a_body_in_a_picture_that_is_quiet_is_a_poster(real) -> None:
    pictures, _ = real
    picture = pictures[320].astype(np.float32)
    bodies = find_bodies(pictures[320])
    assert bodies[PERSON].mean() > 0.5, "the detectors find nobody"
    still = lasting(np.zeros((60, 270, 480), np.uint8))
    quiet = np.full((360, 640, 3), 3.0, np.float32)
    assert not doubtful(picture, quiet, still, [], FPS).any()
    restless = quiet.copy()
    restless[60:250, 330:400] = 9
    assert doubtful(picture, restless, still, [], FPS)[PERSON].mean() > 0.8


def test_detectors_find_nobody_in_what_is_too_small() -> None:
    assert not find_bodies(np.zeros((40, 60, 3), np.uint8)).any()
