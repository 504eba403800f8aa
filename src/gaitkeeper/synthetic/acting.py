"""Actors: a whole troupe who perform the classes of actions, any performance computed alone."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import gaussian_filter1d

from gaitkeeper.errors import DataError
from gaitkeeper.motion.skeletons import NTU_25
from gaitkeeper.seeding import stream
from gaitkeeper.synthetic.actions import (
    ACTIONS,
    CHANNELS,
    CLASSES,
    FPS,
    FRAMES,
    SUBJECTS,
    USUAL_ACTING,
    Acting,
    Action,
    Key,
)
from gaitkeeper.synthetic.body import Body, draw_body
from gaitkeeper.synthetic.kinematics import turn
from gaitkeeper.synthetic.posing import REST, columns, pose
from gaitkeeper.synthetic.traits import Trait, bounded, deviates

_TRAITS = {
    "tempo": Trait(-0.14, 0.18),  # logarithm
    "size": Trait(0.97, 0.16, low=0.6, high=1.4),
    "flare": Trait(0.0, 15.0),
    "lean": Trait(0.0, 3.0),
    "slump": Trait(0.0, 6.0),
    "gaze": Trait(0.0, 8.0),
    "stance": Trait(0.085, 0.018, low=0.055, high=0.14),
    "toe_out": Trait(9.0, 6.0, low=-4.0, high=25.0),
    "arms": Trait(0.0, 0.035),
    "sway": Trait(0.0, 0.4),  # logarithm
}

# What keys set differs by about this much: between subjects in the same class, between takes, and between keys.
_SPREADS = {
    "hand": (0.145, 0.105, 0.050),
    "elbow": (18.0, 12.0, 6.0),
    "palm": (0.22, 0.18, 0.07),
    "pelvis": (5.5, 4.5, 1.5),
    "spine": (7.5, 6.0, 2.2),
    "head": (10.0, 9.0, 3.0),
    "knees": (8.0, 4.0, 1.5),
}
_SIZES = ("crouch", "back", "aside", "rise", "foot_r", "heel_r", "foot_l", "heel_l")
"""Channels that differ by a factor, so that what stands on the floor stays there."""

_WAIT = 2.1
"""Most seconds that a clip shows of somebody who does nothing, before and after together."""

_DEEPEST = 0.63
"""Lengths of the leg by which a pelvis sinks at most."""

_TOUCH = 0.35
"""How much hands that have to meet something vary, as a share of how much others do."""

_ALONG_LIMBS = 0.71
"""What is wrong with one bone is wrong with all that it carries: by this, joints are as far off as asked on average."""

# What an arm does that the action does not need, and how often.
_IDLE = (
    (0.58, (0.10, -0.95, 0.06), 22.0),  # hangs
    (0.14, (0.00, -0.58, 0.06), 78.0),  # on the hip
    (0.12, (0.06, -0.78, 0.14), 38.0),  # in a pocket
    (0.10, (-0.14, -0.42, 0.46), 14.0),  # holds something
    (0.06, (-0.16, -0.72, -0.26), 42.0),  # behind the back
)

_SWAY = {"aside": 0.008, "back": 0.005, "pelvis": 1.3, "spine": 1.6, "head": 3.5, "hand_r": 0.025, "hand_l": 0.025}
"""How far people at rest move, in the units of the channels."""


@dataclass(frozen=True)
class _Score:
    """The keys of a class: times between them, and values and what is set of each, ``(k, 36)``."""

    seconds: np.ndarray
    values: np.ndarray
    held: np.ndarray


class Troupe:
    """People who act: forty of them, every class as often as wanted.

    A performance is computed when it is asked for, and its bytes depend only on the settings and on which
    performance it is.

    Args:
        acting: who they are, and how much they vary.
    """

    def __init__(self, acting: Acting = USUAL_ACTING) -> None:
        self.acting = acting
        self._own = lru_cache(maxsize=2 * SUBJECTS)(self._draw_own)

    def body(self, subject: int) -> Body:
        """Return a subject's body."""
        return self._own(self._known(subject))[0]

    def clip(self, subject: int, action: str, take: int) -> np.ndarray:
        """Act.

        Args:
            subject: counted from 1.
            action: name of a class.
            take: any number; each is another performance of the same subject.

        Returns:
            ``(t, 25, 3)`` float32 joints of NTU RGB+D in metres, 40 to 90 frames, 30 a second. y is up and the floor
            is at 0 but for the camera's tilt; without a turn the actor looks along z, with x to the left.

        Raises:
            DataError: there is no such subject or class.
        """
        subject = self._known(subject)
        if action not in CLASSES:
            raise DataError(f"unknown action {action!r}: expected one of {', '.join(CLASSES)}")
        body, style, left = self._own(subject)
        written = ACTIONS[CLASSES.index(action)]
        # Plain types, since a stream is named by how its keys print.
        performance = subject, str(action), int(take)
        habit, rng = self._stream("habit", *performance[:2]), self._stream("take", *performance)
        repeats = int(rng.integers(written.repeats[0], written.repeats[1] + 1))
        score = _score(action, repeats)
        seconds = self._timing(score, style, habit, rng)
        values = self._vary(written, score, style, habit, rng)
        times = np.arange(round(FPS * seconds[-1])) / FPS
        channels = PchipInterpolator(seconds, values, axis=0)(times)
        channels = gaussian_filter1d(channels, 1.2, axis=0, mode="nearest")
        channels += self._sway(times, style, rng)
        joints = pose(channels, body, stance=style["stance"], toe_out=style["toe_out"])
        if rng.random() < left:
            joints = joints[:, NTU_25.mirrored] * np.array([-1.0, 1.0, 1.0])
        return self._film(joints, *(self._stream(name, *performance) for name in ("view", "noise", "sensor")))

    def _stream(self, name: str, *names: str | int) -> np.random.Generator:
        return stream(int(self.acting.seed), "acting", name, *names)

    def _known(self, subject: int) -> int:
        if subject not in range(1, SUBJECTS + 1):
            raise DataError(f"unknown subject {subject}: actors are 1 to {SUBJECTS}")
        return int(subject)

    def _draw_own(self, subject: int) -> tuple[Body, dict[str, float], float]:
        """Return a subject's body and style, and in what share of takes the left hand acts."""
        acting, rng = self.acting, self._stream("style", subject)
        style = {
            name: bounded(_TRAITS[name], _TRAITS[name].mean + acting.style * _TRAITS[name].subject * deviate)
            for name, deviate in deviates(_TRAITS, rng).items()
        }
        left = 0.5 * (rng.random() < acting.left) + 0.5 * acting.left
        return draw_body(self._stream("body", subject), acting.shape), style, left

    def _timing(
        self, score: _Score, style: dict[str, float], habit: np.random.Generator, rng: np.random.Generator
    ) -> np.ndarray:
        """Return when the keys are, ``(k + 2,)`` seconds, with a pause before and after."""
        acting = self.acting
        own, now = habit.standard_normal(), rng.standard_normal()
        pace = np.exp(style["tempo"] + 0.12 * acting.style * own + 0.14 * acting.session * now)
        warp = np.exp(0.18 * acting.session * _cut(rng.standard_normal(len(score.seconds) - 1)))
        steps = np.maximum(np.diff(score.seconds), 1e-3) * warp * pace
        # Recordings begin and end some time before and after, rarely just as long.
        early = rng.beta(0.6, 0.6)
        pauses = 0.04 + _WAIT * acting.session * rng.random() * np.array([early, 1 - early])
        shortest, longest = (FRAMES[0] + 0.25) / FPS, (FRAMES[1] - 0.25) / FPS
        total = steps.sum()
        if total + pauses.sum() > longest:
            pauses = np.maximum(pauses * max(longest - total, 0.0) / pauses.sum(), 1 / FPS)
            steps *= min(1.0, (longest - pauses.sum()) / total)
        pauses += max(0.0, shortest - steps.sum() - pauses.sum()) / 2
        return np.cumsum(np.concatenate([[0.0], pauses[:1], steps, pauses[1:]]))

    def _vary(
        self,
        action: Action,
        score: _Score,
        style: dict[str, float],
        habit: np.random.Generator,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """Return the channels at the keys and at both ends, ``(k + 2, 36)``, as this subject has them in this take."""
        acting = self.acting
        rest = _at_rest(style, acting, rng)
        touching = _HANDS & action.touch
        free = np.where(touching, _TOUCH, 1.0)
        own = acting.style * _SPREAD[0] * _cut(habit.standard_normal(len(REST)))
        now = acting.session * _SPREAD[1] * _cut(rng.standard_normal(len(REST)))
        each = acting.session * _SPREAD[2] * _cut(rng.standard_normal(score.values.shape))
        size = style["size"] * np.exp(0.08 * acting.style * habit.standard_normal())
        size *= np.exp(0.07 * acting.session * rng.standard_normal())
        size = float(np.clip(size, 0.7, 1.35))
        amount = np.where(touching, 1.0, 1 + (size - 1) * np.where(_SIZED, 0.6, 1.0))
        wanted = REST + amount * (score.values - REST) + free * (own + now + each)
        wanted[:, columns("crouch")] = np.minimum(wanted[:, columns("crouch")], _DEEPEST)
        for side in "rl":
            wanted[:, columns(f"elbow_{side}")] += style["flare"]
        if action.paired:
            # Palms meet whatever else differs.
            outward = columns("hand_r").start
            wanted[:, outward] = score.values[:, outward]
            for name in ("hand", "elbow", "palm"):
                wanted[:, columns(f"{name}_l")] = wanted[:, columns(f"{name}_r")]
        values = rest + score.held * (wanted - rest)
        return np.concatenate([values[:1], values, values[-1:]])

    def _sway(self, times: np.ndarray, style: dict[str, float], rng: np.random.Generator) -> np.ndarray:
        """Return how the body moves a little all the time, ``(t, 36)``."""
        waves = rng.standard_normal((2, 2, len(REST)))
        rates = 2 * np.pi * rng.uniform((0.15, 0.5), (0.4, 0.9))
        angle = times[:, None] * rates
        amount = self.acting.session * np.exp(style["sway"]) * _SWAYED
        # Slow movements are larger.
        found: np.ndarray = (np.sin(angle) * (0.8, 0.4)) @ waves[0] + (np.cos(angle) * (0.8, 0.4)) @ waves[1]
        return amount * found

    def _film(
        self, joints: np.ndarray, view: np.random.Generator, noise: np.random.Generator, sensor: np.random.Generator
    ) -> np.ndarray:
        """Return joints as a camera has them, float32: turned, displaced, estimated wrongly."""
        acting = self.acting
        yaw, tilt, roll = view.uniform(-1, 1, 3) * (acting.view, acting.tilt, 0.4 * acting.tilt)
        camera = turn(0, tilt) @ turn(2, roll) @ turn(1, yaw)
        joints = (joints + view.uniform(-0.6, 0.6, 3) * (1.0, 0.0, 1.0)) @ camera.T
        if acting.noise:
            joints = _rigid(joints, joints + _ALONG_LIMBS * acting.noise * _jitter(noise, len(joints)))
        if acting.sensor:
            joints = joints + acting.sensor * _jitter(sensor, len(joints))
        return joints.astype(np.float32)


@lru_cache(maxsize=128)
def _score(name: str, repeats: int) -> _Score:
    """Write out the keys of a class that repeats its cycle so often."""
    action = ACTIONS[CLASSES.index(name)]
    keys = (Key(0.0, action.start or {}), *action.before, *action.cycle * repeats, *action.after)
    value, held = REST.copy(), np.zeros(len(REST))
    values, holds = [], []
    for key in keys:
        if key.rest:
            value, held = REST.copy(), np.zeros(len(REST))
        for part, moved in key.moved.items():
            for channel in (part,) if part in CHANNELS else (f"{part}_r", f"{part}_l"):
                value[columns(channel)], held[columns(channel)] = moved, 1.0
        values.append(value.copy())
        holds.append(held.copy())
    return _Score(np.cumsum([key.seconds for key in keys]), np.stack(values), np.stack(holds))


def _spread() -> np.ndarray:
    found = np.zeros((3, len(REST)))
    for channel in CHANNELS:
        found[:, columns(channel)] = np.array(_SPREADS.get(channel.split("_")[0], (0.0, 0.0, 0.0)))[:, None]
    return found


def _where(channels: tuple[str, ...]) -> np.ndarray:
    found = np.zeros(len(REST), bool)
    for channel in channels:
        found[columns(channel)] = True
    return found


_SPREAD = _spread()
_HANDS = _where(("hand_r", "hand_l"))
_SIZED = _where(_SIZES)
_SWAYED = np.zeros(len(REST))
for _channel, _amount in _SWAY.items():
    _SWAYED[columns(_channel)] = _amount


def _cut(deviates: np.ndarray) -> np.ndarray:
    return np.clip(deviates, -2, 2)


def _at_rest(style: dict[str, float], acting: Acting, rng: np.random.Generator) -> np.ndarray:
    """Return how somebody stands before and after, ``(36,)``."""
    rest = REST.copy()
    rest[columns("pelvis").start] += style["lean"]
    rest[columns("spine").start] += style["slump"]
    rest[columns("head").start] += style["gaze"] - style["slump"]
    bounds = np.cumsum([share for share, _, _ in _IDLE])
    for side, drawn in zip("rl", rng.random(2), strict=True):
        # Without variation between takes all arms hang.
        _, hand, elbow = _IDLE[int(np.searchsorted(bounds, drawn * (acting.session > 0), side="right"))]
        rest[columns(f"hand_{side}")] = hand
        rest[columns(f"hand_{side}").start] += style["arms"]
        rest[columns(f"elbow_{side}")] = elbow + style["flare"]
    rest += 0.5 * acting.session * _SPREAD[1] * _cut(rng.standard_normal(len(REST)))
    return rest


def _jitter(rng: np.random.Generator, frames: int) -> np.ndarray:
    """Return noise ``(t, 25, 3)`` of unit deviation, most of it slow."""
    white = rng.standard_normal((2, frames + 24, 25, 3))
    slow = gaussian_filter1d(white[0], 3.0, axis=0)[12:-12] * np.sqrt(2 * np.sqrt(np.pi) * 3.0)
    found: np.ndarray = np.sqrt(0.95) * slow + np.sqrt(0.05) * white[1, 12:-12]
    return found


def _rigid(joints: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """Return moved joints with the bones of the others: each keeps its direction, the root its place."""
    starts, ends = (list(column) for column in zip(*NTU_25.bones, strict=True))
    lengths = np.linalg.norm(joints[0, ends] - joints[0, starts], axis=1)
    ways = moved[:, ends] - moved[:, starts]
    ways *= (lengths / np.linalg.norm(ways, axis=2))[..., None]
    placed = moved.copy()
    for bone, (start, end) in enumerate(NTU_25.bones):
        placed[:, end] = placed[:, start] + ways[:, bone]
    return placed
