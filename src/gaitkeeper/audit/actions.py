"""Running an audit of action recognizers: every model under every cell, a row a clip."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gaitkeeper import __version__
from gaitkeeper.attacks.attacked import Attacked
from gaitkeeper.attacks.goals import Goal, Nontargeted, Targeted
from gaitkeeper.attacks.smart import specified
from gaitkeeper.audit.action_grid import RELEASED, ActionCell, ActionSettings
from gaitkeeper.audit.action_summary import summarize_actions
from gaitkeeper.audit.cells import run_action_attack
from gaitkeeper.audit.recognition import Progress, Record, record, silent
from gaitkeeper.audit.rows import Row, Rows
from gaitkeeper.datasets.actors import Actors
from gaitkeeper.datasets.base import batches, load_usable
from gaitkeeper.datasets.baselines import Part, nearest_neighbor
from gaitkeeper.datasets.clip_files import ClipFiles, write_clip, write_index
from gaitkeeper.datasets.clips import Clips, Selected, clip_frames, to_skeletons
from gaitkeeper.datasets.open_clips import open_clips
from gaitkeeper.datasets.stored import Split
from gaitkeeper.errors import DataError
from gaitkeeper.files import replacing, write_text
from gaitkeeper.models.ensemble import Member
from gaitkeeper.models.weights import load_action_victim
from gaitkeeper.motion import kinematics
from gaitkeeper.motion.kinematics import JointLimits, joint_limits, to_joints
from gaitkeeper.motion.motion import FARTHEST, Motion
from gaitkeeper.seeding import SampleStreams, stream
from gaitkeeper.synthetic.actions import SUBJECTS, TEST_ACTORS, TRAIN_ACTORS

BASELINES: Mapping[Part, str] = {"frame": "nearest middle frame", "sequence": "nearest sequence"}
"""What is printed beside networks."""

COMPARED = 5000
"""Most training clips that test clips are compared with."""

LEARNED = 400
"""Clean training clips from which the limits of joints are read."""


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
            right += (_recognized(victim, some, clips) == torch.tensor([c.label for c in some])).tolist()
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
def _recognized(victim: Member, clips: Sequence[Clip], data: Clips) -> Tensor:
    """Return the classes that a victim recognizes in stored clips, ``(n,)`` on the CPU."""
    motion = batch_of(clips, victim, data)
    victim.domain.check(motion)
    logits, _ = victim(motion).decisions()
    if logits.shape[2] != len(data.classes):
        raise DataError(f"expected a model of the {len(data.classes)} classes of {data.name}, got {logits.shape[2]}")
    return logits.mean(1).argmax(1).cpu()


@dataclass(frozen=True)
class ActionOutcome:
    """What an audit of actions leaves besides its files."""

    rows: list[Row]
    records: list[Record]
    skipped: list[tuple[str, str]]
    data: Clips


class _Audit:
    """The parts that every cell shares."""

    def __init__(
        self, models: Mapping[str, str], settings: ActionSettings, *, data: str | None, subjects: Sequence[str] | None,
        seed: int, examples: int, out: Path, device: str, progress: Progress,
    ) -> None:  # fmt: skip
        self.models, self.settings, self.seed, self.examples = list(models), settings, seed, examples
        self.out, self.progress = out, progress
        self.data = open_action_data(settings, data, subjects)
        self.skipped: list[tuple[str, str]] = []
        sources = {**models, **{name: name for name in settings.transfer if name not in models}}
        self.victims = {name: load_action_victim(source, device=device) for name, source in sources.items()}
        for name, victim in self.victims.items():
            fit(victim, self.data, name)
        chosen = choose_clips(self.data, settings.clips, seed)
        self.clips = load_clips(self.data, chosen, settings, self.skipped, persons=room(self.victims.values()))
        learned = training_clips(self.data, settings, data, LEARNED) or self.clips
        self.limits = _limits(learned, self.data)
        self.write = False

    def run(self, cells: Sequence[ActionCell], rows: Rows) -> None:
        total = len(self.models) * len(cells) * len(self.clips)
        done = 0
        for name in self.models:
            for number, cell in enumerate(cells):
                for chunk in batches(len(self.clips), self.settings.batch):
                    clips = [self.clips[i] for i in chunk]
                    if not all(rows.has(name, cell.key, clip.key) for clip in clips):
                        rows.append(self._rows_of(name, cell, number, clips, rows))
                    done += len(clips)
                    self.progress(done, total, f"{name}: {cell.key}")

    def _rows_of(self, name: str, cell: ActionCell, number: int, clips: list[Clip], rows: Rows) -> list[Row]:
        victim = self.victims[name]
        classes = self.data.classes
        made: list[Row] = [
            {
                "kind": "action", "model": name, "data": self.data.name, "cell": cell.key, "attack": cell.attack,
                "goal": cell.aim, "norm": None if cell.budget is None else "joints", "bones": cell.bones,
                "budget": cell.budget, "stored": "float32", "sample": clip.key, "condition": "all",
                "label": classes[clip.label], "target": None, "success": None, "transfer": {},
            }
            for clip in clips
        ]  # fmt: skip
        if cell.attack == "none":
            for row, clip, predicted in zip(made, clips, _recognized(victim, clips, self.data).tolist(), strict=True):
                right = predicted == clip.label
                row |= {"predicted": classes[predicted], "natural": right, "right": right}
                row["transfer"] = {}
            self._judge(name, made, clips, None)
            return made
        natural = ActionCell().key
        before = [rows.get(name, natural, clip.key) for clip in clips]
        for row, clean in zip(made, before, strict=True):
            row |= {key: clean[key] for key in ("natural", "right", "predicted")}
        # Only what is recognized can be lost; the others count in the accuracy alone.
        index = [i for i, clean in enumerate(before) if clean["natural"]]
        if index:
            self._attack(victim, name, cell, number, [clips[i] for i in index], [made[i] for i in index])
        return made

    def _attack(
        self, victim: Member, name: str, cell: ActionCell, number: int, clips: list[Clip], rows: list[Row]
    ) -> None:
        motion = batch_of(clips, victim, self.data)
        labels = torch.tensor([clip.label for clip in clips], device=victim.device)
        keys = [clip.key for clip in clips]
        targets = specified(labels, len(self.data.classes), SampleStreams(self.seed, [f"target {key}" for key in keys]))
        goal = _goal(cell, labels, targets)
        attacked = run_action_attack(cell, victim, motion, goal, SampleStreams(self.seed, keys))
        stored = [
            replace(clip, joints=joints)
            for clip, joints in zip(clips, _joints(attacked, clips), strict=True)
        ]  # fmt: skip
        won, predicted = self._decided(victim, stored, goal)
        bounds = attacked.distances
        for i, row in enumerate(rows):
            row |= {"predicted": self.data.classes[predicted[i]], "right": predicted[i] == clips[i].label}
            # What exceeds the attack's own bounds is not what it promises.
            row["success"] = won[i] and bool(bounds["feasible"][i]) if "feasible" in bounds else won[i]
            row["target"] = self.data.classes[int(targets[i])] if cell.goal == "specified" else None
            row |= self._measured(clips[i], stored[i])
            row |= {key: int(getattr(attacked, key)[i]) for key in ("forwards", "backwards", "steps")}
        self._judge(name, rows, stored, goal)
        if cell.attack not in ("random", "smart-random"):
            self._keep_examples(name, number, clips, stored, rows)
        if self.write:
            for clip in stored:
                write_clip(self.out / "attacked", clip.key, clip.joints)

    @torch.no_grad()
    def _decided(self, victim: Member, clips: Sequence[Clip], goal: Goal) -> tuple[list[bool], list[int]]:
        """Decide on what is stored: goals reached, and classes recognized, in clips read like any others."""
        outputs = victim(batch_of(clips, victim, self.data))
        logits, _ = outputs.decisions()
        return goal.success(outputs).tolist(), logits.mean(1).argmax(1).tolist()

    def _judge(self, name: str, rows: Sequence[Row], clips: Sequence[Clip], goal: Goal | None) -> None:
        """Let the other recognizers judge clips."""
        for judge, victim in self.victims.items():
            if judge == name:
                continue
            if goal is None:
                predicted = _recognized(victim, clips, self.data).tolist()
                won: Sequence[bool | None] = [None] * len(clips)
            else:
                won, predicted = self._decided(victim, clips, goal)
            for row, clip, success, found in zip(rows, clips, won, predicted, strict=True):
                row["transfer"] = {**row["transfer"], judge: {"right": found == clip.label, "success": success}}

    def _measured(self, clip: Clip, stored: Clip) -> dict[str, float]:
        """Return how far an attacked clip is from the clean one, and how both move, in physical units."""
        layout = self.data.layout
        before, after = (torch.from_numpy(c.joints)[None].double() for c in (clip, stored))
        there = before.ne(0).any(4).any(3)
        change = kinematics.change(before, after, layout, fps=clip.fps, valid=there)
        values = {field.name: float(getattr(change, field.name)) for field in dataclasses.fields(change)}
        contact = kinematics.contacts(before, layout, fps=clip.fps, valid=there)
        for suffix, joints in (("_clean", before), ("", after)):
            rough = kinematics.roughness(joints, layout, fps=clip.fps, valid=there, contact=contact)
            values |= {
                f"rough_acceleration{suffix}": float(rough.acceleration), f"jerk{suffix}": float(rough.jerk),
                f"skate{suffix}": float(rough.skate),
                f"limits{suffix}": float(kinematics.limit_violations(joints, self.limits, layout, valid=there)),
            }  # fmt: skip
        return {key: value if np.isfinite(value) else None for key, value in values.items()}  # type: ignore[misc]

    def _keep_examples(
        self, model: str, number: int, clips: Sequence[Clip], stored: Sequence[Clip], rows: Sequence[Row]
    ) -> None:
        """Keep the first successes of a cell for the report."""
        folder = self.out / "examples"
        stem = f"{self.models.index(model):02d}-{number:03d}"
        kept = len(list(folder.glob(f"{stem}-*.npz")))
        wins = [i for i, row in enumerate(rows) if row["success"]]
        for i in wins[: max(0, self.examples - kept)]:
            path = folder / f"{stem}-{clips[i].key.replace('/', '_')}.npz"
            with replacing(path) as temporary:
                np.savez_compressed(
                    temporary, before=clips[i].joints, after=stored[i].joints, fps=clips[i].fps,
                    row=json.dumps(rows[i]),
                )  # fmt: skip


def _goal(cell: ActionCell, labels: Tensor, targets: Tensor) -> Nontargeted | Targeted:
    """Return the goal of a cell; the released attacks descend on the cross-entropy where they are not defective."""
    released = cell.attack in RELEASED
    if cell.goal == "specified":
        return Targeted(targets=targets, kind="cross-entropy" if released else "margin")
    if cell.goal == "anything-but-n":
        return Nontargeted(labels=labels, top=cell.top)
    return Nontargeted(labels=labels, kind="cross-entropy" if released else "margin")


def _joints(attacked: Attacked, clips: Sequence[Clip]) -> list[np.ndarray]:
    """Return the attacked clips as they are stored, each with its own persons and frames."""
    joints = to_joints(attacked.motion.data).cpu().numpy()
    return [
        np.ascontiguousarray(found[: clip.joints.shape[0], : clip.joints.shape[1]], np.float32)
        for found, clip in zip(joints, clips, strict=True)
    ]


def _limits(clips: Sequence[Clip], data: Clips) -> JointLimits:
    """Return how far joints bend in clips, without frames in which somebody is absent."""
    present = []
    for clip in clips:
        for person in clip.joints:
            there = person[person.any((1, 2))]
            if len(there):
                present.append(torch.from_numpy(there).double())
    return joint_limits(present, data.layout)


def run_action_audit(
    models: Sequence[str] | Mapping[str, str],
    settings: ActionSettings,
    out: Path,
    *,
    data: str | None = None,
    subjects: Sequence[str] | None = None,
    seed: int = 0,
    examples: int = 1,
    cells: Sequence[ActionCell] | None = None,
    write_clips: bool = False,
    device: str = "cpu",
    progress: Progress = silent,
) -> ActionOutcome:
    """Run an audit of action recognizers, or go on with one that was interrupted.

    Writes ``settings.json``, ``rows.jsonl`` (as rows are made), ``examples/`` and ``summary.json`` into ``out``.

    Args:
        models: names of weights, paths or functions, or these by the names that rows give them; each judges what was
            made against the others.
        settings: of the data and the grid.
        out: its folder.
        data: path; None for synthetic actors.
        subjects: actors to keep; None for those of the test.
        seed: of the choice of clips, targets and random starts.
        examples: attacked clips kept for the report, a cell.
        cells: in place of the settings' grid, the natural one first.
        write_clips: also write every attacked clip under ``attacked/``, to be read as any other data.
        device: where to compute.
        progress: called as clips are done.

    Raises:
        GaitkeeperError: unusable data or weights, or a folder of another audit.
    """
    cells = list(settings.grid.cells()) if cells is None else list(cells)
    sources = models if isinstance(models, Mapping) else {name: name for name in models}
    attacking = any(cell.attack != "none" for cell in cells)
    most = max((cell.top for cell in cells if cell.goal == "anything-but-n"), default=0)
    audit = _Audit(
        sources, settings, data=data, subjects=subjects, seed=seed, examples=examples, out=out, device=device,
        progress=progress,
    )  # fmt: skip
    layout = audit.data.layout
    if attacking and layout.units != "metres":
        raise DataError(f"{audit.data.name}: attacks move joints in metres, {layout.name} has places in a picture")
    if most and most >= len(audit.data.classes):
        count = len(audit.data.classes)
        raise DataError(f"anything-but-n: expected N below the {count} classes of {audit.data.name}, got {most}")
    described = {
        "gaitkeeper": __version__, "models": dict(sources), "data": data, "subjects": subjects, "seed": seed,
        **dataclasses.asdict(settings), "cells": [cell.key for cell in cells],
    }  # fmt: skip
    if write_clips and (len(sources) > 1 or len(cells) > 2):
        raise DataError(f"attacked clips are written of one model and attack, got {', '.join(sources)}")
    audit.write = write_clips
    with Rows(out, json.loads(json.dumps(described))) as rows:
        audit.run(cells, rows)
        every = rows.all()
    records = summarize_actions(every)
    if write_clips:
        # From all rows, those of an earlier run that was interrupted too; a clip is written before its row.
        attacked = {row["sample"] for row in every if row["success"] is not None}
        clips = [
            {"key": clip.key, "label": clip.label, "subject": clip.subject, "fps": clip.fps}
            for clip in audit.clips
            if clip.key in attacked
        ]
        write_index(
            out / "attacked", clips, name=f"{audit.data.name}, attacked", layout=audit.data.layout,
            classes=audit.data.classes, biometric=audit.data.biometric,
        )  # fmt: skip
    write_text(out / "summary.json", json.dumps(records, indent=1) + "\n")
    return ActionOutcome(every, records, audit.skipped, audit.data)
