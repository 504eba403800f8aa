"""Running an audit of action recognizers: every model under every cell, a row a clip."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gaitkeeper import __version__
from gaitkeeper.attacks.attacked import Attacked
from gaitkeeper.attacks.goals import Goal, Nontargeted, Targeted
from gaitkeeper.attacks.smart import specified
from gaitkeeper.audit.action_clips import (
    Clip,
    batch_of,
    choose_clips,
    fit,
    load_clips,
    open_action_data,
    recognized,
    room,
    training_clips,
)
from gaitkeeper.audit.action_grid import RELEASED, ActionCell, ActionSettings
from gaitkeeper.audit.action_summary import summarize_actions
from gaitkeeper.audit.cells import run_action_attack
from gaitkeeper.audit.recognition import Progress, Record, silent
from gaitkeeper.audit.rows import Row, Rows
from gaitkeeper.datasets.base import batches
from gaitkeeper.datasets.clip_files import write_clip, write_index
from gaitkeeper.datasets.clips import Clips
from gaitkeeper.errors import DataError
from gaitkeeper.files import replacing, write_text
from gaitkeeper.models.ensemble import Member
from gaitkeeper.models.weights import load_action_victim
from gaitkeeper.motion import kinematics
from gaitkeeper.motion.kinematics import JointLimits, joint_limits, to_joints
from gaitkeeper.seeding import SampleStreams

LEARNED = 400
"""Clean training clips from which the limits of joints are read."""


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
            for row, clip, predicted in zip(made, clips, recognized(victim, clips, self.data).tolist(), strict=True):
                right = predicted == clip.label
                row |= {"predicted": classes[predicted], "natural": right, "right": right}
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
                predicted = recognized(victim, clips, self.data).tolist()
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
