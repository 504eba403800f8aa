"""What the recognizers share: convolution blocks, strips, matrices a part, pooling of frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional

PYRAMID = (16, 8, 4, 2, 1)
"""Strips a scale of the horizontal pyramid, in OpenGait's order."""

ROWS = 16
"""Rows of the feature map of a silhouette of 64 rows, which the strips share evenly."""


@runtime_checkable
class FramePooling(Protocol):
    """A network that describes frames one by one and pools them, so that unaltered frames are computed once.

    ``head(merge(encode(frames), n))`` is what the network itself gives for n sequences.
    """

    def encode(self, frames: Tensor) -> tuple[Tensor, ...]:
        """Return the feature maps of single frames ``(m, 64, 44)`` in [0, 1], each ``(m, c, h, w)``."""
        ...

    def merge(self, features: Sequence[Tensor], count: int, valid: Tensor | None = None) -> tuple[Tensor, ...]:
        """Pool the feature maps of ``count`` sequences as :func:`pool_frames` does."""
        ...

    def head(self, pooled: Sequence[Tensor]) -> Tensor:
        """Return the embedding ``(n, c, p)`` of pooled feature maps."""
        ...


@runtime_checkable
class Classifying(Protocol):
    """A network with a classifier of its training identities after the embedding."""

    def logits(self, embedding: Tensor) -> Tensor:
        """Return logits ``(n, classes, p)`` of embeddings ``(n, c, p)``."""
        ...


class Conv(nn.Module):
    """A convolution without bias, optionally batch-normalized; the wrapper gives the official key names.

    Args:
        inputs: channels in.
        outputs: channels out.
        kernel: rows and columns of the kernel.
        normalize: batch normalization after the convolution.
        strips: horizontal strips that are convolved apart, each with its own zero padding (GaitPart's focal
            convolution).
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, *, normalize: bool, strips: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs) if normalize else nn.Identity()
        self.strips = strips

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, inputs, h, w)`` to ``(n, outputs, h, w)``."""
        if self.strips == 1:
            return self.bn(self.conv(x))
        # With channels last the strips of an image lie behind one another: folding them into the batch copies nothing.
        strips = x.permute(0, 2, 3, 1).unflatten(1, (self.strips, -1)).flatten(0, 1).permute(0, 3, 1, 2)
        strips = self.conv(strips).permute(0, 2, 3, 1)
        return self.bn(strips.unflatten(0, (-1, self.strips)).flatten(1, 2).permute(0, 3, 1, 2))


class Framewise(nn.Module):
    """Applies a block to frames one by one; a module of its own for the official key names."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.forward_block = block

    def forward(self, x: Tensor) -> Tensor:
        """Map frames ``(m, c, h, w)`` or sequences ``(n, c, t, h, w)`` to the same with other c, h and w."""
        if x.ndim == 4:
            return self.forward_block(x)
        frames = self.forward_block(x.transpose(1, 2).flatten(0, 1))
        return frames.unflatten(0, (len(x), -1)).transpose(1, 2)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch normalization beside an identity or, where the shape changes, a 1x1 convolution.

    Args:
        inputs: channels in.
        outputs: channels out.
        stride: of rows and columns.
        dimensions: 2 for images, 3 for sequences, whose time is convolved with the same kernel and never strided.

    Reference:
        He et al., "Deep residual learning for image recognition", CVPR 2016.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, *, dimensions: int = 2) -> None:
        super().__init__()
        conv: Any = nn.Conv2d if dimensions == 2 else nn.Conv3d
        norm: Any = nn.BatchNorm2d if dimensions == 2 else nn.BatchNorm3d
        strides = (stride, stride) if dimensions == 2 else (1, stride, stride)
        self.conv1 = conv(inputs, outputs, 3, stride=strides, padding=1, bias=False)
        self.bn1 = norm(outputs)
        self.conv2 = conv(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = norm(outputs)
        self.downsample: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.downsample = nn.Sequential(conv(inputs, outputs, 1, stride=strides, bias=False), norm(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, inputs, ..., h, w)`` to ``(n, outputs, ..., h / stride, w / stride)``."""
        out = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        return functional.relu(self.bn2(self.conv2(out)) + self.downsample(x), inplace=True)


