"""Stretches of a track in which a person walks and is seen whole: what an anonymizer can work on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d, median_filter

from gaitkeeper.anonymize.survey import Person, Survey
from gaitkeeper.anonymize.walk import MARGIN
from gaitkeeper.perception.people import WalkSettings, movement, whole_frames

_LONGEST = 256
"""Most frames that are anonymized together; memory stays bounded."""

_BODY = (48, 256)
"""Least and most rows of a body in the frame that an anonymizer sees."""

_WIDTH = 1.3
"""Columns of that frame in body heights: the widest stride, with room."""

_GROWN = 0.3
"""Seconds over which the body's height is smoothed to tell how fast it grows."""

_SMOOTH = 0.15
"""Seconds over which the body's place and size are smoothed: what jitters, and how the head bobs, does not pass."""


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Consecutive frames in which a person walks.

    Args:
        person: who.
        first: frame number.
        indices: ``(t,)`` for each frame the person's index of it, -1 where it was missed.
        top: ``(t,)`` row of the body's top, in pixels of the video.
        bottom: ``(t,)`` row after its last.
        middle: ``(t,)`` column of its middle.
    """

    person: Person
    first: int
    indices: np.ndarray
    top: np.ndarray
    bottom: np.ndarray
    middle: np.ndarray

    @property
    def last(self) -> int:
        """The last frame's number."""
        return self.first + len(self.indices) - 1

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the frame in which the body has one size and place."""
        body = self._body()
        return body + 2 * round(MARGIN * body), round(_WIDTH * body)

    def to_canvas(self, frame: int) -> np.ndarray:
        """Return the affine map ``(2, 3)`` from pixels of the video to the frame of :attr:`shape`."""
        i, body = frame - self.first, self._body()
        zoom = body / (self.bottom[i] - self.top[i])
        return np.array(
            [
                [zoom, 0.0, self.shape[1] / 2 - zoom * self.middle[i]],
                [0.0, zoom, round(MARGIN * body) - zoom * self.top[i]],
            ]
        )

    def silhouettes(self, scale: float) -> np.ndarray:
        """Return the masks in the frame of :attr:`shape`, ``(t, h, w)`` uint8; black where the person was missed.

        Args:
            scale: pixels of the masks a pixel of the video.
        """
        import cv2

        shown = np.zeros((len(self.indices), *self.shape), np.uint8)
        for t, index in enumerate(self.indices):
            if index < 0:
                continue
            x0, y0 = (float(v) for v in self.person.boxes[index][:2])
            mask = 255 * self.person.mask(int(index)).astype(np.uint8)
            matrix = self.to_canvas(self.first + t)
            # From the mask's own pixels to the video's; the centers of pixels are at halves.
            own = np.array(
                [[1 / scale, 0, (x0 + 0.5) / scale - 0.5], [0, 1 / scale, (y0 + 0.5) / scale - 0.5], [0, 0, 1]]
            )
            # A border of nothing keeps edges soft where the mask ends at its box.
            padded = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
            shift = np.array([[1, 0, -1], [0, 1, -1], [0, 0, 1]])
            shown[t] = cv2.warpAffine(padded, matrix @ own @ shift, shown.shape[:0:-1], flags=cv2.INTER_LINEAR)
        return shown

    def _body(self) -> int:
        return int(np.clip(round(float(np.median(self.bottom - self.top))), *_BODY))


def stretches(survey: Survey, person: Person, settings: WalkSettings | None = None) -> list[Stretch]:
    """Return where a person walks and is seen whole, in order; long walks are cut into several.

    Args:
        survey: what is known of the video.
        person: one of its people.
        settings: what counts as walking.
    """
    settings = settings or WalkSettings()
    frames, boxes = np.array(person.frames), np.stack(person.boxes)
    fps, scale = survey.source.fps, survey.scale
    rows, columns = (round(v * scale) for v in (survey.source.rows, survey.source.columns))
    whole = whole_frames(boxes, np.array(person.areas), rows, columns, fps)
    height, speed, place = movement(frames, boxes, np.array(person.middles), fps)
    if len(frames) > 1:
        # Who comes toward the camera grows. As a lens usually sees, its picture is as wide as what it shows is far.
        growth = np.gradient(gaussian_filter1d(np.log(height), _GROWN * fps, mode="nearest"), frames / fps)
        speed = np.hypot(speed, growth * columns / height)
    use = np.flatnonzero(whole & (speed > settings.speed))
    if not len(use):
        return []
    runs = np.split(use, np.flatnonzero(np.diff(frames[use]) > 1 + settings.gap * fps) + 1)
    least = max(5, round(0.7 * fps))
    found = []
    for run in runs:
        span = np.arange(frames[run[0]], frames[run[-1]] + 1)
        if len(run) < least:
            continue
        indices = np.full(len(span), -1)
        indices[frames[run] - span[0]] = run
        top, bottom = (_steady(boxes[run, side], frames[run], span, fps) / scale for side in (1, 3))
        middle = _steady(place[run, 0], frames[run], span, fps) / scale
        for part in np.array_split(np.arange(len(span)), -(-len(span) // _LONGEST)):
            found.append(
                Stretch(
                    person=person,
                    first=int(span[part[0]]),
                    indices=indices[part],
                    top=top[part],
                    bottom=bottom[part],
                    middle=middle[part],
                )
            )
    return found


def _steady(values: Sequence[float] | np.ndarray, frames: np.ndarray, span: np.ndarray, fps: float) -> np.ndarray:
    """Return values at every frame of a span, without outliers and smooth."""
    dense = np.interp(span, frames, np.asarray(values, float))
    return gaussian_filter1d(median_filter(dense, 5, mode="nearest"), _SMOOTH * fps, mode="nearest")
