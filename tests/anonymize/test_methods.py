"""Every method has a name, is made by it and fulfils the contract of anonymizers."""

import numpy as np
import pytest

from gaitkeeper.anonymize.filters import Blur, Dilate, Pixelate, Unchanged
from gaitkeeper.anonymize.methods import DEFAULT, METHODS, NEGATIVE_CONTROLS, method
from gaitkeeper.anonymize.walk import Walk, with_margin
from gaitkeeper.errors import GaitkeeperError, WeightsError
from gaitkeeper.seeding import stream
from gaitkeeper.synthetic.walkers import Walkers


@pytest.fixture(scope="module")
def walk() -> Walk:
    return Walk(silhouettes=with_margin(Walkers().silhouettes(77, "nm-05", [90], frames=30)[0]), fps=30)


def test_the_default_and_the_negative_controls_are_methods() -> None:
    assert next(iter(METHODS)) == DEFAULT
    assert not METHODS[DEFAULT].control
    assert set(NEGATIVE_CONTROLS) <= {name for name, known in METHODS.items() if known.control}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_keeps_shape_and_draws_from_its_rng_alone(name: str, walk: Walk) -> None:
    anonymizer = method(name, painted=False)
    try:
        shown, again = (anonymizer(walk, stream(0, name)) for _ in range(2))
    except WeightsError:
        pytest.skip(f"{name}: its weights are not in the package")
    assert shown.silhouettes.shape == walk.silhouettes.shape
    assert shown.silhouettes.dtype == np.uint8
    assert (shown.silhouettes == again.silhouettes).all()
    assert shown.colors is None or (name == "black" and not shown.colors.any())
    drawn_anew = (anonymizer(walk, stream(1, name)).silhouettes != shown.silhouettes).any()
    assert drawn_anew != METHODS[name].control or name == "st-gan-no-noise"


@pytest.mark.parametrize("name", ["blur", "pixelate", "dilate", "deformation", "deformation-strong"])
def test_strength_scales_what_a_method_says_it_does(name: str, walk: Walk) -> None:
    def changed(strength: float) -> float:
        shown = method(name, strength)(walk, stream(0, name)).silhouettes
        return float(np.abs(shown.astype(float) - walk.silhouettes).mean())

    assert METHODS[name].strength
    assert 0 < changed(0.4) < changed(1.0)


def test_strength_one_is_the_filters_own_setting() -> None:
    assert (method("blur"), method("pixelate"), method("dilate")) == (Blur(), Pixelate(), Dilate())
    assert method("black") == Unchanged()


def test_graded_methods_are_those_that_make_greys(walk: Walk) -> None:
    def greys(shown: np.ndarray) -> float:
        return float(((shown > 64) & (shown < 192)).sum() / (shown >= 128).sum())

    for name in (*NEGATIVE_CONTROLS, "black", "contour"):
        more = greys(method(name)(walk, stream(0, name)).silhouettes) / greys(walk.silhouettes)
        assert (more > 1.5) == METHODS[name].graded, (name, more)


def test_colors_can_be_left_out_and_silhouettes_stay_the_same(walk: Walk) -> None:
    painted, plain = (method(DEFAULT, painted=flag)(walk, stream(3)) for flag in (True, False))
    assert painted.colors is not None
    assert plain.colors is None
    assert (painted.silhouettes == plain.silhouettes).all()


@pytest.mark.parametrize(
    ("name", "strength", "message"),
    [
        ("fog", 1.0, "fog: expected a method of anonymization, replacement, deformation"),
        ("blur", 0.0, "blur: expected a strength above 0 and of at most 10, got 0.0"),
        ("blur", float("nan"), "expected a strength above 0"),
        ("replacement", 2.0, "replacement: has no strength to set, got 2.0; deformation, .*blur"),
    ],
)
def test_what_cannot_be_made_is_told(name: str, strength: float, message: str) -> None:
    with pytest.raises(GaitkeeperError, match=message):
        method(name, strength)
