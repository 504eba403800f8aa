"""A random person who takes somebody's place in a picture: same view, phase and size, as silhouettes and in color."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from gaitkeeper.motion.tracing import compiled
from gaitkeeper.synthetic import painting, render
from gaitkeeper.synthetic.body import Body, draw_body
from gaitkeeper.synthetic.camera import Camera
from gaitkeeper.synthetic.clothing import Outfit, draw_outfit
from gaitkeeper.synthetic.figure import MATERIALS, Figure, dress
from gaitkeeper.synthetic.gait import Gait, draw_gait
from gaitkeeper.synthetic.kinematics import Walk
from gaitkeeper.synthetic.population import Population
from gaitkeeper.synthetic.scenery import GRAIN, linear
from gaitkeeper.synthetic.templates import treadmill

PEOPLE = Population(clothing=1.5)
"""How far substitutes differ from each other; their seed is never used. Clothes are less extreme than the walkers'."""

COATS = 0.2
"""Share of substitutes in a coat."""

DETAIL = 3
"""Silhouettes are filled at this multiple of their size and averaged."""

_ANGLES = (np.arange(32) + 0.5) * (2 * np.pi / 32)
_COMPASS = np.ascontiguousarray(np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1))
"""Twice the walkers' directions: heads are round at a camera's resolution too."""

_Array = np.ndarray
Color = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class Palette:
    """Colors as displayed, RGB 0 to 255 each.

    Args:
        hair: of the hair.
        skin: of face and hands.
        top: of shirt or coat.
        trousers: of the trousers.
        shoes: of the shoes.
    """

    hair: Color
    skin: Color
    top: Color
    trousers: Color
    shoes: Color

    def __post_init__(self) -> None:
        for name in (f.name for f in fields(self)):
            color = getattr(self, name)
            if len(color) != 3 or not all(0 <= value <= 255 for value in color):
                raise ValueError(f"palette: expected {name} as three numbers from 0 to 255, got {color}")


@dataclass(frozen=True, kw_only=True)
class Light:
    """The light a substitute is painted in.

    Args:
        toward: direction to the light: right, down and toward the camera.
        direct: strength of that light.
        ambient: strength of the light from everywhere. With the defaults a surface has about its own color on average.
    """

    toward: tuple[float, float, float] = (-0.35, -0.75, 0.55)
    direct: float = 0.9
    ambient: float = 0.9


@dataclass(frozen=True, kw_only=True)
class Substitute:
    """Somebody who does not exist.

    Args:
        body: segment lengths and thicknesses.
        gait: how they walk; the cadence is not theirs, it follows from the phases they are shown at.
        outfit: what they wear.
    """

    body: Body
    gait: Gait
    outfit: Outfit

    def figure(self, phase: np.ndarray) -> Figure:
        """Return the dressed body at phases ``(t,)`` of the left leg's cycle; it walks but does not come forward."""
        walk = Walk(self.body, self.gait, self.outfit.hem)
        figure = dress(walk.pose(phase), self.body, self.outfit)
        centres = np.ascontiguousarray(figure.centres - treadmill(walk, phase))
        return Figure(centres, figure.spreads, figure.parts, figure.materials)


@dataclass(frozen=True)
class View:
    """Cameras that see a substitute, one a frame.

    Attributes:
        cameras: ``(t, 4, 3)`` right, down, ahead and position.
        focals: ``(t,)`` pixels.
        shifts: ``(t, 2)`` column and row of the picture at which the cameras' middle is.
    """

    cameras: np.ndarray
    focals: np.ndarray
    shifts: np.ndarray


def draw_substitute(rng: np.random.Generator) -> Substitute:
    """Draw a person: body, gait and clothes, without bags."""
    body = draw_body(rng, PEOPLE.shape)
    gait = draw_gait(rng, rng, spread=PEOPLE.dynamics, session=PEOPLE.session)
    outfit = draw_outfit(rng, "cl" if rng.random() < COATS else "nm", PEOPLE.clothing)
    return Substitute(body=body, gait=gait, outfit=outfit)


def draw_palette(rng: np.random.Generator) -> Palette:
    """Draw usual colors of a person and their clothes."""
    tan, bright = rng.random(), rng.uniform(0.15, 0.85)
    hairs = ((24, 20, 20), (56, 36, 26), (97, 64, 38), (168, 133, 84), (140, 138, 135))
    legs = ((33, 38, 61), (56, 77, 115), (31, 31, 31), (107, 102, 97), (148, 128, 97))
    shoes = ((20, 18, 18), (77, 46, 28), (209, 209, 204))
    hue = 2 * np.pi * rng.random() + np.array([0.0, 2.1, 4.2])
    saturation = rng.uniform(0.0, 0.35) if rng.random() < 0.75 else rng.uniform(0.4, 0.7)
    top = np.clip(bright * (1 + saturation * np.cos(hue)), 0.05, 0.92)
    skin = np.array([0.93, 0.75, 0.64]) - tan * np.array([0.52, 0.50, 0.48])
    return Palette(
        hair=hairs[int(rng.choice(5, p=[0.35, 0.25, 0.18, 0.12, 0.10]))],
        skin=_bytes(skin),
        top=_bytes(top),
        trousers=legs[int(rng.integers(5))],
        shoes=shoes[int(rng.integers(3))],
    )


