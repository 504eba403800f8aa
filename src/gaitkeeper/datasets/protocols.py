"""Protocols: who is enrolled, who is looked for, and which galleries count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gaitkeeper.datasets.base import Sample
from gaitkeeper.errors import DataError

TRAIN_SUBJECTS = range(1, 75)
TEST_SUBJECTS = range(75, 125)


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Enrolled and looked-for conditions.

    Args:
        gallery: conditions that are enrolled; empty enrolls each subject's first in alphabetical order, and looks
            for all others under the name ``all``.
        probes: conditions that are looked for, by the name under which results are given.
        exclude_same_view: whether the gallery of a probe's own view counts.
    """

    gallery: tuple[str, ...] = ()
    probes: Mapping[str, tuple[str, ...]]
    exclude_same_view: bool = True

    def split(self, samples: Sequence[Sample]) -> tuple[list[int], dict[str, list[int]]]:
        """Return the indices of the enrolled samples, and of the probes by condition.

        Raises:
            DataError: nobody would be enrolled, or nobody looked for.
        """
        if self.gallery:
            gallery = [i for i, s in enumerate(samples) if s.condition in self.gallery]
            probes = {
                name: [i for i, s in enumerate(samples) if s.condition in conditions]
                for name, conditions in self.probes.items()
            }
        else:
            first: dict[str, str] = {}
            for sample in sorted(samples):
                first.setdefault(sample.subject, sample.condition)
            gallery = [i for i, s in enumerate(samples) if s.condition == first[s.subject]]
            probes = {"all": [i for i, s in enumerate(samples) if s.condition != first[s.subject]]}
        enrolled = {samples[i].subject for i in gallery}
        probes = {name: [i for i in found if samples[i].subject in enrolled] for name, found in probes.items()}
        probes = {name: found for name, found in probes.items() if found}
        if len(enrolled) < 2 or not probes:
            conditions = ", ".join(sorted({s.condition for s in samples})[:8])
            raise DataError(
                f"the protocol needs two enrolled subjects and a probe; it enrolls {len(enrolled)} "
                f"(conditions {', '.join(self.gallery) or 'first of each subject'}) and looks for "
                f"{sum(map(len, probes.values()))}; the data have conditions {conditions}"
            )
        return gallery, probes


CASIA_B = Protocol(
    gallery=("nm-01", "nm-02", "nm-03", "nm-04"),
    probes={"NM": ("nm-05", "nm-06"), "BG": ("bg-01", "bg-02"), "CL": ("cl-01", "cl-02")},
)
"""CASIA-B as GaitSet set it: rank-1 over the ten galleries of other views (Chao et al. 2019, section 4.1)."""


def protocol_for(samples: Sequence[Sample]) -> Protocol:
    """Return CASIA-B's protocol where its gallery conditions are present, else first-enrolled.

    With a single view, the own view cannot be excluded and counts.
    """
    several = len({s.view for s in samples}) > 1
    casia = any(s.condition in CASIA_B.gallery for s in samples)
    return Protocol(
        gallery=CASIA_B.gallery if casia else (),
        probes=CASIA_B.probes if casia else {},
        exclude_same_view=several,
    )
