from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from gaitkeeper.attacks.goals import Nontargeted
from gaitkeeper.attacks.gradient import FGSM, MIFGSM, PGD
from gaitkeeper.attacks.joints import JointRadii, Placing, Skeleton, carried, present
from gaitkeeper.attacks.threats import L2, Frames, Joints, Linf
from gaitkeeper.errors import DataError
from gaitkeeper.motion import kinematics
from gaitkeeper.motion.motion import Domain, skeletons
from gaitkeeper.motion.skeletons import HDM05_25, HDM05_25_RETARGETED, KINETICS_18, NTU_25
from gaitkeeper.seeding import SampleStreams
from tests.attacks.victims import clips, linear_clips, tangent

LAYOUTS = [HDM05_25, HDM05_25_RETARGETED, NTU_25]
THREATS = [Linf(eps=0.02), L2(eps=0.1), Joints(eps=0.02), Frames(count=3, eps=0.05)]


def draws(motion, size=0.05, seed=0):
    return size * torch.randn(motion.data.shape, generator=torch.Generator().manual_seed(seed))


def lengths(data, layout):
    return kinematics.bone_lengths(kinematics.to_joints(data), layout)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_exact_bones_stay_as_they_are_in_each_frame(layout):
    motion = clips(layout, rigid=False)
    moved = Skeleton(domain=skeletons(layout)).render(draws(motion), motion).data
    torch.testing.assert_close(lengths(moved, layout), lengths(motion.data, layout), rtol=0, atol=1e-5)
    assert (moved - motion.data).abs().max() > 0.05


@pytest.mark.parametrize("bones", ["exact", "free"])
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_what_must_not_move_does_not(layout, bones):
    motion = clips(layout, persons=2, lengths=torch.tensor([9, 7, 9]))
    moved = Skeleton(domain=skeletons(layout), bones=bones).render(draws(motion), motion).data
    assert (moved[0, ..., 1] == 0).all()
    assert (moved[1, :, 7:] == 0).all()
    assert (moved[2, :, :4, :, 1] == 0).all()
    together = [joint for joint, place in enumerate(layout.places) if place == layout.places[layout.root]]
    assert torch.equal(moved[:, :, :, together], motion.data[:, :, :, together])
    for group in layout.coincident:
        for joint in group[1:]:
            torch.testing.assert_close(moved[:, :, :, joint], moved[:, :, :, group[0]], rtol=0, atol=1e-6)
    assert (moved != motion.data).any(3).any(1)[2, 4:].all()


@pytest.mark.parametrize("bones", ["exact", "free"])
def test_no_displacement_is_the_original_to_the_bit(bones):
    motion = clips(HDM05_25, rigid=False)
    variables = Skeleton(domain=skeletons(HDM05_25), bones=bones)
    assert torch.equal(variables.render(variables.start(motion, None), motion).data, motion.data)


def test_a_free_root_takes_the_body_along():
    motion = clips(NTU_25)
    step = torch.zeros_like(motion.data)
    step[:, 0, :, 0] = 0.1
    moved = Skeleton(domain=skeletons(NTU_25), root="free").render(step, motion).data
    torch.testing.assert_close(moved[:, :, :, 0], motion.data[:, :, :, 0] + step[:, :, :, 0])
    torch.testing.assert_close(lengths(moved, NTU_25), lengths(motion.data, NTU_25), rtol=0, atol=1e-5)


@pytest.mark.parametrize("bones", ["exact", "free"])
def test_only_chosen_joints_and_what_they_carry_move(bones):
    motion, chosen = clips(HDM05_25), (16,)
    moved = Skeleton(domain=skeletons(HDM05_25), bones=bones, joints=chosen).render(draws(motion), motion).data
    which = set((moved - motion.data).abs().amax((0, 1, 2, 4)).gt(1e-5).nonzero()[:, 0].tolist())
    assert which == ({16} if bones == "free" else {16, 17, 18, 19})
    assert carried(chosen, HDM05_25) == (16, 17, 18, 19)
    assert carried((10,), HDM05_25) == tuple(range(25))


@pytest.mark.parametrize("smooth", [0.0, 1.5])
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_gradients_are_finite_without_displacement_and_at_bones_without_length(layout, smooth):
    motion = clips(layout, persons=2)
    leaf = torch.zeros_like(motion.data, requires_grad=True)
    moved = Skeleton(domain=skeletons(layout), smooth=smooth).render(leaf, motion).data
    weight = 100 * torch.randn(moved.shape, generator=torch.Generator().manual_seed(0))
    (gradient,) = torch.autograd.grad((moved * weight).sum(), leaf)
    assert torch.isfinite(gradient).all()
    assert gradient.abs().max() > 0.1
    assert (gradient[0, ..., 1] == 0).all()


