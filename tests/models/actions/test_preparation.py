import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch.nn import functional

from gaitkeeper.errors import WeightsError
from gaitkeeper.models.actions.preparation import STREAMS, Preparation
from gaitkeeper.models.actions.published import PREPARATIONS
from gaitkeeper.motion.motion import Motion
from gaitkeeper.motion.skeletons import HDM05_25, KINETICS_18, LAYOUTS, NTU_25, UCLA_20
from tests.attacks.victims import clips

RAW = {"center": "none", "facing": "none"}
KINDS = {
    "short": Preparation(layout=NTU_25, scale=0.35, frames=7),
    "two-stream": Preparation(layout=NTU_25, center="frame", joint=1, facing="spine", timing="loop", frames=12),
    "raw": Preparation(layout=NTU_25, **RAW, timing="pad", frames=12),
    "cropped": Preparation(layout=NTU_25, center="start", facing="none", frames=8, crop=0.5),
    "as long": Preparation(layout=NTU_25, center="start", facing="yaw", timing="none", frames=None),
}
EVERY = pytest.mark.parametrize("kind", KINDS)
EVERY_STREAM = pytest.mark.parametrize("stream", STREAMS)


def bodies(layout=NTU_25, *, persons=1, frames=9, lengths=None):
    motion = clips(layout, persons=persons, frames=frames, lengths=lengths)
    return replace(motion, data=motion.data.double())


def prepared(motion, **options):
    return Preparation(layout=NTU_25, **options)(motion)[0]


@pytest.mark.parametrize("crop", [1.0, 0.95, 0.6])
@pytest.mark.parametrize("frames", [4, 9, 31])
def test_resizing_is_linear_interpolation_of_the_middle(frames, crop):
    motion = bodies(frames=29)
    found = prepared(motion, **RAW, frames=frames, crop=crop)
    bias = int((1 - crop) * 29 / 2)
    flat = motion.data[:, :, bias : 29 - bias].permute(0, 1, 3, 4, 2).flatten(1, 3)
    wanted = functional.interpolate(flat, size=frames, mode="linear", align_corners=False)
    torch.testing.assert_close(found, wanted.unflatten(1, (3, 25, 1)).permute(0, 1, 4, 2, 3), atol=1e-12, rtol=0)


def test_as_many_frames_are_the_clip_itself():
    motion = bodies(frames=9)
    assert torch.equal(prepared(motion, **RAW, frames=9), motion.data)


def test_a_window_is_what_is_resized():
    motion = bodies(frames=20)
    preparation = Preparation(layout=NTU_25, **RAW, frames=6)
    found, lengths = preparation(motion, window=torch.tensor([[3, 15], [0, 20], [14, 20]]))
    assert lengths is None
    part = motion.select([0]).with_data(motion.data[:1])
    for row, (start, end) in enumerate([(3, 15), (0, 20), (14, 20)]):
        alone = replace(part, data=motion.data[row : row + 1, :, start:end])
        torch.testing.assert_close(found[row : row + 1], preparation(alone)[0], atol=1e-12, rtol=0)


def test_looping_repeats_and_padding_ends_in_zeros():
    motion = bodies(frames=9, lengths=torch.tensor([9, 4, 7]))
    looped = prepared(motion, **RAW, timing="loop", frames=11)
    assert torch.equal(looped[1], motion.data[1][:, [0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2]])
    assert torch.equal(looped[0], motion.data[0][:, [*range(9), 0, 1]])
    padded, lengths = Preparation(layout=NTU_25, **RAW, timing="pad", frames=11)(motion)
    assert lengths is None
    assert padded.shape[2] == 11
    assert torch.equal(padded[:, :, :9], motion.data)
    assert not padded[:, :, 9:].any()
    assert torch.equal(prepared(motion, **RAW, timing="pad", frames=5), motion.data[:, :, :5])


def by_axis_and_angle(person):
    """Turn ``(t, v, 3)`` as 2s-AGCN does, written anew: spine to z, then from the left shoulder to the right to x."""
    person = person - person[:, 1:2]
    for first, second, target in ((0, 1, [0, 0, 1]), (4, 8, [1, 0, 0])):
        way = person[0, second] - person[0, first]
        way = way / np.linalg.norm(way)
        axis = np.cross(way, target)
        angle = math.acos(np.dot(way, target))
        person = person @ Rotation.from_rotvec(axis / np.linalg.norm(axis) * angle).as_matrix().T
    return person


def test_spine_orientation_is_that_of_two_stream_networks():
    motion = bodies()
    found = prepared(motion, center="frame", joint=1, facing="spine", timing="loop", frames=9)
    for clip, made in zip(motion.data, found, strict=True):
        wanted = by_axis_and_angle(clip[..., 0].permute(1, 2, 0).numpy())
        np.testing.assert_allclose(made[..., 0].permute(1, 2, 0).numpy(), wanted, atol=1e-12)
    first = found[:, :, 0, :, 0]
    shoulders = first[:, :, 8] - first[:, :, 4]
    assert (shoulders[:, 0] > 0).all()
    assert shoulders[:, 1:].abs().max() < 1e-12


