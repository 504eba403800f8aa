"""The dressed body as ellipsoids, and the pairs of them whose convex hulls are its parts."""

from dataclasses import dataclass

import numpy as np

from gaitkeeper.synthetic.body import Body
from gaitkeeper.synthetic.clothing import Outfit
from gaitkeeper.synthetic.kinematics import ANKLE_HEIGHT, BALL, BALL_BELOW, FRAMES, HEEL, HEEL_BELOW, JOINTS, Pose


@dataclass(frozen=True)
class Figure:
    """Ellipsoids over time and the parts between them.

    Attributes:
        centres: ``(frames, ellipsoids, 3)`` metres.
        spreads: ``(frames, ellipsoids, 6)``, the matrix of half axes times its transpose (xx xy xz yy yz zz).
        parts: ``(parts, 2)`` int64, each part is the convex hull of two ellipsoids.
        materials: ``(parts,)`` int64, index into ``MATERIALS``.
    """

    centres: np.ndarray
    spreads: np.ndarray
    parts: np.ndarray
    materials: np.ndarray


MATERIALS = ("skin", "hair", "top", "trousers", "shoes", "bag")

_Vector = tuple[float, float, float]


class _Builder:
    def __init__(self) -> None:
        self.index: dict[str, int] = {}
        self.joints: list[int] = []
        self.frames: list[int] = []
        self.offsets: list[_Vector] = []
        self.halves: list[_Vector] = []
        self.parts: list[tuple[int, int]] = []
        self.materials: list[int] = []

    def node(self, name: str, joint: str, frame: str, offset: _Vector, half: _Vector | float) -> None:
        """Add an ellipsoid: centre beside a joint and half axes (forward, up, right), in metres."""
        self.index[name] = len(self.joints)
        self.joints.append(JOINTS.index(joint))
        self.frames.append(FRAMES.index(frame))
        self.offsets.append(offset)
        self.halves.append(half if isinstance(half, tuple) else (half, half, half))

    def hulls(self, material: str, *pairs: tuple[str, str]) -> None:
        for one, other in pairs:
            self.parts.append((self.index[one], self.index[other]))
            self.materials.append(MATERIALS.index(material))


def _trunk(add: _Builder, body: Body, outfit: Outfit) -> None:
    h, top = body.stature, outfit.top
    width, depth = body.pelvis_width * h + 0.6 * outfit.trousers, body.pelvis_depth * h + 0.6 * outfit.trousers
    add.node("pelvis", "pelvis", "pelvis", (0.0, 0.004 * h, 0.0), (depth, 0.055 * h, width))
    for side, out in (("l", -1.0), ("r", 1.0)):
        seat = 0.040 * h
        back = -(body.pelvis_depth - 0.040 + body.glutes) * h
        add.node(f"seat_{side}", "pelvis", "pelvis", (back, -0.012 * h, out * 0.042 * h), seat + 0.5 * outfit.trousers)
    depth, width = body.waist_depth * h + top, body.waist_width * h + top
    add.node("waist", "spine", "waist", (0.0, -0.045 * h, 0.0), (depth, 0.040 * h, width))
    add.node("belly", "spine", "waist", (body.belly * h, -0.055 * h, 0.0), (depth, 0.048 * h, 0.86 * width))
    depth, width = body.rib_depth * h + top, body.rib_width * h + top
    add.node("ribs", "spine", "thorax", (0.004 * h, 0.048 * h, 0.0), (depth, 0.050 * h, width))
    depth, width = body.chest_depth * h + top, 0.92 * body.rib_width * h + top
    add.node("chest", "shoulders", "thorax", (0.004 * h, -0.052 * h, 0.0), (depth, 0.042 * h, width))
    bust = ((body.rib_depth - 0.030 + body.bust) * h, -0.084 * h, 0.0)
    add.node("bust", "shoulders", "thorax", bust, (0.030 * h + top, 0.032 * h, 0.058 * h + top))
    collar = body.neck * h + 0.4 * top + outfit.collar
    add.node("nape", "shoulders", "thorax", (0.0, 0.004 * h, 0.0), (1.1 * collar, 0.7 * collar, 1.15 * collar))
    add.hulls("trousers", ("pelvis", "waist"), ("seat_l", "waist"), ("seat_r", "waist"))
    add.hulls("top", ("waist", "ribs"), ("ribs", "chest"), ("belly", "ribs"), ("belly", "pelvis"))
    add.hulls("top", ("bust", "belly"), ("bust", "nape"), ("nape", "chest"))
    # A shirt's tail or a coat's skirt: its hems follow the legs, the others close it between them.
    skirt = outfit.top + outfit.flare
    size = (body.pelvis_depth * h + 0.6 * skirt, 0.045 * h, body.pelvis_width * h + 0.6 * skirt)
    add.node("skirt", "pelvis", "pelvis", (-0.3 * body.glutes * h, 0.0, 0.0), size)
    add.hulls("top", ("skirt", "waist"))
    for side, out in (("l", -1.0), ("r", 1.0)):
        hem = 0.90 * body.thigh * h + skirt
        add.node(f"hem_{side}", f"hem_{side}", "pelvis", (0.0, 0.0, out * 0.004), (hem, 0.4 * hem, 0.95 * hem))
        add.hulls("top", ("skirt", f"hem_{side}"))
    add.node("hem_m", "hem_m", "pelvis", (0.0, 0.0, 0.0), (hem, 0.4 * hem, 0.95 * hem))
    add.hulls("top", ("skirt", "hem_m"), ("hem_l", "hem_m"), ("hem_m", "hem_r"))


