"""gaitkeeper anonymize as its users meet it: files, folders, reports, refusals, exit statuses."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from gaitkeeper import cli_anonymize
from gaitkeeper.anonymize.settings import AnonymizeSettings
from gaitkeeper.errors import GaitkeeperError
from gaitkeeper.perception.stream import probe
from gaitkeeper.perception.video import write_clip
from tests.anonymize.scenes import filmed
from tests.audit.test_run import ROOT

HIDE = AnonymizeSettings(method="hide")


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    path = tmp_path_factory.mktemp("film") / "walker one.mp4"
    write_clip(path, filmed(rows=120, columns=160)[0].frames, fps=25)
    return path


def gaitkeeper(*arguments):
    command = [sys.executable, "-m", "gaitkeeper", "anonymize", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def anonymize(*videos, **options):
    cli_anonymize.anonymize(videos, **{"report": "none", "settings": HIDE, **options})


def test_the_command_writes_a_video_and_a_report(film, tmp_path):
    seed = 8_765_432_109
    done = gaitkeeper(film, "-o", tmp_path / "new", "--seed", seed, "--clothes", "random", "--judge", "none")
    assert (done.returncode, done.stderr.count("skipped")) == (0, 0)
    assert f"anonymized: {tmp_path}/new/walker one_anonymized.mp4" in done.stdout
    assert "1 person was followed through 60 frames" in done.stdout
    assert sorted(os.listdir(tmp_path / "new")) == ["walker one_anonymized.html", "walker one_anonymized.mp4"]
    written = [path.read_bytes() for path in (tmp_path / "new").iterdir()]
    assert not any(str(seed).encode() in data or seed.to_bytes(8, "little") in data for data in written)
    assert str(seed) not in done.stdout


def test_others_go_on_when_one_is_skipped(film, tmp_path, capsys):
    (tmp_path / "a.mp4").write_text("no video")
    os.symlink(film, tmp_path / "b.mp4")
    with pytest.raises(SystemExit) as caught:
        anonymize(tmp_path)
    assert caught.value.code == 1
    told = capsys.readouterr()
    assert f"skipped {tmp_path}/a.mp4: expected a video that decodes" in told.err
    assert "anonymized:" in told.out
    assert sorted(os.listdir(tmp_path)) == ["a.mp4", "b.mp4", "b_anonymized.mp4"]
    assert probe(tmp_path / "b_anonymized.mp4").frames == 60


def test_what_is_there_is_replaced_on_demand_alone(film, tmp_path, capsys):
    (tmp_path / "walker one_anonymized.mp4").write_text("mine")
    (tmp_path / "walker one_preview.png").write_text("mine")
    for preview in (False, True):
        with pytest.raises(SystemExit):
            anonymize(film, out=tmp_path, preview=preview)
        assert "is there already; --overwrite replaces it" in capsys.readouterr().err
    assert {path.read_text() for path in tmp_path.iterdir()} == {"mine"}
    anonymize(film, out=tmp_path, overwrite=True)
    assert probe(tmp_path / "walker one_anonymized.mp4").frames == 60


def test_two_videos_of_one_name_do_not_replace_each_other(film, tmp_path, capsys):
    for name in ("a.mp4", "a.mov"):
        os.symlink(film, tmp_path / name)
    with pytest.raises(SystemExit):
        anonymize(tmp_path / "a.mp4", tmp_path / "a.mov", overwrite=True)
    told = capsys.readouterr()
    assert told.out.count("anonymized:") == 1
    assert f"skipped {tmp_path}/a.mov: {tmp_path}/a_anonymized.mp4 is made of {tmp_path}/a.mp4" in told.err


def test_a_folder_that_cannot_be_made_is_told(film, tmp_path, capsys):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as caught:
        anonymize(film, out=tmp_path / "file")
    assert caught.value.code == 1
    assert f"skipped {tmp_path}/file" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["file"]


def test_a_preview_is_marked_as_showing_the_original(film, tmp_path, capsys):
    anonymize(film, out=tmp_path, preview=True)
    assert "it shows the original: biometric data" in capsys.readouterr().out
    assert os.listdir(tmp_path) == ["walker one_preview.png"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["FILM", "--judge", "nobody"], "'nobody' is no model"),
        (["FILM", "--strength", "2"], "replacement: has no strength to set, got 2"),
        (["FILM", "--method", "nonsense"], "nonsense"),
    ],
)
def test_mistakes_are_told_before_anything_is_made(film, tmp_path, arguments, message):
    done = gaitkeeper(*(film if a == "FILM" else a for a in arguments), "-o", tmp_path)
    assert done.returncode != 0
    assert message in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_no_such_device_is_told_before_anything_is_made(film, tmp_path):
    with pytest.raises(GaitkeeperError, match="--device cuda:99: not usable here"):
        anonymize(film, out=tmp_path, report="plain", device="cuda:99")
    assert not list(tmp_path.iterdir())


def test_an_empty_folder_is_told(tmp_path):
    with pytest.raises(GaitkeeperError, match=r"expected videos .* found none in this folder"):
        anonymize(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_leaves_nothing(tmp_path, number):
    frames = np.tile(filmed(rows=120, columns=160)[0].frames, (10, 1, 1, 1))
    write_clip(tmp_path / "long.mp4", frames, fps=25)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "gaitkeeper", "anonymize", str(tmp_path / "long.mp4"), "-o", str(out)]
    process = subprocess.Popen(
        [*command, "--report", "none"], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (out.is_dir() and list(out.iterdir())):
        time.sleep(0.02)
    assert [path.name.startswith(".") for path in out.iterdir()] == [True], "the writer did not begin"
    process.send_signal(number)
    assert process.wait(timeout=30) == 130
    assert not list(out.iterdir())
