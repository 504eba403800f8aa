"""What segmentation does to silhouettes: holes, lost pieces, smears, specks and ragged edges."""

from dataclasses import dataclass

import numpy as np

EVENTS = 24
"""Most disturbances in a sequence."""

TABLE = 4096


@dataclass(frozen=True)
class Noise:
    """The disturbances of one sequence, in the person's own measure so that any resolution can show them.

    Attributes:
        events: ``(EVENTS, 9)``: first frame, frame after the last, row, column, half height, half width, drift
            of the column a frame, slant, value. Rows run from 0 at the top to 1 at the sole, columns from the
            pelvis, both in heights of the person; value is 1 to add, 0 to remove and -1 for none.
        ragged: ``(TABLE,)`` float64, how far edges move, in 1/128 of the height.
        starts: ``(frames,)`` int64, where in the table each frame begins.
    """

    events: np.ndarray
    ragged: np.ndarray
    starts: np.ndarray


# Of each kind: how many in 40 frames, mean frames it stays, rows, columns, half sizes, value.
_KINDS = (
    # Clothes of the background's color: a hole that stays for a while.
    (1.3, 5.0, (0.15, 0.90), 0.07, (0.015, 0.045), (0.012, 0.035), 0.0),
    # A piece lost for a frame or two.
    (2.0, 1.6, (0.08, 0.96), 0.10, (0.012, 0.055), (0.012, 0.050), 0.0),
    # Shadow and smear beside the feet.
    (1.2, 4.0, (0.955, 0.985), 0.12, (0.006, 0.014), (0.03, 0.10), 1.0),
    # Bulges at the outline.
    (2.5, 2.0, (0.05, 0.90), 0.13, (0.010, 0.030), (0.008, 0.025), 1.0),
    # Specks.
    (3.0, 1.3, (0.03, 0.97), 0.28, (0.004, 0.010), (0.004, 0.010), 1.0),
)


def draw_noise(rng: np.random.Generator, frames: int, strength: float) -> Noise:
    """Draw the disturbances of one view of a walk.

    Args:
        rng: the stream of this sequence's noise.
        frames: length of the sequence.
        strength: scale of number and size; 0 gives clean silhouettes.
    """
    events = np.full((EVENTS, 9), -1.0)
    # How well the scene segments is a matter of the whole sequence.
    quality = strength * rng.uniform(0.4, 1.6)
    wanted = rng.poisson([min(kind[0] * quality * frames / 40, 8.0) for kind in _KINDS])
    kinds = np.repeat(np.arange(len(_KINDS)), wanted)[:EVENTS]
    uniform = rng.random((EVENTS, 8))
    for row, (kind, u) in enumerate(zip(kinds, uniform, strict=False)):
        _, stay, rows, aside, half_height, half_width, value = _KINDS[kind]
        first = np.floor(u[0] * (frames + stay) - stay)
        last = first + 1 + np.floor(-stay * np.log(1 - u[1]))
        tall = half_height[0] + (half_height[1] - half_height[0]) * u[4] ** 2
        wide = half_width[0] + (half_width[1] - half_width[0]) * u[5] ** 2
        column = aside * (2 * u[3] - 1)
        place = rows[0] + (rows[1] - rows[0]) * u[2]
        events[row] = first, last, place, column, tall, wide, 0.006 * (u[6] - 0.5), 2 * u[7] - 1, value
    grain = rng.standard_normal(TABLE)
    ragged = np.sum([np.roll(grain, k) for k in range(5)], axis=0)
    # Neighboring frames share two thirds of their raggedness through a table position that moves slowly.
    starts = np.cumsum(rng.integers(0, 3, frames) + 64 * (rng.random(frames) < 0.3))
    return Noise(events, 0.22 * quality**0.5 * ragged, starts.astype(np.int64))
