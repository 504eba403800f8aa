"""Skeletons as drawn figures, to be played side by side: as recorded, attacked, and one over the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from gaitkeeper.audit.report import Panel
from gaitkeeper.errors import DataError
from gaitkeeper.motion.skeletons import Layout

HEIGHT = 280
"""Rows of a panel, pixels."""

MARKED = 4
"""Joints that are marked in a frame: those that moved most."""

_ASPECT = (0.72, 1.35)
_TURN, _DIP = np.radians(28.0), np.radians(9.0)
_MARGIN = 0.06
_TILE = 0.5
# Positions are passed to OpenCV in sixteenths of a pixel, so that slow movements do not jump.
_SHIFT = 4

_PAPER, _FLOOR = (250, 250, 248), (226, 228, 230)
_RECORDED = {"left": (120, 132, 146), "right": (160, 166, 172), "middle": (92, 98, 106)}
_FAINT = {"left": (186, 192, 198), "right": (202, 205, 208), "middle": (172, 177, 182)}
_ATTACKED = {"left": (0, 114, 178), "right": (213, 94, 0), "middle": (52, 60, 70)}
_MARK = (204, 40, 140)
# Softened edges are drawn in few tones of these colors, which makes small files; a tone of the floor is between two.
_COLORS = (*_RECORDED.values(), *_FAINT.values(), *_ATTACKED.values(), _MARK)
_TONES = (1.0, 0.5)
_HEADS = ("head", "upperneck", "nose")


@dataclass(frozen=True, kw_only=True)
class Camera:
    """An orthographic camera that does not move.

    Args:
        axes: ``(3, 3)``: rows point right, up and toward the viewer.
        scale: pixels a metre.
        middle: ``(2,)`` of what is seen, along the first two axes, metres.
        size: width and height of the picture, pixels.
        floor: height of the floor, metres; None where there is none to draw.
        ground: ``(2, 2)`` least and largest place on the floor that is drawn, metres.
        level: the two coordinates along the floor.
    """

    axes: np.ndarray
    scale: float
    middle: np.ndarray
    size: tuple[int, int]
    floor: float | None
    ground: np.ndarray
    level: tuple[int, int]

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return pixels ``(..., 2)`` of points ``(..., 3)``, and how near each is to the viewer, ``(...)`` metres."""
        seen = points @ self.axes.T
        offset = (seen[..., :2] - self.middle) * (self.scale, -self.scale)
        return offset + np.array(self.size) / 2, seen[..., 2]


def see(motions: Sequence[np.ndarray], layout: Layout, *, height: int = HEIGHT) -> Camera:
    """Return a camera that has motions in sight, from before and a little to the side.

    Args:
        motions: each ``(m, t, v, 3)``; persons that are all 0 in a frame are absent there.
        layout: of all.
        height: of the picture, pixels; its width follows from what there is to see.

    Raises:
        DataError: there is nobody to see.
    """
    places = np.concatenate([motion[_present(motion)] for motion in motions])
    if not places.size or not np.isfinite(places).all():
        raise DataError(f"expected joints to draw, all finite, got {places.shape[0]} skeletons in {len(motions)} clips")
    flat = layout.units == "picture"
    axes = np.diag([1.0, -1.0, 0.0]) if flat else _axes(places[0], layout)
    seen = places @ axes.T
    low, high = seen.min((0, 1))[:2], seen.max((0, 1))[:2]
    span = np.maximum(high - low, 1e-6)
    aspect = float(np.clip(span[0] / span[1], *_ASPECT))
    size = (2 * round(height * aspect / 2), height)
    level = tuple(axis for axis in range(3) if axis != layout.up)
    ground = np.stack([places[..., level].min((0, 1)), places[..., level].max((0, 1))])
    return Camera(
        axes=axes,
        scale=float(((1 - 2 * _MARGIN) * np.array(size) / span).min()),
        middle=(low + high) / 2,
        size=size,
        floor=None if flat else float(places[:, list(layout.feet), layout.up].min()),
        ground=ground,
        level=(level[0], level[1]),
    )


