"""ASF/AMC: turns by closed forms, a real walk, and faults of files."""

import math

import numpy as np
import pytest

from gaitkeeper.datasets.asf import INCH, find_asf, read_amc, read_asf
from gaitkeeper.errors import DataError
from tests.datasets.captures import bad, check_refused, fixed

UNIT = INCH / 0.45

ASF = """# made for a test
:version 1.10
:units
  length 0.45
  angle deg
:documentation
  anything
:root
   order TX TY TZ RX RY RZ
   axis XYZ
   position 0 0 0
   orientation 0 0 0
:bonedata
  begin
     id 1
     name upper
     direction 0 1 0
     length 4
     axis 0 0 20 XYZ
    dof rx ry rz
    limits (-160.0 20.0)
           (-70.0 70.0)
           (-60.0 70.0)
  end
  begin
     id 2
     name lower
     direction 1 0 0
     length 2
     axis 90 0 0 XYZ
    dof rx
  end
  begin
     id 3
     name stiff
     direction 0 0 1
     length 1
     axis 0 0 0 XYZ
  end
:hierarchy
  begin
    root upper stiff
    upper lower
  end
"""

AMC = """#!OML:ASF X:\\f
:FULLY-SPECIFIED
:DEGREES
1
root 9 18 27 10 20 30
upper 40 50 60
lower 70
2
root 0 0 0 0 0 0
upper 0 0 0
lower 3.5e-015
"""


@pytest.fixture
def files(tmp_path):
    (tmp_path / "ann.asf").write_text(ASF)
    # Comments hold paths in another encoding.
    (tmp_path / "ann_01.amc").write_bytes(AMC.replace("X:\\f", "X:\\f\xfcr").encode("latin1"))
    return tmp_path


def test_amc_turns_bones_about_their_own_axes(files):
    capture = read_amc(files / "ann_01.amc")
    assert capture.chain.names == ("root", "upper", "lower", "stiff", "lower end", "stiff end")
    assert capture.fps == 120
    found = capture.positions(("root", "lower", "lower end", "stiff end"))
    root = fixed(10, 20, 30)
    upper = root @ fixed(0, 0, 20) @ fixed(40, 50, 60) @ fixed(0, 0, 20).T
    lower = upper @ fixed(90, 0, 0) @ fixed(70, 0, 0) @ fixed(90, 0, 0).T
    start = np.array([9.0, 18, 27])
    elbow = start + upper @ [0, 4, 0]
    wanted = [start, elbow, elbow + lower @ [2, 0, 0], start + root @ [0, 0, 1]]
    np.testing.assert_allclose(found[0], UNIT * np.array(wanted), atol=1e-12)
    rest = [[0, 0, 0], [0, 4, 0], [2, 4, 0], [0, 0, 1]]
    np.testing.assert_allclose(found[1], UNIT * np.array(rest), atol=1e-12)
    assert abs(UNIT - 0.0564444) < 1e-7


def test_radians_are_radians(files):
    asf = ASF.replace("angle deg", "angle rad").replace("axis 0 0 20", f"axis 0 0 {math.radians(20)}")
    (files / "rad.asf").write_text(asf.replace("axis 90", f"axis {math.pi / 2}"))
    angles = [math.radians(a) for a in (10, 20, 30, 40, 50, 60, 70)]
    text = AMC.replace(":DEGREES", ":RADIANS").replace("10 20 30", "{} {} {}").replace("40 50 60", "{} {} {}")
    (files / "rad_1.amc").write_text(text.replace("lower 70", "lower {}").format(*angles))
    np.testing.assert_allclose(
        read_amc(files / "rad_1.amc").positions(), read_amc(files / "ann_01.amc").positions(), atol=1e-12
    )


