"""2s-AGCN and AAGCN: graph convolutions that add learned and data-dependent edges, with attention in the latter."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from gaitkeeper.models.actions.graphs import NTU25, Graph, Matrix, split_then_normalized
from gaitkeeper.models.actions.layers import (
    STRIDES,
    WIDTHS,
    SkeletonNetwork,
    TemporalUnit,
    Unit,
    classifier,
    kaiming,
    shortcut,
    widths_and_strides,
)

_OLD_UNIT = re.compile(r"^(l\d+)a\.")


def from_released(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict under the names of the released code.

    Some of the weights that were released with it bear older names: ``conv_res`` for ``down``, ``l1a`` for ``l1``.
    """
    return {_OLD_UNIT.sub(r"\1.", key).replace(".conv_res.", ".down."): value for key, value in state.items()}


class _GraphUnit(nn.Module, ABC):
    """What both graph units have in common: affinities of joints, one convolution a subset, a shortcut."""

    def __init__(self, inputs: int, outputs: int, matrices: Matrix, reduction: int) -> None:
        super().__init__()
        self.inner = outputs // reduction
        subsets = len(matrices)
        self.conv_a = nn.ModuleList([nn.Conv2d(inputs, self.inner, 1) for _ in range(subsets)])
        self.conv_b = nn.ModuleList([nn.Conv2d(inputs, self.inner, 1) for _ in range(subsets)])
        self.conv_d = nn.ModuleList([nn.Conv2d(inputs, outputs, 1) for _ in range(subsets)])
        self.bn = nn.BatchNorm2d(outputs)
        self.down: nn.Module = nn.Identity()
        if inputs != outputs:
            self.down = nn.Sequential(nn.Conv2d(inputs, outputs, 1), nn.BatchNorm2d(outputs))
        kaiming(self)
        nn.init.constant_(self.bn.weight, 1e-6)
        for convolution in self.conv_d:
            weight = convolution.get_parameter("weight")
            nn.init.normal_(weight, 0.0, math.sqrt(2 / (weight.numel() * subsets)))

    def affinity(self, x: Tensor, subset: int) -> Tensor:
        """Return how alike two joints are over all frames, ``(n, v, v)``, of features ``(n, c, t, v)``."""
        one = self.conv_a[subset](x).flatten(1, 2)
        other = self.conv_b[subset](x).flatten(1, 2)
        return one.mT @ other / one.shape[1]

    @abstractmethod
    def edges(self, x: Tensor) -> list[Tensor]:
        """Return the graph of each subset, ``(n, v, v)``, for features ``(n, c, t, v)``."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, inputs, t, v)`` to ``(n, outputs, t, v)``."""
        rows = x.flatten(1, 2)
        parts = [conv((rows @ edge).view_as(x)) for conv, edge in zip(self.conv_d, self.edges(x), strict=True)]
        out = self.bn(reduce(torch.add, parts))
        return functional.relu(out + self.down(x), inplace=True)


class _AdaptiveUnit(_GraphUnit):
    """The fixed graph, a learned one, and a softmax of affinities, summed."""

    A: Tensor

    def __init__(self, inputs: int, outputs: int, matrices: Matrix, reduction: int) -> None:
        super().__init__(inputs, outputs, matrices, reduction)
        self.register_buffer("A", torch.from_numpy(matrices), persistent=False)
        self.PA = nn.Parameter(torch.full(matrices.shape, 1e-6))

    def edges(self, x: Tensor) -> list[Tensor]:
        fixed = (self.A + self.PA).unbind()
        return [edge + self.affinity(x, k).softmax(-2) for k, edge in enumerate(fixed)]


