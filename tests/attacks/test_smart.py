from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from gaitkeeper.attacks.adam import AdamPlan, Cost, minimize
from gaitkeeper.attacks.goals import Cosine, Nontargeted, Targeted
from gaitkeeper.attacks.joints import Skeleton
from gaitkeeper.attacks.perceptual import Perceptual
from gaitkeeper.attacks.smart import HDM05_SCALE, Released, Smart, published, specified
from gaitkeeper.attacks.threats import Joints
from gaitkeeper.errors import DataError
from gaitkeeper.models.victim import Outputs, Victim
from gaitkeeper.motion import kinematics
from gaitkeeper.motion.motion import SILHOUETTES, Motion, skeletons
from gaitkeeper.motion.skeletons import HDM05_25, NTU_25
from gaitkeeper.seeding import SampleStreams
from tests.attacks.victims import clips, linear_clips, tangent

POSITION = Perceptual(derivatives=(1.0,), bones=0.0)


def streams(count):
    return SampleStreams(0, range(count))


def best(victim, motion):
    with torch.no_grad():
        return victim(motion).logits.argsort(1, descending=True)


class Curved(nn.Module):
    """A small recognizer that is not linear, in double precision inside."""

    def __init__(self, classes=5):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layers = nn.Sequential(nn.Linear(75, 32), nn.Tanh(), nn.Linear(32, classes)).double()

    def forward(self, data):
        joints = data.double().sum(4).permute(0, 2, 1, 3).flatten(2)
        return 5 * self.layers(joints).mean(1).to(data.dtype)


def curved(classes=5, layout=HDM05_25):
    return Victim(Curved(classes), skeletons(layout), output="logits")


@pytest.mark.parametrize("bones", ["exact", "loss"])
@pytest.mark.parametrize("weighting", ["as it is", "balanced"])
def test_the_smallest_change_on_a_linear_recognizer(bones, weighting):
    """Of changes that keep bones the smallest is along the projection of the weights; of others along the weights."""
    victim, motion = linear_clips(), clips(HDM05_25, count=2)
    weight = (victim.module.weight[0] - victim.module.weight[1]).detach()[..., 0].permute(1, 2, 0)
    smallest = 0.5 if weighting == "as it is" else 0.05
    for i in range(2):
        one = motion.select([i])
        if bones == "exact":
            frames = kinematics.to_joints(one.data)[0, 0].double()
            planes = [tangent(frame, HDM05_25) for frame in frames]
            parts = [plane @ w.flatten().double() for plane, w in zip(planes, weight, strict=True)]
            length = torch.stack(parts).norm().item()
        else:
            moving = weight.clone()
            moving[:, [0, 5, 10]] = 0
            length = moving.norm().item()
        victim.module.lead(one, smallest * length)
        attack = Smart(bones=bones, perceptual=POSITION, kappa=0.01, smooth=0.0)
        if weighting == "balanced":  # the hinge pushes twice as hard as the loss pulls where they meet
            attack = replace(attack, weight=length / smallest / 4, step_size=smallest / 100, steps=150)
        done = attack(victim, one, Nontargeted(labels=torch.zeros(1, dtype=torch.long)), streams=streams(1))
        assert done.success.all()
        assert smallest * 0.98 < done.distances["l2"].item() < smallest * 1.25