def test_the_longest_skeleton_name_is_the_movements(tmp_path):
    for name in ("HDM_b.asf", "HDM_bk.ASF", "HDM.asf", "HDM_bk_sit.amc"):
        (tmp_path / name).write_text("")
    assert find_asf(tmp_path / "HDM_bk_sit.amc").name == "HDM_bk.ASF"
    with pytest.raises(DataError, match=r"03_01.amc: expected its skeleton beside it.*found HDM.asf, HDM_b.asf"):
        find_asf(tmp_path / "03_01.amc")
    with pytest.raises(DataError, match="found none"):
        read_amc(tmp_path / "none" / "02_01.amc")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        bad("length 4", "length 0", "line 18: expected a length above 0 of the bone upper"),
        bad("direction 1 0 0", "direction 0 0 0", "of the bone lower and a direction"),
        bad("length 2", "length nan", "line 29: expected finite numbers, found 'nan'"),
        bad("length 0.45", "length 0", "line 4: expected a length above 0"),
        bad("name upper", "name \xfcpper", "line 16: expected UTF-8 text, found byte 0xfc"),
        bad("dof rx\n", "dof rx l\n", "expected turns rx, ry, rz of the bone lower, found rx l"),
        bad("axis 0 0 0 XYZ", "axis 0 0 0", "expected three angles and their order"),
        bad("     direction 0 0 1\n", "", "expected the bone's direction, found none"),
        bad("orientation 0 0 0", "orientation 0 90 0", "expected the root's orientation 0 0 0, found 0 90 0"),
        bad("    upper lower\n", "", "hierarchy lacks lower"),
        bad("    upper lower\n", "    upper lower upper\n", "is no tree at upper upper"),
        bad("    upper lower\n", "    upper arm\n", "expected a bone, found 'arm'"),
        bad("name lower", "name upper", "found a second bone upper"),
        bad(ASF[ASF.index("    upper lower") :], "", "it is cut off: the hierarchy has no end"),
        bad(ASF[ASF.index("     length 1") :], "", "found none; it may be cut off"),
        bad(ASF, "nothing of the kind", "line 1: expected an ASF file's section"),
        bad(ASF, "", "expected an ASF file with a section :root"),
    ],
)
def test_bad_skeletons_are_refused_by_file_and_line(tmp_path, old, new, message):
    check_refused(read_asf, tmp_path / "ann.asf", ASF, old, new, message)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        bad(AMC[AMC.index("upper 0 0 0") :], "", "it is cut off: frame 2 ends without lower, upper"),
        bad("lower 3.5e-015\n", "lower", "line 11: expected 1 numbers, found 0"),
        bad("lower 70\n", "", "line 7: frame 1 ends without lower"),
        bad("lower 70", "lower nan", "line 7: expected finite numbers, found 'nan'"),
        bad("lower 70", "lower seven", "line 7: expected finite numbers, found 'seven'"),
        bad("lower 70", "low\xe9r 70", "line 7: expected UTF-8 text, found byte 0xe9"),
        bad("lower 70", "upper 1 2 3", "line 7: found 'upper', twice in a frame"),
        bad("lower 70", "tail 70", "line 7: found 'tail', which its skeleton does not move"),
        bad("\n2\n", "\n3\n", "line 8: expected frame 2, found 3"),
        bad("\n1\n", "\n", "line 4: found 'root', expected frame 1 before it"),
        bad(AMC, ":DEGREES\n", "expected frames, found none"),
    ],
)
def test_bad_movements_are_refused_by_file_and_line(files, old, new, message):
    check_refused(read_amc, files / "ann_02.amc", AMC, old, new, message)


def test_joints_that_a_skeleton_lacks_are_named(files):
    with pytest.raises(DataError, match="no joint 'lfemur'; it has root, upper"):
        read_amc(files / "ann_01.amc").positions(["lfemur"])


def test_a_real_walk_has_the_speed_floor_and_bones_it_should(shared):
    capture = read_amc(shared / "real" / "cmu-walk" / "02_01.amc")
    joints = capture.positions()
    assert joints.shape == (343, 38, 3)
    way = joints[-1, 0] - joints[0, 0]
    assert way[2] == pytest.approx(3.35, abs=0.05)
    assert np.linalg.norm(way) / (342 / 120) == pytest.approx(1.17, abs=0.02)
    for joint, parent in enumerate(capture.chain.parents[1:], start=1):
        lengths = np.linalg.norm(joints[:, joint] - joints[:, parent], axis=1)
        assert np.ptp(lengths) < 1e-9
    femur = capture.chain.offsets[capture.chain.index("ltibia")]
    tibia = capture.chain.offsets[capture.chain.index("lfoot")]
    assert 0.79 < np.linalg.norm(femur) + np.linalg.norm(tibia) < 0.92
    toes = capture.positions(["ltoes", "rtoes"])
    assert -0.05 < toes[..., 1].min() < 0.05
    speed = np.linalg.norm(np.diff(toes, axis=0), axis=2) * 120
    assert (np.quantile(speed, [0.05, 0.25]) < 0.2).all()
