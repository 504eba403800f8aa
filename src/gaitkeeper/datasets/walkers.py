"""Synthetic walkers as a data set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gaitkeeper.datasets.base import Sample
from gaitkeeper.errors import DataError
from gaitkeeper.seeding import stream
from gaitkeeper.synthetic.camera import OUTDOORS
from gaitkeeper.synthetic.population import CONDITIONS, OUTDOOR_PEOPLE, VIEWS, Population
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


class WalkersA:
    """Walkers who stand in for CASIA-A: other people than :class:`WalkerSequences`, recorded in that set's way.

    Every sequence is a walk of its own, of 40 to 90 frames by how fast it is. Samples are named as those of
    :class:`~gaitkeeper.datasets.casia_a.CasiaAFolder`, but for subjects, who are numbered.

    Args:
        population: who the walkers are.
        subjects: numbers 1 .. 20.
        takes: out of 1 .. 4, the conditions of samples.
        views: out of 0, 45 and 90, in CASIA-A's sense: 0 is seen from the side.
    """

    name = "walkers-a"
    biometric = False

    def __init__(
        self,
        population: Population = OUTDOOR_PEOPLE,
        *,
        subjects: Sequence[int] = range(1, OUTDOORS.subjects + 1),
        takes: Sequence[int] = (1, 2, 3, 4),
        views: Sequence[int] = OUTDOORS.views,
    ) -> None:
        self.population = population
        self._walkers = Walkers(population, OUTDOORS)
        self.samples: Sequence[Sample] = [
            Sample(f"{subject:03d}", str(take), view) for subject in subjects for take in takes for view in views
        ]

    def frames(self, sample: Sample) -> int:
        """Return the length of a sample: what it takes to cross some three metres before the camera."""
        subject, walk = int(sample.subject), walk_name(sample)
        path = stream(int(self.population.seed), "path", subject, walk).uniform(2.7, 3.6)
        return int(np.clip(round(OUTDOORS.fps * path / self._walkers.speed(subject, walk)), 40, 90))

    def load(self, indices: Sequence[int]) -> list[np.ndarray | DataError]:
        """Render samples, ``(t, 64, 44)`` uint8 each."""
        found: list[np.ndarray | DataError] = []
        for index in indices:
            sample = self.samples[index]
            walk = int(sample.subject), walk_name(sample), [sample.view]
            found.append(self._walkers.silhouettes(*walk, frames=self.frames(sample))[0])
        return found


def walk_name(sample: Sample) -> str:
    """Return CASIA-A's name of a sample's walk, ``00_1``."""
    return f"{sample.view:02d}_{sample.condition}"
