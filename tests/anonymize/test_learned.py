"""Anonymizers that networks make."""

import cv2
import numpy as np
import pytest
import torch

from gaitkeeper.anonymize.learned import DONORS, NoiseGait, StGan, invert
from gaitkeeper.anonymize.walk import Anonymized, Walk, with_margin
from gaitkeeper.datasets.walkers import WalkerSequences
from gaitkeeper.errors import DataError, WeightsError
from gaitkeeper.models.generators.anonymizers import ContourNetworks
from gaitkeeper.models.generators.st_gan import GaitGenerator, NoiseGenerator
from gaitkeeper.motion.contours import contour_sequence
from gaitkeeper.synthetic.population import Population
from gaitkeeper.training.anonymizer_settings import SUBJECTS

METHODS = {
    "st-gan": StGan(),
    "published": StGan(weights="st-gan-published-walkers"),
    "noise-gait": NoiseGait(),
}


@pytest.fixture(scope="module")
def clips():
    """Of unseen walkers, from the front and from the side."""
    data = WalkerSequences(Population(), subjects=[85, 86], conditions=["nm-01"], views=[0, 90], frames=12)
    return [Walk(silhouettes=with_margin(found), fps=30.0) for found in data.load(range(4))]


def overlap(one, other):
    one, other = one >= 128, other >= 128
    return (one & other).sum((1, 2)) / (one | other).sum((1, 2)).clip(1)


@pytest.mark.parametrize("name", METHODS)
def test_a_person_still_stands_there_and_is_another(name, clips):
    for number, walk in enumerate(clips):
        made = METHODS[name](walk, np.random.default_rng(number))
        assert isinstance(made, Anonymized)
        assert made.colors is None
        assert (made.silhouettes.shape, made.silhouettes.dtype) == (walk.silhouettes.shape, np.uint8)
        alike = overlap(made.silhouettes, walk.silhouettes)
        assert 0.55 < alike.mean() < 0.95
        area = (made.silhouettes >= 128).sum((1, 2)) / (walk.silhouettes >= 128).sum((1, 2))
        assert ((area > 0.6) & (area < 1.7)).all()
        assert np.abs(np.diff(made.silhouettes.astype(int), axis=0)).mean() > 0


@pytest.mark.parametrize("name", METHODS)
def test_the_same_generator_gives_the_same_bytes_and_another_another_person(name, clips):
    walk = clips[3]
    first, again, other = (METHODS[name](walk, np.random.default_rng(seed)).silhouettes for seed in (5, 5, 6))
    assert np.array_equal(first, again)
    assert overlap(first, other).mean() < 0.97


def test_frames_are_anonymized_one_by_one(clips):
    silhouettes = clips[3].silhouettes.copy()
    silhouettes[4] = 0
    made = StGan()(Walk(silhouettes=silhouettes, fps=30.0), np.random.default_rng(0)).silhouettes
    assert not made[4].any()
    assert made[[3, 5]].any((1, 2)).all()
    empty = Walk(silhouettes=np.zeros_like(silhouettes), fps=30.0)
    for method in METHODS.values():
        assert not method(empty, np.random.default_rng(0)).silhouettes.any()


def test_any_resolution_and_frame_rate(clips):
    small = clips[3].silhouettes
    large = Walk(silhouettes=small.repeat(3, 1).repeat(3, 2), fps=12.0)
    for method in METHODS.values():
        made = method(large, np.random.default_rng(0)).silhouettes
        assert made.shape == large.silhouettes.shape
        assert overlap(made, large.silhouettes).mean() > 0.5
    one, other = (StGan()(walk, np.random.default_rng(0)).silhouettes for walk in (clips[3], large))
    assert overlap(one.repeat(3, 1).repeat(3, 2), other).mean() > 0.9


