"""HRNN: hierarchy, lengths, absent persons and preparation."""

from itertools import chain

import pytest
import torch
from torch.nn.functional import pad

from gaitkeeper.errors import DataError
from gaitkeeper.models.actions.graphs import HDM05_25, NTU25
from gaitkeeper.models.actions.hrnn import HDM05_25_PARTS, HRNN, NTU25_PARTS, prepare
from gaitkeeper.models.victim import Victim
from gaitkeeper.motion.motion import Domain, Motion

SKELETONS = Domain(
    axes=("c", "t", "v", "m"), shape=(3, None, 25, None), lower=-float("inf"), upper=float("inf"), stored="float32"
)


def build(**options):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return HRNN(**{"classes": 7, "units": (3, 4, 5, 6), **options}).eval()


def clips(n=3, t=9, m=1, seed=0):
    return torch.randn(n, 3, t, 25, m, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=[{}, {"cells": ("lstm",) * 4}, {"cells": ("tanh",) * 4}, {"parts": HDM05_25_PARTS}])
def network(request):
    return build(**request.param)


@pytest.mark.parametrize(("parts", "graph"), [(NTU25_PARTS, NTU25), (HDM05_25_PARTS, HDM05_25)])
def test_the_parts_hold_every_joint_once_and_hang_together(parts, graph):
    assert sorted(chain(*parts)) == list(range(graph.joints))
    for part in parts:
        bones = [bone for bone in graph.bones if set(bone) <= set(part)]
        assert len(bones) == len(part) - 1


def test_the_hierarchy_has_the_sizes_of_its_levels():
    module = HRNN()
    assert [len(level) for level in module.levels] == [5, 4, 2, 1]
    assert [[layer.input_size for layer in level] for level in module.levels] == [
        [18, 18, 12, 12, 15],
        [256] * 4,
        [512] * 2,
        [1024],
    ]
    assert [type(level[0]).__name__ for level in module.levels] == ["RNN", "RNN", "RNN", "LSTM"]
    assert module.fc.in_features == 1024


def test_arms_and_legs_meet_only_at_the_top(network):
    """The third level's first answer must not know the legs, nor its second the arms."""
    x = clips(1)
    seen = []
    handles = [layer.register_forward_hook(lambda *call: seen.append(call[2][0])) for layer in network.levels[2]]
    with torch.no_grad():
        network(x)
        for part in (0, 2):
            moved = x.clone()
            moved[:, :, :, list(network.parts[part])] += 1
            network(moved)
    for handle in handles:
        handle.remove()
    arms, legs, arms_moved, legs_same, arms_same, legs_moved = seen
    assert torch.equal(arms, arms_same)
    assert torch.equal(legs, legs_same)
    assert not torch.allclose(arms, arms_moved)
    assert not torch.allclose(legs, legs_moved)


def test_padding_never_matters(network):
    x = clips(4, 8, 2)
    lengths = torch.tensor([8, 3, 5, 3])
    victim = Victim.of(network, SKELETONS, output="logits")
    with torch.no_grad():
        got = victim(Motion(data=x, lengths=lengths)).logits
        for i, length in enumerate(lengths.tolist()):
            torch.testing.assert_close(got[i], network(x[i : i + 1, :, :length])[0], rtol=1e-5, atol=1e-5)


def test_the_absent_add_nothing_and_persons_add_up(network):
    x = clips(2, 6, 2)
    with torch.no_grad():
        alone = [network(x[..., i : i + 1]) for i in range(2)]
        torch.testing.assert_close(network(x), alone[0] + alone[1], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(network(pad(x[..., :1], (0, 1))), alone[0], rtol=1e-5, atol=1e-5)


def test_both_directions_are_heard(network):
    """Without the sum over frames the first frame's answer must know the last frame, and the other way round."""
    x = clips(1, 5)
    with torch.no_grad():
        bodies = x[..., 0].permute(0, 2, 3, 1)
        frames = network._body(bodies, None)
        for moved_frame, seen_frame in ((0, 4), (4, 0)):
            moved = bodies.clone()
            moved[:, moved_frame] += 1
            assert not torch.equal(network._body(moved, None)[:, seen_frame], frames[:, seen_frame])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"parts": NTU25_PARTS[:4]}, "five parts"),
        ({"joints": 20}, r"joints 0\.\.19"),
        ({"units": (1, 2, 3)}, "four levels"),
        ({"cells": ("lstm",)}, "four levels"),
    ],
)
def test_other_hierarchies_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)


def test_preparation_keeps_parabolas_centers_hips_and_ignores_where_one_stands():
    time = torch.arange(12.0)
    data = torch.zeros(1, 3, 12, 25, 1)
    data[0, 0, :, 7, 0] = 0.5 * time**2 - time + 3
    x, lengths = prepare(Motion(data=data))
    assert lengths is None
    # A filter of second order leaves a parabola as it is, away from the repeated ends.
    torch.testing.assert_close(x[:, :, 2:-2], data[:, :, 2:-2], rtol=1e-4, atol=1e-4)
    data = clips(2, 12, 2)
    x, _ = prepare(Motion(data=data))
    torch.testing.assert_close(x[:, :, :, [0, 12, 16]].mean(3), torch.zeros(2, 3, 12, 2), rtol=0, atol=1e-5)
    moved, _ = prepare(Motion(data=data + torch.arange(12.0)[:, None, None]))
    torch.testing.assert_close(moved, x, rtol=1e-4, atol=1e-4)


def test_preparation_smooths_with_the_published_weights():
    data = torch.zeros(1, 3, 9, 25, 1)
    data[0, 0, 4, 5, 0] = 35
    x, _ = prepare(Motion(data=data))
    torch.testing.assert_close(x[0, 0, :, 5, 0], torch.tensor([0.0, 0, -3, 12, 17, 12, -3, 0, 0]), rtol=1e-5, atol=1e-5)


def test_preparation_sees_valid_frames_only_and_thins_them():
    data = clips(2, 11)
    lengths = torch.tensor([11, 6])
    x, shorter = prepare(Motion(data=data, lengths=lengths), step=4)
    assert x.shape == (2, 3, 3, 25, 1)
    assert shorter.tolist() == [3, 2]
    alone, _ = prepare(Motion(data=data[1:, :, :6]), step=4)
    torch.testing.assert_close(x[1:, :, :2], alone)
    constant = torch.ones(1, 3, 5, 25, 1) * torch.arange(25.0)[:, None]
    smooth, _ = prepare(Motion(data=constant))
    torch.testing.assert_close(smooth, constant - 28 / 3, rtol=1e-5, atol=1e-5)
    with pytest.raises(DataError, match="got"):
        prepare(Motion(data=torch.zeros(2, 9, 75)))


def test_a_victim_is_attacked_through_the_preparation():
    victim = Victim(build(), SKELETONS, output="logits", prepare=prepare)
    data = clips(2, 8).requires_grad_(True)
    out = victim(Motion(data=data, lengths=torch.tensor([8, 5]))).logits
    (gradient,) = torch.autograd.grad(out.square().sum(), data)
    assert gradient[1, :, 5:].eq(0).all()
    assert gradient[1, :, :5].abs().sum(0).gt(0).all()
