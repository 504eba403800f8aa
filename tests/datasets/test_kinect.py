import numpy as np
import pytest

from gaitkeeper.datasets.kinect import RELEASED, Body, Denoising, find_people, read_skeleton
from gaitkeeper.errors import DataError
from tests.datasets.bodies import ONE, THREE, TWO, lying, standing, text


def write(path, frames):
    path.write_bytes(text(frames).encode())
    return path


def body(name, joints, start=0):
    return Body(name=name, line=4, frames=np.arange(start, start + len(joints)), joints=joints)


def people(*bodies, denoising=None, file="a.skeleton"):
    return find_people(bodies, denoising, source=file)


def test_bodies_are_read_with_the_frames_that_they_are_in(tmp_path):
    first, second = standing(4), standing(2, seed=1, x=1)
    frames = [[(ONE, first[0])], [], [(TWO, second[0]), (ONE, first[1])], [(ONE, first[2]), (TWO, second[1])]]
    frames.append([(ONE, np.zeros((25, 3)))])
    one, two = read_skeleton(write(tmp_path / "a.skeleton", frames))
    assert (one.name, one.line) == (ONE, 3)
    assert (two.name, two.line) == (TWO, 32)
    np.testing.assert_array_equal(one.frames, [0, 2, 3])
    np.testing.assert_array_equal(two.frames, [2, 3])
    np.testing.assert_allclose(one.joints, first[:3], atol=1e-7)
    np.testing.assert_array_equal(two.joints, second)
    assert one.joints.dtype == np.float32


def replace_line(number, line):
    def change(lines):
        lines[number - 1] = line
        return lines

    return change


JOINT = "0.1 0.2 3.1 277.4 191.8 1036.2 519.1 -0.2 0.05 0.96 -0.12 2"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines[:20], "line 20: it is cut off after this line: expected 12 values of the joint 17 "),
        (lambda lines: lines[:29], "line 29: it is cut off after this line: expected the number of bodies of frame 2"),
        (lambda lines: [*lines[:40], "0.1 0.2"], "line 41: expected 12 values of the joint 9 .*, found 2"),
        (lambda lines: [], "a.skeleton: it is empty: expected a number of frames"),
        (lambda lines: ["three", *lines[1:]], "line 1: expected a number of frames, found 'three'"),
        (lambda lines: ["1", *lines[1:]], "line 30: expected the end after 1 frames, found '1'"),
        (lambda lines: ["0"], "line 1: expected a body, 0 frames have none"),
        (lambda lines: ["3", "0", "0", "0"], "line 4: expected a body, 3 frames have none"),
        (replace_line(2, "7"), "line 2: expected at most 6 bodies in a frame, found 7"),
        (replace_line(2, "-1"), "line 2: expected the number of bodies of frame 1, found '-1'"),
        (replace_line(3, f"{ONE} 0 1"), "line 3: expected 10 values of a body, found 3"),
        (replace_line(4, "20"), "line 4: expected 25 joints, found 20"),
        (
            replace_line(6, JOINT.replace("0.2", "NaN", 1)),
            r"line 6: expected finite coordinates of the joint 2 \(spine mid\) within 100 m, found '0.1 NaN 3.1'",
        ),
        (replace_line(6, JOINT.replace("0.1", "-inf", 1)), "line 6: expected finite"),
        (replace_line(6, JOINT.replace("3.1", "3100", 1)), "line 6: expected finite .* within 100 m"),
        (replace_line(6, JOINT.replace("0.1", "left", 1)), "line 6: expected finite .* 'left 0.2 3.1'"),
    ],
)
def test_damaged_files_are_refused_by_line(tmp_path, change, message):
    file = tmp_path / "a.skeleton"
    lines = text([[(ONE, joints)] for joints in standing(2)]).splitlines()
    file.write_text("\n".join(change(lines)))
    with pytest.raises(DataError, match=message) as caught:
        read_skeleton(file)
    assert str(file) in str(caught.value)


