"""Goals: what an attacker descends on, and when it has won."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol, Self

from torch import Tensor
from torch.nn import functional

from gaitkeeper.errors import DataError
from gaitkeeper.metrics.distances import Distance, paired
from gaitkeeper.models.victim import Outputs

Loss = Literal["margin", "relative", "cross-entropy"]
"""What is descended on: the margin between logits, the margin in units of their spread, or the cross-entropy."""

SLACK = 0.25
"""Relative margins beyond this count no more: the attack turns to the decisions that it has not won."""


class Goal(Protocol):
    """What an attacker wants of a batch; holds one entry a sample."""

    def loss(self, outputs: Outputs) -> Tensor:
        """Return ``(n,)``: the lower, the nearer to the goal. Finite and differentiable."""
        ...

    def success(self, outputs: Outputs) -> Tensor:
        """Return ``(n,)`` bool: the goal is reached."""
        ...

    def select(self, index: Tensor | Sequence[int]) -> Self:
        """Return the goal for some of the samples."""
        ...


def _average(values: Tensor, decided: Tensor) -> Tensor:
    return values.masked_fill(~decided, 0).sum(1) / decided.sum(1)


def _margin(logits: Tensor, labels: Tensor, top: int = 1) -> Tensor:
    """Return ``(n, d)``: the label's logit minus the ``top``-th largest of the others."""
    at = labels[:, None, None].expand(-1, logits.shape[1], 1)
    own = logits.gather(2, at)[:, :, 0]
    others = logits.scatter(2, at, float("-inf"))
    rival = others.amax(2) if top == 1 else others.topk(top, dim=2).values[:, :, -1]
    return own - rival


def _relative(margins: Tensor, logits: Tensor) -> Tensor:
    """Return margins ``(n, d)`` over the standard deviation of the decision's finite logits, at least minus SLACK."""
    known = logits.isfinite()
    count = known.sum(2).clamp_min(1)
    clean = logits.detach().masked_fill(~known, 0)
    mean = clean.sum(2) / count
    spread = ((clean - mean[:, :, None]).square() * known).sum(2).div(count).sqrt()
    return (margins / spread.clamp_min(1e-12)).clamp_min(-SLACK)


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    spread = labels[:, None].expand(-1, logits.shape[1])
    return functional.cross_entropy(logits.flatten(0, 1), spread.flatten(), reduction="none").unflatten(0, spread.shape)


@dataclass(frozen=True, kw_only=True)
class Nontargeted:
    """Anything but the label among the ``top`` best, in every decision that counts.

    Args:
        labels: ``(n,)`` true classes or identities.
        top: the label must leave the best ``top``; 1 is a plain misclassification.
        kind: descend on the margin, alone or in units of the logits' spread, or on minus the cross-entropy.
    """

    labels: Tensor
    top: int = 1
    kind: Loss = "margin"

    def loss(self, outputs: Outputs) -> Tensor:
        """Return the mean over decisions of the margin, or of minus the cross-entropy."""
        logits, decided = outputs.decisions()
        if self.kind != "cross-entropy":
            margins = _margin(logits, self.labels, self.top)
            return _average(margins if self.kind == "margin" else _relative(margins, logits), decided)
        return -_average(_cross_entropy(logits, self.labels), decided)

    def success(self, outputs: Outputs) -> Tensor:
        """Say whether ``top`` others beat the label in every decision that counts."""
        logits, decided = outputs.decisions()
        return ((_margin(logits, self.labels, self.top) < 0) | ~decided).all(1)

    def select(self, index: Tensor | Sequence[int]) -> Nontargeted:
        """Return the goal for some of the samples."""
        return replace(self, labels=self.labels[index])


