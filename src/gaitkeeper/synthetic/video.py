"""Color video of walkers: a static place, light, shadows and a sensor, with the true masks."""

from dataclasses import dataclass
from itertools import product

import numpy as np

from gaitkeeper.errors import DataError
from gaitkeeper.seeding import stream
from gaitkeeper.synthetic import painting, render
from gaitkeeper.synthetic.camera import COLUMNS, INDOORS, ROWS, Camera
from gaitkeeper.synthetic.figure import MATERIALS, Figure
from gaitkeeper.synthetic.population import FPS, VIEWS
from gaitkeeper.synthetic.scenery import Scenery, draw_scenery, linear, look
from gaitkeeper.synthetic.walkers import Walkers

_FASTEST = 1.75
"""Metres a second that even the fastest walker does not exceed."""

_DEVIATES = 2**17

_LAYERS = {"top": 1, "bag": 1, "hair": 2}


@dataclass(frozen=True)
class Footage:
    """What a camera recorded of one walk.

    Attributes:
        frames: ``(t, rows, columns, 3)`` uint8 RGB.
        masks: ``(t, rows, columns)`` uint8, 255 where at least half of a pixel shows the person, else 0.
        fps: frames a second.
        background: ``(rows, columns, 3)`` uint8, the empty place in its usual light, without noise.
    """

    frames: np.ndarray
    masks: np.ndarray
    fps: float
    background: np.ndarray


@dataclass(frozen=True)
class _Sensor:
    """Exposure over time and noise of one recording; see ``painting.expose``."""

    gains: np.ndarray
    vignette: float
    noise: np.ndarray
    starts: np.ndarray
    strength: np.ndarray
    table: np.ndarray


def video(
    walkers: Walkers,
    subject: int,
    condition: str,
    view: int,
    *,
    frames: int = 60,
    rows: int = ROWS,
    columns: int = COLUMNS,
) -> Footage:
    """Film one walk: the walker crosses the picture of a static camera and is whole in every frame.

    The place, its light and the clothes' colors belong to the walk and are the same in all views. One walk in
    three is in clothes of about the background's color.

    Args:
        walkers: the population.
        subject: 1 to 124.
        condition: one of ``population.CONDITIONS``.
        view: camera angle out of ``population.VIEWS``.
        frames: length, at 30 frames a second; for longer walks the camera stands farther away.
        rows: height of the picture.
        columns: its width.

    Raises:
        DataError: there is no such subject, condition or view, no frame is asked for, or the picture's size is
            out of bounds.
    """
    if walkers.recording is not INDOORS:
        raise DataError("color video is filmed as CASIA-B films people; these walkers are recorded otherwise")
    if view not in VIEWS:
        raise DataError(f"unknown view {view}: expected one of {', '.join(map(str, VIEWS))}")
    if not (48 <= rows <= 4320 and 48 <= columns <= 7680):
        raise DataError(f"expected a picture of 48 x 48 to 4320 x 7680 pixels, got {rows} x {columns}")
    figure = walkers.figure(subject, condition, frames=frames)
    walk = (int(subject), str(condition))
    seed = int(walkers.population.seed)
    # Who is drawn from a usual population stays within these; the camera then does not depend on the person.
    reach = max(0.5 * _FASTEST * frames / FPS + 0.55, float(np.abs(figure.centres[..., 0]).max()) + 0.15)
    tall = max(2.02, float(figure.centres[..., 1].max()) + 0.15)
    scenery = draw_scenery(stream(seed, "scenery", *walk), reach + 1.0)
    albedo, folds = _materials(seed, *walk, scenery)
    focal = Camera(view=view).focal * min(rows / ROWS, columns / COLUMNS)
    camera = _stand(view, reach, tall, focal, rows, columns)
    prospect = look(scenery, camera, focal, rows, columns)
    scene = prospect.ambient + prospect.direct
    # The camera's automatic exposure: a scene of medium brightness on average, without burnt-out walls.
    exposure = min(0.25 / float(scene.mean()), 0.85 / float(np.percentile(scene, 99)))
    sensor = _sensor(stream(seed, "sensor", *walk, int(view)), frames, rows, exposure)
    out = np.empty((frames, rows, columns, 3), np.uint8)
    masks = np.empty((frames, rows, columns), np.uint8)
    light = np.stack([scenery.toward, [0.0, 1.0, 0.0], [1.0, 0.0, 0.0], scenery.direct, scenery.ambient])
    # From the world to right, down and toward the camera.
    light[:3] = light[:3] @ (camera[:3] * np.array([[1.0], [1.0], [-1.0]])).T
    worn = _worn(figure)
    person = figure, worn, albedo[worn], folds[worn]
    place = prospect.ambient, prospect.direct, prospect.points
    _film(person, camera, focal, light, scenery, place, sensor, out, masks)
    background = np.empty_like(out[0])
    gain = np.full(3, exposure)
    _develop(place, np.zeros((rows, columns, 4)), sensor, gain, background)
    return Footage(out, masks, FPS, background)


