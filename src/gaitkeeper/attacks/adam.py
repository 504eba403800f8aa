"""Adam over any variables: the cheapest success of each sample, where cost is what a movement should not have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from gaitkeeper.attacks.attacked import Attacked
from gaitkeeper.attacks.goals import Goal
from gaitkeeper.attacks.gradient import Directions, Recognizer, Search, admitted
from gaitkeeper.attacks.variables import Variables
from gaitkeeper.errors import DataError
from gaitkeeper.motion.motion import Motion
from gaitkeeper.seeding import SampleStreams


class Cost(Protocol):
    """What a movement costs beside the goal. A stateless one inherits all but the call.

    It must treat each sample by itself. State, if any, is kept for all samples of the batch; ``index`` says which of
    them are seen, since samples leave the batch as they finish.
    """

    def __call__(self, rendered: Motion, index: Tensor) -> Tensor:
        """Return ``(n,)`` costs of the samples ``index`` of the batch, differentiably."""
        ...

    def rank(self, rendered: Motion, index: Tensor, costs: Tensor) -> Tensor:
        """Return ``(n,)`` by which successes are compared: the least is kept. By default the costs.

        Costs that change as the attack goes on (multipliers, a discriminator) need a measure that does not.
        """
        return costs

    def after_step(self, rendered: Motion, index: Tensor) -> None:
        """Learn from the movements that the step just taken left. By default nothing is learned."""
        return


@dataclass(frozen=True, kw_only=True)
class AdamPlan:
    """How :func:`minimize` moves.

    Args:
        steps: greatest number of steps.
        step_size: of Adam, in the units of the variables.
        weight: of the cost beside the goal's loss.
        adapt: by which share a sample's weight falls after each step that is no success, and rises after each that is.
            It then hovers where success is only just reached, whatever the scale of the loss.
        kappa: descend on ``relu(loss + kappa)``: once the goal's margin exceeds kappa only the cost counts. Needs a
            goal that descends on margins. None descends on the loss as it is.
        slack: with kappa, the least margin of a success: on the boundary itself a decision may differ from one
            batch, machine or file to another. At most kappa is asked for.
        stop: go on for all steps to cheaper successes, or leave each sample at its first.
        patience: a sample also stops when its cheapest success has not become 1 per cent cheaper for so many steps;
            None never.
        betas: decay of Adam's two moments.
        random_start: begin at a random allowed point.
        directions: follow the gradient, or one random direction in steps of the same size (the matched control).
    """

    steps: int = 100
    step_size: float = 3e-3
    weight: float = 1.0
    adapt: float = 0.0
    kappa: float | None = 0.3
    slack: float = 1e-3
    stop: Literal["fixed", "first"] = "fixed"
    patience: int | None = None
    betas: tuple[float, float] = (0.9, 0.999)
    random_start: bool = False
    directions: Directions = "gradient"

    def __post_init__(self) -> None:
        if not all(value >= 0 for value in (self.steps, self.step_size, self.weight, self.adapt, self.slack)):
            raise ValueError(f"expected steps, step_size, weight, adapt and slack >= 0, got {self}")
        if self.kappa is not None and not self.kappa >= 0:
            raise ValueError(f"expected kappa >= 0 or None, got {self.kappa}")
        if self.patience is not None and self.patience < 1:
            raise ValueError(f"expected patience >= 1 or None, got {self.patience}")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"expected betas in [0, 1), got {self.betas}")


def minimize(
    victim: Recognizer,
    motion: Motion,
    goal: Goal,
    *,
    variables: Variables,
    cost: Cost,
    plan: AdamPlan,
    streams: SampleStreams,
) -> Attacked:
    """Lower the goal's loss and the cost of movements by one persistent Adam, each sample by itself.

    Of each sample the success of least cost is kept, not the first or the last; of one that never succeeds the point
    of the lowest goal loss. k steps cost k + 1 forward passes.

    Args:
        victim: what to fool.
        motion: the originals, in the victim's domain; they are hardened to its stored format first.
        goal: what to reach.
        variables: what to move.
        cost: what else a rendered motion costs.
        plan: how to move.
        streams: one random stream a sample.

    Returns:
        The outcome of each sample, as stored.

    Raises:
        DataError: the motion does not fit the victim's domain, or a loss or cost is not finite.
        ValueError: ``kappa`` with a goal that does not descend on margins.

    Reference:
        Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015; the hinge: Carlini and Wagner, "Towards
        evaluating the robustness of neural networks", S&P 2017.
    """
    if plan.kappa is not None and getattr(goal, "kind", None) not in ("margin", "relative"):
        raise ValueError(f"kappa is a margin: expected a goal that descends on margins, or kappa=None, got {goal}")
    motion, streams = admitted(victim, motion, streams)
    with torch.no_grad():
        search = Search(victim, motion, goal)
        _run(search, variables, cost, plan, streams)
        return search.finish()


def _run(search: Search, variables: Variables, cost: Cost, plan: AdamPlan, streams: SampleStreams) -> None:
    own, active = search.origin, torch.arange(len(search.origin), device=search.origin.data.device)
    values = variables.start(own, streams if plan.random_start else None)
    drift = torch.zeros_like(values)
    if plan.directions == "random":
        drift = torch.as_tensor(streams.normal(values.shape[1:]), dtype=values.dtype, device=values.device)
    # Samples only ever leave, so that all that remain have taken the same number of steps.
    first, second = torch.zeros_like(values), torch.zeros_like(values)
    stale, weight = torch.zeros_like(active), torch.full_like(search.best_loss, plan.weight)
    for step in range(plan.steps + 1):
        last = step == plan.steps
        goal, follow = search.goal.select(active), plan.directions == "gradient" and not last
        with torch.set_grad_enabled(follow):
            leaf = values.detach().requires_grad_(follow)
            rendered = variables.render(leaf, own)
            outputs = search.victim(rendered)
            losses = goal.loss(outputs)
            costs = cost(rendered, active)
            hinged = losses if plan.kappa is None else (losses + plan.kappa).clamp_min(0)
            total = (hinged + weight * costs).sum()
        search.forwards[active] += 1
        if not torch.isfinite(losses).all():
            raise DataError("the victim's outputs are not finite: its weights or its input hold extreme values")
        if not torch.isfinite(costs).all():
            raise DataError("the cost of a movement is not finite: the input holds extreme values")
        seen = rendered.with_data(rendered.data.detach())
        claims = goal.success(outputs)
        if plan.kappa is not None:
            claims = claims & (losses <= -min(plan.slack, plan.kappa))
        before = search.cheapest[active]
        held = search.note(active, seen.data, losses.detach(), claims, cost.rank(seen, active, costs.detach()))
        weight = torch.where(held, weight * (1 + plan.adapt), weight / (1 + plan.adapt))
        enough = torch.where(before.isinf(), before, before - 0.01 * before.abs())
        stale = torch.where(search.cheapest[active] < enough, 0, stale + 1)
        done = search.won[active] & (stale >= (plan.patience or plan.steps + 2))
        if plan.stop == "first":
            done = search.won[active]
        if last or done.all():
            return
        gradient = drift
        if follow:
            search.backwards[active] += 1
            gradient = torch.autograd.grad(total, leaf)[0]
        if done.any():
            keep = (~done).nonzero()[:, 0]
            active, own, seen = active[keep], own.select(keep), seen.select(keep)
            values, gradient, drift = values[keep], gradient[keep], drift[keep]
            first, second, stale, weight = first[keep], second[keep], stale[keep], weight[keep]
        first = first.lerp(gradient, 1 - plan.betas[0])
        second = second.lerp(gradient.square(), 1 - plan.betas[1])
        size = (second / (1 - plan.betas[1] ** (step + 1))).sqrt().add_(1e-8)
        move = (first / (1 - plan.betas[0] ** (step + 1))).div_(size)
        values = variables.retract(values - plan.step_size * move, own)
        search.steps[active] += 1
        cost.after_step(seen, active)
