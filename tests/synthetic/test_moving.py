"""Silhouettes of anybody whose joints are known."""

import numpy as np
import pytest

from gaitkeeper.errors import DataError
from gaitkeeper.motion.skeletons import NTU_25
from gaitkeeper.synthetic.acting import Troupe
from gaitkeeper.synthetic.actions import CLASSES, Acting
from gaitkeeper.synthetic.figure import dress
from gaitkeeper.synthetic.kinematics import FRAMES
from gaitkeeper.synthetic.moving import facing_along_x, performance, posed, silhouettes
from gaitkeeper.synthetic.population import Population
from gaitkeeper.synthetic.walkers import Walkers

CLEAN = Walkers(Population(noise=0.0))
STRAIGHT = Troupe(Acting(view=0.0, tilt=0.0, noise=0.0))


@pytest.mark.parametrize(("subject", "condition"), [(3, "nm-01"), (90, "cl-01"), (100, "cl-02")])
def test_a_walkers_joints_give_the_walkers_pose_back(subject, condition):
    pose, body, outfit = (get(subject, condition) for get in (CLEAN.pose, lambda s, _: CLEAN.body(s), CLEAN.outfit))
    found = posed(CLEAN.skeleton(subject, condition), body, hem=outfit.hem)
    np.testing.assert_allclose(found.joints, pose.joints, atol=1e-6)
    turned = np.einsum("tpji,tpjk->tpik", found.frames, pose.frames)
    cosine = (np.trace(turned, axis1=2, axis2=3) - 1) / 2
    off = np.rad2deg(np.arccos(np.clip(cosine, -1, 1))).mean(axis=0)
    # Where joints do not tell: the tilt of a pelvis, and how a hand is turned.
    usual = {"pelvis": 14, "hand_l": 13, "hand_r": 13, "toes_l": 10, "toes_r": 10, "thorax": 0.1}
    for name, angle in zip(FRAMES, off, strict=True):
        assert angle < usual.get(name, 7), name


def test_frames_are_rotations():
    body = STRAIGHT.body(2)
    found = posed(facing_along_x(STRAIGHT.clip(2, "bow", 1)), body)
    product = np.einsum("tpji,tpjk->tpik", found.frames, found.frames)
    np.testing.assert_allclose(product, np.broadcast_to(np.eye(3), product.shape), atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(found.frames), 1.0)


@pytest.mark.parametrize("condition", ["nm-01", "bg-01", "cl-01"])
def test_a_walker_looks_the_same_by_way_of_its_joints(condition):
    views = (0, 54, 90, 180)
    body, outfit = CLEAN.body(100), CLEAN.outfit(100, condition)
    figure = dress(posed(CLEAN.skeleton(100, condition), body, hem=outfit.hem), body, outfit)
    ours = silhouettes(figure, views, noise=0.0, rng=np.random.default_rng(0)) >= 128
    theirs = CLEAN.silhouettes(100, condition, views) >= 128
    overlap = (ours & theirs).sum((2, 3)) / (ours | theirs).sum((2, 3))
    assert overlap.mean(axis=1).min() > 0.9
    # Somebody else's body would not do.
    other = dress(posed(CLEAN.skeleton(100, condition), body), CLEAN.body(7), outfit)
    theirs_on_others = silhouettes(other, views, noise=0.0, rng=np.random.default_rng(0)) >= 128
    wrong = (theirs_on_others & theirs).sum((2, 3)) / (theirs_on_others | theirs).sum((2, 3))
    assert wrong.mean() < overlap.mean()


def test_actors_look_along_x_and_stand_in_the_middle():
    joints = facing_along_x(STRAIGHT.clip(1, "clap", 1))
    at = {name: joints[:, NTU_25.joints.index(name)] for name in ("spine base", "left hip", "right hip", "head")}
    np.testing.assert_allclose(at["spine base"][:, (0, 2)].mean(axis=0), 0, atol=1e-6)
    assert (at["right hip"][:, 2] > at["left hip"][:, 2]).all()
    hands = joints[:, [NTU_25.joints.index("left hand"), NTU_25.joints.index("right hand")], 0].mean()
    assert hands > 0.1
    assert (at["head"][:, 1] > 1.2).all()


def test_hands_that_are_raised_are_above_the_head():
    """Seen from the front, what is uppermost while hands are up is narrower than a head and on both sides."""
    clip = performance(STRAIGHT, 5, "hands up", 1, [0], population=Population(noise=0.0))[0] >= 128
    wide = clip[:, :6].any(axis=1)
    extents = [np.ptp(np.flatnonzero(row)) if row.any() else 0 for row in wide]
    assert max(extents) > 2 * extents[0]


@pytest.mark.parametrize("action", CLASSES)
def test_every_action_is_rendered_and_moves(action):
    troupe = Troupe()
    clip = performance(troupe, 31, action, 1, [18, 90], population=Population())
    assert clip.shape == (2, len(troupe.clip(31, action, 1)), 64, 44)
    assert clip.dtype == np.uint8
    area = (clip >= 128).mean(axis=(2, 3))
    assert area.min() > 0.08
    assert area.max() < 0.85
    # Alignment: from the first row to the last.
    assert (clip.max(axis=3)[:, :, (0, 63)] > 0).all()
    assert np.ptp(clip.astype(int), axis=1).max() == 255


def test_the_same_performance_has_the_same_bytes_and_another_has_not():
    population = Population()
    one, same = (performance(Troupe(), 31, "punch", 1, [36], population=population) for _ in range(2))
    np.testing.assert_array_equal(one, same)
    for other in (
        performance(Troupe(), 31, "punch", 1, [36], population=Population(seed=1)),
        performance(Troupe(), 31, "punch", 1, [54], population=population),
    ):
        assert other.shape == one.shape
        assert (other != one).any()


def test_noise_disturbs_and_clothes_thicken():
    calm = performance(STRAIGHT, 31, "salute", 1, [90], population=Population(noise=0.0))
    noisy = performance(STRAIGHT, 31, "salute", 1, [90], population=Population(noise=2.0))
    changed = (calm != noisy).mean(axis=(2, 3))
    assert 0.001 < changed.mean() < 0.1


def test_unknown_actors_and_actions():
    with pytest.raises(DataError, match="unknown action 'walk'"):
        performance(Troupe(), 1, "walk", 1, [0], population=Population())
    with pytest.raises(DataError, match="unknown subject 41"):
        performance(Troupe(), 41, "bow", 1, [0], population=Population())
