"""What a walk looks like on average: mean silhouettes of several people, by view and phase."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from gaitkeeper.motion.silhouettes import HEIGHT, WIDTH
from gaitkeeper.synthetic import render
from gaitkeeper.synthetic.camera import Camera
from gaitkeeper.synthetic.figure import Figure, dress
from gaitkeeper.synthetic.kinematics import Walk
from gaitkeeper.synthetic.noise import draw_noise
from gaitkeeper.synthetic.population import VIEWS, Population
from gaitkeeper.synthetic.walkers import Walkers

PEOPLE = Population(seed=20180613)
"""Who is averaged: people of their own, so that nothing about those who are tested is in the mean."""

CONDITIONS = ("nm-01", "bg-01", "nm-02", "cl-01")
"""What they wear, in turn."""

SUBJECTS = 16
PHASES = 32

SHRINK = 2
"""Templates have aligned silhouettes' size divided by this: finer detail is of the person."""

DIRECTIONS = np.array([*VIEWS, *(-view for view in reversed(VIEWS[1:-1]))])
"""Signed views of the templates in degrees, in a circle: negative ones see the walker's right side."""


def treadmill(walk: Walk, phase: np.ndarray) -> np.ndarray:
    """Return how far a walk has come at phases, ``(t, 1, 3)`` metres; taken from it, the walker stays in place."""
    travel = np.zeros((len(phase), 1, 3))
    travel[:, 0, 0] = walk.stride * phase
    return travel


@dataclass(frozen=True)
class Templates:
    """What people have in common at each view and phase, and where they differ.

    Attributes:
        mean: ``(directions, PHASES, 32, 22)`` float32 in [0, 1]; directions as in ``DIRECTIONS``, phases evenly spaced
            over the cycle of the left leg, 0 at its contact.
        variance: ``(32, 22)`` float32, between people, mean over views and phases.
    """

    mean: np.ndarray
    variance: np.ndarray


@cache
def mean_templates() -> Templates:
    """Return mean aligned silhouettes, rendered when first asked for; read-only, since they are shared.

    Deviations:
        The feasibility study averaged 12 people over 11 views; here it is 16, and the other side is mirrored.
    """
    phase = np.arange(PHASES) / PHASES
    walkers = Walkers(PEOPLE)
    size = (HEIGHT // SHRINK, WIDTH // SHRINK)
    total = np.zeros((len(VIEWS), PHASES, *size), np.float32)
    squares = np.zeros(size, np.float32)
    frames = np.empty((PHASES, HEIGHT, WIDTH), np.uint8)
    noise = draw_noise(np.random.default_rng(0), PHASES, 0.0)
    for subject in range(1, SUBJECTS + 1):
        figure = _in_place(walkers, subject, CONDITIONS[subject % len(CONDITIONS)], phase)
        for place, view in zip(total, VIEWS, strict=True):
            camera = Camera(view=view)
            scene = figure.centres, figure.spreads, figure.parts, camera.matrix, camera.focal, render.COMPASS
            render.silhouettes(*scene, noise.events, noise.ragged, noise.starts, frames)
            # Alignment puts the pixel right of the middle where the body's middle is; half a pixel makes that
            # the middle, so that a mirror image is aligned too.
            centred = (frames + np.roll(frames, -1, axis=2).astype(np.float32)) / np.float32(510)
            small = centred.reshape(PHASES, size[0], SHRINK, size[1], SHRINK).mean(axis=(2, 4))
            place += small
            squares += (small**2).mean(axis=0)
    left = total / np.float32(SUBJECTS)
    # Seen from the right a body looks like its mirror image from the left, with the legs half a cycle apart.
    right = np.roll(left[-2:0:-1, ..., ::-1], PHASES // 2, axis=1)
    mean = np.concatenate([left, right])
    variance = squares / np.float32(SUBJECTS * len(VIEWS)) - (left**2).mean(axis=(0, 1))
    templates = Templates(mean, np.maximum(variance + variance[:, ::-1], 0) / 2)
    for array in (templates.mean, templates.variance):
        array.setflags(write=False)
    return templates


def _in_place(walkers: Walkers, subject: int, condition: str, phase: np.ndarray) -> Figure:
    """Return a walker at phases of the cycle who does not come forward."""
    body, outfit = walkers.body(subject), walkers.outfit(subject, condition)
    walk = Walk(body, walkers.gait(subject, condition), outfit.hem)
    figure = dress(walk.pose(phase), body, outfit)
    centres = figure.centres - treadmill(walk, phase)
    return Figure(centres, figure.spreads, figure.parts, figure.materials)
