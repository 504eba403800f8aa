"""Motion capture in BVH: a skeleton and one movement in a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from gaitkeeper.datasets.mocap import MAX_PLACES, Capture, Chain, numbers, text_lines
from gaitkeeper.errors import DataError


def read_bvh(file: Path, *, unit: float) -> Capture:
    """Read skeleton and movement of a BVH file.

    A joint turns by the product of its channels' turns in the order of the file. Where the root has channels of
    position these are its place, and its offset does not count. Offsets of zero are usual: such joints coincide.

    Args:
        file: the recording.
        unit: metres that a length of 1 stands for, which files do not say: 0.01 in many, 0.0254 / 0.45 in those
            made of HDM05's ASF files.

    Raises:
        DataError: naming file and line: it is no BVH file, is cut off, is not UTF-8, has numbers that are not
            finite, or a skeleton of no extent or with bones that change their length.

    Reference:
        Meredith and Maddock, "Motion capture file formats explained", University of Sheffield, 2001.
    """
    lines = text_lines(file)
    names, parents, offsets, channels = _hierarchy(file, lines)
    frames, seconds = (_header(file, lines, key) for key in ("Frames:", "Frame Time:"))
    width = sum(map(len, channels))
    if frames != int(frames) or frames < 1 or seconds <= 0:
        raise DataError(f"{file}: expected frames and a frame time above 0, found {frames:g} of {seconds:g} s")
    if frames * len(names) > MAX_PLACES:
        raise DataError(f"{file}: expected at most {MAX_PLACES // len(names)} frames, found {frames:g}")
    rows = [numbers(file, number, line.split(), width) for number, line in lines]
    if len(rows) != frames:
        why = "it is cut off: " if len(rows) < frames else ""
        raise DataError(f"{file}: {why}expected {frames:g} frames, found {len(rows)}")
    values = np.array(rows)
    root = np.tile(offsets[0], (len(values), 1))
    angles, column = [], 0
    for listed in channels:
        turning = [column + i for i, channel in enumerate(listed) if channel.endswith("rotation")]
        for i, channel in enumerate(listed):
            if channel.endswith("position"):
                root[:, "xyz".index(channel[0])] = values[:, column + i]
        angles.append(np.deg2rad(values[:, turning]))
        column += len(listed)
    # Frame times are rounded: 0.008333 s is meant to be 1/120 s.
    rate = round(1 / seconds)
    return Capture(
        chain=Chain(
            names=tuple(names),
            parents=tuple(parents),
            offsets=np.stack(offsets) * unit,
            turns=tuple("".join(c[0] for c in listed if c.endswith("rotation")) for listed in channels),
            frames=np.tile(np.eye(3), (len(names), 1, 1)),
            first_outermost=True,
            unit=unit,
        ),
        root=root * unit,
        angles=tuple(angles),
        fps=float(rate) if rate and abs(1 / rate - seconds) < 1e-6 else 1 / seconds,
    )


def _hierarchy(
    file: Path, lines: Iterator[tuple[int, str]]
) -> tuple[list[str], list[int], list[np.ndarray], list[list[str]]]:
    """Read up to MOTION: names, parents, offsets and channels (in small letters) of the joints."""
    names: list[str] = []
    parents: list[int] = []
    offsets: list[np.ndarray | None] = []
    channels: list[list[str]] = []
    inside: list[int] = []
    opened = 0
    number, line = next(lines, (1, ""))
    if line.split() != ["HIERARCHY"]:
        raise DataError(f"{file}, line {number}: expected a BVH file (HIERARCHY), found {line[:40]!r}")
    for number, line in lines:
        words = line.split()
        if words == ["MOTION"]:
            break
        opens = words[-1] == "{"
        words = words[:-1] if opens else words
        if words and words[0] in {"ROOT", "JOINT", "End"}:
            if (words[0] == "ROOT") == bool(names) or (names and not inside) or len(words) < 2:
                raise DataError(f"{file}, line {number}: expected one tree of joints, found {line[:40]!r}")
            parent = inside[-1] if inside else -1
            names.append(f"{names[parent]} end" if words[0] == "End" else " ".join(words[1:]))
            parents.append(parent)
            offsets.append(None)
            channels.append([])
        elif words and words[0] == "OFFSET" and inside:
            offsets[inside[-1]] = np.array(numbers(file, number, words[1:], 3))
        elif words and words[0] == "CHANNELS" and inside:
            channels[inside[-1]] = _channels(file, number, words[1:], root=inside[-1] == 0)
        elif words == ["}"] and inside:
            inside.pop()
        elif words:
            raise DataError(f"{file}, line {number}: expected a joint of the hierarchy, found {line[:40]!r}")
        if opens:
            opened += 1
            if opened != len(names):
                raise DataError(f"{file}, line {number}: expected one pair of braces for each joint, found another")
            inside.append(len(names) - 1)
    else:
        raise DataError(f"{file}: it is cut off: expected MOTION after the hierarchy, found none")
    if inside or not names:
        raise DataError(
            f"{file}, line {number}: expected the hierarchy to end before MOTION, {len(inside)} joints are open"
        )
    found = []
    for name, offset in zip(names, offsets, strict=True):
        if offset is None:
            raise DataError(f"{file}: expected an OFFSET of every joint, {name} has none")
        found.append(offset)
    if not np.any(found[1:]):
        raise DataError(f"{file}: expected a skeleton, all its bones have the length zero")
    return names, parents, found, channels


def _channels(file: Path, number: int, words: Sequence[str], *, root: bool) -> list[str]:
    listed = [word.lower() for word in words[1:]]
    kinds = ("rotation", "position")
    known = all(word[:1] in "xyz" and word[1:] in kinds for word in listed) and len(set(listed)) == len(listed)
    if not words or words[0] != str(len(listed)) or not known:
        raise DataError(
            f"{file}, line {number}: expected a number and so many channels, found {' '.join(words)[:60]!r}"
        )
    if not root and any(word.endswith("position") for word in listed):
        raise DataError(f"{file}, line {number}: expected turns only, found positions: bones must keep their length")
    return listed


def _header(file: Path, lines: Iterator[tuple[int, str]], key: str) -> float:
    number, line = next(lines, (0, ""))
    if not line.startswith(key):
        raise DataError(f"{file}: expected {key!r} after MOTION, found {line[:40]!r}")
    return numbers(file, number, line[len(key) :].split(), 1)[0]
