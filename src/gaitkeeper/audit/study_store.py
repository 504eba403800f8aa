"""The ratings of a study in SQLite: who agreed under which code, what was shown, what was rated."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from gaitkeeper.audit.study_clips import StudyClip
from gaitkeeper.errors import DataError
from gaitkeeper.files import replacing
from gaitkeeper.seeding import stream

SCORES = {1: "Bad", 2: "Poor", 3: "Fair", 4: "Good", 5: "Excellent"}
"""The scale of mean opinion scores."""

ALPHABET = "23456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Characters of a participant's code; none can be taken for another."""

_APPLICATION = 0x47414954
_LENGTH = 8
_SCHEMA = """
CREATE TABLE study (seed INTEGER NOT NULL, created TEXT NOT NULL);
CREATE TABLE clips (
    id INTEGER PRIMARY KEY,
    condition TEXT NOT NULL,
    view TEXT NOT NULL,
    digest TEXT NOT NULL,
    UNIQUE (condition, view, digest)
);
CREATE TABLE participants (
    id INTEGER PRIMARY KEY,
    code TEXT NOT NULL UNIQUE,
    consented TEXT NOT NULL,
    finished TEXT
);
CREATE TABLE ratings (
    participant INTEGER NOT NULL REFERENCES participants (id) ON DELETE CASCADE,
    clip INTEGER NOT NULL REFERENCES clips (id),
    score INTEGER CHECK (score BETWEEN 1 AND 5),
    rated TEXT NOT NULL,
    PRIMARY KEY (participant, clip)
);
"""


@dataclass(frozen=True, kw_only=True)
class Participant:
    """Someone who agreed to take part.

    Args:
        code: random, known to nobody else.
        finished: whether the ratings are final.
        ratings: score of each clip rated, by the clip's number; None for one that could not be played.
    """

    code: str
    finished: bool
    ratings: dict[int, int | None]


class Store:
    """A study's database. Each call opens a connection of its own, so that threads may share a store.

    Deleted ratings are overwritten, not only marked as free.

    Args:
        path: the file, made by :meth:`of`.

    Raises:
        DataError: it is missing or no study's.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise DataError(f"{path}: expected the database of a study, found nothing")
        try:
            with self.connect() as database:
                (application,) = database.execute("PRAGMA application_id").fetchone()
                known = application == _APPLICATION
                self.seed: int = database.execute("SELECT seed FROM study").fetchone()[0] if known else 0
        except sqlite3.DatabaseError as error:
            raise DataError(f"{path}: expected the database of a study ({error})") from error
        if not known:
            raise DataError(f"{path}: expected the database of a study, found another one")

    @classmethod
    def of(cls, path: Path, clips: Sequence[StudyClip], *, seed: int) -> Store:
        """Open the database of a study of given clips; it is made where there is none.

        Args:
            path: the file.
            clips: what is shown.
            seed: of the orders in which participants see them.

        Raises:
            DataError: it belongs to other clips or another seed, is no study's, or cannot be written.
        """
        if not path.exists():
            _create(path, clips, seed)
        store = cls(path)
        asked = {(clip.condition, clip.view, clip.digest) for clip in clips}
        with store.connect() as database:
            there = set(database.execute("SELECT condition, view, digest FROM clips"))
        if there != asked or store.seed != seed:
            raise DataError(
                f"{path}: expected the study of these {len(asked)} clips with seed {seed}, found one of {len(there)} "
                f"with seed {store.seed}, {len(there & asked)} clips in common; give another folder"
            )
        return store

    @contextmanager
    def connect(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection; what is done with it is one transaction."""
        with closing(sqlite3.connect(self.path, timeout=10)) as database:
            database.execute("PRAGMA foreign_keys = ON")
            database.execute("PRAGMA secure_delete = ON")
            with database:
                yield database

    def numbers(self) -> dict[tuple[str, str, str], int]:
        """Return the number of each clip by condition, view and digest."""
        with self.connect() as database:
            rows = database.execute("SELECT condition, view, digest, id FROM clips")
            return {(condition, view, digest): number for condition, view, digest, number in rows}

    def enroll(self) -> Participant:
        """Take in someone who agreed to take part, under a code that nobody can guess."""
        code = "".join(secrets.choice(ALPHABET) for _ in range(_LENGTH))
        with self.connect() as database:
            database.execute("INSERT INTO participants (code, consented) VALUES (?, ?)", (code, _now()))
        return Participant(code=code, finished=False, ratings={})

    def participant(self, code: str) -> Participant | None:
        """Return who has a code, written in any case and with or without dashes; None if nobody has."""
        code = "".join(code.upper().replace("-", " ").split())
        with self.connect() as database:
            row = database.execute("SELECT id, finished FROM participants WHERE code = ?", (code,)).fetchone()
            if row is None:
                return None
            ratings = dict(database.execute("SELECT clip, score FROM ratings WHERE participant = ?", (row[0],)))
        return Participant(code=code, finished=row[1] is not None, ratings=ratings)

    def order(self, code: str) -> list[int]:
        """Return the clips' numbers in the order in which a participant sees them."""
        numbers = [number for _, number in sorted(self.numbers().items())]
        return [numbers[index] for index in stream(self.seed, "study order", code).permutation(len(numbers)).tolist()]

    def rate(self, code: str, clip: int, score: int | None) -> None:
        """Keep a rating in place of an earlier one.

        Args:
            code: the participant's.
            clip: the clip's number.
            score: 1 to 5; None for a clip that could not be played.

        Raises:
            DataError: there is no such clip or score, nobody has the code, or the participant has finished.
        """
        with self.connect() as database:
            try:
                done = database.execute(
                    "INSERT INTO ratings (participant, clip, score, rated) "
                    "SELECT id, ?, ?, ? FROM participants WHERE code = ? AND finished IS NULL "
                    "ON CONFLICT (participant, clip) DO UPDATE SET score = excluded.score, rated = excluded.rated",
                    (clip, score, _now(), code),
                )
            except sqlite3.IntegrityError as error:
                raise DataError(f"expected a score from 1 to 5 of a clip of the study, got {score}") from error
            if done.rowcount != 1:
                raise DataError("expected a participant who has not finished")

    def finish(self, code: str) -> None:
        """Make a participant's ratings final."""
        with self.connect() as database:
            database.execute("UPDATE participants SET finished = ? WHERE code = ? AND finished IS NULL", (_now(), code))

    def withdraw(self, code: str) -> None:
        """Delete a participant and all ratings, in the log of changes too."""
        with self.connect() as database:
            database.execute("DELETE FROM participants WHERE code = ?", (code,))
        with closing(sqlite3.connect(self.path, timeout=10)) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def shown_code(code: str) -> str:
    """Return a code in groups of four, as people read it."""
    return "-".join(code[start : start + 4] for start in range(0, len(code), 4))


def _create(path: Path, clips: Sequence[StudyClip], seed: int) -> None:
    try:
        with replacing(path) as temporary, closing(sqlite3.connect(temporary)) as database:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute(f"PRAGMA application_id = {_APPLICATION}")
            database.executescript(_SCHEMA)
            with database:
                database.execute("INSERT INTO study VALUES (?, ?)", (seed, _now()))
                database.executemany(
                    "INSERT INTO clips (condition, view, digest) VALUES (?, ?, ?)",
                    sorted((clip.condition, clip.view, clip.digest) for clip in clips),
                )
    except (sqlite3.Error, OSError) as error:
        raise DataError(f"{path}: the database cannot be made: {error}") from error


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
