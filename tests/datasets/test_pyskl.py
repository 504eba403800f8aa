import pickle

import numpy as np
import pytest

from gaitkeeper.datasets import pyskl
from gaitkeeper.datasets.base import load_usable
from gaitkeeper.datasets.ntu import CLASSES_120
from gaitkeeper.datasets.pyskl import Pyskl
from gaitkeeper.errors import DataError
from tests.datasets.bodies import standing
from tests.datasets.hostile import HOSTILE

ONE, TWO = "S001C001P003R001A008", "S001C002P007R002A050"


def annotation(name, *people, **changes):
    joints = np.stack(people).astype(np.float16)
    return {
        "frame_dir": name,
        "label": int(name[-3:]) - 1,
        "keypoint": joints,
        "total_frames": joints.shape[1],
        **changes,
    }


def content(**changes):
    late = standing(40, seed=1, x=1) * (np.arange(40) >= 5)[:, None, None]
    return {
        "split": {"xsub_train": [TWO], "xsub_val": [ONE, TWO], "xview_val": [TWO]},
        "annotations": [annotation(TWO, standing(40), late), annotation(ONE, standing(30, seed=2))],
        **changes,
    }


def write(tmp_path, found, *, protocol=4):
    path = tmp_path / "ntu60_3danno.pkl"
    path.write_bytes(found if isinstance(found, bytes) else pickle.dumps(found, protocol))
    return path


@pytest.mark.parametrize("protocol", range(6))
def test_published_annotations_give_people_by_split(tmp_path, protocol):
    path = write(tmp_path, content(), protocol=protocol)
    data = Pyskl(path)
    assert [(clip.key, clip.label, clip.subject) for clip in data.samples] == [(ONE, 7, "P003"), (TWO, 49, "P007")]
    assert (data.name, data.classes, data.biometric, data.missing) == ("ntu60_3danno", CLASSES_120[:60], True, [])
    one, two = data.load([0, 1])
    assert one.dtype == np.float32
    np.testing.assert_array_equal(one, standing(30, seed=2).astype(np.float16)[None])
    assert two.shape == (2, 40, 25, 3)
    assert not two[1, :5].any()
    np.testing.assert_array_equal(two[0], standing(40).astype(np.float16))
    assert [clip.key for clip in Pyskl(path, split="xview_val").samples] == [TWO]


@pytest.mark.parametrize("kind", ["f4", ">f4", "f8"])
@pytest.mark.parametrize("protocol", [2, 4])
def test_other_floats_and_numbers_of_numpy_mean_the_same(tmp_path, kind, protocol):
    joints = standing(30)[None].astype(kind)
    item = annotation(ONE, standing(30), keypoint=np.asfortranarray(joints), label=np.int64(7))
    (found,) = Pyskl(write(tmp_path, content(annotations=[item]), protocol=protocol)).load([0])
    np.testing.assert_array_equal(found, standing(30)[None])


def test_bad_annotations_are_listed_and_missing_ones_named(tmp_path):
    broken = standing(30)
    broken[3, 4, 1] = np.inf
    third, fourth, fifth, sixth = (f"S001C001P003R001A00{i}" for i in (1, 2, 3, 4))
    items = [
        annotation(ONE, standing(30)),
        annotation(TWO, broken),
        annotation(third, standing(30), total_frames=31),
        annotation(fourth, standing(7)),
        annotation(fifth, standing(30), standing(30, seed=1), standing(30, seed=2)),
        annotation(sixth, standing(30), keypoint=[[1.0]]),
    ]
    names = [ONE, TWO, third, fourth, fifth, sixth, "S001C001P003R001A006"]
    data = Pyskl(write(tmp_path, content(annotations=items, split={"xsub_val": names})))
    assert data.missing == ["S001C001P003R001A006"]
    skipped: list = []
    kept, _ = load_usable(data, range(6), skipped)
    assert kept == [0]
    assert [name for name, _ in skipped] == [TWO, third, fourth, fifth, sixth]
    for (name, reason), expected in zip(
        skipped,
        (
            "expected finite joints, found NaN or infinite ones",
            "expected 31 frames of keypoints, found 30",
            "expected at least 8 frames with a body, found 7",
            "expected at most two people, found 3",
            "expected an array keypoint, found list",
        ),
        strict=True,
    ):
        assert reason.endswith(f"ntu60_3danno.pkl, {name}: {expected}")


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (
            content(annotations=[annotation(ONE, standing(30), keypoint=np.zeros((1, 30, 17, 2), np.float16))]),
            r"25 joints, x y z\), found \(1, 30, 17, 2\): these are points of a picture, without depth",
        ),
        (
            content(annotations=[annotation(ONE, standing(30), keypoint=np.zeros((1, 30, 20, 3), np.float16))]),
            r"found \(1, 30, 20, 3\)$",
        ),
        (
            content(annotations=[annotation(ONE, standing(30), keypoint=np.zeros((1, 30, 25, 3), np.int32))]),
            "of type float16, float32 or float64, found 'i4'",
        ),
        (content(split={"train": [ONE]}), "expected a split 'xsub_val', found train"),
        (content(split=[ONE]), "expected a dict of split and annotations, found a dict of split, annotations"),
        (content(split={"xsub_val": ["S001C001P003R001A001"]}), "annotations of the split 'xsub_val', found none"),
        (content(annotations=[annotation(ONE, standing(30))] * 2), "one annotation of each id, found 2 of 1"),
        (content(annotations={}), "expected a list of annotations, found dict"),
        (content(annotations=[{"label": 3}]), "expected frame_dir and label of the annotation 0"),
        (content(annotations=[annotation(ONE, standing(30), label="8")]), "frame_dir and label of the annotation 0"),
        (content(annotations=[annotation(ONE, standing(30), label=9)]), f"expected the label 7 of {ONE}, found 9"),
        (["one", "two"], "expected a dict of split and annotations, found list"),
        (b"", "not a pickle of annotations and splits"),
        (pickle.dumps(content())[:-200], "not a pickle of annotations and splits"),
        (pickle.dumps({1, 2}, 2), r"asks for __builtin__\.set, which no array needs"),
        (pickle.dumps(np.dtype("V8").type(8), 4), "of type bool, int or float, found 'V8'"),
        (b"\x80\x04\x95" + (2**50).to_bytes(8, "little") + b"N.", "a frame of .* bytes in a file of"),
        (b"]r\x00\x00\x10\x00.", "it would remember a value at place 1048576"),
    ],
)
def test_what_is_no_such_pickle_is_refused_by_name(tmp_path, found, message):
    with pytest.raises(DataError, match=message) as caught:
        Pyskl(write(tmp_path, found))
    assert "ntu60_3danno.pkl" in str(caught.value)


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize(("make", "name"), HOSTILE)
def test_pickles_that_would_run_something_are_refused_and_nothing_runs(tmp_path, make, name, protocol):
    trace = tmp_path / "trace"
    items = [annotation(ONE, standing(30), keypoint=make(trace))]
    path = write(tmp_path, content(annotations=items), protocol=protocol)
    with pytest.raises(DataError, match=rf"the pickle asks for {name}, which no array needs"):
        Pyskl(path)
    assert not trace.exists()


def test_large_and_missing_files_are_refused_unread(tmp_path):
    path = tmp_path / "a.pkl"
    with pytest.raises(DataError, match="expected a file, found nothing"):
        Pyskl(path)
    with path.open("wb") as sparse:
        sparse.truncate(pyskl.MAX_BYTES + 1)
    with pytest.raises(DataError, match=f"at most {pyskl.MAX_BYTES} bytes"):
        Pyskl(path)