def test_spines_that_point_along_the_axis_or_against_it_stay():
    motion = bodies().select([0])
    for direction in (1.0, -1.0):
        data = motion.data.clone()
        data[:, :, :, 1] = data[:, :, :, 0] + torch.tensor([0, 0, direction]).double()[None, :, None, None]
        data[:, :, :, 8] = data[:, :, :, 4] + torch.tensor([direction, 0, 0]).double()[None, :, None, None]
        turned = prepared(motion.with_data(data), center="none", facing="spine", frames=9)
        torch.testing.assert_close(turned, data, atol=1e-12, rtol=0)


@pytest.mark.parametrize("center", ["frame", "start"])
def test_heading_and_place_do_not_matter_to_yaw(center):
    motion = bodies(persons=2)
    present = motion.data.ne(0).any(3, keepdim=True).any(1, keepdim=True)
    wanted = prepared(motion, center=center, facing="yaw")
    for angle in (0.4, 2.0, -3.0):
        heading = torch.from_numpy(Rotation.from_euler("y", angle).as_matrix())
        moved = torch.einsum("ij,njtvm->nitvm", heading, motion.data) + angle * present
        torch.testing.assert_close(prepared(motion.with_data(moved), center=center), wanted, atol=1e-9, rtol=0)
    sides = sum(wanted[:, :, :, left, 0] - wanted[:, :, :, right, 0] for left, right in NTU_25.across).sum(2)
    assert (sides[:, 0] > 0).all()
    assert sides[:, 2].abs().max() < 0.05 * sides[:, 0].min()


@EVERY
@EVERY_STREAM
def test_a_clip_in_a_batch_is_the_clip_alone(kind, stream):
    preparation = replace(KINDS[kind], stream=stream)
    motion = bodies(persons=2, lengths=torch.tensor([9, 7, 8]))
    whole, lengths = preparation(motion)
    for row, length in enumerate([9, 7, 8]):
        alone = Motion(data=motion.data[row : row + 1, :, :length])
        found, _ = preparation(alone)
        kept = found.shape[2]
        assert lengths is None or lengths[row] == kept
        torch.testing.assert_close(whole[row : row + 1, :, :kept], found, atol=1e-12, rtol=0)
        assert not whole[row, :, kept:].any()


@EVERY
@EVERY_STREAM
def test_who_is_absent_stays_absent(kind, stream):
    preparation = replace(KINDS[kind], stream=stream)
    found, _ = preparation(bodies(persons=2))
    assert not found[0, ..., 1].any()
    assert found[1, ..., 1].any()
    if preparation.timing != "resize":
        assert not found[2, :, :4, :, 1].any()
        assert found[2, :, 4:7, :, 1].any()
        if "motion" in stream:
            assert found[2, :, 4:8, :, 1].abs().max() < 1.5


def test_streams_are_bones_and_changes():
    motion = bodies()
    joints = prepared(motion, **RAW, frames=9)
    bones = prepared(motion, **RAW, frames=9, stream="bone")
    for joint, nearer in NTU_25.edges:
        assert torch.equal(bones[:, :, :, joint], joints[:, :, :, joint] - joints[:, :, :, nearer])
    assert not bones[:, :, :, NTU_25.center].any()
    for stream, still in (("motion", joints), ("bone-motion", bones)):
        changes = prepared(motion, **RAW, frames=9, stream=stream)
        assert torch.equal(changes[:, :, :-1], still[:, :, 1:] - still[:, :, :-1])
        assert not changes[:, :, -1].any()


def test_centers_and_scale():
    motion = bodies()
    plain = {"facing": "none", "frames": 9}
    root = motion.data[:, :, :, NTU_25.root, None]
    torch.testing.assert_close(prepared(motion, center="frame", scale=0.5, **plain), (motion.data - root) / 0.5)
    torch.testing.assert_close(prepared(motion, center="start", **plain), motion.data - root[:, :, :1])
    third = motion.data[:, :, :, 3, None]
    torch.testing.assert_close(prepared(motion, center="frame", joint=3, **plain), motion.data - third)


def test_the_start_is_the_first_frame_in_which_the_first_person_is_there():
    motion = bodies()
    data = motion.data.clone()
    data[:, :, :3] = 0
    found = prepared(motion.with_data(data), center="start", facing="none", frames=9)
    assert not found[:, :, :3].any()
    root = data[:, :, 3:4, NTU_25.root, None]
    torch.testing.assert_close(found[:, :, 3:], data[:, :, 3:] - root)


