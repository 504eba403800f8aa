"""MS-G3D: the official network's numbers, and what every skeleton network promises."""

import copy
import sys

import numpy as np
import pytest
import torch

from gaitkeeper.errors import DataError
from gaitkeeper.models.actions.graphs import NW_UCLA20
from gaitkeeper.models.actions.ms_g3d import MSG3D
from gaitkeeper.models.victim import Victim
from gaitkeeper.models.weights import load_strictly
from gaitkeeper.motion.motion import Domain, Motion

SKELETONS = Domain(
    axes=("c", "t", "v", "m"), shape=(3, None, 25, 2), lower=-float("inf"), upper=float("inf"), stored="float32"
)


@pytest.fixture
def packs(shared):
    sys.path.insert(0, str(shared / "conformance"))
    import check_example

    yield check_example
    sys.path.remove(str(shared / "conformance"))


def clips(n=3, t=12, v=25, m=2, seed=0):
    return torch.randn(n, 3, t, v, m, generator=torch.Generator().manual_seed(seed))


def build(**options):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return MSG3D(**{"classes": 7, "widths": (6, 12), "scales": 4, "window_scales": 3, **options})


@pytest.fixture
def network():
    """A narrow network that has seen data, every parameter of which matters."""
    module = build()
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(2)
        for weight in module.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
        module.train()(clips(8))
    return module.eval()


def test_official_keys_outputs_and_gradients(packs):
    assert packs.check("ms_g3d", MSG3D)


def test_the_scales_are_the_published_ones_and_not_saved(packs):
    _, arrays = packs.load_pack("ms_g3d")
    module = build(scales=13, window_scales=6)
    for path, name in (("sgcn1.0", "graph_scales_13"), ("gcn3d1.gcn3d.0.gcn3d.1", "graph_g3d_w3_scales_6")):
        layer = module.get_submodule(path)
        np.testing.assert_allclose(layer.scales.numpy(), arrays[f"extra.{name}"], rtol=0, atol=1e-6)
        assert layer.A_res.abs().max() <= 1e-6
    assert not any(key.endswith("scales") for key in module.state_dict())


def test_windows_hold_neighboring_frames_frame_by_frame(network):
    windows = network.gcn3d2.gcn3d[1].gcn3d[0]
    assert (windows.window, windows.stride) == (5, 2)
    x = torch.arange(1.0, 7.0)[None, None, :, None] * 100 + torch.arange(25.0)
    out = windows(x)
    assert out.shape == (1, 1, 3, 125)
    frames = out.unflatten(3, (5, 25))[0, 0]
    assert torch.equal(frames[1], x[0, 0, :5])
    assert frames[0, :2].eq(0).all()
    assert torch.equal(frames[0, 2:], x[0, 0, :3])


def test_one_frame_is_made_of_each_window_as_by_the_convolution(network):
    path = network.gcn3d1.gcn3d[1]
    x = torch.randn(2, 3, 6, 25)
    with torch.no_grad():
        windows = path.gcn3d(x).unflatten(3, (5, 25))
        torch.testing.assert_close(path(x), path.out_bn(path.out_conv(windows).squeeze(3)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"widths": (8,)}, "divisible by 6.*got 8"), ({"windows": (3, 4)}, r"odd.*\(3, 4\)"), ({"windows": ()}, "odd")],
)
def test_other_widths_and_windows_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)


@pytest.mark.parametrize(("options", "count"), [({}, 3_194_595), ({"persons": 1}, 3_194_445)])
def test_the_published_number_of_parameters(options, count):
    with torch.device("meta"):
        assert sum(weight.numel() for weight in MSG3D(**options).parameters()) == count


def test_shape_gradient_and_single_clips(network):
    x = clips().requires_grad_(True)
    out = network(x)
    assert out.shape == (3, 7)
    (gradient,) = torch.autograd.grad(out.square().sum(), x)
    assert gradient.isfinite().all()
    assert gradient.ne(0).any(1).all()
    torch.testing.assert_close(out, torch.cat([network(one[None]) for one in x]), rtol=1e-4, atol=1e-5)
    double = copy.deepcopy(network).double()(x.double())
    assert double.dtype == torch.float64
    torch.testing.assert_close(out.double(), double, rtol=1e-3, atol=1e-4)


def test_every_parameter_is_trained(network):
    network.train()(clips()).square().sum().backward()
    grads = [weight.grad for weight in network.parameters()]
    assert all(grad is not None for grad in grads)
    # A bias before a batch normalization moves nothing.
    assert all(grad.ne(0).any() for grad in grads if grad.ndim > 1)


def test_swapped_persons_and_reversed_time_are_other_clips(network):
    x = clips()
    with torch.no_grad():
        out = network(x)
        assert not torch.allclose(out, network(x.flip(4)), atol=1e-3)
        assert not torch.allclose(out, network(x.flip(2)), atol=1e-3)


@pytest.mark.parametrize("t", [1, 2, 7])
def test_short_clips_and_an_absent_person_have_finite_answers(network, t):
    x = clips(2, t)
    x[1, ..., 1] = 0
    x.requires_grad_(True)
    out = network(x)
    (gradient,) = torch.autograd.grad(out.square().sum(), x)
    assert out.isfinite().all()
    assert gradient.isfinite().all()


def test_a_victim_sees_valid_frames_only_and_the_network_stays_as_it_was(network):
    network.train()
    before = copy.deepcopy(network.state_dict())
    x = clips(2)
    got = Victim.of(network, SKELETONS, output="logits")(Motion(data=x, lengths=torch.tensor([12, 5]))).logits
    assert all(part.training for part in network.modules())
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    with torch.no_grad():
        torch.testing.assert_close(got[1:], network.eval()(x[1:, :, :5]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "shape", [(2, 3, 12, 20, 2), (2, 3, 12, 25, 1), (2, 2, 12, 25, 2), (2, 3, 0, 25, 2), (2, 12, 75)]
)
def test_other_shapes_are_named(network, shape):
    with pytest.raises(DataError, match=r"c=3, t=any, v=25, m=2\), got \(" + ", ".join(map(str, shape))):
        network(torch.zeros(shape))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"graph": NW_UCLA20, "persons": 1, "coordinates": 2, "widths": (12, 12, 12), "windows": (3, 5, 7), "scales": 2},
    ],
)
def test_a_state_says_how_its_network_is_built_and_loads_strictly(options):
    module = build(**options).eval()
    with torch.device("meta"):
        again = MSG3D(
            **{key: value for key, value in options.items() if key == "graph"}, **MSG3D.options(module.state_dict())
        )
    load_strictly(again, module.state_dict(), "memory")
    x = clips(2, v=module.graph.joints, m=module.persons)[:, : module.coordinates]
    with torch.no_grad():
        assert torch.equal(again.eval()(x), module(x))
