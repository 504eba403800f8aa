"""The first two readings of a video: the empty scene, and who is in it. Memory is bounded whatever the length."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from gaitkeeper.anonymize.doubt import Lasting, Passage, doubtful
from gaitkeeper.anonymize.masks import MaskFolder
from gaitkeeper.anonymize.sources import Source, resized, shrunk
from gaitkeeper.errors import VideoError
from gaitkeeper.perception.background import Background, find_background, measured_noise
from gaitkeeper.perception.people import PeopleSettings, trunk
from gaitkeeper.perception.segmentation import segment
from gaitkeeper.perception.tracking import Tracker, Trail, changed, detect
from gaitkeeper.perception.video import Clip
from gaitkeeper.synthetic.substitute import Palette

_ROWS = 540
"""Rows at which people are cut out; the picture is put together at its own size."""

_DETECTION_ROWS = 270
"""Rows at which changes are looked for."""

_QUIET_ROWS = 360
"""Rows at which the background's noise is compared; sharp edges flicker in larger pictures."""

_SAMPLED = 128 * 2**20
"""Most bytes of frames that the empty scene is estimated from."""

_WINDOW = 96 * 2**20
"""Most bytes of frames from which people are cut out together."""

_PARTS = {"hair": (0.0, 0.05), "skin": (0.08, 0.12), "top": (0.22, 0.42), "trousers": (0.58, 0.8), "shoes": (0.955, 1)}
"""Where the parts of a palette are seen, from and to which share of the body's height."""

_TONED = 8
"""Every how many frames colors are measured."""

_NOISIEST = 2.0
"""Noise of a place whose empty scene is known, as a multiple of a quiet place's, beyond which it is somebody."""

Progress = Callable[[int, int, str], None]


