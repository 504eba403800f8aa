"""Frames that can be read again and again: of a video file, or of a clip in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np

from gaitkeeper.perception.stream import Frames, Recording
from gaitkeeper.perception.video import Clip


class Source(Protocol):
    """Frames that can be read again and again, from the first to the last."""

    path: Path
    rows: int
    columns: int
    fps: float
    frames: int | None

    def open(self, *, max_rows: int | None = None) -> AbstractContextManager[Iterator[np.ndarray]]:
        """Read the frames ``(rows, columns, 3)`` uint8 RGB one by one, shrunk to at most so many rows."""
        ...


class ClipSource:
    """The frames of a clip in memory.

    Args:
        clip: the frames.
    """

    def __init__(self, clip: Clip) -> None:
        self._clip = clip
        self.path, self.fps = clip.path, clip.fps
        self.frames: int | None = len(clip)
        self.rows, self.columns = clip.frames.shape[1:3]

    @contextmanager
    def open(self, *, max_rows: int | None = None) -> Iterator[Iterator[np.ndarray]]:
        """Read the frames, see :class:`Source`."""
        size = shrunk(self.rows, self.columns, max_rows)
        yield (resized(frame, size) for frame in self._clip.frames)


class FileSource:
    """The frames of a video file, decoded anew each time.

    Args:
        recording: what is known of it.
        partial: end quietly where the file is damaged.
    """

    def __init__(self, recording: Recording, *, partial: bool = False) -> None:
        self.path, self.fps = recording.path, float(recording.fps)
        self.rows, self.columns, self.frames = recording.rows, recording.columns, recording.frames
        self.partial = partial
        self.damaged: str | None = None

    @contextmanager
    def open(self, *, max_rows: int | None = None) -> Iterator[Iterator[np.ndarray]]:
        """Read the frames, see :class:`Source`."""
        with Frames(self.path, max_rows=max_rows, partial=self.partial) as frames:
            yield (frame.picture for frame in frames)
            self.damaged = frames.damaged


def shrunk(rows: int, columns: int, max_rows: int | None) -> tuple[int, int]:
    """Return rows and columns of a picture shrunk to at most so many rows."""
    if max_rows is None or rows <= max_rows:
        return rows, columns
    return max_rows, max(1, round(columns * max_rows / rows))


def resized(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return a frame shrunk to rows and columns."""
    import cv2

    if frame.shape[:2] == size:
        return frame
    return cv2.resize(frame, size[::-1], interpolation=cv2.INTER_AREA)
