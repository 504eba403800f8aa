import pickle

import numpy as np
import pytest

from gaitkeeper.datasets.base import load_usable
from gaitkeeper.datasets.ntu import CLASSES_120
from gaitkeeper.datasets.st_gcn_arrays import StGcnArrays
from gaitkeeper.errors import DataError
from tests.datasets.bodies import standing
from tests.datasets.hostile import HOSTILE

NAMES = ("S001C001P003R001A050.skeleton", "S001C002P007R002A008.skeleton")


def raw():
    """Two clips as ST-GCN has them: two people of whom one comes late, and one."""
    data = np.zeros((2, 3, 300, 25, 2), np.float32)
    data[0, :, :40, :, 0] = standing(40).transpose(2, 0, 1)
    data[0, :, 5:40, :, 1] = standing(35, seed=1, x=1).transpose(2, 0, 1)
    data[1, :, :30, :, 0] = standing(30, seed=2).transpose(2, 0, 1)
    return data


def write(folder, data, pair=(NAMES, (49, 7)), *, name="val_data.npy", protocol=2):
    folder.mkdir(exist_ok=True)
    np.save(folder / name, data)
    label = folder / f"{name.split('_')[0]}_label.pkl"
    label.write_bytes(pair if isinstance(pair, bytes) else pickle.dumps(tuple(map(list, pair)), protocol))
    return folder


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_published_arrays_give_people_without_padding(tmp_path, protocol):
    folder = write(tmp_path / "xsub", raw(), protocol=protocol)
    for path in (folder, folder / "val_data.npy"):
        data = StGcnArrays(path)
        assert [(clip.key, clip.label, clip.subject) for clip in data.samples] == [
            (NAMES[0], 49, "P003"),
            (NAMES[1], 7, "P007"),
        ]
        assert (data.name, data.classes, data.biometric) == ("xsub", CLASSES_120[:60], True)
        two, one = data.load([0, 1])
        assert two.shape == (2, 40, 25, 3)
        np.testing.assert_array_equal(two[0], standing(40))
        np.testing.assert_array_equal(two[1, 5:], standing(35, seed=1, x=1))
        assert not two[1, :5].any()
        np.testing.assert_array_equal(one, standing(30, seed=2)[None])


def normalized(joints):
    """2s-AGCN's form of one person: the spine at the origin in each frame and along z in the first, on and on."""
    moved = joints - joints[:, 1:2]
    spine = (moved[0, 1] - moved[0, 0]) / np.linalg.norm(moved[0, 1] - moved[0, 0])
    side = np.cross(spine, [0, 0, 1.0])
    side /= np.linalg.norm(side)
    turned = moved @ np.stack([side, np.cross(spine, side), spine]).T
    return np.resize(turned, (300, 25, 3)).astype(np.float32)


def test_normalized_arrays_are_turned_back_and_not_repeated(tmp_path):
    person = normalized(standing(40, sway=0.3))
    data = np.zeros((2, 3, 300, 25, 2), np.float32)
    data[:, ..., 0] = person.transpose(2, 0, 1)
    data[1, ..., 1] = normalized(standing(25, seed=1)).transpose(2, 0, 1) + np.float32(0.5)
    one, two = StGcnArrays(write(tmp_path / "xsub", data, name="val_data_joint.npy")).load([0, 1])
    assert one.shape == (1, 40, 25, 3)
    assert two.shape == (2, 40, 25, 3)
    np.testing.assert_array_equal(one[0], np.stack([person[:40, :, 0], person[:40, :, 2], -person[:40, :, 1]], -1))
    np.testing.assert_allclose(one[0, 0, 1] - one[0, 0, 0], [0, np.linalg.norm(one[0, 0, 0]), 0], atol=1e-6)
    # A turn, not a reflection: volumes keep their sign.
    volumes = [np.linalg.det(joints[0][[4, 8, 14]]) for joints in (one[0], person)]
    assert volumes[0] == pytest.approx(volumes[1], rel=1e-4)


def test_the_later_edition_and_other_names(tmp_path):
    later = ("S018C001P003R001A001.skeleton", "S001C002P007R002A120.skeleton")
    assert StGcnArrays(write(tmp_path / "a", raw(), (later, (0, 119)))).classes == CLASSES_120
    other = StGcnArrays(write(tmp_path / "b", raw(), (("one", "two"), (3, 0))))
    assert other.classes == ("class 0", "class 1", "class 2", "class 3")
    assert {clip.subject for clip in other.samples} == {"unknown"}


