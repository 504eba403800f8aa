import shutil

import numpy as np
import pytest
import torch

from gaitkeeper.datasets.asf import read_amc
from gaitkeeper.datasets.base import load_usable
from gaitkeeper.datasets.cmu import Cmu, read_labels
from gaitkeeper.errors import DataError
from gaitkeeper.motion.kinematics import bone_lengths
from gaitkeeper.motion.skeletons import HDM05_25

LAYOUT_BONES = {
    **{"root": ("lhipjoint", "rhipjoint", "lowerback"), "lowerback": ("upperback",), "upperback": ("thorax",)},
    **{"thorax": ("lowerneck", "lclavicle", "rclavicle"), "lowerneck": ("upperneck",)},
    **{
        f"{s}{a}": (f"{s}{b}",) for s in "lr" for a, b in (("hipjoint", "femur"), ("femur", "tibia"), ("tibia", "foot"))
    },
    **{f"{s}foot": (f"{s}toes",) for s in "lr"},
    **{f"{s}{a}": (f"{s}{b}",) for s in "lr" for a, b in (("clavicle", "humerus"), ("humerus", "radius"))},
    **{f"{s}radius": (f"{s}wrist",) for s in "lr"},
    **{f"{s}wrist": (f"{s}hand", f"{s}thumb") for s in "lr"},
    **{f"{s}hand": (f"{s}fingers",) for s in "lr"},
}


def asf(*, length="2"):
    """A skeleton with the published bones, each of the same length."""
    names = [name for children in LAYOUT_BONES.values() for name in children]
    lines = [":version 1.10", ":name VICON", ":units", "  mass 1.0", "  length 0.45", "  angle deg", ":root"]
    lines += ["   order TX TY TZ RX RY RZ", "   axis XYZ", "   position 0 0 0", "   orientation 0 0 0", ":bonedata"]
    for number, name in enumerate(names, 1):
        lines += ["  begin", f"     id {number}", f"     name {name}", "     direction 0 1 0", f"     length {length}"]
        lines += ["     axis 0 0 0 XYZ", "  end"]
    lines += [":hierarchy", "  begin"]
    lines += [f"    {parent} {' '.join(children)}" for parent, children in LAYOUT_BONES.items()]
    return "\n".join([*lines, "  end"]) + "\n"


def amc(*, frames=8):
    return ":FULLY-SPECIFIED\n:DEGREES\n" + "".join(f"{i}\nroot {i} 18 0 0 0 0\n" for i in range(1, frames + 1))


def write(root, *trials, text=None):
    for trial in trials:
        folder = root / trial.split("_")[0]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{trial}.amc").write_text(text or amc())
        (folder / f"{folder.name}.asf").write_text(asf())
    return root


def test_trials_are_found_in_folders_and_labeled_by_a_list(tmp_path):
    write(tmp_path, "02_01", "02_02", "143_10")
    data = Cmu(tmp_path)
    assert [(trial.key, trial.label, trial.subject) for trial in data.samples] == [
        ("02_01", 0, "02"),
        ("02_02", 0, "02"),
        ("143_10", 0, "143"),
    ]
    assert (data.classes, data.layout, data.fps, data.biometric) == (("unlabeled",), HDM05_25, 120, True)
    (found,) = data.load([2])
    assert found.shape == (1, 8, 25, 3)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.diff(found[0, :, 10], axis=0)[:, 0], 0.0254 / 0.45, atol=1e-6)
    assert [trial.key for trial in Cmu(tmp_path, subjects=("143",)).samples] == ["143_10"]
    labels = tmp_path / "labels.csv"
    labels.write_text('\ufefftrial,note,class\r\n143_10,,walk\r\n02_02,"a, b",run\r\n09_09,,walk\r\n')
    labeled = Cmu(tmp_path, labels=labels)
    assert labeled.classes == ("run", "walk")
    assert [(trial.key, trial.label) for trial in labeled.samples] == [("02_02", 0), ("143_10", 1)]


