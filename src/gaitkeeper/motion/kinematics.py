"""How skeletons move, in metres and seconds: poses from rotations, bones, angles, derivatives, and what changed.

Joints are ``(..., t, v, 3)`` throughout: frames, joints, coordinates. All functions are differentiable unless they
say otherwise, also where bones have no length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from gaitkeeper.errors import DataError
from gaitkeeper.motion.skeletons import Layout

POINT = 1e-6
"""Bones shorter than this many metres are points: they have no direction and no relative change of length."""

CONTACT_HEIGHT = 0.05
"""A foot's joint is near the floor where it is at most this many metres above its own lowest place."""

CONTACT_SPEED = 0.3
"""A foot's joint near the floor is in contact where it is slower than this, in metres a second."""

Rate = float | Tensor
"""Frames a second: one rate, or ``(n,)`` rates of the samples."""


def to_joints(data: Tensor) -> Tensor:
    """Return what networks take, ``(n, c, t, v, m)``, as joints of persons ``(n, m, t, v, c)``."""
    return data.permute(0, 4, 2, 3, 1)


def to_network(joints: Tensor) -> Tensor:
    """Return joints of persons ``(n, m, t, v, c)`` as networks take them, ``(n, c, t, v, m)``."""
    return joints.permute(0, 4, 2, 3, 1)


def forward(rotations: Tensor, offsets: Tensor, root: Tensor, parents: Sequence[int]) -> Tensor:
    """Return the joints of a chain that is turned at its joints (forward kinematics).

    Each joint's frame is its parent's times its own rotation; its place is the parent's plus its offset in the
    parent's frame.

    Args:
        rotations: ``(..., v, 3, 3)``, each in its parent's frame.
        offsets: ``(v, 3)`` from the parent, the root's being unused.
        root: ``(..., 3)`` places of the root.
        parents: for each joint its parent, which comes before it; -1 for the root, which is the first.

    Returns:
        ``(..., v, 3)``.

    Raises:
        ValueError: a joint comes before its parent.
    """
    if not parents or parents[0] != -1 or any(not 0 <= parent < joint for joint, parent in enumerate(parents) if joint):
        raise ValueError(f"expected a root and then joints after their parents, got parents {list(parents)}")
    frames, places = [rotations[..., 0, :, :]], [root]
    for joint, parent in enumerate(parents[1:], start=1):
        frames.append(frames[parent] @ rotations[..., joint, :, :])
        places.append(places[parent] + frames[parent] @ offsets[joint])
    return torch.stack(places, dim=-2)


def bone_vectors(joints: Tensor, layout: Layout) -> Tensor:
    """Return ``(..., b, 3)``, for each bone of the layout the way from the joint that carries it to the other."""
    _check(joints, layout)
    starts, ends = zip(*layout.bones, strict=True)
    return joints[..., list(ends), :] - joints[..., list(starts), :]


def bone_lengths(joints: Tensor, layout: Layout) -> Tensor:
    """Return the lengths of bones, ``(..., b)``; the gradient of a length that is zero is zero."""
    return _norm(bone_vectors(joints, layout))


def joint_angles(joints: Tensor, layout: Layout) -> Tensor:
    """Return the angles between bones at ``layout.angles``, ``(..., a)`` in radians from 0 to pi (straight).

    They are angles between the bones themselves, not Euler angles: no convention, no wrapping. Where one of the
    bones has no length the angle is 0.
    """
    _check(joints, layout)
    first, at, second = (list(column) for column in zip(*layout.angles, strict=True))
    one, other = joints[..., first, :] - joints[..., at, :], joints[..., second, :] - joints[..., at, :]
    sine, cosine = _norm(torch.linalg.cross(one, other)), (one * other).sum(-1)
    extended = (_norm(one) > POINT) & (_norm(other) > POINT)
    # Neither argument of the arc tangent may be zero where its gradient is thrown away, or that becomes NaN.
    angle = torch.atan2(torch.where(extended, sine, 0), torch.where(extended, cosine, 1))
    return torch.where(extended, angle, 0)


