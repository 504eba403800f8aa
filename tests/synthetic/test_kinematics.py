import numpy as np
import pytest

from gaitkeeper.synthetic.gait import TOE_OFF
from gaitkeeper.synthetic.kinematics import JOINTS, Walk
from gaitkeeper.synthetic.population import Population
from gaitkeeper.synthetic.walkers import Walkers

BONES = [
    *((1, 2), (2, 21), (21, 3), (3, 4), (21, 5), (5, 6), (6, 7), (7, 8), (21, 9), (9, 10), (10, 11), (11, 12)),
    *(
        (1, 13),
        (13, 14),
        (14, 15),
        (15, 16),
        (1, 17),
        (17, 18),
        (18, 19),
        (19, 20),
        (7, 22),
        (7, 23),
        (11, 24),
        (11, 25),
    ),
]
"""NTU RGB+D's joints, counted from 1."""


def joint(pose: np.ndarray, name: str) -> np.ndarray:
    return pose[..., JOINTS.index(name), :]


def cycle(walk: Walk, count: int = 100) -> tuple[np.ndarray, np.ndarray]:
    phase = np.arange(count) / count
    return phase, walk.pose(phase).joints


def leg_degrees(pose: np.ndarray, side: str) -> tuple[np.ndarray, np.ndarray]:
    """Thigh's angle against the vertical and knee flexion, seen from the side."""
    hip, knee, ankle = (joint(pose, f"{name}_{side}") for name in ("hip", "knee", "ankle"))
    thigh, shank = knee - hip, ankle - knee
    thigh_angle = np.arctan2(thigh[:, 0], -thigh[:, 1])
    return np.rad2deg(thigh_angle), np.rad2deg(thigh_angle - np.arctan2(shank[:, 0], -shank[:, 1]))


@pytest.fixture(scope="module")
def walkers() -> Walkers:
    return Walkers()


@pytest.fixture(scope="module")
def average() -> Walk:
    nobody = Walkers(Population(shape=0, dynamics=0, session=0))
    return Walk(nobody.body(1), nobody.gait(1, "nm-01"))


@pytest.mark.parametrize(("subject", "condition"), [(1, "nm-01"), (43, "bg-02"), (90, "cl-01"), (124, "nm-06")])
def test_bones_keep_their_lengths(walkers, subject, condition):
    joints = walkers.skeleton(subject, condition, frames=60).astype(float)
    for start, end in BONES:
        length = np.linalg.norm(joints[:, end - 1] - joints[:, start - 1], axis=1)
        assert length.mean() > 0.02
        assert np.ptp(length) < 1e-5, (start, end)


def test_order_of_the_joints(walkers):
    joints = walkers.skeleton(3, "nm-01", frames=40).mean(axis=0)
    heights = joints[:, 1]
    base, middle, neck, head, shoulders = heights[[0, 1, 2, 3, 20]]
    assert base < middle < shoulders < neck < head < 2.1
    # z is to the right: left shoulder, arm, hip and foot have the smaller z.
    for left, right in ((4, 8), (5, 9), (6, 10), (12, 16), (13, 17), (14, 18), (15, 19)):
        assert joints[left, 2] < joints[right, 2]
    for side in (12, 16):
        assert heights[side] > heights[side + 1] > heights[side + 2] > heights[side + 3] >= 0
    travel = walkers.skeleton(3, "nm-01", frames=40)[:, 0]
    assert travel[-1, 0] - travel[0, 0] > 1
    assert abs(travel[:, 0].mean()) < 0.05
    assert np.abs(travel[:, 2]).max() < 0.1


def test_speed_cadence_and_bounce_are_human(walkers):
    speeds, cadences, bounces = [], [], []
    for subject in range(1, 125, 3):
        gait = walkers.gait(subject, "nm-01")
        walk = Walk(walkers.body(subject), gait)
        cadences.append(gait.cadence)
        speeds.append(walk.stride * gait.cadence / 120)
        bounces.append(np.ptp(joint(cycle(walk, 40)[1], "pelvis")[:, 1]))
    assert min(cadences) >= 85
    assert max(cadences) <= 140
    assert min(speeds) > 0.7
    assert max(speeds) < 1.8
    assert 1.0 < np.mean(speeds) < 1.4
    assert 0.02 < np.mean(bounces) < 0.055
    assert np.std(speeds) > 0.08


