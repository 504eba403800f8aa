"""Tables of a report about anonymizers: natural beside anonymized, for judges as they are and adapted."""

from __future__ import annotations

from collections.abc import Sequence

from gaitkeeper.anonymize.methods import METHODS
from gaitkeeper.audit.anonymization_grid import NATURAL, RANKS, AnonymizationSettings
from gaitkeeper.audit.anonymization_summary import APPEARANCE, LOOKS, figure, judges_of, methods_of, worst
from gaitkeeper.audit.report import Table
from gaitkeeper.audit.rows import Row
from gaitkeeper.audit.verdict import Record, has_interval, interval_text, select

MISSING = "–"

COLUMNS: tuple[tuple[str, str, bool], ...] = (
    ("as trained", "re-identify", False),
    ("adapted", "re-identify", True),
    ("adapted, link", "link", True),
)
"""What is told of each judge: its heading, the task, and whether it is adapted."""


def tables_of(rows: Sequence[Row], records: Sequence[Record], settings: AnonymizationSettings) -> list[Table]:
    """Return all tables of a measurement, in order."""
    made = [
        identified_table(records, settings, rank=rank, gallery=gallery, folded=gallery == "cross")
        for gallery in ("same", "cross")
        for rank in RANKS
    ]
    made.append(_unadapted_links(records, settings))
    made.append(_looks_table(rows, records))
    for judge in judges_of(records):
        made += [view_table(records, settings, judge, rank=rank) for rank in RANKS]
        made.append(_condition_table(records, judge))
    made.append(_adaptation_table(rows))
    return [table for table in made if table.rows]


def text_of(record: Record | None) -> str:
    """Return a share with its interval."""
    return MISSING if record is None else f"{record['value']:.1f} {interval_text(record)}".strip()


def title_of(method: str) -> str:
    """Return a method's name, marked where it is there for comparison only."""
    return f"{method} (control)" if method in METHODS and METHODS[method].control else method


def identified_table(
    records: Sequence[Record], settings: AnonymizationSettings, *, rank: int, gallery: str, folded: bool = False
) -> Table:
    """Return methods down, judges across: as trained, adapted, and adapted with the gallery anonymized too."""
    judges = judges_of(records)
    told = [column for column in COLUMNS if settings.adapt or not column[2]]
    wanted = {"rank": rank, "gallery": gallery}
    rows = []
    for method in (NATURAL, *methods_of(records)):
        cells = [
            text_of(figure(records, judge, method, task=task, adapted=adapted, **wanted))
            for judge in judges
            for _, task, adapted in told
        ]
        most = worst(records, method, rank=rank, gallery=gallery)
        rows.append((title_of(method), text_of(most), *cells))
    place = "the gallery of the probe's own view" if gallery == "same" else "galleries of other views, their mean"
    return Table(
        title=f"People identified, rank-{rank}, {gallery} view, in %",
        caption=f"Against {place}; guessing gives {settings.chance(rank):.3g} %. “Adapted” judges were retrained on "
        "clips that the method anonymized; “link” has anonymized clips in the gallery too. “Worst” is the most that "
        "any judge identifies in any of these ways. Brackets are 95 % intervals over people.",
        columns=("method", "worst", *(f"{judge}, {heading}" for judge in judges for heading, _, _ in told)),
        rows=rows if judges else [],
        folded=folded,
    )


def _unadapted_links(records: Sequence[Record], settings: AnonymizationSettings) -> Table:
    judges = judges_of(records)
    rows = []
    for method in methods_of(records):
        found = [figure(records, judge, method, task="link", rank=rank) for judge in judges for rank in RANKS]
        rows.append((title_of(method), *map(text_of, found)))
    return Table(
        title="Linked by judges as trained, same view, in %",
        caption="Gallery and probes are anonymized, each clip with random numbers of its own. Guessing gives "
        + " and ".join(f"{settings.chance(rank):.3g} % at rank-{rank}" for rank in RANKS)
        + ".",
        columns=("method", *(f"{judge}, rank-{rank}" for judge in judges for rank in RANKS)),
        rows=rows,
        folded=True,
    )


