"""The half of a report about skeleton actions: verdicts, tables beside the printed ones, curves, figures that move."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import matplotlib
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG

from gaitkeeper.audit.action_grid import DISPLACEMENTS
from gaitkeeper.audit.action_published import (
    AVERAGE,
    NETWORKS,
    REMARKS,
    SMART,
    SOURCES,
    STRATEGIES,
    network_of,
)
from gaitkeeper.audit.action_summary import (
    LARGEST_BONE,
    METRICS,
    MILLIMETRES,
    RATIO,
    SUCCESSES,
    reached,
    summarize_actions,
)
from gaitkeeper.audit.action_verdict import (
    action_bars,
    action_verdict,
    attack_text,
    beside,
    control_of,
    goal_kind,
    goal_rank,
    goal_short,
    goal_text,
    goals_of,
    groups_of,
    setting_rank,
    setting_text,
    settings_of,
    told,
)
from gaitkeeper.audit.figures import INK, MARKERS, PALETTE, STYLE, Chart, Key, Plot, blank_axes, dashes_of, inline_svg
from gaitkeeper.audit.report import Example, Finding, Part, Picture, Table
from gaitkeeper.audit.rows import Row
from gaitkeeper.audit.stick_figures import stick_panels, strip
from gaitkeeper.audit.templates import plain
from gaitkeeper.audit.verdict import Record, has_interval, interval_text, select
from gaitkeeper.errors import DataError
from gaitkeeper.metrics.intervals import wilson
from gaitkeeper.motion.skeletons import Layout

TITLE = "Skeleton actions"
MISSING = "–"
EXAMPLES = 9
"""Clips of a report that are drawn; each takes a second and half a megabyte."""

ACTION_LIMITS = (
    "The attacker knows the action recognizer and its weights, and changes joints after they were estimated; what it "
    "takes to change a recorded scene is not measured here.",
    "An interval of a share is the 95 % Wilson interval over clips, that of a mean is Student's; clips are taken as "
    "independent although an actor gives several.",
    "Bones, accelerations and angles tell whether a body could move so; what people notice is not measured.",
    "How far joints must move depends on how a network was trained, so its figures hold for these weights only.",
)
"""What every audit of actions leaves open."""

_TERMS = (
    (
        "Success",
        "Share of the clips that the network recognizes unattacked whose attacked form reaches the goal: anything but "
        "the true class, the true class not among the first N, or another class drawn at random. It is judged by a "
        "fresh pass on the motion as it is stored.",
    ),
    (
        "Mean displacement",
        "How far joints are from their places, on average over joints and frames of a clip, in millimetres of a "
        "body of natural size. “At ≤ 10 mm” counts only successes that stay within that.",
    ),
    (
        "Matched control",
        "The same start, bounds and number of steps, but random directions. What it does as well is noise, not the "
        "attack.",
    ),
    (
        "Bones",
        "Kept exactly: joints are placed at the clip's own bone lengths in every step. Kept by a loss: changes are "
        "penalized. Free: joints move one by one.",
    ),
    (
        "Figures",
        "The recorded motion is grey; of the attacked one left limbs are blue and right ones orange. Where one is "
        "drawn over the other, the joints that moved most are marked, the larger the farther. Squares of the floor are "
        "half a metre wide, and clips play at their own speed.",
    ),
    (
        "Foot skate, angles out of range",
        "Speed of feet along the floor where they stand in the recorded motion; share of angles between bones that "
        "no clip of the training data has.",
    ),
)
_MOVED = ("displacement", "largest", "velocity", "acceleration", "angle", "bone", LARGEST_BONE)
_MOVES = ("rough_acceleration", RATIO, "jerk", "skate", "limits")
_PUBLISHED = ("pose", "velocity_frames", "acceleration_frames", "bone")
_COSTS = ("steps", "forwards", "backwards")
_TICKS = (1, 2, 5, 10, 20, 50, 100, 200)


def report_title(*, gait: bool, actions: bool) -> str:
    """Return the heading of a report with one part or both."""
    if gait and actions:
        return "How easily are these gait and action recognizers fooled?"
    return f"How easily is this {'action' if actions else 'gait'} recognizer fooled?"


def action_section(
    rows: Sequence[Row],
    records: Sequence[Record] | None = None,
    examples: Sequence[Example] = (),
    *,
    models: Sequence[str] = (),
    cards: Mapping[str, Mapping[str, Any]] | None = None,
    classes: int | None = None,
    pictures: Sequence[Picture] = (),
) -> Part:
    """Return a report's part about skeleton actions.

    Args:
        rows: of the audit, one a model, cell and clip.
        records: of :func:`gaitkeeper.audit.action_summary.summarize_actions`; None makes them.
        examples: of :func:`stick_example`.
        models: the attacked networks, in order; others come after them.
        cards: of networks that have one, by name; what they were trained with is told beside their accuracy.
        classes: actions to tell apart, for the accuracy of guessing.
        pictures: stills, for instance of :func:`stick_picture`.
    """
    rows = [row for row in rows if row.get("kind", "action") == "action"]
    records = list(summarize_actions(rows) if records is None else records)
    order = [*models, *dict.fromkeys(r["model"] for r in records)]
    records.sort(key=lambda r: order.index(r["model"]))
    groups = groups_of(records)
    chance = 100 / classes if classes else None
    known = (f"{classes} actions", f"guessing {chance:.3g} %") if chance else ()
    return Part(
        title=TITLE,
        findings=[
            Finding(
                title=f"{model} on {data}",
                sentences=action_verdict(inside, chance=chance),
                bars=action_bars(inside),
            )
            for (model, data), inside in groups.items()
        ],
        axis="share of clips; success is of those recognized",
        facts=[*(f"{model} on {data}" for model, data in groups), *known],
        terms=_TERMS,
        tables=_tables(records, cards or {}),
        plots=_plots(rows, records),
        examples=examples,
        pictures=pictures,
        limits=ACTION_LIMITS,
    )


def stick_example(
    clean: np.ndarray, attacked: np.ndarray, row: Row, layout: Layout, *, fps: float, named: bool = True
) -> Example:
    """Return a clip as recorded, attacked and one over the other, to be played at its own speed.

    Args:
        clean: ``(m, t, v, 3)`` metres.
        attacked: the same shape.
        row: of the audit.
        layout: of both.
        fps: frames a second of this clip.
        named: whether the network's name heads the title.

    Raises:
        DataError: the two are not of one shape, or show nobody.
    """
    return Example(
        title=_example_title(row, named=named),
        caption=_example_caption(row),
        panels=stick_panels(clean, attacked, layout),
        fps=round(fps, 3),
        drawn=True,
    )


def action_examples(out: Path, models: Sequence[str], layout: Layout, *, most: int = EXAMPLES) -> list[Example]:
    """Return attacked clips that an audit kept, drawn: SMART with exact bones first, each goal and network in turn.

    Args:
        out: the audit's folder; its ``examples`` hold ``before`` and ``after`` in metres, ``fps`` and ``row``.
        models: of the audit, in order.
        layout: of the clips.
        most: draw no more.

    Raises:
        DataError: a file holds something else.
    """
    found: list[tuple[tuple[Any, ...], Path, Row]] = []
    for path in sorted((out / "examples").glob("*.npz")):
        try:
            with np.load(path) as kept:
                row = json.loads(str(kept["row"]))
            order = (*setting_rank(row), goal_rank(row["goal"]), models.index(row["model"]), path.name)
        except (KeyError, ValueError, OSError, BadZipFile) as error:
            raise DataError(f"{path}: expected an attacked clip kept by an audit of {', '.join(models)}") from error
        found.append((order, path, row))
    made = []
    for _, path, row in sorted(found, key=lambda item: item[0])[:most]:
        with np.load(path) as kept:
            try:
                made.append(
                    stick_example(
                        kept["before"], kept["after"], row, layout, fps=float(kept["fps"]), named=len(models) > 1
                    )
                )
            except (DataError, KeyError) as error:
                raise DataError(f"{path}: {error}") from error
    return made


def stick_picture(clean: np.ndarray, attacked: np.ndarray, row: Row, layout: Layout, *, count: int = 6) -> Picture:
    """Return overlays of some frames side by side; arguments as of :func:`stick_example`."""
    return Picture(
        title=_example_title(row, named=True),
        caption=_example_caption(row),
        image=strip(clean, attacked, layout, count=count),
    )


def _example_title(row: Row, *, named: bool) -> str:
    text = setting_text(row, goal=True)
    return f"{row['model']}: {text}" if named else f"{text[0].upper()}{text[1:]}"


def _example_caption(row: Row) -> str:
    aimed = f" (asked for: {row['target']})" if row["target"] is not None else ""
    won = "reached" if row["success"] else "not reached"
    return (
        f"Clip {row['sample']}: {row['label']} is taken for {row['predicted']}{aimed}; the goal is {won}. "
        f"Joints are {MILLIMETRES * row['displacement']:.1f} mm from their places on average, "
        f"{MILLIMETRES * row['largest']:.0f} mm at most; bones change by {_number(100 * row['bone'])} %."
    )


def _tables(records: Sequence[Record], cards: Mapping[str, Mapping[str, Any]]) -> list[Table]:
    made = [_natural_table(records, cards)]
    made += [_success_table(records, goal) for goal in goals_of(records)]
    made += [_slides_table(records, data) for data in dict.fromkeys(r["data"] for r in records)]
    made += _physical_tables(records)
    made += _transfer_tables(records)
    made += [_cost_table(records), _every_record(records)]
    return [table for table in made if table.rows]


def _natural_table(records: Sequence[Record], cards: Mapping[str, Mapping[str, Any]]) -> Table:
    found = select(records, attack="none", metric="accuracy")
    rows = [(r["model"], r["data"], _figure(r), str(r["n"]), _training(cards.get(r["model"], {}))) for r in found]
    return Table(
        title="Unattacked clips",
        caption="Recognized, %, with 95 % intervals.",
        columns=("network", "data", "recognized, %", "n", "trained"),
        rows=rows,
    )


def _training(card: Mapping[str, Any]) -> str:
    """Return what a card says of the training, in short."""
    training = card.get("training")
    if not isinstance(training, Mapping):
        return MISSING
    settings, recipe = ({**training[key]} if training.get(key) else {} for key in ("settings", "recipe"))
    parts = [f"{training['clips']} clips of {training['data']}"] if "clips" in training else []
    parts += [f"{recipe['epochs']} epochs"] if "epochs" in recipe else []
    parts += [f"{key.replace('_', ' ')} {plain(recipe[key])}" for key in ("batch", "learning_rate") if key in recipe]
    if "augment" in settings:
        parts.append("with augmentation" if settings["augment"] else "without augmentation")
    if settings.get("widths"):
        parts.append(f"widths {plain(settings['widths'])}")
    return ", ".join(parts) or MISSING


def _success_table(records: Sequence[Record], goal: str) -> Table:
    rows = []
    for (model, data), inside in groups_of(records).items():
        for record in settings_of(inside, goal):
            cells = [_figure(beside(inside, record, metric)) for metric in SUCCESSES]
            rows.append((_named(records, model, data), setting_text(record, short=True), *cells, str(record["n"])))
    return Table(
        title=f"Success: {goal_text(goal)}",
        caption="In % of the clips recognized unattacked, with 95 % intervals, by the mean displacement of joints.",
        columns=("network", "attack", *(f"≤ {MILLIMETRES * d:g} mm" for d in DISPLACEMENTS), "any", "n"),
        rows=rows,
    )


def _physical_tables(records: Sequence[Record]) -> list[Table]:
    def after_before(record: Record, metric: str) -> str:
        clean = beside(records, record, f"{metric}_clean")
        return _mean(beside(records, record, metric)) + (f" (before {clean['value']:.3g})" if clean else "")

    def plainly(record: Record, metric: str) -> str:
        return _mean(beside(records, record, metric))

    means = "Means over successful clips with 95 % intervals"
    return [
        _measures(
            records,
            _MOVED,
            plainly,
            title="How far attacked motions are from the recorded ones",
            caption=f"{means}; the largest change of one bone is of any frame and clip. Δ is the difference between "
            "attacked and recorded motion.",
        ),
        _measures(
            records,
            _MOVES,
            after_before,
            title="How attacked motions move",
            caption=f"{means}, and the same of the recorded motion of these clips. Above 1, accelerations after over "
            "before say that a motion became rougher.",
        ),
        _measures(
            records,
            _PUBLISHED,
            plainly,
            title="The same by the published definitions",
            caption=f"{means}. l is the distance between whole poses, Δv and Δa are first and second differences of "
            "frames. Published figures are of normalized coordinates, these of metres.",
            folded=True,
        ),
    ]


def _cost_table(records: Sequence[Record]) -> Table:
    return _measures(
        records,
        _COSTS,
        lambda record, metric: _mean(beside(records, record, metric)),
        title="What the attacks took",
        caption="Means over the attacked clips.",
        folded=True,
    )


def _measures(
    records: Sequence[Record],
    metrics: Sequence[str],
    cell: Callable[[Record, str], str],
    *,
    title: str,
    caption: str,
    folded: bool = False,
) -> Table:
    """Return a table of settings down and measures across; settings and measures without any figure are left out."""
    found = [metric for metric in metrics if select(records, metric=metric)]
    rows = []
    for (model, data), inside in groups_of(records).items():
        for goal in goals_of(inside):
            for record in settings_of(inside, goal):
                if any(beside(inside, record, metric) for metric in found):
                    cells = [cell(record, metric) for metric in found]
                    setting = (goal_short(goal), setting_text(record, short=True))
                    rows.append((_named(records, model, data), *setting, *cells))
    return Table(
        title=title,
        caption=caption,
        columns=("network", "goal", "attack", *(METRICS[metric] for metric in found)),
        rows=rows,
        folded=folded,
    )


def _slides_table(records: Sequence[Record], data: str) -> Table:
    """Networks down, goals and data sets across: printed rates, and beside them those measured on one data set."""
    of = [r for r in records if r["data"] == data]
    chosen: dict[str, dict[str, Record]] = {}
    for (model, _), inside in groups_of(of).items():
        smart = [r for r in inside if r["attack"] == "smart"]
        for goal in goals_of(smart):
            found = told(smart, goal)
            if found is not None:
                chosen.setdefault(model, {})[goal] = found
    goals = sorted({goal for found in chosen.values() for goal in found}, key=goal_rank)
    names = {model: network_of(model) for model in chosen}
    rows = []
    for network in (*NETWORKS, AVERAGE):
        measured = [model for model, name in names.items() if name == network]
        for model in measured:
            rows.append(_slides_row(f"{network} ({model})", network, goals, chosen[model]))
        if not measured:
            rows.append(_slides_row(network, network, goals, {}))
    rows += [_slides_row(model, "", goals, chosen[model]) for model, name in names.items() if name is None]
    columns: list[str] = ["network"]
    for goal in goals:
        short = STRATEGIES.get(goal_kind(goal), goal)
        columns += [f"{short}, published {source}" for source in SOURCES]
        columns.append(f"{short}, measured on {data}" + (f", N = {goal[13:]}" if short == "ABN" else ""))
    return Table(
        title=f"SMART as printed, and as measured on {data}",
        caption=" ".join(("Success in %: anything but (AB), anything but N (ABN), specified (SA).", *REMARKS)),
        columns=columns,
        rows=rows if chosen else [],
    )


def _slides_row(name: str, network: str, goals: Sequence[str], chosen: Mapping[str, Record]) -> tuple[str, ...]:
    cells = [name]
    for goal in goals:
        for source in SOURCES:
            printed = SMART.values(goal_kind(goal), network, source)
            cells.append(" / ".join(f"{value:g}" for value in printed) or MISSING)
        cells.append(_counted(chosen.get(goal)))
    return tuple(cells)


def _transfer_tables(records: Sequence[Record]) -> list[Table]:
    """Attacked networks and attacks down, judges across; the told attack of the first goal is open."""
    moved = select(records, metric="transfer-success")
    made = []
    for number, goal in enumerate(sorted({r["goal"] for r in moved}, key=goal_rank)):
        of = [r for r in moved if r["goal"] == goal]
        judges = list(dict.fromkeys((*(r["model"] for r in of), *(r["judge"] for r in of))))
        rows = []
        for (model, data), inside in groups_of(records).items():
            for record in settings_of(inside, goal):
                judged = {r["judge"]: r for r in of if _same(r, record)}
                if judged:
                    own = {model: f"● {_figure(record)} n = {record['n']}"}
                    cells = [own.get(j) or _counted(judged.get(j)) for j in judges]
                    rows.append((_named(records, model, data), setting_text(record, short=True), *cells))
        made.append(
            Table(
                title=f"Transfer: {goal_text(goal)}",
                caption="Success in % of motions attacked on the network of the row, as that of the column sees them. "
                "● is the attacked network itself; others took no part, and count where they too recognize the clip "
                "unattacked.",
                columns=("attacked", "attack", *judges),
                rows=rows,
                folded=number > 0,
            )
        )
    return made


def _same(record: Record, other: Record) -> bool:
    keys = ("model", "data", "attack", "goal", "bones", "budget", "condition")
    return all(record[key] == other[key] for key in keys)


def _every_record(records: Sequence[Record]) -> Table:
    rows = [
        (
            r["model"], r["data"], attack_text(r["attack"]), r["goal"], r["bones"] or MISSING,
            MISSING if r["budget"] is None else f"{MILLIMETRES * r['budget']:g} mm",
            METRICS.get(r["metric"], str(r["metric"])) + (f", {r['judge']}" if "judge" in r else ""),
            f"{r['value']:.4g}", f"[{r['low']:.4g}, {r['high']:.4g}]" if has_interval(r) else MISSING, str(r["n"]),
        )
        for r in select(records)
    ]  # fmt: skip
    return Table(
        title=f"Every record ({len(rows)})",
        caption="",
        columns=("network", "data", "attack", "goal", "bones", "budget", "metric", "value", "95 % interval", "n"),
        rows=rows,
        folded=True,
    )


def _plots(rows: Sequence[Row], records: Sequence[Record]) -> list[Plot]:
    """Success against the mean displacement allowed: a panel a goal, a line a network, its control dashed."""
    groups = groups_of(records)
    keys = {
        group: Key(label=_named(records, *group), color=PALETTE[i % 6], marker=MARKERS[i % 6])
        for i, group in enumerate(groups)
    }
    charts: list[Chart] = []
    used: list[tuple[str, str]] = []
    controls = False
    for goal in goals_of(records):
        lines = []
        for group, inside in groups.items():
            found = told(inside, goal)
            if found is None:
                continue
            lines.append((keys[group], _curve(rows, found)))
            used.append(group)
            control = control_of(inside, found)
            if control is not None and control["goal"] == goal:
                controls = True
                dashed = Key(label=keys[group].label, color=keys[group].color, dash="4 2")
                lines.append((dashed, _curve(rows, control)))
        if lines:
            charts.append(_curve_chart(lines, goal))
    if not charts:
        return []
    legend = [keys[group] for group in groups if group in used]
    legend += [Key(label="matched control", color=INK, dash="4 2")] if controls else []
    return [
        Plot(
            title="Success against the mean displacement allowed",
            caption="Share of the clips recognized unattacked whose attacked motion reaches the goal with joints no "
            "farther from their places on average. SMART with exact bones where it was measured. Bands are 95 % "
            "intervals.",
            legend=tuple(legend),
            charts=tuple(charts),
        )
    ]


def _curve(rows: Sequence[Row], record: Record) -> np.ndarray:
    """Return limits in millimetres, and success with its interval at each ``(4, k)`` in percent."""
    keys = ("model", "data", "attack", "goal", "bones", "budget", "condition")
    attacked = [row for row in rows if row["natural"] and all(row[key] == record[key] for key in keys)]
    limits = np.geomspace(_TICKS[0], _TICKS[-1], 48)
    shares = [wilson([reached(row, limit / MILLIMETRES) for row in attacked]) for limit in limits]
    return np.stack([limits, *(100 * np.array(shares).T)])


def _curve_chart(lines: Sequence[tuple[Key, np.ndarray]], goal: str) -> Chart:
    figure, axes = blank_axes()
    axes.set_xscale("log")
    for key, (limits, values, low, high) in lines:
        style: dict[str, Any] = {"dashes": dashes_of(key)} if key.dash else {"marker": key.marker, "markevery": 8}
        axes.plot(limits, values, color=key.color, linewidth=1.6, markersize=4.5, zorder=3, **style)
        if not key.dash:
            axes.fill_between(limits, low, high, color=key.color, alpha=0.15, linewidth=0)
    axes.set_xticks(_TICKS, [f"{tick:g}" for tick in _TICKS])
    axes.minorticks_off()
    axes.set_xlim(_TICKS[0], _TICKS[-1])
    axes.set_ylim(-1, 101)
    target = io.StringIO()
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        # Labels are drawn by the browser, so it is no matter that the font for measuring lacks a sign.
        warnings.filterwarnings("ignore", message="Glyph")
        axes.set_yticks(range(0, 101, 25))
        axes.grid(True, color=INK, alpha=0.12, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(length=3, width=0.8, labelsize=9)
        axes.set_xlabel("mean displacement allowed, mm")
        axes.set_ylabel("success, %")
        figure.patch.set_visible(False)
        axes.patch.set_visible(False)
        FigureCanvasSVG(figure).print_svg(target, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    title = goal_text(goal)
    svg = inline_svg(target.getvalue(), "success, % against mean displacement allowed, mm", ("actions", goal))
    return Chart(title=f"{title[0].upper()}{title[1:]}", svg=svg)


def _named(records: Sequence[Record], model: str, data: str) -> str:
    """Return a network's name, with the data where there are several sets."""
    return model if len({r["data"] for r in records}) == 1 else f"{model} on {data}"


def _figure(record: Record | None) -> str:
    """Return a share with its interval."""
    return MISSING if record is None else f"{record['value']:.1f} {interval_text(record)}".strip()


def _counted(record: Record | None) -> str:
    return MISSING if record is None else f"{_figure(record)} n = {record['n']}"


def _mean(record: Record | None) -> str:
    """Return a mean with its interval."""
    if record is None:
        return MISSING
    interval = f" [{record['low']:.3g}, {record['high']:.3g}]" if has_interval(record) else ""
    return f"{_number(record['value'])}{interval}"


def _number(value: float) -> str:
    return "0" if abs(value) < 5e-4 else f"{value:.3g}"
