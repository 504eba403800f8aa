"""A silhouette generator with its critics, as they are shipped and used."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gaitkeeper.errors import DataError, WeightsError
from gaitkeeper.models.generators.wgan_gp import STAGES, Critic, Generator
from gaitkeeper.models.states import load_strictly, read_state
from gaitkeeper.models.victim import undisturbed
from gaitkeeper.motion.motion import Domain
from gaitkeeper.seeding import stream

SHIPPED_GENERATORS = ("walkers",)
"""Generators in the package, by the name that ``--generator`` takes."""

POOL = 2048
"""Latents among which the nearest to a frame is looked for."""

PARTS = ("generator", "critic", "judge")
"""Files of a trained generator: ``<part>.safetensors``."""


@dataclass(frozen=True)
class ScoredCritic:
    """A critic, and how it scores recorded silhouettes.

    Args:
        module: the network.
        quantiles: its scores of recorded silhouettes, ascending, at evenly spaced probabilities from 0 to 1.
    """

    module: Critic
    quantiles: tuple[float, ...]

    def scores(self, silhouettes: Tensor) -> Tensor:
        """Return scores ``(n,)`` of silhouettes ``(n, h, w)`` in [0, 1]; higher looks more like a recorded one."""
        return self.module.silhouettes(silhouettes.float())

    @property
    def typical(self) -> float:
        """The score that one in twenty recorded silhouettes stays below."""
        return float(np.quantile(self.quantiles, 0.05))

    def standard(self, scores: Tensor) -> Tensor:
        """Return scores less the median, in units of the range of the middle half of recorded ones."""
        low, middle, high = np.quantile(self.quantiles, (0.25, 0.5, 0.75))
        return (scores - float(middle)) / max(float(high - low), 1e-12)

    def rank(self, scores: Tensor) -> Tensor:
        """Return the share of recorded silhouettes that score lower, in [0, 1]."""
        edges = torch.tensor(self.quantiles, dtype=scores.dtype, device=scores.device)
        return torch.searchsorted(edges, scores.contiguous()).to(scores.dtype) / len(edges)


class SilhouetteGAN:
    """A generator, the critic that attacks may use, and a judge that none uses.

    Args:
        generator: one-channel pictures.
        critic: trained with the generator.
        judge: trained apart, against the finished generator.
        columns: of a silhouette, the middle ones of a generated picture.
    """

    def __init__(self, generator: Generator, critic: ScoredCritic, judge: ScoredCritic, *, columns: int = 44) -> None:
        self.generator, self.critic, self.judge, self.columns = generator, critic, judge, columns

    def check(self, domain: Domain) -> None:
        """Raise a DataError unless generated frames fit a victim's."""
        rows, columns = self.generator.size
        wanted = dict(zip(domain.axes, domain.shape, strict=True))
        fits = self.generator.channels == 1 and domain.axes == ("t", "h", "w") and wanted["h"] == rows
        if not (
            fits and wanted["w"] == self.columns and columns >= self.columns and (domain.lower, domain.upper) == (0, 1)
        ):
            raise DataError(
                f"the generator makes silhouettes of {rows}x{self.columns} in [0, 1] "
                f"({self.generator.channels} channels); the victim takes "
                f"{' '.join(f'{a}={s}' for a, s in wanted.items())} in [{domain.lower:g}, {domain.upper:g}]"
            )

    def silhouettes(self, latents: Tensor) -> Tensor:
        """Return silhouettes ``(n, h, w)`` in [0, 1] of latents ``(n, v)``."""
        with undisturbed(self.generator):
            return self.generator.silhouettes(latents, self.columns)

    def to(self, device: str) -> SilhouetteGAN:
        """Move the networks to a device."""
        for module in (self.generator, self.critic.module, self.judge.module):
            module.to(device)
        self.__dict__.pop("_pool", None)
        return self

    @cached_property
    def _pool(self) -> tuple[Tensor, Tensor]:
        draws = stream(0, "generator pool").standard_normal((POOL, self.generator.latent))
        latents = torch.from_numpy(draws).float()
        latents *= self.generator.latent**0.5 / latents.norm(dim=1, keepdim=True)
        latents = latents.to(next(self.generator.parameters()).device)
        with torch.no_grad():
            return latents, torch.cat([self.silhouettes(part) for part in latents.split(256)]).flatten(1)

    @torch.no_grad()
    def nearest(self, frames: Tensor) -> Tensor:
        """Return, out of a fixed pool, the latents ``(n, v)`` whose silhouettes are nearest to frames ``(n, h, w)``."""
        latents, pictures = self._pool
        flat = frames.flatten(1).to(pictures)
        distance = pictures.square().sum(1) - 2 * flat @ pictures.T
        return latents[distance.argmin(1)]


