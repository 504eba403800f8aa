import pytest
import torch

from gaitkeeper.errors import DataError, WeightsError
from gaitkeeper.models.gait.gaitset import GaitSet, from_original, original_part_order
from gaitkeeper.models.states import save_state
from gaitkeeper.models.victim import Gallery, Identifier, Victim, undisturbed
from gaitkeeper.models.weights import load_recognizer, load_victim
from gaitkeeper.motion.motion import SILHOUETTES, Domain, Motion


def frames(n=2, t=5, seed=0):
    return torch.rand(n, t, 64, 44, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("channels", [(4, 8, 8), (32, 64, 128)])
def test_shape_gradient_and_pooling_of_a_set(normalize, channels):
    module = GaitSet(channels=channels, embedding=16, normalize=normalize).eval()
    x = frames().requires_grad_(True)
    out = module(x)
    assert out.shape == (2, 16, 62)
    (gradient,) = torch.autograd.grad(out.square().sum(), x)
    assert gradient.abs().sum() > 0
    order = torch.tensor([3, 1, 4, 0, 2])
    torch.testing.assert_close(module(x[:, order]), out, rtol=1e-4, atol=1e-5)
    twice = torch.cat([x, x[:, :2]], 1)
    torch.testing.assert_close(module(twice), out, rtol=1e-4, atol=1e-5)


def test_padding_never_matters():
    module = GaitSet(channels=(4, 8, 8), embedding=16).eval()
    x = frames(3, 6)
    lengths = torch.tensor([6, 2, 4])
    noise = frames(3, 6, seed=9)
    mask = torch.arange(6)[None] < lengths[:, None]
    padded = torch.where(mask[:, :, None, None], x, noise)
    got = module(padded, lengths)
    for i, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(got[i], module(x[i : i + 1, :length])[0], rtol=1e-4, atol=1e-5)


def test_unaltered_frames_can_be_computed_once():
    module = GaitSet(channels=(4, 8, 8), embedding=16).eval()
    x = frames(2, 6)
    features = [f.unflatten(0, (2, 6)) for f in module.encode(x.flatten(0, 1))]
    fresh = frames(2, 1, seed=4)
    new = [f.unflatten(0, (2, 1)) for f in module.encode(fresh.flatten(0, 1))]
    mixed = [torch.cat([a, b[:, 1:]], 1).flatten(0, 1) for a, b in zip(new, features, strict=True)]
    whole = module(torch.cat([fresh, x[:, 1:]], 1))
    torch.testing.assert_close(module.head(module.merge(mixed, 2)), whole, rtol=1e-4, atol=1e-5)


def test_part_order_of_the_original_repository():
    order = original_part_order()
    assert sorted(order) == list(range(62))
    assert (order[0], order[15], order[30], order[31], order[61]) == (30, 45, 0, 46, 1)


def test_every_official_file_form_loads_and_gives_the_same(tmp_path):
    torch.manual_seed(1)
    module = GaitSet()
    x = frames()
    want = module(x).detach()
    save_state(tmp_path / "own.safetensors", module, {})
    torch.save({"model": module.state_dict(), "optimizer": {}, "iteration": 3}, tmp_path / "opengait.pt")
    renamed = {
        "set_block1.forward_block.0": "set_layer1.forward_block",
        "set_block1.forward_block.2": "set_layer2.forward_block",
    }
    renamed |= {
        f"set_block{b}.forward_block.{i}": f"set_layer{2 * b - 1 + i // 2}.forward_block"
        for b in (2, 3)
        for i in (0, 2)
    }
    renamed |= {f"gl_block{b}.{i}": f"gl_layer{2 * b - 3 + i // 2}" for b in (2, 3) for i in (0, 2)}
    original = {
        f"module.{renamed[k.removesuffix('.conv.weight')]}.conv.weight": v
        for k, v in module.state_dict().items()
        if "conv" in k
    }
    inverse = torch.tensor(original_part_order()).argsort()
    original["module.fc_bin.0"] = module.Head.fc_bin[inverse].detach()
    torch.save(original, tmp_path / "original.ptm")
    for name in ("own.safetensors", "opengait.pt", "original.ptm"):
        victim = load_recognizer(tmp_path / name)
        torch.testing.assert_close(victim(Motion(data=x)).embedding, want, rtol=1e-4, atol=1e-5)
        assert victim.distance == ("whole" if name.startswith("original") else "parts")
    assert set(from_original(original)) == set(module.state_dict())


class _Runs:
    def __reduce__(self):
        return (print, ("this must never run",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"set_block1.forward_block.0.conv.weight": torch.zeros(4, 1, 5, 5)}, "expected GaitSet's keys"),
        ({"layer.weight": torch.zeros(2)}, "found layer.weight"),
        (_Runs(), "not a checkpoint of plain tensors"),
        ([1, 2], "expected a state dict"),
    ],
)
def test_other_files_are_refused_with_the_reason(tmp_path, capsys, content, message):
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(WeightsError, match=message):
        load_recognizer(tmp_path / "x.pt")
    assert capsys.readouterr().out == ""


