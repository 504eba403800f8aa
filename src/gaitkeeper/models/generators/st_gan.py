"""Networks on contours: the noise generator, the gait generator and the two discriminators of ST-GAN."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from gaitkeeper.errors import DataError

WIDTHS = (16, 32, 64)
"""Channels after each convolution of an encoder; a decoder has them the other way round."""

LATENT = 32
"""Dimensions of the Gaussian seed of a noise contour."""

SCALE = 4.0
"""Contours are measured in body heights; times this, their coordinates have about unit variance."""

MIDDLE = 0.5
"""Row of a normalized contour's middle; its columns are centered already."""

BASE = 4
"""Times that a noise contour's points are doubled, and those that a discriminator sees are halved."""


def channels_first(contours: Tensor) -> Tensor:
    """Return contours ``(n, t, p, 2)`` as ``(n t, 2, p)``, of about zero mean and unit variance."""
    flat = contours.flatten(0, 1).transpose(1, 2)
    return SCALE * (flat - flat.new_tensor([0.0, MIDDLE])[:, None])


def points_last(features: Tensor, frames: int) -> Tensor:
    """Undo :func:`channels_first`: ``(n t, 2, p)`` to ``(n, t, p, 2)``."""
    contours = features / SCALE + features.new_tensor([0.0, MIDDLE])[:, None]
    return contours.transpose(1, 2).unflatten(0, (-1, frames))


class _Doubled(nn.Module):
    """Twice as many points by linear interpolation on the closed contour."""

    def forward(self, x: Tensor) -> Tensor:
        closed = torch.cat([x[..., -1:], x, x[..., :1]], -1)
        return functional.interpolate(closed, scale_factor=2.0, mode="linear", align_corners=False)[..., 2:-2]


def _convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Conv1d:
    return nn.Conv1d(inputs, outputs, 5, stride=stride, padding=2, padding_mode="circular")


