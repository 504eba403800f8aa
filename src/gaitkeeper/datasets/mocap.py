"""Motion capture as text: the kinematic chain that files of ASF/AMC and BVH describe, and their lines and numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gaitkeeper.datasets.tree import read_bounded
from gaitkeeper.errors import DataError

MAX_BYTES = 128 * 2**20
"""Largest file that is read: twenty minutes of AMC at 120 frames a second."""

MAX_PLACES = 10**7
"""Most joints times frames of a recording."""


@dataclass(frozen=True, kw_only=True)
class Chain:
    """A skeleton of rigid bones. A joint is the start of the bone it is named after; ends of limbs follow as joints.

    Args:
        names: joints, the root first and each after its parent; the end of a limb is named ``<joint> end``.
        parents: for each joint its parent, -1 for the root.
        offsets: ``(v, 3)`` in metres, from the parent, in the parent's frame.
        turns: for each joint its angles in the order of the file, out of ``x``, ``y``, ``z``; empty for rigid ones.
        frames: ``(v, 3, 3)``, the axes about which a joint turns, in the frame of the rest pose.
        first_outermost: whether the first of a joint's angles is applied last, as in BVH, or first, as in ASF.
        unit: metres that a length of 1 stands for in the file.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    offsets: np.ndarray
    turns: tuple[str, ...]
    frames: np.ndarray
    first_outermost: bool
    unit: float

    def index(self, name: str) -> int:
        """Return a joint's number; ``root`` is the root, whatever its name.

        Raises:
            DataError: there is no such joint.
        """
        if name == "root":
            return 0
        if name not in self.names:
            raise DataError(f"the skeleton has no joint {name!r}; it has {', '.join(self.names)}")
        return self.names.index(name)

    @property
    def coincident(self) -> tuple[tuple[int, ...], ...]:
        """Groups of joints that are at one place in every pose, since no offset parts them."""
        places = list(range(len(self.names)))
        for joint, parent in enumerate(self.parents):
            if joint and not self.offsets[joint].any():
                places[joint] = places[parent]
        groups = {place: tuple(j for j, other in enumerate(places) if other == place) for place in places}
        return tuple(group for group in groups.values() if len(group) > 1)


@dataclass(frozen=True, kw_only=True)
class Capture:
    """A recorded movement of a chain.

    Args:
        chain: the skeleton.
        root: ``(t, 3)`` places of the root in metres.
        angles: for each joint ``(t, k)`` angles in radians, in the order of ``chain.turns``.
        fps: frames a second.
    """

    chain: Chain
    root: np.ndarray
    angles: tuple[np.ndarray, ...]
    fps: float

    def __len__(self) -> int:
        return len(self.root)

    def rotations(self) -> np.ndarray:
        """Return the turn of each joint in its parent's frame, ``(t, v, 3, 3)``."""
        from scipy.spatial.transform import Rotation

        found = np.tile(np.eye(3), (len(self), len(self.chain.names), 1, 1))
        for joint, (turns, angles) in enumerate(zip(self.chain.turns, self.angles, strict=True)):
            if not turns:
                continue
            # Capitals turn about axes that move along, so that the first letter is the outermost product.
            order, values = (turns, angles) if self.chain.first_outermost else (turns[::-1], angles[:, ::-1])
            turned = Rotation.from_euler(order.upper(), values).as_matrix().reshape(-1, 3, 3)
            axes = self.chain.frames[joint]
            found[:, joint] = axes @ turned @ axes.T
        return found

    def positions(self, joints: Sequence[str] | None = None) -> np.ndarray:
        """Return where joints are, ``(t, v, 3)`` float64 in metres, in the recording's own axes.

        Args:
            joints: names, as of :meth:`Chain.index`; None returns all in the order of the chain.

        Raises:
            DataError: there is no such joint.
        """
        import torch

        from gaitkeeper.motion.kinematics import forward

        wanted = slice(None) if joints is None else [self.chain.index(name) for name in joints]
        places = forward(
            torch.from_numpy(self.rotations()),
            torch.from_numpy(self.chain.offsets),
            torch.from_numpy(self.root),
            self.chain.parents,
        )
        return np.asarray(places.numpy()[:, wanted])


def raw_lines(file: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that are neither empty nor comments, which may be in any encoding, and their numbers.

    Raises:
        DataError: the file is larger than :data:`MAX_BYTES`.
    """
    for number, raw in enumerate(read_bounded(file, MAX_BYTES).splitlines(), start=1):
        line = raw.strip()
        if line and not line.startswith(b"#"):
            yield number, line


def decoded(file: Path, number: int, line: bytes) -> str:
    """Return the text of a line of a file.

    Raises:
        DataError: naming file and line: it is not UTF-8.
    """
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{file}, line {number}: expected UTF-8 text, found byte 0x{line[error.start]:02x}") from error


def text_lines(file: Path) -> Iterator[tuple[int, str]]:
    """Yield the text of the lines of :func:`raw_lines` and their numbers.

    Raises:
        DataError: the file is too large, or a line is not UTF-8.
    """
    for number, line in raw_lines(file):
        yield number, decoded(file, number, line)


def numbers(file: Path, number: int, words: Sequence[str], count: int) -> list[float]:
    """Return exactly ``count`` finite numbers of a line of a file.

    Raises:
        DataError: naming file and line: there are more or fewer, or they are not finite.
    """
    if len(words) != count:
        raise DataError(f"{file}, line {number}: expected {count} numbers, found {len(words)}")
    try:
        values = list(map(float, words))
    except ValueError:
        values = [math.nan]
    if not all(map(math.isfinite, values)):
        raise DataError(f"{file}, line {number}: expected finite numbers, found {' '.join(words)[:60]!r}")
    return values
