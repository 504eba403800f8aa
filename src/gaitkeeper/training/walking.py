"""Training of the video score: walkers against actors who do other things, and against walkers spoiled."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from gaitkeeper.errors import DataError
from gaitkeeper.files import replacing, write_text
from gaitkeeper.models.states import save_state
from gaitkeeper.models.walking import FEWEST, FPS, SHIPPED_WALKING, WINDOW, NetworkScorer, WalkingNetwork
from gaitkeeper.seeding import stream
from gaitkeeper.synthetic.acting import Troupe
from gaitkeeper.synthetic.actions import CLASSES, TEST_ACTORS, TRAIN_ACTORS
from gaitkeeper.synthetic.figure import dress
from gaitkeeper.synthetic.moving import performance, posed, silhouettes
from gaitkeeper.synthetic.population import CONDITIONS, VIEWS
from gaitkeeper.synthetic.walkers import Walkers
from gaitkeeper.training.loop import CHECKPOINT, WEIGHTS, described, restoring
from gaitkeeper.training.walking_settings import TEST_WALKERS, TRAIN_WALKERS, WalkingTraining

SPOILED = ("frozen", "sliding", "shuffled", "strangers", "still legs", "torn", "blobs", "mean", "nothing")
"""What is done to walkers so that they do not walk; see :func:`spoil` and :func:`slides`."""

_SLIDING = 0.25
"""Share of them that slide, which is the hardest to tell."""

LIMITS = (
    "Trained on synthetic walkers and actors alone; on one real clip of a walker it was right, more is not known.",
    "It knows one network's idea of walking: twenty other actions and some ways of spoiling a walk. Other things that "
    "are no walk may score high.",
    "Somebody stiff who slides is told worst from the front and from behind.",
    "The probability reflects equally many clips of either kind. It is a score to compare methods by, not a decision.",
)

Clips = list[np.ndarray]


def walks(settings: WalkingTraining, subjects: Sequence[int]) -> Clips:
    """Render walks of some subjects from random views, every fifth by way of its joints, as actors are."""
    walkers = Walkers(settings.population)
    found: Clips = []
    for subject in subjects:
        rng = stream(settings.seed, "walks", subject)
        for chosen in rng.permutation(len(CONDITIONS))[: settings.conditions]:
            condition = CONDITIONS[int(chosen)]
            views = rng.choice(VIEWS, settings.views, replace=False).tolist()
            if rng.random() < 0.2:
                body, outfit = walkers.body(subject), walkers.outfit(subject, condition)
                joints = walkers.skeleton(subject, condition, frames=settings.frames)
                figure = dress(posed(joints, body, hem=outfit.hem), body, outfit)
                found.extend(silhouettes(figure, views, noise=settings.population.noise, rng=rng))
            else:
                found.extend(walkers.silhouettes(subject, condition, views, frames=settings.frames))
    return found


def slides(settings: WalkingTraining, subjects: Sequence[int]) -> Clips:
    """Render walkers who stop moving their limbs and are shifted along their path as if they went on."""
    walkers = Walkers(settings.population)
    found: Clips = []
    for subject in subjects:
        rng = stream(settings.seed, "slides", subject)
        for chosen in rng.permutation(len(CONDITIONS))[: settings.conditions]:
            figure = walkers.figure(subject, CONDITIONS[int(chosen)], frames=settings.frames)
            at = int(rng.integers(settings.frames))
            path = figure.centres[:, :1] - figure.centres[at, :1]
            path[..., 1:] = 0
            still = dataclasses.replace(
                figure, centres=figure.centres[at] + path, spreads=figure.spreads[[at] * settings.frames]
            )
            views = rng.choice(VIEWS, settings.views, replace=False).tolist()
            found.extend(silhouettes(still, views, noise=settings.population.noise, rng=rng))
    return found


def acts(settings: WalkingTraining, subjects: Sequence[int]) -> Clips:
    """Render each class of actions once by some actors, from random views; class by class for each actor."""
    troupe = Troupe(settings.acting)
    found: Clips = []
    for subject in subjects:
        rng = stream(settings.seed, "acts", subject)
        for action in CLASSES:
            views = rng.choice(VIEWS, settings.views, replace=False).tolist()
            found.extend(performance(troupe, subject, action, 1, views, population=settings.population))
    return found


def windowed(clip: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw ``size`` frames in a row, at 0.75 to 1.3 times the speed where the clip is long enough."""
    speed = min(float(rng.uniform(0.75, 1.3)), (len(clip) - 1) / (size - 1))
    start = rng.random() * max(len(clip) - 1 - speed * (size - 1), 0.0)
    chosen: np.ndarray = clip[np.rint(start + speed * np.arange(size)).clip(0, len(clip) - 1).astype(int)]
    return chosen


