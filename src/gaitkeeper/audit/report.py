"""The report of an audit: one HTML file that needs nothing else, plays its sequences and asks no network."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from gaitkeeper.audit.figures import Plot, budget_plots, heading, png_uri, sheet, view_plots
from gaitkeeper.audit.grid import SHARES
from gaitkeeper.audit.palette import palette_uri
from gaitkeeper.audit.templates import APPEARANCE, METRICS, TRANSFER, flatten, page
from gaitkeeper.audit.verdict import (
    CLOSING,
    Bar,
    Record,
    amount_text,
    attack_rank,
    condition_rank,
    group_verdict,
    has_interval,
    is_attack,
    measured,
    norm_rank,
    overview,
    scope_of,
    scope_text,
    select,
    storage_formats,
    stored_text,
    verdict,
)
from gaitkeeper.errors import DataError
from gaitkeeper.files import write_text

KEYS = (
    *("model", "data", "attack", "goal", "norm", "budget", "stored"),
    *("condition", "view", "metric", "value", "low", "high", "n"),
)
SHEET_COLUMNS = 10
SHOWN = 6
"""Examples of a report that are in sight; further ones are folded."""

_RATES = ("rank1", "success")
_SETTING = ("goal", "stored", "norm", "budget", "attack")


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One sequence of an example.

    Args:
        label: what is seen, for instance "attacked".
        frames: uint8 of shape (t, h, w), or (t, h, w, 3) in RGB.
        marked: indices of the frames that were altered or inserted.
    """

    label: str
    frames: np.ndarray
    marked: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Example:
    """Sequences that are played side by side.

    Args:
        title: what is shown.
        caption: what to notice.
        panels: the sequences; shorter ones stay on their last frame.
        fps: frames a second.
        verb: what was done to the marked frames.
        drawn: the frames are drawings of few colors, which may be shown larger than they are.
    """

    title: str
    caption: str
    panels: Sequence[Panel]
    fps: float = 12.5
    verb: str = "altered"
    drawn: bool = False


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A still picture.

    Args:
        title: what is shown.
        caption: what to notice.
        image: uint8 of shape (h, w, 3), RGB.
    """

    title: str
    caption: str
    image: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of texts.

    Args:
        title: what is shown.
        caption: how to read it.
        columns: headings, the one of the rows' names first.
        rows: one text a column; the first names the row.
        folded: shown only when it is opened.
    """

    title: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    folded: bool = False


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The verdict on one recognizer and one data set.

    Args:
        title: which.
        sentences: the verdict.
        bars: the figures that carry it, in percent.
    """

    title: str
    sentences: Sequence[str]
    bars: Sequence[Bar] = ()


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of a report that is not about identification.

    Args:
        title: its heading.
        findings: its verdicts.
        axis: what the bars of the verdicts show.
        facts: what the page's head says of it, in a few words each.
        terms: words that are to be explained, with their meanings.
        tables: in order; folded ones come after plots and examples.
        plots: of its own.
        examples: sequences to play.
        pictures: stills.
        limits: what it leaves open, in sentences.
    """

    title: str
    findings: Sequence[Finding]
    axis: str = ""
    facts: Sequence[str] = ()
    terms: Sequence[tuple[str, str]] = ()
    tables: Sequence[Table] = ()
    plots: Sequence[Plot] = ()
    examples: Sequence[Example] = ()
    pictures: Sequence[Picture] = ()
    limits: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a report is made of.

    Args:
        title: the page's heading.
        records: summary records in long form, each with the keys in ``KEYS``, those of transfer also with ``judge``.
        settings: everything the audit was run with, nested; printed completely.
        chance: rank-1 of guessing, percent; of no matter where nobody is identified.
        identities: people in the gallery, 0 where nobody is identified.
        examples: sequences to play.
        pictures: stills.
        tables: further tables, shown in a section of their own together with ``plots``.
        plots: further plots, from the records' charts or of the caller's own.
        decisions: rows of a table of single decisions, for instance on a real clip.
        findings: sentences of the verdict where there are no records to make one of.
        skipped: what was left out, and why.
        biometric: whether frames or figures are of real people.
        limits: further limits of the audit, in sentences.
        unseen: whether the network was trained on none of the gallery's people; only then the report says so.
        closing: the last sentence of the verdict and of the limits.
        actions: what was found about skeleton actions; a report has this part, the one about identification or both.
    """

    title: str
    records: Sequence[Record]
    settings: Mapping[str, object]
    chance: float = 0.0
    identities: int = 0
    examples: Sequence[Example] = ()
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    plots: Sequence[Plot] = ()
    decisions: Sequence[Mapping[str, object]] = ()
    findings: Sequence[str] = ()
    skipped: Sequence[tuple[str, str]] = ()
    biometric: bool = False
    limits: Sequence[str] = ()
    unseen: bool = False
    closing: str = CLOSING
    actions: Part | None = None

    @property
    def gait(self) -> bool:
        """Whether the report has a part about identification."""
        return self.actions is None or bool(self.records or self.findings or self.decisions)


def write_report(path: Path | str, report: Report) -> None:
    """Write a report as one HTML file, whole or not at all.

    The same report gives the same bytes.

    Args:
        path: the file to write or replace.
        report: what to write.

    Raises:
        DataError: a record, table, panel or picture cannot be shown, or the file cannot be written.
    """
    text = render_report(report)
    try:
        write_text(path, text)
    except OSError as error:
        raise DataError(f"{path}: the report cannot be written: {error.strerror or error}") from error


def render_report(report: Report) -> str:
    """Return the report's HTML.

    Raises:
        DataError: a record, table, panel or picture cannot be shown.
    """
    for number, record in enumerate(report.records):
        missing = [key for key in KEYS if key not in record]
        if not missing and record["metric"] in TRANSFER and "judge" not in record:
            missing = ["judge"]
        if missing:
            raise DataError(f"record {number} of the report: expected {', '.join(KEYS)}; {', '.join(missing)} missing")
    for table in (*report.tables, *(report.actions.tables if report.actions else ())):
        _check_table(table)
    grouped: dict[tuple[str, str], list[Record]] = {}
    for record in report.records:
        grouped.setdefault((record["model"], record["data"]), []).append(record)
    text = page(
        report=report,
        groups=[_group(report, *names, records) for names, records in grouped.items()],
        findings=report.findings or verdict([], chance=report.chance)[:-1],
        closing=report.closing,
        plots=[_plot(plot, small=len(plot.charts) > 1) for plot in report.plots],
        transfers=_transfer_tables(report.records),
        examples=[_example(example) for example in report.examples],
        shown=SHOWN,
        pictures=[(p, _picture(p)) for p in report.pictures],
        part=_part(report.actions) if report.actions else None,
        decided=list(dict.fromkeys(key for row in report.decisions for key in row)),
        settings=list(flatten(report.settings)),
    )
    # A file name can hold bytes that are no text; the rest of the report is worth having all the same.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _part(part: Part) -> dict[str, Any]:
    return {
        "title": part.title,
        "findings": [(finding, [_bar(bar) for bar in finding.bars]) for finding in part.findings],
        "axis": part.axis,
        "facts": part.facts,
        "terms": part.terms,
        "tables": part.tables,
        "plots": [_plot(plot, small=len(plot.charts) > 1) for plot in part.plots],
        "examples": [_example(example) for example in part.examples],
        "pictures": [(p, _picture(p)) for p in part.pictures],
        "limits": part.limits,
    }


def _group(report: Report, model: str, data: str, records: Sequence[Record]) -> dict[str, Any]:
    scope = scope_of(records)
    conditions = sorted(
        {r["condition"] for r in records}, key=lambda c: (c != scope.get("condition"), condition_rank(c))
    )
    return {
        "model": model,
        "data": data,
        "records": records,
        "sentences": group_verdict(records, chance=report.chance, identities=report.identities, unseen=report.unseen)
        if scope
        else ["No identification rate was measured."],
        "bars": [_bar(bar) for bar in overview(records)],
        "natural": _natural_table(records),
        "views": _view_tables(records),
        "attacks": [(c, tables) for c in conditions if (tables := _attack_tables(records, c))],
        "looks": _look_table(records, scope),
        "costs": _cost_table(records, scope),
        "attacked": [(c, table) for c in conditions if (table := _attacked_view_table(records, c))["rows"]],
        "together": [r for r in records if r["view"] == "all" or r["attack"] == "none" or r["metric"] not in _RATES],
        "plots": [
            *(_plot(plot, small=True) for plot in budget_plots(records, chance=report.chance)),
            *(_plot(plot, small=False) for plot in view_plots(records, chance=report.chance)),
        ],
    }


def _plot(plot: Plot, *, small: bool) -> dict[str, Any]:
    return {
        "title": plot.title,
        "caption": plot.caption,
        "small": small,
        "legend": [(key.label, Markup(key.swatch)) for key in plot.legend],
        "charts": [(chart.title, Markup(chart.svg)) for chart in plot.charts],
    }


def _check_table(table: Table) -> None:
    for number, row in enumerate(table.rows):
        if len(row) != len(table.columns):
            raise DataError(
                f"table {table.title!r}, row {number}: expected {len(table.columns)} cells, found {len(row)}"
            )


def _bar(bar: Bar) -> dict[str, Any]:
    low, high = (bar.record["low"], bar.record["high"]) if has_interval(bar.record) else (bar.record["value"],) * 2
    return {"label": bar.label, "kind": bar.kind, "record": bar.record, "low": low, "width": high - low}


def _natural_table(records: Sequence[Record]) -> dict[str, Any]:
    found = select(records, attack="none", metric="rank1", view="all")
    conditions = sorted({r["condition"] for r in found}, key=condition_rank)
    rows = [(stored_text(s), _row(found, "condition", conditions, stored=s)) for s in storage_formats(found)]
    return {"columns": conditions, "rows": rows}


def _view_tables(records: Sequence[Record]) -> list[dict[str, Any]]:
    found = [r for r in select(records, metric="rank1", attack="none") if r["view"] != "all"]
    conditions = sorted({r["condition"] for r in found}, key=condition_rank)
    tables = []
    for stored in storage_formats(found):
        views = sorted({r["view"] for r in found if r["stored"] == stored})
        rows = [(f"{view:g}°", _row(found, "condition", conditions, stored=stored, view=view)) for view in views]
        tables.append({"title": stored_text(stored), "columns": conditions, "rows": rows})
    return tables


def _attack_tables(records: Sequence[Record], condition: str) -> list[dict[str, Any]]:
    """One table a goal, storage format and norm; attacks down, budgets across, the control last."""
    views = {r["view"] for r in records if is_attack(r) and r["condition"] == condition}
    view = "all" if "all" in views else next(iter(sorted(views, key=str)), "all")
    scope = {"condition": condition, "view": view}
    found = [r for r in select(records, **scope) if r["attack"] != "none" and r["metric"] in _RATES]
    tables = []
    settings = {(r["goal"], r["stored"], r["norm"]) for r in found}
    for goal, stored, norm in sorted(
        settings, key=lambda s: (s[0], str(s[1]) != "uint8", str(s[1]), norm_rank(s[2] or ""))
    ):
        inside = [r for r in found if (r["goal"], r["stored"], r["norm"]) == (goal, stored, norm)]
        lead, second = ("success", "rank1") if goal == "targeted" else ("rank1", "success")
        if not any(r["metric"] == lead for r in inside):
            lead, second = second, lead
        budgets = sorted({r["budget"] for r in inside}, key=lambda b: math.inf if b is None else b)
        names = sorted({r["attack"] for r in inside}, key=attack_rank)
        counts = sorted({r["n"] for r in inside})
        tables.append(
            {
                "goal": goal,
                "title": heading(norm, stored),
                "lead": lead,
                "second": second if any(r["metric"] == second for r in inside) else None,
                "n": str(counts[0]) if len(counts) == 1 else f"{counts[0]}–{counts[-1]}",
                "view": view,
                "corner": "share" if norm in SHARES else "budget",
                "columns": [amount_text(norm, budget) for budget in budgets],
                "natural": _first(records, attack="none", metric="rank1", stored=stored, **scope),
                "rows": [
                    (
                        name,
                        list(
                            zip(
                                *(_row(inside, "budget", budgets, attack=name, metric=m) for m in (lead, second)),
                                strict=True,
                            )
                        ),
                    )
                    for name in names
                ],
            }
        )
    return tables


def _look_table(records: Sequence[Record], scope: Mapping[str, Any]) -> dict[str, Any]:
    """How set frames look, beside what they do: rank-1, or success of targeted attacks."""
    found = [r for r in select(records, **scope) if r["metric"] in (*APPEARANCE, *_RATES)] if scope else []
    index = _indexed(found, *_SETTING, "metric")
    metrics = [m for m in APPEARANCE if any(r["metric"] == m for r in found)]
    settings = sorted({_setting(r) for r in found if r["metric"] in metrics}, key=_setting_rank)
    rows = [
        (
            dict(zip(_SETTING, setting, strict=True)),
            [index.get((*setting, m)) for m in metrics],
            index.get((*setting, "success" if setting[0] == "targeted" else "rank1")),
        )
        for setting in settings
    ]
    return {"columns": metrics, "rows": rows, "scope": scope_text(scope) if scope else ""}


def _cost_table(records: Sequence[Record], scope: Mapping[str, Any]) -> dict[str, Any]:
    elsewhere = (*_RATES, *APPEARANCE, *TRANSFER)
    found = [r for r in select(records, **scope) if r["metric"] not in elsewhere] if scope else []
    metrics = [m for m in METRICS if any(r["metric"] == m for r in found)]
    metrics += sorted({r["metric"] for r in found} - set(metrics))
    index = _indexed(found, *_SETTING, "metric")
    rows = [
        (dict(zip(_SETTING, setting, strict=True)), [index.get((*setting, m)) for m in metrics])
        for setting in dict.fromkeys(_setting(r) for r in found)
    ]
    return {"columns": metrics, "rows": rows}


def _attacked_view_table(records: Sequence[Record], condition: str) -> dict[str, Any]:
    """Rank-1 and success under every attack of one condition; attacks down, views across."""
    found = [
        r
        for r in records
        if r["condition"] == condition and r["view"] != "all" and r["attack"] != "none" and r["metric"] in _RATES
    ]
    views = sorted({r["view"] for r in found}, key=lambda view: (isinstance(view, str), view))
    index = _indexed(found, *_SETTING, "view", "metric")
    rows = []
    for setting in dict.fromkeys(_setting(r) for r in found):
        cells = [[index.get((*setting, view, metric)) for metric in _RATES] for view in views]
        rows.append((dict(zip(_SETTING, setting, strict=True)), cells))
    return {"columns": views, "rows": rows}


def _transfer_tables(records: Sequence[Record]) -> list[dict[str, Any]]:
    """What every recognizer makes of the same sequences: attacked recognizers and attacks down, judges across.

    One table a data set, condition and metric; the condition of the verdict comes first.
    """
    tables = []
    sources = list(dict.fromkeys(r["data"] for r in records if r["metric"] in TRANSFER))
    for data in sources:
        inside = [r for r in records if r["data"] == data and r["view"] == "all"]
        first = scope_of(inside).get("condition")
        models = list(dict.fromkeys(r["model"] for r in inside if r["metric"] in TRANSFER))
        conditions = {r["condition"] for r in inside if r["metric"] in TRANSFER}
        for condition in sorted(conditions, key=lambda c: (c != first, condition_rank(c))):
            of = [r for r in inside if r["condition"] == condition]
            for own, metric in zip(_RATES, TRANSFER, strict=True):
                table = _transfer_table(of, own, metric, models)
                if table["parts"]:
                    title = [METRICS[own], "all conditions" if condition == "all" else condition]
                    title += [data] if len(sources) > 1 else []
                    tables.append({**table, "title": "; ".join(title), "metric": own, "open": condition == first})
    return tables


def _transfer_table(records: Sequence[Record], own: str, metric: str, models: Sequence[str]) -> dict[str, Any]:
    """One part an attacked recognizer; cells tell whether the judge is the attacked recognizer itself."""
    judged = [r for r in records if r["metric"] == metric and measured(r)]
    index = _indexed(judged, "model", *_SETTING, _judge)
    index |= _indexed([r for r in records if r["metric"] == own], "model", *_SETTING, "model")
    judges = list(dict.fromkeys((*(m for m in models if judged), *(_judge(r) for r in judged))))
    parts = []
    for model in models:
        settings = sorted({_setting(r) for r in judged if r["model"] == model}, key=_setting_rank)
        rows = [
            (
                dict(zip(_SETTING, setting, strict=True)),
                [(judge == model, index.get((model, *setting, judge))) for judge in judges],
            )
            for setting in settings
        ]
        if rows:
            parts.append((model, rows))
    return {"columns": judges, "parts": parts}


def _judge(record: Record) -> str:
    """Return the heading of a judge's column; those of attacked recognizers after binarizing are one column."""
    judge = str(record["judge"])
    return f"attacked{judge[len(record['model']) :]}" if judge.startswith(f"{record['model']},") else judge


