"""The report's page, style and player, and how values are written in them."""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any

import jinja2
import numpy as np

from gaitkeeper.audit.verdict import (
    Record,
    amount_text,
    attack_text,
    budget_text,
    has_interval,
    interval_text,
    is_control,
    measured,
    stored_text,
)

METRICS = {
    "rank1": "rank-1, %",
    "success": "success, %",
    "linf": "L∞ distance",
    "l2": "L2 distance",
    "changed": "pixels changed, %",
    "frames": "frames changed",
    "forwards": "forward passes",
    "backwards": "backward passes",
    "overlap": "overlap, %",
    "overlap_before": "overlap before, %",
    "critic": "critic, %",
    "realism": "realism, %",
    "single": "in one piece, %",
    "transfer": "transfer: rank-1, %",
    "transfer-success": "transfer: success, %",
}
APPEARANCE = ("overlap", "overlap_before", "critic", "realism", "single")
"""Metrics of how the set frames look."""

TRANSFER = ("transfer", "transfer-success")
"""Metrics of what another recognizer, the record's ``judge``, makes of the same sequences."""

_PERCENT = ("accuracy", "rank1", "success", "changed", *APPEARANCE, *TRANSFER)


def page(**content: Any) -> str:
    """Render the page; every value is escaped unless it is marked as safe."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("gaitkeeper.audit", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        plain=plain,
        unbroken=unbroken,
        value=_value,
        interval=_interval,
        attack=attack_text,
        control=is_control,
        stored=stored_text,
        budget=lambda record: budget_text(record["norm"], record["budget"]),
        metric=lambda name: METRICS.get(name, name),
        condition=lambda name: "all conditions" if name == "all" else name,
        view=lambda view: view if isinstance(view, str) else f"{view}°",
        ns=lambda records: " and ".join(dict.fromkeys(str(r["n"]) for r in records if r)),
    )
    return environment.get_template("report.html").render(**content)


def flatten(settings: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield nested settings as dotted names and texts, none left out."""
    for name, value in settings.items():
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            value = dataclasses.asdict(value)
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", plain(value)


def plain(value: object) -> str:
    """Return a setting's value in words and numbers."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "none"
    if isinstance(value, Mapping):
        return "; ".join(f"{key} = {plain(item)}" for key, item in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(f"({plain(v)})" if isinstance(v, list | tuple) else plain(v) for v in value) or "none"
    if isinstance(value, set | frozenset):
        return plain(sorted(value, key=str))
    return str(value)


def unbroken(sentence: str) -> str:
    """Keep figures in one line: "92.1 % [88.5, 94.6]", "n = 300" and "10 mm" are never broken."""
    figures = r"\[[\d., -]+\]|n = \d+|L∞ [\d./]+|\d+/\d+ of the frames|[\d.]+ mm\b"
    sentence = re.sub(figures, lambda m: m[0].replace(" ", "\u00a0"), sentence)
    return re.sub(r"(\d) %( \[)?", lambda m: m[0].replace(" ", "\u00a0"), sentence)


def _value(record: Record) -> str:
    if not measured(record):
        return "not measured"
    if _is_percent(record):
        return f"{record['value']:.1f}"
    return amount_text("linf" if record["metric"] == "linf" else None, record["value"])


def _is_percent(record: Record) -> bool:
    return record["metric"] in _PERCENT or record["metric"].startswith("success-")


def _interval(record: Record) -> str:
    if _is_percent(record) or not has_interval(record):
        return interval_text(record)
    return f"[{record['low']:.3g}, {record['high']:.3g}]"
