"""NTU RGB+D 60 and 120: classes, names of samples, the published splits, and the data set of ``.skeleton`` files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from gaitkeeper.datasets.kinect import DENOISING, Denoising, find_people, read_skeleton, rows
from gaitkeeper.datasets.stored import Split, check_folder, load_each
from gaitkeeper.errors import DataError
from gaitkeeper.motion.skeletons import NTU_25

CLASSES_120 = (
    *("drink water", "eat meal", "brush teeth", "brush hair", "drop", "pick up", "throw", "sit down", "stand up"),
    *("clap", "read", "write", "tear up paper", "put on jacket", "take off jacket", "put on shoe", "take off shoe"),
    *("put on glasses", "take off glasses", "put on hat", "take off hat", "cheer up", "wave hand", "kick something"),
    *("reach into pocket", "hop", "jump up", "phone call", "play with phone", "type on keyboard", "point to something"),
    *("take selfie", "check time", "rub hands", "bow", "shake head", "wipe face", "salute", "put palms together"),
    *("cross hands in front", "sneeze or cough", "stagger", "fall down", "headache", "chest pain", "back pain"),
    *("neck pain", "nausea", "fan self", "punch", "kick person", "push", "pat on back", "point finger", "hug"),
    *("give object", "touch pocket", "shake hands", "walk towards", "walk apart", "put on headphone"),
    *("take off headphone", "shoot at basket", "bounce ball", "swing tennis bat", "juggle table tennis ball", "hush"),
    *("flick hair", "thumb up", "thumb down", "OK sign", "victory sign", "staple book", "count money", "cut nails"),
    *("cut paper", "snap fingers", "open bottle", "sniff", "squat down", "toss coin", "fold paper", "ball up paper"),
    *("play magic cube", "apply cream on face", "apply cream on hand", "put on bag", "take off bag"),
    *("put object into bag", "take object out of bag", "open box", "move heavy objects", "shake fist", "throw up cap"),
    *("hands up", "cross arms", "arm circles", "arm swings", "run on the spot", "butt kicks", "cross toe touch"),
    *("side kick", "yawn", "stretch", "blow nose", "hit with object", "wield knife", "knock over", "grab stuff"),
    *("shoot with gun", "step on foot", "high-five", "cheers and drink", "carry object", "take photo", "follow"),
    *("whisper", "exchange things", "support somebody", "rock-paper-scissors"),
)
"""The classes A001 to A120 in short; the first 60 are those of NTU RGB+D 60. A050 to A060 and A106 to A120 take two."""

_SUBJECTS_60 = (1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38)
_SUBJECTS_120 = (
    *_SUBJECTS_60,
    *(45, 46, 47, 49, 50, 52, 53, 54, 55, 56, 57, 58, 59, 70, 74, 78),
    *(80, 81, 82, 83, 84, 85, 86, 89, 91, 92, 93, 94, 95, 97, 98, 100, 103),
)


@dataclass(frozen=True, kw_only=True)
class NtuProtocol:
    """A published split.

    Args:
        name: as in the literature.
        classes: how many, from A001.
        by: the part of a sample's name that decides.
        train: values of training samples.
        test: values of test samples. Samples of any other value are left out.
    """

    name: str
    classes: int
    by: Literal["performer", "camera", "setup"]
    train: tuple[int, ...]
    test: tuple[int, ...]


def _rest(train: tuple[int, ...], last: int) -> tuple[int, ...]:
    return tuple(value for value in range(1, last + 1) if value not in train)


X_SUB_60 = NtuProtocol(name="ntu-60-xsub", classes=60, by="performer", train=_SUBJECTS_60, test=_rest(_SUBJECTS_60, 40))
"""NTU RGB+D 60, cross-subject: 20 subjects train, 20 test."""

X_VIEW_60 = NtuProtocol(name="ntu-60-xview", classes=60, by="camera", train=(2, 3), test=(1,))
"""NTU RGB+D 60, cross-view: cameras 2 and 3 train, 1 tests."""

X_SUB_120 = NtuProtocol(
    name="ntu-120-xsub", classes=120, by="performer", train=_SUBJECTS_120, test=_rest(_SUBJECTS_120, 106)
)
"""NTU RGB+D 120, cross-subject: 53 subjects train, 53 test."""

X_SET_120 = NtuProtocol(
    name="ntu-120-xset", classes=120, by="setup", train=tuple(range(2, 33, 2)), test=tuple(range(1, 33, 2))
)
"""NTU RGB+D 120, cross-setup: even setups train, odd ones test."""

PROTOCOLS = {protocol.name: protocol for protocol in (X_SUB_60, X_VIEW_60, X_SUB_120, X_SET_120)}
"""All splits by name."""

FILE = re.compile(r"S(\d{3})C(\d{3})P(\d{3})R(\d{3})A(\d{3})\.skeleton", re.ASCII)
"""Names of samples' files: setup, camera, performer, replication, action."""