@pytest.mark.parametrize("threat", THREATS, ids=repr)
@pytest.mark.parametrize("attack", [FGSM(bones="exact"), PGD(steps=5, bones="exact"), MIFGSM(steps=5, bones="exact")])
def test_the_budget_holds_for_joints_as_placed_and_bones_are_kept(threat, attack):
    victim, motion = linear_clips(), clips(HDM05_25, persons=2)
    victim.module.lead(motion, 1e4)  # out of reach, so that the whole budget is spent
    goal = Nontargeted(labels=torch.zeros(3, dtype=torch.long))
    done = attack(victim, motion, goal, threat=threat, streams=SampleStreams(0, range(3)))
    assert not done.success.any()
    assert (threat.violation(done.motion.data, motion.data, victim.domain) <= 1e-7 + 1e-6 * threat.eps).all()
    change = lengths(done.motion.data, HDM05_25) - lengths(motion.data, HDM05_25)
    assert change.abs().max() < 1e-5
    spent = done.distances["l2"] if isinstance(threat, L2) else done.distances["linf"]
    assert (spent > 0.5 * threat.eps).all()


def test_smooth_displacements_are_averaged_over_frames_that_show_the_person():
    motion = clips(HDM05_25, persons=2, lengths=torch.tensor([9, 7, 9]))
    variables = Skeleton(domain=skeletons(HDM05_25), bones="free", smooth=1.0)
    steady = torch.full_like(motion.data, 0.01)
    torch.testing.assert_close(
        variables.render(steady, motion).data,
        Skeleton(domain=variables.domain, bones="free").render(steady, motion).data,
    )
    jump = torch.zeros_like(motion.data)
    jump[2, 0, 6, 3] = 0.1
    moved = (variables.render(jump, motion).data - motion.data)[2, 0, :, 3]
    frame = torch.arange(9.0)
    kernel = torch.exp(-0.5 * (frame[:, None] - frame).square())
    torch.testing.assert_close(moved[:, 0], 0.1 * kernel[:, 6] / kernel.sum(1), rtol=0, atol=1e-6)
    shown = 0.1 * kernel[:, 6] / kernel[:, 4:].sum(1) * (frame >= 4)
    torch.testing.assert_close(moved[:, 1], shown, rtol=0, atol=1e-6)
    for bones in ("free", "exact"):
        bounded = replace(variables, bones=bones, threat=Linf(eps=0.01))
        found = bounded.render(bounded.retract(draws(motion), motion), motion).data
        assert (found - motion.data).abs().max() <= 0.01 + 1e-6
    with pytest.raises(ValueError, match="smooth >= 0"):
        Skeleton(domain=variables.domain, smooth=-1.0)


def test_random_starts_are_allowed_and_differ():
    motion = clips(HDM05_25)
    for threat in [None, *THREATS]:
        variables = Skeleton(domain=skeletons(HDM05_25), threat=threat)
        moved = variables.render(variables.start(motion, SampleStreams(0, range(3))), motion).data
        assert (moved != motion.data).flatten(1).any(1).all()
        if threat is not None:
            assert (threat.violation(moved, motion.data, variables.domain) <= 1e-7 + 1e-6 * threat.eps).all()


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_the_smallest_change_with_bones_kept_on_a_linear_recognizer(norm):
    """Small changes that keep bones are those of a plane, in which the smallest is a projection or a linear program."""
    victim, motion = linear_clips(), clips(HDM05_25, count=2)
    labels = torch.zeros(2, dtype=torch.long)
    weight = (victim.module.weight[0] - victim.module.weight[1]).detach()[..., 0].permute(1, 2, 0).flatten(1).double()
    for i in range(2):
        one, joints = motion.select([i]), kinematics.to_joints(motion.data)[i, 0].double()
        planes = [tangent(frame, HDM05_25) for frame in joints]
        if norm == "l2":
            dual = torch.stack([plane @ w for plane, w in zip(planes, weight, strict=True)]).norm().item()
        else:
            dual = sum(
                -linprog(-w.numpy(), A_eq=np.eye(75) - plane.numpy(), b_eq=np.zeros(75), bounds=(-1, 1)).fun
                for plane, w in zip(planes, weight, strict=True)
            )
        smallest = 0.1 if norm == "l2" else 0.005
        victim.module.lead(one, smallest * dual)
        # Of the largest coordinate no step of fixed length finds the optimum: the plane cuts the cube's corners off.
        enough = 1.1 if norm == "l2" else 1.45
        for factor, wins in ((enough, True), (0.95, False)):
            limit = (L2 if norm == "l2" else Linf)(eps=factor * smallest)
            attack = PGD(steps=40, random_start=False, bones="exact")
            done = attack(victim, one, Nontargeted(labels=labels[:1]), threat=limit, streams=SampleStreams(0, [i]))
            assert bool(done.success[0]) is wins


