"""The attack under constraints: what is measured, how multipliers move, and what is kept."""

from dataclasses import replace

import pytest
import torch

from gaitkeeper.attacks.admm import ADMM, Constraints
from gaitkeeper.attacks.goals import Nontargeted, Targeted
from gaitkeeper.attacks.joints import carried
from gaitkeeper.errors import DataError
from gaitkeeper.models.victim import Victim
from gaitkeeper.motion import kinematics
from gaitkeeper.motion.motion import SILHOUETTES, Motion, skeletons
from gaitkeeper.motion.skeletons import HDM05_25, HDM05_25_RETARGETED, KINETICS_18, NTU_25, UCLA_20
from gaitkeeper.seeding import SampleStreams
from tests.attacks.bodies import FRAMES, Bent, labels_of, moving, recognizer

DOMAIN = skeletons(UCLA_20)
WIDE = ADMM(rounds=8, inner=8, penalty=10.0, step_size=1e-2, bone=0.1, angle=0.4, speed=0.5)


def streams(n, seed=0):
    return SampleStreams(seed, range(n))


def everyone(motion):
    return torch.arange(len(motion))


def turned(joints, layout, joint, angle):
    """Turn all that one joint carries about an axis through it, at right angles to its first bone and its carrier."""
    parent = layout.parents[joint]
    follow = [j for j in carried((joint,), layout) if j != joint]
    first = next(b for a, b in layout.bones if a == joint)
    one, other = joints[..., parent, :] - joints[..., joint, :], joints[..., first, :] - joints[..., joint, :]
    axis = torch.nn.functional.normalize(torch.linalg.cross(one, other), dim=-1)
    moved, turn = joints.clone(), torch.tensor(angle)
    for j in follow:
        arm = joints[..., j, :] - joints[..., joint, :]
        along = (arm * axis).sum(-1, keepdim=True) * axis
        across = torch.linalg.cross(axis, arm)
        moved[..., j, :] = joints[..., joint, :] + along + turn.cos() * (arm - along) + turn.sin() * across
    return moved


def test_nothing_has_changed_in_the_clean_clip():
    for layout in (HDM05_25_RETARGETED, NTU_25):
        motion = moving(layout, 3, persons=2)
        motion.data[1, :, :, :, 1] = 0
        for angles in ("exact", "estimate"):
            cost = Constraints(ADMM(angles=angles), motion, skeletons(layout))
            leaf = motion.data.clone().requires_grad_()
            changes = cost.changes(motion.with_data(leaf), everyone(motion))
            assert all((change < 1e-5).all() for change in changes.values())
            total = cost(motion.with_data(leaf), everyone(motion))
            assert (total == 0).all()
            (gradient,) = torch.autograd.grad(sum(change.sum() for change in changes.values()), leaf)
            assert gradient.isfinite().all()
            found = cost.violations(motion)
            assert found["feasible"].tolist() == [1, 1, 1]
            assert all((found[f"{name}_violations"] == 0).all() for name in ("bone", "angle", "speed"))


def test_a_stretched_bone():
    motion = moving(UCLA_20, 2)
    joint = UCLA_20.index("left hand")
    data = motion.data.clone()
    data[:, :, :, joint] += 0.03 * (data[:, :, :, joint] - data[:, :, :, UCLA_20.parents[joint]])
    cost = Constraints(ADMM(bone=0.01), motion, DOMAIN)
    change = cost.changes(motion.with_data(data), everyone(motion))["bone"]
    bone = UCLA_20.bones.index((UCLA_20.parents[joint], joint))
    torch.testing.assert_close(change[..., bone], torch.full_like(change[..., bone], 0.03), rtol=1e-3, atol=0)
    assert change.sum(-1).max() < 0.031
    found = cost.violations(motion.with_data(data))
    torch.testing.assert_close(found["bone_violations"], torch.full((2,), 1 / len(UCLA_20.bones)))
    assert found["feasible"].tolist() == [0, 0]


