"""A body of other proportions, drawn anew for each clip. Nothing is learned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gaitkeeper.anonymize.walk import Anonymized, Walk, bodies

MOST = 5.0
"""The largest strength; nothing human is left long before."""

_REGIONS = (0.0, 0.13, 0.48, 0.72, 1.0)
"""Where head, trunk, thighs and shanks begin and end, in body heights from the top."""

_KNOTS = np.linspace(0.0, 1.0, 11)
"""Heights at which the width factor is drawn."""

_OVERALL = 0.4
"""Share of the variance of the width factor's logarithm that is the same at all heights; the rest varies over about
``_SMOOTH`` body heights."""
_SMOOTH = 0.18

_HEAD = 0.6
"""The width of the head varies by this factor less, and alike all over: misshapen heads look least human."""

_TAIL = 2.0
"""Draws beyond this many standard deviations are cut to it: bodies stay human."""

_CYCLE = (0.7, 1.6)
"""Seconds in which people repeat themselves, two steps."""

_LOOK = 20.0
"""Seconds of a clip in which this is looked for."""


@dataclass(frozen=True, kw_only=True)
class Deformation:
    """Deform the body's regions and the time, the same way in all frames of a clip.

    The width is multiplied by a smooth function of height and the heights of head, trunk, thighs and shanks by a factor
    each, the body leans and sways with its steps, and it walks faster or slower. All of it is drawn per clip. Total
    height, feet on the ground and number of frames stay.

    Args:
        strength: multiplies the five settings below; 1 is moderate, 1.8 a caricature, 0 changes nothing.
        width: standard deviation of the logarithm of the width factor at a height.
        regions: that of the regions' heights, before they are scaled to the same total.
        shear: that of the lean: by how much the head is moved to a side against the feet, in body heights.
        sway: that of the amplitude of the head's movement to the sides with each two steps, in body heights.
        cadence: that of the logarithm of the factor on the steps a second.

    Reference:
        After the idea of Hirose et al., "Anonymization of human gait in video based on silhouette deformation and
        texture transfer", 2022: a displacement field without training.

    Deviations:
        The field is drawn, not optimized: what is fixed for a person, an attacker learns.
    """

    strength: float = 1.0
    width: float = 0.22
    regions: float = 0.10
    shear: float = 0.10
    sway: float = 0.02
    cadence: float = 0.12

    def __post_init__(self) -> None:
        for name in ("strength", "width", "regions", "shear", "sway", "cadence"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value >= 0):
                raise ValueError(f"expected a {name} of at least 0, got {value}")
        if self.strength > MOST:
            raise ValueError(f"expected a strength of at most {MOST:g}, got {self.strength}")

    def __call__(self, walk: Walk, rng: np.random.Generator) -> Anonymized:
        """Draw a body and a cadence, and deform every frame."""
        shape, heights, shear, sway, phase, rate = self._drawn(rng)
        drawn: dict[str, float | str] = {"strength": self.strength}
        frames = walk.silhouettes
        cycle = _cycle(frames, walk.fps)
        frames = _in_time(frames, rate, cycle)
        period = cycle if cycle else walk.fps
        sways = sway * np.sin(2 * np.pi * (np.arange(len(frames)) / period + phase))
        width = self.strength * self.width
        return Anonymized(silhouettes=_deformed(frames, shape, width, heights, shear, sways), drawn=drawn)

    def _drawn(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, float, float, float, float]:
        """Draw a body and a cadence.

        Returns:
            How wide it is at each knot in standard deviations, where the regions begin and end, the shear, the sway and
            its phase, and the factor on the steps a second.
        """

        def normal(count: int) -> np.ndarray:
            return self.strength * np.clip(rng.standard_normal(count), -_TAIL, _TAIL)

        trunk = _REGIONS[1]
        at = np.where(trunk > _KNOTS, trunk / 2, _KNOTS)
        apart = at[:, None] - at
        covariance = _OVERALL + (1 - _OVERALL) * np.exp(-((apart / _SMOOTH) ** 2) / 2)
        root = np.linalg.cholesky(covariance + 1e-9 * np.eye(len(_KNOTS)))
        smooth = np.clip(root @ rng.standard_normal(len(_KNOTS)), -_TAIL, _TAIL)
        shape = np.where(trunk > _KNOTS, _HEAD, 1.0) * smooth
        parts = np.diff(_REGIONS) * np.exp(self.regions * normal(len(_REGIONS) - 1))
        heights = np.concatenate([[0.0], parts.cumsum() / parts.sum()])
        shear, sway = float(self.shear * normal(1)[0]), float(self.sway * normal(1)[0])
        phase = float(rng.uniform())
        return shape, heights, shear, sway, phase, float(np.exp(self.cadence * normal(1)[0]))


def _cycle(frames: np.ndarray, fps: float) -> int:
    """Return after how many frames a person looks most alike again, 0 where the clip is too short to tell."""
    lags = range(max(2, round(_CYCLE[0] * fps)), min(len(frames) - 2, round(_CYCLE[1] * fps)) + 1)
    # A part is enough, and a clip may be long and large.
    step = max(1, frames.shape[1] // 40)
    small = frames[: round(_LOOK * fps), ::step, ::step].astype(np.int16)
    apart = [float(np.abs(small[lag:] - small[:-lag]).mean()) for lag in lags]
    return lags[int(np.argmin(apart))] if apart else 0


def _in_time(frames: np.ndarray, rate: float, cycle: int) -> np.ndarray:
    """Show a movement ``rate`` times as fast, by whole cycles never more than half a cycle from its own time.

    Beyond the ends, and where there is no cycle, it is slowed or hastened only as far as there are frames.
    """
    own = np.arange(len(frames), dtype=float)
    if not cycle:
        # The middle of the clip at that speed, or all of it.
        times = (own - own.mean()) * min(rate, 1.0) + own.mean()
    else:
        ahead = (rate - 1) * own
        times = own + ahead - cycle * np.round(ahead / cycle)
        last = own[-1]
        times -= cycle * np.ceil(np.maximum(times - last, 0) / cycle)
        times += cycle * np.ceil(np.maximum(-times, 0) / cycle)
        times = np.clip(times, 0, last)
    return np.stack([_between(frames, time) for time in times])


def _between(frames: np.ndarray, time: float) -> np.ndarray:
    """Return the outline halfway, or as far as the time says, between two frames: distances from it are mixed."""
    first = min(int(time), len(frames) - 1)
    part = time - first
    if part < 0.05:
        return frames[first]
    if part > 0.95:
        return frames[first + 1]
    one, other = (_distance(frame) for frame in frames[first : first + 2])
    if one is None or other is None:
        return frames[first + round(part)]
    return np.rint(255 * np.clip(0.5 + (1 - part) * one + part * other, 0, 1)).astype(np.uint8)


def _distance(frame: np.ndarray) -> np.ndarray | None:
    """Return each pixel's distance from the outline, positive within the person; None without person or background."""
    import cv2

    mask = (frame >= 128).astype(np.uint8)
    if mask.all() or not mask.any():
        return None
    inside, outside = (cv2.distanceTransform(m, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) for m in (mask, 1 - mask))
    return np.where(mask, inside - 0.5, 0.5 - outside)


