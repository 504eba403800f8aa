"""Anonymizers that trained networks make: ST-GAN, the noise gait of 2017, and an attempt to undo them."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gaitkeeper.anonymize.walk import Anonymized, Walk
from gaitkeeper.motion.contour_vectors import from_published
from gaitkeeper.motion.contours import ContourSequence, contour_sequence, refill
from gaitkeeper.synthetic.population import Population
from gaitkeeper.synthetic.walkers import Walkers

if TYPE_CHECKING:
    from gaitkeeper.models.generators.anonymizers import ContourNetworks

DONORS = range(61, 77)
"""Walkers whose gait is a noise gait: those that the anonymizers learned from."""

FPS = 30.0
"""Frames a second of rendered walkers."""


@functools.cache
def _loaded(weights: str, *kinds: str) -> ContourNetworks:
    from gaitkeeper.models.generators.anonymizers import load_contour_networks

    return load_contour_networks(weights, *kinds)


def _filled(sequence: ContourSequence, points: np.ndarray) -> np.ndarray:
    """Fill other contours. Holes are left out: a learned outline has none, and the original's would tell of it."""
    return refill(replace(sequence.moved(points), holes=((),) * len(points)))


@dataclass(frozen=True, kw_only=True)
class StGan:
    """ST-GAN: the contour of every frame mixed with a noise contour by a trained generator.

    A fresh noise contour is drawn for every clip. How far the result is from the original, alpha and the norm, is in
    the weights.

    Args:
        weights: the name of shipped weights or a path, of an ST-GAN or of its ablation without a noise generator.

    Raises:
        WeightsError: when called, unknown weights or those of another kind.

    Reference:
        Tieu et al., "Spatio-temporal generative adversarial network for gait anonymization", JISA 46, 2019.

    Deviations:
        Contours of equally many points with landmarks in place of 2000 zero-padded pixels, unless the weights were
        trained with ``padded``. The default weights have the squared norm; the published L1 is
        ``st-gan-published-walkers``.
    """

    weights: str = "st-gan-walkers"

    def __call__(self, walk: Walk, rng: np.random.Generator) -> Anonymized:
        """Anonymize a walk; ``rng`` draws the noise contour."""
        from gaitkeeper.models.generators.anonymizers import padded_contours

        networks = _loaded(self.weights, "st-gan", "st-gan-no-noise")
        if networks.padded:
            contours, counts, placement = padded_contours(walk.silhouettes, networks.points)
            noise = networks.noise_contours(1, len(contours), rng, fps=walk.fps)[0].numpy()
            made = placement.pixels(networks.apply(contours, noise)).reshape(len(contours), -1)
            return Anonymized(silhouettes=from_published(made, counts, walk.silhouettes.shape[1:]))
        sequence = contour_sequence(walk.silhouettes, networks.points)
        noise = networks.noise_contours(1, len(walk.silhouettes), rng, fps=walk.fps)[0].numpy()
        return Anonymized(silhouettes=_filled(sequence, networks.apply(sequence.points, noise)))


@dataclass(frozen=True, kw_only=True)
class NoiseGait:
    """The baseline of 2017: a generator adds the walk of another person, seen from the same direction.

    Args:
        weights: the name of shipped weights or a path.
        view: camera direction in degrees of the noise gait, a multiple of 18 up to 180. Without it, that of the
            donor's views which is nearest to the walk.
        population: the walkers whose gait is drawn.

    Raises:
        WeightsError: when called, unknown weights or those of another kind.
        DataError: when called, no such view.

    Reference:
        Tieu et al., "An approach for gait anonymization using deep learning", WIFS 2017, as the paper of 2019
        describes it.

    Deviations:
        The layers are not known and those of ST-GAN's generator. The view is estimated, the phase is not matched.
    """

    weights: str = "noise-gait-walkers"
    view: int | None = None
    population: Population = field(default_factory=Population)

    def __call__(self, walk: Walk, rng: np.random.Generator) -> Anonymized:
        """Anonymize a walk; ``rng`` draws whose gait is added."""
        networks = _loaded(self.weights, "noise-gait")
        sequence = contour_sequence(walk.silhouettes, networks.points)
        donor = self._donor(sequence, int(rng.choice(DONORS)), int(rng.integers(1, 7)), networks.points, walk.fps)
        return Anonymized(silhouettes=_filled(sequence, networks.apply(sequence.points, donor)))

    def _donor(self, sequence: ContourSequence, subject: int, take: int, points: int, fps: float) -> np.ndarray:
        """Return the contours of a donor's normal walk, as many frames as the sequence has."""
        from gaitkeeper.synthetic.population import VIEWS

        count = len(sequence.points)
        views = VIEWS if self.view is None else (self.view,)
        index = np.arange(count) * FPS / fps
        frames = int(np.ceil(index[-1])) + 1

        def seen(view: int, frames: int) -> np.ndarray:
            return _donated(self.population, subject, take, view, frames, points)

        if len(views) > 1 and sequence.present.any():
            own = _pose(sequence.points[sequence.present])
            apart = [float(np.abs(_pose(seen(view, 40)) - own).mean()) for view in views]
            view = views[int(np.argmin(apart))]
        else:
            view = views[len(views) // 2]
        return seen(view, frames)[np.rint(index).astype(int).clip(0, frames - 1)]


@functools.cache
def _donated(population: Population, subject: int, take: int, view: int, frames: int, points: int) -> np.ndarray:
    """Return the contours ``(frames, points, 2)`` of a donor's normal walk from a view; there are few donors."""
    (silhouettes,) = Walkers(population).silhouettes(subject, f"nm-{take:02d}", [view], frames=frames)
    return contour_sequence(silhouettes, points).points


def _pose(points: np.ndarray) -> np.ndarray:
    """Return the mean of contours ``(t, p, 2)`` and how far they move: what tells a view from another."""
    return np.stack([points.mean(axis=0), points.std(axis=0)])


def invert(weights: str | Path, silhouettes: np.ndarray) -> np.ndarray:
    """Try to recover the original gait from an anonymized one.

    Args:
        weights: of an inverter, which an attacker trained on people of his own, see ``AnonymizerSettings.inverted``.
        silhouettes: ``(t, h, w)`` uint8, anonymized.

    Returns:
        ``(t, h, w)`` uint8: a guess at the original.

    Raises:
        WeightsError: the weights cannot be read or are of another kind.

    Reference:
        Tieu et al. 2019, section 5, where this is left as an open question.
    """
    networks = _loaded(str(weights), "inverter")
    sequence = contour_sequence(silhouettes, networks.points)
    return _filled(sequence, networks.apply(sequence.points))
