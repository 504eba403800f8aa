"""A batch of movements, and what a recognizer accepts of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from gaitkeeper.errors import DataError
from gaitkeeper.motion.skeletons import Layout

Stored = Literal["uint8", "binary", "float32"]
"""How a movement is stored between the attacker and the recognizer."""


@dataclass(frozen=True, kw_only=True)
class Motion:
    """A batch of movements of one layout.

    Args:
        data: ``(n, ...)`` in the layout and units of a :class:`Domain`.
        lengths: ``(n,)`` valid frames of each sample, which come first along the time axis; None where all are
            valid.
        fps: frames a second; None where unknown.
        extras: what else a victim needs, each ``(n, ...)``: the camera's view in degrees, persons present.
    """

    data: Tensor
    lengths: Tensor | None = None
    fps: float | None = None
    extras: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.data.ndim < 2:
            raise DataError(f"a motion needs a batch axis and at least one more, got shape {tuple(self.data.shape)}")
        for name, value in {"lengths": self.lengths, **self.extras}.items():
            if value is not None and len(value) != len(self.data):
                raise DataError(f"{name} has {len(value)} entries for {len(self.data)} samples")

    def __len__(self) -> int:
        return len(self.data)

    def select(self, index: Tensor | Sequence[int] | slice) -> Motion:
        """Return some of the samples."""
        if not isinstance(index, slice):
            index = torch.as_tensor(index, device=self.data.device)
        return replace(
            self,
            data=self.data[index],
            lengths=None if self.lengths is None else self.lengths[index],
            extras={name: value[index] for name, value in self.extras.items()},
        )

    def repeat(self, times: int) -> Motion:
        """Return every sample ``times`` times, copies of a sample side by side."""
        return self.select(torch.arange(len(self)).repeat_interleave(times))

    def with_data(self, data: Tensor) -> Motion:
        """Return the same samples with other values; the shape stays."""
        if data.shape != self.data.shape:
            raise DataError(f"expected data of shape {tuple(self.data.shape)}, got {tuple(data.shape)}")
        return replace(self, data=data)

    def to(self, device: torch.device | str) -> Motion:
        """Return the motion on a device."""
        return replace(
            self,
            data=self.data.to(device),
            lengths=None if self.lengths is None else self.lengths.to(device),
            extras={name: value.to(device) for name, value in self.extras.items()},
        )


@dataclass(frozen=True, kw_only=True)
class Domain:
    """Which movements a victim accepts, in the format in which they are stored.

    Args:
        axes: names of the axes after the batch: ``t`` frames, ``v`` joints, ``c`` coordinates, ``m`` persons,
            ``h`` rows, ``w`` columns.
        shape: sizes of these axes; None where any is accepted.
        lower: least value, in the units of the data.
        upper: greatest value.
        stored: the format of a stored sample: 8-bit, two values, or float32.
        extras: names of the entries of ``Motion.extras`` that the victim needs.
        layout: the joints, of skeletons.
    """

    axes: tuple[str, ...]
    shape: tuple[int | None, ...]
    lower: float
    upper: float
    stored: Stored
    extras: tuple[str, ...] = ()
    layout: Layout | None = None

    def __post_init__(self) -> None:
        if len(self.axes) != len(self.shape):
            raise ValueError(f"axes {self.axes} and shape {self.shape} differ in number")
        if self.stored != "float32" and not abs(self.upper - self.lower) < float("inf"):
            raise ValueError(f"a {self.stored} domain needs finite bounds, got [{self.lower}, {self.upper}]")

    def axis(self, name: str) -> int:
        """Return the index of a named axis in the data, the batch being 0.

        Raises:
            DataError: the domain has no such axis.
        """
        if name not in self.axes:
            raise DataError(f"this needs an axis {name!r}; the domain has {' '.join(self.axes)}")
        return self.axes.index(name) + 1

    def check(self, motion: Motion) -> None:
        """Raise a DataError unless the motion fits: rank, sizes, lengths, finite values, range, extras."""
        data = motion.data
        got = tuple(data.shape)
        wanted = (
            "(n, "
            + ", ".join(f"{a}={'any' if s is None else s}" for a, s in zip(self.axes, self.shape, strict=True))
            + ")"
        )
        fits = data.ndim == len(self.axes) + 1 and all(
            size is None or size == have for size, have in zip(self.shape, got[1:], strict=True)
        )
        if not fits or 0 in got[1:]:
            raise DataError(f"expected data of shape {wanted}, got {got}")
        if not data.is_floating_point():
            raise DataError(f"expected floating-point data in [{self.lower}, {self.upper}], got {data.dtype}")
        if not torch.isfinite(data).all():
            raise DataError("expected finite data, got NaN or infinity")
        if len(data) and (data.min() < self.lower or data.max() > self.upper):
            raise DataError(
                f"expected values in [{self.lower:g}, {self.upper:g}], "
                f"got [{data.min().item():g}, {data.max().item():g}]"
            )
        if motion.lengths is not None and len(data):
            frames = data.shape[self.axis("t")]
            if motion.lengths.min() < 1 or motion.lengths.max() > frames:
                raise DataError(f"expected lengths in 1..{frames}, got {motion.lengths.tolist()}")
        missing = [name for name in self.extras if name not in motion.extras]
        if missing:
            raise DataError(f"the victim needs {', '.join(missing)} beside the data; the motion has none")

    def harden(self, data: Tensor) -> Tensor:
        """Return the values that a stored copy would have: rounded to 8 bits, thresholded, or unchanged."""
        if self.stored == "float32":
            return data
        span = self.upper - self.lower
        unit = (data - self.lower) / span
        levels = (unit >= 0.5).to(data.dtype) if self.stored == "binary" else torch.round(unit * 255) / 255
        return self.lower + span * levels

    def valid(self, motion: Motion) -> Tensor | None:
        """Return a mask, 1 on valid frames and 0 on padding, that broadcasts over the data; None where all are."""
        if motion.lengths is None:
            return None
        axis = self.axis("t")
        frames = torch.arange(motion.data.shape[axis], device=motion.data.device)
        mask = frames[None] < motion.lengths[:, None]
        shape = [len(motion)] + [1] * len(self.axes)
        shape[axis] = len(frames)
        return mask.reshape(shape).to(motion.data.dtype)


SILHOUETTES = Domain(axes=("t", "h", "w"), shape=(None, 64, 44), lower=0.0, upper=1.0, stored="uint8")
"""Aligned silhouettes as the gait data sets store them: 8-bit grey frames of 64 x 44."""

FARTHEST = 20.0
"""Metres from the origin within which joints are accepted; larger numbers are in other units, or damaged."""


def skeletons(layout: Layout, *, persons: int | None = None) -> Domain:
    """Return the domain of clips ``(n, 3, t, v, m)`` of a layout: joints in metres; absent persons are all zero.

    Args:
        layout: the joints.
        persons: persons a clip has room for; None accepts any number.
    """
    return Domain(
        axes=("c", "t", "v", "m"),
        shape=(3, None, len(layout), persons),
        lower=-FARTHEST,
        upper=FARTHEST,
        stored="float32",
        layout=layout,
    )
