"""ST-GCN: convolutions over the joints' neighbors and over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from gaitkeeper.errors import WeightsError
from gaitkeeper.models.actions.graphs import NTU25, Graph, Matrix, Partition, normalized_then_split, recognize
from gaitkeeper.models.actions.layers import (
    STRIDES,
    WIDTHS,
    check_skeletons,
    graph_convolution,
    persons_apart,
    pool,
    widths_and_strides,
)


def check_saved_graph(saved: Tensor | None, own: Matrix, graph: Graph) -> None:
    """Refuse a checkpoint whose saved graph is not the network's.

    Args:
        saved: the entry ``A`` of the checkpoint, ``(k, v, v)``; None or another shape is left to the loader.
        own: the matrices of the network.
        graph: the joints that these were made of.

    Raises:
        WeightsError: naming the graph that the weights were learned on, where it is a published one.
    """
    if saved is None or saved.is_meta or saved.shape != own.shape:
        return
    matrices = saved.detach().cpu().double().numpy()
    if np.allclose(matrices, own, rtol=0, atol=1e-5):
        return
    found = recognize(matrices)
    if found is None:
        reason = "no published one"
    elif found["graph"] == graph:
        how = "" if found["truncated"] else " with distances as measured"
        reason = f"the same, split by {found['partition']} within {found['max_hop']}{how}"
    else:
        here, there = set(graph.bones), set(found["graph"].bones)
        few = [", ".join(f"{i}-{j}" for i, j in sorted(bones)[:4]) for bones in (there - here, here - there)]
        reason = f"{found['graph'].name}, with the bones {few[0]} rather than {few[1]}"
    raise WeightsError(f"A: the weights were learned on another graph: expected {graph.name}, found {reason}")


def options_of_graph(saved: Tensor) -> dict[str, Any]:
    """Return the graph options of a network whose checkpoint has these matrices ``(k, v, v)``.

    Raises:
        ValueError: no published graph gives them.
    """
    found = recognize(saved.detach().cpu().double().numpy())
    if found is None:
        raise ValueError(f"A of shape {tuple(saved.shape)} is of no published graph")
    return found


def temporal_branch(channels: int, kernel: int, stride: int, dropout: float, *, padded: bool = True) -> nn.Sequential:
    """Return ST-GCN's temporal convolution between two batch normalizations.

    Args:
        channels: in and out.
        kernel: frames, odd.
        stride: of frames.
        dropout: probability of a zero at the end.
        padded: with zeros at both ends, so that stride 1 keeps the number of frames.
    """
    padding = (kernel // 2 if padded else 0, 0)
    return nn.Sequential(
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels, channels, (kernel, 1), (stride, 1), padding),
        nn.BatchNorm2d(channels),
        nn.Dropout(dropout, inplace=True),
    )


def shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    """Return the identity, or a 1x1 convolution with batch normalization where the shape changes."""
    if inputs == outputs and stride == 1:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, (stride, 1)), nn.BatchNorm2d(outputs))


def initialize(module: nn.Module) -> None:
    """Draw ST-GCN's initialization: convolutions from N(0, 0.02), batch-norm weights from N(1, 0.02), biases 0."""
    for part in module.modules():
        if isinstance(part, (nn.Conv2d, nn.BatchNorm1d, nn.BatchNorm2d)) and part.bias is not None:
            nn.init.normal_(part.weight, 0.0 if isinstance(part, nn.Conv2d) else 1.0, 0.02)
            nn.init.zeros_(part.bias)


class GraphConv(nn.Module):
    """A 1x1 convolution a subset of the graph, aggregated over the joints that the subset connects.

    Args:
        inputs: channels in.
        outputs: channels out.
        subsets: number of subsets.
    """

    def __init__(self, inputs: int, outputs: int, subsets: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs * subsets, 1)

    def forward(self, x: Tensor, matrices: Sequence[Tensor]) -> Tensor:
        """Map ``(n, inputs, t, v)`` to ``(n, outputs, t, v)``: :func:`graph_convolution`."""
        assert self.conv.bias is not None
        return graph_convolution(x, self.conv.weight, self.conv.bias, matrices)