def test_the_perceptual_loss_of_a_known_change():
    motion = clips(NTU_25, count=2, frames=6)
    motion = replace(motion, extras={"fps": torch.tensor([10.0, 20.0])})
    domain = skeletons(NTU_25)
    change = torch.zeros_like(motion.data)
    change[:, 0, 2, 3] = 0.1  # the head, in one frame
    moved = motion.with_data(motion.data + change)
    every = torch.arange(2)

    def loss(**weights):
        return Perceptual(**{"bones": 0.0, **weights}).of(motion, domain)(moved, every)

    def expected(one, other=None):
        return torch.tensor([one, one if other is None else other])

    torch.testing.assert_close(loss(derivatives=(1.0,)), expected(0.01))
    torch.testing.assert_close(loss(derivatives=(0.0, 1.0)), expected(0.02))
    torch.testing.assert_close(loss(derivatives=(0.0, 0.0, 1.0)), expected(0.06))
    torch.testing.assert_close(loss(derivatives=(2.0, 0.0, 3.0)), expected(0.02 + 0.18))
    torch.testing.assert_close(loss(derivatives=(0.0, 1.0), time="seconds"), expected(2.0, 8.0))
    torch.testing.assert_close(loss(derivatives=(0.0, 0.0, 1.0), time="seconds"), expected(600.0, 9600.0))
    torch.testing.assert_close(loss(derivatives=(1.0,), joints=tuple(float(j) for j in range(25))), expected(0.03))
    lengths = [kinematics.bone_lengths(kinematics.to_joints(m.data), NTU_25) for m in (motion, moved)]
    stretch = (lengths[1] - lengths[0]).square().flatten(1).sum(1)
    assert (stretch > 1e-5).all()
    torch.testing.assert_close(loss(derivatives=(0.0,), bones=5.0), 5 * stretch)
    printed = Perceptual.printed(alpha=0.25, betas=(0.5, 0.0, 0.5)).of(motion, domain)(moved, every)
    torch.testing.assert_close(printed, 0.125 * (0.01 + expected(600.0, 9600.0)) + 0.75 * stretch / 6)
    swapped = Perceptual().of(motion, domain)(moved.select([1, 0]), torch.tensor([1, 0]))
    torch.testing.assert_close(swapped, Perceptual().of(motion, domain)(moved, every).flip(0))


def test_the_perceptual_loss_does_not_look_across_padding_or_absence():
    motion = clips(NTU_25, persons=2, lengths=torch.tensor([9, 7, 9]))
    domain = skeletons(NTU_25)
    everywhere = 0.1 * (motion.data != 0).any(1, keepdim=True).any(3, keepdim=True)
    moved = motion.with_data(motion.data + everywhere)
    steady = Perceptual(derivatives=(0.0, 1.0, 1.0), bones=1.0).of(motion, domain)(moved, torch.arange(3))
    torch.testing.assert_close(steady, torch.zeros(3), rtol=0, atol=1e-6)


def test_only_what_is_rougher_than_the_original_costs():
    motion = clips(NTU_25, count=2, frames=6)
    cost = Perceptual(derivatives=(0.0,), bones=0.0, rough=2.0).of(motion, skeletons(NTU_25))
    every = torch.arange(2)
    calm = motion.with_data(0.5 * motion.data)
    assert (cost(calm, every) == 0).all()
    clean = torch.diff(motion.data, n=2, dim=2).norm(dim=1).flatten(1).sum(1)
    torch.testing.assert_close(cost(motion.with_data(1.5 * motion.data), every), clean)
    leaf = motion.data.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(cost(motion.with_data(leaf * 1.01), every).sum(), leaf)
    assert torch.isfinite(gradient).all()


def test_coincident_joints_count_once():
    motion = clips(HDM05_25)
    moved = motion.with_data(motion.data + 0.1)
    cost = Perceptual(derivatives=(1.0,), bones=0.0).of(motion, skeletons(HDM05_25))(moved, torch.arange(3))
    torch.testing.assert_close(cost, torch.full((3,), 0.03 * 9 * 23), rtol=1e-4, atol=0)


@pytest.mark.parametrize(("bones", "layout"), [("exact", HDM05_25), ("loss", HDM05_25), ("loss", NTU_25)])
def test_gradients_are_finite_at_no_displacement(bones, layout):
    motion = clips(layout, persons=2)
    variables = Skeleton(domain=skeletons(layout), bones="exact" if bones == "exact" else "free")
    leaf = torch.zeros_like(motion.data, requires_grad=True)
    cost = Perceptual().of(motion, variables.domain)(variables.render(leaf, motion), torch.arange(3))
    assert (cost == 0).all()
    (gradient,) = torch.autograd.grad(cost.sum(), leaf)
    assert (gradient == 0).all()