def test_a_turned_limb():
    motion = moving(UCLA_20, 2)
    elbow = UCLA_20.index("left elbow")
    joints = turned(kinematics.to_joints(motion.data), UCLA_20, elbow, 0.2)
    rendered = motion.with_data(kinematics.to_network(joints))
    exact = Constraints(ADMM(), motion, DOMAIN).changes(rendered, everyone(motion))
    at = [number for number, (_, joint, _) in enumerate(UCLA_20.angles) if joint == elbow]
    before = kinematics.joint_angles(kinematics.to_joints(motion.data), UCLA_20)[..., at]
    # An arm that is turned past straight or folded has another angle on the other side.
    inside = (before > 0.3) & (before < 2.8)
    found = exact["angle"][..., at][inside]
    assert len(found) > 5
    torch.testing.assert_close(found, torch.full_like(found, 0.2), rtol=1e-2, atol=1e-3)
    others = [number for number in range(len(UCLA_20.angles)) if number not in at]
    assert exact["angle"][..., others].max() < 1e-3
    assert exact["bone"].max() < 1e-4


def test_the_estimate_of_an_angle_is_from_above():
    motion = moving(HDM05_25, 3)
    noise = 0.01 * torch.randn(motion.data.shape, generator=torch.Generator().manual_seed(0))
    rendered = motion.with_data(motion.data + noise)
    exact, estimate = (
        Constraints(ADMM(angles=kind), motion, skeletons(HDM05_25)).changes(rendered, everyone(motion))["angle"]
        for kind in ("exact", "estimate")
    )
    # An arc is longer than its chord: small displacements only.
    small = estimate < 0.2
    assert small.any()
    assert (exact[small] <= estimate[small] * 1.05 + 1e-4).all()


@pytest.mark.parametrize("fps", [30.0, 120.0])
def test_a_changed_velocity(fps):
    motion = moving(UCLA_20, 1)
    motion = replace(motion, extras={"fps": torch.tensor([fps])})
    drift = 0.001 * torch.arange(FRAMES)[None, None, :, None, None] * torch.tensor([1.0, 0, 0]).reshape(1, 3, 1, 1, 1)
    cost = Constraints(ADMM(rest=0.1), motion, DOMAIN)
    change = cost.changes(motion.with_data(motion.data + drift), everyone(motion))["speed"]
    velocity = kinematics.to_joints(motion.data).diff(dim=2) * fps
    torch.testing.assert_close(change, 0.001 * fps / (velocity.norm(dim=-1) + 0.1), rtol=2e-2, atol=1e-4)
    root = change[..., UCLA_20.distinct.index(UCLA_20.root)]
    torch.testing.assert_close(root, torch.full_like(root, 0.001 * fps / 0.1), rtol=1e-2, atol=0)


def test_the_lagrangian_and_its_multipliers():
    motion = moving(UCLA_20, 1)
    settings = ADMM(inner=2, penalty=3.0, tighten=1.0, bone=0.01, angle=9.0, speed=900.0)
    cost, index = Constraints(settings, motion, DOMAIN), everyone(motion)
    stretched = motion.with_data(motion.data * 1.03)
    count = FRAMES * len(UCLA_20.bones)
    assert cost(stretched, index).item() == pytest.approx(count * 3.0 * 0.02**2 / 2, rel=1e-3)
    cost.after_step(stretched, index)
    assert cost(motion, index).item() == 0
    cost.after_step(stretched, index)
    raised = 3.0 * 0.02
    expected = count * ((raised + 3.0 * 0.02) ** 2 - raised**2) / (2 * 3.0)
    assert cost(stretched, index).item() == pytest.approx(expected, rel=1e-3)
    # Within the bound multipliers fall, but not below zero.
    slack = count * ((raised - 3.0 * 0.01) ** 2 - raised**2) / (2 * 3.0)
    assert cost(motion, index).item() == pytest.approx(slack, rel=1e-3)
    for _ in range(2 * 3):
        cost.after_step(motion, index)
    assert cost(motion, index).item() == 0
    assert cost(stretched, index).item() == pytest.approx(count * 3.0 * 0.02**2 / 2, rel=1e-3)


