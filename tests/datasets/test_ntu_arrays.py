import zipfile

import numpy as np
import pytest

from gaitkeeper.datasets.base import load_usable
from gaitkeeper.datasets.ntu_arrays import NtuArrays
from gaitkeeper.errors import DataError
from tests.datasets.bodies import standing


def arrays(path, *, save=np.savez, **changes):
    """CTR-GCN's form: the first sample has two people, the second of whom comes late, the second sample one."""
    x = np.zeros((2, 300, 150), np.float32)
    x[0, :40, :75] = standing(40).reshape(40, 75)
    x[0, 5:40, 75:] = standing(35, seed=1).reshape(35, 75)
    x[1, :30, :75] = standing(30, seed=2).reshape(30, 75)
    y = np.eye(60)[[49, 7]]
    save(path, **{"x_train": x[:1], "y_train": y[:1], "x_test": x, "y_test": y, **changes})
    return path


def test_published_arrays_give_people_without_padding(tmp_path):
    data = NtuArrays(arrays(tmp_path / "NTU60_CS.npz"))
    assert [(sample.key, sample.label) for sample in data.samples] == [("test/000000", 49), ("test/000001", 7)]
    assert {sample.subject for sample in data.samples} == {"unknown"}
    assert data.biometric
    assert (data.name, len(data.classes)) == ("NTU60_CS", 60)
    two, one = data.load([0, 1])
    assert two.shape == (2, 40, 25, 3)
    np.testing.assert_array_equal(two[0], standing(40))
    np.testing.assert_array_equal(two[1, 5:], standing(35, seed=1))
    assert not two[1, :5].any()
    np.testing.assert_array_equal(one, standing(30, seed=2)[None])
    assert len(NtuArrays(tmp_path / "NTU60_CS.npz", split="train").samples) == 1


def test_a_bad_sample_of_an_array_is_listed(tmp_path):
    x = np.zeros((2, 300, 150), np.float32)
    x[0, :10] = 1
    x[0, 3, 4] = np.nan
    x[1, :7, :75] = 1
    path = arrays(tmp_path / "a.npz", x_test=x)
    skipped: list = []
    assert load_usable(NtuArrays(path), range(2), skipped) == ([], [])
    assert skipped == [
        ("test/000000", f"{path}, x_test[0]: expected finite joints, found NaN or infinite ones"),
        ("test/000001", f"{path}, x_test[1]: expected at least 8 frames with a body, found 7"),
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_test": np.zeros((2, 300, 75), np.float32)}, r"expected x_test \(n, t, 150\) .*, found \(2, 300, 75\)"),
        ({"y_test": np.eye(60)[:1]}, r"found \(2, 300, 150\) and \(1, 60\)"),
        ({"y_test": np.eye(65)[:2]}, "expected 60 or 120 classes in y_test, found 65"),
        ({"y_test": np.ones((2, 60))}, "expected one class a sample in y_test, sample 0"),
        ({"x_test": np.array([None, {}])}, "expected numbers in C order in x_test, found object"),
        ({"x_test": np.zeros((2, 300, 150), order="F")}, "in C order in x_test, found float64 in F order"),
        ({"x_test": np.zeros((0, 300, 150))}, "expected 0 bytes of x_test"),
        ({"save": np.savez_compressed}, "expected x_test as numpy.savez stores it, found it compressed"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        NtuArrays(arrays(tmp_path / "a.npz", **changes))


def test_other_archives_are_refused(tmp_path):
    path = tmp_path / "a.npz"
    with pytest.raises(DataError, match="expected a file, found nothing"):
        NtuArrays(path)
    path.write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(DataError, match=r"not an \.npz file that can be read"):
        NtuArrays(path)
    stored = arrays(path).read_bytes()
    path.write_bytes(stored.replace(b"(2, 300, 150), }", b"(2, 300, 150),  "))
    with pytest.raises(DataError, match=r"not an \.npz file that can be read"):
        NtuArrays(path)
    np.savez(path, x_train=np.zeros(3))
    with pytest.raises(DataError, match="expected an array x_test, found none"):
        NtuArrays(path)
    with zipfile.ZipFile(path, "w") as archive:
        header = b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f4', 'fortran_order': False, 'shape': (9000000, 300, 150), }"
        archive.writestr("x_test.npy", header.ljust(127) + b"\n")
    with pytest.raises(DataError, match=r"expected 1620000000000 bytes of x_test .*, found 0"):
        NtuArrays(path)
