"""Berkeley MHAD: motion capture of twelve people in eleven actions, split by person."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gaitkeeper.datasets.bvh import read_bvh
from gaitkeeper.datasets.mocap import Chain
from gaitkeeper.datasets.stored import MIN_FRAMES, Split, StoredClip, check_folder, chosen, load_each
from gaitkeeper.errors import DataError
from gaitkeeper.motion.skeletons import MHAD_35

CLASSES: tuple[str, ...] = (
    *("jumping in place", "jumping jacks", "bending", "punching", "waving two hands", "waving right hand", "clapping"),
    *("throwing a ball", "sit down then stand up", "sit down", "stand up"),
)
"""The classes a01 to a11."""

TRAIN_SUBJECTS = tuple(f"s{number:02d}" for number in range(1, 8))
TEST_SUBJECTS = tuple(f"s{number:02d}" for number in range(8, 13))

LEG = (0.55, 1.15)
"""Least and greatest length of a leg, hip to ankle, in metres."""

FILE = re.compile(r"skl_s(\d\d)_a(\d\d)_r(\d\d)\.bvh", re.IGNORECASE | re.ASCII)
"""Names of takes' files: subject, action, repetition."""

_UNITS = {"metres": 1.0, "inches": 0.0254, "centimetres": 0.01, "millimetres": 0.001}


class Mhad:
    """Takes of Berkeley MHAD as joints in metres: BVH files anywhere below a folder, y up, 480 frames a second.

    Files are named ``skl_s01_a01_r01.bvh`` by subject, action and repetition; others, such as the rest poses, are left
    out. The skeleton has 30 joints and 5 end sites. Files do not say their unit: it is the one of metre, inch,
    centimetre and millimetre in which the legs of the skeleton are a person's.

    Args:
        path: the folder.
        split: ``train`` keeps the takes of the first seven subjects, ``test`` those of the last five.
        subjects: subjects to keep, ``s01``; None keeps those of the split.

    Raises:
        DataError: the folder is missing, holds no takes of these subjects, or holds one twice; it lacks a subject that
            is asked for.

    Reference:
        Ofli et al., "Berkeley MHAD: a comprehensive multimodal human action database", WACV 2013.
    """

    name = "berkeley-mhad"
    biometric = True
    layout = MHAD_35
    fps = MHAD_35.fps
    classes = CLASSES

    def __init__(self, path: Path, *, split: Split = "all", subjects: Sequence[str] | None = None) -> None:
        check_folder(path, "Berkeley MHAD's takes")
        files: dict[StoredClip, Path] = {}
        for file in sorted(path.rglob("*")):
            found = FILE.fullmatch(file.name)
            if found and 1 <= int(found[2]) <= len(CLASSES):
                subject = f"s{found[1]}"
                clip = StoredClip(f"{subject}_a{found[2]}_r{found[3]}", int(found[2]) - 1, subject)
                if clip in files:
                    raise DataError(f"{file}: expected one file of {clip.key}, found {files[clip]} too")
                files[clip] = file
        there = sorted({clip.subject for clip in files})
        half = {"train": TRAIN_SUBJECTS, "test": TEST_SUBJECTS, "all": TRAIN_SUBJECTS + TEST_SUBJECTS}[split]
        kept = chosen("subject", path, subjects, half, there)
        self._files = {clip: file for clip, file in files.items() if clip.subject in kept}
        if not self._files:
            raise DataError(
                f"{path}: expected takes skl_sSS_aAA_rRR.bvh of a01 to a11 in the split {split!r}, found none"
            )
        self.samples: Sequence[StoredClip] = sorted(self._files)

    def load(self, indices: Sequence[int]) -> list[np.ndarray | DataError]:
        """Return, for each take asked for, its joints ``(1, t, 35, 3)`` float32 in metres or what is wrong."""
        return load_each(indices, self._read)

    def _read(self, index: int) -> np.ndarray:
        file = self._files[self.samples[index]]
        capture = read_bvh(file, unit=1.0)
        _check_chain(file, capture.chain)
        if capture.fps != self.fps:
            raise DataError(f"{file}: expected {self.fps:g} frames a second, found {capture.fps:g}")
        if len(capture) < MIN_FRAMES:
            raise DataError(f"{file}: expected at least {MIN_FRAMES} frames, found {len(capture)}")
        return (capture.positions()[None] * _unit(file, capture.chain)).astype(np.float32)


def _check_chain(file: Path, chain: Chain) -> None:
    """Check that a skeleton is the published one: the same tree, and left and right where its names say so."""
    parents = (-1, *MHAD_35.parents[1:])
    if chain.parents != parents:
        raise DataError(
            f"{file}: expected the {len(parents)} joints of Berkeley MHAD in their order, "
            f"found a skeleton of {len(chain.parents)}"
        )
    for name, wanted in zip(chain.names, MHAD_35.joints, strict=True):
        side = next((side for side in ("left", "right") if side in name.lower()), "")
        if not wanted.startswith(side):
            raise DataError(f"{file}: expected {wanted} in place of the joint {name[:40]}: sides are in another order")


def _unit(file: Path, chain: Chain) -> float:
    """Return the metres of a length of 1, by the longer leg."""
    lengths = np.linalg.norm(chain.offsets, axis=1)
    leg = max(
        lengths[MHAD_35.index(f"{side} hip") + 1 : MHAD_35.index(f"{side} ankle") + 1].sum()
        for side in ("left", "right")
    )
    for unit in _UNITS.values():
        if LEG[0] <= leg * unit <= LEG[1]:
            return unit
    raise DataError(
        f"{file}: expected legs of {LEG[0]:g} to {LEG[1]:g} m in {', '.join(_UNITS)}; they are {leg:g} of the file's"
    )
