import itertools
from dataclasses import asdict, replace

import numpy as np
import pytest

from gaitkeeper.errors import DataError
from gaitkeeper.motion.silhouettes import align, align_sequence
from gaitkeeper.synthetic import render, sheet
from gaitkeeper.synthetic.camera import Camera
from gaitkeeper.synthetic.noise import draw_noise
from gaitkeeper.synthetic.population import CONDITIONS, SUBJECTS, VIEWS, Population
from gaitkeeper.synthetic.walkers import Walkers


@pytest.fixture(scope="module")
def walkers() -> Walkers:
    return Walkers()


def largest_share(mask: np.ndarray) -> float:
    import cv2

    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    return float(stats[1:, cv2.CC_STAT_AREA].max() / stats[1:, cv2.CC_STAT_AREA].sum())


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def test_protocol_is_casia_b():
    assert SUBJECTS == 124
    assert CONDITIONS == ("nm-01", "nm-02", "nm-03", "nm-04", "nm-05", "nm-06", "bg-01", "bg-02", "cl-01", "cl-02")
    assert VIEWS == (0, 18, 36, 54, 72, 90, 108, 126, 144, 162, 180)


def test_same_population_gives_same_bytes_in_any_order(walkers):
    asked = [(3, "nm-01"), (99, "cl-02"), (3, "bg-01")]
    forward = {key: walkers.silhouettes(*key) for key in asked}
    fresh = Walkers(Population())
    for key in reversed(asked):
        np.testing.assert_array_equal(fresh.silhouettes(*key), forward[key])


def test_a_view_alone_is_the_same_as_with_others(walkers):
    together = walkers.silhouettes(7, "bg-02")
    some = walkers.silhouettes(7, "bg-02", [162, 0, 90])
    for i, view in enumerate((162, 0, 90)):
        np.testing.assert_array_equal(some[i], together[VIEWS.index(view)])


def test_numpy_integers_name_the_same_walk(walkers):
    plain = walkers.silhouettes(5, "nm-02", [36])
    np.testing.assert_array_equal(walkers.silhouettes(np.int64(5), np.str_("nm-02"), np.array([36])), plain)


def test_shape_and_type(walkers):
    clip = walkers.silhouettes(1, "nm-01", [0, 90], frames=7)
    assert clip.shape == (2, 7, 64, 44)
    assert clip.dtype == np.uint8
    masks = walkers.masks(1, "nm-01", 54, frames=3)
    assert masks.shape == (3, 240, 320)
    assert masks.dtype == np.uint8
    assert set(np.unique(masks)) == {0, 255}
    joints = walkers.skeleton(1, "nm-01", frames=11)
    assert joints.shape == (11, 25, 3)
    assert joints.dtype == np.float32
    assert np.isfinite(joints).all()


@pytest.mark.parametrize(
    "other",
    [{"seed": 1}, {"shape": 0.5}, {"dynamics": 0.3}, {"session": 0.5}, {"clothing": 0.5}, {"noise": 0.0}],
    ids=lambda change: next(iter(change)),
)
def test_every_setting_of_the_population_matters(walkers, other):
    mine, theirs = (w.silhouettes(4, "cl-01", [72]) for w in (walkers, Walkers(Population(**other))))
    assert (mine != theirs).any()


def test_subjects_conditions_and_views_differ(walkers):
    base = walkers.silhouettes(1, "nm-01", [90]).astype(float)
    for subject, condition, view in ((2, "nm-01", 90), (1, "nm-02", 90), (1, "nm-01", 108)):
        assert np.abs(walkers.silhouettes(subject, condition, [view]) - base).mean() > 5


