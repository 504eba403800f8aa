"""From a video file to one that hides who walks in it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gaitkeeper.anonymize.compose import Composer, ComposeSettings
from gaitkeeper.anonymize.masks import MaskFolder
from gaitkeeper.anonymize.methods import method
from gaitkeeper.anonymize.settings import AnonymizeSettings
from gaitkeeper.anonymize.sources import FileSource
from gaitkeeper.anonymize.survey import Progress, Survey, survey
from gaitkeeper.anonymize.walk import Anonymizer
from gaitkeeper.errors import DataError, VideoError
from gaitkeeper.files import replacing
from gaitkeeper.perception.stream import Frames, Recording, probe
from gaitkeeper.perception.writer import Writer
from gaitkeeper.seeding import stream

VIDEOS = (".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv", ".flv", ".ogv", ".3gp")
"""Endings by which a folder's videos are known."""

_SUFFIX = "_anonymized"

_CELLS = 16
"""Rows of cells that a wholly obscured picture is reduced to."""


@dataclass(frozen=True, kw_only=True)
class Done:
    """What was made of a video.

    Args:
        source: the original.
        target: what was written.
        recording: what is known of the original.
        survey: the empty scene and the people; None where the whole picture was obscured.
        shown: ``(t,)`` people in each frame who are shown changed.
        hidden: ``(t,)`` people in it of whom nothing is shown but where they are.
        obscured: ``(t,)`` share of the picture that was taken from the empty scene.
        drawn: for each person what was estimated and drawn.
        notes: what else to know, in sentences.
    """

    source: Path
    target: Path
    recording: Recording
    survey: Survey | None
    shown: np.ndarray
    hidden: np.ndarray
    obscured: np.ndarray
    drawn: dict[int, dict[str, float | str]]
    notes: tuple[str, ...] = ()


def find_videos(paths: Iterable[Path]) -> list[Path]:
    """Return the videos named, and those in folders named, in order and each once. Our own results are left out.

    Raises:
        DataError: there is nothing of a name, or no video in a folder.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if not path.exists():
            raise DataError(f"{path}: expected a video or a folder of videos, found nothing there")
        if not path.is_dir():
            found[path] = None
            continue
        inside = sorted(p for p in path.iterdir() if p.suffix.lower() in VIDEOS and not p.stem.endswith(_SUFFIX))
        if not inside:
            raise DataError(f"{path}: expected videos ({', '.join(VIDEOS)}), found none in this folder")
        found |= dict.fromkeys(inside)
    return list(found)


def target_of(path: Path, out: Path | None) -> Path:
    """Return where a video's anonymized one goes: beside it, or in a folder."""
    return (path.parent if out is None else out) / f"{path.stem}{_SUFFIX}.mp4"


def anonymize_file(
    path: Path,
    target: Path,
    settings: AnonymizeSettings,
    *,
    progress: Progress = lambda done, total, text: None,
) -> Done:
    """Anonymize a video of a static camera; the file appears whole or not at all.

    Args:
        path: the video.
        target: where to write; MP4.
        settings: see the class.
        progress: called with frames done, frames in all and what is being done.

    Raises:
        VideoError: it cannot be decoded, its camera moves, or it shows too little to tell people from background.
        DataError: masks or the picture of the empty scene do not fit.
    """
    made = _method(settings)
    recording, source, found, notes = _surveyed(path, settings, progress)
    composer = None if found is None else _composer(found, made, settings, path)
    sound = path if settings.keep_audio and recording.audio else None
    with (
        Frames(path, partial=settings.force) as frames,
        Writer(target, recording, sound=sound, partial=settings.force) as writer,
    ):
        total = (found.count if found else source.frames) or 1
        number = 0
        for number, (picture, time) in enumerate(frames, 1):
            writer.add(composer.compose(number - 1, picture) if composer else mosaic(picture), time)
            if number % 10 == 0:
                progress(number, max(total, number), "putting frames together")
    if source.damaged or frames.damaged:
        notes.append(f"The file could be read only in part: {frames.damaged or source.damaged}.")
    empty = np.zeros(number)
    return Done(
        source=path,
        target=target,
        recording=recording,
        survey=found,
        shown=empty if composer is None else composer.shown,
        hidden=empty if composer is None else composer.hidden,
        obscured=empty + 1 if composer is None else composer.obscured,
        drawn={} if composer is None else composer.drawn,
        notes=tuple(notes),
    )


