"""Training action recognizers: a pass over the clips at a time, resumable, with the recipe's augmentation."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from gaitkeeper.datasets.actors import Actors
from gaitkeeper.datasets.base import batches, load_usable
from gaitkeeper.datasets.clips import Clips, to_skeletons
from gaitkeeper.datasets.open_clips import open_clips
from gaitkeeper.errors import DataError
from gaitkeeper.files import replacing, write_text
from gaitkeeper.models.actions.as_gcn import ActionalASGCN
from gaitkeeper.models.actions.dgnn import DGNN
from gaitkeeper.models.actions.networks import Fed, build
from gaitkeeper.models.actions.preparation import Preparation
from gaitkeeper.models.actions.sgn import SGN
from gaitkeeper.models.states import save_state
from gaitkeeper.motion.motion import Motion
from gaitkeeper.seeding import stream
from gaitkeeper.synthetic.actions import TRAIN_ACTORS, VALIDATION_ACTORS
from gaitkeeper.training.action_settings import ActionNetwork, ActionTraining, Recipe, recipe_of
from gaitkeeper.training.loop import CHECKPOINT, WEIGHTS, described, restoring

INFERENCE_RATE = 5e-4
"""Learning rate of AS-GCN's inference module, as published."""


SHORT_INFERENCE = {"frames": 10, "width": 32}
"""AS-GCN's inference module by the short recipe: its decoder passes all pairs of joints frame by frame."""

WIDEST = 4096
"""Largest width or stride of a unit."""


def options_of(network: ActionNetwork, settings: ActionTraining) -> dict[str, Any]:
    """Return a network's own options that the settings name.

    Raises:
        DataError: the network has no such widths or strides.
    """
    widths, strides = settings.widths, settings.strides
    small = {"inference": SHORT_INFERENCE} if network == "as-gcn" and settings.recipe == "short" else {}
    if widths is None and strides is None:
        return small
    if any(not 1 <= value <= WIDEST for value in (*(widths or ()), *(strides or ()))):
        raise DataError(f"actions: expected widths and strides from 1 to {WIDEST}, got {widths} and {strides}")
    if network in ("sgn", "hrnn", "ms-g3d"):
        count = {"sgn": 1, "hrnn": 4, "ms-g3d": 3}[network]
        if strides is not None or widths is None or len(widths) != count:
            raise DataError(f"actions: expected {count} widths and no strides of {network}, got {widths} and {strides}")
        name, value = {"sgn": ("width", widths[0]), "hrnn": ("units", widths), "ms-g3d": ("widths", widths)}[network]
        return {name: value}
    if widths is None or strides is None or len(widths) != len(strides):
        raise DataError(f"actions: expected as many widths as strides of {network}, got {widths} and {strides}")
    return {"widths": widths, "strides": strides, **small}


def open_training_clips(settings: ActionTraining, data: Path | None) -> tuple[ActionTraining, Clips]:
    """Return the clips to learn from, with those of the subjects for validation, and the settings that name these.

    Args:
        settings: of the run.
        data: a file or folder of clips, of whose split the training part is taken; None for synthetic actors.
    """
    if data is not None:
        return settings, open_clips(data, split="train", protocol=settings.protocol)
    held = settings.validation
    if held is None:
        held = tuple(f"{number:03d}" for number in VALIDATION_ACTORS)
    subjects = (*TRAIN_ACTORS, *VALIDATION_ACTORS)
    clips = Actors(settings.acting, subjects=subjects, takes=range(1, settings.takes + 1))
    return dataclasses.replace(settings, validation=held), clips


