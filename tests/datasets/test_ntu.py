import numpy as np
import pytest
import torch

from gaitkeeper.datasets.base import load_usable
from gaitkeeper.datasets.ntu import (
    CLASSES_120,
    PROTOCOLS,
    X_SET_120,
    X_SUB_60,
    X_SUB_120,
    X_VIEW_60,
    Ntu,
    Recording,
    edition,
    read_missing,
)
from gaitkeeper.errors import DataError
from gaitkeeper.motion.kinematics import bone_lengths
from gaitkeeper.motion.skeletons import NTU_25
from tests.datasets.bodies import ONE, standing, text


def test_splits_and_classes_have_the_published_numbers():
    assert len(CLASSES_120) == len(set(CLASSES_120)) == 120
    assert [CLASSES_120.index(name) + 1 for name in ("drink water", "walk apart", "put on headphone")] == [1, 60, 61]
    assert [CLASSES_120[number - 1] for number in (26, 43, 50, 58, 99, 106, 120)] == [
        *("hop", "fall down", "punch", "shake hands", "run on the spot", "hit with object", "rock-paper-scissors"),
    ]
    assert X_SUB_60.test == (3, 6, 7, 10, 11, 12, 20, 21, 22, 23, 24, 26, 29, 30, 32, 33, 36, 37, 39, 40)
    assert [len(X_SUB_60.train), len(X_SUB_120.train), len(X_SUB_120.test)] == [20, 53, 53]
    assert set(X_SUB_60.train) < set(X_SUB_120.train)
    assert not set(X_SUB_60.test) & set(X_SUB_120.train)
    assert (X_VIEW_60.train, X_VIEW_60.test) == ((2, 3), (1,))
    assert sorted(X_SET_120.train + X_SET_120.test) == list(range(1, 33))
    for protocol in PROTOCOLS.values():
        assert not set(protocol.train) & set(protocol.test)


def test_names_tell_setup_camera_performer_and_class():
    sample = Recording.of("S018C003P106R002A120")
    assert sample == Recording(18, 3, 106, 2, 120)
    assert (sample.key, sample.subject, sample.label) == ("S018C003P106R002A120", "P106", 119)
    for name in ("S018C003P106R002A120_rgb", "s018c003p106r002a120", "S18C3P106R2A120", ""):
        assert Recording.of(name) is None


def test_the_edition_is_the_first_unless_a_sample_is_later():
    early, setup, number = (
        Recording.of(f"S0{s}C001P001R001A0{a}") for s, a in (("17", "60"), ("18", "01"), ("01", "61"))
    )
    assert edition([early]) == CLASSES_120[:60]
    assert edition([early, setup]) == edition([early, number]) == CLASSES_120


def folder(tmp_path, *names):
    good = text([[(ONE, joints)] for joints in standing(10)])
    for name in names:
        file = tmp_path / f"{name}.skeleton"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(good.encode())
    return tmp_path


NAMES = ("a/S001C001P001R001A001", "a/S001C002P003R002A060", "b/S018C003P045R001A061", "b/S019C001P046R001A120")


def test_samples_are_split_by_protocol(tmp_path):
    path = folder(tmp_path, *NAMES, "a/notes")

    def keys(**options):
        return [sample.key[1:4] + sample.key[-3:] for sample in Ntu(path, **options).samples]

    assert keys() == ["001001", "001060"]
    assert keys(split="train") == ["001001"]
    assert keys(split="test") == ["001060"]
    assert keys(protocol=X_VIEW_60, split="train") == ["001060"]
    assert keys(protocol=X_VIEW_60, split="test") == ["001001"]
    assert keys(protocol=X_SUB_120, split="train") == ["001001", "018061", "019120"]
    assert keys(protocol=X_SUB_120, split="test") == ["001060"]
    assert keys(protocol=X_SET_120, split="train") == ["018061"]
    assert keys(protocol=X_SET_120, split="test") == ["001001", "001060", "019120"]
    assert keys(subjects=("P003",)) == ["001060"]
    data = Ntu(path)
    assert data.biometric
    assert (data.name, len(data.classes), data.layout) == ("ntu-60", 60, NTU_25)
    assert data.classes[data.samples[1].label] == "walk apart"
    assert Ntu(path, protocol=X_SET_120).name == "ntu-120"


def test_the_missing_list_is_left_out_and_bad_files_are_listed(tmp_path):
    path = folder(tmp_path / "data", *NAMES)
    listed = tmp_path / "missing.txt"
    listed.write_text(
        "302 samples have missing skeletons.\nNames of them:\n\nS001C002P003R002A060\nS017C003P040R002A060\n"
    )
    assert read_missing(listed) == {"S001C002P003R002A060", "S017C003P040R002A060"}
    data = Ntu(path, missing=listed)
    assert [sample.subject for sample in data.samples] == ["P001"]
    assert data.missing == ["S001C002P003R002A060"]
    cut = path / "a" / "S001C002P003R002A060.skeleton"
    cut.write_bytes(cut.read_bytes()[:3000])
    data = Ntu(path)
    skipped: list = []
    kept, arrays = load_usable(data, range(2), skipped)
    assert kept == [0]
    assert arrays[0].shape == (1, 10, 25, 3)
    np.testing.assert_allclose(arrays[0][0], standing(10), atol=1e-7)
    assert bone_lengths(torch.from_numpy(arrays[0]), data.layout).shape == (1, 10, 24)
    ((name, reason),) = skipped
    assert name == "S001C002P003R002A060"
    assert str(cut) in reason


def test_lists_and_folders_without_samples_are_refused(tmp_path):
    path = folder(tmp_path / "data", NAMES[2])
    listed = tmp_path / "missing.txt"
    listed.write_text("S001C002P003R002A060.skeleton\nand so on\n")
    with pytest.raises(DataError, match="line 2: expected a sample's name, found 'and so on'"):
        read_missing(listed)
    listed.write_text("none\n")
    with pytest.raises(DataError, match=r"missing.txt: expected samples' names .* found none"):
        Ntu(path, missing=listed)
    with pytest.raises(DataError, match="of A001 to A060 in the split 'train' of ntu-60-xsub, found none"):
        Ntu(path, split="train")
    with pytest.raises(DataError, match=r"a folder of \.skeleton files, found nothing"):
        Ntu(tmp_path / "none")
    with pytest.raises(DataError, match="expected one file of S018C003P045R001A061, found"):
        Ntu(folder(path, "c/S018C003P045R001A061"), protocol=X_SUB_120)
