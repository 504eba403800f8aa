"""Who the walkers are, and how CASIA-B records people. Free of heavy imports."""

import math
from dataclasses import dataclass, fields

from gaitkeeper.errors import DataError

SUBJECTS = 124
"""Subjects are numbered 1 to this."""

CONDITIONS = (*(f"nm-0{i}" for i in range(1, 7)), "bg-01", "bg-02", "cl-01", "cl-02")
"""Walks of each subject: normal, with a bag, with a coat."""

VIEWS = tuple(range(0, 181, 18))
"""Angles in degrees between the walking direction and the direction to the camera: 0 walks toward it."""

FPS = 30.0
"""Frames a second."""


@dataclass(frozen=True, kw_only=True)
class Population:
    """All that defines the people; the same settings give the same bytes.

    Args:
        seed: of every draw.
        shape: spread of body shapes between subjects; 0 gives identical bodies.
        dynamics: spread of gaits between subjects; 0 gives identical gaits.
        session: variation between one subject's walks.
        clothing: how much clothes change the outline.
        noise: strength of segmentation noise.
    """

    seed: int = 0
    shape: float = 1.0
    dynamics: float = 0.6
    session: float = 1.3
    clothing: float = 2.2
    noise: float = 1.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name != "seed" and not (math.isfinite(value) and 0 <= value <= 10):
                raise DataError(f"population: {field.name} must be between 0 and 10, got {value}")


OUTDOOR_PEOPLE = Population(seed=20011210, clothing=1.5, noise=1.3)
"""The walkers who stand in for CASIA-A: others, in usual clothes, and harder to cut out of their background."""
