"""From an audit's rows to its figures."""

from __future__ import annotations

from collections.abc import Sequence

from gaitkeeper.audit.recognition import Record, record
from gaitkeeper.audit.rows import Row

SHARES = ("changed", "overlap", "overlap_before", "critic", "realism", "single")
"""Measures of attacked sequences that are given in percent."""

MEASURES = (*SHARES, "linf", "l2", "frames", "forwards", "backwards")
"""Measures of attacked sequences, each a mean over the samples that have it."""


def summarize(rows: Sequence[Row]) -> list[Record]:
    """Return the figures of an audit in long form: a record a cell, condition and metric, natural ones by view too."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["model"], row["cell"]), []).append(row)
    records: list[Record] = []
    for members in groups.values():
        names = {key: members[0][key] for key in ("model", "data", "attack", "goal", "norm", "budget", "stored")}
        parts: list[tuple[str, int | str, list[Row]]] = []
        for condition, inside in by_condition(members).items():
            parts.append((condition, "all", inside))
            parts += [
                (condition, v, [r for r in inside if r["view"] == v]) for v in sorted({r["view"] for r in inside})
            ]
        for condition, view, part in parts:
            where = {**names, "condition": condition, "view": view}
            records.append(record([len(r["right"]) / r["galleries"] for r in part], **where, metric="rank1"))
            if names["goal"] == "natural":
                continue
            shares = [r["success"] for r in part if r["success"] is not None]
            if shares or view == "all":
                records.append(record(shares, **where, metric="success"))
            if view != "all":
                continue
            for metric in MEASURES:
                values = [r[metric] for r in part if r.get(metric) is not None]
                if values:
                    records.append(record(values, percent=metric in SHARES, **where, metric=metric))
        for condition, members_of in by_condition(members).items():
            records += transfer_records(members_of, {**names, "condition": condition, "view": "all"})
    return records


def by_condition(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Return all rows and the rows of each condition."""
    conditions = dict.fromkeys(row["condition"] for row in rows)
    return {"all": list(rows), **{c: [r for r in rows if r["condition"] == c] for c in conditions}}


def transfer_records(rows: Sequence[Row], where: Record) -> list[Record]:
    """Return what other recognizers made of one cell's sequences: records with the further key ``judge``."""
    judges = dict.fromkeys(judge for row in rows for judge in row["transfer"])
    metrics = {"rank1": "transfer", **({"success": "transfer-success"} if where["goal"] == "targeted" else {})}
    return [
        record([row["transfer"][judge][key] for row in rows if judge in row["transfer"]], **where, metric=metric)
        | {"judge": judge}
        for judge in judges
        for key, metric in metrics.items()
    ]
