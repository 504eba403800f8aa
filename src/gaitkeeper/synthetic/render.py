"""Compiled rendering of silhouettes: hulls of projected ellipses, filled by rows.

Floating point is strict and the code runs on one thread, so that a walk's bytes are the same every time.
"""

import numpy as np

from gaitkeeper.motion.silhouettes import HEIGHT, WIDTH
from gaitkeeper.motion.tracing import compiled
from gaitkeeper.synthetic.camera import COLUMNS

DIRECTIONS = 16
"""Directions in which the outline of a part is sought."""

_Array = np.ndarray

_ANGLES = (np.arange(DIRECTIONS) + 0.5) * (2 * np.pi / DIRECTIONS)
COMPASS = np.ascontiguousarray(np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1))

SCALE = 3
"""Silhouettes are filled at this multiple of their size and averaged."""

REACH = 3
"""Most columns by which noise moves an edge."""

_CANVAS = 2 * WIDTH * SCALE


@compiled
def project(centres: _Array, spreads: _Array, camera: _Array, focal: float, ellipses: _Array) -> None:
    """Project ellipsoids, with the perspective made linear at each center.

    Args:
        centres: ``(n, 3)`` float64.
        spreads: ``(n, 6)`` float64.
        camera: ``(4, 3)``: right, down, ahead, position.
        focal: pixels.
        ellipses: ``(n, 6)``, filled with column, row, variances xx, xy, yy in pixels and depth in metres.
    """
    for i in range(centres.shape[0]):
        x = centres[i, 0] - camera[3, 0]
        y = centres[i, 1] - camera[3, 1]
        z = centres[i, 2] - camera[3, 2]
        right = camera[0, 0] * x + camera[0, 1] * y + camera[0, 2] * z
        down = camera[1, 0] * x + camera[1, 1] * y + camera[1, 2] * z
        ahead = camera[2, 0] * x + camera[2, 1] * y + camera[2, 2] * z
        u = right / ahead
        v = down / ahead
        k = focal / ahead
        a0 = k * (camera[0, 0] - u * camera[2, 0])
        a1 = k * (camera[0, 1] - u * camera[2, 1])
        a2 = k * (camera[0, 2] - u * camera[2, 2])
        b0 = k * (camera[1, 0] - v * camera[2, 0])
        b1 = k * (camera[1, 1] - v * camera[2, 1])
        b2 = k * (camera[1, 2] - v * camera[2, 2])
        xx, xy, xz, yy, yz, zz = spreads[i]
        p0 = xx * a0 + xy * a1 + xz * a2
        p1 = xy * a0 + yy * a1 + yz * a2
        p2 = xz * a0 + yz * a1 + zz * a2
        ellipses[i, 0] = focal * u
        ellipses[i, 1] = focal * v
        ellipses[i, 2] = p0 * a0 + p1 * a1 + p2 * a2
        ellipses[i, 3] = p0 * b0 + p1 * b1 + p2 * b2
        p0 = xx * b0 + xy * b1 + xz * b2
        p1 = xy * b0 + yy * b1 + yz * b2
        p2 = xz * b0 + yz * b1 + zz * b2
        ellipses[i, 4] = p0 * b0 + p1 * b1 + p2 * b2
        ellipses[i, 5] = ahead


@compiled
def supports(ellipses: _Array, compass: _Array, points: _Array) -> None:
    """Find each ellipse's outermost point in each direction.

    Args:
        ellipses: ``(n, 6)`` from ``project``.
        compass: ``(directions, 2)`` unit vectors.
        points: ``(n, directions, 3)``, filled with column, row and how far out that is.
    """
    for i in range(ellipses.shape[0]):
        x, y, xx, xy, yy, _ = ellipses[i]
        for d in range(compass.shape[0]):
            c = compass[d, 0]
            s = compass[d, 1]
            p = xx * c + xy * s
            q = xy * c + yy * s
            reach = np.sqrt(c * p + s * q)
            points[i, d, 0] = x + p / reach
            points[i, d, 1] = y + q / reach
            points[i, d, 2] = c * x + s * y + reach


