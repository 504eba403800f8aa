import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gaitkeeper.errors import DataError
from gaitkeeper.motion.motion import FARTHEST, SILHOUETTES, Domain, Motion, skeletons
from gaitkeeper.motion.silhouettes import align, align_sequence, energy_image
from gaitkeeper.motion.skeletons import LAYOUTS, NTU_25


def person(rows=240, columns=320, at=160, height=150):
    mask = np.zeros((rows, columns), np.uint8)
    mask[50 : 50 + height, max(0, at - 20) : at + 20] = 255
    return mask


def test_select_repeat_and_replace_keep_what_belongs_together():
    motion = Motion(
        data=torch.arange(6.0).reshape(3, 2),
        lengths=torch.tensor([1, 2, 2]),
        extras={"view": torch.tensor([0, 18, 36])},
    )
    assert motion.select([2, 0]).extras["view"].tolist() == [36, 0]
    repeated = motion.repeat(2)
    assert repeated.lengths.tolist() == [1, 1, 2, 2, 2, 2]
    assert torch.equal(repeated.data[2], repeated.data[3])
    with pytest.raises(DataError, match=r"\(3, 2\)"):
        motion.with_data(torch.zeros(3, 3))
    with pytest.raises(DataError, match="lengths"):
        Motion(data=torch.zeros(3, 2), lengths=torch.tensor([1]))


@given(arrays(np.float64, 12, elements=st.floats(-1, 1)))
def test_hardening_is_idempotent_and_what_the_format_can_hold(values):
    data = torch.from_numpy(values)[None]
    for stored in ("uint8", "binary", "float32"):
        domain = Domain(axes=("t",), shape=(None,), lower=-1.0, upper=1.0, stored=stored)
        hard = domain.harden(data)
        torch.testing.assert_close(domain.harden(hard), hard, rtol=0, atol=1e-12)
        levels = (hard + 1) / 2 * (255 if stored == "uint8" else 1)
        if stored != "float32":
            torch.testing.assert_close(levels, levels.round(), rtol=0, atol=1e-9)
            assert ((hard - data).abs() <= (1 if stored == "binary" else 1 / 255) + 1e-12).all()


def test_an_unbounded_domain_cannot_be_stored_in_levels():
    with pytest.raises(ValueError, match="finite bounds"):
        Domain(axes=("t",), shape=(None,), lower=0, upper=float("inf"), stored="uint8")


def test_lengths_outside_the_frames_are_refused():
    motion = Motion(data=torch.zeros(2, 5, 64, 44), lengths=torch.tensor([5, 6]))
    with pytest.raises(DataError, match=r"1..5"):
        SILHOUETTES.check(motion)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=lambda layout: layout.name)
@pytest.mark.parametrize("persons", [None, 2])
def test_skeletons_are_joints_in_metres_of_a_layout(layout, persons):
    domain = skeletons(layout, persons=persons)
    assert domain.layout is layout
    assert [domain.axis(name) for name in "ctvm"] == [1, 2, 3, 4]
    joints = torch.full((2, 3, 5, len(layout), 2), FARTHEST)
    domain.check(Motion(data=joints))
    assert torch.equal(domain.harden(joints / 3), joints / 3)
    valid = domain.valid(Motion(data=joints, lengths=torch.tensor([5, 2])))
    assert (valid * joints).flatten(1).any(1).all()
    assert not (valid * joints)[1, :, 2:].any()
    with pytest.raises(DataError, match=r"expected values in \[-20, 20\], got \[20, 20.1\]"):
        domain.check(Motion(data=torch.cat([joints, joints + 0.1])))
    with pytest.raises(DataError, match=rf"\(n, c=3, t=any, v={len(layout)}, m={persons or 'any'}\), got"):
        domain.check(Motion(data=joints[:, :, :, 1:]))
    if persons is None:
        domain.check(Motion(data=joints[..., :1]))
    else:
        with pytest.raises(DataError, match="m=2"):
            domain.check(Motion(data=joints[..., :1]))


def test_silhouettes_have_no_layout():
    assert SILHOUETTES.layout is None
    assert skeletons(NTU_25) == skeletons(NTU_25)


@pytest.mark.parametrize("at", [10, 160, 310])
def test_alignment_fills_the_height_and_centres_the_mass(at):
    aligned = align(person(at=at))
    assert aligned.shape == (64, 44)
    assert (aligned.max(axis=1) > 128).all()
    mass = aligned.sum(axis=0, dtype=np.int64).cumsum()
    assert abs(int(np.searchsorted(mass, mass[-1] / 2)) - 22) <= 1


def test_alignment_hardly_depends_on_the_place_in_the_picture():
    a, b = align(person()), align(person(rows=480, columns=640, at=400, height=150))
    assert np.abs(a.astype(int) - b).mean() < 8  # columns are rounded to whole pixels after scaling


def test_frames_without_a_person_are_dropped_and_named():
    frames = np.stack([person(), np.zeros((240, 320), np.uint8), person(at=200)])
    aligned, kept = align_sequence(frames)
    assert kept.tolist() == [0, 2]
    assert len(aligned) == 2
    assert align_sequence(frames[1:2])[0].shape == (0, 64, 44)


def test_energy_image_is_the_mean():
    frames = np.zeros((4, 2, 2), np.uint8)
    frames[:3, 0, 0] = 255
    assert energy_image(frames).tolist() == [[0.75, 0.0], [0.0, 0.0]]
