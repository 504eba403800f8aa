"""From silhouettes to what a stand-in must share with the person: view, phase and cadence, and where the body is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solveh_banded
from scipy.ndimage import gaussian_filter1d, percentile_filter

from gaitkeeper.anonymize.walk import Walk, bodies
from gaitkeeper.motion.silhouettes import HEIGHT, WIDTH
from gaitkeeper.synthetic.templates import DIRECTIONS, PHASES, SHRINK, mean_templates

CADENCES = np.arange(0.4, 1.52, 0.04)
"""Strides a second that are tried."""

USUAL, UNUSUAL = 0.92, 0.2
"""Mean and standard deviation of people's strides a second."""

STEP = 360.0 / len(DIRECTIONS)
"""Degrees between the templates' views."""

WINDOW, HOP = 1.4, 0.35
"""Seconds in which the pace is taken as even, and from one such window to the next."""

EVIDENCE = 50.0
"""Independent measurements in a window: by how much a lower residual outweighs what is unusual."""

FLOOR = 0.05
"""Variance of a pixel that segmentation is trusted not to fall below."""

DOUBT = 2.0
"""Power of a frame's residual by which it counts less than the median frame."""

TURN, HURRY, SLIP = 9.0, 0.05, 0.05
"""From one window to the next: degrees of turning, strides a second, and cycles out of step, one deviation each."""

STEADY = 0.5
"""Seconds below which changes of pace are taken for noise."""

STILL = 0.3
"""Seconds (one deviation) over which the body's place is averaged, so that neither bob nor jitter passes."""

SOLES = 75.0
"""Percentile of neighboring frames' last rows that is taken for the ground: feet are cut off more often than added."""


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """How somebody walks past the camera, and nothing else about them.

    Args:
        view: the nearest of CASIA's views in degrees, 0 toward the camera and 180 away from it.
        mirrored: whether the camera sees the walker's right side.
        direction: ``(t,)`` degrees, the view over time, negative where mirrored, unwrapped.
        phase: ``(t,)`` cycles of the left leg, 0 at its contact, growing by one a stride.
        cadence: strides a second.
        cost: root mean square difference from the mean silhouette, 0 to 1; NaN if there is nobody.
    """

    view: int
    mirrored: bool
    direction: np.ndarray
    phase: np.ndarray
    cadence: float
    cost: float


@dataclass(frozen=True)
class Place:
    """Where the body is over time, each ``(t,)`` float without gaps: first row, row after the last, middle column."""

    top: np.ndarray
    bottom: np.ndarray
    middle: np.ndarray


def place(silhouettes: np.ndarray, fps: float) -> Place | None:
    """Return where the body of ``(t, h, w)`` silhouettes is, smooth over time; None if there is nobody."""
    found = bodies(silhouettes)
    present = np.isfinite(found.top)
    if not present.any():
        return None
    frames = np.arange(len(silhouettes))
    top, bottom, middle = (
        np.interp(frames, frames[present], v[present]) for v in (found.top, found.bottom, found.middle)
    )
    return Place(steady(top, fps), steady(bottom, fps, SOLES), steady(middle + 0.5, fps))


def steady(values: np.ndarray, fps: float, percentile: float = 50.0) -> np.ndarray:
    """Return what changes slowly of values over time, ``(t,)``: neither steps nor outliers.

    Args:
        values: one a frame.
        fps: frames a second.
        percentile: which of neighboring values stands for them.
    """
    size = 2 * round(STILL * fps) + 1
    filtered = percentile_filter(values, percentile, min(size, 2 * len(values) - 1), mode="mirror")
    smoothed: np.ndarray = gaussian_filter1d(filtered, STILL * fps, mode="nearest")
    return smoothed


def fit(walk: Walk) -> Fitted:
    """Estimate view, phase and cadence by comparison with mean silhouettes.

    Lines of even pace are tried in overlapping windows against every view. The views of successive windows, and then
    their phases and cadences, are chosen together so that they agree, and the phase is refined frame by frame
    under a penalty on acceleration, which keeps the person's own unevenness out.

    Args:
        walk: the person. Frames without a person are bridged.

    Returns:
        The fit. Where there is nobody at all: 90 degrees at the usual cadence.
    """
    frames = len(walk.silhouettes)
    time = np.arange(frames)
    where = place(walk.silhouettes, walk.fps)
    costs, weights = _compare(walk.silhouettes, where) if where else (np.zeros(0), np.zeros(frames))
    if not weights.any():
        phase, direction = time * USUAL / walk.fps, np.full(frames, 90.0)
        return Fitted(view=90, mirrored=False, direction=direction, phase=phase, cadence=USUAL, cost=float("nan"))
    centers = _centers(frames, walk.fps)
    scores = np.stack([_lines(costs, weights, center, walk.fps) for center in centers])
    by_view = scores.min(axis=(2, 3))
    views = _chosen_views(by_view)
    cadences, phases = _chosen_lines(scores[np.arange(len(centers)), views], centers / walk.fps)
    nearest = np.abs(time[:, None] - centers).argmin(axis=1)
    curves = costs[time, views[nearest]]
    phase = _refined(curves, weights, _joined(centers, cadences / walk.fps, phases, time), walk.fps)
    direction = _direction(by_view, views, centers, time, walk.fps)
    seen = DIRECTIONS[round(float(np.median(direction)) / STEP) % len(DIRECTIONS)]
    cadence = (phase[-1] - phase[0]) / (frames - 1) * walk.fps if frames > 1 else cadences[0]
    residual = curves[time, np.rint(phase * PHASES).astype(int) % PHASES]
    residual = (residual * weights).sum() / weights.sum() * SHRINK**2 / (HEIGHT * WIDTH)
    return Fitted(
        view=int(abs(seen)),
        mirrored=bool(seen < 0),
        direction=direction,
        phase=phase,
        cadence=float(cadence),
        cost=float(np.sqrt(max(residual, 0.0))),
    )


