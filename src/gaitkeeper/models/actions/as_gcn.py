"""AS-GCN: structural links up to four bones away, and actional links that a second network infers from the motion."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gaitkeeper.errors import DataError
from gaitkeeper.models.actions.as_gcn_inference import ActionalInference
from gaitkeeper.models.actions.graphs import NTU25, Graph, normalized_then_split
from gaitkeeper.models.actions.layers import (
    check_skeletons,
    graph_convolution,
    persons_apart,
    pool,
    widths_and_strides,
)
from gaitkeeper.models.actions.st_gcn import Unit, check_saved_graph, initialize, options_of_graph

WIDTHS = (64, 64, 64, 128, 128, 128, 256, 256, 256)
"""Channels of the nine units."""

STRIDES = (1, 1, 1, 2, 1, 1, 2, 1, 1)
"""Temporal strides of the units."""

RECON_KERNELS_AND_STRIDES = ((9, 1), (9, 2), (9, 2), (9, 2), (3, 2), (5, 1))
"""Frames and temporal strides of the units that lead to the prediction; the last is without padding."""

RECON_UNITS = len(RECON_KERNELS_AND_STRIDES) + 1


class _TransposedGraphConv(nn.Module):
    """A transposed 1x1 convolution a subset of the graph."""

    def __init__(self, inputs: int, outputs: int, subsets: int) -> None:
        super().__init__()
        self.deconv = nn.ConvTranspose2d(inputs, outputs * subsets, 1)

    def forward(self, x: Tensor, matrices: Sequence[Tensor]) -> Tensor:
        assert self.deconv.bias is not None
        return graph_convolution(x, self.deconv.weight.transpose(0, 1), self.deconv.bias, matrices)


class _Reconstruction(nn.Module):
    """The last reconstructing unit, of transposed 1x1 convolutions."""

    def __init__(self, inputs: int, outputs: int, subsets: int, dropout: float) -> None:
        super().__init__()
        self.gcn_recon = _TransposedGraphConv(inputs, outputs, subsets)
        self.tcn_recon = nn.Sequential(
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(outputs, outputs, 1),
            nn.BatchNorm2d(outputs),
            nn.Dropout(dropout, inplace=True),
        )

    def forward(self, x: Tensor, matrices: Sequence[Tensor]) -> Tensor:
        return self.tcn_recon(self.gcn_recon(x, matrices))


class ASGCN(nn.Module):
    """AS-GCN's recognition network at any width and depth, with the state-dict keys of the released code.

    It needs the actional links beside the motion; :class:`ActionalASGCN` infers them. Any number of persons.

    Args:
        graph: joints and bones.
        max_hop: bones of the longest structural link.
        types: of actional links.
        coordinates: of a joint.
        classes: of the classifier.
        widths: channels of the units.
        strides: temporal strides of the units.
        kernel: frames of the temporal convolutions.
        recon_width: channels of the units that predict the future.
        horizon: frames that these predict.
        actional_weight: of actional links against structural ones.
        dropout: in all units.

    Raises:
        ValueError: widths and strides differ in number.

    Reference:
        Li et al., "Actional-structural graph convolutional networks for skeleton-based action recognition",
        CVPR 2019.

    Deviations:
        The released code applies its second unit twice to the same input and drops the first result. In training
        that moves its batch statistics twice, and so it does here; in evaluation it is applied once.
        The prediction adds the last pose in another order of coordinates and frames than that of the reconstructed
        change, as in the released code, whose weights have learned it.
    """

    A: Tensor

    def __init__(
        self,
        *,
        graph: Graph = NTU25,
        max_hop: int = 4,
        types: int = 2,
        coordinates: int = 3,
        classes: int = 60,
        widths: Sequence[int] = WIDTHS,
        strides: Sequence[int] = STRIDES,
        kernel: int = 9,
        recon_width: int = 128,
        horizon: int = 10,
        actional_weight: float = 0.5,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.graph = graph
        self.coordinates = coordinates
        self.types = types
        self.horizon = horizon
        self.actional_weight = actional_weight
        self.stride = math.prod(strides)
        self._matrices = normalized_then_split(graph, max_hop=max_hop)
        self.register_buffer("A", torch.from_numpy(self._matrices.copy()))
        self.data_bn = nn.BatchNorm1d(graph.joints * coordinates)
        subsets = len(self._matrices) + types
        before, self.depth = coordinates, len(widths)
        for i, (width, stride) in enumerate(widths_and_strides(widths, strides)):
            unit = Unit(before, width, subsets, kernel=kernel, stride=stride, dropout=dropout, residual=i > 0)
            self.add_module(f"class_layer_{i}", unit)
            before = width
        self.fcn = nn.Conv2d(before, classes, 1)
        for i, (size, stride) in enumerate(RECON_KERNELS_AND_STRIDES):
            # The last reaches over all frames that are left, and leaves one.
            padded = i < len(RECON_KERNELS_AND_STRIDES) - 1
            unit = Unit(
                before,
                recon_width,
                subsets,
                kernel=size,
                stride=stride,
                dropout=dropout,
                residual=padded,
                padded=padded,
            )
            self.add_module(f"recon_layer_{i}", unit)
            before = recon_width
        self.recon_layer_6 = _Reconstruction(before + coordinates, coordinates * horizon, subsets, dropout)
        shape = self._matrices.shape
        # The released code keeps as many for the reconstructing units, of which there are fewer.
        self.edge_importance = nn.ParameterList([nn.Parameter(torch.ones(shape)) for _ in widths])
        self.edge_importance_recon = nn.ParameterList(
            [nn.Parameter(torch.ones(shape)) for _ in range(max(self.depth, RECON_UNITS))]
        )
        initialize(self)

    @staticmethod
    def options(state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return the constructor's options of a state dict, by its keys, shapes and saved graph.

        Units with a convolution in their shortcut are taken to have stride 2.

        Raises:
            KeyError, ValueError: keys are missing, have another rank, or the graph is no published one.
        """
        units = sum(1 for key in state if key.startswith("edge_importance."))
        structural = len(state["A"])
        found = options_of_graph(state["A"])
        if (found["partition"], found["truncated"]) != ("spatial", True):
            raise ValueError(f"A of shape {tuple(state['A'].shape)} is not of AS-GCN's partition")
        first = state["class_layer_0.gcn.conv.weight"]
        subsets = len(first) // len(state["class_layer_0.tcn.0.weight"])
        return {
            "graph": found["graph"],
            "max_hop": found["max_hop"],
            "types": subsets - structural,
            "coordinates": first.shape[1],
            "classes": state["fcn.weight"].shape[0],
            "widths": [len(state[f"class_layer_{i}.tcn.0.weight"]) for i in range(units)],
            "strides": [2 if f"class_layer_{i}.residual.0.weight" in state else 1 for i in range(units)],
            "kernel": state["class_layer_0.tcn.2.weight"].shape[2],
            "recon_width": len(state["recon_layer_0.tcn.0.weight"]),
            "horizon": len(state["recon_layer_6.tcn_recon.0.weight"]) // first.shape[1],
        }

    def forward(self, x: Tensor, actional: Tensor) -> Tensor:
        """Classify motions.

        Args:
            x: ``(n, coordinates, t, v, m)``.
            actional: ``(n * m, types, v, v)``.

        Returns:
            Logits ``(n, classes)``.

        Raises:
            DataError: another shape.
        """
        return self._classified(self._features(x, actional), len(x))

    def predict(self, x: Tensor, last: Tensor, actional: Tensor) -> tuple[Tensor, Tensor]:
        """Classify motions and predict the first person's next poses, as in training.

        Args:
            x: ``(n, coordinates, t, v, m)``, with t 257 to 320 as published.
            last: ``(n, coordinates, 1, v, m)`` the last pose.
            actional: ``(n * m, types, v, v)``.

        Returns:
            Logits ``(n, classes)`` and poses ``(n, coordinates, horizon, v)``.

        Raises:
            DataError: another shape, or a number of frames that does not leave one to predict from.
        """
        check_skeletons(last, channels=self.coordinates, joints=self.graph.joints, persons=x.shape[-1])
        step = self.stride * math.prod(stride for _, stride in RECON_KERNELS_AND_STRIDES)
        if not 4 * step < x.shape[2] <= 5 * step or last.shape[2] != 1:
            raise DataError(
                f"to predict expected {4 * step + 1} to {5 * step} frames and 1 last pose, "
                f"got {x.shape[2]} and {last.shape[2]}"
            )
        features = self._features(x, actional)
        out = features
        for i in range(len(RECON_KERNELS_AND_STRIDES)):
            out = self.get_submodule(f"recon_layer_{i}")(out, self._links(self.edge_importance_recon[i], actional))
        pose = last.permute(0, 4, 1, 2, 3).flatten(0, 1)
        links = self._links(self.edge_importance_recon[RECON_UNITS - 1], actional)
        change = self.recon_layer_6(torch.cat([out, pose], 1), links)
        poses = (pose[:, :, 0].repeat(1, self.horizon, 1) + change[:, :, 0]).unflatten(1, (self.coordinates, -1))
        return self._classified(features, len(x)), poses[:: x.shape[-1]]

    def _features(self, x: Tensor, actional: Tensor) -> Tensor:
        v = self.graph.joints
        check_skeletons(x, channels=self.coordinates, joints=v)
        wanted = (len(x) * x.shape[-1], self.types, v, v)
        if actional.shape != wanted:
            raise DataError(f"expected actional links of shape {wanted}, got {tuple(actional.shape)}")
        out = persons_apart(x, self.data_bn)
        for i in range(self.depth):
            unit, links = self.get_submodule(f"class_layer_{i}"), self._links(self.edge_importance[i], actional)
            if i == 1 and self.training:
                with torch.no_grad():
                    unit(out, links)
            out = unit(out, links)
        return out

    def _classified(self, features: Tensor, samples: int) -> Tensor:
        return self.fcn(pool(features, samples)[:, :, None, None]).flatten(1)

    def _links(self, importance: Tensor, actional: Tensor) -> list[Tensor]:
        """Return the matrices of all subsets: weighted structural ones, then actional ones."""
        return [*(self.A * importance).unbind(), *(self.actional_weight * actional).unbind(1)]

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        check_saved_graph(state_dict.get(f"{prefix}A"), self._matrices, self.graph)
        super()._load_from_state_dict(state_dict, prefix, *rest)


