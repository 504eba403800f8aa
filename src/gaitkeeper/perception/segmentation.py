"""From a person's track to exact masks.

The difference from the background alone tears holes where clothes look like what is behind them. Three
things are known beside it once somebody has been followed for a while: what colors the person has at which
height, where in the box the body is, and that bodies are connected.
"""

from dataclasses import dataclass

import numpy as np

from gaitkeeper.perception.background import Background
from gaitkeeper.perception.tracking import Trail

_BANDS = 6
"""Horizontal bands of the body that each have their colors."""
_BINS = 16
"""Bins an axis of a color histogram."""
_CANON = 96
"""Rows and columns of the square in which a body is averaged over time."""
_GROUND = 0.8
"""Share of the height below which shadows fall; higher up a dark pixel of the same hue is a dark coat."""
_STRIDE = 0.3
"""Share of the height that feet reach to either side."""
_SOLES = 0.9
"""Share of the height below which there are shoes and hardly a leg."""


_PIECE = 200
"""Most frames from which colors and places are learned together."""


@dataclass(frozen=True, kw_only=True)
class SegmentationSettings:
    """How the evidence is weighed; all terms are logarithms of likelihood ratios, person over background.

    Args:
        threshold: distance from the background, in standard deviations, that speaks neither way.
        color: weight of the person's colors.
        place: weight of where the body usually is.
        rounds: how often colors and places are learned anew from the masks.
        shadow: darkest shadow, as a share of the light.
    """

    threshold: float = 3.0
    color: float = 0.9
    place: float = 0.7
    rounds: int = 2
    shadow: float = 0.35


@dataclass
class _View:
    """One frame of a track, cut out around the person; all arrays ``(rows, columns, ...)`` of the window."""

    window: tuple[slice, slice]
    body: tuple[float, float, float]  # top, height and middle column in picture coordinates
    bins: np.ndarray
    empty_bins: np.ndarray
    change: np.ndarray
    gray: np.ndarray
    mask: np.ndarray
    ground: int  # first row of the window in which shadows may lie; what follows is given from there on
    light: np.ndarray  # logarithm of frame over empty scene, float16, a color each


@dataclass(frozen=True)
class _Umbra:
    """A scene's shadows: the logarithm of the share of light that they leave, ``(3,)``, and its spread."""

    tint: np.ndarray
    tolerance: float