@pytest.mark.parametrize("bones", ["exact", "loss"])
def test_strategies_reach_their_goals(bones):
    victim, motion = curved(), clips(HDM05_25)
    order = best(victim, motion)
    lengths = kinematics.bone_lengths(kinematics.to_joints(motion.data), HDM05_25)
    targets = order[:, 2]
    goals = {
        "AB": Nontargeted(labels=order[:, 0]),
        "AB2": Nontargeted(labels=order[:, 0], top=2),
        "SA": Targeted(targets=targets),
    }
    found = {}
    for name, goal in goals.items():
        done = found[name] = Smart(bones=bones, steps=100)(victim, motion, goal, streams=streams(3))
        assert done.success.all(), name
        after = best(victim, done.motion)
        rank = (after == order[:, :1]).nonzero()[:, 1]
        assert (rank >= {"AB": 1, "AB2": 2, "SA": 1}[name]).all()
        if name == "SA":
            assert torch.equal(after[:, 0], targets)
        change = kinematics.bone_lengths(kinematics.to_joints(done.motion.data), HDM05_25) - lengths
        if bones == "exact":
            assert change.abs().max() < 1e-5
            assert (done.distances["bone_largest"] < 1e-4).all()
        else:
            assert change.abs().max() > 1e-4
            assert (done.distances["bone"] < done.distances["bone_largest"]).all()
        assert (done.distances["displacement"] <= done.distances["joints"]).all()
        assert (done.distances["perceptual"] > 0).all()
        assert done.steps.tolist() == [100] * 3
        assert done.forwards.tolist() == [102] * 3
    assert (found["AB2"].distances["perceptual"] > found["AB"].distances["perceptual"]).all()


def test_third_is_not_outside_the_best_three():
    logits = torch.tensor([[5.0, 4.0, 3.0, 2.0]])
    label = torch.tensor([2])
    assert Nontargeted(labels=label, top=2).success(Outputs(logits=logits)).tolist() == [True]
    assert Nontargeted(labels=label, top=3).success(Outputs(logits=logits)).tolist() == [False]


def test_the_cheapest_success_is_kept_and_patience_and_first_stop_earlier():
    victim, motion = curved(), clips(HDM05_25)
    goal = Nontargeted(labels=best(victim, motion)[:, 0])
    first = Smart(stop="first")(victim, motion, goal, streams=streams(3))
    some = Smart(patience=10)(victim, motion, goal, streams=streams(3))
    every = Smart()(victim, motion, goal, streams=streams(3))
    assert (first.success & some.success & every.success).all()
    assert (first.steps < some.steps).all()
    assert (some.steps < every.steps).all()
    cost = [done.distances["perceptual"] for done in (first, some, every)]
    assert (cost[0] >= cost[1]).all()
    assert (cost[1] >= cost[2]).all()
    assert (cost[2] < cost[0]).any()
    assert torch.equal(first.forwards, first.steps + 2)
    assert ((first.backwards - first.steps).abs() <= 1).all()


@pytest.mark.parametrize("attack", [Smart(steps=30), Smart(steps=30, bones="loss", patience=4), published(steps=40)])
def test_results_do_not_depend_on_the_batch(attack):
    victim, motion = curved(), clips(HDM05_25, persons=2, lengths=torch.tensor([9, 7, 9]))
    goal = Nontargeted(labels=best(victim, motion)[:, 0])
    whole = attack(victim, motion, goal, streams=streams(3))
    for i in reversed(range(3)):
        alone = attack(victim, motion.select([i]), goal.select([i]), streams=SampleStreams(0, [i]))
        torch.testing.assert_close(alone.motion.data[0], whole.motion.data[i], rtol=0, atol=2e-5)
        assert alone.success[0] == whole.success[i]
        assert alone.steps[0] == whole.steps[i]


