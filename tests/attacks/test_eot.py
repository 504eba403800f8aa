"""Expectation over transformations: what a draw does, whom it depends on, and what it is good for."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from gaitkeeper.attacks.eot import Crop, Expected, Noise, Positions, Yaw
from gaitkeeper.attacks.goals import Nontargeted
from gaitkeeper.attacks.gradient import MIFGSM, PGD
from gaitkeeper.attacks.threats import Joints
from gaitkeeper.errors import DataError
from gaitkeeper.models.actions.sgn import SGN, sample
from gaitkeeper.models.victim import Victim
from gaitkeeper.motion.motion import Motion, skeletons
from gaitkeeper.motion.skeletons import UCLA_20
from gaitkeeper.seeding import SampleStreams

FRAMES = 8
DOMAIN = skeletons(UCLA_20)
RANDOMIZATIONS = {"noise": Noise(sigma=0.05), "yaw": Yaw(angle=0.5), "crop": Crop(least=0.5)}


class Linear(nn.Module):
    def __init__(self, classes=3):
        super().__init__()
        shape = (classes, 3, FRAMES, len(UCLA_20), 2)
        self.weight = nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(1)))

    def forward(self, x):
        return torch.einsum("nctvm,kctvm->nk", x, self.weight[:, :, : x.shape[2]])


@pytest.fixture
def victim():
    return Victim(Linear(), DOMAIN, output="logits", classes=("a", "b", "c"))


def clips(n=4):
    """Two persons, the second of them absent in the second half of odd clips."""
    data = torch.randn(n, 3, FRAMES, len(UCLA_20), 2, generator=torch.Generator().manual_seed(0))
    data[1::2, :, FRAMES // 2 :, :, 1] = 0
    return Motion(data=data, extras={"fps": torch.full((n,), 30.0)})


def streams(n, seed=0):
    return SampleStreams(seed, range(n))


def test_each_draw_is_the_victim_on_one_randomized_movement(victim):
    seen = []

    def randomize(motion, rng):
        seen.append(Noise(sigma=0.1)(motion, rng))
        return seen[-1]

    motion = clips()
    outputs = Expected(victim, randomize, draws=5)(motion)
    assert outputs.logits.shape == (4, 5, 3)
    assert outputs.decided.shape == (4, 5)
    assert outputs.decided.all()
    torch.testing.assert_close(outputs.logits.flatten(0, 1), victim(seen[0]).logits)
    mean = Expected(victim, Noise(sigma=0.1), draws=5, judge="mean")(motion).decisions()[0]
    torch.testing.assert_close(mean.exp(), outputs.logits.softmax(2).mean(1, keepdim=True))


@pytest.mark.parametrize("name", RANDOMIZATIONS)
def test_draws_are_the_movements_own(victim, name):
    motion, expected = clips(), Expected(victim, RANDOMIZATIONS[name], draws=4)
    logits = expected(motion).logits
    before = torch.get_rng_state()
    assert torch.equal(expected(motion).logits, logits)
    assert torch.equal(torch.get_rng_state(), before)
    for i in range(4):
        torch.testing.assert_close(expected(motion.select([i])).logits[0], logits[i])
    torch.testing.assert_close(expected(motion.select([2, 0])).logits, logits[[2, 0]])
    # Rounding, as another batch size brings it, does not draw anew; a step of an attack does.
    rounded = motion.with_data(motion.data * (1 + 1e-7))
    torch.testing.assert_close(expected(rounded).logits, logits, rtol=0, atol=1e-3)
    other = Expected(victim, RANDOMIZATIONS[name], draws=4, seed=1)(motion).logits
    moved = expected(motion.with_data(motion.data + 1e-3 * motion.data.sign())).logits
    for anew in (other, moved):
        assert ((anew - logits).abs().amax(2) > 0.05).float().mean() > 0.9
    spread = logits.std(1)
    assert (spread > 0.01).all()


@pytest.mark.parametrize("name", RANDOMIZATIONS)
def test_padding_neither_changes_nor_is_changed(name):
    randomize, motion = RANDOMIZATIONS[name], clips()
    lengths = torch.tensor([FRAMES, 5, 6, FRAMES])
    short = torch.arange(FRAMES)[None, None, :, None, None] < lengths[:, None, None, None, None]
    padded = Motion(data=motion.data * short, lengths=lengths, extras=motion.extras)
    done = randomize(padded, streams(4).within(lengths.tolist(), 1))
    assert (done.data[~short.expand_as(done.data)] == 0).all()
    if name != "crop":
        assert torch.equal(done.data == 0, padded.data == 0)
    alone = padded.select([1])
    alone = replace(alone, data=alone.data[:, :, :5], lengths=None)
    again = randomize(alone, SampleStreams(0, [1]))
    torch.testing.assert_close(done.data[1, :, :5], again.data[0])
    assert not torch.equal(done.data[1], padded.data[1])


@pytest.mark.parametrize("name", RANDOMIZATIONS)
def test_gradients_go_through(name):
    data = clips(1).data.double()[:, :, :3, :4].repeat(1, 1, 1, 5, 1)
    randomize = RANDOMIZATIONS[name]
    moving = data[:, :, 1:2, :2].clone().requires_grad_()

    def randomized(part):
        whole = data.clone()
        whole[:, :, 1:2, :2] = part
        return randomize(Motion(data=whole), streams(1)).data

    assert torch.autograd.gradcheck(randomized, (moving,))


def test_noise_has_its_deviation_and_no_more_bodies():
    motion = clips(40)
    added = Noise(sigma=0.02)(motion, streams(40)).data - motion.data
    present = motion.data.ne(0).any(3, keepdim=True).any(1, keepdim=True).expand_as(added)
    assert (added[~present] == 0).all()
    assert added[present].std() == pytest.approx(0.02, rel=0.02)
    assert abs(added[present].mean()) < 1e-3


def test_yaw_turns_about_the_vertical():
    motion = clips(50)
    done = Yaw(angle=0.5, up=1)(motion, streams(50)).data
    torch.testing.assert_close(done[:, 1], motion.data[:, 1], rtol=0, atol=0)
    torch.testing.assert_close(done.norm(dim=1), motion.data.norm(dim=1))
    before, after = (torch.complex(x[:, 0], x[:, 2])[:, 0, 0, 0] for x in (motion.data, done))
    turned = (after / before).angle()
    assert turned.abs().max() <= 0.5 + 1e-5
    assert turned.max() > 0.4
    assert turned.min() < -0.4
    level = Yaw(angle=0.5, up=2)(motion, streams(50)).data
    torch.testing.assert_close(level[:, 2], motion.data[:, 2], rtol=0, atol=0)


def test_a_crop_is_a_slower_stretch_of_the_clip():
    time = torch.arange(FRAMES, dtype=torch.float32)[None, None, :, None, None] + 1
    slope = clips().data[:, :, :1].clone()
    slope[slope == 0] = 1
    motion = Motion(data=slope * time, extras={"fps": torch.full((4,), 30.0)}, fps=30.0)
    done = Crop(least=0.5)(motion, streams(4))
    speed = (done.data.diff(dim=2) / slope).flatten(1)
    share = speed.mean(1)
    torch.testing.assert_close(speed, share[:, None].expand_as(speed), rtol=1e-3, atol=1e-3)
    assert ((share >= 0.5) & (share < 1)).all()
    torch.testing.assert_close(done.extras["fps"], 30 / share, rtol=1e-3, atol=0)
    assert done.fps is None
    first = (done.data / slope)[:, 0, 0, 0, 0]
    assert ((first >= 1) & (first + share * (FRAMES - 1) <= FRAMES + 1e-4)).all()
    whole = Crop(least=1.0)(motion, streams(4))
    torch.testing.assert_close(whole.data, motion.data)


def test_a_crop_never_mixes_somebody_with_nobody():
    motion = clips(20)
    motion.data[..., 1] = motion.data[..., 1].sign() * 5
    done = Crop(least=0.5)(motion, streams(20)).data[..., 1]
    present = done.ne(0).any(3).any(1)
    assert ((done.permute(0, 2, 1, 3)[present].abs() - 5).abs().amin() < 1e-4).all()
    partly = done[1::2].abs().amax(3).amax(1)
    assert ((partly < 1e-6) | (partly > 4.99)).all()


def sgn_victim(frames=4):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = SGN(classes=3, joints=len(UCLA_20), frames=frames, width=4)
    return Victim(
        network, DOMAIN, output="logits",
        prepare=lambda m: sample(m, frames=frames, positions=m.extras.get("positions")),
    )  # fmt: skip


def test_positions_choose_the_frames_that_sgn_sees():
    motion = Motion(data=clips().data[..., :1])
    drawn = Positions(frames=4)(motion, streams(4))
    positions = drawn.extras["positions"]
    assert positions.shape == (4, 4)
    expected = torch.from_numpy(np.stack([SampleStreams(0, [i]).uniform((4,))[0] for i in range(4)]))
    assert torch.equal(positions, expected)
    frame = (torch.arange(4) * 2 + (positions * 2).long())[:, :, None]
    stream = motion.data[..., 0].permute(0, 2, 3, 1).flatten(2)
    assert torch.equal(sample(drawn, frames=4, positions=positions)[0], stream.gather(1, frame.expand(-1, -1, 60)))
    victim = sgn_victim()
    logits = Expected(victim, Positions(frames=4), draws=6)(motion).logits
    assert (logits.std(1) > 1e-6).all()
    fixed = victim(motion).logits
    assert not torch.allclose(logits.mean(1), fixed, atol=1e-6)


class Flips(nn.Module):
    """Class 1 wins by what the noise of the first joint leaves of 'bias'."""

    def forward(self, x):
        rival = x[:, 0, 0, 0, 0]
        return torch.stack([torch.zeros_like(rival), 20 * rival], 1)


def test_every_draw_must_win_or_their_mean():
    victim = Victim(Flips(), DOMAIN, output="logits")
    data = clips().data.clone()
    data[:, 0, 0, 0, 0] = torch.tensor([-0.5, 0.05, 0.05, 0.5])
    motion = Motion(data=data)
    goal = Nontargeted(labels=torch.zeros(4, dtype=torch.long))
    every = Expected(victim, Noise(sigma=0.1), draws=50)(motion)
    mean = Expected(victim, Noise(sigma=0.1), draws=50, judge="mean")(motion)
    assert goal.success(every).tolist() == [False, False, False, True]
    assert goal.success(mean).tolist() == [False, True, True, True]
    share = (every.logits.argmax(2) == 1).float().mean(1)
    probability = 0.5 * (1 + math.erf(0.5 / math.sqrt(2)))
    assert share[1:3].mean() == pytest.approx(probability, abs=0.1)
    torch.testing.assert_close(goal.loss(every), -every.logits[:, :, 1].mean(1))


def test_only_what_is_won_through_many_draws_holds_on_new_ones(victim):
    motion = clips(24)
    motion = Motion(data=motion.data)
    labels = victim(motion).logits.argmax(1)
    goal = Nontargeted(labels=labels)
    defense = Noise(sigma=0.3)
    judges = [Expected(victim, defense, draws=40, seed=seed) for seed in (11, 12)]

    def held(attacked):
        return sum((judge(attacked.motion).logits.argmax(2) != labels[:, None]).float().mean() for judge in judges) / 2

    attack, limit = MIFGSM(steps=40), Joints(eps=0.2)
    plain = attack(victim, motion, goal, threat=limit, streams=streams(24))
    through = attack(
        Expected(victim, defense, draws=20), motion, goal, threat=limit, streams=streams(24)
    )  # fmt: skip
    assert plain.success.all()
    assert through.success.all()
    assert held(plain) < 0.8
    assert held(through) > 0.95


def test_attacks_promise_what_they_promise_on_any_victim(victim):
    motion, expected = clips(), Expected(victim, Noise(sigma=0.05), draws=4)
    labels = victim(motion).logits.argmax(1)
    goal = Nontargeted(labels=labels)
    attack, limit = PGD(steps=15), Joints(eps=0.1)
    done = attack(expected, motion, goal, threat=limit, streams=streams(4))
    assert (limit.violation(done.motion.data, motion.data, DOMAIN) < 1e-5).all()
    assert torch.equal(goal.success(expected(done.motion)), done.success)
    for i in range(4):
        alone = attack(expected, motion.select([i]), goal.select([i]), threat=limit, streams=SampleStreams(0, [i]))
        torch.testing.assert_close(alone.motion.data[0], done.motion.data[i], rtol=0, atol=1e-5)
        assert alone.success[0] == done.success[i]


def test_wrong_settings_and_movements_are_refused(victim):
    with pytest.raises(DataError, match="at least 1 draw, got 0"):
        Expected(victim, Noise(sigma=0.1), draws=0)
    for wrong, message in (
        (lambda: Noise(sigma=-1), "sigma >= 0, got -1"),
        (lambda: Yaw(angle=float("nan")), "angle >= 0, got nan"),
        (lambda: Crop(least=0), r"least share in \(0, 1\], got 0"),
        (lambda: Positions(frames=0), "at least 1 frame, got 0"),
    ):
        with pytest.raises(DataError, match=message):
            wrong()
    embeds = Victim(Linear(), DOMAIN)
    with pytest.raises(DataError, match="embeddings"):
        Expected(embeds, Noise(sigma=0.1))(clips())
    with pytest.raises(DataError, match=r"shape \(n, c=3, t, v, m\), got \(2, 5, 64, 44\)"):
        Noise(sigma=0.1)(Motion(data=torch.rand(2, 5, 64, 44)), streams(2))
