"""Masks that a user brings, in place of our own segmentation."""

from pathlib import Path

import numpy as np

from gaitkeeper.errors import DataError
from gaitkeeper.perception.tracking import Trail


class MaskFolder:
    """A user's own masks: a PNG file for each frame, in order of their names.

    Args:
        folder: where they are.

    Raises:
        DataError: there is no such folder, or no PNG file in it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._paths = sorted(folder.glob("*.png")) if folder.is_dir() else []
        if not self._paths:
            raise DataError(f"{folder}: expected a folder with a PNG mask for each frame, found none")

    def check(self, count: int, rows: int, columns: int) -> None:
        """Raise a DataError unless there is a mask of the video's size for each frame."""
        if len(self._paths) != count:
            raise DataError(f"{self.folder}: expected {count} PNG masks, one a frame, found {len(self._paths)}")
        for number in range(count):
            found = self._load(number).shape
            if found != (rows, columns):
                raise DataError(
                    f"{self._paths[number]}: expected a mask of {columns}x{rows} pixels as the video's, "
                    f"found {found[1]}x{found[0]}"
                )

    def read(self, number: int, size: tuple[int, int]) -> np.ndarray:
        """Return a frame's mask, ``size`` uint8, 1 where people are."""
        import cv2

        mask = (self._load(number) > 0).astype(np.float32)
        return (cv2.resize(mask, size[::-1], interpolation=cv2.INTER_AREA) >= 0.5).astype(np.uint8)

    def cut(
        self, trail: Trail, begin: int, size: tuple[int, int], scale: np.ndarray
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """Return boxes and masks of a person, as :func:`~gaitkeeper.perception.segmentation.segment` does."""
        boxes, masks = [], []
        for frame, box in zip(trail.frames, trail.boxes, strict=True):
            inside = np.zeros(size, bool)
            x0, y0, x1, y1 = (box * scale + (-3, -3, 3, 3)).round().astype(int)
            inside[max(0, y0) : y1, max(0, x0) : x1] = True
            mask = self.read(begin + frame, size).astype(bool) & inside
            ys, xs = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            own = (xs[0], ys[0], xs[-1] + 1, ys[-1] + 1) if len(ys) else (x0, y0, x0, y0)
            boxes.append(np.array(own))
            masks.append(mask[own[1] : own[3], own[0] : own[2]] if len(ys) else np.zeros((0, 0), bool))
        return np.stack(boxes), masks

    def _load(self, number: int) -> np.ndarray:
        import cv2

        mask = cv2.imread(str(self._paths[number]), cv2.IMREAD_GRAYSCALE)
        if mask is None:
            raise DataError(f"{self._paths[number]}: expected a PNG mask, found a file that is none")
        return mask
