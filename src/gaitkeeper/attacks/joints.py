"""Joints as what moves: with bones kept or free, the root fixed, some joints only, within a threat or without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from gaitkeeper.attacks.threats import Joints, Threat
from gaitkeeper.errors import DataError
from gaitkeeper.motion import kinematics
from gaitkeeper.motion.motion import Domain, Motion
from gaitkeeper.motion.skeletons import Layout
from gaitkeeper.seeding import SampleStreams

Bones = Literal["free", "exact"]
"""Whether bones may change their lengths, or keep those that they have in each frame of the original."""

JITTER = 1e-3
"""Standard deviation in metres of a random start that no threat bounds."""

ROUNDS = 4
"""How often joints are alternately brought within the threat and placed again before what is left over is shrunk."""

HALVINGS = 6
"""Halvings of the scale of a displacement until its placed joints are within the threat."""


def of_skeletons(domain: Domain) -> Layout:
    """Return the layout of a domain of skeletons in metres.

    Raises:
        DataError: the domain is of something else.
    """
    if domain.layout is None or domain.axes != ("c", "t", "v", "m"):
        raise DataError(f"expected a domain of skeletons (c, t, v, m) with a layout, got ({', '.join(domain.axes)})")
    if domain.layout.units != "metres":
        raise DataError(f"bones need joints in metres; those of {domain.layout.name} are places in a picture")
    return domain.layout


def present(motion: Motion, domain: Domain) -> Tensor:
    """Return ``(n, 1, t, 1, m)``, 1 where a person is there, 0 in padding frames and for absent persons."""
    there = (motion.data != 0).any(3, keepdim=True).any(1, keepdim=True)
    valid = domain.valid(motion)
    return there.to(motion.data.dtype) if valid is None else there * valid


@dataclass(frozen=True, kw_only=True)
class JointRadii:
    """Each joint may move by a distance of its own in each frame: a threat.

    Args:
        radii: for each joint of the layout, in metres.

    Reference:
        Liu et al., "Adversarial attack on skeleton-based human action recognition", TNNLS 2022.
    """

    radii: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.radii or not all(0 <= radius < float("inf") for radius in self.radii):
            raise ValueError(f"expected finite radii >= 0, one a joint, got {self.radii}")

    @property
    def eps(self) -> float:
        """The largest radius."""
        return max(self.radii)

    def _each(self, x: Tensor, domain: Domain) -> Tensor:
        axis = domain.axis("v")
        if x.shape[axis] != len(self.radii):
            raise DataError(f"expected a radius for each of {x.shape[axis]} joints, got {len(self.radii)}")
        shape = [1] * x.ndim
        shape[axis] = len(self.radii)
        return x.new_tensor(self.radii).reshape(shape)

    def project(self, x: Tensor, origin: Tensor, domain: Domain) -> Tensor:
        """Shorten each joint's displacement to its radius."""
        delta = x - origin
        length = delta.norm(dim=domain.axis("c"), keepdim=True)
        return origin + delta * (self._each(x, domain) / length.clamp_min(1e-30)).clamp_max(1)

    def violation(self, x: Tensor, origin: Tensor, domain: Domain) -> Tensor:
        """Return the largest excess of a displacement over its joint's radius."""
        length = (x - origin).norm(dim=domain.axis("c"), keepdim=True)
        return (length - self._each(x, domain)).flatten(1).amax(1).clamp_min(0)

    def steepest(self, gradient: Tensor, domain: Domain) -> Tensor:
        """Return each joint's gradient at a length in proportion to its radius, 1 for the largest."""
        step = Joints(eps=1).steepest(gradient, domain)
        return step * self._each(gradient, domain) / max(self.eps, 1e-30)

    def random(self, origin: Tensor, streams: SampleStreams, domain: Domain) -> Tensor:
        """Draw each joint's displacement uniformly from its ball."""
        return Joints(eps=1).random(origin, streams, domain) * self._each(origin, domain)


