"""Skeleton layouts as data: joints, the tree of bones, the published graphs, sides, frame rates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from gaitkeeper.errors import DataError

Pair = tuple[int, int]
Units = Literal["metres", "picture"]
"""Units of coordinates: metres, or shares of a picture's width and height."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The joints that a data set stores for a person, and how they hang together. Joints count from 0.

    There are two trees. ``edges`` are those that published networks build their graphs on, in the published order.
    ``bones`` are those along which distances stay the same while a body moves, by which lengths and angles are
    measured and joints are placed. They differ where a published edge spans two bones or joins two fingers.

    Args:
        name: unique name.
        joints: names.
        edges: pairs (joint, its neighbor nearer to ``center``), one for each joint but the center.
        center: the joint to which the edges lead.
        bones: pairs (joint, the joint that it carries), nearer to the root first.
        pairs: pairs (left joint, right joint).
        across: pairs (left joint, right joint) between which the body faces: hips, then shoulders.
        spine: the root or the joint nearest to it, and the next one up.
        feet: joints that rest on the floor in a stance, ankles and toes.
        coincident: groups of joints that are at one place in all frames, so that they can only move together.
        fps: frames a second as published.
        units: of coordinates as this package stores them.
        up: the coordinate that points up; down for a picture.

    Raises:
        ValueError: edges or bones are no tree over all joints, or bones are not in order.
    """

    name: str
    joints: tuple[str, ...]
    edges: tuple[Pair, ...]
    center: int
    bones: tuple[Pair, ...]
    pairs: tuple[Pair, ...]
    across: tuple[Pair, Pair]
    spine: Pair
    feet: tuple[int, ...]
    coincident: tuple[tuple[int, ...], ...] = ()
    fps: float
    units: Units = "metres"
    up: int = 1

    def __post_init__(self) -> None:
        everyone = set(range(len(self.joints)))
        if sorted({joint for joint, _ in self.edges} | {self.center}) != sorted(everyone) or (
            len(self.edges) != len(self.joints) - 1
        ):
            raise ValueError(f"the edges of {self.name} are no tree of its {len(self.joints)} joints")
        placed = {self.root}
        for joint, carried in self.bones:
            if joint not in placed or carried in placed:
                raise ValueError(f"the bones of {self.name} are no tree from its root: {joint} to {carried}")
            placed.add(carried)
        if placed != everyone:
            raise ValueError(f"the bones of {self.name} do not reach joints {sorted(everyone - placed)}")

    def __len__(self) -> int:
        return len(self.joints)

    @property
    def root(self) -> int:
        """The joint that no bone carries."""
        return self.bones[0][0]

    @cached_property
    def parents(self) -> tuple[int, ...]:
        """For each joint the one that carries it; the root carries itself."""
        found = [self.root] * len(self.joints)
        for joint, carried in self.bones:
            found[carried] = joint
        return tuple(found)

    @cached_property
    def mirrored(self) -> tuple[int, ...]:
        """For each joint the one of the other side, or itself."""
        found = list(range(len(self.joints)))
        for left, right in self.pairs:
            found[left], found[right] = right, left
        return tuple(found)

    @cached_property
    def places(self) -> tuple[int, ...]:
        """For each joint the one that stands for its place: itself, or of coincident joints that nearest the root."""
        order = [self.root, *(carried for _, carried in self.bones)]
        found = list(range(len(self.joints)))
        for group in self.coincident:
            for joint in group:
                found[joint] = min(group, key=order.index)
        return tuple(found)

    @cached_property
    def distinct(self) -> tuple[int, ...]:
        """Joints that stand for a place: all, or one of each group of coincident joints."""
        return tuple(joint for joint, place in enumerate(self.places) if joint == place)

    @cached_property
    def angles(self) -> tuple[tuple[int, int, int], ...]:
        """Triples (joint, joint at which the angle is, joint): the bone that carries a joint with each that it bears.

        At the root, which nothing carries, its first bone is taken with each of the others. Coincident joints are
        one.
        """
        neighbors: dict[int, list[int]] = {joint: [] for joint in self.distinct}
        for joint, carried in self.bones:
            start, end = self.places[joint], self.places[carried]
            if start != end:
                neighbors[start].append(end)
                neighbors[end].insert(0, start)
        return tuple((around[0], joint, other) for joint, around in neighbors.items() for other in around[1:])

    def index(self, joint: str) -> int:
        """Return a joint's number.

        Raises:
            DataError: there is no such joint.
        """
        if joint not in self.joints:
            raise DataError(f"the layout {self.name} has no joint {joint!r}; it has {', '.join(self.joints)}")
        return self.joints.index(joint)


def outward(edges: Sequence[Pair], root: int) -> tuple[Pair, ...]:
    """Return the edges of a tree as pairs (joint, joint farther from the root), nearer ones first."""
    found: list[Pair] = []
    reached, front = {root}, [root]
    while front:
        joint = front.pop(0)
        for edge in edges:
            if joint in edge:
                other = edge[1] if edge[0] == joint else edge[0]
                if other not in reached:
                    found.append((joint, other))
                    reached.add(other)
                    front.append(other)
    return tuple(found)


def _from_one(*pairs: Pair) -> tuple[Pair, ...]:
    return tuple((first - 1, second - 1) for first, second in pairs)


_NTU_BODY = _from_one(
    *((1, 2), (2, 21), (3, 21), (4, 3), (5, 21), (6, 5), (7, 6), (8, 7), (9, 21), (10, 9), (11, 10), (12, 11)),
    *((13, 1), (14, 13), (15, 14), (16, 15), (17, 1), (18, 17), (19, 18), (20, 19)),
)
_NTU_THUMBS = _from_one((22, 23), (23, 8), (24, 25), (25, 12))
_NTU_HANDS = _from_one((22, 8), (23, 8), (24, 12), (25, 12))
_NTU_JOINTS = (
    *("spine base", "spine mid", "neck", "head"),
    *("left shoulder", "left elbow", "left wrist", "left hand"),
    *("right shoulder", "right elbow", "right wrist", "right hand"),
    *("left hip", "left knee", "left ankle", "left foot", "right hip", "right knee", "right ankle", "right foot"),
    *("spine shoulder", "left hand tip", "left thumb", "right hand tip", "right thumb"),
)


def _ntu(name: str, hands: tuple[Pair, ...]) -> Layout:
    return Layout(
        name=name,
        joints=_NTU_JOINTS,
        edges=_NTU_BODY + hands,
        center=20,
        bones=outward(_NTU_BODY + _NTU_HANDS, 0),
        pairs=((4, 8), (5, 9), (6, 10), (7, 11), (12, 16), (13, 17), (14, 18), (15, 19), (21, 23), (22, 24)),
        across=((12, 16), (4, 8)),
        spine=(0, 1),
        feet=(14, 15, 18, 19),
        fps=30.0,
    )


NTU_25 = _ntu("ntu-25", _NTU_THUMBS)
"""NTU RGB+D's joints (Kinect v2); edges hang the hand tips on the thumbs, as the ST-GCN family has them.

