"""Kinect v2 recordings as text (``.skeleton``): reading them, and which of the bodies in them are people."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from gaitkeeper.datasets.stored import MAX_DISTANCE, MIN_FRAMES
from gaitkeeper.datasets.tree import read_bounded
from gaitkeeper.errors import DataError
from gaitkeeper.motion.skeletons import NTU_25

MAX_BYTES = 64 * 2**20
"""Largest text file that is read: ten minutes of two people."""

MAX_BODIES = 6
"""Most bodies that a Kinect follows at a time."""

_BODY_VALUES, _JOINT_VALUES = 10, 12


@dataclass(frozen=True, kw_only=True, eq=False)
class Body:
    """What a Kinect followed as one body.

    Args:
        name: the number that it gave the body.
        line: of the file, where the body is first.
        frames: ``(k,)`` numbers of the frames that it is in, from 0, ascending.
        joints: ``(k, 25, 3)`` float32 in metres, in the camera's axes, y up.
    """

    name: str
    line: int
    frames: np.ndarray
    joints: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Denoising:
    """How bodies that are none are told from people; only where a file has more than one.

    Args:
        frames: bodies in no more frames than this are dropped.
        width: frames in which a body is wider than this share of its height are noise.
        noisy: bodies with at least this share of such frames are dropped, unless none other is left.
        motion: least and greatest motion in m² of all but the body with the most; None drops none. Motion is the
            summed variance of all coordinates over joints and frames, those of noise left out where that is less.
        surplus: what becomes of bodies seen together with two others of more motion: ``refuse`` makes the sample
            an error, ``drop`` leaves them out.

    Raises:
        ValueError: a share or bound is out of range.

    Reference:
        Zhang et al., "Semantics-guided neural networks for efficient skeleton-based human action recognition",
        CVPR 2020; thresholds and order are those of its released preparation, which CTR-GCN's follows.

    Deviations:
        The release computes the bounds of motion but does not apply them, and drops a surplus silently:
        :data:`RELEASED` does as it does.
    """

    frames: int = 11
    width: float = 0.8
    noisy: float = 0.69754
    motion: tuple[float, float] | None = (0.089925, 2.0)
    surplus: Literal["refuse", "drop"] = "refuse"

    def __post_init__(self) -> None:
        if self.frames < 0 or not self.width > 0 or not 0 < self.noisy <= 1:
            raise ValueError(
                f"expected frames of at least 0, a width above 0 and a share in (0, 1], "
                f"got {self.frames}, {self.width:g} and {self.noisy:g}"
            )
        if self.motion is not None and not 0 <= self.motion[0] < self.motion[1]:
            raise ValueError(f"expected ascending bounds of motion, got {self.motion}")


DENOISING = Denoising()
"""The denoising that is done unless another is asked for."""

RELEASED = Denoising(motion=None, surplus="drop")
"""The denoising that SGN's and CTR-GCN's released preparations do."""


def read_skeleton(file: Path) -> list[Body]:
    """Read the bodies of a ``.skeleton`` file, in the order in which they appear.

    A body whose joints are all 0 is not in that frame.

    Raises:
        DataError: naming file and line: it is cut off or goes on after its end, has more than ``MAX_BODIES`` bodies
            in a frame, one twice or none in all frames, other than 25 joints, joints that are not finite or farther
            than ``MAX_DISTANCE``; it is not UTF-8.
    """
    lines = _Lines(file)
    first: dict[str, int] = {}
    frames: dict[str, list[int]] = {}
    joints: dict[str, list[np.ndarray]] = {}
    total = lines.count("a number of frames")
    for frame in range(total):
        here: set[str] = set()
        bodies = lines.count(f"the number of bodies of frame {frame + 1}")
        if bodies > MAX_BODIES:
            raise lines.error(f"expected at most {MAX_BODIES} bodies in a frame, found {bodies}")
        for _ in range(bodies):
            name = lines.values(_BODY_VALUES, "of a body")[0]
            line = lines.number
            if name in here:
                raise lines.error(f"expected a body once in frame {frame + 1}, found {name[:40]} twice")
            here.add(name)
            places = _joints(lines)
            if places.any():
                first.setdefault(name, line)
                frames.setdefault(name, []).append(frame)
                joints.setdefault(name, []).append(places)
    lines.end(f"the end after {total} frames")
    if not first:
        raise DataError(f"{file}, line {lines.number}: expected a body, {total} frames have none")
    return [
        Body(name=name, line=line, frames=np.array(frames[name]), joints=np.stack(joints[name]))
        for name, line in first.items()
    ]


def find_people(bodies: Sequence[Body], denoising: Denoising | None, *, source: Path) -> np.ndarray:
    """Choose the bodies that are people and put those together that the Kinect took one person for.

    Bodies are ordered by their motion; one joins a person with whom it shares at most one frame, from first to last,
    and of a shared frame the body with more motion is kept. Frames without anybody are left out.

    Args:
        bodies: of one file.
        denoising: which bodies to drop; None drops none, and refuses a surplus.
        source: the file, for messages.

    Returns:
        ``(m, t, 25, 3)`` float32 in metres, of one or two people.

    Raises:
        DataError: no body lasts, three or more are there at a time, or there are fewer than ``MIN_FRAMES`` frames.

    Deviations:
        The released preparation writes a body's frames one after the other, so that one that was lost for a while
        comes back too early, and gives a shared frame to the body with less motion; here every frame keeps its
        place. Frames in which nobody was seen are left out as there, so that a jump can remain.
    """
    kept = list(bodies)
    motions = {body.name: _motion(body.joints) for body in kept}
    if denoising is not None and len(kept) > 1:
        kept = _denoised(kept, motions, denoising, source)
    kept.sort(key=lambda body: -motions[body.name])
    people: list[list[Body]] = []
    spans: list[tuple[int, int]] = []
    for body in kept:
        begin, end = int(body.frames[0]), int(body.frames[-1])
        for i, (start, stop) in enumerate(spans):
            if min(stop, end) <= max(start, begin):
                people[i].append(body)
                spans[i] = min(start, begin), max(stop, end)
                break
        else:
            if len(people) < 2:
                people.append([body])
                spans.append((begin, end))
            elif denoising is None or denoising.surplus == "refuse":
                raise DataError(
                    f"{source}, line {body.line}: expected at most two people at a time, found the body "
                    f"{body.name[:40]} beside {people[0][0].name[:40]} and {people[1][0].name[:40]}"
                )
    times = np.unique(np.concatenate([body.frames for person in people for body in person]))
    if len(times) < MIN_FRAMES:
        raise DataError(f"{source}: expected at least {MIN_FRAMES} frames with a body, found {len(times)}")
    joints = np.zeros((len(people), len(times), len(NTU_25), 3), np.float32)
    for row, person in zip(joints, people, strict=True):
        # From the least motion to the most, so that the latter is what remains of a shared frame.
        for body in reversed(person):
            row[np.searchsorted(times, body.frames)] = body.joints
    return joints


def rows(file: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the lines that are not empty, split to words, and their numbers.

    Raises:
        DataError: the file is missing or larger than ``MAX_BYTES``, or a line is not UTF-8.
    """
    data = read_bounded(file, MAX_BYTES)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{file}, line {line}: expected UTF-8 text, found byte 0x{data[error.start]:02x}") from error
    for number, row in enumerate(text.split("\n"), start=1):
        words = row.split()
        if words:
            yield number, words


