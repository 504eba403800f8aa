"""Victims: a network with its differentiable preparation, as an attack sees it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from gaitkeeper.errors import DataError
from gaitkeeper.metrics.distances import Distance, pairwise
from gaitkeeper.models.gait.parts import FramePooling
from gaitkeeper.motion.motion import SILHOUETTES, Domain, Motion, Stored

Output = Literal["embedding", "logits"]


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """What a victim says of a batch.

    Args:
        logits: ``(n, k)``, or ``(n, d, k)`` where d decisions are made of each sample; None for bare embeddings.
        embedding: ``(n, c, p)`` with p parts; None for plain classifiers.
        decided: ``(n, d)`` bool, which of the d decisions count for a sample; None where all do.
        abstained: ``(n,)`` bool; None for victims that never abstain.
    """

    logits: Tensor | None = None
    embedding: Tensor | None = None
    decided: Tensor | None = None
    abstained: Tensor | None = None

    def decisions(self) -> tuple[Tensor, Tensor]:
        """Return the logits as ``(n, d, k)`` and which decisions count, ``(n, d)`` bool."""
        if self.logits is None:
            raise DataError("the goal needs logits; the victim gives embeddings: wrap it in an Identifier")
        logits = self.logits if self.logits.ndim == 3 else self.logits[:, None]
        if self.decided is not None:
            return logits, self.decided
        return logits, torch.ones(logits.shape[:2], dtype=torch.bool, device=logits.device)


@contextmanager
def undisturbed(module: nn.Module) -> Iterator[None]:
    """Put a network in evaluation mode without parameter gradients; afterwards each submodule is as before."""
    modes = [(part, part.training) for part in module.modules()]
    flags = [(weight, weight.requires_grad) for weight in module.parameters()]
    try:
        module.eval()
        for weight, _ in flags:
            weight.requires_grad_(False)
        yield
    finally:
        for part, mode in modes:
            part.training = mode
        for weight, flag in flags:
            weight.requires_grad_(flag)


class Victim:
    """A network plus its differentiable preparation, fed with stored movements.

    Args:
        module: the network.
        domain: what it accepts.
        output: whether it returns an embedding ``(n, c, p)`` or ``(n, c)``, or logits ``(n, k)``.
        prepare: maps a motion to the network's positional inputs, differentiably. Without it the network is called
            with the data and the domain's extras in order, and with ``lengths=`` if its signature has it; a
            network without it sees sequences of different lengths one length at a time, without padding.
        distance: how its embeddings are compared.
        classes: names of the classes, for a network that returns logits; None where they are not known.
    """

    def __init__(
        self,
        module: nn.Module,
        domain: Domain,
        *,
        output: Output = "embedding",
        prepare: Callable[[Motion], Sequence[Tensor | None]] | None = None,
        distance: Distance = "parts",
        classes: Sequence[str] | None = None,
    ) -> None:
        self.module = module
        self.domain = domain
        self.output: Output = output
        self.distance: Distance = distance
        self.classes = None if classes is None else tuple(classes)
        self.prepare = prepare
        self._takes_lengths = "lengths" in inspect.signature(module.forward).parameters

    @classmethod
    def of(cls, module: nn.Module, domain: Domain = SILHOUETTES, *, output: Output = "embedding") -> Victim:
        """Make a victim of a user's network; by default of one that embeds silhouettes."""
        return cls(module, domain, output=output)

    def storing(self, stored: Stored) -> Victim:
        """Return the same victim fed from another stored format."""
        return Victim(
            self.module,
            replace(self.domain, stored=stored),
            output=self.output,
            prepare=self.prepare,
            distance=self.distance,
            classes=self.classes,
        )

    @property
    def pools_frames(self) -> bool:
        """Whether the network encodes single frames and pools them, with nothing else to see."""
        return isinstance(self.module, FramePooling) and self.prepare is None and not self.domain.extras

    @property
    def device(self) -> torch.device:
        """Where the network's parameters are; the CPU for one without."""
        weight = next(self.module.parameters(), None)
        return torch.device("cpu") if weight is None else weight.device

    def __call__(self, motion: Motion) -> Outputs:
        """Run the network, differentiably. The motion must fit the domain (``domain.check``)."""
        with undisturbed(self.module):
            result = self._run(motion)
        if not isinstance(result, Tensor) or result.ndim < 2 or len(result) != len(motion):
            got = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
            raise DataError(f"expected the network to return {self.output} of shape (n={len(motion)}, ...), got {got}")
        if self.output == "logits":
            return Outputs(logits=result)
        return Outputs(embedding=result[:, :, None] if result.ndim == 2 else result)

    def _run(self, motion: Motion) -> Tensor:
        if self.prepare is not None:
            return self.module(*self.prepare(motion))
        extras = [motion.extras[name] for name in self.domain.extras]
        if motion.lengths is None:
            return self.module(motion.data, *extras)
        if self._takes_lengths:
            return self.module(motion.data, *extras, lengths=motion.lengths)
        axis = self.domain.axis("t")
        groups, results = [], []
        for length in motion.lengths.unique().tolist():
            index = (motion.lengths == length).nonzero()[:, 0]
            data = motion.data[index].narrow(axis, 0, length)
            results.append(self.module(data, *[extra[index] for extra in extras]))
            groups.append(index)
        return torch.cat(results)[torch.cat(groups).argsort()]