def _deformed(
    frames: np.ndarray, shape: np.ndarray, width: float, heights: np.ndarray, shear: float, sways: np.ndarray
) -> np.ndarray:
    """Move rows and columns of frames that hold a person.

    Args:
        frames: ``(t, h, w)`` uint8.
        shape: ``(knots,)``, how wide the body is at ``_KNOTS``.
        width: what they are multiplied by for the logarithm of the width factor.
        heights: where the ends of the regions come to lie.
        shear: how far the head is moved to the right against the feet, in body heights.
        sways: ``(t,)``, how far the head is moved to the right while the feet stay, in body heights.
    """
    import cv2
    from scipy.interpolate import PchipInterpolator
    from scipy.ndimage import gaussian_filter1d

    where = bodies(frames)
    if not np.isfinite(where.height):
        return frames
    top, height = float(np.nanmedian(where.top)), where.height
    own = np.arange(len(frames))
    seen = np.isfinite(where.middle)
    # The axis of widening must not jump from column to column.
    axis = gaussian_filter1d(np.interp(own, own[seen], where.middle[seen]), 2.0, mode="nearest")
    rows, columns = frames.shape[1:]
    level = (np.arange(rows) + 0.5 - top) / height
    within = np.clip(level, 0, 1)
    source = (PchipInterpolator(heights, _REGIONS)(within) + (level - within)) * height + top
    shift = height * (shear * (0.5 - within) + sways[:, None] * (1 - within))
    widths = np.exp(width * PchipInterpolator(_KNOTS, shape)(within))
    widths = np.minimum(widths, _room(frames, axis, source, shift))
    at_rows = np.repeat((source - 0.5)[:, None], columns, axis=1).astype(np.float32)
    place = np.arange(columns) + 0.5
    out = np.empty_like(frames)
    for t, frame in enumerate(frames):
        at_columns = axis[t] + (place - axis[t] - shift[t, :, None]) / widths[:, None] - 0.5
        out[t] = cv2.remap(
            frame, at_columns.astype(np.float32), at_rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT
        )
    return out


def _room(frames: np.ndarray, axis: np.ndarray, source: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Return for each row the largest width factor with which nobody is cut off by the frame's sides, at least 0.2.

    Args:
        frames: ``(t, h, w)``.
        axis: ``(t,)`` columns around which rows are widened.
        source: ``(h,)`` the row, pixels, that each comes from.
        shift: ``(t, h)`` by how many pixels each row is moved to the right.
    """
    columns = frames.shape[2]
    row = np.clip(source.astype(int), 0, frames.shape[1] - 1)
    room = np.full(len(row), np.inf)
    for frame, center, moved in zip(frames, axis, shift, strict=True):
        used = np.pad(frame >= 128, ((1, 1), (0, 0)))
        # A row comes from between two rows.
        used = (used[:-2] | used[1:-1] | used[2:])[row]
        some = used.any(axis=1)
        left = np.maximum(center - np.where(some, used.argmax(axis=1), columns), 0.5)
        right = np.maximum(np.where(some, columns - used[:, ::-1].argmax(axis=1), 0) - center, 0.5)
        room = np.minimum(room, np.minimum((center + moved - 1) / left, (columns - center - moved - 1) / right))
    return np.maximum(room, 0.2)
