"""Equation 9 against its closed form, and what covers a face."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaitkeeper.anonymize.colorize import HEAD, cover_head, nearest_colors


@given(st.integers(0, 2**32 - 1))
def test_each_pixel_has_the_color_of_the_nearest_one_inside(seed) -> None:
    rng = np.random.default_rng(seed)
    frame = rng.integers(0, 256, (24, 20, 3), dtype=np.uint8)
    original = np.zeros((24, 20), bool)
    y, x = rng.integers(2, 10, 2)
    original[y : y + 9, x : x + 7] = True
    inside = np.zeros_like(original)
    inside[y + 1 : y + 8, x + 1 : x + 6] = True
    shown = nearest_colors(frame, original)
    np.testing.assert_array_equal(shown[inside], frame[inside])
    ys, xs = np.nonzero(inside)
    for row, column in np.ndindex(*original.shape):
        apart = np.hypot(ys - row, xs - column)
        # The distance transform is exact to a few percent.
        near = np.flatnonzero(apart <= apart.min() * 1.05 + 1e-9)
        assert (frame[ys[near], xs[near]] == shown[row, column]).all(axis=1).any()


def test_nothing_of_the_background_is_taken() -> None:
    frame = np.full((30, 30, 3), (0, 255, 0), np.uint8)
    original = np.zeros((30, 30), bool)
    original[5:25, 10:20] = True
    frame[6:24, 11:19] = (200, 30, 40)
    np.testing.assert_array_equal(nearest_colors(frame, original), np.full_like(frame, (200, 30, 40)))


def test_a_silhouette_of_one_pixel_gives_its_color() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    original = np.zeros((9, 9), bool)
    original[4, 3] = True
    np.testing.assert_array_equal(nearest_colors(frame, original), np.full_like(frame, frame[4, 3]))


@pytest.mark.parametrize(("top", "bottom"), [(5, 105), (-40, 60), (0, 119.5)])
def test_a_head_loses_its_features_and_the_rest_nothing(top, bottom) -> None:
    colors = np.random.default_rng(0).integers(0, 256, (120, 60, 3), dtype=np.uint8)
    before = colors.copy()
    covered = cover_head(colors, top, bottom)
    np.testing.assert_array_equal(colors, before)
    end = max(0, int(np.ceil(top + HEAD * (bottom - top))))
    np.testing.assert_array_equal(covered[end:], colors[end:])
    if end:
        assert covered[:end].std() < 0.2 * colors[:end].std()


def test_the_shirt_does_not_bleed_into_the_head() -> None:
    colors = np.zeros((100, 40, 3), np.uint8)
    colors[16:] = 255
    assert not cover_head(colors, 0, 100)[:16].any()
    np.testing.assert_array_equal(cover_head(colors, -200, -100), colors)
