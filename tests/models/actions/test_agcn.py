"""2s-AGCN and AAGCN: official outputs, what every network promises, and the older names of released weights."""

import re
import sys

import pytest
import torch

from gaitkeeper.errors import DataError
from gaitkeeper.models.actions.agcn import AAGCN, AGCN, from_released
from gaitkeeper.models.actions.graphs import HDM05_25, NTU25, NTU25_TIPS_AT_HANDS, NW_UCLA20, split_then_normalized
from gaitkeeper.models.weights import load_strictly
from tests.models.actions import check_promises, check_training, parameters, settled, skeletons

NARROW = {"classes": 5, "widths": (4, 4, 8), "strides": (1, 1, 2)}


@pytest.fixture(scope="module")
def packs(shared):
    sys.path.insert(0, str(shared / "conformance"))
    import check_example

    yield check_example
    sys.path.remove(str(shared / "conformance"))


@pytest.mark.parametrize(("pack", "network"), [("agcn", AGCN), ("aagcn", AAGCN)])
def test_official_keys_outputs_and_gradients(packs, pack, network):
    assert packs.check(pack, network)


@pytest.mark.parametrize("network", [AGCN, AAGCN])
@pytest.mark.parametrize(
    ("options", "joints", "persons"),
    [({}, 25, 2), ({"graph": HDM05_25, "persons": 1}, 25, 1), ({"graph": NW_UCLA20, "kernel": 5}, 20, 2)],
)
def test_promises(network, options, joints, persons):
    check_promises(lambda: network(**NARROW, **options), v=joints, m=persons)


@pytest.mark.parametrize("network", [AGCN, AAGCN])
def test_every_weight_learns(network):
    check_training(network(**NARROW), skeletons())


@pytest.mark.parametrize(("network", "count"), [(AGCN, 3_469_510), (AAGCN, 3_781_668)])
def test_published_size(network, count):
    with torch.device("meta"):
        assert parameters(network()) == count


@pytest.mark.parametrize("network", [AGCN, AAGCN])
def test_graphs_start_as_the_bones_say(network):
    for graph in (NTU25, NTU25_TIPS_AT_HANDS):
        unit = network(**NARROW, graph=graph).get_submodule("l2.gcn1")
        start = (getattr(unit, "A", 0) + unit.PA).detach()
        torch.testing.assert_close(start, torch.from_numpy(split_then_normalized(graph)), rtol=0, atol=2e-6)


@pytest.mark.parametrize("network", [AGCN, AAGCN])
def test_the_number_of_persons_is_fixed(network):
    module = network(**NARROW).eval()
    with pytest.raises(DataError, match=r"m=2.*got \(1, 3, 4, 25, 1\)"):
        module(skeletons(1, 4, 25, 1))


@pytest.mark.parametrize("network", [AGCN, AAGCN])
def test_released_weights_under_older_names_load(network):
    module = settled(lambda: network(**NARROW), skeletons())
    state = module.state_dict()
    old = {re.sub(r"^l(\d+)\.", r"l\1a.", key).replace(".down.", ".conv_res."): value for key, value in state.items()}
    assert old.keys() != state.keys()
    renamed = from_released(old)
    again = network(**network.options(renamed))
    load_strictly(again, renamed, "released")
    x = skeletons()
    assert torch.equal(again.eval()(x), module(x))
    assert from_released(state).keys() == state.keys()