def view_table(records: Sequence[Record], settings: AnonymizationSettings, judge: str, *, rank: int) -> Table:
    """Return one judge's figures by view: as trained, and adapted after an arrow."""
    rows = []
    for method in (NATURAL, *methods_of(records)):
        cells = []
        for view in settings.views:
            found = [figure(records, judge, method, view=view, rank=rank, adapted=flag) for flag in (False, True)]
            cells.append(" → ".join(text_of(record) for record in found if record is not None) or MISSING)
        rows.append((title_of(method), *cells))
    return Table(
        title=f"{judge}: identified by view, rank-{rank}, same view, in %",
        caption=f"As trained{' → adapted to the method' if settings.adapt else ''}; gallery of unaltered clips. "
        f"Guessing gives {settings.chance(rank):.3g} %.",
        columns=("method", *(f"{view}°" for view in settings.views)),
        rows=rows,
        folded=True,
    )


def _condition_table(records: Sequence[Record], judge: str) -> Table:
    kinds = list(dict.fromkeys(r["condition"] for r in records if r["condition"] != "all"))
    rows = []
    for method in (NATURAL, *methods_of(records)):
        cells = []
        for kind in kinds:
            found = [figure(records, judge, method, condition=kind, adapted=flag) for flag in (False, True)]
            cells.append(" → ".join(text_of(record) for record in found if record is not None) or MISSING)
        rows.append((title_of(method), *cells))
    return Table(
        title=f"{judge}: identified by clothing, rank-1, same view, in %",
        caption="NM is normal walking, BG with a bag, CL in a coat. As trained → adapted.",
        columns=("method", *kinds),
        rows=rows,
        folded=True,
    )


def _looks_table(rows: Sequence[Row], records: Sequence[Record]) -> Table:
    lost = {row["method"]: row["lost"] for row in rows if row["model"] == LOOKS}
    made = []
    for method in (NATURAL, *methods_of(records)):
        found = [
            select(records, model=LOOKS, method=method, metric=metric, condition="all", view="all")
            for metric in APPEARANCE
        ]
        most = worst(records, method)
        made.append(
            (title_of(method), *(_mean(r[0] if r else None) for r in found), str(lost.get(method, 0)), text_of(most))
        )
    return Table(
        title="How anonymized people look",
        caption="Means over the probes with 95 % intervals over people. Leg motion is the activity of the lower third "
        "of the silhouette. “Nobody left” counts clips in which segmentation finds nobody; they count as not "
        "identified. The last column is the worst rank-1 above, since methods are to be compared at equal overlap.",
        columns=("method", *APPEARANCE.values(), "nobody left", "worst rank-1, %"),
        rows=made,
    )


def _mean(record: Record | None) -> str:
    if record is None:
        return MISSING
    interval = f" [{record['low']:.3f}, {record['high']:.3f}]" if has_interval(record) else ""
    return f"{record['value']:.3f}{interval}"


def _adaptation_table(rows: Sequence[Row]) -> Table:
    made = []
    for row in rows:
        if row.get("adapted") and row["task"] == "re-identify" and row["history"]:
            checks = [check for check in row["history"] if check["same"] == check["same"]]
            best = max(checks, key=lambda check: float(check["same"]))
            shares = [f"{100 * check['same']:.1f}" for check in (checks[0], best, checks[-1])]
            made.append((title_of(row["method"]), row["model"], *shares, str(best["step"]), str(checks[-1]["step"])))
    return Table(
        title="How judges adapted",
        caption="Rank-1 in the same view, %, of people who are neither trained on nor tested: at the first check, at "
        "the best (whose weights are kept) and at the last.",
        columns=("method", "judge", "first", "best", "last", "best at step", "steps"),
        rows=made,
        folded=True,
    )
