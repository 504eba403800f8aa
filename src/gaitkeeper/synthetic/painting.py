"""Compiled painting of walkers in color: surfaces nearest to the camera, cast shadows, and the sensor."""

import numpy as np

from gaitkeeper.motion.tracing import compiled
from gaitkeeper.synthetic.raycast import grained
from gaitkeeper.synthetic.render import extent, fill

_Array = np.ndarray

_OVER, _HAIR = 0.04, 0.03
"""By how many metres what is worn over something else comes before it, and hair before the head."""

SAMPLES = 2
"""The person is painted at this multiple of the picture's size and averaged."""

SHADE = 192
"""Rows and columns of a shadow map."""

SHADE_SIZE = 0.016
"""Size of a shadow map's pixel in metres."""

LEVELS = 4096
"""Steps of linear light in the table that gives 8-bit values."""


@compiled
def paint(
    ellipses: _Array,
    points: _Array,
    bulges: _Array,
    parts: _Array,
    albedo: _Array,
    folds: _Array,
    layers: _Array,
    light: _Array,
    grain: _Array,
    stamp: _Array,
    nearest: _Array,
    color: _Array,
    lefts: _Array,
    rights: _Array,
) -> tuple[int, int, int, int]:
    """Paint the parts of one frame, the nearest surface in each pixel.

    Between its two ellipses a part's outline, depth and normal are interpolated.

    Args:
        ellipses: ``(n, 6)`` from ``render.project``.
        points: ``(n, directions, 3)`` from ``render.supports``.
        bulges: ``(n,)`` how far each ellipsoid reaches toward the camera, metres.
        parts: ``(parts, 2)``.
        albedo: ``(parts, 3)`` linear RGB.
        folds: ``(parts,)`` strength of a cloth's folds.
        layers: ``(parts,)``: 0 for skin and what lies on it, 1 for what is worn over that, 2 for hair.
        light: ``(5, 3)``: directions to the light, up and in which the person faces, all as right, down and
            toward the camera; strengths of direct and ambient light.
        grain: periodic noise.
        stamp: ``(rows, columns)`` uint8 scratch.
        nearest: ``(rows, columns)`` float64; depth, infinity where nobody is, in the box returned.
        color: ``(rows, columns, 3)`` float64, linear RGB where ``nearest`` is finite.
        lefts: scratch, float64, a value a row.
        rights: scratch, float64, a value a row.

    Returns:
        First and last (exclusive) row and column that were painted, multiples of ``SAMPLES``.
    """
    rows, columns = stamp.shape
    middle_row = rows / 2
    middle_column = columns / 2
    north, south, west, east = extent(points, parts)
    top = min(max(int((north + middle_row) // SAMPLES) * SAMPLES - 2 * SAMPLES, 0), rows)
    bottom = min(max(int((south + middle_row) // SAMPLES) * SAMPLES + 3 * SAMPLES, top), rows)
    left = min(max(int((west + middle_column) // SAMPLES) * SAMPLES - 2 * SAMPLES, 0), columns)
    right = min(max(int((east + middle_column) // SAMPLES) * SAMPLES + 3 * SAMPLES, left), columns)
    stamp[top:bottom, left:right] = 0
    nearest[top:bottom, left:right] = np.inf
    for p in range(parts.shape[0]):
        one = parts[p, 0]
        other = parts[p, 1]
        fill(points[one], points[other], 1.0, middle_row, middle_column, p + 1, stamp, lefts, rights)
        north, south, west, east = extent(points, parts[p : p + 1])
        x0, y0, xx0, xy0, yy0, depth0 = ellipses[one]
        x1, y1, xx1, xy1, yy1, depth1 = ellipses[other]
        dx = x1 - x0
        dy = y1 - y0
        length = max(dx * dx + dy * dy, 1e-9)
        for r in range(max(int(north + middle_row), top), min(int(south + middle_row) + 2, bottom)):
            for c in range(max(int(west + middle_column), left), min(int(east + middle_column) + 2, right)):
                if stamp[r, c] != p + 1:
                    continue
                x = c + 0.5 - middle_column - x0
                y = r + 0.5 - middle_row - y0
                t = min(max((x * dx + y * dy) / length, 0.0), 1.0)
                x -= t * dx
                y -= t * dy
                xx = xx0 + t * (xx1 - xx0)
                xy = xy0 + t * (xy1 - xy0)
                yy = yy0 + t * (yy1 - yy0)
                whole = xx * yy - xy * xy
                gx = (yy * x - xy * y) / whole
                gy = (xx * y - xy * x) / whole
                far = min(max(x * gx + y * gy, 0.0), 1.0)
                lift = np.sqrt(1 - far)
                depth = depth0 + t * (depth1 - depth0) - lift * (bulges[one] + t * (bulges[other] - bulges[one]))
                if layers[p] == 1:
                    depth -= _OVER
                elif layers[p] == 2:
                    # Hair comes before the head's sides and back and above the forehead; the face it leaves free.
                    ahead = ((x + t * dx) * light[2, 0] + (y + t * dy) * light[2, 1]) / np.sqrt(xx0)
                    ahead += lift * light[2, 2]
                    covers = ahead < 0.1 or y + t * dy < -0.5 * np.sqrt(yy0)
                    depth -= _HAIR if covers else -_HAIR
                if depth >= nearest[r, c]:
                    continue
                nearest[r, c] = depth
                steep = np.sqrt(far) / max(np.sqrt(gx * gx + gy * gy), 1e-9)
                nx = gx * steep
                ny = gy * steep
                sun = max(nx * light[0, 0] + ny * light[0, 1] + lift * light[0, 2], 0.0)
                sky = 0.5 + 0.5 * (nx * light[1, 0] + ny * light[1, 1] + lift * light[1, 2])
                fold = grained(grain, 2.5 * t + 11.3 * p, 3 * np.sqrt(far) * np.sign(x * dy - y * dx) + 7.1 * p)
                value = 1 + folds[p] * (fold - 0.5)
                around = (0.45 + 0.55 * sky) * (0.7 + 0.3 * lift)
                for k in range(3):
                    color[r, c, k] = albedo[p, k] * value * (light[4, k] * around + light[3, k] * sun)
    return top, bottom, left, right


@compiled
def reduce(nearest: _Array, color: _Array, box: tuple[int, int, int, int], layer: _Array, mask: _Array) -> None:
    """Average what was painted to the picture's size and soften it as a lens does.

    Args:
        nearest: see ``paint``.
        color: see ``paint``.
        box: what ``paint`` returned.
        layer: ``(rows, columns, 4)`` float64, filled with light times coverage, and coverage.
        mask: ``(rows, columns)`` uint8, filled with 255 where at least half of a pixel is the person.
    """
    top, bottom, left, right = box[0] // SAMPLES, box[1] // SAMPLES, box[2] // SAMPLES, box[3] // SAMPLES
    share = 1 / SAMPLES**2
    sharp = np.zeros((bottom - top, right - left, 4))
    layer[:] = 0
    mask[:] = 0
    for r in range(SAMPLES * top, SAMPLES * bottom):
        for c in range(SAMPLES * left, SAMPLES * right):
            if nearest[r, c] < np.inf:
                i = r // SAMPLES - top
                j = c // SAMPLES - left
                for k in range(3):
                    sharp[i, j, k] += share * color[r, c, k]
                sharp[i, j, 3] += share
    for i in range(bottom - top):
        for j in range(right - left):
            if sharp[i, j, 3] >= 0.5:
                mask[top + i, left + j] = 255
            for k in range(4):
                total = 0.0
                for di in range(-1, 2):
                    for dj in range(-1, 2):
                        if 0 <= i + di < bottom - top and 0 <= j + dj < right - left:
                            total += (2 - abs(di)) * (2 - abs(dj)) * sharp[i + di, j + dj, k]
                layer[top + i, left + j, k] = total / 16


@compiled
def flatten(centres: _Array, spreads: _Array, across: _Array, down: _Array, origin: _Array, ellipses: _Array) -> None:
    """Project ellipsoids in parallel, in pixels of a shadow map about an origin; fills ``ellipses`` ``(n, 6)``."""
    k = 1 / SHADE_SIZE
    for i in range(centres.shape[0]):
        xx, xy, xz, yy, yz, zz = spreads[i]
        a0, a1, a2 = across
        b0, b1, b2 = down
        p0 = xx * a0 + xy * a1 + xz * a2
        p1 = xy * a0 + yy * a1 + yz * a2
        p2 = xz * a0 + yz * a1 + zz * a2
        x = centres[i, 0] - origin[0]
        y = centres[i, 1] - origin[1]
        z = centres[i, 2] - origin[2]
        ellipses[i, 0] = k * (a0 * x + a1 * y + a2 * z)
        ellipses[i, 1] = k * (b0 * x + b1 * y + b2 * z)
        ellipses[i, 2] = k * k * (p0 * a0 + p1 * a1 + p2 * a2)
        ellipses[i, 3] = k * k * (p0 * b0 + p1 * b1 + p2 * b2)
        p0 = xx * b0 + xy * b1 + xz * b2
        p1 = xy * b0 + yy * b1 + yz * b2
        p2 = xz * b0 + yz * b1 + zz * b2
        ellipses[i, 4] = k * k * (p0 * b0 + p1 * b1 + p2 * b2)
        ellipses[i, 5] = 0.0


@compiled
def shade(points: _Array, parts: _Array, values: _Array, stamp: _Array, lefts: _Array, rights: _Array) -> None:
    """Fill a shadow map, ``(SHADE, SHADE)`` uint8, with the parts' values; later parts cover earlier ones."""
    stamp[:] = 0
    for p in range(parts.shape[0]):
        one, other = points[parts[p, 0]], points[parts[p, 1]]
        fill(one, other, 1.0, SHADE / 2, SHADE / 2, values[p], stamp, lefts, rights)


@compiled
def soften(stamp: _Array, radius: int, scratch: _Array, out: _Array) -> None:
    """Blur a shadow map by two box filters each way; ``out`` and ``scratch`` ``(SHADE, SHADE)`` in [0, 1]."""
    size = stamp.shape[0]
    for r in range(size):
        for c in range(size):
            out[r, c] = stamp[r, c] / 255.0
    width = 2 * radius + 1
    for _ in range(2):
        for r in range(size):
            total = 0.0
            for c in range(size + radius):
                if c < size:
                    total += out[r, c]
                if c >= width:
                    total -= out[r, c - width]
                if c >= radius:
                    scratch[c - radius, r] = total / width
        for c in range(size):
            total = 0.0
            for r in range(size + radius):
                if r < size:
                    total += scratch[r, c]
                if r >= width:
                    total -= scratch[r - width, c]
                if r >= radius:
                    out[r - radius, c] = total / width


@compiled
def _at(shadow: _Array, x: float, y: float) -> float:
    """Return a shadow map's value at a place in pixels from its middle, 0 outside."""
    x += SHADE / 2 - 0.5
    y += SHADE / 2 - 0.5
    if not (0 <= x < SHADE - 1 and 0 <= y < SHADE - 1):
        return 0.0
    c = int(x)
    r = int(y)
    u = x - c
    v = y - r
    above = shadow[r, c] + u * (shadow[r, c + 1] - shadow[r, c])
    return above + v * (shadow[r + 1, c] + u * (shadow[r + 1, c + 1] - shadow[r + 1, c]) - above)


@compiled
def expose(
    ambient: _Array,
    direct: _Array,
    world: _Array,
    axes: _Array,
    origin: _Array,
    crisp: _Array,
    soft: _Array,
    contact: _Array,
    spread: float,
    layer: _Array,
    gain: _Array,
    vignette: float,
    noise: _Array,
    starts: _Array,
    strength: _Array,
    table: _Array,
    out: _Array,
) -> None:
    """Compose one frame from place, shadows and person, and record it in 8 bit.

    Args:
        ambient: ``(rows, columns, 3)``, see ``scenery.Prospect``.
        direct: likewise.
        world: likewise, its points.
        axes: ``(3, 3)``: the shadow map's axes and the way the light goes.
        origin: ``(3,)`` the middle of the person.
        crisp: shadow map with hard edges.
        soft: the same with soft edges.
        contact: map from above of how much of the sky the person takes.
        spread: distance in metres from the foot of a shadow at which it is all soft.
        layer: see ``reduce``.
        gain: ``(3,)`` of exposure and white balance.
        vignette: share of the light that the corners lose.
        noise: table of normal deviates, a power of two of them.
        starts: ``(rows,)`` where in the table each row begins.
        strength: ``(2,)`` noise variance in the dark and for each unit of light, in linear light.
        table: ``(LEVELS,)`` uint8, from linear light to what is stored.
        out: ``(rows, columns, 3)`` uint8.
    """
    rows, columns = out.shape[:2]
    mask = noise.shape[0] - 1
    corner = (rows * rows + columns * columns) / 4
    scale = 1 / SHADE_SIZE
    reach = SHADE * SHADE_SIZE
    for r in range(rows):
        place = starts[r]
        for c in range(columns):
            x = world[r, c, 0] - origin[0]
            y = world[r, c, 1] - origin[1]
            z = world[r, c, 2] - origin[2]
            lost = 0.0
            sky = 0.0
            u = axes[0, 0] * x + axes[0, 1] * y + axes[0, 2] * z
            v = axes[1, 0] * x + axes[1, 1] * y + axes[1, 2] * z
            # What lies on the light's side of the person gets no shadow.
            behind = axes[2, 0] * x + axes[2, 1] * y + axes[2, 2] * z
            if abs(u) < reach and abs(v) < reach and behind > -0.2:
                far = min(np.sqrt(x * x + z * z) / spread, 1.0)
                lost = _at(crisp, u * scale, v * scale)
                lost += far * (_at(soft, u * scale, v * scale) - lost)
            if abs(x) < reach and abs(z) < reach and world[r, c, 1] < 0.02:
                sky = _at(contact, x * scale, z * scale)
            dr = r + 0.5 - rows / 2
            dc = c + 0.5 - columns / 2
            lens = 1 - vignette * (dr * dr + dc * dc) / corner
            open_ = 1 - layer[r, c, 3]
            for k in range(3):
                value = ambient[r, c, k] * (1 - sky) + direct[r, c, k] * (1 - lost)
                value = (value * open_ + layer[r, c, k]) * gain[k] * lens
                value += np.sqrt(strength[0] + strength[1] * value) * noise[(place + 3 * c + k) & mask]
                out[r, c, k] = table[int(min(max(value, 0.0), 1.0) * (LEVELS - 1) + 0.5)]
