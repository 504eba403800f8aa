"""Protocols: who is enrolled, who is looked for, and which galleries count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from gaitkeeper.datasets.base import Sample
from gaitkeeper.errors import DataError

TRAIN_SUBJECTS = range(1, 75)
TEST_SUBJECTS = range(75, 125)


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Enrolled and looked-for conditions and views.

    Args:
        gallery: conditions that are enrolled; empty enrolls each subject's first in alphabetical order, and looks
            for all others under the name ``all``.
        probes: conditions that are looked for, by the name under which results are given.
        views: camera views that are looked for under some of these names; a name that is absent has all.
        exclude_same_view: whether the gallery of a probe's own view is left out. Where it is not, every view's
            gallery counts.
    """

    gallery: tuple[str, ...] = ()
    probes: Mapping[str, tuple[str, ...]]
    views: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    exclude_same_view: bool = True

    def split(self, samples: Sequence[Sample]) -> tuple[list[int], dict[str, list[int]]]:
        """Return the indices of the enrolled samples, and of the probes by name.

        Raises:
            DataError: nobody would be enrolled, or nobody looked for.
        """
        if self.gallery:
            gallery = [i for i, s in enumerate(samples) if s.condition in self.gallery]
            probes = {
                name: [i for i, s in enumerate(samples) if s.condition in conditions and self._looks_at(name, s.view)]
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

    def _looks_at(self, name: str, view: int) -> bool:
        return name not in self.views or view in self.views[name]


CASIA_B = Protocol(
    gallery=("nm-01", "nm-02", "nm-03", "nm-04"),
    probes={"NM": ("nm-05", "nm-06"), "BG": ("bg-01", "bg-02"), "CL": ("cl-01", "cl-02")},
)
"""CASIA-B as GaitSet set it: rank-1 over the ten galleries of other views (Chao et al. 2019, section 4.1)."""


CASIA_A = Protocol(
    gallery=("4",),
    probes={"0°": ("1", "2", "3"), "45°": ("1", "2", "3"), "90°": ("1", "2", "3")},
    views={"0°": (0,), "45°": (45,), "90°": (90,)},
    exclude_same_view=False,
)
"""CASIA-A in the temporal sparse attack: the fourth take of each view is enrolled, the first three are looked for,
and rank-1 of each view is averaged over all three galleries, the own view's included (He et al., tables 1 and 4)."""


def protocol_for(samples: Sequence[Sample]) -> Protocol:
    """Return CASIA-B's or CASIA-A's protocol where the data have its conditions, else first-enrolled.

    CASIA-B's needs one of its gallery conditions. CASIA-A's needs that there is nothing but takes ``1`` to ``4``,
    the fourth among them, in views 0, 45 and 90. With a single view, CASIA-B's own view cannot be excluded and counts.
    """
    conditions = {s.condition for s in samples}
    views = {s.view for s in samples}
    if "4" in conditions and conditions <= {"1", "2", "3", "4"} and views <= {0, 45, 90}:
        return CASIA_A
    if conditions & set(CASIA_B.gallery):
        return replace(CASIA_B, exclude_same_view=len(views) > 1)
    return Protocol(probes={}, exclude_same_view=len(views) > 1)
