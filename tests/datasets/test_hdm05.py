import csv
import shutil
from collections import Counter

import numpy as np
import pytest
import torch

from gaitkeeper.datasets.asf import find_asf, read_amc
from gaitkeeper.datasets.base import load_usable
from gaitkeeper.datasets.hdm05 import CLASSES_11, CLASSES_65, Hdm05
from gaitkeeper.errors import DataError
from gaitkeeper.motion.kinematics import bone_lengths, place_bones, resample
from gaitkeeper.motion.skeletons import HDM05_25, HDM05_25_RETARGETED


@pytest.fixture(scope="module")
def folder(shared):
    return shared / "real" / "hdm05-11"


def test_the_merges_have_the_published_numbers():
    names = list(CLASSES_65)
    assert len(names) == 65
    takes = [take for found in CLASSES_65.values() for take in found]
    assert len(takes) == len(set(takes)) == 130
    assert names == sorted(names)
    assert [names.index(name) for name in ("depositLR", "kickLS", "stand_upSC")] == [7, 22, 49]
    assert [names.index(name) for name in CLASSES_11] == [5, 9, 11, 15, 16, 21, 26, 32, 45, 46, 52]
    for name, found in CLASSES_11.items():
        assert set(found) <= set(CLASSES_65[name])


def test_the_split_is_by_actor_and_complete(folder):
    train, test, everything = (Hdm05(folder, split=split) for split in ("train", "test", "all"))
    assert len(train.samples) == 189
    assert len(test.samples) == 99
    assert len(everything.samples) == 288
    assert {take.subject for take in train.samples} == {"bd", "bk", "dg"}
    assert {take.subject for take in test.samples} == {"mm", "tr"}
    assert everything.biometric
    with (folder / "manifest.csv").open() as file:
        rows = list(csv.DictReader(file))
    wanted = Counter((row["split"], int(row["class"]) - 1, row["actor"]) for row in rows)
    found = Counter(
        (split, take.label, take.subject) for split, data in (("train", train), ("test", test)) for take in data.samples
    )
    assert found == wanted
    assert len({take.key for take in everything.samples}) == 288
    merged = Hdm05(folder, classes=CLASSES_65)
    assert len(merged.samples) == 288
    assert {merged.classes[take.label] for take in merged.samples} == set(CLASSES_11)


def test_takes_are_in_metres_with_bones_that_keep_their_length(folder):
    data = Hdm05(folder, split="test")
    index = next(i for i, take in enumerate(data.samples) if take.action == "kickLF" and take.subject == "mm")
    ((joints,),) = data.load([index])
    assert joints.dtype == np.float32
    assert joints.shape[1:] == (25, 3)
    lengths = bone_lengths(torch.from_numpy(joints).double(), HDM05_25)
    assert (lengths.std(0) < 1e-6).all()
    legs = lengths[0, [HDM05_25.bones.index(bone) for bone in ((1, 2), (2, 3))]].sum()
    assert 0.785 < legs < 0.925
    for group in HDM05_25.coincident:
        assert (joints[:, list(group)] == joints[:, group[:1]]).all()
    # Upright, on the floor, and it is the left foot that kicks.
    assert 1.2 < joints[0, 14, 1] < 1.8
    assert abs(joints[..., 1].min()) < 0.15
    lifted = joints[:, [3, 8], 1].max(0)
    assert lifted[0] > lifted[1] + 0.2


def test_the_layouts_wrist_and_fingers_are_not_rigid_but_its_bones_are(folder):
    data = Hdm05(folder, split="train", classes={"throwB": ("throwBasketball",)}, subjects=("bd",))
    ((joints,),) = data.load([0])
    edge = np.linalg.norm(joints[:, 18] - joints[:, 17], axis=1)
    assert edge.std() / edge.mean() > 1e-3
    lengths = bone_lengths(torch.from_numpy(joints).double(), HDM05_25)
    assert lengths.std(0).max() < 1e-6
    short = resample(torch.from_numpy(joints).double(), 60, HDM05_25)
    assert bone_lengths(short, HDM05_25).std(0).max() < 1e-6
    first_last = torch.from_numpy(joints[[0, -1]]).double()
    torch.testing.assert_close(short[[0, -1]], first_last, atol=1e-5, rtol=0)


def test_a_take_with_a_capital_ending_is_found_and_missing_skeletons_are_listed(folder, tmp_path):
    file = next((folder / "train" / "9").glob("*.AMC"))
    shutil.copy(file, tmp_path / file.name)
    good = folder / "train" / "9" / "HDM_bd_sneak2StepsLStart_001_120.amc"
    (tmp_path / "a").mkdir()
    for part in (good, find_asf(good)):
        shutil.copy(part, tmp_path / "a" / part.name)
    cut = tmp_path / "a" / "HDM_bd_sneak2StepsLStart_002_120.amc"
    cut.write_bytes(good.read_bytes()[:20000])
    data = Hdm05(tmp_path)
    skipped: list = []
    kept, arrays = load_usable(data, range(3), skipped)
    assert [data.samples[i].key for i in kept] == ["bd/sneak/sneak2StepsLStart-001"]
    assert arrays[0].shape == (1, len(read_amc(good)), 25, 3)
    reasons = dict(skipped)
    assert "expected its skeleton beside it" in reasons["bk/sneak/sneak2StepsLStart-006"]
    assert f"{cut}" in reasons["bd/sneak/sneak2StepsLStart-002"]


def test_folders_without_takes_are_refused(folder, tmp_path):
    with pytest.raises(DataError, match="found nothing"):
        Hdm05(tmp_path / "none")
    with pytest.raises(DataError, match="11 classes by bd, bk, dg, found none"):
        Hdm05(tmp_path, split="train")
    with pytest.raises(DataError, match="by no actor of the split"):
        Hdm05(folder, split="test", subjects=("bd",))
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "HDM_bd_squat1Reps_001_120.amc").write_text("")
    with pytest.raises(DataError, match="one file of bd/squat/squat1Reps-001"):
        Hdm05(tmp_path)


def test_published_clips_fit_the_retargeted_layout(shared):
    extra = shared / "real" / "hdm05-extra"
    clips, core = np.load(extra / "smart_7clips.npz"), np.load(extra / "preprocess_core.npz")
    mean, scale = core["Xmean"].reshape(1, 75), core["Xstd"].reshape(1, 75)
    joints = torch.from_numpy((clips["clips"] * scale + mean).reshape(7, 60, 25, 3)).double()
    lengths = bone_lengths(joints, HDM05_25_RETARGETED)
    long = lengths.flatten(0, 1).mean(0) > 0.01
    assert long.sum() == 19
    assert (lengths.flatten(0, 1).std(0) < 2e-3).all()
    # The same bones vary by a sixth and more in the normalized space that the released attack measures them in.
    normalized = bone_lengths(torch.from_numpy(clips["clips"].reshape(7, 60, 25, 3)).double(), HDM05_25_RETARGETED)
    assert (normalized.std(1) / normalized.mean(1).clamp_min(1e-3))[:, long].mean() > 0.15
    placed = place_bones(joints, lengths, HDM05_25_RETARGETED)
    torch.testing.assert_close(placed, joints, atol=1e-2, rtol=0)
