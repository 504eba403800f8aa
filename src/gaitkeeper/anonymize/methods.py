"""The anonymizers by name, and what strength means for each."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from gaitkeeper.anonymize.walk import Anonymizer
from gaitkeeper.errors import GaitkeeperError

DEFAULT = "replacement"
"""The method with the lowest worst-case identification, over judges that were adapted to it too."""

NEGATIVE_CONTROLS = ("blur", "pixelate", "dilate")
"""Fixed filters, which hide nothing from a judge that was trained on them."""

_STRONG = 1.8
"""How much wider everything is drawn in the strong deformation; a caricature already."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """What is known of an anonymizer before it is made.

    Args:
        title: what it does, in a few words.
        strength: what its strength scales; None where there is nothing to scale.
        graded: whether its pictures have greys that say something. They are then kept when a video is read, as whoever
            wants to identify people would; others are silhouettes, which segmentation gives as masks.
        control: whether it is there for comparison and is no protection.
        make: returns the anonymizer of a strength.
    """

    title: str
    strength: str | None = None
    graded: bool = False
    control: bool = False
    make: Callable[[float], Anonymizer]


def _replacement(_: float) -> Anonymizer:
    from gaitkeeper.anonymize.replacement import Replacement

    return Replacement()


def _deformation(strength: float) -> Anonymizer:
    from gaitkeeper.anonymize.deformation import Deformation

    return Deformation(strength=strength)


def _st_gan(weights: str) -> Callable[[float], Anonymizer]:
    def make(_: float) -> Anonymizer:
        from gaitkeeper.anonymize.learned import StGan

        return StGan(weights=weights)

    return make


def _noise_gait(_: float) -> Anonymizer:
    from gaitkeeper.anonymize.learned import NoiseGait

    return NoiseGait()


def _blur(strength: float) -> Anonymizer:
    from gaitkeeper.anonymize.filters import Blur

    return Blur(sigma=strength * Blur().sigma)


def _pixelate(strength: float) -> Anonymizer:
    from gaitkeeper.anonymize.filters import Pixelate

    return Pixelate(cell=strength * Pixelate().cell)


def _dilate(strength: float) -> Anonymizer:
    from gaitkeeper.anonymize.filters import Dilate

    return Dilate(radius=strength * Dilate().radius)


def _unchanged(_: float) -> Anonymizer:
    from gaitkeeper.anonymize.filters import Unchanged

    return Unchanged()


def _contour(_: float) -> Anonymizer:
    from gaitkeeper.anonymize.filters import ContourRoundTrip

    return ContourRoundTrip()


METHODS: Mapping[str, Method] = {
    "replacement": Method(title="a random walker who does not exist, drawn anew for each clip", make=_replacement),
    "deformation": Method(
        title="body regions and time stretched at random, drawn anew for each clip",
        strength="the spread of everything that is drawn",
        make=_deformation,
    ),
    "deformation-strong": Method(
        title="the same, drawn wider",
        strength="the spread of everything that is drawn",
        make=lambda strength: _deformation(_STRONG * strength),
    ),
    "st-gan": Method(title="ST-GAN with the squared loss, α = 0.3", make=_st_gan("st-gan-walkers")),
    "st-gan-published": Method(
        title="ST-GAN with the published loss, α = 0.3", make=_st_gan("st-gan-published-walkers")
    ),
    "st-gan-no-noise": Method(
        title="ST-GAN without the noise generator", control=True, make=_st_gan("st-gan-no-noise-walkers")
    ),
    "noise-gait": Method(title="another person's gait mixed in (2017)", make=_noise_gait),
    "blur": Method(
        title="blurred", strength="the width of the blur", graded=True, control=True, make=_blur,
    ),
    "pixelate": Method(
        title="pixelated", strength="the size of the cells", graded=True, control=True, make=_pixelate,
    ),
    "dilate": Method(title="dilated", strength="the radius", control=True, make=_dilate),
    "black": Method(title="a black silhouette over the person", control=True, make=_unchanged),
    "contour": Method(
        title="traced and filled again, nothing else: the contour round trip", control=True, make=_contour
    ),
}  # fmt: skip
"""Every anonymizer, the default first."""


def method(name: str, strength: float = 1.0, *, painted: bool = True) -> Anonymizer:
    """Return an anonymizer.

    Args:
        name: one of :data:`METHODS`.
        strength: 1 is what was measured; see :attr:`Method.strength`.
        painted: whether one that paints its own person does so; silhouettes are the same without.

    Raises:
        GaitkeeperError: there is no such method, or its strength cannot be set so.
    """
    if name not in METHODS:
        raise GaitkeeperError(f"{name}: expected a method of anonymization, {', '.join(METHODS)}")
    if not (math.isfinite(strength) and 0 < strength <= 10):
        raise GaitkeeperError(f"{name}: expected a strength above 0 and of at most 10, got {strength}")
    if METHODS[name].strength is None and strength != 1:
        scaled = ", ".join(key for key, known in METHODS.items() if known.strength)
        raise GaitkeeperError(f"{name}: has no strength to set, got {strength}; {scaled} have one")
    made = METHODS[name].make(strength)
    from gaitkeeper.anonymize.replacement import Replacement

    return made if painted or not isinstance(made, Replacement) else replace(made, painted=False)
