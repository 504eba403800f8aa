"""The residual generator and critic of WGAN-GP, for pictures of silhouettes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from gaitkeeper.errors import DataError

LATENT = 128
"""Dimensions of a latent (V in He et al.)."""

STAGES = 4
"""Residual blocks, each of which halves or doubles the picture's sides."""


def _boxed(weight: Tensor) -> Tensor:
    """Convolve 3 x 3 kernels with a 2 x 2 box of ones: ``(..., 3, 3)`` -> ``(..., 4, 4)``."""
    wide = functional.pad(weight, (1, 1, 1, 1))
    rows = wide[..., 1:, :] + wide[..., :-1, :]
    return rows[..., 1:] + rows[..., :-1]


class _Conv(nn.Module):
    """A convolution that keeps the size; the wrapper gives the official key names."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, bias: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class _UpConv(nn.Module):
    """Nearest-neighbor enlargement by two and then a convolution.

    The 3 x 3 case is computed as one transposed convolution with a 4 x 4 kernel: the same sums with 4 products an
    output in place of 9.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, *, bias: bool = True) -> None:
        super().__init__()
        self.conv = _Conv(inputs, outputs, kernel, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        conv = self.conv.conv
        if conv.kernel_size == (1, 1):
            return functional.interpolate(conv(x), scale_factor=2.0, mode="nearest")
        kernel = _boxed(conv.weight.flip(2, 3)).transpose(0, 1)
        return functional.conv_transpose2d(x, kernel, conv.bias, stride=2, padding=1)


class _DownConv(nn.Module):
    """A convolution and then the mean of each 2 x 2 square, computed as one convolution of stride 2."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = _Conv(inputs, outputs, 3)

    def forward(self, x: Tensor) -> Tensor:
        conv = self.conv.conv
        return functional.conv2d(x, _boxed(conv.weight) / 4, conv.bias, stride=2, padding=1)


class _PoolConv(nn.Module):
    """The mean of each 2 x 2 square and then a 1 x 1 convolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = _Conv(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(functional.avg_pool2d(x, 2))


class _UpBlock(nn.Module):
    """Residual block that doubles the sides."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv_shortcut = _UpConv(inputs, outputs, 1)
        self.conv_1 = _UpConv(inputs, outputs, 3, bias=False)
        self.conv_2 = _Conv(outputs, outputs, 3)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.conv_1(functional.relu(self.bn1(x)))
        return self.conv_shortcut(x) + self.conv_2(functional.relu(self.bn2(inner)))


class _DownBlock(nn.Module):
    """Residual block that halves the sides; the norms are over channels, rows and columns together."""

    def __init__(self, inputs: int, outputs: int, rows: int, columns: int) -> None:
        super().__init__()
        self.bn1 = nn.LayerNorm([inputs, rows, columns])
        self.bn2 = nn.LayerNorm([inputs, rows, columns])
        self.conv_shortcut = _PoolConv(inputs, outputs)
        self.conv_1 = _Conv(inputs, inputs, 3, bias=False)
        self.conv_2 = _DownConv(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.conv_1(functional.relu(self.bn1(x)))
        return self.conv_shortcut(x) + self.conv_2(functional.relu(self.bn2(inner)))


def _check_size(size: tuple[int, int]) -> None:
    if len(size) != 2 or any(side < 2**STAGES or side % 2**STAGES for side in size):
        raise DataError(f"expected rows and columns that are multiples of {2**STAGES}, got {size}")


def _initialize(module: nn.Module) -> None:
    """Draw weights uniformly with He's variance before ReLUs and Glorot's in shortcuts and 1 x 1 convolutions."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            if part.kernel_size == (1, 1):
                nn.init.xavier_uniform_(part.weight)
            else:
                nn.init.kaiming_uniform_(part.weight)
        elif isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight)
        if isinstance(part, nn.Conv2d | nn.Linear) and part.bias is not None:
            nn.init.zeros_(part.bias)


class Generator(nn.Module):
    """Latents to pictures, with the state-dict keys of improved-wgan-pytorch.

    Args:
        width: channels before the last convolution, d; the first block has 8 d.
        channels: of a picture; 1 for silhouettes, 3 published.
        size: rows and columns, multiples of 16.
        latent: dimensions of a latent.

    Reference:
        Gulrajani et al., "Improved training of Wasserstein GANs", NeurIPS 2017, appendix F (64 x 64 residual).
    """

    def __init__(
        self, *, width: int = 64, channels: int = 3, size: tuple[int, int] = (64, 64), latent: int = LATENT
    ) -> None:
        super().__init__()
        _check_size(size)
        self.latent, self.channels, self.size = latent, channels, size
        self._base = (8 * width, size[0] >> STAGES, size[1] >> STAGES)
        self.ln1 = nn.Linear(latent, self._base[0] * self._base[1] * self._base[2])
        self.rb1 = _UpBlock(8 * width, 8 * width)
        self.rb2 = _UpBlock(8 * width, 4 * width)
        self.rb3 = _UpBlock(4 * width, 2 * width)
        self.rb4 = _UpBlock(2 * width, width)
        self.bn = nn.BatchNorm2d(width)
        self.conv1 = _Conv(width, channels, 3)
        _initialize(self)

    def forward(self, latents: Tensor) -> Tensor:
        """Return pictures ``(n, channels, rows, columns)`` in [-1, 1] of latents ``(n, latent)``."""
        x = self.ln1(latents).unflatten(1, self._base)
        x = self.rb4(self.rb3(self.rb2(self.rb1(x))))
        return torch.tanh(self.conv1(functional.relu(self.bn(x))))

    def silhouettes(self, latents: Tensor, columns: int) -> Tensor:
        """Return silhouettes ``(n, rows, columns)`` in [0, 1], the middle columns of one-channel pictures."""
        margin = (self.size[1] - columns) // 2
        return (self(latents)[:, 0, :, margin : margin + columns] + 1) / 2


class Critic(nn.Module):
    """Pictures to scores, higher for those that look recorded; keys of improved-wgan-pytorch.

    Args:
        width: channels after the first convolution, d; the last block has 8 d.
        channels: of a picture.
        size: rows and columns, multiples of 16.

    Reference:
        Gulrajani et al., "Improved training of Wasserstein GANs", NeurIPS 2017, appendix F (64 x 64 residual).
    """

    def __init__(self, *, width: int = 64, channels: int = 3, size: tuple[int, int] = (64, 64)) -> None:
        super().__init__()
        _check_size(size)
        self.channels, self.size = channels, size
        rows, columns = size
        self.conv1 = _Conv(channels, width, 3)
        self.rb1 = _DownBlock(width, 2 * width, rows, columns)
        self.rb2 = _DownBlock(2 * width, 4 * width, rows >> 1, columns >> 1)
        self.rb3 = _DownBlock(4 * width, 8 * width, rows >> 2, columns >> 2)
        self.rb4 = _DownBlock(8 * width, 8 * width, rows >> 3, columns >> 3)
        self.ln1 = nn.Linear(8 * width * (rows >> STAGES) * (columns >> STAGES), 1)
        _initialize(self)

    def forward(self, pictures: Tensor) -> Tensor:
        """Return scores ``(n,)`` of pictures ``(n, channels, rows, columns)`` in [-1, 1]."""
        x = self.rb4(self.rb3(self.rb2(self.rb1(self.conv1(pictures)))))
        return self.ln1(x.flatten(1))[:, 0]

    def silhouettes(self, silhouettes: Tensor) -> Tensor:
        """Return scores ``(n,)`` of silhouettes ``(n, rows, columns)`` in [0, 1], widened by empty columns."""
        return self(as_pictures(silhouettes, self.size[1]))


def as_pictures(silhouettes: Tensor, columns: int) -> Tensor:
    """Return silhouettes ``(n, h, w)`` in [0, 1] as pictures ``(n, 1, h, columns)`` in [-1, 1], empty at both sides."""
    extra = columns - silhouettes.shape[2]
    return 2 * functional.pad(silhouettes, (extra // 2, extra - extra // 2))[:, None] - 1