def _bytes(color: np.ndarray) -> Color:
    red, green, blue = np.rint(255 * color).astype(int).tolist()
    return red, green, blue


def extents(figure: Figure, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return first row, last row and middle column of a figure before the usual camera, each ``(t,)`` pixels.

    Args:
        figure: see ``Substitute.figure``.
        direction: ``(t,)`` degrees, the view of each frame, negative from the walker's right.
    """
    cameras = _cameras(direction)
    out = np.empty((len(direction), 3))
    _extents(figure.centres, figure.spreads, figure.parts, cameras, Camera.focal, _COMPASS, out)
    return out[:, 0], out[:, 1], out[:, 2]


def view(direction: np.ndarray, zoom: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> View:
    """Return the cameras of a clip.

    Args:
        direction: ``(t,)`` degrees, as in ``extents``.
        zoom: ``(t,)`` by how much the picture is larger than the one that ``extents`` measures.
        rows: ``(t,)`` row of the picture at which that picture's row 0 is.
        columns: ``(t,)`` likewise.
    """
    return View(_cameras(direction), Camera.focal * zoom, np.stack([columns, rows], axis=1))


def draw_silhouettes(figure: Figure, seen: View, shape: tuple[int, int]) -> np.ndarray:
    """Return a figure's silhouettes, ``(t, *shape)`` uint8 with grey edges."""
    out = np.empty((len(seen.focals), *shape), np.uint8)
    scene = figure.centres, figure.spreads, figure.parts, seen.cameras, seen.focals, seen.shifts
    _silhouettes(*scene, _COMPASS, out)
    return out


def draw_colors(
    figure: Figure,
    seen: View,
    shape: tuple[int, int],
    palette: Palette,
    light: Light,
    rng: np.random.Generator,
) -> np.ndarray:
    """Paint a figure.

    Args:
        figure: see ``Substitute.figure``.
        seen: the cameras.
        shape: rows and columns.
        palette: the colors.
        light: what falls on them.
        rng: of the folds of the clothes.

    Returns:
        ``(t, *shape, 3)`` uint8 RGB, black where the person is not. Colors reach a pixel beyond the silhouettes', so
        that half-covered pixels have theirs.
    """
    colors = {f.name: linear(np.array(getattr(palette, f.name)) / 255) for f in fields(palette)}
    colors["bag"] = colors["shoes"]
    folds = {"top": 0.35, "trousers": 0.3, "hair": 0.3}
    layers = {"top": 1, "bag": 1, "hair": 2}
    # Trousers that reach the waist are under the shirt.
    heights = figure.centres[0, :, 1]
    worn = figure.materials.copy()
    waist = heights[figure.parts].max(axis=1) > heights[0] + 0.03
    worn[waist & (worn == MATERIALS.index("trousers"))] = MATERIALS.index("top")
    names = [MATERIALS[i] for i in worn]
    albedo = np.array([colors[name] for name in names])
    surfaces = albedo, np.array([folds.get(n, 0.0) for n in names]), np.array([layers.get(n, 0) for n in names])
    toward = np.array(light.toward) / np.linalg.norm(light.toward)
    strengths = np.array([[light.direct] * 3, [light.ambient] * 3])
    table = np.rint(255 * np.linspace(0, 1, painting.LEVELS) ** (1 / 2.2)).astype(np.uint8)
    out = np.empty((len(seen.focals), *shape, 3), np.uint8)
    scene = figure.centres, figure.spreads, figure.parts, seen.cameras, seen.focals, seen.shifts
    _colors(*scene, _COMPASS, *surfaces, toward, strengths, rng.random((GRAIN, GRAIN)), table, out)
    return out


def _cameras(direction: np.ndarray) -> np.ndarray:
    return np.stack([Camera(view=float(angle)).matrix for angle in direction])


@compiled
def _extents(
    centres: _Array, spreads: _Array, parts: _Array, cameras: _Array, focal: float, compass: _Array, out: _Array
) -> None:
    """Fill ``out`` ``(t, 3)`` with first row, last row and middle column."""
    count = centres.shape[1]
    ellipses, points = np.empty((count, 6)), np.empty((count, compass.shape[0], 3))
    for t in range(centres.shape[0]):
        render.project(centres[t], spreads[t], cameras[t], focal, ellipses)
        render.supports(ellipses, compass, points)
        out[t, 0], out[t, 1], _, _ = render.extent(points, parts)
        # About where half of the silhouette is: ellipsoids weighted by their areas.
        mass = 0.0
        moment = 0.0
        for i in range(count):
            area = np.sqrt(max(ellipses[i, 2] * ellipses[i, 4] - ellipses[i, 3] ** 2, 0.0))
            mass += area
            moment += area * ellipses[i, 0]
        out[t, 2] = moment / mass


@compiled
def _outline(
    centres: _Array,
    spreads: _Array,
    camera: _Array,
    focal: float,
    column: float,
    row: float,
    compass: _Array,
    ellipses: _Array,
    points: _Array,
) -> None:
    """Project one frame and move it to its place in the picture."""
    render.project(centres, spreads, camera, focal, ellipses)
    ellipses[:, 0] += column
    ellipses[:, 1] += row
    render.supports(ellipses, compass, points)


@compiled
def _silhouettes(
    centres: _Array,
    spreads: _Array,
    parts: _Array,
    cameras: _Array,
    focals: _Array,
    shifts: _Array,
    compass: _Array,
    out: _Array,
) -> None:
    """Fill ``out``, ``(t, rows, columns)`` uint8."""
    rows, columns = out.shape[1:]
    count = centres.shape[1]
    ellipses, points = np.empty((count, 6)), np.empty((count, compass.shape[0], 3))
    canvas = np.zeros((DETAIL * rows, DETAIL * columns), np.uint8)
    lefts, rights = np.empty(DETAIL * rows), np.empty(DETAIL * rows)
    for t in range(out.shape[0]):
        column, row = DETAIL * shifts[t, 0], DETAIL * shifts[t, 1]
        _outline(centres[t], spreads[t], cameras[t], DETAIL * focals[t], column, row, compass, ellipses, points)
        north, south, west, east = render.extent(points, parts)
        top = min(max(int(north / DETAIL) - 1, 0), rows)
        bottom = min(max(int(south / DETAIL) + 2, top), rows)
        left = min(max(int(west / DETAIL) - 1, 0), columns)
        right = min(max(int(east / DETAIL) + 2, left), columns)
        canvas[DETAIL * top : DETAIL * bottom, DETAIL * left : DETAIL * right] = 0
        for p in range(parts.shape[0]):
            one, other = points[parts[p, 0]], points[parts[p, 1]]
            render.fill(one, other, 1.0, 0.0, 0.0, np.uint8(1), canvas, lefts, rights)
        out[t] = 0
        for r in range(top, bottom):
            for c in range(left, right):
                inside = 0
                for i in range(DETAIL):
                    for j in range(DETAIL):
                        inside += canvas[DETAIL * r + i, DETAIL * c + j]
                out[t, r, c] = np.uint8((255 * inside + DETAIL * DETAIL // 2) // (DETAIL * DETAIL))


@compiled
def _colors(
    centres: _Array,
    spreads: _Array,
    parts: _Array,
    cameras: _Array,
    focals: _Array,
    shifts: _Array,
    compass: _Array,
    albedo: _Array,
    folds: _Array,
    layers: _Array,
    toward: _Array,
    strengths: _Array,
    grain: _Array,
    table: _Array,
    out: _Array,
) -> None:
    """Fill ``out``, ``(t, rows, columns, 3)`` uint8."""
    frames, rows, columns = out.shape[:3]
    count = centres.shape[1]
    samples = painting.SAMPLES
    ellipses, points, bulges = np.empty((count, 6)), np.empty((count, compass.shape[0], 3)), np.empty(count)
    stamp = np.zeros((samples * rows, samples * columns), np.uint8)
    nearest, color = np.empty(stamp.shape), np.empty((samples * rows, samples * columns, 3))
    lefts, rights = np.empty(samples * rows), np.empty(samples * rows)
    layer, mask = np.empty((rows, columns, 4)), np.empty((rows, columns), np.uint8)
    light = np.empty((5, 3))
    light[0] = toward
    light[3:] = strengths
    for t in range(frames):
        camera = cameras[t]
        # The painter counts from the middle of the picture.
        column, row = samples * (shifts[t, 0] - columns / 2), samples * (shifts[t, 1] - rows / 2)
        _outline(centres[t], spreads[t], camera, samples * focals[t], column, row, compass, ellipses, points)
        for i in range(3):
            sign = -1.0 if i == 2 else 1.0
            light[1, i] = sign * camera[i, 1]
            light[2, i] = sign * camera[i, 0]
        x, y, z = camera[2]
        for i in range(count):
            xx, xy, xz, yy, yz, zz = spreads[t, i]
            bulges[i] = np.sqrt(xx * x * x + 2 * xy * x * y + 2 * xz * x * z + yy * y * y + 2 * yz * y * z + zz * z * z)
        scene = ellipses, points, bulges, parts, albedo, folds, layers, light, grain
        box = painting.paint(*scene, stamp, nearest, color, lefts, rights)
        painting.reduce(nearest, color, box, layer, mask)
        out[t] = 0
        for r in range(box[0] // samples, box[1] // samples):
            for c in range(box[2] // samples, box[3] // samples):
                covered = layer[r, c, 3]
                if covered > 0:
                    for k in range(3):
                        value = min(layer[r, c, k] / covered, 1.0)
                        out[t, r, c, k] = table[int(value * (painting.LEVELS - 1) + 0.5)]
