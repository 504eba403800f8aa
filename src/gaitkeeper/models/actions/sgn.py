"""SGN: joints and frames named to the network, one graph a frame, the maximum over joints and frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from gaitkeeper.errors import DataError
from gaitkeeper.motion.motion import Motion

POOLED = 20
"""Frames that the frame level sees, whatever the number of frames of the input."""


class _Conv(nn.Module):
    """A 1x1 convolution; the wrapper gives the official key names."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool = True) -> None:
        super().__init__()
        self.cnn = nn.Conv2d(inputs, outputs, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.cnn(x)


class _Normalize(nn.Module):
    """Batch normalization of each coordinate of each joint, numbered coordinate by coordinate."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm1d(features)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(x.flatten(1, 2)).unflatten(1, x.shape[1:3])


class _Embed(nn.Module):
    """Two 1x1 convolutions with ReLU, after a normalization where the input is measured."""

    def __init__(self, inputs: int, hidden: int, outputs: int, *, joints: int | None = None) -> None:
        super().__init__()
        layers: list[nn.Module] = [] if joints is None else [_Normalize(inputs * joints)]
        layers += [_Conv(inputs, hidden), nn.ReLU(), _Conv(hidden, outputs), nn.ReLU()]
        self.cnn = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.cnn(x)


class _Relations(nn.Module):
    """The graph of each frame: how much each joint listens to each other one."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.g1 = _Conv(inputs, hidden)
        self.g2 = _Conv(inputs, hidden)

    def forward(self, x: Tensor) -> Tensor:
        one, two = self.g1(x).permute(0, 3, 2, 1), self.g2(x).permute(0, 3, 1, 2)
        return (one @ two).softmax(-1)


class _GraphLayer(nn.Module):
    """What the neighbors say beside what the joint itself says."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(outputs)
        self.w = _Conv(inputs, outputs, bias=False)
        self.w1 = _Conv(inputs, outputs)

    def forward(self, x: Tensor, graph: Tensor) -> Tensor:
        heard = (graph @ x.permute(0, 3, 2, 1)).permute(0, 3, 2, 1)
        return functional.relu(self.bn(self.w(heard) + self.w1(x)))


class _Frames(nn.Module):
    """The frame level: the maximum over joints, a convolution over three frames and one over one."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.cnn1 = nn.Conv2d(inputs, inputs, (1, 3), padding=(0, 1))
        self.bn1 = nn.BatchNorm2d(inputs)
        self.cnn2 = nn.Conv2d(inputs, outputs, 1)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.adaptive_max_pool2d(x, (1, POOLED))
        x = functional.dropout2d(functional.relu(self.bn1(self.cnn1(x))), 0.2, self.training)
        return functional.relu(self.bn2(self.cnn2(x)))


class SGN(nn.Module):
    """SGN at any width, with the official state-dict keys.

    It sees a fixed number of frames of one stream of bodies: :func:`sample` makes them of a motion. The same motion
    always gives the same answer.

    Args:
        classes: actions.
        joints: joints of a body.
        frames: frames of the input; its weights know each by number.
        coordinates: of a joint.
        width: channels of the embeddings; the graph layers have 2 and 4, the last layer 8 times as many.

    Reference:
        Zhang et al., "Semantics-guided neural networks for efficient skeleton-based human action recognition",
        CVPR 2020.

    Deviations:
        The published accuracy averages five random samplings of a test clip; a network here answers one sampling.
    """

    def __init__(
        self, *, classes: int = 60, joints: int = 25, frames: int = 20, coordinates: int = 3, width: int = 64
    ) -> None:
        super().__init__()
        self.joints, self.frames, self.coordinates = joints, frames, coordinates
        self.tem_embed = _Embed(frames, width, 4 * width)
        self.spa_embed = _Embed(joints, width, width)
        self.joint_embed = _Embed(coordinates, width, width, joints=joints)
        self.dif_embed = _Embed(coordinates, width, width, joints=joints)
        self.cnn = _Frames(4 * width, 8 * width)
        self.compute_g1 = _Relations(2 * width, 4 * width)
        self.gcn1 = _GraphLayer(2 * width, 2 * width)
        self.gcn2 = _GraphLayer(2 * width, 4 * width)
        self.gcn3 = _GraphLayer(4 * width, 4 * width)
        self.fc = nn.Linear(8 * width, classes)
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, mode="fan_out")
        for layer in (self.gcn1, self.gcn2, self.gcn3):
            nn.init.zeros_(layer.w.cnn.weight)

    @staticmethod
    def options(state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return the constructor's options of a state dict, by its keys and shapes.

        Raises:
            KeyError, ValueError: keys are missing or have another rank.
        """
        width, frames, _, _ = state["tem_embed.cnn.0.cnn.weight"].shape
        return {
            "classes": state["fc.weight"].shape[0],
            "joints": state["spa_embed.cnn.0.cnn.weight"].shape[1],
            "frames": frames,
            "coordinates": state["joint_embed.cnn.1.cnn.weight"].shape[1],
            "width": width,
        }

    def forward(self, x: Tensor) -> Tensor:
        """Recognize clips.

        Args:
            x: ``(n, frames, v * c)``, joint by joint (x0 y0 z0 x1 ...), in meters.

        Returns:
            Logits ``(n, classes)``.

        Raises:
            DataError: another shape.
        """
        if x.ndim != 3 or x.shape[1:] != (self.frames, self.joints * self.coordinates):
            raise DataError(
                f"SGN: expected clips of shape (n, t={self.frames}, v*c={self.joints}*{self.coordinates}), "
                f"got {tuple(x.shape)}; sgn.sample makes them of a motion (n, c, t, v, m)"
            )
        place = x.unflatten(2, (self.joints, self.coordinates)).permute(0, 3, 2, 1)
        velocity = functional.pad(place.diff(dim=3), (1, 0))
        # One-hot codes are constant over frames or joints, and so is what follows from them: computed once.
        joint = self.spa_embed(torch.eye(self.joints, dtype=x.dtype, device=x.device)[None, :, :, None])
        frame = self.tem_embed(torch.eye(self.frames, dtype=x.dtype, device=x.device)[None, :, None])
        dynamics = self.joint_embed(place) + self.dif_embed(velocity)
        x = torch.cat([dynamics, joint.expand(len(x), -1, -1, self.frames)], 1)
        graph = self.compute_g1(x)
        x = self.gcn3(self.gcn2(self.gcn1(x, graph), graph), graph)
        return self.fc(self.cnn(x + frame).amax((2, 3)))


def sample(
    motion: Motion, *, frames: int = 20, center: int | None = None, positions: Tensor | None = None
) -> tuple[Tensor]:
    """Prepare a motion for :class:`SGN`, as ``Victim(..., prepare=sample)`` takes it; differentiable.

    The bodies of a clip become one stream: a frame with two bodies gives two consecutive ones, a frame without any
    gives none. The stream is cut in equal parts, and one body of each part is seen.

    Args:
        motion: data ``(n, c, t, v, m)``; a body whose numbers are all 0 in a frame is absent there.
        frames: parts, as many as the network's frames.
        center: the joint whose first place is subtracted from every body of the stream, as in the published data
            (1, the middle of the spine, in NTU); None subtracts nothing.
        positions: ``(n, frames)`` in [0, 1), which body of each part, as training draws them; None for the middle.

    Returns:
        One tensor ``(n, frames, v * c)``.

    Raises:
        DataError: the data have another rank, or a clip shows nobody.

    Deviations:
        The released code draws a random body of each part also in tests; here the middle one is the default.
        Streams of fewer bodies than parts show some twice; the released code begins anew at random places.
    """
    data = motion.data
    if data.ndim != 5:
        raise DataError(f"SGN: expected a motion of shape (n, c, t, v, m), got {tuple(data.shape)}")
    bodies = data.permute(0, 2, 4, 3, 1)
    present = bodies.detach().ne(0).any(4).any(3)
    if motion.lengths is not None:
        present = present & (torch.arange(data.shape[2], device=data.device)[None] < motion.lengths[:, None])[..., None]
    present = present.flatten(1)
    count = present.sum(1)
    if not count.all():
        raise DataError(f"SGN: clip {count.argmin().item()} of the batch shows nobody: all its coordinates are 0")
    stream = (~present).to(torch.uint8).argsort(dim=1, stable=True)
    part = torch.arange(frames, device=data.device)[None]
    if positions is None:
        # The middle in whole numbers: (2 i + 1) / 2 parts of the stream, without rounding of floating point.
        place = (2 * part + 1) * count[:, None] // (2 * frames)
    else:
        place = ((part + positions.double()) * count[:, None] / frames).long().clamp(max=count[:, None] - 1)
    index = stream.gather(1, place)
    bodies = bodies.flatten(1, 2)
    rows = torch.arange(len(data), device=data.device)
    chosen = bodies[rows[:, None], index]
    if center is not None:
        chosen = chosen - bodies[rows, stream[:, 0], center][:, None, None]
    return (chosen.flatten(2),)
