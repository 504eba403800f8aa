"""Silhouettes of anybody whose joints are known: the body that walkers have, dressed, on joints of NTU RGB+D."""

from collections.abc import Sequence

import numpy as np

from gaitkeeper.motion.silhouettes import HEIGHT, WIDTH
from gaitkeeper.motion.skeletons import NTU_25
from gaitkeeper.seeding import stream
from gaitkeeper.synthetic import render
from gaitkeeper.synthetic.acting import Troupe
from gaitkeeper.synthetic.body import Body
from gaitkeeper.synthetic.camera import INDOORS, Recording
from gaitkeeper.synthetic.clothing import Outfit, draw_outfit
from gaitkeeper.synthetic.figure import Figure, dress
from gaitkeeper.synthetic.kinematics import ANKLE_HEIGHT, BALL, BALL_BELOW, FRAMES, JOINTS, Pose, turn
from gaitkeeper.synthetic.noise import draw_noise
from gaitkeeper.synthetic.population import CONDITIONS, Population

_NAMES = {"pelvis": "spine base", "spine": "spine mid", "shoulders": "spine shoulder", "skull": "neck", "head": "head"}
_LIMBS = {name: name for name in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")} | {"ball": "foot"}
_SIDES = {"l": "left", "r": "right"}

_LIFT = 0.05
"""Metres off the floor at which toes no longer lie flat on it."""


def facing_along_x(joints: np.ndarray) -> np.ndarray:
    """Turn joints ``(t, 25, 3)`` of an actor, who looks along z, into a walker's world: along x, z to the right.

    The middle of the performance is where cameras look.
    """
    turned = np.stack([joints[..., 2], joints[..., 1], -joints[..., 0]], axis=-1).astype(float)
    turned[..., (0, 2)] -= turned[:, 0][:, (0, 2)].mean(axis=0)
    return turned


def posed(joints: np.ndarray, body: Body, *, hem: float = 0.0) -> Pose:
    """Find how the parts of a body are turned whose joints are given.

    Args:
        joints: ``(t, 25, 3)`` of NTU RGB+D in metres and a walker's world, see ``kinematics``.
        body: whose proportions they have.
        hem: where a coat or shirt ends: 0 at the hip joint, 1 at the knee, 2 at the ankle.

    Returns:
        The pose. What joints do not tell is as usual: the head faces as the chest does, and toes lie flat while the
        ball of the foot is on the floor.
    """
    at = {name: joints[:, NTU_25.joints.index(theirs)].astype(float) for name, theirs in _NAMES.items()}
    for side, word in _SIDES.items():
        for name, theirs in _LIMBS.items():
            at[f"{name}_{side}"] = joints[:, NTU_25.joints.index(f"{word} {theirs}")].astype(float)
        below, above = ("hip", "knee") if hem <= 1 else ("knee", "ankle")
        start, end = at[f"{below}_{side}"], at[f"{above}_{side}"]
        at[f"hem_{side}"] = start + (end - start) * (hem if hem <= 1 else hem - 1)
    at["hem_m"] = (at["hem_l"] + at["hem_r"]) / 2
    hips, shoulders = (at[f"{name}_r"] - at[f"{name}_l"] for name in ("hip", "shoulder"))
    lower, upper = at["spine"] - at["pelvis"], at["shoulders"] - at["spine"]
    level = hips * (1.0, 0.0, 1.0)
    frames = {
        "world": _frame(np.broadcast_to((0.0, 1.0, 0.0), hips.shape), level),
        "pelvis": _frame(lower, hips),
        "waist": _frame(lower, _unit(hips) + _unit(shoulders)),
        "thorax": _frame(upper, shoulders),
        # The head's joint lies a little before the skull's, by this angle in the head's own frame.
        "head": _frame(at["head"] - at["skull"], shoulders) @ turn(2, _degrees(0.010, 0.066 * body.head_scale)),
    }
    for side, word in _SIDES.items():
        ankle, ball = at[f"ankle_{side}"], at[f"ball_{side}"]
        frames[f"hand_{side}"] = _hand(joints, at[f"wrist_{side}"], word)
        shank = at[f"knee_{side}"] - ankle
        frames[f"shank_{side}"] = _frame(shank, np.cross(ball - ankle, shank))
        foot, toes = _foot(ball - ankle, ball[:, 1], hips, body)
        frames[f"foot_{side}"], frames[f"toes_{side}"] = foot, toes
    return Pose(np.stack([at[name] for name in JOINTS], axis=1), np.stack([frames[name] for name in FRAMES], axis=1))


def silhouettes(
    figure: Figure, views: Sequence[int], *, noise: float, rng: np.random.Generator, recording: Recording = INDOORS
) -> np.ndarray:
    """Render aligned silhouettes of a figure.

    Args:
        figure: of t frames, near the middle of the walkers' world.
        views: camera angles in degrees; 0 looks at who faces along x.
        noise: strength of segmentation noise.
        rng: of that noise.
        recording: whose cameras are taken.

    Returns:
        ``(views, t, 64, 44)`` uint8, as ``Walkers.silhouettes`` renders walkers.
    """
    out = np.empty((len(views), len(figure.centres), HEIGHT, WIDTH), np.uint8)
    for place, view in zip(out, views, strict=True):
        camera, drawn = recording.camera("", view), draw_noise(rng, len(place), noise)
        scene = figure.centres, figure.spreads, figure.parts, camera.matrix, camera.focal, render.COMPASS
        render.silhouettes(*scene, drawn.events, drawn.ragged, drawn.starts, place)
    return out


def performance(
    troupe: Troupe, subject: int, action: str, take: int, views: Sequence[int], *, population: Population
) -> np.ndarray:
    """Render aligned silhouettes of an actor, in clothes as walkers wear them.

    Args:
        troupe: the actors; their camera's tilt and their turns stay as they are.
        subject: counted from 1.
        action: name of a class.
        take: any number.
        views: camera angles in degrees, 0 from the front.
        population: how much clothes vary, how strong segmentation noise is, and the seed of both.

    Returns:
        ``(views, t, 64, 44)`` uint8, 30 frames a second.

    Raises:
        DataError: there is no such subject or class.
    """
    joints = facing_along_x(troupe.clip(subject, action, take))
    names = int(subject), str(action), int(take)
    rng = stream(int(population.seed), "dressed actor", *names)
    body, outfit = troupe.body(subject), _outfit(rng, population)
    figure = dress(posed(joints, body, hem=outfit.hem), body, outfit)
    return silhouettes(figure, views, noise=population.noise, rng=rng)


def _outfit(rng: np.random.Generator, population: Population) -> Outfit:
    return draw_outfit(rng, str(rng.choice(CONDITIONS)), population.clothing)


def _unit(vectors: np.ndarray) -> np.ndarray:
    unit: np.ndarray = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
    return unit


def _degrees(opposite: float, adjacent: float) -> np.ndarray:
    return np.rad2deg(np.arctan2(opposite, adjacent))


def _frame(up: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return frames ``(t, 3, 3)``, columns forward, up and right, of a direction up and one about to the right."""
    up = _unit(up)
    right = _unit(right - (right * up).sum(axis=-1, keepdims=True) * up)
    return np.stack([np.cross(up, right), up, right], axis=-1)


def _hand(joints: np.ndarray, wrist: np.ndarray, word: str) -> np.ndarray:
    """Return a hand's frame: fingers point down in it, and the thumb is forward."""
    tip, thumb = (joints[:, NTU_25.joints.index(f"{word} {name}")] - wrist for name in ("hand tip", "thumb"))
    return _frame(-tip, np.cross(thumb, -tip))


def _foot(way: np.ndarray, height: np.ndarray, right: np.ndarray, body: Body) -> tuple[np.ndarray, np.ndarray]:
    """Return the frames of foot and toes from the way ankle to ball, the ball's height and the hips' right."""
    ahead = _unit(way)
    right = _unit(right - (right * ahead).sum(axis=-1, keepdims=True) * ahead)
    sunk = _degrees(BALL_BELOW * ANKLE_HEIGHT, BALL * body.foot)
    foot = np.stack([ahead, np.cross(right, ahead), right], axis=-1) @ turn(2, sunk)
    pitch = np.rad2deg(np.arcsin(np.clip(foot[:, 1, 0], -1.0, 1.0)))
    rest = (1 - BALL_BELOW) * ANKLE_HEIGHT * body.stature
    flat = 1 - np.clip((height - rest) / _LIFT, 0.0, 1.0)
    return foot, foot @ turn(2, np.maximum(-pitch, 0.0) * flat)