def _setting(record: Record) -> tuple[Any, ...]:
    return tuple(record[key] for key in _SETTING)


def _setting_rank(setting: Sequence[Any]) -> tuple[Any, ...]:
    """Sort key: unaltered first, then by goal, storage format, norm and budget, controls last of each."""
    goal, stored, norm, budget, attack = setting
    size = math.inf if budget is None else budget
    return (attack != "none", goal, stored != "uint8", str(stored), norm_rank(norm or ""), size, attack_rank(attack))


def _indexed(records: Sequence[Record], *keys: str | Callable[[Record], str]) -> dict[tuple[Any, ...], Record]:
    """Return the measured records by the values of the keys, the first of equals."""
    found: dict[tuple[Any, ...], Record] = {}
    for record in records:
        if measured(record):
            found.setdefault(tuple(record[key] if isinstance(key, str) else key(record) for key in keys), record)
    return found


def _row(records: Sequence[Record], key: str, values: Sequence[Any], **wanted: Any) -> list[Record | None]:
    return [_first(records, **{key: value}, **wanted) for value in values]


def _first(records: Sequence[Record], **wanted: Any) -> Record | None:
    return next(iter(select(records, **wanted)), None)


def _example(example: Example) -> dict[str, Any]:
    panels = [_panel(example.title, panel, drawn=example.drawn) for panel in example.panels]
    if not panels or not example.fps > 0:
        raise DataError(
            f"example {example.title!r}: expected at least one panel and a positive rate, "
            f"found {len(panels)} panels and {example.fps} frames a second"
        )
    length = max(panel["length"] for panel in panels)
    marks = sorted({index for panel in example.panels for index in panel.marked})
    return {"title": example.title, "caption": example.caption, "fps": example.fps, "verb": example.verb} | {
        "panels": panels,
        "length": length,
        "marks": [(index, 100 * index / max(length - 1, 1)) for index in marks],
        "first": marks[0] if marks else 0,
        "drawn": example.drawn,
    }


