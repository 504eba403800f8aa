import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from gaitkeeper.errors import DataError
from gaitkeeper.motion.kinematics import (
    bone_lengths,
    change,
    contacts,
    derivative,
    forward,
    joint_angles,
    joint_limits,
    limit_violations,
    place_bones,
    resample,
    roughness,
    to_joints,
    to_network,
)
from gaitkeeper.motion.skeletons import HDM05_25, HDM05_25_RETARGETED, LAYOUTS, NTU_25, Layout

ELBOW = Layout(
    name="elbow",
    joints=("shoulder", "elbow", "hand"),
    edges=((1, 0), (2, 1)),
    center=0,
    bones=((0, 1), (1, 2)),
    pairs=(),
    across=((0, 1), (0, 1)),
    spine=(0, 1),
    feet=(2,),
    fps=10.0,
)


def some(layout: Layout, *shape: int, seed: int = 0) -> torch.Tensor:
    """Random poses in which coincident joints coincide."""
    joints = torch.randn(*shape, len(layout), 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return joints[..., list(layout.places), :]


def test_network_form_and_joints_are_each_others_inverse():
    data = torch.randn(2, 3, 5, 25, 2)
    joints = to_joints(data)
    assert joints.shape == (2, 2, 5, 25, 3)
    assert joints[1, 0, 4, 7, 2] == data[1, 2, 4, 7, 0]
    assert torch.equal(to_network(joints), data)


def test_a_two_link_arm_reaches_where_trigonometry_says():
    a, b = 0.7, -1.1
    turns = torch.from_numpy(Rotation.from_euler("z", [[a], [b], [0.0]]).as_matrix())
    offsets = torch.tensor([[9.0, 9, 9], [2, 0, 0], [0.5, 0, 0]], dtype=torch.float64)
    found = forward(turns, offsets, torch.tensor([1.0, 1, 1], dtype=torch.float64), (-1, 0, 1))
    elbow = (1 + 2 * math.cos(a), 1 + 2 * math.sin(a), 1.0)
    hand = (elbow[0] + 0.5 * math.cos(a + b), elbow[1] + 0.5 * math.sin(a + b), 1.0)
    torch.testing.assert_close(found, torch.tensor([(1.0, 1, 1), elbow, hand], dtype=torch.float64), atol=1e-14, rtol=0)
    with pytest.raises(ValueError, match="after their parents"):
        forward(turns, offsets, torch.zeros(3), (-1, 2, 0))


@pytest.mark.parametrize("degrees", [0.0, 1e-3, 30.0, 90.0, 179.999, 180.0])
def test_angles_between_bones_are_exact_also_near_straight_ones(degrees):
    turn = math.radians(degrees)
    arm = torch.tensor([[1.0, 0, 0], [0, 0, 0], [3 * math.cos(turn), 3 * math.sin(turn), 0]], dtype=torch.float64)
    assert math.degrees(joint_angles(arm[None], ELBOW).item()) == pytest.approx(degrees, abs=1e-9)


def test_bones_without_length_have_finite_gradients():
    arm = torch.zeros(1, 3, 3, dtype=torch.float64, requires_grad=True)
    lengths = torch.tensor([0.3, 0.0], dtype=torch.float64)
    for function in (
        lambda x: bone_lengths(x, ELBOW),
        lambda x: joint_angles(x, ELBOW),
        lambda x: place_bones(x, lengths, ELBOW),
    ):
        (gradient,) = torch.autograd.grad(function(arm).sum(), arm)
        assert torch.isfinite(gradient).all()
    placed = place_bones(arm, lengths, ELBOW)
    assert placed[0, 1].tolist() == placed[0, 2].tolist() == [0.3, 0, 0]


def test_derivatives_of_a_polynomial_in_seconds():
    fps = torch.tensor([10.0, 40.0], dtype=torch.float64)
    time = torch.arange(8)[None] / fps[:, None]
    joints = (2 * time**2 + time)[:, :, None, None].expand(2, 8, 3, 3)
    assert torch.equal(derivative(joints, 0, fps), joints)
    torch.testing.assert_close(derivative(joints, 2, fps), torch.full((2, 6, 3, 3), 4.0, dtype=torch.float64))
    first = derivative(joints, 1, fps)[:, 0, 0, 0]
    torch.testing.assert_close(first, 1 + 2 / fps)
    assert derivative(joints, 3, fps).abs().max() < 1e-9
    with pytest.raises(DataError, match="order 3 needs 4 frames, got 2"):
        derivative(joints[:, :2], 3, 10.0)


@pytest.mark.parametrize("function", [joint_angles, bone_lengths])
def test_gradients_of_measures(function):
    x = some(NTU_25, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: function(v, NTU_25), x)


@pytest.mark.parametrize("layout", [ELBOW, HDM05_25_RETARGETED], ids=lambda layout: layout.name)
def test_gradients_of_placing(layout):
    x = some(layout, 1)
    lengths = bone_lengths(some(layout, 1, seed=1), layout)
    assert torch.autograd.gradcheck(lambda v: place_bones(v, lengths, layout), x.requires_grad_())


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=lambda layout: layout.name)
def test_placing_keeps_lengths_directions_and_ties_and_is_idempotent(layout):
    clean = some(layout, 2, 4)
    moved = clean + 0.1 * torch.randn(clean.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    lengths = bone_lengths(clean, layout)
    placed = place_bones(moved, lengths, layout)
    torch.testing.assert_close(bone_lengths(placed, layout), lengths, atol=1e-12, rtol=0)
    torch.testing.assert_close(place_bones(placed, lengths, layout), placed, atol=1e-12, rtol=0)
    torch.testing.assert_close(place_bones(clean, lengths, layout), clean, atol=1e-12, rtol=0)
    for group in layout.coincident:
        assert all(torch.equal(placed[..., joint, :], placed[..., group[0], :]) for joint in group)
    if not layout.coincident:
        torch.testing.assert_close(placed[..., layout.root, :], moved[..., layout.root, :])
        for start, end in layout.bones:
            before, after = (x[..., end, :] - x[..., start, :] for x in (moved, placed))
            assert torch.nn.functional.cosine_similarity(before, after, dim=-1).min() > 1 - 1e-12


def test_placing_equals_a_walk_from_the_root():
    clean, moved = some(NTU_25, 3), some(NTU_25, 3, seed=5)
    lengths = bone_lengths(clean, NTU_25)
    walked = moved.clone()
    for bone, (start, end) in enumerate(NTU_25.bones):
        way = moved[:, end] - moved[:, start]
        walked[:, end] = walked[:, start] + way / way.norm(dim=1, keepdim=True) * lengths[:, bone, None]
    torch.testing.assert_close(place_bones(moved, lengths, NTU_25), walked, atol=1e-12, rtol=0)


def test_placing_in_single_precision_keeps_lengths_to_a_micrometre():
    clean = some(HDM05_25, 1, 60).float()
    lengths = bone_lengths(clean, HDM05_25)
    placed = place_bones(clean + 0.02 * torch.randn(clean.shape), lengths, HDM05_25)
    assert (bone_lengths(placed, HDM05_25) - lengths).abs().max() < 2e-6


@given(st.integers(0, 10**6), st.floats(-3, 3), st.floats(0.2, 3))
@settings(max_examples=25)
def test_measures_do_not_depend_on_place_and_heading_and_scale_as_they_must(seed, turn, scale):
    clean, changed = some(HDM05_25, 1, 5, seed=seed), some(HDM05_25, 1, 5, seed=seed + 1)
    heading = torch.from_numpy(Rotation.from_euler("y", turn).as_matrix())
    one = change(clean, changed, HDM05_25, fps=30.0)
    other = change(scale * clean @ heading.T + turn, scale * changed @ heading.T + turn, HDM05_25, fps=60.0)
    for name, factor in {
        **{"displacement": scale, "largest": scale, "pose": scale, "angle": 1, "bone": 1, "bone_largest": 1},
        **{"velocity": 2 * scale, "acceleration": 4 * scale, "velocity_frames": scale, "acceleration_frames": scale},
    }.items():
        torch.testing.assert_close(getattr(other, name), factor * getattr(one, name), rtol=1e-6, atol=1e-9)


def test_changes_in_closed_form():
    clean = torch.zeros(1, 4, 3, 3, dtype=torch.float64)
    clean[..., 1, 0], clean[..., 2, 0] = 0.5, 0.75
    shifted = clean + torch.tensor([0.0, 0.003, 0.004], dtype=torch.float64)
    found = change(clean, shifted, ELBOW, fps=10.0)
    assert found.displacement.item() == pytest.approx(0.005)
    assert found.pose.item() == pytest.approx(0.005 * math.sqrt(3))
    assert [x.item() for x in (found.velocity, found.angle, found.bone)] == pytest.approx([0, 0, 0], abs=1e-12)
    spike = clean.clone()
    spike[0, 2, 2, 1] = 0.25  # the hand's bone turns upwards: 45 degrees and sqrt(2) of its length, for one frame
    found = change(clean, spike, ELBOW, fps=10.0)
    assert found.displacement.item() == pytest.approx(0.25 / 12)
    assert found.largest.item() == 0.25
    assert found.velocity.item() == pytest.approx(10 * 2 * 0.25 / 9)
    assert found.acceleration.item() == pytest.approx(100 * 3 * 0.25 / 6)
    assert found.acceleration_frames.item() == pytest.approx(3 * 0.25 / 6)
    assert found.bone.item() == pytest.approx((math.sqrt(2) - 1) / 8)
    assert found.bone_largest.item() == pytest.approx(math.sqrt(2) - 1)
    assert math.degrees(found.angle.item()) == pytest.approx(45 / 4)
    assert change(clean, spike, ELBOW, fps=10.0, joints=(2,)).displacement.item() == pytest.approx(0.25 / 4)


def test_padding_and_absent_persons_do_not_count():
    clean, changed = some(HDM05_25, 2, 2, 6), some(HDM05_25, 2, 2, 6, seed=3)
    valid = torch.tensor([[6, 6], [4, 0]])[..., None] > torch.arange(6)
    whole = change(clean, changed, HDM05_25, fps=30.0, valid=valid)
    part = change(clean[1:, 0, :4], changed[1:, 0, :4], HDM05_25, fps=30.0)
    full = change(clean[:1], changed[:1], HDM05_25, fps=30.0)
    for name, value in vars(part).items():
        torch.testing.assert_close(getattr(whole, name)[1:], value)
        torch.testing.assert_close(getattr(whole, name)[:1], getattr(full, name))
    rough = roughness(clean, HDM05_25, fps=30.0, valid=valid)
    alone = roughness(clean[1:, 0, :4], HDM05_25, fps=30.0)
    torch.testing.assert_close(rough.jerk[1:], alone.jerk)


def test_bones_without_length_do_not_count():
    clean = some(HDM05_25, 1, 4)
    changed = clean * 1.1
    torch.testing.assert_close(change(clean, changed, HDM05_25, fps=1.0).bone, torch.tensor([0.1]).double())


def test_a_foot_that_slides_is_seen_and_one_in_the_air_is_not():
    motion = torch.zeros(2, 11, 3, 3, dtype=torch.float64)
    motion[..., 1] = 1.0
    motion[:, :, 2, 1] = 0.02
    motion[0, :, 2, 0] = 0.02 * torch.arange(11)  # 0.2 m/s at 10 frames a second, in a stance
    motion[1, :, 2, 0] = 0.2 * torch.arange(11)  # 2 m/s: no stance
    touching = contacts(motion, ELBOW, fps=10.0)
    assert touching.flatten(1).all(1).tolist() == [True, False]
    found = roughness(motion, ELBOW, fps=10.0)
    assert found.skate[0].item() == pytest.approx(0.2)
    assert found.skate[1].isnan()
    standing = torch.ones_like(touching)
    assert roughness(motion, ELBOW, fps=10.0, contact=standing).skate[1].item() == pytest.approx(2.0)
    lifted = motion.clone()
    lifted[0, 5:, 2, 1] = 0.3
    assert contacts(lifted, ELBOW, fps=10.0)[0, :, 0].tolist() == [True] * 4 + [False] * 6


def test_jerk_of_a_cubic():
    time = torch.arange(9, dtype=torch.float64) / 10
    motion = torch.zeros(1, 9, 3, 3, dtype=torch.float64)
    motion[..., 0] = (time**3)[None, :, None]
    assert roughness(motion, ELBOW, fps=10.0).jerk.item() == pytest.approx(6.0)


def test_angles_beyond_those_seen_are_counted():
    bent = torch.tensor([[1.0, 0, 0], [0, 0, 0], [0, 1, 0]], dtype=torch.float64)
    straight = torch.tensor([[1.0, 0, 0], [0, 0, 0], [-1, 0, 0]], dtype=torch.float64)
    seen = torch.stack([bent, (bent + straight) / 2])
    limits = joint_limits([seen], ELBOW)
    assert limit_violations(seen[None], limits, ELBOW).item() == 0
    assert limit_violations(torch.stack([bent, straight, straight, straight])[None], limits, ELBOW).item() == 0.75
    wide = joint_limits([seen], ELBOW, margin=math.pi / 2)
    assert limit_violations(straight[None, None], wide, ELBOW).item() == 0
    with pytest.raises(DataError, match="got none"):
        joint_limits([], ELBOW)


def test_resampling_keeps_bones_and_ends():
    turn = torch.linspace(0, 1.5, 21, dtype=torch.float64)
    arm = torch.zeros(21, 3, 3, dtype=torch.float64)
    arm[:, 1, 0] = 0.3
    arm[:, 2] = torch.stack([0.3 + 0.2 * turn.cos(), 0.2 * turn.sin(), 0 * turn], 1)
    found = resample(arm, 8, ELBOW)
    torch.testing.assert_close(bone_lengths(found, ELBOW), torch.tensor([0.3, 0.2]).double().expand(8, 2))
    torch.testing.assert_close(found[[0, -1]], arm[[0, -1]])
    torch.testing.assert_close(resample(arm, 21, ELBOW), arm)
    # A bone that turns steadily is halfway after half of the time.
    middle = resample(arm[[0, -1]], 3, ELBOW)[1]
    assert math.atan2(middle[2, 1], middle[2, 0] - 0.3) == pytest.approx(0.75)
    assert resample(arm[:1], 2, ELBOW).shape == (2, 3, 3)
    with pytest.raises(ValueError, match="at least 2"):
        resample(arm, 1, ELBOW)


def test_resampling_gives_bones_the_lengths_between_those_of_the_frames():
    joints = some(HDM05_25, 2, 5)
    lengths = bone_lengths(joints, HDM05_25)
    found = bone_lengths(resample(joints, 9, HDM05_25), HDM05_25)
    torch.testing.assert_close(found[:, ::2], lengths, atol=1e-12, rtol=0)
    torch.testing.assert_close(found[:, 1::2], (lengths[:, 1:] + lengths[:, :-1]) / 2, atol=1e-12, rtol=0)
    moved = joints.clone().requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x: resample(x, 4, HDM05_25), moved, fast_mode=True)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(DataError, match=r"ntu-25 needs joints of shape \(..., frames, 25, 3\), got \(1, 4, 20, 3\)"):
        bone_lengths(torch.zeros(1, 4, 20, 3), NTU_25)
    with pytest.raises(DataError, match="one shape"):
        change(torch.zeros(1, 4, 25, 3), torch.zeros(1, 5, 25, 3), NTU_25, fps=30.0)
