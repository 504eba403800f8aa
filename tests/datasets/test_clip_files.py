import io
import json
import zipfile

import numpy as np
import pytest
import torch

from gaitkeeper.datasets.clip_files import INDEX, ClipFiles, write_clip, write_index
from gaitkeeper.datasets.clips import to_skeletons
from gaitkeeper.datasets.open_clips import open_clips
from gaitkeeper.errors import DataError
from gaitkeeper.motion.kinematics import to_joints
from gaitkeeper.motion.skeletons import HDM05_25, NTU_25
from tests.attacks.victims import clips
from tests.datasets.hostile import HOSTILE

CLASSES = ("hop", "kick")
LISTED = [
    {"key": "031/hop/01", "label": 0, "subject": "031", "fps": 30.0},
    {"key": "S001", "label": 1, "subject": "unknown", "fps": 47.25},
]


@pytest.fixture
def joints():
    return to_joints(clips(NTU_25, frames=8, persons=2).data).numpy()


@pytest.fixture
def folder(tmp_path, joints):
    root = tmp_path / "attacked"
    write_clip(root, "031/hop/01", joints[0, :1])
    write_clip(root, "S001", joints[1, :, :6])
    write_index(root, LISTED, name="actors, attacked", layout=NTU_25, classes=CLASSES, biometric=False)
    return root


def change(folder, **values):
    """Change the list; values for a clip go to the first."""
    listed = json.loads((folder / INDEX).read_text())
    own = {key: values.pop(key) for key in list(values) if key in listed["clips"][0]}
    listed["clips"][0] |= own
    (folder / INDEX).write_text(json.dumps(listed | values))


def test_what_is_written_is_read_bit_by_bit(folder, joints):
    data = open_clips(folder)
    assert isinstance(data, ClipFiles)
    assert (data.name, data.biometric, data.layout, data.classes) == ("actors, attacked", False, NTU_25, CLASSES)
    assert [(s.key, s.label, s.subject, s.fps) for s in data.samples] == [tuple(clip.values()) for clip in LISTED]
    second, first = data.load([1, 0])
    assert first.dtype == second.dtype == np.float32
    np.testing.assert_array_equal(first, joints[0, :1])
    np.testing.assert_array_equal(second, joints[1, :, :6])
    motion = to_skeletons([first, second], data.layout, fps=[s.fps for s in data.samples])
    assert motion.extras["fps"].tolist() == [30, 47.25]
    torch.testing.assert_close(to_joints(motion.data)[0, 0], torch.from_numpy(joints[0, 0]), atol=0, rtol=0)


def test_real_people_stay_marked(folder):
    write_index(folder, LISTED, name="hdm05, attacked", layout=HDM05_25, classes=CLASSES, biometric=True)
    data = ClipFiles(folder)
    assert data.biometric
    assert data.layout is HDM05_25


def test_they_are_for_tests_only(folder):
    with pytest.raises(DataError, match=f"{folder}: clips that were written by this package are for tests only"):
        open_clips(folder, split="train")


def test_memory_in_another_order_is_written_too(tmp_path, joints):
    write_clip(tmp_path, "a", np.asfortranarray(joints[0]))
    write_index(tmp_path, [{**LISTED[0], "key": "a"}], name="a", layout=NTU_25, classes=CLASSES, biometric=False)
    np.testing.assert_array_equal(ClipFiles(tmp_path).load([0])[0], joints[0])