@dataclass(frozen=True, kw_only=True)
class Skeleton:
    """Displacements of joints in metres, ``(n, 3, t, v, m)``. Absent persons and padding frames never change.

    With exact bones displaced joints are placed anew from the root outward: each bone keeps the direction that the
    displacement gave it and gets back the length that it has in that frame of the original, and what it carries is
    shifted. This happens inside the attack, which descends through it, and a threat holds for the joints as placed.
    Coincident joints move together.

    Args:
        domain: the victim's.
        bones: whether bones keep their lengths.
        root: whether the root, with the joints that coincide with it, moves. It is where recognizers center a body,
            so that most data have it at one place.
        joints: those that may be displaced; None means all. With exact bones the joints that they carry follow.
        threat: what may change, and how much; None leaves displacements unbounded.
        smooth: standard deviation in frames of the Gaussian that displacements are averaged with along time; 0 leaves
            them. What the attacker moves is then slow by itself, also where a recognizer sees some frames only.

    Reference:
        Liu et al., "Adversarial attack on skeleton-based human action recognition", TNNLS 2022 (spatial skeleton
        realignment).
    """

    domain: Domain
    bones: Bones = "exact"
    root: Literal["fixed", "free"] = "fixed"
    joints: tuple[int, ...] | None = None
    threat: Threat | None = None
    smooth: float = 0.0
    _kept: list[_Fixed] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        layout = of_skeletons(self.domain)
        if not 0 <= self.smooth < float("inf"):
            raise ValueError(f"expected smooth >= 0, got {self.smooth}")
        if self.joints is not None and not set(self.joints) <= set(range(len(layout))):
            raise DataError(f"expected joints 0..{len(layout) - 1} of {layout.name}, got {list(self.joints)}")

    @property
    def layout(self) -> Layout:
        """The joints of the domain."""
        return of_skeletons(self.domain)

    @property
    def radius(self) -> float:
        """The threat's radius, or a metre."""
        return 1.0 if self.threat is None else self.threat.eps

    def start(self, motion: Motion, streams: SampleStreams | None) -> Tensor:
        """Return no displacement, or a random allowed one; without a threat one of about a millimetre."""
        if streams is None:
            return torch.zeros_like(motion.data)
        if self.threat is None:
            draws = torch.as_tensor(streams.normal(motion.data.shape[1:]))
            return self.retract(JITTER * draws.to(motion.data), motion)
        return self.retract(self.threat.random(motion.data, streams, self.domain), motion)

    def render(self, values: Tensor, motion: Motion) -> Motion:
        """Return the displaced joints, placed; no displacement is the original itself."""
        moved = self._fixed(motion).displacement(values)
        return motion.with_data((motion.data + moved).clamp(self.domain.lower, self.domain.upper))

    def steepest(self, gradient: Tensor, motion: Motion) -> Tensor:
        """Return the threat's steepest direction, or the gradient's sign, on the joints that move.

        With exact bones both the gradient and the direction are freed of what would stretch a bone of the original:
        placing undoes it, and moves what the bone carries instead.
        """
        movable = self._fixed(motion).movable
        gradient = gradient * movable
        if self.bones == "free":
            return gradient.sign() if self.threat is None else self.threat.steepest(gradient, self.domain)
        turning = _Turning(motion.data, movable, self.layout)
        gradient = turning(gradient)
        return turning(gradient.sign() if self.threat is None else self.threat.steepest(gradient, self.domain))

    def retract(self, values: Tensor, motion: Motion) -> Tensor:
        """Return displacements whose joints are within the threat as rendered.

        With exact bones joints are alternately brought within the threat and placed; what is left over after some
        rounds is met by shrinking the sample's whole displacement.
        """
        if self.threat is None:
            return values
        origin = motion.data
        values = self.threat.project(origin + values * self._fixed(motion).movable, origin, self.domain) - origin
        if self.bones == "free" and not self.smooth:
            return values
        for _ in range(ROUNDS):
            placed = self.render(values, motion).data
            over = self._violates(placed, origin)
            if not over.any():
                return values
            inside = self.threat.project(placed, origin, self.domain) - origin
            values = torch.where(over.reshape(-1, 1, 1, 1, 1), inside, values)
        over = self._violates(self.render(values, motion).data, origin).nonzero()[:, 0]
        if not len(over):
            return values
        own, whole = motion.select(over), values[over]
        scale = torch.zeros(len(over), 1, 1, 1, 1, dtype=values.dtype, device=values.device)
        for halving in range(HALVINGS):
            tried = scale + 0.5 ** (halving + 1)
            fits = ~self._violates(self.render(tried * whole, own).data, own.data)
            scale = torch.where(fits.reshape(-1, 1, 1, 1, 1), tried, scale)
        return values.index_copy(0, over, scale * whole)

    def _violates(self, x: Tensor, origin: Tensor) -> Tensor:
        """Return ``(n,)`` bool, a violation beyond the rounding of single precision."""
        assert self.threat is not None
        return self.threat.violation(x, origin, self.domain) > 1e-7 + 1e-6 * self.threat.eps

    def _fixed(self, motion: Motion) -> _Fixed:
        """Return what does not change while a motion is attacked, computed when it is first asked for."""
        if not self._kept or self._kept[0].origin is not motion.data:
            self._kept[:] = [_Fixed(self, motion)]
        return self._kept[0]