class _AttentiveUnit(_GraphUnit):
    """A learned graph plus affinities, then attention to joints, frames and channels."""

    def __init__(self, inputs: int, outputs: int, matrices: Matrix, reduction: int) -> None:
        super().__init__(inputs, outputs, matrices, reduction)
        self.PA = nn.Parameter(torch.empty(matrices.shape))
        with torch.no_grad():
            self.PA.copy_(torch.from_numpy(matrices))
        self.alpha = nn.Parameter(torch.zeros(1))
        joints = matrices.shape[-1]
        span = joints if joints % 2 else joints - 1
        self.conv_ta = nn.Conv1d(outputs, 1, 9, padding=4)
        self.conv_sa = nn.Conv1d(outputs, 1, span, padding=span // 2)
        self.fc1c = nn.Linear(outputs, outputs // 2)
        self.fc2c = nn.Linear(outputs // 2, outputs)
        nn.init.xavier_normal_(self.conv_sa.weight)
        nn.init.kaiming_normal_(self.fc1c.weight)
        biases = [self.conv_sa.bias, self.conv_ta.bias, self.fc2c.bias]
        for start in (self.conv_ta.weight, self.fc2c.weight, *(bias for bias in biases if bias is not None)):
            nn.init.zeros_(start)

    def edges(self, x: Tensor) -> list[Tensor]:
        return [edge + self.affinity(x, k).tanh() * self.alpha for k, edge in enumerate(self.PA.unbind())]

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        y = y * self.conv_sa(y.mean(2)).sigmoid()[:, :, None] + y
        y = y * self.conv_ta(y.mean(3)).sigmoid()[..., None] + y
        channels = self.fc2c(functional.relu(self.fc1c(y.mean((2, 3))))).sigmoid()
        return y * channels[..., None, None] + y


class AGCN(SkeletonNetwork):
    """The network of 2s-AGCN at any width and depth, with the state-dict keys of the released code.

    One stream; the paper adds the scores of one on joints and one on bones. Weights under the older names are
    renamed by :func:`from_released`. The fixed graph is not saved, so a checkpoint does not tell which hand tips it
    was trained with.

    Args:
        graph: joints and bones.
        persons: of a sample; fixed, since they are normalized together.
        coordinates: of a joint.
        classes: of the classifier.
        widths: channels of the units.
        strides: temporal strides of the units.
        kernel: frames of the temporal convolutions.
        reduction: channels of a unit over those of its affinities.

    Raises:
        ValueError: widths and strides differ in number.

    Reference:
        Shi et al., "Two-stream adaptive graph convolutional networks for skeleton-based action recognition",
        CVPR 2019.
    """

    unit: ClassVar[type[_GraphUnit]] = _AdaptiveUnit

    def __init__(
        self,
        *,
        graph: Graph = NTU25,
        persons: int = 2,
        coordinates: int = 3,
        classes: int = 60,
        widths: Sequence[int] = WIDTHS,
        strides: Sequence[int] = STRIDES,
        kernel: int = 9,
        reduction: int = 4,
    ) -> None:
        super().__init__(graph=graph, persons=persons, coordinates=coordinates, depth=len(widths))
        matrices = split_then_normalized(graph)
        before = coordinates
        for index, (width, stride) in enumerate(widths_and_strides(widths, strides)):
            residual = shortcut(before, width, stride) if index else None
            graph_unit = self.unit(before, width, matrices, reduction)
            self.add_module(f"l{index + 1}", Unit(graph_unit, TemporalUnit(width, width, kernel, stride), residual))
            before = width
        self.fc = classifier(before, classes)

    @staticmethod
    def options(state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return the constructor's options of a state dict but for the graph, by its keys and shapes.

        Units with a convolution in their shortcut are taken to have stride 2.

        Raises:
            KeyError, ValueError: keys are missing or have another rank.
        """
        units = sum(1 for key in state if re.fullmatch(r"l\d+\.gcn1\.PA", key))
        outputs, coordinates, _, _ = state["l1.gcn1.conv_d.0.weight"].shape
        return {
            "persons": len(state["data_bn.weight"]) // (coordinates * state["l1.gcn1.PA"].shape[-1]),
            "coordinates": coordinates,
            "classes": state["fc.weight"].shape[0],
            "widths": [state[f"l{i + 1}.gcn1.conv_d.0.weight"].shape[0] for i in range(units)],
            "strides": [2 if f"l{i + 1}.residual.conv.weight" in state else 1 for i in range(units)],
            "kernel": state["l1.tcn1.conv.weight"].shape[2],
            "reduction": outputs // state["l1.gcn1.conv_a.0.weight"].shape[0],
        }


class AAGCN(AGCN):
    """The network of MS-AAGCN: the graph itself is learned, affinities are weighted, and attention follows.

    Arguments are those of :class:`AGCN`. The learned graph starts as the fixed one and replaces it.

    Reference:
        Shi et al., "Skeleton-based action recognition with multi-stream adaptive graph convolutional networks",
        IEEE Transactions on Image Processing, 2020.
    """

    unit = _AttentiveUnit
