"""How natural a changed clip looks: a person in each frame, smooth motion, legs that walk, overlap with the original.

None of these decides what is shown: they are reported. The score of the whole clip is in ``models.walking``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from scipy.ndimage import gaussian_filter1d

from gaitkeeper.errors import DataError, WeightsError

PERSON = 128
"""Grey value from which a pixel of a silhouette is person."""

LEGS = 1 / 3
"""Share of the body's height, from below, that is legs here."""


class PersonDetector(Protocol):
    """Anything that tells how sure it is that a person is at some place."""

    def __call__(self, frame: np.ndarray, box: Sequence[float]) -> float:
        """Return the probability of "person" in ``box`` (x0, y0, x1, y1) of an RGB frame ``(h, w, 3)`` uint8."""
        ...


def frame_scores(frames: np.ndarray, boxes: np.ndarray, detector: PersonDetector | None = None) -> np.ndarray:
    """Score how much what is in a box looks like a person, frame by frame.

    Args:
        frames: ``(t, h, w, 3)`` uint8 RGB.
        boxes: ``(t, 4)`` x0, y0, x1, y1 in pixels, exclusive on the right and below, about as tall as the person; NaN
            or empty where nobody is.
        detector: :class:`HogDetector` without.

    Returns:
        ``(t,)`` float64 probabilities of "person"; NaN where nobody is.

    Raises:
        DataError: frames or boxes have other shapes or types.

    Reference:
        Tieu et al., "Spatio-temporal generative adversarial network for gait anonymization", JISA 46, 2019, section
        4.3.
    """
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3:
        raise DataError(f"expected frames (t, h, w, 3) uint8, got {frames.shape} {frames.dtype}")
    given = np.asarray(boxes, dtype=float)
    if given.shape != (len(frames), 4):
        raise DataError(f"expected {len(frames)} boxes (t, 4), got {given.shape}")
    found = detector or HogDetector()
    scores = np.full(len(frames), np.nan)
    for t, (frame, box) in enumerate(zip(frames, given, strict=True)):
        if np.isfinite(box).all() and box[2] > box[0] and box[3] > box[1]:
            scores[t] = found(frame, tuple(box.tolist()))
    return scores


@dataclass(frozen=True, kw_only=True)
class HogDetector:
    """OpenCV's people detector: a linear machine on histograms of gradients, searched for at and around the box.

    It comes with OpenCV, and misses people, so it scores and never decides.

    Args:
        slope: of the logistic function that makes a probability of the machine's score.
        middle: score at which that is one half.
        heights: of the person in the detector's window of 128 rows.
        shift: most pixels, at that scale, by which the window leaves the box's center.

    Reference:
        Dalal and Triggs, "Histograms of oriented gradients for human detection", CVPR 2005.

    Deviations:
        Slope and middle are the logistic regression of walkers against what is no walker: 128 frames of color video
        of walkers 61 to 76 in six views, and 512 boxes on the empty places, and in the same frames 0.4 to 0.6 body
        heights beside, above or below the walker; both blurred (standard deviation to 1.6 pixels), with 30 to 100 %
        of the contrast and noise of up to 6 grey values. Mean probabilities there are 0.97 and 0.03. OpenCV's own
        threshold is a score of 0.
    """

    slope: float = 7.4
    middle: float = -0.96
    heights: tuple[int, ...] = (88, 96, 104)
    shift: int = 8

    def __call__(self, frame: np.ndarray, box: Sequence[float]) -> float:
        """Return the probability of "person" in a box of a frame ``(h, w, 3)`` uint8."""
        return float(1 / (1 + np.exp(-np.clip(self.slope * (self.score(frame, box) - self.middle), -500, 500))))

    def score(self, frame: np.ndarray, box: Sequence[float]) -> float:
        """Return the greatest score of the machine near a box; 0 is where OpenCV takes it for a person."""
        columns, rows = 64 + 2 * self.shift, 128 + 2 * self.shift
        best = -np.inf
        for height in self.heights:
            crop = _around(frame, box, height, (rows, columns))
            found = self._machine[0].compute(crop, (4, 4), (0, 0)).reshape(-1, len(self._machine[1]) - 1)
            best = max(best, float((found @ self._machine[1][:-1]).max()))
        return best + float(self._machine[1][-1])

    @cached_property
    def _machine(self) -> tuple[Any, np.ndarray]:
        import cv2

        return cv2.HOGDescriptor(), np.ravel(cv2.HOGDescriptor.getDefaultPeopleDetector())