class _Fixed:
    """What rendering takes of the original.

    Args:
        variables: which joints move, and how.
        motion: the original.
    """

    def __init__(self, variables: Skeleton, motion: Motion) -> None:
        self.origin, self._layout = motion.data, variables.layout
        places = self._layout.places
        chosen = set(places) if variables.joints is None else {places[joint] for joint in variables.joints}
        if variables.root == "fixed":
            chosen -= {places[self._layout.root]}
        there = present(motion, variables.domain)
        self.movable = there * motion.data.new_tensor([float(place in chosen) for place in places])[:, None]
        self._tied = list(places) if self._layout.coincident else None
        self._kernel = None
        if variables.smooth:
            frame = torch.arange(there.shape[2], device=there.device)
            self._kernel = torch.exp(-0.5 * ((frame[:, None] - frame) / variables.smooth).square()).to(there)
            share = torch.einsum("ts,ncsvm->nctvm", self._kernel, there)
            self._share = there / share.clamp_min(torch.finfo(there.dtype).tiny)
        self._placing = None
        if variables.bones == "exact":
            with torch.no_grad():
                self._placing = Placing(motion.data, self._layout)

    def displacement(self, values: Tensor) -> Tensor:
        """Return by how much joints move: values where they count, smoothed in time, tied, and placed."""
        moved = values * self.movable
        if self._kernel is not None:
            moved = self._share * torch.einsum("ts,ncsvm->nctvm", self._kernel, moved)
        if self._tied is not None:
            moved = moved[..., self._tied, :]
        return moved if self._placing is None else self._placing(moved)


class _Turning:
    """The displacements of joints that stretch no bone, to first order: an orthogonal projection on them.

    Args:
        origin: ``(n, 3, t, v, m)``.
        movable: ``(n, 1, t, v, m)``, 1 for joints that may be displaced.
        layout: the joints. Coincident ones are projected as one, with as many shares in the norm.
    """

    def __init__(self, origin: Tensor, movable: Tensor, layout: Layout) -> None:
        joints, ends = kinematics.to_joints(origin), torch.zeros(len(layout.bones), len(layout)).to(origin)
        for bone, (joint, end) in enumerate(layout.bones):
            ends[bone, layout.places[end]] += 1
            ends[bone, layout.places[joint]] -= 1
        self._merge = torch.zeros(len(layout), len(layout)).to(origin)
        self._merge[list(layout.places), torch.arange(len(layout))] = 1
        # In coordinates scaled by this the norm of the places is that of the joints.
        self._merge /= self._merge.sum(1, keepdim=True).clamp_min(1).sqrt()
        vectors = kinematics.bone_vectors(joints, layout)
        lengths = vectors.norm(dim=-1, keepdim=True)
        units = torch.where(lengths > kinematics.POINT, vectors / lengths.clamp_min(kinematics.POINT), 0)
        free = movable.permute(0, 4, 2, 3, 1)
        shares = self._merge.amax(1)[:, None] * free[..., None, :, :]
        self._stretch = (ends[:, :, None] * shares * units[..., None, :]).flatten(-2)
        gram = self._stretch @ self._stretch.mT
        # Bones that cannot stretch, between fixed joints or of no length, ask for nothing.
        idle = (gram.diagonal(dim1=-2, dim2=-1) < 1e-9).to(gram.dtype)
        self._factor = torch.linalg.cholesky(gram + torch.diag_embed(idle + 1e-6))

    def __call__(self, vectors: Tensor) -> Tensor:
        """Return the nearest displacements that stretch no bone."""
        places = (self._merge @ kinematics.to_joints(vectors)).flatten(-2)[..., None]
        strain = torch.cholesky_solve(self._stretch @ places, self._factor)
        places = (places - self._stretch.mT @ strain)[..., 0].unflatten(-1, (-1, 3))
        return kinematics.to_network(self._merge.mT @ places)


class Placing:
    """Displacements of joints that are placed with an original's bones: each keeps its length in each frame.

    Placing rounds; taking the difference from the original placed in the same way makes no displacement give none.

    Args:
        origin: ``(n, 3, t, v, m)``.
        layout: the joints.
    """

    def __init__(self, origin: Tensor, layout: Layout) -> None:
        self._joints, self._layout = kinematics.to_joints(origin).contiguous(), layout
        self._lengths = kinematics.bone_lengths(self._joints, layout)
        self._placed = kinematics.place_bones(self._joints, self._lengths, layout)

    def __call__(self, displacement: Tensor) -> Tensor:
        """Return by how much joints move, ``(n, 3, t, v, m)``, of a displacement in the same shape."""
        moved = self._joints + kinematics.to_joints(displacement)
        return kinematics.to_network(kinematics.place_bones(moved, self._lengths, self._layout) - self._placed)


def carried(joints: Sequence[int], layout: Layout) -> tuple[int, ...]:
    """Return joints and all that they carry, in order: what moves when they do and bones are kept."""
    found = {layout.places[joint] for joint in joints}
    found |= {joint for joint, place in enumerate(layout.places) if place in found}
    for joint, end in layout.bones:
        if joint in found:
            found.add(end)
    return tuple(sorted(found))
