"""Contours: closed forms of tracing and filling, what round trips keep, and where points come to lie."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaitkeeper.motion.contour_vectors import from_published, published_vectors
from gaitkeeper.motion.contours import HOLE, contour_sequence, fill, refill, signed_area, trace
from gaitkeeper.motion.tracing import LEVEL, coverage
from gaitkeeper.synthetic.walkers import Walkers

SQUARE = np.array([[2.0, 3.0], [6.0, 3.0], [6.0, 8.0], [2.0, 8.0]])


def overlap(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    one, other = one >= 128, other >= 128
    return (one & other).sum((1, 2)) / (one | other).sum((1, 2))


def disk(radius: float, *, rows: int = 60, columns: int = 50, x: float = 25.0, y: float = 30.0) -> np.ndarray:
    down, right = np.mgrid[:rows, :columns] + 0.5
    return np.rint(255 * np.clip(radius + 0.5 - np.hypot(right - x, down - y), 0, 1)).astype(np.uint8)


def person(*, feet: tuple[float, float] = (20, 40), rows: int = 100, columns: int = 60) -> np.ndarray:
    """A head, a trunk and two legs that end at given columns."""
    frame = np.zeros((rows, columns), np.uint8)
    cv2.circle(frame, (30, 18), 7, 255, -1)
    cv2.rectangle(frame, (23, 24), (37, 54), 255, -1)
    for hip, foot in zip((27, 33), feet, strict=True):
        cv2.line(frame, (hip, 54), (int(foot), 88), 255, 6)
    return frame


@pytest.fixture(scope="module")
def walks() -> np.ndarray:
    """Walks of a few people and views, with a margin, ``(walks, t, 80, 60)``."""
    walkers = Walkers()
    asked = [(77, "nm-05"), (78, "bg-01"), (79, "cl-02")]
    found = np.concatenate([walkers.silhouettes(*who, (0, 36, 72, 90, 144, 180), frames=24) for who in asked])
    return np.pad(found, ((0, 0), (0, 0), (8, 8), (8, 8)))


# Tracing


def test_a_rectangle_is_traced_along_its_pixels_but_for_the_corners():
    frame = np.zeros((12, 10), np.uint8)
    frame[3:8, 2:6] = 255
    (found,) = trace(frame)
    assert not found.hole
    # Half pixels beside each corner are joined straight: an eighth of a pixel each.
    assert found.area == pytest.approx(4 * 5 - 4 / 8)
    np.testing.assert_allclose(found.points.min(axis=0), [2, 3])
    np.testing.assert_allclose(found.points.max(axis=0), [6, 8])
    assert signed_area(found.points) > 0


@pytest.mark.parametrize("grey", [0, 1, 60, 127, 128, 200, 255])
def test_grey_edges_are_found_between_the_pixels(grey):
    frame = np.zeros((9, 12), np.uint8)
    frame[:, :5] = 255
    frame[:, 5] = grey
    (found,) = trace(frame)
    across = found.points[np.isclose(found.points[:, 1], 4.5)]
    if grey > LEVEL:
        expected = 5.5 + (grey - LEVEL) / grey
    else:
        expected = 4.5 + (255 - LEVEL) / (255 - grey)
    assert across[:, 0].max() == pytest.approx(expected)


def test_holes_run_the_other_way():
    frame = np.zeros((20, 20), np.uint8)
    frame[2:18, 2:18] = 255
    frame[6:12, 7:11] = 0
    outer, hole = trace(frame)
    assert (outer.hole, hole.hole) == (False, True)
    assert signed_area(outer.points) == pytest.approx(16 * 16 - 0.5)
    # The person's corners are inward here, so the hole too loses an eighth at each.
    assert signed_area(hole.points) == pytest.approx(-(6 * 4 - 0.5))


def test_pixels_that_touch_at_a_corner_hang_together():
    frame = np.zeros((6, 6), np.uint8)
    frame[1:3, 1:3] = frame[3:5, 3:5] = 255
    assert len(trace(frame)) == 1
    apart = frame.copy()
    # Less than half at the place where they touch.
    apart[2, 2] = apart[3, 3] = 200
    assert len(trace(apart)) == 2


def test_a_frame_full_of_person_is_its_own_border():
    (found,) = trace(np.full((5, 7), 255, np.uint8))
    assert found.area == pytest.approx(5 * 7 - 0.5)


@given(st.data())
def test_outlines_separate_the_centers_of_bright_and_dark_pixels(data):
    rows, columns = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9))
    seed = data.draw(st.integers(0, 2**32 - 1))
    frame = np.random.default_rng(seed).integers(0, 256, (rows, columns), dtype=np.uint8)
    # All that a very small window sees is the pixel's center; outlines and holes together wind around it once.
    winding = sum((-1 if c.hole else 1) * coverage(c.points, frame.shape, window=1e-6) for c in trace(frame))
    np.testing.assert_allclose(winding if np.ndim(winding) else np.zeros(frame.shape), frame > LEVEL, atol=1e-9)


@pytest.mark.parametrize("frame", [np.zeros((3, 4, 4), np.uint8), np.zeros((4, 4))])
def test_only_pictures_are_traced(frame):
    with pytest.raises(ValueError, match=r"expected a silhouette \(h, w\) uint8, got"):
        trace(frame)


# Filling


@given(st.floats(-3, 12), st.floats(-3, 12), st.floats(0, 8), st.floats(0, 8))
def test_coverage_of_a_rectangle_is_its_overlap_with_each_pixel(x, y, width, height):
    points = np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]])
    cells = np.arange(10.0)

    def along(low: float, high: float) -> np.ndarray:
        return np.clip(np.minimum(high, cells + 1) - np.maximum(low, cells), 0, None)

    expected = along(y, y + height)[:, None] * along(x, x + width)
    # Exact along a row; down a column as fine as the lines are.
    np.testing.assert_allclose(coverage(points, (10, 10)), expected, atol=1 / 8 + 1e-9)
    np.testing.assert_allclose(coverage(points[::-1], (10, 10)), coverage(points, (10, 10)), atol=1e-12)


def test_whole_pixels_are_filled_exactly():
    expected = np.zeros((10, 9), np.uint8)
    expected[3:8, 2:6] = 255
    np.testing.assert_array_equal(fill(SQUARE, (10, 9)), expected)


@given(st.integers(0, 2**32 - 1))
def test_covered_area_is_that_of_the_polygon(seed):
    rng = np.random.default_rng(seed)
    angles = np.sort(rng.uniform(0, 2 * np.pi, 12))
    points = 20 + rng.uniform(6, 15, 12)[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)
    # Star-shaped around its center if that is inside.
    if np.diff(np.append(angles, angles[0] + 2 * np.pi)).max() < np.pi:
        assert coverage(points, (40, 40)).sum() == pytest.approx(signed_area(points), rel=0.01)


def test_a_crossing_twice_around_is_a_hole_only_by_the_even_odd_rule():
    inner = np.array([[3.0, 4.0], [5.0, 4.0], [5.0, 7.0], [3.0, 7.0]])
    both = np.concatenate([SQUARE, SQUARE[:1], inner, inner[:1]])
    whole = fill(both, (10, 9))
    np.testing.assert_array_equal(whole, fill(SQUARE, (10, 9)))
    holed = fill(both, (10, 9), rule="evenodd")
    assert holed[5, 3] == 0
    assert holed[5, 2] == 255
    assert (whole > holed).sum() == 6


def test_a_small_window_sees_what_is_thinner_than_a_pixel():
    thin = np.array([[4.3, 1.0], [4.7, 1.0], [4.7, 9.0], [4.3, 9.0]])
    assert coverage(thin, (10, 9))[4, 4] == pytest.approx(0.4)
    assert coverage(thin, (10, 9), window=0.4)[4, 4] == pytest.approx(1)


@pytest.mark.parametrize(
    ("points", "options", "message"),
    [
        (np.zeros((3, 3)), {}, r"expected points \(p, 2\), got \(3, 3\)"),
        (np.array([[0, 0], [np.nan, 1], [2, 2.0]]), {}, "expected finite points"),
        (SQUARE, {"window": 0}, "expected a window above 0 and at most 1, got 0"),
    ],
)
def test_what_cannot_be_filled(points, options, message):
    with pytest.raises(ValueError, match=message):
        coverage(points, (5, 5), **options)


def test_nothing_is_filled_by_no_points():
    assert not fill(np.zeros((0, 2)), (4, 5)).any()


# Sequences


def test_round_trip_at_64_rows(walks):
    frames = walks.reshape(-1, *walks.shape[2:])
    found = overlap(refill(contour_sequence(frames)), frames)
    assert found.mean() >= 0.99
    assert np.quantile(found, 0.05) >= 0.98


@pytest.mark.parametrize(("correspondence", "mean"), [("landmarks", 0.993), ("arc", 0.995)])
def test_round_trip_at_128_rows(correspondence, mean):
    frames = np.pad(Walkers().masks(81, "bg-02", 144, frames=24), ((0, 0), (16, 16), (16, 16)))
    rows = np.flatnonzero(frames.any(axis=(0, 2)))
    columns = round(frames.shape[2] * 128 / len(rows))
    large = np.stack([cv2.resize(f[rows[0] - 8 : rows[-1] + 9], (columns, 145), interpolation=3) for f in frames])
    found = overlap(refill(contour_sequence(large, 512, correspondence=correspondence)), large)
    assert found.mean() >= mean
    assert np.quantile(found, 0.05) >= mean - 0.006


def test_landmarks_hold_the_points_where_they_are(walks):
    def moved(correspondence: str) -> float:
        found = [contour_sequence(walk, correspondence=correspondence) for walk in walks]
        return float(np.mean([64 * np.abs(np.diff(s.points, axis=0)).sum(2).mean() for s in found]))

    landmarks, arc = moved("landmarks"), moved("arc")
    assert landmarks < 0.65 * arc
    assert landmarks < 1.8


def test_landmarks_are_the_head_the_feet_and_the_crotch():
    steps = np.stack([person(feet=feet) for feet in ((10, 50), (20, 40), (26, 34))])
    found = contour_sequence(steps, 100)
    points = found.placement.pixels(found.points)
    assert (points[:, 0, 1] < 12).all()
    np.testing.assert_allclose(points[:, 0, 0], 30, atol=4)
    # 38 of 100 points from the head to each foot, the crotch halfway.
    np.testing.assert_allclose(points[:, 38, 0], [53, 43, 37], atol=1.5)
    np.testing.assert_allclose(points[:, 62, 0], [7, 17, 23], atol=1.5)
    assert (points[:, [38, 62], 1] > 84).all()
    np.testing.assert_allclose(points[:2, 50, 0], 30, atol=3)
    assert (points[:2, 50, 1] < 70).all()


@pytest.mark.parametrize("correspondence", ["landmarks", "arc"])
def test_outlines_begin_at_the_top_and_run_clockwise(walks, correspondence):
    found = contour_sequence(walks[3], correspondence=correspondence)
    assert found.points.shape == (24, 256, 2)
    assert found.points.dtype == np.float32
    assert (found.points[:, 0, 1] <= found.points[:, :, 1].min(axis=1) + 1e-6).all()
    assert all(signed_area(points) > 0 for points in found.points)
    height = np.ptp(found.points[..., 1], axis=1)
    assert np.median(height) == pytest.approx(1, abs=1e-5)


def test_placement_is_undone():
    frame = disk(9, x=31.25, y=22.5)[None]
    found = contour_sequence(frame, 64, correspondence="arc")
    assert found.placement.height == pytest.approx(18, abs=0.1)
    assert found.placement.top == pytest.approx(13.5, abs=0.1)
    assert found.placement.middle == pytest.approx(31.25, abs=0.1)
    np.testing.assert_allclose(
        found.placement.normalized(found.placement.pixels(found.points)), found.points, atol=1e-6
    )
    assert overlap(refill(found), frame)[0] > 0.98


def test_parts_are_joined_and_kept():
    frame = np.zeros((1, 60, 40), np.uint8)
    frame[0, 5:40, 12:26] = 255
    frame[0, 43:56, 12:18] = 255
    frame[0, 43:56, 20:26] = 255
    found = contour_sequence(frame, 256)
    assert len(found.points) == 1
    assert overlap(refill(found), frame)[0] > 0.98
    # A speck is no part.
    frame[0, 1, 38] = 255
    assert not refill(contour_sequence(frame, 256))[0, :3, 36:].any()


def test_large_holes_stay_and_small_ones_are_closed():
    frame = np.zeros((1, 80, 60), np.uint8)
    frame[0, 10:70, 15:45] = 255
    frame[0, 30:40, 25:31] = 0
    frame[0, 55, 20] = 0
    assert 1 < HOLE * (frame > 0).sum() < 60
    found = contour_sequence(frame, 256)
    assert len(found.holes[0]) == 1
    filled = refill(found)[0]
    assert not filled[31:39, 26:30].any()
    assert filled[55, 20] == 255


def test_holes_follow_the_outline():
    frame = np.zeros((1, 80, 60), np.uint8)
    frame[0, 10:70, 15:45] = 255
    frame[0, 30:40, 25:31] = 0
    found = contour_sequence(frame, 256)
    shifted = found.moved(found.points + np.float32([5 / found.placement.height, 0]))
    np.testing.assert_allclose(
        shifted.holes[0][0] - found.holes[0][0], [[5 / 60, 0]] * len(found.holes[0][0]), atol=1e-5
    )
    expected = np.roll(refill(found), 5, axis=2)
    assert np.abs(refill(shifted).astype(int) - expected).max() <= 1


def test_moving_nothing_changes_nothing(walks):
    found = contour_sequence(walks[0])
    np.testing.assert_array_equal(refill(found.moved(found.points)), refill(found))


def test_contours_that_leave_the_frame_are_cut_off():
    found = contour_sequence(disk(9)[None], 64)
    far = refill(found.moved(found.points + np.float32(100)))
    assert not far.any()
    half = refill(found.moved(found.points - np.float32([25 / 18, 0])))
    assert half[0].sum() == pytest.approx(refill(found)[0].sum() / 2, rel=0.05)


@pytest.mark.parametrize(("points", "message"), [(64, r"expected points \(3, 64, 2\)"), (32, "expected finite points")])
def test_points_that_do_not_fit(points, message):
    found = contour_sequence(np.stack([disk(9)] * 3), 64)
    with pytest.raises(ValueError, match=message):
        found.moved(np.zeros((3, 63, 2)) if points == 64 else np.full((3, 64, 2), np.nan))


def test_frames_without_a_person_stay_empty(walks):
    frames = walks[0][:4].copy()
    frames[[0, 2]] = 0
    found = contour_sequence(frames)
    assert found.present.tolist() == [False, True, False, True]
    assert not found.points[[0, 2]].any()
    assert np.isfinite(found.points).all()
    moved = found.moved(found.points + 0.1)
    assert refill(moved).any(axis=(1, 2)).tolist() == [False, True, False, True]
    nobody = contour_sequence(np.zeros((3, 20, 10), np.uint8))
    assert refill(nobody).shape == (3, 20, 10)
    assert not refill(nobody).any()


@given(st.integers(0, 2**32 - 1), st.sampled_from(["landmarks", "arc"]), st.integers(8, 300))
def test_any_picture_has_a_contour(seed, correspondence, points):
    rng = np.random.default_rng(seed)
    frames = (rng.integers(0, 256, (2, 9, 7)) * (rng.random((2, 1, 1)) > 0.2)).astype(np.uint8)
    frames[frames < rng.integers(0, 255)] = 0
    found = contour_sequence(frames, points, correspondence=correspondence)
    assert found.points.shape == (2, points, 2)
    assert np.isfinite(found.points).all()
    filled = refill(found)
    assert filled.shape == frames.shape
    assert (filled.any(axis=(1, 2)) <= (frames >= 128).any(axis=(1, 2))).all()


def test_same_silhouettes_give_the_same_bytes(walks):
    one, other = (contour_sequence(walks[5].copy()) for _ in range(2))
    assert one.points.tobytes() == other.points.tobytes()
    assert refill(one).tobytes() == refill(other).tobytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((4, 4), np.uint8),), r"expected silhouettes \(t, h, w\) uint8, got \(4, 4\) uint8"),
        ((np.zeros((2, 4, 4)),), "got .* float64"),
        ((np.zeros((2, 4, 4), np.uint8), 7), "expected at least 8 points, got 7"),
    ],
)
def test_what_cannot_be_traced(arguments, message):
    with pytest.raises(ValueError, match=message):
        contour_sequence(*arguments)


def test_an_unknown_correspondence_is_named():
    with pytest.raises(ValueError, match='expected the correspondence "landmarks" or "arc", got "length"'):
        contour_sequence(np.zeros((2, 4, 4), np.uint8), correspondence="length")


# Published vectors


def test_published_vectors_of_a_rectangle():
    frame = np.zeros((1, 10, 9), np.uint8)
    frame[0, 3:6, 2:5] = 255
    vectors, counts = published_vectors(frame, length=10)
    assert counts.tolist() == [8]
    expected = [[2, 3], [3, 3], [4, 3], [4, 4], [4, 5], [3, 5], [2, 5], [2, 4], [0, 0], [0, 0]]
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors.reshape(10, 2), expected)


def test_published_vectors_are_undone_but_for_holes_and_small_parts(walks):
    frames = np.concatenate([walks[3], np.zeros((1, *walks.shape[2:]), np.uint8)])
    vectors, counts = published_vectors(frames)
    assert vectors.shape == (25, 4000)
    assert counts[-1] == 0
    assert not vectors[-1].any()
    assert (vectors.reshape(25, 2000, 2)[np.arange(2000) >= counts[:, None]] == 0).all()
    back = from_published(vectors, counts, frames.shape[1:])
    for one, frame in zip(back, frames, strict=True):
        contours, _ = cv2.findContours((frame >= 128).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        expected = np.zeros(frame.shape, np.uint8)
        if contours:
            cv2.drawContours(expected, [max(contours, key=cv2.contourArea)], -1, 255, -1)
        np.testing.assert_array_equal(one, expected)


def test_longer_contours_are_thinned():
    vectors, counts = published_vectors(disk(20)[None], length=60)
    assert counts.tolist() == [60]
    back = from_published(vectors, counts, (60, 50))
    assert overlap(back, disk(20)[None])[0] > 0.97


def test_vectors_that_do_not_fit():
    with pytest.raises(ValueError, match=r"expected vectors \(t, 2 length\) and counts \(t,\)"):
        from_published(np.zeros((2, 8)), np.zeros(3, int), (5, 5))
    with pytest.raises(ValueError, match="expected finite vectors"):
        from_published(np.full((2, 8), np.inf), np.full(2, 4), (5, 5))
    with pytest.raises(ValueError, match=r"expected silhouettes \(t, h, w\) uint8"):
        published_vectors(np.zeros((4, 4)))
