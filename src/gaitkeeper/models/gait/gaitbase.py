"""GaitBase: a residual network on frames, the maximum over time, sixteen strips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from gaitkeeper.models.gait.parts import (
    BasicBlock,
    Conv,
    Framewise,
    SeparateBNNecks,
    SeparateFCs,
    bins_of,
    horizontal_pooling,
    initialize,
    pool_frames,
    valid_frames,
)

STRIDES = (1, 2, 2, 1)


class _ResNet(nn.Module):
    """A residual network of four stages, without pooling after the first convolution."""

    def __init__(self, channels: Sequence[int], blocks: Sequence[int]) -> None:
        super().__init__()
        one, two, three, four = channels
        self.conv1 = Conv(1, one, 3, normalize=False)
        self.bn1 = nn.BatchNorm2d(one)
        self.layer1 = _stage(one, one, STRIDES[0], blocks[0])
        self.layer2 = _stage(one, two, STRIDES[1], blocks[1])
        self.layer3 = _stage(two, three, STRIDES[2], blocks[2])
        self.layer4 = _stage(three, four, STRIDES[3], blocks[3])

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


def _stage(inputs: int, outputs: int, stride: int, blocks: int) -> nn.Sequential:
    more = [BasicBlock(outputs, outputs, 1) for _ in range(blocks - 1)]
    return nn.Sequential(BasicBlock(inputs, outputs, stride), *more)


class GaitBase(nn.Module):
    """GaitBase at any width, with the state-dict keys of OpenGait's ``Baseline``.

    The embedding is what the released code compares, before the neck; ``logits`` are the neck's cosines.

    Args:
        channels: channels of the four stages.
        blocks: residual blocks of the four stages.
        embedding: channels a part of the embedding.
        bins: horizontal strips a scale.
        classes: identities of the classifier; 74 on CASIA-B.

    Reference:
        Fan et al., "OpenGait: Revisiting gait recognition toward better practicality", CVPR 2023.
    """

    def __init__(
        self,
        *,
        channels: Sequence[int] = (64, 128, 256, 512),
        blocks: Sequence[int] = (1, 1, 1, 1),
        embedding: int = 256,
        bins: Sequence[int] = (16,),
        classes: int = 74,
    ) -> None:
        super().__init__()
        self.bins = tuple(bins)
        self.parts = sum(bins)
        self.Backbone = Framewise(_ResNet(channels, blocks))
        self.FCs = SeparateFCs(self.parts, channels[-1], embedding)
        self.BNNecks = SeparateBNNecks(self.parts, embedding, classes)
        initialize(self)

    @staticmethod
    def options(state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return the constructor's options of a state dict, by its keys and shapes.

        Raises:
            KeyError, ValueError: keys are missing or have another rank.
        """
        stem = "Backbone.forward_block"
        parts, embedding, classes = state["BNNecks.fc_bin"].shape
        return {
            "channels": [state[f"{stem}.layer{i}.0.conv1.weight"].shape[0] for i in (1, 2, 3, 4)],
            "blocks": [
                len({k.split(".")[3] for k in state if k.startswith(f"{stem}.layer{i}.")}) for i in (1, 2, 3, 4)
            ],
            "embedding": embedding,
            "bins": bins_of(parts),
            "classes": classes,
        }

    def encode(self, frames: Tensor) -> tuple[Tensor]:
        """Return the feature map of single frames.

        Args:
            frames: ``(m, 64, 44)`` in [0, 1].

        Returns:
            One feature map ``(m, c4, 16, 11)``.
        """
        return (self.Backbone(frames[:, None]),)

    @staticmethod
    def merge(features: Sequence[Tensor], count: int, valid: Tensor | None = None) -> tuple[Tensor, ...]:
        """Pool the frames of ``count`` sequences by maximum: :func:`gaitkeeper.models.gait.parts.pool_frames`."""
        return pool_frames(features, count, valid)

    def head(self, pooled: Sequence[Tensor]) -> Tensor:
        """Return the embedding ``(n, embedding, p)`` of the pooled feature map."""
        (whole,) = pooled
        return self.FCs(horizontal_pooling(whole, self.bins))

    def logits(self, embedding: Tensor) -> Tensor:
        """Return cosines with the training identities, ``(n, classes, p)``, of embeddings ``(n, embedding, p)``."""
        return self.BNNecks(embedding)

    def forward(self, silhouettes: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Embed sequences.

        Args:
            silhouettes: ``(n, t, 64, 44)`` in [0, 1].
            lengths: ``(n,)`` valid frames of each sequence; None where all are.

        Returns:
            ``(n, embedding, p)``.
        """
        n, t = silhouettes.shape[:2]
        return self.head(self.merge(self.encode(silhouettes.flatten(0, 1)), n, valid_frames(lengths, t)))
