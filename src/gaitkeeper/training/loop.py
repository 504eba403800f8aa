"""One training loop: resumable, with mixed precision where the device has it, and progress."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gaitkeeper import __version__
from gaitkeeper.datasets.base import Sequences, load_usable
from gaitkeeper.errors import DataError, GaitkeeperError
from gaitkeeper.files import replacing, write_text
from gaitkeeper.models.gait.deepgaitv2 import DeepGaitV2
from gaitkeeper.models.gait.gaitbase import GaitBase
from gaitkeeper.models.gait.gaitgl import GaitGL
from gaitkeeper.models.gait.gaitpart import GaitPart
from gaitkeeper.models.gait.gaitset import GaitSet
from gaitkeeper.models.gait.parts import Classifying, FramePooling, SeparateBNNecks
from gaitkeeper.models.states import save_state
from gaitkeeper.models.weights import Recognizer, for_convolutions
from gaitkeeper.seeding import stream
from gaitkeeper.training.losses import batch_all_triplet, part_cross_entropy
from gaitkeeper.training.sampler import IdentitySampler
from gaitkeeper.training.settings import NARROW, TrainSettings

CHECKPOINT = "checkpoint.pt"
WEIGHTS = "model.safetensors"


def autocast_dtype(device: torch.device, precision: str) -> torch.dtype | None:
    """Return the lower precision to compute in, or None for float32."""
    if precision == "float32":
        return None
    if device.type == "cuda":
        has = torch.cuda.is_bf16_supported()
    else:
        has = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.bfloat16 if has or precision == "bfloat16" else None


def widths(settings: TrainSettings) -> tuple[int, ...]:
    """Return the widths of the network that the settings name; a narrow network's where they give none.

    Raises:
        DataError: the network cannot have these widths or go without batch normalization.
    """
    if settings.network not in NARROW:
        raise DataError(f"network: expected a recognizer of gaits, {', '.join(NARROW)}, got {settings.network}")
    channels = settings.channels or NARROW[settings.network]
    counts = {3, 4} if settings.network in {"gaitpart", "gaitgl"} else {len(NARROW[settings.network])}
    if len(channels) not in counts or min(channels) < 1:
        wanted = " or ".join(str(count) for count in sorted(counts))
        raise DataError(f"channels: expected {wanted} widths of {settings.network}, got {channels}")
    if not settings.normalize and settings.network in {"gaitbase", "deepgaitv2"}:
        raise DataError(f"normalize: {settings.network} has no form without batch normalization")
    return channels


def build(settings: TrainSettings, classes: int) -> Recognizer:
    """Return the network that the settings name, freshly initialized.

    Args:
        settings: of the run.
        classes: training identities, for the networks that have a classifier of their own.

    Raises:
        DataError: as :func:`widths` does.
    """
    channels = widths(settings)
    embedding, normalize = settings.embedding, settings.normalize
    if settings.network == "gaitset":
        return GaitSet(channels=channels, embedding=embedding, normalize=normalize)
    if settings.network == "gaitpart":
        return GaitPart(channels=channels, embedding=embedding, normalize=normalize)
    if settings.network == "gaitgl":
        return GaitGL(channels=channels, embedding=embedding, classes=classes, normalize=normalize)
    network = GaitBase if settings.network == "gaitbase" else DeepGaitV2
    return network(channels=channels, embedding=embedding, classes=classes)


def check_settings(path: Path, there: str, here: str) -> None:
    """Raise a GaitkeeperError that names what differs unless a checkpoint's settings, as JSON, are the run's."""
    if there == here:
        return
    old, new = json.loads(there), json.loads(here)
    differ = [f"{k} {old.get(k)} instead of {new[k]}" for k in new if old.get(k) != new[k]]
    raise GaitkeeperError(
        f"{path}: belongs to a run with other settings ({', '.join(differ)}); train into another folder"
    )


def described(data: str, settings: Any, skipped: Sequence[tuple[str, str]], device: str) -> dict[str, Any]:
    """Return what the description of every trained network tells: the data, the settings, and on what it ran."""
    return {
        "gaitkeeper": __version__,
        "data": data,
        "settings": dataclasses.asdict(settings),
        "skipped": list(skipped),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else f"{os.cpu_count()} CPU cores",
    }


@contextmanager
def restoring(path: Path, fingerprint: str) -> Iterator[dict[str, Any]]:
    """Yield a checkpoint's content for its parts to be restored from.

    Args:
        path: the checkpoint.
        fingerprint: the run's settings as JSON, which must be the checkpoint's.

    Raises:
        GaitkeeperError: the file is damaged, holds other parts, or is of a run with other settings.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        check_settings(path, state["settings"], fingerprint)
        yield state
    except GaitkeeperError:
        raise
    except (pickle.UnpicklingError, RuntimeError, KeyError, TypeError, ValueError, EOFError) as error:
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise GaitkeeperError(
            f"{path}: not a whole checkpoint of this run ({reason}); remove it to start anew"
        ) from error


