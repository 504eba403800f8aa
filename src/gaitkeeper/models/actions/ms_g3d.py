"""MS-G3D: graphs of many scales, over joints and over windows of frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from gaitkeeper.models.actions.graphs import NTU25, Graph, Matrix, multi_scale, neighbors, windowed
from gaitkeeper.models.actions.layers import SkeletonNetwork, TemporalUnit, shortcut


class MultiScaleTemporal(nn.Module):
    """Convolutions over time of several dilations, a maximum over three frames and a 1x1 convolution, side by side.

    Args:
        inputs: channels in.
        outputs: channels out, shared evenly by the branches: one a dilation, and two.
        kernel: frames of the convolutions.
        dilations: frames between the taps of each.
        stride: of time.

    Raises:
        ValueError: the branches cannot share the channels evenly.
    """

    def __init__(self, inputs: int, outputs: int, *, kernel: int, dilations: Sequence[int], stride: int) -> None:
        super().__init__()
        count = len(dilations) + 2
        if outputs % count:
            raise ValueError(f"expected a width divisible by {count}, the branches of the temporal unit, got {outputs}")
        width = outputs // count

        def begin() -> tuple[nn.Module, ...]:
            return nn.Conv2d(inputs, width, 1), nn.BatchNorm2d(width), nn.ReLU()

        self.branches = nn.ModuleList(
            nn.Sequential(*begin(), TemporalUnit(width, width, kernel, stride, dilation)) for dilation in dilations
        )
        pooled = nn.MaxPool2d((3, 1), (stride, 1), (1, 0))
        self.branches.append(nn.Sequential(*begin(), pooled, nn.BatchNorm2d(width)))
        self.branches.append(nn.Sequential(nn.Conv2d(inputs, width, 1, (stride, 1)), nn.BatchNorm2d(width)))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, inputs, t, v)`` to ``(n, outputs, t / stride, v)``."""
        return torch.cat([branch(x) for branch in self.branches], 1)


