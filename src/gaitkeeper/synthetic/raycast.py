"""Compiled ray casting of a textured place of boxes and planes."""

import numpy as np

from gaitkeeper.motion.tracing import compiled

_Array = np.ndarray

_SAMPLES = 2
"""Rays an axis of a pixel."""

_THIN = 0.1
"""Boxes standing off less than this cast no shadow."""


@compiled
def grained(grain: _Array, x: float, y: float) -> float:
    """Return smooth noise in [0, 1) at a place; it has no detail below a unit and repeats after ``GRAIN``."""
    left = np.floor(x)
    top = np.floor(y)
    u = x - left
    v = y - top
    u = u * u * (3 - 2 * u)
    v = v * v * (3 - 2 * v)
    mask = grain.shape[0] - 1
    i = int(top) & mask
    j = int(left) & mask
    k = (i + 1) & mask
    m = (j + 1) & mask
    above = grain[i, j] + u * (grain[i, m] - grain[i, j])
    return above + v * (grain[k, j] + u * (grain[k, m] - grain[k, j]) - above)


@compiled
def _texture(surface: _Array, grain: _Array, x: float, y: float, key: int) -> float:
    """Return the brightness of a surface at a place, about 1."""
    _, _, _, width, height, stagger, joint, shade, vary, strength, size, speck = surface
    x += 3.7 * key
    value = 1 + speck * (grained(grain, 67 * x, 67 * y) - 0.5)
    weight = strength
    for _ in range(4):
        value += weight * (grained(grain, x / size, y / size) - 0.5)
        weight *= 0.6
        size *= 0.45
    if width > 0:
        row = np.floor(y / height)
        x += stagger * width * (row % 2)
        column = np.floor(x / width)
        value *= 1 + vary * (grain[int(row) & (grain.shape[0] - 1), int(column) & (grain.shape[0] - 1)] - 0.5)
        if x - column * width < joint or y - row * height < joint:
            value *= shade
    return max(value, 0.05)


@compiled
def _enter(box: _Array, x: float, y: float, z: float, dx: float, dy: float, dz: float) -> tuple[float, int]:
    """Return how far along a ray a box begins and by which axis it is entered; infinity if it is missed."""
    near = 0.0
    far = np.inf
    axis = -1
    for a in range(3):
        at, step = (x, dx) if a == 0 else (y, dy) if a == 1 else (z, dz)
        if abs(step) < 1e-12:
            if at < box[2 * a] or at > box[2 * a + 1]:
                return np.inf, -1
            continue
        one = (box[2 * a] - at) / step
        other = (box[2 * a + 1] - at) / step
        if one > other:
            one, other = other, one
        if one > near:
            near = one
            axis = a
        far = min(far, other)
    if near >= far or axis < 0:
        return np.inf, -1
    return near, axis


@compiled
def cast(
    camera: _Array,
    focal: float,
    room: _Array,
    boxes: _Array,
    surfaces: _Array,
    grain: _Array,
    light: _Array,
    out: _Array,
) -> None:
    """See a place through a camera, several rays a pixel.

    Args:
        camera: ``(4, 3)``: right, down, ahead, position.
        focal: pixels.
        room: see ``scenery.Scenery``; so are the next three.
        boxes: ``(n, 6)``.
        surfaces: ``(3 + n, 12)``.
        grain: periodic noise.
        light: ``(3, 3)``: direction to the light, strengths of direct and ambient light.
        out: ``(3, rows, columns, 3)``, zeros, filled with ambient light, direct light and world points.
    """
    rows, columns = out.shape[1:3]
    length, right, left, ceiling = room
    x, y, z = camera[3]
    toward = light[0]
    share = 1 / _SAMPLES**2
    count = boxes.shape[0]
    for r in range(_SAMPLES * rows):
        for c in range(_SAMPLES * columns):
            u = ((c + 0.5) / _SAMPLES - columns / 2) / focal
            v = ((r + 0.5) / _SAMPLES - rows / 2) / focal
            dx = camera[2, 0] + u * camera[0, 0] + v * camera[1, 0]
            dy = camera[2, 1] + u * camera[0, 1] + v * camera[1, 1]
            dz = camera[2, 2] + u * camera[0, 2] + v * camera[1, 2]
            near = 1e4
            axis = 1
            which = 2
            if dy != 0:
                reach = -y / dy if dy < 0 else (ceiling - y) / dy
                if reach < near:
                    near = reach
                    which = 0 if dy < 0 else 2
            if dx != 0:
                reach = (length - x) / dx if dx > 0 else (-length - x) / dx
                if 0 < reach < near:
                    near = reach
                    axis = 0
                    which = 1
            if dz != 0:
                reach = (right - z) / dz if dz > 0 else (left - z) / dz
                if 0 < reach < near:
                    near = reach
                    axis = 2
                    which = 1
            for b in range(count):
                reach, side = _enter(boxes[b], x, y, z, dx, dy, dz)
                if reach < near:
                    near = reach
                    axis = side
                    which = 3 + b
            px = x + near * dx
            py = y + near * dy
            pz = z + near * dz
            if axis == 0:
                lit = -toward[0] * np.sign(dx)
                value = _texture(surfaces[which], grain, pz, py, which)
            elif axis == 1:
                lit = -toward[1] * np.sign(dy)
                value = _texture(surfaces[which], grain, px, pz, which)
            else:
                lit = -toward[2] * np.sign(dz)
                value = _texture(surfaces[which], grain, px, py, which)
            lit = max(lit, 0.0)
            # Corners get less light from around, and so does the floor beside what stands on it.
            corner = min(right - pz, length - abs(px))
            if which == 1:
                corner = py
            around = 1 - 0.3 * np.exp(-corner / 0.35)
            for b in range(count):
                box = boxes[b]
                thick = min(box[1] - box[0], box[5] - box[4])
                if thick < _THIN or which == 3 + b:
                    continue
                if which == 0:
                    gap = np.hypot(max(box[0] - px, px - box[1], 0.0), max(box[4] - pz, pz - box[5], 0.0))
                    around *= 1 - 0.35 * np.exp(-gap / 0.15)
                if lit > 0:
                    reach, _ = _enter(box, px, py, pz, toward[0], toward[1], toward[2])
                    if reach < np.inf:
                        lit = 0.0
            for k in range(3):
                color = share * value * surfaces[which, k]
                out[0, r // _SAMPLES, c // _SAMPLES, k] += color * around * light[2, k]
                out[1, r // _SAMPLES, c // _SAMPLES, k] += color * lit * light[1, k]
            out[2, r // _SAMPLES, c // _SAMPLES, 0] += share * px
            out[2, r // _SAMPLES, c // _SAMPLES, 1] += share * py
            out[2, r // _SAMPLES, c // _SAMPLES, 2] += share * pz
