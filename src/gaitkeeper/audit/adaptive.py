"""The judges: a view transformation model, Wu's networks and GaitSet, each with its way to learn an anonymizer."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from gaitkeeper.audit.judges import Check, Judge, JudgeName, Progress, Recordings, checked, silent
from gaitkeeper.datasets.base import batches, to_motion
from gaitkeeper.errors import DataError, WeightsError
from gaitkeeper.metrics.distances import pairwise
from gaitkeeper.models.gait.parts import SeparateBNNecks
from gaitkeeper.models.gait.rvtm import Rvtm, RvtmSettings, fit
from gaitkeeper.models.gait.wu import LocalBottom, MidTop, Pairwise, all_pairs
from gaitkeeper.models.states import load_strictly, read_state
from gaitkeeper.models.victim import Victim, embed
from gaitkeeper.models.weights import load_victim
from gaitkeeper.motion.silhouettes import energy_image
from gaitkeeper.seeding import stream
from gaitkeeper.training.codes import CodeSettings, train_codes
from gaitkeeper.training.losses import batch_all_triplet, part_cross_entropy
from gaitkeeper.training.pairs import PairSettings, rate, train_pairs
from gaitkeeper.training.sampler import IdentitySampler

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS: Mapping[JudgeName, str] = {"rvtm": "rvtm-walkers.safetensors", "wu-mt": "wu-mt-walkers.safetensors"}
"""Files of the judges that are no recognizers of ``--model``, in the package's folder of weights."""


def images_of(recordings: Recordings) -> np.ndarray:
    """Return the energy image of each recording, ``(n, h, w)`` float32 in [0, 1]."""
    return np.stack([energy_image(frames) for frames in recordings.silhouettes])


def hidden(recordings: Recordings) -> np.ndarray:
    """Return which recordings are anonymized, ``(n,)`` bool."""
    return np.zeros(len(recordings), bool) if recordings.anonymized is None else recordings.anonymized


def sides(recordings: Recordings, *, apart: bool) -> np.ndarray:
    """Return the sides ``(n,)`` that a view transformation model tells apart: views, with 360 more if anonymized."""
    return recordings.views + 360 * hidden(recordings) * apart


@dataclass(frozen=True, kw_only=True)
class RvtmJudge:
    """Zheng et al.'s robust view transformation model. Views are given; only those it was fitted to are known.

    Adapted, it is fitted anew to originals and anonymized recordings, in two ways of which validation picks one: all
    of a view together, or the anonymized as views of their own, from which a transformation leads to the others.

    Args:
        model: the fitted model.
        apart: whether anonymized recordings are views of their own.
        settings: of a new fit.
        history: how validation went.
    """

    model: Rvtm
    apart: bool = False
    settings: RvtmSettings = field(default_factory=RvtmSettings)
    history: tuple[Check, ...] = ()
    name: JudgeName = "rvtm"

    def _described(self, recordings: Recordings) -> np.ndarray:
        known = {int(side) % 360 for side in self.model.views}
        strange = set(recordings.views.tolist()) - known
        if strange:
            wanted = ", ".join(str(view) for view in sorted(known))
            raise DataError(f"rvtm was fitted to the views {wanted}; got {sorted(strange)[0]}")
        return self.model.describe(images_of(recordings), sides(recordings, apart=self.apart))

    def scores(self, probes: Recordings, gallery: Recordings) -> np.ndarray:
        """Return the cosines of descriptions, ``(n, g)`` float32."""
        return self._described(probes) @ self._described(gallery).T

    def adapted(
        self,
        own: Recordings,
        validation: tuple[Recordings, Recordings],
        *,
        seed: int = 0,
        progress: Progress = silent,
    ) -> RvtmJudge:
        """Return the better of both new fits. Nothing in it is random."""
        images = images_of(own)
        ways = [False, True] if hidden(own).any() else [False]
        history, fitted = [checked(self, validation, 0)], []
        for number, apart in enumerate(ways, 1):
            at = sides(own, apart=apart)
            model = fit(images, own.identities, at, own.conditions, settings=self.settings)
            fitted.append(replace(self, model=model, apart=apart))
            history.append(checked(fitted[-1], validation, number))
            progress(number, len(ways), f"fitting, identified {history[-1].same:.0%}")
        best = max(range(len(ways)), key=lambda way: _merit(history[way + 1]))
        return replace(fitted[best], history=tuple(history))


def _merit(check: Check) -> float:
    """Return what is to be as high as possible: identification in the own view and across views, where there are."""
    return float(np.nanmean([check.same, check.cross]))


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """How networks are refined.

    Args:
        iterations: optimizer steps at most.
        every: steps between looks at the validation people.
        patience: looks without a better one that end training.
        identities: different people in a batch.
        sequences: recordings of each, half of them anonymized.
        learning_rate: Adam's; rises over the first twentieth and falls along a cosine.
        frames: frames of each recording that a network of frames learns from.
    """

    iterations: int = 480
    every: int = 60
    patience: int = 3
    identities: int = 8
    sequences: int = 8
    learning_rate: float = 5e-4
    frames: int = 8


