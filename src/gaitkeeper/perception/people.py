"""From a clip of a static camera to the people in it, and to the one whose gait can be used."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from scipy.ndimage import gaussian_filter1d, maximum_filter1d, median_filter

from gaitkeeper.errors import VideoError
from gaitkeeper.motion.silhouettes import align_sequence
from gaitkeeper.perception.background import Background, BackgroundSettings, find_background
from gaitkeeper.perception.segmentation import SegmentationSettings, segment
from gaitkeeper.perception.tracking import DetectionSettings, Trail, changed, detect, follow
from gaitkeeper.perception.video import Clip

_DETECTION_ROWS = 270
"""Rows at which people are looked for; their outlines are then found in the frames as read."""


@dataclass(frozen=True, kw_only=True)
class WalkSettings:
    """What makes a track usable for gait recognition.

    Args:
        frames: least number of frames in which the whole person walks.
        seconds: least duration of these frames.
        speed: least speed in body heights a second that counts as walking.
        path: least distance covered, in body heights.
        rows: least body height in pixels.
        gap: longest interruption of a walk in seconds.
        rhythm: least autocorrelation of the width of the lower body after one step.
    """

    frames: int = 20
    seconds: float = 1.5
    speed: float = 0.2
    path: float = 1.0
    rows: int = 48
    gap: float = 0.35
    rhythm: float = 0.3


@dataclass(frozen=True, kw_only=True)
class PeopleSettings:
    """All settings of the way from a clip to people; see the classes."""

    background: BackgroundSettings = field(default_factory=BackgroundSettings)
    detection: DetectionSettings = field(default_factory=DetectionSettings)
    segmentation: SegmentationSettings = field(default_factory=SegmentationSettings)
    walk: WalkSettings = field(default_factory=WalkSettings)
    shortest: float = 0.5
    """Tracks of fewer seconds are dropped: flickering leaves, a door."""


@dataclass(frozen=True, kw_only=True)
class Walk:
    """What speaks for a track being a person who walks.

    Args:
        whole: share of the track's frames that show the whole person, not cut by the picture's edge.
        path: distance covered in the usable frames, in body heights.
        speed: median speed in these frames, in body heights a second.
        cadence: steps a minute, or None where no rhythm is found.
        height: median body height in pixels.
    """

    whole: float
    path: float
    speed: float
    cadence: float | None
    height: float


@dataclass(frozen=True)
class Track:
    """One person followed through a clip.

    Args:
        frames: ``(t,)`` frame numbers.
        boxes: ``(t, 4)`` int, ``x0, y0, x1, y1`` in pixels of the clip, exclusive on the right and below.
        masks: t bool arrays, each cropped to its box.
        kept: ``(k,)`` frame numbers of the walk: the whole person, walking.
        silhouettes: ``(k, 64, 44)`` uint8, the aligned silhouettes of these frames.
        walk: the evidence.
        problems: why the track cannot be used for gait recognition; empty if it can.
    """

    frames: np.ndarray
    boxes: np.ndarray
    masks: tuple[np.ndarray, ...]
    kept: np.ndarray
    silhouettes: np.ndarray
    walk: Walk
    problems: tuple[str, ...]

    def mask(self, frame: int, shape: tuple[int, ...]) -> np.ndarray:
        """Return the mask of one frame number in the whole picture, ``(rows, columns)`` bool."""
        full = np.zeros(shape[:2], bool)
        at = int(np.searchsorted(self.frames, frame))
        if at < len(self.frames) and self.frames[at] == frame:
            x0, y0, x1, y1 = self.boxes[at]
            full[y0:y1, x0:x1] = self.masks[at]
        return full


@dataclass(frozen=True)
class Scene:
    """What a static camera saw.

    Args:
        clip: the frames.
        background: ``(rows, columns, 3)`` uint8, the empty scene.
        tracks: the people, longest first.
    """

    clip: Clip
    background: np.ndarray
    tracks: tuple[Track, ...]


def find_people(clip: Clip, *, settings: PeopleSettings | None = None, empty: np.ndarray | None = None) -> Scene:
    """Find the people in a clip of a static camera.

    Args:
        clip: the frames.
        settings: see the class.
        empty: ``(rows, columns, 3)`` uint8, the empty scene where it is known.

    Raises:
        VideoError: the clip is too short or black, or the camera moves.
    """
    settings = settings or PeopleSettings()
    background = find_background(clip, settings.background, empty=empty)
    masks = [changed(*pair, settings.detection) for pair in _small(clip, background)]
    share = float(np.median([m.mean() for m in masks]))
    if share > 0.5:
        raise VideoError(
            f"{clip.path}: expected a static background, found {100 * share:.0f} % of the picture changing"
        )
    paths = follow([detect(m, settings.detection) for m in masks], clip.fps, settings.detection)
    least = max(5, round(settings.shortest * clip.fps))
    tracks = tuple(_track(clip, background, p, masks, settings) for p in paths if len(p.frames) >= least)
    return Scene(clip, background.picture.round().clip(0, 255).astype(np.uint8), tracks)


def walking_track(scene: Scene) -> Track:
    """Return the track with the longest usable walk.

    Raises:
        VideoError: nobody is in the clip, or nobody walks in a usable way; with the reasons for each track.
    """
    usable = [track for track in scene.tracks if not track.problems]
    if usable:
        return max(usable, key=lambda track: len(track.kept))
    path = scene.clip.path
    if not scene.tracks:
        raise VideoError(f"{path}: expected a walking person, found nobody")
    reasons = [
        f"person {i} (frames {t.frames[0]}-{t.frames[-1]}): {', '.join(t.problems)}"
        for i, t in enumerate(scene.tracks, start=1)
    ]
    raise VideoError(f"{path}: expected a person who walks, found none to use. " + "; ".join(reasons))


def _small(clip: Clip, background: Background) -> Iterator[tuple[Background, np.ndarray]]:
    import cv2

    rows, columns = clip.frames.shape[1:3]
    scale = min(1.0, _DETECTION_ROWS / rows)
    size = (round(columns * scale), round(rows * scale))
    picture, noise = (cv2.resize(a, size, interpolation=cv2.INTER_AREA) for a in (background.picture, background.noise))
    empty = Background(picture, noise)
    for frame in clip.frames:
        yield empty, cv2.resize(frame, size, interpolation=cv2.INTER_AREA)


def _track(clip: Clip, background: Background, path: Trail, masks: list[np.ndarray], settings: PeopleSettings) -> Track:
    frames = np.array(path.frames)
    boxes, cut = segment(clip.frames, background, path, masks, settings.segmentation)
    rows, columns = clip.frames.shape[1:3]
    areas = np.array([m.sum() for m in cut])
    middles = np.array([trunk(box, mask) for box, mask in zip(boxes, cut, strict=True)])
    whole = whole_frames(boxes, areas, rows, columns, clip.fps)
    height, speed, place = movement(frames, boxes, middles, clip.fps)
    run = _longest(np.flatnonzero(whole & (speed > settings.walk.speed)), frames, settings.walk.gap * clip.fps)
    full = np.zeros((len(run), int(height.max(initial=0)) + 2, columns), np.uint8)
    for picture, i in zip(full, run, strict=True):
        picture[: cut[i].shape[0], boxes[i][0] : boxes[i][2]] = 255 * cut[i].astype(np.uint8)
    silhouettes, kept = align_sequence(full)
    run = run[kept]
    steps = np.linalg.norm(np.diff(place[run], axis=0), axis=1) if len(run) else np.zeros(0)
    walk = Walk(
        whole=float(whole.mean()),
        path=float(steps.sum() / np.median(height[run])) if len(run) else 0.0,
        speed=float(np.median(speed[run])) if len(run) else 0.0,
        cadence=_cadence([cut[i] for i in run], frames[run], clip.fps, settings.walk.rhythm),
        height=float(np.median(height)),
    )
    return Track(
        frames=frames,
        boxes=boxes,
        masks=tuple(cut),
        kept=frames[run],
        silhouettes=silhouettes,
        walk=walk,
        problems=_problems(walk, frames[run], clip.fps, settings.walk),
    )


def whole_frames(boxes: np.ndarray, areas: np.ndarray, rows: int, columns: int, fps: float) -> np.ndarray:
    """Tell which frames of a track show the whole person: away from the picture's edges, as tall and full as usual.

    Args:
        boxes: ``(t, 4)`` int around the masks.
        areas: ``(t,)`` pixels of the masks.
        rows: of the picture.
        columns: of the picture.
        fps: frames a second.

    Returns:
        ``(t,)`` bool.
    """
    inside = (boxes[:, 0] > 1) & (boxes[:, 1] > 1) & (boxes[:, 2] < columns - 1) & (boxes[:, 3] < rows - 1)
    height = (boxes[:, 3] - boxes[:, 1]).astype(float)
    fill = areas / np.maximum(height, 1) ** 2
    if not inside.any():
        return inside
    # Compared with the neighborhood for height, since people come closer; the body's fill hardly changes.
    usual = np.where(inside, height, np.median(height[inside]))
    usual = median_filter(usual, min(61, len(usual)), mode="mirror")
    typical = np.median(fill[inside])
    tall = inside & (np.abs(height / usual - 1) < 0.12)
    fill = np.where(tall, fill, 0.0)
    # Within a step the legs part and the body fills more; somebody half behind a tree never does.
    window = max(1, round(0.5 * fps))
    fullest = np.minimum(
        maximum_filter1d(fill, window, origin=(window - 1) // 2, mode="nearest"),
        maximum_filter1d(fill, window, origin=-(window // 2), mode="nearest"),
    )
    return tall & (fill > 0.7 * typical) & (fill < 1.4 * typical) & (fullest > 0.88 * np.median(fullest[inside]))


def trunk(box: np.ndarray, mask: np.ndarray) -> float:
    """Return the column of the picture that halves the upper half of a mask, which is cropped to its box.

    The trunk moves evenly; the box swings with arms and legs.
    """
    mass = mask[: max(1, len(mask) // 2)].sum(axis=0).cumsum()
    if len(mass) and mass[-1]:
        return float(box[0] + np.searchsorted(mass, mass[-1] / 2))
    return float(box[0] + box[2]) / 2


def movement(
    frames: np.ndarray, boxes: np.ndarray, middles: np.ndarray, fps: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return how a person moves.

    Args:
        frames: ``(t,)`` frame numbers.
        boxes: ``(t, 4)`` around the masks.
        middles: ``(t,)`` columns of the trunk, see :func:`trunk`.
        fps: frames a second.

    Returns:
        Height in pixels ``(t,)``, speed in body heights a second ``(t,)`` and smooth place of the body ``(t, 2)``.
    """
    height = np.maximum(boxes[:, 3] - boxes[:, 1], 1).astype(float)
    place = np.stack([middles, boxes[:, 3]], axis=1)
    place = gaussian_filter1d(median_filter(place, (5, 1), mode="nearest"), 0.15 * fps, axis=0, mode="nearest")
    if len(frames) < 2:
        return height, np.zeros(len(frames)), place
    velocity = np.gradient(place, frames / fps, axis=0)
    return height, np.linalg.norm(velocity, axis=1) / np.median(height), place


