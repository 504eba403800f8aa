import numpy as np
import pytest
import torch

from gaitkeeper.datasets.base import load_usable
from gaitkeeper.datasets.mhad import CLASSES, Mhad
from gaitkeeper.errors import DataError
from gaitkeeper.motion.kinematics import bone_lengths
from gaitkeeper.motion.skeletons import MHAD_35

SPINE = ("Hips", "ToSpine", "Spine", "Spine1", "Neck", "Head")
ARM = ("Shoulder", "Arm", "ArmRoll", "ForeArm", "ForeArmRoll", "Hand")
LEG = ("UpLeg", "UpLegRoll", "Leg", "LegRoll", "Foot", "ToeBase")
JOINTS = (*SPINE, *(f"{side}{part}" for limb in (ARM, LEG) for side in ("Right", "Left") for part in limb))


def bvh(*, unit=100.0, frames=10, rate="0.002083", first="Right", knee=0.0):
    """The published tree; legs are 0.84 m long, and the file counts in so many to a metre."""
    lines = ["HIERARCHY"]

    def joint(names, depth):
        side = -1 if names[0].startswith("Right") else 1
        offset = {
            **dict.fromkeys(SPINE, (0.0, 0.1, 0.0)),
            **dict.fromkeys(ARM, (side * 0.1, 0.0, 0.0)),
            **dict.fromkeys(LEG, (0.0, -0.21, 0.0)),
            "UpLeg": (side * 0.1, 0.0, 0.0),
        }[names[0].removeprefix("Right").removeprefix("Left")]
        space = "  " * depth
        channels = ("6 Xposition Yposition Zposition " if depth == 0 else "3 ") + "Zrotation Yrotation Xrotation"
        lines.extend([f"{space}{'ROOT' if depth == 0 else 'JOINT'} {names[0]}", space + "{"])
        lines.append(f"{space}  OFFSET {' '.join(f'{unit * value:.6f}' for value in offset)}")
        lines.append(f"{space}  CHANNELS {channels}")
        if len(names) > 1:
            joint(names[1:], depth + 1)
        else:
            lines.extend(
                [f"{space}  End Site", space + "  {", f"{space}    OFFSET 0 {unit * 0.1:.6f} 0", space + "  }"]
            )
        other = "Left" if first == "Right" else "Right"
        limb = {"Spine1": ARM, "Hips": LEG}.get(names[0])
        for side_name in (first, other) if limb else ():
            joint([f"{side_name}{part}" for part in limb], depth + 1)
        lines.append(space + "}")

    joint(list(SPINE), 0)
    lines += ["MOTION", f"Frames: {frames}", f"Frame Time: {rate}"]
    for frame in range(frames):
        values = np.zeros(3 + 90)
        values[:3] = unit * np.array([0.0, 0.9, 0.01 * frame])
        values[3 + 3 * JOINTS.index("RightLeg") + 2] = knee
        lines.append(" ".join(f"{value:.6f}" for value in values))
    return "\n".join(lines)


def write(root, *names, text=None):
    for name in names:
        file = root / f"{name}.bvh"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text or bvh())
    return root


def test_takes_are_in_the_layouts_order_in_metres(tmp_path):
    data = Mhad(write(tmp_path, "skl_s01_a05_r02", text=bvh(knee=90.0)))
    assert [(take.key, take.label, take.subject) for take in data.samples] == [("s01_a05_r02", 4, "s01")]
    assert (data.fps, data.layout, data.classes[4], data.biometric) == (480, MHAD_35, "waving two hands", True)
    (found,) = data.load([0])
    assert found.shape == (1, 10, 35, 3)
    assert found.dtype == np.float32
    lengths = bone_lengths(torch.from_numpy(found), MHAD_35)
    assert lengths.std(1).max() < 1e-6
    names = MHAD_35.joints
    for joint, place in {
        "hips": (0, 0.9, 0),
        "head end": (0, 1.5, 0),
        "right hand end": (-0.6, 1.3, 0),
        "left hip": (0.1, 0.9, 0),
        "left toes end": (0.1, 0.9 - 5 * 0.21 + 0.1, 0),
        "right knee": (-0.1, 0.48, 0),
        # The knee is bent to the back by a right angle.
        "right ankle": (-0.1, 0.48, -0.42),
    }.items():
        np.testing.assert_allclose(found[0, 0, names.index(joint)], place, atol=1e-5, err_msg=joint)


