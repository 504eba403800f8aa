"""What every recognizer promises, whatever its family."""

import copy

import pytest
import torch

from gaitkeeper.errors import DataError, WeightsError
from gaitkeeper.models.gait.deepgaitv2 import DeepGaitV2
from gaitkeeper.models.gait.gaitbase import GaitBase
from gaitkeeper.models.gait.gaitgl import GaitGL
from gaitkeeper.models.gait.gaitpart import GaitPart
from gaitkeeper.models.gait.gaitset import GaitSet
from gaitkeeper.models.gait.parts import Classifying, FramePooling, Framewise, bins_of, pool_frames
from gaitkeeper.models.states import save_state
from gaitkeeper.models.victim import Victim
from gaitkeeper.models.weights import load_recognizer
from gaitkeeper.motion.motion import Motion

PYRAMID = (16, 8, 4, 2, 1)

NARROW = {
    "gaitset": (lambda: GaitSet(channels=(2, 4, 6), embedding=8, normalize=True), (8, 62)),
    "gaitpart": (lambda: GaitPart(channels=(2, 4, 6), embedding=8), (8, 16)),
    "gaitpart-normalized": (lambda: GaitPart(channels=(2, 4, 6), embedding=8, normalize=True, squeeze=2), (8, 16)),
    "gaitpart-deep": (lambda: GaitPart(channels=(2, 4, 6, 8), embedding=8, bins=(8,)), (8, 8)),
    "gaitgl": (lambda: GaitGL(channels=(2, 4, 6), embedding=8, classes=5), (8, 64)),
    "gaitgl-normalized": (lambda: GaitGL(channels=(2, 4, 6), embedding=8, classes=5, normalize=True), (8, 64)),
    "gaitgl-deep": (lambda: GaitGL(channels=(2, 3, 4, 6), embedding=8, classes=5, parts=32, neck=True), (8, 32)),
    "gaitbase": (lambda: GaitBase(channels=(2, 4, 6, 8), embedding=8, classes=5), (8, 16)),
    "gaitbase-deep": (lambda: GaitBase(channels=(2, 4, 4, 8), blocks=(1, 2, 2, 1), embedding=8, bins=PYRAMID), (8, 31)),
    "deepgaitv2": (lambda: DeepGaitV2(channels=(2, 4, 6, 8), embedding=8, classes=5), (8, 16)),
    "deepgaitv2-2d": (lambda: DeepGaitV2(channels=(2, 4, 6, 8), blocks=(1, 2, 1, 1), mode="2d", embedding=8), (8, 16)),
    "deepgaitv2-3d": (lambda: DeepGaitV2(channels=(2, 4, 6, 8), blocks=(2, 1, 2, 1), mode="3d", embedding=8), (8, 16)),
    "deepgaitv2-deep": (lambda: DeepGaitV2(channels=(2, 4, 6, 8), blocks=(1, 2, 3, 1), embedding=8), (8, 16)),
}


def frames(n=2, t=5, seed=0):
    return torch.rand(n, t, 64, 44, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=NARROW)
def network(request):
    """A narrow network whose norms have seen data, and the shape of its embedding."""
    build, shape = NARROW[request.param]
    with torch.random.fork_rng():
        torch.manual_seed(1)
        module = build()
        module.train()(frames(2, 4, seed=7))
    return module.eval(), shape


def test_shape_and_gradient(network):
    module, shape = network
    x = frames().requires_grad_(True)
    out = module(x)
    assert out.shape == (2, *shape)
    assert module.parts == shape[1]
    (gradient,) = torch.autograd.grad(out.square().sum(), x)
    assert gradient.isfinite().all()
    assert gradient.flatten(1).abs().sum(1).gt(0).all()
    if isinstance(module, Classifying):
        logits = module.logits(out)
        assert logits.shape[::2] == (2, shape[1])
        assert logits.shape[1] == (module.BNNecks if hasattr(module, "BNNecks") else module.Head1).fc_bin.shape[2]


