"""Verification: accepting or rejecting a claimed identity by a threshold on a distance."""

import numpy as np


def equal_error(genuine: np.ndarray, impostor: np.ndarray) -> tuple[float, float]:
    """Return the threshold at which the two error rates are nearest, and their mean there.

    Distances at most the threshold are accepted. The thresholds tried are all distances given.

    Args:
        genuine: distances between samples of the same identity, any shape, at least one.
        impostor: distances between samples of different identities, at least one.
    """
    if not genuine.size or not impostor.size:
        raise ValueError(f"expected distances of both kinds, got {genuine.size} genuine and {impostor.size} impostor")
    thresholds = np.unique(np.concatenate([genuine.ravel(), impostor.ravel()]))
    rejected = 1 - np.searchsorted(np.sort(genuine.ravel()), thresholds, side="right") / genuine.size
    accepted = np.searchsorted(np.sort(impostor.ravel()), thresholds, side="right") / impostor.size
    best = int(np.argmin(np.abs(rejected - accepted)))
    return float(thresholds[best]), float((rejected[best] + accepted[best]) / 2)