def test_a_body_twice_in_a_frame_other_text_and_missing_files_are_refused(tmp_path):
    joints = standing(1)[0]
    twice = write(tmp_path / "a.skeleton", [[(ONE, joints), (ONE, joints)]])
    with pytest.raises(DataError, match=f"line 30: expected a body once in frame 1, found {ONE} twice"):
        read_skeleton(twice)
    twice.write_bytes(b"1\n1\n\xff\n")
    with pytest.raises(DataError, match="line 3: expected UTF-8 text, found byte 0xff"):
        read_skeleton(twice)
    with pytest.raises(DataError, match="expected a file, found nothing"):
        read_skeleton(tmp_path / "b.skeleton")


def test_short_flat_and_still_bodies_are_dropped():
    person, other = standing(40), standing(40, seed=1, x=1, sway=0.3)
    both = people(body(ONE, person), body(TWO, other), denoising=Denoising())
    np.testing.assert_array_equal(both, [other, person])
    for frames, kept in ((11, 1), (12, 2)):
        assert len(people(body(ONE, person), body(TWO, standing(frames, x=1)), denoising=Denoising())) == kept
    flat = lying(40)
    for noise, kept in ((27, 2), (28, 1)):
        mixed = np.concatenate([flat[:noise], standing(40 - noise)])
        assert len(people(body(ONE, mixed), body(TWO, person), denoising=Denoising())) == kept
    np.testing.assert_array_equal(people(body(ONE, flat), body(TWO, person), denoising=Denoising()), person[None])
    # Upright, but a third as high: its motion, of which height is the greatest part, is below the bound.
    small = standing(40) * np.float32(0.3)
    assert small.reshape(-1, 3).var(0).sum() < 0.089925
    np.testing.assert_array_equal(people(body(ONE, small), body(TWO, person), denoising=Denoising()), person[None])
    assert len(people(body(ONE, small), body(TWO, person), denoising=RELEASED)) == 2
    # The body with the most motion is kept, whatever its motion.
    smaller = small / 2
    np.testing.assert_array_equal(people(body(ONE, smaller), body(TWO, small), denoising=Denoising()), small[None])


def test_a_file_of_one_body_is_not_denoised_and_the_last_body_is_kept():
    for joints in (lying(40), standing(40) * np.float32(0.1), standing(9)):
        np.testing.assert_array_equal(people(body(ONE, joints), denoising=Denoising()), joints[None])
    np.testing.assert_array_equal(
        people(body(ONE, lying(40)), body(TWO, lying(30, seed=1)), denoising=Denoising()), lying(30, seed=1)[None]
    )
    with pytest.raises(
        DataError, match=r"a.skeleton: expected a body in more than 11 frames, the longest of 2 is in 9"
    ):
        people(body(ONE, standing(9)), body(TWO, standing(8)), denoising=Denoising())
    with pytest.raises(DataError, match=r"a.skeleton: expected at least 8 frames with a body, found 7"):
        people(body(ONE, standing(7)))


def test_frames_of_noise_count_less_in_the_order():
    wide = np.concatenate([standing(20), 3 * lying(20)])
    person = standing(40, seed=1, sway=0.3)
    assert wide.reshape(-1, 3).var(0).sum() > person.reshape(-1, 3).var(0).sum()
    np.testing.assert_array_equal(people(body(ONE, wide), body(TWO, person), denoising=Denoising())[0], person)
    np.testing.assert_array_equal(people(body(ONE, wide), body(TWO, person))[0], wide)


def test_a_third_body_at_a_time_is_refused_or_dropped_and_a_later_one_is_the_same_person():
    first, second, third = standing(40, sway=0.4), standing(40, seed=1, x=1, sway=0.3), standing(40, seed=2, x=2)
    crowd = (body(THREE, third), body(ONE, first), body(TWO, second))
    for denoising in (None, Denoising()):
        with pytest.raises(DataError, match=f"line 4: expected at most two people at a time, found the body {THREE}"):
            people(*crowd, denoising=denoising)
    np.testing.assert_array_equal(people(*crowd, denoising=RELEASED), [first, second])
    # Lost in frame 20 and found again as another body in the frame after the next.
    again = people(body(ONE, first[:20]), body(TWO, second), body(THREE, first[22:], start=22), denoising=Denoising())
    assert again.shape == (2, 40, 25, 3)
    person = again[int(np.array_equal(again[0], second))]
    np.testing.assert_array_equal(person[:20], first[:20])
    np.testing.assert_array_equal(person[22:], first[22:])
    assert not person[20:22].any()


