"""SMART: the smallest and smoothest change of a skeletal motion that another class is recognized in."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from gaitkeeper.attacks.adam import AdamPlan, minimize
from gaitkeeper.attacks.attacked import Attacked
from gaitkeeper.attacks.goals import Goal, Nontargeted
from gaitkeeper.attacks.gradient import Directions, Recognizer, Search, admitted
from gaitkeeper.attacks.joints import Skeleton, of_skeletons, present
from gaitkeeper.attacks.perceptual import FPS, Perceptual
from gaitkeeper.attacks.threats import Linf, Threat
from gaitkeeper.errors import DataError
from gaitkeeper.motion import kinematics
from gaitkeeper.motion.motion import Domain, Motion
from gaitkeeper.motion.skeletons import Layout
from gaitkeeper.seeding import SampleStreams

HDM05_SCALE = 4.7353377 * 0.0564444
"""Metres in a unit of HDM05's coordinates as normalized for the released code: its divisor times the unit of ASF."""

Version = Literal[1, 2, 3]
"""Releases: that of the paper, and those inside the authors' later defense (BEAT) and benchmark (TASAR)."""


def specified(labels: Tensor, classes: int, streams: SampleStreams) -> Tensor:
    """Draw a class for each sample to be taken for, uniformly from all but its own.

    Args:
        labels: ``(n,)`` true classes.
        classes: how many there are.
        streams: one random stream a sample.

    Returns:
        ``(n,)`` targets, none of which is the sample's label.

    Raises:
        DataError: there is no other class, or a label is none of the classes.
    """
    if classes < 2:
        raise DataError(f"a target needs at least 2 classes, got {classes}")
    if len(labels) and not (labels.min() >= 0 and labels.max() < classes):
        raise DataError(f"expected labels in 0..{classes - 1}, got {labels.tolist()}")
    steps = torch.as_tensor(streams.uniform(()) * (classes - 1)).to(labels) + 1
    return (labels + steps) % classes


@dataclass(frozen=True, kw_only=True)
class Smart:
    """SMART in metres: one persistent Adam on displacements of joints; the success of least perceptual cost is kept.

    The paper's strategies are goals: anything but the label is ``Nontargeted``, anything but the N best
    ``Nontargeted(top=N)``, a specified class ``Targeted`` (see :func:`specified`).

    Args:
        bones: keep the lengths of bones exactly, or only ask for it in the perceptual loss.
        steps: number of steps.
        step_size: of Adam, in metres.
        weight: of the perceptual loss at the start; None is 1 for anything but the label and 0.5 for the other goals,
            which need larger changes.
        adapt: see :class:`~gaitkeeper.attacks.adam.AdamPlan`.
        kappa: see :class:`~gaitkeeper.attacks.adam.AdamPlan`; None for goals that do not descend on margins.
        perceptual: what is asked of the change. The term of the bones is left out where they are exact.
        smooth: see :class:`~gaitkeeper.attacks.joints.Skeleton`; frames.
        root: whether the root moves.
        joints: those that may be displaced; None means all.
        stop: go on for all steps to cheaper successes, or leave each sample at its first.
        patience: see :class:`~gaitkeeper.attacks.adam.AdamPlan`.
        directions: follow the gradient, or one random direction (the matched control).

    Reference:
        Wang et al., "Understanding the robustness of skeleton-based action recognition under adversarial attack",
        CVPR 2021.

    Deviations:
        Coordinates are metres, so that bones are bones. The optimizer keeps its moments, and the weight of the
        perceptual loss adapts to each sample. The class term is a hinge; for anything but the N best it is on the N-th
        rival's margin, where the released code pulls all logits to 0. Displacements are smooth in time, and a motion
        is asked not to become rougher; how much was chosen on one of HDM05's training actors. Each sample succeeds or
        fails by itself, on what is stored. The root stays, and joints that coincide move together.
        :func:`published` has the released rules.
    """

    bones: Literal["exact", "loss"] = "exact"
    steps: int = 150
    step_size: float = 6e-3
    weight: float | None = None
    adapt: float = 0.1
    kappa: float | None = 0.3
    perceptual: Perceptual = field(default_factory=lambda: Perceptual(rough=0.5))
    smooth: float = 1.5
    root: Literal["fixed", "free"] = "fixed"
    joints: tuple[int, ...] | None = None
    stop: Literal["fixed", "first"] = "fixed"
    patience: int | None = None
    directions: Directions = "gradient"

    def __call__(
        self,
        victim: Recognizer,
        motion: Motion,
        goal: Goal,
        *,
        streams: SampleStreams,
        threat: Threat | None = None,
    ) -> Attacked:
        """Attack a batch of skeletons; see :func:`~gaitkeeper.attacks.adam.minimize`.

        Args:
            victim: what to fool.
            motion: the originals, in metres.
            goal: what to reach.
            streams: one random stream a sample.
            threat: an additional limit of the change; the published attack has none.

        Returns:
            The outcome; ``distances`` also has those of :func:`measured`.
        """
        victim.domain.check(motion)
        variables = Skeleton(
            domain=victim.domain, bones="exact" if self.bones == "exact" else "free", root=self.root,
            joints=self.joints, threat=threat, smooth=self.smooth,
        )  # fmt: skip
        perceptual = replace(self.perceptual, bones=0.0) if self.bones == "exact" else self.perceptual
        plan = AdamPlan(
            steps=self.steps, step_size=self.step_size, weight=_weight(goal) if self.weight is None else self.weight,
            adapt=self.adapt, kappa=self.kappa, stop=self.stop, patience=self.patience, directions=self.directions,
        )  # fmt: skip
        cost = perceptual.of(motion, victim.domain)
        found = minimize(victim, motion, goal, variables=variables, cost=cost, plan=plan, streams=streams)
        return measured(found, motion, victim.domain, self.perceptual)