def test_holes_of_the_original_do_not_show(clips):
    silhouettes = clips[1].silhouettes.copy()
    body = (silhouettes >= 128).all(0).astype(np.uint8)
    # As deep inside as can be, so that a changed outline still goes around it.
    middle = np.unravel_index(cv2.distanceTransform(body, cv2.DIST_L2, 5).argmax(), body.shape)
    silhouettes[:, middle[0] - 2 : middle[0] + 3, middle[1] - 2 : middle[1] + 3] = 0
    assert any(contour_sequence(silhouettes).holes)
    made = StGan()(Walk(silhouettes=silhouettes, fps=30.0), np.random.default_rng(0)).silhouettes
    assert (made[:, middle[0], middle[1]] == 255).all()


@pytest.mark.parametrize("view", [0, 90])
def test_a_noise_gait_is_of_a_walker_seen_from_the_same_side(view, clips):
    assert (DONORS[0], DONORS[-1]) == SUBJECTS["noise-gait"]
    walk = clips[view // 90]
    sequence = contour_sequence(walk.silhouettes)
    donor = NoiseGait()._donor(sequence, 61, 1, 256, 30.0)
    assert donor.shape == sequence.points.shape
    # Seen from the side legs reach far forward and back, seen from the front they do not.
    reach = np.ptp(donor[:, :, 0], axis=1).max()
    assert (reach > 0.42) == (view == 90)
    fixed = NoiseGait(view=view)._donor(sequence, 61, 1, 256, 30.0)
    assert np.abs(fixed - donor).mean() < 0.05


def test_a_donor_walks_at_his_own_pace_whatever_the_frame_rate(clips):
    sequence = contour_sequence(clips[3].silhouettes)
    slow, fast = (NoiseGait(view=90)._donor(sequence, 61, 1, 256, fps) for fps in (60.0, 30.0))
    assert np.abs(np.diff(slow, axis=0)).mean() < np.abs(np.diff(fast, axis=0)).mean()


def test_bad_settings_are_refused(clips, tmp_path):
    rng = np.random.default_rng(0)
    with pytest.raises(WeightsError, match="expected weights of st-gan or st-gan-no-noise, found noise-gait"):
        StGan(weights="noise-gait-walkers")(clips[0], rng)
    with pytest.raises(WeightsError, match="expected weights of noise-gait, found noise"):
        NoiseGait(weights="noise-walkers")(clips[0], rng)
    with pytest.raises(WeightsError, match="'nothing' is no anonymizer"):
        StGan(weights="nothing")(clips[0], rng)
    with pytest.raises(DataError, match="unknown view 45"):
        NoiseGait(view=45)(clips[0], rng)
    with pytest.raises(WeightsError, match="expected weights of inverter, found st-gan"):
        invert("st-gan-walkers", clips[0].silhouettes)


@pytest.fixture
def untrained(tmp_path):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        gait, single = (GaitGenerator(widths=(4, 6), inputs=inputs).eval() for inputs in (2, 1))
        noise = NoiseGenerator(points=32, latent=4, width=16).eval()
    ContourNetworks(kind="inverter", points=32, gait=single).save(tmp_path / "inverter.safetensors")
    ContourNetworks(kind="st-gan-no-noise", points=32, gait=gait).save(tmp_path / "ablation.safetensors")
    moving = ContourNetworks(kind="st-gan", points=32, gait=gait, noise=noise, moving=True)
    moving.save(tmp_path / "moving.safetensors")
    padded = ContourNetworks(kind="st-gan-no-noise", points=32, gait=gait, padded=True)
    padded.save(tmp_path / "padded.safetensors")
    return tmp_path


def test_an_inverter_maps_silhouettes_to_silhouettes(untrained, clips):
    found = invert(untrained / "inverter.safetensors", clips[0].silhouettes)
    assert (found.shape, found.dtype) == (clips[0].silhouettes.shape, np.uint8)
    assert found.any()


@pytest.mark.parametrize("name", ["ablation", "moving", "padded"])
def test_other_forms_of_noise_are_used(name, untrained, clips):
    method = StGan(weights=str(untrained / f"{name}.safetensors"))
    one, other = (method(clips[0], np.random.default_rng(seed)).silhouettes for seed in (0, 1))
    assert one.shape == clips[0].silhouettes.shape
    assert not np.array_equal(one, other)
