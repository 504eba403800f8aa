"""An attack under physical constraints: bones, angles and speeds may change by so much, enforced by multipliers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from gaitkeeper.attacks.adam import AdamPlan, Cost, minimize
from gaitkeeper.attacks.attacked import Attacked
from gaitkeeper.attacks.goals import Goal
from gaitkeeper.attacks.gradient import Directions, Recognizer, admitted
from gaitkeeper.attacks.joints import Bones, Skeleton, of_skeletons, present
from gaitkeeper.attacks.perceptual import FPS
from gaitkeeper.motion.kinematics import POINT, bone_lengths, derivative, joint_angles, to_joints
from gaitkeeper.motion.motion import Domain, Motion
from gaitkeeper.seeding import SampleStreams

Angles = Literal["exact", "estimate"]
"""How far an angle has changed: measured between the bones, or estimated from above by the joints' displacements."""

_INFEASIBLE = 100.0
"""Added to the rank of movements beyond a bound; more than any displacement within a domain, in metres."""


@dataclass(frozen=True, kw_only=True)
class ADMM:
    """The goal's loss under bounds on each bone's length, each angle and each joint's velocity in each frame.

    Joints move freely otherwise. Each constraint has a multiplier; Adam takes some steps on the augmented Lagrangian,
    then the multipliers are raised where a bound is exceeded and lowered where it is not. Of the successes within all
    bounds that of the least mean displacement is kept, else the success of the least excess. Success says nothing of
    the bounds: count it together with ``distances["feasible"]``.

    The comparison of SMART with an "IAA" names no paper; that this attack is meant is a guess by elimination, which is
    why it does not carry that name.

    Args:
        rounds: of multipliers.
        inner: steps of Adam a round.
        step_size: of Adam, in metres.
        bone: bound on ``|B' - B| / B``, B being a bone's length in that frame.
        angle: bound on the change of an angle between bones, in radians.
        speed: bound on ``|v' - v| / (|v| + rest)``, v being a joint's velocity.
        angles: see :data:`Angles`.
        rest: in metres a second; without it joints at rest could not move at all.
        penalty: weight of the squared excess, and how fast multipliers grow.
        tighten: share of the bounds that the Lagrangian asks for, so that what it settles on is within the bounds.
        kappa: the margin up to which the goal counts; None for goals without margins.
        bones: whether bones may change at all, within their bound; ``exact`` keeps them, and spares the steps that
            small bones need to come within it.
        root: whether the root, with the joints that coincide with it, moves.
        directions: follow the gradient, or a random direction in steps of the same size (the matched control).

    Reference:
        Zheng et al., "Towards understanding the adversarial vulnerability of skeleton-based action recognition",
        arXiv 2005.07151, 2020.

    Deviations:
        Sums over constraints in place of means, under which one constraint weighs the less the more there are.
        Multipliers are those of inequalities, and fall again within the bounds; the released ones only grow. The
        released code estimates angles, adds 0.0001 a frame to speeds, which fixes joints at rest, and returns the last
        iterate; bounds there are on coordinates as the network takes them. Absent persons, padding and bones without
        length have no constraints.
    """

    rounds: int = 50
    inner: int = 10
    step_size: float = 1e-3
    bone: float = 0.01
    angle: float = 0.1
    speed: float = 0.1
    angles: Angles = "exact"
    rest: float = 0.1
    penalty: float = 1.0
    tighten: float = 0.9
    kappa: float | None = 1.0
    bones: Bones = "free"
    root: Literal["fixed", "free"] = "fixed"
    directions: Directions = "gradient"

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.inner < 1:
            raise ValueError(f"expected rounds and inner >= 1, got {self.rounds} and {self.inner}")
        bounds = (self.bone, self.angle, self.speed, self.rest, self.penalty)
        if not all(0 < bound < float("inf") for bound in bounds) or not 0 < self.tighten <= 1:
            raise ValueError(f"expected positive bounds, rest and penalty, and tighten in (0, 1], got {self}")

    @classmethod
    def published(cls) -> ADMM:
        """Return the released settings as far as they mean something in metres: speeds as of clips of 30 frames/s."""
        return cls(rounds=100, angles="estimate", rest=1e-4 * FPS, tighten=1.0, root="free")

    def __call__(self, victim: Recognizer, motion: Motion, goal: Goal, *, streams: SampleStreams) -> Attacked:
        """Attack a batch; see :func:`~gaitkeeper.attacks.adam.minimize`.

        Returns:
            The outcome. ``distances`` also has ``feasible``, 1 where no bound is exceeded, and ``bone_violations``,
            ``angle_violations`` and ``speed_violations``, the shares of constraints that are.

        Raises:
            DataError: the victim does not take skeletons in metres, or the motion does not fit it.
        """
        variables = Skeleton(domain=victim.domain, bones=self.bones, root=self.root)
        motion, _ = admitted(victim, motion, streams)
        cost = Constraints(self, motion, victim.domain)
        plan = AdamPlan(
            steps=self.rounds * self.inner, step_size=self.step_size, kappa=self.kappa, directions=self.directions
        )
        done = minimize(victim, motion, goal, variables=variables, cost=cost, plan=plan, streams=streams)
        return replace(done, distances={**done.distances, **cost.violations(done.motion)})