def _denoised(bodies: Sequence[Body], motions: dict[str, float], denoising: Denoising, source: Path) -> list[Body]:
    """Return the bodies that are kept; motions are set to those without noise."""
    kept = [body for body in bodies if len(body.frames) > denoising.frames]
    if not kept:
        raise DataError(
            f"{source}: expected a body in more than {denoising.frames} frames, "
            f"the longest of {len(bodies)} is in {max(len(body.frames) for body in bodies)}"
        )
    for body in list(kept):
        if len(kept) == 1:
            return kept
        width, height = np.ptp(body.joints[..., 0], axis=1), np.ptp(body.joints[..., 1], axis=1)
        good = width <= denoising.width * height
        if 1 - good.mean() >= denoising.noisy:
            kept.remove(body)
        elif not good.all():
            motions[body.name] = min(motions[body.name], _motion(body.joints[good]))
    if denoising.motion is not None:
        least, most = denoising.motion
        leader = max(kept, key=lambda body: motions[body.name])
        kept = [body for body in kept if body is leader or least <= motions[body.name] <= most]
    return kept


def _motion(joints: np.ndarray) -> float:
    return float(joints.reshape(-1, 3).var(axis=0, dtype=np.float64).sum())


def _joints(lines: _Lines) -> np.ndarray:
    """Read a body's joints in one frame, ``(25, 3)`` float32."""
    found = lines.count("a number of joints")
    if found != len(NTU_25):
        raise lines.error(f"expected {len(NTU_25)} joints, found {found}")
    places = np.empty((found, 3), np.float32)
    for joint, name in enumerate(NTU_25.joints):
        words = lines.values(_JOINT_VALUES, f"of the joint {joint + 1} ({name})")[:3]
        try:
            place = [float(word) for word in words]
        except ValueError:
            place = [math.nan]
        # Comparing so that NaN fails.
        if not all(abs(value) <= MAX_DISTANCE for value in place):
            raise lines.error(
                f"expected finite coordinates of the joint {joint + 1} ({name}) within {MAX_DISTANCE:g} m, "
                f"found {' '.join(words)[:60]!r}"
            )
        places[joint] = place
    return places


class _Lines:
    """The lines of a file, of which each is asked for by what it must hold."""

    def __init__(self, file: Path) -> None:
        self.file, self.number = file, 0
        self._rows = rows(file)

    def error(self, message: str) -> DataError:
        return DataError(f"{self.file}, line {self.number}: {message}")

    def values(self, count: int, what: str) -> list[str]:
        """Return the words of the next line, which are so many."""
        words = self._next(f"{count} values {what}")
        if len(words) != count:
            raise self.error(f"expected {count} values {what}, found {len(words)}")
        return words

    def count(self, what: str) -> int:
        """Return the number that the next line holds."""
        words = self._next(what)
        if len(words) != 1 or len(words[0]) > 9 or not (words[0].isascii() and words[0].isdecimal()):
            raise self.error(f"expected {what}, found {' '.join(words)[:40]!r}")
        return int(words[0])

    def end(self, what: str) -> None:
        """Check that no line follows."""
        for number, words in self._rows:
            raise DataError(f"{self.file}, line {number}: expected {what}, found {' '.join(words)[:40]!r}")

    def _next(self, what: str) -> list[str]:
        found = next(self._rows, None)
        if found is None:
            if not self.number:
                raise DataError(f"{self.file}: it is empty: expected {what}")
            raise self.error(f"it is cut off after this line: expected {what}")
        self.number, words = found
        return words
