"""Variables: what an attacker moves, and how a movement is made of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from gaitkeeper.attacks.threats import Threat
from gaitkeeper.motion.motion import Domain, Motion
from gaitkeeper.seeding import SampleStreams


class Variables(Protocol):
    """What an optimizer moves. Values are ``(n, ...)``, one entry a sample of the motion."""

    @property
    def radius(self) -> float:
        """The scale of step sizes."""
        ...

    def start(self, motion: Motion, streams: SampleStreams | None) -> Tensor:
        """Return the first values; without streams those that change nothing."""
        ...

    def render(self, values: Tensor, motion: Motion) -> Motion:
        """Return the movement that the values stand for, differentiably."""
        ...

    def steepest(self, gradient: Tensor, motion: Motion) -> Tensor:
        """Return the allowed direction of radius 1 in which a linear function with this gradient grows most."""
        ...

    def retract(self, values: Tensor, motion: Motion) -> Tensor:
        """Return the nearest allowed values."""
        ...


@dataclass(frozen=True, kw_only=True)
class Perturbation:
    """The movement's own values, within a threat and the domain's bounds. Padding frames never change.

    Args:
        threat: what may change, and how much.
        domain: the victim's.
        straight_through: hand the victim the values as stored (binarized, rounded), with the gradient of the
            identity in place of the rounding's, which is zero almost everywhere.

    Reference:
        Straight-through gradients: Bengio et al., "Estimating or propagating gradients through stochastic neurons",
        2013; as an attack: Athalye et al., "Obfuscated gradients give a false sense of security", ICML 2018 (BPDA).
    """

    threat: Threat
    domain: Domain
    straight_through: bool = False

    @property
    def radius(self) -> float:
        """The threat's radius."""
        return self.threat.eps

    def start(self, motion: Motion, streams: SampleStreams | None) -> Tensor:
        """Return the original values, or a random allowed point."""
        if streams is None:
            return motion.data.clone()
        change = self.threat.random(motion.data, streams, self.domain)
        valid = self.domain.valid(motion)
        return self.retract(motion.data + (change if valid is None else change * valid), motion)

    def render(self, values: Tensor, motion: Motion) -> Motion:
        """Return the values as a motion, hardened if straight-through."""
        if self.straight_through:
            values = values + (self.domain.harden(values) - values).detach()
        return motion.with_data(values)

    def steepest(self, gradient: Tensor, motion: Motion) -> Tensor:
        """Return the threat's steepest direction on the valid frames."""
        valid = self.domain.valid(motion)
        return self.threat.steepest(gradient if valid is None else gradient * valid, self.domain)

    def retract(self, values: Tensor, motion: Motion) -> Tensor:
        """Project on the threat, then clip to the domain's bounds, which keeps the change allowed."""
        return self.threat.project(values, motion.data, self.domain).clamp(self.domain.lower, self.domain.upper)
