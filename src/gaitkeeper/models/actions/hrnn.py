"""HRNN: recurrent networks over body parts, joined level by level to the whole body."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from gaitkeeper.errors import DataError
from gaitkeeper.motion.motion import Motion

Cell = Literal["tanh", "lstm"]
Parts = Sequence[Sequence[int]]

NTU25_PARTS: Parts = (
    (4, 5, 6, 7, 22, 21),
    (8, 9, 10, 11, 24, 23),
    (12, 13, 14, 15),
    (16, 17, 18, 19),
    (3, 2, 20, 1, 0),
)
"""Left arm, right arm, left leg, right leg and trunk of NTU RGB+D."""

HDM05_25_PARTS: Parts = (
    (15, 16, 17, 18, 19),
    (20, 21, 22, 23, 24),
    (0, 1, 2, 3, 4),
    (5, 6, 7, 8, 9),
    (10, 11, 12, 13, 14),
)
"""Left arm, right arm, left leg, right leg and trunk of the 25 joints of HDM05 that the attacks' papers keep."""

SMOOTHING = (-3 / 35, 12 / 35, 17 / 35, 12 / 35, -3 / 35)
"""The Savitzky-Golay filter of the paper: five frames, second order."""


class HRNN(nn.Module):
    """A hierarchical bidirectional recurrent network over five body parts ("HBRNN-L").

    Four levels: the five parts; each limb with the trunk; both arms and both legs; the whole body. Every group of a
    level has a bidirectional layer of its own, and a linear layer gives logits of each frame, which are summed over
    the frames of all persons who are present.

    Args:
        classes: actions.
        joints: joints of a body.
        coordinates: of a joint.
        parts: the joints of left arm, right arm, left leg, right leg and trunk.
        units: units a direction of the four levels.
        cells: kinds of cells of the four levels.

    Raises:
        ValueError: not five parts, not four levels, or a part names a joint that there is not.

    Reference:
        Du et al., "Hierarchical recurrent neural network for skeleton based action recognition", CVPR 2015.

    Deviations:
        The paper's numbers of units are not known to us; the default is that of the same laboratory's later
        part-wise network for NTU. The paper knows one person; here each is read alone and their logits added, and
        who is absent adds nothing.
    """

    def __init__(
        self,
        *,
        classes: int = 60,
        joints: int = 25,
        coordinates: int = 3,
        parts: Parts = NTU25_PARTS,
        units: Sequence[int] = (64, 128, 256, 512),
        cells: Sequence[Cell] = ("tanh", "tanh", "tanh", "lstm"),
    ) -> None:
        super().__init__()
        if len(parts) != 5 or any(not 0 <= joint < joints for joint in chain(*parts)):
            raise ValueError(f"expected five parts of joints 0..{joints - 1}, got {parts}")
        if len(units) != 4 or len(cells) != 4:
            raise ValueError(f"expected units and cells of four levels, got {tuple(units)} and {tuple(cells)}")
        self.joints, self.coordinates = joints, coordinates
        self.parts = tuple(tuple(part) for part in parts)
        widths = [
            [coordinates * len(part) for part in parts],
            [4 * units[0]] * 4,
            [4 * units[1]] * 2,
            [4 * units[2]],
        ]
        self.levels = nn.ModuleList(
            nn.ModuleList(_recurrent(cell, width, count) for width in level)
            for cell, level, count in zip(cells, widths, units, strict=True)
        )
        self.fc = nn.Linear(2 * units[3], classes)

    @staticmethod
    def options(state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return the constructor's options of a state dict, but for joints, coordinates and parts.

        Raises:
            KeyError, ValueError: keys are missing or have another rank.
        """
        shapes = [state[f"levels.{level}.0.weight_hh_l0"].shape for level in range(4)]
        return {
            "classes": state["fc.weight"].shape[0],
            "units": [units for _, units in shapes],
            "cells": ["lstm" if rows == 4 * units else "tanh" for rows, units in shapes],
        }

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Recognize clips.

        Args:
            x: ``(n, c, t, v, m)``, prepared by :func:`prepare`; a person whose numbers are all 0 in a frame is absent
                there.
            lengths: ``(n,)`` valid frames of each clip; None where all are.

        Returns:
            Logits ``(n, classes)``.

        Raises:
            DataError: another rank, or other coordinates or joints than the network's.
        """
        if x.ndim != 5 or x.shape[1] != self.coordinates or x.shape[3] != self.joints or 0 in x.shape:
            raise DataError(
                f"HRNN: expected clips of shape (n, c={self.coordinates}, t, v={self.joints}, m), got {tuple(x.shape)}"
            )
        n, _, t, _, m = x.shape
        bodies = x.permute(0, 4, 2, 3, 1).flatten(0, 1)
        present = bodies.detach().ne(0).any(3).any(2)
        if lengths is not None:
            lengths = lengths.repeat_interleave(m)
            present = present & (torch.arange(t, device=x.device)[None] < lengths[:, None])
        # cuDNN has no backward pass for recurrent layers in evaluation mode, which attacks need.
        with torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled and self.training):
            frames = self.fc(self._body(bodies, lengths))
        return (frames * present[:, :, None].to(frames.dtype)).unflatten(0, (n, m)).sum((1, 2))

    def _body(self, bodies: Tensor, lengths: Tensor | None) -> Tensor:
        """Return the last level's answers ``(n, t, 2 u)`` to bodies ``(n, t, v, c)``."""
        groups = [bodies[:, :, part].flatten(2) for part in self.parts]
        for depth, level in enumerate(self.levels):
            assert isinstance(level, nn.ModuleList)
            answers = [_run(layer, group, lengths) for layer, group in zip(level, groups, strict=True)]
            if depth == 0:
                *limbs, trunk = answers
                groups = [torch.cat([limb, trunk], 2) for limb in limbs]
            else:
                groups = [torch.cat(pair, 2) for pair in zip(answers[::2], answers[1::2], strict=False)]
        return answers[0]


