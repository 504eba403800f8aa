"""Losses over part embeddings."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def batch_all_triplet(embedding: Tensor, labels: Tensor, *, margin: float) -> tuple[Tensor, Tensor]:
    """Return the triplet loss over all valid triplets of a batch, a part at a time.

    Each part's loss is the mean of ``max(0, d(a, p) - d(a, n) + margin)`` over its triplets with a positive value;
    the result is the mean over parts. As in the released code, an anchor counts among its own positives.

    Args:
        embedding: ``(n, c, p)``.
        labels: ``(n,)`` identities.

    Returns:
        The loss, and the share of triplets with a positive value.

    Reference:
        Hermans et al., "In defense of the triplet loss for person re-identification", 2017 (batch all).
    """
    parts = embedding.permute(2, 0, 1).float()
    squares = parts.square().sum(2)
    squared = squares[:, :, None] + squares[:, None, :] - 2 * parts @ parts.transpose(1, 2)
    distance = squared.clamp_min(1e-12).sqrt()
    same = labels[:, None] == labels[None, :]
    triplets = same[:, :, None] & ~same[:, None, :]
    gaps = distance[:, :, :, None] - distance[:, :, None, :] + margin
    losses = (gaps * triplets).clamp_min(0)
    positive = (losses > 0).sum((1, 2, 3))
    loss = losses.sum((1, 2, 3)) / positive.clamp_min(1)
    return loss.mean(), positive.sum() / (triplets.sum() * len(parts))


def part_cross_entropy(logits: Tensor, labels: Tensor, *, scale: float, smoothing: float) -> Tensor:
    """Return the mean over samples and parts of the cross-entropy of scaled logits ``(n, classes, p)``."""
    spread = labels[:, None].expand(-1, logits.shape[2])
    return functional.cross_entropy(scale * logits.float(), spread, label_smoothing=smoothing)
