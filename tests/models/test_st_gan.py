"""Networks on contours and their weights."""

import numpy as np
import pytest
import torch

from gaitkeeper.errors import DataError, WeightsError
from gaitkeeper.models.generators.anonymizers import (
    PARTS,
    SHIPPED_ANONYMIZERS,
    SPREAD,
    TURNS,
    ContourNetworks,
    anonymizer_path,
    load_contour_networks,
    padded_contours,
)
from gaitkeeper.models.generators.st_gan import (
    GaitGenerator,
    NoiseGenerator,
    SpatialDiscriminator,
    TemporalDiscriminator,
    channels_first,
    points_last,
)
from gaitkeeper.models.states import read_state, save_state
from gaitkeeper.motion.contour_vectors import from_published

POINTS, FRAMES = 32, 4


def contours(*shape, seed=0):
    return torch.randn(*shape, POINTS, 2, generator=torch.Generator().manual_seed(seed)) * 0.2


@pytest.fixture
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def networks(kind, **changes):
    parts = {
        "noise": NoiseGenerator(points=POINTS, latent=5, width=16),
        "gait": GaitGenerator(widths=(4, 6, 8), inputs=1 if kind == "inverter" else 2),
    }
    return ContourNetworks(**{"kind": kind, "points": POINTS, **{p: parts[p].eval() for p in PARTS[kind]}, **changes})


def test_contours_come_back_from_the_form_that_convolutions_take():
    given = contours(3, FRAMES)
    assert channels_first(given).shape == (3 * FRAMES, 2, POINTS)
    torch.testing.assert_close(points_last(channels_first(given), FRAMES), given)
    # The middle of a body is zero.
    middle = torch.tensor([0.0, 0.5]).expand(1, 1, POINTS, 2)
    assert channels_first(middle).abs().max() == 0


def test_shapes_and_that_gradients_reach_every_weight_and_input(seeded):
    y, z = contours(3, FRAMES).requires_grad_(), contours(3, FRAMES, seed=1).requires_grad_()
    latents = torch.randn(6, 5, requires_grad=True)
    cases = [
        (GaitGenerator(widths=(4, 6, 8)), (y, z), (3, FRAMES, POINTS, 2)),
        (GaitGenerator(widths=(4, 6), inputs=1), (y,), (3, FRAMES, POINTS, 2)),
        (NoiseGenerator(points=POINTS, latent=5, width=16), (latents,), (6, POINTS, 2)),
        (SpatialDiscriminator(points=POINTS, width=4), (y,), (3 * FRAMES,)),
        (TemporalDiscriminator(points=POINTS, frames=FRAMES, width=8), (y,), (3,)),
    ]
    for network, inputs, shape in cases:
        made = network(*inputs)
        assert made.shape == shape
        gradients = torch.autograd.grad(made.square().sum(), [*inputs, *network.parameters()])
        assert all(g.isfinite().all() for g in gradients)
        assert all(g.abs().max() > 0 for g in gradients[: len(inputs)])


def test_the_generator_sees_single_frames_and_closed_contours(seeded):
    network = GaitGenerator(widths=(4, 6, 8)).eval()
    y, z = contours(2, FRAMES), contours(2, FRAMES, seed=1)
    made = network(y, z)
    torch.testing.assert_close(network(y[:, 1:2], z[:, 1:2]), made[:, 1:2])
    # A contour has no seam: beginning elsewhere, by a step of the deepest layer, moves the result along.
    torch.testing.assert_close(network(y.roll(8, 2), z.roll(8, 2)), made.roll(8, 2))


def test_both_inputs_are_encoded_apart_and_summed(seeded):
    network = GaitGenerator(widths=(4, 6)).eval()
    y, z = contours(1, 2), contours(1, 2, seed=1)
    features = network.encode[0](channels_first(y)) + network.encode[1](channels_first(z))
    torch.testing.assert_close(network(y, z), points_last(network.decode(features), 2))
    assert not torch.allclose(network(y, z), network(z, y))
    with pytest.raises(ValueError, match="expected 2 contour sequences, got 1"):
        network(y)


def test_the_temporal_discriminator_minds_the_order_and_the_spatial_one_does_not(seeded):
    given = contours(2, FRAMES)
    spatial = SpatialDiscriminator(points=POINTS, width=4)
    temporal = TemporalDiscriminator(points=POINTS, frames=FRAMES, width=8)
    torch.testing.assert_close(spatial(given.flip(1)).view(2, -1), spatial(given).view(2, -1).flip(1))
    assert not torch.allclose(temporal(given.flip(1)), temporal(given))


@pytest.mark.parametrize("network", [NoiseGenerator, SpatialDiscriminator])
def test_a_number_of_points_that_cannot_be_halved_is_refused(network):
    with pytest.raises(DataError, match="points: expected a multiple of 16, got 40"):
        network(points=40)


def test_still_noise_is_one_contour_a_clip_and_seeded(seeded):
    made = networks("st-gan").noise_contours(3, 7, np.random.default_rng(1))
    assert made.shape == (3, 7, POINTS, 2)
    assert (made == made[:, :1]).all()
    assert not torch.equal(made[0], made[1])


