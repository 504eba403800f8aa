"""The cells of an audit that set a few frames: which attack runs on them, and how its frames look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from gaitkeeper.attacks.attacked import Attacked
from gaitkeeper.attacks.goals import Cosine, Goal, Nontargeted, Targeted
from gaitkeeper.attacks.splice import Mode, Spliced, place
from gaitkeeper.attacks.temporal_sparse import TemporalSparse, neighbor_overlap, published
from gaitkeeper.audit.cells import attack_of, threat_of
from gaitkeeper.audit.grid import Cell
from gaitkeeper.metrics.silhouettes import looks
from gaitkeeper.models.generators.gan import SilhouetteGAN
from gaitkeeper.models.victim import Identifier
from gaitkeeper.motion.motion import Motion
from gaitkeeper.seeding import SampleStreams, stream

COHERENCE = 1.0
"""Weight of the overlap with neighbors in coherent cells."""


def splice_of(cell: Cell, identifier: Identifier, motion: Motion, streams: SampleStreams) -> Spliced:
    """Return the frames that a cell's attack may set."""
    assert cell.budget is not None
    mode: Mode = "insert" if cell.norm == "inserted" else "alter"
    return Spliced(identifier, place(motion, cell.budget, mode=mode, where=cell.where, streams=streams))


def sparse_goal(
    cell: Cell, identifier: Identifier, motion: Motion, labels: Tensor, targets: Tensor, seed: int, keys: Sequence[str]
) -> Goal:
    """Return what a cell's attack descends on: margins between identities, or the paper's cosine.

    The cosine of a targeted attack is that to one enrolled sequence of the target, drawn by the seed.
    """
    reached: Goal = Nontargeted(labels=labels, kind="relative")
    if cell.goal == "targeted":
        reached = Targeted(targets=targets, kind="relative")
    if cell.attack != "temporal-sparse-published":
        return reached
    if cell.goal == "targeted":
        gallery = identifier.gallery
        chosen = []
        for key, target in zip(keys, targets.tolist(), strict=True):
            own = (gallery.identities == target).nonzero()[:, 0]
            chosen.append(int(own[stream(seed, "target sequence", key).integers(len(own))]))
        return Cosine(reference=gallery.embedding[chosen], toward=True, reached=reached)
    with torch.no_grad():
        own_embedding = identifier(motion).embedding
    assert own_embedding is not None
    return Cosine(reference=own_embedding, toward=False, reached=reached)


def sparse_attack(cell: Cell, spliced: Spliced, goal: Goal, gan: SilhouetteGAN, streams: SampleStreams) -> Attacked:
    """Run a cell's attack on the frames that it may set."""
    if cell.generated:
        return generated_attack(cell, gan).on(spliced, goal, streams=streams)
    found = attack_of(cell)(spliced, spliced.frames, goal, threat=threat_of(cell), streams=streams)
    return spliced.conclude(found, goal)


def generated_attack(cell: Cell, gan: SilhouetteGAN) -> TemporalSparse:
    """Return the temporal sparse attack, or the control of it, that a cell names."""
    assert cell.budget is not None
    if cell.attack == "temporal-sparse-published":
        return replace(published(gan, sparsity=cell.budget), steps=cell.steps)
    if cell.attack == "random-latents":
        return TemporalSparse(gan=gan, sparsity=cell.budget, steps=0, begin="normal", realism=0.0)
    coherent = {"coherence": COHERENCE, "begin": "clip", "fit": 10} if cell.coherent else {}
    return TemporalSparse(
        gan=gan,
        sparsity=cell.budget,
        steps=cell.steps,
        directions="random" if cell.attack.startswith("random-") else "gradient",
        keep="last" if cell.attack == "random-directions" else "best",
        **coherent,  # type: ignore[arg-type]
    )


@torch.no_grad()
def appearance(spliced: Spliced, attacked: Attacked, gan: SilhouetteGAN) -> dict[str, list[Any]]:
    """Measure the set frames as they are stored.

    Returns:
        One entry a sample: ``overlap`` with the neighboring frames and ``overlap_before``, that of the frames that
        stood there (None where frames were inserted); ``critic`` and ``realism``, the share of recorded silhouettes
        that the attack's critic and a critic that no attack ever saw score lower; ``single``, the share of frames in
        one piece.
    """
    slots, whole = spliced.slots, attacked.motion
    rows = torch.arange(len(whole), device=whole.data.device)
    lengths = [whole.data.shape[1]] * len(whole) if whole.lengths is None else whole.lengths.tolist()
    frames = whole.data[rows[:, None], slots.index]
    valid = slots.valid
    overlap = neighbor_overlap(frames, slots, rows)
    before = [None] * len(whole) if slots.inserted else neighbor_overlap(spliced.frames.data, slots, rows).tolist()
    flat = frames.flatten(0, 1)
    single = torch.from_numpy(looks((255 * flat).round().to(torch.uint8).cpu().numpy()).single)

    def mean(values: Tensor) -> list[float]:
        shaped = values.to(valid.device, torch.float64).unflatten(0, frames.shape[:2])
        return [round(v, 6) for v in ((shaped * valid).sum(1) / valid.sum(1)).tolist()]

    return {
        "overlap": [round(v, 6) for v in overlap.tolist()],
        "overlap_before": [None if v is None else round(v, 6) for v in before],
        "critic": mean(gan.critic.rank(gan.critic.scores(flat))),
        "realism": mean(gan.judge.rank(gan.judge.scores(flat))),
        "single": mean(single.double()),
        "slots": slots.counts.tolist(),
        "length": lengths,
    }
