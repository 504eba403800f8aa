"""Auditing a recognizer on one real clip: is the person who walks through it recognized, and after an attack?"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gaitkeeper import __version__
from gaitkeeper.attacks.goals import Goal, Nontargeted, Targeted
from gaitkeeper.audit.cells import attack_of, threat_of
from gaitkeeper.audit.grid import AuditSettings, Cell, GoalName, StoredName
from gaitkeeper.audit.present import difference
from gaitkeeper.audit.recognition import Progress, Record, load_batches
from gaitkeeper.audit.report import Example, Panel, Picture, Report, write_report
from gaitkeeper.audit.verdict import attack_text, budget_text, stored_text
from gaitkeeper.datasets.base import to_motion
from gaitkeeper.datasets.protocols import TEST_SUBJECTS
from gaitkeeper.datasets.walkers import WalkerSequences
from gaitkeeper.errors import DataError, VideoError
from gaitkeeper.files import write_text
from gaitkeeper.metrics.distances import pairwise
from gaitkeeper.metrics.verification import equal_error
from gaitkeeper.models.victim import Gallery, Identifier, Victim, embed
from gaitkeeper.models.weights import load_victim
from gaitkeeper.motion.motion import Motion
from gaitkeeper.perception.people import Scene, Track, find_people, walking_track
from gaitkeeper.perception.pictures import contact_sheet, overview
from gaitkeeper.perception.video import read_clip
from gaitkeeper.seeding import SampleStreams

GOALS: tuple[GoalName, ...] = ("nontargeted", "targeted")

MIN_HALF = 10
"""Fewest silhouettes of each half of the walk."""

PERSON = "the person in the clip"

CLIP_LIMITS = (
    "One person, one clip, one camera: this shows what can happen, not how often.",
    "The same clothes, camera and minute enroll and probe the person, so recognition is easier than on another day.",
    "The strangers are synthetic walkers; a gallery of real people under the same camera may be harder or easier.",
    "The attacker changes silhouettes after segmentation and knows the network and the gallery.",
)


@dataclass(frozen=True)
class Strangers:
    """Walkers who are enrolled beside the person, and the threshold that their walks set.

    Args:
        enrolled: embeddings ``(g, c, p)``.
        names: whose they are, one each.
        threshold: distance at which as many impostors are accepted as owners rejected.
        error: that share.
    """

    enrolled: Tensor
    names: tuple[str, ...]
    threshold: float
    error: float


def clip_cells() -> Iterator[Cell]:
    """Yield what is done to the probe: nothing, and attacks with their control, stored as 8-bit and as binary."""
    yield Cell()
    for goal in GOALS:
        bounded = Cell(goal=goal, norm="linf", budget=16 / 255, steps=20)
        yield replace(bounded, attack="random")
        yield replace(bounded, attack="pgd")
    yield Cell(stored="binary")
    yield Cell(attack="pgd", goal="nontargeted", norm="linf", budget=16 / 255, stored="binary", steps=20)
    for count in (1.0, 4.0):
        for goal in GOALS:
            free = Cell(goal=goal, norm="frames", budget=count, stored="binary", steps=40)
            yield replace(free, attack="random")
            yield replace(free, attack="mi-fgsm", straight_through=True)


def meet_strangers(victim: Victim, settings: AuditSettings, progress: Progress) -> Strangers:
    """Enroll walkers from every view, and set the threshold where their errors are equal.

    Owners are pairs of two walks of a walker from the same view; impostors are walks of different walkers from the
    same view.
    """
    data = WalkerSequences(
        settings.population, subjects=TEST_SUBJECTS, conditions=("nm-01", "nm-05"), frames=settings.frames
    )
    parts: list[Tensor] = []
    for _, motion in load_batches(data, range(len(data.samples)), batch=44, skipped=[]):
        parts.append(embed(victim, [motion]))
        progress(sum(map(len, parts)), len(data.samples), "meeting strangers")
    embedding = torch.cat(parts)
    enrolled = [i for i, s in enumerate(data.samples) if s.condition == "nm-01"]
    probes = [i for i, s in enumerate(data.samples) if s.condition == "nm-05"]
    distance = pairwise(embedding[probes], embedding[enrolled], kind=victim.distance).cpu().numpy()
    who = np.array([data.samples[i].subject for i in enrolled])
    view = np.array([data.samples[i].view for i in enrolled])
    same_view = view[:, None] == view[None, :]
    same = who[:, None] == who[None, :]
    threshold, error = equal_error(distance[same & same_view], distance[~same & same_view])
    return Strangers(embedding[enrolled], tuple(who.tolist()), threshold, error)


def halves(track: Track, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the silhouettes of the walk's first and second half, ``(t, 64, 44)`` uint8 each."""
    middle = len(track.silhouettes) // 2
    if middle < MIN_HALF:
        raise VideoError(
            f"{path}: expected {2 * MIN_HALF} usable silhouettes of a walk, found {len(track.silhouettes)}"
        )
    return track.silhouettes[:middle], track.silhouettes[middle:]


