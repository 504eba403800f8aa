"""The experiments of ST-GAN's paper, and what they leave out. Starts free of torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gaitkeeper.anonymize.walk import Anonymized, Anonymizer, Walk
from gaitkeeper.audit.anonymization_grid import AnonymizationSettings
from gaitkeeper.audit.anonymization_published import ALPHAS
from gaitkeeper.errors import GaitkeeperError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gaitkeeper.audit.judges import Judge
    from gaitkeeper.audit.recognition import Progress
    from gaitkeeper.audit.report import Table
    from gaitkeeper.models.walking import WalkingScorer
    from gaitkeeper.training.anonymizer_settings import AnonymizerSettings

COMPARED = (
    *("st-gan-published", "noise-gait", "st-gan", "deformation", "replacement"),
    *("contour", "blur", "pixelate", "dilate"),
)
"""Methods beside each other: the document's, what is better, and the controls."""


@dataclass(frozen=True, kw_only=True)
class AnonymizationReproduction:
    """What defines the reproduction of ST-GAN's experiments.

    Args:
        measured: walkers, views and judges; the document has Zheng's (rvtm) and Wu's (wu-mt).
        alphas: weights of the perturbation, each trained with the published and with the squared loss.
        steps: of trainings with the published loss; the document does not tell how many it took.
        squared_steps: of those with the squared loss.
        snapshots: steps of a training of its own, published loss and α = 0.3, after each of which it is measured.
        inverters: also train networks that undo ST-GAN, as an attacker would.
        ablation: also train without the noise generator.
        learned: first and last walker that anonymizers learn from.
    """

    measured: AnonymizationSettings = field(
        default_factory=lambda: AnonymizationSettings(methods=COMPARED, judges=("rvtm", "wu-mt"))
    )
    alphas: tuple[float, ...] = ALPHAS
    steps: int = 250
    squared_steps: int = 180
    snapshots: tuple[int, ...] = (50, 100, 250, 500, 1000)
    inverters: bool = True
    ablation: bool = True
    learned: tuple[int, int] = (61, 76)

    def __post_init__(self) -> None:
        steps = (self.steps, self.squared_steps, *self.snapshots)
        if min(steps) < 1:
            raise GaitkeeperError(f"expected at least 1 step of each training and snapshot, got {min(steps)}")
        if any(not 0 < alpha < 100 for alpha in self.alphas):
            raise GaitkeeperError(f"expected values of alpha above 0 and below 100, got {self.alphas}")

    def quick(self) -> AnonymizationReproduction:
        """Return few people, one alpha and short training: to see that it runs, not to compare."""
        return replace(
            self, measured=self.measured.quick(), alphas=self.alphas[:1], steps=2, squared_steps=2,
            snapshots=(1, 2), inverters=False, ablation=False, learned=(61, 62),
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Inverted:
    """What an attacker makes of an anonymized clip with a network trained to undo the method.

    Args:
        anonymizer: what was done.
        weights: of the inverter.
    """

    anonymizer: Anonymizer
    weights: str

    def __call__(self, walk: Walk, rng: np.random.Generator) -> Anonymized:
        """Return the guess at the original of the anonymized walk."""
        from gaitkeeper.anonymize.learned import invert

        return Anonymized(silhouettes=invert(self.weights, self.anonymizer(walk, rng).silhouettes))


@dataclass(frozen=True)
class ReproducedAnonymization:
    """What a reproduction gave: the report's tables, its sentences, and what makes figures not count."""

    tables: tuple[Table, ...]
    sentences: tuple[str, ...]
    warnings: tuple[str, ...]


def published_name(alpha: float) -> str:
    """Return the name of the published loss's network."""
    return f"l1-{alpha:g}"


def squared_name(alpha: float) -> str:
    """Return the name of the squared loss's network."""
    return f"squared-{alpha:g}"


FOLLOWED = "l1-followed"
"""The training with the published loss that goes on, and of which snapshots are measured."""

NO_NOISE = "st-gan-no-noise"
"""The ablation, under the name of the method."""


def inverted_name(name: str) -> str:
    """Return the name of a method that an attacker undoes."""
    return f"{name}-inverted"


def trainings(settings: AnonymizationReproduction, out: Path) -> dict[str, AnonymizerSettings]:
    """Return what is trained, by name, in an order in which inverters come after what they undo."""
    from gaitkeeper.training.anonymizer_settings import AnonymizerSettings

    measured = settings.measured
    usual: dict[str, Any] = {"population": measured.population, "views": measured.views, "frames": measured.frames}
    made: dict[str, AnonymizerSettings] = {}
    for alpha in settings.alphas:
        made[published_name(alpha)] = AnonymizerSettings.published(
            alpha=alpha, iterations=settings.steps, subjects=settings.learned, **usual
        )
        made[squared_name(alpha)] = AnonymizerSettings(
            alpha=alpha, norm="squared", iterations=settings.squared_steps, subjects=settings.learned, **usual
        )
    if settings.snapshots:
        made[FOLLOWED] = AnonymizerSettings.published(
            alpha=_told(settings), iterations=max(settings.snapshots), snapshots=settings.snapshots,
            subjects=settings.learned, **usual,
        )  # fmt: skip
    if settings.ablation:
        made[NO_NOISE] = AnonymizerSettings(
            kind="st-gan-no-noise", iterations=settings.squared_steps, subjects=settings.learned, **usual
        )
    if settings.inverters:
        for name in (published_name(_told(settings)), squared_name(_told(settings))):
            undone = str(weights_of(out, name))
            made[inverted_name(name)] = AnonymizerSettings(
                kind="inverter", inverted=undone, subjects=(measured.own[0], measured.own[-1]), **usual
            )
    return made


def _told(settings: AnonymizationReproduction) -> float:
    """Return the alpha whose training is followed: the document's 0.3 where it is among them."""
    return 0.3 if 0.3 in settings.alphas else settings.alphas[0]


def weights_of(out: Path, name: str, step: int | None = None) -> Path:
    """Return where a trained network, or what it was after so many steps, is kept."""
    return out / "models" / name / (f"step-{step}.safetensors" if step else "model.safetensors")


def variants(settings: AnonymizationReproduction, out: Path) -> dict[str, Anonymizer]:
    """Return the anonymizers that were trained, by name, with their snapshots and what undoes them."""
    from gaitkeeper.anonymize.learned import StGan

    made: dict[str, Anonymizer] = {}
    for name, training in trainings(settings, out).items():
        if training.kind == "inverter":
            undone = name.removesuffix("-inverted")
            made[name] = Inverted(anonymizer=made[undone], weights=str(weights_of(out, name)))
        elif name != FOLLOWED:
            made[name] = StGan(weights=str(weights_of(out, name)))
    for step in settings.snapshots:
        made[f"{FOLLOWED}-step-{step}"] = StGan(weights=str(weights_of(out, FOLLOWED, step)))
    return made


def reproduce_anonymization(
    settings: AnonymizationReproduction,
    out: Path,
    *,
    seed: int = 0,
    device: str = "cpu",
    judges: Sequence[Judge] | None = None,
    scorer: WalkingScorer | None = None,
    progress: Progress = lambda done, total, text: None,
) -> ReproducedAnonymization:
    """Train what the paper trained, measure it beside what it is compared with, and write ``report.html``.

    The methods are measured with judges as trained and adapted. Every value of alpha, every snapshot and what is
    undone are measured with judges as trained only, since that is what the document shows.

    Args:
        settings: of the reproduction.
        out: its folder, with ``models/``, ``methods/``, ``variants/`` and ``recordings/``. An interrupted run goes on.
        seed: of training, anonymizers and adaptation.
        device: where networks are trained.
        judges: in place of those that the settings name.
        scorer: in place of the shipped network that says how probable walking is.
        progress: called as steps or clips are done.

    Raises:
        GaitkeeperError: unusable weights, or a folder of another reproduction.

    Reference:
        Tieu et al., "Spatio-temporal generative adversarial network for gait anonymization", JISA 46, 2019.
    """
    from gaitkeeper import __version__
    from gaitkeeper.audit.anonymization import run_anonymization
    from gaitkeeper.audit.anonymization_report import CLOSING, anonymization_part
    from gaitkeeper.audit.anonymization_reproduction import (
        Measured,
        pictures_of,
        reproduced_plots,
        reproduced_tables,
        sentences_of,
    )
    from gaitkeeper.audit.report import Report, write_report

    logs = _train(settings, out, seed=seed, device=device, progress=progress)
    made = variants(settings, out)
    arguments: dict[str, Any] = {"seed": seed, "judges": judges, "scorer": scorer, "progress": progress}
    arguments["recordings"] = out / "recordings"
    methods = run_anonymization(settings.measured, out / "methods", **arguments)
    plain = replace(settings.measured, methods=("black",), adapt=False)
    others = run_anonymization(plain, out / "variants", anonymizers=made, **arguments)
    measured = Measured(settings=settings, methods=methods.records, variants=others.records, logs=logs)
    tables, sentences = reproduced_tables(measured), sentences_of(measured)
    part = anonymization_part(
        methods, settings.measured, tables=tables, plots=reproduced_plots(measured),
        pictures=pictures_of(settings, made, seed=seed), first=sentences,
    )  # fmt: skip
    report = Report(
        title="ST-GAN: gait anonymization, published and measured",
        records=(),
        settings={"gaitkeeper": __version__, "seed": seed, **asdict(settings)},
        actions=part,
        closing=CLOSING,
    )
    write_report(out / "report.html", report)
    return ReproducedAnonymization(tuple(tables), tuple(sentences), methods.warnings)


def _train(
    settings: AnonymizationReproduction, out: Path, *, seed: int, device: str, progress: Progress
) -> Mapping[str, tuple[Mapping[str, float], ...]]:
    """Train what is not trained yet, and return the logs by name."""
    from gaitkeeper.training.anonymizers import train_anonymizer

    logs = {}
    for name, training in trainings(settings, out).items():
        folder = out / "models" / name

        def tell(step: int, total: int, text: str, name: str = name) -> None:
            progress(step, total, f"training {name}: {text}")

        if not weights_of(out, name).is_file():
            train_anonymizer(replace(training, seed=seed), folder, device=device, progress=tell)
        lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
        logs[name] = tuple(json.loads(line) for line in lines)
    return logs
