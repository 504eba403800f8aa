"""On a linear victim the smallest change is known; the attacks must find it within 25 per cent."""

import pytest
import torch

from gaitkeeper.attacks.goals import Nontargeted
from gaitkeeper.attacks.gradient import FGSM, MIFGSM, PGD
from gaitkeeper.attacks.threats import L2, Frames, Joints, Linf
from gaitkeeper.models.victim import Victim
from gaitkeeper.motion.motion import Domain
from gaitkeeper.seeding import SampleStreams
from tests.attacks.victims import LinearSkeleton, skeletons

WIDE = Domain(axes=("c", "t", "v"), shape=(3, 7, 5), lower=-50.0, upper=50.0, stored="float32")
COUNT = 2


def dual(norm, weight):
    """By how much a unit budget can lower a linear function of this weight, for each sample ``(n, c, t, v)``."""
    if norm == "linf":
        return weight.abs().sum((1, 2, 3))
    if norm == "l2":
        return weight.flatten(1).norm(dim=1)
    if norm == "joints":
        return weight.norm(dim=1).sum((1, 2))
    return weight.abs().sum((1, 3)).topk(COUNT, dim=1).values.sum(1)


def threat(norm, eps):
    made = {"linf": Linf, "l2": L2, "joints": Joints}
    return Frames(count=COUNT, eps=eps) if norm == "frames" else made[norm](eps=eps)


@pytest.mark.parametrize("norm", ["linf", "l2", "frames", "joints"])
@pytest.mark.parametrize("attack", [FGSM(), PGD(steps=40, random_start=False), MIFGSM(steps=10)], ids=repr)
@pytest.mark.parametrize("count", [1, 3, 8])
def test_smallest_change(norm, attack, count):
    victim = Victim(LinearSkeleton(classes=2), WIDE, output="logits")
    motion = skeletons().repeat(2).select(range(count))
    with torch.no_grad():
        logits = victim(motion).logits
    labels = logits.argmax(1)
    margin = logits.gather(1, labels[:, None])[:, 0] - logits.gather(1, 1 - labels[:, None])[:, 0]
    weight = victim.module.weight.detach()
    smallest = margin / dual(norm, weight[labels] - weight[1 - labels])
    goal = Nontargeted(labels=labels)
    for i in range(count):
        one = motion.select([i])
        for factor, wins in ((1.25, True), (0.98, False)):
            done = attack(
                victim,
                one,
                goal.select([i]),
                threat=threat(norm, factor * smallest[i].item()),
                streams=SampleStreams(0, [i]),
            )
            assert bool(done.success[0]) is wins


@pytest.mark.parametrize("norm", ["linf", "l2", "frames", "joints"])
def test_steepest_direction_attains_the_dual_norm(norm):
    gradient = torch.randn(6, 3, 7, 5, generator=torch.Generator().manual_seed(0))
    step = threat(norm, 1.0).steepest(gradient, WIDE)
    torch.testing.assert_close((step * gradient).sum((1, 2, 3)), dual(norm, gradient))
    zero = torch.zeros_like(gradient)
    assert (threat(norm, 1.0).violation(step, zero, WIDE) < 1e-5).all()
