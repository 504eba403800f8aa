"""Running an audit: every model under every cell of the grid, a row a probe."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gaitkeeper import __version__
from gaitkeeper.attacks.attacked import Attacked
from gaitkeeper.attacks.goals import Nontargeted, Targeted
from gaitkeeper.audit.cells import attack_of, threat_of
from gaitkeeper.audit.grid import SHARES, AuditSettings, Cell, StoredName
from gaitkeeper.audit.recognition import Progress, Record, enroll, evaluate, named, silent
from gaitkeeper.audit.rows import Row, Rows
from gaitkeeper.audit.sparse import appearance, sparse_attack, sparse_goal, splice_of
from gaitkeeper.audit.summary import summarize
from gaitkeeper.datasets.base import Sample, Sequences, batches, load_usable, to_motion
from gaitkeeper.datasets.export import write_sequence
from gaitkeeper.datasets.open import open_sequences
from gaitkeeper.datasets.protocols import TEST_SUBJECTS, protocol_for
from gaitkeeper.datasets.walkers import WalkersA, WalkerSequences
from gaitkeeper.errors import DataError
from gaitkeeper.files import replacing, write_text
from gaitkeeper.models.generators.gan import SilhouetteGAN, load_gan
from gaitkeeper.models.victim import Identifier
from gaitkeeper.models.weights import load_victim
from gaitkeeper.motion.motion import Domain, Motion
from gaitkeeper.seeding import SampleStreams, stream
from gaitkeeper.synthetic.camera import OUTDOORS
from gaitkeeper.synthetic.population import VIEWS


@dataclass(frozen=True)
class Probe:
    """A sequence that is looked for."""

    sample: Sample
    condition: str
    frames: np.ndarray


@dataclass(frozen=True)
class Outcome:
    """What an audit leaves besides its files."""

    records: list[Record]
    skipped: list[tuple[str, str]]
    subjects: tuple[str, ...]
    biometric: bool


def evaluate_populations(
    settings: AuditSettings, *, stored: StoredName, ablations: bool, device: str, progress: Progress
) -> tuple[list[Record], list[tuple[str, str]]]:
    """Return rank-1 of each model of the settings on all probes of its data, and the samples that were skipped.

    Args:
        settings: names the models and the data.
        stored: the format in which sequences are stored.
        ablations: also walkers with identical movement, of whom only bodies tell who they are, and walkers with
            identical bodies.
        device: where to compute.
        progress: called as batches are done.
    """
    variants = {"": settings}
    if ablations:
        if settings.data is not None:
            raise DataError("the ablations are of walkers: bodies or movements of recorded people cannot be made equal")
        people = settings.population
        variants[", bodies only"] = replace(settings, population=replace(people, dynamics=0.0))
        variants[", dynamics only"] = replace(settings, population=replace(people, shape=0.0))
    records: list[Record] = []
    skipped: list[tuple[str, str]] = []
    for name in settings.model:
        victim = load_victim(name, device=device).storing(stored)
        for variant, changed in variants.items():
            data = open_data(changed)
            protocol = protocol_for(data.samples)
            found = evaluate(victim, data, protocol, model=name, skipped=skipped, progress=progress)
            records += [{**r, "data": data.name + variant} for r in found]
    return records, skipped


def open_data(settings: AuditSettings) -> Sequences:
    """Return the sequences that the settings name.

    Raises:
        DataError: an unknown subject or view, or an unusable folder.
    """
    if settings.data is None:
        return WalkerSequences(
            settings.population,
            subjects=_numbered(settings.subjects, TEST_SUBJECTS),
            views=settings.views or VIEWS,
            frames=settings.frames,
        )
    if settings.data == WalkersA.name and not Path(settings.data).exists():
        subjects = _numbered(settings.subjects, range(1, OUTDOORS.subjects + 1))
        return WalkersA(subjects=subjects, views=settings.views or OUTDOORS.views)
    return open_sequences(Path(settings.data), subjects=settings.subjects, views=settings.views)


def _numbered(subjects: Sequence[str] | None, default: Sequence[int]) -> list[int]:
    """Return the numbers of walkers asked for by name."""
    if subjects is None:
        return list(default)
    wrong = [name for name in subjects if not name.isdecimal()]
    if wrong:
        raise DataError(f"walkers are numbered; unknown subject {', '.join(wrong)}")
    return [int(name) for name in subjects]


def choose_probes(
    settings: AuditSettings,
    data: Sequences,
    probes: Mapping[str, Sequence[int]],
    skipped: list[tuple[str, str]],
) -> list[Probe]:
    """Draw the probes of each condition by the seed, and load them."""
    chosen: list[Probe] = []
    for condition, indices in probes.items():
        order = stream(settings.seed, "probes", condition).permutation(len(indices))[: settings.probes]
        kept, arrays = load_usable(data, [indices[i] for i in sorted(order)], skipped)
        chosen += [Probe(data.samples[i], condition, array) for i, array in zip(kept, arrays, strict=True)]
    if not chosen:
        raise DataError(f"{data.name}: no probe can be used; the first: {skipped[0][1]}")
    return chosen


class _Model:
    """One model of the audit: its identifiers by stored format, made when first needed."""

    def __init__(self, name: str, audit: _Audit) -> None:
        self.name, self._audit = name, audit
        self._victim = load_victim(name, device=audit.device)
        self._identifiers: dict[str, Identifier] = {}

    @property
    def domain(self) -> Domain:
        """What the model accepts."""
        return self._victim.domain

    def identifier(self, cell: Cell) -> Identifier:
        if cell.stored not in self._identifiers:
            audit = self._audit
            victim = self._victim.storing(cell.stored)
            skipped = audit.skipped if not self._identifiers else []
            gallery = enroll(
                victim, audit.data, audit.enrolled, exclude_same_view=audit.protocol.exclude_same_view,
                skipped=skipped, progress=audit.progress,
            )  # fmt: skip
            self._identifiers[cell.stored] = Identifier(victim, gallery)
        return self._identifiers[cell.stored]


class _Audit:
    """The parts that every cell shares."""

    def __init__(
        self, settings: AuditSettings, cells: Sequence[Cell], out: Path, device: str, progress: Progress
    ) -> None:
        self.settings, self.cells, self.out = settings, cells, out
        self.device, self.progress = device, progress
        self.write_sequences = False
        self.skipped: list[tuple[str, str]] = []
        self.data = open_data(settings)
        self.protocol = protocol_for(self.data.samples)
        self.enrolled, probes = self.protocol.split(self.data.samples)
        self.probes = choose_probes(settings, self.data, probes, self.skipped)
        self._models: dict[str, _Model] = {}

    def run(self, rows: Rows) -> None:
        if any(cell.norm in SHARES for cell in self.cells):
            for name in self.settings.model:
                self.gan.check(self._model(name).domain)
        total = len(self.settings.model) * len(self.cells) * len(self.probes)
        done = 0
        for name in self.settings.model:
            model = self._model(name)
            for number, cell in enumerate(self.cells):
                for chunk in batches(len(self.probes), self.settings.batch):
                    probes = [self.probes[i] for i in chunk]
                    if not all(rows.has(name, cell.key, probe.sample.key) for probe in probes):
                        rows.append(self._rows_of(model, cell, number, probes, rows))
                    done += len(probes)
                    self.progress(done, total, f"{name}: {cell.label} {cell.goal} {cell.stored}")

    def _model(self, name: str) -> _Model:
        if name not in self._models:
            self._models[name] = _Model(name, self)
        return self._models[name]

    @cached_property
    def gan(self) -> SilhouetteGAN:
        """The generator, loaded when the first cell needs it."""
        return load_gan(self.settings.generator, device=self.device)

    def _rows_of(self, model: _Model, cell: Cell, number: int, probes: list[Probe], rows: Rows) -> list[Row]:
        identifier = model.identifier(cell)
        names = identifier.gallery.names
        probes = self._enrolled(probes, names)
        if not probes:
            return []
        keys = [probe.sample.key for probe in probes]
        motion = to_motion([p.frames for p in probes], [p.sample.view for p in probes]).to(self.device)
        labels = torch.tensor([names.index(p.sample.subject) for p in probes], device=self.device)
        targets = torch.tensor([self._target(k, int(label), len(names)) for k, label in zip(keys, labels, strict=True)])
        targets = targets.to(self.device)
        motion = motion.with_data(identifier.domain.harden(motion.data))
        attacked: Attacked | None = None
        extra: dict[str, list[Any]] = {}
        if cell.attack == "none":
            with torch.no_grad():
                outputs = identifier(motion)
        else:
            streams = SampleStreams(self.settings.seed, keys)
            if cell.norm in SHARES:
                goal = sparse_goal(cell, identifier, motion, labels, targets, self.settings.seed, keys)
                spliced = splice_of(cell, identifier, motion, streams)
                attacked = sparse_attack(cell, spliced, goal, self.gan, streams)
                extra = appearance(spliced, attacked, self.gan)
            else:
                goal = Targeted(targets=targets) if cell.goal == "targeted" else Nontargeted(labels=labels)
                attacked = attack_of(cell)(identifier, motion, goal, threat=threat_of(cell), streams=streams)
            outputs = attacked.outputs
        seen = motion if attacked is None else attacked.motion
        extra["transfer"] = self._transfers(model, cell, seen, labels, targets, names)
        right, decided = named(outputs, labels)
        hits, _ = named(outputs, targets)
        natural = Cell(stored=cell.stored).key
        made: list[Row] = []
        for i, probe in enumerate(probes):
            views = [int(v) for v in identifier.views[right[i]]]
            row: Row = {
                "model": model.name, "data": self.data.name, "cell": cell.key, "attack": cell.label,
                "goal": cell.goal, "norm": cell.norm, "budget": cell.budget, "stored": cell.stored,
                "sample": keys[i], "condition": probe.condition, "view": probe.sample.view,
                "galleries": int(decided[i].sum()), "right": views,
            }  # fmt: skip
            row |= {name: values[i] for name, values in extra.items()}
            if attacked is not None:
                if cell.goal == "targeted":
                    row["target"] = names[int(targets[i])]
                    row["success"] = int(hits[i].sum()) / row["galleries"]
                else:
                    before = rows.get(model.name, natural, keys[i])["right"]
                    row["target"] = None
                    row["success"] = len(set(before) - set(views)) / len(before) if before else None
                row |= {name: round(float(value[i]), 6) for name, value in attacked.distances.items()}
                row |= {name: int(getattr(attacked, name)[i]) for name in ("forwards", "backwards", "steps")}
            made.append(row)
        if attacked is not None:
            if not cell.attack.startswith("random"):
                self._keep_examples(model.name, number, motion, attacked, made)
            if self.write_sequences:
                for i, probe in enumerate(probes):
                    write_sequence(self.out / "attacked", probe.sample, _stored_frames(attacked.motion, i))
        return made

    def _transfers(
        self, model: _Model, cell: Cell, motion: Motion, labels: Tensor, targets: Tensor, names: Sequence[str]
    ) -> list[dict[str, dict[str, float]]]:
        """Return, for each sample, what the other recognizers make of it: shares of galleries by recognizer.

        ``rank1`` of galleries name the person, ``success`` of them the person that a targeted attack is after. A
        sequence stored in 8 bits is also judged when its silhouettes are made binary afterwards.
        """
        judges = dict.fromkeys(dict.fromkeys((*self.settings.model, *self.settings.transfer)), cell)
        del judges[model.name]
        if model.name in self.settings.transfer and cell.stored == "uint8":
            judges[model.name] = replace(cell, stored="binary")
        found: list[dict[str, dict[str, float]]] = [{} for _ in labels]
        for name, seen in judges.items():
            identifier = self._model(name).identifier(seen)
            if identifier.gallery.names != names:
                raise DataError(f"{name} enrolls other people than {model.name}: their figures cannot be compared")
            with torch.no_grad():
                outputs = identifier(motion.with_data(identifier.domain.harden(motion.data)))
            right, decided = named(outputs, labels)
            hits, _ = named(outputs, targets)
            label = f"{name}, binarized" if seen is not cell else name
            for i, entry in enumerate(found):
                galleries = int(decided[i].sum())
                entry[label] = {"rank1": int(right[i].sum()) / galleries, "success": int(hits[i].sum()) / galleries}
        return found

    def _enrolled(self, probes: list[Probe], names: tuple[str, ...]) -> list[Probe]:
        """Return the probes of people in the gallery; the others are listed as skipped."""
        for probe in probes:
            reason = (probe.sample.key, "none of the subject's sequences to enroll can be used")
            if probe.sample.subject not in names and reason not in self.skipped:
                self.skipped.append(reason)
        return [probe for probe in probes if probe.sample.subject in names]

    def _target(self, key: str, label: int, identities: int) -> int:
        other = int(stream(self.settings.seed, "target", key).integers(identities - 1))
        return other + (other >= label)

    def _keep_examples(self, model: str, number: int, motion: Motion, attacked: Attacked, made: list[Row]) -> None:
        """Keep the first successes of a cell for the report."""
        folder = self.out / "examples"
        stem = f"{self.settings.model.index(model):02d}-{number:03d}"
        kept = len(list(folder.glob(f"{stem}-*.npz")))
        # Where nothing was right before, an attack that changes nothing wins too, and shows nothing.
        wins = [i for i, row in enumerate(made) if attacked.success[i] and row["success"]]
        for i in wins[: max(0, self.settings.examples - kept)]:
            path = folder / f"{stem}-{str(made[i]['sample']).replace('/', '_')}.npz"
            before, after = _stored_frames(motion, i), _stored_frames(attacked.motion, i)
            with replacing(path) as temporary:
                np.savez_compressed(temporary, before=before, after=after, row=json.dumps(made[i]))


def _stored_frames(motion: Motion, i: int) -> np.ndarray:
    """Return one sample's valid frames ``(t, h, w)`` uint8."""
    length = len(motion.data[i]) if motion.lengths is None else int(motion.lengths[i])
    return (255 * motion.data[i, :length]).round().to(torch.uint8).cpu().numpy()


