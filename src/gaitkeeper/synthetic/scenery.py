"""Places in which walkers are filmed: a room or a yard of boxes and textured planes, seen by ray casting."""

from dataclasses import dataclass

import numpy as np

from gaitkeeper.synthetic.raycast import cast

GRAIN = 256
"""Rows and columns of the table that textures are made of."""


@dataclass(frozen=True)
class Scenery:
    """A place: floor, walls, a ceiling or none, things along the walls, and its light.

    Attributes:
        room: half length along the walk, z of the wall to the walker's right, z of that to the left, height.
        boxes: ``(n, 6)`` metres, lowest and highest x, y, z.
        surfaces: ``(3 + n, 12)``: floor, walls, ceiling, boxes; see ``_surface``.
        grain: ``(GRAIN, GRAIN)`` in [0, 1), periodic.
        toward: ``(3,)`` unit vector toward the light.
        direct: ``(3,)`` strength of that light, linear RGB.
        ambient: ``(3,)`` strength of the light from everywhere.
        softness: width of a shadow's edge as a share of the distance to what casts it.
    """

    room: np.ndarray
    boxes: np.ndarray
    surfaces: np.ndarray
    grain: np.ndarray
    toward: np.ndarray
    direct: np.ndarray
    ambient: np.ndarray
    softness: float

    @property
    def wall(self) -> np.ndarray:
        """Color of the walls, ``(3,)`` linear RGB."""
        return self.surfaces[1, :3]


@dataclass(frozen=True)
class Prospect:
    """A place without people as one camera sees it; all ``(rows, columns, 3)`` float32.

    Attributes:
        ambient: light that a person's shadow leaves, linear RGB.
        direct: light that it takes away.
        points: where in the world each pixel is, metres.
    """

    ambient: np.ndarray
    direct: np.ndarray
    points: np.ndarray


def linear(color: np.ndarray | tuple[float, ...]) -> np.ndarray:
    """Return linear light of colors as displayed, both in [0, 1]."""
    return np.asarray(color, dtype=float) ** 2.2


def _surface(
    color: np.ndarray,
    *,
    cell: tuple[float, float] = (0.0, 0.0),
    stagger: float = 0.0,
    joint: float = 0.0,
    shade: float = 1.0,
    vary: float = 0.0,
    cloud: tuple[float, float] = (0.08, 0.7),
    speck: float = 0.05,
) -> list[float]:
    """Return a row of the surface table.

    Args:
        color: linear RGB.
        cell: width and height of tiles or bricks in metres; 0 for none.
        stagger: shift of every other row of cells, in cells.
        joint: width of the joints in metres.
        shade: how bright joints are beside the cells.
        vary: how far cells differ in brightness.
        cloud: strength and size (metres) of large stains.
        speck: strength of fine grain.
    """
    return [*color, *cell, stagger, joint, shade, vary, *cloud, speck]


def _tint(rng: np.random.Generator, value: tuple[float, float], saturation: float) -> np.ndarray:
    """Draw a linear color by its displayed brightness and the most by which its channels differ."""
    level = rng.uniform(*value)
    hue = 2 * np.pi * rng.random() + np.array([0.0, 2.1, 4.2])
    return linear(np.clip(level * (1 + saturation * rng.uniform(0.3, 1.0) * np.cos(hue)), 0.02, 0.97))


def _plain(rng: np.random.Generator, value: tuple[float, float], warmth: tuple[float, float]) -> np.ndarray:
    """Draw the linear color of something built: grey to sand and brown, seldom bluish, for warmth in [-1, 1]."""
    warm, green = rng.uniform(*warmth), rng.uniform(-0.03, 0.03)
    return linear(np.clip(rng.uniform(*value) * np.array([1 + warm, 1 + green, 1 - 1.3 * warm]), 0.02, 0.97))


