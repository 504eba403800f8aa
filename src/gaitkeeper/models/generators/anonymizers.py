"""The trained networks of an anonymizer on contours, as they are shipped and used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from gaitkeeper.errors import DataError, WeightsError
from gaitkeeper.models.generators.st_gan import GaitGenerator, NoiseGenerator
from gaitkeeper.models.states import load_strictly, read_state, save_state
from gaitkeeper.models.victim import undisturbed
from gaitkeeper.motion.contour_vectors import published_vectors
from gaitkeeper.motion.contours import Placement, contour_sequence

SHIPPED_ANONYMIZERS = {
    "noise-walkers": "noise-walkers.safetensors",
    "st-gan-walkers": "st-gan-walkers.safetensors",
    "st-gan-published-walkers": "st-gan-published-walkers.safetensors",
    "st-gan-no-noise-walkers": "st-gan-no-noise-walkers.safetensors",
    "noise-gait-walkers": "noise-gait-walkers.safetensors",
}
"""Weights of anonymizers in the package, by name."""

PARTS = {
    "noise": ("noise",),
    "st-gan": ("gait", "noise"),
    "st-gan-no-noise": ("gait",),
    "noise-gait": ("gait",),
    "inverter": ("gait",),
}
"""Networks in a file of each kind."""

SPREAD = 0.25
"""Standard deviation, in body heights, of a contour that is nothing but Gaussian noise."""

TURNS = 0.25
"""Turns a second that the seed of a moving noise contour takes on its circle."""

CHUNK = 512
"""Frames put through the networks at once."""


@dataclass(frozen=True, kw_only=True)
class ContourNetworks:
    """What a file of weights holds.

    Args:
        kind: one of ``PARTS``.
        points: of a contour.
        gait: original and noise contours to anonymized ones, or, of an inverter, anonymized ones to originals.
        noise: seeds to noise contours.
        moving: whether a clip's noise contour moves slowly; it is still as published.
        padded: whether contours are :func:`padded_contours`, as published, in place of resampled ones.
    """

    kind: str
    points: int
    gait: GaitGenerator | None = None
    noise: NoiseGenerator | None = None
    moving: bool = False
    padded: bool = False

    def modules(self) -> nn.ModuleDict:
        """Return the networks by their names in the file."""
        return nn.ModuleDict({name: getattr(self, name) for name in PARTS[self.kind]})

    def noise_contours(self, count: int, frames: int, rng: np.random.Generator, *, fps: float = 30.0) -> Tensor:
        """Draw the noise contours of clips.

        Args:
            count: clips.
            frames: of each.
            rng: draws one seed a clip, two where noise moves.
            fps: frames a second, by which a moving noise contour knows how far to go.

        Returns:
            ``(count, frames, p, 2)`` in body heights: what G_N makes of the seeds; without G_N the seed itself, a
            Gaussian cloud about the middle of the body.

        Raises:
            ValueError: the noise of this kind is another person's gait, or there is none.

        Reference:
            Tieu et al. 2019, section 3.3; without G_N, figure 7.
        """
        if self.kind == "st-gan-no-noise":
            shape: tuple[int, ...] = (self.points, 2)
        elif self.noise is not None:
            shape = (self.noise.latent,)
        else:
            raise ValueError(f"{self.kind} draws no noise contours of its own")
        begin = torch.from_numpy(rng.standard_normal((count, 1, *shape))).float()
        if self.moving:
            # On a circle through two draws every single contour is distributed as a still one is.
            other = torch.from_numpy(rng.standard_normal((count, 1, *shape))).float()
            angle = (2 * torch.pi * TURNS / fps * torch.arange(frames)).reshape(-1, *[1] * len(shape))
            begin = begin * angle.cos() + other * angle.sin()
        if self.noise is None:
            contours = SPREAD * begin + torch.tensor([0.0, 0.5])
        else:
            device = next(self.noise.parameters()).device
            with torch.no_grad(), undisturbed(self.noise):
                parts = [self.noise(part.to(device)) for part in begin.flatten(0, 1).split(CHUNK)]
            contours = torch.cat(parts).unflatten(0, (count, -1))
        return contours.expand(-1, frames, -1, -1)

    def apply(self, *contours: np.ndarray) -> np.ndarray:
        """Put whole clips through the network, frame by frame.

        Args:
            contours: ``(t, p, 2)`` float32 in body heights for each encoder.

        Returns:
            ``(t, p, 2)`` float32.
        """
        assert self.gait is not None
        device = next(self.gait.parameters()).device
        parts = []
        with torch.no_grad(), undisturbed(self.gait):
            for at in range(0, len(contours[0]), CHUNK):
                frames = [torch.from_numpy(np.ascontiguousarray(c[at : at + CHUNK])) for c in contours]
                parts.append(self.gait(*(f[None].float().to(device) for f in frames))[0].cpu())
        return torch.cat(parts).numpy()

    def save(self, path: Path, metadata: Mapping[str, str] | None = None) -> None:
        """Write the networks and what is needed to load them; the same weights give the same bytes."""
        own = {"format": "gaitkeeper", "kind": self.kind, "points": str(self.points)}
        flags = {"moving": str(int(self.moving)), "padded": str(int(self.padded))}
        save_state(path, self.modules(), {**own, **flags, **(metadata or {})})


def padded_contours(silhouettes: np.ndarray, points: int) -> tuple[np.ndarray, np.ndarray, Placement]:
    """Return the contour pixels of silhouettes ``(t, h, w)`` uint8 as published: one after the other, then zeros.

    Returns:
        ``(t, points, 2)`` float32 in body heights, how many of each frame's are of the contour, and what brings them
        back to pixels.

    Reference:
        Tieu et al. 2019, section 3.2, with 2000 points.
    """
    vectors, counts = published_vectors(silhouettes, points)
    placement = contour_sequence(silhouettes, 8).placement
    given = np.arange(points) < counts[:, None]
    normalized = placement.normalized(vectors.reshape(len(vectors), points, 2))
    return np.where(given[..., None], normalized, 0).astype(np.float32), counts, placement


def anonymizer_path(source: str | Path) -> Path:
    """Return the path of shipped weights, or the path itself."""
    if str(source) in SHIPPED_ANONYMIZERS:
        return Path(str(resources.files("gaitkeeper") / "weights" / SHIPPED_ANONYMIZERS[str(source)]))
    if not Path(source).suffix and not Path(source).exists():
        raise WeightsError(
            f"{str(source)!r} is no anonymizer: expected {', '.join(SHIPPED_ANONYMIZERS)}, or the path of weights"
        )
    return Path(source)


def load_contour_networks(source: str | Path, *kinds: str, device: str = "cpu") -> ContourNetworks:
    """Load the networks that ``gaitkeeper.training.anonymizers`` trained.

    Args:
        source: the name of shipped weights or a path.
        kinds: which kinds will do, all without.
        device: where to put the networks.

    Raises:
        WeightsError: an unknown name, a file that cannot be read, of another kind, or one that does not fit.
    """
    path = anonymizer_path(source)
    state, metadata = read_state(path)
    kind, wanted = metadata.get("kind", "none"), kinds or tuple(PARTS)
    if kind not in wanted:
        raise WeightsError(f"{path}: expected weights of {' or '.join(wanted)}, found {kind}")
    try:
        points = int(metadata["points"])
        made: dict[str, nn.Module] = {}
        with torch.device("meta"):
            for part in PARTS[kind]:
                network = NoiseGenerator if part == "noise" else GaitGenerator
                made[part] = network(**network.options(state, f"{part}."))
    except KeyError as error:
        raise WeightsError(f"{path}: expected the keys of {kind}; {error} is missing") from None
    except (ValueError, IndexError, DataError, ZeroDivisionError, RuntimeError) as error:
        raise WeightsError(f"{path}: has not the shapes of {kind} ({error})") from None
    gait, noise = made.get("gait"), made.get("noise")
    assert gait is None or isinstance(gait, GaitGenerator)
    assert noise is None or isinstance(noise, NoiseGenerator)
    if noise is not None and noise.points != points:
        raise WeightsError(f"{path}: its noise has {noise.points} points, its contours {points}")
    inputs = 1 if kind == "inverter" else 2
    if gait is not None and len(gait.encode) != inputs:
        raise WeightsError(f"{path}: expected {inputs} encoders of {kind}, found {len(gait.encode)}")
    flags = {name: metadata.get(name) == "1" for name in ("moving", "padded")}
    networks = ContourNetworks(kind=kind, points=points, gait=gait, noise=noise, **flags)
    modules = networks.modules()
    load_strictly(modules, state, path)
    modules.eval().to(device)
    return networks