def derivative(joints: Tensor, order: int, fps: Rate) -> Tensor:
    """Return a derivative in time by forward differences, ``(..., t - order, v, 3)`` in units a second^order.

    Args:
        joints: ``(..., t, v, 3)``.
        order: 0 gives the joints themselves, 1 velocities, 2 accelerations, 3 jerks.
        fps: frames a second; ``(n,)`` where samples differ, as do takes that were resampled to one length.

    Raises:
        DataError: there are too few frames.
    """
    if joints.shape[-3] <= order:
        raise DataError(f"a derivative of order {order} needs {order + 1} frames, got {joints.shape[-3]}")
    change = torch.diff(joints, n=order, dim=-3) if order else joints
    rate = torch.as_tensor(fps, dtype=joints.dtype, device=joints.device)
    if rate.ndim:
        rate = rate.reshape(-1, *[1] * (joints.ndim - 1))
    return change * rate**order


def place_bones(joints: Tensor, lengths: Tensor, layout: Layout) -> Tensor:
    """Give bones their lengths back: walk from the root, keep each bone's direction, shift what it carries.

    Coincident joints are tied: their mean place counts, and they stay at one place. The root stays.

    Args:
        joints: ``(..., t, v, 3)``, moved in any way.
        lengths: ``(..., b)`` wanted, in the order of ``layout.bones``, as of :func:`bone_lengths`; broadcast over
            leading axes. A bone of wanted length zero ends where it starts. One that has no length but should have
            has no direction to keep and points along the first axis.

    Returns:
        The joints, with these lengths to rounding.

    Reference:
        Liu et al., "Adversarial attack on skeleton-based human action recognition", TNNLS 2022 (spatial skeleton
        realignment).
    """
    _check(joints, layout)
    tie, way = (torch.as_tensor(m, dtype=joints.dtype, device=joints.device) for m in _placing(layout))
    if layout.coincident:
        joints = tie @ joints
    vectors = bone_vectors(joints, layout)
    now = _norm(vectors)[..., None]
    first = torch.zeros(3, dtype=joints.dtype, device=joints.device)
    first[0] = 1
    directions = torch.where(now > POINT, vectors / torch.where(now > POINT, now, 1), first)
    placed = joints[..., layout.root, None, :] + way @ (directions * lengths[..., None])
    return placed[..., list(layout.places), :] if layout.coincident else placed


def resample(joints: Tensor, frames: int, layout: Layout) -> Tensor:
    """Return a movement at another number of frames, first and last kept, whose bones are as long as before.

    Frames between two are interpolated linearly, which shortens bones that turn; bones get the lengths between those
    of the two frames.

    Args:
        joints: ``(..., t, v, 3)``.
        frames: at least 2. The new rate is the old times ``(frames - 1) / (t - 1)``.
    """
    if frames < 2:
        raise ValueError(f"expected at least 2 frames, got {frames}")
    times = torch.linspace(0, joints.shape[-3] - 1, frames, dtype=joints.dtype, device=joints.device)
    before = times.floor().long().clamp(0, max(joints.shape[-3] - 2, 0))
    part = (times - before)[:, None]
    after = (before + 1).clamp_max(joints.shape[-3] - 1)
    lengths = bone_lengths(joints, layout)
    lengths = lengths[..., before, :] * (1 - part) + lengths[..., after, :] * part
    part = part[..., None]
    return place_bones(joints[..., before, :, :] * (1 - part) + joints[..., after, :, :] * part, lengths, layout)


@dataclass(frozen=True, kw_only=True)
class Change:
    """How far a movement is from another, each ``(n,)``. Means are over valid frames and, unless said, joints.

    Args:
        displacement: mean distance of a joint from its place, metres.
        largest: largest such distance in any frame, metres.
        velocity: mean length of the difference of velocities, m/s.
        acceleration: the same of accelerations, m/s^2.
        angle: mean absolute difference of angles between bones, radians.
        bone: mean relative difference of bone lengths, over bones that have a length.
        bone_largest: largest such difference of one bone in one frame.
        pose: mean over frames of the length of the difference of whole poses, metres: ``l`` as published.
        velocity_frames: ``velocity`` in metres a frame, as published.
        acceleration_frames: ``acceleration`` in metres a frame squared, as published.

    Reference:
        Published definitions: Diao et al., "BASAR: black-box attack on skeletal action recognition", CVPR 2021.

    Deviations:
        The published figures are of normalized coordinates; these are of metres. Bones without length are left out
        of the mean. The published difference of angles is of second differences of Euler angles; this is not given.
    """

    displacement: Tensor
    largest: Tensor
    velocity: Tensor
    acceleration: Tensor
    angle: Tensor
    bone: Tensor
    bone_largest: Tensor
    pose: Tensor
    velocity_frames: Tensor
    acceleration_frames: Tensor


