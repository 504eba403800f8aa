"""The temporal sparse attack: a few generated silhouettes in place of, or between, a sequence's frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from gaitkeeper.attacks.attacked import Attacked
from gaitkeeper.attacks.goals import Goal
from gaitkeeper.attacks.gradient import Directions, Plan, Recognizer, descend
from gaitkeeper.attacks.splice import ROW, Mode, Placement, Slots, Spliced, place
from gaitkeeper.errors import DataError
from gaitkeeper.models.generators.gan import SilhouetteGAN
from gaitkeeper.models.victim import undisturbed
from gaitkeeper.motion.motion import Domain, Motion
from gaitkeeper.seeding import SampleStreams

Start = Literal["sphere", "normal", "clip"]
"""Latents to begin with: uniform on the sphere, standard normal (the paper's control), or those whose silhouettes are
nearest to the frames they replace."""

Realism = Literal["typical", "bce"]
"""What the critic asks for: a score not below those of most recorded frames, or ever higher ones."""


@dataclass(frozen=True, kw_only=True)
class Latents:
    """A generator's latents, one a frame, ``(n, k, v)``.

    Args:
        gan: the generator.
        domain: of the frames.
        begin: where to start.
        fit: steps of descent from the start toward the frames that stand there; only from the clip.
        sphere: bring latents back to the sphere of radius sqrt(v) after each step; else they may drift.
        straight_through: hand the victim the frames as stored, with the gradient of the identity for the rounding's.
    """

    gan: SilhouetteGAN
    domain: Domain
    begin: Start = "sphere"
    fit: int = 0
    sphere: bool = True
    straight_through: bool = False

    @property
    def radius(self) -> float:
        """Steps are measured in the latent's own units."""
        return 1.0

    def start(self, motion: Motion, streams: SampleStreams | None) -> Tensor:
        """Draw latents, or find those nearest to the frames."""
        if streams is None:
            raise DataError("latents have no unchanged start: expected random streams")
        shape = (motion.data.shape[1], self.gan.generator.latent)
        draws = torch.as_tensor(streams.normal(shape), dtype=torch.float32, device=motion.data.device)
        if self.begin == "normal":
            return draws
        if self.begin == "sphere":
            return self._on_sphere(draws)
        found = self.gan.nearest(motion.data.flatten(0, 1)).unflatten(0, motion.data.shape[:2])
        # A little jitter, so that another seed or restart begins elsewhere.
        latents = self._on_sphere(found + 0.05 * draws)
        for _ in range(self.fit):
            with torch.enable_grad():
                leaf = latents.detach().requires_grad_(True)
                error = (self._silhouettes(leaf) - motion.data).square().mean((2, 3)).sum()
            (gradient,) = torch.autograd.grad(error, leaf)
            latents = self._on_sphere(latents - 0.1 * gradient.sign())
        return latents

    def render(self, values: Tensor, motion: Motion) -> Motion:
        """Return the generated silhouettes; padding frames are empty."""
        frames = self._silhouettes(values).to(motion.data.dtype)
        if self.straight_through:
            frames = frames + (self.domain.harden(frames) - frames).detach()
        valid = self.domain.valid(motion)
        return motion.with_data(frames if valid is None else frames * valid)

    def steepest(self, gradient: Tensor, motion: Motion) -> Tensor:
        """Return the gradient's sign: steps of the L-infinity norm, as in equation 7."""
        return gradient.sign()

    def retract(self, values: Tensor, motion: Motion) -> Tensor:
        """Return the nearest latents on the sphere, or the same ones."""
        return self._on_sphere(values) if self.sphere else values

    def _on_sphere(self, values: Tensor) -> Tensor:
        return values * (values.shape[-1] ** 0.5 / values.norm(dim=-1, keepdim=True).clamp_min(1e-12))

    def _silhouettes(self, values: Tensor) -> Tensor:
        return self.gan.silhouettes(values.flatten(0, 1)).unflatten(0, values.shape[:2])


def neighbor_overlap(frames: Tensor, slots: Slots, rows: Tensor) -> Tensor:
    """Return how much each set frame overlaps with the frames before and after it, soft intersection over union.

    Args:
        frames: ``(n, k, h, w)`` in [0, 1], what is set.
        slots: where.
        rows: ``(n,)`` which samples of the slots.

    Returns:
        ``(n,)``, the mean over set frames and their one or two neighbors in the sequence as attacked.
    """
    motion = slots.filled(frames, rows)
    index, valid, whole = slots.index[rows], slots.valid[rows], motion.data
    full = torch.full((len(whole),), whole.shape[1], device=whole.device)
    length = full if motion.lengths is None else motion.lengths
    total = counted = torch.zeros(len(whole), dtype=whole.dtype, device=whole.device)
    every = torch.arange(len(whole), device=whole.device)[:, None]
    for step in (-1, 1):
        at = index + step
        there = valid & (at >= 0) & (at < length[:, None])
        other = whole[every, at.clamp(0, whole.shape[1] - 1)]
        own = whole[every, index]
        both = (own * other).sum((2, 3))
        either = (own + other - own * other).sum((2, 3))
        total = total + (both / either.clamp_min(1e-6) * there).sum(1)
        counted = counted + there.sum(1)
    return total / counted.clamp_min(1)


@dataclass(frozen=True, kw_only=True)
class TemporalSparse:
    """MI-FGSM over the latents of a silhouette generator.

    Args:
        gan: generator and critic.
        sparsity: S; K = max(1, round(S N)) frames of a sequence of N are set.
        mode: alter frames, or insert new ones.
        where: which frames.
        steps: T.
        step_size: epsilon, of a latent's coordinates.
        decay: mu.
        realism: lambda, the weight of the critic's term.
        realism_kind: see :data:`Realism`; ``bce`` is the paper's.
        coherence: weight of one minus the overlap with the neighboring frames; with it, start from the clip.
        begin: where the latents start.
        fit: steps of fitting them to the frames that stand there before the attack; only from the clip.
        sphere: keep latents on the sphere of the prior.
        restarts: further starts for the samples that have not yet succeeded.
        straight_through: see :class:`Latents`.
        directions: follow the gradient, or one random direction.
        keep: the best point met, or the last one. With random directions the last one is the matched control, which
            asks the victim nothing, and the best one a random search.

    Reference:
        He et al., "Temporal sparse adversarial attack on sequence-based gait recognition", arXiv 2002.09674,
        algorithm 1.

    Deviations:
        The mask selects the frames that are set, not the others (the printed equation 4 and lines 5 and 10 swap
        them); the critic's term pulls toward recorded frames (printed with the opposite sign) and sees scores that
        are scaled, since a WGAN's are unbounded; latents return to the sphere after each step; the lowest loss met
        is kept, and a sample stops when what would be stored has succeeded. The gradient is normalized over all set
        frames of a sample. :func:`published` gives the printed hyper-parameters.
    """

    gan: SilhouetteGAN
    sparsity: float = 1 / 40
    mode: Mode = "alter"
    where: Placement = "first"
    steps: int = 100
    step_size: float = 0.1
    decay: float = 1.0
    realism: float = 0.1
    realism_kind: Realism = "typical"
    coherence: float = 0.0
    begin: Start = "sphere"
    fit: int = 0
    sphere: bool = True
    restarts: int = 1
    straight_through: bool = True
    directions: Directions = "gradient"
    keep: Literal["best", "last"] = "best"

    def __call__(self, victim: Recognizer, motion: Motion, goal: Goal, *, streams: SampleStreams) -> Attacked:
        """Attack a batch of silhouette sequences.

        Args:
            victim: a Victim or an Identifier of silhouettes ``(n, t, h, w)``.
            motion: the originals.
            goal: what to reach.
            streams: one random stream a sample.

        Returns:
            The outcome of each sample as stored; the altered or longer sequences.

        Raises:
            DataError: the motion does not fit the victim, the sparsity is not in (0, 1], or the generator's frames do
                not fit the victim's.
        """
        victim.domain.check(motion)
        slots = place(motion, self.sparsity, mode=self.mode, where=self.where, streams=streams)
        return self.on(Spliced(victim, slots), goal, streams=streams)

    def on(self, spliced: Spliced, goal: Goal, *, streams: SampleStreams) -> Attacked:
        """Attack given frames of given sequences; see :meth:`__call__`."""
        self.gan.check(spliced.domain)
        variables = Latents(
            gan=self.gan, domain=spliced.domain, begin=self.begin, fit=self.fit, sphere=self.sphere,
            straight_through=self.straight_through,
        )  # fmt: skip
        plan = Plan(
            steps=self.steps, step_size=self.step_size, random_start=True, restarts=self.restarts, decay=self.decay,
            directions=self.directions, keep=self.keep,
        )  # fmt: skip
        found = descend(
            spliced, spliced.frames, goal, variables=variables, streams=streams, plan=plan,
            penalty=self._penalty(spliced) if self.realism or self.coherence else None,
        )  # fmt: skip
        return spliced.conclude(found, goal)

    def _penalty(self, spliced: Spliced) -> Callable[[Motion], Tensor]:
        def penalty(rendered: Motion) -> Tensor:
            total = torch.zeros(len(rendered), dtype=rendered.data.dtype, device=rendered.data.device)
            if self.realism:
                total = total + self.realism * self._unreal(rendered, spliced)
            if self.coherence:
                overlap = neighbor_overlap(rendered.data, spliced.slots, rendered.extras[ROW])
                total = total + self.coherence * (1 - overlap)
            return total

        return penalty

    def _unreal(self, rendered: Motion, spliced: Spliced) -> Tensor:
        """Return ``(n,)`` the critic's objection, the mean over a sample's frames."""
        critic = self.gan.critic
        with undisturbed(critic.module):
            scores = critic.scores(rendered.data.flatten(0, 1)).unflatten(0, rendered.data.shape[:2])
        if self.realism_kind == "bce":
            objection = functional.softplus(-critic.standard(scores))
        else:
            objection = (critic.standard(scores.new_tensor(critic.typical)) - critic.standard(scores)).clamp_min(0)
        valid = spliced.slots.valid[rendered.extras[ROW]]
        return (objection * valid).sum(1) / valid.sum(1)


def published(gan: SilhouetteGAN, *, sparsity: float = 1 / 40, mode: Mode = "alter") -> TemporalSparse:
    """Return the attack with the paper's hyper-parameters (section 4.1); use it with a cosine goal.

    The critic's term has the sign that its text describes; its weight of 1000 outweighs the cosine.
    """
    return TemporalSparse(
        gan=gan, sparsity=sparsity, mode=mode, where="first", steps=100, step_size=0.1, decay=1.0, realism=1000.0,
        realism_kind="bce", begin="sphere", straight_through=False,
    )  # fmt: skip