def test_frames_keep_their_place_and_those_without_anybody_are_left_out():
    joints, other = standing(30, sway=0.4), standing(8, seed=1)
    gap = Body(name=ONE, line=4, frames=np.r_[0:10, 20:40], joints=joints)
    found = people(gap, body(TWO, other, start=12))
    assert found.shape == (2, 38, 25, 3)
    np.testing.assert_array_equal(found[0, :10], joints[:10])
    np.testing.assert_array_equal(found[1, 10:18], other)
    assert not found[0, 10:18].any()
    np.testing.assert_array_equal(found[0, 18:20], joints[10:12])
    assert found.any((0, 2, 3)).all()
    # Of the one frame in which both are there the body with more motion is kept.
    shared = people(body(ONE, standing(15, seed=1)), body(TWO, joints, start=14))
    assert shared.shape == (1, 44, 25, 3)
    np.testing.assert_array_equal(shared[0, 14:], joints)


def test_the_released_preparation_does_the_same_where_bodies_are_not_lost():
    for seed in range(25):
        rng = np.random.default_rng(seed)
        bodies = []
        for index in range(rng.integers(2, 6)):
            start, length = rng.integers(0, 40), rng.integers(8, 40)
            joints = standing(length, seed=index, sway=rng.uniform(0, 0.5)) * np.float32(rng.uniform(0.2, 1))
            flat = rng.random(length) < rng.choice([0, 0.5, 0.9])
            joints[flat] = joints[flat][..., [1, 0, 2]]
            bodies.append(body(f"{index}", joints, start))
        expected = released(bodies)
        if expected is None:
            with pytest.raises(DataError, match="more than 11 frames"):
                people(*bodies, denoising=RELEASED)
        else:
            np.testing.assert_array_equal(people(*bodies, denoising=RELEASED), expected)


def released(bodies):
    """What the release does, plainly: spans of frames by body, then slots for two; only as many as are used."""
    spans = {b.name: (int(b.frames[0]), int(b.frames[-1])) for b in bodies}
    joints = {b.name: b.joints for b in bodies if len(b.joints) > 11}
    if not joints:
        return None
    motion = {}
    for name in list(joints):
        motion[name] = joints[name].reshape(-1, 3).astype(np.float64).var(0).sum()
        if len(joints) > 1:
            low, high = joints[name].min(1), joints[name].max(1)
            fine = (high - low)[:, 0] <= 0.8 * (high - low)[:, 1]
            if (~fine).sum() / len(fine) >= 0.69754:
                del joints[name]
            elif not fine.all():
                calm = joints[name][fine].reshape(-1, 3).astype(np.float64).var(0).sum()
                motion[name] = min(motion[name], calm)
    out = np.zeros((2, 100, 25, 3), np.float32)
    ends: list = [None, None]
    for name in sorted(joints, key=lambda name: motion[name], reverse=True):
        start, end = spans[name]
        for slot in (0, 1):
            if ends[slot] is None or min(ends[slot][1], end) <= max(ends[slot][0], start):
                # The release lets the later body have a shared frame; here the earlier one keeps it.
                free = ~out[slot, start : end + 1].any((1, 2))
                out[slot, start : end + 1][free] = joints[name][free]
                ends[slot] = (
                    (start, end) if ends[slot] is None else (min(start, ends[slot][0]), max(end, ends[slot][1]))
                )
                break
    out = out[:, out.any((0, 2, 3))]
    return out if ends[1] else out[:1]


@pytest.mark.parametrize("bad", [{"frames": -1}, {"width": 0.0}, {"noisy": 1.5}, {"motion": (2.0, 1.0)}])
def test_thresholds_out_of_range_are_refused(bad):
    with pytest.raises(ValueError, match="expected"):
        Denoising(**bad)
