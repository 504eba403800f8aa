"""GaitPart: strips of frames, each followed through time by gates of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from gaitkeeper.models.gait.parts import Conv, Framewise, SeparateFCs, bins_of, horizontal_pooling, initialize

STRIPS = {3: (1, 4, 8), 4: (1, 1, 8, 8)}
"""Strips that each stage convolves apart, of the network for CASIA-B and of that for OU-MVLP and GREW."""

_STAGES = (0, 5, 10, 14)
"""Positions of the stages' first convolutions."""


class _Features(nn.Module):
    """The frame network; exists for the official key names."""

    def __init__(self, channels: Sequence[int], *, normalize: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 1
        for stage, (outputs, strips) in enumerate(zip(channels, STRIPS[len(channels)], strict=True)):
            for kernel in (5 if stage == 0 else 3, 3):
                layers += [Conv(inputs, outputs, kernel, normalize=normalize, strips=strips), nn.LeakyReLU(0.01, True)]
                inputs = outputs
            if stage < 2:
                layers.append(nn.MaxPool2d(2))
        self.feature = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.feature(x)


class _Conv1d(nn.Module):
    """Holds the weight of a convolution over time of one part; exists for the official key names."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, kernel, padding=kernel // 2, bias=False)


class _Templates(nn.Module):
    """Windows of 3 and of 5 frames, each weighted by a gate that a part computes from its own surroundings."""

    def __init__(self, parts: int, channels: int, squeeze: int) -> None:
        super().__init__()
        hidden = max(1, channels // squeeze)
        self.conv1d3x1 = nn.ModuleList(self._gate(channels, hidden, 1) for _ in range(parts))
        self.conv1d3x3 = nn.ModuleList(self._gate(channels, hidden, 3) for _ in range(parts))

    @staticmethod
    def _gate(channels: int, hidden: int, last: int) -> nn.ModuleList:
        return nn.ModuleList([_Conv1d(channels, hidden, 3), nn.LeakyReLU(0.01), _Conv1d(hidden, channels, last)])

    @staticmethod
    def _open(gates: nn.ModuleList, x: Tensor) -> Tensor:
        # The parts' convolutions as one of as many groups: 64 small calls would cost more than they compute.
        for step in (0, 2):
            weight = torch.cat([gate[step].conv.weight for gate in gates])  # type: ignore[index]
            x = functional.conv1d(x, weight, padding=weight.shape[2] // 2, groups=len(gates))
            x = functional.leaky_relu(x, 0.01) if step == 0 else x.sigmoid()
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, s, c, p)`` to ``(n, c, p)``."""
        n, s, c, p = x.shape
        x = x.permute(0, 3, 2, 1).reshape(n, p * c, s)
        total = torch.zeros_like(x)
        for window, gates in ((3, self.conv1d3x1), (5, self.conv1d3x3)):
            mean = functional.avg_pool1d(x, window, stride=1, padding=window // 2)
            most = functional.max_pool1d(x, window, stride=1, padding=window // 2)
            total = total + (mean + most) * self._open(gates, x)
        return total.amax(2).unflatten(1, (p, c)).transpose(1, 2)


class _Aggregation(nn.Module):
    """Holds the temporal part; exists for the official key names."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.pooling_func = block

    def forward(self, x: Tensor) -> Tensor:
        return self.pooling_func(x)


class GaitPart(nn.Module):
    """GaitPart at any width, with the state-dict keys of OpenGait.

    Args:
        channels: channels of the stages. Three make the network for CASIA-B, four that for OU-MVLP and GREW, published
            with (32, 64, 128, 256).
        embedding: channels a part of the embedding.
        bins: horizontal strips a scale.
        squeeze: factor by which the gates' hidden channels are fewer.
        normalize: batch normalization after each convolution of the frame network. The published network has none;
            with it training takes a fraction of the steps.

    Reference:
        Fan et al., "GaitPart: Temporal part-based model for gait recognition", CVPR 2020.
    """

    def __init__(
        self,
        *,
        channels: Sequence[int] = (32, 64, 128),
        embedding: int = 128,
        bins: Sequence[int] = (16,),
        squeeze: int = 4,
        normalize: bool = False,
    ) -> None:
        super().__init__()
        if len(channels) not in STRIPS:
            raise ValueError(f"expected three or four widths, got {tuple(channels)}")
        self.bins = tuple(bins)
        self.parts = sum(bins)
        self.Backbone = Framewise(_Features(channels, normalize=normalize))
        self.TFA = _Aggregation(_Templates(self.parts, channels[-1], squeeze))
        self.Head = SeparateFCs(self.parts, channels[-1], embedding)
        initialize(self)

    @staticmethod
    def options(state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return the constructor's options of a state dict, by its keys and shapes.

        Raises:
            KeyError, ValueError: keys are missing or have another rank.
        """
        stem = "Backbone.forward_block.feature"
        parts, _, embedding = state["Head.fc_bin"].shape
        deep = f"{stem}.{_STAGES[3]}.conv.weight" in state
        hidden, inputs, _ = state["TFA.pooling_func.conv1d3x1.0.0.conv.weight"].shape
        return {
            "channels": [state[f"{stem}.{i}.conv.weight"].shape[0] for i in _STAGES[: 3 + deep]],
            "embedding": embedding,
            "bins": bins_of(parts),
            "squeeze": max(1, inputs // hidden),
            "normalize": f"{stem}.0.bn.weight" in state,
        }

    def forward(self, silhouettes: Tensor) -> Tensor:
        """Embed sequences, whose frames follow one another.

        Args:
            silhouettes: ``(n, t, 64, 44)`` in [0, 1].

        Returns:
            ``(n, embedding, p)``.
        """
        features = self.Backbone(silhouettes.flatten(0, 1)[:, None])
        strips = horizontal_pooling(features, self.bins)
        return self.Head(self.TFA(strips.unflatten(0, silhouettes.shape[:2])))
