"""NTU RGB+D 60 and 120: Kinect skeletons as text, the published splits and body denoising, and CTR-GCN's arrays."""

from __future__ import annotations

import math
import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from gaitkeeper.datasets.tree import read_bounded
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

Split = Literal["train", "test", "all"]
"""Samples by a protocol: for training, for testing, or both."""

MIN_FRAMES = 8
"""Fewest frames of a sample."""

MAX_BYTES = 64 * 2**20
"""Largest text file that is read: ten minutes of two people."""

MAX_BODIES = 6
"""Most bodies that a Kinect follows at a time."""

MAX_DISTANCE = 100.0
"""Largest coordinate: a Kinect sees some eight metres, and larger numbers are in other units or damaged."""

_NAME = re.compile(r"S(\d{3})C(\d{3})P(\d{3})R(\d{3})A(\d{3})", re.ASCII)
_BODY_VALUES, _JOINT_VALUES = 10, 12


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
        found = _NAME.fullmatch(name)
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


RELEASED = Denoising(motion=None, surplus="drop")
"""The denoising that SGN's and CTR-GCN's released preparations do."""


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
        denoising: Denoising | None = Denoising(),
        subjects: Sequence[str] | None = None,
    ) -> None:
        if not path.is_dir():
            raise DataError(
                f"{path}: expected a folder of .skeleton files, found {'a file' if path.exists() else 'nothing'}"
            )
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
        found: list[np.ndarray | DataError] = []
        for index in indices:
            file = self._files[self.samples[index]]
            try:
                found.append(find_people(read_skeleton(file), self._denoising, source=file))
            except DataError as error:
                found.append(error)
        return found


def read_missing(file: Path) -> frozenset[str]:
    """Read a list of samples whose skeletons are missing or incomplete, a name a line.

    The published lists begin with some lines of explanation, which are skipped.

    Raises:
        DataError: naming file and line: it names no samples, or has something else among them.
    """
    names: set[str] = set()
    for number, words in _rows(file):
        name = words[0].removesuffix(".skeleton") if len(words) == 1 else ""
        if Recording.of(name) is not None:
            names.add(name)
        elif names:
            raise DataError(f"{file}, line {number}: expected a sample's name, found {' '.join(words)[:60]!r}")
    if not names:
        raise DataError(f"{file}: expected samples' names SsssCcccPpppRrrrAaaa, one a line, found none")
    return frozenset(names)


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


@dataclass(frozen=True, order=True)
class ArraySample:
    """One sample of an array.

    Args:
        split: the array that it is in.
        index: its place in the array.
        label: the class's number from 0.
    """

    split: str
    index: int
    label: int

    @property
    def key(self) -> str:
        """The sample's name, unique in the file."""
        return f"{self.split}/{self.index:06d}"


