"""Training of networks that anonymize contours: noise generator, ST-GAN, its forerunner, and an attacker's inverse."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from gaitkeeper.datasets.base import Sequences, load_usable
from gaitkeeper.datasets.walkers import WalkerSequences
from gaitkeeper.errors import DataError
from gaitkeeper.files import replacing, write_text
from gaitkeeper.models.generators.anonymizers import ContourNetworks, load_contour_networks, padded_contours
from gaitkeeper.models.generators.st_gan import (
    GaitGenerator,
    NoiseGenerator,
    SpatialDiscriminator,
    TemporalDiscriminator,
)
from gaitkeeper.motion.contours import ContourSequence, contour_sequence, refill
from gaitkeeper.seeding import stream
from gaitkeeper.training.anonymizer_settings import AnonymizerSettings
from gaitkeeper.training.loop import CHECKPOINT, WEIGHTS, described, draw_windows, restoring

BETAS = (0.5, 0.999)
"""Adam's, as usual for these networks; the paper gives none."""


def differences(made: Tensor, wanted: Tensor, norm: str) -> Tensor:
    """Return the mean absolute ("l1") or squared ("squared") difference of coordinates."""
    apart = made - wanted
    return apart.abs().mean() if norm == "l1" else apart.square().mean()


def contour_loss(made: Tensor, original: Tensor, noise: Tensor, *, alpha: float, norm: str) -> Tensor:
    """Return reconstruction plus alpha times perturbation.

    By the triangle inequality |y - g| + a |z - g| >= a |z - y| + (1 - a) |y - g|: the published form is smallest at the
    original for any alpha below 1, whatever the noise. The squared form is smallest at (y + a z) / (1 + a).

    Args:
        made: g, contours of any shape.
        original: y.
        noise: z.
        alpha: weight of the perturbation.
        norm: "l1", as published, or "squared".

    Reference:
        Tieu et al., "Spatio-temporal generative adversarial network for gait anonymization", JISA 46, 2019,
        equations 6 and 7.

    Deviations:
        Means over coordinates, not sums. Equation 7 has the seed where the noise contour is meant.
    """
    return differences(made, original, norm) + alpha * differences(made, noise, norm)


def generator_loss(logits: Tensor, form: str) -> Tensor:
    """Return what a generator descends on, of the discriminator's logits for what it made.

    Args:
        logits: above zero for recorded.
        form: "saturating", log(1 - D) as published, or "non-saturating", -log D.

    Reference:
        Tieu et al. 2019, equations 4 and 5; Goodfellow et al., "Generative adversarial nets", NIPS 2014, section 3.
    """
    return -functional.softplus(logits).mean() if form == "saturating" else functional.softplus(-logits).mean()


def discriminator_loss(recorded: Tensor, made: Tensor) -> Tensor:
    """Return the negative of equations 2 and 3, log D of recorded plus log(1 - D) of made, of logits."""
    return functional.softplus(-recorded).mean() + functional.softplus(made).mean()


def _certainty(logits: Tensor) -> float:
    return float(logits.detach().sigmoid().mean())


@dataclass(frozen=True, kw_only=True)
class _Clips:
    """Contours ``(t, p, 2)`` of clips, and for each the clips of others from the same view.

    An inverter's are pairs ``(t, 2, p, 2)``: anonymized, original.
    """

    contours: Sequence[np.ndarray]
    others: Sequence[np.ndarray]


def _gait(sequence: ContourSequence) -> np.ndarray:
    return sequence.points[sequence.present]