class _Run:
    """Network, optimizer and schedule of one run."""

    def __init__(
        self, network: ActionNetwork, options: Mapping[str, Any], recipe: Recipe, data: Clips, persons: int, steps: int,
        seed: int, device: str,
    ) -> None:  # fmt: skip
        self.recipe, self.steps = recipe, steps
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            try:
                self.module = build(
                    network, layout=data.layout, classes=len(data.classes), persons=persons, **options
                ).to(device)
            except ValueError as error:
                raise DataError(f"actions: {network} cannot be built so ({error})") from error
        self.fed = Fed(Preparation.fitting(data.layout, **recipe.preparation), self.module)
        weights = list(self.module.parameters())
        rate, decay = recipe.learning_rate, recipe.weight_decay
        self.optimizer: torch.optim.Optimizer
        if recipe.optimizer == "sgd":
            self.optimizer = torch.optim.SGD(
                weights, lr=rate, weight_decay=decay, momentum=0.9, nesterov=recipe.nesterov
            )
        else:
            kind = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
            self.optimizer = kind(weights, lr=rate, weight_decay=decay)
        self.epoch = 0

    @property
    def inferring(self) -> bool:
        """Whether it is AS-GCN's inference module that learns in this epoch."""
        return isinstance(self.module, ActionalASGCN) and self.epoch < self.recipe.inference

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0 over all epochs."""
        recipe = self.recipe
        if recipe.milestones:
            epoch = recipe.epochs * step // self.steps
            share = 0.1 ** sum(epoch >= milestone for milestone in recipe.milestones)
        else:
            share = 0.5 * (1 + math.cos(math.pi * step / self.steps))
        warmup = recipe.warmup + recipe.warmup_epochs * self.steps // recipe.epochs
        return recipe.learning_rate * share * min(1.0, (step + 1) / max(warmup, 1))

    def save(self, path: Path, fingerprint: str) -> None:
        state = {"model": self.module.state_dict(), "optimizer": self.optimizer.state_dict()}
        with replacing(path) as temporary:
            torch.save({**state, "epoch": self.epoch, "settings": fingerprint}, temporary)

    def restore(self, path: Path, fingerprint: str) -> None:
        with restoring(path, fingerprint) as state:
            self.module.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.epoch = state["epoch"]


def augmented(x: Tensor, recipe: Recipe, scale: float, rng: np.random.Generator) -> Tensor:
    """Turn, resize and disturb prepared clips ``(n, c, t, v, m)``; those absent stay absent.

    Args:
        x: of three coordinates, y up.
        recipe: how much.
        scale: metres that are 1.
        rng: of the draws.
    """
    n = len(x)
    limits = np.array([recipe.tilt, recipe.yaw, recipe.tilt])
    angles = rng.uniform(-1, 1, (n, 3)) * limits
    sizes = 1 + recipe.scale * rng.uniform(-1, 1, n)
    matrices = torch.as_tensor(_turns(angles) * sizes[:, None, None], dtype=x.dtype, device=x.device)
    moved = torch.einsum("nij,njtvm->nitvm", matrices, x)
    if recipe.noise:
        spread = rng.uniform(0, recipe.noise / scale, (n, 1, 1, 1, 1))
        noise = torch.as_tensor(spread * rng.standard_normal(x.shape), dtype=x.dtype, device=x.device)
        moved = moved + noise * x.ne(0).any(3, keepdim=True).any(1, keepdim=True)
    return moved


def _turns(angles: np.ndarray) -> np.ndarray:
    """Return rotations about x, then y, then z, ``(n, 3, 3)``."""
    cosine, sine = np.cos(angles), np.sin(angles)
    made = np.broadcast_to(np.eye(3), (len(angles), 3, 3))
    for axis in range(3):
        one, other = (axis + 1) % 3, (axis + 2) % 3
        turn = np.zeros((len(angles), 3, 3))
        turn[:, axis, axis] = 1
        turn[:, one, one] = turn[:, other, other] = cosine[:, axis]
        turn[:, other, one], turn[:, one, other] = sine[:, axis], -sine[:, axis]
        made = turn @ made
    return made


def _windows(motion: Motion, least: float, rng: np.random.Generator) -> Tensor | None:
    """Draw the part of each clip that is shown, ``(n, 2)`` in frames; None for all of it."""
    if least >= 1:
        return None
    n, t = len(motion), motion.data.shape[2]
    lengths = np.full(n, t) if motion.lengths is None else motion.lengths.cpu().numpy()
    sizes = np.maximum(lengths * rng.uniform(least, 1, n), np.minimum(lengths, 8))
    starts = rng.uniform(0, 1, n) * (lengths - sizes)
    return torch.as_tensor(np.stack([starts, starts + sizes], 1), device=motion.data.device)


def _step(run: _Run, motion: Motion, labels: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return the loss of a batch and the logits."""
    recipe, fed = run.recipe, run.fed
    x, lengths = fed.preparation(motion, window=_windows(motion, recipe.crop, rng))
    if motion.data.shape[1] == 3 and fed.preparation.layout.units == "metres":
        x = augmented(x, recipe, fed.preparation.scale, rng)
    positions = None
    if isinstance(run.module, SGN):
        positions = torch.as_tensor(rng.uniform(0, 1, (len(x), run.module.frames)), device=x.device)
    inputs = fed.hand(x, lengths, positions=positions)
    if isinstance(run.module, ActionalASGCN) and run.inferring:
        part = run.module.inference
        frames = torch.arange(part.frames, device=x.device) * x.shape[2] // part.frames
        seen = x[:, :, frames]
        return part.loss(seen, part(seen)), torch.zeros(len(x), 1, device=x.device)
    logits = run.module(*inputs)
    return functional.cross_entropy(logits, labels, label_smoothing=recipe.smoothing), logits


def _learning(run: _Run) -> None:
    """Put the parts of the network that learn in this epoch into training mode, and the others not."""
    run.module.train()
    module = run.module
    if isinstance(module, DGNN):
        for name, weight in module.named_parameters():
            if name.endswith(("source_M", "target_M")):
                weight.requires_grad_(run.epoch >= run.recipe.frozen)
    if isinstance(module, ActionalASGCN):
        for part, learns in ((module.inference, run.inferring), (module.network, not run.inferring)):
            part.train(learns).requires_grad_(learns)


@torch.no_grad()
def _accuracy(run: _Run, arrays: Sequence[np.ndarray], labels: Tensor, data: Clips, persons: int) -> float:
    run.module.eval()
    right = 0
    for chunk in batches(len(arrays), 32):
        clips = to_skeletons([arrays[i] for i in chunk], data.layout, fps=data.fps, persons=persons).to(labels.device)
        right += int((run.module(*run.fed(clips)).argmax(1) == labels[list(chunk)]).sum())
    return right / len(arrays)


