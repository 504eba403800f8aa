"""Draws of named traits: a mean, how far people differ, and what is possible."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np


class Trait(NamedTuple):
    """How one number is distributed: over subjects, and over the walks of one subject."""

    mean: float
    subject: float
    walk: float = 0.0
    low: float = -np.inf
    high: float = np.inf


LIMIT = 2.2
"""Draws are cut at this many standard deviations, so that nobody is impossible."""


def deviates(traits: Mapping[str, Trait], rng: np.random.Generator) -> dict[str, float]:
    """Draw one cut standard normal for each trait, in the order of the table."""
    drawn = np.clip(rng.standard_normal(len(traits)), -LIMIT, LIMIT)
    return dict(zip(traits, drawn.tolist(), strict=True))


def bounded(trait: Trait, value: float) -> float:
    """Return the value, cut to what is possible."""
    return min(max(value, trait.low), trait.high)
