"""From differences to detections, and from detections to tracks."""

from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from gaitkeeper.perception.background import Background


@dataclass(frozen=True, kw_only=True)
class DetectionSettings:
    """What counts as a person-sized difference. Lengths are shares of the picture's rows.

    Args:
        weak: distance from the background, in standard deviations, of a pixel that may belong to a person.
        strong: distance that some of a person's pixels must have.
        height: least height of a person.
        gap: greatest gap between parts of one person, one above the other.
        misses: seconds for which a track goes on without being seen.
    """

    weak: float = 2.5
    strong: float = 6.0
    height: float = 0.12
    gap: float = 0.03
    misses: float = 0.4


@dataclass
class Trail:
    """One person's boxes while they are being followed.

    Args:
        frames: frame numbers.
        boxes: ``x0, y0, x1, y1`` in pixels, one a frame, exclusive on the right and below.
    """

    frames: list[int] = field(default_factory=list)
    boxes: list[np.ndarray] = field(default_factory=list)

    def predicted(self, frame: int) -> np.ndarray:
        """Return the box in a later frame at constant speed."""
        last = self.boxes[-1].astype(float)
        back = min(5, len(self.boxes) - 1)
        if back == 0:
            return last
        before = self.boxes[-1 - back]
        steps = self.frames[-1] - self.frames[-1 - back]
        speed = ((last[:2] + last[2:]) - (before[:2] + before[2:])) / 2 / steps
        return last + np.tile(speed, 2) * (frame - self.frames[-1])


def changed(background: Background, frame: np.ndarray, settings: DetectionSettings) -> np.ndarray:
    """Return ``(rows, columns)`` uint8, 1 where the frame shows something that the background does not.

    Two thresholds: weak differences count where they touch strong ones. The light is fitted twice, the
    second time without the people found by the first.
    """
    import cv2

    rows = frame.shape[0]
    found: np.ndarray | None = None
    for _ in range(2):
        distance = background.distance(background.compensated(frame, found))
        distance = cv2.GaussianBlur(distance, (0, 0), rows / 500)
        weak = (distance > settings.weak).astype(np.uint8)
        _, labels = cv2.connectedComponents(weak, connectivity=8)
        keep = np.bincount(labels[distance > settings.strong], minlength=labels.max() + 1) >= 4
        keep[0] = False
        found = cv2.dilate(keep[labels].astype(np.uint8), _ellipse(rows / 30))
    return keep[labels].astype(np.uint8)


def detect(mask: np.ndarray, settings: DetectionSettings) -> np.ndarray:
    """Return boxes ``(n, 4)`` of person-sized regions in a mask of changed pixels.

    Parts that lie one above the other with a small gap are one person: clothes can look like what is
    behind them and cut a person in two.
    """
    import cv2

    rows = mask.shape[0]
    closed = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, _ellipse(rows / 50))
    opened = cv2.morphologyEx(closed, cv2.MORPH_OPEN, _ellipse(rows / 130))
    _, _, stats, _ = cv2.connectedComponentsWithStats(opened, connectivity=8)
    stats = stats[1:]
    stats = stats[stats[:, cv2.CC_STAT_AREA] > (0.02 * rows) ** 2]
    boxes = [np.array([x, y, x + w, y + h]) for x, y, w, h, _ in stats]
    boxes = _joined(boxes, settings.gap * rows)
    tall = [b for b in boxes if b[3] - b[1] >= settings.height * rows and b[3] - b[1] > 0.6 * (b[2] - b[0])]
    return np.array(tall, dtype=int).reshape(-1, 4)


def _joined(boxes: list[np.ndarray], gap: float) -> list[np.ndarray]:
    boxes = sorted(boxes, key=lambda b: -(b[2] - b[0]) * (b[3] - b[1]))
    merged = True
    while merged:
        merged = False
        for i, a in enumerate(boxes):
            for j in range(len(boxes) - 1, i, -1):
                b = boxes[j]
                across = min(a[2], b[2]) - max(a[0], b[0])
                apart = max(a[1], b[1]) - min(a[3], b[3])
                if across > 0.4 * min(a[2] - a[0], b[2] - b[0]) and apart < gap:
                    a = boxes[i] = np.concatenate([np.minimum(a[:2], b[:2]), np.maximum(a[2:], b[2:])])
                    del boxes[j]
                    merged = True
    return boxes


class Tracker:
    """Links detections over time: best total overlap with boxes predicted at constant speed.

    Args:
        fps: frames a second.
        settings: see the class.

    Attributes:
        active: the trails that are being followed.
        ended: those that are not any more.
    """

    def __init__(self, fps: float, settings: DetectionSettings) -> None:
        self.active: list[Trail] = []
        self.ended: list[Trail] = []
        self._patience = max(1, round(settings.misses * fps))

    def step(self, frame: int, boxes: np.ndarray) -> None:
        """Continue and begin trails with the ``(n, 4)`` boxes detected in the next frame."""
        self.ended += [p for p in self.active if frame - p.frames[-1] > self._patience]
        self.active = [p for p in self.active if frame - p.frames[-1] <= self._patience]
        free = set(range(len(boxes)))
        if self.active and len(boxes):
            cost = np.array([[_unlike(p.predicted(frame), b) for b in boxes] for p in self.active])
            for i, j in zip(*linear_sum_assignment(cost), strict=True):
                if cost[i, j] < 1:
                    self.active[i].frames.append(frame)
                    self.active[i].boxes.append(boxes[j])
                    free.discard(int(j))
        self.active += [Trail([frame], [boxes[j]]) for j in sorted(free)]


def follow(detections: list[np.ndarray], fps: float, settings: DetectionSettings) -> list[Trail]:
    """Link the detections of a whole clip, see :class:`Tracker`.

    Args:
        detections: one ``(n, 4)`` array of boxes a frame.
        fps: frames a second.
        settings: see the class.

    Returns:
        Paths, longest first.
    """
    tracker = Tracker(fps, settings)
    for frame, boxes in enumerate(detections):
        tracker.step(frame, boxes)
    return sorted(tracker.ended + tracker.active, key=lambda p: -len(p.frames))


def _unlike(a: np.ndarray, b: np.ndarray) -> float:
    """Return 1 - overlap over union; at least 1 means that the boxes cannot be one person."""
    size = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    overlap = float(np.prod(size.clip(0)))
    union = float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - overlap
    return 1 - overlap / union if overlap > 0.1 * union else 2.0


def _ellipse(size: float) -> np.ndarray:
    import cv2

    odd = max(1, 2 * round((size - 1) / 2) + 1)
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (odd, odd))
