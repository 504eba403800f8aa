"""From joints in metres to what a skeleton network was trained on: centered, turned, scaled, timed, as a stream."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from gaitkeeper.errors import WeightsError
from gaitkeeper.motion.motion import Motion
from gaitkeeper.motion.skeletons import LAYOUTS, Layout

Center = Literal["none", "frame", "start"]
Facing = Literal["none", "yaw", "spine"]
Timing = Literal["none", "resize", "pad", "loop"]
Stream = Literal["joint", "bone", "motion", "bone-motion"]
"""What a network sees: joints, bones, or the change of either from frame to frame."""

STREAMS: tuple[Stream, ...] = get_args(Stream)


MOST_FRAMES = 10_000
"""Most frames that clips are brought to."""


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """How clips in metres become a network's input; differentiable, and the same for every clip of a batch or alone.

    Args:
        layout: the joints.
        center: subtract where a joint of the first person is, in every frame or in the first one; or nothing.
        joint: that joint.
        facing: ``yaw`` turns each clip about the vertical so that, on the whole, the first person's left is where x
            grows. ``spine`` makes, in the first frame, the spine the z axis and the way between the shoulders the x
            axis. ``none`` turns nothing.
        scale: metres that become 1.
        timing: resize clips to ``frames`` frames by linear interpolation, pad them with zeros, or repeat them from
            the start until so many are there; or leave them.
        frames: see ``timing``.
        crop: share of a clip, around its middle, that is resized.
        stream: joints; bones, the published edges; or the change of either to the next frame, 0 in the last one and
            where the person is absent in one of the two.

    Reference:
        ``spine`` and ``loop``: Shi et al., "Two-stream adaptive graph convolutional networks for skeleton-based
        action recognition", CVPR 2019. ``resize`` and ``crop``: Chen et al., "Channel-wise topology refinement graph
        convolution for skeleton-based action recognition", ICCV 2021.
    """

    layout: Layout
    center: Center = "frame"
    joint: int | None = None
    facing: Facing = "yaw"
    scale: float = 1.0
    timing: Timing = "resize"
    frames: int | None = 60
    crop: float = 1.0
    stream: Stream = "joint"

    def __post_init__(self) -> None:
        for name, kind in (("center", Center), ("facing", Facing), ("timing", Timing), ("stream", Stream)):
            if getattr(self, name) not in get_args(kind):
                raise ValueError(f"expected {name} {', '.join(get_args(kind))}, got {getattr(self, name)!r}")
        if self.joint is not None and self.joint not in range(len(self.layout)):
            raise ValueError(f"expected a joint in 0..{len(self.layout) - 1}, got {self.joint!r}")
        fits = (
            self.frames is None
            if self.timing == "none"
            else type(self.frames) is int and 1 < self.frames <= MOST_FRAMES
        )
        if not fits:
            raise ValueError(f"timing {self.timing!r} and {self.frames} frames do not go together")
        if self.layout.units != "metres" and (self.center, self.facing) != ("none", "none"):
            raise ValueError(f"{self.layout.name} has places in a picture: they are neither centered nor turned")
        if not 0 < self.crop <= 1 or not 0 < self.scale < math.inf:
            raise ValueError(f"expected a crop in (0, 1] and a positive scale, got {self.crop} and {self.scale}")

    @classmethod
    def fitting(cls, layout: Layout, **values: Any) -> Preparation:
        """Return a preparation of a layout.

        Args:
            layout: the joints. Places in a picture are neither centered, turned nor scaled.
            values: the others; the joint may be ``"spine"``, the one above the root, as publications center bodies.
        """
        if values.get("joint") == "spine":
            values["joint"] = layout.spine[1]
        if layout.units != "metres":
            values |= {"center": "none", "facing": "none", "scale": 1.0, "joint": None}
        return cls(layout=layout, **values)

    def to_json(self) -> dict[str, Any]:
        """Return the values as JSON has them, the layout by its name."""
        return {**asdict(self), "layout": self.layout.name}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Preparation:
        """Return what :meth:`to_json` describes.

        Raises:
            WeightsError: a value is unknown, missing or out of range.
        """
        known = {field.name for field in fields(cls)}
        layout = values.get("layout") if isinstance(values, Mapping) else None
        if not isinstance(layout, str) or layout not in LAYOUTS or set(values) - known:
            raise WeightsError(f"expected a preparation with a layout of {', '.join(LAYOUTS)}, found {values}")
        try:
            return cls(**{**values, "layout": LAYOUTS[layout]})
        except (TypeError, ValueError) as error:
            raise WeightsError(f"not a preparation: {error}") from error

    def __call__(self, motion: Motion, *, window: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Prepare a batch.

        Args:
            motion: data ``(n, c, t, v, m)``; persons whose numbers are all 0 in a frame are absent there and stay 0.
            window: ``(n, 2)`` first frame and end of what is resized, counted in frames of each clip; training draws
                it. None takes the middle.

        Returns:
            Data ``(n, c, t', v, m)``, and the lengths, None where all frames count.
        """
        x, lengths = motion.data, motion.lengths
        present = _present(x)
        if lengths is not None:
            inside = torch.arange(x.shape[2], device=x.device)[None] < lengths[:, None]
            present = present & inside[:, None, :, None, None]
        x = self._turned(self._centered(x, present), present) / self.scale
        x, lengths = self._timed(x * present, lengths, window)
        return self._streamed(x), lengths

    def _centered(self, x: Tensor, present: Tensor) -> Tensor:
        if self.center == "none":
            return x
        joint = self.layout.root if self.joint is None else self.joint
        place = x[:, :, :, joint, 0]
        if self.center == "start":
            place = place.gather(2, _first(present)[:, None, None].expand(-1, x.shape[1], 1))
        else:
            # Where the first person is absent, the last known place counts for the others, and at first the first one.
            there = present[:, 0, :, 0, 0]
            frame = torch.arange(x.shape[2], device=x.device)
            last = torch.where(there, frame, -1).cummax(1).values
            known = torch.where(last < 0, _first(present)[:, None], last)
            place = place.gather(2, known[:, None].expand(-1, x.shape[1], -1))
        return x - place[..., None, None]

    def _turned(self, x: Tensor, present: Tensor) -> Tensor:
        if self.facing == "yaw":
            pairs = list(zip(*self.layout.across, strict=True))
            way = (x[:, :, :, pairs[0], 0] - x[:, :, :, pairs[1], 0]) * present[:, :, :, :, 0]
            return _rotated(x, _yaw(way.sum((2, 3))))
        if self.facing == "spine":
            first = _first(present)
            low, high = self.layout.spine
            left, right = self.layout.across[1]
            x = _rotated(x, _onto(_between(x, low, high, first), axis=2))
            return _rotated(x, _onto(_between(x, left, right, first), axis=0))
        return x

    def _timed(self, x: Tensor, lengths: Tensor | None, window: Tensor | None) -> tuple[Tensor, Tensor | None]:
        if self.frames is None:
            return x, lengths
        n, _, t = x.shape[:3]
        if t == self.frames and lengths is None and window is None and self.crop == 1:
            return x, None
        known = torch.full((n,), t, device=x.device) if lengths is None else lengths
        frame = torch.arange(self.frames, device=x.device)[None]
        if self.timing == "loop":
            return _frames(x, frame % known[:, None]), None
        if self.timing == "pad":
            inside = (frame < known[:, None]).to(x.dtype)[:, None, :, None, None]
            return _frames(x, frame.clamp(max=t - 1).expand(n, -1)) * inside, None
        if window is None:
            margin = ((1 - self.crop) * known / 2).floor()
            window = torch.stack([margin, known - margin], 1)
        start, end = window.to(x.dtype).unbind(1)
        place = (frame + 0.5) * ((end - start) / self.frames)[:, None] - 0.5
        place = place.clamp(min=torch.zeros_like(end)[:, None], max=(end - start - 1)[:, None]) + start[:, None]
        before = place.floor().long()
        after = (before + 1).minimum(known[:, None] - 1)
        part = (place - before)[:, None, :, None, None]
        one, other = _frames(x, before), _frames(x, after)
        # Nobody is mixed with somebody who comes or goes.
        part = torch.where(_present(one) == _present(other), part, part.round())
        return torch.lerp(one, other, part), None

    def _streamed(self, x: Tensor) -> Tensor:
        present = _present(x)
        if self.stream in ("bone", "bone-motion"):
            ends, starts = (list(column) for column in zip(*self.layout.edges, strict=True))
            bones = torch.zeros_like(x)
            bones[:, :, :, ends] = x[:, :, :, ends] - x[:, :, :, starts]
            x = bones
        if self.stream in ("motion", "bone-motion"):
            both = present[:, :, 1:] & present[:, :, :-1]
            x = torch.cat([x.diff(dim=2) * both, torch.zeros_like(x[:, :, :1])], 2)
        return x


