"""Victims whose optima are known, on different domains; every attack is run on all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gaitkeeper.attacks.splice import Spliced, place
from gaitkeeper.models.gait.gaitset import GaitSet
from gaitkeeper.models.generators.gan import ScoredCritic, SilhouetteGAN
from gaitkeeper.models.generators.wgan_gp import Critic, Generator
from gaitkeeper.models.victim import Gallery, Identifier, Victim
from gaitkeeper.motion import kinematics
from gaitkeeper.motion.motion import SILHOUETTES, Domain, Motion
from gaitkeeper.motion.motion import skeletons as skeleton_domain
from gaitkeeper.motion.skeletons import HDM05_25, NTU_25, Layout
from gaitkeeper.seeding import SampleStreams

SKELETON = Domain(axes=("c", "t", "v"), shape=(3, None, 5), lower=-2.0, upper=3.0, stored="float32")


class LinearSkeleton(nn.Module):
    """Linear logits of joints in metres; also of sequences padded in time, whose padding it must not see."""

    def __init__(self, frames: int = 7, classes: int = 3) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.weight = nn.Parameter(torch.randn(classes, 3, frames, 5, generator=generator))

    def forward(self, joints: Tensor) -> Tensor:
        return torch.einsum("nctv,kctv->nk", joints, self.weight[:, :, : joints.shape[2]])


class NeedsView(LinearSkeleton):
    """Turns the skeleton by the camera's view first."""

    def forward(self, joints: Tensor, view: Tensor) -> Tensor:
        angle = torch.deg2rad(view.to(joints.dtype))[:, None, None]
        x, y, z = joints.unbind(1)
        turned = torch.stack([angle.cos() * x + angle.sin() * z, y, angle.cos() * z - angle.sin() * x], 1)
        return super().forward(turned)


@dataclass(frozen=True)
class Case:
    victim: Callable[[], Victim | Identifier | Spliced]
    motion: Callable[[], Motion]
    eps: dict[str, float]


def skeletons(**more: Tensor | None) -> Motion:
    data = torch.rand(4, 3, 7, 5, generator=torch.Generator().manual_seed(5)) * 2 - 0.5
    lengths = more.pop("lengths", None)
    return Motion(data=data, lengths=lengths, extras={k: v for k, v in more.items() if v is not None})


def silhouettes(n: int = 4, frames: int = 6) -> Motion:
    blobs = torch.rand(n, frames, 16, 11, generator=torch.Generator().manual_seed(1))
    data = torch.nn.functional.interpolate(blobs, scale_factor=4, mode="bilinear")
    data = ((data - 0.4) * 5).clamp(0, 1).double()  # so that the sign of a gradient does not hang on the batch size
    lengths = torch.tensor([frames, frames - 2, frames, frames - 1][:n])
    return Motion(data=data, lengths=lengths, extras={"view": torch.tensor([0, 90, 0, 90][:n])})


def gait_identifier() -> Identifier:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = GaitSet(channels=(4, 4, 8), embedding=8).double()
    victim = Victim(module, SILHOUETTES)
    enrolled = silhouettes(4, 6)
    embedding = victim(enrolled).embedding.detach().repeat(2, 1, 1)
    embedding[4:] += 0.01 * torch.randn(embedding[4:].shape, generator=torch.Generator().manual_seed(2))
    gallery = Gallery(
        embedding=embedding,
        identities=torch.tensor([0, 1, 2, 3] * 2),
        names=("a", "b", "c", "d"),
        views=torch.tensor([18] * 4 + [54] * 4),
    )
    return Identifier(victim, gallery)


def spliced() -> Spliced:
    """The gait identifier, of half of the frames of each sequence."""
    motion = silhouettes()
    slots = place(motion, 0.5, where="spread", streams=SampleStreams(0, range(len(motion))))
    return Spliced(gait_identifier(), slots)


CASES = {
    "linear skeleton": Case(
        lambda: Victim(LinearSkeleton(), SKELETON, output="logits"),
        skeletons,
        {"linf": 0.3, "l2": 2.5, "frames": 1.0, "joints": 0.5},
    ),
    "padded skeleton": Case(
        lambda: Victim(LinearSkeleton(), SKELETON, output="logits"),
        lambda: skeletons(lengths=torch.tensor([7, 5, 6, 7])),
        {"linf": 0.3, "l2": 2.5, "frames": 1.0, "joints": 0.5},
    ),
    "skeleton and view": Case(
        lambda: Victim(
            NeedsView(),
            Domain(axes=("c", "t", "v"), shape=(3, 7, 5), lower=-2, upper=3, stored="float32", extras=("view",)),
            output="logits",
        ),
        lambda: skeletons(view=torch.tensor([0, 30, 90, 180])),
        {"linf": 0.3, "l2": 2.5, "frames": 1.0, "joints": 0.5},
    ),
    "gait set": Case(gait_identifier, silhouettes, {"linf": 0.1, "l2": 5.0, "frames": 1.0}),
    "spliced gait set": Case(spliced, lambda: spliced().frames, {"linf": 0.5, "l2": 20.0, "frames": 1.0}),
}