class SeparateFCs(nn.Module):
    """One matrix a part, ``fc_bin`` of shape ``(p, c_in, c_out)``."""

    def __init__(self, parts: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.fc_bin = nn.Parameter(torch.empty(parts, inputs, outputs))
        nn.init.xavier_uniform_(self.fc_bin)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, c_in, p)`` to ``(n, c_out, p)``."""
        return (x.permute(2, 0, 1) @ self.fc_bin).permute(1, 2, 0)


class SeparateBNNecks(nn.Module):
    """Batch normalization and a cosine classifier a part.

    Args:
        parts: parts of the embedding.
        channels: channels a part.
        classes: training identities.

    Reference:
        Luo et al., "Bag of tricks and a strong baseline for deep person re-identification", CVPRW 2019.
    """

    def __init__(self, parts: int, channels: int, classes: int) -> None:
        super().__init__()
        self.bn1d = nn.BatchNorm1d(parts * channels)
        self.fc_bin = nn.Parameter(torch.empty(parts, channels, classes))
        nn.init.xavier_uniform_(self.fc_bin)

    def forward(self, embedding: Tensor) -> Tensor:
        """Return cosine logits ``(n, classes, p)`` of embeddings ``(n, c, p)``."""
        normal = self.bn1d(embedding.flatten(1)).unflatten(1, embedding.shape[1:])
        normal = functional.normalize(normal, dim=1).permute(2, 0, 1)
        return (normal @ functional.normalize(self.fc_bin, dim=1)).permute(1, 2, 0)


def initialize(module: nn.Module) -> None:
    """Draw the published initialization: Xavier-uniform convolutions, batch-norm weights from N(1, 0.02)."""
    for part in module.modules():
        if isinstance(part, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
            nn.init.xavier_uniform_(part.weight)
        elif isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)):
            nn.init.normal_(part.weight, 1.0, 0.02)


def horizontal_pooling(x: Tensor, bins: Sequence[int]) -> Tensor:
    """Describe each horizontal strip by mean plus maximum.

    Args:
        x: ``(n, c, h, w)``.
        bins: strips a scale; each divides h.

    Returns:
        ``(n, c, sum(bins))``, the scales in the given order.

    Reference:
        Fu et al., "Horizontal pyramid matching for person re-identification", AAAI 2019.
    """
    parts = []
    for count in bins:
        strips = x.flatten(2).unflatten(2, (count, -1))
        parts.append(strips.mean(3) + strips.amax(3))
    return torch.cat(parts, 2)


def bins_of(parts: int) -> tuple[int, ...]:
    """Return the strips a scale of a network with so many parts: one scale, or the whole pyramid.

    Raises:
        ValueError: no such strips share the 16 rows evenly.
    """
    if parts == sum(PYRAMID):
        return PYRAMID
    if parts < 1 or ROWS % parts:
        raise ValueError(f"expected {sum(PYRAMID)} parts or a divisor of {ROWS}, found {parts}")
    return (parts,)


def pool_frames(features: Sequence[Tensor], count: int, valid: Tensor | None = None) -> tuple[Tensor, ...]:
    """Pool the frames of ``count`` sequences of equal padded length by maximum.

    Args:
        features: feature maps ``(count * t, c, h, w)``, the frames of a sequence side by side.
        count: number of sequences.
        valid: ``(count, t)`` bool, the frames that count; padding and frames left out never win the maximum, and a
            sequence without any gives minus infinity. None where all count.

    Returns:
        Pooled maps, each ``(count, c, h, w)``.
    """
    pooled = []
    for feature in features:
        feature = feature.unflatten(0, (count, -1))
        if valid is not None:
            feature = feature.masked_fill(~valid[:, :, None, None, None], float("-inf"))
        pooled.append(feature.amax(1))
    return tuple(pooled)


def valid_frames(lengths: Tensor | None, frames: int) -> Tensor | None:
    """Return which of so many frames are within the lengths ``(n,)``: ``(n, frames)`` bool, None for no lengths."""
    if lengths is None:
        return None
    return torch.arange(frames, device=lengths.device)[None] < lengths[:, None]
