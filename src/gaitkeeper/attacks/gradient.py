"""FGSM, PGD and MI-FGSM on any domain and threat, and the control that tells what their gradients are worth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import torch
from torch import Tensor

from gaitkeeper.attacks.attacked import Attacked, distances
from gaitkeeper.attacks.goals import Goal
from gaitkeeper.attacks.joints import Bones, Skeleton
from gaitkeeper.attacks.threats import Threat
from gaitkeeper.attacks.variables import Perturbation, Variables
from gaitkeeper.errors import DataError
from gaitkeeper.models.victim import Outputs
from gaitkeeper.motion.motion import Domain, Motion
from gaitkeeper.seeding import SampleStreams

Directions = Literal["gradient", "random"]

Penalty = Callable[[Motion], Tensor]
"""What else a rendered motion costs, ``(n,)``."""


class Recognizer(Protocol):
    """What can be attacked: a Victim, an Identifier, a defense's surrogate."""

    domain: Domain

    def __call__(self, motion: Motion) -> Outputs:
        """Return differentiable outputs."""
        ...


@dataclass(frozen=True, kw_only=True)
class FGSM:
    """One step of the size of the budget.

    Args:
        directions: follow the gradient, or a random direction in steps of the same size (the matched control).
        straight_through: see :class:`~gaitkeeper.attacks.variables.Perturbation`.
        bones: of skeletons; exact ones keep their lengths, see :class:`~gaitkeeper.attacks.joints.Skeleton`.

    Reference:
        Goodfellow et al., "Explaining and harnessing adversarial examples", ICLR 2015.

    Deviations:
        For norms other than L-infinity the step is the steepest one of that norm.
    """

    directions: Directions = "gradient"
    straight_through: bool = False
    bones: Bones = "free"

    def __call__(
        self, victim: Recognizer, motion: Motion, goal: Goal, *, threat: Threat, streams: SampleStreams
    ) -> Attacked:
        """Attack a batch; see :func:`descend`."""
        variables = _variables(self, victim.domain, threat)
        return descend(
            victim, motion, goal, variables=variables, streams=streams,
            plan=Plan(steps=1, step_size=threat.eps, directions=self.directions),
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class PGD:
    """Projected gradient descent from a random start.

    Args:
        steps: steps of each restart.
        step_size: in the units of the data; None is 2.5 times the budget over the number of steps.
        random_start: begin at a random allowed point.
        restarts: further starts for the samples that have not yet succeeded.
        directions: follow the gradient, or a random direction in steps of the same size (the matched control).
        straight_through: see :class:`~gaitkeeper.attacks.variables.Perturbation`.
        bones: of skeletons; exact ones keep their lengths, see :class:`~gaitkeeper.attacks.joints.Skeleton`.

    Reference:
        Madry et al., "Towards deep learning models resistant to adversarial attacks", ICLR 2018.
    """

    steps: int = 10
    step_size: float | None = None
    random_start: bool = True
    restarts: int = 1
    directions: Directions = "gradient"
    straight_through: bool = False
    bones: Bones = "free"

    def __call__(
        self, victim: Recognizer, motion: Motion, goal: Goal, *, threat: Threat, streams: SampleStreams
    ) -> Attacked:
        """Attack a batch; see :func:`descend`."""
        step_size = 2.5 * threat.eps / max(self.steps, 1) if self.step_size is None else self.step_size
        variables = _variables(self, victim.domain, threat)
        plan = Plan(
            steps=self.steps, step_size=step_size, random_start=self.random_start, restarts=self.restarts,
            directions=self.directions,
        )  # fmt: skip
        return descend(victim, motion, goal, variables=variables, streams=streams, plan=plan)


@dataclass(frozen=True, kw_only=True)
class MIFGSM:
    """Iterated steps along the accumulated gradient, each gradient first scaled to unit L1 norm.

    Args:
        steps: number of steps.
        step_size: in the units of the data; None is the budget over the number of steps.
        decay: weight of the accumulated gradient, mu in the paper.
        directions: follow the gradient, or a random direction in steps of the same size (the matched control).
        straight_through: see :class:`~gaitkeeper.attacks.variables.Perturbation`.
        bones: of skeletons; exact ones keep their lengths, see :class:`~gaitkeeper.attacks.joints.Skeleton`.

    Reference:
        Dong et al., "Boosting adversarial attacks with momentum", CVPR 2018, algorithm 1.
    """

    steps: int = 10
    step_size: float | None = None
    decay: float = 1.0
    directions: Directions = "gradient"
    straight_through: bool = False
    bones: Bones = "free"

    def __call__(
        self, victim: Recognizer, motion: Motion, goal: Goal, *, threat: Threat, streams: SampleStreams
    ) -> Attacked:
        """Attack a batch; see :func:`descend`."""
        step_size = threat.eps / max(self.steps, 1) if self.step_size is None else self.step_size
        variables = _variables(self, victim.domain, threat)
        plan = Plan(steps=self.steps, step_size=step_size, decay=self.decay, directions=self.directions)
        return descend(victim, motion, goal, variables=variables, streams=streams, plan=plan)


def _variables(attack: FGSM | PGD | MIFGSM, domain: Domain, threat: Threat) -> Variables:
    if attack.bones == "exact":
        return Skeleton(domain=domain, threat=threat)
    return Perturbation(threat=threat, domain=domain, straight_through=attack.straight_through)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How :func:`descend` moves; the attacks above are settings of it.

    Args:
        steps: steps of each restart.
        step_size: radius of a step.
        random_start: begin each restart at a random allowed point.
        restarts: how often the samples that have not succeeded begin anew.
        decay: momentum over L1-normalized gradients; None uses the bare gradient.
        directions: follow the gradient, or one random direction a restart.
        keep: the best point met, or the last one, which asks the victim nothing on the way.
    """

    steps: int
    step_size: float
    random_start: bool = False
    restarts: int = 1
    decay: float | None = None
    directions: Directions = "gradient"
    keep: Literal["best", "last"] = "best"

    def __post_init__(self) -> None:
        if self.steps < 0 or self.restarts < 1 or not self.step_size >= 0:
            raise ValueError(f"expected steps >= 0, restarts >= 1 and step_size >= 0, got {self}")
        if self.keep == "last" and (self.directions == "gradient" or self.restarts > 1):
            raise ValueError("only a single run in a random direction can keep its last point unseen")


class Search:
    """The best point found for each sample, and what finding it cost.

    Args:
        victim: what to fool.
        motion: the originals, as stored.
        goal: what to reach.
    """

    def __init__(self, victim: Recognizer, motion: Motion, goal: Goal) -> None:
        self.victim, self.goal, self.origin = victim, goal, motion
        n, device = len(motion), motion.data.device
        self.best = motion.data.clone()
        self.best_loss = torch.full((n,), float("inf"), dtype=motion.data.dtype, device=device)
        self.cheapest = torch.full_like(self.best_loss, float("inf"))
        self.won = torch.zeros(n, dtype=torch.bool, device=device)
        self.forwards, self.backwards, self.steps = (torch.zeros(n, dtype=torch.int64, device=device) for _ in "fbs")

    def note(self, index: Tensor, data: Tensor, losses: Tensor, claims: Tensor, costs: Tensor | None = None) -> Tensor:
        """Keep what is better; check claimed successes on what would be stored.

        Args:
            index: ``(k,)`` which samples.
            data: their values, as the victim saw them.
            losses: ``(k,)``; as long as a sample has not succeeded its point of the lowest loss is kept.
            claims: ``(k,)`` bool, the victim took the values for a success.
            costs: ``(k,)``; of successes that of least cost is kept. None keeps the first.

        Returns:
            ``(k,)`` bool, which claims hold.
        """
        better = (losses < self.best_loss[index]) & ~self.won[index]
        self.best[index[better]] = data[better]
        self.best_loss[index[better]] = losses[better].to(self.best_loss.dtype)
        hard = self.victim.domain.harden(data)
        held = claims & (hard != self.origin.data[index]).flatten(1).any(1)
        # What is stored as it was seen needs no second look.
        unseen = (held & (hard != data).flatten(1).any(1)).nonzero()[:, 0]
        if len(unseen):
            at = index[unseen]
            outputs = self.victim(self.origin.select(at).with_data(hard[unseen]))
            self.forwards[at] += 1
            held[unseen] = self.goal.select(at).success(outputs)
        rank = torch.zeros_like(losses) if costs is None else costs
        cheaper = held & (rank < self.cheapest[index])
        at = index[cheaper]
        self.won[at] = True
        self.best[at] = hard[cheaper]
        self.cheapest[at] = rank[cheaper].to(self.cheapest.dtype)
        return held

    def finish(self) -> Attacked:
        """Decide on what is stored, by a fresh forward pass."""
        hard = self.victim.domain.harden(self.best)
        outputs = self.victim(self.origin.with_data(hard))
        self.forwards += 1
        return Attacked(
            motion=self.origin.with_data(hard),
            success=self.goal.success(outputs),
            loss=self.goal.loss(outputs),
            outputs=outputs,
            distances=distances(hard, self.origin.data, self.victim.domain),
            forwards=self.forwards,
            backwards=self.backwards,
            steps=self.steps,
        )


def admitted(victim: Recognizer, motion: Motion, streams: SampleStreams) -> tuple[Motion, SampleStreams]:
    """Return a motion as the victim stores it, and streams whose draws do not depend on its padding.

    Raises:
        DataError: the motion does not fit the victim's domain, or is empty.
        ValueError: there are not as many streams as samples.
    """
    victim.domain.check(motion)
    if len(streams) != len(motion):
        raise ValueError(f"{len(motion)} samples need as many random streams, got {len(streams)}")
    if not len(motion):
        raise DataError("expected at least one sample, got an empty motion")
    motion = motion.with_data(victim.domain.harden(motion.data.detach()))
    if motion.lengths is not None:
        streams = streams.within(motion.lengths.tolist(), victim.domain.axis("t") - 1)
    return motion, streams


def descend(
    victim: Recognizer,
    motion: Motion,
    goal: Goal,
    *,
    variables: Variables,
    streams: SampleStreams,
    plan: Plan,
    penalty: Penalty | None = None,
) -> Attacked:
    """Lower the goal's loss by steps of the variables' steepest direction; samples stop when they have succeeded.

    A sample has succeeded when what would be stored reaches the goal. Samples that never do keep the point of the
    lowest loss met. The last point of a run is looked at too: k steps cost k + 1 forward passes.

    Args:
        victim: what to fool.
        motion: the originals, in the victim's domain; they are hardened to its stored format first.
        goal: what to reach.
        variables: what to move.
        streams: one random stream a sample.
        plan: how to move.
        penalty: ``(n,)`` of a rendered motion, added to the goal's loss.

    Returns:
        The outcome of each sample, as stored.

    Raises:
        DataError: the motion does not fit the victim's domain, or the loss is not finite.
    """
    motion, streams = admitted(victim, motion, streams)
    with torch.no_grad():
        search = Search(victim, motion, goal)
        for _ in range(plan.restarts):
            active = (~search.won).nonzero()[:, 0]
            if len(active):
                _run(search, active, variables, streams, plan, penalty)
        return search.finish()


def _run(
    search: Search,
    active: Tensor,
    variables: Variables,
    streams: SampleStreams,
    plan: Plan,
    penalty: Penalty | None,
) -> None:
    """One start of the samples ``active``; those that succeed leave, so that later steps are spent on the others."""
    own = search.origin.select(active)
    values = variables.start(own, streams.select(active.tolist()) if plan.random_start else None)
    momentum = drift = torch.zeros_like(values)
    if plan.directions == "random":
        # One direction for the whole run: a new one at every step would cancel the last and use up no budget.
        draws = streams.select(active.tolist()).normal(values.shape[1:])
        drift = torch.as_tensor(draws, dtype=values.dtype, device=values.device)
    for step in range(plan.steps + 1):
        last = step == plan.steps
        gradient = drift
        if last or plan.keep == "best":
            follow = plan.directions == "gradient" and not last
            held, found = _look(search, active, own, values, variables, penalty, gradient=follow)
            if last or held.all():
                return
            gradient = drift if found is None else found
            if held.any():
                keep = (~held).nonzero()[:, 0]
                active, own = active[keep], own.select(keep)
                values, gradient, momentum, drift = values[keep], gradient[keep], momentum[keep], drift[keep]
        if plan.decay is not None:
            size = gradient.flatten(1).abs().sum(1).clamp_min(1e-30)
            gradient = momentum = plan.decay * momentum + gradient / size.reshape(-1, *[1] * (gradient.ndim - 1))
        values = variables.retract(values - plan.step_size * variables.steepest(gradient, own), own)
        search.steps[active] += 1


def _look(
    search: Search,
    active: Tensor,
    own: Motion,
    values: Tensor,
    variables: Variables,
    penalty: Penalty | None,
    *,
    gradient: bool,
) -> tuple[Tensor, Tensor | None]:
    """Run the victim on some samples and note what is found; returns which have succeeded, and the gradient."""
    goal = search.goal.select(active)
    with torch.set_grad_enabled(gradient):
        leaf = values.detach().requires_grad_(gradient)
        rendered = variables.render(leaf, own)
        outputs = search.victim(rendered)
        losses = goal.loss(outputs)
        if penalty is not None:
            losses = losses + penalty(rendered)
        total = losses.sum()
    search.forwards[active] += 1
    if not torch.isfinite(losses).all():
        raise DataError("the victim's outputs are not finite: its weights or its input hold extreme values")
    held = search.note(active, rendered.data.detach(), losses.detach(), goal.success(outputs))
    if not gradient or held.all():
        return held, None
    search.backwards[active] += 1
    return held, torch.autograd.grad(total, leaf)[0]


def control_of(attack: FGSM | PGD | MIFGSM) -> FGSM | PGD | MIFGSM:
    """Return the matched control of an attack: the same start, steps and step size, in a random direction."""
    return replace(attack, directions="random")