Bones hang both on the hand: how far the tip is from the thumb changes as a hand opens.
"""

NTU_25_HANDS = _ntu("ntu-25-hands", _NTU_HANDS)
"""NTU RGB+D's joints; edges hang hand tips and thumbs on the hands, as pyskl, mmaction2 and DGNN have them."""

_HDM05_JOINTS = (
    *("lhipjoint", "lfemur", "ltibia", "lfoot", "ltoes", "rhipjoint", "rfemur", "rtibia", "rfoot", "rtoes"),
    *("root", "upperback", "thorax", "lowerneck", "upperneck"),
    *("lhumerus", "lradius", "lwrist", "lfingers", "lthumb", "rhumerus", "rradius", "rwrist", "rfingers", "rthumb"),
)
_HDM05_PARENTS = (10, 0, 1, 2, 3, 10, 5, 6, 7, 8, 10, 10, 11, 12, 13, 13, 15, 16, 17, 18, 13, 20, 21, 22, 23)
_HDM05_EDGES = tuple((joint, parent) for joint, parent in enumerate(_HDM05_PARENTS) if joint != parent)
_HDM05_RIGID = (
    *(edge for edge in _HDM05_EDGES if edge[0] not in (18, 19, 23, 24)),
    *((19, 17), (18, 19), (24, 22), (23, 24)),
)


def _hdm05(name: str, coincident: tuple[tuple[int, ...], ...]) -> Layout:
    return Layout(
        name=name,
        joints=_HDM05_JOINTS,
        edges=_HDM05_EDGES,
        center=10,
        bones=outward(_HDM05_RIGID, 10),
        pairs=tuple((left, left + 5) for left in (*range(5), *range(15, 20))),
        across=((1, 6), (15, 20)),
        spine=(10, 11),
        feet=(3, 4, 8, 9),
        coincident=coincident,
        fps=120.0,
    )


