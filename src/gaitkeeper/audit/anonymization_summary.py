"""From the rows of a measurement of anonymizers to its figures, and what makes them not count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from gaitkeeper.anonymize.methods import NEGATIVE_CONTROLS
from gaitkeeper.audit.anonymization_grid import NATURAL, NEGATIVE_CONTROL, RANKS, RECIPE, AnonymizationSettings
from gaitkeeper.audit.rows import Row
from gaitkeeper.audit.verdict import Record, select
from gaitkeeper.metrics.intervals import student

LOOKS = "looks"
"""In place of a judge in rows about how a method's clips look."""

APPEARANCE: Mapping[str, str] = {
    "overlap": "overlap with the original (IoU)",
    "leg_motion": "leg motion, after / before",
    "outline_jitter": "jitter of the outline, after / before",
    "period_kept": "walking period, after / before",
    "video": "probability of walking",
}
"""How clips look, by the rows' names."""

DATA = "walkers"


def clustered(values: np.ndarray, people: np.ndarray) -> tuple[float, float, float]:
    """Return the mean of values in [0, 1] and its 95 % interval, where several values are of one person.

    Clips of one person are identified or not together, so that they say less than as many clips of different people.
    The variance of the mean is taken between people; Wilson's interval is made for as many independent values as would
    have that variance, at least one a person (all that can be said where every value is 0 or 1) and at most all of
    them.

    Args:
        values: ``(n,)``.
        people: ``(n,)`` whose they are.

    Returns:
        mean, low, high; three NaN where there are no values.

    Reference:
        Dean and Pagano, "Evaluating confidence interval methods for binomial proportions in clustered surveys",
        Journal of Survey Statistics and Methodology 2015: the Wilson interval of the effective sample size.
    """
    if not len(values):
        return (float("nan"),) * 3
    _, owner = np.unique(people, return_inverse=True)
    n, m = len(values), int(owner.max()) + 1
    share = float(values.mean())
    excess = np.bincount(owner, weights=values - share)
    variance = m / max(m - 1, 1) * float((excess**2).sum()) / n**2
    independent = share * (1 - share) / variance if variance > 0 else m
    return wilson_of(share, float(np.clip(independent, m, n)))


def wilson_of(share: float, n: float) -> tuple[float, float, float]:
    """Return a share and its 95 % Wilson interval for a number of independent values that need not be whole."""
    from scipy.stats import norm

    z = float(norm.ppf(0.975))
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return share, float(max(0.0, min(share, middle - half))), float(min(1.0, max(share, middle + half)))


def summarize_anonymization(rows: Sequence[Row], settings: AnonymizationSettings) -> list[Record]:
    """Return the figures of all rows, by condition and by view.

    Each record has ``model`` (the judge, or ``looks``), ``data``, ``method``, ``metric``, ``condition`` (NM, BG, CL or
    all), ``view`` (or all), ``value``, ``low``, ``high`` and ``n``; those of identification also ``task``,
    ``adapted``, ``gallery`` (same or cross) and ``rank``. Shares are in percent.
    """
    samples = settings.samples("probes")
    people = np.array([s.subject for s in samples])
    views = np.array([s.view for s in samples])
    kinds = np.array([s.condition[:2].upper() for s in samples])
    scopes: list[tuple[str, str | int, np.ndarray]] = [("all", "all", np.ones(len(samples), bool))]
    scopes += [(kind, "all", kinds == kind) for kind in dict.fromkeys(kinds.tolist())]
    scopes += [("all", view, views == view) for view in settings.views]
    records: list[Record] = []
    for row in rows:
        names: Record = {"model": row["model"], "data": DATA, "method": row["method"]}
        for condition, view, inside in scopes:
            place = {"condition": condition, "view": view}
            if row["model"] == LOOKS:
                for metric in APPEARANCE:
                    mean, low, high = student(_by_person(np.array(row[metric], float)[inside], people[inside]))
                    if not np.isfinite(mean):
                        continue
                    record = {**names, **place, "metric": metric, "value": mean, "low": low, "high": high}
                    records.append({**record, "n": int(inside.sum())})
                continue
            for gallery in ("same", "cross"):
                for rank in RANKS:
                    values = np.array(row[gallery][str(rank)], float)
                    known = inside & ~np.isnan(values)
                    if not known.any():
                        continue
                    share, low, high = (100 * v for v in clustered(values[known], people[known]))
                    what = {"metric": "identified", "gallery": gallery, "rank": rank}
                    what |= {"task": row["task"], "adapted": row["adapted"]}
                    figures = {"value": share, "low": low, "high": high, "n": int(known.sum())}
                    records.append({**names, **what, **place, **figures})
    return records


