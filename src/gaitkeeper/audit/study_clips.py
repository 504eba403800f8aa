"""What a study shows: videos, attacked silhouettes and attacked actions, all as MP4 files that a browser plays."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gaitkeeper.errors import DataError
from gaitkeeper.seeding import stream

if TYPE_CHECKING:
    from gaitkeeper.datasets.base import Sequences
    from gaitkeeper.datasets.clip_files import ClipFiles

LIST = "clips.csv"
"""Name of a list of clips: columns ``file``, ``condition`` and, if the clips have one, ``view``."""

VIDEO = ".mp4"
"""Suffix of videos: what every browser plays, and what ``gaitkeeper anonymize`` writes."""

ATTACKED = "attacked"
"""Folder in which ``gaitkeeper attack`` writes motions."""

FPS = 25.0
"""Frames a second of silhouettes, CASIA-B's: folders of pictures tell no rate."""

ZOOM = 6
"""Pixels a side that a pixel of a silhouette becomes."""

_QUALITY = 8
_MAX_LIST = 16 * 2**20
_MAX_VIDEO = 512 * 2**20
_CHUNK = 2**20


@dataclass(frozen=True, kw_only=True)
class StudyClip:
    """A clip that is ready to be shown.

    Args:
        condition: what was done to it.
        view: camera direction as a text, empty where there is none.
        video: the MP4 file.
        digest: of the file's bytes, or of the frames it was made of; hexadecimal.
    """

    condition: str
    view: str
    video: Path
    digest: str


@dataclass(frozen=True, kw_only=True)
class _Found:
    """A clip that is there: where, under which condition, and how it becomes a video in a file that is given."""

    condition: str
    view: str
    source: str
    origin: Path
    video: Path | None = None
    frames: Callable[[], tuple[np.ndarray, float]] | None = None


def open_study_clips(
    paths: Sequence[Path],
    rendered: Path,
    *,
    per_condition: int | None = None,
    seed: int = 0,
    progress: Callable[[int, int, str], None] = lambda done, total, text: None,
) -> list[StudyClip]:
    """Find clips and make videos of those that are none.

    ===========================================  ================================================================
    ``.mp4``                                     a video; its folder's name is the condition
    ``.csv``, or a folder with ``clips.csv``     a list: ``file``, ``condition``, ``view``; files stay below it
    a folder that ``gaitkeeper attack`` wrote    silhouettes or joints in its ``attacked``; its name is the condition
    a folder with ``.mp4`` files                 the name of the folder that holds a file is its condition; in
                                                 ``<subject>/<condition>/<view>/`` that of the whole folder is
    a folder of silhouettes                      in a layout of :func:`~gaitkeeper.datasets.open.open_sequences`
    ===========================================  ================================================================

    Args:
        paths: of these kinds.
        rendered: an empty folder for the videos that are made.
        per_condition: most clips of each condition, drawn at random; None keeps all.
        seed: of that draw.
        progress: called as clips are ready.

    Returns:
        The clips, by condition.

    Raises:
        DataError: nothing is there to be shown, a file is damaged, two folders would be one condition, or a clip
            is in a condition twice.
    """
    if per_condition is not None and per_condition < 1:
        raise DataError(f"expected at least 1 clip a condition, got {per_condition}")
    found = [clip for path in paths for clip in _find(path)]
    if not found:
        raise DataError("expected clips for a study, got none")
    _check_origins(found)
    found = _drawn(found, per_condition, seed)
    clips: dict[tuple[str, str, str], StudyClip] = {}
    for number, clip in enumerate(found):
        made = _ready(clip, rendered / f"{number}{VIDEO}")
        if (made.condition, made.view, made.digest) in clips:
            raise DataError(f"{clip.source}: expected other clips, found that this one is in {made.condition!r} twice")
        clips[made.condition, made.view, made.digest] = made
        progress(number + 1, len(found), clip.source)
    return list(clips.values())


def _find(path: Path) -> Iterator[_Found]:
    path = path.resolve()
    if path.is_file() and path.suffix.lower() == ".csv":
        yield from _listed(path)
    elif path.is_file():
        yield _video(path, path.parent.name, path.parent)
    elif not path.is_dir():
        raise DataError(f"{path}: expected a video {VIDEO}, a list .csv or a folder of clips, found nothing")
    elif (path / LIST).is_file():
        yield from _listed(path / LIST)
    elif (path / ATTACKED).is_dir():
        yield from _motions(path / ATTACKED, path.name)
    elif videos := sorted(file for file in path.rglob(f"*{VIDEO}") if not file.name.startswith(".")):
        for file in videos:
            *folders, view, _ = ("", *file.relative_to(path).parts)
            if len(folders) == 3 and view.isdecimal():
                yield replace(_video(file, path.name, path), view=str(int(view)))
            else:
                yield _video(file, file.parent.name, file.parent)
    else:
        yield from _motions(path, path.parent.name if path.name == ATTACKED else path.name)


def _video(file: Path, condition: str, origin: Path) -> _Found:
    if file.suffix.lower() != VIDEO:
        raise DataError(f"{file}: expected a video {VIDEO}, which every browser plays, found {file.suffix!r}")
    return _Found(condition=condition, view="", source=str(file), origin=origin, video=file)


