"""A local page on which people rate how natural movement looks: the command that serves and reports it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gaitkeeper.audit.study_clips import open_study_clips
from gaitkeeper.audit.study_server import StudyServer
from gaitkeeper.audit.study_store import Store

if TYPE_CHECKING:
    from gaitkeeper.audit.opinions import Opinion

DATABASE = "ratings.sqlite"
"""Name of the database in the folder of a study."""


def serve(
    paths: Sequence[Path],
    database: Path,
    *,
    port: int = 0,
    host: str = "127.0.0.1",
    seed: int = 0,
    per_condition: int | None = None,
    contact: str = "",
    progress: Callable[[int, int, str], None] = lambda done, total, text: None,
    ready: Callable[[str], None] = print,
) -> None:
    """Serve a study until it is interrupted from the keyboard.

    Args:
        paths: the clips; see :func:`~gaitkeeper.audit.study_clips.open_study_clips`.
        database: file of the ratings; one of the same clips and seed is gone on with.
        port: 0 takes any that is free.
        host: a loopback address.
        seed: of the clips drawn and of the orders in which participants see them.
        per_condition: most clips of each condition.
        contact: whom raters may ask.
        progress: called as clips are ready to be shown.
        ready: called with the page's address.

    Raises:
        DataError: the clips, the database or the address cannot be used.

    Reference:
        Tieu et al., "Spatio-temporal generative adversarial network for gait anonymization", section 4.3, subjective
        evaluation: 20 volunteers, 60 clips in random order, a five-point scale.

    Deviations:
        Each participant has an order of their own, and may change a rating until all are given.
    """
    with tempfile.TemporaryDirectory(prefix="gaitkeeper-study-") as folder:
        clips = open_study_clips(paths, Path(folder), per_condition=per_condition, seed=seed, progress=progress)
        store = Store.of(database, clips, seed=seed)
        with StudyServer(clips, store, port=port, host=host, contact=contact) as server:
            try:
                ready(server.address)
                server.serve_forever(poll_interval=0.1)
            except KeyboardInterrupt:
                return


def study(
    clips: Sequence[Path],
    *,
    out: Path,
    port: int = 0,
    seed: int = 0,
    per_condition: int | None = None,
    contact: str = "",
    report: bool = False,
    progress: Callable[[int, int, str], None] = lambda done, total, text: None,
    ready: Callable[[str], None] = print,
) -> list[Opinion]:
    """Serve a study until it is interrupted from the keyboard, then report it.

    Args:
        clips: what is shown; see :func:`serve`.
        out: folder for ``ratings.sqlite``, ``report.html``, ``opinions.csv`` and ``ratings.csv``.
        port: 0 takes any that is free.
        seed: of the clips drawn and of the orders in which participants see them.
        per_condition: most clips of each condition.
        contact: whom raters may ask.
        report: only report what was rated before; no clips are needed.
        progress: called as clips are ready to be shown.
        ready: called with the page's address.

    Returns:
        The opinions reported; none if nobody has rated yet.

    Raises:
        DataError: the clips, the database or the address cannot be used, or there is nothing to report.
    """
    from gaitkeeper.audit.opinion_report import write_opinion_report
    from gaitkeeper.audit.opinions import read_ratings

    database = out / DATABASE
    if not report:
        serve(
            clips, database, port=port, seed=seed, per_condition=per_condition, contact=contact, progress=progress,
            ready=ready,
        )  # fmt: skip
        if not read_ratings(database):
            return []
    return write_opinion_report(out, database)
