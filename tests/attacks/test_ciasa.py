"""CIASA: bones, bounds and masks hold; its discriminators learn, and their gradient reaches the movement."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from gaitkeeper.attacks.ciasa import CIASA, Discriminators, Implausibility, hierarchy
from gaitkeeper.attacks.goals import Nontargeted, Targeted
from gaitkeeper.attacks.joints import carried
from gaitkeeper.errors import DataError
from gaitkeeper.models.victim import Victim
from gaitkeeper.motion import kinematics
from gaitkeeper.motion.motion import SILHOUETTES, Motion, skeletons
from gaitkeeper.motion.skeletons import HDM05_25, HDM05_25_RETARGETED, NTU_25, UCLA_20
from gaitkeeper.seeding import SampleStreams
from tests.attacks.bodies import FRAMES, Bent, labels_of, moving, recognizer

QUICK = CIASA(steps=40, step_size=1e-2, near=0.1, far=0.3, alpha=1.0)


def streams(n, seed=0):
    return SampleStreams(seed, range(n))


def attacked(attack, layout, motion, *, targeted=True, victim=None):
    victim = recognizer(layout) if victim is None else victim
    labels = labels_of(victim, motion)
    goal = Targeted(targets=(labels + 1) % 4) if targeted else Nontargeted(labels=labels)
    return goal, attack(victim, motion, goal, streams=streams(len(motion)))


@pytest.mark.parametrize("layout", [NTU_25, HDM05_25, HDM05_25_RETARGETED], ids=lambda layout: layout.name)
def test_it_reaches_its_targets_with_bones_bounds_and_absence_kept(layout):
    motion = moving(layout, 4, persons=2)
    motion.data[1, :, :, :, 1] = 0
    motion.data[2, :, FRAMES // 2 :, :, 1] = 0
    before, state = motion.data.clone(), torch.get_rng_state()
    victim = recognizer(layout)
    attack = replace(QUICK, far=0.4)
    goal, done = attacked(attack, layout, motion, victim=victim)
    assert torch.equal(motion.data, before)
    assert torch.equal(torch.get_rng_state(), state)
    assert done.success.sum() >= 3
    with torch.no_grad():
        fresh = victim(done.motion)
    assert torch.equal(goal.success(fresh), done.success)
    clean, moved = (kinematics.to_joints(x.data) for x in (motion, done.motion))
    lengths = kinematics.bone_lengths(clean, layout)
    torch.testing.assert_close(kinematics.bone_lengths(moved, layout), lengths, rtol=1e-5, atol=2e-6)
    radii = torch.tensor(hierarchy(layout, attack.near, attack.far))
    assert ((moved - clean).norm(dim=-1) <= radii + 1e-5).all()
    assert (moved[..., layout.root, :] == clean[..., layout.root, :]).all()
    for group in layout.coincident:
        assert (moved[..., list(group), :] - moved[..., group[0], None, :]).abs().max() < 1e-6
    absent = clean.ne(0).any(4).any(3) == 0
    assert absent.any()
    assert (moved[absent] == 0).all()


def test_untargeted_as_an_extension():
    motion = moving(UCLA_20, 4)
    goal, done = attacked(QUICK, UCLA_20, motion, targeted=False)
    assert done.success.sum() >= 3
    seen = labels_of(recognizer(UCLA_20), done.motion)
    assert torch.equal(seen != goal.labels, done.success)


def test_localized_attacks_move_the_chosen_joints_and_what_they_carry():
    motion, arm = moving(UCLA_20, 4), (UCLA_20.index("left elbow"),)
    _, done = attacked(replace(QUICK, steps=10, joints=arm), UCLA_20, motion, targeted=False)
    moved = (done.motion.data - motion.data).abs().amax((0, 1, 2, 4))
    follow = set(carried(arm, UCLA_20))
    assert {UCLA_20.index("left wrist"), UCLA_20.index("left hand")} < follow
    for joint in range(len(UCLA_20)):
        assert (moved[joint] > 1e-4) == (joint in follow)


@pytest.mark.parametrize("padded", [False, True])
def test_batch_and_padding_change_nothing(padded):
    motion = moving(HDM05_25, 4)
    # Of the whole clips in double precision, in which rounding differs from batch to batch by less than steps do.
    motion = motion.with_data(motion.data.double())
    if padded:
        lengths = torch.tensor([FRAMES, FRAMES - 3, FRAMES, FRAMES - 5])
        data = motion.data.clone()
        for row, length in zip(data, lengths, strict=True):
            row[:, length:] = 0
        motion = Motion(data=data, lengths=lengths, extras=motion.extras)
    victim = Victim(Bent(25).double(), skeletons(HDM05_25), output="logits")
    attack = CIASA(steps=12, step_size=5e-3, far=0.3, beta=1.0)
    goal, whole = attacked(attack, HDM05_25, motion, victim=victim)
    for i in reversed(range(4)):
        alone = motion.select([i])
        if padded:
            length = int(alone.lengths[0])
            alone = replace(alone, data=alone.data[:, :, :length], lengths=None)
        done = attack(victim, alone, goal.select([i]), streams=SampleStreams(0, [i]))
        frames = done.motion.data.shape[2]
        torch.testing.assert_close(done.motion.data[0], whole.motion.data[i, :, :frames], rtol=0, atol=1e-6)
        assert (whole.motion.data[i, :, frames:] == 0).all()
        assert done.success[0] == whole.success[i]


def test_the_discriminators_gradient_reaches_the_movement():
    for layout in (UCLA_20, HDM05_25_RETARGETED):
        motion = moving(layout, 3)
        judges = Discriminators(motion, skeletons(layout), hidden=8, learning_rate=1e-2, streams=streams(3))
        leaf = motion.data.clone().requires_grad_()
        loss = judges.loss(motion.with_data(leaf), torch.arange(3))
        (gradient,) = torch.autograd.grad(loss.sum(), leaf)
        assert gradient.isfinite().all()
        assert (gradient.flatten(1).norm(dim=1) > 1e-3).all()
        # It is that of the loss, not of something detached on the way.
        downhill = gradient / gradient.flatten(1).norm(dim=1)[:, None, None, None, None]
        step = motion.with_data(motion.data - 1e-3 * downhill)
        assert (judges.loss(step, torch.arange(3)) < loss).all()


def test_a_discriminator_sees_angles_only():
    motion = moving(UCLA_20, 2)
    judges = Discriminators(motion, skeletons(UCLA_20), hidden=8, learning_rate=1e-2, streams=streams(2))
    everyone = torch.arange(2)
    torch.testing.assert_close(
        judges.real(motion.with_data(1.7 * motion.data + 0.3), everyone), judges.real(motion, everyone),
        rtol=1e-3, atol=1e-3,
    )  # fmt: skip


def test_a_discriminator_learns_to_tell_an_implausible_clip():
    motion = moving(HDM05_25, 3, persons=2)
    motion.data[0, :, :, :, 1] = 0
    noise = 0.3 * torch.randn(motion.data.shape, generator=torch.Generator().manual_seed(9))
    broken = motion.with_data(motion.data + noise * motion.data.ne(0))
    judges = Discriminators(motion, skeletons(HDM05_25), hidden=8, learning_rate=1e-2, streams=streams(3))
    everyone = torch.arange(3)
    for _ in range(60):
        judges.learn(broken, everyone)
    there = motion.data.ne(0).any(3).any(1).permute(0, 2, 1).flatten(1)
    clean, fake = judges.real(motion, everyone), judges.real(broken, everyone)
    assert (clean[there] > 0).float().mean() > 0.95
    assert (fake[there] < 0).float().mean() > 0.95
    assert (judges.loss(broken, everyone) > judges.loss(motion, everyone) + 1).all()
    # A clip that nobody showed it, broken in another way, is no more plausible to it than to the eye.
    other = motion.with_data(motion.data + 0.3 * noise.flip(2) * motion.data.ne(0))
    assert (judges.loss(other, everyone) > judges.loss(motion, everyone)).all()


def test_discriminators_of_one_clip_do_not_see_another():
    motion = moving(UCLA_20, 3)
    changed = motion.with_data(motion.data + 0.1 * motion.data.roll(1, 3))
    made = {"together": Discriminators(motion, skeletons(UCLA_20), hidden=4, learning_rate=1e-2, streams=streams(3))}
    alone = Discriminators(
        motion.select([1]), skeletons(UCLA_20), hidden=4, learning_rate=1e-2, streams=SampleStreams(0, [1])
    )
    for step in range(10):
        left = torch.arange(3) if step < 5 else torch.tensor([1, 2])
        made["together"].learn(changed.select(left), left)
        alone.learn(changed.select([1]), torch.tensor([0]))
    both = made["together"].real(changed.select([1]), torch.tensor([1]))
    torch.testing.assert_close(both, alone.real(changed.select([1]), torch.tensor([0])), rtol=1e-4, atol=1e-4)


def test_closed_values_of_the_cost():
    still = moving(UCLA_20, 2)
    data = still.data[:, :, :1].repeat(1, 1, 6, 1, 1)
    time = torch.arange(6.0)[None, None, :, None, None]
    falling = Motion(data=data + 0.5 * 0.01 * time**2 * torch.tensor([0.0, 1, 0])[None, :, None, None, None])
    everyone, domain = torch.arange(2), skeletons(UCLA_20)
    cost = Implausibility(falling, domain, alpha=2.0, smooth="motion")
    # Four second differences of 0.01 m a frame squared, 20 joints.
    torch.testing.assert_close(cost(falling, everyone), torch.full((2,), 2.0 * 4 * 20 * 1e-4), rtol=1e-3, atol=0)
    changes = Implausibility(falling, domain, alpha=2.0, smooth="change")
    assert (changes(falling, everyone) == 0).all()
    moved = falling.with_data(falling.data + torch.tensor([0.03, 0, 0.04])[None, :, None, None, None])
    assert (changes(moved, everyone) < 1e-9).all()
    torch.testing.assert_close(changes.rank(moved, everyone, torch.zeros(2)), torch.full((2,), 0.05))


def test_who_comes_or_goes_does_not_accelerate():
    motion = moving(UCLA_20, 1, persons=2)
    motion.data[0, :, 5:, :, 1] = 0
    first = Implausibility(motion, skeletons(UCLA_20), smooth="motion")(motion, torch.arange(1))
    apart = [
        Motion(data=motion.data[..., :1]),
        Motion(data=motion.data[:, :, :5, :, 1:]),
    ]
    parts = [Implausibility(part, skeletons(UCLA_20), smooth="motion")(part, torch.arange(1)) for part in apart]
    torch.testing.assert_close(first, sum(parts))


def test_one_step_of_the_discriminators_every_so_many():
    motion = moving(UCLA_20, 2)
    judges = Discriminators(motion, skeletons(UCLA_20), hidden=4, learning_rate=1e-2, streams=streams(2))
    cost = Implausibility(motion, skeletons(UCLA_20), judges, every=3)
    changed, everyone = motion.with_data(motion.data * 1.1 + 0.1 * motion.data.roll(1, 3)), torch.arange(2)
    before = [judges.real(changed, everyone)]
    for _ in range(6):
        cost.after_step(changed, everyone)
        before.append(judges.real(changed, everyone))
    learned = [not torch.equal(one, other) for one, other in pairwise(before)]
    assert learned == [False, False, True, False, False, True]


def test_a_random_direction_of_the_same_steps_is_weaker():
    motion = moving(UCLA_20, 6)
    attack = replace(QUICK, steps=20)
    _, done = attacked(attack, UCLA_20, motion)
    _, control = attacked(replace(attack, directions="random"), UCLA_20, motion)
    assert control.success.sum() < done.success.sum()


def test_bounds_grow_with_the_bones_to_the_root():
    radii = hierarchy(UCLA_20, 0.02, 0.1)
    depth = {"hip center": 0, "spine": 1, "left knee": 2, "left hand": 6}
    for name, bones in depth.items():
        assert radii[UCLA_20.index(name)] == pytest.approx(0.02 + 0.08 * bones / 6)
    tied = hierarchy(HDM05_25_RETARGETED, 0.02, 0.1)
    for group in HDM05_25_RETARGETED.coincident:
        assert len({round(tied[joint], 9) for joint in group}) == 1


def test_wrong_settings_and_victims_are_refused():
    with pytest.raises(ValueError, match="0 <= near <= far"):
        CIASA(near=0.2, far=0.1)
    with pytest.raises(ValueError, match="every and hidden"):
        CIASA(every=0)
    motion = moving(UCLA_20, 2)
    silhouettes = Victim(Bent(20), SILHOUETTES, output="logits")
    goal = Targeted(targets=torch.zeros(2, dtype=torch.long))
    with pytest.raises(DataError, match="skeletons"):
        CIASA()(silhouettes, motion, goal, streams=streams(2))
    with pytest.raises(DataError, match="v=25"):
        CIASA()(recognizer(NTU_25), motion, goal, streams=streams(2))
    short = Motion(data=motion.data[:, :, :2])
    with pytest.raises(DataError, match="needs 3 frames, got 2"):
        CIASA()(recognizer(UCLA_20), short, goal, streams=streams(2))
