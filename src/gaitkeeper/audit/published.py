"""What He et al. printed about the temporal sparse attack, as data. Free of torch."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

from gaitkeeper.synthetic.population import VIEWS

SHARES = (1 / 40, 1 / 20, 1 / 10)
"""Shares of frames (S) that are altered or inserted."""

CONDITIONS = ("NM", "BG", "CL")
"""Normal walking, with a bag, in a coat."""

FIGURE_ONLY = "figure only"
"""Stands in place of a figure that was drawn as a curve and printed nowhere."""

CURVES = {
    "Figure 5": "rank-1 by view under nontargeted alteration",
    "Figure 6": "rank-1 under perturbations of the same frames",
    "Figure 10": "rank-1 by view under nontargeted insertion",
}
"""Results that are drawn without a number: there is nothing to compare with."""


@dataclass(frozen=True, kw_only=True)
class PublishedTable:
    """A printed table of percentages.

    Args:
        where: its name in the paper.
        what: what it gives.
        columns: what its columns are of: views in degrees, conditions, ``average``.
        rows: values, one a column, by what the row is of.

    Reference:
        He et al., "Temporal sparse adversarial attack on sequence-based gait recognition", arXiv 2002.09674.
    """

    where: str
    what: str
    columns: tuple[Hashable, ...]
    rows: Mapping[Hashable, tuple[float, ...]]

    def value(self, row: Hashable, column: Hashable) -> float | None:
        """Return a printed value, None where none was printed."""
        if row not in self.rows or column not in self.columns:
            return None
        return self.rows[row][self.columns.index(column)]


TABLE_2 = PublishedTable(
    where="Table 2",
    what="success of the targeted alteration by condition",
    columns=CONDITIONS,
    rows={1 / 40: (15.118, 18.504, 22.927), 1 / 20: (37.627, 43.201, 45.509), 1 / 10: (65.636, 67.978, 69.300)},
)

TABLE_3 = PublishedTable(
    where="Table 3",
    what="rank-1 of GaitGAN on normal walks attacked against GaitSet at 1/40",
    columns=(*VIEWS, "average"),
    rows={
        "natural": (39.4, 56.0, 62.3, 61.1, 59.3, 25.8, 55.8, 63.6, 57.3, 52.9, 40.7, 52.2),
        "after attack": (35.9, 52.8, 60.0, 57.6, 56.1, 24.4, 52.2, 60.4, 55.2, 49.5, 36.2, 49.1),
        "drop": (3.5, 3.2, 2.3, 3.5, 3.2, 1.4, 3.6, 3.2, 2.1, 3.4, 4.5, 3.1),
    },
)

TABLE_4 = PublishedTable(
    where="Table 4",
    what="rank-1 on CASIA-A after training on CASIA-B",
    columns=(0, 45, 90, "average"),
    rows={
        0.0: (56.67, 70.00, 76.67, 67.78),
        1 / 40: (33.33, 33.33, 18.33, 28.33),
        1 / 20: (18.33, 25.00, 3.33, 15.55),
        1 / 10: (6.67, 8.33, 3.33, 5.11),
    },
)
"""The last average is printed as 5.11; the mean of its three views is 6.11."""

TABLE_5 = PublishedTable(
    where="Table 5",
    what="success of the targeted insertion by view",
    columns=(*VIEWS, "average"),
    rows={
        (1 / 40, "NM"): (32.00, 16.50, 11.90, 9.80, 8.90, 11.50, 6.60, 8.70, 9.90, 18.00, 32.20, 15.091),
        (1 / 40, "BG"): (33.20, 19.50, 14.80, 14.04, 12.50, 15.90, 8.90, 11.60, 14.60, 20.81, 36.90, 18.431),
        (1 / 40, "CL"): (42.20, 23.20, 16.70, 14.80, 12.50, 16.80, 16.70, 16.30, 22.90, 28.00, 40.40, 22.773),
        (1 / 20, "NM"): (58.70, 43.10, 34.40, 27.90, 24.80, 26.80, 24.80, 25.30, 31.30, 39.70, 58.80, 35.964),
        (1 / 20, "BG"): (65.10, 45.50, 38.80, 31.82, 28.70, 32.70, 30.70, 33.70, 41.00, 46.06, 59.70, 41.252),
        (1 / 20, "CL"): (62.80, 50.30, 37.40, 34.70, 31.60, 37.70, 32.50, 38.70, 45.60, 51.50, 63.00, 44.164),
        (1 / 10, "NM"): (77.00, 65.80, 60.20, 58.40, 53.40, 57.50, 56.40, 58.60, 62.20, 67.70, 76.60, 63.073),
        (1 / 10, "BG"): (80.10, 68.50, 63.40, 60.00, 58.10, 59.90, 57.70, 62.80, 65.70, 69.70, 77.00, 65.718),
        (1 / 10, "CL"): (81.20, 72.00, 64.30, 62.40, 60.60, 63.50, 61.30, 61.60, 67.60, 70.90, 80.50, 67.809),
    },
)

TABLE_6 = PublishedTable(
    where="Table 6",
    what="success of the targeted alteration by view",
    columns=(*VIEWS, "average"),
    rows={
        (1 / 40, "NM"): (34.60, 18.90, 13.20, 8.60, 7.70, 9.40, 7.90, 10.10, 8.30, 16.80, 30.80, 15.118),
        (1 / 40, "BG"): (31.70, 20.70, 14.60, 11.41, 11.70, 14.40, 12.40, 12.10, 16.10, 22.93, 35.50, 18.504),
        (1 / 40, "CL"): (42.30, 23.40, 17.20, 17.50, 13.10, 17.90, 15.70, 14.90, 23.20, 26.00, 41.00, 22.927),
        (1 / 20, "NM"): (61.60, 43.40, 33.30, 30.50, 25.40, 29.00, 22.20, 27.90, 37.00, 40.10, 63.50, 37.627),
        (1 / 20, "BG"): (63.30, 47.00, 39.50, 34.64, 33.40, 37.30, 33.00, 36.10, 41.10, 47.07, 62.80, 43.201),
        (1 / 20, "CL"): (65.60, 49.20, 39.50, 37.80, 35.70, 36.20, 36.30, 38.60, 47.20, 50.70, 63.80, 45.509),
        (1 / 10, "NM"): (78.60, 67.40, 59.40, 61.40, 60.00, 61.10, 58.90, 60.90, 65.10, 68.60, 80.60, 65.636),
        (1 / 10, "BG"): (82.30, 69.80, 65.40, 64.55, 61.20, 62.90, 60.50, 63.50, 66.50, 70.91, 80.20, 67.978),
        (1 / 10, "CL"): (78.90, 70.50, 63.80, 66.20, 62.40, 65.00, 65.50, 65.70, 69.90, 73.10, 81.30, 69.300),
    },
)

TARGETED = {"altered": TABLE_6, "inserted": TABLE_5}
"""Tables of targeted success by norm; their rows are of share and condition."""