class Halves:
    """Batches of which half is original and half anonymized, of the same people.

    Args:
        recordings: to draw from.
        tuning: sizes of a batch.
        seed: of all draws.

    Raises:
        DataError: there are fewer than two people, or one of them was recorded in one of the two ways only.
    """

    def __init__(self, recordings: Recordings, tuning: Tuning, *, seed: int) -> None:
        flags = hidden(recordings)
        self._pools = [pool for pool in (np.flatnonzero(~flags), np.flatnonzero(flags)) if len(pool)]
        people = [np.unique(recordings.identities[pool]) for pool in self._pools]
        if not people or len(people[0]) < 2:
            raise DataError(f"expected recordings of two people or more, got {len(people[0]) if people else 0}")
        if not all(np.array_equal(found, people[0]) for found in people):
            raise DataError("expected every person both as recorded and anonymized")
        # With one seed, the samplers draw the same people.
        self._samplers = [
            IdentitySampler(
                recordings.identities[pool],
                identities=min(tuning.identities, len(people[0])),
                sequences=max(1, tuning.sequences // len(self._pools)),
                seed=seed,
            )
            for pool in self._pools
        ]

    def batch(self, iteration: int) -> np.ndarray:
        """Return the indices of an iteration's recordings."""
        return np.concatenate([p[s.batch(iteration)] for p, s in zip(self._pools, self._samplers, strict=True)])


class Watch:
    """Looks at the validation people as a network learns, keeps the best weights, and says when to stop.

    Args:
        judge: with the network that learns.
        network: that network, in evaluation mode whenever it is looked at.
        validation: probes and gallery.
        tuning: how often, and how patiently.
    """

    def __init__(
        self, judge: Judge, network: nn.Module, validation: tuple[Recordings, Recordings], tuning: Tuning
    ) -> None:
        self._judge, self._network, self._validation, self._tuning = judge, network, validation, tuning
        self.history: list[Check] = []
        self._best, self._since = -np.inf, 0
        self._kept: dict[str, Tensor] = {}
        self.look(0)

    def look(self, step: int) -> None:
        """Measure, and keep the weights if they are the best so far."""
        found = checked(self._judge, self._validation, step)
        self.history.append(found)
        self._since += 1
        if _merit(found) > self._best:
            self._best, self._since = _merit(found), 0
            self._kept = {key: value.clone() for key, value in self._network.state_dict().items()}

    def __call__(self, step: int) -> bool:
        """Return whether to stop after this step: identification has flattened."""
        if step % self._tuning.every == 0 or step == self._tuning.iterations:
            self.look(step)
        return self._since >= self._tuning.patience

    def restore(self) -> tuple[Check, ...]:
        """Put the best weights into the network and return how validation went."""
        self._network.load_state_dict(self._kept)
        return tuple(self.history)


@dataclass(frozen=True, kw_only=True)
class PairJudge:
    """One of Wu's networks on energy images.

    Args:
        network: in evaluation mode.
        name: ``wu-mt`` or ``wu-lb``. LB computes all but its first convolution a pair: give it few.
        tuning: how it is refined.
        history: how validation went.
    """

    network: Pairwise
    name: JudgeName = "wu-mt"
    tuning: Tuning = Tuning(iterations=360, identities=16, learning_rate=1e-3)
    history: tuple[Check, ...] = ()

    def scores(self, probes: Recordings, gallery: Recordings) -> np.ndarray:
        """Return the differences of the logits of "same" and "other", ``(n, g)`` float32."""
        first, second = (torch.from_numpy(images_of(recordings)) for recordings in (probes, gallery))
        return all_pairs(self.network, first, second).numpy()

    def adapted(
        self,
        own: Recordings,
        validation: tuple[Recordings, Recordings],
        *,
        seed: int = 0,
        progress: Progress = silent,
    ) -> PairJudge:
        """Return the network refined until validation flattens."""
        tuning = self.tuning
        network = copy.deepcopy(self.network)
        judge = replace(self, network=network)
        batch = Halves(own, tuning, seed=seed).batch
        watch = Watch(judge, network, validation, tuning)
        rest: dict[str, Any] = {"iterations": tuning.iterations, "learning_rate": tuning.learning_rate, "seed": seed}
        run = own.silhouettes, batch, own.identities
        if isinstance(network, MidTop) and network.cells == 1:
            train_codes(network, *run, CodeSettings(**rest), watch=watch, progress=progress)
        else:
            train_pairs(
                network,
                *run,
                PairSettings(network="mt" if isinstance(network, MidTop) else "lb", **rest),
                watch=watch,
                progress=progress,
            )
        return replace(judge, history=watch.restore())


@dataclass(frozen=True, kw_only=True)
class SetJudge:
    """A recognizer of frames, GaitSet unless another is given, whose embeddings are compared.

    Args:
        victim: the recognizer.
        name: of the judge.
        tuning: how it is refined.
        stride: while it learns, validation looks at every so manieth frame only.
        history: how validation went.
    """

    victim: Victim
    name: JudgeName = "gaitset"
    tuning: Tuning = Tuning(iterations=120, every=30, learning_rate=3e-4)
    stride: int = 4
    history: tuple[Check, ...] = ()

    def _embedded(self, recordings: Recordings) -> Tensor:
        order = np.argsort([len(frames) for frames in recordings.silhouettes], kind="stable")
        parts = [
            embed(self.victim, [to_motion([recordings.silhouettes[order[i]] for i in chunk])])
            for chunk in batches(len(order), 32)
        ]
        return torch.cat(parts)[torch.from_numpy(np.argsort(order))]

    def scores(self, probes: Recordings, gallery: Recordings) -> np.ndarray:
        """Return minus the distances of embeddings, ``(n, g)`` float32."""
        return -pairwise(self._embedded(probes), self._embedded(gallery), kind=self.victim.distance).cpu().numpy()

    def adapted(
        self,
        own: Recordings,
        validation: tuple[Recordings, Recordings],
        *,
        seed: int = 0,
        progress: Progress = silent,
    ) -> SetJudge:
        """Return the recognizer refined until validation flattens, by the losses that it was trained with."""
        module = copy.deepcopy(self.victim.module)
        judge = replace(self, victim=Victim(module, self.victim.domain, distance=self.victim.distance))
        probes, gallery = (_thinned(recordings, self.stride) for recordings in validation)
        watch = Watch(judge, module, (probes, gallery), self.tuning)
        _refine(module, own, self.tuning, watch, seed=seed, progress=progress)
        return replace(judge, history=watch.restore())


def _thinned(recordings: Recordings, stride: int) -> Recordings:
    return replace(recordings, silhouettes=[frames[::stride] for frames in recordings.silhouettes])


def _refine(module: nn.Module, own: Recordings, tuning: Tuning, watch: Watch, *, seed: int, progress: Progress) -> None:
    people, labels = np.unique(own.identities, return_inverse=True)
    batch = Halves(own, tuning, seed=seed).batch
    with torch.no_grad():
        probe = embed(Victim.of(module), [to_motion([own.silhouettes[0][:1]])])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        neck = SeparateBNNecks(probe.shape[2], probe.shape[1], len(people)).train()
    groups: list[dict[str, Any]] = [
        {"params": list(module.parameters())},
        {"params": list(neck.parameters()), "lr": 10 * tuning.learning_rate},
    ]
    optimizer = torch.optim.AdamW(groups, lr=tuning.learning_rate, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step / tuning.iterations))
    for step in range(tuning.iterations):
        module.train()
        index = batch(step)
        rng = stream(seed, "frames", step)
        chosen = [_some(own.silhouettes[i], tuning.frames, rng) for i in index]
        embedding = module(torch.from_numpy(np.stack(chosen)).float() / 255)
        who = torch.from_numpy(labels[index])
        loss, _ = batch_all_triplet(embedding, who, margin=0.2)
        loss = loss + 0.5 * part_cross_entropy(neck(embedding), who, scale=16.0, smoothing=0.1)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        module.eval()
        progress(step + 1, tuning.iterations, f"loss {float(loss.detach()):.3f}")
        if watch(step + 1):
            break


