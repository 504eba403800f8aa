"""CIASA: a targeted attack on joints under which bones keep their lengths and a discriminator sees plausible poses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from gaitkeeper.attacks.adam import AdamPlan, Cost, minimize
from gaitkeeper.attacks.attacked import Attacked
from gaitkeeper.attacks.goals import Goal
from gaitkeeper.attacks.gradient import Directions, Recognizer, admitted
from gaitkeeper.attacks.joints import JointRadii, Skeleton, of_skeletons, present
from gaitkeeper.motion.kinematics import POINT, bone_lengths, bone_vectors, derivative, to_joints
from gaitkeeper.motion.motion import Domain, Motion
from gaitkeeper.motion.skeletons import Layout
from gaitkeeper.seeding import SampleStreams

Smooth = Literal["motion", "change"]
"""What is to be smooth: the attacked movement itself, or what the attack adds to it."""


@dataclass(frozen=True, kw_only=True)
class CIASA:
    """Adam on joint displacements, with bones kept, a bound for each joint, smoothness and a discriminator.

    With ``Targeted`` goals it is the published attack; ``Nontargeted`` ones are an extension.

    Args:
        steps: of the attack.
        step_size: of Adam, in metres.
        near: greatest displacement of joints at the root, in metres.
        far: greatest displacement of the joints farthest from the root in number of bones; those between are
            bounded in proportion.
        joints: the only joints that may move, for a localized attack; None moves all.
        alpha: weight of the smoothness, the sum over frames and joints of squared second differences in metres a
            frame squared.
        smooth: see :data:`Smooth`.
        beta: weight of the plausibility; 0 trains no discriminator.
        every: attack steps to each step of the discriminator.
        hidden: width of the discriminator.
        learning_rate: of the discriminator's Adam.
        kappa: the margin up to which the goal counts; None for goals without margins.
        patience: see :class:`~gaitkeeper.attacks.adam.AdamPlan`.
        directions: follow the gradient, or a random direction in steps of the same size (the matched control).

    Reference:
        Liu et al., "Adversarial attack on skeleton-based human action recognition", TNNLS 2022.

    Deviations:
        Of the paper only the abstract could be consulted; weights, bounds and the discriminator's form are this
        package's. What is smoothed by default is the change; smoothing the movement itself calms quick clips more
        than it fools. Realignment of bones is part of what is differentiated, not a step after. Released
        re-implementations cut the gradient between discriminator and movement, train it toward both answers at once
        and leave out realignment and bounds; none of that is followed. Each clip has a discriminator of its own, so
        that what it learns does not depend on the other clips of a batch. Of the successes met, that of the least
        mean displacement is kept.
    """

    steps: int = 100
    step_size: float = 3e-3
    near: float = 0.02
    far: float = 0.1
    joints: tuple[int, ...] | None = None
    alpha: float = 10.0
    smooth: Smooth = "change"
    beta: float = 0.1
    every: int = 1
    hidden: int = 16
    learning_rate: float = 1e-2
    kappa: float | None = 0.3
    patience: int | None = None
    directions: Directions = "gradient"

    def __post_init__(self) -> None:
        if not (0 <= self.near <= self.far < float("inf")):
            raise ValueError(f"expected bounds 0 <= near <= far, got {self.near} and {self.far}")
        if self.every < 1 or self.hidden < 1 or not self.alpha >= 0 or not self.beta >= 0:
            raise ValueError(f"expected every and hidden >= 1, alpha and beta >= 0, got {self}")

    def __call__(self, victim: Recognizer, motion: Motion, goal: Goal, *, streams: SampleStreams) -> Attacked:
        """Attack a batch; see :func:`~gaitkeeper.attacks.adam.minimize`.

        Raises:
            DataError: the victim does not take skeletons of a known layout, or the motion does not fit it.
        """
        threat = JointRadii(radii=hierarchy(of_skeletons(victim.domain), self.near, self.far))
        variables = Skeleton(domain=victim.domain, bones="exact", joints=self.joints, threat=threat)
        motion, _ = admitted(victim, motion, streams)
        discriminators = None
        if self.beta:
            discriminators = Discriminators(
                motion, victim.domain, hidden=self.hidden, learning_rate=self.learning_rate, streams=streams
            )
        cost = Implausibility(
            motion, victim.domain, discriminators, alpha=self.alpha, smooth=self.smooth, beta=self.beta,
            every=self.every,
        )  # fmt: skip
        plan = AdamPlan(
            steps=self.steps, step_size=self.step_size, kappa=self.kappa, patience=self.patience,
            directions=self.directions,
        )  # fmt: skip
        return minimize(victim, motion, goal, variables=variables, cost=cost, plan=plan, streams=streams)


def hierarchy(layout: Layout, near: float, far: float) -> tuple[float, ...]:
    """Return a bound for each joint, from ``near`` at the root to ``far`` at the joints most bones away from it.

    Coincident joints, which move together, are one.
    """
    depth = [0] * len(layout)
    for joint, carried in layout.bones:
        same = layout.places[joint] == layout.places[carried]
        depth[carried] = depth[joint] + (0 if same else 1)
    deepest = max(depth)
    return tuple(near + (far - near) * bones / deepest for bones in depth)


class Discriminators:
    """For each clip a small network that tells its own poses from attacked ones.

    What it sees of a pose are the cosines between all pairs of bones, less their mean in the clean clip and over
    their deviation there. Bones without length have no direction; their cosines count as 0. One hidden layer, one
    answer a person and frame, logistic loss: clean poses are real, attacked ones are not.

    Args:
        motion: ``(n, 3, t, v, m)`` clean clips.
        domain: theirs, of skeletons.
        hidden: width.
        learning_rate: of Adam.
        streams: one a sample, for the first weights.
    """

    def __init__(
        self, motion: Motion, domain: Domain, *, hidden: int, learning_rate: float, streams: SampleStreams
    ) -> None:
        self._layout = of_skeletons(domain)
        self.valid = _there(motion, domain).flatten(1)
        self._count = self.valid.sum(1).clamp_min(1)
        joints = to_joints(motion.data)
        # A bone without length in the clip stays without direction, whatever becomes of it.
        self._long = (bone_lengths(joints, self._layout) > POINT).flatten(1, 2)
        clean = self._cosines(joints, self._long)
        shown = self.valid[:, :, None]
        self._mean = torch.where(shown, clean, 0).sum(1, keepdim=True) / self._count[:, None, None]
        variance = torch.where(shown, clean - self._mean, 0).square().sum(1, keepdim=True) / self._count[:, None, None]
        # Angles that the clip never changes would else weigh without bound.
        self._deviation = variance.sqrt().clamp_min(0.05)
        self._clean = (clean - self._mean) / self._deviation
        pairs = clean.shape[2]
        # Drawn flat: streams take a second axis for frames.
        draws = torch.as_tensor(streams.normal(((pairs + 1) * hidden,)), dtype=clean.dtype, device=clean.device)
        first, second = draws[:, : pairs * hidden], draws[:, pairs * hidden :]
        self._weights = [
            (first / pairs**0.5).reshape(-1, pairs, hidden),
            torch.zeros_like(first[:, None, :hidden]),
            (second / hidden**0.5)[:, :, None],
            torch.zeros_like(second[:, None, :1]),
        ]
        self._moments = [(torch.zeros_like(weight), torch.zeros_like(weight)) for weight in self._weights]
        self._learned = torch.zeros_like(self._count)
        self._learning_rate = learning_rate

    def _cosines(self, joints: Tensor, long: Tensor) -> Tensor:
        """Return the cosines of all pairs of bones, ``(n, m * t, pairs)``; 0 where one of them is not ``long``."""
        vectors = bone_vectors(joints, self._layout).flatten(1, 2)
        squared = vectors.square().sum(-1, keepdim=True)
        known = long[..., None] & (squared > POINT**2)
        directions = torch.where(known, vectors / torch.where(known, squared, 1).sqrt(), 0)
        one, other = torch.triu_indices(directions.shape[2], directions.shape[2], 1, device=joints.device)
        return (directions @ directions.transpose(2, 3))[:, :, one, other]

    def _seen(self, motion: Motion, index: Tensor) -> Tensor:
        cosines = self._cosines(to_joints(motion.data), self._long[index])
        return (cosines - self._mean[index]) / self._deviation[index]

    @staticmethod
    def _answer(features: Tensor, weights: list[Tensor]) -> Tensor:
        """Return the logits of being real, ``(n, m * t)``."""
        inner, shift, outer, offset = weights
        return (functional.leaky_relu(features @ inner + shift, 0.2) @ outer + offset)[:, :, 0]

    def _average(self, values: Tensor, index: Tensor) -> Tensor:
        return torch.where(self.valid[index], values, 0).sum(1) / self._count[index]

    def real(self, motion: Motion, index: Tensor) -> Tensor:
        """Return the logits of being real, ``(n, m * t)``, differentiably with respect to the motion.

        Args:
            motion: of the samples ``index``.
            index: ``(n,)`` which clips of all.
        """
        return self._answer(self._seen(motion, index), [weight[index] for weight in self._weights])

    def loss(self, motion: Motion, index: Tensor) -> Tensor:
        """Return ``(n,)``, how far each clip is from being taken for real: the mean over poses of the logistic loss."""
        return self._average(functional.softplus(-self.real(motion, index)), index)

    def learn(self, motion: Motion, index: Tensor) -> None:
        """Take one step of Adam toward telling the clean clips from these."""
        own = [weight[index] for weight in self._weights]
        with torch.no_grad():
            fake = self._seen(motion, index)
        with torch.enable_grad():
            for weight in own:
                weight.requires_grad_(True)
            losses = functional.softplus(-self._answer(self._clean[index], own))
            losses = losses + functional.softplus(self._answer(fake, own))
            gradients = torch.autograd.grad(self._average(losses, index).sum(), own)
        self._learned[index] += 1
        steps = self._learned[index][:, None, None].to(fake.dtype)
        for weight, (first, second), gradient in zip(self._weights, self._moments, gradients, strict=True):
            first[index] = first[index].lerp(gradient, 0.1)
            second[index] = second[index].lerp(gradient.square(), 0.001)
            size = (second[index] / (1 - 0.999**steps)).sqrt() + 1e-8
            weight[index] -= self._learning_rate * first[index] / (1 - 0.9**steps) / size


class Implausibility(Cost):
    """What CIASA adds to the prediction loss: roughness, and what the discriminators hold against the movement.

    Args:
        motion: the originals of the whole batch.
        domain: theirs, of skeletons.
        discriminators: of the same clips; None leaves them out.
        alpha: weight of the roughness.
        smooth: see :data:`Smooth`.
        beta: weight of the discriminators.
        every: steps of the attack to one of the discriminators.
    """

    def __init__(
        self,
        motion: Motion,
        domain: Domain,
        discriminators: Discriminators | None = None,
        *,
        alpha: float = 10.0,
        smooth: Smooth = "change",
        beta: float = 0.1,
        every: int = 1,
    ) -> None:
        self.discriminators = discriminators
        self._origin = to_joints(motion.data)
        self._there = _there(motion, domain)
        self._distinct = list(of_skeletons(domain).distinct)
        self._alpha, self._beta, self._every = alpha, beta, every
        self._smooth: Smooth = smooth
        self._steps = 0

    def __call__(self, rendered: Motion, index: Tensor) -> Tensor:
        """Return ``(n,)``, differentiably.

        Raises:
            DataError: the clips have fewer than three frames.
        """
        joints = to_joints(rendered.data)[..., self._distinct, :]
        if self._smooth == "change":
            joints = joints - self._origin[index][..., self._distinct, :]
        second = derivative(joints, 2, 1.0).square().sum((3, 4))
        # Who comes or goes does not accelerate.
        steady = self._there[index].unfold(2, 3, 1).all(-1)
        cost = self._alpha * torch.where(steady, second, 0).sum((1, 2))
        if self.discriminators is not None:
            cost = cost + self._beta * self.discriminators.loss(rendered, index)
        return cost

    def rank(self, rendered: Motion, index: Tensor, costs: Tensor) -> Tensor:
        """Return the mean displacement of joints, in metres: the costs change as the discriminators learn."""
        moved = (to_joints(rendered.data) - self._origin[index])[..., self._distinct, :].norm(dim=-1).mean(3)
        return moved.sum((1, 2)) / self._there[index].sum((1, 2)).clamp_min(1)

    def after_step(self, rendered: Motion, index: Tensor) -> None:
        """Let the discriminators learn from the movements, every so many steps."""
        self._steps += 1
        if self.discriminators is not None and self._steps % self._every == 0:
            self.discriminators.learn(rendered, index)


def _there(motion: Motion, domain: Domain) -> Tensor:
    """Return ``(n, m, t)`` bool, whether a person is there."""
    return present(motion, domain)[:, 0, :, 0].movedim(2, 1) > 0
