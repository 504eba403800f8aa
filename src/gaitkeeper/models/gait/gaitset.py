"""GaitSet: a set of silhouettes, pooled by maximum, described by horizontal strips at five scales."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

BINS = (16, 8, 4, 2, 1)
"""Strips a scale, in OpenGait's order."""

_ORIGINAL_LAYERS = {
    "set_layer1.forward_block": "set_block1.forward_block.0",
    "set_layer2.forward_block": "set_block1.forward_block.2",
    "set_layer3.forward_block": "set_block2.forward_block.0",
    "set_layer4.forward_block": "set_block2.forward_block.2",
    "set_layer5.forward_block": "set_block3.forward_block.0",
    "set_layer6.forward_block": "set_block3.forward_block.2",
    "gl_layer1": "gl_block2.0",
    "gl_layer2": "gl_block2.2",
    "gl_layer3": "gl_block3.0",
    "gl_layer4": "gl_block3.2",
}


class _Conv(nn.Module):
    """A convolution without bias, optionally batch-normalized; the wrapper gives the official key names."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, normalize: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs) if normalize else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x))


class _Framewise(nn.Module):
    """Holds a block that is applied to frames one by one; exists for the official key names."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.forward_block = block

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_block(x)


class _Head(nn.Module):
    """One matrix a part, ``fc_bin`` of shape ``(p, c_in, c_out)``."""

    def __init__(self, parts: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.fc_bin = nn.Parameter(torch.empty(parts, inputs, outputs))
        nn.init.xavier_uniform_(self.fc_bin)

    def forward(self, x: Tensor) -> Tensor:
        return (x.permute(2, 0, 1) @ self.fc_bin).permute(1, 2, 0)


def _block(inputs: int, outputs: int, first: int, *, pool: bool, normalize: bool) -> nn.Sequential:
    layers = [
        _Conv(inputs, outputs, first, normalize=normalize),
        nn.LeakyReLU(0.01, inplace=True),
        _Conv(outputs, outputs, 3, normalize=normalize),
        nn.LeakyReLU(0.01, inplace=True),
    ]
    return nn.Sequential(*layers, *([nn.MaxPool2d(2)] if pool else []))


class GaitSet(nn.Module):
    """GaitSet at any width, with the state-dict keys of OpenGait.

    Args:
        channels: channels of the three blocks; OpenGait has (32, 64, 128) for CASIA-B and (64, 128, 256) for OU-MVLP.
        embedding: channels a part of the embedding.
        normalize: batch normalization after each convolution. The published network has none; with it training
            takes a fraction of the steps.

    Reference:
        Chao et al., "GaitSet: Regarding Gait as a Set for Cross-View Gait Recognition", AAAI 2019.
    """

    def __init__(
        self,
        *,
        channels: Sequence[int] = (32, 64, 128),
        embedding: int = 256,
        normalize: bool = False,
    ) -> None:
        super().__init__()
        one, two, three = channels
        self.set_block1 = _Framewise(_block(1, one, 5, pool=True, normalize=normalize))
        self.set_block2 = _Framewise(_block(one, two, 3, pool=True, normalize=normalize))
        self.set_block3 = _Framewise(_block(two, three, 3, pool=False, normalize=normalize))
        self.gl_block2 = _block(one, two, 3, pool=True, normalize=normalize)
        self.gl_block3 = _block(two, three, 3, pool=False, normalize=normalize)
        self.Head = _Head(2 * sum(BINS), three, embedding)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight, 1.0, 0.02)

    def encode(self, frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the three blocks' feature maps of single frames.

        Args:
            frames: ``(m, 64, 44)`` in [0, 1]; other sizes must be multiples of 4 with 16 rows left after pooling.

        Returns:
            Feature maps ``(m, c1, 32, 22)``, ``(m, c2, 16, 11)``, ``(m, c3, 16, 11)``.
        """
        first = self.set_block1(frames[:, None])
        second = self.set_block2(first)
        return first, second, self.set_block3(second)

    @staticmethod
    def merge(features: Sequence[Tensor], count: int, lengths: Tensor | None = None) -> list[Tensor]:
        """Pool the frames of ``count`` sequences of equal padded length by maximum.

        Args:
            features: of :meth:`encode`, frames of a sequence side by side.
            count: number of sequences.
            lengths: ``(n,)`` valid frames; padding never wins the maximum.
        """
        pooled = []
        for feature in features:
            feature = feature.unflatten(0, (count, -1))
            if lengths is not None:
                padding = torch.arange(feature.shape[1], device=feature.device)[None] >= lengths[:, None]
                feature = feature.masked_fill(padding[:, :, None, None, None], float("-inf"))
            pooled.append(feature.amax(1))
        return pooled

    def head(self, pooled: Sequence[Tensor]) -> Tensor:
        """Return the embedding ``(n, embedding, 62)`` of pooled feature maps; the set branch's parts come first."""
        first, second, third = pooled
        whole = self.gl_block3(self.gl_block2(first) + second) + third
        parts = []
        for branch in (third, whole):
            for bins in BINS:
                strips = branch.flatten(2).unflatten(2, (bins, -1))
                parts.append(strips.mean(3) + strips.amax(3))
        return self.Head(torch.cat(parts, 2))

    def forward(self, silhouettes: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Embed sequences.

        Args:
            silhouettes: ``(n, t, 64, 44)`` in [0, 1].
            lengths: ``(n,)`` valid frames of each sequence; None where all are.

        Returns:
            ``(n, embedding, 62)``.
        """
        features = self.encode(silhouettes.flatten(0, 1))
        return self.head(self.merge(features, len(silhouettes), lengths))


def original_part_order() -> list[int]:
    """Return, for each of the 62 parts in OpenGait's order, its index in the original repository's order.

    There the scales come coarse to fine, and at each scale the set branch's strips before the global branch's.
    """
    start, begins = 0, {}
    for bins in reversed(BINS):
        for branch in (0, 1):
            begins[branch, bins] = start
            start += bins
    return [begins[branch, bins] + strip for branch in (0, 1) for bins in BINS for strip in range(bins)]


def from_original(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a checkpoint of the original repository (AbnerHqC/GaitSet) to OpenGait's keys and part order.

    Args:
        state: a state dict, with or without the ``module.`` prefix of a data-parallel wrapper.
    """
    renamed = {}
    for key, value in state.items():
        name = key.removeprefix("module.")
        if name == "fc_bin.0":
            renamed["Head.fc_bin"] = value[original_part_order()]
            continue
        stem = name.removesuffix(".conv.weight")
        renamed[f"{_ORIGINAL_LAYERS.get(stem, stem)}.conv.weight" if stem != name else name] = value
    return renamed


def is_original(state: Mapping[str, Tensor]) -> bool:
    """Say whether a state dict has the original repository's keys."""
    return any(key.removeprefix("module.").startswith("set_layer") for key in state)
