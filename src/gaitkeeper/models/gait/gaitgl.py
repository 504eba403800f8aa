"""GaitGL: three-dimensional convolutions of the whole body beside those of its strips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from gaitkeeper.models.gait.parts import SeparateBNNecks, SeparateFCs, initialize

ROWS = 64
"""Rows before the pooling: 32 of the whole body over 32 of the strips."""


class _Conv3d(nn.Module):
    """A convolution without bias, optionally batch-normalized; the wrapper gives the official key names."""

    def __init__(self, inputs: int, outputs: int, *, normalize: bool, aggregate: bool = False) -> None:
        super().__init__()
        if aggregate:
            self.conv3d = nn.Conv3d(inputs, outputs, (3, 1, 1), stride=(3, 1, 1), bias=False)
        else:
            self.conv3d = nn.Conv3d(inputs, outputs, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm3d(outputs) if normalize else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv3d(x))


class _GlobalLocal(nn.Module):
    """The whole map and its strips, each convolved with own zero padding; summed, or one above the other."""

    def __init__(self, inputs: int, outputs: int, strips: int, *, stack: bool, normalize: bool) -> None:
        super().__init__()
        self.global_conv3d = _Conv3d(inputs, outputs, normalize=normalize)
        self.local_conv3d = _Conv3d(inputs, outputs, normalize=normalize)
        self.strips, self.stack = strips, stack

    def forward(self, x: Tensor) -> Tensor:
        whole = self.global_conv3d(x)
        strips = self.local_conv3d(x.unflatten(3, (self.strips, -1)).movedim(3, 1).flatten(0, 1))
        local = strips.unflatten(0, (-1, self.strips)).movedim(1, 3).flatten(3, 4)
        if self.stack:
            return functional.leaky_relu(torch.cat([whole, local], 3), 0.01)
        return functional.leaky_relu(whole, 0.01) + functional.leaky_relu(local, 0.01)


class _GeneralizedMean(nn.Module):
    """The mean over a strip of a learned power, and its root."""

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.full((1,), 6.5))
        self.bins = bins

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, c, h, w)`` to ``(n, c, bins)``."""
        strips = x.to(self.p.dtype).flatten(2).unflatten(2, (self.bins, -1)).clamp_min(1e-6)
        # Relative to the largest value, so that the power of a strip of small values does not underflow.
        most = strips.detach().amax(3, keepdim=True)
        return most[..., 0] * (strips / most).pow(self.p).mean(3).pow(1 / self.p)


class GaitGL(nn.Module):
    """GaitGL at any width, with the state-dict keys of OpenGait.

    The embedding is what the released code compares: after the batch norm, or with ``neck`` before the neck.

    Args:
        channels: of the stages. Three make the network for CASIA-B, with one convolution a stage and eight strips;
            four that for OU-MVLP and GREW, published with (32, 64, 128, 256), two convolutions a stage and two strips.
        embedding: channels a part of the embedding.
        parts: horizontal strips of the embedding.
        classes: identities of the classifier; 74 on CASIA-B.
        neck: a batch-norm neck with cosines in place of the batch norm and its linear classifier.
        normalize: batch normalization after each convolution. The published network has none; with it training
            takes a fraction of the steps.

    Reference:
        Lin et al., "Gait recognition via effective global-local feature representation and local temporal
        aggregation", ICCV 2021.

    Deviations:
        The released code takes one sequence a call in evaluation; here a batch gives the same as its sequences.
    """

    def __init__(
        self,
        *,
        channels: Sequence[int] = (32, 64, 128),
        embedding: int = 128,
        parts: int = 64,
        classes: int = 74,
        neck: bool = False,
        normalize: bool = False,
    ) -> None:
        super().__init__()
        if len(channels) not in (3, 4):
            raise ValueError(f"expected three or four widths, got {tuple(channels)}")
        deep = len(channels) == 4
        one, two, three, last = channels if deep else (*channels, channels[-1])
        self.parts = parts

        def stage(inputs: int, outputs: int, *, stack: bool = False) -> nn.Module:
            if not deep:
                return _GlobalLocal(inputs, outputs, 8, stack=stack, normalize=normalize)
            first = _GlobalLocal(inputs, outputs, 2, stack=False, normalize=normalize)
            return nn.Sequential(first, _GlobalLocal(outputs, outputs, 2, stack=stack, normalize=normalize))

        layers: list[nn.Module] = [_Conv3d(1, one, normalize=normalize), nn.LeakyReLU(0.01, True)]
        if deep:
            layers += [_Conv3d(one, one, normalize=normalize), nn.LeakyReLU(0.01, True)]
        self.conv3d = nn.Sequential(*layers)
        self.LTA = nn.Sequential(_Conv3d(one, one, normalize=normalize, aggregate=True), nn.LeakyReLU(0.01, True))
        self.GLConvA0 = stage(one, two)
        self.MaxPool0 = nn.MaxPool3d((1, 2, 2))
        self.GLConvA1 = stage(two, three)
        self.GLConvB2 = stage(three, last, stack=True)
        self.HPP = _GeneralizedMean(parts)
        self.Head0 = SeparateFCs(parts, last, embedding)
        self.neck = neck
        if neck:
            self.BNNecks = SeparateBNNecks(parts, embedding, classes)
        else:
            self.Bn = nn.BatchNorm1d(embedding)
            self.Head1 = SeparateFCs(parts, embedding, classes)
        initialize(self)

    @staticmethod
    def options(state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return the constructor's options of a state dict, by its keys and shapes.

        Raises:
            KeyError, ValueError: keys are missing or have another rank, or the parts do not share the rows evenly.
        """
        inner = ".0" if "conv3d.2.conv3d.weight" in state else ""
        stages = ["GLConvA0", "GLConvA1", *["GLConvB2"] * bool(inner)]
        neck = "BNNecks.fc_bin" in state
        parts, _, embedding = state["Head0.fc_bin"].shape
        if parts < 1 or ROWS % parts:
            raise ValueError(f"expected a divisor of {ROWS} parts in Head0.fc_bin, found {parts}")
        return {
            "channels": [
                state["conv3d.0.conv3d.weight"].shape[0],
                *(state[f"{stage}{inner}.global_conv3d.conv3d.weight"].shape[0] for stage in stages),
            ],
            "embedding": embedding,
            "parts": parts,
            "classes": state["BNNecks.fc_bin" if neck else "Head1.fc_bin"].shape[2],
            "neck": neck,
            "normalize": "conv3d.0.bn.weight" in state,
        }

    def logits(self, embedding: Tensor) -> Tensor:
        """Return logits of the training identities, ``(n, classes, p)``, of embeddings ``(n, embedding, p)``."""
        return self.BNNecks(embedding) if self.neck else self.Head1(embedding)

    def forward(self, silhouettes: Tensor) -> Tensor:
        """Embed sequences, whose frames follow one another; fewer than 3 are repeated.

        Args:
            silhouettes: ``(n, t, 64, 44)`` in [0, 1].

        Returns:
            ``(n, embedding, p)``.
        """
        if silhouettes.shape[1] < 3:
            silhouettes = silhouettes.repeat(1, 3 if silhouettes.shape[1] == 1 else 2, 1, 1)
        x = self.LTA(self.conv3d(silhouettes[:, None]))
        x = self.GLConvB2(self.GLConvA1(self.MaxPool0(self.GLConvA0(x))))
        embedding = self.Head0(self.HPP(x.amax(2)))
        return embedding if self.neck else self.Bn(embedding)
