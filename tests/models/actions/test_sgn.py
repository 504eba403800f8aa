"""SGN: the official network's numbers, and what its sampling of a motion promises."""

import pytest
import torch

from gaitkeeper.errors import DataError
from gaitkeeper.models.actions.sgn import SGN, sample
from gaitkeeper.models.victim import Victim
from gaitkeeper.motion.motion import Domain, Motion
from tests.models.actions import parameters, settled

SKELETONS = Domain(
    axes=("c", "t", "v", "m"), shape=(3, None, 25, None), lower=-float("inf"), upper=float("inf"), stored="float32"
)


@pytest.fixture
def network():
    return settled(lambda: SGN(classes=7, frames=12, width=4), clips(8))


def clips(n=3, t=12, seed=0):
    return torch.randn(n, t, 75, generator=torch.Generator().manual_seed(seed))


def bodies(n=2, t=30, m=2, seed=0):
    return torch.randn(n, 3, t, 25, m, generator=torch.Generator().manual_seed(seed))


def test_official_keys_outputs_and_gradients(packs):
    assert packs.check("sgn", SGN)


@pytest.mark.parametrize(("frames", "count"), [(20, 691_048), (60, 693_608)])
def test_the_published_number_of_parameters(frames, count):
    with torch.device("meta"):
        assert parameters(SGN(frames=frames)) == count


def test_the_same_clip_gives_the_same_answer_and_order_matters(network):
    x = clips()
    with torch.no_grad():
        assert torch.equal(network(x), network(x))
        assert not torch.allclose(network(x), network(x.flip(1)), atol=1e-3)


def test_graph_layers_begin_deaf():
    module = SGN(width=2)
    assert not any(layer.w.cnn.weight.any() for layer in (module.gcn1, module.gcn2, module.gcn3))


@pytest.mark.parametrize("options", [{}, {"classes": 5, "joints": 20, "frames": 60, "coordinates": 2, "width": 8}])
def test_options_of_a_state(options):
    with torch.device("meta"):
        module = SGN(**options)
        again = SGN(**SGN.options(module.state_dict()))
    assert {k: v.shape for k, v in again.state_dict().items()} == {k: v.shape for k, v in module.state_dict().items()}
    assert (again.frames, again.joints, again.coordinates) == (module.frames, module.joints, module.coordinates)


@pytest.mark.parametrize("shape", [(2, 12, 60), (2, 13, 75), (2, 3, 12, 25, 2), (12, 75)])
def test_other_shapes_are_named(network, shape):
    with pytest.raises(DataError, match=r"v\*c=25\*3.*got \(" + str(shape[0])):
        network(torch.zeros(shape))


def test_a_clip_of_as_many_bodies_as_parts_is_seen_whole():
    data = bodies(2, 12, 1)
    (x,) = sample(Motion(data=data), frames=12)
    assert torch.equal(x, data[..., 0].permute(0, 2, 3, 1).flatten(2))


def test_two_persons_alternate_and_the_absent_are_left_out():
    data = bodies(1, 4, 2)
    data[0, :, 1, :, 0] = 0
    data[0, :, 2] = 0
    (x,) = sample(Motion(data=data), frames=5)
    wanted = [(0, 0), (0, 1), (1, 1), (3, 0), (3, 1)]
    assert torch.equal(x[0], torch.stack([data[0, :, t, :, m].T.flatten() for t, m in wanted]))


def test_the_middle_of_each_part_is_seen():
    data = torch.arange(1.0, 31.0)[None, None, :, None, None].expand(1, 3, 30, 25, 1)
    (x,) = sample(Motion(data=data), frames=3)
    assert x[0, :, 0].tolist() == [6, 16, 26]
    (x,) = sample(Motion(data=data, lengths=torch.tensor([6])), frames=3)
    assert x[0, :, 0].tolist() == [2, 4, 6]
    (x,) = sample(Motion(data=data), frames=3, positions=torch.tensor([[0.0, 0.5, 0.999]]))
    assert x[0, :, 0].tolist() == [1, 16, 30]
    (x,) = sample(Motion(data=data, lengths=torch.tensor([2])), frames=4)
    assert x[0, :, 0].tolist() == [1, 1, 2, 2]


def test_the_first_center_is_subtracted_everywhere():
    data = bodies(2, 20, 2)
    (x,), (moved,) = (
        sample(Motion(data=d), frames=12, center=1) for d in (data, data + torch.tensor([1, 2, 3])[:, None, None, None])
    )
    torch.testing.assert_close(x, moved, rtol=1e-4, atol=1e-5)
    (plain,) = sample(Motion(data=data), frames=12)
    first = data[:, :, 0, 1, 0].repeat(1, 25)[:, None]
    torch.testing.assert_close(x, plain - first)


def test_a_victim_is_fed_with_motions_and_attacked_through_the_sampling(network):
    victim = Victim(network, SKELETONS, output="logits", prepare=lambda motion: sample(motion, frames=12, center=1))
    data = bodies().requires_grad_(True)
    out = victim(Motion(data=data, lengths=torch.tensor([30, 17]))).logits
    assert out.shape == (2, 7)
    (gradient,) = torch.autograd.grad(out.square().sum(), data)
    assert gradient[1, :, 17:].eq(0).all()
    assert gradient.flatten(1).ne(0).any(1).all()
    alone = victim(Motion(data=data[1:, :, :17])).logits
    torch.testing.assert_close(out[1:], alone, rtol=1e-5, atol=1e-5)


def test_clips_without_anybody_are_named():
    data = bodies(3)
    data[1] = 0
    with pytest.raises(DataError, match="clip 1 of the batch shows nobody"):
        sample(Motion(data=data))
    with pytest.raises(DataError, match=r"\(n, c, t, v, m\), got \(2, 30, 75\)"):
        sample(Motion(data=torch.zeros(2, 30, 75)))
