"""DGNN: joints and bones inform each other along directed bones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from gaitkeeper.models.actions.graphs import NTU25_TIPS_AT_HANDS, Graph, directed_bones, incidence
from gaitkeeper.models.actions.layers import (
    STRIDES,
    WIDTHS,
    TemporalUnit,
    check_skeletons,
    classifier,
    persons_together,
    pool,
    widths_and_strides,
)


class _DirectedUnit(nn.Module):
    """Each joint hears the bones that leave and reach it, each bone the joints at its ends."""

    def __init__(self, inputs: int, outputs: int, source: Tensor, target: Tensor) -> None:
        super().__init__()
        self.source_M = nn.Parameter(source.clone())
        self.target_M = nn.Parameter(target.clone())
        self.H_v = nn.Linear(3 * inputs, outputs)
        self.H_e = nn.Linear(3 * inputs, outputs)
        self.bn_v = nn.BatchNorm2d(outputs)
        self.bn_e = nn.BatchNorm2d(outputs)

    def forward(self, joints: Tensor, bones: Tensor) -> tuple[Tensor, Tensor]:
        at_joints = torch.cat([joints, bones @ self.source_M.T, bones @ self.target_M.T], 1)
        at_bones = torch.cat([bones, joints @ self.source_M, joints @ self.target_M], 1)
        return (
            functional.relu(self.bn_v(_pointwise(at_joints, self.H_v))),
            functional.relu(self.bn_e(_pointwise(at_bones, self.H_e))),
        )


def _pointwise(x: Tensor, linear: nn.Linear) -> Tensor:
    """Apply a linear layer to the channels of ``(n, c, t, v)`` without moving them last."""
    return functional.conv2d(x, linear.weight[:, :, None, None], linear.bias)


class _BothTemporal(nn.Module):
    """One temporal unit for joints and bones."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.tempconv = TemporalUnit(inputs, outputs, 9, stride)

    def forward(self, joints: Tensor, bones: Tensor) -> tuple[Tensor, Tensor]:
        return self.tempconv(joints), self.tempconv(bones)


class _Unit(nn.Module):
    """A directed unit and a temporal unit beside the input."""

    def __init__(self, inputs: int, outputs: int, stride: int, source: Tensor, target: Tensor, *, first: bool) -> None:
        super().__init__()
        self.dgn = _DirectedUnit(inputs, outputs, source, target)
        self.tcn = _BothTemporal(outputs, outputs, stride)
        self.shortcut = not first
        self.residual: nn.Module | None = None
        if not first and (inputs != outputs or stride > 1):
            self.residual = _BothTemporal(inputs, outputs, stride)

    def forward(self, joints: Tensor, bones: Tensor) -> tuple[Tensor, Tensor]:
        new_joints, new_bones = self.tcn(*self.dgn(joints, bones))
        if self.shortcut:
            if self.residual is not None:
                joints, bones = self.residual(joints, bones)
            new_joints, new_bones = new_joints + joints, new_bones + bones
        return functional.relu(new_joints), functional.relu(new_bones)


class DGNN(nn.Module):
    """DGNN at any width and depth, with the state-dict keys of the known third-party implementation.

    Bones are made of the joints inside, so that gradients pass through them.

    Args:
        classes: actions.
        graph: the joints and the tree of bones; a network learns its own incidence from there, so weights belong to
            one graph.
        persons: persons a clip, whom the first normalization tells apart; absent ones are 0.
        coordinates: of a joint.
        widths: channels of the units.
        strides: of time, one a unit.

    Raises:
        ValueError: widths and strides differ in number.

    Reference:
        Shi et al., "Skeleton-based action recognition with directed graph neural networks", CVPR 2019.

    Deviations:
        The authors published no code. As in the third-party implementation, joints and bones share temporal
        convolutions, and the shortcuts that change the width span nine frames.
    """

    def __init__(
        self,
        *,
        classes: int = 60,
        graph: Graph = NTU25_TIPS_AT_HANDS,
        persons: int = 2,
        coordinates: int = 3,
        widths: Sequence[int] = WIDTHS,
        strides: Sequence[int] = STRIDES,
    ) -> None:
        super().__init__()
        self.graph, self.persons, self.coordinates, self.depth = graph, persons, coordinates, len(widths)
        edges = directed_bones(graph)
        source, target = (torch.from_numpy(matrix) for matrix in incidence(graph))
        self.sources, self.targets = ([edge[end] for edge in edges] for end in (0, 1))
        self.data_bn_v = nn.BatchNorm1d(persons * coordinates * graph.joints)
        self.data_bn_e = nn.BatchNorm1d(persons * coordinates * len(edges))
        inputs = coordinates
        for index, (outputs, stride) in enumerate(widths_and_strides(widths, strides)):
            self.add_module(f"l{index + 1}", _Unit(inputs, outputs, stride, source, target, first=not index))
            inputs = outputs
        self.fc = classifier(2 * inputs, classes)

    @staticmethod
    def options(state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return the constructor's options of a state dict, but for the graph, by its keys and shapes.

        Units with a convolution in their shortcut are taken to have stride 2.

        Raises:
            KeyError, ValueError: keys are missing or have another rank.
        """
        coordinates = state["l1.dgn.H_v.weight"].shape[1] // 3
        depth = sum(key.endswith(".dgn.source_M") for key in state)
        return {
            "classes": state["fc.weight"].shape[0],
            "persons": state["data_bn_v.weight"].shape[0] // (coordinates * state["l1.dgn.source_M"].shape[0]),
            "coordinates": coordinates,
            "widths": [state[f"l{i + 1}.dgn.bn_v.weight"].shape[0] for i in range(depth)],
            "strides": [2 if f"l{i + 1}.residual.tempconv.conv.weight" in state else 1 for i in range(depth)],
        }

    def bones(self, joints: Tensor) -> Tensor:
        """Return the bones, target less source, ``(n, c, t, e, m)`` of joints ``(n, c, t, v, m)``.

        The last bone is the root's self loop and always 0.
        """
        return joints[:, :, :, self.targets] - joints[:, :, :, self.sources]

    def forward(self, x: Tensor, bones: Tensor | None = None) -> Tensor:
        """Recognize clips.

        Args:
            x: ``(n, c, t, v, m)``; absent persons are 0.
            bones: ``(n, c, t, e, m)``, one for each of :func:`gaitkeeper.models.actions.graphs.directed_bones`; None
                for those of the joints.

        Returns:
            Logits ``(n, classes)``.

        Raises:
            DataError: another rank, or other coordinates, joints, bones or persons than the network's.
        """
        check_skeletons(x, channels=self.coordinates, joints=self.graph.joints, persons=self.persons)
        if bones is None:
            bones = self.bones(x)
        check_skeletons(bones, channels=self.coordinates, joints=len(self.sources), persons=self.persons)
        n = len(x)
        joints, bones = persons_together(x, self.data_bn_v), persons_together(bones, self.data_bn_e)
        for index in range(self.depth):
            joints, bones = self.get_submodule(f"l{index + 1}")(joints, bones)
        return self.fc(torch.cat([pool(joints, n), pool(bones, n)], 1))
