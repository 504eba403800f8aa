"""Tables of a report's half about skeleton actions: what was measured, and beside it what was printed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

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
)
from gaitkeeper.audit.action_verdict import (
    attack_text,
    beside,
    goal_kind,
    goal_rank,
    goal_short,
    goal_text,
    goals_of,
    groups_of,
    setting_text,
    settings_of,
    told,
)
from gaitkeeper.audit.report import Table
from gaitkeeper.audit.templates import plain
from gaitkeeper.audit.verdict import Record, has_interval, interval_text, select

MISSING = "–"

_MOVED = ("displacement", "largest", "velocity", "acceleration", "angle", "bone", LARGEST_BONE)
_MOVES = ("rough_acceleration", RATIO, "jerk", "skate", "limits")
_PUBLISHED = ("pose", "velocity_frames", "acceleration_frames", "bone")
_COSTS = ("steps", "forwards", "backwards")


def tables_of(records: Sequence[Record], cards: Mapping[str, Mapping[str, Any]]) -> list[Table]:
    """Return all tables of the records, in order; ``cards`` tell what networks were trained with."""
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
            rows.append((named(records, model, data), setting_text(record, short=True), *cells, str(record["n"])))
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
                    rows.append((named(records, model, data), *setting, *cells))
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
                    rows.append((named(records, model, data), setting_text(record, short=True), *cells))
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


def named(records: Sequence[Record], model: str, data: str) -> str:
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
    return f"{number(record['value'])}{interval}"


def number(value: float) -> str:
    """Return a number as tables have it."""
    return "0" if abs(value) < 5e-4 else f"{value:.3g}"
