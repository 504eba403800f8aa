"""Walkers: a whole population under the CASIA-B protocol, any part of it rendered alone."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from gaitkeeper.errors import DataError
from gaitkeeper.motion.silhouettes import HEIGHT, WIDTH
from gaitkeeper.seeding import stream
from gaitkeeper.synthetic import render
from gaitkeeper.synthetic.body import Body, draw_body
from gaitkeeper.synthetic.camera import INDOORS, Camera, Recording
from gaitkeeper.synthetic.clothing import Outfit, draw_outfit
from gaitkeeper.synthetic.figure import Figure, dress
from gaitkeeper.synthetic.gait import Gait, draw_gait
from gaitkeeper.synthetic.kinematics import FRAMES, JOINTS, Pose, Walk
from gaitkeeper.synthetic.noise import draw_noise
from gaitkeeper.synthetic.population import VIEWS, Population


class Walkers:
    """People who walk past cameras: 124 of them, ten walks each and eleven cameras, unless recorded otherwise.

    Nothing is kept between calls: a walk is simulated when it is asked for, and its bytes depend only on the
    population and on which walk it is.

    Args:
        population: who they are.
        recording: how many there are, which walks they go on, and the cameras.
    """

    def __init__(self, population: Population = Population(), recording: Recording = INDOORS) -> None:
        self.population = population
        self.recording = recording

    def body(self, subject: int) -> Body:
        """Return a subject's body."""
        self._check(subject)
        return draw_body(self._stream("body", subject), self.population.shape, self.recording.people)

    def gait(self, subject: int, condition: str) -> Gait:
        """Return how a subject walks on one occasion, before anything is carried."""
        self._check(subject, condition)
        own, walk = self._stream("gait", subject), self._stream("session", subject, condition)
        return draw_gait(own, walk, spread=self.population.dynamics, session=self.population.session)

    def outfit(self, subject: int, condition: str) -> Outfit:
        """Return what a subject wears and carries on one walk."""
        self._check(subject, condition)
        rng = self._stream("clothing", subject, condition)
        return draw_outfit(rng, condition, self.population.clothing)

    def silhouettes(
        self, subject: int, condition: str, views: Sequence[int] = VIEWS, *, frames: int = 40
    ) -> np.ndarray:
        """Render aligned silhouettes of one walk.

        Args:
            subject: counted from 1.
            condition: one of the recording's.
            views: camera angles out of the recording's.
            frames: length, at the recording's frames a second.

        Returns:
            ``(views, frames, 64, 44)`` uint8: what ``motion.silhouettes.align`` makes of the camera's picture,
            without the detour through it.

        Raises:
            DataError: there is no such subject, condition or view, or no frame is asked for.
        """
        self._check(subject, condition, views)
        figure = self.figure(subject, condition, frames=frames)
        out = np.empty((len(views), frames, HEIGHT, WIDTH), np.uint8)
        for place, view in zip(out, views, strict=True):
            self._render(render.silhouettes, figure, subject, condition, self.recording.camera(condition, view), place)
        return out

    def masks(self, subject: int, condition: str, view: int, *, frames: int = 40) -> np.ndarray:
        """Render the binary pictures of one camera, as the silhouettes of CASIA-A and CASIA-B are published.

        Args:
            subject: counted from 1.
            condition: one of the recording's.
            view: camera angle out of the recording's.
            frames: length, at the recording's frames a second.

        Returns:
            ``(frames, rows, columns)`` uint8 of 0 and 255, in CASIA-B 240 rows and 320 columns.

        Raises:
            DataError: as for ``silhouettes``.
        """
        self._check(subject, condition, [view])
        figure = self.figure(subject, condition, frames=frames)
        out = np.empty((frames, self.recording.rows, self.recording.columns), np.uint8)
        self._render(render.masks, figure, subject, condition, self.recording.camera(condition, view), out)
        return out

    def skeleton(self, subject: int, condition: str, *, frames: int = 40) -> np.ndarray:
        """Return the joints of one walk.

        Args:
            subject: counted from 1.
            condition: one of the recording's.
            frames: length, at the recording's frames a second.

        Returns:
            ``(frames, 25, 3)`` float32, metres, the joints in the order of NTU RGB+D. Right-handed world: x is
            the walking direction, y up from the floor, z to the walker's right; halfway through the walk the
            pelvis passes x = 0.

        Raises:
            DataError: as for ``silhouettes``.
        """
        return ntu_joints(self.pose(subject, condition, frames=frames), self.body(subject))

    def pose(self, subject: int, condition: str, *, frames: int = 40) -> Pose:
        """Return joints and part frames of one walk, see ``kinematics``."""
        if frames < 1:
            raise DataError(f"a walk needs at least one frame, got {frames}")
        gait, outfit = self.gait(subject, condition), self.outfit(subject, condition)
        gait = _burdened(gait, outfit)
        rng = self._stream("phase", subject, condition)
        begin = rng.random()
        time = (np.arange(frames) - (frames - 1) / 2) / self.recording.fps
        # Nobody keeps time exactly: the pace wanders by a percent or so over some seconds.
        pace = gait.cadence / 120
        wander = 0.012 * self.population.session * rng.standard_normal()
        turn = 2 * np.pi * rng.random()
        phase = begin + pace * (time + wander * (np.sin(1.3 * time + turn) - np.sin(turn)))
        return Walk(self.body(subject), gait, outfit.hem).pose(phase, begin)

    def figure(self, subject: int, condition: str, *, frames: int = 40) -> Figure:
        """Return the dressed body over one walk as ellipsoids, see ``figure``."""
        pose = self.pose(subject, condition, frames=frames)
        return dress(pose, self.body(subject), self.outfit(subject, condition))

    def speed(self, subject: int, condition: str) -> float:
        """Return how fast a subject walks, metres a second."""
        gait, outfit = self.gait(subject, condition), self.outfit(subject, condition)
        gait = _burdened(gait, outfit)
        return Walk(self.body(subject), gait, outfit.hem).stride * gait.cadence / 120

    def _check(self, subject: int, condition: str | None = None, views: Sequence[int] = ()) -> None:
        """Raise a DataError that names what there is if something asked for does not exist."""
        known = self.recording
        if subject not in range(1, known.subjects + 1):
            raise DataError(f"unknown subject {subject}: walkers are 1 to {known.subjects}")
        if condition is not None and condition not in known.conditions:
            raise DataError(f"unknown condition {condition!r}: expected one of {', '.join(known.conditions)}")
        for view in views:
            if view not in known.views:
                raise DataError(f"unknown view {view}: expected one of {', '.join(map(str, known.views))}")

    def _stream(self, name: str, subject: int, condition: str = "", view: float = 0) -> np.random.Generator:
        # Plain types, since a stream is named by how its keys print.
        return stream(int(self.population.seed), name, int(subject), str(condition), int(view))

    def _render(
        self,
        draw: Callable[..., None],
        figure: Figure,
        subject: int,
        condition: str,
        camera: Camera,
        out: np.ndarray,
    ) -> None:
        rng = self._stream("noise", subject, condition, camera.view)
        noise = draw_noise(rng, len(out), self.population.noise)
        scene = figure.centres, figure.spreads, figure.parts, camera.matrix, camera.focal, render.COMPASS
        draw(*scene, noise.events, noise.ragged, noise.starts, out)


