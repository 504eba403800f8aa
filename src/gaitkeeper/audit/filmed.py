"""Walkers filmed in color, anonymized as any video is, written, read again and segmented."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from gaitkeeper.anonymize.compose import Composer
from gaitkeeper.anonymize.sources import ClipSource
from gaitkeeper.anonymize.survey import survey
from gaitkeeper.anonymize.walk import Anonymizer
from gaitkeeper.datasets.base import Sample
from gaitkeeper.motion.silhouettes import HEIGHT, WIDTH, align_sequence
from gaitkeeper.perception.people import find_people
from gaitkeeper.perception.video import Clip, read_clip, write_clip
from gaitkeeper.seeding import stream
from gaitkeeper.synthetic.population import FPS, Population
from gaitkeeper.synthetic.video import video
from gaitkeeper.synthetic.walkers import Walkers

SIZE = (180, 240)
"""Rows and columns of the films; a body has about 80 rows."""

EMPTY = 16
"""Frames of the empty scene before somebody comes."""


def film(population: Population, sample: Sample, frames: int) -> tuple[Clip, np.ndarray]:
    """Return a film of one walk, ``EMPTY`` frames of the empty scene first, and a picture of that scene."""
    walkers = Walkers(population)
    rows, columns = SIZE
    footage = video(
        walkers, int(sample.subject), sample.condition, sample.view, frames=frames, rows=rows, columns=columns
    )
    rng = stream(population.seed, "empty frames", sample.key)
    empty = footage.background + rng.normal(0, 1.5, (EMPTY, *footage.background.shape))
    pictures = np.concatenate([empty.round().clip(0, 255).astype(np.uint8), footage.frames])
    return Clip(pictures, footage.fps, Path(f"{sample.key}.mp4")), footage.background


def filmed_silhouettes(
    population: Population,
    samples: Sequence[Sample],
    anonymizer: Anonymizer | None,
    name: str,
    *,
    frames: int,
    seed: int,
    progress: Callable[[int, int, str], None],
) -> list[np.ndarray]:
    """Film walkers, anonymize the films and return what segmentation finds in the written files.

    Whoever anonymizes and whoever segments later know the empty scene.

    Args:
        population: who the walkers are.
        samples: the walks.
        anonymizer: what is done to them; None writes the films as they are.
        name: of the method.
        frames: of a walk.
        seed: of the anonymizer's draws.
        progress: called as films are done.

    Returns:
        For each sample ``(t, 64, 44)`` uint8, aligned; without frames where nobody was found.
    """
    found = []
    with tempfile.TemporaryDirectory(prefix="gaitkeeper-") as folder:
        path = Path(folder) / "film.mp4"
        for number, sample in enumerate(samples, 1):
            clip, empty = film(population, sample, frames)
            shown = clip.frames if anonymizer is None else _anonymized(clip, empty, anonymizer, seed, name, sample)
            write_clip(path, shown, fps=FPS)
            found.append(_segmented(read_clip(path, max_rows=None), empty))
            progress(number, len(samples), f"{name}: filming, anonymizing and reading again")
    return found


def _anonymized(
    clip: Clip, empty: np.ndarray, anonymizer: Anonymizer, seed: int, name: str, sample: Sample
) -> np.ndarray:
    composer = Composer(
        survey(ClipSource(clip), empty=empty),
        anonymizer,
        lambda person: stream(seed, "anonymize", name, sample.key, person),
    )
    return np.stack([composer.compose(number, frame) for number, frame in enumerate(clip.frames)])


def _segmented(clip: Clip, empty: np.ndarray) -> np.ndarray:
    """Return the aligned silhouettes of whoever is longest in a film."""
    scene = find_people(clip, empty=empty)
    if not scene.tracks:
        return np.zeros((0, HEIGHT, WIDTH), np.uint8)
    track = max(scene.tracks, key=lambda t: len(t.frames))
    masks = [255 * track.mask(int(frame), clip.frames.shape[1:]).astype(np.uint8) for frame in track.frames]
    return align_sequence(np.stack(masks))[0]