def load_gan(source: str | Path, *, device: str = "cpu") -> SilhouetteGAN:
    """Load a trained generator with its critics.

    Args:
        source: the name of a shipped one, or a folder that ``gaitkeeper train-generator`` wrote.
        device: where to put the networks.

    Raises:
        WeightsError: an unknown name, a missing file, or one that does not fit.
    """
    if str(source) in SHIPPED_GENERATORS:
        paths = [shipped_part(str(source), part) for part in PARTS]
    elif Path(source).is_dir():
        paths = [Path(source) / f"{part}.safetensors" for part in PARTS]
    else:
        raise WeightsError(
            f"{str(source)!r} is no generator: expected {', '.join(SHIPPED_GENERATORS)}, or a folder with "
            + ", ".join(f"{part}.safetensors" for part in PARTS)
        )
    generator = load_generator(paths[0])
    critic, judge = (load_critic(path) for path in paths[1:])
    for scored, path in zip((critic, judge), paths[1:], strict=True):
        if (scored.module.size, scored.module.channels) != (generator.size, generator.channels):
            raise WeightsError(
                f"{path}: scores pictures of {scored.module.channels}x{scored.module.size}, the generator makes "
                f"{generator.channels}x{generator.size}"
            )
    return SilhouetteGAN(generator, critic, judge).to(device)


def shipped_part(name: str, part: str) -> Path:
    """Return the path of a file of a shipped generator."""
    return Path(str(resources.files("gaitkeeper") / "weights" / f"{part}-{name}.safetensors"))


def _size(value: str | None, path: Path) -> tuple[int, int]:
    """Return the picture's size out of the metadata; 64 x 64 without."""
    try:
        rows, columns = (int(side) for side in json.loads(value or "[64, 64]"))
        if min(rows, columns) > 0 and not rows % 2**STAGES and not columns % 2**STAGES:
            return rows, columns
    except (ValueError, TypeError):
        pass
    raise WeightsError(
        f"{path}: expected a size [rows, columns] of multiples of {2**STAGES} in the metadata, found {value}"
    )


def _quantiles(value: str | None, path: Path) -> tuple[float, ...]:
    """Return a critic's scores of recorded silhouettes out of the metadata."""
    try:
        found = np.array(json.loads(value or "[]"), dtype=np.float64)
        if found.ndim == 1 and len(found) > 1 and np.isfinite(found).all() and (np.diff(found) >= 0).all():
            return tuple(found.tolist())
    except (ValueError, TypeError):
        pass
    raise WeightsError(f"{path}: expected ascending scores of recorded silhouettes in the metadata, found {value}")


def load_generator(path: Path) -> Generator:
    """Load a generator of any width from our own file or a checkpoint of improved-wgan-pytorch.

    Width, channels and latent follow from the keys; the size from our metadata, 64 x 64 without.
    """
    state, metadata = read_state(path)
    try:
        channels, width = state["conv1.conv.weight"].shape[:2]
        latent = state["ln1.weight"].shape[1]
    except (KeyError, ValueError, IndexError):
        raise WeightsError(_unfit(path, "a WGAN-GP generator", state)) from None
    size = _size(metadata.get("size"), path)
    with torch.device("meta"):
        module = Generator(width=width, channels=channels, size=size, latent=latent)
    load_strictly(module, state, path)
    return module.eval()


def load_critic(path: Path) -> ScoredCritic:
    """Load a critic of any width and its scores of recorded silhouettes."""
    state, metadata = read_state(path)
    try:
        width, channels = state["conv1.conv.weight"].shape[:2]
        rows, columns = state["rb1.bn1.weight"].shape[1:]
    except (KeyError, ValueError, IndexError):
        raise WeightsError(_unfit(path, "a WGAN-GP critic", state)) from None
    if rows % 2**STAGES or columns % 2**STAGES:
        raise WeightsError(f"{path}: expected sides that are multiples of {2**STAGES}, found {rows}x{columns}")
    quantiles = _quantiles(metadata.get("quantiles"), path)
    with torch.device("meta"):
        module = Critic(width=width, channels=channels, size=(rows, columns))
    load_strictly(module, state, path)
    return ScoredCritic(module.eval(), quantiles)


def _unfit(path: Path, what: str, state: dict[str, Tensor]) -> str:
    return f"{path}: expected the keys of {what}, conv1.conv.weight, ...; found {', '.join(list(state)[:4]) or 'none'}"


def score_quantiles(critic: Critic, silhouettes: Sequence[np.ndarray] | np.ndarray, *, count: int = 101) -> list[float]:
    """Return quantiles of a critic's scores of silhouettes ``(n, h, w)`` uint8, for :class:`ScoredCritic`."""
    device = next(critic.parameters()).device
    frames = torch.from_numpy(np.asarray(silhouettes))
    with torch.no_grad(), undisturbed(critic):
        scores = torch.cat([critic.silhouettes(part.to(device).float() / 255) for part in frames.split(256)])
    return [round(float(q), 6) for q in np.quantile(scores.cpu().numpy(), np.linspace(0, 1, count))]