def _read(settings: AnonymizerSettings, data: Sequences, skipped: list[tuple[str, str]]) -> _Clips:
    kept, arrays = load_usable(data, range(len(data.samples)), skipped)
    samples = [data.samples[i] for i in kept]
    if settings.kind == "inverter":
        contours = _inverted(settings, arrays, [sample.key for sample in samples])
    elif settings.padded:
        vectors = [padded_contours(array, settings.points) for array in arrays]
        contours = [contour[counts > 0] for contour, counts, _ in vectors]
    else:
        contours = [_gait(contour_sequence(array, settings.points)) for array in arrays]
    skipped += [(s.key, "nobody is in it") for s, contour in zip(samples, contours, strict=True) if not len(contour)]
    seen = [i for i, contour in enumerate(contours) if len(contour)]
    if not seen:
        first = skipped[0][1] if skipped else "there is none"
        raise DataError(f"{data.name}: none of {len(data.samples)} sequences can be used; the first: {first}")
    contours, samples = [contours[i] for i in seen], [samples[i] for i in seen]
    subjects, views = (np.array([getattr(s, name) for s in samples]) for name in ("subject", "view"))
    others = [np.flatnonzero((views == s.view) & (subjects != s.subject)) for s in samples]
    if settings.kind == "noise-gait" and not all(len(own) for own in others):
        raise DataError(f"{data.name}: expected at least two people in each view, to be each other's noise")
    return _Clips(contours=contours, others=others)


def _inverted(settings: AnonymizerSettings, arrays: Sequence[np.ndarray], keys: Sequence[str]) -> list[np.ndarray]:
    """Anonymize clips as the attacker does, and return pairs of contours, of what is then seen and of the original."""
    networks = load_contour_networks(settings.inverted, "st-gan", "st-gan-no-noise")
    if networks.padded:
        raise DataError(f"{settings.inverted}: makes padded contours; expected resampled ones to invert")
    pairs = []
    for array, key in zip(arrays, keys, strict=True):
        original = contour_sequence(array, networks.points)
        noise = networks.noise_contours(1, len(array), stream(settings.seed, "inverted", key))[0].numpy()
        made = original.moved(networks.apply(original.points, noise))
        seen = contour_sequence(refill(dataclasses.replace(made, holes=((),) * len(array))), networks.points)
        both = original.present & seen.present
        # The attacker has only the place where the anonymized person is.
        target = seen.placement.normalized(original.placement.pixels(original.points[both])).astype(np.float32)
        pairs.append(np.stack([seen.points[both], target], axis=1))
    return pairs