def _motions(folder: Path, condition: str) -> Iterator[_Found]:
    """Yield what ``gaitkeeper attack`` wrote, and other folders of silhouettes."""
    from gaitkeeper.datasets.clip_files import INDEX, ClipFiles
    from gaitkeeper.datasets.open import open_sequences

    if (folder / INDEX).is_file():
        clips = ClipFiles(folder)
        for index, written in enumerate(clips.samples):
            yield _Found(
                condition=condition, view="", source=f"{folder}/{written.key}", origin=folder,
                frames=partial(_figure, clips, index),
            )  # fmt: skip
        return
    sequences = open_sequences(folder)
    for index, sample in enumerate(sequences.samples):
        yield _Found(
            condition=condition, view=str(sample.view), source=f"{folder}/{sample.key}", origin=folder,
            frames=partial(_silhouettes, sequences, index),
        )  # fmt: skip


def _figure(clips: ClipFiles, index: int) -> tuple[np.ndarray, float]:
    from gaitkeeper.audit.stick_figures import stick_panels

    (joints,) = clips.load([index])
    if isinstance(joints, DataError):
        raise joints
    # Attacked or not, a clip is drawn as reports draw recorded ones: colors must not tell the rater.
    recorded, *_ = stick_panels(joints, joints, clips.layout)
    return recorded.frames, clips.samples[index].fps  # type: ignore[attr-defined]


def _silhouettes(sequences: Sequences, index: int) -> tuple[np.ndarray, float]:
    (frames,) = sequences.load([index])
    if isinstance(frames, DataError):
        raise frames
    return _enlarged(frames)


def _folder(folder: Path) -> tuple[np.ndarray, float]:
    from gaitkeeper.datasets.folder import read_sequence

    return _enlarged(read_sequence(folder))


def _enlarged(frames: np.ndarray) -> tuple[np.ndarray, float]:
    """Return silhouettes ``(t, h, w)`` as pictures ``(t, zoom h, zoom w, 3)``, and their rate."""
    return np.repeat(frames.repeat(ZOOM, axis=1).repeat(ZOOM, axis=2)[..., None], 3, axis=3), FPS


def _listed(file: Path) -> Iterator[_Found]:
    from gaitkeeper.datasets.tree import read_bounded

    try:
        rows = csv.DictReader(io.StringIO(read_bounded(file, _MAX_LIST).decode("utf-8-sig")), strict=True)
        columns = rows.fieldnames or ()
        listed = list(rows)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: expected a list of clips, found no CSV in UTF-8 ({error})") from error
    if not {"file", "condition"} <= set(columns):
        raise DataError(f"{file}: expected the columns file, condition and view, found {', '.join(columns) or 'none'}")
    for number, row in enumerate(listed, 2):
        name, condition, view = ((row.get(column) or "").strip() for column in ("file", "condition", "view"))
        where = f"{file}, line {number}"
        if not name or not condition:
            raise DataError(f"{where}: expected a file and a condition, found {name!r} and {condition!r}")
        clip = (file.parent / name).resolve()
        if not clip.is_relative_to(file.parent):
            raise DataError(f"{where}: expected a file below {file.parent}, found {name!r}")
        if clip.is_dir():
            yield _Found(
                condition=condition, view=view, source=str(clip), origin=file,
                frames=partial(_folder, clip),
            )  # fmt: skip
        elif clip.is_file():
            yield replace(_video(clip, condition, file), view=view)
        else:
            raise DataError(f"{where}: expected a video or a folder of silhouettes, found nothing at {name!r}")


def _check_origins(found: Sequence[_Found]) -> None:
    """Refuse two folders of one name: nobody could tell their ratings apart."""
    origins: dict[str, Path] = {}
    for clip in found:
        known = origins.setdefault(clip.condition, clip.origin)
        if known != clip.origin:
            raise DataError(
                f"{clip.origin}: expected a condition of its own, found {clip.condition!r} as in {known}; rename one "
                f"or list the clips in a {LIST}"
            )


def _drawn(found: Sequence[_Found], most: int | None, seed: int) -> list[_Found]:
    """Return the clips by condition, of each at most a number drawn at random."""
    chosen: list[_Found] = []
    for condition in dict.fromkeys(clip.condition for clip in found):
        clips = [clip for clip in found if clip.condition == condition]
        if most is not None and len(clips) > most:
            kept = stream(seed, "study clips", condition).choice(len(clips), most, replace=False)
            clips = [clips[index] for index in sorted(kept.tolist())]
        chosen += clips
    return chosen


def _ready(clip: _Found, file: Path) -> StudyClip:
    """Return a clip as a video: the file that is there, or one that is made."""
    from gaitkeeper.perception.video import write_clip

    if clip.video is not None:
        digest = _digest_of(clip.video)
        return StudyClip(condition=clip.condition, view=clip.view, video=clip.video, digest=digest)
    assert clip.frames is not None
    frames, fps = clip.frames()
    # The frames count, not the file: another version of the encoder makes other bytes of the same clip.
    digest = hashlib.sha256(repr((frames.shape, fps)).encode() + np.ascontiguousarray(frames).tobytes()).hexdigest()
    write_clip(file, frames, fps=fps, quality=_QUALITY)
    return StudyClip(condition=clip.condition, view=clip.view, video=file, digest=digest)


def _digest_of(file: Path) -> str:
    size = file.stat().st_size
    if size > _MAX_VIDEO:
        raise DataError(f"{file}: expected a clip of at most {_MAX_VIDEO // 2**20} MiB, found {size // 2**20} MiB")
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        start = opened.read(12)
        if start[4:8] != b"ftyp":
            raise DataError(f"{file}: expected an MP4 file, found other content in its first bytes")
        digest.update(start)
        while data := opened.read(_CHUNK):
            digest.update(data)
    return digest.hexdigest()
