"""SMART's experiments on skeleton recognizers: settings, networks, audit and report. Starts free of torch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gaitkeeper.audit.action_grid import ActionCell, ActionSettings, cell_of
from gaitkeeper.errors import GaitkeeperError
from gaitkeeper.training.action_settings import ActionNetwork, ActionTraining

if TYPE_CHECKING:
    from gaitkeeper.audit.recognition import Progress
    from gaitkeeper.audit.report import Table

SHIPPED_VICTIMS = ("hrnn-actors", "st-gcn-actors", "ctr-gcn-actors", "sgn-actors")
"""Attacked on the embedded actions."""


@dataclass(frozen=True, kw_only=True)
class WhiteBoxSettings:
    """What defines the reproduction of SMART's experiments.

    Args:
        models: names of weights, paths or functions; without them the shipped ones on the embedded actions, and on
            --data the networks below, trained there.
        networks: trained by the short recipe on the training part of --data where no models are given.
        clips: test clips; those that a network recognizes are attacked.
        tops: values of N in anything-but-N; the table has two columns and does not tell them.
        steps: of SMART.
        variants: also bones in the loss, and SMART as released (its first two versions, with 200 steps).
        protocol: the split of NTU RGB+D; without it cross-subject.
        batch: clips attacked at once.
        training: of the networks.
    """

    models: tuple[str, ...] | None = None
    networks: tuple[ActionNetwork, ...] = ("sgn", "ctr-gcn", "st-gcn", "ms-g3d")
    clips: int = 100
    tops: tuple[int, ...] = (3, 5)
    steps: int = 150
    variants: bool = True
    protocol: str | None = None
    batch: int = 16
    training: ActionTraining = ActionTraining()

    def __post_init__(self) -> None:
        for name in ("clips", "steps", "batch"):
            if getattr(self, name) < 1:
                raise GaitkeeperError(f"actions: expected {name} of at least 1, got {getattr(self, name)}")

    def quick(self) -> WhiteBoxSettings:
        """Return few clips, steps and networks: to see that it runs, not to compare."""
        return replace(
            self, clips=min(self.clips, 6), steps=min(self.steps, 20), tops=self.tops[:1], variants=False,
            models=self.models and self.models[:2], networks=self.networks[:1],
        )  # fmt: skip

    def cells(self) -> Iterator[ActionCell]:
        """Yield the cells, those of the table first."""
        yield ActionCell()
        yield cell_of("smart", steps=self.steps)
        for top in self.tops:
            yield cell_of("smart", "anything-but-n", steps=self.steps, top=top)
        yield cell_of("smart", "specified", steps=self.steps)
        yield cell_of("smart-random", steps=self.steps)
        if self.variants:
            yield cell_of("smart", bones="loss", steps=self.steps)
            yield cell_of("smart-published-1", steps=200)
            yield cell_of("smart-published-2", steps=200)


@dataclass(frozen=True)
class WhiteBox:
    """What a reproduction gave: the report's tables, sentences, and what was skipped."""

    tables: tuple[Table, ...]
    sentences: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]


def reproduce_white_box(
    settings: WhiteBoxSettings, out: Path, *, data: str | None, seed: int, device: str, progress: Progress
) -> WhiteBox:
    """Run SMART against skeleton recognizers, or go on with it, and write ``report.html`` and ``summary.json``.

    Args:
        settings: of the reproduction.
        out: its folder; networks that are trained get ``models/<network>``.
        data: a file or folder of action clips; None for synthetic actors.
        seed: of training, the choice of clips and targets.
        device: where to compute.
        progress: called as training steps or clips are done.

    Raises:
        GaitkeeperError: unusable data or weights, or a folder of another reproduction.

    Reference:
        Wang et al., "Understanding the robustness of skeleton-based action recognition under adversarial attack",
        CVPR 2021.
    """
    from gaitkeeper import __version__
    from gaitkeeper.audit.action_published import REMARKS
    from gaitkeeper.audit.action_report import action_examples, action_section
    from gaitkeeper.audit.actions import run_action_audit
    from gaitkeeper.audit.report import Report, write_report
    from gaitkeeper.models.weights import SHIPPED, card

    victims, cards = _victims(settings, out, data=data, seed=seed, device=device, progress=progress)
    cards |= {name: card(name) for name in victims if name in SHIPPED}
    audit = ActionSettings(clips=settings.clips, protocol=settings.protocol, batch=settings.batch)
    done = run_action_audit(
        victims, audit, out, data=data, seed=seed, cells=tuple(settings.cells()), device=device, progress=progress
    )
    part = action_section(
        done.rows, done.records, action_examples(out, list(victims), done.data.layout), models=list(victims),
        cards=cards, classes=len(done.data.classes),
    )  # fmt: skip
    report = Report(
        title="SMART against skeleton action recognizers: printed and measured",
        records=(),
        settings={"gaitkeeper": __version__, "data": data, "seed": seed, **asdict(settings), "cards": cards},
        skipped=done.skipped,
        biometric=done.data.biometric,
        actions=part,
    )
    write_report(out / "report.html", report)
    sentences = [f"{found.title}: {sentence}" for found in part.findings for sentence in found.sentences]
    return WhiteBox(tuple(part.tables), (*sentences, *REMARKS), tuple(done.skipped))


def _victims(
    settings: WhiteBoxSettings, out: Path, *, data: str | None, seed: int, device: str, progress: Progress
) -> tuple[dict[str, str], dict[str, Any]]:
    """Return where each attacked model is, by name, and the cards of those trained here."""
    if settings.models is not None:
        return {name: name for name in settings.models}, {}
    if data is None:
        return {name: name for name in SHIPPED_VICTIMS}, {}
    from gaitkeeper.training.actions import open_training_clips, train_actions
    from gaitkeeper.training.loop import WEIGHTS

    victims: dict[str, str] = {}
    cards: dict[str, Any] = {}
    for network in settings.networks:
        folder = out / "models" / network
        if not (folder / WEIGHTS).is_file():

            def tell(step: int, total: int, text: str, network: str = network) -> None:
                progress(step, total, f"training {network}: {text}")

            training = replace(settings.training, protocol=settings.protocol)
            training, clips = open_training_clips(training, Path(data))
            train_actions(network, training, clips, folder, seed=seed, device=device, progress=tell)
        described: Mapping[str, Any] = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        name = f"{network}-{described['data']}"
        victims[name], cards[name] = str(folder / WEIGHTS), {"training": described}
    return victims, cards
