"""Training of a WGAN-GP on silhouettes: resumable, with mixed precision where the device has it, and progress."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from gaitkeeper.datasets.base import Sequences, load_usable
from gaitkeeper.errors import DataError
from gaitkeeper.files import replacing, write_text
from gaitkeeper.models.generators.gan import score_quantiles
from gaitkeeper.models.generators.wgan_gp import Critic, Generator, as_pictures
from gaitkeeper.models.states import save_state
from gaitkeeper.seeding import stream
from gaitkeeper.training.gan_settings import GeneratorSettings
from gaitkeeper.training.loop import CHECKPOINT, autocast_dtype, described, restoring

BETAS = (0.0, 0.9)
"""Adam's, as published."""

SCORED = 8192
"""Recorded silhouettes whose scores go with a critic's weights."""

METADATA = {"format": "gaitkeeper"}


def draw_latents(count: int, latent: int, rng: np.random.Generator, *, sphere: bool) -> Tensor:
    """Draw latents ``(count, latent)``, standard normal or uniform on the sphere of radius sqrt(latent)."""
    draws = torch.from_numpy(rng.standard_normal((count, latent))).float()
    return draws * (latent**0.5 / draws.norm(dim=1, keepdim=True)) if sphere else draws


def gradient_penalty(critic: nn.Module, real: Tensor, fake: Tensor, shares: Tensor) -> Tensor:
    """Return the mean squared excess over 1 of the critic's slope on lines between real and generated pictures.

    Args:
        critic: gives scores ``(n,)``.
        real: ``(n, ...)``.
        fake: ``(n, ...)``.
        shares: ``(n,)`` in [0, 1], where on its line each point lies.

    Reference:
        Gulrajani et al., "Improved training of Wasserstein GANs", NeurIPS 2017, equation 3.
    """
    shares = shares.reshape(-1, *[1] * (real.ndim - 1))
    between = (shares * real + (1 - shares) * fake).requires_grad_(True)
    (slope,) = torch.autograd.grad(critic(between).float().sum(), between, create_graph=True)
    return (slope.flatten(1).norm(dim=1) - 1).square().mean()