def preview_file(
    path: Path,
    target: Path,
    settings: AnonymizeSettings,
    *,
    progress: Progress = lambda done, total, text: None,
) -> int:
    """Write one frame of a video beside the anonymized one, as a PNG file with the original on the left.

    The frame is one in which the most people are shown, in the middle of such frames.

    Returns:
        The frame's number.

    Raises:
        VideoError: as for :func:`anonymize_file`.
    """
    import cv2

    made = _method(settings)
    recording, _, found, _ = _surveyed(path, settings, progress)
    composer = None if found is None else _composer(found, made, settings, path)
    chosen = (recording.frames or 0) // 2 if composer is None else composer.busiest()
    picture: np.ndarray | None = None
    number = 0
    with Frames(path, partial=settings.force) as frames:
        # A damaged file may end before the middle that its header announces.
        for number, frame in enumerate(frames):
            picture = frame.picture
            if number == chosen:
                break
    if picture is None:
        raise VideoError(f"{path}: expected video frames, found none")
    shown = composer.compose(number, picture) if composer else mosaic(picture)
    with replacing(target) as temporary:
        cv2.imwrite(str(temporary), np.concatenate([picture, shown], axis=1)[..., ::-1])
    return number


def mosaic(picture: np.ndarray) -> np.ndarray:
    """Return a picture ``(rows, columns, 3)`` of which a few cells a side are left."""
    import cv2

    rows, columns = picture.shape[:2]
    size = (max(1, round(_CELLS * columns / rows)), min(_CELLS, rows))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (columns, rows), interpolation=cv2.INTER_NEAREST)


def _surveyed(
    path: Path, settings: AnonymizeSettings, progress: Progress
) -> tuple[Recording, FileSource, Survey | None, list[str]]:
    """Return what is known of a video; no survey where all of the picture has to be obscured."""
    recording = probe(path)
    source = FileSource(recording, partial=settings.force)
    notes = []
    if recording.bits > 8:
        notes.append(f"The original has {recording.bits} bits a channel; 8 are kept.")
    masks = None if settings.masks is None else MaskFolder(settings.masks)
    empty = None if settings.background is None else _picture(settings.background, recording)
    try:
        return recording, source, survey(source, empty=empty, masks=masks, progress=progress), notes
    except VideoError as error:
        if not settings.force:
            advice = "" if source.damaged else "; --force obscures all of the picture"
            raise VideoError(f"{error}{advice}") from error
        notes.append(f"All of the picture is obscured: {error}.")
        return recording, source, None, notes


def _method(settings: AnonymizeSettings) -> Anonymizer | None:
    """Return what is done to people who walk. Made first: what cannot be done is told before a video is read."""
    return None if settings.method == "hide" else method(settings.method, settings.strength)


def _composer(found: Survey, made: Anonymizer | None, settings: AnonymizeSettings, path: Path) -> Composer:
    return Composer(
        found,
        made,
        _randomness(settings.seed, path.name),
        ComposeSettings(faces=settings.faces, clothes=settings.clothes),
    )


def _randomness(seed: int | None, name: str) -> Callable[[int], np.random.Generator]:
    """Return what gives a person's generator, the same whenever it is asked for during a run."""
    secret = secrets.randbits(128) if seed is None else seed
    return lambda person: stream(secret, "anonymize", name, person)


def _picture(path: Path, recording: Recording) -> np.ndarray:
    import cv2

    if not path.is_file():
        raise DataError(f"{path}: expected a picture of the empty scene, found nothing there")
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise DataError(f"{path}: expected a picture of the empty scene, found a file that is none")
    if picture.shape[:2] != (recording.rows, recording.columns):
        raise DataError(
            f"{path}: expected a picture of {recording.columns}x{recording.rows} pixels as the video's, "
            f"found {picture.shape[1]}x{picture.shape[0]}"
        )
    return picture[..., ::-1].copy()
