"""DeepGaitV2: residual blocks that look at frames, at short windows of time, or at both at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn import functional

from gaitkeeper.models.gait.parts import (
    BasicBlock,
    Framewise,
    SeparateBNNecks,
    SeparateFCs,
    bins_of,
    horizontal_pooling,
    initialize,
)

Mode = Literal["2d", "p3d", "3d"]

_STRIDES = (1, 2, 2, 1)


class _PseudoBlock(nn.Module):
    """A residual block on frames with a convolution over three frames, itself residual, after its first half."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        first = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.conv1 = Framewise(nn.Sequential(first, nn.BatchNorm2d(outputs), nn.ReLU(True)))
        second = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.conv2 = Framewise(nn.Sequential(second, nn.BatchNorm2d(outputs)))
        self.shortcut3d = nn.Conv3d(outputs, outputs, (3, 1, 1), padding=(1, 0, 0), bias=False)
        self.sbn = nn.BatchNorm3d(outputs)
        self.downsample: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            shortcut = nn.Conv3d(inputs, outputs, 1, stride=(1, stride, stride), bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm3d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(x)
        out = functional.relu(out + self.sbn(self.shortcut3d(out)), inplace=True)
        return functional.relu(self.conv2(out) + self.downsample(x), inplace=True)


def _stage(inputs: int, outputs: int, stride: int, blocks: int, mode: Mode) -> nn.Module:
    shapes = [(inputs, stride), *[(outputs, 1)] * (blocks - 1)]
    if mode == "p3d":
        return nn.Sequential(*[_PseudoBlock(width, outputs, step) for width, step in shapes])
    if mode == "3d":
        return nn.Sequential(*[BasicBlock(width, outputs, step, dimensions=3) for width, step in shapes])
    return Framewise(nn.Sequential(*[BasicBlock(width, outputs, step) for width, step in shapes]))


class DeepGaitV2(nn.Module):
    """DeepGaitV2 at any width and depth, with the state-dict keys of OpenGait.

    The embedding is what the released code compares by default, before the neck; ``logits`` are the neck's cosines.

    Args:
        channels: channels of the four stages.
        blocks: residual blocks of the four stages; 1 4 4 1 on Gait3D and GREW.
        mode: how the last three stages see time: ``2d`` not at all, ``p3d`` by a convolution over three frames
            between those over rows and columns, ``3d`` by convolutions over all three at once. The first stage sees
            single frames.
        embedding: channels a part of the embedding.
        bins: horizontal strips a scale.
        classes: identities of the classifier; 74 on CASIA-B.

    Reference:
        Fan et al., "Exploring deep models for practical gait recognition", 2023.
    """

    def __init__(
        self,
        *,
        channels: Sequence[int] = (64, 128, 256, 512),
        blocks: Sequence[int] = (1, 1, 1, 1),
        mode: Mode = "p3d",
        embedding: int = 256,
        bins: Sequence[int] = (16,),
        classes: int = 74,
    ) -> None:
        super().__init__()
        self.bins = tuple(bins)
        self.parts = sum(bins)
        one, two, three, four = channels
        first = nn.Conv2d(1, one, 3, padding=1, bias=False)
        self.layer0 = Framewise(nn.Sequential(first, nn.BatchNorm2d(one), nn.ReLU(True)))
        self.layer1 = _stage(one, one, _STRIDES[0], blocks[0], "2d")
        self.layer2 = _stage(one, two, _STRIDES[1], blocks[1], mode)
        self.layer3 = _stage(two, three, _STRIDES[2], blocks[2], mode)
        self.layer4 = _stage(three, four, _STRIDES[3], blocks[3], mode)
        self.FCs = SeparateFCs(self.parts, four, embedding)
        self.BNNecks = SeparateBNNecks(self.parts, embedding, classes)
        initialize(self)

    @staticmethod
    def options(state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return the constructor's options of a state dict, by its keys and shapes.

        Raises:
            KeyError, ValueError: keys are missing or have another rank.
        """
        mode: Mode = "3d"
        if "layer2.0.shortcut3d.weight" in state:
            mode = "p3d"
        elif "layer2.forward_block.0.conv1.weight" in state:
            mode = "2d"
        stems = ["layer1.forward_block", *(f"layer{i}" + ".forward_block" * (mode == "2d") for i in (2, 3, 4))]
        first = ["conv1.weight", *["conv1.forward_block.0.weight" if mode == "p3d" else "conv1.weight"] * 3]
        parts, embedding, classes = state["BNNecks.fc_bin"].shape
        return {
            "channels": [state[f"{s}.0.{key}"].shape[0] for s, key in zip(stems, first, strict=True)],
            "blocks": [
                sum(k.startswith(f"{s}.") and k.endswith(f".{key}") for k in state)
                for s, key in zip(stems, first, strict=True)
            ],
            "mode": mode,
            "embedding": embedding,
            "bins": bins_of(parts),
            "classes": classes,
        }

    def logits(self, embedding: Tensor) -> Tensor:
        """Return cosines with the training identities, ``(n, classes, p)``, of embeddings ``(n, embedding, p)``."""
        return self.BNNecks(embedding)

    def forward(self, silhouettes: Tensor) -> Tensor:
        """Embed sequences, whose frames follow one another.

        Args:
            silhouettes: ``(n, t, 64, 44)`` in [0, 1].

        Returns:
            ``(n, embedding, p)``.
        """
        x = self.layer1(self.layer0(silhouettes[:, None]))
        x = self.layer4(self.layer3(self.layer2(x)))
        return self.FCs(horizontal_pooling(x.amax(2), self.bins))
