"""CTR-GCN: the official network's numbers, and what every skeleton network promises."""

import copy
import sys

import numpy as np
import pytest
import torch

from gaitkeeper.errors import DataError
from gaitkeeper.models.actions.ctr_gcn import CTRGCN
from gaitkeeper.models.actions.graphs import NTU25_TIPS_AT_HANDS, NW_UCLA20
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
        return CTRGCN(**{"classes": 7, "widths": (4, 8, 8), "strides": (1, 2, 1), **options})


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
    assert packs.check("ctr_gcn", CTRGCN)


def test_every_unit_begins_with_the_published_graph_and_as_its_shortcut(packs):
    _, arrays = packs.load_pack("ctr_gcn")
    module = build()
    for unit in (module.l1, module.l2, module.l3):
        np.testing.assert_allclose(unit.gcn1.PA.detach().numpy(), arrays["extra.graph_A"], rtol=0, atol=1e-6)
        assert unit.gcn1.alpha.item() == 0
        assert unit.gcn1.bn.weight.eq(1e-6).all()
    assert not torch.equal(build(graph=NTU25_TIPS_AT_HANDS).l1.gcn1.PA, module.l1.gcn1.PA)


def test_the_refinement_is_per_clip_and_off_at_the_start(network):
    unit = network.l2.gcn1
    x = torch.randn(2, 4, 6, 25)
    with torch.no_grad():
        shared = unit.convs[0](x, unit.PA[0], torch.zeros(1))
        wanted = torch.einsum("uv,nctv->nctu", unit.PA[0], unit.convs[0].conv3(x))
        torch.testing.assert_close(shared, wanted, rtol=1e-4, atol=1e-5)
        one, two = (unit.convs[0](x, unit.PA[0], torch.ones(1)) for x in (x, x + torch.randn(1, 4, 1, 25)))
    assert not torch.allclose(one, two, atol=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"widths": (6,), "strides": (1,)}, "divisible by 4.*got 6"), ({"strides": (1,)}, "3 and 1")],
)
def test_other_widths_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)


@pytest.mark.parametrize(("options", "count"), [({}, 1_446_672), ({"persons": 1}, 1_446_522)])
def test_the_published_number_of_parameters(options, count):
    with torch.device("meta"):
        assert sum(weight.numel() for weight in CTRGCN(**options).parameters()) == count


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
    "options", [{}, {"graph": NW_UCLA20, "persons": 1, "coordinates": 2, "widths": (8, 16), "strides": (1, 2)}]
)
def test_a_state_says_how_its_network_is_built_and_loads_strictly(options):
    module = build(**options).eval()
    with torch.device("meta"):
        again = CTRGCN(
            **{key: value for key, value in options.items() if key == "graph"}, **CTRGCN.options(module.state_dict())
        )
    load_strictly(again, module.state_dict(), "memory")
    x = clips(2, v=module.graph.joints, m=module.persons)[:, : module.coordinates]
    with torch.no_grad():
        assert torch.equal(again.eval()(x), module(x))