def _present(x: Tensor) -> Tensor:
    """Return in which frames each person is there, ``(n, 1, t, 1, m)`` bool."""
    return x.detach().ne(0).any(3, keepdim=True).any(1, keepdim=True)


def _first(present: Tensor) -> Tensor:
    """Return the first frame in which the first person is there, ``(n,)``; 0 where that is never."""
    return present[:, 0, :, 0, 0].to(torch.uint8).argmax(1)


def _frames(x: Tensor, index: Tensor) -> Tensor:
    """Return frames of each clip, by ``(n, f)`` indices."""
    shape = (x.shape[0], x.shape[1], index.shape[1], *x.shape[3:])
    return x.gather(2, index[:, None, :, None, None].expand(shape))


def _between(x: Tensor, start: int, end: int, frame: Tensor) -> Tensor:
    """Return the way between two joints of the first person in one frame of each clip, ``(n, 3)``."""
    way = x[:, :, :, end, 0] - x[:, :, :, start, 0]
    return way.gather(2, frame[:, None, None].expand(-1, way.shape[1], 1))[..., 0]


def _rotated(x: Tensor, matrices: Tensor) -> Tensor:
    return torch.einsum("nij,njtvm->nitvm", matrices, x)


def _yaw(way: Tensor) -> Tensor:
    """Return the turn about y that makes ``(n, 3)`` ways point, seen from above, along x; none for vertical ones."""
    x, z = way[:, 0], way[:, 2]
    squared = x.square() + z.square()
    level = squared > 1e-12
    # The root of zero has no gradient, so that it is not taken.
    safe = torch.where(level, squared, 1).sqrt()
    cosine, sine = torch.where(level, x / safe, 1), torch.where(level, z / safe, 0)
    none, one = torch.zeros_like(x), torch.ones_like(x)
    rows = [[cosine, none, sine], [none, one, none], [-sine, none, cosine]]
    return torch.stack([torch.stack(row, 1) for row in rows], 1)


def _onto(way: Tensor, *, axis: int) -> Tensor:
    """Return the smallest turn that makes ``(n, 3)`` ways point along an axis; none where they do or have no length."""
    target = torch.zeros_like(way)
    target[:, axis] = 1
    length = way.norm(dim=1, keepdim=True)
    long = length > 1e-6
    unit = torch.where(long, way / torch.where(long, length, 1), target)
    cosine = unit[:, axis, None, None]
    x, y, z = torch.linalg.cross(unit, target).unbind(1)
    none = torch.zeros_like(x)
    skew = torch.stack([torch.stack(row, 1) for row in ([none, -z, y], [z, none, -x], [-y, x, none])], 1)
    # (1 - cos) / sin^2 is 1 / (1 + cos): no division by zero but for opposite ways, which stay.
    opposite = cosine <= -1 + 1e-6
    turn = skew + skew @ skew / torch.where(opposite, 2, 1 + cosine)
    return torch.eye(3, dtype=way.dtype, device=way.device) + torch.where(opposite, 0, turn)