def train_actions(
    network: ActionNetwork,
    settings: ActionTraining,
    data: Clips,
    out: Path,
    *,
    seed: int = 0,
    device: str = "cpu",
    progress: Callable[[int, int, str], None] = lambda done, total, text: None,
) -> Path:
    """Train an action recognizer; a run that was interrupted goes on from its last checkpoint.

    Args:
        network: the family.
        settings: of the run.
        data: the clips; subjects named for validation are not learned from.
        out: folder for ``checkpoint.pt``, ``log.jsonl``, ``model.safetensors`` and ``model.json``.
        seed: of initialization, order and augmentation.
        device: where to train.
        progress: called with steps done, steps in all, and a line of figures.

    Returns:
        The path of the weights.

    Raises:
        GaitkeeperError: the network cannot have the settings' widths, the folder holds a run with other settings, or no
            clip can be used.

    Deviations:
        AS-GCN learns from its classification alone, not from predicting the next poses too.
    """
    recipe, options = recipe_of(network, settings), options_of(network, settings)
    validation = settings.validation or ()
    skipped: list[tuple[str, str]] = []
    progress(0, 1, f"loading {len(data.samples)} clips")
    kept, arrays = load_usable(data, range(len(data.samples)), skipped)
    held = [row for row, i in enumerate(kept) if data.samples[i].subject in validation]
    learned = sorted(set(range(len(kept))) - set(held))
    if not learned:
        raise DataError(f"{data.name}: no clip to learn from" + (f"; the first: {skipped[0][1]}" if skipped else ""))
    if validation and not held:
        raise DataError(f"{data.name}: no clip of the subjects for validation, {', '.join(validation)}")
    persons = max(len(array) for array in arrays)
    labels = torch.tensor([data.samples[i].label for i in kept], device=device)
    per_epoch = math.ceil(len(learned) / recipe.batch)
    steps = per_epoch * recipe.epochs
    run = _Run(network, options, recipe, data, persons, steps, seed, device)
    told = {"data": data.name, "network": network, "seed": seed, **dataclasses.asdict(settings)}
    fingerprint = json.dumps(told, sort_keys=True)
    out.mkdir(parents=True, exist_ok=True)
    if (out / CHECKPOINT).exists():
        run.restore(out / CHECKPOINT, fingerprint)
    pending: list[str] = []
    rows = np.array(learned)
    while run.epoch < recipe.epochs:
        _learning(run)
        order = stream(seed, "order", run.epoch).permutation(rows)
        total, right = 0.0, 0
        for number, chunk in enumerate(batches(len(order), recipe.batch)):
            step = run.epoch * per_epoch + number
            for group in run.optimizer.param_groups:
                group["lr"] = INFERENCE_RATE if run.inferring else run.rate(step)
            index = order[list(chunk)]
            motion = to_skeletons([arrays[i] for i in index], data.layout, fps=data.fps, persons=persons).to(device)
            rng = stream(seed, "clips", step)
            with torch.random.fork_rng(devices=[device] if device.startswith("cuda") else []):
                torch.manual_seed(int(rng.integers(2**31)))
                loss, logits = _step(run, motion, labels[index], rng)
                if not torch.isfinite(loss):
                    raise DataError(f"the loss of epoch {run.epoch + 1} is not finite: try a lower learning rate")
                run.optimizer.zero_grad(set_to_none=True)
                loss.backward()
            if recipe.clip is not None:
                nn.utils.clip_grad_norm_(run.module.parameters(), recipe.clip)
            run.optimizer.step()
            total += float(loss.detach()) * len(index)
            right += int((logits.argmax(1) == labels[index]).sum())
            progress(step + 1, steps, f"epoch {run.epoch + 1}, loss {float(loss.detach()):.3f}")
        line = {"epoch": run.epoch + 1, "loss": round(total / len(rows), 5)}
        if not run.inferring:
            line["accuracy"] = round(right / len(rows), 5)
        if held and not run.inferring:
            line["validation"] = round(_accuracy(run, [arrays[i] for i in held], labels[held], data, persons), 5)
        run.epoch += 1
        pending.append(json.dumps(line) + "\n")
        if run.epoch % settings.checkpoint_every == 0 or run.epoch == recipe.epochs:
            run.save(out / CHECKPOINT, fingerprint)
            with (out / "log.jsonl").open("a", encoding="utf-8") as log:
                log.writelines(pending)
            pending.clear()
    description = {
        **described(data.name, settings, skipped, device),
        "network": network,
        "seed": seed,
        "recipe": dataclasses.asdict(recipe),
        "clips": len(learned),
        "classes": list(data.classes),
    }
    save_state(
        out / WEIGHTS,
        run.module,
        {
            "format": "gaitkeeper",
            "network": network,
            "preparation": json.dumps(run.fed.preparation.to_json()),
            "persons": json.dumps(persons),
            "classes": json.dumps(list(data.classes)),
        },
    )
    write_text(out / "model.json", json.dumps(description, indent=2) + "\n")
    return out / WEIGHTS
