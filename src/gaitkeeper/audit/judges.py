"""Judges: recognizers that say how well people are still identified, and learn what an anonymizer does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from gaitkeeper.errors import DataError

JudgeName = Literal["rvtm", "wu-mt", "wu-lb", "gaitset"]
"""The judges by name."""

Progress = Callable[[int, int, str], None]
"""Called with units done, units in all, and what is being done."""


def silent(done: int, total: int, text: str) -> None:
    """Show no progress."""


@dataclass(frozen=True, kw_only=True)
class Recordings:
    """Aligned silhouettes, with who they are of and from where.

    Args:
        silhouettes: n sequences, each ``(t, 64, 44)`` uint8; lengths may differ.
        identities: ``(n,)`` integers.
        views: ``(n,)`` integers, the camera's direction in degrees, 0 from the front.
        conditions: ``(n,)`` names of walks, ``nm-01``.
        anonymized: ``(n,)`` bool, which are anonymized; None where none is.

    Raises:
        DataError: a sequence has another shape, or there are not as many of the others.
    """

    silhouettes: Sequence[np.ndarray]
    identities: np.ndarray
    views: np.ndarray
    conditions: np.ndarray
    anonymized: np.ndarray | None = None

    def __post_init__(self) -> None:
        for name in ("identities", "views", "conditions", "anonymized"):
            value = getattr(self, name)
            if value is not None and np.shape(value) != (len(self.silhouettes),):
                raise DataError(
                    f"recordings: expected {name} of shape ({len(self.silhouettes)},), got {np.shape(value)}"
                )
        for index, frames in enumerate(self.silhouettes):
            if frames.dtype != np.uint8 or frames.ndim != 3 or frames.shape[1:] != (64, 44) or not len(frames):
                raise DataError(
                    f"recording {index}: expected silhouettes (t, 64, 44) uint8, got {frames.shape} {frames.dtype}"
                )

    def __len__(self) -> int:
        return len(self.silhouettes)

    def select(self, index: np.ndarray) -> Recordings:
        """Return some of the recordings, by their indices or by a mask ``(n,)``."""
        chosen = np.arange(len(self))[index]
        return Recordings(
            silhouettes=[self.silhouettes[i] for i in chosen],
            identities=self.identities[chosen],
            views=self.views[chosen],
            conditions=self.conditions[chosen],
            anonymized=None if self.anonymized is None else self.anonymized[chosen],
        )

    def joined(self, other: Recordings) -> Recordings:
        """Return these recordings and then the other ones."""
        flags = [np.zeros(len(r), bool) if r.anonymized is None else r.anonymized for r in (self, other)]
        return Recordings(
            silhouettes=[*self.silhouettes, *other.silhouettes],
            identities=np.concatenate([self.identities, other.identities]),
            views=np.concatenate([self.views, other.views]),
            conditions=np.concatenate([self.conditions, other.conditions]),
            anonymized=np.concatenate(flags) if any(r.anonymized is not None for r in (self, other)) else None,
        )


@dataclass(frozen=True)
class Check:
    """One look at the validation people while a judge learns.

    Args:
        step: optimizer steps done; of a judge that is solved for, 0 before and 1 after.
        same: rank-1 against the gallery of the probe's own view, in [0, 1].
        cross: the mean over the galleries of other views; NaN where there are none.
    """

    step: int
    same: float
    cross: float


class Judge(Protocol):
    """A recognizer of gaits. Calling changes nothing in it; ``adapted`` gives another one."""

    @property
    def name(self) -> str:
        """One of :data:`JudgeName`."""
        ...

    @property
    def history(self) -> tuple[Check, ...]:
        """How validation went as it was adapted; empty for one that was not."""
        ...

    def scores(self, probes: Recordings, gallery: Recordings) -> np.ndarray:
        """Return how alike each probe and each enrolled recording are: ``(n, g)`` float32, higher is more alike."""
        ...

    def adapted(
        self,
        own: Recordings,
        validation: tuple[Recordings, Recordings],
        *,
        seed: int = 0,
        progress: Progress = silent,
    ) -> Judge:
        """Return the judge retrained by someone who has the anonymizer.

        Args:
            own: recordings of the attacker's own people, as they were and anonymized, under the same identity.
            validation: probes and gallery of other people, by which training stops once identification flattens;
                the weights that identified most are kept.
            seed: of what is random in training.
            progress: called as training goes on.
        """
        ...


def identification(
    scores: np.ndarray, probes: Recordings, gallery: Recordings, *, rank: int = 1
) -> Mapping[Literal["same", "cross"], np.ndarray]:
    """Return how often each probe is identified, one value a probe.

    Each view's gallery is one of its own, in which an identity scores as its best sequence does. A probe is a hit if
    fewer than ``rank`` other identities score as high as its own: ties count against the judge, so that one that
    says nothing identifies nobody.

    Args:
        scores: ``(n, g)`` of a judge.
        probes: n recordings.
        gallery: g recordings.
        rank: 1 or more.

    Returns:
        ``same``: ``(n,)`` 1 or 0, by the gallery of the probe's own view; NaN where its identity is not enrolled in it.
        ``cross``: ``(n,)`` the mean over the galleries of the other views; NaN where there are none.

    Raises:
        DataError: the scores have another shape or are not finite.
    """
    if scores.shape != (len(probes), len(gallery)) or not np.isfinite(scores).all():
        wanted = (len(probes), len(gallery))
        raise DataError(f"expected finite scores of shape {wanted}, got {scores.shape}")
    views = np.unique(gallery.views)
    hits = np.full((len(probes), len(views)), np.nan)
    for column, view in enumerate(views):
        there = gallery.views == view
        names, owner = np.unique(gallery.identities[there], return_inverse=True)
        best = np.full((len(probes), len(names)), -np.inf)
        np.maximum.at(best.T, owner, scores[:, there].T)
        known = np.flatnonzero(np.isin(probes.identities, names))
        true = np.searchsorted(names, probes.identities[known])
        ahead = (best[known] >= best[known, true][:, None]).sum(1) - 1
        hits[known, column] = ahead < rank
    own = probes.views[:, None] == views[None, :]
    return {"same": _mean(hits, own), "cross": _mean(hits, ~own)}


def _mean(values: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """Return the mean of each row's values that count and are known; NaN where there are none."""
    counted = counted & ~np.isnan(values)
    number = counted.sum(1)
    total = np.where(counted, values, 0).sum(1)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def checked(judge: Judge, validation: tuple[Recordings, Recordings], step: int) -> Check:
    """Return a judge's rank-1 on the validation probes and gallery."""
    probes, gallery = validation
    found = identification(judge.scores(probes, gallery), probes, gallery)
    same, cross = (v[~np.isnan(v)] for v in (found["same"], found["cross"]))
    return Check(
        step, float(same.mean()) if len(same) else float("nan"), float(cross.mean()) if len(cross) else float("nan")
    )


def load_judges(names: Sequence[JudgeName] = ("rvtm", "wu-mt", "gaitset")) -> tuple[Judge, ...]:
    """Return judges trained on walkers as they are, from the weights in the package.

    Raises:
        DataError: an unknown name.
        WeightsError: weights are missing or damaged.
    """
    from gaitkeeper.audit.adaptive import LOADERS

    unknown = [name for name in names if name not in LOADERS]
    if unknown:
        raise DataError(f"unknown judge {unknown[0]!r}; expected {', '.join(LOADERS)}")
    return tuple(LOADERS[name]() for name in names)
