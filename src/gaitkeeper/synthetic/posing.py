"""From channels of a pose to the joints of NTU RGB+D: a trunk that bends, and limbs that reach for their ends.

World: metres, x to the actor's left, y up, z forward; the floor is y = 0. Bones are exactly as long in every frame.
"""

from itertools import accumulate

import numpy as np

from gaitkeeper.motion.skeletons import NTU_25
from gaitkeeper.synthetic.actions import CHANNELS
from gaitkeeper.synthetic.body import Body
from gaitkeeper.synthetic.kinematics import ANKLE_HEIGHT, BALL, BALL_BELOW, turn

WIDTHS = tuple(len(rest) for rest in CHANNELS.values())
STARTS = dict(zip(CHANNELS, accumulate(WIDTHS, initial=0), strict=False))
"""First column of each channel."""

REST = np.concatenate([np.asarray(rest) for rest in CHANNELS.values()])
"""All channels at rest, ``(36,)``."""

MIDDLE = 0.3
"""Lengths of the arm by which the middle of the body is inward of the shoulder, whatever the shoulders' width."""

_ARM_REACH, _LEG_REACH, _STANCE = 0.985, 0.997, 0.985
_SIDES = (("l", 1.0), ("r", -1.0))

# The usual way of an arm, outward, up and forward on the chest, and across it down and aside.
_USUAL = np.array([0.602, -0.200, 0.773])
_ASIDE = np.array([0.789, 0.0, -0.614])
_DOWN = np.cross(_ASIDE, _USUAL)


def columns(channel: str) -> slice:
    """Return where a channel is among the columns."""
    return slice(STARTS[channel], STARTS[channel] + len(CHANNELS[channel]))


def pose(channels: np.ndarray, body: Body, *, stance: float = 0.09, toe_out: float = 8.0) -> np.ndarray:
    """Return the joints of a body whose channels are given.

    Feet whose channel ``foot`` is at rest stand still. The pelvis is lowered by the same amount in all frames if a
    leg would not reach the floor.

    Args:
        channels: ``(t, 36)``, in the order and units of :data:`~gaitkeeper.synthetic.actions.CHANNELS`.
        body: its proportions.
        stance: half the distance of the ankles at rest, in statures.
        toe_out: degrees that feet point outward.

    Returns:
        ``(t, 25, 3)`` float64 joints in metres.
    """
    stature = body.stature
    part = {name: channels[:, columns(name)] for name in CHANNELS}
    joints: dict[str, np.ndarray] = {}
    leg = (body.leg - ANKLE_HEIGHT) * stature
    pelvis = _bent(part["pelvis"])
    half = _bent(0.5 * part["spine"])
    waist = pelvis @ half
    chest = waist @ half
    hips = {side: pelvis @ np.array([out * body.hip_joint, -0.012, 0.0]) * stature for side, out in _SIDES}
    aside = (stance - body.hip_joint) * stature
    height = ANKLE_HEIGHT * stature + np.sqrt((_STANCE * leg) ** 2 - aside**2) + 0.012 * stature
    place = np.stack([-part["aside"][:, 0], part["rise"][:, 0], -part["back"][:, 0]], axis=1) * stature
    place[:, 1] += height - part["crouch"][:, 0] * leg
    feet = {
        side: _foot(part[f"foot_{side}"] * leg, part[f"heel_{side}"][:, 0], out, body, stance, toe_out)
        for side, out in _SIDES
    }
    for ankle, _, _ in feet.values():
        ankle[:, 1] += part["rise"][:, 0] * stature
    place[:, 1] -= _excess(place, hips, feet, part, _LEG_REACH * leg)
    joints["spine base"] = place
    for side, name, out in (("l", "left", 1.0), ("r", "right", -1.0)):
        ankle, toes, heading = feet[side]
        hip = place + hips[side]
        angle = np.deg2rad(part["knees"][:, 0])
        pole = np.stack([out * np.sin(angle), np.full(len(angle), 0.35), np.cos(angle)], axis=1)
        pole = (heading @ pole[..., None])[..., 0]
        knee, ankle = _reach(hip, ankle, pole, leg * (1 - body.shank), leg * body.shank, _LEG_REACH)
        joints |= {f"{name} hip": hip, f"{name} knee": knee, f"{name} ankle": ankle, f"{name} foot": ankle + toes}
    _trunk(joints, part, body, waist, chest)
    for side, name, out in (("l", "left", 1.0), ("r", "right", -1.0)):
        limb = part[f"hand_{side}"], part[f"elbow_{side}"][:, 0], part[f"palm_{side}"]
        joints |= {f"{name} {joint}": at for joint, at in _arm(joints, limb, out, body, chest).items()}
    return np.stack([joints[name] for name in NTU_25.joints], axis=1)


