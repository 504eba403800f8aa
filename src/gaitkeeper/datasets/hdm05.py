"""HDM05: motion capture of five actors, in 11 or 65 classes, split by actor."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gaitkeeper.datasets.asf import find_asf, read_amc, read_asf
from gaitkeeper.datasets.mocap import Chain
from gaitkeeper.datasets.stored import MIN_FRAMES, Split, check_folder, load_each
from gaitkeeper.errors import DataError
from gaitkeeper.motion.skeletons import HDM05_25

CLASSES_65: Mapping[str, tuple[str, ...]] = {
    "cartwheel": ("cartwheelLHandStart1Reps", "cartwheelLHandStart2Reps", "cartwheelRHandStart1Reps"),
    "clap": ("clap1Reps", "clap5Reps"),
    "clapAH": ("clapAboveHead1Reps", "clapAboveHead5Reps"),
    "climbD": ("staircaseDown3Rstart",),
    "climbU": ("staircaseUp3Rstart",),
    "depositFR": ("depositFloorR",),
    "depositHR": ("depositHighR",),
    "depositLR": ("depositLowR",),
    "depositMR": ("depositMiddleR",),
    "elbow_to_knee": (
        *("elbowToKnee1RepsLelbowStart", "elbowToKnee1RepsRelbowStart"),
        *("elbowToKnee3RepsLelbowStart", "elbowToKnee3RepsRelbowStart"),
    ),
    "grabFR": ("grabFloorR",),
    "grabHR": ("grabHighR",),
    "grabLR": ("grabLowR",),
    "grabMR": ("grabMiddleR",),
    "hit": ("hitRHandHead",),
    "hop": ("hopBothLegs1hops", "hopBothLegs2hops", "hopBothLegs3hops"),
    "jogLC": ("jogLeftCircle4StepsRstart", "jogLeftCircle6StepsRstart"),
    "jogOP": (
        *("jogOnPlaceStartAir2StepsLStart", "jogOnPlaceStartAir2StepsRStart"),
        *("jogOnPlaceStartAir4StepsLStart", "jogOnPlaceStartFloor2StepsRStart"),
        *("jogOnPlaceStartFloor4StepsRStart",),
    ),
    "jogRC": (
        *("jogRightCircle4StepsLstart", "jogRightCircle4StepsRstart"),
        *("jogRightCircle6StepsLstart", "jogRightCircle6StepsRstart"),
    ),
    "jumpD": ("jumpDown",),
    "jumpJ": ("jumpingJack1Reps", "jumpingJack3Reps"),
    "kickLF": ("kickLFront1Reps", "kickLFront2Reps"),
    "kickLS": ("kickLSide1Reps", "kickLSide2Reps"),
    "kickRF": ("kickRFront1Reps", "kickRFront2Reps"),
    "kickRS": ("kickRSide1Reps", "kickRSide2Reps"),
    "lhop": ("hopLLeg1hops", "hopLLeg2hops", "hopLLeg3hops"),
    "lie_down": ("lieDownFloor",),
    "punchLF": ("punchLFront1Reps", "punchLFront2Reps"),
    "punchLS": ("punchLSide1Reps", "punchLSide2Reps"),
    "punchRF": ("punchRFront1Reps", "punchRFront2Reps"),
    "punchRS": ("punchRSide1Reps", "punchRSide2Reps"),
    "rhop": ("hopRLeg1hops", "hopRLeg2hops", "hopRLeg3hops"),
    "rotate_armsBB": ("rotateArmsBothBackward1Reps", "rotateArmsBothBackward3Reps"),
    "rotate_armsBF": ("rotateArmsBothForward1Reps", "rotateArmsBothForward3Reps"),
    "rotate_armsLB": ("rotateArmsLBackward1Reps", "rotateArmsLBackward3Reps"),
    "rotate_armsLF": ("rotateArmsLForward1Reps", "rotateArmsLForward3Reps"),
    "rotate_armsRB": ("rotateArmsRBackward1Reps", "rotateArmsRBackward3Reps"),
    "rotate_armsRF": ("rotateArmsRForward1Reps", "rotateArmsRForward3Reps"),
    "run": (
        *("runOnPlaceStartAir2StepsLStart", "runOnPlaceStartAir2StepsRStart"),
        *("runOnPlaceStartAir4StepsLStart", "runOnPlaceStartFloor2StepsRStart"),
        *("runOnPlaceStartFloor4StepsRStart",),
    ),
    "shuffle": ("shuffle2StepsLStart", "shuffle2StepsRStart", "shuffle4StepsLStart", "shuffle4StepsRStart"),
    "sit_downC": ("sitDownChair",),
    "sit_downF": ("sitDownFloor",),
    "sit_downK": ("sitDownKneelTieShoes",),
    "sit_downT": ("sitDownTable",),
    "ski": ("skier1RepsLstart", "skier3RepsLstart"),
    "sneak": ("sneak2StepsLStart", "sneak2StepsRStart", "sneak4StepsLStart", "sneak4StepsRStart"),
    "squat": ("squat1Reps", "squat3Reps"),
    "stand_upK2S": ("standUpKneelToStand",),
    "stand_upLF": ("standUpLieFloor",),
    "stand_upSC": ("standUpSitChair",),
    "stand_upSF": ("standUpSitFloor",),
    "stand_upST": ("standUpSitTable",),
    "throwB": ("throwBasketball",),
    "throwFR": ("throwFarR",),
    "throwSD": ("throwStandingHighR", "throwStandingLowR"),
    "throwST": ("throwSittingHighR", "throwSittingLowR"),
    "turnL": ("turnLeft",),
    "turnR": ("turnRight",),
    "walk_backward": ("walkBackwards2StepsRstart", "walkBackwards4StepsRstart"),
    "walk_forward": ("walk2StepsLstart", "walk2StepsRstart", "walk4StepsLstart", "walk4StepsRstart"),
    "walk_inplace": (
        *("walkOnPlace2StepsLStart", "walkOnPlace2StepsRStart"),
        *("walkOnPlace4StepsLStart", "walkOnPlace4StepsRStart"),
    ),
    "walk_left": ("walkLeft2Steps", "walkLeft3Steps"),
    "walk_leftLC": (
        *("walkLeftCircle4StepsLstart", "walkLeftCircle4StepsRstart"),
        *("walkLeftCircle6StepsLstart", "walkLeftCircle6StepsRstart"),
    ),
    "walk_right": (
        *("walkRightCircle4StepsLstart", "walkRightCircle4StepsRstart"),
        *("walkRightCircle6StepsLstart", "walkRightCircle6StepsRstart"),
    ),
    "walk_rightRC": ("walkRightCrossFront2Steps", "walkRightCrossFront3Steps"),
}
"""The 65 classes of SMART and its successors, merged from 130 names of takes; sorted, as the classes are numbered.