@pytest.mark.parametrize("key", ["/tmp/elsewhere", "../elsewhere", "a/../../elsewhere", "a\0b", "a\nb"])
def test_a_clip_is_written_below_the_folder_only(tmp_path, joints, key):
    with pytest.raises(DataError, match="name that stays below"):
        write_clip(tmp_path / "root", key, joints[0])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"key": "/etc/passwd"}, "clips of other names below the folder"),
        ({"key": "../../secret"}, "clips of other names below the folder"),
        ({"key": "S001"}, "clips of other names"),
        ({"key": "a\0b"}, "below the folder"),
        ({"label": 2}, "one of 2 classes"),
        ({"label": -1}, "one of 2 classes"),
        ({"label": "hop"}, "expected a list of clips"),
        ({"label": float("inf")}, "expected a list of clips"),
        ({"fps": 0}, "with a rate"),
        ({"fps": float("nan")}, "with a rate"),
        ({"fps": None}, "expected a list of clips"),
        ({"layout": "octopus-8"}, "expected a list of clips"),
        ({"layout": ["ntu-25"]}, "expected a list of clips"),
        ({"classes": 3}, "expected a list of clips"),
        ({"clips": [3]}, "expected a list of clips"),
        ({"clips": {"a": 1}}, "expected a list of clips"),
        ({"clips": None}, "expected a list of clips"),
    ],
)
def test_a_wrong_list_is_refused_by_its_name(folder, values, message):
    change(folder, **values)
    with pytest.raises(DataError, match=message) as error:
        ClipFiles(folder)
    assert str(error.value).startswith(str(folder / INDEX))


@pytest.mark.parametrize("text", [b"", b"[]", b"3", b'{"name": ', b"\xff\xfe", b"[" * 100_000])
def test_a_damaged_list_is_refused_by_its_name(folder, text):
    (folder / INDEX).write_bytes(text)
    with pytest.raises(DataError) as error:
        open_clips(folder)
    assert str(folder / INDEX) in str(error.value)


def test_a_missing_list_is_named(tmp_path):
    with pytest.raises(DataError, match=r"clips\.json: expected a file, found nothing"):
        ClipFiles(tmp_path)


def archive(**arrays):
    made = io.BytesIO()
    np.savez(made, **arrays)
    return made.getvalue()


def claiming(shape):
    """Return an archive whose header claims more than there is."""
    array, made = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array_header_1_0(array, {"descr": "<f4", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(made, "w") as file:
        file.writestr("joints.npy", array.getvalue())
    return made.getvalue()


def bomb():
    made = io.BytesIO()
    np.savez_compressed(made, joints=np.zeros((1, 100_000, 25, 3), np.float32))
    return made.getvalue()


GOOD = np.ones((1, 6, 25, 3), np.float32)
DAMAGED = {
    "empty": (b"", "not an .npz file"),
    "cut": (archive(joints=GOOD)[:700], "not an .npz file"),
    "another array": (archive(other=GOOD), "expected an array joints, found none"),
    "another layout": (archive(joints=GOOD[:, :, :20]), r"expected float32 joints \(m, t, 25, 3\)"),
    "another rank": (archive(joints=GOOD[0]), "expected float32 joints"),
    "another type": (archive(joints=GOOD.astype(np.float64)), "float64"),
    "no frames": (archive(joints=GOOD[:, :0]), "expected 0 bytes"),
    "not a number": (archive(joints=np.where(GOOD > 0, np.nan, GOOD)), "expected finite joints"),
    "infinite": (archive(joints=GOOD * np.inf), "expected finite joints"),
    "more than there is": (claiming((1, 10**12, 25, 3)), "expected 300000000000000 bytes"),
    "compressed": (bomb(), "found it compressed"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_clip_is_named_and_the_others_load(folder, joints, kind):
    content, message = DAMAGED[kind]
    file = folder / "031" / "hop" / "01.npz"
    file.write_bytes(content)
    found = ClipFiles(folder).load([0, 1])
    assert isinstance(found[0], DataError)
    with pytest.raises(DataError, match=message) as error:
        raise found[0]
    assert str(file) in str(error.value)
    np.testing.assert_array_equal(found[1], joints[1, :, :6])


def test_a_missing_clip_is_named(folder):
    (folder / "S001.npz").unlink()
    found = ClipFiles(folder).load([1])
    assert str(found[0]) == f"{folder / 'S001.npz'}: expected a file, found nothing"


@pytest.mark.parametrize("content", [make for make, _ in HOSTILE], ids=[why[:20] for _, why in HOSTILE])
def test_nothing_in_a_clip_is_run(folder, content, tmp_path):
    ran = tmp_path / "ran"
    hostile = np.empty(1, object)
    hostile[0] = content(ran)
    np.savez(folder / "S001.npz", joints=hostile)
    found = ClipFiles(folder).load([1])
    assert isinstance(found[0], DataError)
    assert not ran.exists()
