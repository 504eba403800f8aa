"""What people act: classes of actions as key poses, and how much their performances differ. Free of heavy imports.

A pose is told by its channels, see :data:`CHANNELS`. Actions are written for the right hand and foot.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

from gaitkeeper.errors import DataError

FPS = 30.0
"""Frames a second."""

FRAMES = (40, 90)
"""Fewest and most frames of a clip."""

SUBJECTS = 40
"""Subjects are numbered 1 to this."""

TRAIN_ACTORS = range(1, 25)
VALIDATION_ACTORS = range(25, 31)
TEST_ACTORS = range(31, 41)

CHANNELS: Mapping[str, tuple[float, ...]] = {
    "hand_r": (0.10, -0.95, 0.06),
    "elbow_r": (22.0,),
    "palm_r": (0.0, 0.0, 0.0),
    "hand_l": (0.10, -0.95, 0.06),
    "elbow_l": (22.0,),
    "palm_l": (0.0, 0.0, 0.0),
    "crouch": (0.0,),
    "back": (0.0,),
    "aside": (0.0,),
    "rise": (0.0,),
    "pelvis": (0.0, 0.0, 0.0),
    "spine": (2.0, 0.0, 0.0),
    "head": (4.0, 0.0, 0.0),
    "foot_r": (0.0, 0.0, 0.0),
    "heel_r": (0.0,),
    "foot_l": (0.0, 0.0, 0.0),
    "heel_l": (0.0,),
    "knees": (6.0,),
}
"""Channels of a pose with their values at rest.

