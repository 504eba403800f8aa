"""Training of networks that compare two energy images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from gaitkeeper.errors import DataError
from gaitkeeper.models.gait.wu import LocalBottom, MidTop, Order, Pairwise, Siamese
from gaitkeeper.models.victim import undisturbed
from gaitkeeper.motion.silhouettes import energy_image
from gaitkeeper.seeding import stream
from gaitkeeper.training.sampler import IdentitySampler

PairName = Literal["lb", "mt", "siamese"]
"""Wu's networks by name."""

NETWORKS: Mapping[PairName, type[Pairwise]] = {"lb": LocalBottom, "mt": MidTop, "siamese": Siamese}


LAST = 0.05
"""The last layer's learning rate, relative to the others'."""


@dataclass(frozen=True, kw_only=True)
class PairSettings:
    """Settings of the training of one of Wu's networks; the defaults made the shipped weights.

    Args:
        network: LB, MT or the Siamese one.
        widths: channels of the convolutions; published 16 64 256.
        kernel: of the convolutions; published 7, for images of twice the size.
        order: what follows a convolution.
        dropout: share of the last features' channels set to zero; published 0.5, of single features.
        normalize: batch normalization; published is that of local responses.
        iterations: optimizer steps.
        identities: different people in a batch.
        sequences: recordings of each.
        negatives: pairs of different people for each pair of the same, which weigh as much together; published 1.
        learning_rate: Adam's, rising over the first twentieth and falling to zero along a cosine; published is
            stochastic gradient descent.
        weight_decay: Adam's, decoupled from the gradient.
        shortest: least share of a recording's frames that an energy image is made of.
        shift: most rows and columns by which images are moved.
        seed: of initialization and all draws.
    """

    network: PairName = "mt"
    widths: tuple[int, int, int] = (16, 32, 128)
    kernel: int = 5
    order: Order = "norm-pool-relu"
    dropout: float = 0.2
    normalize: bool = True
    iterations: int = 900
    identities: int = 16
    sequences: int = 6
    negatives: int = 3
    learning_rate: float = 5e-4
    weight_decay: float = 1e-3
    shortest: float = 0.5
    shift: int = 1
    seed: int = 0