def segment(
    frames: np.ndarray,
    background: Background,
    path: Trail,
    changed: list[np.ndarray],
    settings: SegmentationSettings | None = None,
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Cut a tracked person out of every frame of the track.

    Args:
        frames: ``(frames, rows, columns, 3)`` uint8, the whole clip.
        background: the empty scene.
        path: the track, ``t`` boxes at the scale of ``changed``.
        changed: a mask of changed pixels for each frame of the clip, possibly smaller.
        settings: see the class.

    Returns:
        ``(t, 4)`` int boxes ``x0, y0, x1, y1`` around each mask, and the masks, bool, cropped to them. A
        frame in which nothing is left has a box without area.
    """
    settings = settings or SegmentationSettings()
    rows, columns = frames.shape[1:3]
    seen = [changed[i] for i in path.frames]
    scale = np.tile([columns / seen[0].shape[1], rows / seen[0].shape[0]], 2)
    boxes = np.stack(path.boxes) * scale
    bodies = _bodies(boxes, rows, seen, path)
    cut: list[tuple[np.ndarray, np.ndarray]] = []
    # In pieces, which bounds memory and follows somebody who turns.
    for piece in np.array_split(np.arange(len(seen)), -(-len(seen) // _PIECE)):
        views = [_view(frames[path.frames[i]], background, boxes[i], bodies[i], seen[i], settings) for i in piece]
        umbra = _umbra(views, settings)
        for view in views:
            _shade(view, umbra, settings)
        for _ in range(settings.rounds):
            colors = _colors(views)
            places = _places(views)
            for view in views:
                view.mask = _decide(view, colors, places, settings)
        cut += [_cropped(view) for view in views]
    return np.stack([box for box, _ in cut]), [mask for _, mask in cut]


def _bodies(boxes: np.ndarray, rows: int, changed: list[np.ndarray], path: Trail) -> list[tuple[float, float, float]]:
    """Return top, height and middle column of the body in each frame, smooth over time."""
    from scipy.ndimage import median_filter

    scale = rows / changed[0].shape[0]
    middles = []
    for mask, box in zip(changed, path.boxes, strict=True):
        x0, y0, x1, y1 = box
        upper = mask[y0 : y0 + max(1, (y1 - y0) // 2), x0:x1].sum(axis=0).cumsum()
        middles.append(x0 + float(np.searchsorted(upper, upper[-1] / 2)) if upper[-1] else (x0 + x1) / 2)
    smooth = [median_filter(np.asarray(v, float), 7, mode="nearest") for v in (boxes[:, 1], boxes[:, 3])]
    middle = median_filter(np.asarray(middles) * scale, 3, mode="nearest")
    return [(t, max(b - t, 8.0), m) for t, b, m in zip(*smooth, middle, strict=True)]


def _view(
    frame: np.ndarray,
    background: Background,
    box: np.ndarray,
    body: tuple[float, float, float],
    changed: np.ndarray,
    settings: SegmentationSettings,
) -> _View:
    import cv2

    rows, columns = frame.shape[:2]
    top, height, middle = body
    margin = 0.1 * height
    x0 = max(0, int(min(middle - 0.45 * height, box[0] - margin)))
    x1 = min(columns, int(max(middle + 0.45 * height, box[2] + margin)) + 1)
    y0 = max(0, int(min(top, box[1]) - margin))
    y1 = min(rows, int(max(top + height, box[3]) + margin) + 1)
    window = slice(y0, y1), slice(x0, x1)
    mask = cv2.resize(changed, (columns, rows), interpolation=cv2.INTER_NEAREST)[window].astype(bool)
    inside = np.zeros_like(mask)
    inside[max(0, round(box[1]) - y0) : round(box[3]) - y0, max(0, round(box[0]) - x0) : round(box[2]) - x0] = True
    person = cv2.dilate(changed, np.ones((9, 9), np.uint8))
    cut = background.compensated(frame, person, window)
    empty = Background(background.picture[window], background.noise[window])
    distance = empty.distance(cut)
    # Exposure steps and key frames make single frames noisier than the scene usually is.
    outside = distance[cv2.resize(person, (columns, rows), interpolation=cv2.INTER_NEAREST)[window] == 0]
    if outside.size > 100:
        distance = distance / max(1.0, float(np.median(outside)) / 0.9)
    # Cut off at twice the threshold, so that smoothing leaves edges where they are.
    distance = cv2.GaussianBlur(np.minimum(distance, 2 * settings.threshold), (0, 0), 0.8)
    change = 1.2 * (distance - settings.threshold)
    ground = int(np.clip(top + _GROUND * height - y0, 0, len(cut) - 1))
    lit, dark = cv2.blur(cut, (3, 3))[ground:] + 4, cv2.blur(empty.picture, (3, 3))[ground:] + 4
    light = np.log(lit.clip(1) / dark)
    return _View(
        window=window,
        body=body,
        bins=_quantized(cut),
        empty_bins=_quantized(empty.picture),
        change=change.astype(np.float32),
        gray=cv2.cvtColor(frame[window], cv2.COLOR_RGB2GRAY).astype(np.float32) / 255,
        mask=mask & inside & (change > 0),
        ground=ground,
        light=light.astype(np.float16),
    )


def _umbra(views: list[_View], settings: SegmentationSettings) -> _Umbra | None:
    """Return what shadows do to the light in this scene, or None if there are none.

    One sun and one sky light the ground, so that its shadows have one color and one depth, and clothes that
    are darker or of another hue are none. Both are learned where the ground is dimmed farther aside than
    feet reach or, if there is too little of that, at the height of the soles, away from what is no shadow.
    """
    import cv2

    aside, below = [], []
    pixels = 0
    for view in views[:: max(1, len(views) // 40)]:
        top, height, middle = view.body
        light = view.light.astype(np.float32)
        candidate = _dimmed(light, settings) & (view.change[view.ground :] > 0)
        body = view.mask.copy()
        body[view.ground :] &= ~candidate
        size = 2 * max(1, round(0.02 * height)) + 1
        candidate &= cv2.dilate(body.astype(np.uint8), np.ones((size, size), np.uint8))[view.ground :] == 0
        far = np.abs(np.arange(light.shape[1]) + view.window[1].start - middle) > _STRIDE * height
        low = np.arange(len(light))[:, None] + view.window[0].start + view.ground > top + _SOLES * height
        aside.append(light[candidate & far])
        below.append(light[candidate & low & ~far])
        pixels += int(height) ** 2
    for found in (np.concatenate(aside), np.concatenate(aside + below)):
        if len(found) > 0.001 * pixels:
            depth = -found.mean(axis=1)
            full = found[depth >= np.quantile(depth, 0.8)]
            tint = np.median(full, axis=0)
            spread = float(np.quantile(_beside_shadow(found, tint)[1], 0.9))
            return _Umbra(tint, min(max(1.6 * spread, 0.012), 0.08))
    return None


def _beside_shadow(light: np.ndarray, tint: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how deep in the shadow a light would be, 1 for wholly, and how far it is from any shadow's."""
    depth = light @ tint / float(tint @ tint)
    off = light - depth.clip(0, 1.25)[..., None] * tint
    return depth, np.sqrt(np.einsum("...k,...k->...", off, off) / 3)


def _dimmed(light: np.ndarray, settings: SegmentationSettings) -> np.ndarray:
    """Return where a pixel can be the empty scene with less light on it.

    Red loses most and blue least: what the sun no longer reaches is still lit by the sky.
    """
    red, green, blue = np.moveaxis(light, -1, 0)
    hue = (red < green + 0.05) & (green < blue + 0.05) & (blue - red < 0.6)
    return hue & (green > np.log(settings.shadow)) & (green < -0.04)


def _shade(view: _View, umbra: _Umbra | None, settings: SegmentationSettings) -> None:
    """Take the evidence for a person from what is the empty scene in a full or partial shadow."""
    if umbra is None:
        return
    light = view.light.astype(np.float32)
    depth, off = _beside_shadow(light, umbra.tint)
    same = (off < umbra.tolerance) & (depth > 0.3)
    # Shadows vary through leaves and on grass; there the blue of the sky tells, though less surely.
    alike = _dimmed(light, settings) & (light[..., 2] - light[..., 0] > 0.1) & (light[..., 1] > 2 * umbra.tint[1])
    change = view.change[view.ground :]
    change[same] = np.minimum(change[same], -2.5)
    change[alike] = np.minimum(change[alike], -0.5)
    view.mask[view.ground :] &= ~(same | alike)


def _quantized(picture: np.ndarray) -> np.ndarray:
    """Return one histogram bin a pixel, on roots so that dark colors are told apart."""
    steps = (np.sqrt(picture.clip(0, 255) / 256) * _BINS).astype(np.int32).clip(0, _BINS - 1)
    return ((steps[..., 0] * _BINS + steps[..., 1]) * _BINS + steps[..., 2]).astype(np.uint16)


def _band(view: _View) -> np.ndarray:
    """Return the body band of each row of a window, ``(rows, 1)``."""
    top, height, _ = view.body
    rows = np.arange(view.window[0].start, view.window[0].stop)
    return ((rows - top) / height * _BANDS).astype(int).clip(0, _BANDS - 1)[:, None]


def _colors(views: list[_View]) -> np.ndarray:
    """Return ``(bands, bins)``: logarithm of how much more often a color is the person's than the scene's."""
    from scipy.ndimage import gaussian_filter

    size = _BANDS * _BINS**3
    counts = np.zeros((2, size), np.float32)
    for view in views[:: max(1, len(views) // 80)]:
        first = _band(view) * _BINS**3
        counts[0] += np.bincount((first + view.bins)[view.mask], minlength=size)
        counts[1] += np.bincount((first + view.empty_bins).ravel(), minlength=size)
    cube = counts.reshape(2, _BANDS, _BINS, _BINS, _BINS)
    cube = gaussian_filter(cube, (0, 0.4, 0.6, 0.6, 0.6))
    share = cube / cube.sum(axis=(2, 3, 4), keepdims=True).clip(1e-6) + 1e-4
    return np.log(share[0] / share[1]).reshape(_BANDS, -1).clip(-2, 2)


def _places(views: list[_View]) -> np.ndarray:
    """Return ``(_CANON, _CANON)``: the share of frames in which a place of the body's square is person."""
    import cv2

    total = np.zeros((_CANON, _CANON), np.float32)
    for view in views:
        total += cv2.warpAffine(view.mask.astype(np.float32), _to_canon(view), (_CANON, _CANON), flags=cv2.INTER_LINEAR)
    return cv2.GaussianBlur(total / len(views), (0, 0), 1.0)


def _to_canon(view: _View) -> np.ndarray:
    """Return the affine map from window pixels to the body's square: height 0.8 of it, middle at its middle."""
    top, height, middle = view.body
    zoom = 0.8 * _CANON / height
    return np.array(
        [
            [zoom, 0, (view.window[1].start - middle) * zoom + _CANON / 2],
            [0, zoom, (view.window[0].start - top) * zoom + 0.1 * _CANON],
        ]
    )


def _decide(view: _View, colors: np.ndarray, places: np.ndarray, settings: SegmentationSettings) -> np.ndarray:
    import cv2

    rows, columns = view.mask.shape
    place = cv2.warpAffine(
        places, _to_canon(view), (columns, rows), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    ).clip(0.02, 0.98)
    score = view.change + settings.color * colors[_band(view), view.bins]
    score = score + settings.place * np.log(place / (1 - place))
    score = _along_edges(score.astype(np.float32), view.gray, max(1, round(view.body[1] / 110)))
    mask: np.ndarray = (score > 0).astype(np.uint8)
    size = max(1, round(view.body[1] / 110))
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * size + 1, 2 * size + 1))
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, disk)
    # OpenCV's own opening does not mirror an even kernel and so shifts everything by a pixel.
    pair = np.ones((2, 2), np.uint8)
    mask = cv2.dilate(cv2.erode(mask, pair, anchor=(0, 0)), pair, anchor=(1, 1))
    feet = np.arange(rows)[:, None] + view.window[0].start > view.body[0] + _GROUND * view.body[1]
    return _one_body(mask, view.body[1], feet)