def _stand(view: int, reach: float, tall: float, focal: float, rows: int, columns: int) -> np.ndarray:
    """Return the nearest camera in that direction that sees all of a walk that far and of people that tall."""
    corners = np.array(list(product((-reach, reach), (0.0, tall), (-0.4, 0.4))))
    distance = 6.5
    while True:
        matrix = Camera(view=view, distance=distance).matrix
        right, down, ahead = matrix[:3] @ (corners - matrix[3]).T
        if ahead.min() > 1:
            across, along = np.abs(focal * right / ahead).max(), np.abs(focal * down / ahead).max()
            if across < 0.49 * columns and along < 0.48 * rows:
                return matrix
        distance += 0.1


def _materials(seed: int, subject: int, condition: str, scenery: Scenery) -> tuple[np.ndarray, np.ndarray]:
    """Return each material's color, ``(materials, 3)`` linear RGB, and how strongly it folds."""
    own, worn = stream(seed, "complexion", subject), stream(seed, "colors", subject, condition)
    tan = own.random()
    skin = linear((0.93 - 0.52 * tan, 0.75 - 0.50 * tan, 0.64 - 0.48 * tan))
    hairs = [(0.09, 0.08, 0.08), (0.22, 0.14, 0.10), (0.38, 0.25, 0.15), (0.66, 0.52, 0.33), (0.55, 0.54, 0.53)]
    hair = linear(hairs[int(own.choice(5, p=[0.35, 0.25, 0.18, 0.12, 0.10]))])
    hue = 2 * np.pi * worn.random() + np.array([0.0, 2.1, 4.2])
    saturation = worn.uniform(0.0, 0.45) if worn.random() < 0.7 else worn.uniform(0.5, 0.9)
    top = linear(np.clip(worn.uniform(0.15, 0.85) * (1 + saturation * np.cos(hue)), 0.05, 0.92))
    legs = [(0.13, 0.15, 0.24), (0.22, 0.30, 0.45), (0.12, 0.12, 0.12), (0.42, 0.40, 0.38), (0.58, 0.50, 0.38)]
    trousers = linear(legs[int(worn.integers(5))]) * worn.uniform(0.7, 1.3)
    shoes = linear([(0.08, 0.07, 0.07), (0.30, 0.18, 0.11), (0.82, 0.82, 0.80)][int(worn.integers(3))])
    bag = linear(np.clip(worn.uniform(0.1, 0.7) * (1 + 0.5 * np.cos(hue + 2.0)), 0.04, 0.9))
    # Clothes of about the background's color are what background subtraction stumbles over.
    hidden, near = worn.random(), worn.uniform(0.85, 1.12, 3)
    if hidden < 0.22:
        top = scenery.wall * near
    elif hidden < 0.34:
        trousers = scenery.wall * near
    colors = {"skin": skin, "hair": hair, "top": top, "trousers": trousers, "shoes": shoes, "bag": bag}
    folds = {"top": 0.35, "trousers": 0.3, "hair": 0.3}
    return np.array([colors[m] for m in MATERIALS]), np.array([folds.get(m, 0.0) for m in MATERIALS])


def _worn(figure: Figure) -> np.ndarray:
    """Return each part's material as it is seen: trousers that reach the waist are under the shirt."""
    heights = figure.centres[0, :, 1]
    waist = heights[figure.parts].max(axis=1) > heights[0] + 0.03
    worn = figure.materials.copy()
    worn[waist & (worn == MATERIALS.index("trousers"))] = MATERIALS.index("top")
    return worn


def _sensor(rng: np.random.Generator, frames: int, rows: int, exposure: float) -> _Sensor:
    """Draw a camera's noise and how its exposure and the light change."""
    time = (np.arange(frames) - (frames - 1) / 2) / FPS
    phase = 2 * np.pi * rng.random(3)
    drift = rng.uniform(0.008, 0.02) * np.sin(2 * np.pi * time / rng.uniform(2.5, 6.0) + phase[0])
    trend = rng.uniform(-0.008, 0.008) * time
    tint = 0.006 * np.sin(2 * np.pi * time[:, None] / rng.uniform(4.0, 8.0) + phase)
    jump = rng.choice([-1, 1]) * rng.uniform(0.015, 0.045) * (np.arange(frames) >= frames * rng.uniform(0.15, 0.85))
    flicker = 0.003 * rng.standard_normal(frames)
    gains = exposure * np.exp((drift + trend + jump + flicker)[:, None] + tint)
    strength = np.array([rng.uniform(0.5, 1.5) * 6e-6, rng.uniform(0.3, 1.2) * 5e-4])
    vignette = rng.uniform(0.05, 0.2)
    levels = np.arange(painting.LEVELS) / (painting.LEVELS - 1)
    table = np.rint(255 * levels ** (1 / 2.2)).astype(np.uint8)
    noise = rng.standard_normal(_DEVIATES)
    return _Sensor(gains, vignette, noise, rng.integers(0, _DEVIATES, (frames, rows)), strength, table)


