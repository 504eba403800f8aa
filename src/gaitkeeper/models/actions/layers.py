"""What the skeleton networks share: their input, its normalization, graph products, units, pooling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn import functional

from gaitkeeper.errors import DataError
from gaitkeeper.models.actions.graphs import Graph

WIDTHS = (64, 64, 64, 64, 128, 128, 128, 256, 256, 256)
"""Channels of the ten units of ST-GCN, which 2s-AGCN, CTR-GCN and DGNN keep."""

STRIDES = (1, 1, 1, 1, 2, 1, 1, 2, 1, 1)
"""Temporal strides of these units."""


def check_skeletons(x: Tensor, *, channels: int, joints: int, persons: int | None = None) -> None:
    """Check the input of a network.

    Args:
        x: meant to be ``(n, channels, t, joints, persons)``.
        channels: coordinates of a joint.
        joints: joints of a person.
        persons: persons of a sample; None where any number will do.

    Raises:
        DataError: another rank or size, or an empty axis.
    """
    got = tuple(x.shape)
    wanted = f"(n, c={channels}, t=any, v={joints}, m={'any' if persons is None else persons})"
    fits = len(got) == 5 and got[1] == channels and got[3] == joints and persons in (None, got[4])
    if not fits or 0 in got[1:]:
        raise DataError(f"expected skeletons of shape {wanted}, got {got}")


def persons_apart(x: Tensor, norm: nn.BatchNorm1d) -> Tensor:
    """Normalize coordinates person by person and set persons apart.

    Args:
        x: ``(n, c, t, v, m)``.
        norm: of ``v * c`` features, joint-major.

    Returns:
        ``(n * m, c, t, v)``, the persons of a sample side by side.
    """
    n, c, t, v, m = x.shape
    x = norm(x.permute(0, 4, 3, 1, 2).reshape(n * m, v * c, t))
    return x.unflatten(1, (v, c)).permute(0, 2, 3, 1).contiguous()


def persons_together(x: Tensor, norm: nn.BatchNorm1d) -> Tensor:
    """Normalize the coordinates of all persons of a sample together and set persons apart.

    Args:
        x: ``(n, c, t, v, m)``.
        norm: of ``m * v * c`` features, person-major, then joint.

    Returns:
        ``(n * m, c, t, v)``, the persons of a sample side by side.
    """
    n, c, t, v, m = x.shape
    x = norm(x.permute(0, 4, 3, 1, 2).reshape(n, m * v * c, t))
    return x.reshape(n * m, v, c, t).permute(0, 2, 3, 1).contiguous()


def pool(x: Tensor, samples: int) -> Tensor:
    """Average frames and joints, then the persons of a sample: ``(n * m, c, t, v)`` to ``(n, c)``.

    Persons who are absent, all zero, count.
    """
    return x.mean((2, 3)).unflatten(0, (samples, -1)).mean(1)


def graph_convolution(x: Tensor, weight: Tensor, bias: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """Sum over subsets of 1x1 convolutions, each aggregated along its graph: ``sum_k A_k (W_k x + b_k)``.

    Aggregation comes first, which is the same and costs less where channels grow, above all in the first unit.

    Args:
        x: ``(n, c, t, v)``.
        weight: ``(k * o, c, 1, 1)``, subset-major.
        bias: ``(k * o,)``.
        matrices: k of ``(v, v)`` or, a sample its own, ``(n, v, v)``; entry ``[source, target]``.

    Returns:
        ``(n, o, t, v)``.
    """
    rows = x.flatten(1, 2)
    count = len(matrices)
    reach = [matrix.sum(-2)[..., None, None, :] for matrix in matrices]
    total = reduce(torch.add, [b[:, None, None] * r for b, r in zip(bias.chunk(count), reach, strict=True)])
    for matrix, part in zip(matrices, weight.chunk(count), strict=True):
        total = total + functional.conv2d((rows @ matrix).view_as(x), part)
    return total


class TemporalUnit(nn.Module):
    """A convolution along time with batch normalization, as 2s-AGCN and its successors name it.

    Args:
        inputs: channels in.
        outputs: channels out.
        kernel: frames, odd.
        stride: of frames.
        dilation: frames from one tap to the next.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        padding = dilation * (kernel // 2)
        self.conv = nn.Conv2d(inputs, outputs, (kernel, 1), (stride, 1), (padding, 0), (dilation, 1))
        self.bn = nn.BatchNorm2d(outputs)
        kaiming(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, inputs, t, v)`` to ``(n, outputs, ceil(t / stride), v)``."""
        return self.bn(self.conv(x))


def shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    """Return what leads past a unit: nothing done, or a 1x1 convolution where the unit changes channels or frames."""
    return TemporalUnit(inputs, outputs, 1, stride) if inputs != outputs or stride > 1 else nn.Identity()


class Unit(nn.Module):
    """A graph unit, then a temporal one, beside a shortcut, as 2s-AGCN and its successors name them.

    Args:
        graph: maps ``(n, c, t, v)`` to ``(n, o, t, v)``.
        temporal: maps that to ``(n, o, t', v)``.
        residual: maps the unit's input to ``(n, o, t', v)``; None for no shortcut.
    """

    def __init__(self, graph: nn.Module, temporal: nn.Module, residual: nn.Module | None) -> None:
        super().__init__()
        self.gcn1 = graph
        self.tcn1 = temporal
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, c, t, v)`` to ``(n, o, t', v)``."""
        out = self.tcn1(self.gcn1(x))
        if self.residual is not None:
            out = out + self.residual(x)
        return functional.relu(out, inplace=True)


class SkeletonNetwork(nn.Module):
    """A network whose stages follow one another, whose input is normalized and whose output is averaged as a whole.

    Networks of this kind add the stages, ``l1`` and on unless they have a :meth:`stage` of their own, and ``fc``.

    Args:
        graph: the joints.
        persons: persons a clip, whom the first normalization tells apart.
        coordinates: of a joint.
        depth: stages.
    """

    fc: nn.Linear

    def __init__(self, *, graph: Graph, persons: int, coordinates: int, depth: int) -> None:
        super().__init__()
        self.graph, self.persons, self.coordinates, self.depth = graph, persons, coordinates, depth
        self.data_bn = nn.BatchNorm1d(persons * coordinates * graph.joints)

    def stage(self, number: int, x: Tensor) -> Tensor:
        """Apply the stage of a number, from 1, to ``(n * m, c, t, v)``."""
        return self.get_submodule(f"l{number}")(x)

    def forward(self, x: Tensor) -> Tensor:
        """Recognize clips.

        Args:
            x: ``(n, c, t, v, m)``; absent persons are 0.

        Returns:
            Logits ``(n, classes)``.

        Raises:
            DataError: another rank, or other coordinates, joints or persons than the network's.
        """
        check_skeletons(x, channels=self.coordinates, joints=self.graph.joints, persons=self.persons)
        out = persons_together(x, self.data_bn)
        for number in range(1, self.depth + 1):
            out = self.stage(number, out)
        return self.fc(pool(out, len(x)))


def kaiming(module: nn.Module) -> None:
    """Draw 2s-AGCN's initialization of all convolutions within: Kaiming by fan-out, biases 0."""
    for part in module.modules():
        if isinstance(part, (nn.Conv1d, nn.Conv2d)):
            nn.init.kaiming_normal_(part.weight, mode="fan_out")
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def classifier(inputs: int, classes: int) -> nn.Linear:
    """Return the last layer of 2s-AGCN and its successors, drawn from N(0, sqrt(2 / classes))."""
    layer = nn.Linear(inputs, classes)
    nn.init.normal_(layer.weight, 0.0, math.sqrt(2 / classes))
    return layer


def widths_and_strides(widths: Sequence[int], strides: Sequence[int]) -> list[tuple[int, int]]:
    """Pair the channels and strides of the units.

    Raises:
        ValueError: they differ in number or there are none.
    """
    if len(widths) != len(strides) or not widths:
        raise ValueError(f"expected as many widths as strides, got {len(widths)} and {len(strides)}")
    return list(zip(widths, strides, strict=True))
