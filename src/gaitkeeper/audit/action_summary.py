"""From the rows of an audit of action recognizers to its figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gaitkeeper.audit.action_grid import DISPLACEMENTS
from gaitkeeper.audit.recognition import Record, record
from gaitkeeper.audit.rows import Row

NAMES = ("model", "data", "attack", "goal", "bones", "budget", "condition")
"""What a figure is of, beside its metric and, for transfer, its judge."""

MILLIMETRES = 1000.0


def within(limit: float) -> str:
    """Return the metric of success at a mean displacement of at most ``limit`` metres: ``success-10mm``."""
    return f"success-{MILLIMETRES * limit:g}mm"


SUCCESSES = (*(within(limit) for limit in DISPLACEMENTS), "success")
"""Metrics of success, at each mean displacement and at any."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A physical measure of attacked motions.

    Args:
        text: its heading, with the unit.
        scale: from the rows' unit (metres, seconds, radians, shares) to the heading's.
        clean: whether it is known of the unattacked motion too, under the same name and ``_clean``.
        won: whether only motions that reached the goal count.
    """

    text: str
    scale: float = 1.0
    clean: bool = False
    won: bool = True


MEASURES: Mapping[str, Measure] = {
    "displacement": Measure(text="mean displacement, mm", scale=MILLIMETRES),
    "largest": Measure(text="largest displacement, mm", scale=MILLIMETRES),
    "velocity": Measure(text="Δ velocity, m/s"),
    "acceleration": Measure(text="Δ acceleration, m/s²"),
    "angle": Measure(text="Δ angle, °", scale=180 / math.pi),
    "bone": Measure(text="Δ bone length, %", scale=100),
    "rough_acceleration": Measure(text="acceleration, m/s²", clean=True),
    "jerk": Measure(text="jerk, m/s³", clean=True),
    "skate": Measure(text="foot skate, mm/s", scale=MILLIMETRES, clean=True),
    "limits": Measure(text="angles out of range, %", scale=100, clean=True),
    "pose": Measure(text="l, mm", scale=MILLIMETRES),
    "velocity_frames": Measure(text="Δv, mm/frame", scale=MILLIMETRES),
    "acceleration_frames": Measure(text="Δa, mm/frame²", scale=MILLIMETRES),
    "steps": Measure(text="steps", won=False),
    "forwards": Measure(text="forward passes", won=False),
    "backwards": Measure(text="backward passes", won=False),
}
"""Means over clips, by the rows' names."""

RATIO = "acceleration_ratio"
"""Mean over clips of the acceleration after the attack over that before."""

LARGEST_BONE = "bone_largest"
"""Largest relative change of one bone in one frame of any clip, percent; without an interval."""

METRICS = {
    "accuracy": "recognized, %",
    "success": "success, %",
    **{within(limit): f"success at ≤ {MILLIMETRES * limit:g} mm, %" for limit in DISPLACEMENTS},
    **{name: measure.text for name, measure in MEASURES.items()},
    RATIO: "acceleration, after / before",
    **{f"{name}_clean": f"{measure.text}, before" for name, measure in MEASURES.items() if measure.clean},
    LARGEST_BONE: "largest Δ bone length, %",
    "transfer": "transfer: recognized, %",
    "transfer-success": "transfer: success, %",
}
"""What each metric is, as a heading."""


_TRANSFER = {"right": "transfer", "success": "transfer-success"}


def summarize_actions(rows: Sequence[Row]) -> list[Record]:
    """Return the figures of an audit of action recognizers in long form.

    ``accuracy`` is of all clips. ``success`` is of the clips that are recognized unattacked, and ``success-10mm`` is
    the share of these with success and a mean displacement of at most 10 mm. Physical measures are means over the
    successful clips, see ``MEASURES``, in the units of their headings. ``transfer`` and ``transfer-success`` are of
    the clips that the attacked recognizer and the record's ``judge`` both recognize unattacked, whether or not the
    attack succeeded where it was made; where no row tells what the judge recognizes, of those the attacked one does.
    ``transfer`` of unattacked clips is the judge's accuracy on all.

    Args:
        rows: a row a model, cell and clip; those of another ``kind`` are left out.

    Returns:
        Records with the keys ``NAMES``, metric, value, low, high and n; shares in percent with Wilson's interval,
        means with Student's. A measure that no clip has gives no record.
    """
    rows = [row for row in rows if row.get("kind", "action") == "action"]
    groups: dict[tuple[str, ...], list[Row]] = {}
    recognized: dict[tuple[str, ...], bool] = {}
    for row in rows:
        groups.setdefault((row["model"], row["data"], row["cell"], row["condition"]), []).append(row)
        if row["attack"] == "none":
            judged = {judge: made["right"] for judge, made in (row.get("transfer") or {}).items()}
            for name, right in {**judged, row["model"]: row["right"]}.items():
                recognized[name, row["data"], row["sample"]] = right
    records: list[Record] = []
    for members in groups.values():
        names = {key: members[0][key] for key in NAMES}
        records.append(record([row["right"] for row in members], **names, metric="accuracy"))
        if names["attack"] == "none":
            records += _transfer(members, names, {}, metrics={"right": "transfer"})
            continue
        attacked = [row for row in members if row["natural"]]
        for metric, limit in (*((within(d), d) for d in DISPLACEMENTS), ("success", math.inf)):
            records.append(record([reached(row, limit) for row in attacked], **names, metric=metric))
        records += _physics(attacked, names)
        records += _transfer(attacked, names, recognized)
    return records


def reached(row: Row, limit: float = math.inf) -> bool:
    """Whether a clip reached its goal at a mean displacement of at most ``limit`` metres."""
    return bool(row["success"]) and row["displacement"] <= limit


def _physics(rows: Sequence[Row], names: Record) -> list[Record]:
    won = [row for row in rows if row["success"]]
    records = []
    for name, measure in MEASURES.items():
        for key in (name, f"{name}_clean") if measure.clean else (name,):
            values = [measure.scale * value for value in _known(won if measure.won else rows, key)]
            if values:
                records.append(record(values, percent=False, **names, metric=key))
    ratios = [
        row["rough_acceleration"] / row["rough_acceleration_clean"]
        for row in won
        if _known([row], "rough_acceleration") and any(_known([row], "rough_acceleration_clean"))
    ]
    if ratios:
        records.append(record(ratios, percent=False, **names, metric=RATIO))
    largest = _known(won, LARGEST_BONE)
    if largest:
        value = {"value": 100 * max(largest), "low": None, "high": None, "n": len(largest)}
        records.append({**names, "metric": LARGEST_BONE, **value})
    return records


def _known(rows: Sequence[Row], key: str) -> list[float]:
    """Return the finite values of a key: foot skate is not defined where no foot stands."""
    return [row[key] for row in rows if row.get(key) is not None and np.isfinite(row[key])]


def _transfer(
    rows: Sequence[Row],
    names: Record,
    recognized: Mapping[tuple[str, ...], bool],
    metrics: Mapping[str, str] = _TRANSFER,
) -> list[Record]:
    records = []
    for judge in dict.fromkeys(judge for row in rows for judge in row.get("transfer") or {}):
        judged = [
            row["transfer"][judge]
            for row in rows
            if judge in (row.get("transfer") or {}) and recognized.get((judge, names["data"], row["sample"]), True)
        ]
        for key, metric in metrics.items():
            values = [made[key] for made in judged if made[key] is not None]
            if values:
                records.append(record(values, **names, metric=metric) | {"judge": judge})
    return records
