"""What the tests of Kinect recordings share: bodies, and files of them in the published form."""

import numpy as np

ONE, TWO, THREE = "72057594037931101", "72057594037931102", "72057594037931103"


def standing(frames, *, seed=0, x=0.0, sway=0.05):
    """An upright body: 1.8 m high, 0.5 m wide, that moves sideways."""
    rng = np.random.default_rng(seed)
    base = np.stack([rng.uniform(-0.25, 0.25, 25), np.linspace(-0.9, 0.9, 25), rng.uniform(2.9, 3.1, 25)], 1)
    moved = base + np.array([x, 0, 0]) + sway * np.sin(np.arange(frames) / 5)[:, None, None] * np.array([1, 0, 0])
    return moved.astype(np.float32)


def lying(frames, *, seed=0):
    return standing(frames, seed=seed)[..., [1, 0, 2]]


def text(frames):
    """The published form: for each frame a list of (number of the body, joints ``(25, 3)``)."""
    lines = [f"{len(frames)}"]
    for bodies in frames:
        lines.append(f"{len(bodies)}")
        for name, joints in bodies:
            lines += [f"{name} 0 1 1 1 1 0 0.02764709 0.05745083 2", "25"]
            lines += [
                f"{x:.9g} {y:.9g} {z:.9g} 277.419 191.8218 1036.233 519.1677 -0.2059419 0.05349901 0.9692109 -0.1239 2"
                for x, y, z in joints
            ]
    return "\r\n".join(lines) + "\r\n"
