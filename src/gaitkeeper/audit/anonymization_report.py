"""The report of a measurement of anonymizers: one HTML file with verdicts, tables, curves and clips that play."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from gaitkeeper.anonymize.methods import METHODS
from gaitkeeper.audit.anonymization import AnonymizationOutcome
from gaitkeeper.audit.anonymization_grid import NATURAL, AnonymizationSettings
from gaitkeeper.audit.anonymization_summary import figure, judges_of, methods_of, worst
from gaitkeeper.audit.anonymization_tables import tables_of
from gaitkeeper.audit.anonymized import Recorder
from gaitkeeper.audit.figures import MARKERS, PALETTE, Key, Plot, view_plot
from gaitkeeper.audit.figures import NATURAL as UNALTERED
from gaitkeeper.audit.recognition import silent
from gaitkeeper.audit.report import Example, Finding, Panel, Part, Picture, Report, Table, write_report
from gaitkeeper.audit.verdict import Bar, Record, clearly_below, interval_text
from gaitkeeper.synthetic.population import FPS

TITLE = "How much do these anonymizers hide?"

LIMITS = (
    "Walkers are synthetic and recorded indoors, one at a time; real people differ in more than these do, and may be "
    "told apart by more.",
    "A judge that was adapted had one anonymized clip of each of its recordings. Who has more clips, more people or a "
    "better network may identify more.",
    "View, pace, height in the picture and path are not hidden, and clothes, place, time and company identify people "
    "whatever their gait.",
    "Silhouettes are 64 pixels high and were written as video by themselves, on black; a color video is segmented "
    "less cleanly, which hides a little more.",
)
"""What every such measurement leaves open."""

_TERMS = (
    (
        "Identified, rank-1 and rank-3",
        "A probe is identified if the enrolled clip most like it is of the right person; at rank-3, if the right "
        "person is among the three most alike. “Same view” looks in the gallery of the probe's own camera, “cross "
        "view” in those of the other cameras, and takes the mean.",
    ),
    (
        "As trained, adapted",
        "A judge as trained has never seen the method. An adapted one was retrained by somebody who has it and "
        "anonymized their own people with it, until people it was not trained on were identified no better. What a "
        "method is worth is decided by the adapted ones.",
    ),
    (
        "Re-identify, link",
        "Re-identify: an anonymized clip is looked for among unaltered ones. Link: the enrolled clips are anonymized "
        "too, each by itself.",
    ),
    (
        "Negative controls",
        "Blur, pixels and dilation are fixed filters. A judge that learns enough sees through them; where it does "
        "not, its failure before other methods says nothing.",
    ),
    (
        "What is judged",
        "Everything, unaltered clips too, was written as H.264 video, read back, segmented at half brightness and "
        "aligned; of blurred and pixelated pictures the greys are kept, as whoever wants to identify people would.",
    ),
    (
        "Brackets and bands",
        "95 % intervals. Clips of one person are not independent, so they count as many as vary like people do.",
    ),
)


CLOSING = (
    "These figures hold for these recognizers, methods and synthetic walkers; another recognizer may identify more, "
    "and nothing here shows that somebody cannot be recognized."
)


def anonymization_part(
    outcome: AnonymizationOutcome,
    settings: AnonymizationSettings,
    *,
    first: Sequence[str] = (),
    tables: Sequence[Table] = (),
    plots: Sequence[Plot] = (),
    examples: Sequence[Example] = (),
    pictures: Sequence[Picture] = (),
) -> Part:
    """Return a report's part about anonymizers.

    Args:
        outcome: of the measurement.
        settings: of the measurement.
        first: sentences that come after what does not count, and before the methods.
        tables: further ones, before those of the measurement.
        plots: the same.
        examples: sequences to play.
        pictures: stills.
    """
    records = outcome.records
    findings = [Finding(title="What does not count", sentences=outcome.warnings)] if outcome.warnings else []
    findings += [Finding(title="Published and measured", sentences=first)] if first else []
    ranked = ranking(records) if settings.adapt else []
    if ranked:
        findings.append(Finding(title="Which hides most", sentences=ranked))
    findings += [
        Finding(title=method, sentences=sentences_of(records, settings, method), bars=_bars(records, method))
        for method in methods_of(records)
    ]
    return Part(
        title="Anonymized gait",
        findings=findings,
        axis="people identified, rank-1, same view",
        facts=(
            f"{len(settings.subjects)} walkers", f"{len(settings.samples('probes'))} probes", *judges_of(records),
            f"guessing {settings.chance():.3g} %",
        ),
        terms=_TERMS,
        tables=[*tables, *tables_of(outcome.rows, records, settings)],
        plots=[*plots, *_view_plots(records, settings)],
        examples=examples,
        pictures=pictures,
        limits=LIMITS,
    )  # fmt: skip


def write_anonymization_report(
    path: Path, outcome: AnonymizationOutcome, settings: AnonymizationSettings, *, out: Path, seed: int
) -> Part:
    """Write the report of a measurement whose files are in ``out``, and return what it says."""
    recorder = Recorder(settings, out / "recordings", seed=seed, progress=silent)
    names = [name for name in methods_of(outcome.records) if name in METHODS]
    part = anonymization_part(outcome, settings, examples=examples_of(recorder, names))
    told = {"seed": seed, **asdict(settings)}
    write_report(path, Report(title=TITLE, records=(), settings=told, actions=part, closing=CLOSING))
    return part


def sentences_of(records: Sequence[Record], settings: AnonymizationSettings, method: str) -> list[str]:
    """Return what is to be said of a method, a sentence a judge, adapted figures beside those of judges as trained."""
    said = []
    for judge in judges_of(records):
        natural, fixed = figure(records, judge, NATURAL), figure(records, judge, method)
        if natural is None or fixed is None:
            continue
        fell = "fell" if clearly_below(fixed, natural) else "went"
        text = f"Identification by {judge} {fell} from {_share(natural)} to {_share(fixed)}"
        text += f" (chance {settings.chance():.3g} %)"
        adapted = figure(records, judge, method, adapted=True)
        linked = figure(records, judge, method, adapted=True, task="link")
        if adapted is None:
            text += "; no judge was adapted, so that this does not say what the method is worth."
        else:
            text += f"; adapted to the method it identifies {_share(adapted)}"
            text += f", and links {_share(linked)}." if linked else "."
        said.append(text)
    return said


def ranking(records: Sequence[Record]) -> list[str]:
    """Return a sentence that puts methods in the order of what the worst judge for them identifies."""
    found = [(method, worst(records, method)) for method in methods_of(records)]
    known = sorted(((m, r) for m, r in found if r), key=lambda pair: float(pair[1]["value"]))
    if not known:
        return []
    listed = ", ".join(f"{method} {record['value']:.1f} %" for method, record in known)
    best, record = known[0]
    how = f"{record['model']}, {'adapted' if record['adapted'] else 'as trained'}, {record['task']}"
    return [
        f"By the most that any judge identifies in any way, rank-1 in the same view, {best} hides most: "
        f"{_share(record)} ({how}).",
        f"In order: {listed}.",
    ]


def _share(record: Record) -> str:
    return f"{record['value']:.1f} % {interval_text(record)}".strip()


def _bars(records: Sequence[Record], method: str) -> list[Bar]:
    """Return the figures of the judge that identifies most of a method's clips."""
    most = worst(records, method)
    if most is None:
        return []
    judge = most["model"]
    asked = (
        (f"Unaltered, {judge}", figure(records, judge, NATURAL), "natural"),
        ("As trained", figure(records, judge, method), "control"),
        ("Adapted", figure(records, judge, method, adapted=True), "attack"),
        ("Adapted, link", figure(records, judge, method, adapted=True, task="link"), "attack"),
    )
    return [
        Bar(label=label, record={**record, "metric": "rank1"}, kind=kind) for label, record, kind in asked if record
    ]


