"""Training of MT as a distance of codes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from gaitkeeper.models.gait.wu import MidTop
from gaitkeeper.seeding import stream
from gaitkeeper.training.pairs import draw_images, rate


@dataclass(frozen=True, kw_only=True)
class CodeSettings:
    """Settings of the training of MT as a distance of codes; the defaults made the shipped weights.

    Args:
        widths: channels of the first two convolutions; published 16 64.
        codes: numbers that tell people apart; the third convolution has twice as many channels.
        kernel: of the first two convolutions; published 7, for images of twice the size.
        iterations: optimizer steps.
        identities: different people in a batch.
        sequences: recordings of each.
        learning_rate: Adam's, rising over the first twentieth and falling to zero along a cosine.
        weight_decay: Adam's, decoupled from the gradient.
        margin: of the triplet loss, in mean distances of a batch.
        scale: factor on the cosines of the cross-entropy.
        smoothing: of its labels.
        shortest: least share of a recording's frames that an energy image is made of.
        shift: most rows and columns by which images are moved.
        seed: of initialization and all draws.
    """

    widths: tuple[int, int] = (24, 48)
    codes: int = 256
    kernel: int = 5
    iterations: int = 700
    identities: int = 16
    sequences: int = 6
    learning_rate: float = 1e-3
    weight_decay: float = 5e-4
    margin: float = 0.3
    scale: float = 16.0
    smoothing: float = 0.1
    shortest: float = 0.5
    shift: int = 1
    seed: int = 0


def fresh_codes(settings: CodeSettings, images: np.ndarray) -> MidTop:
    """Return an untrained MT whose third convolution is as large as its maps, for images like those given.

    Args:
        settings: of the network.
        images: ``(n, h, w)`` energy images, float32 in [0, 1]; their mean is taken off every image.
    """
    rows, columns = (((side - settings.kernel + 1) // 2 - settings.kernel + 1) // 2 for side in images.shape[1:])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        network = MidTop(
            widths=(*settings.widths, 2 * settings.codes), kernel=settings.kernel, size=images.shape[1:],
            last=(rows, columns), dropout=0.0, normalize=True,
        )  # fmt: skip
    network.mean.copy_(torch.from_numpy(images.mean(0, dtype=np.float32)))
    return network


def train_codes(
    network: MidTop,
    sequences: Sequence[np.ndarray],
    sampler: Callable[[int], np.ndarray],
    labels: np.ndarray,
    settings: CodeSettings,
    *,
    watch: Callable[[int], bool] = lambda step: False,
    progress: Callable[[int, int, str], None] = lambda done, total, text: None,
) -> None:
    """Train MT in place so that what it compares is a distance of codes, and leave it in evaluation mode.

    Half of the third convolution makes a code of each image; its other half is the same with the other sign, so that
    the features of a pair, cut off at 0, add up to the distance of their codes.

    Args:
        network: from :func:`fresh_codes`, or trained before.
        sequences: each ``(t, h, w)`` uint8.
        sampler: gives the indices of an iteration's batch.
        labels: ``(n,)`` identities.
        settings: of the run.
        watch: called after each step with their number, the network in evaluation mode; ends training by True.
        progress: called with steps done, steps in all, and a line of figures.

    Deviations:
        Wu et al. train on millions of pairs for "same" or "other". Here cross-entropy over people and a triplet loss
        train the codes, in minutes; the pairs' two logits are then scaled to them.
    """
    count = network.conv3.out_channels // 2
    rows, columns = network.conv3.kernel_size
    code = nn.Conv2d(network.conv3.in_channels // 2, count, (rows, columns))
    people, index_of = np.unique(labels, return_inverse=True)
    with torch.no_grad():
        code.weight.copy_(network.conv3.weight[:count, : code.in_channels])
        torch.nn.init.zeros_(code.bias)  # type: ignore[arg-type]
    norm = nn.BatchNorm1d(count, affine=False)
    weight = nn.Parameter(torch.zeros(count))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        heads = nn.Parameter(0.05 * torch.randn(len(people), count))
    trunk = [value for name, value in network.named_parameters() if not name.startswith(("conv3.", "classify."))]
    groups: list[dict[str, Any]] = [
        {"params": [*trunk, *code.parameters(), heads]},
        {"params": [weight], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step / settings.iterations))
    for step in range(settings.iterations):
        network.train()
        norm.train()
        index = sampler(step)
        rng = stream(settings.seed, "codes", step)
        images = draw_images([sequences[i] for i in index], rng, shortest=settings.shortest, shift=settings.shift)
        who = torch.from_numpy(index_of[index])
        codes = norm(code(network.maps(torch.from_numpy(images))).flatten(1))
        loss = code_loss(codes, functional.softplus(weight), heads, who, settings)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        network.eval()
        assert norm.running_var is not None
        _join(network, code.weight, functional.softplus(weight) / (norm.running_var + norm.eps).sqrt())
        progress(step + 1, settings.iterations, f"loss {float(loss.detach()):.3f}")
        if watch(step + 1):
            break
    network.eval()


def code_loss(codes: Tensor, weight: Tensor, heads: Tensor, who: Tensor, settings: CodeSettings) -> Tensor:
    """Return the cross-entropy over people of codes, and the triplet loss of their weighted absolute distances.

    Args:
        codes: ``(b, d)``.
        weight: ``(d,)``, how much each number counts in the distance.
        heads: ``(k, d)``, a direction for each person.
        who: ``(b,)`` out of k.
        settings: margin, scale and smoothing.
    """
    cosines = functional.normalize(codes, dim=1) @ functional.normalize(heads, dim=1).T
    entropy = functional.cross_entropy(settings.scale * cosines, who, label_smoothing=settings.smoothing)
    weighted = codes * weight
    distance = torch.cdist(weighted, weighted, p=1)
    distance = distance / distance.detach().mean()
    same = who[:, None] == who[None, :]
    triplets = (same & ~torch.eye(len(who), dtype=torch.bool))[:, :, None] & ~same[:, None, :]
    violated = functional.relu(distance[:, :, None] - distance[:, None, :] + settings.margin)[triplets]
    return entropy + violated.sum() / (violated > 0).sum().clamp_min(1)


@torch.no_grad()
def _join(network: MidTop, code: Tensor, scale: Tensor) -> None:
    """Make the third convolution of codes and their negatives, and the last layer of their sum."""
    half = code * scale[:, None, None, None]
    signed = torch.cat([half, -half])
    network.conv3.weight.copy_(torch.cat([signed, -signed], dim=1))
    network.conv3.bias.zero_()  # type: ignore[union-attr]
    # Codes have a spread of 1 each, so that distances of strangers are about the sum of the scales.
    share = 1.0 / len(code)
    network.classify.weight.copy_(torch.tensor([[share], [-share]]).expand_as(network.classify.weight))
    network.classify.bias.copy_(torch.tensor([-1.0, 1.0]))