def test_a_bad_sample_is_listed(tmp_path):
    data = raw()
    data[0, 1, 3, 4, 0] = np.nan
    data[1, :, 7:] = 0
    path = write(tmp_path / "xsub", data)
    skipped: list = []
    assert load_usable(StGcnArrays(path), range(2), skipped) == ([], [])
    assert skipped == [
        (NAMES[0], f"{path / 'val_data.npy'}[0]: expected finite joints, found NaN or infinite ones"),
        (NAMES[1], f"{path / 'val_data.npy'}[1]: expected at least 8 frames with a body, found 7"),
    ]
    data[0] = 1000
    assert "coordinates within 100 m, found 1000" in str(StGcnArrays(write(path, data)).load([0])[0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": np.zeros((2, 3, 300, 18, 2), np.float32)}, r"joints \(n, 3, t, 25, 2\) in metres, found \(2, 3, 300"),
        ({"data": np.zeros((2, 300, 150), np.float32)}, r"found \(2, 300, 150\)"),
        ({"data": np.zeros((2, 3, 300, 25, 2), complex)}, "expected an array of numbers, found complex128"),
        ({"data": np.array([None])}, r"not an \.npy file of numbers"),
        ({"pair": (NAMES[:1], (49,))}, "expected labels of 2 samples, found 1"),
        ({"pair": (NAMES, (49, 8))}, "expected the label 7 of S001C002P007R002A008.skeleton, found 8"),
        ({"pair": (NAMES[:1] * 2, (49, 49))}, "expected each sample once, found S001C001P003R001A050.skeleton twice"),
        ({"pair": (NAMES, (49, -1))}, "a name and a label from 0, found .*-1"),
        ({"pair": (NAMES, (49, 10**9))}, "a name and a label from 0, found .*1000000000"),
        ({"pair": ((1, 2), (49, 7))}, r"a name and a label from 0, found \(1, 49\)"),
        ({"pair": (NAMES, (49,))}, "two lists of the same length"),
        ({"pair": pickle.dumps({"a": 1})}, "two lists of the same length"),
        ({"pair": pickle.dumps((list(NAMES), [49, 7]))[:-9]}, "not a pickle of labels"),
        ({"name": "val_data_bone.npy"}, "expected one array val_data.npy or val_data_joint.npy, found none"),
    ],
)
def test_arrays_and_labels_that_do_not_fit_are_refused(tmp_path, changes, message):
    options = {"data": raw(), **changes}
    with pytest.raises(DataError, match=message):
        StGcnArrays(write(tmp_path / "xsub", options.pop("data"), **options))


@pytest.mark.parametrize(("make", "name"), HOSTILE)
def test_labels_that_would_run_something_are_refused_and_nothing_runs(tmp_path, make, name):
    trace = tmp_path / "trace"
    folder = write(tmp_path / "xsub", raw(), pickle.dumps((list(NAMES), [49, make(trace)]), 2))
    with pytest.raises(DataError, match=rf"val_label\.pkl: the pickle asks for {name}, which no array needs"):
        StGcnArrays(folder)
    assert not trace.exists()


def test_missing_and_cut_off_files_are_named(tmp_path):
    folder = write(tmp_path / "xsub", raw())
    with pytest.raises(DataError, match=r"expected one array train_data.npy or train_data_joint.npy, found none"):
        StGcnArrays(folder, split="train")
    with pytest.raises(DataError, match=r"train_data.npy: expected a file, found nothing"):
        StGcnArrays(folder / "val_data.npy", split="train")
    whole = (folder / "val_data.npy").read_bytes()
    (folder / "val_data.npy").write_bytes(whole[:-1])
    with pytest.raises(DataError, match=r"val_data.npy: not an \.npy file of numbers that can be read"):
        StGcnArrays(folder)
    np.save(folder / "val_data_bone.npy", raw())
    with pytest.raises(DataError, match=r"val_data_bone.npy: expected joints, .*\(bones and motion are"):
        StGcnArrays(folder / "val_data_bone.npy")
    np.save(folder / "val_data_joint.npy", raw())
    with pytest.raises(DataError, match=r"expected one array val_data.npy or val_data_joint.npy, found both"):
        StGcnArrays(folder)
    (folder / "val_label.pkl").unlink()
    with pytest.raises(DataError, match=r"val_label.pkl: expected a file, found nothing"):
        StGcnArrays(folder / "val_data_joint.npy")
