"""The last reading of a video: every frame is put together anew, and what is not explained is not in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from gaitkeeper.anonymize.colorize import cover_head, nearest_colors
from gaitkeeper.anonymize.stretches import Stretch, stretches
from gaitkeeper.anonymize.survey import Person, Survey
from gaitkeeper.anonymize.walk import Anonymized, Anonymizer, Walk

_AROUND = 0.1
"""By how much the box around a person is widened, in its heights."""

_VEIL = 128
"""Grey of what stands for a person who is not shown."""

_SHADOW = 0.35
"""Darkest part of the shadow under a drawn person's feet, as a share of the light."""


@dataclass(frozen=True, kw_only=True)
class ComposeSettings:
    """How frames are put together.

    Args:
        weak: distance from the empty scene, in standard deviations, from which a pixel is not passed on.
        faces: cover heads that are colored from the original, or keep them.
        clothes: of people whom a method paints: in about the original's colors, or in any.
    """

    weak: float = 2.5
    faces: Literal["cover", "keep"] = "cover"
    clothes: Literal["keep", "random"] = "keep"


@dataclass
class _Drawn:
    """A stretch with what is shown in its place."""

    stretch: Stretch
    shown: Anonymized


class Composer:
    """Puts frames together, in order from the first.

    A pixel of the original is passed on only where it equals the verified empty scene, or inside both silhouettes of a
    person who walks and was followed with confidence. All else is the empty scene, in the light of the moment.

    Args:
        survey: what is known of the video.
        method: what is done to people who walk; None shows nobody.
        randomness: gives a person's generator; called once a person and stretch with the person's number.
        settings: see the class.

    Attributes:
        shown: ``(count,)`` people shown in each frame put together so far.
        hidden: ``(count,)`` people in it who are only veiled.
        obscured: ``(count,)`` share of the picture that is the empty scene for safety.
        drawn: for each person what was estimated and drawn, see :class:`~gaitkeeper.anonymize.walk.Anonymized`.
    """

    def __init__(
        self,
        survey: Survey,
        method: Anonymizer | None,
        randomness: Callable[[int], np.random.Generator],
        settings: ComposeSettings | None = None,
    ) -> None:
        import cv2

        self.survey, self.method, self.settings = survey, method, settings or ComposeSettings()
        self._randomness = randomness
        self.stretches: dict[int, list[Stretch]] = {
            person.number: stretches(survey, person) if method is not None else [] for person in survey.people
        }
        self.shown, self.hidden = (np.zeros(survey.count, int) for _ in range(2))
        self.obscured = np.zeros(survey.count)
        self.drawn: dict[int, dict[str, float | str]] = {}
        self._drawn: dict[int, _Drawn] = {}
        self._scene = _without(survey.background.picture, survey.unverified)
        noise = self.settings.weak * survey.background.noise
        self._limit = noise.round().clip(1, 255).astype(np.uint8)
        self._unverified = survey.unverified.astype(np.uint8)
        size = 2 * max(1, round(len(self._limit) / 240)) + 1
        self._around = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))

    def busiest(self) -> int:
        """Return the number of the frame with the most people shown, the middle one of several."""
        counts = np.zeros(self.survey.count, int)
        for found in self.stretches.values():
            for stretch in found:
                counts[stretch.first : stretch.last + 1] += 1
        most = np.flatnonzero(counts == counts.max())
        return int(most[len(most) // 2])

    def compose(self, number: int, frame: np.ndarray) -> np.ndarray:
        """Return the anonymized frame.

        Args:
            number: the frame's number.
            frame: ``(rows, columns, 3)`` uint8 RGB, the original.
        """
        import cv2

        here = [(person, at) for person in self.survey.people if (at := _boxes_at(person, number))]
        boxes = [self._box(at) for _, at in here]
        hide = self._unverified.copy()
        for x0, y0, x1, y1 in boxes:
            hide[y0:y1, x0:x1] = 1
        light = self.survey.background.light(frame, hide)
        empty = cv2.multiply(self.survey.background.picture, light, dtype=cv2.CV_8U)
        hide |= self._differs(frame, empty)
        self.obscured[number] = float(hide.mean())
        out = frame.copy()
        cv2.copyTo(cv2.multiply(self._scene, light, dtype=cv2.CV_8U), hide, out)
        for (person, _), box in zip(here, boxes, strict=True):
            drawn = self._stretch(person, number)
            if drawn is None:
                _veil(out, box)
                self.hidden[number] += 1
            else:
                self._draw(out, frame, number, drawn)
                self.shown[number] += 1
        return out

    def _differs(self, frame: np.ndarray, empty: np.ndarray) -> np.ndarray:
        """Return ``(rows, columns)`` uint8, 1 where a frame is not the empty scene, and around there."""
        import cv2

        apart = cv2.compare(cv2.blur(cv2.absdiff(frame, empty), (3, 3)), self._limit, cv2.CMP_GT)
        any_color = cv2.max(cv2.max(apart[..., 0], apart[..., 1]), apart[..., 2])
        return (cv2.dilate(any_color, self._around) > 0).astype(np.uint8)

    def _box(self, at: Sequence[np.ndarray]) -> tuple[int, int, int, int]:
        """Return a box in the video around all boxes given, widened and within the picture."""
        rows, columns = self._limit.shape[:2]
        boxes = np.stack(at) / self.survey.scale
        (x0, y0), (x1, y1) = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
        wide = _AROUND * (y1 - y0)
        left, top = max(0, int(x0 - wide)), max(0, int(y0 - wide))
        return left, top, min(columns, int(x1 + wide) + 1), min(rows, int(y1 + wide) + 1)

    def _stretch(self, person: Person, number: int) -> _Drawn | None:
        """Return the stretch that a frame is in, with what is shown there; it is made when it begins."""
        drawn = self._drawn.get(person.number)
        if drawn is not None and drawn.stretch.first <= number <= drawn.stretch.last:
            return drawn
        self._drawn.pop(person.number, None)
        for stretch in self.stretches[person.number]:
            if stretch.first <= number <= stretch.last:
                assert self.method is not None
                palette = person.palette() if self.settings.clothes == "keep" else None
                silhouettes = stretch.silhouettes(self.survey.scale)
                walk = Walk(silhouettes=silhouettes, fps=self.survey.source.fps, palette=palette)
                shown = self.method(walk, self._randomness(person.number))
                self._drawn[person.number] = drawn = _Drawn(stretch, shown)
                self.drawn.setdefault(person.number, {}).update(shown.drawn)
                return drawn
        return None

    def _draw(self, out: np.ndarray, frame: np.ndarray, number: int, drawn: _Drawn) -> None:
        import cv2

        stretch, i = drawn.stretch, number - drawn.stretch.first
        rows, columns = out.shape[:2]
        back = cv2.invertAffineTransform(stretch.to_canvas(number))
        high, wide = stretch.shape
        x0, y0 = (int(v) for v in np.floor(back @ [0, 0, 1]))
        x1, y1 = (int(v) for v in np.ceil(back @ [wide, high, 1]))
        x0, y0, x1, y1 = max(0, x0), max(0, y0), min(columns, x1), min(rows, y1)
        if x1 <= x0 or y1 <= y0:
            return
        window = slice(y0, y1), slice(x0, x1)
        back[:, 2] -= (x0, y0)
        size = (x1 - x0, y1 - y0)
        top, bottom = stretch.top[i] - y0, stretch.bottom[i] - y0
        alpha = cv2.warpAffine(drawn.shown.silhouettes[i], back, size, flags=cv2.INTER_LINEAR)
        if drawn.shown.colors is not None:
            colors = cv2.warpAffine(
                drawn.shown.colors[i], back, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
            )
        else:
            original = self._original(stretch, number, window)
            if original is None:
                return
            colors = nearest_colors(frame[window], original)
            if self.settings.faces == "cover":
                colors = cover_head(colors, top, bottom)
        if not alpha.any():
            return
        _ground(out[window], stretch.middle[i] - x0, bottom, bottom - top)
        share = (alpha.astype(np.float32) / 255)[..., None]
        out[window] = (out[window] + share * (colors.astype(np.float32) - out[window]) + 0.5).astype(np.uint8)

    def _original(self, stretch: Stretch, number: int, window: tuple[slice, slice]) -> np.ndarray | None:
        """Return the original silhouette in a window of the video, or None where there is none."""
        import cv2

        index = int(stretch.indices[number - stretch.first])
        if index < 0:
            return None
        mask = stretch.person.mask(index)
        if not mask.any():
            return None
        x0, y0 = (float(v) for v in stretch.person.boxes[index][:2])
        scale = self.survey.scale
        left, top = window[1].start, window[0].start
        matrix = np.array(
            [
                [1 / scale, 0, (x0 + 0.5) / scale - 0.5 - left],
                [0, 1 / scale, (y0 + 0.5) / scale - 0.5 - top],
            ]
        )
        size = (window[1].stop - left, window[0].stop - top)
        shown = cv2.warpAffine(255 * mask.astype(np.uint8), matrix, size, flags=cv2.INTER_LINEAR) > 127
        return shown if shown.any() else None


def _boxes_at(person: Person, number: int) -> list[np.ndarray]:
    """Return a person's boxes in a frame: the detection and the mask there or, where both were missed, beside it."""
    frames = person.frames
    if not frames or not frames[0] <= number <= frames[-1]:
        return []
    at = int(np.searchsorted(frames, number))
    sides = (at,) if frames[at] == number else (at - 1, at)
    boxes = [person.detected[i] for i in sides] + [person.boxes[i] for i in sides]
    return [box for box in boxes if box[2] > box[0] and box[3] > box[1]]


def _without(picture: np.ndarray, unverified: np.ndarray) -> np.ndarray:
    """Return a picture whose unverified places are filled in from around them."""
    import cv2

    if not unverified.any():
        return picture
    rows, columns = unverified.shape
    zoom = min(1.0, 240 / rows)
    size = (max(1, round(columns * zoom)), max(1, round(rows * zoom)))
    mask = cv2.dilate(unverified.astype(np.uint8), np.ones((5, 5), np.uint8))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA).round().clip(0, 255).astype(np.uint8)
    small_mask = (cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0).astype(np.uint8)
    filled = cv2.inpaint(small, small_mask, 3, cv2.INPAINT_TELEA)
    filled = cv2.resize(filled, (columns, rows), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    return np.where(mask[..., None] > 0, filled, picture)


def _veil(out: np.ndarray, box: tuple[int, int, int, int]) -> None:
    """Draw what stands for a person who is not shown: a grey capsule, which only tells that somebody is there."""
    import cv2

    x0, y0, x1, y1 = box
    high, wide = y1 - y0, min(x1 - x0, round(0.4 * (y1 - y0)))
    middle, radius = (x0 + x1) // 2, max(1, wide // 2)
    mask = np.zeros((high, x1 - x0), np.uint8)
    ends = (middle - x0, min(radius, high - 1)), (middle - x0, max(high - 1 - radius, 0))
    cv2.line(mask, *ends, 255, 2 * radius)
    share = (cv2.GaussianBlur(mask, (0, 0), max(1.0, 0.02 * high)).astype(np.float32) / 255)[..., None]
    place = out[y0:y1, x0:x1]
    place[:] = (place + 0.85 * share * (_VEIL - place.astype(np.float32))).astype(np.uint8)


def _ground(place: np.ndarray, middle: float, bottom: float, height: float) -> None:
    """Darken the floor under a drawn person's feet, in place, as contact with the floor does."""
    rows, columns = place.shape[:2]
    reach = 0.1 * height
    y0, y1 = max(0, int(bottom - reach)), min(rows, int(bottom + reach))
    if y1 <= y0:
        return
    y = (np.arange(y0, y1) - (bottom - 0.02 * height)) / (0.025 * height)
    x = (np.arange(columns) - middle) / (0.13 * height)
    dark = 1 - _SHADOW * np.exp(-0.5 * (y[:, None] ** 2 + x[None] ** 2))
    place[y0:y1] = (place[y0:y1] * dark[..., None]).astype(np.uint8)