def _bent(angles: np.ndarray) -> np.ndarray:
    """Return frames ``(t, 3, 3)`` that are bent forward, to the right and turned left, by degrees ``(t, 3)``."""
    turned: np.ndarray = turn(1, angles[:, 2]) @ turn(0, angles[:, 0]) @ turn(2, -angles[:, 1])
    return turned


def _along(frames: np.ndarray, x: float, y: float, z: float) -> np.ndarray:
    along: np.ndarray = frames @ np.array([x, y, z])
    return along


def _unit(vectors: np.ndarray) -> np.ndarray:
    unit: np.ndarray = vectors / np.sqrt((vectors * vectors).sum(axis=-1, keepdims=True))
    return unit


def _foot(
    moved: np.ndarray, heel: np.ndarray, out: float, body: Body, stance: float, toe_out: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return where the ankle should be, the way from there to the ball ``(t, 3)``, and the foot's heading."""
    stature = body.stature
    length, below = BALL * body.foot * stature, BALL_BELOW * ANKLE_HEIGHT * stature
    heading = turn(1, np.full(len(heel), out * toe_out))
    flat = np.array([0.0, -below, length])
    ball = np.array([out * stance * stature, ANKLE_HEIGHT * stature, 0.0]) + heading[0] @ flat
    toes = _along(heading @ turn(0, heel), *flat)
    return ball + moved * np.array([out, 1.0, 1.0]) - toes, toes, heading


def _excess(
    place: np.ndarray,
    hips: dict[str, np.ndarray],
    feet: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]],
    part: dict[str, np.ndarray],
    reach: float,
) -> float:
    """Return by how much the pelvis is too high for a leg that stands."""
    worst = 0.0
    for side, _ in _SIDES:
        ankle = feet[side][0]
        leg = place + hips[side] - ankle
        high = leg[:, 1] - np.sqrt(np.maximum(reach**2 - leg[:, 0] ** 2 - leg[:, 2] ** 2, 0.0))
        stands = (np.abs(part[f"foot_{side}"][:, 1]) < 1e-3) & (part["rise"][:, 0] < 1e-3)
        worst = max(worst, float(np.where(stands, high, 0.0).max()))
    return worst


def _reach(
    start: np.ndarray, end: np.ndarray, pole: np.ndarray, upper: float, lower: float, most: float
) -> tuple[np.ndarray, np.ndarray]:
    """Bend a limb of two bones so that it ends where it should, or as near as it reaches.

    Returns:
        Where it bends, toward the pole, and where it ends.
    """
    line = end - start
    distance = np.sqrt((line * line).sum(axis=1, keepdims=True))
    line = line / distance
    # Limbs straighten smoothly, and never fold up altogether.
    soft, longest, shortest = 0.004 * (upper + lower), most * (upper + lower), 1.25 * abs(upper - lower) + 0.05
    distance = distance - soft * np.logaddexp(0.0, (distance - longest) / soft)
    distance = distance + soft * np.logaddexp(0.0, (shortest - distance) / soft)
    along = (upper**2 + distance**2 - lower**2) / (2 * distance)
    across = _unit(pole - (pole * line).sum(axis=1, keepdims=True) * line)
    return start + line * along + across * np.sqrt(np.maximum(upper**2 - along**2, 0.0)), start + line * distance