def _weight(goal: Goal) -> float:
    return 1.0 if isinstance(goal, Nontargeted) and goal.top == 1 else 0.5


def measured(found: Attacked, motion: Motion, domain: Domain, perceptual: Perceptual) -> Attacked:
    """Return an outcome on skeletons whose ``distances`` have more entries.

    They are ``perceptual``, the loss of what is stored; ``displacement``, the mean distance of a joint from its place
    in metres, over persons that are there and joints that stand for a place; ``bone``, the mean relative change of
    bone lengths, and ``bone_largest``, the largest.
    """
    with torch.no_grad():
        clean, changed = (kinematics.to_joints(data) for data in (motion.data, found.motion.data))
        there = present(motion, domain)[:, 0, :, 0].transpose(1, 2) > 0
        change = kinematics.change(clean, changed, of_skeletons(domain), fps=FPS, valid=there)
        everyone = torch.arange(len(motion), device=motion.data.device)
        more = {
            "perceptual": perceptual.of(motion, domain)(found.motion, everyone),
            "displacement": change.displacement,
            "bone": change.bone,
            "bone_largest": change.bone_largest,
        }
    return replace(found, distances={**found.distances, **more})


@dataclass(frozen=True, kw_only=True)
class Released:
    """The released update: fixed steps along the class's and the perceptual gradient, each scaled to unit length.

    Args:
        scale: metres in a unit of the coordinates that the released code saw.
        steps: greatest number of steps.
        step_size: in these units.
        share: of the class's gradient; the rest is the perceptual one's.
        normalize: scale gradients in each frame, or over the sample.
        clip: greatest length of a sample's step, in these units; None for no limit.
        box: greatest change of a coordinate, in these units; None for no limit.
        position: weight of the positions in the perceptual loss.
        acceleration: weight of the accelerations.
        bones: weight of the bone lengths.

    Reference:
        Wang et al., CVPR 2021; its three releases.

    Deviations:
        See :func:`published`.
    """

    scale: float
    steps: int = 1000
    step_size: float = 0.01
    share: float = 0.6
    normalize: Literal["frame", "sample"] = "sample"
    clip: float | None = None
    box: float | None = None
    position: float = 1.0
    acceleration: float = 0.0
    bones: float = 0.0

    def __post_init__(self) -> None:
        if not (self.scale > 0 and 0 <= self.share <= 1):
            raise ValueError(f"expected scale > 0 and share in [0, 1], got {self.scale} and {self.share}")

    def __call__(self, victim: Recognizer, motion: Motion, goal: Goal, *, streams: SampleStreams) -> Attacked:
        """Attack a batch of skeletons; each sample stops at its first success. Arguments are those of an attack."""
        motion, _ = admitted(victim, motion, streams)
        domain = victim.domain
        threat = None if self.box is None else Linf(eps=self.box * self.scale)
        variables = Skeleton(domain=domain, bones="free", root="free", threat=threat)
        perceptual = self.perceptual(of_skeletons(domain))
        with torch.no_grad():
            search = Search(victim, motion, goal)
            self._run(search, variables, perceptual)
            return measured(search.finish(), motion, domain, perceptual)

    def perceptual(self, layout: Layout) -> Perceptual:
        """Return the released perceptual loss; its accelerations took 30 frames a second, whatever the data's."""
        spine = range(10, 15) if layout.name.startswith("hdm05") else ()
        return Perceptual(
            derivatives=(self.position, 0.0, self.acceleration * FPS**4),
            bones=self.bones,
            joints=tuple(0.04 if joint in spine else 0.02 for joint in range(len(layout))),
        )

    def _run(self, search: Search, variables: Skeleton, perceptual: Perceptual) -> None:
        own, active = search.origin, torch.arange(len(search.origin), device=search.origin.data.device)
        values, cost = variables.start(own, None), perceptual.of(own, variables.domain)
        for step in range(self.steps + 1):
            follow = step < self.steps
            goal = search.goal.select(active)
            with torch.set_grad_enabled(follow):
                leaf = values.detach().requires_grad_(follow)
                rendered = variables.render(leaf, own)
                outputs = search.victim(rendered)
                losses = goal.loss(outputs)
                total, looks = losses.sum(), cost(rendered, active).sum()
            search.forwards[active] += 1
            if not torch.isfinite(losses).all():
                raise DataError("the victim's outputs are not finite: its weights or its input hold extreme values")
            held = search.note(active, rendered.data.detach(), losses.detach(), goal.success(outputs))
            if not follow or held.all():
                return
            search.backwards[active] += 1
            wrong = self._unit(torch.autograd.grad(total, leaf, retain_graph=True)[0])
            rough = self._unit(torch.autograd.grad(looks, leaf)[0])
            move = self.step_size * (self.share * wrong + (1 - self.share) * rough)
            if self.clip is not None:
                length = move.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1, 1)
                move = move * (self.clip / length.clamp_min(1e-30)).clamp_max(1)
            values = values - self.scale * move
            search.steps[active[~held]] += 1
            if held.any():
                keep = (~held).nonzero()[:, 0]
                active, own, values = active[keep], own.select(keep), values[keep]
            values = variables.retract(values, own)

    def _unit(self, gradient: Tensor) -> Tensor:
        """Scale to unit length, over joints, coordinates and persons of a frame or over the sample."""
        axes = (1, 3, 4) if self.normalize == "frame" else (1, 2, 3, 4)
        return gradient / gradient.square().sum(axes, keepdim=True).sqrt().clamp_min(1e-18)