def test_stance_feet_stay_where_they_are(walkers):
    for subject in range(1, 125, 4):
        walk = Walk(walkers.body(subject), walkers.gait(subject, "nm-02"))
        phase, pose = cycle(walk)
        for side, shift in (("l", 0.0), ("r", 0.5)):
            own = (phase + shift) % 1
            # Between heel contact and toe-off the ball of the foot is a pivot.
            planted = (own > 0.10) & (own < TOE_OFF - 0.02)
            ball = joint(pose, f"ball_{side}")
            # The right foot's stance spans the end of the cycle.
            ball = ball - np.where((shift > 0) & (phase < 0.5), -walk.stride, 0.0)[:, None] * [1, 0, 0]
            drift = np.linalg.norm(np.ptp(ball[planted][:, [0, 2]], axis=0))
            assert drift < 0.03, (subject, side)
            assert np.ptp(ball[planted][:, 1]) < 0.02


def test_feet_never_sink_into_the_floor_and_swing_clear_of_it(walkers):
    for subject in range(1, 125, 8):
        for condition in ("nm-01", "cl-02"):
            figure = walkers.figure(subject, condition, frames=50)
            lowest = (figure.centres[..., 1] - np.sqrt(figure.spreads[..., 3])).min(axis=1)
            # The sole is soft by a centimetre.
            assert lowest.min() > -0.012
            assert lowest.max() < 0.015


def test_joint_curves_are_those_of_normal_gait(average):
    phase, pose = cycle(average)
    for side, shift in (("l", 0.0), ("r", 0.5)):
        thigh, knee = leg_degrees(pose, side)
        own = (phase + shift) % 1
        assert 20 < thigh.max() < 36
        assert -26 < thigh.min() < -10
        assert 52 < knee.max() < 70
        assert 0 <= knee.min() < 12
        # Most flexed in early swing, hip most extended at the end of stance.
        assert 0.66 < own[knee.argmax()] < 0.80
        assert 0.46 < own[thigh.argmin()] < 0.66


def test_curves_of_everybody_stay_possible(walkers):
    for subject in range(1, 125, 5):
        _, pose = cycle(Walk(walkers.body(subject), walkers.gait(subject, "nm-03")), 50)
        for side in "lr":
            thigh, knee = leg_degrees(pose, side)
            assert knee.min() > 0
            assert 42 < knee.max() < 80
            assert 15 < thigh.max() < 55
            assert np.abs(np.diff(knee, append=knee[:1])).max() < 40


def test_arms_swing_against_the_legs(average):
    _, pose = cycle(average)
    wrist, foot = (joint(pose, f"{name}_l")[:, 0] - joint(pose, "pelvis")[:, 0] for name in ("wrist", "ankle"))
    assert np.corrcoef(wrist, foot)[0, 1] < -0.7
    other = joint(pose, "ankle_r")[:, 0] - joint(pose, "pelvis")[:, 0]
    assert np.corrcoef(wrist, other)[0, 1] > 0.7


def test_a_walk_is_periodic(average):
    phase = np.array([0.1, 0.35, 0.8])
    once, again = average.pose(phase).joints, average.pose(phase + 1).joints
    np.testing.assert_allclose(again - once, np.broadcast_to([average.stride, 0, 0], once.shape), atol=1e-9)


def test_without_asymmetry_left_and_right_mirror_each_other(average):
    phase = np.arange(20) / 20
    one, half = average.pose(phase).joints, average.pose(phase + 0.5).joints
    for name in ("knee", "ankle", "elbow", "wrist"):
        left, right = joint(one, f"{name}_l"), joint(half, f"{name}_r")
        np.testing.assert_allclose(left[:, 1], right[:, 1], atol=1e-6)
        np.testing.assert_allclose(left[:, 2], -right[:, 2], atol=1e-6)
