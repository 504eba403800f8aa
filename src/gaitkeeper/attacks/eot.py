"""Expectation over transformations: a randomized recognizer, seen through many draws of its randomness at once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from gaitkeeper.attacks.gradient import Recognizer
from gaitkeeper.errors import DataError
from gaitkeeper.models.ensemble import mean_probability
from gaitkeeper.models.victim import Outputs
from gaitkeeper.motion.motion import Domain, Motion
from gaitkeeper.seeding import SampleStreams, stream

Judge = Literal["every", "mean"]
"""What counts: each draw's decision by itself, or the one decision by the mean probability over the draws."""

POSITIONS = "positions"
"""Extra that tells SGN's preparation which frame of each part it sees."""

_CELL = 1e-4
"""Two copies of a sample whose marks are in the same interval of this width get the same draws."""


class Randomization(Protocol):
    """What happens at random to a movement before, or while, it is recognized."""

    def __call__(self, motion: Motion, streams: SampleStreams) -> Motion:
        """Return a movement as one draw changes it, differentiably; one stream a sample."""
        ...


class Placed(Recognizer, Protocol):
    """A recognizer that tells where it computes: a Victim, an Identifier, an Ensemble."""

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        ...


class Expected:
    """A recognizer behind a randomization, asked several times at once, so that attacks follow the mean gradient.

    With ``judge="every"`` each draw is a decision, as galleries are for an identifier: goals average their loss over
    the draws, and are reached only where all draws reach them. With ``judge="mean"`` the logarithm of the mean
    probability is the only decision, which is how a recognizer that averages its draws would decide.

    Draws are fresh wherever the movement has changed, the same for the same movement, and do not depend on the
    batch: they are drawn from a stream that the movement itself names. An attack that looks at many movements and
    keeps the best keeps the one that was lucky in its draws too: judge what it found with an ``Expected`` of another
    seed.

    Args:
        victim: what is attacked; it gives logits.
        randomize: the randomization.
        draws: how many draws a call averages over; a call needs the memory of a batch so many times larger.
        seed: of the draws.
        judge: see :data:`Judge`.

    Raises:
        DataError: the number of draws is not positive.

    Reference:
        Athalye et al., "Synthesizing robust adversarial examples", ICML 2018. 20 draws are what AutoAttack takes for
        randomized defenses (Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of
        diverse parameter-free attacks", ICML 2020).
    """

    def __init__(
        self,
        victim: Placed,
        randomize: Randomization,
        *,
        draws: int = 10,
        seed: int = 0,
        judge: Judge = "every",
    ) -> None:
        if draws < 1:
            raise DataError(f"expected at least 1 draw, got {draws}")
        self.victim, self.randomize = victim, randomize
        self.draws, self.seed = draws, seed
        self.judge: Judge = judge
        self.domain = victim.domain

    @property
    def device(self) -> torch.device:
        """Where the network's parameters are."""
        return self.victim.device

    def __call__(self, motion: Motion) -> Outputs:
        """Return logits ``(n, draws * d, k)`` of a victim that makes d decisions, or their mean ``(n, d, k)``.

        Raises:
            DataError: the victim gives no logits.
        """
        marks = _marks(motion, self.domain)
        streams = SampleStreams(self.seed, [f"{mark} {draw}" for mark in marks for draw in range(self.draws)])
        drawn = motion.repeat(self.draws)
        if drawn.lengths is not None:
            streams = streams.within(drawn.lengths.tolist(), self.domain.axis("t") - 1)
        outputs = self.victim(self.randomize(drawn, streams))
        logits, decided = outputs.decisions()
        logits, decided = (x.unflatten(0, (len(motion), self.draws)) for x in (logits, decided))
        if self.judge == "mean":
            return Outputs(logits=mean_probability(logits), decided=decided[:, 0])
        return Outputs(logits=logits.flatten(1, 2), decided=decided.flatten(1, 2))


def _marks(motion: Motion, domain: Domain) -> list[int]:
    """Return a number a sample that changes with it, but neither with padding nor, nearly always, with rounding.

    A network's gradients differ in the last bits from batch to batch, and so does what an attack makes of them. The
    bytes of a movement would name other draws for each; a random projection of it seldom crosses into another cell.
    """
    found = []
    for i, sample in enumerate(motion.data.detach().cpu().numpy()):
        if motion.lengths is not None:
            sample = np.moveaxis(sample, domain.axis("t") - 1, 0)[: int(motion.lengths[i])]
        flat = sample.astype(np.float64).ravel()
        found.append(int(np.floor(flat @ _direction(flat.size) / _CELL)))
    return found


