"""Our networks under the official keys give the official networks' outputs and gradients."""

import sys

import pytest

from gaitkeeper.models.gait.deepgaitv2 import DeepGaitV2
from gaitkeeper.models.gait.gaitbase import GaitBase
from gaitkeeper.models.gait.gaitgl import GaitGL
from gaitkeeper.models.gait.gaitpart import GaitPart
from gaitkeeper.models.gait.gaitset import GaitSet, from_original, original_part_order


@pytest.fixture(scope="module")
def packs(shared):
    sys.path.insert(0, str(shared / "conformance"))
    import check_example

    yield check_example
    sys.path.remove(str(shared / "conformance"))


@pytest.mark.parametrize(("pack", "network"), [("gaitset_opengait", GaitSet), ("gaitpart", GaitPart)])
def test_embedding_networks_have_official_keys_outputs_and_gradients(packs, pack, network):
    assert packs.check(pack, network)


def embedding_and_logits(module, silhouettes):
    embedding = module(silhouettes)
    return embedding, module.logits(embedding)


@pytest.mark.parametrize(("pack", "network"), [("gaitgl", GaitGL), ("gaitbase", GaitBase), ("deepgaitv2", DeepGaitV2)])
def test_classifying_networks_have_official_keys_outputs_and_gradients(packs, pack, network):
    assert packs.check(pack, network, embedding_and_logits)


def test_original_gaitset_loads_and_agrees(packs):
    import numpy as np
    import torch

    pack, arrays = packs.load_pack("gaitset_original")
    weights = packs.pack_weights(pack)
    prefixed = {f"module.{key}": value for key, value in weights.items()}
    (x,) = packs.pack_inputs(pack)
    module = GaitSet().eval()
    module.load_state_dict(from_original(prefixed), strict=True)
    inverse = np.argsort(original_part_order())
    np.testing.assert_array_equal(arrays["extra.part_of_original"], original_part_order())

    def original_layout(net, data):
        return net(data).transpose(1, 2)[:, inverse]

    with torch.no_grad():
        got = original_layout(module, x).numpy()
    tolerance = pack["tolerance"]
    np.testing.assert_allclose(got, arrays["out.embedding"], rtol=1e-4, atol=tolerance["outputs"]["embedding"]["atol"])
    x = x.double().requires_grad_(True)
    (gradient,) = torch.autograd.grad(original_layout(module.double(), x).square().sum(), x)
    np.testing.assert_allclose(
        gradient[0].numpy(), arrays["grad.x"], rtol=1e-4, atol=tolerance["gradients"]["x"]["atol_float64"]
    )