Reference:
    Wang et al., "Understanding the robustness of skeleton-based action recognition under adversarial attack",
    CVPR 2021; the merge is that of its released data.
"""

CLASSES_11: Mapping[str, tuple[str, ...]] = {
    "depositFR": ("depositFloorR",),
    "elbow_to_knee": ("elbowToKnee1RepsLelbowStart",),
    "grabHR": ("grabHighR",),
    "hop": ("hopBothLegs1hops",),
    "jogLC": ("jogLeftCircle4StepsRstart",),
    "kickLF": ("kickLFront1Reps",),
    "lie_down": ("lieDownFloor",),
    "rotate_armsBB": ("rotateArmsBothBackward1Reps",),
    "sneak": ("sneak2StepsLStart",),
    "squat": ("squat1Reps",),
    "throwB": ("throwBasketball",),
}
"""The eleven classes of the subset split by actor, of one kind of take each, by their names among the 65."""

TRAIN_ACTORS = ("bd", "bk", "dg")
TEST_ACTORS = ("mm", "tr")

FILE = re.compile(r"HDM_([a-z]+)_(\w+)_(\d+)_120\.amc", re.IGNORECASE)
"""Names of takes' files: actor, name, number."""


@dataclass(frozen=True, order=True)
class Take:
    """One recorded action: who did what.

    Args:
        subject: the actor.
        action: the class.
        take: the take's own name and number, ``squat1Reps-003``.
        label: the class's number.
    """

    subject: str
    action: str
    take: str
    label: int

    @property
    def key(self) -> str:
        """The take's name, unique in the data set."""
        return f"{self.subject}/{self.action}/{self.take}"


