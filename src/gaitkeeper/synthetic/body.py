"""Bodies: segment lengths and thicknesses from stature, as fractions that differ between subjects."""

from dataclasses import dataclass

import numpy as np

from gaitkeeper.synthetic.traits import Trait, bounded, deviates


@dataclass(frozen=True, kw_only=True)
class Body:
    """A subject's body. Stature in metres, ``*_scale`` without unit, the others in fractions of stature.

    Widths and depths are half axes of the ellipsoids that make up the body.
    """

    stature: float
    leg: float  # height of the hip joint
    shank: float  # share of the knee-to-ankle length in the leg above the ankle
    arm_scale: float
    forearm: float  # share of the forearm in the arm without the hand
    hand_scale: float
    foot: float
    hip_joint: float  # half the distance of the hip joints
    shoulder_joint: float
    shoulder_drop: float  # how far the shoulder joints lie below the base of the neck
    pelvis_width: float
    pelvis_depth: float
    waist_width: float
    waist_depth: float
    rib_width: float
    rib_depth: float
    chest_depth: float
    belly: float
    bust: float
    glutes: float
    thigh: float
    knee: float
    calf: float
    ankle: float
    deltoid: float
    elbow: float
    wrist: float
    neck: float
    neck_length: float
    head_scale: float
    head_length: float
    jaw: float
    hair_length: float  # 0 ends at the nape, 1 below the shoulders
    hair_volume: float


@dataclass(frozen=True, kw_only=True)
class People:
    """Whom a data set is of, as far as bodies go.

    Args:
        stature: mean in metres, of men and women together in equal parts.
        men: share of men, 0 to 1.
        fatness: mean, in standard deviations from the usual one.
    """

    stature: float = 1.70
    men: float = 0.5
    fatness: float = 0.0


USUAL = People()
"""As the traits below have it."""

_TRAITS = {
    "stature": Trait(1.70, 0.065, low=1.45, high=1.98),
    "leg": Trait(0.520, 0.017, low=0.46, high=0.58),
    "shank": Trait(0.500, 0.013, low=0.45, high=0.55),
    "arm_scale": Trait(1.0, 0.045, low=0.8, high=1.2),
    "forearm": Trait(0.440, 0.012),
    "hand_scale": Trait(1.0, 0.07, low=0.75),
    "foot": Trait(0.152, 0.008, low=0.12),
    "hip_joint": Trait(0.050, 0.004, low=0.035),
    "shoulder_joint": Trait(0.100, 0.0075, low=0.075),
    "shoulder_drop": Trait(0.026, 0.008, low=0.006, high=0.05),
    "pelvis_width": Trait(0.094, 0.006, low=0.07),
    "pelvis_depth": Trait(0.062, 0.004, low=0.045),
    "waist_width": Trait(0.078, 0.006, low=0.055),
    "waist_depth": Trait(0.054, 0.006, low=0.038),
    "rib_width": Trait(0.085, 0.005, low=0.065),
    "rib_depth": Trait(0.060, 0.005, low=0.045),
    "chest_depth": Trait(0.055, 0.004, low=0.04),
    "belly": Trait(0.008, 0.009, low=-0.008, high=0.04),
    "bust": Trait(0.004, 0.005, low=-0.002, high=0.022),
    "glutes": Trait(0.012, 0.007, low=-0.004, high=0.034),
    "thigh": Trait(0.046, 0.004, low=0.033),
    "knee": Trait(0.0300, 0.002, low=0.022),
    "calf": Trait(0.0315, 0.003, low=0.023),
    "ankle": Trait(0.0200, 0.0015, low=0.015),
    "deltoid": Trait(0.0290, 0.003, low=0.02),
    "elbow": Trait(0.0225, 0.002, low=0.016),
    "wrist": Trait(0.0165, 0.001, low=0.012),
    "neck": Trait(0.0330, 0.003, low=0.024),
    "neck_length": Trait(0.046, 0.007, low=0.025, high=0.07),
    "head_scale": Trait(1.0, 0.05, low=0.85, high=1.15),
    "head_length": Trait(0.0565, 0.003),
    "jaw": Trait(0.0, 0.004),
    "hair_length": Trait(0.30, 0.35, low=0.0, high=1.0),
    "hair_volume": Trait(0.008, 0.005, low=0.001, high=0.025),
}

# Mean differences of men (+) and women (-) from the mean of both, after anthropometric surveys.
_DIMORPHISM = {
    "stature": 0.060,
    "shoulder_joint": 0.005,
    "rib_width": 0.003,
    "pelvis_width": -0.003,
    "glutes": -0.004,
    "bust": -0.005,
    "neck": 0.003,
    "hair_length": -0.30,
    "hand_scale": 0.03,
    "wrist": 0.001,
    "foot": 0.002,
}

# Fatness thickens these by this fraction of their mean a standard deviation.
_FATNESS = {
    "pelvis_width": 0.07,
    "pelvis_depth": 0.09,
    "waist_width": 0.12,
    "waist_depth": 0.15,
    "rib_width": 0.06,
    "rib_depth": 0.09,
    "chest_depth": 0.06,
    "belly": 0.9,
    "thigh": 0.09,
    "knee": 0.05,
    "calf": 0.06,
    "deltoid": 0.07,
    "elbow": 0.06,
    "neck": 0.06,
}


def draw_body(rng: np.random.Generator, spread: float, people: People = USUAL) -> Body:
    """Draw a subject's body.

    Args:
        rng: the stream of this subject's body.
        spread: scale of all differences from the mean body; 0 gives everybody the same.
        people: what the mean body is, and of how many men.

    Returns:
        The body.

    Reference:
        Mean proportions: Winter, "Biomechanics and Motor Control of Human Movement", 4th ed. 2009,
        figure 4.1 (Drillis and Contini 1966).
    """
    sex = 1.0 if rng.random() < people.men else -1.0
    fatness = float(np.clip(rng.standard_normal(), -1.8, 2.2))
    values = {}
    for name, deviate in deviates(_TRAITS, rng).items():
        trait = _TRAITS[name]
        change = deviate * trait.subject + sex * _DIMORPHISM.get(name, 0.0)
        change += fatness * _FATNESS.get(name, 0.0) * trait.mean
        mean = people.stature if name == "stature" else trait.mean * (1 + people.fatness * _FATNESS.get(name, 0.0))
        values[name] = bounded(trait, mean + spread * change)
    return Body(**values)
