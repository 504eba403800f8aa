"""The clips of an audit of actions: opened, chosen, loaded, batched, and recognized without any attack."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gaitkeeper.audit.action_grid import ActionSettings
from gaitkeeper.audit.recognition import Progress, Record, record, silent
from gaitkeeper.datasets.actors import Actors
from gaitkeeper.datasets.base import batches, load_usable
from gaitkeeper.datasets.baselines import Part, nearest_neighbor
from gaitkeeper.datasets.clip_files import ClipFiles
from gaitkeeper.datasets.clips import Clips, Selected, clip_frames, to_skeletons
from gaitkeeper.datasets.open_clips import open_clips
from gaitkeeper.datasets.stored import Split
from gaitkeeper.errors import DataError
from gaitkeeper.models.ensemble import Member
from gaitkeeper.models.weights import load_action_victim
from gaitkeeper.motion.kinematics import to_joints
from gaitkeeper.motion.motion import FARTHEST, Motion
from gaitkeeper.seeding import stream
from gaitkeeper.synthetic.actions import SUBJECTS, TEST_ACTORS, TRAIN_ACTORS

BASELINES: Mapping[Part, str] = {"frame": "nearest middle frame", "sequence": "nearest sequence"}
"""What is printed beside networks."""

COMPARED = 5000
"""Most training clips that test clips are compared with."""


def open_action_data(
    settings: ActionSettings, data: str | None, subjects: Sequence[str] | None, *, split: Split = "test"
) -> Clips:
    """Return the action clips that settings name: synthetic actors, or a file or folder.

    Args:
        settings: of the actors and the protocol.
        data: path; None for synthetic actors.
        subjects: whose clips to keep, actors by number; None takes those of the split.
        split: which part.

    Raises:
        DataError: an unknown subject, or nothing usable there.
    """
    if data is not None:
        clips = open_clips(Path(data), split=split, protocol=settings.protocol)
        return clips if subjects is None else Selected(clips, subjects)
    numbers: Sequence[int] = {"train": TRAIN_ACTORS, "test": TEST_ACTORS, "all": range(1, SUBJECTS + 1)}[split]
    if subjects is not None and split == "test":
        wrong = [name for name in subjects if not name.isdecimal()]
        if wrong:
            raise DataError(f"actors are numbered; unknown subject {', '.join(wrong)}")
        numbers = tuple(int(name) for name in subjects)
    takes = settings.takes if split == "test" else 1
    return Actors(settings.acting, subjects=numbers, takes=range(1, takes + 1))


def choose_clips(data: Clips, count: int, seed: int) -> list[int]:
    """Draw clips by the seed, one of each class in turn as long as there are any, in the order of the data."""
    order = [int(i) for i in stream(seed, "clips").permutation(len(data.samples))]
    waiting: dict[int, list[int]] = {}
    for index in order:
        waiting.setdefault(data.samples[index].label, []).append(index)
    chosen: list[int] = []
    while waiting and len(chosen) < count:
        for label in sorted(waiting):
            if len(chosen) < count:
                chosen.append(waiting[label].pop())
        waiting = {label: rest for label, rest in waiting.items() if rest}
    return sorted(chosen)


def rates(data: Clips, indices: Sequence[int]) -> list[float]:
    """Return the frames a second of clips, which stored ones tell each for itself."""
    return [float(getattr(data.samples[i], "fps", data.fps)) for i in indices]


def room(victims: Iterable[Member]) -> int | None:
    """Return how many persons all victims have room for; None for any number."""
    return min((persons for victim in victims if (persons := victim.domain.shape[3]) is not None), default=None)


def fit(victim: Member, data: Clips, model: str) -> None:
    """Check that a model recognizes the data's joints and classes.

    Raises:
        DataError: naming what each has.
    """
    layout = victim.domain.layout
    if layout is None:
        raise DataError(f"{model}: recognizes gaits, not the actions of {data.name}")
    if layout.joints != data.layout.joints:
        raise DataError(
            f"{model}: expected clips of {layout.name}'s {len(layout)} joints, {data.name} has {data.layout.name}"
        )
    if victim.classes is not None and victim.classes != data.classes:
        raise DataError(
            f"{model}: knows {len(victim.classes)} classes ({', '.join(victim.classes[:4])}, ...), "
            f"{data.name} has {len(data.classes)} ({', '.join(data.classes[:4])}, ...)"
        )


@dataclass(frozen=True)
class Clip:
    """A clip that is looked at: its sample, its joints, its frames a second."""

    key: str
    subject: str
    label: int
    joints: np.ndarray
    fps: float


def load_clips(
    data: Clips,
    indices: Sequence[int],
    settings: ActionSettings,
    skipped: list[tuple[str, str]],
    *,
    persons: int | None = None,
) -> list[Clip]:
    """Load clips at the number of frames that the settings ask for, as stored files have them.

    Args:
        data: where they are.
        indices: which.
        settings: of the frames.
        skipped: receives the clips that cannot be used, with the reasons.
        persons: most persons that the recognizers have room for; None for any number.
    """
    kept, arrays = load_usable(data, indices, skipped)
    frames = clip_frames(data, settings.frames)
    clips = []
    for index, array, rate in zip(kept, arrays, rates(data, kept), strict=True):
        sample = data.samples[index]
        if frames is not None and array.shape[1] != frames:
            motion = to_skeletons([array], data.layout, fps=rate, frames=frames)
            array, rate = to_joints(motion.data)[0].numpy(), float(motion.extras["fps"])
        fault = None
        if array.shape[1] < 4:
            fault = f"expected at least 4 frames, got {array.shape[1]}"
        elif not array.any():
            fault = "expected a clip that shows somebody, all of its joints are 0"
        elif persons is not None and len(array) > persons:
            fault = f"expected at most {persons} persons, for whom the recognizer has room, got {len(array)}"
        elif np.abs(array).max(initial=0) > FARTHEST:
            fault = f"expected joints within {FARTHEST:g} m, got {np.abs(array).max():g}"
        if fault is not None:
            skipped.append((sample.key, fault))
            continue
        clips.append(Clip(sample.key, sample.subject, sample.label, np.ascontiguousarray(array), rate))
    if not clips:
        raise DataError(f"{data.name}: no clip can be used" + (f"; the first: {skipped[0][1]}" if skipped else ""))
    return clips


def batch_of(clips: Sequence[Clip], victim: Member, data: Clips) -> Motion:
    """Return clips as a batch that a victim has room for; for any number of persons, for two."""
    layout = victim.domain.layout or data.layout
    persons = victim.domain.shape[3]
    return to_skeletons(
        [clip.joints for clip in clips], layout, fps=[clip.fps for clip in clips], persons=persons
    ).to(victim.device)  # fmt: skip


def evaluate_actions(
    models: Sequence[str],
    settings: ActionSettings,
    *,
    data: str | None,
    subjects: Sequence[str] | None,
    device: str,
    progress: Progress = silent,
) -> tuple[list[Record], list[tuple[str, str]]]:
    """Return the accuracy of models on all test clips, and of nearest neighbors where there are training clips.

    Args:
        models: names of weights, paths or functions.
        settings: of the data.
        data: path; None for synthetic actors.
        subjects: actors to keep; None for those of the test.
        device: where to compute.
        progress: called as clips are done.
    """
    clips = open_action_data(settings, data, subjects)
    skipped: list[tuple[str, str]] = []
    victims = {name: load_action_victim(name, device=device) for name in models}
    for name, victim in victims.items():
        fit(victim, clips, name)
    chosen = load_clips(clips, range(len(clips.samples)), settings, skipped, persons=room(victims.values()))
    common: Record = {
        "data": clips.name,
        "attack": "none",
        "goal": "natural",
        "norm": None,
        "budget": None,
        "stored": "float32",
    }
    common |= {"bones": None, "condition": "all", "view": "all", "metric": "accuracy"}
    found: list[Record] = []
    for name, victim in victims.items():
        right: list[bool] = []
        for chunk in batches(len(chosen), settings.batch):
            some = [chosen[i] for i in chunk]
            right += (recognized(victim, some, clips) == torch.tensor([c.label for c in some])).tolist()
            progress(len(right), len(chosen), name)
        found.append(record([float(r) for r in right], **common, model=name))
    learned = training_clips(clips, settings, data, COMPARED)
    for part, text in BASELINES.items() if learned else ():
        predicted = nearest_neighbor(
            [c.joints for c in learned], [c.label for c in learned], [c.joints for c in chosen], layout=clips.layout,
            part=part,
        )  # fmt: skip
        hits = [float(p == c.label) for p, c in zip(predicted, chosen, strict=True)]
        found.append(record(hits, **common, model=text))
    return found, skipped


def training_clips(data: Clips, settings: ActionSettings, path: str | None, count: int) -> list[Clip]:
    """Return training clips of the same data, at most so many; none where a form tells no split."""
    try:
        learned = open_action_data(settings, path, None, split="train")
    except DataError:
        return []
    if isinstance(learned, ClipFiles):
        return []
    return load_clips(learned, choose_clips(learned, count, 0), settings, [])


@torch.no_grad()
def recognized(victim: Member, clips: Sequence[Clip], data: Clips) -> Tensor:
    """Return the classes that a victim recognizes in stored clips, ``(n,)`` on the CPU."""
    motion = batch_of(clips, victim, data)
    victim.domain.check(motion)
    logits, _ = victim(motion).decisions()
    if logits.shape[2] != len(data.classes):
        raise DataError(f"expected a model of the {len(data.classes)} classes of {data.name}, got {logits.shape[2]}")
    return logits.mean(1).argmax(1).cpu()
