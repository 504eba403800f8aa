"""From a body and a gait to joints in space: contact of the feet sets the path, and legs reach for the feet.

World: metres, x is the walking direction, y up, z to the walker's right; the floor is y = 0.
"""

from dataclasses import dataclass

import numpy as np

from gaitkeeper.synthetic.body import Body
from gaitkeeper.synthetic.gait import TOE_OFF, Gait, leg_angles

JOINTS = (
    *("pelvis", "spine", "shoulders", "skull", "head", "shoulder_l", "shoulder_r", "elbow_l", "elbow_r"),
    *("wrist_l", "wrist_r", "hip_l", "hip_r", "knee_l", "knee_r", "ankle_l", "ankle_r", "ball_l", "ball_r"),
    *("hem_l", "hem_r", "hem_m"),
)
FRAMES = (
    *("world", "pelvis", "waist", "thorax", "head", "hand_l", "hand_r", "shank_l", "shank_r"),
    *("foot_l", "foot_r", "toes_l", "toes_r"),
)
"""Coordinate frames of the body's parts: columns are forward, up and right."""

ANKLE_HEIGHT = 0.042
HEEL, BALL = -0.15, 0.47
"""Where the heel and the ball of the foot meet the floor, in foot lengths before the ankle."""

HEEL_BELOW, BALL_BELOW = 0.5, 0.6
"""How far the points about which the foot rolls lie below the ankle, as shares of its height."""

_GRID = 64
_HARMONICS = 6


@dataclass(frozen=True)
class Pose:
    """A walk: joints ``(frames, joints, 3)`` in metres and part frames ``(frames, parts, 3, 3)``."""

    joints: np.ndarray
    frames: np.ndarray


def turn(axis: int, angle: np.ndarray) -> np.ndarray:
    """Return rotation matrices ``(..., 3, 3)`` about a coordinate axis by angles in degrees."""
    angle = np.deg2rad(np.asarray(angle, dtype=float))
    matrix = np.zeros((*angle.shape, 3, 3))
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix[..., axis, axis] = 1
    matrix[..., i, i] = matrix[..., j, j] = np.cos(angle)
    matrix[..., j, i] = np.sin(angle)
    matrix[..., i, j] = -matrix[..., j, i]
    return matrix


def _along(matrix: np.ndarray, x: float, y: float, z: float) -> np.ndarray:
    return matrix @ np.array([x, y, z])


def _harmonics(curve: np.ndarray) -> np.ndarray:
    """Return mean and first harmonics of a curve over one cycle."""
    spectrum = np.fft.rfft(curve)[:_HARMONICS] / len(curve)
    spectrum[1:] *= 2
    return spectrum


def _waves(phase: np.ndarray) -> np.ndarray:
    return np.exp(2j * np.pi * phase[..., None] * np.arange(_HARMONICS))


class _Cycle:
    """What the curves say at phases of the left leg's cycle, whatever stride and height will be."""

    def __init__(self, walk: "Walk", phase: np.ndarray) -> None:
        gait, stature = walk.gait, walk.body.stature
        both = np.stack([phase, phase + 0.5])
        angle = 2 * np.pi * phase
        self.own = both % 1.0
        self.free, self.pitch = walk._by_curves(both)
        self.rolled = walk._roll(self.pitch)
        self.waves = _waves(phase)
        surge = gait.surge * np.cos(2 * angle - 0.6)
        sway = -gait.sway * np.sin(angle - 0.3)
        pelvis = walk._pelvis(phase)
        self.hip = np.stack([walk._hip(pelvis, 0), walk._hip(pelvis, 1)])
        self.hip[..., 0] += surge
        self.hip[..., 2] += sway
        part = np.clip((self.own - TOE_OFF) / (1 - TOE_OFF), 0.0, 1.0)
        self.part = part * part * (3 - 2 * part)
        self.stance = self.own < TOE_OFF
        fading = np.where(self.stance, 1.0, np.clip(1 - (self.own - TOE_OFF) / 0.12, 0.0, 1.0))
        self.bend = fading * np.maximum(-self.pitch, 0.0)
        # The lowest point of the swinging foot keeps clear of the floor; the ramp joins it to contact.
        ramp = np.clip(np.minimum(self.own - TOE_OFF, 1.0 - self.own) / 0.08, 0.0, 1.0)
        tip = np.deg2rad(np.minimum(self.pitch + self.bend, 0.0))
        self.clear = self.rolled[1] + gait.clearance * ramp - 0.25 * walk.body.foot * stature * np.sin(tip)
        self.aside = np.broadcast_to(np.array([[-0.5], [0.5]]) * gait.step_width, self.own.shape)