def test_black_frames_have_finite_gradients(network):
    module, _ = network
    x = torch.zeros(1, 4, 64, 44, requires_grad=True)
    out = module(x)
    (gradient,) = torch.autograd.grad(out.square().sum(), x)
    assert out.isfinite().all()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("t", [1, 2, 3, 7])
def test_a_batch_is_its_sequences_one_by_one(network, t):
    module, _ = network
    x = frames(3, t)
    with torch.no_grad():
        torch.testing.assert_close(module(x), torch.cat([module(one[None]) for one in x]), rtol=1e-5, atol=1e-5)


def test_padding_never_matters(network):
    module, _ = network
    x = frames(4, 8)
    lengths = torch.tensor([8, 3, 5, 3])
    x[torch.arange(8)[None] >= lengths[:, None]] = 1.0
    victim = Victim.of(module)
    with torch.no_grad():
        got = victim(Motion(data=x, lengths=lengths)).embedding
        for i, length in enumerate(lengths.tolist()):
            torch.testing.assert_close(got[i], module(x[i : i + 1, :length])[0], rtol=1e-5, atol=1e-5)


def test_a_victim_leaves_the_network_as_it_was(network):
    module, _ = network
    module.train()
    before = copy.deepcopy(module.state_dict())
    Victim.of(module)(Motion(data=frames()))
    assert all(part.training for part in module.modules())
    assert all(weight.requires_grad for weight in module.parameters())
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())


def test_float64(network):
    module, _ = network
    with torch.no_grad():
        single, double = module(frames()), copy.deepcopy(module).double()(frames().double())
    assert double.dtype == torch.float64
    torch.testing.assert_close(single.double(), double, rtol=1e-3, atol=1e-4)


def test_bfloat16_trains(network):
    module, _ = network
    with torch.autocast("cpu", torch.bfloat16):
        out = module.train()(frames())
    out.float().square().sum().backward()
    trained = {name for name, weight in module.named_parameters() if weight.grad is not None}
    assert trained >= {name for name, _ in module.named_parameters() if not name.startswith(("BNNecks", "Head1"))}
    assert all(weight.grad.isfinite().all() for weight in module.parameters() if weight.grad is not None)


def test_wrong_silhouettes_are_named(network):
    victim = Victim.of(network[0])
    for data, message in (
        (torch.zeros(2, 5, 64, 64), r"w=44.*got \(2, 5, 64, 64\)"),
        (torch.zeros(2, 0, 64, 44), "got"),
        (torch.full((1, 2, 64, 44), 1.5), "values in"),
        (torch.full((1, 2, 64, 44), float("nan")), "NaN"),
    ):
        with pytest.raises(DataError, match=message):
            victim.domain.check(Motion(data=data))


def test_frame_order_means_something_where_it_should(network):
    module, _ = network
    x = frames(1, 9)
    with torch.no_grad():
        same = torch.allclose(module(x), module(x[:, [2, 0, 1, 5, 8, 4, 3, 7, 6]]), rtol=1e-4, atol=1e-5)
    unordered = isinstance(module, FramePooling) or isinstance(getattr(module, "layer4", None), Framewise)
    assert same == unordered


@pytest.mark.parametrize("network", ["gaitset", "gaitbase", "gaitbase-deep"], indirect=True)
def test_pooling_networks_compute_unaltered_frames_once(network):
    module, _ = network
    assert isinstance(module, FramePooling)
    x = frames(2, 6)
    with torch.no_grad():
        features = module.encode(x.flatten(0, 1))
        assert isinstance(features, tuple)
        assert torch.equal(module.head(module.merge(features, 2)), module(x))
        valid = torch.tensor([[True, False, True, True, False, False], [False, True, True, True, True, True]])
        got = module.head(module.merge(features, 2, valid))
        for i in range(2):
            torch.testing.assert_close(got[i : i + 1], module(x[i : i + 1, valid[i]]), rtol=1e-5, atol=1e-5)