def _trunk(
    joints: dict[str, np.ndarray], part: dict[str, np.ndarray], body: Body, waist: np.ndarray, chest: np.ndarray
) -> None:
    """Place spine, neck, head and shoulders on the spine's base."""
    stature = body.stature
    length = (0.818 - body.leg - 0.012) * stature
    joints["spine mid"] = joints["spine base"] + _along(waist, 0.0, 0.46 * length, 0.0)
    top = joints["spine shoulder"] = joints["spine mid"] + _along(chest, 0.0, 0.54 * length, 0.0)
    neck = chest @ _bent(0.4 * part["head"])
    face = chest @ _bent(part["head"])
    joints["neck"] = top + _along(neck, 0.0, body.neck_length * stature, 0.0)
    joints["head"] = joints["neck"] + _along(face, 0.0, 0.066 * body.head_scale * stature, 0.010 * stature)
    for name, out in (("left", 1.0), ("right", -1.0)):
        offset = out * body.shoulder_joint, -body.shoulder_drop, 0.0
        joints[f"{name} shoulder"] = top + _along(chest, *offset) * stature


def _carried(ways: np.ndarray, poles: np.ndarray) -> np.ndarray:
    """Return where elbows point ``(t, 3)`` for an arm that goes some way, from where they point for the usual one.

    They are carried along by the smallest turn, which has no jump but for an arm through the back.
    """
    both = ways + _USUAL
    share = (poles * ways).sum(axis=1, keepdims=True) / np.maximum(1 + ways @ _USUAL, 1e-2)[:, None]
    carried: np.ndarray = poles - share * both
    return carried


def _arm(
    joints: dict[str, np.ndarray],
    limb: tuple[np.ndarray, np.ndarray, np.ndarray],
    out: float,
    body: Body,
    chest: np.ndarray,
) -> dict[str, np.ndarray]:
    """Return elbow, wrist, hand, hand tip and thumb of one arm."""
    target, raised, bend = limb
    shoulder = joints["left shoulder" if out > 0 else "right shoulder"]
    arm = 0.332 * body.arm_scale * body.stature
    across = np.array([out, 1.0, 1.0])
    # A wrist that passes its shoulder does so in front of it, or the elbow would whirl around.
    near = np.sqrt((target * target).sum(axis=1))
    target = target + 0.1 * np.logaddexp(0.0, (0.5 - near) / 0.1)[:, None] * np.array([0.3, -0.3, 0.9])
    way = target * arm
    # Whatever the shoulders' width, what is before the middle of the body is there.
    inward = np.clip(-target[:, 0] / MIDDLE, 0.0, 1.0)
    way[:, 0] += inward * (MIDDLE * arm - body.shoulder_joint * body.stature)
    angle = np.deg2rad(raised)[:, None]
    pole = (chest @ (_carried(_unit(way), np.cos(angle) * _DOWN + np.sin(angle) * _ASIDE) * across)[..., None])[..., 0]
    wrist = shoulder + (chest @ (way * across)[..., None])[..., 0]
    lower = arm * body.forearm
    # Hands stay above the floor.
    soft, low = 0.02, 0.105 * body.stature
    wrist[:, 1] = low + soft * np.logaddexp(0.0, (wrist[:, 1] - low) / soft)
    elbow, wrist = _reach(shoulder, wrist, pole, arm - lower, lower, _ARM_REACH)
    upper, fore = elbow - shoulder, (wrist - elbow) / lower
    hand = _unit(fore + (chest @ (bend * across)[..., None])[..., 0])
    # The thumb is on the side to which the elbow bends.
    thumb = _unit((upper * hand).sum(axis=1, keepdims=True) * hand - upper)
    size = body.hand_scale * body.stature
    return {
        "elbow": elbow,
        "wrist": wrist,
        "hand": wrist + 0.040 * size * hand,
        "hand tip": wrist + size * (0.100 * hand + 0.008 * thumb),
        "thumb": wrist + size * (0.054 * hand + 0.030 * thumb),
    }