class NtuArrays:
    """NTU RGB+D as CTR-GCN's preparation leaves it: one ``.npz`` with ``x_train``, ``y_train``, ``x_test``, ``y_test``.

    ``x`` is ``(n, t, 150)``, two people of 25 joints in metres relative to where the first person's spine is at the
    start, 0 where somebody is absent and behind the end; ``y`` is one-hot. Samples are read from the file as they are
    asked for. Who performs is not stored.

    Args:
        path: the file.
        split: ``train`` or ``test``.

    Raises:
        DataError: the file is missing or no such archive, is compressed, or its arrays do not fit each other.

    Reference:
        Chen et al., "Channel-wise topology refinement graph convolution for skeleton-based action recognition",
        ICCV 2021.
    """

    biometric = True
    layout = NTU_25
    fps = 30.0

    def __init__(self, path: Path, *, split: Literal["train", "test"] = "test") -> None:
        self.name = path.stem
        self._path, self._split = path, split
        self._data = _stored_array(path, f"x_{split}")
        hot = _stored_array(path, f"y_{split}")
        width = 2 * len(NTU_25) * 3
        if self._data.ndim != 3 or self._data.shape[2] != width or hot.ndim != 2 or len(hot) != len(self._data):
            raise DataError(
                f"{path}: expected x_{split} (n, t, {width}) and y_{split} (n, classes), "
                f"found {self._data.shape} and {hot.shape}"
            )
        if hot.shape[1] not in (60, 120):
            raise DataError(f"{path}: expected 60 or 120 classes in y_{split}, found {hot.shape[1]}")
        wrong = np.flatnonzero((hot != 0).sum(1) != 1)
        if len(wrong):
            raise DataError(f"{path}: expected one class a sample in y_{split}, sample {wrong[0]} has another number")
        self.classes = CLASSES_120[: hot.shape[1]]
        self.samples: Sequence[ArraySample] = [
            ArraySample(split, index, int(label)) for index, label in enumerate(hot.argmax(1))
        ]

    def load(self, indices: Sequence[int]) -> list[np.ndarray | DataError]:
        """Return, for each sample asked for, ``(m, t, 25, 3)`` float32 as of :meth:`Ntu.load`, or what is wrong."""
        found: list[np.ndarray | DataError] = []
        for index in indices:
            joints = np.array(self._data[index], np.float32).reshape(-1, 2, len(NTU_25), 3).transpose(1, 0, 2, 3)
            joints = joints[:, joints.any((0, 2, 3))]
            where = f"{self._path}, x_{self._split}[{index}]"
            if not np.isfinite(joints).all():
                found.append(DataError(f"{where}: expected finite joints, found NaN or infinite ones"))
            elif joints.shape[1] < MIN_FRAMES:
                found.append(
                    DataError(f"{where}: expected at least {MIN_FRAMES} frames with a body, found {joints.shape[1]}")
                )
            else:
                found.append(np.ascontiguousarray(joints if joints[1].any() else joints[:1]))
        return found


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


def _rows(file: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the lines that are not empty, split to words, and their numbers."""
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


class _Lines:
    """The lines of a file, of which each is asked for by what it must hold."""

    def __init__(self, file: Path) -> None:
        self.file, self.number = file, 0
        self._rows = _rows(file)

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


def _stored_array(path: Path, name: str) -> np.ndarray:
    """Return an array of an uncompressed ``.npz`` file without reading it, and without pickles."""
    if not path.is_file():
        raise DataError(f"{path}: expected a file, found {'something else' if path.exists() else 'nothing'}")
    try:
        with zipfile.ZipFile(path) as archive:
            entry = archive.getinfo(f"{name}.npy")
            if entry.compress_type != zipfile.ZIP_STORED:
                raise DataError(f"{path}: expected {name} as numpy.savez stores it, found it compressed")
            with archive.open(entry) as stream:
                version = np.lib.format.read_magic(stream)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, fortran, kind = read(stream)
                header = stream.tell()
        with path.open("rb") as file:
            # The name and extra field before the data may be longer than the directory at the end says.
            file.seek(entry.header_offset)
            local = file.read(30)
            start = entry.header_offset + 30 + int.from_bytes(local[26:28], "little")
            start += int.from_bytes(local[28:30], "little") + header
    except DataError:
        raise
    except KeyError as error:
        raise DataError(f"{path}: expected an array {name}, found none") from error
    # What a damaged archive or header makes its reader raise has no end.
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path}: not an .npz file that can be read ({reason[:120]})") from error
    if kind.kind not in "fiub" or fortran:
        raise DataError(f"{path}: expected numbers in C order in {name}, found {kind}{' in F order' * fortran}")
    size = math.prod(shape) * kind.itemsize
    there = min(entry.file_size - header, path.stat().st_size - start)
    if any(count < 1 for count in shape) or size > there:
        raise DataError(f"{path}: expected {size} bytes of {name} {shape}, found {there}")
    return np.memmap(path, kind, "r", start, shape)