def _longest(indices: np.ndarray, frames: np.ndarray, gap: float) -> np.ndarray:
    """Return the longest run of indices whose frames follow each other with small gaps."""
    if not len(indices):
        return indices
    runs = np.split(indices, np.flatnonzero(np.diff(frames[indices]) > 1 + gap) + 1)
    return max(runs, key=len)


def _cadence(masks: list[np.ndarray], frames: np.ndarray, fps: float, least: float) -> float | None:
    """Return steps a minute from the rhythm with which the lower body widens, or None."""
    if len(masks) < 8:
        return None
    widths = []
    for mask in masks:
        columns = np.nonzero(mask[round(0.65 * len(mask)) :])[1]
        widths.append(columns.std() / len(mask) if len(columns) else 0.0)
    time = np.arange(frames[0], frames[-1] + 1)
    signal = np.interp(time, frames, widths)
    signal = signal - gaussian_filter1d(signal, 0.5 * fps, mode="nearest")
    lags = np.arange(max(2, round(0.3 * fps)), min(round(0.9 * fps), len(signal) // 2) + 1)
    power = float(signal @ signal) / len(signal)
    if len(lags) < 3 or power <= 0:
        return None
    likeness = np.array([(signal[:-lag] @ signal[lag:]) / (len(signal) - lag) / power for lag in lags])
    best = int(likeness.argmax())
    if likeness[best] < least or best in (0, len(lags) - 1):
        return None
    before, at, after = likeness[best - 1 : best + 2]
    exact = lags[best] + 0.5 * (before - after) / (before - 2 * at + after)
    return float(60 * fps / exact)


def _problems(walk: Walk, kept: np.ndarray, fps: float, settings: WalkSettings) -> tuple[str, ...]:
    problems = []
    seconds = (kept[-1] - kept[0] + 1) / fps if len(kept) else 0.0
    if len(kept) < settings.frames or seconds < settings.seconds:
        problems.append(
            f"{len(kept)} whole frames of walking in {seconds:.1f} s "
            f"(at least {settings.frames} in {settings.seconds:g} s are needed)"
        )
    if walk.height < settings.rows:
        problems.append(f"{walk.height:.0f} pixels tall (at least {settings.rows})")
    if len(kept) and walk.path < settings.path:
        problems.append(f"a path of {walk.path:.1f} body heights (at least {settings.path:g})")
    if not problems and walk.cadence is None:
        problems.append("no rhythm of steps")
    return tuple(problems)