@dataclass
class Person:
    """Somebody who was followed; masks are kept compressed.

    Args:
        number: counted from 1 by when they come.
        frames: frame numbers.
        boxes: ``x0, y0, x1, y1`` around the mask, in pixels of the frames that people are cut out of.
        areas: pixels of the mask.
        middles: column of the trunk.
        detected: the detection's box, in the same pixels.
        tones: ``(parts, 3)`` colors of hair, skin, top, trousers and shoes in some of the frames, NaN where unseen.
    """

    number: int
    frames: list[int] = field(default_factory=list)
    boxes: list[np.ndarray] = field(default_factory=list)
    areas: list[int] = field(default_factory=list)
    middles: list[float] = field(default_factory=list)
    detected: list[np.ndarray] = field(default_factory=list)
    tones: list[np.ndarray] = field(default_factory=list)
    _packed: list[bytes] = field(default_factory=list)

    def add(self, frame: int, box: np.ndarray, mask: np.ndarray, detected: np.ndarray) -> None:
        """Append what was found in a further frame."""
        self.frames.append(frame)
        self.boxes.append(box)
        self.areas.append(int(mask.sum()))
        self.middles.append(trunk(box, mask))
        self.detected.append(detected)
        self._packed.append(zlib.compress(np.packbits(mask).tobytes(), 1))

    def palette(self) -> Palette | None:
        """Return the colors of hair, skin and clothes, or None where they were not seen."""
        if not self.tones or not np.isfinite(tones := np.stack(self.tones)).any(axis=0).all():
            return None
        middle = np.nanmedian(tones, axis=0).round().astype(int).tolist()
        return Palette(**{name: (red, green, blue) for name, (red, green, blue) in zip(_PARTS, middle, strict=True)})

    def mask(self, i: int) -> np.ndarray:
        """Return the i-th mask, bool, cropped to its box."""
        x0, y0, x1, y1 = self.boxes[i]
        shape = int(y1 - y0), int(x1 - x0)
        bits = np.frombuffer(zlib.decompress(self._packed[i]), np.uint8)
        return np.unpackbits(bits, count=shape[0] * shape[1]).reshape(shape).astype(bool)


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What is known of a video before anything is changed.

    Args:
        source: the frames.
        count: how many there are.
        background: the empty scene in the video's size.
        unverified: ``(rows, columns)`` bool, where the empty scene may show somebody.
        people: in the order in which they come.
        scale: rows of the frames that people were cut out of over rows of the video.
        changed: ``(count,)`` share of the picture that differs from the background.
    """

    source: Source
    count: int
    background: Background
    unverified: np.ndarray
    people: tuple[Person, ...]
    scale: float
    changed: np.ndarray


def survey(
    source: Source,
    *,
    empty: np.ndarray | None = None,
    masks: MaskFolder | None = None,
    settings: PeopleSettings | None = None,
    progress: Progress = lambda done, total, text: None,
) -> Survey:
    """Find the empty scene and the people of a video of a static camera.

    Args:
        source: the frames, which are read twice.
        empty: ``(rows, columns, 3)`` uint8, the scene without anybody, where the user has such a picture.
        masks: the user's own masks of people.
        settings: of finding people.
        progress: called with frames done, frames in all and what is being done.

    Raises:
        VideoError: the video is too short or black, or the camera moves.
        DataError: the masks do not fit the video.
    """
    settings = settings or PeopleSettings()
    sampled, count = _sample(source, settings, progress)
    if masks is not None:
        masks.check(count, source.rows, source.columns)
    background = find_background(Clip(sampled, source.fps, source.path), settings.background, empty=empty)
    if empty is not None:
        background = _known(background)
    coarse = shrunk(source.rows, source.columns, _QUIET_ROWS)
    rough = _shrunk_background(background, coarse)
    noise = measured_noise(rough, np.stack([resized(frame, coarse) for frame in sampled]), settings.background)
    del sampled
    found = _look(source, count, background, masks, settings, progress)
    unverified = np.zeros((source.rows, source.columns), bool)
    scale = shrunk(source.rows, source.columns, _ROWS)[0] / source.rows
    if empty is None:
        paths = [Passage(np.array(p.frames), np.stack(p.detected) / scale) for p in found.people]
        unverified = doubtful(background.picture, noise, found.lasting, paths, source.fps)
    least = max(5, round(settings.shortest * source.fps))
    people = [person for person in found.people if len(person.frames) >= least]
    for number, person in enumerate(people, 1):
        person.number = number
    return Survey(
        source=source,
        count=count,
        background=background,
        unverified=unverified,
        people=tuple(people),
        scale=scale,
        changed=found.changed,
    )


def _sample(source: Source, settings: PeopleSettings, progress: Progress) -> tuple[np.ndarray, int]:
    """Return frames spread evenly over the video, and how many it has."""
    size = source.rows * source.columns * 3
    most = int(np.clip(_SAMPLED // size, 12, settings.background.samples))
    kept: list[np.ndarray] = []
    # Videos often do not tell their length: whenever twice too many are kept, every second goes.
    stride = max(1, (source.frames or 0) // most)
    count = 0
    with source.open() as frames:
        for count, frame in enumerate(frames, 1):
            if (count - 1) % stride == 0:
                kept.append(frame.copy())
                if len(kept) > 1.5 * most:
                    kept, stride = kept[::2], 2 * stride
            if count % 50 == 0:
                progress(count, source.frames or count, "looking for the empty scene")
    if not kept:
        raise VideoError(f"{source.path}: expected video frames, found none")
    return np.stack(kept), count


@dataclass
class _Found:
    people: list[Person]
    lasting: Lasting
    changed: np.ndarray


def _look(
    source: Source,
    count: int,
    background: Background,
    own: MaskFolder | None,
    settings: PeopleSettings,
    progress: Progress,
) -> _Found:
    """Read the video once: changes, detections, tracks, and masks window by window."""
    import cv2

    rows, columns = shrunk(source.rows, source.columns, _ROWS)
    small = shrunk(rows, columns, _DETECTION_ROWS)
    middle, coarse = _shrunk_background(background, (rows, columns)), _shrunk_background(background, small)
    scale = np.tile([columns / small[1], rows / small[0]], 2)
    window = max(32, _WINDOW // (rows * columns * 3))
    tracker = Tracker(source.fps, settings.detection)
    people: dict[int, Person] = {}
    keep: list[tuple[Trail, Person]] = []
    lasting, shares = Lasting(small), []
    frames: list[np.ndarray] = []
    masks: list[np.ndarray] = []
    begin = 0

    def cut() -> None:
        nonlocal begin
        for trail in tracker.ended + tracker.active:
            here = [i for i, frame in enumerate(trail.frames) if frame >= begin]
            if not here:
                continue
            if id(trail) not in people:
                people[id(trail)] = Person(0)
                keep.append((trail, people[id(trail)]))  # holds the trail, so that its id stays its own
            part = Trail([trail.frames[i] - begin for i in here], [trail.boxes[i] for i in here])
            if own is None:
                boxes, found = segment(np.stack(frames), middle, part, masks, settings.segmentation)
            else:
                boxes, found = own.cut(part, begin, (rows, columns), scale)
            for i, box, mask in zip(here, boxes, found, strict=True):
                people[id(trail)].add(trail.frames[i], box, mask, trail.boxes[i] * scale)
                if trail.frames[i] % _TONED == 0 and mask.any():
                    people[id(trail)].tones.append(_tones(frames[trail.frames[i] - begin], box, mask))
        tracker.ended.clear()
        begin += len(frames)
        frames.clear()
        masks.clear()

    with source.open(max_rows=_ROWS) as opened:
        for number, frame in enumerate(opened):
            mask = changed(coarse, cv2.resize(frame, small[::-1], interpolation=cv2.INTER_AREA), settings.detection)
            lasting.step(mask)
            tracker.step(number, detect(mask if own is None else own.read(number, small), settings.detection))
            shares.append(float(mask.mean()))
            frames.append(frame)
            masks.append(mask)
            if len(frames) == window:
                cut()
            if number % 10 == 0:
                progress(number, count, "following people")
    if frames:
        cut()
    return _Found([person for _, person in keep], lasting, np.array(shares))


def _tones(frame: np.ndarray, box: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return the median colors ``(parts, 3)`` of a body's parts in a frame."""
    import cv2

    x0, y0, x1, y1 = box
    inner = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=0).astype(bool)
    found = np.full((len(_PARTS), 3), np.nan)
    for color, (begin, end) in zip(found, _PARTS.values(), strict=True):
        rows = slice(int(begin * len(mask)), max(int(begin * len(mask)) + 1, round(end * len(mask))))
        pixels = frame[y0:y1, x0:x1][rows][inner[rows]]
        if len(pixels):
            color[:] = np.median(pixels, axis=0)
    return found


def _known(background: Background) -> Background:
    """Return a known empty scene without the noise of what always differs from it: somebody who stands there."""
    noise = background.noise
    quiet = np.quantile(noise, 0.25)
    return Background(background.picture, np.where(noise > _NOISIEST * quiet, quiet, noise).astype(np.float32))


def _shrunk_background(background: Background, size: tuple[int, int]) -> Background:
    import cv2

    if background.picture.shape[:2] == size:
        return background
    pictures = (background.picture, background.noise)
    return Background(*(cv2.resize(p, size[::-1], interpolation=cv2.INTER_AREA) for p in pictures))