def change(
    clean: Tensor,
    changed: Tensor,
    layout: Layout,
    *,
    fps: Rate,
    valid: Tensor | None = None,
    joints: Sequence[int] | None = None,
) -> Change:
    """Measure how a changed movement differs from the clean one.

    Args:
        clean: ``(n, ..., t, v, 3)`` in metres, at least three frames.
        changed: the same shape.
        layout: of both.
        fps: frames a second.
        valid: ``(n, ..., t)`` bool, frames that count; None counts all. It also leaves out absent persons.
        joints: joints that displacements, velocities and accelerations are averaged over; None takes one of each
            group of coincident joints, so that none counts twice.
    """
    _check(clean, layout)
    if changed.shape != clean.shape:
        raise DataError(f"expected two movements of one shape, got {tuple(clean.shape)} and {tuple(changed.shape)}")
    moved = (changed - clean)[..., list(layout.distinct if joints is None else joints), :]
    distance = _norm(moved)
    per_frame = [_mean(_norm(derivative(moved, order, 1.0)), _consecutive(valid, order)) for order in (1, 2)]
    rate = torch.as_tensor(fps, dtype=clean.dtype, device=clean.device)
    lengths = bone_lengths(clean, layout)
    relative = (bone_lengths(changed, layout) - lengths).abs() / lengths.clamp_min(POINT)
    counted = (lengths > POINT) if valid is None else (lengths > POINT) & valid[..., None]
    return Change(
        displacement=_mean(distance, valid),
        largest=_largest(distance, valid),
        velocity=per_frame[0] * rate,
        acceleration=per_frame[1] * rate**2,
        angle=_mean((joint_angles(changed, layout) - joint_angles(clean, layout)).abs(), valid),
        bone=_masked_mean(relative, counted),
        bone_largest=torch.where(counted, relative, 0).flatten(1).amax(1),
        pose=_mean(_norm((changed - clean).flatten(-2))[..., None], valid),
        velocity_frames=per_frame[0],
        acceleration_frames=per_frame[1],
    )


@dataclass(frozen=True, kw_only=True)
class Roughness:
    """How a movement moves, each ``(n,)``: to be set beside the same figures of the clean movement.

    Args:
        acceleration: mean length of a joint's acceleration, m/s^2.
        jerk: mean length of its derivative, m/s^3.
        skate: mean horizontal speed of feet in contact with the floor, m/s; NaN where there is no contact. It means
            something only in coordinates that do not travel with the body.
    """

    acceleration: Tensor
    jerk: Tensor
    skate: Tensor


def roughness(
    motion: Tensor, layout: Layout, *, fps: Rate, valid: Tensor | None = None, contact: Tensor | None = None
) -> Roughness:
    """Measure accelerations, jerk and foot skate.

    Args:
        motion: ``(n, ..., t, v, 3)`` in metres, at least four frames.
        fps: frames a second.
        valid: ``(n, ..., t)`` bool, frames that count; None counts all.
        contact: of :func:`contacts`. For a changed movement pass the clean one's: a foot that no longer stands still
            would else not count. None takes the movement's own.
    """
    _check(motion, layout)
    places = motion[..., list(layout.distinct), :]
    means = [_mean(_norm(derivative(places, k, fps)), _consecutive(valid, k)) for k in (2, 3)]
    speed = derivative(motion[..., list(layout.feet), :], 1, fps)
    level = [axis for axis in range(3) if axis != layout.up]
    touching = contacts(motion, layout, fps=fps, valid=valid) if contact is None else contact
    skate = _masked_mean(_norm(speed[..., level]), touching)
    none = ~touching.flatten(1).any(1)
    return Roughness(acceleration=means[0], jerk=means[1], skate=torch.where(none, torch.nan, skate))