def _compare(silhouettes: np.ndarray, where: Place) -> tuple[np.ndarray, np.ndarray]:
    """Return distances to the templates ``(t, directions, PHASES)``, squared, and each frame's weight ``(t,)``."""
    import cv2

    templates = mean_templates()
    size = templates.mean.shape[2:]
    # Where people differ much a difference says little about view and phase.
    scale = 1 / np.sqrt(templates.variance + FLOOR)
    scale /= np.sqrt((scale**2).mean())
    patterns = (templates.mean * scale).reshape(-1, scale.size)
    rows = np.empty((len(silhouettes), size[0] * size[1]), np.float32)
    for t, frame in enumerate(silhouettes):
        top, middle = where.top[t], where.middle[t]
        zoom = HEIGHT / max(where.bottom[t] - top, 1.0)
        if zoom < 0.7:
            # The warp below reads single points and would skip pixels of larger pictures.
            shrunk = tuple(max(round(zoom * n), 1) for n in frame.shape[::-1])
            small = cv2.resize(frame, shrunk, interpolation=cv2.INTER_AREA)
            along, across = small.shape[0] / frame.shape[0], small.shape[1] / frame.shape[1]
            frame, top, middle, zoom = small, top * along, middle * across, 1.0
        # From the corner of a pixel, where places count from, to its center, where OpenCV counts from, and back.
        shift = 0.5 * (zoom - 1)
        matrix = np.array([[zoom, 0, WIDTH / 2 - zoom * middle + shift], [0, zoom, -zoom * top + shift]])
        aligned = cv2.warpAffine(frame, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR)
        rows[t] = aligned.reshape(size[0], SHRINK, size[1], SHRINK).mean(axis=(1, 3)).ravel() / 255
    rows *= scale.ravel()
    own, theirs = (rows**2).sum(axis=1), (patterns**2).sum(axis=1)
    costs = own[:, None] + theirs - 2 * rows @ patterns.T
    # Frames that are like no template, for instance without feet, say less, and empty ones nothing.
    present, least = rows.any(axis=1), np.maximum(costs.min(axis=1), 1e-3)
    usual = np.median(least[present]) if present.any() else 1.0
    weights = np.minimum(usual / least, 1.0) ** DOUBT * present
    return costs.reshape(len(rows), -1, PHASES), weights


def _centers(frames: int, fps: float) -> np.ndarray:
    """Return the middle frames of the windows, ``(n,)`` float."""
    half = min(WINDOW * fps, frames) / 2
    count = 1 + round(max(frames - 2 * half, 0) / (HOP * fps))
    return np.linspace(half, frames - half, count) - 0.5


def _lines(costs: np.ndarray, weights: np.ndarray, center: float, fps: float) -> np.ndarray:
    """Return how badly lines of phase fit around a frame, ``(directions, cadences, PHASES)``, lower is better.

    The phase is the one at the window's center. Distances are shifted along the phase as Fourier series.
    """
    half = min(WINDOW * fps, len(costs)) / 2
    window = np.arange(max(round(center - half + 0.5), 0), min(round(center + half + 0.5), len(costs)))
    window = window[weights[window] > 0]
    unusual = 0.5 * ((CADENCES - USUAL) / UNUSUAL)[:, None] ** 2
    if not len(window):
        return np.broadcast_to(unusual, (costs.shape[1], len(CADENCES), PHASES))
    share = weights[window] / weights[window].sum()
    series = np.fft.rfft(costs[window] * share[:, None, None], axis=2)
    orders = np.arange(series.shape[2])
    moved = (window - center)[None, :, None] * CADENCES[:, None, None] / fps
    shifts = np.exp(2j * np.pi * moved * orders)
    residual = np.fft.irfft(np.einsum("tdk,ctk->dck", series, shifts, optimize=True), PHASES, axis=2)
    # Shorter windows say less.
    weight = EVIDENCE * min(len(window) / (WINDOW * fps), 1.0)
    scores: np.ndarray = weight * np.log(np.maximum(residual, 1e-3)) + unusual
    return scores


def _chosen_views(scores: np.ndarray) -> np.ndarray:
    """Return the sequence of template directions ``(n,)`` of least cost, ``(n, directions)``, turning included."""
    count = scores.shape[1]
    apart = np.abs(np.arange(count)[:, None] - np.arange(count))
    angle = np.minimum(apart, count - apart) * STEP
    return _cheapest(scores, np.broadcast_to(0.5 * (angle / TURN) ** 2, (len(scores) - 1, count, count)))


