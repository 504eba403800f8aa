"""Batches of P identities with K sequences each."""

from collections.abc import Sequence

import numpy as np

from gaitkeeper.seeding import stream


class IdentitySampler:
    """Draws the batch of an iteration from that iteration's own stream, so that a resumed run draws the same.

    Args:
        labels: identity of each sequence.
        identities: P, different identities in a batch.
        sequences: K, sequences of each; drawn with replacement where an identity has fewer.
        seed: of all draws.
    """

    def __init__(self, labels: Sequence[int] | np.ndarray, *, identities: int, sequences: int, seed: int) -> None:
        labels_array = np.asarray(labels)
        self._members = [np.flatnonzero(labels_array == label) for label in np.unique(labels_array)]
        if len(self._members) < identities:
            raise ValueError(f"a batch of {identities} identities needs as many, the data have {len(self._members)}")
        self._identities, self._sequences, self._seed = identities, sequences, seed

    def batch(self, iteration: int) -> np.ndarray:
        """Return the indices of ``P * K`` sequences, those of an identity side by side."""
        rng = stream(self._seed, "batch", iteration)
        chosen = rng.choice(len(self._members), self._identities, replace=False)
        picks = [
            rng.choice(self._members[i], self._sequences, replace=len(self._members[i]) < self._sequences)
            for i in chosen
        ]
        return np.concatenate(picks)