def contacts(motion: Tensor, layout: Layout, *, fps: Rate, valid: Tensor | None = None) -> Tensor:
    """Tell when feet stand: each joint of a foot near its own lowest place in the clip, and slow.

    Args:
        motion: ``(n, ..., t, v, 3)`` in metres.
        fps: frames a second.
        valid: ``(n, ..., t)`` bool, frames that count; None counts all.

    Returns:
        ``(n, ..., t - 1, f)`` bool, for the steps from each frame to the next and the joints ``layout.feet``.
    """
    feet = motion[..., list(layout.feet), :]
    height = feet[..., layout.up]
    lowest = (height if valid is None else torch.where(valid[..., None], height, torch.inf)).amin(-2, keepdim=True)
    touching = (height - lowest <= CONTACT_HEIGHT)[..., :-1, :] & (_norm(derivative(feet, 1, fps)) < CONTACT_SPEED)
    both = _consecutive(valid, 1)
    return touching if both is None else touching & both[..., None]


@dataclass(frozen=True, kw_only=True)
class JointLimits:
    """How far joints of a layout bend: ``(a,)`` each, radians, in the order of ``layout.angles``."""

    lower: Tensor
    upper: Tensor


def joint_limits(motions: Sequence[Tensor], layout: Layout, *, margin: float = 0.0) -> JointLimits:
    """Return the least and greatest angles between bones in clean movements.

    Args:
        motions: ``(..., t, v, 3)`` each, without padding.
        margin: radians by which the range is widened on both sides.
    """
    if not motions:
        raise DataError("joint limits need at least one movement, got none")
    angles = [joint_angles(motion, layout).flatten(0, -2) for motion in motions]
    lower = torch.stack([found.amin(0) for found in angles]).amin(0)
    upper = torch.stack([found.amax(0) for found in angles]).amax(0)
    return JointLimits(lower=lower - margin, upper=upper + margin)


def limit_violations(motion: Tensor, limits: JointLimits, layout: Layout, *, valid: Tensor | None = None) -> Tensor:
    """Return ``(n,)``, the share of angles of all valid frames that are outside the limits.

    Args:
        motion: ``(n, ..., t, v, 3)``.
        limits: of the same layout.
        valid: ``(n, ..., t)`` bool, frames that count; None counts all.
    """
    angles = joint_angles(motion, layout)
    return _mean(((angles < limits.lower) | (angles > limits.upper)).to(motion.dtype), valid)


def _check(joints: Tensor, layout: Layout) -> None:
    if joints.ndim < 3 or joints.shape[-2:] != (len(layout), 3):
        raise DataError(
            f"the layout {layout.name} needs joints of shape (..., frames, {len(layout)}, 3), got {tuple(joints.shape)}"
        )


def _norm(vectors: Tensor) -> Tensor:
    """Return lengths over the last axis; zero has the gradient zero."""
    squared = vectors.square().sum(-1)
    return torch.where(squared > 0, torch.where(squared > 0, squared, 1).sqrt(), 0)


@lru_cache
def _placing(layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    """Return the matrices that placing needs.

    The first, ``(v, v)``, puts coincident joints at their mean. The second, ``(v, b)``, tells which bones lead from
    the root to a joint: a joint is at the root plus these, so that one product replaces a walk over the joints.
    """
    tie, way = np.eye(len(layout)), np.zeros((len(layout), len(layout.bones)))
    for group in layout.coincident:
        for joint in group:
            tie[joint] = 0
            tie[joint, list(group)] = 1 / len(group)
    for bone, (joint, carried) in enumerate(layout.bones):
        way[carried] = way[joint]
        way[carried, bone] = 1
    return tie, way


def _consecutive(valid: Tensor | None, order: int) -> Tensor | None:
    """Return which differences are between valid frames only, ``(..., t - order)``."""
    if valid is None:
        return None
    return valid.unfold(-1, order + 1, 1).all(-1)


def _mean(values: Tensor, valid: Tensor | None) -> Tensor:
    """Return the mean of ``(n, ..., t, k)`` over valid frames and all but the first axis."""
    return values.flatten(1).mean(1) if valid is None else _masked_mean(values, valid[..., None].expand_as(values))


def _masked_mean(values: Tensor, counted: Tensor) -> Tensor:
    total = torch.where(counted, values, 0).flatten(1).sum(1)
    return total / counted.flatten(1).sum(1).clamp_min(1)


def _largest(values: Tensor, valid: Tensor | None) -> Tensor:
    return (values if valid is None else torch.where(valid[..., None], values, 0)).flatten(1).amax(1)
