"""What every skeleton network promises, whatever its family."""

import copy
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import pytest
import torch
from torch import nn

from gaitkeeper.errors import DataError
from gaitkeeper.models.actions.agcn import AAGCN, AGCN
from gaitkeeper.models.actions.as_gcn import ASGCN, ActionalASGCN
from gaitkeeper.models.actions.as_gcn_inference import ActionalInference
from gaitkeeper.models.actions.ctr_gcn import CTRGCN
from gaitkeeper.models.actions.dgnn import DGNN
from gaitkeeper.models.actions.graphs import HDM05_25, NW_UCLA20, OPENPOSE18
from gaitkeeper.models.actions.hrnn import HDM05_25_PARTS, HRNN
from gaitkeeper.models.actions.ms_g3d import MSG3D
from gaitkeeper.models.actions.sgn import SGN, sample
from gaitkeeper.models.actions.st_gcn import STGCN
from gaitkeeper.models.states import load_strictly
from gaitkeeper.models.victim import Victim
from gaitkeeper.motion.motion import Domain, Motion
from tests.models.actions import settled, skeletons

CLASSES = 5


@dataclass(frozen=True, kw_only=True)
class Case:
    """A narrow network and its input.

    Args:
        build: makes the network of its options.
        options: beside the number of classes.
        told_apart: whether the network knows one person from the other, and their number.
        summed: axes of the input over which gradients are summed before none may vanish.
        tolerance: relative, of samples alone against samples in a batch.
        prepare: makes the network's inputs of a motion; None for the motion itself.
        names: what errors say that is expected.
    """

    build: Callable[..., nn.Module]
    options: Mapping[str, Any] = field(default_factory=dict)
    coordinates: int = 3
    frames: int = 9
    joints: int = 25
    persons: int = 2
    told_apart: bool = False
    summed: tuple[int, ...] = (1,)
    tolerance: float = 1e-4
    prepare: Callable[[Motion], tuple[torch.Tensor, ...]] | None = None
    names: str = "expected skeletons of shape (n, c={c}, t=any, v={v}, m={m})"

    def network(self):
        return self.build(classes=CLASSES, **self.options)

    def clips(self, n=3, t=None):
        return skeletons(n, t or self.frames, self.joints, self.persons, c=self.coordinates)

    def inputs(self, x):
        return (x,) if self.prepare is None else self.prepare(Motion(data=x))


def actional(**options):
    network = ASGCN(widths=(4, 4, 6), strides=(1, 1, 2), recon_width=4, **options)
    return ActionalASGCN(network, ActionalInference(frames=6, width=8))


st_gcn = partial(Case, build=STGCN, summed=(1, 3))
as_gcn = partial(Case, build=actional)
agcn, aagcn = (partial(Case, build=network, told_apart=True) for network in (AGCN, AAGCN))
ctr_gcn, dgnn, ms_g3d = (partial(Case, build=network, told_apart=True, frames=12) for network in (CTRGCN, DGNN, MSG3D))
hrnn = partial(
    Case, build=HRNN, persons=1, tolerance=1e-5, names="HRNN: expected clips of shape (n, c={c}, t, v={v}, m)"
)

UNITS = {"widths": (4, 4, 6), "strides": (1, 1, 2)}
EVEN_UNITS = {"widths": (4, 4, 8), "strides": (1, 1, 2)}
WIDER_UNITS = {"widths": (4, 8, 8), "strides": (1, 2, 1)}
STAGES = {"widths": (6, 12), "scales": 4, "window_scales": 3}
LEVELS = {"units": (3, 4, 5, 6)}
FEW = {"graph": NW_UCLA20, "persons": 1, "coordinates": 2}
FEW_IN = {"joints": 20, "persons": 1, "coordinates": 2}

CASES = {
    "st-gcn": st_gcn(options=UNITS),
    "st-gcn-hdm05": st_gcn(options={**UNITS, "graph": HDM05_25, "truncated": False, "kernel": 5}, persons=1),
    "st-gcn-openpose": st_gcn(
        options={**UNITS, "graph": OPENPOSE18, "partition": "distance", "max_hop": 2}, joints=18, persons=3
    ),
    "st-gcn-uniform": st_gcn(options={**UNITS, "partition": "uniform"}),
    "agcn": agcn(options=EVEN_UNITS),
    "agcn-hdm05": agcn(options={**EVEN_UNITS, "graph": HDM05_25, "persons": 1}, persons=1),
    "agcn-ucla": agcn(options={**EVEN_UNITS, "graph": NW_UCLA20, "kernel": 5}, joints=20),
    "aagcn": aagcn(options=EVEN_UNITS),
    "aagcn-hdm05": aagcn(options={**EVEN_UNITS, "graph": HDM05_25, "persons": 1}, persons=1),
    "aagcn-ucla": aagcn(options={**EVEN_UNITS, "graph": NW_UCLA20, "kernel": 5}, joints=20),
    "as-gcn": as_gcn(),
    "as-gcn-hdm05": as_gcn(options={"graph": HDM05_25}, persons=1),
    "as-gcn-nearer": as_gcn(options={"max_hop": 2, "actional_weight": 0.9}),
    "ctr-gcn": ctr_gcn(options=WIDER_UNITS),
    "ctr-gcn-ucla": ctr_gcn(options={**FEW, "widths": (8, 16), "strides": (1, 2)}, **FEW_IN),
    "dgnn": dgnn(options=WIDER_UNITS),
    "dgnn-ucla": dgnn(options={**FEW, "widths": (8, 16), "strides": (1, 2)}, **FEW_IN),
    "ms-g3d": ms_g3d(options=STAGES),
    "ms-g3d-ucla": ms_g3d(
        options={**FEW, "widths": (12, 12, 12), "windows": (3, 5, 7), "scales": 2, "window_scales": 3}, **FEW_IN
    ),
    "sgn": Case(
        build=SGN,
        options={"frames": 12, "width": 4},
        frames=12,
        summed=(1, 2, 3, 4),
        tolerance=1e-5,
        prepare=partial(sample, frames=12),
    ),
    "hrnn": hrnn(options=LEVELS),
    "hrnn-lstm": hrnn(options={**LEVELS, "cells": ("lstm",) * 4}),
    "hrnn-tanh": hrnn(options={**LEVELS, "cells": ("tanh",) * 4}),
    "hrnn-hdm05": hrnn(options={**LEVELS, "parts": HDM05_25_PARTS}),
}