def _encoder(widths: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in zip((2, *widths[:-1]), widths, strict=True):
        layers += [_convolution(inputs, outputs, 2), nn.BatchNorm1d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


def _decoder(widths: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [_Doubled(), _convolution(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, _Doubled(), _convolution(widths[-1], 2))


def _check_points(points: int, stages: int) -> None:
    if points < 1 << stages or points % (1 << stages):
        raise DataError(f"points: expected a multiple of {1 << stages}, got {points}")


class NoiseGenerator(nn.Module):
    """G_N: Gaussian seeds to noise contours, each of a person who does not exist.

    Args:
        points: of a contour, a multiple of 16.
        latent: dimensions of a seed.
        width: channels of the first layer; each of four convolutions halves them, at least 16 stay.

    Reference:
        Tieu et al., "Spatio-temporal generative adversarial network for gait anonymization", JISA 46, 2019,
        section 3.3. The layers are not given there.
    """

    def __init__(self, *, points: int = 256, latent: int = LATENT, width: int = 128) -> None:
        super().__init__()
        _check_points(points, BASE)
        self.points, self.latent, self.width = points, latent, width
        widths = [width, *(max(16, width >> stage) for stage in range(1, BASE))]
        self.begin = nn.Linear(latent, width * (points >> BASE))
        self.bn = nn.BatchNorm1d(width)
        self.decode = _decoder(widths)

    def forward(self, latents: Tensor) -> Tensor:
        """Return contours ``(n, p, 2)`` in body heights of latents ``(n, latent)``."""
        x = self.begin(latents).unflatten(1, (self.width, -1))
        return points_last(self.decode(functional.relu(self.bn(x))), 1)[:, 0]

    @staticmethod
    def options(state: Mapping[str, Tensor], prefix: str = "") -> dict[str, Any]:
        """Return the arguments that make a network of a state's shapes."""
        outputs, latent = state[f"{prefix}begin.weight"].shape
        width = state[f"{prefix}bn.weight"].shape[0]
        return {"points": outputs // width << BASE, "latent": latent, "width": width}


class GaitGenerator(nn.Module):
    """G: an encoder for each input, their sum, and a decoder, on single frames.

    With two inputs, the original's contour and a noise contour, it is the generator of ST-GAN and of its forerunner;
    with one it maps contours to contours, as the network does that is to invert an anonymizer.

    Args:
        widths: channels of an encoder.
        inputs: how many encoders.

    Reference:
        Tieu et al. 2019, section 3.4, and Tieu et al., "An approach for gait anonymization using deep learning",
        WIFS 2017.

    Deviations:
        The papers give no layers. Convolutions go around the contour, which is closed, and the decoder interpolates
        in place of transposed convolutions, which leave steps in an outline.
    """

    def __init__(self, *, widths: Sequence[int] = WIDTHS, inputs: int = 2) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.encode = nn.ModuleList(_encoder(self.widths) for _ in range(inputs))
        self.decode = _decoder(self.widths[::-1])

    def forward(self, *contours: Tensor) -> Tensor:
        """Return contours ``(n, t, p, 2)`` of as many such contours as there are encoders, p a multiple of 8."""
        if len(contours) != len(self.encode):
            raise ValueError(f"expected {len(self.encode)} contour sequences, got {len(contours)}")
        _check_points(contours[0].shape[2], len(self.widths))
        features = [encode(channels_first(c)) for encode, c in zip(self.encode, contours, strict=True)]
        return points_last(self.decode(torch.stack(features).sum(0)), contours[0].shape[1])

    @staticmethod
    def options(state: Mapping[str, Tensor], prefix: str = "") -> dict[str, Any]:
        """Return the arguments that make a network of a state's shapes."""
        own = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        inputs = len({key.split(".")[1] for key in own if key.startswith("encode.")})
        stages = [key for key, value in own.items() if key.startswith("encode.0.") and value.ndim == 3]
        if not stages:
            raise KeyError(f"{prefix}encode.0.0.weight")
        return {"widths": tuple(own[key].shape[0] for key in stages), "inputs": inputs}


class SpatialDiscriminator(nn.Module):
    """D_S: whether a single contour is a recorded one; also the discriminator D_N of the noise generator.

    Args:
        points: of a contour, a multiple of 16.
        width: channels after the first convolution; the second and the third of four double them.

    Reference:
        Tieu et al. 2019, section 3.4: one-dimensional convolution, a fully connected layer, a sigmoid (here in the
        loss).
    """

    def __init__(self, *, points: int = 256, width: int = 16) -> None:
        super().__init__()
        _check_points(points, BASE)
        widths = [width << min(stage, 2) for stage in range(BASE)]
        layers: list[nn.Module] = []
        for inputs, outputs in zip((2, *widths[:-1]), widths, strict=True):
            layers += [_convolution(inputs, outputs, 2), nn.LeakyReLU(0.2)]
        self.convolve = nn.Sequential(*layers)
        self.decide = nn.Linear(widths[-1] * (points >> BASE), 1)

    def forward(self, contours: Tensor) -> Tensor:
        """Return logits ``(n t,)`` of contours ``(n, t, p, 2)``, above zero for recorded."""
        return self.decide(self.convolve(channels_first(contours)).flatten(1))[:, 0]


class TemporalDiscriminator(nn.Module):
    """D_T: whether a contour moves as a recorded one does.

    Args:
        points: of a contour.
        frames: of a window, all of which it decides on at once.
        width: of the recurrent layer.

    Reference:
        Tieu et al. 2019, section 3.4: a long short-term memory network over the contour sequence, the outputs of all
        steps concatenated, a sigmoid (here in the loss).
    """

    def __init__(self, *, points: int = 256, frames: int = 16, width: int = 64) -> None:
        super().__init__()
        self.recur = nn.LSTM(2 * points, width, batch_first=True)
        self.decide = nn.Linear(frames * width, 1)

    def forward(self, contours: Tensor) -> Tensor:
        """Return logits ``(n,)`` of contours ``(n, frames, p, 2)``, above zero for recorded."""
        steps, _ = self.recur(channels_first(contours).unflatten(0, contours.shape[:2]).flatten(2))
        return self.decide(steps.flatten(1))[:, 0]
