"""The report of a study: mean opinion scores in words, tables and box plots, as one HTML file."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG

from gaitkeeper.audit.figures import INK, PALETTE, STYLE, Chart, Key, Plot, blank_axes, inline_svg
from gaitkeeper.audit.opinions import ALL, FEWEST, Difference, Opinion, differences, read_ratings, write_opinions
from gaitkeeper.audit.report import Finding, Part, Report, Table, write_report
from gaitkeeper.audit.study_store import SCORES, Store
from gaitkeeper.errors import DataError

TITLE = "How natural movement looks"
"""Heading of the report."""


def write_opinion_report(folder: Path, database: Path) -> list[Opinion]:
    """Write ``report.html``, ``opinions.csv`` and ``ratings.csv`` of a study.

    Args:
        folder: for the files.
        database: file of the study.

    Returns:
        The opinions reported.

    Raises:
        DataError: there is no study's database, nobody has rated yet, or a file cannot be written.
    """
    ratings = read_ratings(database)
    if not ratings:
        raise DataError(f"{database}: expected ratings to report, found none yet")
    found = write_opinions(folder, database)
    apart = differences(ratings)
    with Store(database).connect() as connection:
        counts = connection.execute(
            "SELECT (SELECT COUNT(*) FROM clips), (SELECT COUNT(*) FROM participants WHERE finished IS NOT NULL), "
            "(SELECT COUNT(*) FROM participants), (SELECT COUNT(*) FROM ratings WHERE score IS NULL), "
            "(SELECT seed FROM study)"
        ).fetchone()
    clips, finished, enrolled, unplayable, seed = counts
    people = f"{enrolled} participants, of whom {finished} finished" if enrolled != 1 else "1 participant"
    part = Part(
        title=TITLE,
        findings=[Finding(title=TITLE, sentences=sentences_of(found, apart))],
        facts=[people, f"{len(ratings)} ratings", f"{clips} clips"],
        terms=[
            ("Mean opinion score", "1 Bad, 2 Poor, 3 Fair, 4 Good, 5 Excellent; the mean over participants of each "
             "participant's own mean."),
            ("Brackets", "95 % intervals over participants, whose ratings are not independent of each other."),
            ("Box", "The quartiles of the participants' own means; whiskers reach from the least to the greatest, the "
             "triangle is the mean."),
        ],
        plots=plots_of(found),
        tables=[_scores_table(found), *([_apart_table(apart)] if apart else []), _counts_table(found)],
        limits=_limits(found, enrolled - finished, unplayable),
    )  # fmt: skip
    settings = {
        "clips": {o.condition: f"{o.ratings} ratings" for o in found if o.view == ALL}, "seed": seed,
        "scale": {str(score): name for score, name in SCORES.items()},
    }  # fmt: skip
    closing = "These scores are opinions about these clips; they say nothing about who can be identified in them."
    write_report(
        folder / "report.html", Report(title=TITLE, records=[], settings=settings, actions=part, closing=closing)
    )
    return found


def sentences_of(found: Sequence[Opinion], apart: Sequence[Difference]) -> list[str]:
    """Return what was found in sentences: each condition's score, then which differences are shown.

    Args:
        found: a study's opinions.
        apart: its differences.
    """
    whole = sorted((o for o in found if o.view == ALL), key=lambda o: -o.mean)
    sentences = [f"Mean opinion scores: {'; '.join(f'{o.condition} {score_text(o)}' for o in whole)}."]
    for more in (o.condition for o in whole):
        than = [f"{d.less}, by {d.mean:.2f} {_bounds(d.low, d.high)}" for d in apart if d.shown and d.more == more]
        if than:
            sentences.append(f"{more} looks more natural than {'; than '.join(than)}.")
    hidden = [f"{d.more} and {d.less}" for d in apart if not d.shown]
    if hidden:
        sentences.append(f"No difference is shown between {'; '.join(hidden)}.")
    return sentences


def score_text(opinion: Opinion) -> str:
    """Return a mean opinion score with its interval and the number of participants."""
    return f"{opinion.mean:.2f} {_bounds(opinion.low, opinion.high)}".rstrip() + f" (n = {opinion.participants})"


def _bounds(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"[{low:.2f}, {high:.2f}]"


def plots_of(found: Sequence[Opinion]) -> list[Plot]:
    """Return box plots of the participants' mean scores by condition, and by view as in the paper's Figure 12.

    Args:
        found: a study's opinions.
    """
    whole = [o for o in found if o.view == ALL]
    keys = {o.condition: Key(label=o.condition, color=PALETTE[i % len(PALETTE)]) for i, o in enumerate(whole)}
    plots = [_plot("Mean opinion scores", "all views together", [[o] for o in whole], keys, "")]
    views = list(dict.fromkeys(o.view for o in found if o.view != ALL))
    if views:
        by_view = [[o for o in found if o.view == view] for view in views]
        plots.append(_plot("Mean opinion scores by view", "a group a view", by_view, keys, "view"))
    return plots


def _plot(title: str, caption: str, groups: Sequence[Sequence[Opinion]], keys: dict[str, Key], across: str) -> Plot:
    figure, axes = blank_axes(width=9.2, height=3.2)
    names = [group[0].view if across else group[0].condition for group in groups]
    width = 0.8 / max(len(group) for group in groups)
    for place, group in enumerate(groups):
        for number, o in enumerate(group):
            at = place + (number - (len(group) - 1) / 2) * width
            color = keys[o.condition].color
            box = {
                "med": o.quartiles[1], "q1": o.quartiles[0], "q3": o.quartiles[2], "whislo": o.least, "whishi": o.most,
                "mean": o.mean, "fliers": [],
            }  # fmt: skip
            line = {"color": color, "linewidth": 1.4}
            axes.bxp(
                [box], positions=[at], widths=min(0.5, 0.7 * width), showmeans=True, manage_ticks=False, boxprops=line,
                whiskerprops=line, capprops=line, medianprops={"color": INK, "linewidth": 1.4},
                meanprops={"marker": "^", "markerfacecolor": color, "markeredgecolor": INK, "markersize": 7},
            )  # fmt: skip
    axes.set_xlim(-0.6, len(groups) - 0.4)
    axes.set_ylim(0.9, 5.1)
    target = io.StringIO()
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        # Labels are drawn by the browser, so it is no matter that the font for measuring lacks a sign.
        warnings.filterwarnings("ignore", message="Glyph")
        shown = [name if len(name) <= 24 else f"{name[:23]}…" for name in names]
        axes.set_xticks(range(len(groups)), [f"{name}°" if across and name.isdecimal() else name for name in shown])
        axes.set_yticks(list(SCORES))
        axes.yaxis.grid(True, color=INK, alpha=0.12, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(length=3, width=0.8, labelsize=9)
        axes.set_xlabel(across)
        axes.set_ylabel("score, 1 to 5")
        figure.patch.set_visible(False)
        axes.patch.set_visible(False)
        FigureCanvasSVG(figure).print_svg(target, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    svg = inline_svg(target.getvalue(), f"{title}: {caption}", ("study", title))
    told = "Boxes are the quartiles of the participants' own means, whiskers reach to the least and greatest of them."
    caption = f"{caption[0].upper()}{caption[1:]}. {told} Triangles are mean opinion scores."
    return Plot(title=title, caption=caption, legend=tuple(keys.values()), charts=(Chart(title="", svg=svg),))


def _scores_table(found: Sequence[Opinion]) -> Table:
    rows = [
        (o.condition, _view(o), f"{o.mean:.2f}", _bounds(o.low, o.high) or "–",
         *(f"{value:.2f}" for value in (o.least, *o.quartiles, o.most)), str(o.participants), str(o.ratings))
        for o in found
    ]  # fmt: skip
    columns = ("condition", "view", "mean", "95 % interval", "least", "quartile 1", "median", "quartile 3", "greatest")
    return Table(
        title="Mean opinion scores", caption="Of the participants' own means.",
        columns=(*columns, "participants", "ratings"), rows=rows,
    )  # fmt: skip


def _apart_table(apart: Sequence[Difference]) -> Table:
    rows = [
        (
            d.more,
            d.less,
            f"{d.mean:.2f}",
            _bounds(d.low, d.high) or "–",
            str(d.participants),
            "yes" if d.shown else "no",
        )
        for d in apart
    ]
    return Table(
        title="Differences",
        caption="Over those who rated both, each compared with themselves. Intervals are of one difference at a time.",
        columns=("more natural", "less natural", "difference", "95 % interval", "participants", "shown"),
        rows=rows,
    )


def _counts_table(found: Sequence[Opinion]) -> Table:
    return Table(
        title="How often each score was given",
        caption="Single ratings.",
        columns=("condition", "view", *(f"{score} {name}" for score, name in SCORES.items())),
        rows=[(o.condition, _view(o), *map(str, o.counts)) for o in found],
        folded=True,
    )


def _view(opinion: Opinion) -> str:
    return f"{opinion.view}°" if opinion.view.isdecimal() else opinion.view


def _limits(found: Sequence[Opinion], unfinished: int, unplayable: int) -> list[str]:
    limits = ["The scores hold for these clips and these participants; how they were chosen is not known here."]
    if any(o.low is None for o in found):
        limits.append("A score without an interval is by one participant.")
    if min(o.participants for o in found) < FEWEST:
        limits.append(f"A difference is claimed only where at least {FEWEST} participants rated both conditions.")
    if unfinished:
        limits.append(f"The ratings of {unfinished} who did not finish count as far as they go.")
    if unplayable:
        missing = "1 rating is" if unplayable == 1 else f"{unplayable} ratings are"
        limits.append(f"{missing} missing: the clip did not play.")
    return limits