@dataclass(frozen=True, kw_only=True)
class Targeted:
    """The target's class or identity, in every decision that counts.

    Args:
        targets: ``(n,)`` classes or identities to be taken for.
        kind: descend on minus the margin, alone or in units of the logits' spread, or on the cross-entropy.
    """

    targets: Tensor
    kind: Loss = "margin"

    def loss(self, outputs: Outputs) -> Tensor:
        """Return the mean over decisions of minus the margin, or of the cross-entropy."""
        logits, decided = outputs.decisions()
        if self.kind != "cross-entropy":
            margins = -_margin(logits, self.targets)
            return _average(margins if self.kind == "margin" else _relative(margins, logits), decided)
        return _average(_cross_entropy(logits, self.targets), decided)

    def success(self, outputs: Outputs) -> Tensor:
        """Say whether the target wins every decision that counts."""
        logits, decided = outputs.decisions()
        return ((_margin(logits, self.targets) > 0) | ~decided).all(1)

    def select(self, index: Tensor | Sequence[int]) -> Targeted:
        """Return the goal for some of the samples."""
        return replace(self, targets=self.targets[index])


@dataclass(frozen=True, kw_only=True)
class Cosine:
    """Descend on the cosine between whole embeddings; another goal says when that has won.

    With the sample's own embedding as reference the gradient at the unchanged sample is zero.

    Args:
        reference: ``(n, c, p)`` embeddings, the parts taken as one vector.
        toward: approach the reference, or leave it.
        reached: decides on success.

    Reference:
        He et al., "Temporal sparse adversarial attack on sequence-based gait recognition", equations 1 and 3; there
        called the cosine similarity, and meant as the distance.
    """

    reference: Tensor
    toward: bool
    reached: Goal

    def loss(self, outputs: Outputs) -> Tensor:
        """Return the cosine distance to a reference to approach, the cosine to one to leave."""
        if outputs.embedding is None:
            raise DataError("cosine goals need a victim that gives embeddings; this one gives logits")
        cosine = functional.cosine_similarity(outputs.embedding.flatten(1), self.reference.flatten(1), dim=1)
        return 1 - cosine if self.toward else cosine

    def success(self, outputs: Outputs) -> Tensor:
        """Say whether the other goal is reached."""
        return self.reached.success(outputs)

    def select(self, index: Tensor | Sequence[int]) -> Cosine:
        """Return the goal for some of the samples."""
        return replace(self, reference=self.reference[index], reached=self.reached.select(index))


@dataclass(frozen=True, kw_only=True)
class _Verification:
    """A claimed identity: reference embeddings, and the distance up to which the recognizer accepts.

    Args:
        reference: ``(n, c, p)`` enrolled embeddings.
        threshold: greatest distance at which the recognizer accepts.
        kind: how embeddings are compared.
    """

    reference: Tensor
    threshold: float
    kind: Distance = "parts"

    def distance(self, outputs: Outputs) -> Tensor:
        """Return ``(n,)`` distances to the references."""
        if outputs.embedding is None:
            raise DataError("verification goals need a victim that gives embeddings; this one gives logits")
        return paired(outputs.embedding, self.reference, kind=self.kind)

    def select(self, index: Tensor | Sequence[int]) -> Self:
        """Return the goal for some of the samples."""
        return replace(self, reference=self.reference[index])


@dataclass(frozen=True, kw_only=True)
class Rejected(_Verification):
    """Verification fails: the embedding is farther from the reference than the threshold.

    When the reference is the sample's own embedding the gradient at the start is zero: use an attack with a random
    start.
    """

    def loss(self, outputs: Outputs) -> Tensor:
        """Return minus the distance."""
        return -self.distance(outputs)

    def success(self, outputs: Outputs) -> Tensor:
        """Say whether the distance exceeds the threshold."""
        return self.distance(outputs) > self.threshold


@dataclass(frozen=True, kw_only=True)
class Accepted(_Verification):
    """Verification passes: the embedding is at most the threshold away from the reference."""

    def loss(self, outputs: Outputs) -> Tensor:
        """Return the distance."""
        return self.distance(outputs)

    def success(self, outputs: Outputs) -> Tensor:
        """Say whether the distance is at most the threshold."""
        return self.distance(outputs) <= self.threshold
