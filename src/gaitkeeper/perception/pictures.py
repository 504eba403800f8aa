"""Pictures of what was seen, for reports: outlines on frames, contact sheets of silhouettes."""

from collections.abc import Sequence

import numpy as np

from gaitkeeper.perception.people import Scene, Track

OUTLINE = (255, 0, 255)
BOX = (255, 200, 0)


def outlined(
    scene: Scene, track: Track, frame: int, *, outline: Sequence[int] = OUTLINE, box: Sequence[int] = BOX
) -> np.ndarray:
    """Draw a person's outline and box on a frame.

    Args:
        scene: where the frame comes from.
        track: whose outline.
        frame: the frame number; if the track does not have it, the frame is returned as it is.
        outline: color of the outline, RGB.
        box: color of the box, RGB.

    Returns:
        ``(rows, columns, 3)`` uint8 RGB.
    """
    import cv2

    picture = scene.clip.frames[frame].copy()
    at = int(np.searchsorted(track.frames, frame))
    if at == len(track.frames) or track.frames[at] != frame:
        return picture
    mask = track.mask(frame, picture.shape)
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    width = max(1, picture.shape[0] // 400)
    x0, y0, x1, y1 = (int(v) for v in track.boxes[at])
    cv2.rectangle(picture, (x0 - 2, y0 - 2), (x1 + 1, y1 + 1), tuple(box), width)
    cv2.drawContours(picture, contours, -1, tuple(outline), width)
    return picture


def overview(scene: Scene, track: Track, *, count: int = 4, columns: int = 2) -> np.ndarray:
    """Return some frames of a walk, evenly spaced, with the person outlined, as one picture.

    Args:
        scene: where the frames come from.
        track: whose outline; frames of its walk are shown, or of the whole track if it has none.
        count: how many frames.
        columns: how many side by side.

    Returns:
        ``(rows, columns, 3)`` uint8 RGB.
    """
    frames = track.kept if len(track.kept) else track.frames
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(count, len(frames))).round().astype(int))
    return tiled([outlined(scene, track, int(frames[i])) for i in chosen], columns=columns)


def contact_sheet(silhouettes: np.ndarray, *, every: int = 1, columns: int = 12, zoom: int = 2) -> np.ndarray:
    """Return aligned silhouettes side by side.

    Args:
        silhouettes: ``(t, rows, columns)`` uint8.
        every: 1 shows all, 2 every second, and so on.
        columns: how many side by side.
        zoom: pixels a side that a pixel becomes.

    Returns:
        ``(rows, columns, 3)`` uint8 RGB.
    """
    shown = silhouettes[::every].repeat(zoom, axis=1).repeat(zoom, axis=2)
    return tiled([np.repeat(s[..., None], 3, axis=2) for s in shown], columns=columns)


def tiled(pictures: Sequence[np.ndarray], *, columns: int, gap: int = 4, color: int = 128) -> np.ndarray:
    """Arrange pictures of one size in rows, with gaps of one grey.

    Args:
        pictures: at least one, each ``(rows, columns, 3)`` uint8.
        columns: how many side by side.
        gap: pixels between them.
        color: grey of the gaps.

    Returns:
        ``(rows, columns, 3)`` uint8.

    Raises:
        ValueError: no pictures, or of different sizes.
    """
    if not pictures or any(p.shape != pictures[0].shape for p in pictures):
        raise ValueError(f"expected pictures of one size, found {[p.shape for p in pictures]}")
    rows, wide = pictures[0].shape[:2]
    columns = min(columns, len(pictures))
    lines = -(-len(pictures) // columns)
    sheet = np.full((lines * (rows + gap) - gap, columns * (wide + gap) - gap, 3), color, np.uint8)
    for i, picture in enumerate(pictures):
        y, x = i // columns * (rows + gap), i % columns * (wide + gap)
        sheet[y : y + rows, x : x + wide] = picture
    return sheet