class _Run:
    """The networks of one run, their optimizers and where it stands."""

    def __init__(self, settings: AnonymizerSettings, device: torch.device) -> None:
        self.settings, self.device, kind = settings, device, settings.kind
        if settings.padded and kind in {"noise-gait", "inverter"}:
            raise DataError(f"padded: expected with noise, st-gan or st-gan-no-noise, got {kind}")
        points = settings.points
        noise: NoiseGenerator | None = None
        gait: GaitGenerator | None = None
        if kind == "st-gan":
            drawn = load_contour_networks(settings.noise_weights, "noise")
            if (drawn.points, drawn.padded) != (points, settings.padded):
                forms = [
                    f"{count} {'padded' if padded else 'resampled'} points"
                    for count, padded in ((drawn.points, drawn.padded), (points, settings.padded))
                ]
                raise DataError(f"{settings.noise_weights}: makes contours of {forms[0]}, expected {forms[1]}")
            noise = drawn.noise
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            if kind == "noise":
                noise = NoiseGenerator(points=points, latent=settings.latent)
            else:
                gait = GaitGenerator(widths=settings.widths, inputs=1 if kind == "inverter" else 2)
            learned: dict[str, nn.Module] = {"generator": noise if kind == "noise" else gait}  # type: ignore[dict-item]
            if kind in {"noise", "st-gan", "st-gan-no-noise"}:
                learned["spatial"] = SpatialDiscriminator(points=points)
            if kind in {"st-gan", "st-gan-no-noise"}:
                learned["temporal"] = TemporalDiscriminator(points=points, frames=settings.window)
        moving = settings.noise == "moving" and kind in {"st-gan", "st-gan-no-noise"}
        self.networks = ContourNetworks(
            kind=kind, points=points, gait=gait, noise=noise, moving=moving, padded=settings.padded
        )
        self.networks.modules().to(device)
        self.learned = {name: module.to(device).train() for name, module in learned.items()}
        self.optimizers = {
            name: torch.optim.Adam(module.parameters(), lr=settings.rate, betas=BETAS)
            for name, module in self.learned.items()
        }
        self.iteration = 0

    def save(self, path: Path, fingerprint: str) -> None:
        state = {name: module.state_dict() for name, module in self.learned.items()}
        state |= {f"{name}-optimizer": optimizer.state_dict() for name, optimizer in self.optimizers.items()}
        with replacing(path) as temporary:
            torch.save({**state, "iteration": self.iteration, "settings": fingerprint}, temporary)

    def restore(self, path: Path, fingerprint: str) -> None:
        with restoring(path, fingerprint) as state:
            for name, module in self.learned.items():
                module.load_state_dict(state[name])
            for name, optimizer in self.optimizers.items():
                optimizer.load_state_dict(state[f"{name}-optimizer"])
            self.iteration = state["iteration"]

    def write(self, path: Path) -> None:
        s = self.settings
        told = {"alpha": f"{s.alpha:g}", "norm": s.norm, "adversarial": s.adversarial, "steps": str(self.iteration)}
        self.networks.save(path, told if s.kind != "noise" else {"steps": str(self.iteration)})

    def _descend(self, loss: Tensor, *names: str) -> None:
        for name in names:
            self.optimizers[name].zero_grad(set_to_none=True)
        loss.backward()
        for name in names:
            self.optimizers[name].step()

    def step(self, clips: _Clips, rng: np.random.Generator) -> dict[str, float]:
        """Take one step of the discriminators and one of the generator, and return figures for the log."""
        settings = self.settings
        rate = settings.rate * min(1.0, 2 * (1 - self.iteration / settings.steps))
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = rate
        if settings.kind == "noise":
            return self._noise_step(clips, rng)
        if settings.kind == "inverter":
            return self._inverter_step(clips, rng)
        return self._gait_step(clips, rng)

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self.device, torch.float32)

    def _noise_step(self, clips: _Clips, rng: np.random.Generator) -> dict[str, float]:
        settings, discriminator = self.settings, self.learned["spatial"]
        count = settings.contours
        drawn = rng.integers(len(clips.contours), size=count)
        recorded = self._tensor(np.stack([clips.contours[i][rng.integers(len(clips.contours[i]))] for i in drawn]))
        latents = self._tensor(rng.standard_normal((count, settings.latent)))
        made = self.learned["generator"](latents)[:, None]
        told, seen = discriminator(recorded[:, None]), discriminator(made.detach())
        self._descend(discriminator_loss(told, seen), "spatial")
        self._descend(generator_loss(discriminator(made), settings.adversarial), "generator")
        return {"recorded": _certainty(told), "made": _certainty(seen)}

    def _inverter_step(self, clips: _Clips, rng: np.random.Generator) -> dict[str, float]:
        drawn = rng.integers(len(clips.contours), size=self.settings.batch)
        pairs = self._tensor(draw_windows([clips.contours[i] for i in drawn], self.settings.window, rng))
        loss = differences(self.learned["generator"](pairs[:, :, 0]), pairs[:, :, 1], "l1")
        self._descend(loss, "generator")
        return {"reconstruction": float(loss.detach())}

    def _gait_step(self, clips: _Clips, rng: np.random.Generator) -> dict[str, float]:
        settings = self.settings
        drawn = rng.integers(len(clips.contours), size=settings.batch)
        original = self._tensor(draw_windows([clips.contours[i] for i in drawn], settings.window, rng))
        if settings.kind == "noise-gait":
            donors = [clips.contours[rng.choice(clips.others[i])] for i in drawn]
            noise = self._tensor(draw_windows(donors, settings.window, rng))
        else:
            noise = self.networks.noise_contours(settings.batch, settings.window, rng).to(self.device)
        made = self.learned["generator"](original, noise)
        figures = {
            "reconstruction": float(differences(made, original, "l1").detach()),
            "perturbation": float(differences(made, noise, "l1").detach()),
        }
        judges = [name for name in ("spatial", "temporal") if name in self.learned]
        if judges:
            told = {name: self.learned[name](original) for name in judges}
            seen = {name: self.learned[name](made.detach()) for name in judges}
            self._descend(torch.stack([discriminator_loss(told[n], seen[n]) for n in judges]).sum(), *judges)
            figures |= {name: _certainty(seen[name]) for name in judges}
        loss = settings.scale * contour_loss(made, original, noise, alpha=settings.alpha, norm=settings.norm)
        for name in judges:
            loss = loss + generator_loss(self.learned[name](made), settings.adversarial)
        self._descend(loss, "generator")
        return figures