class _Furnisher:
    """Puts boxes along the walls."""

    def __init__(self, room: np.ndarray) -> None:
        self.room = room
        self.boxes: list[list[float]] = []
        self.surfaces: list[list[float]] = []

    def put(
        self,
        wall: str,
        along: float,
        width: float,
        rows: tuple[float, float],
        depth: tuple[float, float],
        surface: list[float],
    ) -> None:
        """Add a box: where along the wall and how wide, from and up to which height and distance from the wall."""
        length, right, _, _ = self.room
        low, high = along - width / 2, along + width / 2
        if wall == "side":
            self.boxes.append([low, high, *rows, right - depth[1], right - depth[0]])
        elif wall == "front":
            self.boxes.append([length - depth[1], length - depth[0], *rows, low, high])
        else:
            self.boxes.append([depth[0] - length, depth[1] - length, *rows, low, high])
        self.surfaces.append(surface)


def _furnish(rng: np.random.Generator, add: _Furnisher, wall: str, span: tuple[float, float], indoors: bool) -> None:
    """Fill a wall from left to right: doors, windows or pictures, and things that stand before it."""
    at = span[0] + rng.uniform(0.3, 1.2)
    while at < span[1] - 0.8:
        kind = rng.choice(["door", "window", "stand", "low", "none"], p=[0.15, 0.3, 0.15, 0.2, 0.2])
        if kind == "door":
            leaf = _surface(_plain(rng, (0.3, 0.75), (-0.1, 0.25)), cloud=(0.05, 0.3))
            frame = _surface(_plain(rng, (0.4, 0.85), (0.0, 0.1)))
            add.put(wall, at, 1.04, (0.0, 2.12), (0.0, 0.05), frame)
            add.put(wall, at, 0.90, (0.02, 2.05), (0.0, 0.06), leaf)
        elif kind == "window":
            width, height = (rng.uniform(0.4, 1.0), rng.uniform(0.4, 0.8)) if indoors else (1.0, 1.3)
            low = rng.uniform(1.1, 1.6) if indoors else 1.0
            frame = _surface(_tint(rng, (0.3, 0.9), 0.1))
            value = (0.2, 0.8) if indoors else (0.12, 0.3)
            pane = _surface(_tint(rng, value, 0.35 if indoors else 0.12), cloud=(0.6, 0.25), speck=0.1)
            add.put(wall, at, width, (low, low + height), (0.0, 0.03), frame)
            add.put(wall, at, width - 0.12, (low + 0.06, low + height - 0.06), (0.0, 0.04), pane)
        elif kind == "stand":
            tall, deep = rng.uniform(1.0, 1.9), rng.uniform(0.3, 0.5)
            body = _surface(_plain(rng, (0.3, 0.8), (-0.12, 0.25)), cell=(0.5, 0.5), joint=0.012, shade=0.5)
            add.put(wall, at, rng.uniform(0.5, 1.0), (0.0, tall), (0.0, deep), body)
        elif kind == "low":
            deep, wide = rng.uniform(0.35, 0.5), rng.uniform(0.7, 1.5)
            body = _surface(_tint(rng, (0.25, 0.7), 0.18), cloud=(0.15, 0.3))
            top = rng.uniform(0.4, 0.5)
            add.put(wall, at, wide, (0.0, top), (0.05, deep), body)
            if rng.random() < 0.5:
                green = _surface(linear((0.2, rng.uniform(0.3, 0.45), 0.15)), cloud=(1.4, 0.12), speck=0.7)
                add.put(wall, at, 0.8 * wide, (top, top + rng.uniform(0.2, 0.6)), (0.1, deep - 0.05), green)
        at += rng.uniform(1.2, 2.2)


