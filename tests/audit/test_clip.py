"""The audit of a clip, on a filmed walker and on the real clip."""

import json

import numpy as np
import pytest

from gaitkeeper.audit.clip import PERSON, audit_clip, halves
from gaitkeeper.audit.grid import AuditSettings
from gaitkeeper.audit.recognition import silent
from gaitkeeper.errors import VideoError
from gaitkeeper.perception.people import find_people, walking_track
from gaitkeeper.perception.video import Clip, read_clip, write_clip
from gaitkeeper.synthetic.video import video
from gaitkeeper.synthetic.walkers import Walkers


def check(out, name):
    records = json.loads((out / "summary.json").read_text())
    assert {r["attack"] for r in records} == {"none", "random", "pgd", "mi-fgsm-straight-through"}
    assert all(r["data"] == name and r["n"] == 1 for r in records)

    def rank1(attack, stored):
        return {r["value"] for r in records if (r["attack"], r["stored"], r["metric"]) == (attack, stored, "rank1")}

    assert rank1("none", "uint8") == rank1("none", "binary") == {100.0}
    assert rank1("pgd", "uint8") == {0.0}
    assert rank1("pgd", "binary") == {100.0}
    page = (out / "report.html").read_text()
    assert "biometric" in page
    assert PERSON in page


def test_the_real_clip_is_recognized_and_then_fooled(tmp_path, shared):
    clip = shared / "real" / "video" / "sports2d_demo.mp4"
    sentences = audit_clip(clip, AuditSettings(frames=12), tmp_path, device="cpu", progress=silent)
    assert "134 usable frames" in sentences[0]
    check(tmp_path, clip.name)


def test_the_clip_of_people_who_stand_is_refused_with_the_reasons(tmp_path, shared):
    clip = read_clip(shared / "real" / "video" / "one-by-one-person-detection.mp4", max_rows=270)
    few = Clip(clip.frames[:460], clip.fps, clip.path, clip.scale)
    with pytest.raises(VideoError, match=r"person 1 \(frames .*whole frames of walking"):
        walking_track(find_people(few))


def test_a_filmed_walker_goes_the_whole_way(tmp_path):
    footage = video(Walkers(), 7, "nm-01", 90, frames=60, rows=360, columns=480)
    write_clip(tmp_path / "walk.mp4", footage.frames, fps=footage.fps, quality=8)
    clip = read_clip(tmp_path / "walk.mp4")
    first, second = halves(walking_track(find_people(clip)), clip.path)
    assert abs(len(first) - len(second)) <= 1
    assert len(first) + len(second) >= 40
    assert first.shape[1:] == (64, 44)
    assert not np.array_equal(first[0], second[0])