def _head(add: _Builder, body: Body, outfit: Outfit) -> None:
    h = body.stature
    k = body.head_scale * h
    add.node("throat", "skull", "head", (0.0, -0.004 * k, 0.0), (0.92 * body.neck * h, 0.03 * k, 0.90 * body.neck * h))
    add.node("cranium", "head", "head", (-0.008 * k, 0.012 * k, 0.0), (body.head_length * k, 0.051 * k, 0.043 * k))
    jaw = ((0.016 + body.jaw) * k, -0.036 * k, 0.0)
    add.node("jaw", "head", "head", jaw, (0.029 * k, 0.026 * k, (0.030 + 0.5 * body.jaw) * k))
    add.node("nose", "head", "head", ((0.046 + 0.5 * body.jaw) * k, -0.013 * k, 0.0), 0.010 * k)
    add.hulls("skin", ("nape", "throat"), ("throat", "jaw"), ("cranium", "jaw"), ("nose", "cranium"))
    volume = max(body.hair_volume * h + outfit.hair, 0.002)
    crown = (body.head_length * 0.94 * k + volume, 0.047 * k + volume, 0.042 * k + volume)
    add.node("crown", "head", "head", (-0.014 * k, 0.017 * k, 0.0), crown)
    fall = -(0.010 + 0.125 * body.hair_length) * k
    tip = ((-0.030 - 0.010 * body.hair_length) * k, fall, 0.0)
    add.node("tips", "head", "head", tip, (0.022 * k + 0.6 * volume, 0.020 * k, 0.034 * k + 0.8 * volume))
    add.hulls("hair", ("crown", "tips"))


def _arm(add: _Builder, body: Body, outfit: Outfit, side: str, out: float) -> None:
    h, cloth = body.stature, outfit.sleeve
    deltoid = body.deltoid * h + 0.6 * cloth
    add.node(f"shoulder_{side}", f"shoulder_{side}", "thorax", (0.0, -0.004 * h, 0.0), deltoid)
    add.node(f"elbow_{side}", f"elbow_{side}", "world", (0.0, 0.0, 0.0), body.elbow * h + cloth)
    add.node(f"wrist_{side}", f"wrist_{side}", "world", (0.0, 0.0, 0.0), body.wrist * h + 0.8 * cloth)
    k = body.hand_scale * h
    frame = f"hand_{side}"
    add.node(f"palm_{side}", f"wrist_{side}", frame, (0.003 * k, -0.040 * k, 0.0), (0.024 * k, 0.030 * k, 0.012 * k))
    tips = (0.008 * k, -0.086 * k, -out * 0.006 * k)
    add.node(f"fingers_{side}", f"wrist_{side}", frame, tips, (0.017 * k, 0.020 * k, 0.010 * k))
    thumb = (0.028 * k, -0.050 * k, -out * 0.008 * k)
    add.node(f"thumb_{side}", f"wrist_{side}", frame, thumb, 0.0085 * k)
    shoulder, elbow, wrist, palm = (f"{name}_{side}" for name in ("shoulder", "elbow", "wrist", "palm"))
    # The two hulls to the shoulder give the slope of the neck's muscle and the round of the shoulder.
    add.hulls("top", ("nape", shoulder), ("chest", shoulder), (shoulder, elbow), (elbow, wrist))
    add.hulls("skin", (wrist, palm), (palm, f"fingers_{side}"), (palm, f"thumb_{side}"))