def _by_person(values: np.ndarray, people: np.ndarray) -> np.ndarray:
    """Return each person's mean, since a person's clips are alike; clips without a value do not count."""
    known = np.isfinite(values)
    _, owner = np.unique(people[known], return_inverse=True)
    return np.bincount(owner, weights=values[known]) / np.maximum(np.bincount(owner), 1)


def figure(records: Sequence[Record], judge: str, method: str, **wanted: object) -> Record | None:
    """Return one share of identified clips: rank 1, same view, all conditions and views, re-identified, not adapted.

    Args:
        records: of a measurement.
        judge: by name.
        method: by name.
        wanted: other values of ``rank``, ``gallery``, ``condition``, ``view``, ``task``, ``adapted``.
    """
    usual = {"rank": 1, "gallery": "same", "condition": "all", "view": "all", "task": "re-identify", "adapted": False}
    found = select([r for r in records if r["metric"] == "identified"], model=judge, method=method, **usual | wanted)
    return found[0] if found else None


def worst(records: Sequence[Record], method: str, *, rank: int = 1, gallery: str = "same") -> Record | None:
    """Return the highest share of a method's clips that any judge identifies, adapted or not, by either task."""
    shares = [r for r in records if r["metric"] == "identified"]
    found = select(shares, method=method, rank=rank, gallery=gallery, condition="all", view="all")
    return max(found, key=lambda r: float(r["value"]), default=None)


def judges_of(records: Sequence[Record]) -> list[str]:
    """Return the judges, in the order of their first figures."""
    return list(dict.fromkeys(r["model"] for r in records if r["metric"] == "identified"))


def methods_of(records: Sequence[Record]) -> list[str]:
    """Return the methods, unaltered clips left out."""
    return [name for name in dict.fromkeys(r["method"] for r in records) if name != NATURAL]


def warnings_of(records: Sequence[Record], settings: AnonymizationSettings) -> tuple[str, ...]:
    """Return what makes figures not count, in sentences: judges that identify too few originals, or that adapt too
    little."""
    found = []
    judges = judges_of(records)
    if not settings.adapt:
        found.append(
            "No judge was adapted to any method. Figures of unprepared judges do not say what a method is worth: "
            "fixed filters fool those, and nobody else."
        )
    for judge in judges:
        for adapted in (False, True):
            natural = figure(records, judge, NATURAL, adapted=adapted)
            if natural is not None and natural["value"] < RECIPE:
                which = f"{judge}, retrained by the recipe of adaptation," if adapted else judge
                found.append(
                    f"{which} identifies only {natural['value']:.1f} % of originals in the same view, less than "
                    f"{RECIPE:g} %; its figures say little."
                )
    if settings.adapt:
        for method in NEGATIVE_CONTROLS:
            shares = [figure(records, judge, method, adapted=True) for judge in judges]
            measured = [share for share in shares if share is not None]
            if not measured:
                found.append(f"The negative control {method} was not measured, so that no adapted figure is proven.")
                continue
            best = max(measured, key=lambda r: float(r["value"]))
            if best["value"] < NEGATIVE_CONTROL:
                found.append(
                    f"No adapted figure counts: adapted to {method}, the best judge ({best['model']}) identifies only "
                    f"{best['value']:.1f} % in the same view, and a judge that learns enough would reach "
                    f"{NEGATIVE_CONTROL:g} %."
                )
    return tuple(found)