def _recurrent(cell: Cell, inputs: int, units: int) -> nn.Module:
    kind = nn.LSTM if cell == "lstm" else nn.RNN
    return kind(inputs, units, batch_first=True, bidirectional=True)


def _run(layer: nn.Module, x: Tensor, lengths: Tensor | None) -> Tensor:
    """Return a layer's answers to sequences ``(n, t, c)``; its backward direction starts at each one's last frame."""
    if lengths is None:
        return layer(x)[0]
    packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
    return pad_packed_sequence(layer(packed)[0], batch_first=True, total_length=x.shape[1])[0]


def prepare(motion: Motion, *, hips: tuple[int, int, int] = (0, 12, 16), step: int = 1) -> tuple[Tensor, Tensor | None]:
    """Prepare a motion for :class:`HRNN`, as ``Victim(..., prepare=prepare)`` takes it; differentiable.

    The mean of three hip joints is subtracted in every frame, the places are smoothed over five frames, the first
    and the last frame being repeated beyond the ends, and every ``step``-th frame is kept.

    Args:
        motion: data ``(n, c, t, v, m)`` in meters.
        hips: center, left and right hip; (10, 1, 6) for the 25 joints of HDM05.
        step: the paper takes every 4th frame of HDM05's 120 a second and every 16th of MHAD's 480.

    Returns:
        The data ``(n, c, ceil(t / step), v, m)`` and the lengths, None where the motion has none.

    Raises:
        DataError: the data have another rank.

    Reference:
        Du et al., "Hierarchical recurrent neural network for skeleton based action recognition", CVPR 2015.

    Deviations:
        What the paper does at the ends of a clip is not known to us.
    """
    data, lengths = motion.data, motion.lengths
    if data.ndim != 5:
        raise DataError(f"HRNN: expected a motion of shape (n, c, t, v, m), got {tuple(data.shape)}")
    centered = data - data[:, :, :, list(hips)].mean(3, keepdim=True)
    frames = data.shape[2]
    last = torch.full((len(data),), frames, device=data.device) if lengths is None else lengths
    time = torch.arange(frames, device=data.device)[None]
    by_frame = centered.transpose(1, 2)
    rows = torch.arange(len(data), device=data.device)[:, None]
    smooth = torch.zeros_like(by_frame)
    for offset, weight in enumerate(SMOOTHING, start=-2):
        smooth = smooth + weight * by_frame[rows, (time + offset).clamp(min=0).minimum(last[:, None] - 1)]
    if lengths is not None:
        lengths = (lengths + step - 1) // step
    return smooth.transpose(1, 2)[:, :, ::step], lengths
