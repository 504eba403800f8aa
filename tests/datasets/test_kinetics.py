import json
import os

import numpy as np
import pytest

from gaitkeeper.datasets import kinetics
from gaitkeeper.datasets.base import load_usable
from gaitkeeper.datasets.kinetics import Kinetics
from gaitkeeper.errors import DataError
from gaitkeeper.motion.skeletons import KINETICS_18


def points(seed, *, score=0.8):
    rng = np.random.default_rng(seed)
    return {
        "pose": [round(float(value), 3) for value in rng.uniform(0.1, 0.9, 36)],
        "score": [round(score * float(value), 3) for value in rng.uniform(0.5, 1, 18)],
    }


def clip(frames, *, first=1, label=1, name="juggling balls"):
    return {
        "data": [{"frame_index": first + i, "skeleton": people} for i, people in enumerate(frames)],
        "label": name,
        "label_index": label,
    }


def write(root, clips, *, part="kinetics_val", entries=None):
    (root / part).mkdir(parents=True, exist_ok=True)
    for key, content in clips.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (root / part / f"{key}.json").write_text(text)
    listed = {key: {"has_skeleton": True, "label": "juggling balls", "label_index": 1} for key in clips}
    (root / f"{part}_label.json").write_text(json.dumps({**listed, **(entries or {})}))
    return root


def expected(person):
    pose = np.array(person["pose"]).reshape(18, 2) - 0.5
    return np.concatenate([pose, np.array(person["score"])[:, None]], 1).astype(np.float32)


@pytest.mark.parametrize("first", [0, 1])
def test_published_clips_give_points_from_the_middle_with_their_scores(tmp_path, first):
    frames = [[points(i)] for i in range(10)]
    frames[3][0]["score"][7] = 0.0
    frames[5] = []
    frames[6] = [points(6), points(7)]
    other = {"zz": {"has_skeleton": False, "label": "abseiling", "label_index": 0}}
    data = Kinetics(write(tmp_path, {"aa": clip(frames, first=first)}, entries=other))
    assert [(sample.key, sample.label, sample.subject) for sample in data.samples] == [("aa", 1, "unknown")]
    assert data.classes == ("abseiling", "juggling balls")
    assert (data.layout, data.biometric) == (KINETICS_18, True)
    (found,) = data.load([0])
    assert found.shape == (2, 9, 18, 3)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[0, 0], expected(frames[0][0]))
    assert not found[0, 3, 7].any()
    np.testing.assert_array_equal(found[0, 5], expected(max(frames[6], key=lambda person: sum(person["score"]))))
    assert not found[1, [0, 1, 2, 3, 4, 6, 7, 8]].any()
    assert -0.4 <= found[..., :2].min() < 0 < found[..., :2].max() <= 0.4


def test_the_two_people_with_the_greatest_scores_are_kept(tmp_path):
    crowd = [points(i, score=score) for i, score in enumerate((0.2, 0.9, 0.05, 0.5, 0.3, 1.0))]
    (found,) = Kinetics(write(tmp_path, {"aa": clip([crowd] * 8)})).load([0])
    np.testing.assert_array_equal(found[:, 0], [expected(crowd[5]), expected(crowd[1])])


def test_other_places_and_the_training_half(tmp_path):
    write(tmp_path, {"aa": clip([[points(0)]] * 8)}, part="kinetics_train")
    assert len(Kinetics(tmp_path, split="train").samples) == 1
    labels = tmp_path / "kinetics_train_label.json"
    assert len(Kinetics(tmp_path / "kinetics_train", labels=labels).load([0])[0]) == 1
    with pytest.raises(DataError, match=r"kinetics_val: expected a folder of .*, found nothing"):
        Kinetics(tmp_path)


def changed(**changes):
    return clip([[points(0) | changes]] * 8)