def draw_scenery(rng: np.random.Generator, length: float) -> Scenery:
    """Draw a place.

    Args:
        rng: the stream of this place.
        length: least half length of its floor along the walk, metres.
    """
    indoors = bool(rng.random() < 0.5)
    half, right, left = max(rng.uniform(7.0, 10.0), length), rng.uniform(1.7, 3.2), -rng.uniform(4.0, 7.0)
    room = np.array([half, right, left, rng.uniform(2.8, 3.6) if indoors else 1e6])
    # Nobody lays planks in a yard.
    ground, face = int(rng.choice([0, 1, 2] if indoors else [0, 2])), int(rng.integers(3))
    floor_color = _plain(rng, (0.36, 0.64), ((-0.03, 0.10), (0.10, 0.28), (-0.08, 0.12))[ground])
    wall_color = _plain(rng, (0.55, 0.82), ((-0.06, 0.10), (0.0, 0.22), (-0.03, 0.06))[face])
    tile = rng.uniform(0.3, 0.6)
    plank = (rng.uniform(0.9, 1.5), rng.uniform(0.10, 0.18))
    floor = (
        _surface(floor_color, cell=(tile, tile), joint=0.012, shade=0.6, vary=0.12),
        _surface(floor_color, cell=plank, stagger=0.37, joint=0.006, shade=0.55, vary=0.25),
        _surface(floor_color, cloud=(0.3, 0.9), speck=0.25),
    )[ground]
    wall = (
        _surface(wall_color, cloud=(0.12, 1.1), speck=0.06),
        _surface(wall_color, cell=(0.25, 0.08), stagger=0.5, joint=0.012, shade=1.25, vary=0.35, speck=0.15),
        _surface(wall_color, cell=(1.25, 1.4), joint=0.02, shade=0.55, vary=0.08, cloud=(0.15, 0.5)),
    )[face]
    add = _Furnisher(room)
    base = _surface(_plain(rng, (0.25, 0.6), (-0.05, 0.1)))
    rise = rng.uniform(0.06, 0.12) if indoors else rng.uniform(0.15, 0.4)
    add.put("side", 0.0, 2 * half, (0.0, rise), (0.0, 0.02), base)
    for end in ("front", "back"):
        add.put(end, (left + right) / 2, right - left, (0.0, rise), (0.0, 0.02), base)
        _furnish(rng, add, end, (left + 0.5, right - 0.5), indoors)
    # Only what any camera of a usual clip can see is worth its rays.
    reach = min(half - 0.5, 7.0)
    _furnish(rng, add, "side", (-reach, reach), indoors)
    # The light comes from the open side, or the wall would keep it off.
    rise = np.deg2rad(rng.uniform(55, 75) if indoors else rng.uniform(38, 62))
    around = np.deg2rad(rng.uniform(25, 78)) * rng.choice([-1, 1])
    toward = np.array([np.cos(rise) * np.sin(around), np.sin(rise), -np.cos(rise) * np.cos(around)])
    share = rng.uniform(0.35, 0.5) if indoors else rng.uniform(0.55, 0.72)
    warm = rng.uniform(0.0, 0.08)
    return Scenery(
        room=room,
        boxes=np.array(add.boxes),
        surfaces=np.array([floor, wall, _surface(linear((0.85, 0.85, 0.84))), *add.surfaces]),
        grain=rng.random((GRAIN, GRAIN)),
        toward=toward,
        direct=share * 1.3 * np.array([1 + warm, 1.0, 1 - warm]),
        ambient=(1 - share) * np.array([1 - warm, 1.0, 1 + warm]),
        softness=rng.uniform(0.06, 0.10) if indoors else rng.uniform(0.015, 0.03),
    )


def look(scenery: Scenery, camera: np.ndarray, focal: float, rows: int, columns: int) -> Prospect:
    """See a place through a camera.

    Args:
        scenery: the place.
        camera: ``(4, 3)``: right, down, ahead, position. It sees through walls that it is behind.
        focal: pixels.
        rows: height of the picture.
        columns: its width.
    """
    out = np.zeros((3, rows, columns, 3), np.float32)
    # What stands at the wall behind the camera, or between the two, is not in its way.
    ends = (scenery.boxes[:, 0] + scenery.boxes[:, 1]) / 2 * np.sign(camera[3, 0])
    hidden = (ends > scenery.room[0] - 1) & (abs(camera[3, 0]) > scenery.room[0] - 2.0)
    boxes = scenery.boxes[~hidden]
    surfaces = np.concatenate([scenery.surfaces[:3], scenery.surfaces[3:][~hidden]])
    light = np.stack([scenery.toward, scenery.direct, scenery.ambient])
    cast(camera, focal, scenery.room, boxes, surfaces, scenery.grain, light, out)
    return Prospect(*out)
