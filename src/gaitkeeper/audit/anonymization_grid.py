"""What a measurement of anonymizers does: its settings. Free of torch."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from gaitkeeper.anonymize.methods import METHODS
from gaitkeeper.datasets.base import Sample
from gaitkeeper.errors import GaitkeeperError
from gaitkeeper.synthetic.population import CONDITIONS, VIEWS, Population

Form = Literal["silhouettes", "video"]
Task = Literal["re-identify", "link"]
Where = Literal["same", "cross"]
Part = Literal["gallery", "probes", "own", "validation-gallery", "validation-probes"]

FORMS: tuple[Form, ...] = get_args(Form)
TASKS: tuple[Task, ...] = get_args(Task)
GALLERIES: tuple[Where, ...] = get_args(Where)
"""The gallery of the probe's own view, and those of the others."""

NATURAL = "natural"
"""The name under which unaltered clips have their rows."""

ENROLLED = ("nm-01", "nm-02", "nm-03", "nm-04")
"""Conditions of the gallery."""

RANKS = (1, 3)
"""A person is identified when among the first so many."""

NEGATIVE_CONTROL = 55.0
"""Same-view rank-1, percent, to which the best adapted judge must bring a fixed filter back; else it is too weak."""

RECIPE = 85.0
"""Same-view rank-1, percent, that a judge must reach on originals, before and after the adaptation's recipe."""


@dataclass(frozen=True, kw_only=True)
class AnonymizationSettings:
    """How often people are identified before and after their gait was anonymized.

    Args:
        methods: names out of ``gaitkeeper.anonymize.methods.METHODS``.
        judges: names of recognizers.
        subjects: numbers of the walkers who are enrolled and looked for; none of them trained anything.
        conditions: of the probes; four normal walks are enrolled.
        views: camera angles in degrees.
        frames: of each clip.
        strength: of the methods that have one.
        adapt: also retrain each judge on clips that the method anonymized. Without it no figure says what a method
            is worth.
        own: walkers that the judges, and whoever adapts them, were trained on.
        validation: walkers whose identification tells when an adaptation is done.
        form: silhouettes alone are written as video and read again; or walkers are filmed in color, and the whole
            way of a real video is gone.
        population: who the walkers are.

    Raises:
        GaitkeeperError: values are unknown, too few or shared between groups that must not meet.
    """

    methods: tuple[str, ...] = tuple(name for name in METHODS if name != "st-gan-no-noise")
    judges: tuple[str, ...] = ("rvtm", "wu-mt", "gaitset")
    subjects: tuple[int, ...] = tuple(range(85, 125))
    conditions: tuple[str, ...] = ("nm-05", "nm-06", "bg-01", "bg-02", "cl-01", "cl-02")
    views: tuple[int, ...] = (0, 36, 72, 90, 144, 180)
    frames: int = 40
    strength: float = 1.0
    adapt: bool = True
    own: tuple[int, ...] = tuple(range(1, 51))
    validation: tuple[int, ...] = tuple(range(77, 85))
    form: Form = "silhouettes"
    population: Population = field(default_factory=Population)

    def __post_init__(self) -> None:
        known = set(CONDITIONS) - set(ENROLLED)
        for name, allowed in (("methods", METHODS), ("conditions", known), ("views", VIEWS)):
            given = getattr(self, name)
            unknown = [value for value in given if value not in allowed]
            if unknown or not given:
                found = ", ".join(map(str, unknown)) or "none"
                raise GaitkeeperError(f"{name}: expected some of {', '.join(map(str, sorted(allowed)))}, got {found}")
        groups = {"subjects": self.subjects, "own": self.own, "validation": self.validation}
        for name, numbers in groups.items():
            if len(set(numbers)) != len(numbers) or not all(1 <= number <= 124 for number in numbers):
                raise GaitkeeperError(f"{name}: expected different numbers from 1 to 124, got {_listed(numbers)}")
            for other, taken in groups.items():
                if other < name and set(numbers) & set(taken):
                    raise GaitkeeperError(f"{name} and {other} share {_listed(sorted(set(numbers) & set(taken)))}")
        least = {"subjects": 2, "own": 2 * self.adapt, "validation": 2 * self.adapt, "judges": 1}
        for name, count in least.items():
            if len(getattr(self, name)) < count:
                raise GaitkeeperError(f"{name}: expected at least {count}, got {len(getattr(self, name))}")
        if not 8 <= self.frames <= 1000:
            raise GaitkeeperError(f"expected 8 to 1000 frames of a clip, got {self.frames}")
        if not (math.isfinite(self.strength) and 0 < self.strength <= 10):
            raise GaitkeeperError(f"expected a strength above 0 and of at most 10, got {self.strength}")
        if self.form not in FORMS:
            raise GaitkeeperError(f"form: expected {' or '.join(FORMS)}, got {self.form}")

    def chance(self, rank: int = 1) -> float:
        """Return how often guessing identifies somebody among the first ``rank``, percent."""
        return 100 * min(rank / len(self.subjects), 1.0)

    def samples(self, part: Part) -> list[Sample]:
        """Return the clips of one part of the measurement, in order."""
        numbers, conditions = {
            "gallery": (self.subjects, ENROLLED),
            "probes": (self.subjects, self.conditions),
            "own": (self.own, CONDITIONS),
            "validation-gallery": (self.validation, ENROLLED),
            "validation-probes": (self.validation, self.conditions),
        }[part]
        return [Sample(f"{n:03d}", condition, view) for n in numbers for condition in conditions for view in self.views]

    def quick(self) -> AnonymizationSettings:
        """Return few people, views, methods and judges, none adapted: to see that it runs."""
        return replace(
            self, subjects=self.subjects[:4], views=self.views[:2], methods=self.methods[:2], judges=self.judges[:1],
            adapt=False,
        )  # fmt: skip


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers)) or "none"
