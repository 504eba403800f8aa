"""AS-GCN's inference module: which joints act on which, learned by predicting the motion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from gaitkeeper.errors import DataError
from gaitkeeper.models.actions.layers import check_skeletons

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