@lru_cache(maxsize=64)
def _direction(size: int) -> np.ndarray:
    """Return a random direction of length 1 or so."""
    direction = stream(0, "mark").standard_normal(size) / np.sqrt(size)
    direction.flags.writeable = False
    return direction


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Gaussian noise on the joints of those present, ``(n, c, t, v, m)``, as randomized smoothing adds it.

    Args:
        sigma: standard deviation of each coordinate, in metres.
    """

    sigma: float

    def __post_init__(self) -> None:
        if not 0 <= self.sigma < float("inf"):
            raise DataError(f"expected a finite sigma >= 0, got {self.sigma:g}")

    def __call__(self, motion: Motion, streams: SampleStreams) -> Motion:
        """Add the noise. Padding and absent persons stay zero."""
        noise = _like(streams.normal(motion.data.shape[1:]), motion.data)
        return motion.with_data(motion.data + self.sigma * noise * _present(motion.data))


@dataclass(frozen=True, kw_only=True)
class Yaw:
    """A turn about the vertical axis through the origin, the same in all frames, ``(n, c, t, v, m)``.

    Args:
        angle: greatest turn in radians, either way; drawn uniformly.
        up: the vertical coordinate, as ``Layout.up``.
    """

    angle: float
    up: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.angle < float("inf"):
            raise DataError(f"expected a finite angle >= 0, got {self.angle:g}")

    def __call__(self, motion: Motion, streams: SampleStreams) -> Motion:
        """Turn each sample."""
        _present(motion.data)
        angle = _like(streams.uniform((), -self.angle, self.angle), motion.data).reshape(-1, 1, 1, 1)
        one, other = (axis for axis in range(3) if axis != self.up)
        places = list(motion.data.unbind(1))
        first, second = places[one], places[other]
        places[one] = angle.cos() * first - angle.sin() * second
        places[other] = angle.sin() * first + angle.cos() * second
        return motion.with_data(torch.stack(places, 1))


@dataclass(frozen=True, kw_only=True)
class Crop:
    """A stretch of the clip in place of the whole, at as many frames as before, ``(n, c, t, v, m)``.

    Frames between two are interpolated linearly, which shortens bones that turn a little; one who is absent in one of
    the two is as in the nearer.

    Args:
        least: smallest share of the clip's time; the share and the beginning are drawn uniformly.
    """

    least: float = 0.6

    def __post_init__(self) -> None:
        if not 0 < self.least <= 1:
            raise DataError(f"expected a least share in (0, 1], got {self.least:g}")

    def __call__(self, motion: Motion, streams: SampleStreams) -> Motion:
        """Cut and resample each sample; a rate in ``extras["fps"]`` grows accordingly."""
        data, frames = motion.data, motion.data.shape[2]
        present = _present(data)
        share = _like(streams.uniform((), self.least, 1.0), data)
        begin = _like(streams.uniform(()), data)
        last = torch.full_like(share, frames - 1) if motion.lengths is None else (motion.lengths - 1).to(data)
        at = torch.arange(frames, dtype=data.dtype, device=data.device).minimum(last[:, None])
        times = at * share[:, None] + ((1 - share) * last * begin)[:, None]
        before = times.floor().long()
        after = (before + 1).minimum(last[:, None].long())
        part = (times - before)[:, None, :, None, None]
        both = _frames(present, before) * _frames(present, after)
        part = torch.where(both > 0, part, part.round())
        valid = (torch.arange(frames, device=data.device) <= last[:, None])[:, None, :, None, None]
        cut = torch.where(valid, _frames(data, before) * (1 - part) + _frames(data, after) * part, 0)
        extras = dict(motion.extras)
        if "fps" in extras:
            extras["fps"] = extras["fps"] / share.to(extras["fps"])
        # A rate of the whole batch says nothing of clips that are now of different rates.
        return Motion(data=cut, lengths=motion.lengths, extras=extras)


@dataclass(frozen=True, kw_only=True)
class Positions:
    """SGN's random choice of frames: of each of its equal parts of a clip it sees a random one.

    The choice travels in ``extras["positions"]``, which the victim's preparation must hand to
    :func:`gaitkeeper.models.actions.sgn.sample`; other victims do not see it.

    Args:
        frames: parts, as many as the network's frames.
    """

    frames: int = 20

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise DataError(f"expected at least 1 frame, got {self.frames}")

    def __call__(self, motion: Motion, streams: SampleStreams) -> Motion:
        """Draw the choice; the data stay as they are."""
        draws = torch.as_tensor(streams.uniform((self.frames,)), device=motion.data.device)
        return Motion(
            data=motion.data, lengths=motion.lengths, fps=motion.fps, extras={**motion.extras, POSITIONS: draws}
        )


def _present(data: Tensor) -> Tensor:
    """Return 1 where somebody is, ``(n, 1, t, 1, m)``: absent persons and padding are all 0."""
    if data.ndim != 5 or data.shape[1] != 3:
        raise DataError(f"expected skeletons of shape (n, c=3, t, v, m), got {tuple(data.shape)}")
    return data.detach().ne(0).any(3, keepdim=True).any(1, keepdim=True).to(data.dtype)


def _frames(data: Tensor, index: Tensor) -> Tensor:
    """Return the frames ``(n, t)`` of data ``(n, c, t, v, m)``."""
    n, channels, _, joints, persons = data.shape
    return data.gather(2, index[:, None, :, None, None].expand(n, channels, -1, joints, persons))


def _like(values: np.ndarray, reference: Tensor) -> Tensor:
    return torch.as_tensor(values, dtype=reference.dtype, device=reference.device)
