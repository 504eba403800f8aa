"""AS-GCN: structural links up to four bones away, and actional links that a second network infers from the motion."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from gaitkeeper.errors import DataError
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

PRIOR = (0.95, 0.025, 0.025)
"""How likely a pair of joints is without a link, and with one of either type."""


class Actional(NamedTuple):
    """What the inference module says of n persons' motions.

    Args:
        adjacency: ``(n, types - 1, v, v)`` the actional links, columns normalized and scaled.
        probability: ``(n, v (v - 1), types)`` of the types of link between ordered pairs of joints.
        prediction: ``(n, v, t - 1, c)`` the joints one frame ahead.
        logits: ``(n, v (v - 1), types)``.
    """

    adjacency: Tensor
    probability: Tensor
    prediction: Tensor
    logits: Tensor


class _MLP(nn.Module):
    """Two linear layers with ELU, then batch normalization over samples and items."""

    def __init__(self, inputs: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(inputs, outputs)
        self.fc2 = nn.Linear(outputs, outputs)
        self.bn = nn.BatchNorm1d(outputs)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.elu(self.fc2(self.dropout(functional.elu(self.fc1(x)))))
        return self.bn(x.flatten(0, 1)).unflatten(0, x.shape[:2])


class _Pairs(nn.Module):
    """The ordered pairs of different joints, row by row: a pair's sender is its row, its receiver its column."""

    receiving: Tensor
    sending: Tensor

    def __init__(self, joints: int) -> None:
        super().__init__()
        self.joints = joints
        # One-hot matrices rather than indices: their gradients are matrix products, in the same order every time.
        identity = np.eye(joints, dtype=np.float32)
        senders, receivers = np.nonzero(identity == 0)
        self.register_buffer("sending", torch.from_numpy(identity[senders]), persistent=False)
        self.register_buffer("receiving", torch.from_numpy(identity[receivers]), persistent=False)

    def between(self, joints: Tensor) -> Tensor:
        """Join the features of receiver and sender: ``(n, v, h)`` to ``(n, pairs, 2 h)``."""
        return torch.cat([self.receiving @ joints, self.sending @ joints], -1)

    def received(self, pairs: Tensor) -> Tensor:
        """Sum at each joint what it receives: ``(n, pairs, h)`` to ``(n, v, h)``."""
        return self.receiving.T @ pairs

    def matrices(self, pairs: Tensor) -> Tensor:
        """Write values of pairs into matrices ``[sender, receiver]``: ``(n, pairs, k)`` to ``(n, k, v, v)``."""
        # Between two diagonal entries of a matrix, row by row, lie v others.
        between = functional.pad(pairs.mT.unflatten(-1, (self.joints - 1, self.joints)), (0, 1))
        return functional.pad(between.flatten(-2), (1, 0)).unflatten(-1, (self.joints, self.joints))


class _Encoder(nn.Module):
    """From the joints' motions to the types of their links: joints to pairs, to joints, to pairs."""

    def __init__(self, inputs: int, width: int, types: int, dropout: float) -> None:
        super().__init__()
        self.mlp1 = _MLP(inputs, width, dropout)
        self.mlp2 = _MLP(2 * width, width, dropout)
        self.mlp3 = _MLP(width, width, dropout)
        self.mlp4 = _MLP(3 * width, width, dropout)
        self.fc_out = nn.Linear(width, types)
        for part in self.modules():
            if isinstance(part, nn.Linear):
                nn.init.xavier_normal_(part.weight)
                nn.init.constant_(part.bias, 0.1)

    def forward(self, joints: Tensor, pairs: _Pairs) -> Tensor:
        skip = self.mlp2(pairs.between(self.mlp1(joints)))
        out = self.mlp3(pairs.received(skip) / pairs.joints)
        return self.fc_out(self.mlp4(torch.cat([pairs.between(out), skip], -1)))


class _Decoder(nn.Module):
    """From the joints of a frame to those of the next, by gated units that hear messages along the links."""

    def __init__(self, coordinates: int, width: int, types: int, dropout: float) -> None:
        super().__init__()
        self.msg_fc1 = nn.ModuleList([nn.Linear(2 * width, width) for _ in range(types)])
        self.msg_fc2 = nn.ModuleList([nn.Linear(width, width) for _ in range(types)])
        self.hidden_r = nn.Linear(width, width, bias=False)
        self.hidden_i = nn.Linear(width, width, bias=False)
        self.hidden_n = nn.Linear(width, width, bias=False)
        self.input_r = nn.Linear(coordinates, width)
        self.input_i = nn.Linear(coordinates, width)
        self.input_n = nn.Linear(coordinates, width)
        self.out_fc1 = nn.Linear(width, width)
        self.out_fc2 = nn.Linear(width, width)
        self.out_fc3 = nn.Linear(width, coordinates)
        self.dropout = nn.Dropout(dropout)

    def forward(self, frames: Tensor, links: Tensor, pairs: _Pairs) -> Tensor:
        hidden = frames.new_zeros(*frames.shape[:2], self.hidden_r.in_features)
        found = []
        for frame in frames.unbind(2)[:-1]:
            hidden = self._heard(frame, hidden, links, pairs)
            change = self.dropout(functional.relu(self.out_fc1(hidden)))
            change = self.dropout(functional.relu(self.out_fc2(change)))
            found.append(frame + self.out_fc3(change))
        return torch.stack(found, 2)

    def _heard(self, frame: Tensor, hidden: Tensor, links: Tensor, pairs: _Pairs) -> Tensor:
        """Return the hidden state after the messages of one frame; links of type 0 carry none."""
        joined = pairs.between(hidden)
        total = torch.zeros_like(joined[..., : hidden.shape[-1]])
        for kind in range(1, len(self.msg_fc1)):
            message = self.dropout(torch.tanh(self.msg_fc1[kind](joined)))
            total = total + torch.tanh(self.msg_fc2[kind](message)) * links[..., kind : kind + 1]
        heard = pairs.received(total) / ((len(self.msg_fc1) - 1) * frame.shape[-1])
        reset = torch.sigmoid(self.input_r(frame) + self.hidden_r(heard))
        keep = torch.sigmoid(self.input_i(frame) + self.hidden_i(heard))
        new = torch.tanh(self.input_n(frame) + reset * self.hidden_n(heard))
        return (1 - keep) * new + keep * hidden