@pytest.mark.parametrize("unit", [1, 100, 1000, 1 / 0.0254])
def test_the_unit_is_found_by_the_legs(tmp_path, unit):
    (found,) = Mhad(write(tmp_path, "skl_s01_a05_r02", text=bvh(unit=unit))).load([0])
    (wanted,) = Mhad(write(tmp_path / "other", "skl_s01_a05_r02")).load([0])
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_the_split_is_by_subject(tmp_path):
    write(tmp_path, "a/skl_s01_a01_r01", "a/skl_s07_a11_r05", "b/SKL_S08_A01_R01", "b/skl_s12_a02_r01")
    write(tmp_path, "b/skl_s01_a12_r01", "b/skl_s01_t", "b/notes")
    assert len(CLASSES) == 11

    def keys(**options):
        return [take.key for take in Mhad(tmp_path, **options).samples]

    assert keys(split="train") == ["s01_a01_r01", "s07_a11_r05"]
    assert keys(split="test") == ["s08_a01_r01", "s12_a02_r01"]
    assert len(keys()) == 4
    assert keys(subjects=("s12",)) == ["s12_a02_r01"]
    with pytest.raises(DataError, match="no subject s03; it has s01, s07, s08, s12"):
        keys(subjects=("s03",))
    with pytest.raises(DataError, match=r"expected takes skl_sSS_aAA_rRR.bvh of a01 to a11 in the split 'train'"):
        keys(split="train", subjects=("s12",))
    with pytest.raises(DataError, match=r"expected one file of s01_a01_r01, found .* too"):
        Mhad(write(tmp_path, "c/skl_s01_a01_r01"))
    with pytest.raises(DataError, match="a folder of Berkeley MHAD's takes, found nothing"):
        Mhad(tmp_path / "none")


def test_bad_takes_are_listed(tmp_path):
    rows = bvh().splitlines()
    bad = {
        "01": (bvh(first="Left"), "expected right shoulder blade in place of the joint LeftShoulder: sides are in an"),
        "02": (bvh(unit=1 / 0.05644), "expected legs of 0.55 to 1.15 m in metres, inches, centimetres, millimetres"),
        "03": (bvh(rate="0.008333"), "expected 480 frames a second, found 120"),
        "04": (bvh(frames=7), "expected at least 8 frames, found 7"),
        "05": ("\n".join(rows[:-1]), "it is cut off: expected 10 frames, found 9"),
        "06": (bvh().replace("90.000000", "nan"), "expected finite numbers"),
        "07": (bvh().replace("ToSpine", "ToSpin\xe9"), "expected UTF-8 text, found byte 0xe9"),
        "08": (
            "HIERARCHY\nROOT a\n{\nOFFSET 0 0 0\nCHANNELS 3 Xrotation Yrotation Zrotation\nEnd Site\n{\nOFFSET 0 1 0\n}"
            "\n}\nMOTION\nFrames: 1\nFrame Time: 0.002083\n0 0 0\n",
            "expected the 35 joints of Berkeley MHAD in their order, found a skeleton of 2",
        ),
    }
    write(tmp_path, "skl_s01_a11_r05")
    for number, (text, _) in bad.items():
        (tmp_path / f"skl_s01_a{number}_r01.bvh").write_bytes(text.encode("latin1"))
    data = Mhad(tmp_path)
    skipped: list = []
    kept, _ = load_usable(data, range(len(data.samples)), skipped)
    assert [data.samples[i].key for i in kept] == ["s01_a11_r05"]
    assert len(skipped) == len(bad)
    for key, reason in skipped:
        assert bad[key[5:7]][1] in reason
        assert f"skl_{key}.bvh" in reason