class _Clip:
    """The probe of a clip against one model, in each stored format."""

    def __init__(
        self, victim: Victim, settings: AuditSettings, enrolled: np.ndarray, probe: np.ndarray, progress: Progress
    ) -> None:
        self.victim, self.settings, self.progress = victim, settings, progress
        self.enrolled, self.probe = to_motion([enrolled]), to_motion([probe])
        self._known: dict[StoredName, tuple[Identifier, Strangers]] = {}

    def identifier(self, stored: StoredName) -> tuple[Identifier, Strangers]:
        if stored not in self._known:
            victim = self.victim.storing(stored)
            strangers = meet_strangers(victim, self.settings, self.progress)
            people = (PERSON, *dict.fromkeys(strangers.names))
            gallery = Gallery(
                embedding=torch.cat([embed(victim, [self.enrolled]), strangers.enrolled]),
                identities=torch.tensor([0, *map(people.index, strangers.names)], device=victim.device),
                names=people,
            )
            self._known[stored] = Identifier(victim, gallery), strangers
        return self._known[stored]

    def decide(self, cell: Cell) -> tuple[dict[str, Any], Motion, Motion]:
        """Return the decision on the probe under a cell, with the stored probe before and after."""
        identifier, strangers = self.identifier(cell.stored)
        probe = self.probe.to(identifier.device)
        probe = probe.with_data(identifier.domain.harden(probe.data))
        with torch.no_grad():
            natural = identifier(probe).decisions()[0][0, 0]
        target = 1 + int(natural[1:].argmax())
        shown = probe
        found: dict[str, Any] = {}
        if cell.attack != "none":
            label = torch.tensor([target if cell.goal == "targeted" else 0], device=identifier.device)
            goal: Goal = Targeted(targets=label) if cell.goal == "targeted" else Nontargeted(labels=label)
            streams = SampleStreams(self.settings.seed, ["clip"])
            attacked = attack_of(cell)(identifier, probe, goal, threat=threat_of(cell), streams=streams)
            shown = attacked.motion
            found = {"pixels changed, %": round(100 * float(attacked.distances["changed"][0]), 2)}
        with torch.no_grad():
            logits = identifier(shown).decisions()[0][0, 0]
        named, names = int(logits.argmax()), identifier.gallery.names
        own, aimed = -float(logits[0]), -float(logits[target])
        decision = {
            "attack": attack_text(cell.label) if cell.attack != "none" else "none",
            "goal": f"be taken for walker {names[target]}" if cell.goal == "targeted" else cell.goal,
            "budget": "" if cell.norm is None else budget_text(cell.norm, cell.budget),
            "stored": stored_text(cell.stored),
            "named": PERSON if named == 0 else f"walker {names[named]}",
            "distance to the person": round(own, 3),
            "threshold": round(strangers.threshold, 3),
            "accepted as the person": own <= strangers.threshold,
            "accepted as the target": aimed <= strangers.threshold if cell.goal == "targeted" else "",
        }
        return decision | found, probe, shown


def audit_clip(video: Path, settings: AuditSettings, out: Path, *, device: str, progress: Progress) -> list[str]:
    """Audit recognizers on one clip and write ``summary.json`` and ``report.html`` into ``out``.

    The first half of the walk is enrolled beside synthetic strangers, the second half is the probe.

    Args:
        video: a clip of a person who walks, from a static camera.
        settings: names the models; the seed, walkers and frames are used.
        out: folder for the results, which hold frames of a real person.
        device: where to compute.
        progress: called as work is done.

    Returns:
        The verdict's sentences.

    Raises:
        VideoError: the clip cannot be decoded, or shows nobody whose walk can be used, with the reasons.
    """
    if settings.data is not None:
        raise DataError("a clip is audited beside walkers: --video and --data exclude each other")
    progress(0, 1, "reading the clip")
    clip = read_clip(video)
    progress(0, 1, "looking for people")
    scene = find_people(clip)
    track = walking_track(scene)
    enrolled, probe = halves(track, video)
    decisions: list[dict[str, Any]] = []
    records: list[Record] = []
    sentences: list[str] = []
    examples: list[Example] = []
    cells = list(clip_cells())
    for name in settings.model:
        state = _Clip(load_victim(name, device=device), settings, enrolled, probe, progress)
        own: list[dict[str, Any]] = []
        for number, cell in enumerate(cells, 1):
            progress(number, len(cells), f"{name}: {cell.label} {cell.goal} {cell.stored}")
            decision, before, after = state.decide(cell)
            own.append(decision)
            records += _records(name, video, cell, decision)
            if cell.attack not in {"none", "random"}:
                examples.append(_example(cell, decision, before, after, clip.fps))
        strangers = state.identifier("uint8")[1]
        sentences += _sentences(name, own, strangers, track, len(enrolled), len(probe))
        decisions += [{"model": name, **decision} for decision in own] if len(settings.model) > 1 else own
    write_text(out / "summary.json", json.dumps(records, indent=1) + "\n")
    people = 1 + len(TEST_SUBJECTS)
    write_report(
        out / "report.html",
        Report(
            title=f"Gait recognition of the person in {video.name}",
            records=(),
            settings={
                "gaitkeeper": __version__,
                "video": video.name,
                **asdict(settings),
                "evidence": asdict(track.walk),
            },
            chance=100 / people,
            identities=people,
            examples=examples,
            pictures=_pictures(scene, track),
            decisions=decisions,
            skipped=_others(scene, track),
            biometric=True,
            findings=sentences,
            limits=CLIP_LIMITS,
        ),
    )
    return [*sentences, *CLIP_LIMITS]


