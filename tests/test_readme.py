"""Every command and program in the README runs. Where a command takes minutes, flags make its data smaller."""

import re
import shlex
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from gaitkeeper.perception.video import write_clip
from tests.anonymize.scenes import filmed

README = Path(__file__).resolve().parents[1] / "README.md"
GUIDES = sorted((README.parent / "docs").glob("*.md"))
BLOCKS = [
    block
    for page in (README, *GUIDES)
    for block in re.findall(r"```(\w+)\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
]
ACTIONS = {"st-gcn", "ctr-gcn", "sgn", "hrnn", "skeleton-white-box"}
"""Words by which a command is known to be about actions."""

COMMANDS = list(
    dict.fromkeys(
        line for kind, text in BLOCKS if kind == "sh" for line in text.splitlines() if line.startswith("gaitkeeper")
    )
)
PEOPLE = "--subjects 075 076 077 --frames 8"
SMALLER = {
    "walkers": "--conditions nm-01 --frames 4",
    "evaluate": "--subjects 075 076 077 --device cpu",
    "attack": f"{PEOPLE} --probes 2 --steps 2 --device cpu",
    "audit": f"{PEOPLE} --views 54 90 --probes 1 --grid.linf 16 --grid.l2 --grid.targeted-linf --grid.steps 2 "
    "--grid.sparse.altered 0.1 --grid.sparse.steps 2 --grid.sparse.pixel-steps 2 --device cpu",
    "reproduce": "--quick --subjects 075 076 077 078 --frames 10 --probes 1 --steps 2 --device cpu",
    "train-generator": "--iterations 2 --judge-steps 2 --critic-steps 1 --width 2 --batch 4 --last-subject 2 "
    "--frames 2 --device cpu",
    "generator": "--count 20 --device cpu",
    "anonymize": "--judge none",
    "evaluate-anonymizers": "--quick --frames 10",
    "train-anonymizer": "--iterations 2 --subjects 61 62 --views 90 --device cpu",
    "train-walking": "--steps 2 --batch 4 --conditions 1 --views 1 --device cpu",
    "study": "",
    "train": "--iterations 2 --last-subject 4 --identities 2 --sequences 2 --channels 2 2 4 --embedding 4 --device cpu",
}


SMALLER_ACTIONS = {
    "evaluate": "--subjects 031 --device cpu",
    "attack": "--actions.clips 2 --steps 3 --device cpu",
    "audit": "--actions.clips 2 --actions.grid.steps 2 --actions.grid.others --actions.grid.budgets 0.02 --device cpu",
    "reproduce": "--quick --actions.clips 2 --actions.steps 2 --device cpu",
    "train": "--actions.epochs 1 --actions.takes 1 --actions.widths 4 --device cpu",
}


SMALLER_ANONYMIZATION = {"reproduce": "--quick"}


def smaller(command):
    """The command with flags for less data; flags of the command's own are replaced."""
    words = shlex.split(command)
    about_actions = any(word.removesuffix("-actors") in ACTIONS for word in words)
    sizes = SMALLER_ACTIONS if about_actions else SMALLER
    if "gait-anonymization" in words:
        sizes = SMALLER_ANONYMIZATION
    extra = shlex.split(sizes[words[1]])
    flags = {word for word in extra if word.startswith("--")}
    kept, drop = [], False
    for word in words[1:]:
        drop = word in flags if word.startswith("--") else drop
        if not drop:
            kept.append(word)
    return [sys.executable, "-m", "gaitkeeper", *kept, *extra]


def test_the_readme_shows_every_command():
    assert {shlex.split(c)[1] for c in COMMANDS} == set(SMALLER)


@pytest.fixture
def walk(tmp_path):
    """A film of somebody who walks, under the names that the pages use."""
    clip, _, _ = filmed()
    write_clip(tmp_path / "walk.mp4", clip.frames, fps=clip.fps)
    write_clip(tmp_path / "published" / "walker_anonymized.mp4", clip.frames[::4], fps=8)


@pytest.mark.parametrize("command", [c for c in COMMANDS if shlex.split(c)[1] == "study"])
def test_the_study_is_served_until_it_is_interrupted(command, tmp_path, walk):
    served = subprocess.Popen(smaller(command), cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    try:
        line = served.stdout.readline()
        assert line.startswith("rate at http://127.0.0.1:")
        with urllib.request.urlopen(line.split()[2], timeout=20) as page:
            assert b"<html" in page.read()
    finally:
        served.terminate()  # as Ctrl+C, which shells switch off for what they start in the background
        assert "nobody has rated yet" in served.communicate(timeout=60)[0]


@pytest.mark.parametrize("command", [c for c in COMMANDS if shlex.split(c)[1] != "study"])
def test_command(command, tmp_path, walk):
    done = subprocess.run(smaller(command), cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} > {"walk.mp4", "published"} or list(
        tmp_path.glob("published/*_a*")
    )


@pytest.mark.parametrize("program", [text for kind, text in BLOCKS if kind == "python"])
def test_program(program, tmp_path):
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_make_targets_of_the_readme_exist():
    makefile = (README.parent / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"make (\w+) ", "\n".join(text for _, text in BLOCKS)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
