"""Measuring anonymizers: every method before every judge, as judges are and adapted to the method."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from gaitkeeper import __version__
from gaitkeeper.anonymize.filters import Unchanged
from gaitkeeper.anonymize.walk import Anonymizer
from gaitkeeper.audit.anonymization_grid import GALLERIES, NATURAL, RANKS, TASKS, AnonymizationSettings, Task
from gaitkeeper.audit.anonymization_summary import LOOKS, summarize_anonymization, warnings_of
from gaitkeeper.audit.anonymized import ReadBack, Recorder, told
from gaitkeeper.audit.judges import Judge, identification, load_judges
from gaitkeeper.audit.recognition import Progress, silent
from gaitkeeper.audit.rows import Row, Rows
from gaitkeeper.audit.verdict import Record
from gaitkeeper.files import write_text
from gaitkeeper.models.walking import WalkingScorer, video_score
from gaitkeeper.synthetic.population import FPS


@dataclass(frozen=True)
class AnonymizationOutcome:
    """What a measurement leaves besides its files: rows, figures, and what makes figures not count."""

    rows: list[Row]
    records: list[Record]
    warnings: tuple[str, ...]


class _Measurement:
    """The parts that every method shares."""

    def __init__(
        self, settings: AnonymizationSettings, recorder: Recorder, judges: Sequence[Judge], rows: Rows, *, seed: int,
        scorer: WalkingScorer | None, progress: Progress,
    ) -> None:  # fmt: skip
        self.settings, self.recorder, self.judges, self.rows = settings, recorder, judges, rows
        self.seed, self.scorer, self.progress = seed, scorer, progress
        self._originals: dict[str, ReadBack] = {}

    def run(self, name: str) -> None:
        """Append what is not there yet of one method's rows."""
        self._look(name)
        for judge in self.judges:
            if name != NATURAL and self.recorder.anonymizer(name) == Unchanged():
                self._same_as_natural(name, judge)
                continue
            for adapted in (False, True) if self.settings.adapt else (False,):
                tasks = [t for t in TASKS if not self.rows.has(judge.name, cell_name(name, t, adapted=adapted), "all")]
                if name == NATURAL:
                    # Unaltered clips against an unaltered gallery: linking is re-identifying.
                    tasks = [t for t in tasks if t == "re-identify"]
                if tasks:
                    self._judge(name, judge, tasks, adapted=adapted)

    def _judge(self, name: str, judge: Judge, tasks: Sequence[Task], *, adapted: bool) -> None:
        used = self._adapt(name, judge) if adapted else judge
        probes = self.recorder.read(name, "probes")
        history = [asdict(check) for check in used.history] if adapted else []
        made = []
        for task in tasks:
            gallery = self._natural("gallery") if task == "re-identify" else self.recorder.read(name, "gallery")
            row: Row = {"model": judge.name, "cell": cell_name(name, task, adapted=adapted), "sample": "all"}
            row |= {"method": name, "task": task, "adapted": adapted, "history": history}
            made.append(row | hits(used, probes, gallery, anonymized=name != NATURAL, task=task))
        self.rows.append(made)

    def _adapt(self, name: str, judge: Judge) -> Judge:
        """Return a judge retrained by somebody who has the method."""
        own = self._natural("own").recordings(anonymized=False)
        hidden = self.recorder.read(name, "own").recordings(anonymized=True)
        probes = self.recorder.read(name, "validation-probes").recordings(anonymized=name != NATURAL)
        gallery = self._natural("validation-gallery").recordings(anonymized=False)

        def tell(done: int, total: int, text: str) -> None:
            self.progress(done, total, f"{judge.name}, {name}: {text}")

        return judge.adapted(own.joined(hidden), (probes, gallery), seed=self.seed, progress=tell)

    def _natural(self, part: str) -> ReadBack:
        if part not in self._originals:
            self._originals[part] = self.recorder.read(NATURAL, part)  # type: ignore[arg-type]
        return self._originals[part]

    def _same_as_natural(self, name: str, judge: Judge) -> None:
        """Give a method that changes no silhouette the figures of unaltered clips, which it would get."""
        made = []
        for adapted in (False, True) if self.settings.adapt else (False,):
            found = self.rows.get(judge.name, cell_name(NATURAL, "re-identify", adapted=adapted), "all")
            for task in TASKS:
                cell = cell_name(name, task, adapted=adapted)
                made.append({**found, "cell": cell, "method": name, "task": task})
        self.rows.append(made)

    def _look(self, name: str) -> None:
        """Measure how a method's probes look beside the unaltered ones."""
        if self.rows.has(LOOKS, name, "all"):
            return
        probes = self.recorder.read(name, "probes")
        score = np.zeros(len(probes.silhouettes))
        score[probes.left] = video_score([probes.silhouettes[i] for i in probes.left], fps=FPS, scorer=self.scorer)
        figures = {**probes.likeness, "video": score}
        row: Row = {"model": LOOKS, "cell": name, "sample": "all", "method": name}
        row |= {key: rounded(values) for key, values in figures.items()}
        self.rows.append([row | {"lost": len(probes.silhouettes) - len(probes.left)}])


