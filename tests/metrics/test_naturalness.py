"""Naturalness: a person in each frame, smooth motion, legs that walk."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from gaitkeeper.errors import DataError, WeightsError
from gaitkeeper.metrics.naturalness import (
    HogDetector,
    OnnxDetector,
    Smoothness,
    box_overlap,
    frame_scores,
    silhouette_overlap,
    smoothness,
    step_period,
)
from gaitkeeper.synthetic.population import Population
from gaitkeeper.synthetic.video import video
from gaitkeeper.synthetic.walkers import Walkers

CLEAN = Walkers(Population(noise=0.0))


# A network that takes a picture, multiplies its pixels with a matrix, adds a bias, and gives some tables: the bytes of
# an ONNX file, of which only the parts that matter are written.
def number(value):
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def part(field, content):
    if isinstance(content, int):
        return number(field << 3) + number(content)
    content = content.encode() if isinstance(content, str) else content
    return number(field << 3 | 2) + number(len(content)) + content


def tensor(name, values):
    values = np.asarray(values)
    kind, raw = (7, values.astype("<i8")) if values.dtype.kind == "i" else (1, values.astype("<f4"))
    dims = b"".join(part(1, int(d)) for d in values.shape)
    return part(5, dims + part(2, kind) + part(8, name) + part(9, raw.tobytes()))


def value(field, name, shape):
    dims = b"".join(part(1, part(1, int(d))) for d in shape)
    return part(field, part(1, name) + part(2, part(1, part(1, 1) + part(2, dims))))


def node(kind, inputs, output):
    return part(1, b"".join(part(1, name) for name in inputs) + part(2, output) + part(4, kind))


def write_network(path, tables, size, slope=None):
    """``slope`` is added to the first entries of the first table for each unit of the mean of the picture."""
    pixels = 3 * size[0] * size[1]
    graph = node("Flatten", ["picture"], "flat")
    for i, table in enumerate(tables):
        table = np.asarray(table, float)
        weights = np.zeros((pixels, table.size), np.float32)
        if slope is not None and i == 0:
            weights += np.asarray(slope, np.float32).reshape(1, -1) / pixels
        graph += node("MatMul", ["flat", f"w{i}"], f"m{i}") + node("Add", [f"m{i}", f"b{i}"], f"a{i}")
        graph += node("Reshape", [f"a{i}", f"s{i}"], f"out{i}")
        graph += tensor(f"w{i}", weights) + tensor(f"b{i}", table.reshape(1, -1).astype(np.float32))
        graph += tensor(f"s{i}", np.array(table.shape, np.int64)) + value(12, f"out{i}", table.shape)
    graph += part(2, "graph") + value(11, "picture", (1, 3, *size))
    path.write_bytes(part(1, 8) + part(7, graph) + part(8, part(2, 13)))
    return path


SIZE = (16, 32)
# Of a frame of 40 x 60 the input holds 16 x 24, four columns from the left.
FRAME = np.full((40, 60, 3), 255, np.uint8)
# In pixels of the input, center and size; in the frame 10, 5, 20, 35.
INSIDE = (4 + 15 * 0.4, 20 * 0.4, 10 * 0.4, 30 * 0.4)
PERSON = (10.0, 5.0, 20.0, 35.0)


def rows(*scores, objectness=None):
    """Detections ``(3, 84 or 85)``: a person, the same place as a bicycle, and a person elsewhere."""
    table = np.zeros((3, 84))
    table[:, :4] = INSIDE, INSIDE, (25.0, 8.0, 4.0, 12.0)
    table[0, 4], table[1, 5], table[2, 4] = scores
    return table if objectness is None else np.insert(table, 4, objectness, axis=1)


@pytest.mark.parametrize(
    ("table", "want"),
    [
        (rows(0.75, 0.9, 0.8).T[None], 0.75),
        (rows(0.75, 0.9, 0.8)[None], 0.75),
        (rows(0.75, 0.9, 0.8, objectness=(0.5, 1.0, 1.0))[None], 0.375),
        (rows(0.0, 0.9, 0.8)[None], 0.0),
        (rows(1.5, 0.9, 0.8)[None], 1.0),
    ],
    ids=["version 8", "rows", "versions 3 and 5", "a bicycle", "beyond 1"],
)
def test_one_table_of_detections(tmp_path, table, want):
    detector = OnnxDetector(write_network(tmp_path / "net.onnx", [table], SIZE), size=SIZE)
    boxes, _ = detector.people(FRAME)
    np.testing.assert_allclose(boxes[0], PERSON, atol=1e-4)
    assert detector(FRAME, PERSON) == pytest.approx(want, abs=1e-6)
    assert detector(FRAME, (30, 5, 40, 35)) == 0
    x, y, w, h = ((25 - 4) / 0.4, 8 / 0.4, 4 / 0.4, 12 / 0.4)
    assert detector(FRAME, (x - w / 2, y - h / 2, x + w / 2, y + h / 2)) == pytest.approx(0.8)


def test_few_classes_and_one_detection(tmp_path):
    column = np.array([*INSIDE, 0.6, 0.7]).reshape(1, 6, 1)
    path = write_network(tmp_path / "two.onnx", [np.tile(column, (1, 1, 9))], SIZE)
    assert OnnxDetector(path, size=SIZE)(FRAME, PERSON) == pytest.approx(0.6)
    assert OnnxDetector(path, size=SIZE, person=1)(FRAME, PERSON) == pytest.approx(0.7)
    with pytest.raises(WeightsError, match=r"two.onnx: expected one output .* found \(1, 6, 9\)"):
        OnnxDetector(path, size=SIZE, person=2)(FRAME, PERSON)
    path = write_network(tmp_path / "one.onnx", [rows(0.6, 0, 0)[None, :1]], SIZE)
    assert OnnxDetector(path, size=SIZE)(FRAME, PERSON) == pytest.approx(0.6)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize("shares", [False, True])
@pytest.mark.parametrize("person", [0, 1])
def test_boxes_scores_and_classes(tmp_path, order, shares, person):
    x, y, w, h = INSIDE
    corners = np.array([[x - w / 2, y - h / 2, x + w / 2, y + h / 2]] * 2 + [[0, 0, 3, 3]])
    if shares:
        corners /= np.array([SIZE[1], SIZE[0]] * 2)
    tables = [corners[None], np.array([[0.7, 0.9, 0.8]]), np.array([[person, 5, person]])]
    path = write_network(tmp_path / "ssd.onnx", [tables[i] for i in order], SIZE)
    detector = OnnxDetector(path, size=SIZE, person=person)
    assert detector(FRAME, PERSON) == pytest.approx(0.7, abs=1e-6)
    np.testing.assert_allclose(detector.people(FRAME)[0][0], PERSON, atol=1e-4)


def test_the_network_sees_the_frame_in_grey_bars(tmp_path):
    slope = np.zeros((1, 84, 3))
    slope[0, 4, 0] = 1.0
    path = write_network(tmp_path / "mean.onnx", [rows(0, 0, 0).T[None]], SIZE, slope)
    detector = OnnxDetector(path, size=SIZE)
    for grey in (0, 100, 255):
        want = (0.75 * grey + 0.25 * 114) / 255
        assert detector(np.full_like(FRAME, grey), PERSON) == pytest.approx(want, abs=1e-5)


def test_files_that_are_no_detector(tmp_path):
    with pytest.raises(WeightsError, match=r"none\.onnx: expected an ONNX file, found nothing"):
        OnnxDetector(tmp_path / "none.onnx")(FRAME, PERSON)
    (tmp_path / "text.onnx").write_text("not a network")
    with pytest.raises(WeightsError, match=r"text\.onnx: expected an ONNX network that OpenCV can run"):
        OnnxDetector(tmp_path / "text.onnx")(FRAME, PERSON)
    path = write_network(tmp_path / "other.onnx", [rows(0, 0, 0)[None]], SIZE)
    with pytest.raises(WeightsError, match=r"other\.onnx: cannot take a picture of 24 x 24"):
        OnnxDetector(path, size=(24, 24))(FRAME, PERSON)
    path = write_network(tmp_path / "two.onnx", [np.zeros((1, 3, 4)), np.zeros((1, 3))], SIZE)
    with pytest.raises(WeightsError, match=r"two\.onnx: expected one output .* found \(1, 3, 4\), \(1, 3\)"):
        OnnxDetector(path, size=SIZE)(FRAME, PERSON)


def test_box_overlap_by_hand():
    boxes = np.array([[0, 0, 4, 4], [2, 0, 6, 4], [4, 4, 8, 8], [1, 1, 3, 3.0]])
    np.testing.assert_allclose(box_overlap(boxes, (0, 0, 4, 4)), [1, 8 / 24, 0, 4 / 16])


@pytest.fixture(scope="module")
def footage():
    return video(Walkers(), 80, "nm-01", 144, frames=12, rows=240, columns=426)


def around(mask):
    y, x = np.nonzero(mask)
    return x.min(), y.min(), x.max() + 1, y.max() + 1


def test_walkers_are_persons_and_their_place_without_them_is_not(footage):
    boxes = np.array([around(mask) for mask in footage.masks], float)
    scores = frame_scores(footage.frames, boxes)
    assert scores.shape == (12,)
    assert scores.mean() > 0.9
    empty = frame_scores(np.repeat(footage.background[None], 12, 0), boxes)
    assert empty.mean() < 0.1
    beside = boxes + np.array([1, 0, 1, 0]) * 0.8 * (boxes[:, 3:] - boxes[:, 1:2])
    assert frame_scores(footage.frames, beside).mean() < 0.4


def test_the_scale_of_the_picture_and_its_edge_hardly_matter(footage):
    import cv2

    frame, box = footage.frames[6], np.array(around(footage.masks[6]), float)
    detector = HogDetector()
    score = detector.score(frame, box)
    for scale in (0.7, 2.0):
        resized = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        assert detector.score(resized, box * scale) == pytest.approx(score, abs=1.0)
    x0, y0, x1, y1 = box.astype(int)
    cut = frame[y0 - 1 : y1 + 1, x0 - 2 : x1 + 2]
    assert detector.score(cut, (2, 1, 2 + x1 - x0, 1 + y1 - y0)) > detector.middle


def test_a_probability_of_one_half_is_in_the_middle(footage):
    frame, box = footage.frames[6], around(footage.masks[6])
    score = HogDetector().score(frame, box)
    assert HogDetector(middle=score)(frame, box) == pytest.approx(0.5)
    assert HogDetector(middle=score - 1, slope=2)(frame, box) == pytest.approx(1 / (1 + np.exp(-2)))
    # More places to look at never give less.
    assert HogDetector(heights=(96,), shift=0).score(frame, box) <= score


def test_frames_without_a_box_have_no_score(footage):
    boxes = np.array([around(footage.masks[0]), (np.nan,) * 4, (5, 5, 5, 20)], float)
    scores = frame_scores(footage.frames[:3], boxes, lambda frame, box: 0.25)
    np.testing.assert_array_equal(scores, [0.25, np.nan, np.nan])


@pytest.mark.parametrize(
    ("frames", "boxes", "message"),
    [
        (np.zeros((2, 8, 8), np.uint8), np.zeros((2, 4)), r"frames \(t, h, w, 3\) uint8, got \(2, 8, 8\) uint8"),
        (np.zeros((2, 8, 8, 3)), np.zeros((2, 4)), r"got \(2, 8, 8, 3\) float64"),
        (np.zeros((2, 8, 8, 3), np.uint8), np.zeros((3, 4)), r"expected 2 boxes \(t, 4\), got \(3, 4\)"),
    ],
)
def test_frames_and_boxes_that_do_not_fit(frames, boxes, message):
    with pytest.raises(DataError, match=message):
        frame_scores(frames, boxes)


def walk(view=90, frames=60):
    return CLEAN.silhouettes(100, "nm-01", [view], frames=frames)[0]


def test_the_original_itself_is_as_smooth_and_overlaps():
    found = smoothness(walk(), walk(), fps=30.0)
    assert found == Smoothness(
        overlap=1.0,
        area_jitter=1.0,
        outline_jitter=1.0,
        leg_motion=1.0,
        period=found.period,
        changed_period=found.period,
    )
    assert found.period_kept == 1


@pytest.mark.parametrize("view", [54, 90, 126])
def test_the_period_of_a_step_is_half_the_walkers_cycle(view):
    cadence = CLEAN.gait(100, "nm-01").cadence
    assert step_period(walk(view, 90), fps=30.0) == pytest.approx(60 / cadence, rel=0.06)


def test_legs_that_stand_still_have_no_motion_and_no_period():
    changed = walk()
    changed[:, 40:] = changed[0, 40:]
    found = smoothness(walk(), changed, fps=30.0)
    assert found.leg_motion == 0
    assert np.isnan(found.changed_period)
    assert np.isnan(found.period_kept)
    assert 0.5 < found.overlap < 1


def test_a_faster_walk_has_a_shorter_period_and_more_motion():
    found = smoothness(walk(), walk(frames=90)[np.rint(1.4 * np.arange(60)).astype(int)], fps=30.0)
    assert found.period_kept == pytest.approx(1 / 1.4, rel=0.06)
    assert found.leg_motion > 1.2


def test_flicker_is_jitter():
    changed = walk()
    changed[::2, :3] = 255
    found = smoothness(walk(), changed, fps=30.0)
    assert found.area_jitter > 3
    assert found.outline_jitter > 1.2
    assert found.leg_motion == 1


def test_ratios_where_the_original_does_not_move():
    still = np.repeat(walk()[:1], 5, 0)
    same = smoothness(still, still, fps=30.0)
    assert np.isnan([same.area_jitter, same.outline_jitter, same.leg_motion, same.period]).all()
    moved = smoothness(still, walk()[:5], fps=30.0)
    assert moved.area_jitter == moved.outline_jitter == moved.leg_motion == np.inf


def test_jitter_and_legs_by_hand():
    original, changed = np.zeros((2, 4, 9, 6), np.uint8)
    original[:, :, 2:4] = changed[:, :, 2:4] = 255
    # A pixel of each clip blinks: below, where legs are, and in the other twice as large and above too.
    original[1::2, 8, 4] = 255
    changed[1::2, 8, 4] = changed[1::2, 0, 4] = 255
    found = smoothness(original, changed, fps=30.0)
    assert found.leg_motion == pytest.approx(1)
    assert found.area_jitter == pytest.approx(2 * (18 + 0.5) / (18 + 1), rel=1e-5)
    assert found.outline_jitter == pytest.approx(2 * (18 + 0.5) / (18 + 1), rel=1e-5)
    assert found.overlap == pytest.approx((1 + 19 / 20) / 2)


def test_nobody_in_any_frame():
    none = np.zeros((5, 8, 6), np.uint8)
    found = smoothness(none, none, fps=30.0)
    assert np.isnan(silhouette_overlap(none, none))
    assert np.isnan([found.area_jitter, found.outline_jitter, found.leg_motion, found.period]).all()
    shown = none.copy()
    shown[2:, 2:5, 2:4] = 255
    assert silhouette_overlap(none, shown) == 0


masks = arrays.arrays(np.uint8, (4, 6, 5), elements=st.sampled_from([0, 255]))


@given(masks, masks)
def test_overlap_is_symmetric_and_bounded(one, other):
    found = silhouette_overlap(one, other)
    assert np.isnan(found) or 0 <= found <= 1
    np.testing.assert_equal(found, silhouette_overlap(other, one))
    if one.any():
        assert silhouette_overlap(one, one) == 1


@pytest.mark.parametrize(
    ("one", "other", "fps", "message"),
    [
        (np.zeros((4, 6, 5), np.uint8), np.zeros((4, 6, 6), np.uint8), 30, "one shape"),
        (np.zeros((2, 6, 5), np.uint8), np.zeros((2, 6, 5), np.uint8), 30, "at least 3 frames"),
        (np.zeros((4, 6, 5)), np.zeros((4, 6, 5)), 30, "uint8"),
        (np.zeros((4, 6, 5), np.uint8), np.zeros((4, 6, 5), np.uint8), 0, "above 0, got 0"),
    ],
)
def test_clips_that_cannot_be_compared(one, other, fps, message):
    with pytest.raises(DataError, match=message):
        smoothness(one, other, fps=fps)