def _film(
    person: tuple[Figure, np.ndarray, np.ndarray, np.ndarray],
    camera: np.ndarray,
    focal: float,
    light: np.ndarray,
    scenery: Scenery,
    place: tuple[np.ndarray, np.ndarray, np.ndarray],
    sensor: _Sensor,
    out: np.ndarray,
    masks: np.ndarray,
) -> None:
    """Record all frames into ``out`` and what is true of them into ``masks``."""
    figure, worn, albedo, folds = person
    layers = np.array([_LAYERS.get(m, 0) for m in MATERIALS])[worn]
    frames, rows, columns = masks.shape
    samples, size = painting.SAMPLES, painting.SHADE
    count = figure.centres.shape[1]
    ellipses, points = np.empty((count, 6)), np.empty((count, render.DIRECTIONS, 3))
    stamp = np.empty((samples * rows, samples * columns), np.uint8)
    nearest, color = np.empty(stamp.shape), np.empty((*stamp.shape, 3))
    longest = max(samples * rows, size)
    lefts, rights = np.empty(longest), np.empty(longest)
    layer = np.empty((rows, columns, 4))
    shadow, scratch = np.empty((size, size), np.uint8), np.empty((size, size))
    crisp, soft, contact = (np.empty((size, size)) for _ in range(3))
    axes = _light_axes(scenery.toward)
    full = np.full(len(figure.parts), 255)
    # The wider the light, the sooner a shadow is soft; at two metres its edge is this wide.
    radius = max(1, round(scenery.softness * 2.0 / painting.SHADE_SIZE / 2))
    for t in range(frames):
        centres, spreads = figure.centres[t], figure.spreads[t]
        origin = centres[0]
        render.project(centres, spreads, camera, samples * focal, ellipses)
        render.supports(ellipses, render.COMPASS, points)
        bulges = _reach(spreads, camera[2])
        scene = ellipses, points, bulges, figure.parts, albedo, folds, layers, light, scenery.grain
        box = painting.paint(*scene, stamp, nearest, color, lefts, rights)
        painting.reduce(nearest, color, box, layer, masks[t])
        painting.flatten(centres, spreads, axes[0], axes[1], origin, ellipses)
        render.supports(ellipses, render.COMPASS, points)
        painting.shade(points, figure.parts, full, shadow, lefts, rights)
        painting.soften(shadow, 1, scratch, crisp)
        painting.soften(shadow, radius, scratch, soft)
        painting.flatten(centres, spreads, np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.0, 1.0]), origin, ellipses)
        render.supports(ellipses, render.COMPASS, points)
        # Feet on the floor take most of the sky from it, and the body above them a little.
        heights = centres[figure.parts, 1].mean(axis=1)
        order = np.argsort(-heights)
        values = (255 * np.maximum(0.75 * np.exp(-((heights / 0.11) ** 2)), 0.15)).astype(np.int64)
        painting.shade(points, figure.parts[order], values[order], shadow, lefts, rights)
        painting.soften(shadow, 3, scratch, contact)
        maps = axes, origin, crisp, soft, contact, 1.6
        record = sensor.gains[t], sensor.vignette, sensor.noise, sensor.starts[t], sensor.strength, sensor.table
        painting.expose(*place, *maps, layer, *record, out[t])


def _develop(
    place: tuple[np.ndarray, np.ndarray, np.ndarray],
    layer: np.ndarray,
    sensor: _Sensor,
    gain: np.ndarray,
    out: np.ndarray,
) -> None:
    """Record the empty place without noise."""
    none = np.zeros((painting.SHADE, painting.SHADE))
    maps = np.eye(3), np.zeros(3), none, none, none, 1.0
    starts = np.zeros(len(out), np.int64)
    painting.expose(*place, *maps, layer, gain, sensor.vignette, sensor.noise, starts, np.zeros(2), sensor.table, out)


def _light_axes(toward: np.ndarray) -> np.ndarray:
    """Return two axes across the light and the way that it goes, ``(3, 3)``."""
    across = np.cross(toward, np.array([0.0, 1.0, 0.0]))
    across /= np.linalg.norm(across)
    return np.stack([across, np.cross(across, toward), -toward])


def _reach(spreads: np.ndarray, way: np.ndarray) -> np.ndarray:
    """Return how far ellipsoids reach along a direction, ``(n,)`` metres."""
    x, y, z = way
    weights = np.array([x * x, 2 * x * y, 2 * x * z, y * y, 2 * y * z, z * z])
    reach: np.ndarray = np.sqrt(spreads @ weights)
    return reach