class _Temporal(MultiScaleTemporal):
    """The multi-scale temporal unit beside its input."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1, activate: bool = True) -> None:
        super().__init__(inputs, outputs, kernel=3, dilations=(1, 2, 3, 4), stride=stride)
        self.residual = shortcut(inputs, outputs, stride)
        self.activate = activate

    def forward(self, x: Tensor) -> Tensor:
        out = super().forward(x) + self.residual(x)
        return functional.relu(out) if self.activate else out


class _Mix(nn.Module):
    """A 1x1 convolution with batch normalization; exists for the official key names."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(inputs, outputs, 1), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class _Scales(nn.Module):
    """Graph convolution over all scales at once; the graph is fixed but for a learned residue."""

    scales: Tensor

    def __init__(self, inputs: int, outputs: int, scales: Matrix) -> None:
        super().__init__()
        # Not in official files, so not saved: the graph that a checkpoint belongs to must be known.
        self.fixed = scales
        self.register_buffer("scales", torch.from_numpy(scales).clone(), persistent=False)
        self.register_load_state_dict_post_hook(_restore)
        self.A_res = nn.Parameter(torch.empty(scales.shape).uniform_(-1e-6, 1e-6))
        self.mlp = _Mix(inputs * (scales.shape[0] // scales.shape[1]), outputs)

    def forward(self, x: Tensor) -> Tensor:
        heard = (x @ (self.scales + self.A_res).T).unflatten(3, (-1, x.shape[3]))
        return functional.relu(self.mlp(heard.permute(0, 3, 1, 2, 4).flatten(1, 2)))


def _restore(module: nn.Module, _: object) -> None:
    """Fill the fixed graph anew when weights are loaded: a network that came from the meta device has lost it."""
    assert isinstance(module, _Scales)
    module.scales.copy_(torch.from_numpy(module.fixed))


class _Windows(nn.Module):
    """Lays the joints of neighboring frames side by side."""

    def __init__(self, window: int, stride: int) -> None:
        super().__init__()
        self.window, self.stride = window, stride

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, c, t, v)`` to ``(n, c, t / stride, window v)``, frames beyond the ends being 0."""
        beyond = (self.window - 1) // 2
        windows = functional.pad(x, (0, 0, beyond, beyond)).unfold(2, self.window, self.stride)
        return windows.transpose(3, 4).flatten(3)


class _WindowPath(nn.Module):
    """Graph convolution over windows, and a convolution that makes one frame of each."""

    def __init__(self, inputs: int, outputs: int, window: int, stride: int, scales: Matrix, *, first: bool) -> None:
        super().__init__()
        hidden = outputs if first else inputs
        self.window = window
        self.gcn3d = nn.Sequential(_Windows(window, stride), _Scales(inputs, hidden, scales))
        self.out_conv = nn.Conv3d(hidden, outputs, (1, window, 1))
        self.out_bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.gcn3d(x)
        # The windows lie behind one another: a two-dimensional convolution with stride sees each once, without copies.
        x = x.reshape(*x.shape[:2], x.shape[2] * self.window, -1)
        weight = self.out_conv.weight[:, :, 0]
        return self.out_bn(functional.conv2d(x, weight, self.out_conv.bias, stride=(self.window, 1)))


class _WindowPaths(nn.Module):
    """The sum of the paths of several windows."""

    def __init__(self, paths: Sequence[_WindowPath]) -> None:
        super().__init__()
        self.gcn3d = nn.ModuleList(paths)

    def forward(self, x: Tensor) -> Tensor:
        out = self.gcn3d[0](x)
        for path in self.gcn3d[1:]:
            out = out + path(x)
        return out


class MSG3D(SkeletonNetwork):
    """MS-G3D at any width, with the official state-dict keys.

    Args:
        classes: actions.
        graph: the joints. Official files do not hold it, though their weights belong to one.
        persons: persons a clip, whom the first normalization tells apart; absent ones are 0.
        coordinates: of a joint.
        widths: channels of the stages, each divisible by 6; time is halved after the first one.
        scales: scales of the graph over joints.
        window_scales: scales of the graph over windows.
        windows: frames of the windows, odd.

    Raises:
        ValueError: a width is not divisible by 6, or a window is even.

    Reference:
        Liu et al., "Disentangling and unifying graph convolutions for skeleton-based action recognition",
        CVPR 2020.
    """

    def __init__(
        self,
        *,
        classes: int = 60,
        graph: Graph = NTU25,
        persons: int = 2,
        coordinates: int = 3,
        widths: Sequence[int] = (96, 192, 384),
        scales: int = 13,
        window_scales: int = 6,
        windows: Sequence[int] = (3, 5),
    ) -> None:
        super().__init__(graph=graph, persons=persons, coordinates=coordinates, depth=len(widths))
        if not windows or any(window % 2 == 0 for window in windows):
            raise ValueError(f"expected windows of odd numbers of frames, got {tuple(windows)}")
        over_joints = multi_scale(neighbors(graph), scales)
        over_windows = [multi_scale(windowed(graph, window), window_scales) for window in windows]
        inputs = coordinates
        for index, outputs in enumerate(widths):
            first = index == 0
            stride = 1 if first else 2
            paths = [
                _WindowPath(inputs, outputs, window, stride, matrix, first=first)
                for window, matrix in zip(windows, over_windows, strict=True)
            ]
            hidden = outputs if first else inputs
            graph_path = nn.Sequential(
                _Scales(inputs, hidden, over_joints),
                _Temporal(hidden, outputs, stride=stride),
                _Temporal(outputs, outputs, activate=False),
            )
            self.add_module(f"gcn3d{index + 1}", _WindowPaths(paths))
            self.add_module(f"sgcn{index + 1}", graph_path)
            self.add_module(f"tcn{index + 1}", _Temporal(outputs, outputs))
            inputs = outputs
        self.fc = nn.Linear(inputs, classes)

    @staticmethod
    def options(state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return the constructor's options of a state dict, but for the graph, by its keys and shapes.

        Raises:
            KeyError, ValueError: keys are missing or have another rank.
        """
        rows, joints = state["sgcn1.0.A_res"].shape
        scales = rows // joints
        coordinates = state["sgcn1.0.mlp.layers.0.weight"].shape[1] // scales
        branches = sum(key.startswith("gcn3d1.") and key.endswith(".A_res") for key in state)
        window_rows = [state[f"gcn3d1.gcn3d.{i}.gcn3d.1.A_res"].shape for i in range(branches)]
        depth = sum(key.startswith("sgcn") and key.endswith(".0.A_res") for key in state)
        return {
            "classes": state["fc.weight"].shape[0],
            "persons": state["data_bn.weight"].shape[0] // (coordinates * joints),
            "coordinates": coordinates,
            "widths": [state[f"gcn3d{i + 1}.gcn3d.0.out_bn.weight"].shape[0] for i in range(depth)],
            "scales": scales,
            "window_scales": window_rows[0][0] // window_rows[0][1],
            "windows": [columns // joints for _, columns in window_rows],
        }

    def stage(self, number: int, x: Tensor) -> Tensor:
        """Apply the paths over joints and over windows, side by side, and a temporal unit to ``(n * m, c, t, v)``."""
        joints, windows = self.get_submodule(f"sgcn{number}"), self.get_submodule(f"gcn3d{number}")
        return self.get_submodule(f"tcn{number}")(functional.relu(joints(x) + windows(x)))
