"""``python -m gaitkeeper.audit.anonymizer_card RUN NAME``: put an anonymizer and its figures into the package."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from gaitkeeper.anonymize.learned import NoiseGait, StGan
from gaitkeeper.anonymize.walk import Anonymizer, Walk, with_margin
from gaitkeeper.datasets.base import load_usable
from gaitkeeper.datasets.walkers import WalkerSequences
from gaitkeeper.errors import GaitkeeperError
from gaitkeeper.files import replacing, write_text
from gaitkeeper.metrics.silhouettes import looks
from gaitkeeper.models.generators.anonymizers import SHIPPED_ANONYMIZERS, load_contour_networks
from gaitkeeper.motion.contours import contour_sequence, refill
from gaitkeeper.seeding import stream
from gaitkeeper.synthetic.population import Population
from gaitkeeper.training.anonymizer_settings import VIEWS
from gaitkeeper.training.loop import WEIGHTS

VALIDATION = range(77, 85)
"""Walkers whom no network learned from and no result is reported on."""

LIMITS = (
    "Trained on synthetic walkers alone.",
    "What identifies less often here may identify as often as before a recognizer that was trained on anonymized "
    "gaits: see the audit's adapted figures, and prefer replacement where anonymity matters.",
    "How far the result is from the original depends on the number of training steps: with the L1 norm it goes to "
    "zero as training goes on.",
    "Hides outline and gait only: not the face, clothes, place or companions.",
)

FPS = 30.0


def _overlaps(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return intersections over unions ``(t,)`` of masks ``(t, h, w)``."""
    one, other = one >= 128, other >= 128
    return (one & other).sum(axis=(1, 2)) / np.maximum((one | other).sum(axis=(1, 2)), 1)


def _legs(silhouettes: np.ndarray) -> float:
    """Return how much the lower third of silhouettes changes from frame to frame."""
    lower = silhouettes[:, -silhouettes.shape[1] // 3 :].astype(np.float64)
    return float(np.abs(np.diff(lower, axis=0)).mean())


def measured(path: Path) -> list[dict[str, float | str]]:
    """Measure an anonymizer on a normal walk of each validation walker, all default views.

    Args:
        path: weights of any kind but an inverter's.

    Returns:
        Figures by name: of a noise generator the share of contours that fill to one piece, of others what is in
        common with the original.
    """
    kind = load_contour_networks(path).kind
    if kind == "noise":
        return _noise(path)
    method: Anonymizer = NoiseGait(weights=str(path)) if kind == "noise-gait" else StGan(weights=str(path))
    data = WalkerSequences(Population(), subjects=VALIDATION, conditions=("nm-01",), views=VIEWS, frames=20)
    _, sequences = load_usable(data, range(len(data.samples)), [])
    overlaps, apart, legs = [], [], []
    for sample, sequence in zip(data.samples, sequences, strict=True):
        walk = Walk(silhouettes=with_margin(sequence), fps=FPS)
        made = method(walk, stream(0, "card", sample.key)).silhouettes
        overlaps.append(_overlaps(walk.silhouettes, made))
        before, after = contour_sequence(walk.silhouettes), contour_sequence(made)
        both = before.present & after.present
        own = before.placement.normalized(after.placement.pixels(after.points[both]))
        apart.append(np.abs(own - before.points[both]).mean())
        legs.append(_legs(made) / _legs(walk.silhouettes))
    whole = np.concatenate(overlaps)
    return [
        {"measure": "overlap with the original, mean", "value": round(float(whole.mean()), 4)},
        {"measure": "overlap with the original, quantile 0.05", "value": round(float(np.quantile(whole, 0.05)), 4)},
        {"measure": "mean absolute difference of contours, body heights", "value": round(float(np.mean(apart)), 5)},
        {"measure": "motion of the lower third, original 1", "value": round(float(np.mean(legs)), 3)},
        {"measure": "clips", "value": len(data.samples)},
    ]


def _noise(path: Path) -> list[dict[str, float | str]]:
    points = load_contour_networks(path).noise_contours(500, 1, np.random.default_rng(0))[:, 0].numpy()
    template = contour_sequence(np.pad(np.full((500, 64, 24), 255, np.uint8), ((0, 0), (16, 16), (30, 30))))
    drawn = looks(refill(template.moved(points)))
    return [
        {"measure": "contours in one piece", "value": round(float(drawn.single.mean()), 4)},
        {"measure": "height in body heights, mean", "value": round(float(drawn.height.mean() * 96 / 64), 4)},
        {"measure": "contours", "value": len(points)},
    ]


def ship_anonymizer(
    run: Path, name: str, folder: Path, *, measure: Callable[[Path], list[dict[str, float | str]]] = measured
) -> Path:
    """Copy a run's weights into ``folder`` and write their card beside them.

    Args:
        run: folder that :func:`gaitkeeper.training.anonymizers.train_anonymizer` filled.
        name: one of ``SHIPPED_ANONYMIZERS``.
        folder: where the package keeps its weights.
        measure: gives the figures of a file of weights.

    Returns:
        The card.

    Raises:
        GaitkeeperError: an unknown name, or a file of the run is missing.
    """
    if name not in SHIPPED_ANONYMIZERS:
        raise GaitkeeperError(f"unknown anonymizer {name!r}; shipped are {', '.join(SHIPPED_ANONYMIZERS)}")
    for needed in (WEIGHTS, "model.json", "log.jsonl"):
        if not (run / needed).is_file():
            raise GaitkeeperError(f"{run / needed}: expected a file of a finished run, found none")
    with replacing(folder / SHIPPED_ANONYMIZERS[name]) as temporary:
        shutil.copyfile(run / WEIGHTS, temporary)
    log = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    figures = [key for key in log[-1] if key != "iteration"]
    card: dict[str, Any] = {
        "name": name,
        "licence": "Apache-2.0",
        "command": "make weights",
        "training": json.loads((run / "model.json").read_text(encoding="utf-8")),
        "losses": {key: round(float(np.mean([line[key] for line in log[-50:]])), 5) for key in figures},
        "measures": measure(run / WEIGHTS),
        "limits": LIMITS,
    }
    path = (folder / SHIPPED_ANONYMIZERS[name]).with_suffix(".json")
    write_text(path, json.dumps(card, indent=1) + "\n")
    return path


if __name__ == "__main__":
    print(ship_anonymizer(Path(sys.argv[1]), sys.argv[2], Path(str(resources.files("gaitkeeper") / "weights"))))