class _Run:
    """Network, losses, optimizer and schedule of one run."""

    def __init__(self, settings: TrainSettings, classes: int, device: torch.device) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.module = build(settings, classes)
            self.neck: nn.Module | None = None
            if not isinstance(self.module, Classifying):
                self.neck = SeparateBNNecks(self.module.parts, settings.embedding, classes)
        for_convolutions(self.module.to(device)).train()
        weights = list(self.module.parameters())
        if self.neck is not None:
            self.neck.to(device).train()
            weights += self.neck.parameters() if settings.cross_entropy else ()
        self.optimizer = torch.optim.AdamW(weights, lr=settings.learning_rate, weight_decay=settings.weight_decay)
        self.schedule = torch.optim.lr_scheduler.MultiStepLR(
            self.optimizer, [round(share * settings.iterations) for share in settings.milestones]
        )
        self.iteration = 0

    def logits(self, embedding: Tensor) -> Tensor:
        """Return logits ``(n, classes, p)`` of embeddings, by the network's own classifier or the neck beside it."""
        classify = self.module.logits if isinstance(self.module, Classifying) else self.neck
        assert classify is not None
        return classify(embedding)

    def _parts(self) -> dict[str, nn.Module | torch.optim.Optimizer | torch.optim.lr_scheduler.LRScheduler]:
        neck = {} if self.neck is None else {"neck": self.neck}
        return {"model": self.module, "optimizer": self.optimizer, "schedule": self.schedule, **neck}

    def save(self, path: Path, fingerprint: str) -> None:
        state = {name: part.state_dict() for name, part in self._parts().items()}
        with replacing(path) as temporary:
            torch.save({**state, "iteration": self.iteration, "settings": fingerprint}, temporary)

    def restore(self, path: Path, fingerprint: str) -> None:
        with restoring(path, fingerprint) as state:
            for name, part in self._parts().items():
                part.load_state_dict(state[name])
            self.iteration = state["iteration"]


def draw_frames(sequences: Sequence[np.ndarray], count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw ``count`` frames of each sequence, with replacement where it has fewer: ``(n, count, h, w)``."""
    return np.stack([s[rng.choice(len(s), count, replace=len(s) < count)] for s in sequences])


def draw_windows(sequences: Sequence[np.ndarray], count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw ``count`` consecutive frames of each sequence: ``(n, count, h, w)``. One with fewer starts again."""
    windows = []
    for s in sequences:
        start = rng.integers(len(s) - count + 1 if len(s) > count else 1)
        windows.append(s[(start + np.arange(count)) % len(s)])
    return np.stack(windows)


def _loss(run: _Run, frames: Tensor, labels: Tensor, settings: TrainSettings) -> tuple[Tensor, float]:
    dtype = autocast_dtype(frames.device, settings.precision)
    with torch.autocast(frames.device.type, dtype or torch.bfloat16, enabled=dtype is not None):
        embedding = run.module(frames)
    loss, active = batch_all_triplet(embedding, labels, margin=settings.margin)
    if settings.cross_entropy:
        logits = run.logits(embedding.float())
        loss = loss + settings.cross_entropy * part_cross_entropy(
            logits, labels, scale=settings.scale, smoothing=settings.smoothing
        )
    return loss, float(active)


def train(
    settings: TrainSettings,
    data: Sequences,
    out: Path,
    *,
    device: str = "cpu",
    progress: Callable[[int, int, str], None] = lambda done, total, text: None,
) -> Path:
    """Train a recognizer; a run that was interrupted goes on from its last checkpoint.

    Args:
        settings: of the run.
        data: training sequences; all subjects in it are training identities.
        out: folder for ``checkpoint.pt``, ``log.jsonl``, ``model.safetensors`` and ``model.json``.
        device: where to train.
        progress: called with iterations done, iterations in all, and a line of figures.

    Returns:
        The path of the weights.

    Raises:
        GaitkeeperError: the network cannot have the settings' widths, the folder holds a run with other settings, or no
            sequence can be used.
    """
    settings = dataclasses.replace(settings, channels=widths(settings))
    skipped: list[tuple[str, str]] = []
    progress(0, settings.iterations, f"loading {len(data.samples)} sequences")
    kept, sequences = load_usable(data, range(len(data.samples)), skipped)
    if not kept:
        raise DataError(f"{data.name}: none of {len(data.samples)} sequences can be used; the first: {skipped[0][1]}")
    names = sorted({data.samples[i].subject for i in kept})
    labels = np.array([names.index(data.samples[i].subject) for i in kept])
    run = _Run(settings, len(names), torch.device(device))
    draw = draw_frames if isinstance(run.module, FramePooling) else draw_windows
    fingerprint = json.dumps({"data": data.name, **dataclasses.asdict(settings)}, sort_keys=True)
    out.mkdir(parents=True, exist_ok=True)
    if (out / CHECKPOINT).exists():
        run.restore(out / CHECKPOINT, fingerprint)
    sampler = IdentitySampler(labels, identities=settings.identities, sequences=settings.sequences, seed=settings.seed)
    pending: list[str] = []
    while run.iteration < settings.iterations:
        index = sampler.batch(run.iteration)
        rng = stream(settings.seed, "frames", run.iteration)
        frames = draw([sequences[i] for i in index], settings.frames, rng)
        binary = rng.random(len(index)) < settings.binarize
        frames[binary] = (frames[binary] >= 128) * np.uint8(255)
        loss, active = _loss(
            run,
            torch.from_numpy(frames).to(device, torch.float32) / 255,
            torch.from_numpy(labels[index]).to(device),
            settings,
        )
        run.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        run.optimizer.step()
        run.schedule.step()
        run.iteration += 1
        line = {"iteration": run.iteration, "loss": round(float(loss.detach()), 5), "active": round(active, 5)}
        pending.append(json.dumps(line) + "\n")
        progress(run.iteration, settings.iterations, f"loss {line['loss']:.3f}, active {active:.3f}")
        if run.iteration % settings.checkpoint_every == 0 or run.iteration == settings.iterations:
            run.save(out / CHECKPOINT, fingerprint)
            with (out / "log.jsonl").open("a", encoding="utf-8") as log:
                log.writelines(pending)
            pending.clear()
    description = {**described(data.name, settings, skipped, device), "identities": len(names)}
    save_state(out / WEIGHTS, run.module, {"format": "gaitkeeper", "network": type(run.module).__name__})
    write_text(out / "model.json", json.dumps(description, indent=2) + "\n")
    return out / WEIGHTS
