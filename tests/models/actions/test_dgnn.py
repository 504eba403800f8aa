"""DGNN: the known implementation's numbers, and its bones."""

import numpy as np
import pytest
import torch

from gaitkeeper.errors import DataError
from gaitkeeper.models.actions.dgnn import DGNN
from gaitkeeper.models.actions.graphs import NTU25, NTU25_TIPS_AT_HANDS, directed_bones
from tests.models.actions import parameters, settled, skeletons

NARROW = {"classes": 7, "widths": (4, 8, 8), "strides": (1, 2, 1)}


def build(**options):
    return DGNN(**{**NARROW, **options})


@pytest.fixture
def network():
    return settled(build, skeletons(8, 12))


def test_official_keys_outputs_and_gradients(packs):
    assert packs.check("dgnn", DGNN)


def test_every_unit_begins_with_the_published_incidence(packs):
    _, arrays = packs.load_pack("dgnn")
    module = build()
    for unit in (module.l1, module.l2, module.l3):
        for end in ("source_M", "target_M"):
            matrix = getattr(unit.dgn, end).detach().numpy()
            np.testing.assert_allclose(matrix, arrays[f"extra.graph_{end}"], rtol=0, atol=1e-6)
    assert not torch.equal(build(graph=NTU25).l1.dgn.target_M, module.l1.dgn.target_M)


def test_bones_are_target_less_source_and_made_inside(network):
    x = skeletons(3, 12)
    bones = network.bones(x)
    for index, (source, target) in enumerate(directed_bones(NTU25_TIPS_AT_HANDS)):
        assert torch.equal(bones[:, :, :, index], x[:, :, :, target] - x[:, :, :, source])
    assert bones[:, :, :, -1].eq(0).all()
    with torch.no_grad():
        assert torch.equal(network(x), network(x, bones))
        assert not torch.allclose(network(x), network(x, 2 * bones), atol=1e-3)


def test_gradients_pass_through_the_bones(network):
    x = skeletons(3, 12).requires_grad_(True)
    (whole,) = torch.autograd.grad(network(x).square().sum(), x)
    (held,) = torch.autograd.grad(network(x, network.bones(x).detach()).square().sum(), x)
    assert not torch.allclose(whole, held, rtol=1e-2)


def test_other_bones_are_named(network):
    with pytest.raises(DataError, match=r"v=25, m=2\), got \(3, 3, 12, 24, 2\)"):
        network(skeletons(3, 12), skeletons(3, 12, 24))


def test_other_widths_are_refused():
    with pytest.raises(ValueError, match="3 and 1"):
        build(strides=(1,))


@pytest.mark.parametrize(("options", "count"), [({}, 4_089_320), ({"persons": 1}, 4_089_020)])
def test_the_published_number_of_parameters(options, count):
    with torch.device("meta"):
        assert parameters(DGNN(**options)) == count
