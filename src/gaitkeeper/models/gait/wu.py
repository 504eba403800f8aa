"""Wu et al.'s networks, which say of two gait energy images whether they are of the same person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Order = Literal["norm-pool-relu", "relu-norm-pool"]
"""What follows a convolution: the authors' order, and that of the ports."""


class _Stage(nn.Module):
    """What follows one of the first two convolutions: normalization, pooling by maximum and ReLU."""

    def __init__(self, channels: int, order: Order, *, normalize: bool) -> None:
        super().__init__()
        self.order = order
        local = nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=2.0)
        self.norm = nn.BatchNorm2d(channels) if normalize else local

    def forward(self, x: Tensor) -> Tensor:
        if self.order == "relu-norm-pool":
            return functional.max_pool2d(self.norm(functional.relu(x)), 2)
        return functional.relu(functional.max_pool2d(self.norm(x), 2))


class Pairwise(nn.Module):
    """What the three networks share: images are encoded one by one, and codes compared two by two.

    Args:
        widths: channels of the three convolutions.
        kernel: rows and columns of their kernels.
        last: rows and columns of the third one's where they differ; as large as its maps, it joins all places.
        size: rows and columns of an image.
        order: of normalization, pooling and ReLU.
        dropout: share of the last features' channels that training sets to zero.
        normalize: batch normalization in place of that of local responses, which hardly does more than divide by
            1.7; with it training takes a fraction of the steps.

    The buffer ``mean`` holds the training images' mean, which is taken off every image; zero until it is set.

    Raises:
        ValueError: images of this size are smaller than three convolutions and two poolings need.

    Reference:
        Wu et al., "A comprehensive study on cross-view gait based human identification with deep CNNs", PAMI 2017.
        Widths, kernels, normalization and order are those of the first author's own code.

    Deviations:
        Convolutions are computed once an image instead of once a pair wherever they are linear in it; the results
        are the same. Dropout takes whole channels, whose draws cost a thirtieth. Initial weights are He et al.'s
        instead of N(0, 0.01), opposite for the two images where they are joined, and the same for all features in
        the end, so that an untrained network measures a distance: from the published ones training may never start.
    """

    def __init__(
        self,
        *,
        widths: Sequence[int] = (16, 64, 256),
        kernel: int = 7,
        size: tuple[int, int] = (126, 86),
        order: Order = "norm-pool-relu",
        dropout: float = 0.5,
        normalize: bool = False,
        last: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        last = last or (kernel, kernel)
        rows, columns = (
            ((side - kernel + 1) // 2 - kernel + 1) // 2 - end + 1 for side, end in zip(size, last, strict=True)
        )
        if min(rows, columns) < 1:
            raise ValueError(f"images of {size[0]}x{size[1]} are too small for kernels of {kernel}")
        self.cells = rows * columns
        self.mean: Tensor
        self.register_buffer("mean", torch.zeros(size))
        self.stage1 = _Stage(widths[0], order, normalize=normalize)
        self.stage2 = _Stage(widths[1], order, normalize=normalize)
        self.dropout = nn.Dropout2d(dropout)
        self.conv3: nn.Conv2d
        self._convolutions(tuple(widths), kernel, last)
        self.classify = nn.Linear(widths[2] * self.cells, 2)
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
                if part.bias is not None:
                    nn.init.zeros_(part.bias)
        self._oppose()
        # Features are positive and grow with the difference: the less of them, the more likely the same person.
        inputs = self.classify.in_features
        with torch.no_grad():
            self.classify.weight.copy_(torch.tensor([[2.0 / inputs], [-2.0 / inputs]]).expand(2, inputs))
            self.classify.bias.zero_()

    def _convolutions(self, widths: tuple[int, ...], kernel: int, last: tuple[int, int]) -> None:
        raise NotImplementedError

    def _oppose(self) -> None:
        """Let what joins the images start from their difference."""

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the codes of images ``(n, rows, columns)``: as the first of a pair, and as the second."""
        raise NotImplementedError

    def features(self, left: Tensor, right: Tensor) -> Tensor:
        """Return the last features ``(n, c, h, w)`` of pairs of codes, which broadcast."""
        raise NotImplementedError

    def compare(self, left: Tensor, right: Tensor) -> Tensor:
        """Return logits ``(n, 2)`` of pairs: other person, same person.

        Args:
            left: codes of the pairs' first images, from :meth:`encode`; one broadcasts over many.
            right: codes of the second ones.
        """
        return self.classify(self.dropout(self.features(left, right)).flatten(1))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Return logits ``(n, 2)`` of pairs of images ``(n, rows, columns)``: other person, same person."""
        return self.compare(self.encode(first)[0], self.encode(second)[1])

    @classmethod
    def options(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return the constructor's options of a state dict but for the order, by its keys and shapes.

        Raises:
            KeyError, ValueError: keys are missing or have another rank.
        """
        convolutions = [state[f"conv{i}.weight"] for i in (1, 2, 3)]
        kernel = {tuple(weight.shape[2:]) for weight in convolutions[:2]}
        if len(kernel) != 1:
            raise ValueError(f"expected first kernels of one size, found {sorted(kernel)}")
        rows, columns = convolutions[2].shape[2:]
        return {
            "widths": tuple(len(weight) for weight in convolutions),
            "kernel": kernel.pop()[0],
            "last": (rows, columns),
            "size": tuple(state["mean"].shape),
            "normalize": "stage1.norm.weight" in state,
        }


@torch.no_grad()
def _start_opposed(convolution: nn.Conv2d) -> None:
    left, right = convolution.weight.split(convolution.weight.shape[1] // 2, dim=1)
    right.copy_(-left)


def _halves(convolution: nn.Conv2d, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return what a convolution of two images' concatenated channels makes of each; their sum is its result."""
    weight = convolution.weight
    left, right = weight.split(weight.shape[1] // 2, dim=1)
    return functional.conv2d(images, left, convolution.bias), functional.conv2d(images, right)


class LocalBottom(Pairwise):
    """LB: the two images are compared by the first convolution already, as two channels of one image.

    The codes are the first convolution's maps; all else is computed a pair.
    """

    def _convolutions(self, widths: tuple[int, ...], kernel: int, last: tuple[int, int]) -> None:
        self.conv1 = nn.Conv2d(2, widths[0], kernel)
        self.conv2 = nn.Conv2d(widths[0], widths[1], kernel)
        self.conv3 = nn.Conv2d(widths[1], widths[2], last)

    def _oppose(self) -> None:
        _start_opposed(self.conv1)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the first convolution's maps ``(n, c, h, w)``, of both of its halves."""
        return _halves(self.conv1, (images - self.mean)[:, None])

    def features(self, left: Tensor, right: Tensor) -> Tensor:
        """Return the third convolution's maps ``(n, c, h, w)`` of pairs, cut off at 0."""
        return functional.relu(self.conv3(self.stage2(self.conv2(self.stage1(left + right)))))


class MidTop(Pairwise):
    """MT: two convolutions see each image alone, the third sees both. A pair costs a sum, a ReLU and a product."""

    def _convolutions(self, widths: tuple[int, ...], kernel: int, last: tuple[int, int]) -> None:
        self.conv1 = nn.Conv2d(1, widths[0], kernel)
        self.conv2 = nn.Conv2d(widths[0], widths[1], kernel)
        self.conv3 = nn.Conv2d(2 * widths[1], widths[2], last)

    def _oppose(self) -> None:
        _start_opposed(self.conv3)

    def maps(self, images: Tensor) -> Tensor:
        """Return what the first two convolutions make of images ``(n, rows, columns)``: ``(n, c, h, w)``."""
        return self.stage2(self.conv2(self.stage1(self.conv1((images - self.mean)[:, None]))))

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the third convolution's maps ``(n, c, h, w)``, of both of its halves."""
        return _halves(self.conv3, self.maps(images))

    def features(self, left: Tensor, right: Tensor) -> Tensor:
        """Return the third convolution's maps ``(n, c, h, w)`` of pairs, cut off at 0."""
        return functional.relu(left + right)


class Siamese(Pairwise):
    """The Siamese network: all three convolutions see each image alone, and differences are compared."""

    def _convolutions(self, widths: tuple[int, ...], kernel: int, last: tuple[int, int]) -> None:
        self.conv1 = nn.Conv2d(1, widths[0], kernel)
        self.conv2 = nn.Conv2d(widths[0], widths[1], kernel)
        self.conv3 = nn.Conv2d(widths[1], widths[2], last)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the third convolution's maps ``(n, c, h, w)``, twice."""
        code = self.conv3(self.stage2(self.conv2(self.stage1(self.conv1((images - self.mean)[:, None])))))
        return code, code

    def features(self, left: Tensor, right: Tensor) -> Tensor:
        """Return the absolute differences ``(n, c, h, w)``."""
        return (left - right).abs()


@torch.no_grad()
def all_pairs(network: Pairwise, first: Tensor, second: Tensor, *, block: int = 64) -> Tensor:
    """Return how much more likely "same" is than "other" of all pairs: the differences of logits ``(n, g)``.

    The network is used as it is: put it in evaluation mode before.

    Args:
        network: any of the three.
        first: images ``(n, rows, columns)``.
        second: images ``(g, rows, columns)``.
        block: images encoded, or pairs compared, at once; small blocks stay in a processor's cache.
    """
    left = torch.cat([network.encode(part)[0] for part in first.split(block)])
    right = torch.cat([network.encode(part)[1] for part in second.split(block)])
    weight = network.classify.weight[1] - network.classify.weight[0]
    bias = network.classify.bias[1] - network.classify.bias[0]
    scores = left.new_empty(len(left), len(right))
    for start in range(0, len(right), block):
        there = right[start : start + block]
        for row, code in enumerate(left.split(1)):
            scores[row, start : start + block] = network.features(code, there).flatten(1) @ weight + bias
    return scores