def _around(frame: np.ndarray, box: Sequence[float], height: int, size: tuple[int, int]) -> np.ndarray:
    """Cut ``size`` rows and columns around a box's center, at the scale that makes the box so many pixels tall."""
    import cv2

    x0, y0, x1, y1 = box
    scale = height / (y1 - y0)
    rows, columns = (max(1, round(s / scale)) for s in size)
    left, top = round((x0 + x1 - columns) / 2), round((y0 + y1 - rows) / 2)
    # Beyond the picture's edge its last pixels go on, which gives no gradient.
    at_rows = np.arange(top, top + rows).clip(0, frame.shape[0] - 1)
    at_columns = np.arange(left, left + columns).clip(0, frame.shape[1] - 1)
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(frame[np.ix_(at_rows, at_columns)], size[::-1], interpolation=way))


@dataclass(frozen=True)
class OnnxDetector:
    """A detection network of the user's, run by OpenCV on the whole frame.

    Outputs are understood in three forms: one of ``(n, 5 + classes)`` with the probability of any object fifth (YOLO
    versions 3 to 5), one of ``(4 + classes, n)`` (versions 8 and later), in both the box as center and size in pixels
    of the input; or three, boxes ``(n, 4)`` as corners in pixels of the input or shares of it, scores and classes
    ``(n,)``. Leading axes of one are ignored.

    Args:
        path: the ONNX file.
        size: rows and columns of the network's input; the frame is fitted in, with grey around it.
        person: number of the class "person".
        overlap: least intersection over union of a detection with the box.
    """

    path: Path | str
    size: tuple[int, int] = (640, 640)
    person: int = 0
    overlap: float = 0.4

    def __call__(self, frame: np.ndarray, box: Sequence[float]) -> float:
        """Return the score of the surest person that overlaps a box; 0 where there is none."""
        boxes, scores = self.people(frame)
        near = box_overlap(boxes, box) >= self.overlap
        return float(np.clip(scores[near].max(initial=0.0), 0.0, 1.0))

    def people(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return boxes ``(n, 4)`` x0, y0, x1, y1 in pixels of the frame, and how probable a person is in each.

        Raises:
            WeightsError: the network cannot take the frame, or its outputs have none of the known forms.
        """
        import cv2

        rows, columns = self.size
        scale = min(rows / frame.shape[0], columns / frame.shape[1])
        tall, wide = (max(1, round(scale * s)) for s in frame.shape[:2])
        top, left = (rows - tall) // 2, (columns - wide) // 2
        picture = np.full((rows, columns, 3), 114, np.uint8)
        picture[top : top + tall, left : left + wide] = cv2.resize(frame, (wide, tall), interpolation=cv2.INTER_LINEAR)
        try:
            self._network.setInput(np.ascontiguousarray(picture.transpose(2, 0, 1)[None], np.float32) / 255)
            names = self._network.getUnconnectedOutLayersNames()
            outputs = [np.asarray(out) for out in self._network.forward(names)]
        except cv2.error as error:
            reason = str(error).strip().splitlines()[0]
            raise WeightsError(f"{self.path}: cannot take a picture of {rows} x {columns} ({reason})") from error
        boxes, scores = self._understood(outputs)
        boxes = (boxes - np.array([left, top, left, top])) / np.array([wide, tall, wide, tall])
        return boxes * np.array([frame.shape[1], frame.shape[0]] * 2), scores

    @cached_property
    def _network(self) -> Any:
        import cv2

        if not Path(self.path).is_file():
            raise WeightsError(f"{self.path}: expected an ONNX file, found nothing")
        try:
            return cv2.dnn.readNetFromONNX(str(self.path))
        except cv2.error as error:
            reason = str(error).strip().splitlines()[0]
            raise WeightsError(f"{self.path}: expected an ONNX network that OpenCV can run ({reason})") from error

    def _understood(self, outputs: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Return boxes as corners in pixels of the input and probabilities of "person" from a network's outputs."""
        found = None
        if len(outputs) == 1 and outputs[0].ndim > 1 and outputs[0].size == np.prod(outputs[0].shape[-2:]):
            found = _one_table(outputs[0].reshape(outputs[0].shape[-2:]), self.person)
        elif len(outputs) == 3:
            found = _three_lists(outputs, self.person, self.size)
        if found is not None:
            return found
        raise WeightsError(
            f"{self.path}: expected one output (n, 5 + classes) or (4 + classes, n), or boxes, scores and classes; "
            f"found {', '.join(str(out.shape) for out in outputs)}"
        )


def _one_table(table: np.ndarray, person: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Understand a table of detections, a row or a column each; None where it is none."""
    # Eighty classes are usual, whatever the number of detections; else detections are the many.
    usual = [axis for axis in (1, 0) if table.shape[axis] in (84, 85)]
    if not (usual[0] if usual else int(np.argmin(table.shape))):
        table, first = table.T, 4
    else:
        first = 4 if table.shape[1] == 84 else 5
    if table.shape[1] <= first + person:
        return None
    scores = table[:, first + person] * (table[:, 4] if first == 5 else 1.0)
    centers, halves = table[:, :2], table[:, 2:4] / 2
    return np.concatenate([centers - halves, centers + halves], axis=1), scores


def _three_lists(
    outputs: Sequence[np.ndarray], person: int, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray] | None:
    """Understand boxes, scores and classes in any order; None where they are none."""
    longest, *others = sorted(outputs, key=lambda output: -output.size)
    if longest.shape[-1] != 4 or any(4 * output.size != longest.size for output in others):
        return None
    boxes, one, other = longest.reshape(-1, 4), others[0].reshape(-1), others[1].reshape(-1)
    # Classes are whole numbers; where scores are too, they are what does not go beyond 1.
    one_is, other_is = ((entries == np.rint(entries)).all() + (entries > 1).any() / 2 for entries in (one, other))
    classes, scores = (one, other) if one_is > other_is else (other, one)
    if boxes.max(initial=0) <= 2:
        boxes = boxes * np.array([size[1], size[0]] * 2)
    return boxes, scores * (np.rint(classes) == person)


def box_overlap(boxes: np.ndarray, box: Sequence[float]) -> np.ndarray:
    """Return the intersection over union of boxes ``(n, 4)`` with one box, ``(n,)``; x0, y0, x1, y1."""
    other = np.asarray(box, dtype=float)
    sides = np.minimum(boxes[:, 2:], other[2:]) - np.maximum(boxes[:, :2], other[:2])
    both = sides.clip(min=0).prod(axis=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).clip(min=0).prod(axis=1)
    either = areas + (other[2:] - other[:2]).prod() - both
    return np.asarray(both / np.maximum(either, 1e-9))


@dataclass(frozen=True, kw_only=True)
class Smoothness:
    """How a changed clip of silhouettes moves beside the original. Ratios are changed by original.

    A ratio is NaN where neither moves, and infinite where only the changed one does.

    Args:
        overlap: mean over frames of the intersection over union; NaN where nobody is in any frame.
        area_jitter: ratio of the mean absolute second difference of the area, as shares of the mean area.
        outline_jitter: ratio of the mean absolute second difference of the pixels, as shares of the mean area.
        leg_motion: ratio of the mean absolute change from frame to frame in the lower third of the body.
        period: seconds of a step in the original, by the width of the lower body; NaN without a rhythm.
        changed_period: the same in the changed clip.
    """

    overlap: float
    area_jitter: float
    outline_jitter: float
    leg_motion: float
    period: float
    changed_period: float

    @property
    def period_kept(self) -> float:
        """Ratio of the periods of a step; NaN where either clip has no rhythm."""
        return self.changed_period / self.period


def smoothness(original: np.ndarray, changed: np.ndarray, *, fps: float) -> Smoothness:
    """Compare how two clips of silhouettes move.

    Args:
        original: ``(t, h, w)`` uint8, person 255, at least three frames.
        changed: of the same shape, in the same place.
        fps: frames a second.

    Raises:
        DataError: the clips differ in shape, have fewer than three frames, or the frame rate is not above 0.
    """
    for clip in (original, changed):
        if clip.dtype != np.uint8 or clip.ndim != 3 or clip.shape != original.shape or len(clip) < 3:
            raise DataError(
                f"expected two clips (t, h, w) uint8 of one shape and at least 3 frames, got {original.shape} "
                f"{original.dtype} and {changed.shape} {changed.dtype}"
            )
    if not (np.isfinite(fps) and fps > 0):
        raise DataError(f"expected frames a second above 0, got {fps}")
    lower = _lower_body(original)
    legs = [float(np.abs(np.diff(clip[:, lower].astype(np.float32), axis=0)).mean()) for clip in (original, changed)]
    return Smoothness(
        overlap=silhouette_overlap(original, changed),
        area_jitter=_ratio(*(_jitter(clip.mean(axis=(1, 2), keepdims=True)) for clip in (original, changed))),
        outline_jitter=_ratio(_jitter(original), _jitter(changed)),
        leg_motion=_ratio(*legs),
        period=step_period(original, fps=fps),
        changed_period=step_period(changed, fps=fps),
    )


def silhouette_overlap(original: np.ndarray, changed: np.ndarray) -> float:
    """Return the mean over frames of intersection over union of two clips; frames without anybody are left out."""
    one, other = original >= PERSON, changed >= PERSON
    both, either = ((one & other).sum(axis=(1, 2)), (one | other).sum(axis=(1, 2)))
    shown = either > 0
    return float((both[shown] / either[shown]).mean()) if shown.any() else float("nan")


def step_period(silhouettes: np.ndarray, *, fps: float, least: float = 0.3) -> float:
    """Find the period of a step: the lag from 0.3 to 0.9 s at which the lower body's width is most like itself.

    Args:
        silhouettes: ``(t, h, w)`` uint8.
        fps: frames a second.
        least: autocorrelation below which there is no rhythm.

    Returns:
        Seconds, or NaN where there is no rhythm or the clip is too short to show one.
    """
    masks = silhouettes[:, _lower_body(silhouettes)] >= PERSON
    mass = masks.sum(axis=1)
    columns = np.arange(masks.shape[2])
    total = np.maximum(mass.sum(axis=1), 1)
    middle = mass @ columns / total
    width = np.sqrt((mass * (columns - middle[:, None]) ** 2).sum(axis=1) / total)
    signal = width - gaussian_filter1d(width, 0.5 * fps, mode="nearest")
    lags = np.arange(max(2, round(0.3 * fps)), min(round(0.9 * fps), len(signal) // 2) + 1)
    power = float(signal @ signal) / max(len(signal), 1)
    # Rounding alone also has a rhythm.
    if len(lags) < 3 or power < 1e-12:
        return float("nan")
    likeness = np.array([(signal[:-lag] @ signal[lag:]) / (len(signal) - lag) / power for lag in lags])
    best = int(likeness.argmax())
    if likeness[best] < least or best in (0, len(lags) - 1):
        return float("nan")
    before, at, after = likeness[best - 1 : best + 2]
    return float((lags[best] + 0.5 * (before - after) / (before - 2 * at + after)) / fps)


def _lower_body(silhouettes: np.ndarray) -> slice:
    """Return the rows of the lower third of where a clip's body is."""
    rows = np.flatnonzero((silhouettes >= PERSON).any(axis=(0, 2)))
    top, bottom = (int(rows[0]), int(rows[-1]) + 1) if len(rows) else (0, silhouettes.shape[1])
    return slice(bottom - max(1, round(LEGS * (bottom - top))), bottom)


def _jitter(clip: np.ndarray) -> float:
    """Return the mean absolute second difference of a clip's pixels over time, as a share of its mean."""
    values = clip.astype(np.float32)
    mean = float(values.mean())
    return float(np.abs(np.diff(values, n=2, axis=0)).mean()) / mean if mean else 0.0


def _ratio(original: float, changed: float) -> float:
    if original == 0:
        return float("nan") if changed == 0 else float("inf")
    return changed / original
