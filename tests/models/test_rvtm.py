import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaitkeeper.errors import DataError
from gaitkeeper.models.gait.rvtm import (
    Rvtm,
    RvtmSettings,
    columns,
    fit,
    partial_least_squares,
    robust_pca,
    shrunk,
)


def low_rank(rng, rows, columns_, rank):
    return rng.standard_normal((rows, rank)) @ rng.standard_normal((rank, columns_))


@given(st.integers(0, 5), st.booleans())
def test_robust_pca_recovers_a_low_rank_matrix_from_gross_errors(seed, wide):
    rng = np.random.default_rng(seed)
    low = low_rank(rng, 100, 80, 2)
    sparse = np.where(rng.random(low.shape) < 0.03, rng.uniform(-20, 20, low.shape), 0)
    data = low + sparse
    found, errors = robust_pca(data.T if wide else data, tolerance=1e-6, iterations=200)
    found, errors = (found.T, errors.T) if wide else (found, errors)
    assert np.linalg.norm(found - low) < 1e-3 * np.linalg.norm(low)
    assert np.linalg.norm(errors - sparse) < 1e-3 * np.linalg.norm(sparse)


def test_robust_pca_of_nothing_is_nothing_and_a_large_weight_leaves_nothing_sparse():
    assert not np.any(robust_pca(np.zeros((4, 3))))
    data = low_rank(np.random.default_rng(0), 30, 20, 20)
    low, sparse = robust_pca(data, weight=10.0, tolerance=1e-6, iterations=200)
    assert np.abs(sparse).max() < 1e-6
    np.testing.assert_allclose(low, data, atol=1e-4)


def test_partial_least_squares_has_uncorrelated_scores_and_a_closed_form_first_direction():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((50, 8)), rng.standard_normal((50, 3))
    x, y = x - x.mean(0), y - y.mean(0)
    directions = partial_least_squares(x, y, components=5)
    scores = x @ directions
    np.testing.assert_allclose(scores.T @ scores, np.eye(5), atol=1e-10)
    first = np.linalg.svd(x.T @ y)[0][:, 0]
    cosine = first @ directions[:, 0] / np.linalg.norm(directions[:, 0])
    assert abs(cosine) == pytest.approx(1, abs=1e-10)


def test_partial_least_squares_with_all_components_is_least_squares():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((40, 5))
    x -= x.mean(0)
    y = x @ rng.standard_normal((5, 6)) + 0.1 * rng.standard_normal((40, 6))
    y -= y.mean(0)
    scores = x @ partial_least_squares(x, y, components=5)
    wanted = x @ np.linalg.lstsq(x, y, rcond=None)[0]
    np.testing.assert_allclose(scores @ (scores.T @ y), wanted, atol=1e-8)


def test_more_components_than_there_are_is_refused():
    x = np.random.default_rng(0).standard_normal((20, 4))
    with pytest.raises(ValueError, match="at least 3 components, found 1"):
        partial_least_squares(x[:, :1] @ np.ones((1, 4)), x, components=3)


def world(people=8, walks=4, size=(8, 6), views=(0, 90), seed=0):
    """Images linear in who walks and how, by a map of each view's own."""
    rng = np.random.default_rng(seed)
    maps = {view: 0.04 * rng.standard_normal((6, size[0] * size[1])) for view in views}
    base = {view: rng.uniform(0.3, 0.7, size[0] * size[1]) for view in views}
    images, who, at, walk = [], [], [], []
    for person in range(people):
        trait = rng.standard_normal(6)
        for number in range(walks):
            state = trait + 0.1 * rng.standard_normal(6)
            for view in views:
                images.append((base[view] + state @ maps[view]).reshape(size))
                who.append(person)
                at.append(view)
                walk.append(f"nm-{number}")
    return np.array(images, np.float32), np.array(who), np.array(at), np.array(walk)


def test_people_are_found_in_their_own_view_and_across_views():
    images, who, at, walk = world(people=16)
    train = who < 12
    settings = RvtmSettings(rank=10, ridge=0.01, components=6, shrink=1)
    model = fit(images[train], who[train], at[train], walk[train], settings=settings)
    for probe_view, gallery_view in [(0, 0), (0, 90), (90, 0)]:
        probes = ~train & (walk == "nm-3") & (at == probe_view)
        gallery = ~train & (walk == "nm-0") & (at == gallery_view)
        found = model.describe(images[probes], at[probes]) @ model.describe(images[gallery], at[gallery]).T
        assert (who[gallery][found.argmax(1)] == who[probes]).all()


def test_descriptions_have_unit_length_and_do_not_depend_on_the_batch():
    images, who, at, walk = world()
    model = fit(images, who, at, walk, settings=RvtmSettings(rank=8, components=4))
    whole = model.describe(images, at)
    np.testing.assert_allclose(np.linalg.norm(whole, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(model.describe(images[5:6], at[5:6]), whole[5:6], atol=1e-5)


def test_a_state_restores_the_model_and_a_damaged_one_is_refused():
    images, who, at, walk = world()
    model = fit(images, who, at, walk, settings=RvtmSettings(rank=8, components=4))
    state = model.state()
    np.testing.assert_array_equal(Rvtm.of(state).describe(images, at), model.describe(images, at))
    with pytest.raises(DataError, match="shift is missing"):
        Rvtm.of({key: value for key, value in state.items() if key != "shift"})
    with pytest.raises(DataError, match="do not fit each other"):
        Rvtm.of({**state, "means": state["means"][:, 1:]})


def test_columns_take_walks_that_have_all_views():
    who, at = np.array([1, 1, 1, 2, 2, 1, 1]), np.array([0, 90, 0, 90, 0, 0, 90])
    walk = np.array(["a", "a", "b", "a", "a", "a", "a"])
    views, index = columns(who, at, walk)
    assert views.tolist() == [0, 90]
    # Recordings 5 and 6 are a second time in the same walk; 2 lacks a view.
    assert sorted(map(tuple, index.tolist())) == [(0, 1), (4, 3), (5, 6)]


def test_shrinking_takes_means():
    image = np.arange(16, dtype=np.float32).reshape(1, 4, 4)
    np.testing.assert_array_equal(shrunk(image, 2), [[2.5, 4.5, 10.5, 12.5]])
    with pytest.raises(DataError, match="images of 4x4 cannot be shrunk by 3"):
        shrunk(image, 3)


def test_what_cannot_be_fitted_or_described_is_refused():
    images, who, at, walk = world()
    with pytest.raises(DataError, match="two people or more seen from all of 2 views, got 1"):
        fit(images[who == 0], who[who == 0], at[who == 0], walk[who == 0])
    model = fit(images, who, at, walk, settings=RvtmSettings(rank=8, components=4))
    with pytest.raises(DataError, match="rvtm knows the views 0, 90; got 54"):
        model.describe(images[:1], np.array([54]))
    with pytest.raises(DataError, match="expected images of 12 pixels, shrunk, got 16"):
        model.describe(np.zeros((1, 8, 8), np.float32), np.array([0]))