def test_a_threat_bounds_the_change_and_the_control_is_weaker():
    victim, motion = curved(), clips(HDM05_25)
    goal = Nontargeted(labels=best(victim, motion)[:, 0])
    free = Smart(steps=50)(victim, motion, goal, streams=streams(3))
    eps = 1.5 * free.distances["joints"].max().item()
    bounded = Smart(steps=50)(victim, motion, goal, streams=streams(3), threat=Joints(eps=eps))
    assert bounded.success.all()
    assert (bounded.distances["joints"] <= eps + 1e-6).all()
    nothing = Smart(steps=5)(victim, motion, goal, streams=streams(3), threat=Joints(eps=0.0))
    assert not nothing.success.any()
    assert torch.equal(nothing.motion.data, motion.data)
    control = Smart(directions="random", steps=10)(victim, motion, goal, streams=streams(3), threat=Joints(eps=eps))
    assert not control.success.any()
    assert (control.backwards == 0).all()
    assert (control.distances["joints"] >= 0).all()


def test_targets_are_never_the_label_and_cover_the_others():
    labels = torch.arange(7).repeat(200)
    targets = specified(labels, 7, SampleStreams(3, range(len(labels))))
    assert (targets != labels).all()
    assert torch.bincount((targets - labels) % 7, minlength=7)[1:].min() > 150
    assert targets.min() == 0
    assert targets.max() == 6
    again = specified(labels[5:6], 7, SampleStreams(3, [5]))
    assert again[0] == targets[5]
    with pytest.raises(DataError, match="at least 2 classes, got 1"):
        specified(labels[:1] * 0, 1, streams(1))
    with pytest.raises(DataError, match=r"labels in 0..2, got \[0, 1, 2, 3\]"):
        specified(labels[:4], 3, streams(4))


@pytest.mark.parametrize("version", [1, 2, 3])
def test_released_steps_have_the_released_length(version):
    victim, motion = curved(), clips(HDM05_25, count=2)
    goal = Nontargeted(labels=best(victim, motion)[:, 0], kind="cross-entropy")
    one = published(version=version, steps=1)(victim, motion, goal, streams=streams(2))
    moved = ((one.motion.data - motion.data) / HDM05_SCALE)[:, :, :, list(HDM05_25.distinct)]
    # The first step has no perceptual gradient: 0.6 of a unit vector times 0.01, in each frame or over the clip.
    if version == 1:
        frames = moved.square().sum((1, 3, 4)).sqrt()
        torch.testing.assert_close(frames, torch.full_like(frames, 0.006), rtol=1e-3, atol=0)
    else:
        length = moved.flatten(1).norm(dim=1)
        torch.testing.assert_close(length, torch.full_like(length, 0.005 if version == 2 else 0.006), rtol=1e-3, atol=0)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_released_attacks_succeed_and_keep_the_box(version):
    victim, motion = curved(), clips(HDM05_25)
    victim.module.layers[2].weight.data *= 4
    order = best(victim, motion)
    done = published(version=version, steps=200)(
        victim, motion, Nontargeted(labels=order[:, 0], kind="cross-entropy"), streams=streams(3)
    )
    if version == 3:
        assert (done.distances["linf"] <= 0.01 * HDM05_SCALE + 1e-6).all()
        assert done.distances["linf"].max() > 0.005 * HDM05_SCALE
    else:
        assert done.success.sum() >= 2
        assert (done.steps[done.success] < 200).all()


def test_released_weights_are_those_of_each_version():
    weights = [published(version=v).perceptual(HDM05_25) for v in (1, 2, 3)]
    assert [w.bones for w in weights] == [0, 0.42, 0.7]
    assert [w.derivatives[0] for w in weights] == [1, 0.4, 0.18]
    assert [w.derivatives[2] / 30**4 for w in weights] == pytest.approx([0, 0.18, 0.12])
    assert sum(weights[0].joints) == pytest.approx(0.6)
    assert abs(HDM05_SCALE - 0.2673) < 1e-4


@dataclass
class Drifting(Cost):
    """A cost that grows with each step, and whose rank does not."""

    seen: list

    def __call__(self, rendered, index):
        return rendered.data.square().flatten(1).sum(1) * 0 + len(self.seen)

    def rank(self, rendered, index, costs):
        return -costs

    def after_step(self, rendered, index):
        self.seen.append((len(rendered), index.tolist()))


