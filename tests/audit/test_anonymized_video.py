"""The report of one video: what it shows, what it leaves out, what it says still identifies."""

import re

import numpy as np
import pytest

from gaitkeeper.anonymize.run import anonymize_file
from gaitkeeper.anonymize.settings import AnonymizeSettings
from gaitkeeper.audit import clip
from gaitkeeper.audit.anonymized_video import (
    Judged,
    judge_videos,
    remaining,
    report_video,
    sentences,
    write_video_report,
)
from gaitkeeper.errors import VideoError
from gaitkeeper.perception.video import write_clip
from tests.anonymize.scenes import filmed

SETTINGS = AnonymizeSettings(seed=987_654_321)
MARK = "contains biometric data of real people"


def quiet(done, total, text):
    """Progress that nobody watches."""


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("film")
    write_clip(folder / "a.mp4", filmed(rows=180, columns=320, frames=80)[0].frames, fps=30)
    return anonymize_file(folder / "a.mp4", folder / "b.mp4", SETTINGS)


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    folder = tmp_path_factory.mktemp("empty")
    scene = filmed(rows=120, columns=160)[2]
    noise = np.random.default_rng(0).normal(0, 1.5, (20, *scene.shape))
    write_clip(folder / "a.mp4", (scene + noise).round().clip(0, 255).astype(np.uint8), fps=30)
    return anonymize_file(folder / "a.mp4", folder / "b.mp4", SETTINGS)


def test_a_full_report_is_marked_and_a_plain_one_shows_no_frame(done):
    path = done.target.with_suffix(".html")
    full, plain = {}, {}
    for found, frames in ((full, True), (plain, False)):
        write_video_report(path, done, SETTINGS, None, frames=frames)
        found["text"] = path.read_text()
    assert MARK in full["text"]
    assert "Before and after" in full["text"]
    assert MARK not in plain["text"]
    assert "data:image" in full["text"]
    assert not re.search(r"<(img|canvas)\b|data:image", plain["text"])
    for found in (full, plain):
        assert "987654321" not in found["text"]
        assert "What may still tell who somebody is: the place and its details" in found["text"]
        assert "--background gives a picture of the empty scene" in found["text"]


def test_a_judge_accepts_the_original_and_not_who_took_their_place(done, monkeypatch):
    # Fewer strangers, for time.
    monkeypatch.setattr(clip, "TEST_SUBJECTS", clip.TEST_SUBJECTS[:6])
    judged = judge_videos(done.source, done.target, "gaitset-walkers", device="cpu", progress=quiet)
    assert judged.natural <= judged.threshold < judged.anonymized
    assert judged.rank[0]
    told = " ".join(sentences(done, SETTINGS, judged))
    assert "gaitset-walkers accepts the second half as that person" in told
    assert "does not accept the anonymized second half" in told


def test_what_is_told_follows_what_was_done(done, empty):
    told = sentences(done, SETTINGS, None)
    assert told[0].startswith("1 person was followed through 96 frames; 1 of them walks")
    assert sentences(done, SETTINGS, "too short")[-1] == "No recognizer was asked: too short."
    nobody = sentences(empty, SETTINGS, None)[0]
    assert nobody.startswith("0 people were followed through 20 frames; 0 of them walk ")
    kept = " ".join(remaining(SETTINGS, done))
    assert "about the colors of hair, skin and clothes" in kept
    assert "face" not in kept
    colored = " ".join(remaining(AnonymizeSettings(method="deformation", faces="keep"), done))
    assert "in the original's pixels" in colored
    assert "the face, which was kept" in colored
    assert "path" not in " ".join(remaining(AnonymizeSettings(method="hide"), done))


def test_where_nobody_walks_the_report_says_why_no_judge_was_asked(empty):
    with pytest.raises(VideoError, match=r"a\.mp4: expected a walking person, found nobody"):
        judge_videos(empty.source, empty.target, "gaitset-walkers", device="cpu", progress=quiet)
    told = report_video(empty, SETTINGS, judge="gaitset-walkers", frames=True, device="cpu", progress=quiet)
    assert told[-1].startswith("No recognizer was asked:")
    assert empty.target.with_suffix(".html").exists()


def test_a_wholly_obscured_video_has_a_report(tmp_path):
    write_clip(tmp_path / "a.mp4", filmed(rows=120, columns=160)[0].frames[20:25], fps=30)
    done = anonymize_file(tmp_path / "a.mp4", tmp_path / "b.mp4", AnonymizeSettings(force=True))
    told = report_video(done, SETTINGS, judge="gaitset-walkers", frames=True, device="cpu", progress=quiet)
    assert told[0] == "All of the picture is obscured in all of 5 frames."
    assert "expected at least 8 frames" in told[1]


def test_a_verdict_of_acceptance_is_told_as_one(done):
    judged = Judged(model="m", strangers=3, threshold=1.0, error=0.1, natural=0.5, anonymized=0.7, rank=(True, True))
    told = sentences(done, SETTINGS, judged)[2]
    assert "m accepts the second half as that person" in told
    assert "and accepts the anonymized second half" in told
    assert "does not accept" not in told
