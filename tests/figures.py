"""Small folders of silhouettes of drawn people, in CASIA-B's layout."""

from pathlib import Path

import numpy as np

from gaitkeeper.datasets.base import Sample
from gaitkeeper.datasets.export import write_sequence
from gaitkeeper.seeding import stream


def drawn_person(subject: int, take: str, view: int, frames: int = 6) -> np.ndarray:
    """A trunk of the subject's width and two legs that swing: ``(t, 64, 44)`` uint8."""
    rng = stream(0, "figure", subject)
    trunk, head, reach = rng.uniform(4, 11), rng.uniform(3, 6), rng.uniform(3, 9)
    jitter = stream(0, "figure", subject, take, view).uniform(-0.7, 0.7, 3)
    rows, columns = np.mgrid[:64, :44]
    pictures = []
    for t in range(frames):
        swing = (reach + jitter[0]) * np.sin(2 * np.pi * t / frames + jitter[1]) * np.sin(np.deg2rad(20 + view / 2))
        person = np.hypot(rows - 6, columns - 22) < head + 2
        person |= (abs(columns - 22) < trunk / 2 + jitter[2] + 1) & (rows > 8) & (rows < 36)
        for side in (-1, 1):
            centre = 22 + side * swing * (rows - 34) / 30
            person |= (abs(columns - centre) < 2.5) & (rows >= 34)
        pictures.append(person)
    return np.stack(pictures).astype(np.uint8) * 255


def drawn_folder(root: Path, *, subjects=4, views=(0, 90), takes=("nm-01", "nm-02", "nm-05", "bg-01", "cl-01")) -> Path:
    for subject in range(1, subjects + 1):
        for take in takes:
            for view in views:
                write_sequence(root, Sample(f"{subject:03d}", take, view), drawn_person(subject, take, view))
    return root