HDM05_25 = _hdm05("hdm05-25", ((0, 5, 10),))
"""HDM05's joints as used in SMART, each the start of the bone it is named after, on the actors' own skeletons.

The published edge from wrist to fingers spans two bones; bones go from the wrist to the thumb's base, which is the
hand's, and from there to the fingers.
"""

HDM05_25_RETARGETED = _hdm05("hdm05-25-retargeted", ((0, 5, 10), (12, 13), (17, 19), (22, 24)))
"""The same joints where all actors were put on one skeleton, as SMART's files are; more of them coincide."""

_MHAD_ARM = ("shoulder blade", "shoulder", "upper arm roll", "elbow", "forearm roll", "wrist", "hand end")
_MHAD_LEG = ("hip", "thigh roll", "knee", "shank roll", "ankle", "toes", "toes end")
_MHAD_BONES = (
    *((start, start + 1) for start in range(6)),
    *((3, 7), *((start, start + 1) for start in range(7, 13))),
    *((3, 14), *((start, start + 1) for start in range(14, 20))),
    *((0, 21), *((start, start + 1) for start in range(21, 27))),
    *((0, 28), *((start, start + 1) for start in range(28, 34))),
)

MHAD_35 = Layout(
    name="mhad-35",
    joints=(
        *("hips", "spine", "spine 1", "spine 2", "neck", "head", "head end"),
        *(f"{side} {joint}" for part in (_MHAD_ARM, _MHAD_LEG) for side in ("right", "left") for joint in part),
    ),
    edges=tuple((carried, joint) for joint, carried in _MHAD_BONES),
    center=0,
    bones=_MHAD_BONES,
    pairs=tuple((right + 7, right) for right in (*range(7, 14), *range(21, 28))),
    across=((28, 21), (15, 8)),
    spine=(0, 1),
    feet=(25, 26, 32, 33),
    fps=480.0,
)
"""Berkeley MHAD's skeleton: the 30 joints of its BVH files and their five end sites, in the order of the files."""

_KINETICS_EDGES = (
    *((4, 3), (3, 2), (7, 6), (6, 5), (13, 12), (12, 11), (10, 9), (9, 8), (11, 5), (8, 2), (5, 1), (2, 1)),
    *((0, 1), (15, 0), (14, 0), (17, 15), (16, 14)),
)

KINETICS_18 = Layout(
    name="kinetics-18",
    joints=(
        *("nose", "neck", "right shoulder", "right elbow", "right wrist", "left shoulder", "left elbow", "left wrist"),
        *("right hip", "right knee", "right ankle", "left hip", "left knee", "left ankle"),
        *("right eye", "left eye", "right ear", "left ear"),
    ),
    edges=_KINETICS_EDGES,
    center=1,
    bones=outward(_KINETICS_EDGES, 1),
    pairs=((5, 2), (6, 3), (7, 4), (11, 8), (12, 9), (13, 10), (15, 14), (17, 16)),
    across=((11, 8), (5, 2)),
    spine=(1, 0),
    feet=(10, 13),
    fps=30.0,
    units="picture",
)
"""Kinetics-skeleton: OpenPose's 18 points in the picture. Lengths in a picture say nothing about a body's bones."""

_UCLA_EDGES = _from_one(
    *((1, 2), (2, 3), (4, 3), (5, 3), (6, 5), (7, 6), (8, 7), (9, 3), (10, 9), (11, 10), (12, 11)),
    *((13, 1), (14, 13), (15, 14), (16, 15), (17, 1), (18, 17), (19, 18), (20, 19)),
)

UCLA_20 = Layout(
    name="ucla-20",
    joints=("hip center", "spine", "shoulder center", *_NTU_JOINTS[3:20]),
    edges=_UCLA_EDGES,
    center=2,
    bones=outward(_UCLA_EDGES, 0),
    pairs=((4, 8), (5, 9), (6, 10), (7, 11), (12, 16), (13, 17), (14, 18), (15, 19)),
    across=((12, 16), (4, 8)),
    spine=(0, 1),
    feet=(14, 15, 18, 19),
    fps=30.0,
)
"""Northwestern-UCLA's joints (Kinect v1)."""

LAYOUTS = {
    layout.name: layout
    for layout in (NTU_25, NTU_25_HANDS, HDM05_25, HDM05_25_RETARGETED, MHAD_35, KINETICS_18, UCLA_20)
}
"""All layouts by name."""
