"""CTR-GCN: the official network's numbers, and the graphs of its units."""

import numpy as np
import pytest
import torch

from gaitkeeper.models.actions.ctr_gcn import CTRGCN
from gaitkeeper.models.actions.graphs import NTU25_TIPS_AT_HANDS
from tests.models.actions import parameters, settled, skeletons

NARROW = {"classes": 7, "widths": (4, 8, 8), "strides": (1, 2, 1)}


def build(**options):
    return CTRGCN(**{**NARROW, **options})


@pytest.fixture
def network():
    return settled(build, skeletons(8, 12))


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
        assert parameters(CTRGCN(**options)) == count