def _panel(title: str, panel: Panel, *, drawn: bool) -> dict[str, Any]:
    frames = np.asarray(panel.frames)
    where = f"example {title!r}, panel {panel.label!r}"
    if frames.dtype != np.uint8 or frames.size == 0 or (frames.ndim != 3 and frames.shape[3:] != (3,)):
        raise DataError(
            f"{where}: expected uint8 frames (t, h, w) or (t, h, w, 3), found {frames.dtype} {frames.shape}"
        )
    length, height, width = frames.shape[:3]
    outside = [index for index in panel.marked if not 0 <= index < length]
    if outside:
        raise DataError(f"{where}: expected marked frames from 0 to {length - 1}, found {outside[0]}")
    laid = sheet(frames, SHEET_COLUMNS)
    return {
        "label": panel.label,
        "sheet": (palette_uri(laid) if drawn and laid.ndim == 3 else None) or png_uri(laid),
        "length": length,
        "width": width,
        "height": height,
        "columns": min(length, SHEET_COLUMNS),
        "marked": ",".join(str(index) for index in sorted(panel.marked)),
    }


def _picture(picture: Picture) -> str:
    image = np.asarray(picture.image)
    if image.dtype != np.uint8 or image.size == 0 or image.ndim != 3 or image.shape[2] != 3:
        raise DataError(
            f"picture {picture.title!r}: expected uint8 RGB of shape (h, w, 3), found {image.dtype} {image.shape}"
        )
    return png_uri(image)