def spoil(kind: str, clip: np.ndarray, others: Clips, rng: np.random.Generator) -> np.ndarray:
    """Change a walk so that it no longer shows somebody walking.

    Args:
        kind: ``frozen``: one frame throughout; ``shuffled``: frames in random order; ``strangers``: each frame of
            another walk; ``still legs``: the upper body walks on; ``torn``: pieces missing, others in each frame;
            ``blobs``: ellipses in place of a body; ``mean``: one contour, that of the mean frame; ``nothing``: all of
            one grey, or noise.
        clip: ``(t, 64, 44)`` uint8.
        others: walks to take frames from.
        rng: of the draws.
    """
    import cv2

    t, height, width = clip.shape
    if kind == "frozen":
        return clip[[int(rng.integers(t))] * t]
    if kind == "shuffled":
        return clip[rng.permutation(t)]
    if kind == "mean":
        return np.repeat((255 * (clip.mean(0, keepdims=True) >= 128)).astype(np.uint8), t, axis=0)
    if kind == "nothing":
        if rng.random() < 0.3:
            return (255 * (rng.random(clip.shape) < rng.random())).astype(np.uint8)
        grey = (0, 0, 255, int(rng.integers(256)))
        return np.full_like(clip, grey[int(rng.integers(4))])
    if kind == "strangers":
        drawn = [others[int(i)] for i in rng.integers(len(others), size=len(clip))]
        return np.stack([other[int(rng.integers(len(other)))] for other in drawn])
    made = clip.copy()
    if kind == "still legs":
        cut = int(rng.uniform(0.45, 0.6) * height)
        made[:, cut:] = clip[int(rng.integers(t)), cut:]
        return made
    if kind == "blobs":
        made[:] = 0
    count, value = (int(rng.integers(3, 7)), 0) if kind == "torn" else (int(rng.integers(1, 6)), 255)
    for frame in made:
        for _ in range(count):
            centre = int(rng.integers(width)), int(rng.integers(height))
            if kind == "torn":
                centre = int(rng.normal(width / 2, 6)), centre[1]
            axes = int(rng.integers(4, 9)), int(rng.integers(4, 11))
            cv2.ellipse(frame, centre, axes, float(rng.uniform(0, 180)), 0, 360, value, -1)
    return made


