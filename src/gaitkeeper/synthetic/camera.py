"""The eleven cameras of CASIA-B around a walker."""

from dataclasses import dataclass

import numpy as np

ROWS, COLUMNS = 240, 320


@dataclass(frozen=True, kw_only=True)
class Camera:
    """A pinhole camera on the walker's left, looking at the middle of the walk.

    Args:
        view: angle in degrees, 0 where the walker comes toward the camera, 180 away from it.
        distance: metres from the middle of the walk.
        height: metres above the floor.
        target: height of the point looked at.
        focal: focal length in pixels of a 240 × 320 picture.
    """

    view: float
    distance: float = 6.5
    height: float = 1.35
    target: float = 0.92
    focal: float = 430.0

    @property
    def matrix(self) -> np.ndarray:
        """Rows are right, down, ahead and position of the camera in the world, ``(4, 3)``."""
        angle = np.deg2rad(self.view)
        position = np.array([self.distance * np.cos(angle), self.height, -self.distance * np.sin(angle)])
        ahead = np.array([0.0, self.target, 0.0]) - position
        ahead /= np.linalg.norm(ahead)
        right = np.cross(ahead, np.array([0.0, 1.0, 0.0]))
        right /= np.linalg.norm(right)
        return np.stack([right, np.cross(ahead, right), ahead, position])
