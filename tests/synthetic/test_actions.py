from dataclasses import replace

import numpy as np
import pytest

from gaitkeeper.errors import DataError
from gaitkeeper.motion.skeletons import NTU_25
from gaitkeeper.synthetic.acting import Troupe
from gaitkeeper.synthetic.actions import (
    ACTIONS,
    CHANNELS,
    CLASSES,
    FRAMES,
    SUBJECTS,
    TEST_ACTORS,
    TRAIN_ACTORS,
    VALIDATION_ACTORS,
    Acting,
)
from gaitkeeper.synthetic.body import draw_body
from gaitkeeper.synthetic.posing import REST, columns, pose

JOINT = {name: joint for joint, name in enumerate(NTU_25.joints)}
STILL = Acting(style=0.0, session=0.0, left=0.0, view=0.0, tilt=0.0, noise=0.0)
"""Everybody does just what is written."""

CLEAN = Acting(view=0.0, tilt=0.0, noise=0.0, left=0.0)
"""The usual variety, in the world's own axes."""

ON_BOTH_FEET = (
    *("drink water", "pick up", "sit down", "stand up", "clap", "hand waving", "point to something", "salute", "bow"),
    *("put palms together", "arm circles", "hands up", "squat down"),
)


def lengths(clip: np.ndarray) -> np.ndarray:
    starts, ends = zip(*NTU_25.bones, strict=True)
    return np.linalg.norm(clip[:, list(ends)].astype(float) - clip[:, list(starts)], axis=2)


def at(clip: np.ndarray, joint: str) -> np.ndarray:
    return clip[:, JOINT[joint]].astype(float)


def rest(frames: int = 2, **moved: float | tuple[float, ...]) -> np.ndarray:
    channels = np.tile(REST, (frames, 1))
    for name, value in moved.items():
        channels[:, columns(name)] = value
    return channels


@pytest.fixture(scope="module")
def clean() -> Troupe:
    return Troupe(CLEAN)


@pytest.fixture(scope="module")
def still() -> Troupe:
    return Troupe(STILL)


def test_classes_and_splits():
    assert len(CLASSES) == 20
    assert len(set(CLASSES)) == 20
    subjects = [*TRAIN_ACTORS, *VALIDATION_ACTORS, *TEST_ACTORS]
    assert subjects == list(range(1, SUBJECTS + 1))
    assert (len(TRAIN_ACTORS), len(VALIDATION_ACTORS), len(TEST_ACTORS)) == (24, 6, 10)


def test_keys_name_channels_in_their_widths():
    for action in ACTIONS:
        poses = [key.moved for key in (*action.before, *action.cycle, *action.after)] + [action.start or {}]
        for name, value in [item for moved in poses for item in moved.items()]:
            channel = name if name in CHANNELS else f"{name}_r"
            assert np.size(value) == len(CHANNELS[channel]), (action.name, name)


def test_shapes_and_lengths(clean):
    found = [clean.clip(subject, action, 1) for subject in (2, 33) for action in CLASSES]
    for clip in found:
        assert clip.dtype == np.float32
        assert clip.shape[1:] == (25, 3)
        assert FRAMES[0] <= len(clip) <= FRAMES[1]
        assert np.isfinite(clip).all()
    assert len({len(clip) for clip in found}) > 10


@pytest.mark.parametrize("acting", [CLEAN, Acting()], ids=["clean", "usual"])
@pytest.mark.parametrize("action", CLASSES)
def test_bones_keep_their_lengths(acting, action):
    found = lengths(Troupe(acting).clip(5, action, 1))
    np.testing.assert_allclose(found, np.tile(found[0], (len(found), 1)), atol=2e-6)
    assert found.min() > 0.02


def test_all_takes_of_a_subject_have_the_same_bones_and_subjects_differ():
    troupe = Troupe(Acting())
    one, other = (lengths(troupe.clip(8, action, take))[0] for action, take in (("bow", 1), ("side kick", 7)))
    swapped = [NTU_25.bones.index((NTU_25.mirrored[a], NTU_25.mirrored[b])) for a, b in NTU_25.bones]
    np.testing.assert_allclose(one, other, atol=2e-6)
    np.testing.assert_allclose(one, one[swapped], atol=2e-6)
    assert np.abs(one - lengths(troupe.clip(9, "bow", 1))[0]).max() > 0.005


def test_same_settings_give_the_same_bytes_in_any_order():
    asked = [(3, "throw", 1), (40, "hop", 2), (3, "throw", 2), (17, "clap", 1)]
    first = Troupe()
    forward = {key: first.clip(*key) for key in asked}
    fresh = Troupe(Acting())
    for key in reversed(asked):
        np.testing.assert_array_equal(fresh.clip(*key), forward[key])
    np.testing.assert_array_equal(fresh.clip(np.int64(3), np.str_("throw"), np.int64(1)), forward[asked[0]])