def draw(
    layers: Sequence[tuple[np.ndarray, Mapping[str, tuple[int, int, int]]]],
    layout: Layout,
    camera: Camera,
    *,
    moved: np.ndarray | None = None,
) -> np.ndarray:
    """Draw motions over each other.

    Args:
        layers: each a motion ``(m, t, v, 3)`` of the same number of frames, and the colors of its ``left``, ``right``
            and ``middle`` bones, RGB; later ones are in front.
        layout: of all.
        camera: from where they are seen.
        moved: ``(m, t, v)`` metres that joints of the last layer were moved by; in each frame those that moved most
            are marked, the larger the farther.

    Returns:
        uint8 ``(t, h, w, 3)``, RGB.
    """
    ground = _ground(camera)
    frames = np.repeat(ground[None], layers[0][0].shape[1], axis=0)
    thick = max(2, round(camera.size[1] / 90))
    sides = _sides(layout)
    head = next((layout.joints.index(name) for name in _HEADS if name in layout.joints), None)
    bones = [pair for pair in layout.bones if layout.places[pair[0]] != layout.places[pair[1]]]
    for motion, colors in layers:
        pixels, near = camera.project(motion)
        points = np.round(pixels * (1 << _SHIFT)).astype(int)
        present = _present(motion)
        for t, frame in enumerate(frames):
            for m in np.flatnonzero(present[:, t]):
                at, depth = points[m, t].tolist(), near[m, t]
                for start, end in sorted(bones, key=lambda bone: depth[list(bone)].sum()):
                    color = colors[sides[end]]
                    cv2.line(frame, at[start], at[end], color, thick, cv2.LINE_AA, _SHIFT)
                if head is not None:
                    radius = round(0.075 * camera.scale * (1 << _SHIFT))
                    cv2.circle(frame, at[head], radius, colors["middle"], -1, cv2.LINE_AA, _SHIFT)
    if moved is not None:
        _mark(frames, camera.project(layers[-1][0])[0], moved, layout)
    return _snapped(frames)


def stick_panels(clean: np.ndarray, attacked: np.ndarray, layout: Layout, *, height: int = HEIGHT) -> list[Panel]:
    """Draw a clip as recorded, as attacked, and the one over the other, all from one place.

    In the overlay the recorded motion is grey behind the attacked one, and the joints that moved most are marked.

    Args:
        clean: ``(m, t, v, 3)`` metres.
        attacked: the same shape.
        layout: of both.
        height: of the pictures, pixels.

    Raises:
        DataError: the two are not of one shape, or show nobody.
    """
    moved, camera = _pair(clean, attacked, layout, height)
    over = draw([(clean, _FAINT), (attacked, _ATTACKED)], layout, camera, moved=moved)
    return [
        Panel(label="recorded", frames=draw([(clean, _RECORDED)], layout, camera)),
        Panel(label="attacked", frames=draw([(attacked, _ATTACKED)], layout, camera)),
        Panel(label="one over the other", frames=over),
    ]


def strip(
    clean: np.ndarray, attacked: np.ndarray, layout: Layout, *, count: int = 6, height: int = HEIGHT
) -> np.ndarray:
    """Draw overlays of evenly spaced frames side by side, as a still.

    Args:
        clean: ``(m, t, v, 3)`` metres.
        attacked: the same shape.
        layout: of both.
        count: of frames.
        height: of the picture, pixels.

    Returns:
        uint8 ``(h, w, 3)``, RGB.

    Raises:
        DataError: the two are not of one shape, or show nobody.
    """
    moved, camera = _pair(clean, attacked, layout, height)
    chosen = np.unique(np.linspace(0, clean.shape[1] - 1, count).round().astype(int))
    layers = [(clean[:, chosen], _FAINT), (attacked[:, chosen], _ATTACKED)]
    return np.concatenate(list(draw(layers, layout, camera, moved=moved[:, chosen])), axis=1)


def _pair(clean: np.ndarray, attacked: np.ndarray, layout: Layout, height: int) -> tuple[np.ndarray, Camera]:
    if clean.shape != attacked.shape or clean.ndim != 4 or clean.shape[2:] != (len(layout), 3) or not clean.size:
        raise DataError(
            f"expected two motions (m, t, {len(layout)}, 3) of one shape, got {clean.shape} and {attacked.shape}"
        )
    camera = see([clean, attacked], layout, height=height)
    return np.linalg.norm(attacked - clean, axis=-1), camera


def _present(motion: np.ndarray) -> np.ndarray:
    """Return ``(m, t)`` bool: the person is there."""
    present: np.ndarray = np.any(motion != 0, axis=(2, 3))
    return present


