"""Motion capture in ASF/AMC, the format of Acclaim: a skeleton and movements in files of their own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gaitkeeper.datasets.mocap import MAX_PLACES, Capture, Chain, decoded, numbers, raw_lines, text_lines
from gaitkeeper.errors import DataError

INCH = 0.0254
"""An inch in metres."""


def find_asf(amc: Path) -> Path:
    """Return the skeleton of an AMC file: in its folder, the one whose name is the beginning of the movement's.

    ``HDM_bk_squat1Reps_003_120.amc`` belongs to ``HDM_bk.asf`` and ``02_01.amc`` to ``02.asf``.

    Raises:
        DataError: there is none.
    """
    there = sorted(amc.parent.iterdir()) if amc.parent.is_dir() else []
    found = [file for file in there if file.suffix.lower() == ".asf"]
    named = [file for file in found if amc.stem == file.stem or amc.stem.startswith(f"{file.stem}_")]
    if not named:
        others = ", ".join(file.name for file in found[:6]) or "none"
        raise DataError(f"{amc}: expected its skeleton beside it, an .asf file with the same beginning; found {others}")
    return max(named, key=lambda file: len(file.stem))


def read_asf(file: Path) -> Chain:
    """Read the skeleton of an ASF file.

    Lengths are in units of which ``length`` make an inch. With angles a about x, y and z, a bone turns by
    C E(a) C^-1 in the frame of the bone before it, where C = E(axis) and E(a) = Rz Ry Rx.

    Raises:
        DataError: naming file and line: it is no ASF file, is cut off, is not UTF-8 outside of comments and
            documentation, or has numbers that are not finite, bones without length, or degrees of freedom that are
            no turns.

    Reference:
        The format of Acclaim as HDM05 and CMU use it; Müller et al., "Documentation Mocap Database HDM05",
        technical report CG-2007-2, 2007.
    """
    sections = _sections(file)
    unit, radians = INCH, math.pi / 180
    for number, words in sections.get("units", []):
        if words[0] == "length":
            (length,) = numbers(file, number, words[1:], 1)
            if length <= 0:
                raise DataError(f"{file}, line {number}: expected a length above 0, found {length:g}")
            unit = INCH / length
        if words[0] == "angle" and words[1:] == ["rad"]:
            radians = 1.0
    for number, words in sections["root"]:
        expected = {"order": "TX TY TZ RX RY RZ", "axis": "XYZ", "position": "0 0 0", "orientation": "0 0 0"}
        if words[0] in expected and not _same(words[1:], expected[words[0]].split()):
            raise DataError(
                f"{file}, line {number}: expected the root's {words[0]} {expected[words[0]]}, "
                f"found {' '.join(words[1:])[:60]}"
            )
    bones = _bones(file, sections["bonedata"], radians)
    children = _hierarchy(file, sections["hierarchy"], bones)
    names, parents, turns = ["root"], [-1], ["xyz"]
    offsets, frames = [np.zeros(3)], [np.eye(3)]
    waiting = [(0, name) for name in children["root"]]
    while waiting:
        parent, name = waiting.pop(0)
        joint = len(names)
        names.append(name)
        parents.append(parent)
        offsets.append(bones[names[parent]].way if parent else np.zeros(3))
        turns.append(bones[name].turns)
        frames.append(bones[name].frame)
        waiting = [(joint, child) for child in children.get(name, [])] + waiting
    for joint in range(1, len(names)):
        if joint not in parents:
            names.append(f"{names[joint]} end")
            parents.append(joint)
            offsets.append(bones[names[joint]].way)
            turns.append("")
            frames.append(np.eye(3))
    return Chain(
        names=tuple(names),
        parents=tuple(parents),
        offsets=np.stack(offsets) * unit,
        turns=tuple(turns),
        frames=np.stack(frames),
        first_outermost=False,
        unit=unit,
    )


def read_amc(file: Path, chain: Chain | None = None, *, fps: float = 120.0) -> Capture:
    """Read the movement of an AMC file.

    Args:
        file: the movement.
        chain: its skeleton; None reads that of :func:`find_asf`.
        fps: frames a second, which files do not say; HDM05 and CMU have 120.

    Raises:
        DataError: naming file and line: there is no skeleton, or the movement does not fit it; it is cut off, is not
            UTF-8 outside of comments, or has numbers that are not finite.
    """
    if chain is None:
        chain = read_asf(find_asf(file))
    columns: dict[str, slice] = {}
    width = 0
    for name, turns in zip(chain.names, chain.turns, strict=True):
        count = len(turns) + (3 if name == "root" else 0)
        if count:
            columns[name] = slice(width, width + count)
            width += count
    rows: list[list[float]] = []
    missing: set[str] = set()
    radians = math.pi / 180
    for number, line in text_lines(file):
        words = line.split()
        name = words[0]
        if name.startswith(":"):
            radians = 1.0 if name.lower() == ":radians" else radians
        elif len(words) == 1 and name.isdecimal():
            if missing:
                raise DataError(f"{file}, line {number}: frame {len(rows)} ends without {_some(missing)}")
            if int(name) != len(rows) + 1:
                raise DataError(f"{file}, line {number}: expected frame {len(rows) + 1}, found {name[:20]}")
            if len(rows) * len(chain.names) > MAX_PLACES:
                raise DataError(f"{file}: expected at most {MAX_PLACES // len(chain.names)} frames, found more")
            rows.append([0.0] * width)
            missing = set(columns)
        else:
            if name not in missing:
                why = "twice in a frame" if name in columns and rows else "which its skeleton does not move"
                raise DataError(
                    f"{file}, line {number}: found {name[:40]!r}, {why if rows else 'expected frame 1 before it'}"
                )
            place = columns[name]
            rows[-1][place] = numbers(file, number, words[1:], place.stop - place.start)
            missing.remove(name)
    if not rows:
        raise DataError(f"{file}: expected frames, found none")
    if missing:
        raise DataError(f"{file}: it is cut off: frame {len(rows)} ends without {_some(missing)}")
    values = np.array(rows)
    root = columns["root"]
    columns["root"] = slice(root.start + 3, root.stop)
    return Capture(
        chain=chain,
        root=values[:, root.start : root.start + 3] * chain.unit,
        angles=tuple(values[:, columns.get(name, slice(0, 0))] * radians for name in chain.names),
        fps=fps,
    )


def _some(names: set[str]) -> str:
    listed = sorted(names)
    return ", ".join(listed[:3]) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")


def _same(words: Sequence[str], expected: Sequence[str]) -> bool:
    return len(words) == len(expected) and all(
        word.upper() == wanted or (wanted == "0" and word.strip("+-0.") == "" and word.strip("+-.") != "")
        for word, wanted in zip(words, expected, strict=True)
    )


_Lines = list[tuple[int, list[str]]]


def _sections(file: Path) -> dict[str, _Lines]:
    """Return the lines of an ASF file by section, split to words; documentation, in any encoding, is left out."""
    found: dict[str, _Lines] = {}
    name = ""
    for number, line in raw_lines(file):
        if line.startswith(b":"):
            name = decoded(file, number, line)[1:].split(maxsplit=1)[0].lower() if len(line) > 1 else ""
            found.setdefault(name, [])
        elif name and name != "documentation":
            found[name].append((number, decoded(file, number, line).split()))
        elif not name:
            decoded(file, number, line)
            raise DataError(f"{file}, line {number}: expected an ASF file's section (:units), found {line[:40]!r}")
    for name in ("root", "bonedata", "hierarchy"):
        if not found.get(name):
            raise DataError(f"{file}: expected an ASF file with a section :{name}, found none; it may be cut off")
    return found


@dataclass(frozen=True, kw_only=True)
class _Bone:
    """A bone of an ASF file: its way from start to end in the file's units, axes, and turns."""

    name: str
    way: np.ndarray
    frame: np.ndarray
    turns: str


