"""Fixed filters: closed forms, sizes relative to the body, and nothing random."""

import numpy as np
import pytest

from gaitkeeper.anonymize.filters import Blur, ContourRoundTrip, Dilate, Pixelate, Unchanged
from gaitkeeper.anonymize.walk import Anonymizer, Walk, with_margin
from gaitkeeper.synthetic.walkers import Walkers

ALL = [Unchanged(), ContourRoundTrip(), Blur(), Pixelate(), Dilate()]


def block(height: int = 64, *, margin: int = 20, width: int = 20) -> Walk:
    frame = np.zeros((2, height + 2 * margin, width + 2 * margin), np.uint8)
    frame[:, margin : margin + height, margin : margin + width] = 255
    return Walk(silhouettes=frame, fps=30)


def walker() -> Walk:
    return Walk(silhouettes=with_margin(Walkers().silhouettes(79, "nm-03", [72], frames=12)[0]), fps=30)


def applied(method: Anonymizer, walk: Walk) -> np.ndarray:
    return method(walk, np.random.default_rng(0)).silhouettes


@pytest.mark.parametrize("method", ALL, ids=lambda m: type(m).__name__)
def test_frames_stay_frames_and_nothing_is_random(method):
    walk = walker()
    before = walk.silhouettes.copy()
    found = method(walk, np.random.default_rng(0))
    assert found.silhouettes.shape == walk.silhouettes.shape
    assert found.silhouettes.dtype == np.uint8
    assert found.silhouettes.flags.c_contiguous
    assert found.colors is None or (isinstance(method, Unchanged) and not found.colors.any())
    np.testing.assert_array_equal(walk.silhouettes, before)
    assert not np.shares_memory(found.silhouettes, walk.silhouettes)
    np.testing.assert_array_equal(method(walk, np.random.default_rng(99)).silhouettes, found.silhouettes)


@pytest.mark.parametrize("method", ALL, ids=lambda m: type(m).__name__)
def test_nobody_stays_nobody(method):
    empty = Walk(silhouettes=np.zeros((3, 20, 10), np.uint8), fps=25)
    assert not applied(method, empty).any()


def test_unchanged_is_the_walk():
    walk = walker()
    np.testing.assert_array_equal(applied(Unchanged(), walk), walk.silhouettes)


def test_the_round_trip_costs_little():
    walk = walker()
    one, other = applied(ContourRoundTrip(), walk) >= 128, walk.silhouettes >= 128
    full = (one & other).sum((1, 2)) / (one | other).sum((1, 2))
    assert full.mean() > 0.99
    few = applied(ContourRoundTrip(points=32), walk) >= 128
    assert ((few & other).sum((1, 2)) / (few | other).sum((1, 2))).mean() < full.mean() - 0.03


def test_blur_is_a_gaussian_in_body_heights():
    from scipy.special import erf

    for height in (64, 128):
        walk = block(height, margin=60, width=80)
        across = applied(Blur(sigma=4 / 64), walk)[0, 60 + height // 2].astype(float)
        distance = np.arange(len(across)) + 0.5 - 60
        sigma = 4 / 64 * height
        expected = 127.5 * (erf(distance / sigma / np.sqrt(2)) - erf((distance - 80) / sigma / np.sqrt(2)))
        np.testing.assert_allclose(across, expected, atol=2.5)


def test_cells_are_averages():
    walk = block(64, margin=20, width=20)
    found = applied(Pixelate(cell=8 / 64), walk)[0]
    cells = found[:104, :56].reshape(13, 8, 7, 8)
    assert (cells == cells[:, :1, :, :1]).all()
    # From 20 on: half of the third column and row of cells, from 40 on nothing.
    assert cells[5, 0, :, 0].tolist() == [0, 0, 128, 255, 255, 0, 0]
    assert cells[2, 0, :, 0].tolist() == [0, 0, 64, 128, 128, 0, 0]


def test_cells_that_the_frame_cuts_are_averaged_with_nobody():
    frame = np.full((1, 10, 10), 255, np.uint8)
    found = applied(Pixelate(cell=0.4), Walk(silhouettes=frame, fps=30))[0]
    assert found.shape == (10, 10)
    assert (found[8:, :8], found[8:, 8:]) == (pytest.approx(128), pytest.approx(64))


@pytest.mark.parametrize("height", [64, 128])
def test_dilation_by_a_disk(height):
    walk = block(height)
    reach = round(3 / 64 * height)
    found = applied(Dilate(), walk)[0]
    down, right = np.mgrid[: found.shape[0], : found.shape[1]]
    beyond = [np.clip(np.maximum(20 - at, at - 19 - size), 0, None) for at, size in ((down, height), (right, 20))]
    np.testing.assert_array_equal(found == 255, np.hypot(*beyond) <= reach)


@pytest.mark.parametrize(
    ("method", "least"),
    [(Pixelate(cell=0.001), 2), (Dilate(radius=0.001), 1)],
)
def test_whatever_is_asked_for_happens_at_any_size(method, least):
    walk = Walk(silhouettes=np.pad(np.full((1, 9, 5), 255, np.uint8), ((0, 0), (3, 3), (3, 3))), fps=30)
    found = applied(method, walk)
    assert (found != walk.silhouettes).any()
    stronger = type(method)(**{next(iter(vars(method))): least / 9})
    np.testing.assert_array_equal(found, applied(stronger, walk))


@pytest.mark.parametrize("method", [Blur(sigma=0), Pixelate(cell=0), Dilate(radius=0)])
def test_nothing_asked_for_is_nothing_done(method):
    walk = walker()
    np.testing.assert_array_equal(applied(method, walk), walk.silhouettes)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Blur(sigma=-1), "expected a sigma of at least 0 body heights, got -1"),
        (lambda: Pixelate(cell=float("nan")), "expected a cell of at least 0 body heights, got nan"),
        (lambda: Dilate(radius=float("inf")), "expected a radius of at least 0 body heights, got inf"),
        (lambda: ContourRoundTrip(points=4), "expected at least 8 points, got 4"),
    ],
)
def test_settings_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make()