def _axes(pose: np.ndarray, layout: Layout) -> np.ndarray:
    """Return a camera's axes: before the person of a pose ``(v, 3)``, turned to its side and dipped a little."""
    up = np.eye(3)[layout.up]
    toward_left = sum(pose[left] - pose[right] for left, right in layout.across)
    ahead = np.cross(toward_left, up)
    if np.linalg.norm(ahead) < 1e-6:
        ahead = np.eye(3)[(layout.up + 1) % 3]
    ahead = ahead / np.linalg.norm(ahead)
    # Seen from before, the person's left is on the right.
    right = np.cross(up, ahead)
    toward = np.cos(_TURN) * ahead + np.sin(_TURN) * right
    right = np.cross(up, toward)
    toward = np.cos(_DIP) * toward + np.sin(_DIP) * up
    return np.stack([right, np.cross(toward, right), toward])


def _ground(camera: Camera) -> np.ndarray:
    """Return the empty picture ``(h, w, 3)``, with squares of half a metre where the floor is."""
    width, height = camera.size
    picture = np.full((height, width, 3), _PAPER, np.uint8)
    if camera.floor is None:
        return picture
    low, high = np.floor(camera.ground[0] / _TILE - 0.5), np.ceil(camera.ground[1] / _TILE + 0.5)
    points = np.full((2, 3), camera.floor)
    for across in range(2):
        for line in np.arange(low[across], high[across] + 1):
            points[:, camera.level[across]] = line * _TILE
            points[:, camera.level[1 - across]] = np.array([low[1 - across], high[1 - across]]) * _TILE
            start, end = np.round(camera.project(points)[0] * (1 << _SHIFT)).astype(int).tolist()
            cv2.line(picture, start, end, _FLOOR, 1, cv2.LINE_AA, _SHIFT)
    return picture


def _sides(layout: Layout) -> list[str]:
    """Return each joint's side: ``left``, ``right`` or ``middle``."""
    found = ["middle"] * len(layout)
    for left, right in layout.pairs:
        # The sides of a pelvis that is one point have no limb of their own.
        if layout.places[left] != layout.places[right]:
            found[left], found[right] = "left", "right"
    return found


def _mark(frames: np.ndarray, pixels: np.ndarray, moved: np.ndarray, layout: Layout) -> None:
    """Mark joints ``(m, t, v, 2)``, in place; the largest distance of the clip gets the largest mark."""
    most = moved.max()
    joints = np.array(layout.distinct)
    if most <= 0:
        return
    for t, frame in enumerate(frames):
        distances = moved[:, t, joints]
        for index in np.argsort(distances, axis=None)[::-1][:MARKED]:
            person, joint = np.unravel_index(index, distances.shape)
            share = distances[person, joint] / most
            at = np.round(pixels[person, t, joints[joint]] * (1 << _SHIFT)).astype(int).tolist()
            radius = round((1.5 + frames.shape[1] / 60 * share) * (1 << _SHIFT))
            if share > 0.05:
                cv2.circle(frame, at, radius, _MARK, -1, cv2.LINE_AA, _SHIFT)


def _snapped(frames: np.ndarray) -> np.ndarray:
    """Return frames ``(t, h, w, 3)`` in the nearest tones of the figures' colors."""
    palette, table = _palette()
    cells = (frames >> 3).astype(np.uint16)
    return palette[table[cells[..., 0] << 10 | cells[..., 1] << 5 | cells[..., 2]]]


@lru_cache(maxsize=1)
def _palette() -> tuple[np.ndarray, np.ndarray]:
    """Return tones ``(k, 3)``, and for each color in steps of eight ``(32768,)`` the nearest of them."""
    tones = {_PAPER, *(_mixed(_FLOOR, share) for share in (1.0, 0.5))}
    tones |= {_mixed(color, share) for color in _COLORS for share in _TONES}
    palette = np.array(sorted(tones), np.uint8)
    every = np.stack(np.meshgrid(*[np.arange(32)] * 3, indexing="ij"), axis=-1).reshape(-1, 3) * 8 + 4
    apart = np.stack([np.square(every - tone.astype(int)).sum(1) for tone in palette], axis=1)
    return palette, apart.argmin(1).astype(np.uint8)


def _mixed(color: tuple[int, int, int], share: float) -> tuple[int, ...]:
    return tuple(round(share * value + (1 - share) * paper) for value, paper in zip(color, _PAPER, strict=True))