def fresh(settings: PairSettings, images: np.ndarray) -> Pairwise:
    """Return an untrained network for images like those given.

    Their mean is taken off every image, and the last layer is scaled so that the logits of random pairs differ by 0
    in the mean and by 1 in their spread: it starts as a distance, neither sure nor dead.

    Args:
        settings: of the network.
        images: ``(n, h, w)`` energy images of different people, float32 in [0, 1].
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        network = NETWORKS[settings.network](
            widths=settings.widths, kernel=settings.kernel, size=images.shape[1:], order=settings.order,
            dropout=settings.dropout, normalize=settings.normalize,
        )  # fmt: skip
    network.mean.copy_(torch.from_numpy(images.mean(0, dtype=np.float32)))
    rng = stream(settings.seed, "calibration")
    first, second = (torch.from_numpy(images[rng.integers(len(images), size=64)]) for _ in range(2))
    with torch.no_grad(), undisturbed(network):
        logits = network(first, second)
        gaps = logits[:, 1] - logits[:, 0]
        network.classify.weight /= gaps.std()
        shift = gaps.mean() / gaps.std() / 2
        network.classify.bias.copy_(torch.stack([shift, -shift]))
    return network


def draw_images(
    sequences: Sequence[np.ndarray], rng: np.random.Generator, *, shortest: float, shift: int
) -> np.ndarray:
    """Return an energy image of a random stretch of each sequence, moved at random: ``(n, h, w)`` float32.

    Args:
        sequences: each ``(t, h, w)`` uint8.
        rng: of the draws.
        shortest: least share of the frames.
        shift: most rows and columns of the movement; what comes in at the edges is empty.
    """
    images = []
    for frames in sequences:
        least = max(1, round(shortest * len(frames)))
        count = int(rng.integers(least, len(frames) + 1))
        start = int(rng.integers(len(frames) - count + 1))
        padded = np.pad(energy_image(frames[start : start + count]), shift)
        down, right = rng.integers(0, 2 * shift + 1, 2)
        images.append(padded[down : down + frames.shape[1], right : right + frames.shape[2]])
    return np.stack(images)


def draw_pairs(labels: np.ndarray, rng: np.random.Generator, *, negatives: int) -> tuple[np.ndarray, np.ndarray]:
    """Return pairs of a batch ``(p,)``, ``(p,)``: all of the same person, then as many of others as are asked.

    Each pair comes once, in either order.

    Args:
        labels: ``(b,)`` identities.
        rng: which pairs of others.
        negatives: for each pair of the same person; at most all there are.
    """
    same = labels[:, None] == labels[None, :]
    alike, other = np.argwhere(np.triu(same, 1)), np.argwhere(np.triu(~same, 1))
    chosen = rng.choice(len(other), min(len(other), negatives * len(alike)), replace=False)
    pairs = rng.permuted(np.concatenate([alike, other[chosen]]), axis=1)
    return pairs[:, 0], pairs[:, 1]


def pair_loss(network: Pairwise, images: Tensor, labels: np.ndarray, first: np.ndarray, second: np.ndarray) -> Tensor:
    """Return the cross-entropy of "same" and "other" over pairs; both weigh one half, as each has that chance.

    Each image is encoded once, whatever the number of its pairs.

    Args:
        network: in training mode.
        images: ``(b, h, w)``.
        labels: ``(b,)``.
        first: ``(p,)`` indices of the pairs' first images.
        second: ``(p,)`` of the second ones.
    """
    left, right = network.encode(images)
    logits = network.compare(left[torch.from_numpy(first)], right[torch.from_numpy(second)])
    targets = torch.from_numpy((labels[first] == labels[second]).astype(np.int64))
    losses = functional.cross_entropy(logits, targets, reduction="none")
    return (losses[targets == 1].mean() + losses[targets == 0].mean()) / 2


def train_pairs(
    network: Pairwise,
    sequences: Sequence[np.ndarray],
    sampler: Callable[[int], np.ndarray],
    labels: np.ndarray,
    settings: PairSettings,
    *,
    watch: Callable[[int], bool] = lambda step: False,
    progress: Callable[[int, int, str], None] = lambda done, total, text: None,
) -> None:
    """Train a network in place and leave it in evaluation mode.

    Args:
        network: fresh, or to be refined.
        sequences: each ``(t, h, w)`` uint8.
        sampler: gives the indices of an iteration's batch.
        labels: ``(n,)`` identities.
        settings: of the run.
        watch: called after each step with their number, the network in evaluation mode; ends training by True.
        progress: called with steps done, steps in all, and a line of figures.
    """
    # Thousands of features meet in the last layer: at the rate of the others a step would change logits by units.
    last = list(network.classify.parameters())
    others = [weight for name, weight in network.named_parameters() if not name.startswith("classify.")]
    groups: list[dict[str, Any]] = [{"params": others}, {"params": last, "lr": settings.learning_rate * LAST}]
    optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step / settings.iterations))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)  # Of dropout.
        for step in range(settings.iterations):
            network.train()
            rng = stream(settings.seed, "pairs", step)
            index = sampler(step)
            images = draw_images([sequences[i] for i in index], rng, shortest=settings.shortest, shift=settings.shift)
            first, second = draw_pairs(labels[index], rng, negatives=settings.negatives)
            loss = pair_loss(network, torch.from_numpy(images), labels[index], first, second)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            network.eval()
            progress(step + 1, settings.iterations, f"loss {float(loss.detach()):.3f}")
            if watch(step + 1):
                break
    network.eval()


def rate(share: float) -> float:
    """Return the learning rate's factor when a share of a run is done: up over a twentieth, down along a cosine."""
    return min(1.0, 0.05 + share / 0.05) * (0.5 + 0.5 * float(np.cos(np.pi * share)))


def people(labels: np.ndarray, settings: PairSettings) -> Callable[[int], np.ndarray]:
    """Return what gives the batches of a run over recordings of people ``(n,)``.

    Raises:
        DataError: there are fewer than two people.
    """
    count = len(np.unique(labels))
    if count < 2:
        raise DataError(f"expected recordings of two people or more, got {count}")
    identities = min(settings.identities, count)
    return IdentitySampler(labels, identities=identities, sequences=settings.sequences, seed=settings.seed).batch
