"""What defines the training of an action recognizer, and the recipes. Free of torch, so that commands start fast."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from gaitkeeper.errors import DataError
from gaitkeeper.models.actions.published import PREPARATIONS
from gaitkeeper.synthetic.actions import Acting

ActionNetwork = Literal["st-gcn", "agcn", "aagcn", "as-gcn", "dgnn", "ctr-gcn", "sgn", "ms-g3d", "hrnn"]
ACTION_NETWORKS: tuple[ActionNetwork, ...] = get_args(ActionNetwork)

StreamName = Literal["joint", "bone", "motion", "bone-motion"]
RecipeName = Literal["short", "published"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained.

    Args:
        epochs: passes over the clips.
        batch: clips a step.
        optimizer: AdamW, Adam with its weight decay in the gradient, or stochastic gradient descent with momentum 0.9.
        nesterov: of the latter.
        learning_rate: greatest.
        weight_decay: of the optimizer.
        milestones: epochs after which the learning rate falls to a tenth; empty for a cosine that ends at zero.
        warmup: steps over which the learning rate grows.
        warmup_epochs: epochs over which it does, beside these.
        smoothing: label smoothing.
        clip: greatest norm of a step's gradient; None leaves it.
        yaw: largest turn about the vertical, radians.
        tilt: largest turn about each other axis, radians.
        scale: largest relative change of size.
        crop: least share of a clip that is shown.
        noise: largest standard deviation of white noise on joints, metres.
        frozen: epochs in which DGNN's learned graphs stay as they are.
        inference: epochs of AS-GCN's inference module before the network's.
        preparation: of clips, in place of what is usual here.
    """

    epochs: int
    batch: int = 16
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    nesterov: bool = True
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    milestones: tuple[int, ...] = ()
    warmup: int = 30
    warmup_epochs: int = 0
    smoothing: float = 0.1
    clip: float | None = 5.0
    yaw: float = 0.5
    tilt: float = 0.15
    scale: float = 0.1
    crop: float = 0.6
    noise: float = 0.005
    frozen: int = 0
    inference: int = 0
    preparation: Mapping[str, Any] = field(default_factory=lambda: dict(SHORT_PREPARATION))


SHORT_PREPARATION: Mapping[str, Any] = {
    "center": "frame", "facing": "yaw", "scale": 0.35, "timing": "resize", "frames": 60,
}  # fmt: skip
"""Root at the origin, one turn a clip, unit of about a forearm and a half, 60 frames whatever a clip lasts."""

SHORT: Mapping[ActionNetwork, Recipe] = {
    "st-gcn": Recipe(epochs=40),
    "agcn": Recipe(epochs=30),
    "aagcn": Recipe(epochs=30),
    "as-gcn": Recipe(epochs=30, inference=3),
    "dgnn": Recipe(epochs=30, frozen=3),
    "ctr-gcn": Recipe(epochs=30),
    "sgn": Recipe(epochs=60),
    "ms-g3d": Recipe(epochs=20),
    "hrnn": Recipe(epochs=60, learning_rate=1e-3),
}
"""Recipes for some hundreds of clips, which train in minutes on a few cores."""

_PLAIN: Mapping[str, Any] = {
    "warmup": 0, "smoothing": 0.0, "clip": None, "yaw": 0.0, "tilt": 0.0, "scale": 0.0, "crop": 1.0, "noise": 0.0,
}  # fmt: skip


def _sgd(epochs: int, milestones: tuple[int, ...], **others: Any) -> Recipe:
    values = {"optimizer": "sgd", "learning_rate": 0.1, "weight_decay": 1e-4, **_PLAIN, **others}
    return Recipe(epochs=epochs, milestones=milestones, **values)