def _some(frames: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    return frames[rng.choice(len(frames), count, replace=len(frames) < count)]


def weights_path(name: JudgeName) -> Path:
    """Return the path of a judge's weights in the package."""
    return Path(str(resources.files("gaitkeeper") / "weights" / WEIGHTS[name]))


def load_rvtm(path: Path) -> RvtmJudge:
    """Load a fitted view transformation model.

    Raises:
        WeightsError: the file is missing, damaged, or holds something else.
    """
    state, _ = read_state(path)
    try:
        return RvtmJudge(model=Rvtm.of({key: value.numpy() for key, value in state.items()}))
    except DataError as error:
        raise WeightsError(f"{path}: {error}") from None


def load_pairs(path: Path) -> PairJudge:
    """Load LB or MT of any width.

    Raises:
        WeightsError: the file is missing, damaged, or holds another network.
    """
    state, _ = read_state(path)
    state = {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
    try:
        options = Pairwise.options(state)
        lb = state["conv1.weight"].shape[1] == 2
        network = (LocalBottom if lb else MidTop)(**options)
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise WeightsError(f"{path}: expected the keys and shapes of LB or MT ({error})") from None
    load_strictly(network, state, path)
    return PairJudge(network=network.eval(), name="wu-lb" if lb else "wu-mt")


LOADERS: Mapping[JudgeName, Callable[[], Judge]] = {
    "rvtm": lambda: load_rvtm(weights_path("rvtm")),
    "wu-mt": lambda: load_pairs(weights_path("wu-mt")),
    "gaitset": lambda: SetJudge(victim=load_victim("gaitset-walkers")),
}
"""How the judges with weights in the package are loaded."""