def test_takes_differ():
    troupe = Troupe()
    one, other = troupe.clip(3, "throw", 1), troupe.clip(3, "throw", 2)
    frames = min(len(one), len(other))
    assert np.abs(one[:frames] - other[:frames]).max() > 0.1


@pytest.mark.parametrize(
    "changed",
    [
        *({"seed": 1}, {"shape": 0.5}, {"style": 0.5}, {"session": 0.5}, {"left": 1.0}, {"view": 10.0}),
        *({"tilt": 1.0}, {"noise": 0.0}, {"sensor": 0.01}),
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_setting_matters(changed):
    mine, theirs = (Troupe(acting).clip(4, "hand waving", 1) for acting in (Acting(), Acting(**changed)))
    assert mine.shape != theirs.shape or np.abs(mine - theirs).max() > 1e-3


def test_noise_is_as_strong_as_asked_and_only_that_of_the_sensor_changes_bones(clean):
    calm = np.concatenate([clean.clip(s, a, 1) for s in (1, 2) for a in CLASSES])
    for name, low, high in (("noise", 0.0085, 0.0115), ("sensor", 0.0095, 0.0105)):
        troupe = Troupe(replace(CLEAN, **{name: 0.01}))
        noisy = np.concatenate([troupe.clip(s, a, 1) for s in (1, 2) for a in CLASSES])
        assert low < (noisy - calm).std() < high
        spread = np.ptp(lengths(troupe.clip(1, "bow", 1)), axis=0).max()
        assert spread < 2e-6 if name == "noise" else spread > 0.01


def test_noise_leaves_everything_else_as_it_was(clean):
    noisy = Troupe(replace(CLEAN, noise=0.001, sensor=0.001)).clip(12, "kick something", 3)
    np.testing.assert_allclose(noisy, clean.clip(12, "kick something", 3), atol=0.02)


def test_some_takes_are_the_same_action_mirrored():
    reference, some = Troupe(CLEAN), Troupe(replace(CLEAN, left=0.5))
    kinds = []
    for take in range(8):
        one, clip = some.clip(6, "throw", take), reference.clip(6, "throw", take)
        # The mirror is at x = 0 before the actor is put somewhere else.
        mirrored = clip[:, NTU_25.mirrored] * np.array([-1.0, 1.0, 1.0])
        gaps = [np.abs((one - one[0, 0]) - (other - other[0, 0])).max() for other in (clip, mirrored)]
        assert min(gaps) < 1e-5
        kinds.append(int(np.argmin(gaps)))
    assert set(kinds) == {0, 1}


@pytest.mark.parametrize("action", ON_BOTH_FEET)
def test_feet_stand_where_nobody_steps(clean, action):
    for subject in (1, 14, 39):
        clip = clean.clip(subject, action, 1)
        for foot in ("left foot", "right foot"):
            place = at(clip, foot)
            assert np.abs(np.diff(place, axis=0)).max() * 30 < 0.02
            assert place[:, 1].max() < 0.04


def test_the_foot_that_carries_a_kick_stands(clean):
    for action in ("kick something", "side kick", "hop"):
        clip = clean.clip(20, action, 1)
        moves = [np.abs(np.diff(at(clip, foot)[:, [0, 2]], axis=0)).max() * 30 for foot in ("left foot", "right foot")]
        assert min(moves) < 0.02 < 0.5 < max(moves)


def test_nobody_sinks_into_the_floor_or_tears_a_limb_off(clean):
    for action in CLASSES:
        for subject in (1, 13, 26, 38):
            clip = clean.clip(subject, action, 2).astype(float)
            assert clip[..., 1].min() > -0.03
            speed = np.linalg.norm(np.diff(clip, axis=0), axis=2).max() * 30
            assert speed < 20, (action, subject)


def test_actions_are_what_their_names_say(still):
    def seen(action: str) -> np.ndarray:
        return still.clip(1, action, 1)

    stature = at(seen("bow"), "head")[0, 1]
    assert at(seen("sit down"), "head")[-1, 1] < 0.85 * at(seen("sit down"), "head")[0, 1]
    assert at(seen("stand up"), "head")[0, 1] < 0.85 * at(seen("stand up"), "head")[-1, 1]
    squat = at(seen("squat down"), "spine base")[:, 1]
    assert squat.min() < 0.6 * squat[0]
    assert abs(squat[-1] - squat[0]) < 0.01
    assert at(seen("pick up"), "right hand tip")[:, 1].min() < 0.2
    assert at(seen("bow"), "head")[:, 1].min() < 0.85 * stature
    drink = seen("drink water")
    assert np.linalg.norm(at(drink, "right hand") - at(drink, "head"), axis=1).min() < 0.27
    clap = seen("clap")
    apart = np.linalg.norm(at(clap, "right hand") - at(clap, "left hand"), axis=1)
    turns = np.flatnonzero((apart[1:-1] < apart[:-2]) & (apart[1:-1] <= apart[2:]) & (apart[1:-1] < 0.08))
    assert len(turns) >= 3
    together = seen("put palms together")
    assert np.median(np.linalg.norm(at(together, "right hand") - at(together, "left hand"), axis=1)) < 0.1
    assert at(seen("hands up"), "left wrist")[:, 1].max() > stature
    jump = seen("jump up")
    assert min(at(jump, "left foot")[:, 1].max(), at(jump, "right foot")[:, 1].max()) > 0.15
    assert at(seen("kick something"), "right ankle")[:, 2].max() > 0.4
    assert at(seen("side kick"), "right ankle")[:, 0].min() < -0.6
    point = seen("point to something")
    assert (at(point, "right wrist") - at(point, "right shoulder"))[:, 2].max() > 0.4
    circles = seen("arm circles")
    way = at(circles, "right wrist") - at(circles, "right shoulder")
    angle = np.unwrap(np.arctan2(way[:, 1], way[:, 2]))
    assert np.ptp(angle) > 1.9 * np.pi
    run = seen("run on the spot")
    assert at(run, "left knee")[:, 2].max() > 0.15 < at(run, "right knee")[:, 2].max()


def test_a_pose_at_rest_stands_upright_on_the_floor():
    body = draw_body(np.random.default_rng(0), 1.0)
    joints = pose(rest(), body)[0]
    assert joints[JOINT["head"], 1] == pytest.approx(0.93 * body.stature, abs=0.04)
    assert joints[JOINT["left shoulder"], 0] > 0 > joints[JOINT["right shoulder"], 0]
    thigh = np.linalg.norm(joints[JOINT["left knee"]] - joints[JOINT["left hip"]])
    shank = np.linalg.norm(joints[JOINT["left ankle"]] - joints[JOINT["left knee"]])
    assert thigh + shank == pytest.approx((body.leg - 0.042) * body.stature, abs=1e-9)
    assert shank / (thigh + shank) == pytest.approx(body.shank, abs=1e-9)


def test_hands_go_where_they_are_told_whatever_the_body():
    for seed in range(5):
        body = draw_body(np.random.default_rng(seed), 1.0)
        arm = 0.332 * body.arm_scale * body.stature
        channels = rest(spine=0.0, hand_r=(0.2, 0.3, 0.6), hand_l=(-0.3, -0.1, 0.6))
        joints = pose(channels, body)[0]
        reached = (joints[JOINT["right wrist"]] - joints[JOINT["right shoulder"]]) / arm
        np.testing.assert_allclose(reached, (-0.2, 0.3, 0.6), atol=0.02)
        assert joints[JOINT["left wrist"], 0] == pytest.approx(joints[JOINT["spine shoulder"], 0], abs=0.01)


def test_elbows_go_along_smoothly():
    turns = np.linspace(0, 2 * np.pi, 400)
    channels = rest(len(turns), spine=0.0)
    channels[:, columns("hand_r")] = np.stack([np.full(400, 0.3), 0.8 * np.cos(turns), 0.8 * np.sin(turns)], axis=1)
    joints = pose(channels, draw_body(np.random.default_rng(1), 1.0))
    assert np.abs(np.diff(joints[:, JOINT["right elbow"]], axis=0)).max() < 0.02


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"style": -1.0}, "acting: style must be between 0 and 10, got -1.0"),
        ({"left": 1.5}, "acting: left must be between 0 and 1, got 1.5"),
        ({"view": float("nan")}, "acting: view must be between 0 and 180, got nan"),
        ({"noise": 5.0}, "acting: noise must be between 0 and 0.1, got 5.0"),
    ],
)
def test_bad_settings(changed, message):
    with pytest.raises(DataError, match=message):
        Acting(**changed)


def test_unknown_subjects_and_classes(clean):
    with pytest.raises(DataError, match="unknown subject 41: actors are 1 to 40"):
        clean.clip(41, "bow", 1)
    with pytest.raises(DataError, match="unknown subject 0"):
        clean.body(0)
    with pytest.raises(DataError, match="unknown action 'fly': expected one of drink water, pick up"):
        clean.clip(1, "fly", 1)
