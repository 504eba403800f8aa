"""The command line as its users meet it: bad input, a full disk, start-up."""

import json
import resource
import signal
import subprocess
import sys

import numpy as np
import pytest

from tests.audit.test_run import COMMAND, MODEL, ROOT
from tests.figures import drawn_folder


def gaitkeeper(*arguments, **more):
    command = [sys.executable, "-m", "gaitkeeper", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, **more)


COMMANDS = (
    *("walkers", "train", "train-generator", "generator", "evaluate", "attack", "audit", "reproduce"),
    *("anonymize", "evaluate-anonymizers", "study", "train-anonymizer", "train-walking"),
)
HEAVY = ("torch", "numba", "cv2", "av", "scipy", "matplotlib", "jinja2", "safetensors")


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_is_fast_and_needs_no_heavy_import(command):
    code = f"""
import sys, time
from gaitkeeper.cli import main
sys.argv = ["gaitkeeper", *{command.split()}, "--help"]
try:
    main()
finally:
    print([m for m in {HEAVY} if m in sys.modules], time.process_time(), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0
    imported, seconds = done.stderr.rsplit(maxsplit=1)
    assert imported == "[]"
    # Of the processor, so that other programs do not count; half a second where it is free.
    assert float(seconds) < 0.8
    assert "--device" in done.stdout or command in ("", "walkers", "study", "evaluate-anonymizers")
    assert command or all(name in done.stdout for name in COMMANDS)


def test_version():
    assert gaitkeeper("--version").stdout.startswith("gaitkeeper 0.1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return drawn_folder(tmp_path_factory.mktemp("data"), subjects=2, views=(0, 90), takes=("nm-01", "nm-05"))


def black_video(path):
    from gaitkeeper.perception.video import write_clip

    write_clip(path, np.zeros((40, 120, 160, 3), np.uint8), fps=25)
    return path


CASES = {
    "missing data": (
        ["audit", "--out", "OUT", "--data", "absent"],
        "absent: expected a folder of silhouettes, found nothing",
    ),
    "empty data": (["audit", "--out", "OUT", "--data", "TMP"], "expected folders <subject>/<condition>/"),
    "unknown subject": (
        ["audit", "--out", "OUT", "--data", "DATA", "--subjects", "900"],
        "no subject 900; it has 001, 002",
    ),
    "unknown walker": (["audit", "--out", "OUT", "--subjects", "900", "075"], "900"),
    "walker by name": (["audit", "--out", "OUT", "--subjects", "ann"], "unknown subject ann"),
    "unknown view": (["audit", "--out", "OUT", "--views", "45"], "45"),
    "unknown model": (["evaluate", "--model", "none"], "'none' is no model"),
    "broken weights": (["evaluate", "--model", "FILE.pt"], "FILE.pt: not a checkpoint of plain tensors"),
    "no such device": (["evaluate", "--device", "cuda:99"], "--device cuda:99: not usable here"),
    "no probes": (["audit", "--out", "OUT", "--probes", "0"], "expected probes of at least 1, got 0"),
    "attack without goal": (["attack", "--out", "OUT", "--goal", "natural"], "one of the goals nontargeted, targeted"),
    "missing video": (["audit", "--out", "OUT", "--video", "absent.mp4"], "absent.mp4: expected a video file"),
    "not a video": (["audit", "--out", "OUT", "--video", "FILE.pt"], "FILE.pt: expected a video that decodes"),
    "black video": (["audit", "--out", "OUT", "--video", "BLACK"], "black.mp4"),
    "video and data": (["audit", "--out", "OUT", "--video", "BLACK", "--data", "DATA"], "exclude each other"),
    "output is a file": (["audit", "--out", "FILE.pt", "--data", "DATA", "--model", MODEL], "found a file"),
    "walkers out of range": (["walkers", "--out", "OUT", "--subjects", "125"], "125"),
    "attack on frames of an action": (
        ["attack", "--out", "OUT", "--model", "sgn-actors", "--name", "temporal-sparse"],
        "expected an attack on actions, smart, smart-random",
    ),
    "bones of gaits": (
        ["attack", "--out", "OUT", "--model", MODEL, "--bones", "exact"],
        f"--bones: {MODEL} recognizes",
    ),
    "smart on gaits": (["attack", "--out", "OUT", "--model", MODEL, "--name", "smart"], "smart"),
    "attack on both": (
        ["attack", "--out", "OUT", "--model", MODEL, "sgn-actors"],
        "expected models of gaits or of actions, got both",
    ),
    "clips that are silhouettes": (
        ["evaluate", "--model", "sgn-actors", "--data", "DATA"],
        "expected takes of HDM05 or CMU (.amc)",
    ),
    "unknown actor": (["evaluate", "--model", "sgn-actors", "--subjects", "041"], "unknown subject 41: actors are 1"),
    "no epochs": (
        ["train", "--out", "OUT", "--network", "sgn", "--actions.epochs", "0"],
        "epochs of at least 1, got 0",
    ),
    "nothing but inference": (
        ["train", "--out", "OUT", "--network", "as-gcn", "--actions.epochs", "3"],
        "more epochs than the 3 of as-gcn's inference module, got 3",
    ),
    "unknown condition": (["walkers", "--out", "OUT", "--conditions", "nm-99"], "nm-99"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_users_mistake_ends_in_one_clear_line(case, tmp_path, folder):
    arguments, message = CASES[case]
    (tmp_path / "FILE.pt").write_bytes(b"no weights and no video")
    places = {"OUT": tmp_path / "out", "TMP": tmp_path, "DATA": folder, "FILE.pt": tmp_path / "FILE.pt"}
    if "BLACK" in arguments:
        places["BLACK"] = black_video(tmp_path / "black.mp4")
    done = gaitkeeper(*[places.get(a, a) for a in arguments])
    assert done.returncode == 1
    lines = done.stderr.strip().splitlines()
    assert lines[-1].startswith("gaitkeeper: ")
    assert message in lines[-1]
    assert "Traceback" not in done.stderr
    out = tmp_path / "out"
    assert not out.exists() or not list(out.rglob("*.*")), "something half-written was left"


def test_a_full_disk_is_named_and_the_audit_goes_on_later(tmp_path, folder):
    def small_files():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))

    out = tmp_path / "out"
    command = ["audit", "--out", out, "--data", folder, *COMMAND]
    done = gaitkeeper(*command, preexec_fn=small_files)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("gaitkeeper: ")
    assert "too large" in done.stderr.lower()
    assert not (out / "summary.json").exists()
    again = gaitkeeper(*command)
    assert again.returncode == 0, again.stderr
    rows = [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()]
    assert len({(r["cell"], r["sample"]) for r in rows}) == len(rows)
    assert not list(out.rglob(".*"))


def test_attacked_sequences_are_written(tmp_path, folder):
    out = tmp_path / "out"
    done = gaitkeeper(
        "attack", "--out", out, "--data", folder, "--model", MODEL, "--name", "pgd", "--steps", "2", "--budget", "8",
        "--device", "cpu",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(list((out / "attacked").glob("*/*/*/*.png"))) == 4 * 6
    assert "rank1" in done.stdout


ACTORS = ("--subjects", "031", "--actions.frames", "20", "--device", "cpu")


def test_an_action_recognizer_is_trained_and_evaluated_beside_nearest_neighbors(tmp_path):
    out = tmp_path / "out"
    done = gaitkeeper(
        "train", "--out", out, "--network", "sgn", "--actions.epochs", "1", "--actions.takes", "1",
        "--actions.widths", "8", "--actions.frames", "16", "--device", "cpu",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    weights = out / "model.safetensors"
    assert f"weights: {weights}" in done.stdout
    (line,) = [json.loads(text) for text in (out / "log.jsonl").read_text().splitlines()]
    assert {"epoch", "loss", "accuracy", "validation"} == set(line)
    assert json.loads((out / "model.json").read_text())["clips"] == 24 * 20
    done = gaitkeeper("evaluate", "--model", weights, "--out", tmp_path / "figures.json", *ACTORS)
    assert done.returncode == 0, done.stderr
    assert "nearest sequence" in done.stdout
    assert "nearest middle frame" in done.stdout
    records = json.loads((tmp_path / "figures.json").read_text())
    assert [record["n"] for record in records] == [20] * 3
    assert records[0]["model"] == str(weights)


def test_attacked_clips_are_written_and_read_as_data(tmp_path):
    out = tmp_path / "out"
    done = gaitkeeper(
        "attack", "--out", out, "--model", "sgn-actors", "--name", "smart", "--steps", "5", "--actions.clips", "3",
        *ACTORS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"attacked clips: {out / 'attacked'}" in done.stdout
    assert "accuracy" in done.stdout
    rows = [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()]
    attacked = [row for row in rows if row["success"] is not None]
    assert len(list((out / "attacked").rglob("*.npz"))) == len(attacked) > 0
    arguments = ["--model", "sgn-actors", "--data", out / "attacked", "--out", tmp_path / "f.json", "--device", "cpu"]
    done = gaitkeeper("evaluate", *arguments)
    assert done.returncode == 0, done.stderr
    assert "nearest" not in done.stdout
    (record,) = json.loads((tmp_path / "f.json").read_text())
    assert record["n"] == len(attacked)
    assert record["value"] == pytest.approx(100 * np.mean([row["right"] for row in attacked]))


def test_walkers_are_written_and_kept(tmp_path):
    arguments = [
        "walkers",
        "--out",
        tmp_path / "w",
        "--subjects",
        "3",
        "--conditions",
        "nm-01",
        "--views",
        "0",
        "90",
        "--frames",
        "6",
    ]
    done = gaitkeeper(*arguments, "--sheet", tmp_path / "sheet.png")
    assert done.returncode == 0, done.stderr
    pictures = sorted((tmp_path / "w").rglob("*.png"))
    assert [str(p.relative_to(tmp_path / "w")) for p in pictures[:1]] == ["003/nm-01/000/003-nm-01-000-001.png"]
    assert len(pictures) == 12
    before = {p: p.stat().st_mtime_ns for p in pictures}
    assert gaitkeeper(*arguments).returncode == 0
    assert {p: p.stat().st_mtime_ns for p in pictures} == before
    assert (tmp_path / "sheet.png").stat().st_size > 1000
    done = gaitkeeper(*arguments, "--form", "skeletons")
    assert done.returncode == 0, done.stderr
    joints = np.load(tmp_path / "w" / "003" / "nm-01" / "skeleton.npy")
    assert joints.shape == (6, 25, 3)
    done = gaitkeeper("walkers", "--out", tmp_path / "m", *arguments[3:], "--form", "masks")
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "m").rglob("*.png"))) == 12


def test_the_packaged_weights_have_a_card():
    from gaitkeeper.models.weights import SHIPPED, card, load_victim, shipped

    for name in SHIPPED:
        described = card(name)
        assert {"command", "training", "evaluation", "limits"} <= set(described)
        assert shipped(name).stat().st_size < 20e6
        victim = load_victim(name)
        assert victim.output == ("logits" if victim.domain.layout else "embedding")
