"""A few frames of a sequence as the thing that is attacked; what the others contribute is computed once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from gaitkeeper.attacks.attacked import Attacked, distances
from gaitkeeper.attacks.goals import Goal
from gaitkeeper.attacks.gradient import Recognizer
from gaitkeeper.errors import DataError
from gaitkeeper.models.gait.parts import FramePooling
from gaitkeeper.models.victim import Identifier, Outputs, Victim, undisturbed
from gaitkeeper.motion.motion import Motion
from gaitkeeper.seeding import SampleStreams

Mode = Literal["alter", "insert"]
"""Put frames in place of a sequence's own, or between them."""

Placement = Literal["first", "random", "spread"]
"""Which frames: the first (as in the paper's experiments), random ones (as in its text), or evenly spread ones."""

ROW = "row"
"""Extra of a splice's frames: which sample of the splice they belong to."""

_CHUNK = 512
"""Frames encoded at once while the unaltered ones are pooled."""


def frame_count(frames: int, sparsity: float) -> int:
    """Return K, how many of a sequence's frames a sparsity stands for: S N rounded, at least 1.

    Raises:
        DataError: the sparsity is not in (0, 1], or there is no frame.
    """
    if not 0 < sparsity <= 1:
        raise DataError(f"expected a sparsity in (0, 1], got {sparsity:g}")
    if frames < 1:
        raise DataError(f"expected a sequence of at least 1 frame, got {frames}")
    return max(1, round(sparsity * frames))


@dataclass(frozen=True)
class Slots:
    """A batch of sequences, and the frames of each that an attack may set.

    Args:
        motion: the sequences; inserted frames are in it already, as copies of the frame before.
        index: ``(n, k)`` frames of each sequence, ascending; entries beyond a sequence's count repeat its last one.
        counts: ``(n,)`` frames of each sequence that may be set.
        inserted: whether the frames are added ones.
    """

    motion: Motion
    index: Tensor
    counts: Tensor
    inserted: bool

    @property
    def valid(self) -> Tensor:
        """Which entries of the index count, ``(n, k)`` bool."""
        return torch.arange(self.index.shape[1], device=self.index.device)[None] < self.counts[:, None]

    def mask(self) -> Tensor:
        """Return which frames may be set, ``(n, t)`` bool."""
        mask = torch.zeros(self.motion.data.shape[:2], dtype=torch.bool, device=self.index.device)
        return mask.scatter(1, self.index, True)

    def filled(self, frames: Tensor, rows: Tensor) -> Motion:
        """Return some of the sequences with their frames set; differentiable.

        Args:
            frames: ``(n, k, ...)``.
            rows: ``(n,)`` which sequences.
        """
        motion = self.motion.select(rows)
        sample, entry = self.valid[rows].nonzero(as_tuple=True)
        at = self.index[rows][sample, entry]
        return motion.with_data(motion.data.index_put((sample, at), frames[sample, entry].to(motion.data)))


def place(
    motion: Motion, sparsity: float, *, mode: Mode = "alter", where: Placement = "first", streams: SampleStreams
) -> Slots:
    """Choose the frames of each sequence that an attack may set.

    Args:
        motion: sequences with frames on axis 1.
        sparsity: S; K = max(1, round(S N)) frames of a sequence of N are altered, or as many inserted.
        mode: alter frames, or insert new ones.
        where: which frames; inserted ones go before the first, at random places, or evenly between the others.
        streams: one a sample; used for random places only.

    Raises:
        DataError: the sparsity is not in (0, 1].
    """
    frames = motion.data.shape[1]
    lengths = [frames] * len(motion) if motion.lengths is None else motion.lengths.tolist()
    counts = [frame_count(length, sparsity) for length in lengths]
    draws = np.zeros((len(motion), 0))
    if where == "random":
        draws = streams.within([length + 1 for length in lengths], 0).uniform((frames + 1,))
    chosen = [
        _places(length, count, mode, where, draw) for length, count, draw in zip(lengths, counts, draws, strict=True)
    ]
    widest = max(counts)
    index = torch.tensor([list(c) + [int(c[-1])] * (widest - len(c)) for c in chosen], device=motion.data.device)
    count = torch.tensor(counts, device=motion.data.device)
    if mode == "alter":
        return Slots(motion, index, count, inserted=False)
    return Slots(_opened(motion, lengths, chosen), index, count, inserted=True)


def _places(length: int, count: int, mode: Mode, where: Placement, draw: np.ndarray) -> np.ndarray:
    """Return the frames of one sequence, in the numbering of the sequence as attacked."""
    if where == "first":
        return np.arange(count)
    choices = length if mode == "alter" else length + 1
    if where == "random":
        chosen = np.sort(np.argsort(draw[:choices], kind="stable")[:count])
    else:
        chosen = ((np.arange(count) + 0.5) * length / count).astype(np.int64)
    # Gap g lies before frame g; the i-th inserted frame moves on by the i before it.
    return chosen if mode == "alter" else chosen + np.arange(count)


