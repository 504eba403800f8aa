"""What an attack returns: per sample, checked as it would be stored."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gaitkeeper.models.victim import Outputs
from gaitkeeper.motion.motion import Domain, Motion


@dataclass(frozen=True, kw_only=True)
class Attacked:
    """The outcome of an attack on a batch.

    Args:
        motion: the attacked samples as stored.
        success: ``(n,)`` bool, decided by a fresh forward pass on what is stored.
        loss: ``(n,)`` the goal's loss in that pass.
        outputs: of the victim in that pass.
        distances: each ``(n,)``, of what is stored from the stored original: see :func:`distances`.
        forwards: ``(n,)`` forward passes spent on each sample, the final check included.
        backwards: ``(n,)`` backward passes.
        steps: ``(n,)`` steps taken, over all restarts.
    """

    motion: Motion
    success: Tensor
    loss: Tensor
    outputs: Outputs
    distances: dict[str, Tensor]
    forwards: Tensor
    backwards: Tensor
    steps: Tensor


def distances(attacked: Tensor, origin: Tensor, domain: Domain) -> dict[str, Tensor]:
    """Measure changes.

    Returns:
        ``linf`` and ``l2`` in the units of the data; ``changed``, the share of values that differ; and where the
        domain has them ``frames``, the number of frames that differ, and ``joints``, the largest displacement of a
        joint.
    """
    delta = attacked - origin
    flat = delta.flatten(1)
    found = {
        "linf": flat.abs().amax(1),
        "l2": flat.norm(dim=1),
        "changed": (flat != 0).to(delta.dtype).mean(1),
    }
    if "t" in domain.axes:
        found["frames"] = (delta.movedim(domain.axis("t"), 1).flatten(2) != 0).any(2).sum(1).to(torch.int64)
    if "c" in domain.axes:
        found["joints"] = delta.norm(dim=domain.axis("c")).flatten(1).amax(1)
    return found