class Unit(nn.Module):
    """Graph convolution, then temporal convolution, beside a shortcut.

    Args:
        inputs: channels in.
        outputs: channels out.
        subsets: of the graph.
        kernel: frames of the temporal convolution, odd.
        stride: of frames.
        dropout: after the temporal convolution.
        residual: whether there is a shortcut.
        padded: whether the temporal convolution is; without it there can be no shortcut.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        subsets: int,
        *,
        kernel: int = 9,
        stride: int = 1,
        dropout: float = 0.0,
        residual: bool = True,
        padded: bool = True,
    ) -> None:
        super().__init__()
        self.gcn = GraphConv(inputs, outputs, subsets)
        self.tcn = temporal_branch(outputs, kernel, stride, dropout, padded=padded)
        self.residual = shortcut(inputs, outputs, stride) if residual else None

    def forward(self, x: Tensor, matrices: Sequence[Tensor]) -> Tensor:
        """Map ``(n, inputs, t, v)`` to ``(n, outputs, t', v)`` over matrices ``(v, v)`` or ``(n, v, v)``."""
        out = self.tcn(self.gcn(x, matrices))
        if self.residual is not None:
            out = out + self.residual(x)
        return functional.relu(out, inplace=True)


class STGCN(nn.Module):
    """ST-GCN at any width and depth, with the state-dict keys of the released code.

    Any number of persons; those who are absent, all zero, count in the average as in the released code.

    Args:
        graph: joints and bones.
        partition: how neighbors are split into subsets.
        max_hop: bones to the farthest neighbor.
        truncated: whether distances to the center are cut off at ``max_hop``.
        coordinates: of a joint.
        classes: of the classifier.
        widths: channels of the units.
        strides: temporal strides of the units.
        kernel: frames of the temporal convolutions.
        dropout: in all units but the first.

    Raises:
        ValueError: widths and strides differ in number.

    Reference:
        Yan et al., "Spatial temporal graph convolutional networks for skeleton-based action recognition", AAAI 2018.

    Deviations:
        The released code cuts distances to the center off at one bone, so that almost all bones fall into one
        subset; its weights need that, so it is the default. ``truncated=False`` is the paper's partition.
    """

    A: Tensor

    def __init__(
        self,
        *,
        graph: Graph = NTU25,
        partition: Partition = "spatial",
        max_hop: int = 1,
        truncated: bool = True,
        coordinates: int = 3,
        classes: int = 60,
        widths: Sequence[int] = WIDTHS,
        strides: Sequence[int] = STRIDES,
        kernel: int = 9,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.graph = graph
        self.coordinates = coordinates
        self._matrices = normalized_then_split(graph, partition, max_hop=max_hop, truncated=truncated)
        self.register_buffer("A", torch.from_numpy(self._matrices.copy()))
        subsets = len(self._matrices)
        self.data_bn = nn.BatchNorm1d(graph.joints * coordinates)
        units: list[Unit] = []
        before = coordinates
        for width, stride in widths_and_strides(widths, strides):
            first = not units
            drop = 0.0 if first else dropout
            units.append(Unit(before, width, subsets, kernel=kernel, stride=stride, dropout=drop, residual=not first))
            before = width
        self.st_gcn_networks = nn.ModuleList(units)
        self.edge_importance = nn.ParameterList([nn.Parameter(torch.ones(self._matrices.shape)) for _ in units])
        self.fcn = nn.Conv2d(before, classes, 1)
        initialize(self)

    @staticmethod
    def options(state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return the constructor's options of a state dict, by its keys, shapes and saved graph.

        Units with a convolution in their shortcut are taken to have stride 2.

        Raises:
            KeyError, ValueError: keys are missing, have another rank, or the graph is no published one.
        """
        stem = "st_gcn_networks"
        units = sum(1 for key in state if key.startswith("edge_importance."))
        subsets = len(state["A"])
        return {
            **options_of_graph(state["A"]),
            "coordinates": state[f"{stem}.0.gcn.conv.weight"].shape[1],
            "classes": state["fcn.weight"].shape[0],
            "widths": [state[f"{stem}.{i}.gcn.conv.weight"].shape[0] // subsets for i in range(units)],
            "strides": [2 if f"{stem}.{i}.residual.0.weight" in state else 1 for i in range(units)],
            "kernel": state[f"{stem}.0.tcn.2.weight"].shape[2],
        }

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(n, classes)`` of skeletons ``(n, coordinates, t, v, m)``.

        Raises:
            DataError: another shape.
        """
        check_skeletons(x, channels=self.coordinates, joints=self.graph.joints)
        out = persons_apart(x, self.data_bn)
        for unit, importance in zip(self.st_gcn_networks, self.edge_importance, strict=True):
            out = unit(out, (self.A * importance).unbind())
        return self.fcn(pool(out, len(x))[:, :, None, None]).flatten(1)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        check_saved_graph(state_dict.get(f"{prefix}A"), self._matrices, self.graph)
        super()._load_from_state_dict(state_dict, prefix, *rest)
