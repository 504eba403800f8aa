import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gaitkeeper.metrics.distances import paired, pairwise
from gaitkeeper.metrics.intervals import student, wilson
from gaitkeeper.metrics.verification import equal_error


def test_wilson_interval_of_a_share_known_by_hand():
    share, low, high = wilson([1] * 8 + [0] * 2)
    assert share == pytest.approx(0.8)
    assert low == pytest.approx(0.4901625, abs=1e-6)
    assert high == pytest.approx(0.9433178, abs=1e-6)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50))
def test_wilson_interval_contains_the_mean_and_stays_in_range(values):
    share, low, high = wilson(values)
    assert 0 <= low <= share <= high <= 1
    assert high > low


def test_wilson_without_values_is_not_a_number():
    assert np.isnan(wilson([])).all()


@pytest.mark.parametrize("kind", ["parts", "whole", "cosine"])
def test_distances_agree_with_the_definition(kind):
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(n, 4, 3, generator=generator, dtype=torch.float64) for n in (2, 5))
    got = pairwise(a, b, kind=kind)
    for i in range(2):
        for j in range(5):
            if kind == "parts":
                want = sum(torch.dist(a[i, :, p], b[j, :, p]) for p in range(3)) / 3
            elif kind == "whole":
                want = torch.dist(a[i], b[j])
            else:
                want = sum(1 - torch.cosine_similarity(a[i, :, p], b[j, :, p], dim=0) for p in range(3)) / 3
            assert float(got[i, j]) == pytest.approx(float(want), rel=1e-9)
    torch.testing.assert_close(paired(a, b[:2], kind=kind), got.diagonal())


def test_gradient_of_the_distance_to_oneself_is_zero_and_finite():
    x = torch.randn(2, 4, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(paired(x, x.detach()).sum(), x)
    assert (gradient == 0).all()


def test_embeddings_that_do_not_compare_are_refused():
    with pytest.raises(ValueError, match="do not compare"):
        pairwise(torch.zeros(1, 4, 3), torch.zeros(1, 4, 2))


def test_equal_error_of_separated_and_mixed_distances():
    assert equal_error(np.array([1.0, 2.0]), np.array([3.0, 4.0])) == (2.0, 0.0)
    assert equal_error(np.array([1.0, 2.0, 5.0, 6.0]), np.array([3.0, 4.0, 7.0, 8.0])) == (4.0, 0.5)
    with pytest.raises(ValueError, match="both kinds"):
        equal_error(np.array([]), np.array([1.0]))


def test_students_interval_is_the_textbooks():
    # Mean 5, standard deviation 2, n = 16, t(0.975, 15) = 2.13145.
    values = [3.0, 7.0] * 8
    mean, low, high = student(values)
    half = 2.13145 * np.std(values, ddof=1) / 4
    assert (mean, low, high) == pytest.approx((5, 5 - half, 5 + half), abs=1e-4)
    assert student([4.0]) == (4.0, None, None)
    assert np.isnan(student([])[0])