def test_noise_draws_depend_on_the_generator_alone(seeded):
    one = networks("st-gan")
    first, again, other = (one.noise_contours(2, 3, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_moving_noise_turns_slowly_and_comes_back(seeded):
    fps = 20.0
    turn = round(fps / TURNS)
    made = networks("st-gan", moving=True).noise_contours(1, turn + 1, np.random.default_rng(1), fps=fps)[0]
    torch.testing.assert_close(made[-1], made[0], atol=1e-4, rtol=0)
    steps = (made[1:] - made[:-1]).abs().amax((1, 2))
    across = (made[turn // 2] - made[0]).abs().max()
    assert (steps > 0).all()
    assert steps.max() < across / 4


def test_without_a_noise_generator_the_noise_is_the_gaussian_seed_itself(seeded):
    made = networks("st-gan-no-noise").noise_contours(200, 1, np.random.default_rng(0))
    torch.testing.assert_close(made.mean((0, 1, 2)), torch.tensor([0.0, 0.5]), atol=0.02, rtol=0)
    torch.testing.assert_close(made.std((0, 1, 2)), torch.full((2,), SPREAD), atol=0.01, rtol=0)
    with pytest.raises(ValueError, match="noise-gait draws no noise contours"):
        networks("noise-gait").noise_contours(1, 1, np.random.default_rng(0))


def test_long_clips_are_what_their_pieces_are(seeded, monkeypatch):
    one = networks("noise-gait")
    y, z = (contours(9, seed=s).numpy() for s in (0, 1))
    whole = one.apply(y, z)
    monkeypatch.setattr("gaitkeeper.models.generators.anonymizers.CHUNK", 4)
    np.testing.assert_allclose(one.apply(y, z), whole, atol=1e-6)
    assert whole.dtype == np.float32


def test_padded_contours_are_pixels_in_body_heights_and_then_zeros():
    silhouettes = np.zeros((3, 40, 30), np.uint8)
    silhouettes[0, 5:35, 10:20] = 255
    silhouettes[1, 5:35, 12:18] = 255
    contours, counts, placement = padded_contours(silhouettes, 200)
    assert contours.shape == (3, 200, 2)
    # A rectangle of h x w pixels has 2 (h + w) - 4 on its contour.
    assert counts.tolist() == [2 * (30 + 10) - 4, 2 * (30 + 6) - 4, 0]
    assert not contours[1, counts[1] :].any()
    assert np.ptp(contours[0, : counts[0], 1]) == pytest.approx(1, abs=0.05)
    pixels = placement.pixels(contours).reshape(3, -1)
    assert np.array_equal(from_published(pixels, counts, (40, 30)), silhouettes)


@pytest.mark.parametrize("kind", PARTS)
def test_weights_come_back_whole_and_the_same_bytes(kind, seeded, tmp_path):
    one = networks(kind, moving=kind == "st-gan")
    for name in ("a", "b"):
        one.save(tmp_path / f"{name}.safetensors", {"alpha": "0.3"})
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    back = load_contour_networks(tmp_path / "a.safetensors")
    assert (back.kind, back.points, back.moving) == (kind, POINTS, kind == "st-gan")
    assert back.modules().state_dict().keys() == one.modules().state_dict().keys()
    for key, value in one.modules().state_dict().items():
        assert torch.equal(value, back.modules().state_dict()[key])
    assert not any(module.training for part in back.modules().values() for module in part.modules())


def test_weights_that_do_not_fit_are_refused(seeded, tmp_path):
    path = tmp_path / "st-gan.safetensors"
    networks("st-gan").save(path)
    state, told = read_state(path)

    def stored(changes=None, **metadata):
        module = torch.nn.Module()
        for key, value in {**state, **(changes or {})}.items():
            if value is not None:
                module.register_buffer(key.replace(".", "/"), value)
        module.state_dict = lambda: {key.replace("/", "."): value for key, value in module.named_buffers()}
        save_state(path, module, {**told, **metadata})
        return path

    with pytest.raises(WeightsError, match="expected weights of noise-gait, found st-gan"):
        load_contour_networks(path, "noise-gait")
    with pytest.raises(WeightsError, match=r"expected weights of .*, found other"):
        load_contour_networks(stored(kind="other"))
    with pytest.raises(WeightsError, match="its noise has 32 points, its contours 64"):
        load_contour_networks(stored(points="64"))
    with pytest.raises(WeightsError, match="not the shapes of st-gan"):
        load_contour_networks(stored(points="many"))
    with pytest.raises(WeightsError, match="expected 1 encoders of inverter, found 2"):
        load_contour_networks(stored({key: None for key in state if key.startswith("noise")}, kind="inverter"))
    with pytest.raises(WeightsError, match=r"expected the keys of st-gan; .*begin\.weight"):
        load_contour_networks(stored({"noise.begin.weight": None}))
    with pytest.raises(WeightsError, match=r"missing gait.decode.1.bias"):
        load_contour_networks(stored({"gait.decode.1.bias": None}))
    with pytest.raises(WeightsError, match="not finite"):
        load_contour_networks(stored({"gait.decode.1.bias": torch.full((6,), torch.nan)}))
    save_state(path, GaitGenerator(widths=(4, 6)), {})
    with pytest.raises(WeightsError, match="found none"):
        load_contour_networks(path)
    with pytest.raises(WeightsError, match=r"expected a weights file, found nothing"):
        load_contour_networks(tmp_path / "none.safetensors")
    with pytest.raises(WeightsError, match="'unknown' is no anonymizer: expected noise-walkers, "):
        load_contour_networks("unknown")


@pytest.mark.parametrize("name", SHIPPED_ANONYMIZERS)
def test_shipped_weights_load_are_small_and_have_a_card(name):
    import json

    path = anonymizer_path(name)
    one = load_contour_networks(name)
    assert one.points == 256
    assert path.stat().st_size < 1_000_000
    card = json.loads(path.with_suffix(".json").read_text())
    assert card["name"] == name
    assert card["training"]["settings"]["kind"] == one.kind
    assert card["limits"]