def test_a_sequence_without_valid_frames_pools_to_minus_infinity():
    features = (torch.rand(6, 2, 3, 4),)
    (pooled,) = pool_frames(features, 2, torch.tensor([[True, True, False], [False, False, False]]))
    assert torch.equal(pooled[0], features[0][:2].amax(0))
    assert (pooled[1] == float("-inf")).all()


@pytest.mark.parametrize(
    ("build", "millions"),
    [
        (GaitSet, 2.595),
        (lambda: GaitSet(channels=(64, 128, 256)), 6.313),
        (GaitPart, 1.204),
        (lambda: GaitPart(channels=(32, 64, 128, 256), embedding=256), 4.841),
        (GaitGL, 3.097),
        (lambda: GaitGL(channels=(32, 64, 128, 256), embedding=256, classes=5153), 95.62),
        (GaitBase, 7.305),
        (lambda: GaitBase(classes=3000), 19.29),
        (DeepGaitV2, 8.339),
        (lambda: DeepGaitV2(blocks=(1, 4, 4, 1), classes=3000), 25.49),
    ],
)
def test_published_configurations_have_the_published_number_of_parameters(build, millions):
    with torch.device("meta"):
        module = build()
    assert sum(weight.numel() for weight in module.parameters()) / 1e6 == pytest.approx(millions, rel=3e-4)


def test_every_form_of_file_loads(network, tmp_path):
    module, _ = network
    torch.save({"model": module.state_dict(), "optimizer": {}, "iteration": 3}, tmp_path / "opengait.pt")
    torch.save({f"module.{key}": value for key, value in module.state_dict().items()}, tmp_path / "parallel.pth")
    save_state(tmp_path / "own.safetensors", module, {})
    x = frames()
    random = torch.get_rng_state()
    for name in ("opengait.pt", "parallel.pth", "own.safetensors"):
        loaded = load_recognizer(tmp_path / name)
        assert type(loaded.module) is type(module)
        assert loaded.distance == "parts"
        assert not any(part.training for part in loaded.module.modules())
        with torch.no_grad():
            torch.testing.assert_close(loaded(Motion(data=x)).embedding, module(x), rtol=1e-4, atol=1e-5)
            if isinstance(module, Classifying):
                assert torch.equal(loaded.module.logits(module(x)), module.logits(module(x)))
    assert torch.equal(torch.get_rng_state(), random)


def test_ill_fitting_files_are_named(network, tmp_path):
    module, _ = network
    state = module.state_dict()
    kernel = next(key for key, value in state.items() if value.ndim > 3)
    matrices = next(key for key in state if key.endswith("fc_bin"))
    for fault, message in (
        ({"more.weight": torch.zeros(3)}, "unexpected more.weight"),
        ({kernel: state[kernel][:, :, :1]}, f"{kernel}: expected shape"),
        ({kernel: torch.zeros(0, 1, 3, 3)}, f"{kernel} is empty"),
        ({matrices: torch.zeros(7, 3, 5)}, "shape"),
        ({matrices: torch.zeros(4)}, "shape"),
        ({kernel: state[kernel] * float("inf")}, "not finite"),
        ({"big": torch.zeros(1).expand(10**12)}, "claims"),
    ):
        torch.save({**state, **fault}, tmp_path / "fault.pt")
        with pytest.raises(WeightsError, match=message):
            load_recognizer(tmp_path / "fault.pt")
    torch.save({key: value for key, value in state.items() if key != matrices}, tmp_path / "fault.pt")
    with pytest.raises(WeightsError, match=matrices.replace(".", r"\.")):
        load_recognizer(tmp_path / "fault.pt")


def test_parts_that_do_not_share_the_rows_are_refused():
    assert bins_of(31) == PYRAMID
    assert bins_of(4) == (4,)
    for parts in (0, 3, 32):
        with pytest.raises(ValueError, match="divisor of 16"):
            bins_of(parts)


@pytest.mark.parametrize("build", [GaitPart, GaitGL])
def test_two_widths_are_refused(build):
    with pytest.raises(ValueError, match="three or four"):
        build(channels=(2, 4))
