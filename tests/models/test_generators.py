"""The silhouette generator and its critics: official outputs, any size, and what a folder of them must hold."""

import json
import sys

import numpy as np
import pytest
import torch
from torch.nn import functional

from gaitkeeper.errors import DataError, WeightsError
from gaitkeeper.models.generators.gan import (
    PARTS,
    ScoredCritic,
    SilhouetteGAN,
    load_critic,
    load_gan,
    load_generator,
    score_quantiles,
)
from gaitkeeper.models.generators.wgan_gp import Critic, Generator, as_pictures
from gaitkeeper.models.states import save_state
from gaitkeeper.motion.motion import SILHOUETTES, Domain


@pytest.fixture(scope="module")
def packs(shared):
    sys.path.insert(0, str(shared / "conformance"))
    import check_example

    yield check_example
    sys.path.remove(str(shared / "conformance"))


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def test_generator_has_official_keys_outputs_and_gradients(packs):
    assert packs.check("wgan_gp_generator", Generator, lambda module, z: module(z).flatten(1))


def test_critic_has_official_keys_outputs_and_gradients(packs):
    assert packs.check("wgan_gp_critic", Critic, lambda module, x: module(x.unflatten(1, (3, 64, 64))))


def noise(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def plain(block, x, before, after):
    conv = block.conv.conv
    return after(functional.conv2d(before(x), conv.weight, conv.bias, padding=conv.kernel_size[0] // 2))


def enlarge(x):
    return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


def halve(x):
    return x.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).mean((3, 5))


def same(x):
    return x


@pytest.mark.parametrize(
    ("network", "name", "before", "after"),
    [
        (Generator, "conv_1", enlarge, same),
        (Generator, "conv_shortcut", enlarge, same),
        (Critic, "conv_2", same, halve),
        (Critic, "conv_shortcut", halve, same),
    ],
)
@pytest.mark.parametrize("size", [(4, 4), (6, 10), (2, 2)])
def test_resizing_convolutions_are_resizing_and_convolving(network, name, before, after, size):
    block = getattr(network(width=2).double().rb2, name)
    conv = block.conv.conv
    if conv.bias is not None:
        torch.nn.init.normal_(conv.bias)
    x = noise(2, conv.in_channels, *size).requires_grad_(True)
    leaves = [x, conv.weight]
    got, want = block(x), plain(block, x, before, after)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
    weight = noise(*got.shape)
    for a, b in zip(
        torch.autograd.grad((got * weight).sum(), leaves),
        torch.autograd.grad((want * weight).sum(), leaves),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("size", "channels", "latent"), [((64, 48), 1, 128), ((16, 32), 1, 5), ((64, 64), 3, 128)])
def test_every_size_and_width_has_pictures_scores_and_gradients(size, channels, latent):
    generator = Generator(width=2, channels=channels, size=size, latent=latent).eval()
    critic = Critic(width=3, channels=channels, size=size)
    latents = torch.randn(3, latent, requires_grad=True)
    pictures = generator(latents)
    assert pictures.shape == (3, channels, *size)
    assert pictures.abs().max() <= 1
    scores = critic(pictures)
    assert scores.shape == (3,)
    (gradient,) = torch.autograd.grad(scores.sum(), latents)
    assert gradient.isfinite().all()
    assert gradient.abs().sum(1).gt(0).all()
    alone = torch.cat([critic(generator(latents[i : i + 1])) for i in range(3)])
    torch.testing.assert_close(alone, scores, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(64, 44), (8, 16), (0, 16), (16,)])
@pytest.mark.parametrize("network", [Generator, Critic])
def test_sizes_that_cannot_be_halved_four_times_are_refused(network, size):
    with pytest.raises(DataError, match=r"multiples of 16, got \("):
        network(width=2, size=size)


def test_silhouettes_are_the_middle_columns_in_the_unit_interval():
    generator = Generator(width=2, channels=1, size=(64, 48), latent=6).eval()
    latents = torch.randn(2, 6)
    silhouettes = generator.silhouettes(latents, 44)
    torch.testing.assert_close(2 * silhouettes - 1, generator(latents)[:, 0, :, 2:46])
    pictures = as_pictures(silhouettes, 48)
    assert pictures.shape == (2, 1, 64, 48)
    torch.testing.assert_close(pictures[:, 0, :, 2:46], 2 * silhouettes - 1)
    assert (pictures[..., :2] == -1).all()
    assert (pictures[..., 46:] == -1).all()
    critic = Critic(width=2, channels=1, size=(64, 48))
    torch.testing.assert_close(critic.silhouettes(silhouettes), critic(pictures))


def test_scores_are_measured_against_those_of_recorded_silhouettes():
    scored = ScoredCritic(Critic(width=1, channels=1, size=(16, 16)), (0.0, 1.0, 2.0, 3.0, 4.0))
    scores = torch.tensor([-1.0, 0.0, 0.5, 2.0, 4.0, 9.0])
    torch.testing.assert_close(scored.standard(scores), (scores - 2) / 2)
    torch.testing.assert_close(scored.rank(scores), torch.tensor([0, 0, 1, 2, 4, 5]) / 5)
    assert scored.typical == pytest.approx(0.2)
    assert ScoredCritic(scored.module, (3.0,) * 5).standard(torch.tensor([3.0])).isfinite().all()


def test_quantiles_are_those_of_the_scores_of_8_bit_frames():
    critic = Critic(width=1, channels=1, size=(16, 16)).train()
    frames = np.random.default_rng(0).integers(0, 256, (300, 16, 12), dtype=np.uint8)
    scores = critic.silhouettes(torch.from_numpy(frames).float() / 255).detach().numpy()
    np.testing.assert_allclose(
        score_quantiles(critic, frames, count=5), np.quantile(scores, [0, 0.25, 0.5, 0.75, 1]), rtol=1e-4, atol=1e-5
    )
    assert critic.training
    assert all(weight.requires_grad for weight in critic.parameters())


def write(folder, *, width=2, size=(64, 48), channels=1, latent=6, quantiles="[0, 1, 2]"):
    networks = {
        "generator": (Generator(width=width, channels=channels, size=size, latent=latent), {"size": json.dumps(size)}),
        "critic": (Critic(width=width, channels=channels, size=size), {"quantiles": quantiles}),
        "judge": (Critic(width=width, channels=channels, size=size), {"quantiles": quantiles}),
    }
    for part, (module, metadata) in networks.items():
        save_state(folder / f"{part}.safetensors", module, metadata)
    return {part: module for part, (module, _) in networks.items()}


@pytest.mark.parametrize("width", [1, 3])
def test_a_folder_of_any_width_loads_as_it_was_saved(tmp_path, width):
    saved = write(tmp_path, width=width)
    gan = load_gan(tmp_path)
    assert isinstance(gan, SilhouetteGAN)
    for part, module in zip(PARTS, (gan.generator, gan.critic.module, gan.judge.module), strict=True):
        assert not module.training
        assert module.size == (64, 48)
        for key, value in saved[part].state_dict().items():
            assert torch.equal(module.state_dict()[key], value)
    assert gan.critic.quantiles == gan.judge.quantiles == (0, 1, 2)
    latents = torch.randn(2, 6)
    torch.testing.assert_close(gan.silhouettes(latents), saved["generator"].eval().silhouettes(latents, 44))
    gan.check(SILHOUETTES)


def test_the_nearest_latents_of_a_fixed_pool_are_found(tmp_path):
    write(tmp_path)
    gan = load_gan(tmp_path)
    with torch.no_grad():
        gan.generator.conv1.conv.weight *= 8
        frames = gan.silhouettes(torch.randn(5, 6))
        found = gan.nearest(frames.double())
        torch.testing.assert_close(found.norm(dim=1), torch.full((5,), 6**0.5))
        assert torch.equal(gan.nearest(gan.silhouettes(found)), found)
        distance = (gan.silhouettes(found) - frames).square().flatten(1).sum(1)
        others = gan.silhouettes(6**0.5 * functional.normalize(torch.randn(50, 6)))
        assert (distance < (others[None] - frames[:, None]).square().flatten(2).sum(2).amin(1)).all()


def test_a_published_checkpoint_of_the_generator_loads(tmp_path):
    saved = Generator(width=2)
    torch.save({f"module.{key}": value for key, value in saved.state_dict().items()}, tmp_path / "generator.pt")
    module = load_generator(tmp_path / "generator.pt")
    assert (module.size, module.channels, module.latent) == ((64, 64), 3, 128)
    latents = torch.randn(2, 128)
    torch.testing.assert_close(module(latents), saved.eval()(latents))


def test_a_name_or_path_that_is_no_generator_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r"'elsewhere' is no generator: expected walkers, or a folder with gen"):
        load_gan("elsewhere")
    write(tmp_path)
    (tmp_path / "judge.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"judge\.safetensors: expected a weights file, found nothing"):
        load_gan(tmp_path)


@pytest.mark.parametrize(
    ("part", "other", "message"),
    [
        ("generator", "critic", r"generator\.safetensors.*does not fit Generator: missing"),
        ("critic", "generator", r"critic\.safetensors: expected the keys of a WGAN-GP critic, .* found "),
        ("judge", "generator", r"judge\.safetensors: expected the keys of a WGAN-GP critic"),
    ],
)
def test_another_networks_file_is_refused(tmp_path, part, other, message):
    write(tmp_path)
    (tmp_path / f"{part}.safetensors").write_bytes((tmp_path / f"{other}.safetensors").read_bytes())
    with pytest.raises(WeightsError, match=message):
        load_gan(tmp_path)


def test_files_that_do_not_fit_one_another_are_refused(tmp_path):
    write(tmp_path)
    save_state(tmp_path / "judge.safetensors", Critic(width=2, channels=1, size=(64, 64)), {"quantiles": "[0, 1]"})
    with pytest.raises(WeightsError, match=r"judge.*scores pictures of 1x\(64, 64\), the generator makes 1x\(64, 48\)"):
        load_gan(tmp_path)


def test_a_size_that_the_weights_contradict_is_refused(tmp_path):
    module = Generator(width=2, channels=1, size=(64, 48), latent=6)
    path = tmp_path / "generator.safetensors"
    save_state(path, module, {"size": "[64, 64]"})
    with pytest.raises(WeightsError, match=r"ln1\.weight: expected shape \(256, 6\), found \(192, 6\)"):
        load_generator(path)
    for size in ("64", "[64]", "wide", '["a", "b"]', "[64, 44]", "[0, 48]", "[-64, 48]"):
        save_state(path, module, {"size": size})
        with pytest.raises(WeightsError, match=r"generator\.safetensors: expected a size \[rows, columns\]"):
            load_generator(path)
    save_state(path, torch.nn.Linear(2, 2), {})
    with pytest.raises(WeightsError, match=r"expected the keys of a WGAN-GP generator, .*found bias, weight"):
        load_generator(path)


@pytest.mark.parametrize("load", [load_generator, load_critic])
def test_a_width_that_the_file_only_claims_takes_no_memory(tmp_path, load):
    from safetensors.torch import save_file

    path = tmp_path / "wide.safetensors"
    shape = (1, 200_000, 1, 1) if load is load_generator else (200_000, 1, 1, 1)
    state = {
        "conv1.conv.weight": torch.zeros(shape),
        "ln1.weight": torch.zeros(1, 1),
        "rb1.bn1.weight": torch.zeros(1, 16, 16),
    }
    save_file(state, path, {"quantiles": "[0, 1]"})
    with pytest.raises(WeightsError, match=r"wide\.safetensors: does not fit (Generator|Critic): missing"):
        load(path)


@pytest.mark.parametrize(
    "metadata",
    [{}, *({"quantiles": q} for q in ("none", "3", '["a", "b"]', "[]", "[1]", "[2, 1]", "[NaN, 1]", "[[1, 2]]"))],
)
def test_a_critic_without_scores_of_recorded_silhouettes_is_refused(tmp_path, metadata):
    path = tmp_path / "critic.safetensors"
    save_state(path, Critic(width=2, channels=1, size=(16, 16)), metadata)
    with pytest.raises(WeightsError, match=r"critic\.safetensors: expected ascending scores of recorded silhouettes"):
        load_critic(path)


@pytest.mark.parametrize(
    ("more", "columns", "message"),
    [
        ({"size": (32, 48)}, 44, r"32x44 .*\(1 channels\); the victim takes t=None h=64 w=44"),
        ({"size": (64, 48)}, 40, r"64x40 "),
        ({"size": (64, 32)}, 44, r"64x44 "),
        ({"channels": 3}, 44, r"\(3 channels\)"),
    ],
)
def test_a_generator_that_does_not_fit_the_victim_is_refused(tmp_path, more, columns, message):
    write(tmp_path, **more)
    gan = load_gan(tmp_path)
    gan.columns = columns
    with pytest.raises(DataError, match=message):
        gan.check(SILHOUETTES)


def test_other_kinds_of_movement_are_refused(tmp_path):
    write(tmp_path)
    skeletons = Domain(axes=("c", "t", "v"), shape=(3, None, 5), lower=-2, upper=3, stored="float32")
    with pytest.raises(DataError, match=r"the victim takes c=3 t=None v=5 in \[-2, 3\]"):
        load_gan(tmp_path).check(skeletons)
    signed = Domain(axes=("t", "h", "w"), shape=(None, 64, 44), lower=-1, upper=1, stored="float32")
    with pytest.raises(DataError, match=r"in \[-1, 1\]"):
        load_gan(tmp_path).check(signed)