def _burdened(gait: Gait, outfit: Outfit) -> Gait:
    """Return the gait changed by what is carried and worn."""
    if outfit.bag == "backpack":
        return replace(gait, lean=gait.lean + 3.0 * outfit.bag_size, head_forward=gait.head_forward + 3.0)
    if outfit.bag == "hand":
        # The arm that carries swings less, the other as before.
        still = 0.3
        swing, asymmetry = gait.arm_swing * (1 + still) / 2, outfit.bag_side * (1 - still) / (1 + still)
        return replace(gait, arm_swing=swing, arm_asymmetry=asymmetry, elbow=0.6 * gait.elbow)
    if outfit.bag == "shoulder":
        return replace(gait, abduction=gait.abduction + 2.0, side_bend=gait.side_bend + 1.0)
    if outfit.coat:
        return replace(gait, hip_scale=0.98 * gait.hip_scale, abduction=gait.abduction + 2.0)
    return gait


def ntu_joints(pose: Pose, body: Body) -> np.ndarray:
    """Return ``(frames, 25, 3)`` float32 joints in the order of NTU RGB+D.

    Reference:
        Shahroudy et al., "NTU RGB+D", CVPR 2016, figure 1.
    """
    index = {name: i for i, name in enumerate(JOINTS)}
    joints = {name: pose.joints[:, i] for name, i in index.items()}
    reach = body.hand_scale * body.stature
    for side, out in (("l", -1.0), ("r", 1.0)):
        frame = pose.frames[:, FRAMES.index(f"hand_{side}")]
        wrist = joints[f"wrist_{side}"]
        joints[f"hand_{side}"] = wrist + frame @ np.array([0.003, -0.040, 0.0]) * reach
        joints[f"tip_{side}"] = wrist + frame @ np.array([0.008, -0.100, -0.006 * out]) * reach
        joints[f"thumb_{side}"] = wrist + frame @ np.array([0.030, -0.054, -0.008 * out]) * reach
    order = ["pelvis", "spine", "skull", "head"]
    for side in "lr":
        order += [f"{name}_{side}" for name in ("shoulder", "elbow", "wrist", "hand")]
    for side in "lr":
        order += [f"{name}_{side}" for name in ("hip", "knee", "ankle", "ball")]
    order += ["shoulders", "tip_l", "thumb_l", "tip_r", "thumb_r"]
    return np.stack([joints[name] for name in order], axis=1).astype(np.float32)
