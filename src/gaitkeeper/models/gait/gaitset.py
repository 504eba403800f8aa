"""GaitSet: a set of silhouettes, pooled by maximum, described by horizontal strips at five scales."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gaitkeeper.models.gait.parts import (
    PYRAMID,
    Conv,
    Framewise,
    SeparateFCs,
    horizontal_pooling,
    initialize,
    pool_frames,
    valid_frames,
)

PARTS = 2 * sum(PYRAMID)
"""Parts of the embedding: the pyramid of the set branch, then that of the global branch."""

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


def _block(inputs: int, outputs: int, first: int, *, pool: bool, normalize: bool) -> nn.Sequential:
    layers = [
        Conv(inputs, outputs, first, normalize=normalize),
        nn.LeakyReLU(0.01, inplace=True),
        Conv(outputs, outputs, 3, normalize=normalize),
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
        self.set_block1 = Framewise(_block(1, one, 5, pool=True, normalize=normalize))
        self.set_block2 = Framewise(_block(one, two, 3, pool=True, normalize=normalize))
        self.set_block3 = Framewise(_block(two, three, 3, pool=False, normalize=normalize))
        self.gl_block2 = _block(one, two, 3, pool=True, normalize=normalize)
        self.gl_block3 = _block(two, three, 3, pool=False, normalize=normalize)
        self.parts = PARTS
        self.Head = SeparateFCs(PARTS, three, embedding)
        initialize(self)

    @staticmethod
    def options(state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return the constructor's options of a state dict, by its keys and shapes.

        Raises:
            KeyError, ValueError: keys are missing, have another rank, or the parts are not GaitSet's.
        """
        parts, _, embedding = state["Head.fc_bin"].shape
        if parts != PARTS:
            raise ValueError(f"expected {PARTS} parts in Head.fc_bin, found {parts}")
        return {
            "channels": [state[f"set_block{i}.forward_block.0.conv.weight"].shape[0] for i in (1, 2, 3)],
            "embedding": embedding,
            "normalize": "set_block1.forward_block.0.bn.weight" in state,
        }

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
    def merge(features: Sequence[Tensor], count: int, valid: Tensor | None = None) -> tuple[Tensor, ...]:
        """Pool the frames of ``count`` sequences by maximum: :func:`gaitkeeper.models.gait.parts.pool_frames`."""
        return pool_frames(features, count, valid)

    def head(self, pooled: Sequence[Tensor]) -> Tensor:
        """Return the embedding ``(n, embedding, 62)`` of pooled feature maps; the set branch's parts come first."""
        first, second, third = pooled
        whole = self.gl_block3(self.gl_block2(first) + second) + third
        return self.Head(torch.cat([horizontal_pooling(branch, PYRAMID) for branch in (third, whole)], 2))

    def forward(self, silhouettes: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Embed sequences.

        Args:
            silhouettes: ``(n, t, 64, 44)`` in [0, 1].
            lengths: ``(n,)`` valid frames of each sequence; None where all are.

        Returns:
            ``(n, embedding, 62)``.
        """
        n, t = silhouettes.shape[:2]
        return self.head(self.merge(self.encode(silhouettes.flatten(0, 1)), n, valid_frames(lengths, t)))


def original_part_order() -> list[int]:
    """Return, for each of the 62 parts in OpenGait's order, its index in the original repository's order.

    There the scales come coarse to fine, and at each scale the set branch's strips before the global branch's.
    """
    start, begins = 0, {}
    for bins in reversed(PYRAMID):
        for branch in (0, 1):
            begins[branch, bins] = start
            start += bins
    return [begins[branch, bins] + strip for branch in (0, 1) for bins in PYRAMID for strip in range(bins)]


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