PUBLISHED: Mapping[ActionNetwork, Recipe] = {
    "st-gcn": _sgd(80, (10, 50), batch=64, preparation=PREPARATIONS["st-gcn"]),
    "agcn": _sgd(50, (30, 40), batch=64, preparation=PREPARATIONS["agcn"]),
    "aagcn": _sgd(50, (30, 40), batch=64, preparation=PREPARATIONS["aagcn"]),
    "as-gcn": _sgd(110, (60, 80, 100), batch=32, inference=10, preparation=PREPARATIONS["as-gcn"]),
    "dgnn": _sgd(
        150, (60, 90, 120), batch=32, weight_decay=5e-4, frozen=10, preparation=PREPARATIONS["dgnn"],
    ),
    "ctr-gcn": _sgd(
        65, (35, 55), batch=64, weight_decay=4e-4, warmup_epochs=5, yaw=0.3, tilt=0.3, crop=0.5,
        preparation=PREPARATIONS["ctr-gcn"],
    ),
    "sgn": Recipe(
        epochs=120, milestones=(60, 90, 110), batch=64, optimizer="adam", learning_rate=1e-3, weight_decay=1e-4,
        preparation=PREPARATIONS["sgn"], **{**_PLAIN, "smoothing": 0.1, "yaw": 0.3, "tilt": 0.3},
    ),
    "ms-g3d": _sgd(
        50, (30, 40), batch=32, learning_rate=0.05, weight_decay=5e-4, preparation=PREPARATIONS["ms-g3d"],
    ),
    "hrnn": _sgd(
        100, (60, 80), batch=32, learning_rate=0.01, nesterov=False, preparation=PREPARATIONS["hrnn"],
    ),
}  # fmt: skip
"""Recipes as published for NTU RGB+D, as far as known; HRNN's learning rate and epochs are not, and are ours."""


@dataclass(frozen=True, kw_only=True)
class ActionTraining:
    """Settings of an action recognizer's training.

    Args:
        recipe: the short one, for hundreds of clips, or the one published with the network for tens of thousands.
        stream: what the network sees: joints, bones, or the change of either.
        widths: channels of its units, of SGN one number, of HRNN units of its four levels; the published ones without.
        strides: temporal strides of the units, as many as widths; for networks of ST-GCN's kind.
        frames: frames that clips are brought to; the recipe's without.
        epochs: in place of the recipe's.
        batch: in place of the recipe's.
        learning_rate: in place of the recipe's.
        augment: vary clips as the recipe says.
        validation: subjects who are not learned from, and are recognized after each epoch; without them, of synthetic
            actors 025 to 030, of other data nobody.
        checkpoint_every: epochs between checkpoints.
        takes: times that each synthetic actor does each action.
        protocol: the split of NTU RGB+D whose training part is learned from; without it cross-subject.
        acting: the synthetic actors.
    """

    recipe: RecipeName = "short"
    stream: StreamName = "joint"
    widths: tuple[int, ...] | None = None
    strides: tuple[int, ...] | None = None
    frames: int | None = None
    epochs: int | None = None
    batch: int | None = None
    learning_rate: float | None = None
    augment: bool = True
    validation: tuple[str, ...] | None = None
    checkpoint_every: int = 1
    takes: int = 2
    protocol: str | None = None
    acting: Acting = field(default_factory=Acting)

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "frames", "checkpoint_every", "takes"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise DataError(f"actions: expected {name} of at least 1, got {value}")
        if self.frames is not None and not 2 <= self.frames <= 10_000:
            raise DataError(f"actions: expected 2 to 10000 frames, got {self.frames}")
        if self.learning_rate is not None and not self.learning_rate > 0:
            raise DataError(f"actions: expected a positive learning rate, got {self.learning_rate}")


def recipe_of(network: ActionNetwork, settings: ActionTraining) -> Recipe:
    """Return the recipe of a network with the settings' own values put in.

    Raises:
        DataError: no epoch is left after those of the inference module.
    """
    found = (SHORT if settings.recipe == "short" else PUBLISHED)[network]
    own = {name: getattr(settings, name) for name in ("epochs", "batch", "learning_rate")}
    found = replace(found, **{name: value for name, value in own.items() if value is not None})
    if found.epochs <= found.inference:
        raise DataError(
            f"actions: expected more epochs than the {found.inference} of {network}'s inference module, "
            f"got {found.epochs}"
        )
    preparation = {**found.preparation, "stream": settings.stream}
    if settings.frames is not None:
        timing = "resize" if preparation["timing"] == "none" else preparation["timing"]
        preparation |= {"frames": settings.frames, "timing": timing}
    if not settings.augment:
        found = replace(found, yaw=0.0, tilt=0.0, scale=0.0, crop=1.0, noise=0.0)
    return replace(found, preparation=preparation)