def test_a_cost_may_learn_and_rank_otherwise():
    victim, motion = curved(), clips(HDM05_25)
    goal = Nontargeted(labels=best(victim, motion)[:, 0])
    variables = Skeleton(domain=victim.domain)
    kept = {}
    for name, kind in {"rank": Drifting, "plain": type("Plain", (Drifting,), {"rank": Cost.rank})}.items():
        cost = kind([])
        plan = AdamPlan(steps=30, kappa=10.0)
        kept[name] = minimize(victim, motion, goal, variables=variables, cost=cost, plan=plan, streams=streams(3))
        assert cost.seen == [(3, [0, 1, 2])] * 30
        assert kept[name].success.all()
    assert (kept["rank"].distances["l2"] > 1.5 * kept["plain"].distances["l2"]).all()
    cost = Drifting([])
    plan = AdamPlan(steps=60, stop="first")
    done = minimize(victim, motion, goal, variables=variables, cost=cost, plan=plan, streams=streams(3))
    assert [sum(i in index for _, index in cost.seen) for i in range(3)] == done.steps.tolist()


def test_a_failed_attack_keeps_its_lowest_loss():
    victim, motion = linear_clips(), clips(HDM05_25)
    victim.module.lead(motion, 1e4)
    goal = Nontargeted(labels=torch.zeros(3, dtype=torch.long))
    with torch.no_grad():
        clean = goal.loss(victim(motion))
    done = Smart(steps=20)(victim, motion, goal, streams=streams(3))
    assert not done.success.any()
    assert (done.loss < clean).all()


def test_a_success_has_some_margin():
    victim, motion = curved(), clips(HDM05_25)
    goal = Nontargeted(labels=best(victim, motion)[:, 0])
    done = Smart()(victim, motion, goal, streams=streams(3))
    assert (done.loss < -0.9e-3).all()


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"steps": -1}, "steps"),
        ({"kappa": -0.1}, "kappa"),
        ({"patience": 0}, "patience"),
        ({"betas": (1.0, 0.9)}, "betas"),
    ],
)
def test_plans_that_make_no_sense_are_refused(plan, message):
    with pytest.raises(ValueError, match=message):
        AdamPlan(**plan)


def test_bad_input_is_told():
    victim, motion = curved(), clips(HDM05_25)
    labels = best(victim, motion)[:, 0]
    with pytest.raises(ValueError, match="goal that descends on margins"):
        Smart()(victim, motion, Nontargeted(labels=labels, kind="cross-entropy"), streams=streams(3))
    cosine = Cosine(reference=torch.zeros(3, 1, 1), toward=True, reached=Nontargeted(labels=labels))
    with pytest.raises(ValueError, match="goal that descends on margins"):
        Smart()(victim, motion, cosine, streams=streams(3))
    with pytest.raises(DataError, match="layout"):
        Smart()(Victim(nn.Identity(), SILHOUETTES), Motion(data=torch.zeros(1, 2, 64, 44)), cosine, streams=streams(1))
    broken = curved()
    broken.module.layers[0].weight.data.fill_(float("nan"))
    with pytest.raises(DataError, match="not finite"):
        Smart()(broken, motion, Nontargeted(labels=labels), streams=streams(3))
    with pytest.raises(DataError, match="order 2 needs 3 frames, got 2"):
        Perceptual().of(clips(HDM05_25, frames=2), victim.domain)
    with pytest.raises(DataError, match="each of 25 joints, got 2"):
        Perceptual(joints=(1.0, 1.0)).of(motion, victim.domain)
    with pytest.raises(ValueError, match="weights >= 0"):
        Perceptual(bones=-1.0)
    with pytest.raises(ValueError, match="sum to 1"):
        Perceptual.printed(alpha=0.5, betas=(0.5, 0.2))
    with pytest.raises(ValueError, match="scale > 0"):
        Released(scale=0.0)