def disturbed(pictures: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return silhouettes that no camera recorded: pieces of other people, and noise of all grains and densities.

    Without them a critic has seen nothing but a generator's mistakes, and scores noise high.

    Args:
        pictures: ``(n, h, w)`` uint8.
        rng: which pieces, and how much noise.
    """
    count, height, width = pictures.shape
    changed = pictures.copy()
    for frame in changed:
        kind = rng.random()
        if kind < 0.7:
            rows, columns = rng.integers(height // 8, height // 2), rng.integers(width // 6, width // 2)
            top, left = rng.integers(height - rows), rng.integers(width - columns)
            piece = pictures[rng.integers(count), rng.integers(height - rows) :, rng.integers(width - columns) :]
            frame[top : top + rows, left : left + columns] = piece[:rows, :columns]
        if kind > 0.3:
            grain = int(rng.integers(1, 5))
            flips = rng.random((-(-height // grain), -(-width // grain))) < rng.uniform(0.005, 0.4)
            mask = flips.repeat(grain, 0).repeat(grain, 1)[:height, :width]
            grey = rng.integers(256, size=int(mask.sum()), dtype=np.uint8)
            frame[mask] = grey if rng.random() < 0.5 else 255 - frame[mask]
    return changed


class _Run:
    """Both networks, the judge, the averaged generator, their optimizers and where the run stands."""

    def __init__(self, settings: GeneratorSettings, pictures: np.ndarray, device: torch.device) -> None:
        self.settings, self.pictures, self.device = settings, pictures, device
        width, size = settings.width, (settings.rows, settings.columns)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.generator = Generator(width=width, channels=1, size=size, latent=settings.latent)
            self.critic, self.judge = (Critic(width=width, channels=1, size=size) for _ in range(2))
        self.average = copy.deepcopy(self.generator).eval()
        self.networks: dict[str, nn.Module] = {
            "generator": self.generator.train(),
            "average": self.average,
            "critic": self.critic.train(),
            "judge": self.judge.train(),
        }
        for network in self.networks.values():
            network.to(device)
        self.optimizers = {
            name: torch.optim.Adam(self.networks[name].parameters(), lr=settings.learning_rate, betas=BETAS)
            for name in ("generator", "critic", "judge")
        }
        self.iteration = self.judged = 0
        self._dtype = autocast_dtype(device, settings.precision)

    def save(self, path: Path, fingerprint: str) -> None:
        state = {name: network.state_dict() for name, network in self.networks.items()}
        state |= {f"{name}-optimizer": optimizer.state_dict() for name, optimizer in self.optimizers.items()}
        with replacing(path) as temporary:
            torch.save(
                {**state, "iteration": self.iteration, "judged": self.judged, "settings": fingerprint}, temporary
            )

    def restore(self, path: Path, fingerprint: str) -> None:
        with restoring(path, fingerprint) as state:
            for name, network in self.networks.items():
                network.load_state_dict(state[name])
            for name, optimizer in self.optimizers.items():
                optimizer.load_state_dict(state[f"{name}-optimizer"])
            self.iteration, self.judged = state["iteration"], state["judged"]

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self._dtype or torch.bfloat16, enabled=self._dtype is not None)

    def _latents(self, rng: np.random.Generator) -> Tensor:
        settings = self.settings
        return draw_latents(settings.batch, settings.latent, rng, sphere=settings.sphere).to(self.device)

    def _step(self, name: str, loss: Tensor, rate: float) -> None:
        optimizer = self.optimizers[name]
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    def _recorded(self, frames: np.ndarray) -> Tensor:
        return as_pictures(torch.from_numpy(frames).to(self.device, torch.float32) / 255, self.settings.columns)

    def critic_step(self, rng: np.random.Generator, rate: float, *, judge: bool = False) -> float:
        """Take one step of the critic, or of the judge, half of whose false pictures are disturbed recordings.

        Returns:
            By how much it scores recorded pictures above the others.
        """
        name, generator = ("judge", self.average) if judge else ("critic", self.generator)
        critic = self.networks[name]
        batch = self.settings.batch
        real = self._recorded(self.pictures[rng.integers(len(self.pictures), size=batch)])
        shares = torch.from_numpy(rng.random(len(real))).float().to(self.device)
        with self._autocast():
            with torch.no_grad():
                fake = generator(self._latents(rng)).float()
            if judge:
                others = self.pictures[rng.integers(len(self.pictures), size=batch // 2)]
                fake[: batch // 2] = self._recorded(disturbed(others, rng))
            gap = critic(real).float().mean() - critic(fake).float().mean()
            penalty = gradient_penalty(critic, real, fake, shares)
        self._step(name, self.settings.gradient_penalty * penalty - gap, rate)
        return float(gap.detach())

    def generator_step(self, rng: np.random.Generator, rate: float) -> None:
        with self._autocast():
            loss = -self.critic(self.generator(self._latents(rng))).float().mean()
        self._step("generator", loss, rate)
        with torch.no_grad():
            for mean, value in zip(
                self.average.state_dict().values(), self.generator.state_dict().values(), strict=True
            ):
                if mean.is_floating_point():
                    mean.lerp_(value, 1 - min(self.settings.averaging, self.iteration / (self.iteration + 10)))
                else:
                    mean.copy_(value)


def train_generator(
    settings: GeneratorSettings,
    data: Sequences,
    out: Path,
    *,
    device: str = "cpu",
    progress: Callable[[int, int, str], None] = lambda done, total, text: None,
) -> Path:
    """Train a silhouette generator, its critic and an independent judge; an interrupted run goes on.

    Args:
        settings: of the run.
        data: sequences whose frames are learned from.
        out: folder for ``checkpoint.pt``, ``log.jsonl``, ``model.json``, ``generator.safetensors`` (the moving
            average of its weights), ``critic.safetensors`` and ``judge.safetensors``.
        device: where to train.
        progress: called with iterations done, iterations in all, and a line of figures.

    Returns:
        The folder.

    Raises:
        GaitkeeperError: the folder holds a run with other settings, or no sequence can be used.

    Reference:
        Gulrajani et al., "Improved training of Wasserstein GANs", NeurIPS 2017, algorithm 1; latents on the sphere:
        He et al., "Temporal sparse adversarial attack", section 3.2.

    Deviations:
        Narrower, fewer and larger steps that shrink toward the end, and averaged weights, so that a run takes an hour
        on a CPU core.
    """
    skipped: list[tuple[str, str]] = []
    total = settings.iterations + settings.judge_steps
    progress(0, total, f"loading {len(data.samples)} sequences")
    _, sequences = load_usable(data, range(len(data.samples)), skipped)
    if not sequences:
        raise DataError(f"{data.name}: none of {len(data.samples)} sequences can be used; the first: {skipped[0][1]}")
    rng = stream(settings.seed, "learned frames")
    pictures = np.concatenate([s[rng.permutation(len(s))[: settings.frames]] for s in sequences])
    if pictures.shape[1] != settings.rows or pictures.shape[2] > settings.columns:
        raise DataError(
            f"{data.name}: expected silhouettes of {settings.rows} rows and at most {settings.columns} columns, "
            f"found {pictures.shape[1]}x{pictures.shape[2]}"
        )
    run = _Run(settings, pictures, torch.device(device))
    fingerprint = json.dumps({"data": data.name, **dataclasses.asdict(settings)}, sort_keys=True)
    out.mkdir(parents=True, exist_ok=True)
    if (out / CHECKPOINT).exists():
        run.restore(out / CHECKPOINT, fingerprint)
    pending: list[str] = []

    def note(name: str, step: int, gap: float) -> None:
        pending.append(json.dumps({"network": name, "step": step, "gap": round(gap, 5)}) + "\n")
        done = run.iteration + run.judged
        progress(done, total, f"{name}: real above generated by {gap:.3f}")
        if done % settings.checkpoint_every == 0 or done == total:
            run.save(out / CHECKPOINT, fingerprint)
            with (out / "log.jsonl").open("a", encoding="utf-8") as log:
                log.writelines(pending)
            pending.clear()

    while run.iteration < settings.iterations:
        rate = settings.learning_rate * min(1.0, 2 * (1 - run.iteration / settings.iterations))
        rng = stream(settings.seed, "generator", run.iteration)
        gap = 0.0
        for _ in range(settings.critic_steps):
            gap = run.critic_step(rng, rate)
        run.generator_step(rng, rate)
        run.iteration += 1
        note("critic", run.iteration, gap)
    while run.judged < settings.judge_steps:
        rate = settings.learning_rate * min(1.0, 2 * (1 - run.judged / settings.judge_steps))
        gap = run.critic_step(stream(settings.seed, "judge", run.judged), rate, judge=True)
        run.judged += 1
        note("judge", run.judged, gap)

    size = json.dumps([settings.rows, settings.columns])
    save_state(out / "generator.safetensors", run.average, {**METADATA, "network": "Generator", "size": size})
    shown = pictures[stream(settings.seed, "scored frames").permutation(len(pictures))[:SCORED]]
    for name, critic in (("critic", run.critic), ("judge", run.judge)):
        quantiles = json.dumps(score_quantiles(critic, shown))
        save_state(out / f"{name}.safetensors", critic, {**METADATA, "network": "Critic", "quantiles": quantiles})
    description = {**described(data.name, settings, skipped, device), "pictures": len(pictures)}
    write_text(out / "model.json", json.dumps(description, indent=2) + "\n")
    return out