class ActionalASGCN(nn.Module):
    """AS-GCN with its inference module: a recognizer of motions alone.

    The links are a function of the motion, and gradients pass through them.

    Args:
        network: recognizes.
        inference: infers actional links, of as many types less one and of the same joints.

    Raises:
        ValueError: the two do not fit.

    Deviations:
        The released pipeline infers links from 50 frames at even steps with a random start, and from the first 50
        of short clips. Here the frames are the same each time, at even steps over the whole clip.
    """

    def __init__(self, network: ASGCN, inference: ActionalInference) -> None:
        super().__init__()
        types = inference.encoder.fc_out.out_features - 1
        if (types, inference.joints) != (network.types, network.graph.joints):
            raise ValueError(
                f"the network takes {network.types} types of links between {network.graph.joints} joints, "
                f"the inference module gives {types} between {inference.joints}"
            )
        self.network = network
        self.inference = inference

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(n, classes)`` of skeletons ``(n, coordinates, t, v, m)``.

        Raises:
            DataError: another shape.
        """
        check_skeletons(x, channels=self.network.coordinates, joints=self.network.graph.joints)
        count = self.inference.frames
        frames = torch.arange(count, device=x.device) * x.shape[2] // count
        return self.network(x, self.inference.adjacency(x[:, :, frames]))