def test_real_walks_have_the_layouts_rigid_bones(shared):
    folder = shared / "real" / "cmu-walk"
    data = Cmu(folder)
    assert [trial.key for trial in data.samples] == ["02_01", "02_02", "03_01", "03_02", "03_03"]
    ((joints,), (other,)) = data.load([0, 2])
    assert joints.shape == (343, 25, 3)
    assert other.shape == (432, 25, 3)
    np.testing.assert_allclose(joints, read_amc(folder / "02_01.amc").positions(HDM05_25.joints), atol=1e-6)
    lengths = bone_lengths(torch.from_numpy(joints).double(), HDM05_25)
    assert lengths.std(0).max() < 1e-6
    for group in HDM05_25.coincident:
        assert (joints[:, list(group)] == joints[:, group[:1]]).all()


def test_bad_trials_are_listed(tmp_path):
    write(tmp_path, "01_01", "01_03", "02_01", "03_01", "04_01", "05_01", "06_01")
    (tmp_path / "02" / "02.asf").unlink()
    (tmp_path / "03" / "03.asf").write_text(asf(length="0"))
    (tmp_path / "04" / "04_01.amc").write_bytes(amc().encode("utf-16"))
    (tmp_path / "05" / "05_01.amc").write_text(amc(frames=7))
    (tmp_path / "06" / "06_01.amc").write_text(amc().replace(" 18 ", " nan "))
    (tmp_path / "01" / "01_03.amc").write_text(amc() + "9\n")
    data = Cmu(tmp_path)
    skipped: list = []
    kept, _ = load_usable(data, range(len(data.samples)), skipped)
    assert [data.samples[i].key for i in kept] == ["01_01"]
    for (key, reason), (wanted, message) in zip(
        skipped,
        (
            ("01_03", "01_03.amc: it is cut off: frame 9 ends without root"),
            ("02_01", "02_01.amc: expected its skeleton beside it, an .asf file with the same beginning; found none"),
            ("03_01", "03.asf, line 17: expected a length above 0 of the bone lhipjoint"),
            ("04_01", "04_01.amc, line 1: expected UTF-8 text, found byte 0xff"),
            ("05_01", "05_01.amc: expected at least 8 frames, found 7"),
            ("06_01", "06_01.amc, line 4: expected finite numbers"),
        ),
        strict=True,
    ):
        assert key == wanted
        assert message in reason


def test_a_skeleton_without_the_layouts_joints_is_refused(tmp_path):
    write(tmp_path, "01_01")
    (tmp_path / "01" / "01.asf").write_text(asf().replace("rtoes", "rpaw"))
    assert "no joint 'rtoes'" in str(Cmu(tmp_path).load([0])[0])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"trial,class\n02_01,walk\n02_01,run\n", "line 3: expected a trial such as 02_01, once, .* '02_01' and 'run'"),
        (b"trial,class\n02_01,\n", "line 2: expected a trial such as 02_01, once, and its class, found '02_01' and ''"),
        (b"trial,class\n02_01\n", "line 2: expected a trial .* found '02_01' and ''"),
        (b"trial,class\nwalk,02_01\n", "line 2: expected a trial .* found 'walk'"),
        (b"02_01,walk\n", "line 1: expected the columns trial,class, found .*02_01,walk"),
        (b"", "line 1: expected the columns trial,class"),
        (b"trial,class\n", "expected trials and their classes, found 0 classes"),
        (b"trial,class\n02_01,w\xe4lk\n", "expected UTF-8 text, found byte 0xe4"),
        (b'trial,class\n02_01,"walk\n', "expected a CSV file of trial,class"),
    ],
)
def test_damaged_lists_are_refused(tmp_path, content, message):
    file = tmp_path / "labels.csv"
    file.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_labels(file)
    assert str(file) in str(caught.value)


def test_folders_without_trials_are_refused(tmp_path):
    with pytest.raises(DataError, match="a folder of CMU's trials, found nothing"):
        Cmu(tmp_path / "none")
    with pytest.raises(DataError, match=r"expected trials <subject>_<trial>.amc, found none"):
        Cmu(tmp_path)
    write(tmp_path, "02_01")
    labels = tmp_path / "labels.csv"
    labels.write_text("trial,class\n02_02,walk\n")
    with pytest.raises(DataError, match=r"amc that .*labels.csv lists, found none"):
        Cmu(tmp_path, labels=labels)
    with pytest.raises(DataError, match="no subject 03; it has 02"):
        Cmu(tmp_path, subjects=("03",))
    shutil.copytree(tmp_path / "02", tmp_path / "copy")
    with pytest.raises(DataError, match=r"expected one file of 02_01, found .* too"):
        Cmu(tmp_path)
