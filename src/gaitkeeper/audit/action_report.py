"""The half of a report about skeleton actions: verdicts, tables beside the printed ones, curves, figures that move."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from gaitkeeper.audit.action_curves import plots_of
from gaitkeeper.audit.action_summary import (
    MILLIMETRES,
    summarize_actions,
)
from gaitkeeper.audit.action_tables import number, tables_of
from gaitkeeper.audit.action_verdict import (
    action_bars,
    action_verdict,
    goal_rank,
    groups_of,
    setting_rank,
    setting_text,
)
from gaitkeeper.audit.report import Example, Finding, Part, Picture
from gaitkeeper.audit.rows import Row
from gaitkeeper.audit.stick_figures import stick_panels, strip
from gaitkeeper.audit.verdict import Record
from gaitkeeper.errors import DataError
from gaitkeeper.motion.skeletons import Layout

TITLE = "Skeleton actions"
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
        tables=tables_of(records, cards or {}),
        plots=plots_of(rows, records),
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
        f"{MILLIMETRES * row['largest']:.0f} mm at most; bones change by {number(100 * row['bone'])} %."
    )
