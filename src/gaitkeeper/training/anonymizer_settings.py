"""What defines the training of networks that anonymize contours. Free of torch, so that a command starts fast."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from gaitkeeper.synthetic.population import CONDITIONS, Population

Kind = Literal["noise", "st-gan", "st-gan-no-noise", "noise-gait", "inverter"]
"""What is trained: G_N; G with it; G with the Gaussian seed itself; the generator of 2017; an attacker's inverse."""

VIEWS = (0, 36, 72, 90, 144, 180)
"""Camera directions, in degrees, of the clips learned from."""

SUBJECTS: Mapping[str, tuple[int, int]] = MappingProxyType(
    {
        "noise": (51, 60),
        "st-gan": (61, 76),
        "st-gan-no-noise": (61, 76),
        "noise-gait": (61, 76),
        "inverter": (1, 50),
    }
)
"""First and last walker that each kind learns from, as CASIA-B is divided in the paper; judges have 1 to 50."""

ITERATIONS: Mapping[str, int] = MappingProxyType(
    {"noise": 2000, "st-gan": 180, "st-gan-no-noise": 180, "noise-gait": 250, "inverter": 500}
)
"""Steps of each kind. With L1 more of them lead back to the original, and with squares a little too."""

LEARNING_RATES: Mapping[str, float] = MappingProxyType(
    {"noise": 6e-4, "st-gan": 1e-3, "st-gan-no-noise": 1e-3, "noise-gait": 1e-3, "inverter": 2e-3}
)
"""Adam's rate of each kind."""

WEIGHT: Mapping[str, float] = MappingProxyType({"l1": 50.0, "squared": 1000.0})
"""What the mean absolute and the mean squared difference, in body heights, count against an adversarial term.

At the differences that matter, a fortieth of a body height, both have the same slope.
"""


@dataclass(frozen=True, kw_only=True)
class AnonymizerSettings:
    """Settings of the training of networks on contours; the defaults make the shipped weights.

    Args:
        kind: what is trained.
        alpha: weight of the perturbation against the reconstruction, equation 8.
        norm: of reconstruction and perturbation. With "l1", as published, the best anonymized gait for any alpha
            below 1 is the original; with "squared" it is (y + alpha z) / (1 + alpha), so that alpha is a dial.
        adversarial: how the generator descends on the discriminators: log(1 - D) as published, whose slope vanishes
            where they are sure, or -log D.
        weight: of the differences against the adversarial terms; None takes ``WEIGHT``. The paper has 1 before sums
            over coordinates of pixels and does not say how these are scaled.
        noise: one noise contour for all frames of a clip, as published, or one that moves slowly.
        noise_weights: of the trained G_N, the name of shipped weights or a path; st-gan takes its networks from it.
        inverted: weights of the anonymizer that an inverter is to undo, a name or a path.
        widths: channels of an encoder.
        latent: dimensions of the noise generator's seed.
        points: of a contour, a multiple of 16.
        padded: contours as published, of as many pixels as they have and zeros up to ``points``, which then are 2000.
            The differences then mix contours of different lengths, and training takes eight times as long.
        window: frames that the temporal discriminator sees at once.
        batch: windows in a step.
        contours: in a step of the noise generator.
        learning_rate: Adam's, falling linearly to zero over the last half of the run; None takes ``LEARNING_RATES``.
        iterations: steps; None takes ``ITERATIONS``.
        snapshots: steps after which the weights are kept as they are then.
        seed: of initialization, windows and noise.
        checkpoint_every: steps between checkpoints.
        subjects: first and last walker to learn from; None takes ``SUBJECTS``.
        conditions: of the clips.
        views: of the clips, in degrees.
        frames: of each clip.
        population: the walkers.
    """

    kind: Kind = "st-gan"
    alpha: float = 0.3
    norm: Literal["l1", "squared"] = "squared"
    adversarial: Literal["non-saturating", "saturating"] = "non-saturating"
    weight: float | None = None
    noise: Literal["still", "moving"] = "still"
    noise_weights: str = "noise-walkers"
    inverted: str = "st-gan-walkers"
    widths: tuple[int, ...] = (16, 32, 64)
    latent: int = 32
    points: int = 256
    padded: bool = False
    window: int = 16
    batch: int = 12
    contours: int = 64
    learning_rate: float | None = None
    iterations: int | None = None
    snapshots: tuple[int, ...] = ()
    seed: int = 0
    checkpoint_every: int = 100
    subjects: tuple[int, int] | None = None
    conditions: tuple[str, ...] = CONDITIONS
    views: tuple[int, ...] = VIEWS
    frames: int = 40
    population: Population = field(default_factory=Population)

    @classmethod
    def published(cls, **changes: Any) -> AnonymizerSettings:
        """Return settings with the losses as published: L1, and log(1 - D) for the generator.

        Args:
            changes: other settings.

        Reference:
            Tieu et al., "Spatio-temporal generative adversarial network for gait anonymization", JISA 46, 2019,
            equations 4 to 8.
        """
        return cls(**{"norm": "l1", "adversarial": "saturating", **changes})

    @property
    def steps(self) -> int:
        """How many steps are taken."""
        return ITERATIONS[self.kind] if self.iterations is None else self.iterations

    @property
    def rate(self) -> float:
        """Adam's rate at the beginning."""
        return LEARNING_RATES[self.kind] if self.learning_rate is None else self.learning_rate

    @property
    def walkers(self) -> range:
        """The walkers learned from."""
        first, last = SUBJECTS[self.kind] if self.subjects is None else self.subjects
        return range(first, last + 1)

    @property
    def scale(self) -> float:
        """What differences count against the adversarial terms."""
        return WEIGHT[self.norm] if self.weight is None else self.weight