def cell_name(method: str, task: Task, *, adapted: bool) -> str:
    """Return the cell of a method's row: ``blur/adapted/link``."""
    return f"{method}/{'adapted' if adapted else 'fixed'}/{task}"


def hits(judge: Judge, probes: ReadBack, gallery: ReadBack, *, anonymized: bool, task: Task) -> Row:
    """Return which probes a judge identifies, in the order in which they were asked for.

    Args:
        judge: gives the scores.
        probes: n clips; one of which nothing is left is not identified.
        gallery: the enrolled clips; by one of which nothing is left nobody is identified.
        anonymized: whether the probes are.
        task: the gallery is as it was where they are re-identified, and anonymized too where clips are linked.

    Returns:
        For ``same`` (the gallery of the probe's own view) and ``cross`` (the mean over those of other views), by rank,
        one value in [0, 1] a probe, None where there is no such gallery.
    """
    known = probes.recordings(anonymized=anonymized)
    enrolled = gallery.recordings(anonymized=anonymized and task == "link")
    several = len({sample.view for sample in gallery.samples}) > 1
    seen = bool(len(known) and len(enrolled))
    scores = judge.scores(known, enrolled) if seen else None
    row: Row = {"same": {}, "cross": {}}
    for rank in RANKS:
        found = {} if scores is None else identification(scores, known, enrolled, rank=rank)
        for where in GALLERIES:
            values = np.zeros(len(probes.silhouettes))
            if where in found:
                # Whoever is enrolled, but cannot be seen there any more, is not found.
                values[probes.left] = np.nan_to_num(found[where])
            row[where][str(rank)] = rounded(values if where == "same" or several else np.full_like(values, np.nan))
    return row


def rounded(values: np.ndarray) -> list[float | None]:
    """Return values as rows hold them, None where there is none."""
    return [round(float(v), 4) if np.isfinite(v) else None for v in values]


def run_anonymization(
    settings: AnonymizationSettings,
    out: Path,
    *,
    seed: int = 0,
    judges: Sequence[Judge] | None = None,
    anonymizers: Mapping[str, Anonymizer] | None = None,
    scorer: WalkingScorer | None = None,
    recordings: Path | None = None,
    progress: Progress = silent,
) -> AnonymizationOutcome:
    """Measure how often people are identified before and after anonymization, or go on with a measurement.

    Writes ``settings.json``, ``rows.jsonl`` (a row a method, judge and task, as it is made), ``recordings/`` (what
    was read back) and ``summary.json`` into ``out``.

    Everything that judges see was written as video, read, segmented and aligned, unaltered clips too. Each clip is
    anonymized with random numbers of its own.

    Args:
        settings: what is measured.
        out: its folder.
        seed: of the anonymizers and of adaptation.
        judges: in place of those that the settings name.
        anonymizers: further ones by name, measured after those of the settings.
        scorer: says how probable it is that a clip shows somebody who walks; the shipped network without.
        recordings: folder of recordings that several measurements share; without it one in ``out``.
        progress: called as clips or training steps are done.

    Raises:
        GaitkeeperError: unusable weights, or a folder of another measurement.
    """
    judges = load_judges(settings.judges) if judges is None else judges  # type: ignore[arg-type]
    names = list(dict.fromkeys((NATURAL, *settings.methods, *(anonymizers or {}))))
    described = {
        "gaitkeeper": __version__, "seed": seed, **asdict(settings),
        "judges": [judge.name for judge in judges], "anonymizers": {k: told(v) for k, v in (anonymizers or {}).items()},
    }  # fmt: skip
    with Rows(out, json.loads(json.dumps(described))) as rows:
        folder = recordings or out / "recordings"
        recorder = Recorder(settings, folder, seed=seed, anonymizers=anonymizers, progress=progress)
        measurement = _Measurement(settings, recorder, judges, rows, seed=seed, scorer=scorer, progress=progress)
        for number, name in enumerate(names):
            measurement.run(name)
            progress(number + 1, len(names), f"{name} measured")
        every = rows.all()
    records = summarize_anonymization(every, settings)
    write_text(out / "summary.json", json.dumps(records, indent=1) + "\n")
    return AnonymizationOutcome(every, records, warnings_of(records, settings))