@compiled
def fill(
    one: _Array,
    other: _Array,
    scale: float,
    row: float,
    column: float,
    value: int,
    canvas: _Array,
    lefts: _Array,
    rights: _Array,
) -> None:
    """Fill the convex hull of two ellipses.

    Args:
        one: ``(directions, 3)`` support points of an ellipse.
        other: those of the other.
        scale: canvas pixels a picture pixel.
        row: canvas row of the picture's row 0.
        column: canvas column of the picture's column 0.
        value: what is written.
        canvas: ``(rows, columns)``, changed in place.
        lefts: scratch, float64, a value a row.
        rights: scratch, float64, a value a row.
    """
    rows, columns = canvas.shape
    n = one.shape[0]
    first = rows
    last = 0
    pick = one if one[n - 1, 2] >= other[n - 1, 2] else other
    x0 = pick[n - 1, 0] * scale + column
    y0 = pick[n - 1, 1] * scale + row
    for d in range(n):
        pick = one if one[d, 2] >= other[d, 2] else other
        x1 = pick[d, 0] * scale + column
        y1 = pick[d, 1] * scale + row
        # Pixel rows whose centers the edge crosses; down the picture is the hull's right side.
        if y1 > y0:
            top = max(int(np.ceil(y0 - 0.5)), 0)
            bottom = min(int(np.ceil(y1 - 0.5)), rows)
            slope = (x1 - x0) / (y1 - y0)
            for r in range(top, bottom):
                rights[r] = x0 + (r + 0.5 - y0) * slope
        else:
            top = max(int(np.ceil(y1 - 0.5)), 0)
            bottom = min(int(np.ceil(y0 - 0.5)), rows)
            if bottom > top:
                slope = (x1 - x0) / (y1 - y0)
                for r in range(top, bottom):
                    lefts[r] = x0 + (r + 0.5 - y0) * slope
        if bottom > top:
            first = min(first, top)
            last = max(last, bottom)
        x0 = x1
        y0 = y1
    for r in range(first, last):
        left = max(int(np.ceil(lefts[r] - 0.5)), 0)
        right = min(int(np.ceil(rights[r] - 0.5)), columns)
        # Counting from 0 spares the compiler the check for negative indices, so that it uses wide stores.
        span = canvas[r, left:]
        for c in range(right - left):
            span[c] = value


@compiled
def extent(points: _Array, parts: _Array) -> tuple[float, float, float, float]:
    """Return the first and last row and column (picture pixels, fractions) that the parts' outlines reach."""
    top = left = np.inf
    bottom = right = -np.inf
    for p in range(parts.shape[0]):
        for e in range(2):
            for d in range(points.shape[1]):
                x, y, _ = points[parts[p, e], d]
                top = min(top, y)
                bottom = max(bottom, y)
                left = min(left, x)
                right = max(right, x)
    return top, bottom, left, right