def test_ablations_make_bodies_or_gaits_identical(walkers):
    same_bodies = Walkers(Population(shape=0))
    assert all(same_bodies.body(s) == same_bodies.body(1) for s in range(2, SUBJECTS + 1))
    same_gaits = Walkers(Population(dynamics=0, session=0))
    assert all(same_gaits.gait(s, c) == same_gaits.gait(1, "nm-01") for s in range(2, 20) for c in CONDITIONS)
    # An ablation leaves the other half as it was.
    assert same_bodies.gait(9, "nm-01") == walkers.gait(9, "nm-01")
    assert same_gaits.body(9) == walkers.body(9)
    assert len({walkers.body(s) for s in range(1, SUBJECTS + 1)}) == SUBJECTS


def test_gaits_differ_more_between_subjects_than_between_walks(walkers):
    gaits = np.array([[list(asdict(walkers.gait(s, f"nm-0{i}")).values()) for i in range(1, 7)] for s in range(1, 60)])
    between, within = gaits.mean(axis=1).std(axis=0), gaits.std(axis=1).mean(axis=0)
    assert np.median(between / within) > 1.5


def test_clothes_follow_the_condition(walkers):
    for subject in range(1, 30):
        assert not walkers.outfit(subject, "nm-03").bag
        assert not walkers.outfit(subject, "nm-03").coat
        assert walkers.outfit(subject, "bg-01").bag
        assert walkers.outfit(subject, "cl-01").coat
    assert {walkers.outfit(s, "bg-01").bag for s in range(1, 30)} == {"backpack", "shoulder", "hand"}
    clean = Walkers(Population(noise=0))

    def area(condition: str) -> float:
        return float(np.mean([clean.silhouettes(s, condition, [90], frames=12) for s in range(1, 25)]))

    assert area("cl-01") > 1.12 * area("nm-01")
    assert area("bg-01") > 1.03 * area("nm-01")


def test_silhouettes_fill_the_height_and_are_one_piece(walkers):
    for subject, condition in ((1, "nm-01"), (20, "bg-01"), (31, "cl-02"), (77, "nm-05"), (124, "nm-06")):
        for clip in walkers.silhouettes(subject, condition):
            binary = clip >= 128
            assert (binary[:, 0].any(axis=1) & binary[:, -1].any(axis=1)).mean() > 0.9
            shares = np.array([largest_share(frame) for frame in binary])
            assert shares.min() > 0.7
            assert np.median(shares) > 0.98
            mass = clip.sum(axis=1, dtype=float)
            middle = (mass.cumsum(axis=1) >= mass.sum(axis=1, keepdims=True) / 2).argmax(axis=1)
            assert np.abs(middle - 22).max() <= 1
            assert 0.1 < binary.mean() < 0.5


