"""Threats: what may change, and how much. Each is a ball around the original with its own steepest direction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from gaitkeeper.motion.motion import Domain
from gaitkeeper.seeding import SampleStreams


class Threat(Protocol):
    """A set of allowed changes of radius ``eps``. All arrays are ``(n, ...)`` in the domain's layout."""

    @property
    def eps(self) -> float:
        """The radius, in the units of the data."""
        ...

    def project(self, x: Tensor, origin: Tensor, domain: Domain) -> Tensor:
        """Return the nearest allowed point; the domain's bounds are the caller's."""
        ...

    def violation(self, x: Tensor, origin: Tensor, domain: Domain) -> Tensor:
        """Return ``(n,)``: by how much the change exceeds what is allowed, at least 0."""
        ...

    def steepest(self, gradient: Tensor, domain: Domain) -> Tensor:
        """Return the step of radius 1 along which a linear function with this gradient grows most."""
        ...

    def random(self, origin: Tensor, streams: SampleStreams, domain: Domain) -> Tensor:
        """Return a random allowed change."""
        ...


def _like(values: np.ndarray, reference: Tensor) -> Tensor:
    return torch.as_tensor(values, dtype=reference.dtype, device=reference.device)


def _expand(values: Tensor, reference: Tensor) -> Tensor:
    return values.reshape(-1, *[1] * (reference.ndim - 1))


def _positive(eps: float) -> None:
    if not (eps >= 0 and np.isfinite(eps)):
        raise ValueError(f"expected a finite eps >= 0, got {eps}")


@dataclass(frozen=True, kw_only=True)
class Linf:
    """Every value may change by ``eps``."""

    eps: float

    def __post_init__(self) -> None:
        _positive(self.eps)

    def project(self, x: Tensor, origin: Tensor, domain: Domain) -> Tensor:
        """Clip the change of every value."""
        return torch.minimum(torch.maximum(x, origin - self.eps), origin + self.eps)

    def violation(self, x: Tensor, origin: Tensor, domain: Domain) -> Tensor:
        """Return the largest change less ``eps``."""
        return ((x - origin).flatten(1).abs().amax(1) - self.eps).clamp_min(0)

    def steepest(self, gradient: Tensor, domain: Domain) -> Tensor:
        """Return the gradient's sign."""
        return gradient.sign()

    def random(self, origin: Tensor, streams: SampleStreams, domain: Domain) -> Tensor:
        """Draw uniformly from the cube."""
        return _like(streams.uniform(origin.shape[1:], -self.eps, self.eps), origin)


@dataclass(frozen=True, kw_only=True)
class L2:
    """The Euclidean norm of a sample's whole change is at most ``eps``."""

    eps: float

    def __post_init__(self) -> None:
        _positive(self.eps)

    def project(self, x: Tensor, origin: Tensor, domain: Domain) -> Tensor:
        """Shorten the change to ``eps``."""
        delta = x - origin
        length = delta.flatten(1).norm(dim=1)
        return origin + delta * _expand((self.eps / length.clamp_min(1e-30)).clamp_max(1), x)

    def violation(self, x: Tensor, origin: Tensor, domain: Domain) -> Tensor:
        """Return the norm of the change less ``eps``."""
        return ((x - origin).flatten(1).norm(dim=1) - self.eps).clamp_min(0)

    def steepest(self, gradient: Tensor, domain: Domain) -> Tensor:
        """Return the gradient at unit length."""
        return gradient / _expand(gradient.flatten(1).norm(dim=1).clamp_min(1e-30), gradient)

    def random(self, origin: Tensor, streams: SampleStreams, domain: Domain) -> Tensor:
        """Draw uniformly from the ball."""
        direction = self.steepest(_like(streams.normal(origin.shape[1:]), origin), domain)
        size = origin[0].numel() if len(origin) else 1
        radius = _like(streams.uniform(()) ** (1 / size), origin)
        return self.eps * _expand(radius, origin) * direction