class Walk:
    """The periodic walk of one body with one gait.

    Args:
        body: segment lengths.
        gait: joint curves and posture.
        hem: where the hem of the coat or shirt ends: 0 at the hip joint, 1 at the knee, 2 at the ankle.
    """

    def __init__(self, body: Body, gait: Gait, hem: float = 0.0) -> None:
        self.body, self.gait, self.hem = body, gait, hem
        stature = body.stature
        leg = (body.leg - ANKLE_HEIGHT) * stature
        self._thigh, self._shank = leg * (1 - body.shank), leg * body.shank
        self._yaw = np.deg2rad(gait.toe_out) * np.array([1.0, -1.0])[:, None]
        self._plan()

    def _plan(self) -> None:
        """Set stride, footprints and the pelvis' height so that stance feet neither slide nor sink."""
        grid = np.arange(_GRID) / _GRID
        # What happens where the foot leaves and meets the floor; in swing the path is bent to meet it.
        edge = np.array([[TOE_OFF, 1.0 - 1e-9]] * 2)
        self._edge_free, pitch = self._by_curves(edge)
        self._edge_roll = self._roll(pitch)
        self._edge_waves = _waves(edge - np.array([[0.0], [0.5]]))
        free, pitch = self._by_curves(np.stack([grid, grid]))
        rolled = self._roll(pitch)
        stance = (grid > 0.04) & (grid < 0.58)
        relative = (free[0] - rolled[0])[:, stance]
        time = grid[stance] - grid[stance].mean()
        self.stride = float(-(relative @ time).mean() / (time @ time))
        # Footprints lie a little before those of the least squares: knees are straight at contact and free to
        # bend at toe-off, where the floor's grip and the curves differ most.
        ahead = 0.03 * (self._thigh + self._shank)
        self._print = (relative + self.stride * grid[stance]).mean(axis=1)[:, None] + ahead
        # In double support the leg that wants the pelvis lower decides, for the other can bend. The end of
        # stance has no say: there the heel's rise lifts the leg anyway.
        wanted = np.where(grid < 0.54, rolled[1] - free[1], np.inf)
        height = np.minimum(wanted[0], np.roll(wanted[1], -_GRID // 2))
        self._height = _harmonics(height)
        self._height[1:] *= self.gait.bounce
        self._fit_legs(_Cycle(self, grid))

    def _fit_legs(self, cycle: "_Cycle") -> None:
        """Change steps and height where a leg would have to be longer than it is."""
        behind = (cycle.own > 0.3) & (cycle.own < 0.8)
        # Steps are no longer than the legs allow, and the leg in front and the one behind share the rest;
        for _ in range(8):
            excess = self._excess(cycle)
            front, back = np.where(behind, 0.0, excess).max(), np.where(behind, excess, 0.0).max()
            if max(front, back) < 0.012:
                break
            self._print += back - front - 0.02 * self.stride * TOE_OFF / 2
            self.stride *= 0.98
        # what is still missing the pelvis gives: it sinks where a leg is too short. Few harmonics cannot
        # follow a short peak at once, so this takes some rounds.
        for _ in range(3):
            self._height -= _harmonics(self._excess(cycle).max(axis=0))
        self._height[0] -= max(self._excess(cycle).max() - 0.005, 0.0)

    def _excess(self, cycle: "_Cycle") -> np.ndarray:
        """Return by how much the pelvis is too high for each leg, ``(sides, n)`` metres, at least 0."""
        hip, ankle = self._legs(cycle)
        leg = hip - ankle
        reach = 0.998 * (self._thigh + self._shank)
        allowed = np.sqrt(np.maximum(reach**2 - leg[..., 0] ** 2 - leg[..., 2] ** 2, 0.0))
        return np.maximum(leg[..., 1] - allowed, 0.0)

    def _by_curves(self, phase: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the ankles' ``(2, sides, n)`` forward and upward offsets by the joint curves, and foot pitch."""
        left = leg_angles(self.gait, phase[0], 1.0)
        right = leg_angles(self.gait, phase[1], -1.0)
        hip, knee, pitch = (np.stack(pair) for pair in zip(left, right, strict=True))
        thigh, shank = np.deg2rad(hip), np.deg2rad(hip - knee)
        pelvis = self._pelvis(phase[0])
        other = self._pelvis(phase[1] - 0.5)
        joints = np.stack([self._hip(pelvis, 0), self._hip(other, 1)])
        forward = joints[..., 0] + self._thigh * np.sin(thigh) + self._shank * np.sin(shank)
        upward = joints[..., 1] - self._thigh * np.cos(thigh) - self._shank * np.cos(shank)
        return np.stack([forward, upward]), pitch

    def _hip(self, pelvis: np.ndarray, side: int) -> np.ndarray:
        stature = self.body.stature
        return _along(pelvis, 0.0, -0.012 * stature, (-1, 1)[side] * self.body.hip_joint * stature)

    def _pelvis(self, phase: np.ndarray) -> np.ndarray:
        gait, angle = self.gait, 2 * np.pi * phase
        yaw = -gait.pelvis_rotation * np.cos(angle - 2 * np.pi * gait.pelvis_phase)
        roll = gait.pelvis_obliquity * np.sin(angle + 0.45)
        return turn(1, yaw) @ turn(0, roll)

    def _roll(self, pitch: np.ndarray) -> np.ndarray:
        """Return the ankle's forward and upward place over the footprint for a foot that rolls on the floor."""
        length, height = self.body.foot * self.body.stature, ANKLE_HEIGHT * self.body.stature
        pivot = np.where(pitch > 0, HEEL, BALL) * length
        below = np.where(pitch > 0, HEEL_BELOW, BALL_BELOW) * height
        angle = np.deg2rad(pitch)
        forward = pivot * (1 - np.cos(angle)) - below * np.sin(angle)
        upward = height - below * (1 - np.cos(angle)) - pivot * np.sin(angle)
        return np.stack([forward * np.cos(self._yaw), upward])

    def _legs(self, cycle: "_Cycle") -> tuple[np.ndarray, np.ndarray]:
        """Return hips and ankles ``(sides, n, 3)`` on a treadmill."""
        rise = (cycle.waves @ self._height).real
        hip = cycle.hip.copy()
        hip[..., 1] += rise
        forward = self._print - self.stride * cycle.own + cycle.rolled[0]
        # In swing the joint curves lead, bent so that they leave and meet the floor where the foot stands.
        landing = self._print - self.stride * np.array([TOE_OFF, 0.0]) + self._edge_roll[0] - self._edge_free[0]
        lift = self._edge_roll[1] - self._edge_free[1] - (self._edge_waves @ self._height).real
        swing_forward = cycle.free[0] + landing[:, :1] * (1 - cycle.part) + landing[:, 1:] * cycle.part
        swing_upward = cycle.free[1] + rise + lift[:, :1] * (1 - cycle.part) + lift[:, 1:] * cycle.part
        upward = np.where(cycle.stance, cycle.rolled[1], np.maximum(swing_upward, cycle.clear))
        forward = np.where(cycle.stance, forward, swing_forward)
        return hip, np.stack([forward, upward, cycle.aside], axis=-1)

    def pose(self, phase: np.ndarray, start: float = 0.0) -> Pose:
        """Return joints and part frames at phases of the left leg's cycle.

        Args:
            phase: ``(frames,)``, growing by one a stride.
            start: the phase at which the pelvis passes x = 0.
        """
        body, gait, stature = self.body, self.gait, self.body.stature
        cycle = _Cycle(self, phase)
        hip, ankle = self._legs(cycle)
        pitch, bend = cycle.pitch, cycle.bend
        travel = np.zeros((len(phase), 3))
        travel[:, 0] = self.stride * (phase - start)
        hip, ankle = hip + travel, ankle + travel
        heading = turn(1, np.broadcast_to(np.rad2deg(self._yaw), pitch.shape))
        foot = heading @ turn(2, pitch)
        toes = heading @ turn(2, pitch + bend)
        knee, ankle, shank = self._reach(hip, ankle, heading[..., 0])
        ball = ankle + _along(foot, BALL * body.foot * stature, -BALL_BELOW * ANKLE_HEIGHT * stature, 0.0)
        if self.hem <= 1:
            hem = hip + (knee - hip) * self.hem
        else:
            hem = knee + (ankle - knee) * (self.hem - 1)
        pelvis = self._pelvis(phase)
        centre = hip.mean(axis=0) + _along(pelvis, 0.0, 0.012 * stature, 0.0)
        spine, upper = self._trunk(phase, centre)
        arms, hands = self._arms(phase, upper["shoulders"], upper["thorax"])
        joints = [centre, spine, upper["shoulders"], upper["skull"], upper["head"], *arms]
        joints += [*hip, *knee, *ankle, *ball, *hem, hem.mean(axis=0)]
        world = np.broadcast_to(np.eye(3), pelvis.shape)
        tilted = pelvis @ turn(2, np.full(len(phase), -gait.pelvis_tilt))
        frames = [world, tilted, upper["waist"], upper["thorax"], upper["face"], *hands, *shank, *foot, *toes]
        return Pose(np.stack(joints, axis=1), np.stack(frames, axis=1))

    def _reach(
        self, hip: np.ndarray, ankle: np.ndarray, ahead: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Bend the knees so that both segments keep their lengths; return knees, ankles and shank frames."""
        line = ankle - hip
        distance = np.linalg.norm(line, axis=-1, keepdims=True)
        line = line / distance
        distance = np.minimum(distance, 0.9996 * (self._thigh + self._shank))
        ankle = hip + line * distance
        part = (self._thigh**2 + distance**2 - self._shank**2) / (2 * distance)
        ahead = ahead - (ahead * line).sum(axis=-1, keepdims=True) * line
        ahead = ahead / np.linalg.norm(ahead, axis=-1, keepdims=True)
        knee = hip + line * part + ahead * np.sqrt(np.maximum(self._thigh**2 - part**2, 0.0))
        up = (knee - ankle) / self._shank
        right = np.cross(ahead, up)
        right /= np.linalg.norm(right, axis=-1, keepdims=True)
        return knee, ankle, np.stack([np.cross(up, right), up, right], axis=-1)

    def _trunk(self, phase: np.ndarray, centre: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        body, gait, stature = self.body, self.gait, self.body.stature
        angle = 2 * np.pi * phase
        yaw = gait.counter_rotation * np.cos(angle)
        bend = -gait.side_bend * np.sin(angle + 0.45)
        lean = gait.lean + 0.7 * np.cos(2 * angle + 0.8)
        waist = turn(1, 0.2 * yaw) @ turn(0, bend) @ turn(2, -lean + 0.25 * gait.kyphosis)
        thorax = turn(1, yaw) @ turn(0, bend) @ turn(2, -lean - 0.35 * gait.kyphosis)
        length = (0.818 - body.leg - 0.012) * stature
        spine = centre + _along(waist, 0.0, 0.46 * length, 0.0)
        shoulders = spine + _along(thorax, 0.0, 0.54 * length, 0.0)
        neck = turn(1, 0.3 * yaw) @ turn(2, -lean - gait.head_forward)
        skull = shoulders + _along(neck, 0.0, body.neck_length * stature, 0.0)
        face = turn(1, 0.2 * yaw) @ turn(2, -gait.head_pitch + gait.nod * np.cos(2 * angle))
        head = skull + _along(face, 0.010 * stature, 0.066 * body.head_scale * stature, 0.0)
        parts = {"shoulders": shoulders, "skull": skull, "head": head}
        return spine, parts | {"waist": waist, "thorax": thorax, "face": face}

    def _arms(
        self, phase: np.ndarray, base: np.ndarray, thorax: np.ndarray
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Return shoulders, elbows and wrists, left and right in turn, and the frames of the hands."""
        body, gait, stature = self.body, self.gait, self.body.stature
        arm = 0.332 * body.arm_scale * stature
        yaw = turn(1, gait.counter_rotation * np.cos(2 * np.pi * phase))
        joints: list[list[np.ndarray]] = [[], [], []]
        hands = []
        for side, out in ((1.0, -1.0), (-1.0, 1.0)):
            # An arm swings with the other side's leg.
            angle = 2 * np.pi * (phase + (0.5 if side > 0 else 0.0) - gait.arm_phase)
            swing = gait.arm_swing * (1 + side * gait.arm_asymmetry)
            flexion = gait.arm_offset + swing * np.cos(angle) + gait.arm_second * np.cos(2 * angle)
            elbow = gait.elbow + side * gait.elbow_asymmetry + 0.5 * gait.elbow_swing * (1 + np.cos(angle - 0.3))
            aside = np.full(len(phase), -out * gait.abduction)
            inward = np.full(len(phase), out * gait.hand_inward)
            upper = yaw @ turn(0, aside) @ turn(2, flexion)
            fore = upper @ turn(1, inward) @ turn(2, np.maximum(elbow, 1.0))
            drop, width = -body.shoulder_drop * stature, out * body.shoulder_joint * stature
            joints[0].append(base + _along(thorax, 0.0, drop, width))
            joints[1].append(joints[0][-1] + _along(upper, 0.0, -arm * (1 - body.forearm), 0.0))
            joints[2].append(joints[1][-1] + _along(fore, 0.0, -arm * body.forearm, 0.0))
            hands.append(fore @ turn(2, np.full(len(phase), 8.0)))
        return [joint for pair in joints for joint in pair], hands
