"""What skeleton networks are made of: graph products, normalization person by person, units along time."""

import pytest
import torch
from torch.nn import functional

from gaitkeeper.models.actions.layers import (
    TemporalUnit,
    graph_convolution,
    persons_apart,
    persons_together,
    pool,
    shortcut,
)
from tests.models.actions import skeletons


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


def test_taps_are_as_many_frames_apart_as_the_dilation():
    unit = TemporalUnit(1, 1, 3, dilation=2)
    unit.conv.weight.data.copy_(torch.tensor([1.0, 2, 3])[:, None])
    impulse = functional.one_hot(torch.tensor(4), 9).float()[None, None, :, None]
    with torch.no_grad():
        assert unit.conv(impulse)[0, 0, :, 0].tolist() == [0, 0, 3, 0, 2, 0, 1, 0, 0]
        assert unit(impulse).shape == impulse.shape


@pytest.mark.parametrize(("outputs", "stride"), [(3, 1), (3, 2), (5, 1)])
def test_a_shortcut_convolves_only_where_the_unit_changes_shape(outputs, stride):
    x = torch.randn(2, 3, 7, 25)
    path = shortcut(3, outputs, stride).eval()
    if (outputs, stride) == (3, 1):
        assert path(x) is x
    else:
        assert path.conv.kernel_size == (1, 1)
        assert path(x).shape == (2, outputs, 7 // stride + 7 % stride, 25)
