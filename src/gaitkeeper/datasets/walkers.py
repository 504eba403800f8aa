"""Synthetic walkers as a data set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gaitkeeper.datasets.base import Sample
from gaitkeeper.errors import DataError
from gaitkeeper.synthetic.population import CONDITIONS, VIEWS, Population
from gaitkeeper.synthetic.walkers import Walkers


class WalkerSequences:
    """Walkers under the CASIA-B protocol, rendered when asked for.

    Args:
        population: who the walkers are.
        subjects: numbers 1 .. 124.
        conditions: for instance ``nm-01``.
        views: camera directions in degrees.
        frames: frames of a sequence.
    """

    name = "walkers"
    biometric = False

    def __init__(
        self,
        population: Population,
        *,
        subjects: Sequence[int],
        conditions: Sequence[str] = CONDITIONS,
        views: Sequence[int] = VIEWS,
        frames: int = 40,
    ) -> None:
        self.population = population
        self.frames = frames
        self._walkers = Walkers(population)
        self.samples: Sequence[Sample] = [
            Sample(f"{subject:03d}", condition, view)
            for subject in subjects
            for condition in conditions
            for view in views
        ]

    def load(self, indices: Sequence[int]) -> list[np.ndarray | DataError]:
        """Render samples, ``(t, 64, 44)`` uint8 each; views of one walk are rendered together."""
        walks: dict[tuple[str, str], list[int]] = {}
        for position, index in enumerate(indices):
            sample = self.samples[index]
            walks.setdefault((sample.subject, sample.condition), []).append(position)
        found: list[np.ndarray | DataError] = [np.empty(0)] * len(indices)
        for (subject, condition), positions in walks.items():
            views = [self.samples[indices[p]].view for p in positions]
            rendered = self._walkers.silhouettes(int(subject), condition, views, frames=self.frames)
            for position, sequence in zip(positions, rendered, strict=True):
                found[position] = sequence
        return found