def _along_edges(score: np.ndarray, gray: np.ndarray, radius: int) -> np.ndarray:
    """Smooth a score but not across edges of the picture (He et al., "Guided image filtering", PAMI 2013)."""
    import cv2

    size = (2 * radius + 1, 2 * radius + 1)
    mean_g, mean_s = cv2.blur(gray, size), cv2.blur(score, size)
    slope = (cv2.blur(gray * score, size) - mean_g * mean_s) / (cv2.blur(gray * gray, size) - mean_g**2 + 1e-3)
    return cv2.blur(slope, size) * gray + cv2.blur(mean_s - slope * mean_g, size)


def _one_body(mask: np.ndarray, height: float, feet: np.ndarray) -> np.ndarray:
    """Keep the largest region, what lies close to it and feet that a gap cut off, and fill small holes."""
    import cv2

    count, labels, stats, centres = cv2.connectedComponentsWithStats(mask, connectivity=8)
    if count < 2:
        return mask.astype(bool)
    largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    apart = cv2.distanceTransform((labels != largest).astype(np.uint8), cv2.DIST_L2, 3)
    keep = np.zeros(count, bool)
    for i in range(1, count):
        big = stats[i, cv2.CC_STAT_AREA] > (0.04 * height) ** 2
        near = 0.15 if feet[int(centres[i][1])] else 0.04
        keep[i] = i == largest or (big and apart[labels == i].min() < near * height)
    body = keep[labels]
    count, labels, stats, _ = cv2.connectedComponentsWithStats((~body).astype(np.uint8), connectivity=4)
    small = stats[:, cv2.CC_STAT_AREA] < (0.06 * height) ** 2
    small[0] = False
    edges = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    small[edges] = False
    return body | small[labels]


def _cropped(view: _View) -> tuple[np.ndarray, np.ndarray]:
    ys, xs = np.flatnonzero(view.mask.any(axis=1)), np.flatnonzero(view.mask.any(axis=0))
    y, x = view.window[0].start, view.window[1].start
    if not len(ys):
        return np.array([x, y, x, y]), np.zeros((0, 0), bool)
    box = np.array([x + xs[0], y + ys[0], x + xs[-1] + 1, y + ys[-1] + 1])
    return box, view.mask[ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1].copy()
