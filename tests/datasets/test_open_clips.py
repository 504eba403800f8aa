import shutil

import numpy as np
import pytest

from gaitkeeper.datasets.clips import to_skeletons
from gaitkeeper.datasets.cmu import Cmu
from gaitkeeper.datasets.hdm05 import CLASSES_65, Hdm05
from gaitkeeper.datasets.kinetics import Kinetics
from gaitkeeper.datasets.mhad import Mhad
from gaitkeeper.datasets.ntu import CLASSES_120, Ntu
from gaitkeeper.datasets.ntu_arrays import NtuArrays
from gaitkeeper.datasets.open_clips import open_clips
from gaitkeeper.datasets.pyskl import Pyskl
from gaitkeeper.datasets.st_gcn_arrays import StGcnArrays
from gaitkeeper.datasets.ucla import Ucla
from gaitkeeper.errors import DataError
from tests.datasets import test_cmu, test_kinetics, test_mhad, test_ntu, test_ntu_arrays, test_pyskl, test_ucla
from tests.datasets.test_st_gcn_arrays import raw
from tests.datasets.test_st_gcn_arrays import write as write_st_gcn


def kinetics(path):
    return test_kinetics.write(path, {"aa": test_kinetics.clip([[test_kinetics.points(0)]] * 8)})


def pyskl(path):
    path.mkdir()
    return test_pyskl.write(path, test_pyskl.content())


def npz(path):
    path.mkdir()
    return test_ntu_arrays.arrays(path / "NTU60_CS.npz")


FORMS = {
    Cmu: (lambda path: test_cmu.write(path, "02_01", "143_10"), "all"),
    Kinetics: (kinetics, "test"),
    Mhad: (lambda path: test_mhad.write(path, "SkeletalData/skl_s09_a01_r01"), "test"),
    Ntu: (lambda path: test_ntu.folder(path, "nturgb+d_skeletons/S001C001P003R001A001"), "test"),
    NtuArrays: (npz, "test"),
    Pyskl: (pyskl, "test"),
    StGcnArrays: (lambda path: write_st_gcn(path, raw()), "test"),
    Ucla: (lambda path: test_ucla.write(path / "all_sqe", "a01_s01_e00_v03"), "test"),
}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_recognized_and_is_a_set_of_clips(tmp_path, form):
    write, split = FORMS[form]
    data = open_clips(write(tmp_path / "data"), split=split)
    assert type(data) is form
    assert data.biometric
    assert data.name
    keys = [sample.key for sample in data.samples]
    assert len(set(keys)) == len(keys) > 0
    assert len(set(data.classes)) == len(data.classes)
    arrays = data.load(range(len(keys)))
    for sample, array in zip(data.samples, arrays, strict=True):
        assert 0 <= sample.label < len(data.classes)
        assert isinstance(sample.subject, str)
        assert array.dtype == np.float32
        assert array.shape == (len(array), array.shape[1], len(data.layout), 3)
        assert len(array) in (1, 2)
    batch = to_skeletons(arrays, data.layout, fps=data.fps, frames=20, persons=2)
    assert batch.data.shape == (len(keys), 3, 20, len(data.layout), 2)
    assert batch.data.isfinite().all()


def test_real_takes_are_hdm05(shared):
    folder = shared / "real" / "hdm05-11"
    assert len(open_clips(folder).samples) == 99
    data = open_clips(folder, split="train", protocol="hdm05-65")
    assert isinstance(data, Hdm05)
    assert (len(data.samples), data.classes) == (189, tuple(CLASSES_65))
    assert isinstance(open_clips(shared / "real" / "cmu-walk", split="all"), Cmu)


def test_splits_and_protocols(tmp_path):
    folder = test_ntu.folder(tmp_path / "ntu", "S001C002P003R001A001", "S018C001P003R001A061")
    assert [sample.key for sample in open_clips(folder).samples] == ["S001C002P003R001A001"]
    assert [sample.key for sample in open_clips(folder, protocol="ntu-60-xview", split="train").samples] == [
        "S001C002P003R001A001"
    ]
    later = open_clips(folder, protocol="ntu-120-xset", split="train")
    assert [sample.key for sample in later.samples] == ["S018C001P003R001A061"]
    assert later.classes == CLASSES_120
    path = pyskl(tmp_path / "pyskl")
    assert len(open_clips(path, split="train").samples) == 1
    assert len(open_clips(path, protocol="xview").samples) == 1
    trials = test_cmu.write(tmp_path / "cmu", "02_01", "143_10")
    (trials / "labels.csv").write_text("trial,class\n02_01,walk\n")
    assert open_clips(trials, split="all").classes == ("walk",)
    one = write_st_gcn(tmp_path / "xsub", raw())
    assert isinstance(open_clips(one / "val_data.npy"), StGcnArrays)
    for asked, message in (
        ((path, {"split": "all"}), r"ntu60_3danno.pkl: .* expected the split train or test, got all"),
        ((path, {"protocol": "xset"}), "expected a split 'xset_val', found xsub_train, xsub_val, xview_val"),
        ((folder, {"protocol": "xsub"}), "expected the protocol ntu-60-xsub or .*, got 'xsub'"),
        ((one, {"protocol": "xsub"}), "one published split only: expected no protocol, got 'xsub'"),
        ((one, {"split": "train"}), r"expected one array train_data.npy or"),
        ((trials, {}), "no published split: expected the split all, got test"),
    ):
        with pytest.raises(DataError, match=message):
            open_clips(asked[0], **asked[1])


def test_other_protocols_of_hdm05_are_refused(tmp_path):
    (tmp_path / "HDM_mm_squat1Reps_001_120.AMC").write_text("")
    with pytest.raises(DataError, match="expected the protocol hdm05-11 or hdm05-65, got '65'"):
        open_clips(tmp_path, protocol="65")
    assert "expected its skeleton beside it" in str(open_clips(tmp_path).load([0])[0])


def test_what_is_none_of_these_is_refused_with_what_was_found(tmp_path):
    with pytest.raises(DataError, match="none: expected a file or folder of clips, found nothing"):
        open_clips(tmp_path / "none")
    with pytest.raises(DataError, match=r"expected takes of HDM05 or CMU \(.amc\).*; found no files$"):
        open_clips(tmp_path)
    for name in ("a.txt", "b.TXT", "c", "walk.amc", "readme.json", "a.skeleton"):
        (tmp_path / name).write_text("")
    with pytest.raises(DataError, match=r"found 2 of .txt, 1 of .skeleton, 1 of no ending, 1 of .json, 1 of .amc$"):
        open_clips(tmp_path)
    with pytest.raises(DataError, match=r"a.txt: expected a file .npz, .npy, .pkl or a folder of clips"):
        open_clips(tmp_path / "a.txt")
    shutil.copy(npz(tmp_path / "arrays"), tmp_path)
    with pytest.raises(DataError, match=r"2 of .npz.*; name the file itself"):
        open_clips(tmp_path)