def _leg(add: _Builder, body: Body, outfit: Outfit, side: str, out: float) -> None:
    h, cloth = body.stature, outfit.trousers
    thigh = body.thigh * h + 0.6 * cloth
    add.node(f"hip_{side}", f"hip_{side}", "world", (0.0, -0.02 * h, out * 0.003 * h), thigh)
    add.node(f"knee_{side}", f"knee_{side}", "world", (-0.003 * h, 0.0, 0.0), body.knee * h + cloth)
    bulge = (-0.010 * h, 0.155 * h, 0.0)
    add.node(f"calf_{side}", f"ankle_{side}", f"shank_{side}", bulge, body.calf * h + cloth)
    cuff = body.ankle * h + outfit.cuff
    add.node(f"ankle_{side}", f"ankle_{side}", f"shank_{side}", (0.0, 0.012 * h, 0.0), cuff)
    length, shoe = body.foot * h, outfit.shoe
    sole = ANKLE_HEIGHT * h
    heel = (1 - HEEL_BELOW) * sole
    foot = f"foot_{side}"
    add.node(f"heel_{side}", f"ankle_{side}", foot, (HEEL * length, heel - sole, 0.0), (heel, heel, 0.9 * heel))
    # The instep lies between the ankle and the ball of the foot.
    rest = (1 - BALL_BELOW) * sole
    ball = rest + 0.5 * shoe
    instep = (0.5 * BALL * length, 0.6 * heel - rest, 0.0)
    add.node(f"instep_{side}", f"ankle_{side}", foot, instep, (0.02 * h, 0.020 * h + shoe, 0.022 * h + shoe))
    joint = f"ball_{side}"
    lift = ball - rest
    add.node(f"ball_{side}", joint, f"toes_{side}", (0.0, lift, 0.0), (0.022 * h, ball, 0.029 * h + shoe))
    tip = (0.26 * length + shoe, 0.011 * h - rest, -out * 0.004 * h)
    add.node(f"toes_{side}", joint, f"toes_{side}", tip, (0.016 * h, 0.011 * h, 0.022 * h + shoe))
    hip, knee, calf, ankle = (f"{name}_{side}" for name in ("hip", "knee", "calf", "ankle"))
    add.hulls("trousers", (f"seat_{side}", hip), ("pelvis", hip), (hip, knee), (knee, calf), (calf, ankle))
    heel_name, step, ball_name = f"heel_{side}", f"instep_{side}", f"ball_{side}"
    add.hulls("shoes", (ankle, heel_name), (ankle, step), (heel_name, step), (step, ball_name))
    add.hulls("shoes", (heel_name, ball_name), (ball_name, f"toes_{side}"))


def _bag(add: _Builder, body: Body, outfit: Outfit) -> None:
    h, k, lift = body.stature, outfit.bag_size, outfit.bag_height
    side, out = ("r", 1.0) if outfit.bag_side > 0 else ("l", -1.0)
    if outfit.bag == "backpack":
        back = -(body.rib_depth * h + outfit.top) - 0.055 * k
        add.node("bag_a", "spine", "thorax", (back, 0.14 * k + lift, 0.0), (0.065 * k, 0.08 * k, 0.12 * k))
        add.node("bag_b", "spine", "thorax", (back - 0.01, -0.06 * k + lift, 0.0), (0.085 * k, 0.08 * k, 0.14 * k))
    elif outfit.bag == "shoulder":
        beside = out * (body.pelvis_width * h + outfit.top + 0.05 * k)
        add.node("bag_a", "pelvis", "pelvis", (-0.11 * k, 0.06 + lift, beside), (0.05 * k, 0.10 * k, 0.05 * k))
        add.node("bag_b", "pelvis", "pelvis", (0.11 * k, 0.06 + lift, beside), (0.05 * k, 0.10 * k, 0.05 * k))
        add.node("strap", f"shoulder_{side}", "thorax", (0.0, body.deltoid * h, -out * 0.05), 0.018)
        add.hulls("bag", ("strap", "bag_a"))
    else:
        below = -0.13 * h - 0.10 * k
        wrist = f"wrist_{side}"
        add.node("bag_a", wrist, "world", (-0.10 * k, below, 0.0), (0.05 * k, 0.09 * k, 0.045 * k))
        add.node("bag_b", wrist, "world", (0.10 * k, below, 0.0), (0.05 * k, 0.09 * k, 0.045 * k))
        add.node("strap", wrist, "world", (0.0, -0.075 * h, 0.0), 0.012)
        add.hulls("bag", ("strap", "bag_a"), ("strap", "bag_b"))
    add.hulls("bag", ("bag_a", "bag_b"))


def dress(pose: Pose, body: Body, outfit: Outfit) -> Figure:
    """Put body and clothes on a moving skeleton.

    Args:
        pose: joints and part frames over time.
        body: thickness of the parts.
        outfit: what is worn and carried.
    """
    add = _Builder()
    _trunk(add, body, outfit)
    _head(add, body, outfit)
    for side, out in (("l", -1.0), ("r", 1.0)):
        _arm(add, body, outfit, side, out)
        _leg(add, body, outfit, side, out)
    if outfit.bag:
        _bag(add, body, outfit)
    frames = pose.frames[:, add.frames]
    centres = pose.joints[:, add.joints] + (frames @ np.array(add.offsets)[:, :, None])[..., 0]
    axes = frames * np.array(add.halves)[:, None, :]
    spreads = axes @ axes.transpose(0, 1, 3, 2)
    rows, columns = np.triu_indices(3)
    spreads = np.ascontiguousarray(spreads[..., rows, columns])
    parts = np.array(add.parts, dtype=np.int64)
    return Figure(np.ascontiguousarray(centres), spreads, parts, np.array(add.materials, dtype=np.int64))