@dataclass(frozen=True, order=True)
class Recording:
    """One recorded action by its name ``SsssCcccPpppRrrrAaaa``, in which all numbers count from 1.

    Args:
        setup: height and distance of the cameras.
        camera: 1 to 3.
        performer: the subject, of two the one whose action it is.
        replication: 1 or 2.
        number: the class's number in the name, the label plus 1.
    """

    setup: int
    camera: int
    performer: int
    replication: int
    number: int

    @classmethod
    def of(cls, name: str) -> Recording | None:
        """Return what a name says, or None where it is no sample's."""
        found = FILE.fullmatch(f"{name}.skeleton")
        return None if found is None else cls(*map(int, found.groups()))

    @property
    def key(self) -> str:
        """The sample's name."""
        return f"S{self.setup:03d}C{self.camera:03d}P{self.performer:03d}R{self.replication:03d}A{self.number:03d}"

    @property
    def subject(self) -> str:
        """The performer, ``P001``."""
        return f"P{self.performer:03d}"

    @property
    def label(self) -> int:
        """The class's number from 0."""
        return self.number - 1


def edition(recordings: Sequence[Recording]) -> tuple[str, ...]:
    """Return the classes of the edition that samples are of: NTU RGB+D 120's, or the first 60 where those suffice."""
    later = any(sample.number > 60 or sample.setup > 17 for sample in recordings)
    return CLASSES_120 if later else CLASSES_120[:60]


class Ntu:
    """Samples of NTU RGB+D as joints in metres: ``.skeleton`` files anywhere below a folder, y up, 30 frames a second.

    Files of classes that the protocol has not, or named otherwise, are left out.

    Args:
        path: the folder.
        protocol: classes and split.
        split: ``train`` or ``test`` keeps the protocol's half.
        missing: a list of samples to leave out, as published beside the data (see :func:`read_missing`).
        denoising: how bodies are chosen; None takes all.
        subjects: performers to keep, ``P001``; None keeps those of the split.

    Raises:
        DataError: the folder is missing, holds no samples of the split, or holds one twice; the list is none.

    Reference:
        Shahroudy et al., "NTU RGB+D: a large scale dataset for 3D human activity analysis", CVPR 2016; Liu et al.,
        "NTU RGB+D 120: a large-scale benchmark for 3D human activity understanding", TPAMI 2020.
    """

    biometric = True
    layout = NTU_25
    fps = 30.0

    def __init__(
        self,
        path: Path,
        *,
        protocol: NtuProtocol = X_SUB_60,
        split: Split = "all",
        missing: Path | None = None,
        denoising: Denoising | None = DENOISING,
        subjects: Sequence[str] | None = None,
    ) -> None:
        check_folder(path, ".skeleton files")
        self.name = f"ntu-{protocol.classes}"
        self.classes = CLASSES_120[: protocol.classes]
        kept = {"train": protocol.train, "test": protocol.test, "all": protocol.train + protocol.test}[split]
        listed = frozenset() if missing is None else read_missing(missing)
        self._denoising = denoising
        self._files: dict[Recording, Path] = {}
        left_out = []
        for file in sorted(path.rglob("*.skeleton")):
            sample = Recording.of(file.stem)
            if (
                sample is None
                or not 1 <= sample.number <= protocol.classes
                or getattr(sample, protocol.by) not in kept
                or (subjects is not None and sample.subject not in subjects)
            ):
                continue
            if sample.key in listed:
                left_out.append(sample.key)
                continue
            if sample in self._files:
                raise DataError(f"{file}: expected one file of {sample.key}, found {self._files[sample]} too")
            self._files[sample] = file
        self.missing: Sequence[str] = left_out
        """Names of the samples that are there but left out, since the list has them."""
        if not self._files:
            raise DataError(
                f"{path}: expected files SsssCcccPpppRrrrAaaa.skeleton of A001 to A{protocol.classes:03d} in the "
                f"split {split!r} of {protocol.name}, found none"
            )
        self.samples: Sequence[Recording] = sorted(self._files)

    def load(self, indices: Sequence[int]) -> list[np.ndarray | DataError]:
        """Return, for each sample asked for, its people's joints or what is wrong with it.

        Each is ``(m, t, 25, 3)`` float32 in metres of one or two people, the one with most motion first; one
        who is absent in a frame is 0 there, and there is somebody in every frame.
        """
        return load_each(indices, self._read)

    def _read(self, index: int) -> np.ndarray:
        file = self._files[self.samples[index]]
        return find_people(read_skeleton(file), self._denoising, source=file)


def read_missing(file: Path) -> frozenset[str]:
    """Read a list of samples whose skeletons are missing or incomplete, a name a line.

    The published lists begin with some lines of explanation, which are skipped.

    Raises:
        DataError: naming file and line: it names no samples, or has something else among them.
    """
    names: set[str] = set()
    for number, words in rows(file):
        name = words[0].removesuffix(".skeleton") if len(words) == 1 else ""
        if Recording.of(name) is not None:
            names.add(name)
        elif names:
            raise DataError(f"{file}, line {number}: expected a sample's name, found {' '.join(words)[:60]!r}")
    if not names:
        raise DataError(f"{file}: expected samples' names SsssCcccPpppRrrrAaaa, one a line, found none")
    return frozenset(names)
