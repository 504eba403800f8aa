import numpy as np
import pytest
import torch

from gaitkeeper.datasets.actors import Actors
from gaitkeeper.datasets.baselines import features, nearest_neighbor
from gaitkeeper.datasets.clips import Clips, to_skeletons
from gaitkeeper.errors import DataError
from gaitkeeper.motion.kinematics import bone_lengths, change, to_joints
from gaitkeeper.motion.skeletons import HDM05_25, NTU_25
from gaitkeeper.synthetic.acting import Troupe
from gaitkeeper.synthetic.actions import CLASSES, TEST_ACTORS, VALIDATION_ACTORS, Acting


def turned(clip: np.ndarray, degrees: float) -> np.ndarray:
    angle = np.deg2rad(degrees)
    matrix = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    return clip @ matrix.T


def test_what_is_in_the_set():
    actors: Clips = Actors(subjects=TEST_ACTORS)
    assert (actors.name, actors.biometric, actors.layout, actors.fps) == ("actors", False, NTU_25, 30.0)
    assert actors.classes == CLASSES
    samples = actors.samples
    assert len(samples) == 10 * 20 * 2
    assert len({sample.key for sample in samples}) == len(samples)
    assert [sample.label for sample in samples[:5]] == [0, 0, 1, 1, 2]
    assert (samples[2].key, samples[2].subject) == ("031/pick-up/01", "031")
    assert {sample.subject for sample in samples} == {f"{subject:03d}" for subject in TEST_ACTORS}


def test_loads_what_is_asked_in_order():
    actors = Actors(Acting(seed=3), subjects=(7, 2), takes=(5,))
    asked = [25, 0, 25]
    found = actors.load(asked)
    troupe = Troupe(Acting(seed=3))
    for index, clip in zip(asked, found, strict=True):
        sample = actors.samples[index]
        assert isinstance(clip, np.ndarray)
        assert clip.shape[0] == 1
        np.testing.assert_array_equal(clip[0], troupe.clip(int(sample.subject), CLASSES[sample.label], 5))
    assert [actors.samples[index].subject for index in asked] == ["002", "007", "002"]


def test_clips_are_a_clean_motion():
    actors = Actors(subjects=(1,), takes=(1,))
    arrays = [clip for clip in actors.load(range(4)) if isinstance(clip, np.ndarray)]
    motion = to_skeletons(arrays, NTU_25, fps=actors.fps, frames=60)
    joints = to_joints(motion.data)
    assert joints.shape == (4, 1, 60, 25, 3)
    lengths = bone_lengths(joints, NTU_25)
    assert float((lengths - lengths[:, :, :1]).abs().max()) < 1e-5
    same = change(joints, joints.clone(), NTU_25, fps=motion.extras["fps"])
    assert torch.equal(same.bone, torch.zeros(4))


def test_unknown_subject():
    with pytest.raises(DataError, match="unknown subject 50: actors are 1 to 40"):
        Actors(subjects=(1, 50))


@pytest.mark.parametrize("part", ["frame", "sequence"])
def test_features_do_not_depend_on_place_direction_and_size(part):
    clip = Troupe().clip(3, "throw", 1)[None].astype(float)
    mine = features(clip, NTU_25, part)
    theirs = features(1.3 * turned(clip, 77.0) + np.array([2.0, 0.5, -1.0]), NTU_25, part)
    np.testing.assert_allclose(mine, theirs, atol=1e-9)
    assert mine.shape == ((1 if part == "frame" else 20) * 75,)


def test_only_the_sequence_tells_a_movement_from_its_reverse():
    down = Troupe(Acting(tilt=0.0, noise=0.0)).clip(3, "sit down", 1)[None]
    both = np.concatenate([down, down[:, -2::-1]], axis=1)
    held = np.concatenate([down[:, -1:].repeat(down.shape[1], axis=1), down[:, -2::-1]], axis=1)
    np.testing.assert_allclose(features(both, NTU_25, "frame"), features(held, NTU_25, "frame"), atol=1e-6)
    assert np.abs(features(both, NTU_25) - features(held, NTU_25)).max() > 0.01


def test_nearest_neighbor_finds_itself_and_gives_its_label():
    actors = Actors(subjects=(1, 2), takes=(1,))
    clips = [clip for clip in actors.load(range(0, 40, 4)) if isinstance(clip, np.ndarray)]
    labels = [7, 3, 1, 9, 4, 0, 2, 8, 6, 5]
    moved = [turned(clip, 30.0) + np.array([0.4, 0.0, 1.0]) for clip in reversed(clips)]
    for part in ("frame", "sequence"):
        found = nearest_neighbor(clips, labels, moved, layout=NTU_25, part=part)
        assert found.dtype == np.int64
        assert found.tolist() == labels[::-1]


def test_difficulty_is_what_the_set_says_of_itself():
    train, test = Actors(), Actors(subjects=VALIDATION_ACTORS)
    known, asked = ([c for c in d.load(range(len(d.samples))) if isinstance(c, np.ndarray)] for d in (train, test))
    labels, truth = ([sample.label for sample in d.samples] for d in (train, test))
    assert (len(known), len(asked)) == (960, 240)
    for part, share in (("frame", 0.57), ("sequence", 0.74)):
        found = nearest_neighbor(known, labels, asked, layout=NTU_25, part=part)
        # Another machine's rounding may move a clip or two.
        assert (found == truth).mean() == pytest.approx(share, abs=0.01)


def test_nearest_neighbor_refuses_what_does_not_fit():
    clip = Troupe().clip(1, "bow", 1)[None]
    with pytest.raises(DataError, match="at least one training clip, got none"):
        nearest_neighbor([], [], [clip], layout=NTU_25)
    with pytest.raises(DataError, match="got 2 labels of 1 clips"):
        nearest_neighbor([clip], [0, 1], [clip], layout=NTU_25)
    with pytest.raises(DataError, match=r"expected a clip of shape \(m, t, 25, 3\) of hdm05-25, got \(60, 20, 3\)"):
        features(np.zeros((60, 20, 3)), HDM05_25)
    with pytest.raises(DataError, match="bones have no length"):
        features(np.zeros((1, 60, 25, 3)), NTU_25)
    assert nearest_neighbor([clip], [0], [], layout=NTU_25).shape == (0,)
