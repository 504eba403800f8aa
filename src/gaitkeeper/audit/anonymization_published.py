"""What Tieu et al. printed about ST-GAN, as data. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

VIEWS = tuple(range(0, 181, 18))
"""Views of the printed tables, degrees."""

ALPHAS = (0.2, 0.3, 0.4)
"""Weights of the perturbation that were tried."""


@dataclass(frozen=True, kw_only=True)
class PublishedScores:
    """Mean scores in [0, 1] by alpha and view.

    Args:
        where: where they are printed.
        what: what is scored, and by which network.
        scores: by alpha, one a view of ``VIEWS``.

    Reference:
        Tieu et al., "Spatio-temporal generative adversarial network for gait anonymization", JISA 46, 2019.
    """

    where: str
    what: str
    scores: Mapping[float, tuple[float, ...]]

    def value(self, alpha: float, view: int) -> float | None:
        """Return a printed score, None where none was printed."""
        row = self.scores.get(alpha)
        return row[VIEWS.index(view)] if row is not None and view in VIEWS else None


FRAME_SCORES = PublishedScores(
    where="Table 2",
    what="probability of “person”, YOLOv3 on color frames",
    scores={
        0.2: (0.9764, 0.9762, 0.9751, 0.9706, 0.9699, 0.9671, 0.9672, 0.9690, 0.9679, 0.9690, 0.9694),
        0.3: (0.9668, 0.9664, 0.9646, 0.9590, 0.9567, 0.9556, 0.9555, 0.9574, 0.9541, 0.9568, 0.9575),
        0.4: (0.9558, 0.9550, 0.9533, 0.9461, 0.9386, 0.9366, 0.9363, 0.9433, 0.9418, 0.9450, 0.9464),
    },
)
"""Effect of alpha on the frame score."""

VIDEO_SCORES = PublishedScores(
    where="Table 3",
    what="probability of “walking”, ResNeXt-101 on color video",
    scores={
        0.2: (0.5738, 0.5468, 0.6575, 0.5311, 0.6268, 0.5289, 0.5174, 0.5351, 0.6239, 0.6070, 0.5335),
        0.3: (0.5437, 0.5353, 0.6291, 0.5197, 0.6036, 0.5225, 0.5090, 0.5321, 0.6083, 0.5887, 0.5167),
        0.4: (0.5185, 0.5220, 0.6016, 0.4929, 0.5956, 0.5156, 0.4969, 0.5242, 0.6004, 0.5827, 0.4983),
    },
)
"""Effect of alpha on the video score."""

TRENDS: Mapping[str, str] = {
    "Figure 11": "Published: at α = 0.3 ST-GAN succeeds more often than the noise gait of 2017 against both judges, "
    "most so in side views (72° to 108°), and Zheng's judge is fooled more often than Wu's.",
    "Figures 15 and 16": "Published: success rises with α = 0.2, 0.3, 0.4 against both judges.",
    "Tables 2 and 3": "Published: both scores fall as α rises, in all views.",
    "Figure 18": "Published: the difference to the original grows with α.",
    "Section 5": "Published: the original gait cannot be recovered and the identity not reproduced, since the noise is "
    "unknown and the network has no inverse. This is argued, not measured.",
}
"""What the document says where its figures have no numbers."""

REMARKS = (
    "Published rates are of CASIA-B and judges trained on its people, measured ones of synthetic walkers: compare "
    "order and trend, not size.",
    "Success in the document's sense counts a person as hidden whom a judge that never saw the method does not name. "
    "It says nothing of judges that did; see the adapted figures.",
    "By the triangle inequality the published loss is smallest at the original gait for every α below 1: its success "
    "comes from training that is not finished, and fades as training goes on.",
)
"""How published and measured figures are to be read beside each other."""