class ActionalInference(nn.Module):
    """AS-GCN's inference module: which joints act on which, with the state-dict keys of the released code.

    A pair's link is the likeliest of its types, with the gradient of the softmax (straight-through). In training
    the choice is by Gumbel noise.

    Args:
        joints: of a person.
        frames: of a motion; fixed by the weights.
        coordinates: of a joint.
        types: of links, the first being none.
        width: hidden features.
        temperature: of the softmax.
        scale: of the adjacency.
        dropout: in encoder and decoder.

    Reference:
        Li et al., "Actional-structural graph convolutional networks for skeleton-based action recognition",
        CVPR 2019, section 4.1.

    Deviations:
        The released code draws Gumbel noise in evaluation as well, which makes its answers random; here they are
        what it gives without noise.
    """

    def __init__(
        self,
        *,
        joints: int = 25,
        frames: int = 50,
        coordinates: int = 3,
        types: int = 3,
        width: int = 128,
        temperature: float = 0.5,
        scale: float = 0.1,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.joints, self.frames, self.coordinates = joints, frames, coordinates
        self.temperature = temperature
        self.scale = scale
        self.pairs = _Pairs(joints)
        self.encoder = _Encoder(frames * coordinates, width, types, dropout)
        self.decoder = _Decoder(coordinates, width, types, dropout)

    @staticmethod
    def options(state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return the constructor's options of a state dict but for the joints, by its keys and shapes.

        Raises:
            KeyError, ValueError: keys are missing or have another rank.
        """
        width, features = state["encoder.mlp1.fc1.weight"].shape
        coordinates = state["decoder.input_r.weight"].shape[1]
        return {
            "frames": features // coordinates,
            "coordinates": coordinates,
            "types": state["encoder.fc_out.weight"].shape[0],
            "width": width,
        }

    def forward(self, x: Tensor) -> Actional:
        """Infer the links of motions and predict these from them.

        Args:
            x: ``(n, coordinates, frames, joints, m)``.

        Returns:
            Of ``n * m`` persons, those of a sample side by side.

        Raises:
            DataError: another shape or number of frames.
        """
        motions = self._motions(x)
        logits = self.encoder(motions.flatten(2), self.pairs)
        links = self._links(logits)
        prediction = self.decoder(motions, links, self.pairs)
        return Actional(self._normalized(links), logits.softmax(-1), prediction, logits)

    def adjacency(self, x: Tensor) -> Tensor:
        """Return the links alone, ``(n * m, types - 1, v, v)``, of motions ``(n, coordinates, frames, joints, m)``."""
        return self._normalized(self._links(self.encoder(self._motions(x).flatten(2), self.pairs)))

    def loss(self, x: Tensor, found: Actional, *, variance: float = 5e-4, prior: Sequence[float] = PRIOR) -> Tensor:
        """Return the published loss of the module: squared errors a joint, plus the divergence from a prior.

        Args:
            x: the motions.
            found: what the module says of them.
            variance: of the prediction.
            prior: probability of each type of link.
        """
        truth = self._motions(x)[:, :, 1:]
        error = (found.prediction - truth).square().sum() / (2 * variance)
        expected = torch.as_tensor(prior, dtype=x.dtype, device=x.device).log()
        divergence = (found.probability * ((found.probability + 1e-16).log() - expected)).sum()
        return (error + divergence) / (len(truth) * self.joints)

    def _motions(self, x: Tensor) -> Tensor:
        """Set persons apart: ``(n * m, v, frames, c)``."""
        check_skeletons(x, channels=self.coordinates, joints=self.joints)
        if x.shape[2] != self.frames:
            raise DataError(f"expected {self.frames} frames to infer links from, got {x.shape[2]}")
        return x.permute(0, 4, 3, 2, 1).flatten(0, 1)

    def _links(self, logits: Tensor) -> Tensor:
        """Choose a type for each pair: one-hot in value, a softmax in gradient."""
        if self.training:
            noise = -torch.empty_like(logits).exponential_().log()
            logits = logits + noise
        soft = (logits / self.temperature).softmax(-1)
        hard = functional.one_hot(soft.argmax(-1), soft.shape[-1]).to(soft.dtype)
        return hard - soft.detach() + soft

    def _normalized(self, links: Tensor) -> Tensor:
        """Return the adjacency of each type but none, with self loops, columns normalized, scaled."""
        matrices = self.pairs.matrices(links[..., 1:])
        matrices = matrices + torch.eye(self.joints, dtype=links.dtype, device=links.device)
        return matrices * (1 / matrices.sum(-2, keepdim=True) + 1e-10) * self.scale


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
