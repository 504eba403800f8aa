"""Properties of projections, whatever the numbers."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gaitkeeper.attacks.goals import Accepted, Nontargeted, Rejected, Targeted
from gaitkeeper.attacks.gradient import PGD
from gaitkeeper.attacks.threats import L2, Frames, Joints, Linf
from gaitkeeper.errors import DataError
from gaitkeeper.metrics.distances import paired
from gaitkeeper.models.victim import Outputs
from gaitkeeper.motion.motion import SILHOUETTES, Domain
from gaitkeeper.seeding import SampleStreams
from tests.attacks.victims import gait_identifier, silhouettes

DOMAIN = Domain(axes=("c", "t", "v"), shape=(3, None, None), lower=-9.0, upper=9.0, stored="float32")
THREATS = {"linf": Linf(eps=0.3), "l2": L2(eps=0.7), "frames": Frames(count=2, eps=0.5), "joints": Joints(eps=0.2)}


@pytest.mark.parametrize("threat", THREATS.values(), ids=THREATS)
@given(seed=st.integers(0, 10_000), scale=st.floats(0, 5))
@settings(max_examples=40)
def test_projection_is_allowed_idempotent_and_leaves_allowed_points(threat, seed, scale):
    generator = torch.Generator().manual_seed(seed)
    origin = torch.randn(3, 3, 5, 4, generator=generator)
    x = origin + scale * torch.randn(origin.shape, generator=generator)
    once = threat.project(x, origin, DOMAIN)
    assert (threat.violation(once, origin, DOMAIN) < 1e-5).all()
    torch.testing.assert_close(threat.project(once, origin, DOMAIN), once, rtol=0, atol=1e-5)
    if float(threat.violation(x, origin, DOMAIN).max()) == 0:
        torch.testing.assert_close(once, x, rtol=0, atol=1e-5)
    start = threat.random(origin, SampleStreams(seed, range(3)), DOMAIN)
    assert (threat.violation(origin + start, origin, DOMAIN) < 1e-5).all()
    assert (start != 0).flatten(1).any(1).all()


def test_threats_that_need_an_axis_the_domain_lacks_say_so():
    with pytest.raises(DataError, match="'c'"):
        Joints(eps=1.0).project(torch.zeros(1, 2, 64, 44), torch.zeros(1, 2, 64, 44), SILHOUETTES)


@pytest.mark.parametrize("eps", [-1.0, float("nan"), float("inf")])
def test_budgets_that_make_no_sense_are_refused(eps):
    with pytest.raises(ValueError, match="eps"):
        Linf(eps=eps)


def test_nontargeted_goal_wants_every_decision_that_counts_and_top_n():
    logits = torch.tensor([[[3.0, 2.0, 1.0], [1.0, 2.0, 3.0]]])
    outputs = Outputs(logits=logits, decided=torch.tensor([[True, True]]))
    label = torch.tensor([0])
    assert not Nontargeted(labels=label).success(outputs)
    only_second = Outputs(logits=logits, decided=torch.tensor([[False, True]]))
    assert Nontargeted(labels=label).success(only_second)
    assert Nontargeted(labels=label, top=2).success(only_second)
    assert not Nontargeted(labels=torch.tensor([1]), top=2).success(only_second)
    assert float(Nontargeted(labels=label).loss(outputs)) == pytest.approx((1.0 + -2.0) / 2)
    assert float(Targeted(targets=torch.tensor([2])).loss(only_second)) == pytest.approx(-1.0)
    assert Targeted(targets=torch.tensor([2])).success(only_second)


def test_cross_entropy_goals_are_the_cross_entropy():
    logits = torch.tensor([[2.0, 0.0, -1.0]])
    want = torch.nn.functional.cross_entropy(logits, torch.tensor([1]))
    assert float(
        Targeted(targets=torch.tensor([1]), kind="cross-entropy").loss(Outputs(logits=logits))
    ) == pytest.approx(float(want))
    assert float(
        Nontargeted(labels=torch.tensor([1]), kind="cross-entropy").loss(Outputs(logits=logits))
    ) == pytest.approx(-float(want))


def test_verification_goals_cross_their_threshold():
    victim = gait_identifier().victim
    motion = silhouettes()
    own = victim(motion).embedding.detach()
    start = (victim(motion.with_data((motion.data * 255).round() / 255)).embedding - own).norm()
    assert start < 1
    streams = SampleStreams(0, range(4))
    moved = PGD(steps=20)(
        victim, motion, Rejected(reference=own, threshold=0.02), threat=Linf(eps=0.2), streams=streams
    )
    assert moved.success.all()
    other = own.roll(1, 0)
    near_enough = 0.9 * float(paired(own, other).min())
    near = PGD(steps=40, random_start=False)(
        victim, motion, Accepted(reference=other, threshold=near_enough), threat=Linf(eps=0.3), streams=streams
    )
    assert near.success.all()
    assert not Accepted(reference=other, threshold=near_enough).success(victim(motion)).any()
