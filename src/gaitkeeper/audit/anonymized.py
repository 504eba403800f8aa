"""Making what judges see: clips are anonymized, written as video, read again, segmented and aligned; then kept."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import groupby
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from gaitkeeper.anonymize.filters import Unchanged
from gaitkeeper.anonymize.methods import METHODS, method
from gaitkeeper.anonymize.walk import Anonymizer, Walk, with_margin
from gaitkeeper.audit.anonymization_grid import NATURAL, AnonymizationSettings, Part
from gaitkeeper.audit.judges import Recordings
from gaitkeeper.datasets.base import Sample, batches
from gaitkeeper.datasets.walkers import WalkerSequences
from gaitkeeper.errors import DataError
from gaitkeeper.files import replacing
from gaitkeeper.metrics.naturalness import Smoothness, smoothness
from gaitkeeper.motion.silhouettes import HEIGHT, WIDTH, align_sequence
from gaitkeeper.perception.video import read_clip, write_clip
from gaitkeeper.seeding import stream
from gaitkeeper.synthetic.population import FPS

BATCH = 60
"""Clips in one video file: starting a decoder takes longer than decoding one of them."""

FLOOR = 32
"""Levels below this are the coder's, not the picture's."""

LIKENESS = ("overlap", "leg_motion", "outline_jitter", "period_kept")
"""How a clip is compared with its original before it is aligned; see ``metrics.naturalness.Smoothness``."""

_EDITION = 1
"""Raised when the same settings give other recordings, so that kept ones are made anew."""


@dataclass(frozen=True, kw_only=True)
class ReadBack:
    """Clips as they were read back, in the order in which they were asked for.

    Args:
        samples: n, whose they are and from where.
        silhouettes: n, each ``(t, 64, 44)`` uint8 aligned; without frames where nobody was left to be seen.
        likeness: the measures of ``LIKENESS``, each ``(n,)``, of probes; none of others.
    """

    samples: Sequence[Sample]
    silhouettes: Sequence[np.ndarray]
    likeness: Mapping[str, np.ndarray]

    @property
    def left(self) -> np.ndarray:
        """The places of the clips of which something is left, ``(m,)``."""
        return np.array([i for i, frames in enumerate(self.silhouettes) if len(frames)], np.int64)

    def recordings(self, *, anonymized: bool) -> Recordings:
        """Return the clips of which something is left, as judges take them."""
        found = [self.samples[i] for i in self.left]
        return Recordings(
            silhouettes=[self.silhouettes[i] for i in self.left],
            identities=np.array([int(s.subject) for s in found], np.int64),
            views=np.array([s.view for s in found], np.int64),
            conditions=np.array([s.condition for s in found], str),
            anonymized=np.full(len(found), anonymized),
        )


class Recorder:
    """Makes recordings by an anonymizer, or takes those that an earlier run kept.

    Unaltered clips go the same way through writing, reading and segmenting, under the name ``natural``.

    Args:
        settings: whose clips, and how long.
        folder: where recordings are kept.
        seed: of the anonymizers' draws.
        anonymizers: further ones by name, or in place of the known ones.
        progress: called as clips are done.
    """

    def __init__(
        self,
        settings: AnonymizationSettings,
        folder: Path,
        *,
        seed: int,
        anonymizers: Mapping[str, Anonymizer] | None = None,
        progress: Callable[[int, int, str], None],
    ) -> None:
        self.settings, self.folder, self.seed, self.progress = settings, folder, seed, progress
        self._given = dict(anonymizers or {})

    def anonymizer(self, name: str) -> Anonymizer:
        """Return the anonymizer of a name."""
        if name == NATURAL:
            return Unchanged()
        if name in self._given:
            return self._given[name]
        return method(name, self.settings.strength if METHODS[name].strength else 1.0, painted=False)

    def read(self, name: str, part: Part) -> ReadBack:
        """Return the recordings of one part of the measurement.

        Raises:
            DataError: kept recordings are damaged.
        """
        path, key = self.folder / f"{name}-{part}.npz", self._key(name, part)
        samples = self.settings.samples(part)
        if path.is_file():
            kept = _load(path, key, samples)
            if kept is not None:
                return kept
        made = self._make(name, samples, f"{name}, {part}", compared=part == "probes")
        _save(path, key, made)
        return made

    def _key(self, name: str, part: Part) -> str:
        """Return a text that changes with whatever changes the recordings."""
        given = asdict(self.settings)
        shared = {key: given[key] for key in ("conditions", "views", "frames", "form", "population", "strength")}
        shared["subjects"] = sorted({s.subject for s in self.settings.samples(part)})
        made = {"edition": _EDITION, "name": name, "anonymizer": told(self.anonymizer(name)), "seed": self.seed}
        return json.dumps({**shared, **made}, sort_keys=True)

    def _make(self, name: str, samples: Sequence[Sample], text: str, *, compared: bool) -> ReadBack:
        if self.settings.form == "video":
            return self._filmed(name, samples, compared=compared)
        anonymizer, graded = self.anonymizer(name), name in METHODS and METHODS[name].graded
        data = WalkerSequences(
            self.settings.population,
            subjects=sorted({int(s.subject) for s in samples}),
            conditions=list(dict.fromkeys(s.condition for s in samples)),
            views=self.settings.views,
            frames=self.settings.frames,
        )
        places = {sample: index for index, sample in enumerate(data.samples)}
        clips: list[np.ndarray] = []
        found: list[Smoothness] = []
        for chunk in batches(len(samples), BATCH):
            rendered = data.load([places[samples[i]] for i in chunk])
            originals = [with_margin(clip) for clip in rendered if isinstance(clip, np.ndarray)]
            shown = [
                anonymizer(Walk(silhouettes=clip, fps=FPS), stream(self.seed, "anonymize", name, samples[i].key))
                for i, clip in zip(chunk, originals, strict=True)
            ]
            back = read_back([a.silhouettes for a in shown], fps=FPS, graded=graded)
            clips += [align_sequence(clip)[0] for clip in back]
            if compared:
                found += [smoothness(*pair, fps=FPS) for pair in zip(originals, back, strict=True)]
            self.progress(chunk.stop, len(samples), text)
        likeness = {key: np.array([getattr(one, key) for one in found]) for key in LIKENESS} if compared else {}
        return ReadBack(samples=samples, silhouettes=clips, likeness=likeness)

    def _filmed(self, name: str, samples: Sequence[Sample], *, compared: bool) -> ReadBack:
        """Film walkers in color, anonymize the films and segment what was written."""
        from gaitkeeper.audit.filmed import filmed_silhouettes

        clips = filmed_silhouettes(
            self.settings.population, samples, None if name == NATURAL else self.anonymizer(name), name,
            frames=self.settings.frames, seed=self.seed, progress=self.progress,
        )  # fmt: skip
        # Films are segmented anew, so that frames do not correspond and likeness cannot be measured.
        likeness = {key: np.full(len(clips), np.nan) for key in LIKENESS} if compared else {}
        return ReadBack(samples=samples, silhouettes=clips, likeness=likeness)


def told(anonymizer: Anonymizer) -> str:
    """Return an anonymizer's class and settings as a text, the same in every process."""
    values = [(field.name, getattr(anonymizer, field.name)) for field in fields(anonymizer)]  # type: ignore[arg-type]
    named = ", ".join(f"{name}={getattr(value, '__qualname__', None) or repr(value)}" for name, value in values)
    return f"{type(anonymizer).__qualname__}({named})"