@EVERY
@EVERY_STREAM
def test_gradients_reach_the_metres_and_are_finite_where_spans_have_no_length(kind, stream):
    preparation = replace(KINDS[kind], stream=stream)
    motion = bodies(persons=2)
    data = motion.data.clone()
    data[1, ..., 0] = 0.5  # All joints at one place: no spine, no shoulders, no heading.
    data[2, ..., 0] = 0  # Nobody.
    data.requires_grad_(True)
    weights = torch.randn(3, 3, 99, 25, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found, _ = preparation(motion.with_data(data))
    (gradient,) = torch.autograd.grad((found * weights[:, :, : found.shape[2]]).sum(), data)
    assert gradient.isfinite().all()
    assert gradient[0, ..., 0].any()
    assert not gradient[0, ..., 1].any()


@pytest.mark.parametrize("facing", ["yaw", "spine"])
def test_gradients_are_those_of_the_values(facing):
    motion = bodies(frames=5).select([0])
    preparation = Preparation(layout=NTU_25, facing=facing, frames=4, scale=0.5, stream="bone")
    data = motion.data.clone().requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x: preparation(motion.with_data(x))[0], data, fast_mode=True)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=lambda layout: layout.name)
def test_every_layout_is_prepared(layout):
    motion = bodies(layout)
    found, lengths = Preparation.fitting(layout)(motion)
    assert found.shape == (3, 3, 60, len(layout), 1)
    assert lengths is None
    assert found.isfinite().all()


@EVERY
def test_values_survive_json(kind):
    preparation = replace(KINDS[kind], stream="bone")
    assert Preparation.from_json(json.loads(json.dumps(preparation.to_json()))) == preparation
    hdm05 = replace(preparation, layout=HDM05_25)
    assert Preparation.from_json(hdm05.to_json()).layout is HDM05_25


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layout": "octopus-8"}, "a layout of ntu-25, ntu-25-hands"),
        ({"layout": []}, "a layout of ntu-25"),
        ({"layout": None}, "a layout of ntu-25"),
        ({"color": "red"}, "expected a preparation"),
        ({"center": "sideways"}, "expected center none, frame, start, got 'sideways'"),
        ({"facing": ["yaw"]}, "expected facing"),
        ({"timing": "stretch"}, "expected timing"),
        ({"stream": "smell"}, "expected stream"),
        ({"joint": 25}, r"expected a joint in 0\.\.24, got 25"),
        ({"joint": -1}, "expected a joint"),
        ({"joint": "root"}, "expected a joint"),
        ({"frames": None}, "'resize' and None frames"),
        ({"frames": 1}, "1 frames"),
        ({"frames": "many"}, "not a preparation"),
        ({"frames": 2.5}, "2.5 frames"),
        ({"timing": "none"}, "'none' and 60 frames"),
        ({"crop": 0}, "a crop in"),
        ({"scale": -1.0}, "a positive scale"),
        ({"scale": math.inf}, "a positive scale"),
        ({"scale": "large"}, "not a preparation"),
    ],
)
def test_values_that_are_none_are_refused(change, message):
    values = {**Preparation(layout=NTU_25).to_json(), **change}
    with pytest.raises(WeightsError, match=message):
        Preparation.from_json(values)


def test_what_is_no_mapping_is_refused():
    for values in ([], "ntu-25", None, {}):
        with pytest.raises(WeightsError, match="expected a preparation"):
            Preparation.from_json(values)
    assert Preparation.from_json({"layout": "ucla-20"}) == Preparation(layout=UCLA_20)


def test_publications_center_on_the_joint_above_the_root():
    joints = {layout: Preparation.fitting(layout, **PREPARATIONS["agcn"]).joint for layout in (NTU_25, HDM05_25)}
    assert {layout.joints[joint] for layout, joint in joints.items()} == {"spine mid", "upperback"}


def test_places_in_a_picture_are_neither_centered_nor_turned():
    with pytest.raises(ValueError, match="kinetics-18 has places in a picture"):
        Preparation(layout=KINETICS_18)
    fitting = Preparation.fitting(KINETICS_18, center="frame", joint=1, facing="yaw", scale=0.35)
    assert (fitting.center, fitting.facing, fitting.scale) == ("none", "none", 1.0)


def test_nobody_is_mixed_with_somebody_who_comes():
    motion = bodies(persons=2).select([2])
    found = prepared(motion, **RAW, frames=23)[0, ..., 1]
    there = found.ne(0).any(2).any(0)
    assert there.tolist() == sorted(there.tolist())
    assert 8 < int(there.sum()) < 15
    nearest = (found[:, there][:, :1] - motion.data[0, :, 4:5, :, 1]).abs().max()
    assert nearest < 1e-12


def test_where_the_first_person_is_absent_the_last_known_place_counts():
    motion = bodies(persons=2).select([1])
    data = motion.data.clone()
    data[:, :, 3:6, :, 0] = 0
    found = prepared(motion.with_data(data), center="frame", facing="none", frames=9)
    root = motion.data[:, :, [0, 1, 2, 2, 2, 2, 6, 7, 8], NTU_25.root, 0][:, :, :, None, None]
    torch.testing.assert_close(found[..., 1:], data[..., 1:] - root)
