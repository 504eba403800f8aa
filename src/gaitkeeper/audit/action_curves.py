"""Curves of success against displacement, for a report's half about skeleton actions."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG

from gaitkeeper.audit.action_summary import (
    MILLIMETRES,
    reached,
)
from gaitkeeper.audit.action_tables import named
from gaitkeeper.audit.action_verdict import (
    control_of,
    goal_text,
    goals_of,
    groups_of,
    told,
)
from gaitkeeper.audit.figures import INK, MARKERS, PALETTE, STYLE, Chart, Key, Plot, blank_axes, dashes_of, inline_svg
from gaitkeeper.audit.rows import Row
from gaitkeeper.audit.verdict import Record
from gaitkeeper.metrics.intervals import wilson

_TICKS = (1, 2, 5, 10, 20, 50, 100, 200)


def plots_of(rows: Sequence[Row], records: Sequence[Record]) -> list[Plot]:
    """Success against the mean displacement allowed: a panel a goal, a line a network, its control dashed."""
    groups = groups_of(records)
    keys = {
        group: Key(label=named(records, *group), color=PALETTE[i % 6], marker=MARKERS[i % 6])
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
