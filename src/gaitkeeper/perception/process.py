"""The decoding process as its parent sees it: requests, answers, and a watchdog for files that hang it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from gaitkeeper.errors import VideoError


class DecodingProcess:
    """The decoding process at work on one file, with a watchdog. A context manager: leaving ends the process."""

    def __init__(self, path: Path, request: Mapping[str, object], stall: float) -> None:
        self.path, self.stall = path, stall
        self._request = json.dumps({"path": str(path.resolve()), **request}).encode() + b"\n"

    def __enter__(self) -> DecodingProcess:
        with ExitStack() as stack:
            self._errors = stack.enter_context(tempfile.TemporaryFile())
            self._process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "gaitkeeper.perception.decoder"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=self._errors,
                )
            )
            stack.callback(self._hang_up)
            stack.callback(self._process.kill)
            assert self._process.stdin is not None
            self._stdin = self._process.stdin
            self._watchdog = _Watchdog(self._process.kill, self.stall)
            self._watchdog.start()
            stack.callback(self._watchdog.dismiss)
            with contextlib.suppress(BrokenPipeError):  # a process that died already is found out on reading
                self._stdin.write(self._request)
                self._stdin.flush()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def _hang_up(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()

    def line(self) -> bytes:
        """Return the next line, empty at the end."""
        assert self._process.stdout is not None
        with self._watchdog:
            return self._process.stdout.readline()

    def fill(self, buffer: bytearray | memoryview) -> bool:
        """Fill a buffer; return whether there was enough."""
        assert self._process.stdout is not None
        with self._watchdog:
            return self._process.stdout.readinto(buffer) == len(buffer)  # type: ignore[attr-defined]

    def finish(self, *, partial: bool = False) -> str | None:
        """Wait for the process to end by itself, raise what it complains of, or return that if ``partial``."""
        with self._watchdog:
            status = self._process.wait()
        if self._watchdog.bit:
            raise VideoError(f"{self.path}: expected the decoder to go on within {self.stall:g} s, found that it hangs")
        if status < 0:
            raise VideoError(
                f"{self.path}: expected a video that decodes, found that it killed the decoder (signal {-status})"
            )
        if status == 0:
            return None
        self._errors.seek(0)
        line = self._errors.read()[-4096:].decode(errors="replace").strip().rpartition("\n")[2]
        try:
            problem = json.loads(line)
        except ValueError:
            problem = f"expected a video that decodes, found that the decoder failed (status {status}): {line[:200]}"
        if partial:
            return str(problem)
        raise VideoError(f"{self.path}: {problem}")


class _Watchdog(threading.Thread):
    """Bites, once, when it has been waited in it (as a context manager) for longer than some seconds."""

    def __init__(self, bite: Callable[[], None], seconds: float) -> None:
        super().__init__(daemon=True)
        self.bit = False
        self._bite, self._seconds = bite, seconds
        self._since: float | None = None
        self._dismissed = threading.Event()

    def run(self) -> None:
        while not self._dismissed.wait(min(1.0, self._seconds / 4)):
            since = self._since
            if since is not None and time.monotonic() - since > self._seconds:
                self.bit = True
                self._bite()
                return

    def dismiss(self) -> None:
        self._dismissed.set()
        self.join()

    def __enter__(self) -> None:
        self._since = time.monotonic()

    def __exit__(self, *error: object) -> None:
        self._since = None