def _view_plots(records: Sequence[Record], settings: AnonymizationSettings) -> list[Plot]:
    """Draw rank-1 by view, a plot a judge: adapted to each method where that was measured."""
    if len(settings.views) < 2:
        return []
    methods = [m for m in methods_of(records) if m in METHODS and not METHODS[m].control][: len(PALETTE)]
    keys = [(m, Key(label=m, color=PALETTE[i], marker=MARKERS[i])) for i, m in enumerate(methods)]
    plots = []
    for judge in judges_of(records):

        def points(method: str, *, adapted: bool, judge: str = judge) -> list[Record]:
            found = [figure(records, judge, method, view=view, adapted=adapted) for view in settings.views]
            return [record for record in found if record]

        lines = [(UNALTERED, points(NATURAL, adapted=False))]
        lines += [(key, points(method, adapted=settings.adapt)) for method, key in keys]
        lines = [(key, found) for key, found in lines if found]
        which = "adapted to each method" if settings.adapt else "as trained"
        title = f"{judge}, {which}: people identified by view"
        caption = "Rank-1 in the same view, gallery of unaltered clips. Bands are 95 % intervals over people."
        if lines:
            plots.append(view_plot(title, caption, lines, chance=settings.chance(), up="identified, %"))
    return plots


def examples_of(recorder: Recorder, methods: Sequence[str], *, people: int = 1) -> list[Example]:
    """Return probes as they were read back, unaltered beside anonymized by each method, to be played.

    Args:
        recorder: of the measurement; what it kept is used.
        methods: in order.
        people: how many are shown, each from the first view and from the side if there is one.
    """
    settings = recorder.settings
    samples, views = settings.samples("probes"), settings.views
    shown = list(dict.fromkeys((views[0], min(views, key=lambda view: abs(view - 90)))))
    chosen = [
        index
        for subject in settings.subjects[:people]
        for view in shown
        for index, s in enumerate(samples)
        if (s.subject, s.condition, s.view) == (f"{subject:03d}", settings.conditions[0], view)
    ]
    clips = {name: recorder.read(name, "probes").silhouettes for name in (NATURAL, *methods)}
    made = []
    for index in chosen:
        panels = [Panel(label=name, frames=_larger(found[index])) for name, found in clips.items() if len(found[index])]
        sample = samples[index]
        caption = (
            f"Walker {sample.subject}, {sample.condition}, {sample.view}°: as judges see it after it was read back."
        )
        made.append(Example(title=f"Seen from {sample.view}°", caption=caption, panels=panels, fps=FPS, drawn=True))
    return made


def _larger(frames: np.ndarray, factor: int = 2) -> np.ndarray:
    """Return clips that are large enough to be looked at."""
    return frames.repeat(factor, axis=1).repeat(factor, axis=2)
