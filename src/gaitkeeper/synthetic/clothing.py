"""Clothes and bags: how far what a walker wears and carries stands off the body."""

from dataclasses import dataclass

import numpy as np

from gaitkeeper.synthetic.traits import Trait, bounded, deviates

BAGS = ("", "backpack", "shoulder", "hand")


@dataclass(frozen=True, kw_only=True)
class Outfit:
    """What is worn on one walk. Thicknesses in metres stand off the skin; ``hem`` as in ``kinematics.Walk``."""

    top: float
    sleeve: float
    trousers: float
    cuff: float
    shoe: float
    hair: float  # change of the hair's volume, metres
    hem: float
    flare: float
    collar: float
    coat: bool
    bag: str
    bag_size: float
    bag_side: float  # -1 left, 1 right
    bag_height: float


_TRAITS = {
    "top": Trait(0.008, 0.004, low=0.002, high=0.035),
    "sleeve": Trait(0.006, 0.003, low=0.0, high=0.03),
    "trousers": Trait(0.008, 0.004, low=0.0, high=0.035),
    "cuff": Trait(0.012, 0.006, low=0.0, high=0.05),
    "shoe": Trait(0.004, 0.004, low=-0.002, high=0.02),
    "hair": Trait(0.0, 0.003, low=-0.008, high=0.012),
    "hem": Trait(0.16, 0.06, low=0.02, high=0.4),
    "flare": Trait(0.004, 0.005, low=0.0, high=0.03),
    "bag_size": Trait(1.0, 0.16, low=0.55, high=1.6),
    "bag_height": Trait(0.0, 0.03, low=-0.08, high=0.08),
}


def draw_outfit(rng: np.random.Generator, condition: str, spread: float) -> Outfit:
    """Draw the clothes of one walk.

    Args:
        rng: the stream of this walk's clothing.
        condition: ``nm-..`` for usual clothes, ``bg-..`` with a bag, ``cl-..`` with a coat.
        spread: scale of how clothes differ between walks and of how far a coat stands off.
    """
    drawn = deviates(_TRAITS, rng)
    bag = BAGS[1 + int(rng.integers(3))]
    side = 1.0 if rng.random() < 0.6 else -1.0
    # The coat's own draws come last, so that the same person without it is dressed the same.
    loose, length, stiff, collar, sleeve = rng.random(5)
    values = {
        name: bounded(trait, trait.mean + spread * drawn[name] * trait.subject) for name, trait in _TRAITS.items()
    }
    coat = condition.startswith("cl")
    if coat:
        values["top"] += spread * (0.007 + 0.023 * loose)
        values["sleeve"] += spread * (0.004 + 0.010 * sleeve)
        values["hem"] = 0.25 + 0.9 * length
        values["flare"] += spread * (0.002 + 0.019 * stiff)
    return Outfit(
        **values,
        collar=spread * 0.012 * collar if coat else 0.0,
        coat=coat,
        bag=bag if condition.startswith("bg") else "",
        bag_side=side,
    )
