"""Synthetic actors as a data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gaitkeeper.errors import DataError
from gaitkeeper.motion.skeletons import NTU_25
from gaitkeeper.synthetic.acting import Troupe
from gaitkeeper.synthetic.actions import CLASSES, FPS, SUBJECTS, TRAIN_ACTORS, USUAL_ACTING, Acting


@dataclass(frozen=True, order=True)
class ActedClip:
    """One performance: who acts which class, and which take it is.

    Args:
        subject: identity, a number of three digits.
        action: name of the class.
        take: which performance of this class by this subject.
        label: the class's number.
    """

    subject: str
    action: str
    take: int
    label: int

    @property
    def key(self) -> str:
        """The clip's name: subject, class and take."""
        return f"{self.subject}/{self.action.replace(' ', '-')}/{self.take:02d}"


class Actors:
    """Synthetic people who act, computed when asked for: the embedded set of action clips.

    How hard it is was fixed on the validation subjects 25 to 30. Under the default settings, with two takes of each
    class by each subject and the training subjects 1 to 24 to compare with, the nearest neighbors of
    :mod:`gaitkeeper.datasets.baselines` recognize 57 % of the validation subjects' clips by the middle frame and 74 %
    by the sequence; of the test subjects' (31 to 40) 60 % and 74 %. Chance is 5 %.

    Args:
        acting: who the actors are, and how much they vary.
        subjects: numbers 1 .. 40.
        takes: numbers of each subject's performances of each class; any may be asked for.

    Raises:
        DataError: there is no such subject.
    """

    name = "actors"
    biometric = False
    layout = NTU_25
    fps = FPS
    classes = CLASSES

    def __init__(
        self,
        acting: Acting = USUAL_ACTING,
        *,
        subjects: Sequence[int] = TRAIN_ACTORS,
        takes: Sequence[int] = (1, 2),
    ) -> None:
        unknown = sorted(set(subjects) - set(range(1, SUBJECTS + 1)))
        if unknown:
            raise DataError(f"unknown subject {unknown[0]}: actors are 1 to {SUBJECTS}")
        self.acting = acting
        self._troupe = Troupe(acting)
        self.samples: Sequence[ActedClip] = [
            ActedClip(f"{subject:03d}", action, take, label)
            for subject in subjects
            for label, action in enumerate(CLASSES)
            for take in takes
        ]

    def load(self, indices: Sequence[int]) -> list[np.ndarray | DataError]:
        """Act clips, ``(1, t, 25, 3)`` float32 metres each."""
        chosen = [self.samples[index] for index in indices]
        return [self._troupe.clip(int(clip.subject), clip.action, clip.take)[None] for clip in chosen]
