"""Gaits: published joint-angle curves, and how a subject and a walk deviate from them."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.interpolate import CubicSpline, PchipInterpolator

from gaitkeeper.synthetic.traits import Trait, bounded, deviates

HARMONICS = 6
TOE_OFF = 0.62
"""Phase of the gait cycle at which the foot leaves the floor; 0 is its first contact."""

# Sagittal angles of level walking at natural cadence (percent of the cycle, degrees; flexion positive),
# and the foot's pitch against the floor (toe up positive).
_HIP = ((0, 24), (12, 18), (31, -3), (51, -19), (62, -13), (75, 12), (87, 26), (95, 25))
_KNEE = ((0, 5), (14, 18), (28, 10), (40, 5), (51, 12), (62, 38), (72, 61), (84, 33), (96, 3))
_FOOT = ((0, 20), (4, 11), (9, 0), (34, 0), (42, -4), (51, -16), (62, -58), (70, -52), (80, -18), (88, 4), (96, 19))


@dataclass(frozen=True, kw_only=True)
class Gait:
    """How somebody walks. Angles in degrees, phases in fractions of the cycle, lengths in metres.

    Each trait exists once; ``*_asymmetry`` is added to the left and subtracted from the right side.
    """

    cadence: float  # steps a minute
    hip_scale: float
    hip_offset: float
    hip_phase: float
    hip_second: float
    hip_second_sine: float
    hip_asymmetry: float
    knee_scale: float
    knee_stance: float
    knee_offset: float
    knee_phase: float
    knee_second: float
    knee_second_sine: float
    knee_asymmetry: float
    strike: float  # scale of the toe-up pitch at first contact
    push: float  # scale of the heel's rise
    heel_off: float  # later (+) or earlier (-) rise of the heel
    foot_asymmetry: float
    clearance: float  # least height of the swinging foot
    bounce: float
    surge: float  # fore-aft movement of the pelvis about its mean speed
    step_width: float
    toe_out: float
    sway: float
    pelvis_rotation: float
    pelvis_phase: float
    pelvis_obliquity: float
    pelvis_tilt: float
    counter_rotation: float
    side_bend: float
    lean: float
    kyphosis: float
    head_forward: float
    head_pitch: float
    nod: float
    arm_swing: float
    arm_asymmetry: float
    arm_offset: float
    arm_phase: float
    arm_second: float
    abduction: float
    elbow: float
    elbow_swing: float
    elbow_asymmetry: float
    hand_inward: float


_TRAITS = {
    "cadence": Trait(111.0, 11.0, 2.2, 88.0, 136.0),
    "hip_scale": Trait(1.0, 0.14, 0.03, 0.62, 1.35),
    "hip_offset": Trait(0.0, 2.2, 0.5, -5.0, 5.0),
    "hip_phase": Trait(0.0, 0.013, 0.003, -0.04, 0.04),
    "hip_second": Trait(0.0, 1.6, 0.3, -4.0, 4.0),
    "hip_second_sine": Trait(0.0, 1.6, 0.3, -4.0, 4.0),
    "hip_asymmetry": Trait(0.0, 0.02, 0.006, -0.1, 0.1),
    "knee_scale": Trait(1.0, 0.11, 0.025, 0.7, 1.3),
    "knee_stance": Trait(1.0, 0.35, 0.06, 0.1, 2.0),
    "knee_offset": Trait(2.0, 3.5, 0.8, -2.0, 13.0),
    "knee_phase": Trait(0.0, 0.012, 0.003, -0.035, 0.035),
    "knee_second": Trait(0.0, 2.0, 0.4, -5.0, 5.0),
    "knee_second_sine": Trait(0.0, 2.0, 0.4, -5.0, 5.0),
    "knee_asymmetry": Trait(0.0, 0.035, 0.010, -0.1, 0.1),
    "strike": Trait(1.0, 0.28, 0.06, 0.1, 1.8),
    "push": Trait(1.0, 0.14, 0.03, 0.6, 1.4),
    "heel_off": Trait(0.0, 0.025, 0.005, -0.06, 0.06),
    "foot_asymmetry": Trait(0.0, 0.05, 0.015, -0.15, 0.15),
    "clearance": Trait(0.014, 0.007, 0.002, 0.004, 0.05),
    "bounce": Trait(1.0, 0.3, 0.06, 0.2, 1.8),
    "surge": Trait(0.008, 0.006, 0.002, -0.01, 0.03),
    "step_width": Trait(0.110, 0.038, 0.009, 0.01, 0.2),
    "toe_out": Trait(7.0, 6.0, 1.3, -8.0, 24.0),
    "sway": Trait(0.022, 0.011, 0.003, 0.0, 0.06),
    "pelvis_rotation": Trait(5.0, 2.6, 0.5, -1.0, 13.0),
    "pelvis_phase": Trait(0.0, 0.03, 0.008, -0.1, 0.1),
    "pelvis_obliquity": Trait(4.0, 1.8, 0.4, 0.0, 9.0),
    "pelvis_tilt": Trait(2.0, 3.5, 0.7, -7.0, 11.0),
    "counter_rotation": Trait(5.0, 3.2, 0.8, -3.0, 15.0),
    "side_bend": Trait(1.0, 1.6, 0.4, -4.0, 6.0),
    "lean": Trait(3.0, 3.2, 0.9, -5.0, 13.0),
    "kyphosis": Trait(14.0, 8.0, 1.3, -3.0, 36.0),
    "head_forward": Trait(18.0, 8.0, 2.2, -5.0, 45.0),
    "head_pitch": Trait(2.0, 8.0, 4.0, -18.0, 26.0),
    "nod": Trait(1.0, 0.8, 0.3, 0.0, 4.0),
    "arm_swing": Trait(19.0, 8.5, 2.4, 1.0, 44.0),
    "arm_asymmetry": Trait(0.0, 0.17, 0.07, -0.6, 0.6),
    "arm_offset": Trait(-3.0, 6.0, 1.4, -18.0, 16.0),
    "arm_phase": Trait(0.02, 0.03, 0.008, -0.08, 0.12),
    "arm_second": Trait(0.0, 1.8, 0.5, -5.0, 5.0),
    "abduction": Trait(8.0, 4.5, 1.2, 1.0, 24.0),
    "elbow": Trait(20.0, 10.0, 2.6, 3.0, 65.0),
    "elbow_swing": Trait(10.0, 7.0, 1.8, 0.0, 32.0),
    "elbow_asymmetry": Trait(0.0, 4.0, 1.5, -12.0, 12.0),
    "hand_inward": Trait(12.0, 9.0, 3.0, -10.0, 40.0),
}


def draw_gait(subject: np.random.Generator, walk: np.random.Generator, *, spread: float, session: float) -> Gait:
    """Draw how a subject walks on one occasion.

    Args:
        subject: the stream of this subject's gait.
        walk: the stream of this walk.
        spread: scale of the differences between subjects; 0 gives everybody the same gait.
        session: scale of the differences between the walks of one subject.
    """
    own, passing = deviates(_TRAITS, subject), deviates(_TRAITS, walk)
    # Mood: a brisker walk is faster, longer and swings the arms more.
    mood = session * float(np.clip(walk.standard_normal(), -2.0, 2.0))
    brisk = {"cadence": 2.5, "hip_scale": 0.022, "arm_swing": 1.5, "elbow": 1.0, "push": 0.015}
    values = {}
    for name, trait in _TRAITS.items():
        value = trait.mean + spread * own[name] * trait.subject + session * passing[name] * trait.walk
        values[name] = bounded(trait, value + mood * brisk.get(name, 0.0))
    return Gait(**values)


@cache
def _coefficients(points: tuple[tuple[int, int], ...]) -> np.ndarray:
    """Return the complex Fourier coefficients (mean and six harmonics) of a curve through key points."""
    phase, angle = np.array(points, dtype=float).T
    spline = CubicSpline(np.append(phase, 100), np.append(angle, angle[0]), bc_type="periodic")
    spectrum = np.fft.rfft(spline(np.arange(256) / 2.56)) / 256
    spectrum[1:] *= 2
    return spectrum[: HARMONICS + 1]


@cache
def _foot_table() -> np.ndarray:
    phase, angle = np.array(_FOOT, dtype=float).T
    phase = np.concatenate([phase[-2:] - 100, phase, phase[:2] + 100])
    angle = np.concatenate([angle[-2:], angle, angle[:2]])
    return PchipInterpolator(phase, angle)(np.arange(257) / 2.56)


def _series(points: tuple[tuple[int, int], ...], phase: np.ndarray) -> np.ndarray:
    turns = np.exp(2j * np.pi * phase[..., None] * np.arange(HARMONICS + 1))
    return (turns @ _coefficients(points)).real


def leg_angles(gait: Gait, phase: np.ndarray, side: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return hip flexion, knee flexion and foot pitch in degrees.

    Args:
        gait: how the person walks.
        phase: fractions of this leg's cycle, any shape; 0 is the foot's first contact.
        side: 1 for the left and -1 for the right leg.

    Reference:
        Key points read from normal gait as in Winter, "The Biomechanics and Motor Control of Human Gait",
        1991, and Perry and Burnfield, "Gait Analysis", 2nd ed. 2010.
    """
    angle = 4 * np.pi * phase
    mean = float(_coefficients(_HIP)[0].real)
    hip = mean + (_series(_HIP, phase - gait.hip_phase) - mean) * (gait.hip_scale + side * gait.hip_asymmetry)
    hip += gait.hip_offset + gait.hip_second * np.cos(angle) + gait.hip_second_sine * np.sin(angle)
    knee = _series(_KNEE, phase - gait.knee_phase) * (gait.knee_scale + side * gait.knee_asymmetry)
    # The flexion while loading is a habit of its own, apart from the flexion in swing.
    knee += 12 * (gait.knee_stance - 1) * np.exp(-(((phase % 1 - 0.15) / 0.08) ** 2))
    knee += gait.knee_offset + gait.knee_second * np.cos(angle) + gait.knee_second_sine * np.sin(angle)
    cycle = phase % 1
    # The heel's rise is moved in time without moving contact and toe-off.
    late = gait.heel_off * np.exp(-(((cycle - 0.45) / 0.1) ** 2))
    pitch = np.interp(np.clip(cycle - late, 0, 1), np.arange(257) / 256, _foot_table())
    push = gait.push + side * gait.foot_asymmetry
    pitch = np.where(pitch > 0, pitch * (gait.strike + side * gait.foot_asymmetry), pitch * push)
    return hip, np.maximum(knee, 1.0), pitch
