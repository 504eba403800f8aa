"""CMU's motion capture: trials in ASF/AMC, whose actions a list of one's own names."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gaitkeeper.datasets.hdm05 import take_joints
from gaitkeeper.datasets.mocap import Chain
from gaitkeeper.datasets.stored import MAX_CLASSES, StoredClip, check_folder, chosen, load_each
from gaitkeeper.datasets.tree import read_bounded
from gaitkeeper.errors import DataError
from gaitkeeper.motion.skeletons import HDM05_25

MAX_LABEL_BYTES = 2**20
"""Largest list of labels that is read: ten times one of all trials."""

UNLABELED = "unlabeled"
"""The only class where no list of labels is given."""

FILE = re.compile(r"(\d{2,3}_\d{2,3})\.amc", re.IGNORECASE | re.ASCII)
"""Names of trials' files: subject, trial."""

_TRIAL = re.compile(r"\d{2,3}_\d{2,3}", re.ASCII)


class Cmu:
    """Trials of CMU's motion capture as joints in metres: ASF/AMC files anywhere below a folder, y up.

    Files are named ``<subject>_<trial>.amc``, each with its subject's skeleton ``<subject>.asf`` beside it. Bones have
    the names of HDM05, whose 25 joints are taken. The data describe trials in free text and know no classes, so a list
    says which trials are of which: a CSV file with the columns trial and class, ``02_01,walk`` a line. Trials that it
    does not name are left out.

    Args:
        path: the folder.
        labels: the list; None makes all trials one class, ``unlabeled``.
        subjects: subjects to keep, ``02``; None keeps all.

    Raises:
        DataError: the folder or list is missing, or damaged; no trial is left; a trial is there twice, or a subject
            that is asked for is not.

    Reference:
        mocap.cs.cmu.edu; created with funding from NSF EIA-0196217.

    Deviations:
        Files do not say how many frames a second they have: 120, which a few trials were not recorded at.
    """

    name = "cmu-mocap"
    biometric = True
    layout = HDM05_25
    fps = 120.0

    def __init__(self, path: Path, *, labels: Path | None = None, subjects: Sequence[str] | None = None) -> None:
        check_folder(path, "CMU's trials")
        of_trial = None if labels is None else read_labels(labels)
        self.classes = (UNLABELED,) if of_trial is None else tuple(sorted(set(of_trial.values())))
        files: dict[str, Path] = {}
        for file in sorted(path.rglob("*")):
            if FILE.fullmatch(file.name):
                if file.stem in files:
                    raise DataError(f"{file}: expected one file of {file.stem}, found {files[file.stem]} too")
                files[file.stem] = file
        there = sorted({_subject(trial) for trial in files})
        kept = chosen("subject", path, subjects, there, there)
        self._files: dict[StoredClip, Path] = {}
        for trial, file in files.items():
            action = UNLABELED if of_trial is None else of_trial.get(trial)
            if action is not None and _subject(trial) in kept:
                self._files[StoredClip(trial, self.classes.index(action), _subject(trial))] = file
        if not self._files:
            listed = "" if labels is None else f" that {labels} lists"
            raise DataError(f"{path}: expected trials <subject>_<trial>.amc{listed}, found none")
        self.samples: Sequence[StoredClip] = sorted(self._files)
        self._chains: dict[Path, Chain] = {}

    def load(self, indices: Sequence[int]) -> list[np.ndarray | DataError]:
        """Return, for each trial asked for, its joints ``(1, t, 25, 3)`` float32 in metres or what is wrong."""
        return load_each(indices, lambda index: take_joints(self._files[self.samples[index]], self._chains))


def read_labels(file: Path) -> dict[str, str]:
    """Read which trials are of which class: a CSV file whose first line names the columns trial and class.

    Raises:
        DataError: naming file and line: it is missing, too large, not UTF-8, lacks a column, has a line without trial
            or class or a trial twice, or lists none.
    """
    data = read_bounded(file, MAX_LABEL_BYTES)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: expected UTF-8 text, found byte 0x{data[error.start]:02x}") from error
    found: dict[str, str] = {}
    try:
        rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        if not {"trial", "class"} <= set(rows.fieldnames or ()):
            raise DataError(f"{file}, line 1: expected the columns trial,class, found {text[:40].splitlines()[:1]}")
        for row in rows:
            trial, action = (row["trial"] or "").strip(), (row["class"] or "").strip()
            if not _TRIAL.fullmatch(trial) or not action or trial in found:
                raise DataError(
                    f"{file}, line {rows.line_num}: expected a trial such as 02_01, once, and its class, "
                    f"found {trial[:40]!r} and {action[:40]!r}"
                )
            found[trial] = action
    except csv.Error as error:
        raise DataError(f"{file}: expected a CSV file of trial,class ({error})") from error
    if not 0 < len(set(found.values())) <= MAX_CLASSES:
        raise DataError(f"{file}: expected trials and their classes, found {len(set(found.values()))} classes")
    return found


def _subject(trial: str) -> str:
    return trial.split("_")[0]
