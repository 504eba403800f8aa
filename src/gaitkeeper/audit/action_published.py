"""What Wang et al. printed about SMART, as data. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SOURCES = ("HDM05", "MHAD", "NTU")
"""Data sets of the table."""

NETWORKS = ("HRNN", "ST-GCN", "AS-GCN", "DGNN", "2s-AGCN")
"""Networks of the table, in its order."""

AVERAGE = "mean"
"""The table's last row, over its networks."""

_NAMES = {**{name.lower(): name for name in NETWORKS}, "agcn": "2s-AGCN"}

STRATEGIES = {"anything-but": "AB", "anything-but-n": "ABN", "specified": "SA"}
"""The paper's names of goals."""


@dataclass(frozen=True, kw_only=True)
class PublishedRates:
    """Success rates of SMART in percent, by network and data set.

    Args:
        where: where they are printed.
        rates: one a data set, in the order of ``SOURCES``, by goal and network. Anything-but-N has two each, for two
            values of N that are not told.

    Reference:
        Wang et al., "Understanding the robustness of skeleton-based action recognition under adversarial attack",
        CVPR 2021, as shown in "The universal vulnerability of human action recognition classifiers and potential
        solutions".
    """

    where: str
    rates: Mapping[str, Mapping[str, tuple[tuple[float, ...], ...]]]

    def values(self, goal: str, network: str, source: str) -> tuple[float, ...]:
        """Return the printed rates, none where none were printed."""
        rows = self.rates.get(goal, {})
        return rows[network][SOURCES.index(source)] if network in rows and source in SOURCES else ()


SMART = PublishedRates(
    where="the slides' table of SMART",
    rates={
        "anything-but": {
            "HRNN": ((100,), (100,), (99.56,)),
            "ST-GCN": ((99.57,), (99.96,), (100,)),
            "AS-GCN": ((99.36,), (92.84,), (97.43,)),
            "DGNN": ((96.09,), (94.46,), (92.51,)),
            "2s-AGCN": ((99.18,), (95.97,), (100,)),
            AVERAGE: ((98.84,), (96.65,), (97.9,)),
        },
        "anything-but-n": {
            "HRNN": ((100, 100), (100, 100), (99.84, 99.62)),
            "ST-GCN": ((93.30, 90.28), (76.86, 70.5), (95.86, 91.32)),
            "AS-GCN": ((91.46, 82.83), (42.07, 22.34), (91.18, 82.47)),
            "DGNN": ((93.55, 86.32), (87.54, 74.27), (98.73, 97.62)),
            "2s-AGCN": ((83.40, 75.2), (55.9, 32.08), (100, 100)),
            AVERAGE: ((92.34, 86.93), (72.47, 59.84), (97.12, 94.21)),
        },
        "specified": {
            "HRNN": ((67.19,), (57.41,), (49.17,)),
            "ST-GCN": ((74.95,), (66.93,), (100,)),
            "AS-GCN": ((64.62,), (40.18,), (99.48,)),
            "DGNN": ((97.26,), (96.13,), (99.99,)),
            "2s-AGCN": ((96.72,), (97.53,), (100,)),
            AVERAGE: ((80.15,), (71.64,), (89.73,)),
        },
    },
)
"""The table of SMART: five networks on three data sets."""

REMARKS = (
    "Published rates are means over batches of the best share of a batch that any iteration reached, of clips cut as "
    "overlapping windows and split at random, so that training and test share actors and frames. Measured ones are of "
    "each clip's final motion, judged afresh after it was stored.",
    "The published attack bounds no displacement and keeps bones by a loss on coordinates that were normalized one by "
    "one, which is no length of a bone.",
    "Published HDM05 has 65 classes. No measured figure is of the published data, split and training; compare order "
    "and trend, not size.",
)
"""How the table is to be read beside measured figures."""


def network_of(model: str) -> str | None:
    """Return the table's name of a recognizer, by how its own begins: ``st-gcn-actors`` is ST-GCN; None for others."""
    name = model.rsplit("/", 1)[-1].lower()
    return next((known for start, known in _NAMES.items() if name == start or name.startswith(f"{start}-")), None)