def _records(model: str, video: Path, cell: Cell, decision: dict[str, Any]) -> list[Record]:
    common = {
        "model": model, "data": video.name, "attack": cell.label, "goal": cell.goal, "norm": cell.norm,
        "budget": cell.budget, "stored": cell.stored, "condition": "all", "view": "all", "low": None, "high": None,
        "n": 1,
    }  # fmt: skip
    values = {
        "rank1": 100.0 * (decision["named"] == PERSON),
        "accepted": 100.0 * decision["accepted as the person"],
        "distance": decision["distance to the person"],
        "threshold": decision["threshold"],
    }
    if cell.goal == "targeted":
        values["success"] = 100.0 * (decision["goal"] == f"be taken for {decision['named']}")
    return [{**common, "metric": metric, "value": value} for metric, value in values.items()]


def _sentences(
    model: str, decisions: Sequence[dict[str, Any]], strangers: Strangers, track: Track, enrolled: int, probe: int
) -> list[str]:
    walkers = len(set(strangers.names))
    cadence = "no clear rhythm" if track.walk.cadence is None else f"{track.walk.cadence:.0f} steps a minute"
    found = [
        f"One person walks through the clip ({enrolled + probe} usable frames, {cadence}). With the first {enrolled} "
        f"enrolled beside {walkers} synthetic walkers seen from 11 views, {model} is asked who the last {probe} show.",
        f"The threshold of acceptance is where walkers are wrongly accepted as often as wrongly rejected "
        f"({100 * strangers.error:.1f} % of the time, same view).",
    ]
    controls = [d for d in decisions if d["attack"] == attack_text("random")]
    for d in (d for d in decisions if d not in controls):
        accepted = "accepted" if d["accepted as the person"] else "not accepted"
        what = "Unaltered" if d["attack"] == "none" else f"After {d['attack']} ({d['goal']}, {d['budget']})"
        found.append(
            f"{what}, stored as {d['stored']}: named {d['named']}, {accepted} as the person "
            f"(distance {d['distance to the person']}, threshold {d['threshold']})."
        )
    kept = sum(d["named"] == PERSON and d["accepted as the person"] for d in controls)
    found.append(f"After {kept} of {len(controls)} matched random controls the person is still named and accepted.")
    return found


def _example(cell: Cell, decision: dict[str, Any], before: Motion, after: Motion, fps: float) -> Example:
    first, second = ((255 * m.data[0]).round().to(torch.uint8).cpu().numpy() for m in (before, after))
    changed = tuple(int(i) for i in np.flatnonzero((first != second).any(axis=(1, 2))))
    marked = changed if len(changed) < len(first) else ()
    return Example(
        title=f"{decision['attack']}, {decision['goal']}, {decision['budget']}, {decision['stored']}",
        caption=f"Named {decision['named']}; distance to the person {decision['distance to the person']}, threshold "
        f"{decision['threshold']}. {decision['pixels changed, %']} % of the stored pixels differ.",
        panels=[
            Panel(label="seen", frames=first),
            Panel(label="attacked", frames=second, marked=marked),
            Panel(label="difference", frames=difference(first, second), marked=marked),
        ],
        fps=fps,
    )


def _pictures(scene: Scene, track: Track) -> list[Picture]:
    return [
        Picture(
            title="Who was found", caption="Frames of the walk with the outline used.", image=overview(scene, track)
        ),
        Picture(
            title="What the recognizer sees",
            caption="Every third aligned silhouette of the walk, in order; the first half is enrolled.",
            image=contact_sheet(track.silhouettes, every=3),
        ),
    ]


def _others(scene: Scene, track: Track) -> list[tuple[str, str]]:
    """Return the tracks that were not used, with the reasons."""
    return [
        (f"another track, frames {t.frames[0]} to {t.frames[-1]}", ", ".join(t.problems) or "a shorter walk")
        for t in scene.tracks
        if t is not track
    ]