``hand``: the wrist from its shoulder, outward, up and forward on the chest, in lengths of the arm; an outward place
of -0.3 is before the middle of the body. ``elbow``: degrees that the elbow is raised sideways. ``palm``: what is
added to the forearm's direction to give the hand's. ``crouch``: how far the pelvis sinks, in lengths of the leg;
``back``, ``aside`` (to the right) and ``rise`` (of the whole body from the floor) in statures. ``pelvis``, ``spine``
and ``head``: degrees forward, to the right and turned left, each on what carries it. ``foot``: the ball of the foot
from its place on the floor, outward, up and forward, in lengths of the leg; ``heel``: degrees that the heel is
raised about the ball. ``knees``: degrees that the knees point outward.
"""

Moved = tuple[float, ...] | float


@dataclass(frozen=True)
class Key:
    """A key pose.

    Args:
        seconds: time since the last key.
        moved: channels that it sets; ``hand``, ``elbow``, ``palm``, ``foot`` and ``heel`` set those of both sides.
            All others stay as they were.
        rest: whether all channels go back to rest first.
    """

    seconds: float
    moved: Mapping[str, Moved]
    rest: bool = False


@dataclass(frozen=True, kw_only=True)
class Action:
    """A class of actions.

    Args:
        name: unique; NTU RGB+D's where that has the action.
        before: key poses after rest.
        cycle: key poses that are repeated.
        repeats: least and greatest number of cycles.
        after: the last key poses.
        start: the channels of a pose in which it starts, where that is not rest.
        touch: whether hands must arrive where the keys say, at the body or at each other, so that they vary little.
        paired: whether the left hand does what the right one does.
    """

    name: str
    before: tuple[Key, ...] = ()
    cycle: tuple[Key, ...] = ()
    repeats: tuple[int, int] = (1, 1)
    after: tuple[Key, ...] = ()
    start: Mapping[str, Moved] | None = None
    touch: bool = False
    paired: bool = False


def _key(seconds: float, **moved: Moved) -> Key:
    return Key(seconds, moved)


def _rest(seconds: float, **moved: Moved) -> Key:
    return Key(seconds, moved, rest=True)


_SEATED: Mapping[str, Moved] = {
    "crouch": 0.48,
    "back": 0.20,
    "pelvis": (-6.0, 0.0, 0.0),
    "spine": (8.0, 0.0, 0.0),
    "hand": (-0.04, -0.58, 0.50),
    "elbow": 18.0,
}
_RISING: Mapping[str, Moved] = {
    "crouch": 0.36,
    "back": 0.15,
    "pelvis": (28.0, 0.0, 0.0),
    "spine": (24.0, 0.0, 0.0),
    "hand": (-0.02, -0.60, 0.55),
}
_GUARD: Mapping[str, Moved] = {"hand": (-0.12, 0.02, 0.42), "elbow": 24.0, "palm": (0.0, 0.3, 0.0)}

ACTIONS: tuple[Action, ...] = (
    Action(
        name="drink water",
        before=(
            _key(0.40, hand_r=(-0.08, -0.30, 0.50), elbow_r=22.0),
            _key(0.40, hand_r=(-0.17, 0.13, 0.42), elbow_r=38.0, palm_r=(-0.4, 0.3, -0.2), head=(-6.0, 0.0, 0.0)),
            _key(0.45, hand_r=(-0.21, 0.25, 0.33), elbow_r=52.0, head=(-18.0, 0.0, 0.0), spine=(-4.0, 0.0, 0.0)),
        ),
        after=(
            _key(0.40, hand_r=(-0.08, -0.25, 0.50), elbow_r=22.0, palm_r=(0.0, 0.0, 0.0), head=(4.0, 0.0, 0.0)),
            _rest(0.40),
        ),
        touch=True,
    ),
    Action(
        name="pick up",
        before=(
            _key(
                0.70,
                pelvis=(48.0, 0.0, 0.0),
                spine=(36.0, 6.0, 8.0),
                head=(-22.0, 0.0, 0.0),
                crouch=0.27,
                back=0.12,
                hand_r=(-0.08, 0.05, 0.88),
                elbow_r=20.0,
                hand_l=(0.02, -0.40, 0.55),
            ),
            _key(0.20, spine=(38.0, 6.0, 10.0)),
        ),
        after=(_rest(0.65, hand_r=(-0.06, -0.55, 0.45)), _key(0.25), _rest(0.30)),
    ),
    Action(
        name="throw",
        before=(
            _key(
                0.45,
                hand_r=(0.30, 0.28, -0.30),
                elbow_r=72.0,
                spine=(-8.0, 6.0, -32.0),
                pelvis=(0.0, 0.0, -10.0),
                back=0.03,
                hand_l=(0.15, -0.35, 0.60),
                foot_l=(0.0, 0.06, 0.12),
            ),
            _key(0.18, foot_l=(0.0, 0.0, 0.22), hand_r=(0.25, 0.35, -0.10), spine=(-4.0, 2.0, -14.0)),
            _key(
                0.16,
                hand_r=(-0.02, 0.42, 0.82),
                elbow_r=40.0,
                spine=(14.0, -4.0, 22.0),
                pelvis=(6.0, 0.0, 8.0),
                back=-0.06,
                crouch=0.03,
                hand_l=(0.20, -0.70, 0.10),
                heel_r=18.0,
            ),
            _key(0.20, hand_r=(-0.38, -0.45, 0.66), elbow_r=20.0, spine=(26.0, -4.0, 30.0), heel_r=25.0),
        ),
        after=(_key(0.35, foot_l=(0.0, 0.05, 0.10), hand_r=(-0.10, -0.75, 0.40), heel_r=0.0), _rest(0.30)),
    ),
    Action(
        name="sit down",
        before=(_key(0.45, **_RISING), _key(0.40, **{**_SEATED, "pelvis": (10.0, 0.0, 0.0)}), _key(0.30, **_SEATED)),
        after=(_key(0.4),),
    ),
    Action(
        name="stand up",
        start=_SEATED,
        before=(_key(0.45, **_RISING, heel=0.0), _key(0.45, crouch=0.10, back=0.04, pelvis=(12.0, 0.0, 0.0))),
        after=(_rest(0.35),),
    ),
    Action(
        name="clap",
        before=(_key(0.45, hand=(-0.12, -0.20, 0.56), elbow=30.0, palm=(0.0, 0.35, 0.2)),),
        cycle=(_key(0.14, hand=(-0.27, -0.18, 0.54)), _key(0.17, hand=(-0.08, -0.17, 0.55))),
        repeats=(3, 5),
        after=(_rest(0.45),),
        touch=True,
        paired=True,
    ),
    Action(
        name="hand waving",
        before=(
            _key(0.26, hand_r=(0.12, -0.34, 0.52), elbow_r=30.0),
            _key(0.26, hand_r=(0.20, 0.34, 0.36), elbow_r=42.0, palm_r=(0.0, 0.5, 0.1)),
        ),
        cycle=(_key(0.20, hand_r=(0.44, 0.28, 0.34)), _key(0.20, hand_r=(0.02, 0.34, 0.38))),
        repeats=(2, 4),
        after=(_key(0.26, hand_r=(0.12, -0.34, 0.52), elbow_r=30.0), _rest(0.28)),
    ),
    Action(
        name="kick something",
        before=(
            _key(
                0.35,
                aside=-0.045,
                foot_r=(0.0, 0.14, -0.32),
                heel_r=35.0,
                pelvis=(10.0, 0.0, -8.0),
                hand_l=(0.20, -0.75, 0.45),
                hand_r=(0.25, -0.85, -0.25),
            ),
            _key(
                0.28,
                foot_r=(0.0, 0.40, 0.72),
                heel_r=-18.0,
                pelvis=(-14.0, 0.0, 10.0),
                spine=(16.0, 0.0, -8.0),
                hand_l=(0.30, -0.80, -0.25),
                hand_r=(0.25, -0.75, 0.35),
            ),
            _key(0.28, foot_r=(0.0, 0.16, 0.10), heel_r=10.0, pelvis=(0.0, 0.0, 0.0)),
        ),
        after=(_rest(0.35),),
    ),
    Action(
        name="hop",
        before=(_key(0.40, aside=0.05, foot_l=(0.0, 0.20, -0.26), heel_l=45.0, hand=(0.28, -0.72, 0.20), elbow=35.0),),
        cycle=(
            _key(0.18, crouch=0.07, spine=(10.0, 0.0, 0.0)),
            _key(0.18, crouch=0.01, rise=0.055, heel_r=32.0, hand=(0.38, -0.60, 0.25), spine=(4.0, 0.0, 0.0)),
            _key(0.18, crouch=0.05, rise=0.0, heel_r=0.0, hand=(0.28, -0.72, 0.20)),
        ),
        repeats=(2, 3),
        after=(_rest(0.40),),
    ),
    Action(
        name="jump up",
        before=(
            _key(
                0.45, crouch=0.22, back=0.05, pelvis=(22.0, 0.0, 0.0), spine=(20.0, 0.0, 0.0), hand=(0.16, -0.80, -0.48)
            ),
            _key(
                0.21,
                crouch=0.0,
                back=0.0,
                heel=32.0,
                pelvis=(0.0, 0.0, 0.0),
                spine=(0.0, 0.0, 0.0),
                hand=(0.20, -0.30, 0.75),
                elbow=40.0,
            ),
            _key(0.20, rise=0.15, heel=50.0, hand=(0.20, 0.55, 0.65)),
            _key(0.20, rise=0.0, heel=10.0, crouch=0.03, hand=(0.30, -0.35, 0.55)),
            _key(0.16, heel=0.0, crouch=0.18, back=0.04, pelvis=(16.0, 0.0, 0.0), spine=(16.0, 0.0, 0.0)),
        ),
        after=(_rest(0.45),),
    ),
    Action(
        name="point to something",
        before=(_key(0.50, hand_r=(0.12, 0.02, 0.93), elbow_r=32.0, spine=(2.0, 0.0, 6.0)), _key(0.65)),
        after=(_rest(0.50),),
    ),
    Action(
        name="salute",
        before=(
            _key(0.24, hand_r=(0.08, -0.30, 0.50), elbow_r=32.0),
            _key(0.26, hand_r=(0.04, 0.28, 0.32), elbow_r=72.0, palm_r=(-0.7, 0.3, -0.4), head=(0.0, 0.0, 0.0)),
            _key(0.60),
        ),
        after=(_key(0.24, hand_r=(0.08, -0.30, 0.50), elbow_r=32.0, palm_r=(0.0, 0.0, 0.0)), _rest(0.26)),
        touch=True,
    ),
    Action(
        name="bow",
        before=(
            _key(
                0.60,
                pelvis=(38.0, 0.0, 0.0),
                spine=(24.0, 0.0, 0.0),
                head=(16.0, 0.0, 0.0),
                back=0.09,
                hand=(0.04, -0.62, 0.70),
            ),
            _key(0.35),
        ),
        after=(_rest(0.65),),
    ),
    Action(
        name="put palms together",
        before=(
            _key(0.50, hand=(-0.265, -0.14, 0.44), elbow=48.0, palm=(0.0, 1.1, 0.0)),
            _key(0.35, head=(14.0, 0.0, 0.0), spine=(8.0, 0.0, 0.0)),
            _key(0.35, head=(4.0, 0.0, 0.0), spine=(2.0, 0.0, 0.0)),
        ),
        after=(_rest(0.50),),
        touch=True,
        paired=True,
    ),
    Action(
        name="arm circles",
        before=(_key(0.30, hand=(0.34, -0.25, 0.80), elbow=60.0), _key(0.17, hand=(0.34, 0.40, 0.72), elbow=85.0)),
        cycle=(
            _key(0.17, hand=(0.34, 0.85, 0.05)),
            _key(0.17, hand=(0.46, 0.40, -0.55)),
            _key(0.15, hand=(0.46, -0.30, -0.60)),
            _key(0.15, hand=(0.34, -0.84, -0.10), elbow=45.0),
            _key(0.15, hand=(0.34, -0.36, 0.74)),
            _key(0.15, hand=(0.34, 0.40, 0.72), elbow=85.0),
        ),
        repeats=(1, 2),
        after=(_key(0.17, hand=(0.34, 0.85, 0.05)), _key(0.25, hand=(0.70, 0.20, -0.10)), _rest(0.30)),
    ),
    Action(
        name="hands up",
        before=(
            _key(0.32, hand=(0.50, -0.05, 0.70), elbow=60.0),
            _key(0.30, hand=(0.30, 0.88, 0.10), elbow=88.0, head=(-8.0, 0.0, 0.0)),
            _key(0.60, hand=(0.34, 0.86, 0.04)),
        ),
        after=(_key(0.30, hand=(0.60, 0.05, 0.55), elbow=60.0), _rest(0.32)),
    ),
    Action(
        name="squat down",
        before=(
            _key(
                0.75,
                crouch=0.58,
                back=0.12,
                pelvis=(26.0, 0.0, 0.0),
                spine=(14.0, 0.0, 0.0),
                head=(-18.0, 0.0, 0.0),
                hand=(-0.02, -0.20, 0.80),
                heel=12.0,
                knees=22.0,
            ),
            _key(0.30),
        ),
        after=(_rest(0.75),),
    ),
    Action(
        name="side kick",
        before=(
            _key(0.35, aside=-0.06, foot_r=(0.05, 0.34, 0.10), heel_r=15.0, **_GUARD),
            _key(
                0.26,
                foot_r=(0.72, 0.46, 0.02),
                heel_r=-5.0,
                pelvis=(0.0, -30.0, 0.0),
                spine=(4.0, 4.0, 0.0),
                aside=-0.09,
                hand_r=(0.30, -0.55, 0.35),
            ),
            _key(0.26, foot_r=(0.08, 0.30, 0.08), pelvis=(0.0, -4.0, 0.0), aside=-0.06),
        ),
        after=(_rest(0.38),),
    ),
    Action(
        name="punch",
        before=(
            _key(0.40, **_GUARD, foot_l=(0.0, 0.03, 0.07)),
            _key(0.12, foot_l=(0.0, 0.0, 0.14), spine=(4.0, 0.0, -12.0)),
        ),
        cycle=(
            _key(0.16, hand_r=(-0.20, 0.10, 0.95), spine=(8.0, 0.0, 26.0), pelvis=(4.0, 0.0, 12.0), back=-0.03),
            _key(0.24, hand_r=(-0.10, 0.02, 0.40), spine=(4.0, 0.0, -10.0), pelvis=(2.0, 0.0, 0.0), back=-0.01),
        ),
        repeats=(1, 2),
        after=(_key(0.20, foot_l=(0.0, 0.03, 0.07)), _rest(0.30)),
    ),
    Action(
        name="run on the spot",
        before=(_key(0.25, hand=(0.02, -0.42, 0.38), elbow=22.0, spine=(8.0, 0.0, 0.0), crouch=0.03),),
        cycle=(
            _key(
                0.16,
                foot_r=(0.0, 0.32, -0.06),
                heel_r=40.0,
                foot_l=(0.0, 0.0, 0.0),
                heel_l=14.0,
                aside=-0.02,
                rise=0.02,
                hand_r=(0.08, -0.62, -0.22),
                hand_l=(0.00, -0.22, 0.52),
                spine=(8.0, 0.0, -8.0),
            ),
            _key(
                0.11,
                foot_r=(0.0, 0.05, -0.02),
                heel_r=18.0,
                foot_l=(0.0, 0.03, -0.04),
                heel_l=22.0,
                rise=0.0,
                aside=0.0,
            ),
            _key(
                0.16,
                foot_l=(0.0, 0.32, -0.06),
                heel_l=40.0,
                foot_r=(0.0, 0.0, 0.0),
                heel_r=14.0,
                aside=0.02,
                rise=0.02,
                hand_l=(0.08, -0.62, -0.22),
                hand_r=(0.00, -0.22, 0.52),
                spine=(8.0, 0.0, 8.0),
            ),
            _key(
                0.11,
                foot_l=(0.0, 0.05, -0.02),
                heel_l=18.0,
                foot_r=(0.0, 0.03, -0.04),
                heel_r=22.0,
                rise=0.0,
                aside=0.0,
            ),
        ),
        repeats=(2, 3),
        after=(_rest(0.40),),
    ),
)
"""All classes, in the order of their numbers.