@compiled
def spoil(
    canvas: _Array,
    box: tuple[float, float, float, float],
    middle: float,
    frame: int,
    events: _Array,
    shifts: _Array,
    start: int,
    scratch: _Array,
) -> tuple[int, int]:
    """Disturb a filled silhouette as segmentation would.

    Args:
        canvas: ``(rows, columns)`` of 0 and 1, changed in place.
        box: first and last row and column of the person, fractions.
        middle: column of the pelvis.
        frame: index of the frame.
        events: see ``noise.Noise``.
        shifts: by how many columns edges move, a power of two of them, at most ``REACH`` each.
        start: this frame's position in ``shifts``.
        scratch: two values a column.

    Returns:
        The columns, from and up to, outside of which all is background.
    """
    rows, columns = canvas.shape
    top, bottom, left, right = box
    height = bottom - top
    # The outermost rows stay, so that a frame is not scaled by its noise.
    first = max(int(top + 0.5), 0) + 1
    last = min(int(top + height - 0.5), rows - 1)
    for i in range(events.shape[0]):
        begin, end, row, column, tall, wide, drift, slant, value = events[i]
        if value < 0 or frame < begin or frame >= end:
            continue
        y = top + row * height
        x = middle + (column + drift * (frame - begin)) * height
        tall = tall * height
        wide = wide * height
        for r in range(max(int(y - tall), first), min(int(y + tall) + 2, last)):
            t = (r + 0.5 - y) / tall
            if t * t < 1:
                centre = x + slant * t * wide
                half = wide * np.sqrt(1 - t * t)
                left = min(left, centre - half)
                right = max(right, centre + half)
                for c in range(max(int(centre - half + 0.5), 0), min(int(centre + half + 0.5), columns)):
                    canvas[r, c] = np.uint8(value)
    pixel = height / 128
    mask = shifts.shape[0] - 1
    # Whole words of eight columns, from a column that surely is background.
    begins = min(max(int(left) - 4, REACH), columns)
    width = min((int(right) + 12 - begins) // 8 * 8, (columns - REACH - 1 - begins) // 8 * 8)
    width = max(width, 0)
    old = scratch[0]
    after = old[1:]
    change = scratch[1]
    words = change.view(np.uint64)
    for r in range(first, last):
        place = start + int((r - top) / pixel)
        edges = 0
        row = canvas[r, begins:]
        # Edges are found in a copy of the row, which makes each move once; few words hold any.
        for c in range(width + 1):
            old[c] = row[c]
        for c in range(width):
            change[c] = after[c] ^ old[c]
        for word in range(width // 8):
            if words[word] == 0:
                continue
            for c in range(8 * word, 8 * word + 8):
                if change[c] == 0:
                    continue
                edges += 1
                shift = shifts[(place + 509 * edges) & mask]
                at = begins + c + 1
                for k in range(shift):
                    canvas[r, at + k] = old[c]
                for k in range(-shift):
                    canvas[r, at - 1 - k] = after[c]
    return begins - REACH, min(begins + width + 1 + REACH, columns)


@compiled
def silhouettes(
    centres: _Array,
    spreads: _Array,
    parts: _Array,
    camera: _Array,
    focal: float,
    compass: _Array,
    events: _Array,
    ragged: _Array,
    starts: _Array,
    out: _Array,
) -> None:
    """Render aligned silhouettes of one view into ``out``, ``(frames, HEIGHT, WIDTH)`` uint8."""
    frames, count = centres.shape[:2]
    rows = HEIGHT * SCALE
    canvas = np.empty((rows, _CANVAS), np.uint8)
    mass = np.empty(_CANVAS // SCALE, np.int64)
    small = np.empty((HEIGHT, _CANVAS // SCALE), np.uint8)
    ellipses = np.empty((count, 6))
    points = np.empty((count, compass.shape[0], 3))
    lefts = np.empty(rows)
    rights = np.empty(rows)
    scratch = np.zeros((2, _CANVAS), np.uint8)
    sums = np.empty(_CANVAS, np.uint8)
    shifts = np.clip(np.rint(ragged * (rows / 128)), -REACH, REACH).astype(np.int64)
    levels = np.rint(np.arange(SCALE * SCALE + 1) * (255 / (SCALE * SCALE))).astype(np.uint8)
    for t in range(frames):
        project(centres[t], spreads[t], camera, focal, ellipses)
        supports(ellipses, compass, points)
        top, bottom, left, right = extent(points, parts)
        scale = rows / (bottom - top)
        row = -top * scale
        # Columns are counted from the picture's left edge, as if the whole picture had been scaled, and the
        # canvas holds those around the pelvis, the first ellipsoid.
        column = COLUMNS / 2 * scale
        column -= SCALE * np.floor((column + ellipses[0, 0] * scale - _CANVAS / 2) / SCALE)
        canvas[:] = 0
        for p in range(parts.shape[0]):
            one = points[parts[p, 0]]
            other = points[parts[p, 1]]
            fill(one, other, scale, row, column, np.uint8(1), canvas, lefts, rights)
        middle = ellipses[0, 0] * scale + column
        box = 0.0, float(rows), left * scale + column, right * scale + column
        begins, ends = spoil(canvas, box, middle, t, events, shifts, starts[t], scratch)
        first = begins // SCALE
        last = min(ends // SCALE + 1, small.shape[1])
        mass[:] = 0
        small[:] = 0
        for r in range(HEIGHT):
            for c in range(SCALE * first, SCALE * last):
                sums[c] = canvas[SCALE * r, c]
                for i in range(1, SCALE):
                    sums[c] += canvas[SCALE * r + i, c]
            for c in range(first, last):
                inside = 0
                for k in range(SCALE):
                    inside += sums[SCALE * c + k]
                small[r, c] = levels[inside]
                mass[c] += inside
        total = mass.sum()
        centre = 0
        below = mass[0]
        while 2 * below <= total:
            centre += 1
            below += mass[centre]
        left = min(max(centre - WIDTH // 2, 0), small.shape[1] - WIDTH)
        out[t] = small[:, left : left + WIDTH]


@compiled
def masks(
    centres: _Array,
    spreads: _Array,
    parts: _Array,
    camera: _Array,
    focal: float,
    compass: _Array,
    events: _Array,
    ragged: _Array,
    starts: _Array,
    out: _Array,
) -> None:
    """Render binary camera pictures of one view into ``out``, ``(frames, rows, columns)`` uint8 of 0 and 255."""
    frames, count = centres.shape[:2]
    rows, columns = out.shape[1:]
    ellipses = np.empty((count, 6))
    points = np.empty((count, compass.shape[0], 3))
    lefts = np.empty(rows)
    rights = np.empty(rows)
    scratch = np.zeros((2, columns), np.uint8)
    for t in range(frames):
        project(centres[t], spreads[t], camera, focal, ellipses)
        supports(ellipses, compass, points)
        top, bottom, left, right = extent(points, parts)
        out[t] = 0
        for p in range(parts.shape[0]):
            one = points[parts[p, 0]]
            other = points[parts[p, 1]]
            fill(one, other, 1.0, rows / 2, columns / 2, np.uint8(1), out[t], lefts, rights)
        middle = ellipses[0, 0] + columns / 2
        shifts = np.clip(np.rint(ragged * ((bottom - top) / 128)), -REACH, REACH).astype(np.int64)
        box = top + rows / 2, bottom + rows / 2, left + columns / 2, right + columns / 2
        spoil(out[t], box, middle, t, events, shifts, starts[t], scratch)
        for r in range(rows):
            for c in range(columns):
                out[t, r, c] *= np.uint8(255)
