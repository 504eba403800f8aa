"""What a changed movement looks like beside the original: SMART's perceptual loss, in metres."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gaitkeeper.attacks.adam import Cost
from gaitkeeper.attacks.joints import of_skeletons, present
from gaitkeeper.errors import DataError
from gaitkeeper.motion import kinematics
from gaitkeeper.motion.motion import Domain, Motion

FPS = 30.0
"""Frames a second of clips that do not tell theirs."""


@dataclass(frozen=True, kw_only=True)
class Perceptual:
    """``sum_n w_n |q^(n) - q'^(n)|^2 + w_b |B - B'|^2``: joints q and their derivatives, bone lengths B, in metres.

    Squares are summed over the frames of a clip, its persons, joints and coordinates, or bones. Joints of padding
    frames and absent persons do not count, nor do derivatives across them.

    Args:
        derivatives: w_n by order: positions, velocities, accelerations and so on.
        bones: w_b.
        time: derivatives in metres a frame (differences), or in metres a second. Clips that were resampled to one
            length have rates of their own, in ``extras["fps"]``.
        joints: weights of joints in the term of the positions; None counts each place once, so that of coincident
            joints only one counts. Derivatives count each place once.
        average: take the mean over frames instead of the sum in the term of the bones, as published.
        rough: weight of what a clip's accelerations, summed over frames, persons and places in metres a frame squared,
            exceed the original's. A change of small acceleration still roughens a movement; this asks it not to.

    Reference:
        Wang et al., "Understanding the robustness of skeleton-based action recognition under adversarial attack",
        CVPR 2021.

    Deviations:
        The published loss is of coordinates normalized over the data, whose "bones" change within a clip; this is of
        metres. Its printed form is :meth:`printed`; the defaults are the weights that work in metres.
    """

    derivatives: tuple[float, ...] = (1.0, 0.0, 3.0)
    bones: float = 5.0
    time: Literal["frames", "seconds"] = "frames"
    joints: tuple[float, ...] | None = None
    average: bool = False
    rough: float = 0.0

    def __post_init__(self) -> None:
        weights = (*self.derivatives, self.bones, self.rough, *(self.joints or ()))
        if not all(0 <= weight < float("inf") for weight in weights):
            raise ValueError(f"expected finite weights >= 0, got {self}")

    @classmethod
    def printed(
        cls, *, alpha: float, betas: Sequence[float], time: Literal["frames", "seconds"] = "seconds"
    ) -> Perceptual:
        """Return ``alpha sum_n beta_n |q^(n) - q'^(n)|^2 + (1 - alpha) (1 / M) sum |Bl - Bl'|^2`` over M frames.

        Args:
            alpha: share of the dynamics.
            betas: by order of the derivative; they sum to 1.
            time: see :class:`Perceptual`.
        """
        if not 0 <= alpha <= 1 or abs(sum(betas) - 1) > 1e-6:
            raise ValueError(f"expected alpha in [0, 1] and betas that sum to 1, got {alpha} and {list(betas)}")
        return cls(derivatives=tuple(alpha * beta for beta in betas), bones=1 - alpha, time=time, average=True)

    def of(self, motion: Motion, domain: Domain) -> PerceptualCost:
        """Return the cost of changes of a batch of clips."""
        return PerceptualCost(self, motion, domain)


class PerceptualCost(Cost):
    """The perceptual loss of changed clips, in which each of a batch is compared with its original.

    Args:
        weights: of the terms.
        motion: the originals, of skeletons.
        domain: theirs.

    Raises:
        DataError: the domain is not of skeletons, weights of joints do not fit it, or a clip is too short.
    """

    def __init__(self, weights: Perceptual, motion: Motion, domain: Domain) -> None:
        self.weights, self.clean, self._layout = weights, motion.data, of_skeletons(domain)
        data, places = motion.data, self._layout.distinct
        counted = [float(joint in places) for joint in range(len(self._layout))]
        each = counted if weights.joints is None else list(weights.joints)
        if len(each) != len(self._layout):
            raise DataError(f"expected a weight for each of {len(self._layout)} joints, got {len(each)}")
        there = present(motion, domain)
        rate = torch.full((len(data),), FPS if motion.fps is None else motion.fps, dtype=data.dtype, device=data.device)
        rate = motion.extras.get("fps", rate).to(data.dtype).reshape(-1, 1, 1, 1, 1)
        self._terms: list[tuple[int, Tensor]] = []
        for order, weight in enumerate(weights.derivatives):
            if not weight:
                continue
            if data.shape[2] <= order:
                raise DataError(f"a derivative of order {order} needs {order + 1} frames, got {data.shape[2]}")
            both = there.unfold(2, order + 1, 1).amin(-1)
            unit = rate ** (2 * order) if weights.time == "seconds" else torch.ones_like(rate)
            share = data.new_tensor(counted if order else each)[:, None]
            self._terms.append((order, weight * both * unit * share))
        self._rough: tuple[Tensor, Tensor] | None = None
        if weights.rough:
            if data.shape[2] < 3:
                raise DataError(f"accelerations need 3 frames, got {data.shape[2]}")
            counts = there.unfold(2, 3, 1).amin(-1) * data.new_tensor(counted)[:, None]
            self._rough = counts, _acceleration(data, counts)
        frames = there.amax(4).sum((1, 2, 3)).clamp_min(1) if weights.average else torch.ones_like(rate[:, 0, 0, 0, 0])
        self._bones = weights.bones / frames
        self._lengths = kinematics.bone_lengths(kinematics.to_joints(data), self._layout)

    def __call__(self, rendered: Motion, index: Tensor) -> Tensor:
        """Return ``(n,)`` of the samples ``index`` of the batch."""
        change = rendered.data - self.clean[index]
        total = change.new_zeros(len(index))
        for order, weight in self._terms:
            moved = torch.diff(change, n=order, dim=2) if order else change
            total = total + (moved.square().sum(1, keepdim=True) * weight[index]).flatten(1).sum(1)
        if self.weights.bones:
            lengths = kinematics.bone_lengths(kinematics.to_joints(rendered.data), self._layout)
            stretch = (lengths - self._lengths[index]).square().flatten(1).sum(1)
            total = total + self._bones[index] * stretch
        if self._rough is not None:
            counts, clean = self._rough
            excess = _acceleration(rendered.data, counts[index]) - clean[index]
            total = total + self.weights.rough * excess.clamp_min(0)
        return total


def _acceleration(data: Tensor, counts: Tensor) -> Tensor:
    """Return the summed lengths of second differences of clips ``(n, 3, t, v, m)``, ``(n,)`` metres a frame squared."""
    squared = torch.diff(data, n=2, dim=2).square().sum(1, keepdim=True)
    still = squared <= 0
    return (torch.where(still, 0, torch.where(still, 1, squared).sqrt()) * counts).flatten(1).sum(1)
