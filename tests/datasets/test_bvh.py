"""BVH: turns by closed forms, a real cartwheel, and faults of files."""

from functools import partial

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from gaitkeeper.datasets.asf import INCH
from gaitkeeper.datasets.bvh import read_bvh
from gaitkeeper.errors import DataError
from tests.datasets.captures import bad, check_refused, fixed

UNIT = INCH / 0.45

BVH = """HIERARCHY
ROOT hip
{
  OFFSET 5 5 5
  CHANNELS 6 Xposition Yposition Zposition Zrotation Yrotation Xrotation
  JOINT knee
  {
    OFFSET 0 -4 0
    CHANNELS 3 Zrotation Yrotation Xrotation
    End Site
    {
      OFFSET 0 -3 1
    }
  }
}
MOTION
Frames: 2
Frame Time: 0.033333
1 2 3 10 20 30 40 50 60
0 0 0 0 0 0 0 0 0
"""


def test_bvh_turns_in_the_order_of_its_channels(tmp_path):
    (tmp_path / "ann.bvh").write_text(BVH)
    capture = read_bvh(tmp_path / "ann.bvh", unit=0.01)
    assert capture.fps == 30
    assert capture.chain.names == ("hip", "knee", "knee end")
    hip = Rotation.from_euler("ZYX", [10, 20, 30], degrees=True).as_matrix()
    np.testing.assert_allclose(hip, fixed(30, 20, 10), atol=1e-12)
    knee = np.array([1, 2, 3]) + hip @ [0, -4, 0]
    end = knee + hip @ fixed(60, 50, 40) @ [0, -3, 1]
    np.testing.assert_allclose(capture.positions()[0], 0.01 * np.array([[1, 2, 3], knee, end]), atol=1e-12)
    np.testing.assert_allclose(capture.positions(["root"])[1], [[0, 0, 0]])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        bad("0 0 0 0 0 0 0 0 0\n", "", "it is cut off: expected 2 frames, found 1"),
        bad("0 0 0 0 0 0 0 0 0\n", "0 0 0 0\n", "line 20: expected 9 numbers, found 4"),
        bad("1 2 3 10", "1 2 nan 10", "line 19: expected finite numbers"),
        bad(BVH[BVH.index("MOTION") :], "", "it is cut off: expected MOTION"),
        bad("    }\n  }\n}\n", "    }\n  }\n", "1 joints are open"),
        bad("OFFSET 0 -4 0", "OFFSET 0 0 0", "all its bones have the length zero"),
        bad("    OFFSET 0 -4 0\n", "", "an OFFSET of every joint, knee has none"),
        bad("3 Zrotation", "3 Zposition", "bones must keep their length"),
        bad("3 Zrotation", "2 Zrotation", "expected a number and so many channels"),
        bad("JOINT knee", "ROOT knee", "line 6: expected one tree of joints"),
        bad("JOINT knee", "JOINT kn\xe9e", "line 6: expected UTF-8 text"),
        bad("Frames: 2", "Frames: 0", "expected frames and a frame time above 0"),
        bad("Frames: 2", "Frames: 1000000000", "expected at most 3333333 frames"),
        bad("Frames: 2\n", "", "expected 'Frames:' after MOTION"),
        bad("HIERARCHY\n", "HIERARCHY\n{\n", "line 2: expected one pair of braces for each joint"),
        bad("  JOINT knee\n", "", "line 6: expected one pair of braces for each joint"),
        bad("HIERARCHY", "hello", "line 1: expected a BVH file"),
    ],
)
def test_bad_bvh_files_are_refused_by_file_and_line(tmp_path, old, new, message):
    text = BVH.replace("OFFSET 0 -3 1", "OFFSET 0 0 0") if new == "OFFSET 0 0 0" else BVH
    check_refused(partial(read_bvh, unit=0.01), tmp_path / "ann.bvh", text, old, new, message)


def test_files_in_utf16_are_refused(tmp_path):
    file = tmp_path / "ann.bvh"
    file.write_bytes(BVH.encode("utf-16"))
    with pytest.raises(DataError, match="line 1: expected UTF-8 text, found byte 0xff"):
        read_bvh(file, unit=0.01)


def test_a_real_bvh_take_has_the_published_bones_and_coincidences(shared):
    folder = shared / "real" / "hdm05-extra"
    capture = read_bvh(folder / "HDM_bd_cartwheelLHandStart1Reps_001_120.bvh", unit=1.0)
    assert len(capture) == 401
    assert capture.fps == 120
    chain = capture.chain
    assert len([name for name in chain.names if not name.endswith(" end")]) == 31
    assert len(chain.names) == 38
    assert sum(map(len, chain.turns)) + 3 == 96
    joints = capture.positions()
    for start, end, length in (
        *(("lhipjoint", "lfemur", 2.405), ("lfemur", "ltibia", 7.158), ("ltibia", "lfoot", 7.491)),
        *(("lfoot", "ltoes", 2.368), ("rfemur", "rtibia", 7.434), ("lhumerus", "lradius", 4.983)),
        *(("rwrist", "rfingers", 0.623), ("lowerneck", "upperneck", 1.756), ("root", "rhipjoint", 0)),
    ):
        found = np.linalg.norm(joints[:, chain.index(end)] - joints[:, chain.index(start)], axis=1)
        np.testing.assert_allclose(found, length, atol=1e-3)
    together = [{chain.names[joint] for joint in group} for group in chain.coincident]
    assert {"hip", "lhipjoint", "rhipjoint", "lowerback"} in together
    # A cartwheel: the feet are above the head for a moment, the hands on the floor.
    height = UNIT * joints[:, :, 1]
    above = height[:, chain.index("ltoes")] - height[:, chain.index("head")]
    assert above.max() > 0.8
    assert above.min() < -1
    assert abs(height[:, [chain.index("lfingers"), chain.index("rfingers")]].min()) < 0.15
    assert len(read_bvh(folder / "hdm05_rest.bvh", unit=UNIT)) == 1
