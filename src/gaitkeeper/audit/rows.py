"""Rows on disk: appended as they come, so that an audit that is killed goes on where it stopped."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from gaitkeeper.errors import GaitkeeperError
from gaitkeeper.files import write_text

Row = dict[str, Any]
"""One sample under one cell."""


class Rows:
    """The rows of an audit in ``rows.jsonl``, one a cell and sample.

    A line that was only half-written when the audit died is cut off. Rows are identified by their ``model``,
    ``cell`` and ``sample``; appending one that is there already changes nothing.

    Args:
        folder: where ``rows.jsonl`` and ``settings.json`` are.
        settings: what defines the rows.

    Raises:
        GaitkeeperError: the folder holds rows made with other settings, or a damaged row.
    """

    def __init__(self, folder: Path, settings: dict[str, object]) -> None:
        if folder.exists() and not folder.is_dir():
            raise GaitkeeperError(f"{folder}: expected a folder to write to, found a file")
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "rows.jsonl"
        self._same_settings(folder / "settings.json", settings)
        self._rows: dict[tuple[Any, ...], Row] = {}
        if self.path.exists():
            self._read()
        self._file: IO[str] = self.path.open("a", encoding="utf-8")

    def _same_settings(self, path: Path, settings: dict[str, object]) -> None:
        text = json.dumps(settings, indent=2, sort_keys=True) + "\n"
        if not path.exists():
            if self.path.exists():
                raise GaitkeeperError(f"{self.path}: there are rows without {path.name}; use another folder")
            write_text(path, text)
        elif path.read_text(encoding="utf-8") != text:
            raise GaitkeeperError(
                f"{path}: the folder holds an audit with other settings; use another folder, or remove it"
            )

    def _read(self) -> None:
        data = self.path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.truncate(self.path, whole)
        for number, line in enumerate(data[:whole].splitlines(), 1):
            try:
                row = json.loads(line)
                self._rows[self._identity(row)] = row
            except (ValueError, KeyError, TypeError) as error:
                raise GaitkeeperError(f"{self.path}, line {number}: not a row of an audit ({error})") from error

    @staticmethod
    def _identity(row: Row) -> tuple[Any, ...]:
        return row["model"], row["cell"], row["sample"]

    def __len__(self) -> int:
        return len(self._rows)

    def has(self, model: str, cell: str, sample: str) -> bool:
        """Say whether a row is there."""
        return (model, cell, sample) in self._rows

    def get(self, model: str, cell: str, sample: str) -> Row:
        """Return a row that is there."""
        return self._rows[model, cell, sample]

    def append(self, rows: Sequence[Row]) -> None:
        """Write the rows that are not there yet, and wait until they are on disk."""
        new = [row for row in rows if self._identity(row) not in self._rows]
        try:
            self._file.write("".join(json.dumps(row) + "\n" for row in new))
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise GaitkeeperError(f"{self.path}: rows cannot be written: {error.strerror}") from error
        self._rows |= {self._identity(row): row for row in new}

    def all(self) -> list[Row]:
        """Return every row."""
        return list(self._rows.values())

    def close(self) -> None:
        """Close the file; what could not be written has been reported and is dropped."""
        with contextlib.suppress(OSError):
            self._file.close()

    def __enter__(self) -> Rows:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