def published(*, version: Version = 1, scale: float = HDM05_SCALE, steps: int = 1000) -> Released:
    """Return SMART as released; for anything but the label and specified classes use goals of the cross-entropy.

    Args:
        version: 1 scales gradients in each frame and asks for positions only; 2 scales them over the sample, limits a
            step's length to 0.005 and asks for positions, accelerations and bones; 3 limits the change of each
            coordinate to 0.01 instead and reads the same weights in another formula.
        scale: metres in a unit of normalized coordinates: of HDM05 :data:`HDM05_SCALE`.
        steps: 1000 for HDM05, 100 for NTU.

    Reference:
        Wang et al., CVPR 2021, and the code released with it; Wang et al., "Defending black-box skeleton-based human
        activity classifiers", AAAI 2023; Diao et al., "TASAR", ICLR 2025.

    Deviations:
        Bones are measured in metres instead of normalized coordinates; each sample stops by itself and is judged on
        what is stored, where the release takes the best rate of a batch over all steps; anything but the N best is
        the goal's margin, since the release's target and its test of success are defective; targets never equal the
        label; frames without a gradient stay where they are; coincident joints move together. The rescaling of long
        steps in version 3 is left out: with its step size no step is long enough.
    """
    if version == 1:
        return Released(scale=scale, steps=steps, normalize="frame")
    if version == 2:
        return Released(scale=scale, steps=steps, clip=0.005, position=0.4, acceleration=0.18, bones=0.42)
    return Released(scale=scale, steps=steps, box=0.01, position=0.18, acceleration=0.12, bones=0.7)
