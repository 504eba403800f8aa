"""ST-GCN: official outputs, what every network promises, and checkpoints of another graph."""

import sys

import pytest
import torch
from torch.nn import functional

from gaitkeeper.errors import WeightsError
from gaitkeeper.models.actions.graphs import HDM05_25, NTU25, NTU25_TIPS_AT_HANDS, OPENPOSE18
from gaitkeeper.models.actions.layers import graph_convolution, persons_apart, persons_together, pool
from gaitkeeper.models.actions.st_gcn import STGCN
from gaitkeeper.models.weights import load_strictly
from tests.models.actions import check_promises, check_training, parameters, settled, skeletons

NARROW = {"classes": 5, "widths": (4, 4, 6), "strides": (1, 1, 2)}


@pytest.fixture(scope="module")
def packs(shared):
    sys.path.insert(0, str(shared / "conformance"))
    import check_example

    yield check_example
    sys.path.remove(str(shared / "conformance"))


def test_official_keys_outputs_and_gradients(packs):
    assert packs.check("st_gcn", STGCN)


@pytest.mark.parametrize(
    ("options", "joints", "persons"),
    [
        ({}, 25, 2),
        ({"graph": HDM05_25, "truncated": False, "kernel": 5}, 25, 1),
        ({"graph": OPENPOSE18, "partition": "distance", "max_hop": 2}, 18, 3),
        ({"partition": "uniform"}, 25, 2),
    ],
)
def test_promises(options, joints, persons):
    check_promises(lambda: STGCN(**NARROW, **options), v=joints, m=persons)


def test_every_weight_learns():
    check_training(STGCN(**NARROW), skeletons())


def test_published_size():
    with torch.device("meta"):
        assert parameters(STGCN()) == 3_098_832


def test_the_number_of_persons_is_free_and_absent_ones_count():
    module = settled(lambda: STGCN(**NARROW), skeletons())
    x = skeletons(2, 9, 25, 1)
    with torch.no_grad():
        alone, absent = module(x), module(torch.zeros_like(x))
        torch.testing.assert_close(module(x.expand(-1, -1, -1, -1, 3)), alone)
        together = module(torch.cat([x, torch.zeros_like(x)], 4))
    torch.testing.assert_close(together, (alone + absent) / 2)


@pytest.mark.parametrize("options", [{}, {"graph": NTU25_TIPS_AT_HANDS, "truncated": False}, {"max_hop": 2}])
def test_options_follow_from_a_state_dict(options):
    module = settled(lambda: STGCN(**NARROW, kernel=5, **options), skeletons())
    with torch.device("meta"):
        again = STGCN(**STGCN.options(module.state_dict()))
    load_strictly(again, module.state_dict(), "saved")
    x = skeletons()
    assert torch.equal(again.eval()(x), module(x))


@pytest.mark.parametrize(
    ("other", "found"),
    [
        (
            {"graph": NTU25_TIPS_AT_HANDS},
            "expected ntu-25, found ntu-25-hands, with the bones 21-7, 23-11 rather than 21-22, 23-24",
        ),
        ({"graph": HDM05_25}, "found hdm05-25, with the bones 0-10, 1-0, 2-1, 4-3 rather"),
        ({"truncated": False}, "found the same, split by spatial within 1 with distances as measured"),
    ],
)
def test_a_checkpoint_of_another_graph_is_refused(other, found):
    state = STGCN(**NARROW, **other).state_dict()
    module = STGCN(**NARROW, graph=NTU25)
    with pytest.raises(WeightsError, match=found):
        load_strictly(module, state, "file")
    state["A"] = state["A"] * 0.5
    with pytest.raises(WeightsError, match="no published one"):
        module.load_state_dict(state)
    with pytest.raises(ValueError, match=r"A of shape \(3, 25, 25\) is of no published graph"):
        STGCN.options(state)


def test_widths_and_strides_go_together():
    with pytest.raises(ValueError, match="got 2 and 1"):
        STGCN(widths=(4, 4), strides=(1,))


def test_graph_convolution_is_convolution_then_aggregation():
    generator = torch.Generator().manual_seed(0)
    x, weight, bias, shared, own = (
        torch.randn(shape, generator=generator, dtype=torch.float64)
        for shape in ((2, 3, 4, 5), (18, 3, 1, 1), (18,), (5, 5), (2, 2, 5, 5))
    )
    convolved = functional.conv2d(x, weight, bias).unflatten(1, (3, 6))
    wanted = convolved[:, 0] @ shared + torch.einsum("nkctv,nkvw->nctw", convolved[:, 1:], own)
    torch.testing.assert_close(graph_convolution(x, weight, bias, [shared, *own.unbind(1)]), wanted)


def test_persons_stay_in_order():
    x = skeletons(2, 4, 5, 3)
    for separate, count in ((persons_apart, 15), (persons_together, 45)):
        norm = torch.nn.BatchNorm1d(count, eps=0.0).eval()
        norm.weight.data.copy_(torch.arange(count))
        out = separate(x, norm)
        scale = torch.arange(count).view(-1, 5, 3).expand(3, -1, -1) if count == 15 else torch.arange(45).view(3, 5, 3)
        wanted = x.permute(0, 4, 1, 2, 3) * scale.transpose(1, 2)[:, :, None]
        torch.testing.assert_close(out, wanted.flatten(0, 1))
    torch.testing.assert_close(pool(x.permute(0, 4, 1, 2, 3).flatten(0, 1), 2), x.mean((2, 3, 4)))