def train_anonymizer(
    settings: AnonymizerSettings,
    out: Path,
    *,
    data: Sequences | None = None,
    device: str = "cpu",
    progress: Callable[[int, int, str], None] = lambda done, total, text: None,
) -> Path:
    """Train a network on contours; an interrupted run goes on from its last checkpoint.

    Args:
        settings: of the run, which name what is trained.
        out: folder for ``checkpoint.pt``, ``log.jsonl``, ``model.safetensors``, ``model.json`` and the snapshots,
            ``step-<n>.safetensors``.
        data: what to learn from in place of the settings' walkers.
        device: where to train.
        progress: called with steps done, steps in all, and a line of figures.

    Returns:
        The path of the weights.

    Raises:
        GaitkeeperError: the folder holds a run with other settings, weights that the run builds on do not fit, or no
            sequence can be used.

    Reference:
        Tieu et al., "Spatio-temporal generative adversarial network for gait anonymization", JISA 46, 2019, sections
        3.3 and 3.4, equations 1 to 8; "noise-gait": Tieu et al., "An approach for gait anonymization using deep
        learning", WIFS 2017.

    Deviations:
        Optimizer, rates, batch and steps are not given. The losses as published are behind
        ``AnonymizerSettings.published``.
    """
    if data is None:
        chosen = {"conditions": settings.conditions, "views": settings.views, "frames": settings.frames}
        data = WalkerSequences(settings.population, subjects=settings.walkers, **chosen)  # type: ignore[arg-type]
    run = _Run(settings, torch.device(device))
    skipped: list[tuple[str, str]] = []
    progress(0, settings.steps, f"loading {len(data.samples)} sequences")
    clips = _read(settings, data, skipped)
    fingerprint = json.dumps({"data": data.name, **dataclasses.asdict(settings)}, sort_keys=True)
    out.mkdir(parents=True, exist_ok=True)
    if (out / CHECKPOINT).exists():
        run.restore(out / CHECKPOINT, fingerprint)
    pending: list[str] = []
    while run.iteration < settings.steps:
        figures = run.step(clips, stream(settings.seed, settings.kind, run.iteration))
        run.iteration += 1
        rounded = {name: round(value, 6) for name, value in figures.items()}
        pending.append(json.dumps({"iteration": run.iteration, **rounded}) + "\n")
        progress(run.iteration, settings.steps, ", ".join(f"{name} {value:.4f}" for name, value in rounded.items()))
        if run.iteration in settings.snapshots:
            run.write(out / f"step-{run.iteration}.safetensors")
        if run.iteration % settings.checkpoint_every == 0 or run.iteration == settings.steps:
            run.save(out / CHECKPOINT, fingerprint)
            with (out / "log.jsonl").open("a", encoding="utf-8") as log:
                log.writelines(pending)
            pending.clear()
    run.write(out / WEIGHTS)
    description = {**described(data.name, settings, skipped, device), "clips": len(clips.contours)}
    write_text(out / "model.json", json.dumps(description, indent=2) + "\n")
    return out / WEIGHTS