def test_gradients_of_the_lagrangian():
    motion = moving(UCLA_20, 1, frames=3)
    motion = motion.with_data(motion.data.double())
    for angles in ("exact", "estimate"):
        settings = ADMM(inner=1, bone=0.001, angle=0.001, speed=0.001, angles=angles)
        cost = Constraints(settings, motion, DOMAIN)
        noise = 0.03 * torch.randn(motion.data.shape, generator=torch.Generator().manual_seed(2)).double()
        cost.after_step(motion.with_data(motion.data + noise), everyone(motion))
        moved = motion.data + noise.flip(3)
        part = moved[:, :, 1:2, 3:6].clone().requires_grad_()

        def total(part, cost=cost, moved=moved):
            whole = moved.clone()
            whole[:, :, 1:2, 3:6] = part
            return cost(motion.with_data(whole), everyone(motion))

        assert torch.autograd.gradcheck(total, (part,))


def test_what_is_feasible_ranks_first_and_then_what_is_near():
    motion = moving(UCLA_20, 1)
    cost, index = Constraints(ADMM(), motion, DOMAIN), everyone(motion)
    shift = torch.tensor([0.3, 0, 0.4]).reshape(1, 3, 1, 1, 1)
    tried = [motion.data, motion.data + shift, motion.data * 1.02, motion.data * 1.2]
    ranks = [cost.rank(motion.with_data(data), index, torch.zeros(1)).item() for data in tried]
    assert ranks[:2] == pytest.approx([0, 0.5], abs=1e-4)
    assert ranks == sorted(ranks)
    assert ranks[2] > 50


@pytest.mark.parametrize("layout", [HDM05_25_RETARGETED, NTU_25], ids=lambda layout: layout.name)
def test_what_it_calls_feasible_is(layout):
    motion = moving(layout, 4, persons=2)
    motion.data[1, :, :, :, 1] = 0
    victim, before = recognizer(layout), motion.data.clone()
    labels = labels_of(victim, motion)
    goal = Nontargeted(labels=labels)
    done = WIDE(victim, motion, goal, streams=streams(4))
    assert torch.equal(motion.data, before)
    won = done.success & (done.distances["feasible"] == 1)
    assert won.sum() >= 2
    with torch.no_grad():
        assert torch.equal(goal.success(victim(done.motion)), done.success)
    clean, moved = (kinematics.to_joints(x.data)[won] for x in (motion, done.motion))
    lengths = kinematics.bone_lengths(clean, layout)
    long = lengths > kinematics.POINT
    stretch = (kinematics.bone_lengths(moved, layout) - lengths).abs() / lengths.clamp_min(1e-6)
    assert stretch[long].max() <= WIDE.bone + 1e-4
    angles = (kinematics.joint_angles(moved, layout) - kinematics.joint_angles(clean, layout)).abs()
    assert angles.max() <= WIDE.angle + 1e-4
    assert stretch[long].max() > 1e-3
    absent = clean.ne(0).any(4).any(3) == 0
    assert (moved[absent] == 0).all()
    assert (moved[..., layout.root, :] == clean[..., layout.root, :]).all()
    for group in layout.coincident:
        assert (moved[..., list(group), :] - moved[..., group[0], None, :]).abs().max() < 1e-6


def test_bones_can_be_kept_altogether():
    motion = moving(HDM05_25, 2)
    victim = recognizer(HDM05_25)
    goal = Nontargeted(labels=labels_of(victim, motion))
    done = replace(WIDE, bones="exact")(victim, motion, goal, streams=streams(2))
    assert done.success.any()
    assert (done.distances["joints"] > 1e-3).all()
    lengths = [kinematics.bone_lengths(kinematics.to_joints(x.data), HDM05_25) for x in (motion, done.motion)]
    torch.testing.assert_close(lengths[1], lengths[0], rtol=1e-5, atol=2e-6)


