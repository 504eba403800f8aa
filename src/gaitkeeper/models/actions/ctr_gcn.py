"""CTR-GCN: a graph of its own for each channel, refined by the clip at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from gaitkeeper.models.actions.graphs import NTU25, Graph, split_then_normalized
from gaitkeeper.models.actions.layers import (
    STRIDES,
    WIDTHS,
    SkeletonNetwork,
    Unit,
    classifier,
    kaiming,
    shortcut,
    widths_and_strides,
)
from gaitkeeper.models.actions.ms_g3d import MultiScaleTemporal


class _Refined(nn.Module):
    """Graph convolution with one adjacency a channel: a shared one plus what two joints' features differ by."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        relations = 8 if inputs in (3, 9) else max(1, inputs // 8)
        self.conv1 = nn.Conv2d(inputs, relations, 1)
        self.conv2 = nn.Conv2d(inputs, relations, 1)
        self.conv3 = nn.Conv2d(inputs, outputs, 1)
        self.conv4 = nn.Conv2d(relations, outputs, 1)

    def forward(self, x: Tensor, shared: Tensor, alpha: Tensor) -> Tensor:
        # The mean over time before a 1x1 convolution is the mean after it, for a fraction of the work.
        mean = x.mean(2, keepdim=True)
        relation = torch.tanh(self.conv1(mean).transpose(2, 3) - self.conv2(mean))
        adjacency = self.conv4(relation) * alpha + shared
        return self.conv3(x) @ adjacency.transpose(2, 3)


class _GraphUnit(nn.Module):
    """The sum of three refined graphs, batch-normalized, beside the input."""

    def __init__(self, inputs: int, outputs: int, adjacency: Tensor) -> None:
        super().__init__()
        self.convs = nn.ModuleList(_Refined(inputs, outputs) for _ in adjacency)
        self.down: nn.Module = nn.Identity()
        if inputs != outputs:
            self.down = nn.Sequential(nn.Conv2d(inputs, outputs, 1), nn.BatchNorm2d(outputs))
        self.PA = nn.Parameter(adjacency.clone())
        self.alpha = nn.Parameter(torch.zeros(1))
        self.bn = nn.BatchNorm2d(outputs)
        # A unit begins as its shortcut.
        nn.init.constant_(self.bn.weight, 1e-6)

    def forward(self, x: Tensor) -> Tensor:
        out = self.convs[0](x, self.PA[0], self.alpha)
        for conv, shared in zip(self.convs[1:], self.PA[1:], strict=True):
            out = out + conv(x, shared, self.alpha)
        return functional.relu(self.bn(out) + self.down(x))


class CTRGCN(SkeletonNetwork):
    """CTR-GCN at any width and depth, with the official state-dict keys.

    Args:
        classes: actions.
        graph: the joints; a network learns its own adjacency from there, so weights belong to one graph.
        persons: persons a clip, whom the first normalization tells apart; absent ones are 0.
        coordinates: of a joint.
        widths: channels of the units, each divisible by 4.
        strides: of time, one a unit.

    Raises:
        ValueError: a width is not divisible by 4, or strides differ in number.

    Reference:
        Chen et al., "Channel-wise topology refinement graph convolution for skeleton-based action recognition",
        ICCV 2021.
    """

    def __init__(
        self,
        *,
        classes: int = 60,
        graph: Graph = NTU25,
        persons: int = 2,
        coordinates: int = 3,
        widths: Sequence[int] = WIDTHS,
        strides: Sequence[int] = STRIDES,
    ) -> None:
        super().__init__(graph=graph, persons=persons, coordinates=coordinates, depth=len(widths))
        adjacency = torch.from_numpy(split_then_normalized(graph))
        inputs = coordinates
        for index, (outputs, stride) in enumerate(widths_and_strides(widths, strides)):
            graph_unit = _GraphUnit(inputs, outputs, adjacency)
            temporal = MultiScaleTemporal(outputs, outputs, kernel=5, dilations=(1, 2), stride=stride)
            residual = shortcut(inputs, outputs, stride) if index else None
            self.add_module(f"l{index + 1}", Unit(graph_unit, temporal, residual))
            inputs = outputs
        self.fc = classifier(inputs, classes)
        kaiming(self)

    @staticmethod
    def options(state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return the constructor's options of a state dict, but for the graph, by its keys and shapes.

        Units with a convolution in their shortcut are taken to have stride 2.

        Raises:
            KeyError, ValueError: keys are missing or have another rank.
        """
        _, coordinates, _, _ = state["l1.gcn1.convs.0.conv3.weight"].shape
        depth = sum(key.endswith(".gcn1.PA") for key in state)
        return {
            "classes": state["fc.weight"].shape[0],
            "persons": state["data_bn.weight"].shape[0] // (coordinates * state["l1.gcn1.PA"].shape[1]),
            "coordinates": coordinates,
            "widths": [state[f"l{i + 1}.gcn1.bn.weight"].shape[0] for i in range(depth)],
            "strides": [2 if f"l{i + 1}.residual.conv.weight" in state else 1 for i in range(depth)],
        }
