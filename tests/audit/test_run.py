"""Whole audits of a small network on small folders, through the command line where that is how they are used."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from gaitkeeper.audit.grid import AuditSettings, Cell, GridSettings
from gaitkeeper.audit.run import run_audit
from gaitkeeper.audit.summary import summarize
from gaitkeeper.datasets.export import sequence_folder
from gaitkeeper.errors import DataError
from tests.figures import drawn_folder

ROOT = Path(__file__).resolve().parents[2]
MODEL = "tests.attacks.victims:gait_module"
SMALL = GridSettings(linf=(16,), l2=(), attacks=("pgd",), targeted_linf=(16,), frames=(1,), steps=3, frame_steps=3)
FLAGS = "--grid.linf 16 --grid.l2 --grid.attacks pgd --grid.targeted-linf 16 --grid.frames 1 --grid.steps 3"
COMMAND = [*f"--probes 3 --batch 2 --grid.frame-steps 3 --device cpu {FLAGS}".split(), "--model", MODEL]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return drawn_folder(tmp_path_factory.mktemp("silhouettes"))


def settings(folder, **more):
    return AuditSettings(model=(MODEL,), data=str(folder), probes=3, batch=2, grid=SMALL, **more)


def start(out, folder):
    command = [sys.executable, "-m", "gaitkeeper", "audit", "--out", str(out), "--data", str(folder), *COMMAND]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_an_audit_that_is_killed_loses_and_doubles_nothing(tmp_path, folder):
    whole = tmp_path / "whole"
    run_audit(settings(folder), whole)
    cut = tmp_path / "cut"
    process = start(cut, folder)
    rows = cut / "rows.jsonl"
    while not (rows.exists() and rows.read_bytes().count(b"\n") >= 7):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (cut / "summary.json").exists()
    before = [line for line in rows.read_text().splitlines(keepends=True) if line.endswith("\n")]
    with rows.open("ab") as file:
        file.write(b'{"model": "tests')
    process = start(cut, folder)
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    assert "report.html" in output

    after = rows.read_text().splitlines(keepends=True)
    assert after[: len(before)] == before

    def identities(lines):
        return sorted((row["model"], row["cell"], row["sample"]) for row in map(json.loads, lines))

    assert identities(after) == identities((whole / "rows.jsonl").read_text().splitlines())
    names = ("attack", "goal", "budget", "stored", "condition", "view", "metric", "n")
    summaries = [json.loads((out / "summary.json").read_text()) for out in (whole, cut)]
    assert [[r[k] for k in names] for r in summaries[0]] == [[r[k] for k in names] for r in summaries[1]]
    assert (cut / "report.html").stat().st_size > 10_000


def test_rows_and_summary_say_the_same(tmp_path, folder):
    outcome = run_audit(settings(folder), tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert len(rows) == len(list(SMALL.cells())) * 9
    records = json.loads((tmp_path / "summary.json").read_text())
    assert records == outcome.records == summarize(rows)
    wanted = ("model", "data", "attack", "goal", "budget", "condition", "view", "metric", "value", "low", "high", "n")
    assert all(set(wanted) <= set(record) for record in records)
    for record in records:
        if (
            record["attack"] == "pgd"
            and record["metric"] == "rank1"
            and record["condition"] == "NM"
            and record["view"] == "all"
        ):
            own = [
                len(row["right"]) / row["galleries"]
                for row in rows
                if all(row[k] == record[k] for k in ("attack", "goal", "norm", "budget", "stored", "condition"))
            ]
            assert record["n"] == len(own) == 3
            assert record["value"] == pytest.approx(100 * np.mean(own))
            assert record["low"] <= record["value"] <= record["high"]
    attacked = [row for row in rows if row["attack"] != "none"]
    assert all(row["linf"] <= 16.5 / 255 for row in attacked if row["stored"] == "uint8")
    assert all(row["frames"] <= 1 for row in attacked if row["norm"] == "frames")
    bounded = [row for row in attacked if row["stored"] == "binary" and row["norm"] == "linf"]
    assert bounded
    assert all(row["changed"] == 0 and not row["success"] for row in bounded)
    assert all(row["target"] not in (None, row["sample"][:3]) for row in attacked if row["goal"] == "targeted")


def test_what_is_written_is_what_was_judged(tmp_path, folder):
    from gaitkeeper.datasets.folder import read_sequence

    cells = (Cell(), Cell(attack="pgd", goal="nontargeted", norm="linf", budget=16 / 255, steps=3))
    run_audit(settings(folder), tmp_path, cells=cells, write_sequences=True)
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    for row in (row for row in rows if row["attack"] == "pgd"):
        subject, take, view = row["sample"].split("/")
        from gaitkeeper.datasets.base import Sample

        sample = Sample(subject, take, int(view))
        before = read_sequence(sequence_folder(folder, sample)).astype(int)
        after = read_sequence(sequence_folder(tmp_path / "attacked", sample)).astype(int)
        assert np.abs(after - before).max() == round(255 * row["linf"])
        assert (after != before).mean() == pytest.approx(row["changed"], abs=1e-5)


def test_bad_sequences_are_listed_and_the_others_go_on(tmp_path):
    folder = drawn_folder(tmp_path / "data")
    broken = folder / "002" / "nm-05" / "000"
    picture = sorted(broken.glob("*.png"))[2]
    picture.write_bytes(picture.read_bytes()[:60])
    empty = folder / "003" / "nm-01" / "090"
    for file in empty.glob("*.png"):
        file.unlink()
    outcome = run_audit(settings(folder), tmp_path / "out", cells=[Cell()])
    reasons = dict(outcome.skipped)
    assert "truncated" in reasons["002/nm-05/000"]
    assert picture.name in reasons["002/nm-05/000"]
    assert "found none" in reasons["003/nm-01/090"]
    assert len(outcome.records) > 0


def test_people_who_cannot_be_enrolled_are_listed_and_the_others_go_on(tmp_path):
    folder = drawn_folder(tmp_path / "data", subjects=3, takes=("nm-01", "nm-05"))
    for file in folder.glob("002/nm-01/*/*.png"):
        file.unlink()
    outcome = run_audit(settings(folder), tmp_path / "out", cells=[Cell()])
    missed = [what for what, why in outcome.skipped if why.startswith("none of the subject's")]
    assert missed
    assert all(what.startswith("002/nm-05") for what in missed)
    rows = [json.loads(line) for line in (tmp_path / "out" / "rows.jsonl").read_text().splitlines()]
    assert {row["sample"][:3] for row in rows} <= {"001", "003"}
    process = subprocess.run(
        [sys.executable, "-m", "gaitkeeper", "evaluate", "--data", str(folder), "--model", MODEL, "--device", "cpu"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    assert "skipped 002/nm-05/000: none of the subject's" in process.stderr


def test_a_folder_where_nothing_can_be_used_is_an_error(tmp_path):
    folder = drawn_folder(tmp_path / "data", subjects=2, takes=("nm-01", "nm-05"))
    for file in folder.glob("*/nm-05/*/*.png"):
        file.write_bytes(b"")
    with pytest.raises(DataError, match="no probe can be used"):
        run_audit(settings(folder), tmp_path / "out")


def test_the_report_is_marked_as_biometric_for_a_users_data(tmp_path, folder):
    process = start(tmp_path / "out", folder)
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    page = (tmp_path / "out" / "report.html").read_text()
    assert re.search("biometric", page, re.IGNORECASE)
    assert "never trained on" not in page
    assert "rank-1" in output.lower()