def test_wider_bounds_win_more_and_no_bound_wins_all():
    motion = moving(UCLA_20, 6)
    victim = recognizer(UCLA_20)
    goal = Targeted(targets=(labels_of(victim, motion) + 1) % 4)
    wins = []
    for factor in (0.01, 1.0, 100.0):
        bounds = replace(WIDE, bone=0.1 * factor, angle=0.4 * factor, speed=0.5 * factor)
        done = bounds(victim, motion, goal, streams=streams(6))
        wins.append(int((done.success & (done.distances["feasible"] == 1)).sum()))
    assert wins == sorted(wins)
    assert wins[0] == 0
    assert wins[2] == 6
    control = replace(WIDE, directions="random")(victim, motion, goal, streams=streams(6))
    assert int((control.success & (control.distances["feasible"] == 1)).sum()) < wins[1]


@pytest.mark.parametrize("padded", [False, True])
def test_batch_and_padding_change_nothing(padded):
    motion = moving(HDM05_25, 3)
    motion = motion.with_data(motion.data.double())
    if padded:
        lengths = torch.tensor([FRAMES, FRAMES - 3, FRAMES - 5])
        data = motion.data.clone()
        for row, length in zip(data, lengths, strict=True):
            row[:, length:] = 0
        motion = Motion(data=data, lengths=lengths, extras=motion.extras)
    victim = Victim(Bent(25).double(), skeletons(HDM05_25), output="logits")
    goal = Nontargeted(labels=labels_of(victim, motion))
    attack = replace(WIDE, rounds=4, inner=4)
    whole = attack(victim, motion, goal, streams=streams(3))
    for i in reversed(range(3)):
        alone = motion.select([i])
        if padded:
            alone = replace(alone, data=alone.data[:, :, : int(alone.lengths[0])], lengths=None)
        done = attack(victim, alone, goal.select([i]), streams=SampleStreams(0, [i]))
        frames = done.motion.data.shape[2]
        torch.testing.assert_close(done.motion.data[0], whole.motion.data[i, :, :frames], rtol=0, atol=1e-6)
        assert (whole.motion.data[i, :, frames:] == 0).all()
        for name in ("feasible", "bone_violations", "angle_violations", "speed_violations"):
            torch.testing.assert_close(done.distances[name][0], whole.distances[name][i])


def test_published_settings():
    published = ADMM.published()
    assert (published.rounds, published.inner, published.step_size) == (100, 10, 1e-3)
    assert (published.bone, published.angle, published.speed) == (0.01, 0.1, 0.1)
    assert published.angles == "estimate"
    assert published.rest == pytest.approx(0.003)


def test_wrong_settings_and_victims_are_refused():
    with pytest.raises(ValueError, match="rounds and inner >= 1, got 0 and 10"):
        ADMM(rounds=0)
    with pytest.raises(ValueError, match="positive bounds"):
        ADMM(bone=0)
    with pytest.raises(ValueError, match="tighten"):
        ADMM(tighten=1.5)
    motion, goal = moving(UCLA_20, 2), Nontargeted(labels=torch.zeros(2, dtype=torch.long))
    with pytest.raises(DataError, match="expected a domain of skeletons"):
        ADMM()(Victim(Bent(20), SILHOUETTES, output="logits"), motion, goal, streams=streams(2))
    with pytest.raises(DataError, match="picture"):
        ADMM()(recognizer(KINETICS_18), motion, goal, streams=streams(2))
    with pytest.raises(DataError, match="needs 2 frames, got 1"):
        ADMM()(recognizer(UCLA_20), Motion(data=motion.data[:, :, :1]), goal, streams=streams(2))
