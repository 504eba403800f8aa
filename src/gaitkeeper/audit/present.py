"""From an audit's files to its report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gaitkeeper import __version__
from gaitkeeper.audit.action_report import action_examples, action_section, report_title
from gaitkeeper.audit.actions import run_action_audit
from gaitkeeper.audit.grid import SHARES, AuditSettings
from gaitkeeper.audit.recognition import Progress, Record
from gaitkeeper.audit.report import Example, Panel, Report, write_report
from gaitkeeper.audit.run import run_audit
from gaitkeeper.audit.verdict import attack_text, budget_text, stored_text, verdict
from gaitkeeper.datasets.protocols import TRAIN_SUBJECTS
from gaitkeeper.errors import DataError
from gaitkeeper.models.weights import SHIPPED, card, recognizes_actions
from gaitkeeper.motion.silhouettes import energy_image

LIMITS = (
    "Identity is decided by the nearest enrolled sequence in each gallery of the protocol; a deployed system with "
    "other galleries, thresholds or preparation behaves differently.",
    "The attacker knows the network, its weights and the gallery, and changes silhouettes after segmentation; "
    "what it takes to change a recorded scene is not measured here.",
    "An interval is the 95 % Wilson interval over probes, which are taken as independent although a subject gives "
    "several.",
    "A targeted success means that a recognizer accepts one person for another. Where a false accept does harm, do "
    "not let gait decide alone: ask for a second factor, several views, or a person.",
)
"""What every audit of silhouettes leaves open."""


def difference(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Return where frames were changed, ``(t, h, w, 3)`` uint8: red is added, blue removed, scaled to the largest."""
    delta = after.astype(np.int16) - before
    largest = max(1, int(np.abs(delta).max()))
    strength = (np.abs(delta) * 255 // largest).astype(np.uint8)
    shown = np.repeat((before // 4)[..., None], 3, axis=3)
    shown[..., 0] = np.where(delta > 0, strength, shown[..., 0])
    shown[..., 2] = np.where(delta < 0, strength, shown[..., 2])
    return shown


def examples(out: Path, models: Sequence[str]) -> list[Example]:
    """Return the attacked sequences that an audit kept, as players of original, attacked and difference.

    Args:
        out: the audit's folder.
        models: of the audit, in order.
    """
    found = []
    for path in sorted((out / "examples").glob("*.npz")):
        with np.load(path) as kept:
            before, after, row = kept["before"], kept["after"], json.loads(str(kept["row"]))
        try:
            found.append((_rank(row, models), _example(before, after, row, named=len(models) > 1)))
        except DataError as error:
            raise DataError(f"{path}: {error}") from error
    return [example for _, example in sorted(found, key=lambda pair: pair[0])]


def _rank(row: Mapping[str, Any], models: Sequence[str]) -> tuple[Any, ...]:
    """Sort key of examples: generated frames first, fewest before more, then as the audit has them."""
    sparse = row["attack"].startswith("temporal-sparse")
    return (not sparse, row["goal"] == "targeted", row["budget"], models.index(row["model"])) if sparse else (True,)


def frozen(before: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, tuple[int, ...]]:
    """Return a sequence that waits where frames were inserted into it.

    Args:
        before: recorded frames ``(n, h, w)``.
        after: the same frames with others between them ``(t, h, w)``.

    Returns:
        The recorded frames ``(t, h, w)``, each repeated while frames are inserted after it (the first also while
        frames are inserted before it), and the indices of the inserted frames.

    Raises:
        DataError: the recorded frames are not all among those after, in order.
    """
    source, inserted = [], []
    taken = 0
    for index, frame in enumerate(after):
        if taken < len(before) and np.array_equal(frame, before[taken]):
            taken += 1
        else:
            inserted.append(index)
        source.append(max(taken - 1, 0))
    if taken < len(before):
        raise DataError(
            f"expected the {len(before)} recorded frames in order among {len(after)}, found the first {taken} only"
        )
    return before[source], tuple(inserted)


def frames_text(indices: Sequence[int], of: int) -> str:
    """Return indices of frames counted from one, runs in short: "frames 1–4 and 9 of 40"."""
    runs: list[list[int]] = []
    for index in indices:
        if runs and index == runs[-1][1] + 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    texts = [str(first + 1) if first == last else f"{first + 1}–{last + 1}" for first, last in runs]
    listed = " and ".join(filter(None, (", ".join(texts[:-1]), texts[-1]))) if texts else "none"
    return f"{'frame' if len(indices) == 1 else 'frames'} {listed} of {of}"


def _example(before: np.ndarray, after: np.ndarray, row: Mapping[str, Any], *, named: bool) -> Example:
    verb = "inserted" if row["norm"] == "inserted" else "altered"
    if verb == "inserted":
        shown, changed = frozen(before, after)
    else:
        shown = before
        changed = tuple(int(i) for i in np.flatnonzero((before != after).any(axis=(1, 2))))
    marked = changed if len(changed) < len(after) else ()
    right = f"{len(row['right'])} of {row['galleries']}"
    caption = f"Probe {row['sample']}: identified in {right} galleries after the attack"
    if row["target"] is not None:
        caption += f", taken for {row['target']} in {row['success']:.0%}"
    caption += "."
    if row["norm"] in (*SHARES, "frames"):
        text = frames_text(changed, len(after))
        caption += f" {text[0].upper()}{text[1:]} {verb}."
    if row.get("overlap") is not None:
        stood = row["overlap_before"]
        caption += f" Overlap with the neighboring frames {row['overlap']:.0%}"
        caption += "." if stood is None else f", before {stood:.0%}."
    compared = " (against the frame before)" if verb == "inserted" else ""
    caption += (
        f" {row['changed']:.1%} of the stored pixels differ{compared}, "
        f"by at most {round(255 * row['linf'])} of 255 grey levels."
    )
    energy = np.round(255 * np.stack([energy_image(before), energy_image(after)])).astype(np.uint8)
    panels = [
        Panel(label="original, waiting" if verb == "inserted" else "original", frames=shown),
        Panel(label="attacked", frames=after, marked=marked),
        Panel(label="difference", frames=difference(shown, after), marked=marked),
        Panel(label="energy image before", frames=energy[:1]),
        Panel(label="energy image after", frames=energy[1:]),
    ]
    whose = f"{row['model']}: " if named else ""
    title = f"{whose}{attack_text(row['attack'])}, {row['goal']}, {budget_text(row['norm'], row['budget'])}"
    return Example(
        title=f"{title if named else title[0].upper() + title[1:]}, {stored_text(row['stored'])}",
        caption=caption,
        panels=panels,
        verb=verb,
    )


def audit_and_report(
    settings: AuditSettings, out: Path, *, device: str, progress: Progress
) -> tuple[list[str], list[tuple[str, str]]]:
    """Run an audit of recognizers of gaits, of actions or of both, or go on with one, and write ``report.html``.

    What is about actions has a folder ``actions`` of its own.

    Returns:
        The verdict's sentences, and the samples that were skipped with the reasons.

    Raises:
        GaitkeeperError: unusable data or weights, data for models of both kinds, or a folder of another audit.
    """
    acting = [name for name in settings.model if recognizes_actions(name)]
    walking = [name for name in settings.model if name not in acting]
    if acting and walking and settings.data is not None:
        raise DataError(f"{settings.data}: expected models of gaits or of actions, got both; audit them one by one")
    gait = _Half()
    if walking:
        gait = _gait_half(replace(settings, model=tuple(walking)), out, device=device, progress=progress)
    part, acted = None, None
    if acting:
        acted = run_action_audit(
            acting, settings.actions, out / "actions", data=settings.data, subjects=settings.subjects,
            seed=settings.seed, examples=settings.examples, device=device, progress=progress,
        )  # fmt: skip
        part = action_section(
            acted.rows, acted.records, action_examples(out / "actions", acting, acted.data.layout), models=acting,
            cards=_cards(acting), classes=len(acted.data.classes),
        )  # fmt: skip
    skipped = [*gait.skipped, *(acted.skipped if acted else ())]
    report = Report(
        title=report_title(gait=bool(walking), actions=bool(acting)),
        records=gait.records,
        settings={"gaitkeeper": __version__, **asdict(settings), "cards": _cards(settings.model)},
        chance=gait.chance,
        identities=gait.identities,
        examples=examples(out, walking) if walking else (),
        skipped=skipped,
        biometric=gait.biometric or (acted is not None and acted.data.biometric),
        limits=LIMITS if walking else (),
        unseen=gait.unseen,
        actions=part,
    )
    write_report(out / "report.html", report)
    sentences = list(gait.sentences)
    for finding in part.findings if part else ():
        sentences += [f"{finding.title}: {sentence}" for sentence in finding.sentences]
    return sentences, skipped


@dataclass(frozen=True)
class _Half:
    """What a report says of gaits; nothing by default."""

    records: Sequence[Record] = ()
    sentences: Sequence[str] = ()
    skipped: Sequence[tuple[str, str]] = ()
    chance: float = 0.0
    identities: int = 0
    biometric: bool = False
    unseen: bool = False


def _gait_half(settings: AuditSettings, out: Path, *, device: str, progress: Progress) -> _Half:
    outcome = run_audit(settings, out, device=device, progress=progress)
    # Only walkers are known to be strangers to the shipped weights; a user's network may have met its gallery.
    unseen = settings.data is None and set(settings.model) <= set(SHIPPED)
    unseen = unseen and min(int(name) for name in outcome.subjects) > TRAIN_SUBJECTS[-1]
    people = len(outcome.subjects)
    return _Half(
        records=outcome.records,
        sentences=verdict(outcome.records, chance=100 / people, identities=people, unseen=unseen),
        skipped=outcome.skipped,
        chance=100 / people,
        identities=people,
        biometric=outcome.biometric,
        unseen=unseen,
    )


def _cards(models: Sequence[str]) -> dict[str, Any]:
    return {name: card(name) for name in models if name in SHIPPED}