@dataclass(frozen=True, kw_only=True)
class Frames:
    """At most ``count`` frames may change, each value there by ``eps``.

    The frames are those with the largest gradient at the first step (or the largest random change, with a random
    start); later steps exchange one only when its change has become the smaller.

    Args:
        count: greatest number of altered frames.
        eps: radius of the change of each value; 1 on silhouettes leaves the frame free.
    """

    count: int
    eps: float = 1.0

    def __post_init__(self) -> None:
        _positive(self.eps)
        if self.count < 0:
            raise ValueError(f"expected count >= 0, got {self.count}")

    def _keep(self, weight: Tensor, domain: Domain) -> Tensor:
        """Return a mask of the ``count`` frames of the largest mean absolute weight; frames without any stay out."""
        axis = domain.axis("t")
        others = [i for i in range(1, weight.ndim) if i != axis]
        size = weight.abs().mean(others) if others else weight.abs()
        if size.shape[1] > self.count:
            order = size.argsort(dim=1, descending=True, stable=True)[:, : self.count]
            size = torch.zeros_like(size).scatter(1, order, size.gather(1, order))
        shape = [1] * weight.ndim
        shape[0], shape[axis] = size.shape
        return (size > 0).reshape(shape)

    def project(self, x: Tensor, origin: Tensor, domain: Domain) -> Tensor:
        """Keep the frames that changed most, clipped; undo the others."""
        delta = (x - origin).clamp(-self.eps, self.eps)
        return origin + delta * self._keep(delta, domain)

    def violation(self, x: Tensor, origin: Tensor, domain: Domain) -> Tensor:
        """Return the number of frames too many, or the largest change less ``eps`` if that is greater."""
        delta = (x - origin).abs().movedim(domain.axis("t"), 1).flatten(2)
        extra = ((delta > 0).any(2).sum(1) - self.count).to(x.dtype)
        return torch.maximum(extra, delta.flatten(1).amax(1) - self.eps).clamp_min(0)

    def steepest(self, gradient: Tensor, domain: Domain) -> Tensor:
        """Return the gradient's sign on the frames where it is largest."""
        return gradient.sign() * self._keep(gradient, domain)

    def random(self, origin: Tensor, streams: SampleStreams, domain: Domain) -> Tensor:
        """Draw ``count`` frames, and the change there uniformly from the cube."""
        draws = _like(streams.uniform(origin.shape[1:], -self.eps, self.eps), origin)
        axis = domain.axis("t")
        shape = [1] * origin.ndim
        shape[0], shape[axis] = len(origin), origin.shape[axis]
        lots = _like(streams.uniform(shape[1:], 0.5, 1.0), origin)
        return draws * self._keep(lots.expand_as(origin), domain)


@dataclass(frozen=True, kw_only=True)
class Joints:
    """Each joint may move by a distance of ``eps`` in each frame (metres, for skeletons stored in metres)."""

    eps: float

    def __post_init__(self) -> None:
        _positive(self.eps)

    def project(self, x: Tensor, origin: Tensor, domain: Domain) -> Tensor:
        """Shorten each joint's displacement to ``eps``."""
        delta = x - origin
        length = delta.norm(dim=domain.axis("c"), keepdim=True)
        return origin + delta * (self.eps / length.clamp_min(1e-30)).clamp_max(1)

    def violation(self, x: Tensor, origin: Tensor, domain: Domain) -> Tensor:
        """Return the largest displacement less ``eps``."""
        return ((x - origin).norm(dim=domain.axis("c")).flatten(1).amax(1) - self.eps).clamp_min(0)

    def steepest(self, gradient: Tensor, domain: Domain) -> Tensor:
        """Return each joint's gradient at unit length."""
        return gradient / gradient.norm(dim=domain.axis("c"), keepdim=True).clamp_min(1e-30)

    def random(self, origin: Tensor, streams: SampleStreams, domain: Domain) -> Tensor:
        """Draw each joint's displacement uniformly from the ball."""
        axis = domain.axis("c")
        direction = self.steepest(_like(streams.normal(origin.shape[1:]), origin), domain)
        shape = list(origin.shape[1:])
        coordinates, shape[axis - 1] = shape[axis - 1], 1
        return self.eps * _like(streams.uniform(shape) ** (1 / coordinates), origin) * direction
