"""The video score: how probable it is that silhouettes over time show somebody who walks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from gaitkeeper.errors import DataError, WeightsError
from gaitkeeper.models.states import call_named, load_strictly, read_state
from gaitkeeper.motion.silhouettes import HEIGHT, WIDTH, align

SHIPPED_WALKING = "walking-actors"
"""Name of the shipped weights."""

FPS = 30.0
"""Frames a second that the network knows."""

WINDOW = 32
"""Frames that it looks at together, about a stride."""

FEWEST = 16
"""Frames, at ``FPS``, below which a clip has no score: about a step."""

_KEY = "stem.0.weight"


class WalkingScorer(Protocol):
    """Anything that scores clips of silhouettes."""

    def __call__(self, silhouettes: Sequence[np.ndarray], fps: float) -> np.ndarray:
        """Return the probability of "walking" of each clip ``(t, 64, 44)`` uint8, ``(n,)``; NaN where unknown."""
        ...


class WalkingNetwork(nn.Module):
    """Convolutions over each frame and its change, then over time.

    Args:
        widths: channels of the three convolutions over a frame, and of those over time.
    """

    def __init__(self, widths: tuple[int, int, int, int] = (16, 32, 48, 96)) -> None:
        super().__init__()
        first, second, third, last = widths
        self.stem = nn.Sequential(*_plane(2, first, 2), *_plane(first, second, 2), *_plane(second, third, 1))
        self.pool = nn.AdaptiveAvgPool2d((4, 2))
        self.frame = nn.Sequential(nn.Linear(8 * third, last), nn.ReLU())
        self.time = nn.ModuleList(nn.Conv1d(last, last, 5, padding=2 * d, dilation=d) for d in (1, 2, 4))
        self.head = nn.Linear(2 * last, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(n,)`` of silhouettes ``(n, t, 64, 44)`` in [0, 1]."""
        n, t = x.shape[:2]
        small = nn.functional.avg_pool2d(x, 2)
        change = torch.cat([torch.zeros_like(small[:, :1]), small[:, 1:] - small[:, :-1]], 1)
        maps = self.stem(torch.stack([small, change], 2).flatten(0, 1))
        along = self.frame(self.pool(maps).flatten(1)).unflatten(0, (n, t)).transpose(1, 2)
        for convolution in self.time:
            along = along + torch.relu(convolution(along))
        logits: Tensor = self.head(torch.cat([along.mean(2), along.amax(2)], 1))[:, 0]
        return logits


