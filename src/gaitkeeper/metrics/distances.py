"""Distances between embeddings."""

from typing import Literal

import torch
from torch import Tensor

Distance = Literal["parts", "whole", "cosine"]
"""How far apart two embeddings are; see :func:`pairwise`."""

_SQUARED_FLOOR = 1e-12


def pairwise(a: Tensor, b: Tensor, *, kind: Distance = "parts") -> Tensor:
    """Return the distances between two sets of embeddings of shapes ``(n, c, p)`` and ``(g, c, p)``: ``(n, g)``.

    ``parts`` is the mean over parts of the Euclidean distance a part (OpenGait), ``whole`` the Euclidean distance
    of the concatenated parts (the original GaitSet), ``cosine`` the mean over parts of one minus the cosine.
    The square root is floored so that gradients stay finite; at distance zero the gradient is zero.
    """
    if a.shape[1:] != b.shape[1:]:
        raise ValueError(f"embeddings of shapes {tuple(a.shape)} and {tuple(b.shape)} do not compare")
    if kind == "whole":
        a, b = a.flatten(1)[:, :, None], b.flatten(1)[:, :, None]
    if kind == "cosine":
        a, b = torch.nn.functional.normalize(a, dim=1), torch.nn.functional.normalize(b, dim=1)
    left, right = a.permute(2, 0, 1), b.permute(2, 1, 0)
    product = left @ right
    if kind == "cosine":
        return 1 - product.mean(0)
    squared = left.square().sum(2)[:, :, None] + right.square().sum(1)[:, None, :] - 2 * product
    return squared.clamp_min(_SQUARED_FLOOR).sqrt().mean(0)


def paired(a: Tensor, b: Tensor, *, kind: Distance = "parts") -> Tensor:
    """Return the distances between corresponding embeddings, ``(n, c, p)`` both: ``(n,)``."""
    if a.shape != b.shape:
        raise ValueError(f"embeddings of shapes {tuple(a.shape)} and {tuple(b.shape)} do not correspond")
    if kind == "cosine":
        return 1 - torch.nn.functional.cosine_similarity(a, b, dim=1).mean(1)
    squared = (a - b).square().sum((1, 2) if kind == "whole" else 1)
    root = squared.clamp_min(_SQUARED_FLOOR).sqrt()
    return root if kind == "whole" else root.mean(1)
