"""Enrolling people, and how often a recognizer names the right one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from gaitkeeper.datasets.base import Sequences, batches, load_usable, to_motion
from gaitkeeper.datasets.protocols import Protocol
from gaitkeeper.errors import DataError
from gaitkeeper.metrics.intervals import student, wilson
from gaitkeeper.models.victim import Gallery, Identifier, Outputs, Victim, embed
from gaitkeeper.motion.motion import Motion

Progress = Callable[[int, int, str], None]
"""Called with units done, units in all, and what is being done."""

Record = dict[str, Any]
"""One figure in long form; see :func:`record`."""


def silent(done: int, total: int, text: str) -> None:
    """Show no progress."""


def load_batches(
    data: Sequences, indices: Sequence[int], *, batch: int, skipped: list[tuple[str, str]]
) -> Iterator[tuple[list[int], Motion]]:
    """Yield usable samples and their motions in batches; what cannot be used is appended to ``skipped``."""
    for chunk in batches(len(indices), batch):
        kept, arrays = load_usable(data, [indices[i] for i in chunk], skipped)
        if kept:
            yield kept, to_motion(arrays, [data.samples[i].view for i in kept])


def enroll(
    victim: Victim,
    data: Sequences,
    indices: Sequence[int],
    *,
    exclude_same_view: bool,
    batch: int = 44,
    skipped: list[tuple[str, str]],
    progress: Progress = silent,
) -> Gallery:
    """Embed enrolled sequences.

    Args:
        victim: gives the embeddings.
        data: where the sequences are.
        indices: which are enrolled.
        exclude_same_view: see :class:`~gaitkeeper.models.victim.Gallery`.
        batch: sequences computed at once.
        skipped: receives the samples that cannot be used.
        progress: called as batches are done.
    """
    kept: list[int] = []
    parts: list[Tensor] = []
    for chunk, motion in load_batches(data, indices, batch=batch, skipped=skipped):
        victim.domain.check(motion)
        parts.append(embed(victim, [motion]))
        kept += chunk
        progress(len(kept), len(indices), "enrolling")
    if not kept:
        raise DataError(f"{data.name}: none of {len(indices)} sequences to enroll can be used; {skipped[-1][1]}")
    names = sorted({data.samples[i].subject for i in kept})
    device = parts[0].device
    return Gallery(
        embedding=torch.cat(parts),
        identities=torch.tensor([names.index(data.samples[i].subject) for i in kept], device=device),
        names=tuple(names),
        views=torch.tensor([data.samples[i].view for i in kept], device=device),
        exclude_same_view=exclude_same_view,
    )


def named(outputs: Outputs, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return which decisions name the labels, ``(n, d)`` bool, and which decisions count, ``(n, d)`` bool."""
    logits, decided = outputs.decisions()
    return (logits.argmax(2) == labels[:, None]) & decided, decided


def record(values: Sequence[float], *, percent: bool = True, **names: Any) -> Record:
    """Return one figure with its 95 % interval and number of samples.

    Args:
        values: one a sample, in [0, 1] where ``percent``.
        percent: give value and Wilson interval in percent; else the mean and Student's interval.
        names: model, data, attack, goal, norm, budget, stored, condition, view, metric.
    """
    if percent:
        value, low, high = (100 * v for v in wilson(values))
        return {**names, "value": value, "low": low, "high": high, "n": len(values)}
    mean, lowest, highest = student(values)
    return {**names, "value": mean, "low": lowest, "high": highest, "n": len(values)}


def evaluate(
    victim: Victim,
    data: Sequences,
    protocol: Protocol,
    *,
    model: str,
    skipped: list[tuple[str, str]],
    batch: int = 44,
    progress: Progress = silent,
) -> list[Record]:
    """Return rank-1 of every probe of a protocol, by condition and by condition and view.

    Under CASIA-B's protocol a probe's value is the share of the ten galleries of other views in which the nearest
    sequence is of the same subject.
    """
    gallery_index, probes = protocol.split(data.samples)
    gallery = enroll(
        victim, data, gallery_index, exclude_same_view=protocol.exclude_same_view, batch=batch, skipped=skipped,
        progress=progress,
    )  # fmt: skip
    identifier = Identifier(victim, gallery)
    records = []
    names: Record = {
        "model": model,
        "data": data.name,
        "attack": "none",
        "goal": "natural",
        "norm": None,
        "budget": None,
    }
    names |= {"stored": victim.domain.stored, "metric": "rank1"}
    for condition, indices in probes.items():
        shares: list[tuple[int, float]] = []
        known = [i for i in indices if data.samples[i].subject in gallery.names]
        reason = "none of the subject's sequences to enroll can be used"
        skipped += [(data.samples[i].key, reason) for i in indices if i not in known]
        for kept, motion in load_batches(data, known, batch=batch, skipped=skipped):
            labels = labels_of(data, kept, gallery)
            with torch.no_grad():
                outputs = identifier(motion.with_data(victim.domain.harden(motion.data)).to(identifier.device))
            right, decided = named(outputs, labels)
            values = right.sum(1) / decided.sum(1)
            shares += zip([data.samples[i].view for i in kept], values.tolist(), strict=True)
            progress(len(shares), len(known), f"recognizing {condition}")
        records.append(record([v for _, v in shares], **names, condition=condition, view="all"))
        for view in sorted({view for view, _ in shares}):
            records.append(record([v for at, v in shares if at == view], **names, condition=condition, view=view))
    return records


def labels_of(data: Sequences, indices: Sequence[int], gallery: Gallery) -> Tensor:
    """Return the gallery's index of each sample's subject."""
    known = {name: i for i, name in enumerate(gallery.names)}
    return torch.tensor([known[data.samples[i].subject] for i in indices], device=gallery.embedding.device)