SKELETON_CASES = {
    "clips": Case(lambda: linear_clips(classes=3), lambda: clips(), {"linf": 0.02, "l2": 0.3, "joints": 0.03}),
    "clips of two persons": Case(
        lambda: linear_clips(NTU_25, classes=3),
        lambda: clips(NTU_25, persons=2, lengths=torch.tensor([9, 7, 9])),
        {"linf": 0.02, "l2": 0.3, "joints": 0.03},
    ),
}


def gait_module() -> GaitSet:
    """What a user's ``--model package:function`` returns."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return GaitSet(channels=(4, 4, 8), embedding=8)


def silhouette_gan(
    *, size: tuple[int, int] = (64, 48), channels: int = 1, columns: int = 44, latent: int = 6
) -> SilhouetteGAN:
    """A narrow generator that was never trained; its pictures are blots of full contrast."""
    with torch.random.fork_rng():
        torch.manual_seed(4)
        generator = Generator(width=2, channels=channels, size=size, latent=latent)
        critics = [Critic(width=2, channels=channels, size=size) for _ in range(2)]
    with torch.no_grad():
        generator.conv1.conv.weight *= 8
    quantiles = tuple(float(q) for q in torch.linspace(-2, 2, 101))
    return SilhouetteGAN(generator, *(ScoredCritic(critic, quantiles) for critic in critics), columns=columns)


def clips(
    layout: Layout = HDM05_25,
    *,
    count: int = 3,
    frames: int = 9,
    persons: int = 1,
    lengths: Tensor | None = None,
    rigid: bool = True,
) -> Motion:
    """Bodies that move a little, in metres, the root at the origin.

    Of two persons the second is absent in the first clip and in the first four frames of the third.
    """
    generator = torch.Generator().manual_seed(0)
    poses = 0.5 * torch.randn(count, persons, 1, len(layout), 3, generator=generator)
    steps = torch.randn(count, persons, frames, len(layout), 3, generator=generator).cumsum(2)
    sizes = 0.1 + 0.3 * torch.rand(count, persons, 1 if rigid else frames, len(layout.bones), generator=generator)
    points = [layout.places[joint] == layout.places[end] for joint, end in layout.bones]
    sizes[..., points] = 0
    joints = kinematics.place_bones(poses + 0.02 * steps, sizes, layout)
    joints = joints - joints[..., layout.root, None, :]
    if persons == 2:
        joints[0, 1] = 0
        joints[2:, 1, :4] = 0
    data = kinematics.to_network(joints).contiguous()
    motion = Motion(data=data, lengths=lengths, extras={"fps": torch.linspace(20, 40, count)})
    valid = skeleton_domain(layout).valid(motion)
    return motion if valid is None else motion.with_data(data * valid)


class LinearClip(nn.Module):
    """Linear logits of clips of skeletons."""

    def __init__(self, layout: Layout, frames: int = 9, classes: int = 2) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.weight = nn.Parameter(torch.randn(classes, 3, frames, len(layout), 1, generator=generator))
        self.bias = nn.Parameter(torch.zeros(classes))

    def forward(self, data: Tensor) -> Tensor:
        return torch.einsum("nctvm,kctvw->nk", data, self.weight[:, :, : data.shape[2]]) + self.bias

    @torch.no_grad()
    def lead(self, motion: Motion, margin: float) -> None:
        """Let the first class be ahead of the second by a margin, on the first clip."""
        logits = self(motion.data)[0]
        self.bias[0] += margin - (logits[0] - logits[1])


def linear_clips(layout: Layout = HDM05_25, *, classes: int = 2) -> Victim:
    return Victim(LinearClip(layout, classes=classes), skeleton_domain(layout), output="logits")


def tangent(frame: Tensor, layout: Layout) -> Tensor:
    """Return the projection ``(3 v, 3 v)`` on displacements of a pose that keep bones, root and coincidences."""
    rows = torch.autograd.functional.jacobian(lambda f: kinematics.bone_lengths(f[None], layout)[0], frame).flatten(1)
    every = torch.eye(frame.numel(), dtype=frame.dtype).unflatten(0, frame.shape)
    ties = [every[joint] - every[group[0]] for group in layout.coincident for joint in group[1:]]
    held = torch.cat([rows, every[layout.root], *ties])
    return torch.eye(frame.numel(), dtype=frame.dtype) - torch.linalg.pinv(held) @ held
