"""What a static camera sees when nobody is there, and how far each frame is from it."""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from scipy.ndimage import uniform_filter

from gaitkeeper.errors import VideoError
from gaitkeeper.perception.video import Clip

_CELL = 4
"""Pixels a side of the cells in which blocks of frames are compared."""
_BLOCK = 16
"""Pixels a side of a block; the background is chosen block by block."""


@dataclass(frozen=True, kw_only=True)
class BackgroundSettings:
    """How the background is found.

    Args:
        samples: frames it is estimated from, spread over the clip.
        share: least share of the clip in which each place is seen empty.
        noise_floor: least noise in grey levels; video codecs flatten noise away and bring it back.
        motion: shift between frames, in picture widths, beyond which the camera is said to move.
    """

    samples: int = 80
    share: float = 0.2
    noise_floor: float = 3.0
    motion: float = 0.006


@dataclass(frozen=True)
class Background:
    """An empty scene.

    Args:
        picture: ``(rows, columns, 3)`` float32 RGB.
        noise: ``(rows, columns, 3)`` float32 standard deviation in grey levels.
    """

    picture: np.ndarray
    noise: np.ndarray

    def light(
        self, frame: np.ndarray, mask: np.ndarray | None = None, window: tuple[slice, slice] | None = None
    ) -> np.ndarray:
        """Return by how much a frame is lighter than the background.

        Automatic exposure, white balance and flare change slowly over the picture: the logarithm of
        frame over background is smoothed where it is plausibly light and not a person.

        Args:
            frame: ``(rows, columns, 3)`` uint8 of the background's size.
            mask: nonzero where a person is known to be, left out of the fit; of any size.
            window: rows and columns to return; everything if None.

        Returns:
            ``(rows, columns, 3)`` float32, of the window.
        """
        import cv2

        size = self._coarse.shape[1::-1]
        seen = cv2.resize(frame, size, interpolation=cv2.INTER_AREA).astype(np.float32)
        ratio = np.log((seen + 8) / (self._coarse + 8))
        everywhere = np.median(ratio, axis=(0, 1))
        rest = ratio - everywhere
        weight = np.exp(-((np.abs(rest).max(axis=-1) / 0.1) ** 2))
        if mask is not None:
            weight *= 1 - cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA).clip(0, 1)
        around = cv2.GaussianBlur(weight.astype(np.float32), (0, 0), 5)
        # With little support nearby the correction shrinks to the one for the whole picture.
        local = cv2.GaussianBlur(rest * weight[..., None], (0, 0), 5) / (around[..., None] + 0.15)
        part = frame[window] if window else frame
        top, left = (window[0].start, window[1].start) if window else (0, 0)
        zoom = np.array(size) / frame.shape[1::-1]
        to_coarse = np.array([[zoom[0], 0, (left + 0.5) * zoom[0] - 0.5], [0, zoom[1], (top + 0.5) * zoom[1] - 0.5]])
        return cv2.warpAffine(
            np.exp(everywhere + local),
            to_coarse,
            part.shape[1::-1],
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )

    def compensated(
        self, frame: np.ndarray, mask: np.ndarray | None = None, window: tuple[slice, slice] | None = None
    ) -> np.ndarray:
        """Return a frame, or a window of it, as it would look in the background's light; see :meth:`light`."""
        return (frame[window] if window else frame) / self.light(frame, mask, window)

    @cached_property
    def _coarse(self) -> np.ndarray:
        """The picture at the scale at which light is compared."""
        import cv2

        rows, columns = self.picture.shape[:2]
        size = (max(1, columns // 16), max(1, rows // 16))
        return cv2.resize(self.picture, size, interpolation=cv2.INTER_AREA)

    def distance(self, compensated: np.ndarray) -> np.ndarray:
        """Return ``(rows, columns)`` float32: root mean square over colors of difference over noise."""
        difference = (compensated - self.picture) / self.noise
        return np.sqrt(np.einsum("ijk,ijk->ij", difference, difference) / 3)


def find_background(
    clip: Clip, settings: BackgroundSettings | None = None, *, empty: np.ndarray | None = None
) -> Background:
    """Estimate the empty scene of a static camera.

    Every place need be empty only in a fifth of the clip, at any time: of the frames of a block the one
    is taken that most others resemble, surroundings included, and the median over those. People who stand
    still for long, each differently, thus do not become background as they do in a plain median.

    Args:
        clip: the frames; at least 8.
        settings: see the class.
        empty: ``(rows, columns, 3)`` uint8, the empty scene where it is known; the frames then tell only the noise.

    Raises:
        VideoError: too few frames, no light or texture in them, or the camera moves.
    """
    settings = settings or BackgroundSettings()
    if len(clip) < 8:
        raise VideoError(f"{clip.path}: expected at least 8 frames to tell people from background, found {len(clip)}")
    chosen = np.unique(np.linspace(0, len(clip) - 1, settings.samples).round().astype(int))
    frames = clip.frames[chosen]
    if np.percentile(frames[:, ::4, ::4], 99.5) < 16:
        raise VideoError(f"{clip.path}: expected a visible scene, found black frames")
    _check_camera(clip, settings)
    if empty is not None:
        picture = empty.astype(np.float32)
        return Background(picture, measured_noise(Background(picture, np.ones_like(picture)), frames, settings))
    gains, cells = _same_exposure(frames)
    near = _typical(cells, max(3, round(settings.share * len(frames))))
    rows, columns = frames.shape[1:3]
    picture = np.empty((rows, columns, 3), np.float32)
    for i in range(near.shape[0]):
        for j in range(near.shape[1]):
            block = _block(i, j, near.shape, rows, columns)
            picture[block] = np.median(frames[near[i, j], *block] / gains[near[i, j]], axis=0)
    noise = measured_noise(Background(picture, np.ones_like(picture)), clip.frames[chosen], settings)
    return Background(picture, noise)


def _same_exposure(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return one gain a frame and color, ``(t, 1, 1, 3)``, and the frames in cells with it taken out."""
    import cv2

    rows, columns = frames.shape[1:3]
    size = (max(1, columns // _CELL), max(1, rows // _CELL))
    cells = np.stack([cv2.resize(f, size, interpolation=cv2.INTER_AREA) for f in frames]).astype(np.float32)
    middle = np.median(cells, axis=0)
    gains = np.median((cells + 4) / (middle + 4), axis=(1, 2))[:, None, None].astype(np.float32)
    return gains, cells / gains


def _typical(cells: np.ndarray, count: int) -> np.ndarray:
    """Return ``(block rows, block columns, count)``: for each block the frames most alike."""
    frames, rows, columns = cells.shape[:3]
    side = _BLOCK // _CELL
    high, wide = max(1, rows // side), max(1, columns // side)
    # The root makes noise and differences in dark clothes comparable with those on bright walls.
    blocks = np.sqrt(cells[:, : high * side, : wide * side] + 4)
    blocks = blocks.reshape(frames, high, -1, wide, blocks.shape[2] // wide, 3)
    blocks = blocks.transpose(1, 3, 0, 2, 4, 5).reshape(high, wide, frames, -1)
    squares = np.einsum("ijtk,ijtk->ijt", blocks, blocks)
    apart = squares[..., :, None] + squares[..., None, :] - 2 * blocks @ blocks.swapaxes(-1, -2)
    # A uniform black coat agrees with itself better than a wall does; with its surroundings it does not.
    apart = uniform_filter(apart, (5, 5, 1, 1), mode="nearest")
    center = np.partition(apart, count - 1, axis=-1)[..., count - 1].argmin(axis=-1)
    to_center = np.take_along_axis(apart, center[..., None, None], axis=2)[..., 0, :]
    return np.argpartition(to_center, count - 1, axis=-1)[..., :count]


def _block(i: int, j: int, shape: tuple[int, ...], rows: int, columns: int) -> tuple[slice, slice]:
    """Return the pixels of block (i, j); the last ones reach to the edge."""
    bottom = rows if i == shape[0] - 1 else (i + 1) * _BLOCK
    right = columns if j == shape[1] - 1 else (j + 1) * _BLOCK
    return slice(i * _BLOCK, bottom), slice(j * _BLOCK, right)


def measured_noise(background: Background, frames: np.ndarray, settings: BackgroundSettings) -> np.ndarray:
    """Return how far frames of a scene usually are from its background.

    Args:
        background: the empty scene; its own noise is not used.
        frames: ``(t, rows, columns, 3)`` uint8 of the same size.
        settings: of finding backgrounds.

    Returns:
        ``(rows, columns, 3)`` float32 standard deviation in grey levels.
    """
    import cv2

    frames = frames[:: max(1, len(frames) // 40)]
    apart = np.stack([np.abs(background.compensated(f) - background.picture).astype(np.float16) for f in frames])
    # A quantile well below the median, since people may cover a place most of the time;
    # 0.319 standard deviations is what a quarter of normal noise stays within.
    rank = max(1, len(frames) // 4)
    noise = np.partition(apart, rank, axis=0)[rank].astype(np.float32) / 0.319
    return np.maximum(cv2.blur(noise, (5, 5)), settings.noise_floor)


def _check_camera(clip: Clip, settings: BackgroundSettings) -> None:
    """Refuse a moving camera: most parts of the picture shift, and by the same amount."""
    import cv2

    rows, columns = clip.frames.shape[1:3]
    width = 320
    size = (width, max(24, round(rows * width / columns)))
    chosen = np.unique(np.linspace(0, len(clip) - 1, 25).round().astype(int))
    grey = [cv2.cvtColor(clip.frames[i], cv2.COLOR_RGB2GRAY) for i in chosen]
    small = [cv2.resize(g, size, interpolation=cv2.INTER_AREA).astype(np.float32) for g in grey]
    sharp = [g - cv2.GaussianBlur(g, (0, 0), 4) for g in small]
    high, wide = size[1] // 3, size[0] // 3
    window = cv2.createHanningWindow((wide, high), cv2.CV_32F)
    shifts = []
    for before, after in pairwise(sharp):
        parts = []
        for i in range(3):
            for j in range(3):
                part = slice(i * high, (i + 1) * high), slice(j * wide, (j + 1) * wide)
                if before[part].std() < 1.5 or after[part].std() < 1.5:
                    continue  # a plain wall shows no motion
                shift, response = cv2.phaseCorrelate(before[part], after[part], window)
                if response > 0.1:
                    parts.append(shift)
        if len(parts) >= 2:
            shifts.append(np.hypot(*np.median(parts, axis=0)))
    if len(shifts) >= 3 and np.percentile(shifts, 70) > settings.motion * width:
        raise VideoError(
            f"{clip.path}: expected a camera that stands still, "
            f"found the picture shifting by {100 * np.percentile(shifts, 70) / width:.1f} % of its width"
        )