def run_audit(
    settings: AuditSettings,
    out: Path,
    *,
    cells: Sequence[Cell] | None = None,
    write_sequences: bool = False,
    device: str = "cpu",
    progress: Progress = silent,
) -> Outcome:
    """Run an audit, or go on with one that was interrupted.

    Writes ``settings.json``, ``rows.jsonl`` (as rows are made), ``examples/`` and ``summary.json`` into ``out``.

    Args:
        settings: of the audit.
        out: its folder.
        cells: in place of the settings' grid; natural cells come before the attacks on the same stored format.
        write_sequences: also write every attacked sequence as PNG files under ``attacked/``.
        device: where to compute.
        progress: called as probes are done.

    Raises:
        GaitkeeperError: unusable data or weights, or a folder of another audit.
    """
    cells = list(settings.grid.cells()) if cells is None else list(cells)
    described = {"gaitkeeper": __version__, **dataclasses.asdict(settings), "cells": [cell.key for cell in cells]}
    del described["actions"]
    audit = _Audit(settings, cells, out, device, progress)
    audit.write_sequences = write_sequences
    with Rows(out, json.loads(json.dumps(described))) as rows:
        audit.run(rows)
        records = summarize(rows.all())
    write_text(out / "summary.json", json.dumps(records, indent=1) + "\n")
    subjects = tuple(sorted({audit.data.samples[i].subject for i in audit.enrolled}))
    return Outcome(records, audit.skipped, subjects, audit.data.biometric)