def test_bad_clips_are_listed(tmp_path):
    good = [[points(0)]] * 8
    twice = clip(good)
    twice["data"][3]["frame_index"] = 1
    both = clip(good)
    both["data"][0]["frame_index"], both["data"][1]["frame_index"] = 0, 300
    bad = {
        "after": (clip(good, first=294), "frame 8 of the file: expected a frame_index from 0 to 300 once, found 301"),
        "before": (clip(good, first=-1), "frame 1 of the file: expected a frame_index from 0 to 300 once, found -1"),
        "both": (both, "expected 300 frames from 0 or from 1, found the frames 0 and 300"),
        "cut": (json.dumps(clip(good))[:-30], "it is damaged or cut off"),
        "deep": ("[" * 100_000, "not JSON that can be read"),
        "empty": (clip([[]] * 8), "expected at least 8 frames with a body, found 0"),
        "few": (clip(good[:7]), "expected at least 8 frames with a body, found 7"),
        "label": (clip(good, label=2), "expected the label 1 as in the file of labels, found 2"),
        "list": ("[1]", "expected an object of data and label_index"),
        "nan": (changed(pose=[float("nan")] * 36), "frame 1 of the file: expected finite numbers pose"),
        "pose": (changed(pose=[0.5] * 34), "expected 36 numbers pose, found 34"),
        "score": (changed(score=None), "expected 18 numbers score, found none"),
        "text": (changed(score=["a"] * 18), "expected finite numbers score"),
        "twice": (twice, "frame 4 of the file: expected a frame_index from 0 to 300 once, found 1"),
        "unlisted": (clip([None] * 8), "expected a list skeleton, found NoneType"),
    }
    clips = {key: content for key, (content, _) in bad.items()} | {"good": clip(good), "gone": clip(good)}
    data = Kinetics(write(tmp_path, clips))
    (tmp_path / "kinetics_val" / "gone.json").unlink()
    (tmp_path / "kinetics_val" / "few.json").write_bytes(b'{"data": "\xff"}')
    skipped: list = []
    kept, _ = load_usable(data, range(len(data.samples)), skipped)
    assert [data.samples[i].key for i in kept] == ["good"]
    reasons = dict(skipped)
    assert "few.json: expected UTF-8 text, found byte 0xff" in reasons.pop("few")
    assert "gone.json: expected a file, found nothing" in reasons.pop("gone")
    assert sorted(reasons) == sorted(set(bad) - {"few"})
    for key, reason in reasons.items():
        assert bad[key][1] in reason
        assert f"{key}.json" in reason


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"a": {"label": "b", "label_index": 10**9}}, "expected label and label_index of a, found"),
        ({"a": {"label": "b"}}, "expected label and label_index of a, found"),
        ({"a": {"label": "b", "label_index": 1}}, "expected one name of the class 1, found another at z"),
        ({"../a": {"label": "b", "label_index": 0}}, "expected ids, found '../a'"),
        ({"x": {"has_skeleton": False, "label": "juggling balls", "label_index": 1}}, "a skeleton, found none"),
    ],
)
def test_damaged_labels_are_refused(tmp_path, entries, message):
    clips = {} if "x" in entries else {"z": clip([[points(0)]] * 8)}
    with pytest.raises(DataError, match=message) as caught:
        Kinetics(write(tmp_path, clips, entries=entries))
    assert "kinetics_val_label.json" in str(caught.value)


def test_other_labels_and_large_files_are_refused(tmp_path):
    write(tmp_path, {"aa": clip([[points(0)]] * 8)})
    file = tmp_path / "kinetics_val" / "aa.json"
    data = Kinetics(tmp_path)
    os.truncate(file, kinetics.MAX_BYTES + 1)
    assert f"at most {kinetics.MAX_BYTES} bytes" in str(data.load([0])[0])
    (tmp_path / "kinetics_val_label.json").write_text("[]")
    with pytest.raises(DataError, match="expected an object of labels by id, found list"):
        Kinetics(tmp_path)
