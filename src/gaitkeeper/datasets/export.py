"""Writing walkers as silhouettes, masks, joints and color video in CASIA-B's layout, and as contact sheets."""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from gaitkeeper.datasets.base import Sample
from gaitkeeper.errors import DataError
from gaitkeeper.files import replacing
from gaitkeeper.synthetic.population import Population

if TYPE_CHECKING:
    from gaitkeeper.synthetic.walkers import Walkers

Form = Literal["aligned", "masks", "video", "skeletons"]
"""What of a walker is written; see :func:`render_walkers`."""


def sequence_folder(root: Path, sample: Sample) -> Path:
    """Return where a sample's pictures belong: ``<subject>/<condition>/<view>``."""
    return root / sample.subject / sample.condition / f"{sample.view:03d}"


@contextmanager
def _replacing_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder; on success it takes the name, and what was there is gone, else it is removed."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield temporary
        temporary.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_picture(path: Path, picture: np.ndarray) -> None:
    """Write a grey picture ``(h, w)`` uint8 as PNG."""
    import cv2

    try:
        _, encoded = cv2.imencode(".png", picture)
    except cv2.error as error:
        raise DataError(f"{path}: expected a picture (h, w) uint8, found {picture.shape} {picture.dtype}") from error
    path.write_bytes(encoded.tobytes())


def write_sequence(root: Path, sample: Sample, frames: np.ndarray) -> Path:
    """Write a sequence ``(t, h, w)`` uint8 as ``<subject>-<condition>-<view>-<frame>.png``, whole or not at all.

    Args:
        root: the data set's folder.
        sample: whose sequence it is.
        frames: the pictures; frames count from 1 in the file names, as in CASIA-B.

    Returns:
        The sequence's folder; one that is there already is replaced.
    """
    folder = sequence_folder(root, sample)
    stem = sample.key.replace("/", "-")
    with _replacing_folder(folder) as temporary:
        for number, frame in enumerate(frames, 1):
            _write_picture(temporary / f"{stem}-{number:03d}.png", frame)
    return folder


def _write_video(root: Path, sample: Sample, walkers: "Walkers", frames: int) -> Path:
    """Film a walk and write ``video.mp4`` and its true masks ``mask-<frame>.png``, whole or not at all."""
    from gaitkeeper.perception.video import write_clip
    from gaitkeeper.synthetic.video import video

    folder = sequence_folder(root, sample)
    footage = video(walkers, int(sample.subject), sample.condition, sample.view, frames=frames)
    with _replacing_folder(folder) as temporary:
        # Hardly any loss, in a form that every player shows.
        write_clip(temporary / "video.mp4", footage.frames, fps=footage.fps, quality=8)
        for number, mask in enumerate(footage.masks, 1):
            _write_picture(temporary / f"mask-{number:03d}.png", mask)
    return folder


def write_sheet(path: Path, population: Population, *, subjects: Sequence[int], conditions: Sequence[str]) -> None:
    """Write a contact sheet of walkers as PNG: a row a walk, a column a view.

    Args:
        path: the picture; its folder is made.
        population: who the walkers are.
        subjects: numbers 1 to 124.
        conditions: for instance ``nm-01``.

    Raises:
        DataError: no walk is asked for, or there is no such subject or condition.
    """
    from gaitkeeper.synthetic.sheet import by_view
    from gaitkeeper.synthetic.walkers import Walkers

    walks = [(subject, condition) for subject in subjects for condition in conditions]
    if not walks:
        raise DataError(f"{path}: expected at least one subject and one condition for a contact sheet, found none")
    picture = by_view(Walkers(population), walks)
    with replacing(path) as temporary:
        _write_picture(temporary, picture)


def render_walkers(
    out: Path,
    population: Population,
    *,
    subjects: Sequence[int],
    conditions: Sequence[str],
    views: Sequence[int],
    frames: int,
    form: Form,
    progress: Callable[[int, int, str], None],
) -> int:
    """Render walkers into ``<subject>/<condition>/<view>/``; sequences that are there already are kept.

    Args:
        out: the data set's folder.
        population: who the walkers are.
        subjects: numbers 1 to 124.
        conditions: for instance ``nm-01``.
        views: camera directions in degrees; joints have none and are written once a walk.
        frames: of each sequence.
        form: aligned silhouettes or camera masks as PNG files, joints as ``skeleton.npy``, or color video with its
            true masks.
        progress: called as walks are done.

    Returns:
        The number of sequences in the folder.
    """
    from gaitkeeper.synthetic.walkers import Walkers

    crowd = Walkers(population)
    walks = [(subject, condition) for subject in subjects for condition in conditions]
    count = 0
    for done, (subject, condition) in enumerate(walks, 1):
        samples = [Sample(f"{subject:03d}", condition, view) for view in views]
        missing = [s for s in samples if not sequence_folder(out, s).exists()]
        if form == "skeletons":
            folder = out / samples[0].subject / condition
            with replacing(folder / "skeleton.npy") as temporary:
                np.save(temporary, crowd.skeleton(subject, condition, frames=frames))
            count += 1
        elif form == "aligned" and missing:
            rendered = crowd.silhouettes(subject, condition, [s.view for s in missing], frames=frames)
            for sample, sequence in zip(missing, rendered, strict=True):
                write_sequence(out, sample, sequence)
        elif form == "masks":
            for sample in missing:
                write_sequence(out, sample, crowd.masks(subject, condition, sample.view, frames=frames))
        elif form == "video":
            for sample in missing:
                _write_video(out, sample, crowd, frames)
        count += 0 if form == "skeletons" else len(samples)
        progress(done, len(walks), f"{subject:03d}/{condition}")
    return count
