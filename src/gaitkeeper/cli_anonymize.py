"""The commands about anonymization: they parse, call and print."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro

from gaitkeeper.anonymize.settings import AnonymizeSettings
from gaitkeeper.audit.anonymization_grid import AnonymizationSettings
from gaitkeeper.errors import GaitkeeperError
from gaitkeeper.terminal import print_outcome, progress_bar, ready_device
from gaitkeeper.training.anonymizer_settings import AnonymizerSettings
from gaitkeeper.training.walking_settings import WalkingTraining


def anonymize(
    videos: tyro.conf.Positional[tuple[Path, ...]],
    /,
    *,
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None,
    preview: bool = False,
    report: Literal["full", "plain", "none"] = "full",
    judge: str = "gaitset-walkers",
    overwrite: bool = False,
    device: str = "auto",
    settings: Annotated[AnonymizeSettings, tyro.conf.arg(name="")] = AnonymizeSettings(),
) -> None:
    """Make videos of a static camera in which people are identified far less often by how they walk.

    Writes <name>_anonymized.mp4 with the video's size, frame rate and colors, without metadata and without sound, and a
    report beside it. People who walk are replaced, or changed by the method; whatever else differs from the empty scene
    is removed or covered. The exit status is not zero if any video was skipped.

    Args:
        videos: files, or folders of them.
        out: folder for the results; default beside each video.
        preview: write one frame, before and after, as <name>_preview.png, and no video.
        report: full shows frames of the original, and is biometric data; plain tells figures alone; none.
        judge: recognizer that the report asks who walks, before and after; none asks nobody.
        overwrite: replace results that are there already.
        device: where the judge computes: cpu, cuda or auto.
        settings: of the anonymization.
    """
    from gaitkeeper.anonymize.run import anonymize_file, find_videos, preview_file, target_of

    if report != "none" and not preview:
        # Told now, not after hours of work.
        ready_device(device)
        if judge != "none":
            from gaitkeeper.models.weights import load_victim

            load_victim(judge)
    skipped = 0
    taken: dict[Path, Path] = {}
    for path in find_videos(videos):
        target = target_of(path, out)
        if preview:
            target = target.with_name(f"{path.stem}_preview.png")
        try:
            if taken.setdefault(target.absolute(), path) is not path:
                raise GaitkeeperError(f"{path}: {target} is made of {taken[target.absolute()]}; --out elsewhere helps")
            if target.exists() and not overwrite:
                raise GaitkeeperError(f"{target}: is there already; --overwrite replaces it")
            with progress_bar() as progress:
                if preview:
                    number = preview_file(path, target, settings, progress=progress)
                    print(f"{target}: frame {number} before and after; it shows the original: biometric data")
                    continue
                done = anonymize_file(path, target, settings, progress=progress)
                if report != "none":
                    from gaitkeeper.audit.anonymized_video import report_video

                    found = report_video(
                        done, settings, judge=None if judge == "none" else judge, frames=report == "full",
                        device=ready_device(device), progress=progress,
                    )  # fmt: skip
                    for sentence in found:
                        print(sentence)
            print(f"anonymized: {target}")
        except (GaitkeeperError, OSError) as error:
            told = f"{error.filename or path}: {error.strerror or error}" if isinstance(error, OSError) else error
            print(f"gaitkeeper: skipped {told}", file=sys.stderr)
            skipped += 1
    if skipped:
        sys.exit(1)


def train_anonymizer(
    *,
    out: Path,
    device: str = "auto",
    settings: Annotated[AnonymizerSettings, tyro.conf.arg(name="")] = AnonymizerSettings(),
) -> None:
    """Train ST-GAN, its noise generator, the baseline of 2017 or an inverter; run again to go on.

    Args:
        out: folder for the checkpoint, the log and the weights.
        device: cpu, cuda or auto.
        settings: of the run.
    """
    from gaitkeeper.training.anonymizers import train_anonymizer as run

    with progress_bar() as progress:
        weights = run(settings, out, device=ready_device(device), progress=progress)
    print(f"weights: {weights}")


def train_walking(
    *,
    out: Path,
    device: str = "auto",
    settings: Annotated[WalkingTraining, tyro.conf.arg(name="")] = WalkingTraining(),
) -> None:
    """Train the network that scores whether a sequence looks like walking; run again to go on.

    Args:
        out: folder for the checkpoint, the log and the weights.
        device: cpu, cuda or auto.
        settings: of the run.
    """
    from gaitkeeper.training.walking import train_walking as run

    with progress_bar() as progress:
        weights = run(settings, out, device=ready_device(device), progress=progress)
    print(f"weights: {weights}")


def evaluate_anonymizers(
    *,
    out: Path,
    quick: bool = False,
    seed: int = 0,
    settings: Annotated[AnonymizationSettings, tyro.conf.arg(name="")] = AnonymizationSettings(),
) -> None:
    """Measure how often walkers are identified before and after each method, by judges as trained and adapted to it.

    Run again to go on after an interruption.

    Args:
        out: folder for report.html, summary.json, rows.jsonl and the recordings.
        quick: four people, two views, two methods and one judge that is not adapted.
        seed: of anonymizers and of adaptation.
        settings: of the measurement.
    """
    from gaitkeeper.audit.anonymization import run_anonymization
    from gaitkeeper.audit.anonymization_report import write_anonymization_report

    settings = settings.quick() if quick else settings
    ready_device("cpu")
    with progress_bar() as progress:
        outcome = run_anonymization(settings, out, seed=seed, progress=progress)
    part = write_anonymization_report(out / "report.html", outcome, settings, out=out, seed=seed)
    print_outcome(part.tables, [sentence for found in part.findings for sentence in found.sentences], (), out)


def study(
    clips: tyro.conf.Positional[tuple[Path, ...]] = (),
    /,
    *,
    out: Path,
    port: int = 0,
    seed: int = 0,
    per_condition: int | None = None,
    contact: str = "",
    report: bool = False,
) -> None:
    """Let people rate how natural clips look, on a page that this machine alone serves, and report mean opinion scores.

    Args:
        clips: videos or folders of them (a folder's name is the condition), or what gaitkeeper attack wrote.
        out: folder for ratings.sqlite, report.html, opinions.csv and ratings.csv.
        port: of the page; 0 takes a free one.
        seed: of the clips drawn and of the orders in which participants see them.
        per_condition: most clips of each condition.
        contact: whom raters may ask.
        report: write the report of the ratings that there are, and serve nothing.
    """
    from gaitkeeper.audit.opinion_report import score_text
    from gaitkeeper.audit.study import study as run

    found = run(
        clips, out=out, port=port, seed=seed, per_condition=per_condition, contact=contact, report=report,
        ready=lambda address: print(f"rate at {address} (Ctrl+C ends and reports)", flush=True),
    )  # fmt: skip
    for opinion in found:
        if opinion.view == "all":
            print(f"{opinion.condition}: {score_text(opinion)}")
    print(f"report: {out / 'report.html'}" if found else "nobody has rated yet")
