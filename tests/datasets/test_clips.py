from dataclasses import replace

import numpy as np
import pytest
import torch

from gaitkeeper.datasets.clips import CAPTURE_FRAMES, clip_frames, to_skeletons
from gaitkeeper.errors import DataError
from gaitkeeper.motion.kinematics import bone_lengths, to_joints
from gaitkeeper.motion.motion import skeletons
from gaitkeeper.motion.skeletons import HDM05_25, NTU_25
from tests.attacks.victims import clips


def bodies(frames, *, layout=NTU_25, persons=1):
    """Return bodies ``(m, t, v, 3)`` with bones of constant length."""
    made = to_joints(clips(layout, frames=frames, count=4, persons=persons).data).numpy()
    return np.ascontiguousarray(made[1])


def bones(motion, layout=NTU_25):
    return bone_lengths(to_joints(motion.data), layout)


def test_clips_become_a_batch_padded_with_nobody():
    one, two = bodies(9), bodies(6, persons=2)
    motion = to_skeletons([one, two], NTU_25, fps=30.0)
    assert motion.data.shape == (2, 3, 9, 25, 2)
    assert motion.data.dtype == torch.float32
    assert motion.lengths.tolist() == [9, 6]
    assert motion.extras["fps"].tolist() == [30, 30]
    joints = to_joints(motion.data).numpy()
    np.testing.assert_array_equal(joints[0, 0], one[0])
    np.testing.assert_array_equal(joints[1, :, :6], two)
    assert not joints[0, 1].any()
    assert not joints[1, :, 6:].any()
    skeletons(NTU_25, persons=2).check(motion)


def test_one_length_needs_no_lengths_and_rates_may_differ():
    motion = to_skeletons([bodies(5), bodies(5)], NTU_25, fps=[25, 50.0], persons=2)
    assert motion.lengths is None
    assert motion.data.shape[-1] == 2
    assert motion.extras["fps"].tolist() == [25, 50]


def test_more_persons_than_there_is_room_for_are_refused():
    with pytest.raises(DataError, match="at most 1 persons, got one of 2"):
        to_skeletons([bodies(5), bodies(5, persons=2)], NTU_25, fps=30.0, persons=1)


@pytest.mark.parametrize("layout", [NTU_25, HDM05_25], ids=lambda layout: layout.name)
@pytest.mark.parametrize("frames", [2, 7, 9, 40])
def test_resampling_keeps_bones_ends_and_how_long_a_clip_lasts(layout, frames):
    arrays = [bodies(9, layout=layout), bodies(23, layout=layout)]
    motion = to_skeletons(arrays, layout, fps=120.0, frames=frames)
    assert motion.data.shape[2] == frames
    assert motion.lengths is None
    for array, made, rate in zip(arrays, to_joints(motion.data), motion.extras["fps"], strict=True):
        clip = torch.from_numpy(array)
        lengths = bone_lengths(clip, layout)[:, :1]
        torch.testing.assert_close(bone_lengths(made, layout), lengths.expand(1, frames, -1), atol=2e-6, rtol=0)
        torch.testing.assert_close(made[:, [0, -1]], clip[:, [0, -1]], atol=2e-6, rtol=0)
        assert (frames - 1) / rate.item() == pytest.approx((array.shape[1] - 1) / 120)


def test_resampling_to_the_same_number_changes_nothing():
    array = bodies(23)
    motion = to_skeletons([array], NTU_25, fps=120.0, frames=23)
    np.testing.assert_allclose(to_joints(motion.data)[0].numpy(), array, atol=2e-6)
    assert motion.extras["fps"].item() == 120


def test_bones_that_change_in_a_recording_keep_the_lengths_of_their_frames():
    array = to_joints(clips(NTU_25, frames=9, rigid=False).data)[1].numpy()
    lengths = bone_lengths(torch.from_numpy(array), NTU_25)
    found = bones(to_skeletons([array], NTU_25, fps=30.0, frames=17))[0]
    torch.testing.assert_close(found[:, ::2], lengths, atol=2e-6, rtol=0)
    torch.testing.assert_close(found[:, 1::2], (lengths[:, :-1] + lengths[:, 1:]) / 2, atol=2e-6, rtol=0)


def test_nobody_is_mixed_with_who_is_absent():
    array = bodies(10, persons=2)
    array[1, :4] = 0
    motion = to_skeletons([array], NTU_25, fps=30.0, frames=31)
    second = to_joints(motion.data)[0, 1]
    there = second.ne(0).any(2).any(1)
    assert there.tolist() == [False] * 12 + [True] * 19
    lengths = bone_lengths(torch.from_numpy(array), NTU_25)[1, 5]
    torch.testing.assert_close(bone_lengths(second[there], NTU_25), lengths.expand(19, -1), atol=2e-6, rtol=0)
    np.testing.assert_allclose(second[-1], array[1, -1], atol=2e-6)
    alone = to_skeletons([array[:1]], NTU_25, fps=30.0, frames=31)
    torch.testing.assert_close(motion.data[..., 0], alone.data[..., 0], atol=2e-6, rtol=0)


def test_a_single_frame_is_held():
    motion = to_skeletons([bodies(9)[:, :1]], NTU_25, fps=30.0, frames=5)
    assert motion.data.shape[2] == 5
    assert torch.equal(motion.data, motion.data[:, :, :1].expand_as(motion.data))
    assert motion.extras["fps"].isfinite().all()


class Recorded:
    name, biometric, layout, classes, samples = "recorded", True, HDM05_25, (), ()

    def __init__(self, fps):
        self.fps = fps


@pytest.mark.parametrize(("fps", "asked", "found"), [(120.0, None, CAPTURE_FRAMES), (60.0, None, None), (30.0, 20, 20)])
def test_motion_capture_gets_sixty_frames_and_recordings_stay(fps, asked, found):
    assert clip_frames(Recorded(fps), asked) == found
    assert clip_frames(Recorded(480.0), 17) == 17


def test_select_keeps_the_rate_of_each_clip():
    motion = to_skeletons([bodies(9), bodies(5)], NTU_25, fps=120.0, frames=5)
    assert motion.select([1]).extras["fps"].tolist() == [120.0]
    assert motion.repeat(2).extras["fps"].tolist() == [60.0, 60.0, 120.0, 120.0]
    assert replace(motion, lengths=torch.tensor([5, 5])).select([1]).lengths.tolist() == [5]
