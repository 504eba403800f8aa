"""Mean opinion scores of a study, and how far two conditions are apart in the eyes of the same people."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from gaitkeeper.audit.study_store import SCORES, Store
from gaitkeeper.files import write_text
from gaitkeeper.metrics.intervals import student

FEWEST = 5
"""Participants from which on a difference is claimed: with fewer, equal answers leave an interval without width."""

ALL = "all"
"""The view of figures over all views."""


@dataclass(frozen=True, kw_only=True)
class Rating:
    """One rating.

    Args:
        participant: number of who gave it.
        condition: of the clip.
        view: of the clip, empty where it has none.
        clip: the clip's number.
        score: 1 to 5.
    """

    participant: int
    condition: str
    view: str
    clip: int
    score: int


@dataclass(frozen=True, kw_only=True)
class Opinion:
    """What participants think of one condition, seen from one view or from all.

    Args:
        condition: of the clips.
        view: of the clips, ``all`` for all together.
        mean: of the participants' own mean scores, 1 to 5.
        low: lower end of its 95 % interval; None with a single participant.
        high: its upper end.
        quartiles: of the participants' mean scores.
        least: the least of these.
        most: the greatest.
        participants: who rated such clips.
        ratings: how many there are.
        counts: how many of each score, from 1 to 5.
    """

    condition: str
    view: str
    mean: float
    low: float | None
    high: float | None
    quartiles: tuple[float, float, float]
    least: float
    most: float
    participants: int
    ratings: int
    counts: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How much more natural one condition looks than another to those who rated both.

    Args:
        more: the condition with the higher mean.
        less: the other.
        mean: of the participants' own differences.
        low: lower end of its 95 % interval; None with a single participant.
        high: its upper end.
        participants: who rated both.
    """

    more: str
    less: str
    mean: float
    low: float | None
    high: float | None
    participants: int

    @property
    def shown(self) -> bool:
        """Whether enough participants rated both, and the interval leaves out that there is no difference."""
        return self.participants >= FEWEST and self.low is not None and self.low > 0


def read_ratings(database: Path) -> list[Rating]:
    """Return all ratings of those who take part, finished or not; clips that did not play have none.

    Raises:
        DataError: there is no study's database.
    """
    with Store(database).connect() as connection:
        rows = connection.execute(
            "SELECT participant, condition, view, clip, score FROM ratings JOIN clips ON clips.id = clip "
            "WHERE score IS NOT NULL ORDER BY participant, clip"
        ).fetchall()
    # Numbers in the database tell in what order people came, and how many withdrew.
    numbers = {participant: number for number, participant in enumerate(dict.fromkeys(row[0] for row in rows), 1)}
    return [
        Rating(participant=numbers[participant], condition=condition, view=view, clip=clip, score=score)
        for participant, condition, view, clip, score in rows
    ]


def opinions(database: Path) -> list[Opinion]:
    """Return the mean opinion score of every condition, and of its views if it was seen from several.

    Ratings by one person are not independent. So each participant's ratings are averaged first, and the interval is
    Student's over participants; it is cut to the scale.

    Args:
        database: file of a study.

    Returns:
        By condition, all views together first.

    Raises:
        DataError: there is no study's database.

    Reference:
        Tieu et al., "Spatio-temporal generative adversarial network for gait anonymization", section 4.3 and Figure
        12: the average score of each evaluator and viewing angle, their mean and quartiles.

    Deviations:
        Intervals, and the distribution of single scores, are given too.
    """
    ratings = read_ratings(database)
    found = []
    for condition in sorted({rating.condition for rating in ratings}):
        inside = [rating for rating in ratings if rating.condition == condition]
        views = sorted({rating.view for rating in inside if rating.view}, key=_view_order)
        for view in (ALL, *(views if len(views) > 1 else ())):
            found.append(_opinion(condition, view, [r for r in inside if view in (ALL, r.view)]))
    return found


def differences(ratings: Sequence[Rating]) -> list[Difference]:
    """Return how far each two conditions are apart to those who rated both, the greatest difference first.

    Args:
        ratings: of a study.
    """
    found = []
    for pair in combinations(sorted({rating.condition for rating in ratings}), 2):
        first, second = (_own_means([r for r in ratings if r.condition == condition]) for condition in pair)
        both = sorted(set(first) & set(second))
        if not both:
            continue
        apart = np.array([first[participant] - second[participant] for participant in both])
        more, less = pair if apart.mean() >= 0 else pair[::-1]
        mean, low, high = student(apart if apart.mean() >= 0 else -apart)
        found.append(Difference(more=more, less=less, mean=mean, low=low, high=high, participants=len(both)))
    return sorted(found, key=lambda difference: (-difference.mean, difference.more, difference.less))


def write_opinions(folder: Path, database: Path) -> list[Opinion]:
    """Write ``opinions.csv``, a line a condition and view, and ``ratings.csv``, a line a rating.

    Participants are numbered; codes and times stay in the database.

    Args:
        folder: for the files.
        database: file of the study.

    Returns:
        The opinions written.

    Raises:
        DataError: there is no study's database.
    """
    found = opinions(database)
    names = ("condition", "view", "mean", "low", "high", "least", "quartile1", "median", "quartile3", "most")
    lines: list[tuple[object, ...]] = [(*names, "participants", "ratings", *(f"score{score}" for score in SCORES))]
    for o in found:
        figures = (o.mean, o.low, o.high, o.least, *o.quartiles, o.most)
        shown = ("" if figure is None else f"{figure:.4f}" for figure in figures)
        lines.append((o.condition, o.view, *shown, o.participants, o.ratings, *o.counts))
    write_text(folder / "opinions.csv", _csv(lines))
    single = [(r.participant, r.condition, r.view, r.clip, r.score) for r in read_ratings(database)]
    write_text(folder / "ratings.csv", _csv([("participant", "condition", "view", "clip", "score"), *single]))
    return found


def _opinion(condition: str, view: str, ratings: Sequence[Rating]) -> Opinion:
    means = np.array(list(_own_means(ratings).values()))
    mean, low, high = student(means)
    least, *quartiles, most = np.quantile(means, (0, 0.25, 0.5, 0.75, 1)).tolist()
    return Opinion(
        condition=condition,
        view=view,
        mean=mean,
        low=None if low is None else max(low, float(min(SCORES))),
        high=None if high is None else min(high, float(max(SCORES))),
        quartiles=(quartiles[0], quartiles[1], quartiles[2]),
        least=least,
        most=most,
        participants=len(means),
        ratings=len(ratings),
        counts=tuple(sum(rating.score == score for rating in ratings) for score in SCORES),
    )


def _own_means(ratings: Sequence[Rating]) -> dict[int, float]:
    """Return each participant's mean score."""
    scores: dict[int, list[int]] = {}
    for rating in ratings:
        scores.setdefault(rating.participant, []).append(rating.score)
    return {participant: float(np.mean(given)) for participant, given in scores.items()}


def _view_order(view: str) -> tuple[bool, float, str]:
    """Angles by size, then other views by name."""
    return (False, float(view), view) if view.isdecimal() else (True, 0.0, view)


def _csv(lines: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()