def _chosen_lines(scores: np.ndarray, seconds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return cadence and phase of each window, ``(n,)`` each, from scores ``(n, cadences, PHASES)``."""
    # Of each cadence the best phase in every quarter of the cycle stands for its neighbors.
    quarters = scores.reshape(len(scores), -1, PHASES // 4)
    best = quarters.argmin(axis=2)
    phase = (best + np.tile(np.arange(4), len(CADENCES)) * (PHASES // 4)) / PHASES
    cadence = np.repeat(CADENCES, 4)
    change = cadence - cadence[:, None]
    hop = float(seconds[1] - seconds[0]) if len(seconds) > 1 else 0.0
    expected = phase[:-1, :, None] + hop * (cadence[:, None] + cadence) / 2
    slip = (phase[1:, None, :] - expected + 0.5) % 1.0 - 0.5
    transitions = 0.5 * ((slip / SLIP) ** 2 + (change / HURRY) ** 2)
    chosen = _cheapest(quarters.min(axis=2), transitions)
    return cadence[chosen], phase[np.arange(len(phase)), chosen]


def _cheapest(scores: np.ndarray, transitions: np.ndarray) -> np.ndarray:
    """Return the path of least cost.

    Args:
        scores: ``(n, states)``, the cost of each state.
        transitions: ``(n - 1, from, to)``, the cost of going from state to state.

    Returns:
        ``(n,)`` states.
    """
    total = scores[0]
    back = np.zeros(scores.shape, np.int64)
    for i in range(1, len(scores)):
        ways = total[:, None] + transitions[i - 1]
        back[i] = ways.argmin(axis=0)
        total = ways.min(axis=0) + scores[i]
    path = np.empty(len(scores), np.int64)
    path[-1] = total.argmin()
    for i in range(len(scores) - 1, 0, -1):
        path[i - 1] = back[i, path[i]]
    return path


def _joined(centers: np.ndarray, paces: np.ndarray, phases: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Return an unwrapped phase ``(t,)`` through those of the windows; paces are in cycles a frame."""
    whole = phases.copy()
    for i in range(1, len(whole)):
        expected = whole[i - 1] + (centers[i] - centers[i - 1]) * (paces[i - 1] + paces[i]) / 2
        whole[i] += np.round(expected - whole[i])
    joined = np.interp(time, centers, whole)
    joined += np.minimum(time - centers[0], 0) * paces[0] + np.maximum(time - centers[-1], 0) * paces[-1]
    return joined


def _refined(curves: np.ndarray, weights: np.ndarray, phase: np.ndarray, fps: float) -> np.ndarray:
    """Improve a phase by Newton steps on the distances ``(t, PHASES)`` plus squared acceleration."""
    frames = len(phase)
    if frames < STEADY * fps:
        return phase
    # Few orders, so that the distance is smooth between the templates' phases.
    orders = 2j * np.pi * np.arange(1, 9)
    series = np.fft.rfft(curves, axis=1)[:, 1:9] * (2 / PHASES) * weights[:, None]
    # The second differences' matrix, transposed times itself, by its upper diagonals.
    bend = (1.0, -2.0, 1.0)
    bands = np.zeros((3, frames))
    for i, j in ((0, 0), (1, 1), (2, 2), (0, 1), (1, 2), (0, 2)):
        bands[2 - j + i, j : frames - 2 + j] += bend[i] * bend[j]
    for _ in range(8):
        terms = series * np.exp(orders * phase[:, None])
        slope = (terms * orders).real.sum(axis=1)
        curvature = np.maximum((terms * orders**2).real.sum(axis=1), 0.0)
        stiffness = (curvature.mean() + 1e-6) * (STEADY * fps) ** 4
        system = stiffness * bands
        system[2] += curvature + 1e-6
        rough = np.diff(phase, 2)
        force = np.zeros(frames)
        for i in range(3):
            force[i : frames - 2 + i] += bend[i] * rough
        step = solveh_banded(system, -(slope + stiffness * force))
        phase = phase + np.clip(step, -0.03, 0.03)
    return phase


def _direction(scores: np.ndarray, views: np.ndarray, centers: np.ndarray, time: np.ndarray, fps: float) -> np.ndarray:
    """Return the view ``(t,)`` in degrees between those of the templates, from the scores of neighboring ones."""
    count = scores.shape[1]
    index = np.arange(len(views))
    before, at, after = (scores[index, (views + k) % count] for k in (-1, 0, 1))
    bowl = np.maximum(before - 2 * at + after, 1e-9)
    part = np.clip(0.5 * (before - after) / bowl, -0.5, 0.5)
    angle = np.unwrap(STEP * (views + part), period=360.0)
    angle -= 360.0 * np.round(float(np.median(angle)) / 360.0)
    smooth = np.interp(time, centers, angle)
    result: np.ndarray = gaussian_filter1d(smooth, STILL * fps, mode="nearest")
    return result