class Hdm05:
    """Takes of HDM05 as joints in metres: ASF/AMC files anywhere below a folder, y up, 120 frames a second.

    Takes belong to a class by their names, not by the folders they are in; each needs its actor's skeleton beside
    it. The published results on 65 classes split overlapping windows of takes at random, so that training and test
    share actors and frames; here takes are whole and split by actor, and figures do not compare.

    Args:
        path: the folder.
        split: ``train`` keeps the takes of bd, bk and dg, ``test`` those of mm and tr.
        classes: names of takes by class; classes are numbered in this order. Takes in none are left out.
        subjects: actors to keep; None keeps those of the split.

    Raises:
        DataError: the folder is missing, holds no takes of these classes and actors, or holds one twice.

    Reference:
        Müller et al., "Documentation Mocap Database HDM05", technical report CG-2007-2, Universität Bonn, 2007.
    """

    name = "hdm05"
    biometric = True
    layout = HDM05_25
    fps = 120.0

    def __init__(
        self,
        path: Path,
        *,
        split: Split = "all",
        classes: Mapping[str, Sequence[str]] = CLASSES_11,
        subjects: Sequence[str] | None = None,
    ) -> None:
        check_folder(path, "HDM05's takes")
        self.classes = tuple(classes)
        actors = {"train": TRAIN_ACTORS, "test": TEST_ACTORS, "all": TRAIN_ACTORS + TEST_ACTORS}[split]
        kept = actors if subjects is None else [actor for actor in subjects if actor in actors]
        of_name = {take: label for label, names in enumerate(classes.values()) for take in names}
        self._files: dict[Take, Path] = {}
        for file, actor, name, number in _takes(path):
            if actor in kept and name in of_name:
                label = of_name[name]
                take = Take(actor, self.classes[label], f"{name}-{number}", label)
                if take in self._files:
                    raise DataError(f"{file}: expected one file of {take.key}, found {self._files[take]} too")
                self._files[take] = file
        if not self._files:
            raise DataError(
                f"{path}: expected takes HDM_<actor>_<name>_<number>_120.amc of {len(classes)} classes by "
                f"{', '.join(kept) or 'no actor of the split'}, found none"
            )
        self.samples: Sequence[Take] = sorted(self._files, key=lambda take: (take.label, take.subject, take.take))
        self._chains: dict[Path, Chain] = {}

    def load(self, indices: Sequence[int]) -> list[np.ndarray | DataError]:
        """Return, for each take asked for, its joints ``(1, t, 25, 3)`` float32 in metres or what is wrong."""
        return load_each(indices, lambda index: take_joints(self._files[self.samples[index]], self._chains))


def take_joints(file: Path, chains: dict[Path, Chain]) -> np.ndarray:
    """Return the joints of an AMC file in the layout HDM05_25, ``(1, t, 25, 3)`` float32 in metres.

    Args:
        file: the movement.
        chains: skeletons by their files, to which its own is added.

    Raises:
        DataError: naming the file: it or its skeleton is missing or damaged, or there are too few frames.
    """
    skeleton = find_asf(file)
    if skeleton not in chains:
        chains[skeleton] = read_asf(skeleton)
    capture = read_amc(file, chains[skeleton])
    if len(capture) < MIN_FRAMES:
        raise DataError(f"{file}: expected at least {MIN_FRAMES} frames, found {len(capture)}")
    return capture.positions(HDM05_25.joints)[None].astype(np.float32)


def _takes(path: Path) -> Iterator[tuple[Path, str, str, str]]:
    """Yield file, actor, name and number of every take below a folder; endings are in small or capital letters."""
    for file in sorted(path.rglob("*")):
        found = FILE.fullmatch(file.name)
        if found:
            yield file, found[1].lower(), found[2], found[3]
