"""MS-G3D: the official network's numbers, its scales, and its windows."""

import numpy as np
import pytest
import torch

from gaitkeeper.models.actions.ms_g3d import MSG3D
from tests.models.actions import parameters, settled, skeletons

NARROW = {"classes": 7, "widths": (6, 12), "scales": 4, "window_scales": 3}


def build(**options):
    return MSG3D(**{**NARROW, **options})


@pytest.fixture
def network():
    return settled(build, skeletons(8, 12))


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
        assert parameters(MSG3D(**options)) == count