def whole_columns(mask: np.ndarray) -> np.ndarray:
    """Pad a mask so that its width, too, is a whole number of pixels after scaling: align() rounds it down."""
    rows = np.ptp(np.flatnonzero(mask.any(axis=1))) + 1
    width = -(-rows * -(-mask.shape[1] * 64 // rows) // 64)
    return np.pad(mask, ((0, 0), (0, width - mask.shape[1])))


@pytest.mark.parametrize("condition", ["nm-01", "bg-01", "cl-01"])
def test_silhouettes_agree_with_align(condition):
    walkers = Walkers(Population(noise=0))
    frames = 10
    overlaps, shifts = [], []
    for subject, view in itertools.product((2, 17, 88), (0, 54, 90, 180)):
        ours = walkers.silhouettes(subject, condition, [view], frames=frames)[0] >= 128
        figure = walkers.figure(subject, condition, frames=frames)
        noise = draw_noise(np.random.default_rng(0), frames, 0.0)
        large = np.empty((frames, 960, 1280), np.uint8)
        camera = Camera(view=view)
        scene = figure.centres, figure.spreads, figure.parts, camera.matrix, 4 * camera.focal, render.COMPASS
        render.masks(*scene, noise.events, noise.ragged, noise.starts, large)
        for mine, mask in zip(ours, large, strict=True):
            theirs = align(whole_columns(mask)) >= 128
            # A half-mass column close to the edge of a pixel may be rounded either way.
            found = {k: overlap(np.roll(mine, k, axis=1), theirs) for k in (-1, 0, 1)}
            shifts.append(max(found, key=found.get))
            overlaps.append(found[shifts[-1]])
    assert np.mean(overlaps) > 0.97
    assert min(overlaps) > 0.9
    assert np.mean(np.array(shifts) == 0) > 0.7


def test_masks_align_to_about_the_silhouettes(walkers):
    # Published masks are small, so this agreement is coarser; noise is drawn the same.
    aligned, kept = align_sequence(walkers.masks(12, "nm-02", 90))
    ours = walkers.silhouettes(12, "nm-02", [90])[0][kept] >= 128
    theirs = aligned >= 128
    assert len(kept) == 40
    assert np.median([overlap(*pair) for pair in zip(ours, theirs, strict=True)]) > 0.85


def test_front_side_and_back(walkers):
    clean = Walkers(Population(noise=0))
    wide = {v: (clean.silhouettes(6, "nm-01", [v])[0] > 0).any(axis=1).sum(axis=1) for v in (0, 90, 180)}
    # Seen from the side the width goes with the stride, seen from the front hardly.
    assert np.ptp(wide[90]) > 2 * np.ptp(wide[0])
    height = {v: (clean.masks(6, "nm-01", v) > 0).any(axis=2).sum(axis=1) for v in (0, 180)}
    assert height[0][-1] > 1.1 * height[0][0]
    assert height[180][-1] < 0.9 * height[180][0]
    # The cameras stand on the walker's left: in side view the walk goes to the left.
    columns = [(m > 0).any(axis=0).nonzero()[0].mean() for m in clean.masks(6, "nm-01", 90)[[0, -1]]]
    assert columns[0] > columns[1] + 50


def test_noise_disturbs_without_destroying(walkers):
    clean = Walkers(Population(noise=0))
    for view in (0, 90):
        noisy, plain = (w.silhouettes(8, "nm-01", [view])[0] >= 128 for w in (walkers, clean))
        assert 0.85 < overlap(noisy, plain) < 0.999
    # Each view has its own noise.
    first = draw_noise(walkers._stream("noise", 8, "nm-01", 0), 40, 1.0)
    second = draw_noise(walkers._stream("noise", 8, "nm-01", 18), 40, 1.0)
    assert (first.events != second.events).any()


@pytest.mark.parametrize("call", ["silhouettes", "skeleton"])
def test_unknown_walks_are_named(walkers, call):
    with pytest.raises(DataError, match=r"subject 125.*1 to 124"):
        getattr(walkers, call)(125, "nm-01")
    with pytest.raises(DataError, match="subject 0"):
        getattr(walkers, call)(0, "nm-01")
    with pytest.raises(DataError, match=r"'nm-07'.*nm-01.*cl-02"):
        getattr(walkers, call)(1, "nm-07")
    with pytest.raises(DataError, match="at least one frame"):
        getattr(walkers, call)(1, "nm-01", frames=0)


def test_unknown_views_are_named(walkers):
    with pytest.raises(DataError, match=r"view 45.*0, 18.*180"):
        walkers.silhouettes(1, "nm-01", [0, 45])
    with pytest.raises(DataError, match="view -18"):
        walkers.masks(1, "nm-01", -18)


@pytest.mark.parametrize("field", ["shape", "dynamics", "session", "clothing", "noise"])
@pytest.mark.parametrize("value", [-0.1, float("nan"), 11.0])
def test_impossible_populations_are_refused(field, value):
    with pytest.raises(DataError, match=field):
        replace(Population(), **{field: value})


def test_sheets(walkers):
    walks = [(1, "nm-01"), (2, "cl-01")]
    views = sheet.by_view(walkers, walks)
    assert views.dtype == np.uint8
    assert views.shape == (2 * 65, 11 * 45)
    time = sheet.over_time(walkers, walks, view=90, step=4, frames=16)
    assert time.shape == (2 * 65, 4 * 45)
    assert (time == 255).mean() > 0.1