def _plane(inside: int, outside: int, stride: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(inside, outside, 3, stride=stride, padding=1, bias=False)
    return convolution, nn.BatchNorm2d(outside), nn.ReLU()


@dataclass(frozen=True)
class NetworkScorer:
    """A walking network as a scorer: clips of any length and frame rate, the mean over windows that overlap by half.

    Args:
        module: in evaluation mode.
        batch: windows computed at once.
    """

    module: WalkingNetwork
    batch: int = 32

    def __call__(self, silhouettes: Sequence[np.ndarray], fps: float) -> np.ndarray:
        """Return the probability of "walking" of each clip, ``(n,)`` float64; NaN where it is too short."""
        return np.array([self._clip(at_rate(clip, fps)) for clip in silhouettes], dtype=float)

    @torch.no_grad()
    def _clip(self, clip: np.ndarray) -> float:
        if len(clip) < FEWEST:
            return float("nan")
        size = min(WINDOW, len(clip))
        last = len(clip) - size
        starts = sorted({*range(0, last + 1, WINDOW // 2), last})
        device = next(self.module.parameters()).device
        scores = []
        for at in range(0, len(starts), self.batch):
            windows = np.stack([clip[start : start + size] for start in starts[at : at + self.batch]])
            scores.append(self.module(torch.from_numpy(windows).to(device, torch.float32) / 255).sigmoid().cpu())
        return float(torch.cat(scores).mean())


def at_rate(clip: np.ndarray, fps: float) -> np.ndarray:
    """Return a clip ``(t, ...)`` as if recorded at ``FPS``: for each moment the nearest frame."""
    if fps == FPS:
        return clip
    moments = np.arange(int(len(clip) * FPS / fps + 1e-9)) * fps / FPS
    return clip[np.minimum(np.rint(moments).astype(int), len(clip) - 1)]


def video_score(
    silhouettes: Sequence[np.ndarray], *, fps: float = FPS, scorer: WalkingScorer | None = None
) -> np.ndarray:
    """Score how much clips look like somebody who walks.

    Time's direction is not judged: somebody who walks backward walks.

    Args:
        silhouettes: clips ``(t, h, w)`` uint8, person 255; other sizes than 64 x 44 are aligned frame by frame.
        fps: frames a second.
        scorer: the shipped network without.

    Returns:
        ``(n,)`` probabilities of "walking"; NaN for clips of less than half a second.

    Raises:
        DataError: an array is no clip of silhouettes, or the frame rate is not above 0.

    Reference:
        Tieu et al., "Spatio-temporal generative adversarial network for gait anonymization", JISA 46, 2019, section
        4.3.

    Deviations:
        The paper's score is that of ResNeXt-101 on color video, one class of several hundred; this one is of two
        classes and sees silhouettes alone, so that colors and scenery neither help nor harm.
    """
    if not (np.isfinite(fps) and fps > 0):
        raise DataError(f"expected frames a second above 0, got {fps}")
    for number, clip in enumerate(silhouettes):
        if clip.dtype != np.uint8 or clip.ndim != 3 or 0 in clip.shape[1:]:
            raise DataError(f"clip {number}: expected silhouettes (t, h, w) uint8, got {clip.shape} {clip.dtype}")
    if scorer is None:
        scorer = load_walking()
    return np.asarray(scorer([_aligned(clip) for clip in silhouettes], fps), dtype=float)


def _aligned(clip: np.ndarray) -> np.ndarray:
    if clip.shape[1:] == (HEIGHT, WIDTH):
        return clip
    out = np.zeros((len(clip), HEIGHT, WIDTH), np.uint8)
    for place, frame in zip(out, clip, strict=True):
        # Frames without a person stay empty, so that time goes on.
        if (person := align(frame)) is not None:
            place[:] = person
    return out


def load_walking(model: str = SHIPPED_WALKING, *, device: str = "cpu") -> WalkingScorer:
    """Return the scorer that a name stands for.

    Args:
        model: ``walking-actors``, the path of a file of our own training, or ``package:function`` where the function
            takes nothing and returns a :class:`WalkingScorer`.
        device: where to put a network.

    Raises:
        WeightsError: the file cannot be read or is of another network, or the function does not give a scorer.
    """
    if model == SHIPPED_WALKING:
        return _from_file(Path(str(resources.files("gaitkeeper") / "weights" / f"{model}.safetensors")), device)
    if ":" in model and not Path(model).exists():
        return _from_function(model)
    return _from_file(Path(model), device)


def _from_file(path: Path, device: str) -> NetworkScorer:
    state, _ = read_state(path)
    if _KEY not in state or "frame.0.weight" not in state or state[_KEY].ndim != 4:
        raise WeightsError(f"{path}: expected the keys of a walking network; found {', '.join(list(state)[:4])}")
    found = tuple(len(state[key]) for key in (_KEY, "stem.3.weight", "stem.6.weight", "frame.0.weight") if key in state)
    if len(found) != 4:
        raise WeightsError(f"{path}: expected three convolutions over a frame; found {', '.join(list(state)[:4])}")
    with torch.device("meta"):
        module = WalkingNetwork(found)
    load_strictly(module, state, path)
    return NetworkScorer(module.to(device).eval())


def _from_function(model: str) -> WalkingScorer:
    made = call_named(model)
    if not callable(made):
        raise WeightsError(f"{model}: expected it to return a function of silhouettes, got {type(made).__name__}")
    scorer: WalkingScorer = made
    return scorer