def test_steepest_directions_stretch_no_bone():
    motion = clips(HDM05_25, persons=2)
    variables = Skeleton(domain=skeletons(HDM05_25), threat=L2(eps=0.01))
    step = variables.steepest(draws(motion), motion)
    small = 1e-3 * step / step.abs().max()
    double = motion.data.double()
    stretch = lengths(double + small.double(), HDM05_25) - lengths(double, HDM05_25)
    assert stretch.abs().max() < 2e-5
    torch.testing.assert_close(
        variables.steepest(step, motion),
        step / step.flatten(1).norm(dim=1)[:, None, None, None, None],
        atol=1e-4,
        rtol=0,
    )
    assert (step[0, ..., 1] == 0).all()
    assert (step[:, :, :, [0, 5, 10]] == 0).all()


def test_radii_are_each_joints_own():
    motion = clips(HDM05_25, count=4)
    radii = tuple(0.0 if joint in (0, 5, 10) else 0.001 * (1 + joint) for joint in range(25))
    threat, domain = JointRadii(radii=radii), skeletons(HDM05_25)
    assert threat.eps == pytest.approx(0.025)
    for bones in ("free", "exact"):
        variables = Skeleton(domain=domain, bones=bones, threat=threat)
        moved = variables.render(variables.retract(draws(motion, 0.1), motion), motion).data
        reach = (moved - motion.data).norm(dim=1).amax((0, 1, 3))
        assert (reach <= torch.tensor(radii) + 1e-6).all()
        assert (reach > 0).sum() == 22
        if bones == "free":
            torch.testing.assert_close(reach, torch.tensor(radii), rtol=1e-3, atol=1e-6)
    step = threat.steepest(draws(motion), domain)
    torch.testing.assert_close(step.norm(dim=1)[0, 0, :, 0], torch.tensor(radii) / 0.025)
    random = threat.random(motion.data, SampleStreams(0, range(4)), domain)
    assert (threat.violation(motion.data + random, motion.data, domain) < 1e-6).all()
    with pytest.raises(DataError, match="each of 25 joints, got 3"):
        JointRadii(radii=(1.0, 2.0, 3.0)).project(motion.data, motion.data, domain)
    with pytest.raises(ValueError, match="radii >= 0"):
        JointRadii(radii=(-1.0,))


def test_results_do_not_depend_on_the_batch():
    motion = clips(HDM05_25, persons=2)
    variables = Skeleton(domain=skeletons(HDM05_25), threat=Linf(eps=0.01))
    whole = variables.retract(draws(motion), motion)
    for i in range(3):
        one = motion.select([i])
        torch.testing.assert_close(variables.retract(draws(motion)[[i]], one)[0], whole[i], rtol=0, atol=1e-6)


def test_what_is_there_is_told_by_frame_and_person():
    motion = clips(HDM05_25, persons=2, lengths=torch.tensor([9, 7, 9]))
    there = present(motion, skeletons(HDM05_25))[:, 0, :, 0]
    assert there.sum((1, 2)).tolist() == [9, 14, 14]


def test_placing_gives_nothing_for_nothing():
    motion = clips(NTU_25, rigid=False)
    assert (Placing(motion.data, NTU_25)(torch.zeros_like(motion.data)) == 0).all()


@pytest.mark.parametrize(
    ("domain", "message"),
    [
        (Domain(axes=("c", "t", "v"), shape=(3, None, 25), lower=-1, upper=1, stored="float32"), "skeletons"),
        (skeletons(KINETICS_18), "places in a picture"),
    ],
)
def test_other_domains_are_refused(domain, message):
    with pytest.raises(DataError, match=message):
        Skeleton(domain=domain)


def test_joints_that_a_layout_does_not_have_are_refused():
    with pytest.raises(DataError, match=r"joints 0..24 of hdm05-25, got \[25\]"):
        Skeleton(domain=skeletons(HDM05_25), joints=(25,))
