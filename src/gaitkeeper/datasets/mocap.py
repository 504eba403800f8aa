"""Motion capture as text: ASF/AMC and BVH, with the kinematic chain that they describe."""

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

INCH = 0.0254


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
            (length,) = _numbers(file, number, words[1:], 1)
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
    bones = _asf_bones(file, sections["bonedata"], radians)
    children = _asf_hierarchy(file, sections["hierarchy"], bones)
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
    for number, line in _lines(file):
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
            rows[-1][place] = _numbers(file, number, words[1:], place.stop - place.start)
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
    lines = _lines(file)
    names, parents, offsets, channels = _bvh_hierarchy(file, lines)
    frames, seconds = (_bvh_header(file, lines, key) for key in ("Frames:", "Frame Time:"))
    width = sum(map(len, channels))
    if frames != int(frames) or frames < 1 or seconds <= 0:
        raise DataError(f"{file}: expected frames and a frame time above 0, found {frames:g} of {seconds:g} s")
    if frames * len(names) > MAX_PLACES:
        raise DataError(f"{file}: expected at most {MAX_PLACES // len(names)} frames, found {frames:g}")
    rows = [_numbers(file, number, line.split(), width) for number, line in lines]
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


def _raw_lines(file: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that are neither empty nor comments, which may be in any encoding, and their numbers."""
    for number, raw in enumerate(read_bounded(file, MAX_BYTES).splitlines(), start=1):
        line = raw.strip()
        if line and not line.startswith(b"#"):
            yield number, line


def _text(file: Path, number: int, line: bytes) -> str:
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{file}, line {number}: expected UTF-8 text, found byte 0x{line[error.start]:02x}") from error


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    for number, line in _raw_lines(file):
        yield number, _text(file, number, line)


def _numbers(file: Path, number: int, words: Sequence[str], count: int) -> list[float]:
    """Return exactly so many finite numbers."""
    if len(words) != count:
        raise DataError(f"{file}, line {number}: expected {count} numbers, found {len(words)}")
    try:
        values = list(map(float, words))
    except ValueError:
        values = [math.nan]
    if not all(map(math.isfinite, values)):
        raise DataError(f"{file}, line {number}: expected finite numbers, found {' '.join(words)[:60]!r}")
    return values


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
    for number, line in _raw_lines(file):
        if line.startswith(b":"):
            name = _text(file, number, line)[1:].split(maxsplit=1)[0].lower() if len(line) > 1 else ""
            found.setdefault(name, [])
        elif name and name != "documentation":
            found[name].append((number, _text(file, number, line).split()))
        elif not name:
            _text(file, number, line)
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


def _asf_bones(file: Path, lines: _Lines, radians: float) -> dict[str, _Bone]:
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
            bone = _asf_bone(file, number, block, radians)
            if bone.name in found or bone.name == "root":
                raise DataError(f"{file}, line {number}: found a second bone {bone.name}")
            found[bone.name] = bone
            block = None
        else:
            block[words[0]] = number, words[1:]
    if block is not None:
        raise DataError(f"{file}: it is cut off: the bone {' '.join(block.get('name', (0, ['last']))[1])} has no end")
    return found


def _asf_bone(file: Path, end: int, block: dict[str, tuple[int, list[str]]], radians: float) -> _Bone:
    for key in ("name", "direction", "length", "axis"):
        if not block.get(key, (0, []))[1]:
            raise DataError(f"{file}, line {end}: expected the bone's {key}, found none")
    name = block["name"][1][0]
    number, words = block["direction"]
    direction = np.array(_numbers(file, number, words, 3))
    number, words = block["length"]
    (length,) = _numbers(file, number, words, 1)
    if length <= 0 or not direction.any():
        raise DataError(
            f"{file}, line {number}: expected a length above 0 of the bone {name} and a direction, "
            f"found {length:g} along {direction.tolist()}"
        )
    number, words = block["axis"]
    order = words[-1].lower()
    if sorted(order) != ["x", "y", "z"]:
        raise DataError(f"{file}, line {number}: expected three angles and their order (XYZ), found {words[-1][:20]!r}")
    axis = np.array(_numbers(file, number, words[:-1], 3)) * radians
    number, words = block.get("dof", (end, []))
    turns = "".join(word[1:].lower() for word in words)
    if any(word.lower() not in {"rx", "ry", "rz"} for word in words) or len(set(turns)) != len(turns):
        raise DataError(f"{file}, line {number}: expected turns rx, ry, rz of the bone {name}, found {' '.join(words)}")
    return _Bone(name=name, way=length * direction / np.linalg.norm(direction), frame=_turn(order, axis), turns=turns)


def _turn(order: str, angles: np.ndarray) -> np.ndarray:
    """Return the turn by angles about fixed axes, the first applied first."""
    from scipy.spatial.transform import Rotation

    return np.asarray(Rotation.from_euler(order, angles).as_matrix())


def _asf_hierarchy(file: Path, lines: _Lines, bones: dict[str, _Bone]) -> dict[str, list[str]]:
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


def _bvh_hierarchy(
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
            offsets[inside[-1]] = np.array(_numbers(file, number, words[1:], 3))
        elif words and words[0] == "CHANNELS" and inside:
            channels[inside[-1]] = _bvh_channels(file, number, words[1:], root=inside[-1] == 0)
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


def _bvh_channels(file: Path, number: int, words: Sequence[str], *, root: bool) -> list[str]:
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


def _bvh_header(file: Path, lines: Iterator[tuple[int, str]], key: str) -> float:
    number, line = next(lines, (0, ""))
    if not line.startswith(key):
        raise DataError(f"{file}: expected {key!r} after MOTION, found {line[:40]!r}")
    return _numbers(file, number, line[len(key) :].split(), 1)[0]
