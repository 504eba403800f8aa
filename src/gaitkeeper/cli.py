"""The command line: parses, calls, prints."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from gaitkeeper import __version__
from gaitkeeper.audit.action_grid import (
    ActionAttack,
    ActionCell,
    ActionGoal,
    ActionSettings,
    BoneRule,
    action_cell,
)
from gaitkeeper.audit.grid import (
    AuditSettings,
    Cell,
    GoalName,
    GridSettings,
    Name,
    Norm,
    Placement,
    SparseSettings,
    StoredName,
    sequence_cell,
)
from gaitkeeper.audit.reproduce import ReproduceSettings
from gaitkeeper.audit.reproduce_actions import WhiteBoxSettings
from gaitkeeper.audit.reproduce_anonymization import AnonymizationReproduction
from gaitkeeper.cli_anonymize import anonymize, evaluate_anonymizers, study, train_anonymizer, train_walking
from gaitkeeper.errors import GaitkeeperError
from gaitkeeper.synthetic.population import CONDITIONS, VIEWS, Population
from gaitkeeper.terminal import print_grid, print_outcome, print_skipped, progress_bar, ready_device
from gaitkeeper.training.action_settings import ACTION_NETWORKS, ActionTraining
from gaitkeeper.training.gan_settings import GeneratorSettings
from gaitkeeper.training.settings import TrainSettings

if TYPE_CHECKING:
    from gaitkeeper.audit.recognition import Record
    from gaitkeeper.datasets.base import Sequences

Positional = tyro.conf.Positional


def _print_records(records: Sequence[Record], title: str) -> None:
    from gaitkeeper.audit.verdict import attack_text, budget_text, interval_text, stored_text

    rows = []
    for r in records:
        budget = "" if r["budget"] is None else budget_text(r["norm"], r["budget"])
        percent = f"{r['value']:.1f} {interval_text(r)}"
        names = (r["model"], r["data"], attack_text(r["attack"]), r["goal"], budget, stored_text(r["stored"]))
        rows.append((*names, r["condition"], str(r["view"]), r["metric"], percent, str(r["n"])))
    where = ("model", "data", "attack", "goal", "budget", "stored", "condition", "view", "metric")
    print_grid(title, (*where, "percent", "n"), rows, right=("percent", "n"))


def walkers(
    *,
    out: Path,
    subjects: tuple[int, ...] = tuple(range(1, 11)),
    conditions: tuple[str, ...] = CONDITIONS,
    views: tuple[int, ...] = VIEWS,
    frames: int = 40,
    form: Literal["aligned", "masks", "video", "skeletons"] = "aligned",
    sheet: Path | None = None,
    population: Population = Population(),
) -> None:
    """Render people who do not exist.

    Args:
        out: folder for <subject>/<condition>/<view>/.
        subjects: numbers 1 to 124.
        conditions: nm-01 .. nm-06, bg-01, bg-02 (bag), cl-01, cl-02 (coat).
        views: camera directions in degrees, 0 from the front, 90 from the side.
        frames: of each sequence.
        form: silhouettes aligned to 64x44, the camera's binary masks, colour video with its true masks, or 3-D
            joints (skeleton.npy, metres).
        sheet: also write a contact sheet of the subjects, a PNG file.
        population: who the walkers are.
    """
    from gaitkeeper.datasets.export import render_walkers, write_sheet

    with progress_bar() as progress:
        count = render_walkers(
            out, population, subjects=subjects, conditions=conditions, views=views, frames=frames, form=form,
            progress=progress,
        )  # fmt: skip
    if sheet is not None:
        write_sheet(sheet, population, subjects=subjects, conditions=conditions)
    print(f"{count} sequences in {out}")


def train(
    *,
    out: Path,
    data: Path | None = None,
    device: str = "auto",
    settings: Annotated[TrainSettings, tyro.conf.arg(name="")] = TrainSettings(),
    actions: ActionTraining = ActionTraining(),
) -> None:
    """Train a recognizer of gaits or of actions; run again to go on after an interruption.

    Args:
        out: folder for the checkpoint, the log and model.safetensors.
        data: for gaits a folder of silhouettes in the layout of CASIA-B, CASIA-A or OpenGait, of which all subjects are
            trained on; for actions a file or folder of clips, of which the training part is. Without it walkers are
            rendered, or actors act.
        device: cpu, cuda or auto.
        settings: of the run.
        actions: further settings where the network recognizes actions.
    """
    network = settings.network
    with progress_bar() as progress:
        if network in ACTION_NETWORKS:
            from gaitkeeper.training.actions import open_training_clips, train_actions

            actions, clips = open_training_clips(actions, data)
            weights = train_actions(
                network, actions, clips, out, seed=settings.seed, device=ready_device(device), progress=progress
            )
        else:
            from gaitkeeper.training.loop import train as run

            weights = run(settings, _training_data(data, settings), out, device=ready_device(device), progress=progress)
    print(f"weights: {weights}")


def _training_data(data: Path | None, settings: TrainSettings | GeneratorSettings) -> Sequences:
    """Return the sequences of a folder, or those of the walkers that the settings name."""
    from gaitkeeper.datasets.open import open_sequences
    from gaitkeeper.datasets.walkers import WalkerSequences

    if data is not None:
        return open_sequences(data)
    subjects = range(settings.first_subject, settings.last_subject + 1)
    return WalkerSequences(settings.population, subjects=subjects)


def train_generator(
    *,
    out: Path,
    data: Path | None = None,
    device: str = "auto",
    settings: Annotated[GeneratorSettings, tyro.conf.arg(name="")] = GeneratorSettings(),
) -> None:
    """Train a silhouette generator and its critics; run again to go on after an interruption.

    Args:
        out: folder for the checkpoint, the log and the weights.
        data: folder of silhouettes in the layout of CASIA-B, CASIA-A or OpenGait, of which all are learned from;
            without it walkers are rendered.
        device: cpu, cuda or auto.
        settings: of the run.
    """
    from gaitkeeper.training.gan import train_generator as run

    with progress_bar() as progress:
        folder = run(settings, _training_data(data, settings), out, device=ready_device(device), progress=progress)
    print(f"generator: {folder}")


def generator(
    *,
    out: Path,
    generator: str = "walkers",
    count: int = 1000,
    seed: int = 0,
    device: str = "auto",
    population: Population = Population(),
) -> None:
    """Measure what a silhouette generator makes beside walkers, and write a sheet of samples.

    Args:
        out: folder for sheet.png and generator.json.
        generator: name of a shipped generator, or a folder that train-generator wrote.
        count: silhouettes to generate.
        seed: of the latents and of the walkers' frames.
        device: cpu, cuda or auto.
        population: the walkers beside whom it is measured; 001 to 074 were learned from by the shipped one.
    """
    from gaitkeeper.audit.generator import assess_generator
    from gaitkeeper.datasets.protocols import TEST_SUBJECTS, TRAIN_SUBJECTS
    from gaitkeeper.datasets.walkers import WalkerSequences
    from gaitkeeper.models.generators.gan import load_gan

    if count < 1:
        raise GaitkeeperError(f"expected --count of at least 1, got {count}")
    seen, unseen = (WalkerSequences(population, subjects=s) for s in (TRAIN_SUBJECTS, TEST_SUBJECTS))
    with progress_bar() as progress:
        gan = load_gan(generator, device=ready_device(device))
        figures = assess_generator(gan, seen, unseen, count=count, seed=seed, out=out, progress=progress)
    _print_figures(figures, f"{generator}: {count} generated silhouettes beside recorded ones")
    print(f"samples: {out / 'sheet.png'}")


def _print_figures(figures: Sequence[dict[str, Any]], title: str) -> None:
    headings = list(figures[0])
    rows = [[value if isinstance(value, str) else f"{value:.3f}" for value in figure.values()] for figure in figures]
    print_grid(title, headings, rows, right=[heading for heading in headings if heading != "measure"])


def evaluate(
    *,
    model: str = "gaitset-walkers",
    data: Path | None = None,
    subjects: tuple[str, ...] | None = None,
    stored: StoredName = "uint8",
    ablations: bool = False,
    per_view: bool = False,
    out: Path | None = None,
    device: str = "auto",
    population: Population = Population(),
    actions: ActionSettings = ActionSettings(),
) -> None:
    """Measure rank-1 identification under the CASIA-B protocol, or how many test clips an action recognizer knows.

    Args:
        model: name of shipped weights, path of a checkpoint (GaitSet, GaitPart, GaitGL, GaitBase, DeepGaitV2; ST-GCN,
            2s-AGCN, AAGCN, AS-GCN, DGNN, CTR-GCN, SGN, MS-G3D, HRNN), or package:function; of actions also several
            joined by +, whose scores are added.
        data: folder of silhouettes, or clips of actions; without it walkers 075 to 124 are rendered, or actors 031 to
            040 act.
        subjects: subjects to enroll and to look for; default all in the folder, or walkers 075 to 124.
        stored: recognize 8-bit or binarized silhouettes.
        ablations: also walkers of whom only the body, or only the movement, differs.
        per_view: print every probe view.
        out: also write the figures to this JSON file.
        device: cpu, cuda or auto.
        population: the walkers.
        actions: of the clips, where the model recognizes actions; all test clips are.
    """
    from gaitkeeper.audit.run import evaluate_populations
    from gaitkeeper.files import write_text

    if _half((model,)) == "actions":
        from gaitkeeper.audit.action_clips import evaluate_actions

        with progress_bar() as progress:
            records, skipped = evaluate_actions(
                (model,), actions, data=None if data is None else str(data), subjects=subjects,
                device=ready_device(device), progress=progress,
            )  # fmt: skip
        _print_action_records(records, "recognized test clips")
        print_skipped(skipped)
        if out is not None:
            write_text(out, json.dumps(records, indent=1) + "\n")
        return
    settings = AuditSettings(
        model=(model,), data=None if data is None else str(data), subjects=subjects, population=population
    )
    with progress_bar() as progress:
        records, skipped = evaluate_populations(
            settings, stored=stored, ablations=ablations, device=ready_device(device), progress=progress
        )
    shown = records if per_view else [r for r in records if r["view"] == "all"]
    _print_records(shown, "rank-1 identification, identical views excluded")
    print_skipped(skipped)
    if out is not None:
        write_text(out, json.dumps(records, indent=1) + "\n")


def _print_action_records(records: Sequence[Record], title: str) -> None:
    from gaitkeeper.audit.verdict import interval_text

    rows = []
    for r in records:
        budget = "" if r["budget"] is None else f"{1000 * r['budget']:g} mm"
        value = f"{r['value']:.1f} {interval_text(r)}".rstrip()
        names = (r["model"], r["data"], r["attack"], r["goal"], r["bones"] or "", budget, r["metric"])
        rows.append((*names, value, str(r["n"])))
    headings = ("model", "data", "attack", "goal", "bones", "budget", "metric", "value", "n")
    print_grid(title, headings, rows, right=("value", "n"))


def attack(
    *,
    out: Path,
    name: Name | ActionAttack = "pgd",
    goal: GoalName | ActionGoal = "nontargeted",
    bones: BoneRule | None = None,
    top: int = 3,
    norm: Norm | None = None,
    budget: float | None = None,
    stored: StoredName | None = None,
    straight_through: bool = False,
    steps: int | None = None,
    restarts: int = 1,
    coherent: bool = False,
    where: Placement = "first",
    device: str = "auto",
    settings: Annotated[AuditSettings, tyro.conf.arg(name="")] = AuditSettings(),
) -> None:
    """Attack sequences and write the attacked ones: silhouettes as PNG files, actions as joints in metres.

    Args:
        out: folder for attacked/, rows.jsonl and summary.json; attacked/ can be read as --data.
        name: the attack; names with random are the controls. Of actions smart, smart-published-1 to 3, ciasa, admm,
            fgsm, pgd and mi-fgsm.
        goal: lose the identity or class, or be taken for a given other one. Of actions also anything-but-n, which asks
            for the class to leave the best.
        bones: of actions: keep bones exactly, ask for it in the loss, or leave them free; default exactly.
        top: of anything-but-n: how many classes must come before the true one.
        norm: how the change is bounded; default altered for attacks whose frames are generated, else linf.
        budget: grey levels of 255 for linf (default 16), pixels for l2, a number of frames for frames, the share of
            frames for altered and inserted (default 1/40); of actions millimetres a joint (default 10), for fgsm, pgd
            and mi-fgsm.
        stored: 8-bit or binary silhouettes; default binary for altered and inserted, else 8-bit.
        straight_through: attack through the rounding; generated frames always are.
        steps: of the attack; default 40 where frames are generated, 100 as published, else 10; of actions 150 of
            smart, 100 of ciasa, 1000 as published, 500 of admm, else 20.
        restarts: of PGD.
        coherent: generated frames start from the clip's own and stay near their neighbors.
        where: which frames are altered, or where they are inserted.
        device: cpu, cuda or auto.
        settings: of the data and the recognizer; its grid is not used.
    """
    from gaitkeeper.audit.run import run_audit

    if _half(settings.model) == "actions":
        others = {"norm": norm, "stored": stored, "straight-through": straight_through, "coherent": coherent}
        given = [f"--{flag}" for flag, value in others.items() if value]
        given += ["--restarts"] if restarts != 1 else []
        given += ["--where"] if where != "first" else []
        if given:
            raise GaitkeeperError(f"{', '.join(given)}: of attacks on gaits; {settings.model[0]} recognizes actions")
        aimed = action_cell(name, goal, bones=bones, budget=budget, steps=steps, top=top)
        _attack_actions(out, aimed, settings, device)
        return
    if bones is not None:
        raise GaitkeeperError(f"--bones: {settings.model[0]} recognizes gaits")
    cell = sequence_cell(
        name, goal, norm=norm, budget=budget, stored=stored, straight_through=straight_through, steps=steps,
        restarts=restarts, coherent=coherent, where=where,
    )  # fmt: skip
    cells = (Cell(stored=cell.stored), cell)
    with progress_bar() as progress:
        outcome = run_audit(
            replace(settings, examples=0), out, cells=cells, write_sequences=True, device=ready_device(device),
            progress=progress,
        )  # fmt: skip
    shown = [r for r in outcome.records if r["view"] == "all" and r["metric"] in {"rank1", "success"}]
    _print_records(shown, "before and after the attack")
    print_skipped(outcome.skipped)
    print(f"attacked sequences: {out / 'attacked'}")


def _half(models: Sequence[str]) -> Literal["gaits", "actions"]:
    """Return what all models recognize."""
    from gaitkeeper.models.weights import recognizes_actions

    found = {recognizes_actions(model) for model in models}
    if len(found) > 1:
        raise GaitkeeperError(f"expected models of gaits or of actions, got both: {', '.join(models)}")
    return "actions" if found.pop() else "gaits"


def _attack_actions(out: Path, cell: ActionCell, settings: AuditSettings, device: str) -> None:
    from gaitkeeper.audit.actions import run_action_audit

    with progress_bar() as progress:
        outcome = run_action_audit(
            settings.model, settings.actions, out, data=settings.data, subjects=settings.subjects, seed=settings.seed,
            examples=0, cells=(ActionCell(), cell), write_clips=True, device=ready_device(device), progress=progress,
        )  # fmt: skip
    shown = {"accuracy", "displacement", "bone"}
    records = [r for r in outcome.records if r["metric"] in shown or r["metric"].startswith("success")]
    _print_action_records(records, "before and after the attack")
    print_skipped(outcome.skipped)
    print(f"attacked clips: {out / 'attacked'}")


def audit(
    *,
    out: Path,
    video: Path | None = None,
    quick: bool = False,
    device: str = "auto",
    settings: Annotated[AuditSettings, tyro.conf.arg(name="")] = AuditSettings(),
) -> None:
    """Measure how easily recognizers are fooled, and write a report; run again to go on after an interruption.

    Args:
        out: folder for report.html, summary.json and rows.jsonl.
        video: audit a clip of a person who walks past a static camera: one half of the walk is enrolled beside
            walkers, the other half is the probe.
        quick: few probes, galleries and budgets; minutes in place of a quarter of an hour.
        device: cpu, cuda or auto.
        settings: of the audit.
    """
    if quick:
        settings = replace(
            settings, probes=min(settings.probes, 16), frames=min(settings.frames, 24), grid=QUICK,
            actions=settings.actions.quick(),
        )  # fmt: skip
    with progress_bar() as progress:
        if video is not None:
            from gaitkeeper.audit.clip import audit_clip

            sentences = audit_clip(video, settings, out, device=ready_device(device), progress=progress)
            skipped: list[tuple[str, str]] = []
        else:
            from gaitkeeper.audit.present import audit_and_report

            sentences, skipped = audit_and_report(settings, out, device=ready_device(device), progress=progress)
    for sentence in sentences:
        print(sentence)
    print_skipped(skipped)
    print(f"report: {out / 'report.html'}")


QUICK = GridSettings(
    linf=(4, 16), l2=(), attacks=("pgd",), sparse=SparseSettings(altered=(1 / 20,), steps=20, pixel_steps=10)
)
"""The grid of a quick audit."""


def reproduce(
    what: Literal["temporal-sparse", "skeleton-white-box", "gait-anonymization"],
    /,
    *,
    out: Path,
    device: str = "auto",
    settings: Annotated[ReproduceSettings, tyro.conf.arg(name="")],
    actions: WhiteBoxSettings = WhiteBoxSettings(),
    anonymization: AnonymizationReproduction = AnonymizationReproduction(),
) -> None:
    """Repeat a paper's experiments and print its figures beside the measured ones; run again to go on.

    Args:
        what: temporal-sparse, the attack of He et al. (arXiv 2002.09674); skeleton-white-box, SMART of Wang et al.
            (CVPR 2021); gait-anonymization, ST-GAN of Tieu et al. (JISA 2019).
        out: folder for report.html, figures and rows.
        device: cpu, cuda or auto.
        settings: of the reproduction; of skeleton-white-box only data, seed and quick, of gait-anonymization only seed
            and quick.
        actions: of skeleton-white-box.
        anonymization: of gait-anonymization.
    """
    if what == "gait-anonymization":
        from gaitkeeper.audit.reproduce_anonymization import reproduce_anonymization

        if settings.data is not None:
            raise GaitkeeperError("--data: gait-anonymization is measured on walkers")
        with progress_bar() as progress:
            told = reproduce_anonymization(
                anonymization.quick() if settings.quick else anonymization, out, seed=settings.seed,
                device=ready_device(device), progress=progress,
            )  # fmt: skip
        print_outcome(told.tables, [*told.warnings, *told.sentences], (), out)
        return
    if what == "skeleton-white-box":
        from gaitkeeper.audit.reproduce_actions import reproduce_white_box

        with progress_bar() as progress:
            found = reproduce_white_box(
                actions.quick() if settings.quick else actions, out, data=settings.data, seed=settings.seed,
                device=ready_device(device), progress=progress,
            )  # fmt: skip
        print_outcome(found.tables, found.sentences, found.skipped, out)
        return
    from gaitkeeper.audit.reproduce import reproduce_temporal_sparse

    with progress_bar() as progress:
        made = reproduce_temporal_sparse(settings, out, device=ready_device(device), progress=progress)
    print_outcome(made.tables, made.remarks, made.skipped, out)


def main() -> None:
    """Run the command line; a user's mistake ends in one line on standard error and status 1."""
    # Being told to stop is as being interrupted: what is half written is removed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if sys.argv[1:] == ["--version"]:
        print(f"gaitkeeper {__version__}")
        return
    actions = (
        *(walkers, train, train_generator, generator, evaluate, attack, audit, reproduce),
        *(anonymize, evaluate_anonymizers, study, train_anonymizer, train_walking),
    )
    commands = {f.__name__.replace("_", "-"): f for f in actions}
    try:
        tyro.extras.subcommand_cli_from_dict(
            commands,
            prog="gaitkeeper",
            description="Attack, measure and anonymize human-motion recognition. "
            "For evaluating systems and footage that you may use; see SECURITY.md.",
        )
    except GaitkeeperError as error:
        print(f"gaitkeeper: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"gaitkeeper: {where}{error.strerror or error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print(
            "gaitkeeper: interrupted; what is finished stays, and commands with checkpoints go on where they stopped",
            file=sys.stderr,
        )
        sys.exit(130)
