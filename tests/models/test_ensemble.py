"""An ensemble adds what its members say, and refuses members that do not fit."""

import pytest
import torch
from torch import nn

from gaitkeeper.attacks.goals import Nontargeted
from gaitkeeper.attacks.gradient import PGD
from gaitkeeper.attacks.threats import Joints
from gaitkeeper.errors import DataError
from gaitkeeper.models.actions.preparation import Preparation
from gaitkeeper.models.ensemble import Ensemble, mean_probability
from gaitkeeper.models.victim import Victim
from gaitkeeper.motion.motion import Motion, skeletons
from gaitkeeper.motion.skeletons import HDM05_25, UCLA_20
from gaitkeeper.seeding import SampleStreams

FRAMES, CLASSES = 6, ("walk", "sit", "wave", "kick")
DOMAIN = skeletons(UCLA_20, persons=1)


class Linear(nn.Module):
    def __init__(self, seed, classes=4):
        super().__init__()
        shape = (classes, 3, FRAMES, len(UCLA_20), 1)
        self.weight = nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(seed)) / 8)

    def forward(self, x):
        return torch.einsum("nctvm,kctvm->nk", x, self.weight)


def stream(kind, seed):
    prepare = Preparation(layout=UCLA_20, center="none", facing="none", timing="none", frames=None, stream=kind)
    return Victim(Linear(seed), DOMAIN, output="logits", prepare=lambda m: prepare(m)[:1], classes=CLASSES)


@pytest.fixture
def members():
    return [stream(kind, seed) for seed, kind in enumerate(("joint", "bone", "motion"))]


@pytest.fixture
def motion():
    return Motion(data=torch.randn(5, 3, FRAMES, len(UCLA_20), 1, generator=torch.Generator().manual_seed(7)) / 3)


def test_added_logits(members, motion):
    whole = Ensemble(members, weights=[0.6, 0.6, 0.4])
    apart = [member(motion).logits for member in members]
    torch.testing.assert_close(whole(motion).logits, 0.6 * apart[0] + 0.6 * apart[1] + 0.4 * apart[2])
    torch.testing.assert_close(Ensemble(members)(motion).logits, sum(apart))
    assert whole.domain == DOMAIN
    assert whole.classes == CLASSES
    assert whole.device == torch.device("cpu")


def test_averaged_probabilities(members, motion):
    whole = Ensemble(members, weights=[2, 1, 1], combine="probabilities")
    apart = [member(motion).logits.softmax(1) for member in members]
    expected = 0.5 * apart[0] + 0.25 * apart[1] + 0.25 * apart[2]
    torch.testing.assert_close(whole(motion).logits, expected.log())
    torch.testing.assert_close(whole(motion).logits.exp().sum(1), torch.ones(5))


def test_a_member_of_no_weight_says_nothing(members, motion):
    for combine in ("logits", "probabilities"):
        whole = Ensemble(members, weights=[1, 0, 0], combine=combine)
        alone = Ensemble(members[:1], combine=combine)
        torch.testing.assert_close(whole(motion).logits, alone(motion).logits)


def test_one_voice_does_not_drown_the_others_in_probabilities():
    answers = torch.tensor([[[90.0, 0.0], [0.0, 2.0], [0.0, 2.0]]])
    assert answers.sum(1).argmax(1) == 0
    assert mean_probability(answers).argmax(1) == 1


def test_gradients_are_finite_where_a_class_is_ruled_out():
    logits = torch.tensor([[[1.0, -torch.inf, -torch.inf], [0.5, 0.2, -torch.inf]]], requires_grad=True)
    mean = mean_probability(logits)
    torch.testing.assert_close(mean.exp(), logits.detach().softmax(2).mean(1))
    assert mean[0, 2] == -torch.inf
    mean[0, :2].sum().backward()
    assert logits.grad[logits.isfinite()].isfinite().all()
    assert logits.grad[0, 1, 0] != 0


@pytest.mark.parametrize("combine", ["logits", "probabilities"])
def test_gradients_reach_the_joints_through_every_stream(members, motion, combine):
    for member in members:
        member.module.double()
    whole = Ensemble(members, weights=[0.5, 1, 2], combine=combine)
    whole_clip = motion.data[:1].double()
    moving = whole_clip[:, :, 2:4, :3].clone().requires_grad_()

    def logits(part):
        data = whole_clip.clone()
        data[:, :, 2:4, :3] = part
        return whole(Motion(data=data)).logits

    assert torch.autograd.gradcheck(logits, (moving,))


def test_an_ensemble_is_attacked_like_one_network(members, motion):
    whole = Ensemble([Ensemble(members), members[0]], combine="probabilities")
    labels = whole(motion).logits.argmax(1)
    goal = Nontargeted(labels=labels)
    done = PGD(steps=20)(whole, motion, goal, threat=Joints(eps=0.3), streams=SampleStreams(0, range(5)))
    assert done.success.all()
    assert (whole(done.motion).logits.argmax(1) != labels).all()


def test_members_that_do_not_fit_are_refused(members, motion):
    other = Victim(Linear(0), skeletons(HDM05_25, persons=1), output="logits", classes=CLASSES)
    with pytest.raises(DataError, match=r"members 0 and 3 .* different movements"):
        Ensemble([*members, other])
    renamed = Victim(Linear(0), DOMAIN, output="logits", classes=("walk", "sit", "wave", "jump"))
    with pytest.raises(DataError, match=r"different classes: 4 \(walk, sit, wave, \.\.\.\) and 4"):
        Ensemble([*members, renamed])
    with pytest.raises(DataError, match="no names"):
        Ensemble([*members, Victim(Linear(0), DOMAIN, output="logits")])
    with pytest.raises(DataError, match="at least one"):
        Ensemble([])
    with pytest.raises(DataError, match="expected 3 weights, one a member, got 2"):
        Ensemble(members, weights=[1, 1])
    with pytest.raises(DataError, match="weights of probabilities"):
        Ensemble(members, weights=[1, 1, -1], combine="probabilities")
    embeds = Victim(Linear(0), DOMAIN, output="embedding", classes=CLASSES)
    with pytest.raises(DataError, match="member 3 of the ensemble gives embeddings"):
        Ensemble([*members, embeds])(motion)
    fewer = Victim(Linear(0, classes=3), DOMAIN, output="logits", classes=CLASSES)
    with pytest.raises(DataError, match=r"members 0 and 3 .* shapes \(5, 4\) and \(5, 3\)"):
        Ensemble([*members, fewer])(motion)