def all_but(*families):
    return pytest.mark.parametrize("name", [name for name in CASES if not name.startswith(families)])


@cache
def settled_once(name):
    case = CASES[name]
    return settled(case.network, *case.inputs(case.clips(8)))


@pytest.fixture(params=CASES)
def name(request):
    return request.param


@pytest.fixture
def case(name):
    return CASES[name]


@pytest.fixture
def network(name):
    return copy.deepcopy(settled_once(name))


def test_shape_gradient_and_single_clips(case, network):
    x = case.clips().requires_grad_(True)
    logits = network(*case.inputs(x))
    assert logits.shape == (3, CLASSES)
    (gradient,) = torch.autograd.grad(logits.square().sum(), x)
    assert gradient.isfinite().all()
    assert (gradient.abs().sum(case.summed) > 0).all()
    with torch.no_grad():
        alone = torch.cat([network(*case.inputs(one[None])) for one in x])
    torch.testing.assert_close(logits, alone, rtol=case.tolerance, atol=1e-5)


def test_double_precision_gives_the_same(case, network):
    x = case.clips()
    with torch.no_grad():
        single, double = network(*case.inputs(x)), copy.deepcopy(network).double()(*case.inputs(x.double()))
    assert double.dtype == torch.float64
    torch.testing.assert_close(single.double(), double, rtol=1e-3, atol=1e-4)


@all_but("as-gcn")
def test_every_parameter_is_trained(case, network):
    network.train()(*case.inputs(case.clips())).square().sum().backward()
    assert [key for key, weight in network.named_parameters() if weight.grad is None] == []
    assert all(weight.grad.isfinite().all() for weight in network.parameters())
    # A bias before a batch normalization moves nothing.
    idle = [key for key, weight in network.named_parameters() if weight.ndim > 1 and not weight.grad.any()]
    assert idle == []


def test_swapped_persons_and_reversed_time_are_other_clips(case, network):
    x = case.clips()
    with torch.no_grad():
        out = network(*case.inputs(x))
        assert not torch.allclose(out, network(*case.inputs(x.flip(2))), atol=1e-3)
        if case.told_apart and case.persons > 1:
            assert not torch.allclose(out, network(*case.inputs(x.flip(4))), atol=1e-3)


@pytest.mark.parametrize("t", [1, 2, 7])
def test_short_clips_and_an_absent_person_have_finite_answers(case, network, t):
    x = case.clips(2, t)
    x[1, ..., 1:] = 0
    x.requires_grad_(True)
    out = network(*case.inputs(x))
    (gradient,) = torch.autograd.grad(out.square().sum(), x)
    assert out.isfinite().all()
    assert gradient.isfinite().all()


def test_a_victim_sees_valid_frames_only_and_the_network_stays_as_it_was(case, network):
    network.train()
    before = copy.deepcopy(network.state_dict())
    shape = (case.coordinates, None, case.joints, case.persons)
    domain = Domain(axes=("c", "t", "v", "m"), shape=shape, lower=-9, upper=9, stored="float32")
    x, short = case.clips(), case.frames - 4
    motion = Motion(data=x, lengths=torch.tensor([case.frames, short, case.frames]))
    said = Victim(network, domain, output="logits", prepare=case.prepare)(motion).logits
    assert all(part.training for part in network.modules())
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    network.eval()
    with torch.no_grad():
        whole, part = network(*case.inputs(x[[0, 2]])), network(*case.inputs(x[1:2, :, :short]))
    torch.testing.assert_close(said[[0, 2]], whole, rtol=case.tolerance, atol=1e-5)
    torch.testing.assert_close(said[1:2], part, rtol=case.tolerance, atol=1e-5)


@all_but("sgn")
def test_other_shapes_are_named(case, network):
    c, t, v, m = case.coordinates, case.frames, case.joints, case.persons
    wrong = [(2, c, t, v - 1, m), (2, c, t, v + 5, m), (2, c - 1, t, v, m), (2, c, 0, v, m), (2, c, t, v, 0)]
    wrong += [(2, c, t, v), (2, t, c * v)]
    if case.told_apart:
        wrong.append((2, c, t, v, 3 - m))
    expected = case.names.format(c=c, v=v, m=m if case.told_apart else "any")
    for shape in wrong:
        with pytest.raises(DataError, match=re.escape(f"{expected}, got {shape}")):
            network(torch.zeros(shape))


@all_but("as-gcn")
def test_a_state_says_how_its_network_is_built_and_loads_strictly(case, network):
    state = network.state_dict()
    found = case.build.options(state)
    known = {key: case.options[key] for key in ("graph", "parts") if key in case.options and key not in found}
    with torch.device("meta"):
        again = case.build(**known, **found)
    load_strictly(again, state, "memory")
    inputs = case.inputs(case.clips())
    with torch.no_grad():
        assert torch.equal(again.eval()(*inputs), network(*inputs))
