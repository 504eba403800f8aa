"""Bodies that move with bones of constant length, and small recognizers of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gaitkeeper.models.victim import Victim
from gaitkeeper.motion import kinematics
from gaitkeeper.motion.motion import Motion, skeletons
from gaitkeeper.motion.skeletons import Layout

FRAMES = 12


def moving(layout: Layout, n: int = 4, *, frames: int = FRAMES, persons: int = 1, seed: int = 0) -> Motion:
    """Return clips in which every joint turns to and fro, coincident joints together; 30 frames a second."""
    generator = torch.Generator().manual_seed(seed)
    order = [layout.root, *(carried for _, carried in layout.bones)]
    place = {joint: number for number, joint in enumerate(order)}
    parents = [-1, *(place[joint] for joint, _ in layout.bones)]
    offsets = 0.15 + 0.15 * torch.rand(len(layout), 3, generator=generator)
    offsets = offsets * torch.randn(len(layout), 3, generator=generator).sign()
    for joint in range(len(layout)):
        if layout.places[joint] != joint:
            offsets[place[joint]] = 0
    swing = 0.4 * torch.randn(n, persons, 1, len(layout), 3, generator=generator)
    phase = 6.28 * torch.rand(n, persons, 1, len(layout), 3, generator=generator)
    time = torch.arange(frames)[None, None, :, None, None] / 20
    x, y, z = (swing * torch.sin(6.28 * time + phase)).unbind(-1)
    none = torch.zeros_like(x)
    rows = [[none, -z, y], [z, none, -x], [-y, x, none]]
    turns = torch.matrix_exp(torch.stack([torch.stack(row, -1) for row in rows], -2))
    joints = kinematics.forward(turns, offsets, torch.zeros(n, persons, frames, 3), parents)
    joints = joints[..., [place[joint] for joint in range(len(layout))], :]
    return Motion(data=kinematics.to_network(joints).contiguous(), extras={"fps": torch.full((n,), 30.0)})


class Bent(nn.Module):
    """Logits of bent coordinates, smoothly weighted over time; of clips of up to FRAMES frames."""

    def __init__(self, joints: int, classes: int = 4) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.weight = nn.Parameter(torch.randn(classes, 3, 1, joints, generator=generator) / 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("nctvm,kcsv->nk", torch.tanh(2 * x), self.weight) / x.shape[2]


def recognizer(layout: Layout, *, persons: int | None = None) -> Victim:
    """Return a victim of a layout."""
    return Victim(Bent(len(layout)), skeletons(layout, persons=persons), output="logits", classes=tuple("abcd"))


def labels_of(victim: Victim, motion: Motion) -> Tensor:
    """Return the classes that a victim sees."""
    with torch.no_grad():
        logits = victim(motion).logits
    assert logits is not None
    return logits.argmax(1)
