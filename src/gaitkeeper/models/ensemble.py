"""Several recognizers as one: the joint, bone and motion streams of a skeleton network, or different networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import torch
from torch import Tensor

from gaitkeeper.errors import DataError
from gaitkeeper.models.victim import Outputs
from gaitkeeper.motion.motion import Domain, Motion

Combine = Literal["logits", "probabilities"]
"""What is averaged: the logits are added with weights, or the probabilities averaged and their logarithm taken."""


class Member(Protocol):
    """What can be part of an ensemble: a Victim that gives logits, or another ensemble."""

    domain: Domain
    classes: tuple[str, ...] | None

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        ...

    def __call__(self, motion: Motion) -> Outputs:
        """Return differentiable outputs."""
        ...


class Ensemble:
    """Recognizers of the same movements and classes as one recognizer; gradients go through all of them.

    Args:
        victims: the members. The streams of a network are one victim each, fed with the same joints: what a stream
            sees is made in the victim.
        weights: of the members; None gives each the weight 1, so that logits are added.
        combine: see :data:`Combine`. Weights of probabilities count relative to their sum.

    Raises:
        DataError: there is no member, members differ in domain, classes or device, or the weights do not fit.

    Reference:
        Scores of streams are added in Shi et al., "Two-stream adaptive graph convolutional networks for
        skeleton-based action recognition", CVPR 2019; with weights in Chen et al., "Channel-wise topology refinement
        graph convolution for skeleton-based action recognition", ICCV 2021.
    """

    def __init__(
        self, victims: Sequence[Member], *, weights: Sequence[float] | None = None, combine: Combine = "logits"
    ) -> None:
        if not victims:
            raise DataError("expected an ensemble of at least one recognizer, got none")
        self.victims = tuple(victims)
        self.weights = (1.0,) * len(victims) if weights is None else tuple(float(weight) for weight in weights)
        self.combine: Combine = combine
        if len(self.weights) != len(victims):
            raise DataError(f"expected {len(victims)} weights, one a member, got {len(self.weights)}")
        if combine == "probabilities" and (min(self.weights) < 0 or not sum(self.weights) > 0):
            raise DataError(f"expected weights of probabilities >= 0, one of them positive, got {list(self.weights)}")
        first = victims[0]
        self.domain = first.domain
        self.classes = first.classes
        for number, member in enumerate(victims[1:], start=1):
            if member.domain != first.domain:
                raise DataError(
                    f"members 0 and {number} of the ensemble accept different movements: "
                    f"{first.domain} and {member.domain}"
                )
            if member.classes != first.classes:
                raise DataError(
                    f"members 0 and {number} of the ensemble know different classes: "
                    f"{_few(first.classes)} and {_few(member.classes)}"
                )
            if member.device != first.device:
                raise DataError(
                    f"members 0 and {number} of the ensemble are on {first.device} and {member.device}: move them "
                    "to one device"
                )

    @property
    def device(self) -> torch.device:
        """Where the members' parameters are."""
        return self.victims[0].device

    def __call__(self, motion: Motion) -> Outputs:
        """Return the combined logits, ``(n, k)``; logarithms of probabilities where these are averaged.

        Raises:
            DataError: a member gives no logits, or another number of them.
        """
        found: list[Tensor] = []
        for number, member in enumerate(self.victims):
            logits = member(motion).logits
            if logits is None:
                raise DataError(f"member {number} of the ensemble gives embeddings; an ensemble needs logits")
            if found and logits.shape != found[0].shape:
                raise DataError(
                    f"members 0 and {number} of the ensemble give logits of shapes {tuple(found[0].shape)} and "
                    f"{tuple(logits.shape)}"
                )
            found.append(logits)
        logits = torch.stack(found, 1)
        weights = torch.tensor(self.weights, dtype=logits.dtype, device=logits.device)
        if self.combine == "probabilities":
            return Outputs(logits=mean_probability(logits, weights))
        return Outputs(logits=(logits * weights.reshape(-1, *[1] * (logits.ndim - 2))).sum(1))


def mean_probability(logits: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the logarithm of the mean of several answers' probabilities.

    Args:
        logits: ``(n, d, ..., k)`` of d answers; minus infinity where an answer rules a class out.
        weights: ``(d,)``, relative to their sum; None weighs all alike.

    Returns:
        ``(n, ..., k)``, with finite gradients.
    """
    if weights is None:
        weights = torch.ones(logits.shape[1], dtype=logits.dtype, device=logits.device)
    share = (weights / weights.sum()).reshape(-1, *[1] * (logits.ndim - 2))
    terms = logits.log_softmax(-1) + share.log()
    known = terms.isfinite()
    # A class that all answers rule out has no finite term, of which the logarithm of the sum has no gradient.
    total = torch.where(known, terms, torch.finfo(terms.dtype).min / 4).logsumexp(1)
    return torch.where(known.any(1), total, -torch.inf)


def _few(classes: tuple[str, ...] | None) -> str:
    if classes is None:
        return "no names"
    return f"{len(classes)} ({', '.join(classes[:3])}{', ...' if len(classes) > 3 else ''})"
