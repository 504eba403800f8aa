"""What a silhouette generator makes, measured and shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gaitkeeper.audit.recognition import Progress, silent
from gaitkeeper.datasets.base import Sequences, load_usable
from gaitkeeper.errors import DataError
from gaitkeeper.files import replacing, write_text
from gaitkeeper.metrics.silhouettes import looks, nearest_overlap
from gaitkeeper.models.generators.gan import SilhouetteGAN
from gaitkeeper.seeding import stream
from gaitkeeper.training.gan import draw_latents

QUANTILES = (0.05, 0.5, 0.95)

Figure = dict[str, Any]
"""``measure``, and its value for ``generated``, ``seen`` (recorded, learned from) and ``unseen`` silhouettes."""


def assess_generator(
    gan: SilhouetteGAN,
    seen: Sequences,
    unseen: Sequences,
    *,
    count: int = 1000,
    seed: int = 0,
    out: Path | None = None,
    progress: Progress = silent,
) -> list[Figure]:
    """Measure a generator beside recorded silhouettes.

    Args:
        gan: generator and critics.
        seen: what it learned from.
        unseen: sequences of other people.
        count: silhouettes generated, and recorded ones of either kind; ten times as many of ``seen`` are searched
            for the nearest.
        seed: of latents and choices.
        out: also write ``sheet.png`` (the upper rows generated, the last two recorded) and ``generator.json``.
        progress: called as work is done.

    Returns:
        Shares of silhouettes in one piece, quantiles of area and height and the Kolmogorov-Smirnov distance of their
        distributions from those seen, overlap with the nearest silhouette seen, and the scores of both critics.
    """
    progress(0, 4, "recorded silhouettes")
    many = _frames(seen, 11 * count, seed)
    learned, recorded = many[count:], many[:count]
    others = _frames(unseen, count, seed)
    progress(1, 4, "generated silhouettes")
    latents = draw_latents(count, gan.generator.latent, stream(seed, "assessed latents"), sphere=True)
    device = next(gan.generator.parameters()).device
    with torch.no_grad():
        parts = [gan.silhouettes(part.to(device)) for part in latents.split(256)]
    generated = (255 * torch.cat(parts)).round().to(torch.uint8).cpu().numpy()
    sets = {"generated": generated, "seen": recorded, "unseen": others}
    progress(2, 4, "overlaps")
    overlaps = {name: nearest_overlap(frames, learned) for name, frames in sets.items()}
    progress(3, 4, "scores")
    figures = _shape_figures(sets)
    figures += [
        {"measure": f"overlap with the nearest silhouette seen, quantile {q:g}"}
        | {name: float(np.quantile(values, q)) for name, values in overlaps.items()}
        for q in QUANTILES
    ]
    figures += _score_figures(gan, sets)
    if out is not None:
        _write_sheet(out / "sheet.png", generated, others)
        write_text(out / "generator.json", json.dumps(figures, indent=1) + "\n")
    progress(4, 4, "done")
    return figures


def _frames(data: Sequences, count: int, seed: int) -> np.ndarray:
    """Draw ``count`` frames, a few of each of some sequences, in random order."""
    rng = stream(seed, "assessed frames", data.name, len(data.samples))
    chosen = rng.permutation(len(data.samples))[: max(1, count // 8)]
    skipped: list[tuple[str, str]] = []
    _, arrays = load_usable(data, sorted(chosen.tolist()), skipped)
    if not arrays:
        raise DataError(f"{data.name}: no sequence can be used; the first: {skipped[0][1]}")
    each = -(-count // len(arrays))
    frames = np.concatenate([a[rng.permutation(len(a))[:each]] for a in arrays])
    return frames[rng.permutation(len(frames))[:count]]


def _shape_figures(sets: dict[str, np.ndarray]) -> list[Figure]:
    from scipy.stats import ks_2samp

    shapes = {name: looks(frames) for name, frames in sets.items()}
    figures: list[Figure] = [
        {"measure": "silhouettes in one piece"} | {name: float(s.single.mean()) for name, s in shapes.items()}
    ]
    for what in ("area", "height"):
        values = {name: getattr(s, what) for name, s in shapes.items()}
        figures += [
            {"measure": f"{what}, quantile {q:g}"} | {name: float(np.quantile(v, q)) for name, v in values.items()}
            for q in QUANTILES
        ]
        figures.append(
            {"measure": f"{what}, distance of the distribution from those seen"}
            | {name: float(ks_2samp(v, values["seen"]).statistic) for name, v in values.items()}
        )
    return figures


@torch.no_grad()
def _score_figures(gan: SilhouetteGAN, sets: dict[str, np.ndarray]) -> list[Figure]:
    figures = []
    for label, critic in (("critic", gan.critic), ("judge", gan.judge)):
        device = next(critic.module.parameters()).device
        scores = {
            name: torch.cat([critic.scores(p.to(device).float() / 255) for p in torch.from_numpy(frames).split(256)])
            for name, frames in sets.items()
        }
        figures.append({"measure": f"{label}'s score, mean"} | {name: float(s.mean()) for name, s in scores.items()})
        figures.append(
            {"measure": f"{label}: mean share of recorded silhouettes that score lower"}
            | {name: float(critic.rank(s).mean()) for name, s in scores.items()}
        )
    return figures


def _write_sheet(path: Path, generated: np.ndarray, recorded: np.ndarray) -> None:
    import cv2

    columns, rows = 20, 8
    chosen = [*generated[: columns * (rows - 2)], *recorded[: 2 * columns]]
    lines = [np.concatenate(chosen[at : at + columns], axis=1) for at in range(0, len(chosen), columns)]
    gap = np.full((4, lines[0].shape[1]), 128, np.uint8)
    picture = np.concatenate([*lines[:-2], gap, *lines[-2:]])
    with replacing(path) as temporary:
        _, encoded = cv2.imencode(".png", picture)
        temporary.write_bytes(encoded.tobytes())
