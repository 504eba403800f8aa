"""From an audit's files to its report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from gaitkeeper import __version__
from gaitkeeper.audit.grid import AuditSettings
from gaitkeeper.audit.recognition import Progress
from gaitkeeper.audit.report import Example, Panel, Report, write_report
from gaitkeeper.audit.run import run_audit
from gaitkeeper.audit.verdict import attack_text, budget_text, stored_text, verdict
from gaitkeeper.datasets.protocols import TRAIN_SUBJECTS
from gaitkeeper.models.weights import SHIPPED, card
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
        found.append(_example(before, after, row, named=len(models) > 1))
    return found


def _example(before: np.ndarray, after: np.ndarray, row: Mapping[str, Any], *, named: bool) -> Example:
    changed = tuple(int(i) for i in np.flatnonzero((before != after).any(axis=(1, 2))))
    few = len(changed) < len(before)
    after_text = f"identified in {len(row['right'])} of {row['galleries']} galleries after the attack"
    if row["target"] is not None:
        after_text += f", taken for {row['target']} in {row['success']:.0%}"
    energy = np.round(255 * np.stack([energy_image(before), energy_image(after)])).astype(np.uint8)
    panels = [
        Panel(label="original", frames=before),
        Panel(label="attacked", frames=after, marked=changed if few else ()),
        Panel(label="difference", frames=difference(before, after), marked=changed if few else ()),
        Panel(label="energy image before", frames=energy[:1]),
        Panel(label="energy image after", frames=energy[1:]),
    ]
    return Example(
        title=f"{row['model'] + ': ' if named else ''}{attack_text(row['attack'])}, {row['goal']}, "
        f"{budget_text(row['norm'], row['budget'])}, {stored_text(row['stored'])}",
        caption=f"Probe {row['sample']}: {after_text}. {row['changed']:.1%} of the stored pixels differ, "
        f"by at most {round(255 * row['linf'])} of 255 grey levels.",
        panels=panels,
    )


def audit_and_report(
    settings: AuditSettings, out: Path, *, device: str, progress: Progress
) -> tuple[list[str], list[tuple[str, str]]]:
    """Run an audit, or go on with one, and write ``report.html``.

    Returns:
        The verdict's sentences, and the samples that were skipped with the reasons.
    """
    outcome = run_audit(settings, out, device=device, progress=progress)
    # Only walkers are known to be strangers to the shipped weights; a user's network may have met its gallery.
    unseen = settings.data is None and set(settings.model) <= set(SHIPPED)
    unseen = unseen and min(int(name) for name in outcome.subjects) > TRAIN_SUBJECTS[-1]
    chance = 100 / len(outcome.subjects)
    report = Report(
        title="How easily is this gait recognizer fooled?",
        records=outcome.records,
        settings={"gaitkeeper": __version__, **asdict(settings), "cards": _cards(settings.model)},
        chance=chance,
        identities=len(outcome.subjects),
        examples=examples(out, settings.model),
        skipped=outcome.skipped,
        biometric=outcome.biometric,
        limits=LIMITS,
        unseen=unseen,
    )
    write_report(out / "report.html", report)
    return verdict(outcome.records, chance=chance, identities=len(outcome.subjects), unseen=unseen), outcome.skipped


def _cards(models: Sequence[str]) -> dict[str, object]:
    return {name: card(name) for name in models if name in SHIPPED}
