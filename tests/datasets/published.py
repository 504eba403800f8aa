"""Small trees of rendered walkers in the layouts in which the data sets are published."""

import pickle
from pathlib import Path

import cv2
import numpy as np

from gaitkeeper.synthetic.camera import OUTDOORS
from gaitkeeper.synthetic.population import OUTDOOR_PEOPLE
from gaitkeeper.synthetic.walkers import Walkers

Masks = dict[tuple[str, str, int], np.ndarray]


def write_pictures(folder: Path, stem: str, masks: np.ndarray) -> None:
    folder.mkdir(parents=True)
    for number, mask in enumerate(masks, 1):
        assert cv2.imwrite(str(folder / f"{stem}-{number:03d}.png"), mask)


def casia_b(root: Path, *, subjects=(1, 2), conditions=("nm-01", "cl-02"), views=(0, 90), frames=7) -> Masks:
    crowd = Walkers()
    written = {}
    for subject in subjects:
        for condition in conditions:
            for view in views:
                masks = crowd.masks(subject, condition, view, frames=frames)
                name = f"{subject:03d}"
                folder = root / name / condition / f"{view:03d}"
                write_pictures(folder, f"{name}-{condition}-{view:03d}", masks)
                written[name, condition, view] = masks
    return written


def casia_a(root: Path, *, names=("fyc", "hy"), walks=("00_1", "00_4", "45_1", "90_4"), frames=7) -> Masks:
    crowd = Walkers(OUTDOOR_PEOPLE, OUTDOORS)
    written = {}
    for subject, name in enumerate(names, 1):
        for walk in walks:
            masks = crowd.masks(subject, walk, int(walk[:2]), frames=frames)
            write_pictures(root / name / walk, f"{name}-{walk}", masks)
            written[name, walk[-1], int(walk[:2])] = masks
    return written


def opengait(root: Path, sequences: dict[tuple[str, str, int], np.ndarray], *, protocol: int = 4) -> None:
    for (subject, kind, view), array in sequences.items():
        folder = root / subject / kind / f"{view:03d}"
        folder.mkdir(parents=True)
        (folder / f"{view:03d}.pkl").write_bytes(pickle.dumps(array, protocol=protocol))
