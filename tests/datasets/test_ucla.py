import json

import numpy as np
import pytest

from gaitkeeper.datasets.base import load_usable
from gaitkeeper.datasets.ucla import Ucla
from gaitkeeper.errors import DataError
from gaitkeeper.motion.skeletons import UCLA_20
from tests.datasets.bodies import standing


def write(root, *names, **changes):
    root.mkdir(parents=True, exist_ok=True)
    for name in names:
        content = {"file_name": name, "skeletons": standing(9)[:, :20].tolist(), "label": int(name[1:3]), **changes}
        (root / f"{name}.json").write_text(json.dumps(content))
    return root


NAMES = ("a01_s01_e00_v01", "a08_s02_e03_v02", "a12_s10_e01_v03")


def test_clips_are_split_by_camera(tmp_path):
    write(tmp_path / "all_sqe", *NAMES, "a07_s01_e00_v01")
    data = Ucla(tmp_path)
    assert [(clip.key, clip.label, clip.subject) for clip in data.samples] == [
        (NAMES[0], 0, "s01"),
        (NAMES[1], 6, "s02"),
        (NAMES[2], 9, "s10"),
    ]
    assert [data.classes[clip.label] for clip in data.samples] == ["pick up with one hand", "donning", "carry"]
    assert (len(data.classes), data.layout, data.fps, data.biometric) == (10, UCLA_20, 30, True)
    (found,) = data.load([1])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, standing(9)[None, :, :20], atol=1e-6)
    assert [clip.key for clip in Ucla(tmp_path, split="train").samples] == list(NAMES[:2])
    assert [clip.key for clip in Ucla(tmp_path, split="test").samples] == [NAMES[2]]
    assert [clip.key for clip in Ucla(tmp_path, subjects=("s02",)).samples] == [NAMES[1]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"skeletons": standing(9).tolist()}, r"expected skeletons \(t, 20, 3\), found \(9, 25, 3\)"),
        ({"skeletons": [[[1.0, 2.0, 3.0]] * 20, [[1.0]]]}, "expected skeletons of frames, 20 joints and 3 numbers"),
        ({"skeletons": [["a"] * 20]}, "expected skeletons of frames"),
        ({"skeletons": []}, r"found \(0,\)"),
        ({"skeletons": None}, "expected an object of file_name, skeletons and label"),
        ({"skeletons": [[[float("nan")] * 3] * 20] * 9}, "expected finite joints"),
        ({"skeletons": [[[900.0] * 3] * 20] * 9}, "expected coordinates within 100 m, found 900"),
        ({"skeletons": [[[1.0] * 3] * 20]}, "expected at least 2 frames with a body, found 1"),
        ({"file_name": NAMES[1]}, f"expected the clip {NAMES[0]}, found {NAMES[1]}"),
    ],
)
def test_bad_clips_are_listed(tmp_path, changes, message):
    write(tmp_path, NAMES[0], **changes)
    write(tmp_path, NAMES[1])
    (tmp_path / f"{NAMES[2]}.json").write_text('{"file_name": ')
    data = Ucla(tmp_path)
    skipped: list = []
    kept, _ = load_usable(data, range(3), skipped)
    assert kept == [1]
    assert [key for key, _ in skipped] == [NAMES[0], NAMES[2]]
    with pytest.raises(DataError, match=message):
        raise data.load([0])[0]
    assert f"{NAMES[2]}.json, line 1: expected JSON, it is damaged or cut off" in skipped[1][1]


def test_folders_without_clips_are_refused(tmp_path):
    with pytest.raises(DataError, match="a folder of Northwestern-UCLA's clips, found nothing"):
        Ucla(tmp_path / "none")
    write(tmp_path, NAMES[0])
    with pytest.raises(DataError, match=r"clips aAA_sSS_eEE_vVV.json in the split 'test', found none"):
        Ucla(tmp_path, split="test")
    with pytest.raises(DataError, match="no subject s04; it has s01"):
        Ucla(tmp_path, subjects=("s04",))
    write(tmp_path / "again", NAMES[0])
    with pytest.raises(DataError, match=f"expected one file of {NAMES[0]}, found .* too"):
        Ucla(tmp_path)
