"""Cameras around a walker: the eleven of CASIA-B, and those of other recordings."""

from dataclasses import dataclass

import numpy as np

from gaitkeeper.synthetic.body import USUAL, People
from gaitkeeper.synthetic.population import CONDITIONS, FPS, SUBJECTS, VIEWS

ROWS, COLUMNS = 240, 320


@dataclass(frozen=True, kw_only=True)
class Camera:
    """A pinhole camera around the walker, looking at the middle of the walk.

    Args:
        view: angle in degrees, 0 where the walker comes toward the camera, 180 away from it. Up to there the camera
            stands on the walker's left, beyond on the right.
        distance: metres from the middle of the walk.
        height: metres above the floor.
        target: height of the point looked at.
        focal: focal length in pixels.
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


@dataclass(frozen=True, kw_only=True)
class Recording:
    """How a data set records people: whom, on which walks, from where.

    Args:
        subjects: they are numbered 1 to this.
        people: what their bodies are like on average.
        conditions: names of each subject's walks; what they say of bags and coats is in ``clothing.draw_outfit``.
        views: camera angles in degrees, as the data set counts them.
        fps: frames a second.
        rows: height of the pictures.
        columns: their width.
        distance: metres from the camera to the middle of the walk.
        height: metres from the floor to the camera.
        focal: focal length in pixels.
    """

    subjects: int = SUBJECTS
    people: People = USUAL
    conditions: tuple[str, ...] = CONDITIONS
    views: tuple[int, ...] = VIEWS
    fps: float = FPS
    rows: int = ROWS
    columns: int = COLUMNS
    distance: float = Camera.distance
    height: float = Camera.height
    focal: float = Camera.focal

    def camera(self, condition: str, view: int) -> Camera:
        """Return the camera that sees a walk from a view."""
        return Camera(view=view, distance=self.distance, height=self.height, focal=self.focal)


@dataclass(frozen=True, kw_only=True)
class OutdoorRecording(Recording):
    """CASIA-A's way: one camera, past which everybody walks four times in each of three directions.

    Walks are named ``<direction>_<take>``, ``00_1`` to ``90_4``. Directions are angles to the image plane: at 0 the
    camera sees the walker from the side, at 90 from the front. In every second take the walker comes back, and so
    is seen from the other side or from behind.
    """

    def camera(self, condition: str, view: int) -> Camera:
        """Return the camera that sees a walk from a view."""
        back = 0 if condition[-1] in "13" else 180
        return Camera(view=90 - view + back, distance=self.distance, height=self.height, focal=self.focal)


INDOORS = Recording()
"""As CASIA-B is recorded."""

OUTDOORS = OutdoorRecording(
    subjects=20,
    people=People(stature=1.67, men=0.75, fatness=-0.5),
    conditions=tuple(f"{view:02d}_{take}" for view in (0, 45, 90) for take in range(1, 5)),
    views=(0, 45, 90),
    fps=25.0,
    columns=352,
    distance=13.0,
    height=2.6,
    focal=760.0,
)
"""As CASIA-A is recorded: few and mostly young men, a camera that is farther away, higher and of longer focus."""