@torch.no_grad()
def embed(victim: Victim, motions: Iterator[Motion] | Sequence[Motion]) -> Tensor:
    """Return the embeddings of many batches, ``(n, c, p)``, hardened to the victim's stored format first."""
    found = []
    for motion in motions:
        motion = motion.to(victim.device)
        embedding = victim(motion.with_data(victim.domain.harden(motion.data))).embedding
        if embedding is None:
            raise DataError("expected a victim that gives embeddings, got one that gives logits")
        found.append(embedding)
    return torch.cat(found)


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """Enrolled sequences.

    Args:
        embedding: ``(g, c, p)``.
        identities: ``(g,)`` index of each sequence's identity, 0 .. k - 1.
        views: ``(g,)`` camera views in degrees. Each view is a gallery of its own; None makes one gallery of all.
        names: the k identities.
        exclude_same_view: whether the gallery of a probe's own view counts for it.
    """

    embedding: Tensor
    identities: Tensor
    names: tuple[str, ...]
    views: Tensor | None = None
    exclude_same_view: bool = True

    def __post_init__(self) -> None:
        if len(self.identities) != len(self.embedding) or not len(self.embedding):
            raise DataError(f"a gallery of {len(self.embedding)} embeddings has {len(self.identities)} identities")


class Identifier:
    """A victim that names people: the nearest enrolled sequence decides, in each gallery of a protocol.

    A gallery a view gives one decision a view; under the CASIA-B protocol the decision against the probe's own
    view does not count, which leaves ten. Logits are minus the distance to the nearest sequence of an identity;
    identities absent from a gallery have minus infinity there.

    Args:
        victim: gives the embeddings.
        gallery: the enrolled people, embedded by the same victim.
    """

    def __init__(self, victim: Victim, gallery: Gallery) -> None:
        self.victim = victim
        self.gallery = gallery
        self.domain = victim.domain
        views = gallery.views
        if views is None:
            views = torch.zeros_like(gallery.identities)
        self.views = views.unique()
        slots = torch.searchsorted(self.views, views) * len(gallery.names) + gallery.identities
        order = slots.argsort(stable=True)
        self._embedding = gallery.embedding[order]
        self._slots = slots[order]
        if gallery.views is not None and gallery.exclude_same_view:
            self.domain = replace(self.domain, extras=(*victim.domain.extras, "view"))

    @property
    def device(self) -> torch.device:
        """Where the network's parameters are."""
        return self.victim.device

    def __call__(self, motion: Motion) -> Outputs:
        """Return logits ``(n, d, k)`` over d galleries and k identities, with the embedding."""
        outputs = self.victim(motion)
        return self.decide(outputs, motion.extras.get("view"))

    def decide(self, outputs: Outputs, view: Tensor | None) -> Outputs:
        """Score embeddings against every gallery.

        Args:
            outputs: of the wrapped victim.
            view: ``(n,)`` the probes' camera views in degrees; needed where the own view is excluded.
        """
        embedding = outputs.embedding
        if embedding is None:
            raise DataError("expected a victim that gives embeddings, got one that gives logits")
        n, k, d = len(embedding), len(self.gallery.names), len(self.views)
        distances = pairwise(embedding, self._embedding, kind=self.victim.distance)
        nearest = torch.full((n, d * k), float("inf"), dtype=distances.dtype, device=distances.device)
        nearest = nearest.scatter_reduce(1, self._slots.expand(n, -1), distances, "amin", include_self=True)
        decided = torch.ones((n, d), dtype=torch.bool, device=distances.device)
        if self.gallery.views is not None and self.gallery.exclude_same_view:
            if view is None:
                raise DataError("the protocol excludes a probe's own view; the motion says nothing of its view")
            decided = view[:, None] != self.views[None, :]
            if not decided.any(1).all():
                raise DataError("a probe has no gallery but that of its own view, which the protocol excludes")
        return replace(outputs, logits=-nearest.reshape(n, d, k), decided=decided)