class Constraints(Cost):
    """The augmented Lagrangian's part of the constraints, with a multiplier for each.

    Args:
        bounds: the attack whose bounds they are.
        motion: the originals of the whole batch.
        domain: theirs, of skeletons.

    Raises:
        DataError: the domain is not of skeletons, or clips are of a single frame.

    Reference:
        The augmented Lagrangian of inequalities: Rockafellar, "The multiplier method of Hestenes and Powell applied to
        convex programming", Journal of Optimization Theory and Applications, 1973.
    """

    def __init__(self, bounds: ADMM, motion: Motion, domain: Domain) -> None:
        self._of, self._layout = bounds, of_skeletons(domain)
        self._joints = to_joints(motion.data)
        self._distinct = list(self._layout.distinct)
        there = present(motion, domain)[:, 0, :, 0].movedim(2, 1) > 0
        rate = torch.full((len(motion),), FPS if motion.fps is None else motion.fps)
        self._rate = motion.extras.get("fps", rate).to(self._joints)
        self._lengths = bone_lengths(self._joints, self._layout)
        self._angles = joint_angles(self._joints, self._layout)
        first, at, second = (list(column) for column in zip(*self._layout.angles, strict=True))
        self._triples = first, at, second
        self._arms = [(self._joints[..., end, :] - self._joints[..., at, :]).norm(dim=-1) for end in (first, second)]
        self._velocity = self._velocities(self._joints, self._rate)
        counted = {
            "bone": (self._lengths > POINT) & there[..., None],
            "angle": (self._arms[0] > POINT) & (self._arms[1] > POINT) & there[..., None],
            "speed": (there[:, :, 1:] & there[:, :, :-1])[..., None].expand(self._velocity.shape[:-1]),
        }
        self._counted = counted
        self._bounds = {"bone": bounds.bone, "angle": bounds.angle, "speed": bounds.speed}
        self._multipliers = {name: torch.zeros_like(which, dtype=motion.data.dtype) for name, which in counted.items()}
        self._count = there.sum((1, 2)).clamp_min(1)
        self._steps = 0

    def _velocities(self, joints: Tensor, rate: Tensor) -> Tensor:
        return derivative(joints[..., self._distinct, :], 1, rate)

    def changes(self, rendered: Motion, index: Tensor) -> dict[str, Tensor]:
        """Return by how much each bone, angle and velocity has changed, ``(n, m, t, k)`` each, differentiably."""
        joints, clean = to_joints(rendered.data), self._joints[index]
        lengths = self._lengths[index]
        bone = (bone_lengths(joints, self._layout) - lengths).abs() / lengths.clamp_min(POINT)
        if self._of.angles == "exact":
            angle = (joint_angles(joints, self._layout) - self._angles[index]).abs()
        else:
            ends, middle = [(joints - clean)[..., k, :].norm(dim=-1) for k in self._triples[::2]], self._triples[1]
            arms = [arm[index].clamp_min(POINT) for arm in self._arms]
            moved = (joints - clean)[..., middle, :].norm(dim=-1)
            angle = (ends[0] + moved) / arms[0] + (ends[1] + moved) / arms[1]
        velocity = self._velocity[index]
        changed = (self._velocities(joints, self._rate[index]) - velocity).norm(dim=-1)
        return {"bone": bone, "angle": angle, "speed": changed / (velocity.norm(dim=-1) + self._of.rest)}

    def _excess(self, rendered: Motion, index: Tensor, share: float) -> dict[str, Tensor]:
        """Return changes less a share of their bounds; minus the bound itself, at most, where nothing counts."""
        return {
            name: torch.where(self._counted[name][index], change, 0) - share * self._bounds[name]
            for name, change in self.changes(rendered, index).items()
        }

    def __call__(self, rendered: Motion, index: Tensor) -> Tensor:
        """Return ``(n,)``, the sum over all constraints."""
        total, penalty = rendered.data.new_zeros(len(index)), self._of.penalty
        for name, excess in self._excess(rendered, index, self._of.tighten).items():
            multiplier = self._multipliers[name][index]
            term = (multiplier + penalty * excess).clamp_min(0).square() - multiplier.square()
            total = total + term.flatten(1).sum(1) / (2 * penalty)
        return total

    def rank(self, rendered: Motion, index: Tensor, costs: Tensor) -> Tensor:
        """Return the mean displacement in metres of movements within all bounds, and more for all others."""
        moved = (to_joints(rendered.data) - self._joints[index])[..., self._distinct, :].norm(dim=-1).mean(3)
        displacement = moved.sum((1, 2)) / self._count[index]
        beyond = [excess.clamp_min(0).flatten(1).sum(1) for excess in self._excess(rendered, index, 1.0).values()]
        total = torch.stack(beyond).sum(0)
        return torch.where(total > 0, _INFEASIBLE + total, displacement)

    def after_step(self, rendered: Motion, index: Tensor) -> None:
        """Adapt the multipliers after each round."""
        self._steps += 1
        if self._steps % self._of.inner:
            return
        for name, excess in self._excess(rendered, index, self._of.tighten).items():
            multipliers = self._multipliers[name]
            multipliers[index] = (multipliers[index] + self._of.penalty * excess).clamp_min(0)

    def violations(self, motion: Motion) -> dict[str, Tensor]:
        """Return what :class:`ADMM` adds to the distances, ``(n,)`` each, of the whole batch."""
        found, feasible = {}, torch.ones(len(motion), dtype=torch.bool, device=motion.data.device)
        everyone = torch.arange(len(motion), device=motion.data.device)
        for name, excess in self._excess(motion, everyone, 1.0).items():
            beyond = (excess > 0).flatten(1).sum(1)
            found[f"{name}_violations"] = beyond / self._counted[name].flatten(1).sum(1).clamp_min(1)
            feasible &= beyond == 0
        return {"feasible": feasible.to(motion.data.dtype), **found}