def read_back(clips: Sequence[np.ndarray], *, fps: float, graded: bool = False) -> list[np.ndarray]:
    """Write clips as H.264 video, read the files and segment their pictures.

    Several clips share a file, with a black frame between them.

    Args:
        clips: each ``(t, h, w)`` uint8, the person bright.
        fps: frames a second.
        graded: keep greys, but for those below ``FLOOR``. Else every picture is a mask, split at half.

    Returns:
        As many clips of the same shapes.

    Raises:
        VideoError: a file cannot be written, or gives back another number of frames.
    """
    found: list[np.ndarray] = []
    for shape, same in groupby(clips, key=lambda clip: clip.shape[1:]):
        group, gap = list(same), np.zeros((1, *shape), np.uint8)
        with tempfile.TemporaryDirectory(prefix="gaitkeeper-") as folder:
            path = Path(folder) / "clips.mp4"
            frames = np.concatenate([part for clip in group for part in (clip, gap)])
            write_clip(path, np.repeat(frames[..., None], 3, axis=3), fps=fps)
            decoded = read_clip(path, max_rows=None).frames[..., 1]
        if len(decoded) != len(frames):
            raise DataError(f"expected {len(frames)} frames from a file that was just written, got {len(decoded)}")
        keep = decoded * (decoded >= FLOOR) if graded else np.where(decoded >= 128, 255, 0).astype(np.uint8)
        ends = np.cumsum([len(clip) + 1 for clip in group])
        found += [keep[end - 1 - len(clip) : end - 1] for clip, end in zip(group, ends, strict=True)]
    return found


def _save(path: Path, key: str, made: ReadBack) -> None:
    lengths = np.array([len(clip) for clip in made.silhouettes], np.int64)
    frames = np.concatenate([*made.silhouettes, np.zeros((0, HEIGHT, WIDTH), np.uint8)])
    with replacing(path) as temporary:
        arrays = {"key": np.array(key), "lengths": lengths, "frames": frames, **made.likeness}
        np.savez_compressed(temporary, allow_pickle=False, **arrays)


def _load(path: Path, key: str, samples: Sequence[Sample]) -> ReadBack | None:
    """Return kept recordings, or None where they were made otherwise."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            if str(kept["key"]) != key:
                return None
            lengths, frames = kept["lengths"], kept["frames"]
            likeness = {name: kept[name] for name in LIKENESS if name in kept}
    except (OSError, ValueError, KeyError, BadZipFile, EOFError) as error:
        raise DataError(f"{path}: expected recordings of an earlier run, found a damaged file; remove it") from error
    return ReadBack(samples=samples, silhouettes=np.split(frames, np.cumsum(lengths)[:-1]), likeness=likeness)