def varied(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Vary how clips ``(n, t, 64, 44)`` in [0, 1] were cut out: mirror, shift, thicken or thin, soften, binarize."""
    out = []
    for clip in x:
        if rng.random() < 0.5:
            clip = clip.flip(-1)
        clip = torch.roll(clip, (int(rng.integers(-1, 2)), int(rng.integers(-3, 4))), (1, 2))
        kind = rng.random()
        if kind < 0.15:
            clip = functional.max_pool2d(clip, 3, 1, 1)
        elif kind < 0.25:
            clip = -functional.max_pool2d(-clip, 3, 1, 1)
        elif kind < 0.4:
            clip = functional.avg_pool2d(clip[None], 3, 1, 1)[0]
        if rng.random() < 0.5:
            clip = (clip >= 0.5).float()
        out.append(clip)
    return torch.stack(out)


def _batch(
    positive: Clips, acted: Clips, slid: Clips, settings: WalkingTraining, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Draw clips of one length ``(n, t, 64, 44)`` and their labels."""
    size = int(rng.integers(FEWEST, WINDOW + 9))
    half, quarter = settings.batch // 2, settings.batch // 4
    clips = [windowed(positive[int(i)], size, rng) for i in rng.integers(len(positive), size=half)]
    clips += [windowed(acted[int(i)], size, rng) for i in rng.integers(len(acted), size=quarter)]
    for _ in range(settings.batch - half - quarter):
        kind = "sliding" if rng.random() < _SLIDING else SPOILED[int(rng.integers(len(SPOILED)))]
        source = slid if kind == "sliding" else positive
        clip = windowed(source[int(rng.integers(len(source)))], size, rng)
        clips.append(clip if kind == "sliding" else spoil(kind, clip, positive, rng))
    labels = torch.zeros(len(clips))
    labels[:half] = 1
    return varied(torch.from_numpy(np.stack(clips)).float() / 255, rng), labels


class _Run:
    """Network, optimizer and where the run stands."""

    def __init__(self, settings: WalkingTraining, device: str) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.module = WalkingNetwork(settings.widths).to(device).train()
        self.optimizer = torch.optim.AdamW(
            self.module.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.step = 0

    def save(self, path: Path, fingerprint: str) -> None:
        state = {"model": self.module.state_dict(), "optimizer": self.optimizer.state_dict()}
        with replacing(path) as temporary:
            torch.save({**state, "step": self.step, "settings": fingerprint}, temporary)

    def restore(self, path: Path, fingerprint: str) -> None:
        with restoring(path, fingerprint) as state:
            self.module.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step = state["step"]


def train_walking(
    settings: WalkingTraining,
    out: Path,
    *,
    device: str = "cpu",
    progress: Callable[[int, int, str], None] = lambda done, total, text: None,
) -> Path:
    """Train the network of the video score; a run that was interrupted goes on from its last checkpoint.

    Args:
        settings: of the run.
        out: folder for ``checkpoint.pt``, ``log.jsonl``, ``model.safetensors`` and ``model.json``.
        device: where to train.
        progress: called with steps done, steps in all, and a line of figures.

    Returns:
        The path of the weights.

    Raises:
        GaitkeeperError: the folder holds a run with other settings, or the loss is not finite.
    """
    progress(0, settings.steps, "rendering walkers and actors")
    positive, acted = walks(settings, TRAIN_WALKERS), acts(settings, TRAIN_ACTORS)
    slid = slides(settings, TRAIN_WALKERS)
    run = _Run(settings, device)
    fingerprint = json.dumps({"network": "walking", **dataclasses.asdict(settings)}, sort_keys=True)
    out.mkdir(parents=True, exist_ok=True)
    if (out / CHECKPOINT).exists():
        run.restore(out / CHECKPOINT, fingerprint)
    pending: list[str] = []
    warmup = max(1, settings.steps // 20)
    while run.step < settings.steps:
        rng = stream(settings.seed, "step", run.step)
        x, labels = (part.to(device) for part in _batch(positive, acted, slid, settings, rng))
        share = 0.5 * (1 + math.cos(math.pi * run.step / settings.steps)) * min(1.0, (run.step + 1) / warmup)
        for group in run.optimizer.param_groups:
            group["lr"] = settings.learning_rate * share
        targets = labels + settings.smoothing * (1 - 2 * labels)
        loss = functional.binary_cross_entropy_with_logits(run.module(x), targets)
        if not torch.isfinite(loss):
            raise DataError(f"the loss of step {run.step + 1} is not finite: try a lower learning rate")
        run.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(run.module.parameters(), 5.0)
        run.optimizer.step()
        run.step += 1
        pending.append(json.dumps({"step": run.step, "loss": round(float(loss.detach()), 5)}) + "\n")
        progress(run.step, settings.steps, f"loss {float(loss.detach()):.3f}")
        if run.step % settings.checkpoint_every == 0 or run.step == settings.steps:
            run.save(out / CHECKPOINT, fingerprint)
            with (out / "log.jsonl").open("a", encoding="utf-8") as log:
                log.writelines(pending)
            pending.clear()
    description = {
        **described("walkers and actors", settings, [], device),
        "clips": {"walkers": len(positive), "actors": len(acted), "sliding": len(slid)},
        "figures": figures(run.module, settings),
    }
    save_state(out / WEIGHTS, run.module, {"format": "gaitkeeper", "network": "walking"})
    write_text(out / "model.json", json.dumps(description, indent=2) + "\n")
    return out / WEIGHTS


def ship_walking(run: Path, folder: Path) -> Path:
    """Copy trained weights into ``folder`` under the shipped name and write their card beside them.

    Args:
        run: folder of :func:`train_walking`.
        folder: where the package keeps its weights.

    Returns:
        The card.

    Raises:
        GaitkeeperError: a file of the run is missing or is not what training writes.
    """
    try:
        training = json.loads((run / "model.json").read_text(encoding="utf-8"))
        metrics = training.pop("figures")
        weights = (run / WEIGHTS).read_bytes()
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{run}: expected {WEIGHTS} and model.json of a finished run ({error})") from error
    told = {
        "name": SHIPPED_WALKING,
        "licence": "Apache-2.0",
        "command": "make weights",
        "training": training,
        "metrics": {
            "what": "probability of walking on people not learned from: walkers 85 to 124, actors 31 to 40",
            **metrics,
        },
        "limits": list(LIMITS),
    }
    with replacing(folder / f"{SHIPPED_WALKING}.safetensors") as temporary:
        temporary.write_bytes(weights)
    card = folder / f"{SHIPPED_WALKING}.json"
    write_text(card, json.dumps(told, indent=1) + "\n")
    return card


def figures(
    module: WalkingNetwork,
    settings: WalkingTraining,
    *,
    walkers: Sequence[int] = TEST_WALKERS,
    actors: Sequence[int] = TEST_ACTORS,
) -> dict[str, dict[str, float]]:
    """Score people that were not learned from.

    Args:
        module: the network.
        settings: of its run.
        walkers: subjects who walk, and who are spoiled.
        actors: subjects who do other things.

    Returns:
        By kind of clip (``walking``, each class of actions, each way of spoiling): ``mean`` probability of "walking",
        ``share`` of clips at 0.5 or above, and ``clips``.
    """
    scorer = NetworkScorer(module.eval())
    positive, slid = walks(settings, walkers), slides(settings, walkers)
    rng = stream(settings.seed, "figures")
    groups: dict[str, Clips] = {"walking": positive, "sliding": slid}
    performed = acts(settings, actors)
    for number, clip in enumerate(performed):
        groups.setdefault(CLASSES[number // settings.views % len(CLASSES)], []).append(clip)
    for kind in SPOILED:
        if kind != "sliding":
            groups[kind] = [spoil(kind, clip, positive, rng) for clip in positive[:: settings.conditions]]
    found = {}
    for name, clips in groups.items():
        scores = scorer(clips, FPS)
        found[name] = {
            "mean": round(float(scores.mean()), 4),
            "share": round(float((scores >= 0.5).mean()), 4),
            "clips": len(clips),
        }
    return found
