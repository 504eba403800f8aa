"""2s-AGCN and AAGCN: official outputs, the graphs that they start from, and the older names of released weights."""

import re

import pytest
import torch

from gaitkeeper.models.actions.agcn import AAGCN, AGCN, from_released
from gaitkeeper.models.actions.graphs import NTU25, NTU25_TIPS_AT_HANDS, split_then_normalized
from gaitkeeper.models.states import load_strictly
from tests.models.actions import parameters, settled, skeletons

NARROW = {"classes": 5, "widths": (4, 4, 8), "strides": (1, 1, 2)}


@pytest.mark.parametrize(("pack", "network"), [("agcn", AGCN), ("aagcn", AAGCN)])
def test_official_keys_outputs_and_gradients(packs, pack, network):
    assert packs.check(pack, network)


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
