"""The report of one anonymized video: what was found and changed, judges before and after, what still identifies."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from gaitkeeper import __version__
from gaitkeeper.anonymize.run import Done
from gaitkeeper.anonymize.settings import AnonymizeSettings
from gaitkeeper.audit.clip import MIN_HALF, meet_strangers
from gaitkeeper.audit.grid import AuditSettings
from gaitkeeper.audit.recognition import Progress
from gaitkeeper.audit.report import Example, Panel, Picture, Report, write_report
from gaitkeeper.datasets.base import to_motion
from gaitkeeper.errors import VideoError
from gaitkeeper.metrics.distances import pairwise
from gaitkeeper.models.victim import embed
from gaitkeeper.models.weights import load_victim
from gaitkeeper.perception.people import find_people, walking_track
from gaitkeeper.perception.pictures import tiled
from gaitkeeper.perception.video import Limits, read_clip

_JUDGED = Limits(frames=3000, memory=512 * 2**20)
"""Longer videos are not judged: the judge holds all frames in memory."""

_SHOWN = 48
"""Most frames of the sequences that a report plays."""

_WIDE = 240
"""Columns of the played frames."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What a recognizer says of a walk before and after.

    Args:
        model: the recognizer.
        strangers: people enrolled beside the person.
        threshold: distance up to which a person is accepted.
        error: how often walkers are wrongly accepted, and wrongly rejected, at that threshold.
        natural: distance between the halves of the original walk.
        anonymized: distance between the original's first half and the anonymized second half.
        rank: whether the nearest enrolled walk is the person's, before and after.
    """

    model: str
    strangers: int
    threshold: float
    error: float
    natural: float
    anonymized: float
    rank: tuple[bool, bool]


def judge_videos(original: Path, anonymized: Path, model: str, *, device: str, progress: Progress) -> Judged:
    """Enroll the first half of a walk and ask who the second half shows, as it was and anonymized.

    The anonymized half is decoded from the written file, and its people are found anew.

    Raises:
        VideoError: nobody walks in one of the videos in a way that can be used, or they are too long.
    """
    before = walking_track(find_people(read_clip(original, limits=_JUDGED)))
    middle = len(before.silhouettes) // 2
    if middle < MIN_HALF:
        raise VideoError(
            f"{original}: expected {2 * MIN_HALF} usable silhouettes of a walk, found {len(before.silhouettes)}"
        )
    scene = find_people(read_clip(anonymized, limits=_JUDGED))
    after = walking_track(scene)
    second = after.silhouettes[after.kept >= before.kept[middle]]
    if len(second) < MIN_HALF:
        raise VideoError(
            f"{anonymized}: expected {MIN_HALF} silhouettes of the walk's second half, found {len(second)}"
        )
    victim = load_victim(model, device=device)
    strangers = meet_strangers(victim, AuditSettings(), progress)
    halves = [embed(victim, [to_motion([part])]) for part in (before.silhouettes[:middle], before.silhouettes[middle:])]
    probes = [halves[1], embed(victim, [to_motion([second])])]
    own = [float(pairwise(probe, halves[0], kind=victim.distance)) for probe in probes]
    others = [float(pairwise(probe, strangers.enrolled, kind=victim.distance).min()) for probe in probes]
    return Judged(
        model=model,
        strangers=len(set(strangers.names)),
        threshold=strangers.threshold,
        error=strangers.error,
        natural=own[0],
        anonymized=own[1],
        rank=(own[0] < others[0], own[1] < others[1]),
    )


def report_video(
    done: Done, settings: AnonymizeSettings, *, judge: str | None, frames: bool, device: str, progress: Progress
) -> list[str]:
    """Ask a recognizer about the walk before and after, and write the report beside the anonymized video.

    Args:
        done: what was made.
        settings: how.
        judge: the recognizer; None asks nobody.
        frames: see :func:`write_video_report`.
        device: where the recognizer computes.
        progress: called as work is done.

    Returns:
        The findings.
    """
    judged: Judged | str | None = None
    if judge is not None and done.survey is not None:
        try:
            judged = judge_videos(done.source, done.target, judge, device=device, progress=progress)
        except VideoError as error:
            judged = str(error)
    return write_video_report(done.target.with_suffix(".html"), done, settings, judged, frames=frames)


def sentences(done: Done, settings: AnonymizeSettings, judged: Judged | str | None) -> list[str]:
    """Return what was found and changed, what judges say, and what still identifies.

    Args:
        done: what was made.
        settings: how.
        judged: what a recognizer says, why none could be asked, or None where none was.
    """
    count = len(done.shown)
    if done.survey is None:
        return [f"All of the picture is obscured in all of {count} frames.", *done.notes]
    shown, hidden = int((done.shown > 0).sum()), int((done.hidden > 0).sum())
    people = len(done.survey.people)
    walking = len(done.drawn)
    told = [
        f"{people} {'person was' if people == 1 else 'people were'} followed through {count} frames; "
        f"{walking} of them walk{'s' if walking == 1 else ''} in a way that can be anonymized ({settings.method}, in "
        f"{shown} frames). Where somebody stands, is cut by the picture or was not followed with confidence, a grey "
        f"shape stands for them (in {hidden} frames).",
        f"On average {100 * done.obscured.mean():.0f} % of the picture is taken from the empty scene: what differs "
        "from it and is not explained by a person who walks, and all around people.",
    ]
    doubtful = float(done.survey.unverified.mean())
    if doubtful > 0:
        told.append(
            f"{100 * doubtful:.1f} % of the picture could not be verified to be empty and is filled in from around; "
            "a picture of the empty scene (--background) helps."
        )
    if isinstance(judged, Judged):
        before, after = (
            "accepts" if d <= judged.threshold else "does not accept" for d in (judged.natural, judged.anonymized)
        )
        told.append(
            f"With the first half of the walk enrolled beside {judged.strangers} synthetic people, {judged.model} "
            f"{before} the second half as that person (distance {judged.natural:.2f}, threshold "
            f"{judged.threshold:.2f}), and {after} the anonymized second half (distance {judged.anonymized:.2f}). "
            f"At that threshold it errs on {100 * judged.error:.1f} % of synthetic walkers. One walk and one "
            "recognizer that was not adapted to the method: this does not show how often a person would be identified."
        )
    elif judged:
        told.append(f"No recognizer was asked: {judged}.")
    return [*told, *done.notes]


def remaining(settings: AnonymizeSettings, done: Done) -> list[str]:
    """Return what in the video may still tell who somebody is."""
    kept = ["the place and its details", "when and with whom somebody walks, and companions who are recognized"]
    if done.survey is not None and settings.method != "hide":
        kept.append("the path, the walking speed, the direction and the height in the picture")
        if settings.method == "replacement":
            kept.append("the rhythm of the steps, which the replacement keeps")
            if settings.clothes == "keep":
                kept.append("about the colors of hair, skin and clothes")
        else:
            kept.append("clothes, hair and what is carried, in the original's pixels")
            if settings.faces == "keep":
                kept.append("the face, which was kept")
    if settings.keep_audio and done.recording.audio:
        kept.append("voices, since the sound was kept")
    return kept


def write_video_report(
    path: Path, done: Done, settings: AnonymizeSettings, judged: Judged | str | None, *, frames: bool = True
) -> list[str]:
    """Write the report of one video.

    Args:
        path: the HTML file.
        done: what was made.
        settings: how.
        judged: see :func:`sentences`.
        frames: show frames of the original beside the anonymized ones; the report is then marked as biometric data.

    Returns:
        The findings.
    """
    found = sentences(done, settings, judged)
    pictures, examples = _seen(done) if frames else ([], [])
    write_report(
        path,
        Report(
            title=f"{done.source.name}, anonymized",
            records=(),
            settings={"gaitkeeper": __version__, **_settings(settings)},
            decisions=_people(done),
            pictures=pictures,
            examples=examples,
            findings=found,
            biometric=frames,
            closing="Another recognizer, or somebody who knows the person, may see more.",
            limits=(
                f"What may still tell who somebody is: {'; '.join(remaining(settings, done))}.",
                *([] if settings.background or done.survey is None else [_UNMOVED]),
                *_LIMITS,
            ),
        ),
    )
    return found


_LIMITS = (
    "Identification by recognizers falls; nobody can promise that a person is not recognized by something else.",
    "How often people are identified by recognizers that were trained against each method, gaitkeeper reproduce "
    "gait-anonymization measures on synthetic walkers.",
)

_UNMOVED = (
    "Whoever does not move at all from the first frame to the last looks as a poster does, and may be shown unless "
    "--background gives a picture of the empty scene. Watch the result before publishing it."
)


def _settings(settings: AnonymizeSettings) -> dict[str, object]:
    # A seed would allow whoever has the report to repeat the draws; the user has it already.
    return {key: str(value) for key, value in asdict(settings).items() if key != "seed" and value is not None}


def _people(done: Done) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    if done.survey is None:
        return rows
    fps = done.survey.source.fps
    for person in done.survey.people:
        drawn = done.drawn.get(person.number, {})
        rows.append(
            {
                "person": person.number,
                "from, s": round(person.frames[0] / fps, 1),
                "to, s": round(person.frames[-1] / fps, 1),
                "shown": "changed" if person.number in done.drawn else "as a grey shape",
                **{name: round(value, 2) if isinstance(value, float) else value for name, value in drawn.items()},
            }
        )
    return rows


def _seen(done: Done) -> tuple[list[Picture], list[Example]]:
    """Return frames of both videos side by side, and the part with the most people to play."""
    from gaitkeeper.perception.stream import Frames

    active = np.flatnonzero(done.shown) if done.shown.any() else np.arange(len(done.shown))
    stills = active[np.unique(np.linspace(0, len(active) - 1, 4).round().astype(int))]
    start = int(active[max(0, (len(active) - _SHOWN) // 2)])
    rows = max(48, round(_WIDE * done.recording.rows / done.recording.columns))
    pairs: list[np.ndarray] = []
    played: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    with Frames(done.source, max_rows=360, partial=True) as one, Frames(done.target, max_rows=360) as other:
        for number, (before, after) in enumerate(zip(one, other, strict=False)):
            if number in stills:
                pairs.append(np.concatenate([before.picture, after.picture], axis=1))
            if start <= number < start + _SHOWN:
                for place, frame in zip(played, (before, after), strict=True):
                    place.append(_small(frame.picture, rows))
            if number > max(int(stills[-1]), start + _SHOWN):
                break
    picture = Picture(
        title="Before and after",
        caption="Frames of the original on the left, of the anonymized video on the right.",
        image=tiled(pairs, columns=1),
    )
    example = Example(
        title="The walk",
        caption=f"From {start / float(done.recording.fps):.1f} s on.",
        panels=[
            Panel(label=name, frames=np.stack(frames))
            for name, frames in zip(("original", "anonymized"), played, strict=True)
        ],
        fps=float(done.recording.fps),
    )
    return [picture], [example]


def _small(picture: np.ndarray, rows: int) -> np.ndarray:
    import cv2

    return cv2.resize(picture, (_WIDE, rows), interpolation=cv2.INTER_AREA)