def test_damaged_missing_and_ill_fitting_weights_are_named(tmp_path):
    module = GaitSet(channels=(4, 8, 8), embedding=16)
    state = module.state_dict()
    torch.save({**state, "extra": torch.zeros(1)}, tmp_path / "extra.pt")
    with pytest.raises(WeightsError, match=r"extra.pt.*unexpected extra"):
        load_recognizer(tmp_path / "extra.pt")
    torch.save({**state, "gl_block2.0.conv.weight": torch.full((8, 4, 3, 3), float("nan"))}, tmp_path / "nan.pt")
    with pytest.raises(WeightsError, match="not finite"):
        load_recognizer(tmp_path / "nan.pt")
    (tmp_path / "short.safetensors").write_bytes(b"\x00" * 20)
    with pytest.raises(WeightsError, match="not a readable safetensors"):
        load_recognizer(tmp_path / "short.safetensors")
    with pytest.raises(WeightsError, match="found nothing"):
        load_victim(str(tmp_path / "none.pt"))
    with pytest.raises(WeightsError, match="no model"):
        load_victim("unheard-of")
    with pytest.raises(WeightsError, match="cannot be called"):
        load_victim("gaitkeeper.models:absent")
    with pytest.raises(WeightsError, match="expected it to return"):
        load_victim("builtins:dict")


def test_a_users_function_becomes_a_victim():
    victim = load_victim("tests.attacks.victims:gait_module")
    assert victim.domain == SILHOUETTES
    assert victim(Motion(data=frames())).embedding.shape == (2, 8, 62)


def test_modes_and_flags_come_back_for_each_submodule():
    module = GaitSet(channels=(4, 8, 8), embedding=16, normalize=True)
    module.set_block2.eval()
    module.Head.fc_bin.requires_grad_(False)

    def fail_inside():
        with undisturbed(module):
            assert not any(part.training for part in module.modules())
            assert not any(weight.requires_grad for weight in module.parameters())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_inside()
    assert module.training
    assert not module.set_block2.training
    assert not module.Head.fc_bin.requires_grad
    assert module.set_block1.forward_block[0].conv.weight.requires_grad


class Mean(torch.nn.Module):
    """A network without lengths: padding would change its answer."""

    def forward(self, x):
        return x.mean(1)


def test_a_network_without_lengths_never_sees_padding():
    domain = Domain(axes=("t", "v"), shape=(None, 3), lower=0, upper=1, stored="float32")
    data = torch.rand(3, 5, 3)
    motion = Motion(data=data, lengths=torch.tensor([2, 5, 2]))
    got = Victim(Mean(), domain)(motion).embedding[:, :, 0]
    torch.testing.assert_close(got, torch.stack([data[0, :2].mean(0), data[1].mean(0), data[2, :2].mean(0)]))


def test_an_output_of_the_wrong_shape_is_named():
    domain = Domain(axes=("t",), shape=(None,), lower=0, upper=1, stored="float32")
    with pytest.raises(DataError, match="shape"):
        Victim(Mean(), domain)(Motion(data=torch.rand(3, 5)))


def test_identifier_excludes_the_probes_own_view_and_takes_the_nearest():
    domain = Domain(axes=("t", "v"), shape=(None, 2), lower=-9, upper=9, stored="float32")
    embedding = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.1, 0.0], [1.0, 0.0], [5.0, 0.0]])[:, :, None]
    gallery = Gallery(
        embedding=embedding,
        identities=torch.tensor([0, 1, 1, 0, 1]),
        names=("ann", "bob"),
        views=torch.tensor([0, 0, 90, 90, 90]),
    )
    identifier = Identifier(Victim(Mean(), domain), gallery)
    probe = Motion(data=torch.zeros(2, 1, 2), extras={"view": torch.tensor([0, 90])})
    outputs = identifier(probe)
    assert outputs.decided.tolist() == [[False, True], [True, False]]
    torch.testing.assert_close(outputs.logits[0, 1], torch.tensor([-1.0, -0.1]))
    torch.testing.assert_close(outputs.logits[1, 0], torch.tensor([0.0, -3.0]), rtol=0, atol=1e-5)
    with pytest.raises(DataError, match="view"):
        identifier(Motion(data=torch.zeros(1, 1, 2)))
    own_view = Gallery(
        embedding=embedding[:2], identities=torch.tensor([0, 1]), names=("a", "b"), views=torch.tensor([0, 0])
    )
    with pytest.raises(DataError, match="no gallery"):
        Identifier(Victim(Mean(), domain), own_view)(probe.select([0]))