Some are meant to be confused: sit down, squat down and stand up; throw, punch and point; hand waving and salute; arm
circles and hands up; clap and put palms together; hop, jump up and run on the spot; bow and pick up; the two kicks.
"""

CLASSES = tuple(action.name for action in ACTIONS)
"""Names of the classes, in the order of their numbers."""


@dataclass(frozen=True, kw_only=True)
class Acting:
    """All that defines the actors and their performances; the same settings give the same bytes.

    Args:
        seed: of every draw.
        shape: spread of body shapes between subjects; 0 gives identical bodies.
        style: how differently subjects act the same class: tempo, amplitude, posture, habits.
        session: variation between one subject's takes of a class: timing, aim, what the idle hand does.
        left: share of takes that are acted left-handed, 0 to 1; some subjects do so more often than others.
        view: the body's direction is drawn up to this many degrees to both sides.
        tilt: the camera is tilted up to this many degrees.
        noise: metres by which joints are estimated wrongly, standard deviation; bones keep their lengths.
        sensor: metres of noise of each joint by itself, standard deviation; bones do not keep their lengths.
    """

    seed: int = 0
    shape: float = 1.0
    style: float = 1.0
    session: float = 1.0
    left: float = 0.2
    view: float = 60.0
    tilt: float = 5.0
    noise: float = 0.005
    sensor: float = 0.0

    def __post_init__(self) -> None:
        most = {"left": 1.0, "view": 180.0, "tilt": 45.0, "noise": 0.1, "sensor": 0.1}
        for field in fields(self):
            value, high = getattr(self, field.name), most.get(field.name, 10.0)
            if field.name != "seed" and not (math.isfinite(value) and 0 <= value <= high):
                raise DataError(f"acting: {field.name} must be between 0 and {high:g}, got {value}")


USUAL_ACTING = Acting()
"""The embedded actors."""