def _bones(file: Path, lines: _Lines, radians: float) -> dict[str, _Bone]:
    found: dict[str, _Bone] = {}
    block: dict[str, tuple[int, list[str]]] | None = None
    for number, words in lines:
        if words[0] == "begin" and block is None:
            block = {}
        elif block is None or words[0] == "begin":
            raise DataError(
                f"{file}, line {number}: expected {'begin' if block is None else 'end'}, found {words[0]!r}"
            )
        elif words[0] == "end":
            bone = _bone(file, number, block, radians)
            if bone.name in found or bone.name == "root":
                raise DataError(f"{file}, line {number}: found a second bone {bone.name}")
            found[bone.name] = bone
            block = None
        else:
            block[words[0]] = number, words[1:]
    if block is not None:
        raise DataError(f"{file}: it is cut off: the bone {' '.join(block.get('name', (0, ['last']))[1])} has no end")
    return found


def _bone(file: Path, end: int, block: dict[str, tuple[int, list[str]]], radians: float) -> _Bone:
    for key in ("name", "direction", "length", "axis"):
        if not block.get(key, (0, []))[1]:
            raise DataError(f"{file}, line {end}: expected the bone's {key}, found none")
    name = block["name"][1][0]
    number, words = block["direction"]
    direction = np.array(numbers(file, number, words, 3))
    number, words = block["length"]
    (length,) = numbers(file, number, words, 1)
    if length <= 0 or not direction.any():
        raise DataError(
            f"{file}, line {number}: expected a length above 0 of the bone {name} and a direction, "
            f"found {length:g} along {direction.tolist()}"
        )
    number, words = block["axis"]
    order = words[-1].lower()
    if sorted(order) != ["x", "y", "z"]:
        raise DataError(f"{file}, line {number}: expected three angles and their order (XYZ), found {words[-1][:20]!r}")
    axis = np.array(numbers(file, number, words[:-1], 3)) * radians
    number, words = block.get("dof", (end, []))
    turns = "".join(word[1:].lower() for word in words)
    if any(word.lower() not in {"rx", "ry", "rz"} for word in words) or len(set(turns)) != len(turns):
        raise DataError(f"{file}, line {number}: expected turns rx, ry, rz of the bone {name}, found {' '.join(words)}")
    return _Bone(name=name, way=length * direction / np.linalg.norm(direction), frame=_turn(order, axis), turns=turns)


def _turn(order: str, angles: np.ndarray) -> np.ndarray:
    """Return the turn by angles about fixed axes, the first applied first."""
    from scipy.spatial.transform import Rotation

    return np.asarray(Rotation.from_euler(order, angles).as_matrix())


def _hierarchy(file: Path, lines: _Lines, bones: dict[str, _Bone]) -> dict[str, list[str]]:
    """Return the bones that each bone carries."""
    children: dict[str, list[str]] = {"root": []}
    placed = {"root"}
    if lines[-1][1] != ["end"]:
        raise DataError(f"{file}: it is cut off: the hierarchy has no end")
    for number, words in lines:
        if words not in (["begin"], ["end"]):
            for name in words:
                if name != "root" and name not in bones:
                    raise DataError(f"{file}, line {number}: expected a bone, found {name[:40]!r}")
            for name in words[1:]:
                if name in placed or words[0] not in placed:
                    raise DataError(f"{file}, line {number}: the hierarchy is no tree at {words[0]} {name}")
                placed.add(name)
                children.setdefault(words[0], []).append(name)
    if placed != {"root", *bones}:
        raise DataError(f"{file}: the hierarchy lacks {_some(set(bones) - placed)}")
    return children