def _opened(motion: Motion, lengths: list[int], places: list[np.ndarray]) -> Motion:
    """Return the sequences with copies of the frame before at the places (of the first frame before it)."""
    longest = max(length + len(at) for length, at in zip(lengths, places, strict=True))
    source = torch.zeros((len(motion), longest), dtype=torch.int64)
    for row, length, at in zip(source, lengths, places, strict=True):
        kept = np.ones(length + len(at), bool)
        kept[at] = False
        row[: len(kept)] = torch.from_numpy(np.maximum(kept.cumsum() - 1, 0))
    rows = torch.arange(len(motion), device=motion.data.device)[:, None]
    data = motion.data[rows, source.to(motion.data.device)]
    filled = torch.tensor([length + len(at) for length, at in zip(lengths, places, strict=True)])
    valid = torch.arange(longest)[None] < filled[:, None]
    data = data * valid.to(data)[(...,) + (None,) * (data.ndim - 2)]
    same = bool((filled == longest).all())
    return replace(motion, data=data, lengths=None if same else filled.to(motion.data.device))


class Spliced:
    """A recognizer of whole sequences, seen as a recognizer of the frames that may be set.

    Networks that pool their frames by maximum (:class:`~gaitkeeper.models.gait.parts.FramePooling`) encode the other
    frames once; for all other networks the whole sequence is put together and computed.

    Args:
        recognizer: a Victim or an Identifier of silhouettes.
        slots: the sequences and which frames of them may be set, within the recognizer's domain.
    """

    def __init__(self, recognizer: Recognizer, slots: Slots) -> None:
        recognizer.domain.check(slots.motion)
        if recognizer.domain.axis("t") != 1:
            raise DataError("splicing needs frames on the first axis after the batch")
        self.recognizer = recognizer
        self.domain = replace(recognizer.domain, extras=(*recognizer.domain.extras, ROW))
        motion = slots.motion.with_data(recognizer.domain.harden(slots.motion.data))
        self.slots = replace(slots, motion=motion)
        rows = torch.arange(len(motion), device=motion.data.device)
        counts = slots.counts
        self.frames = Motion(
            data=motion.data[rows[:, None], slots.index] * slots.valid.to(motion.data)[:, :, None, None],
            lengths=None if bool((counts == slots.index.shape[1]).all()) else counts,
            fps=motion.fps,
            extras={**motion.extras, ROW: rows},
        )
        victim = recognizer.victim if isinstance(recognizer, Identifier) else recognizer
        self._victim = victim if isinstance(victim, Victim) and victim.pools_frames else None
        self._rest = self._pool_rest() if self._victim is not None else None

    @torch.no_grad()
    def _pool_rest(self) -> list[Tensor]:
        """Pool the frames that cannot be set, a few sequences at a time."""
        assert self._victim is not None
        network, motion = self._victim.module, self.slots.motion
        assert isinstance(network, FramePooling)
        frames = motion.data.shape[1]
        valid = ~self.slots.mask()
        if motion.lengths is not None:
            valid &= torch.arange(frames, device=valid.device)[None] < motion.lengths[:, None]
        parts = []
        with undisturbed(network):
            for rows in torch.arange(len(motion), device=valid.device).split(max(1, _CHUNK // frames)):
                encoded = network.encode(motion.data[rows].flatten(0, 1))
                parts.append(network.merge(encoded, len(rows), valid[rows]))
        return [torch.cat(level) for level in zip(*parts, strict=True)]

    def __call__(self, motion: Motion) -> Outputs:
        """Recognize the sequences with these frames set; differentiable.

        Args:
            motion: frames ``(n, k, h, w)`` of some of the samples, as ``frames`` selects them.
        """
        if self._victim is None or self._rest is None:
            return self.recognizer(self.whole(motion))
        network = self._victim.module
        assert isinstance(network, FramePooling)
        rows = motion.extras[ROW]
        with undisturbed(network):
            encoded = network.encode(motion.data.flatten(0, 1))
            own = network.merge(encoded, len(motion), None if motion.lengths is None else self.slots.valid[rows])
            pooled = [torch.maximum(rest[rows], level) for rest, level in zip(self._rest, own, strict=True)]
            outputs = Outputs(embedding=network.head(pooled))
        if isinstance(self.recognizer, Identifier):
            return self.recognizer.decide(outputs, motion.extras.get("view"))
        return outputs

    def whole(self, motion: Motion) -> Motion:
        """Return the sequences with these frames set; differentiable."""
        return self.slots.filled(motion.data, motion.extras[ROW])

    def conclude(self, found: Attacked, goal: Goal) -> Attacked:
        """Return the outcome for whole sequences: as stored, decided by a fresh forward pass of the recognizer.

        Distances of inserted frames are taken from the copies that stood in their place.

        Args:
            found: outcome of an attack on ``frames``, all samples.
            goal: of that attack.
        """
        whole = self.whole(found.motion)
        with torch.no_grad():
            outputs = self.recognizer(whole)
        return replace(
            found,
            motion=whole,
            success=goal.success(outputs),
            loss=goal.loss(outputs),
            outputs=outputs,
            distances=distances(whole.data, self.slots.motion.data, self.recognizer.domain),
            forwards=found.forwards + 1,
        )
