"""Training of the silhouette generator."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from gaitkeeper.datasets.base import Sample
from gaitkeeper.errors import DataError, GaitkeeperError
from gaitkeeper.models.generators.gan import PARTS, load_gan
from gaitkeeper.models.states import read_state
from gaitkeeper.training.gan import disturbed, draw_latents, gradient_penalty, train_generator
from gaitkeeper.training.gan_settings import GeneratorSettings
from gaitkeeper.training.loop import CHECKPOINT

TINY = GeneratorSettings(
    width=1,
    rows=16,
    columns=16,
    latent=4,
    iterations=3,
    critic_steps=2,
    judge_steps=3,
    batch=4,
    frames=3,
    checkpoint_every=2,
    precision="float32",
)


class Bars:
    """Bars of different widths, 16 rows of 12 columns; one take cannot be read."""

    name = "bars"
    biometric = False

    def __init__(self):
        self.samples = [Sample(str(s), "nm-01", 90) for s in range(4)]

    def load(self, indices):
        found = []
        for i in indices:
            frames = np.zeros((4, 16, 12), np.uint8)
            frames[:, 2:14, 2 : 5 + 2 * i] = 255
            found.append(DataError("broken") if i == 2 else frames)
        return found


class Linear(nn.Module):
    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x):
        return (x * self.weight).flatten(1).sum(1)


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("slope", [0.0, 0.25, 1.0, 3.0])
def test_the_penalty_of_a_linear_critic_is_that_of_its_slope(slope):
    direction = noise(1, 4, 3)
    critic = Linear(slope * direction / direction.norm())
    penalty = gradient_penalty(critic, noise(5, 1, 4, 3, seed=1), noise(5, 1, 4, 3, seed=2), torch.rand(5))
    assert float(penalty.detach()) == pytest.approx((slope - 1) ** 2, abs=1e-6)
    if slope == 3:
        # The penalty teaches: its gradient points along the weights, 2 (|w| - 1) long.
        (gradient,) = torch.autograd.grad(penalty, critic.parameters())
        torch.testing.assert_close(gradient, 2 * (slope - 1) * direction / direction.norm())


def test_the_slope_is_taken_on_the_lines_between_real_and_generated():
    real, fake, shares = noise(4, 6, seed=1), noise(4, 6, seed=2), torch.tensor([0.0, 0.25, 0.5, 1.0])
    between = shares[:, None] * real + (1 - shares[:, None]) * fake
    want = (between.norm(dim=1) - 1).square().mean()
    torch.testing.assert_close(gradient_penalty(_HalfSquare(), real, fake, shares), want)


class _HalfSquare(nn.Module):
    """Its slope at a point is the point."""

    def forward(self, x):
        return x.square().flatten(1).sum(1) / 2


def test_latents_are_on_the_sphere_or_normal_and_seeded():
    draws = [draw_latents(500, 16, np.random.default_rng(3), sphere=sphere) for sphere in (True, False)]
    torch.testing.assert_close(draws[0].norm(dim=1), torch.full((500,), 4.0))
    torch.testing.assert_close(draws[0], 4 * draws[1] / draws[1].norm(dim=1, keepdim=True))
    assert draws[0].mean(0).abs().max() < 0.2
    assert draws[1].norm(dim=1).std() > 0.4
    assert draws[0].dtype == draws[1].dtype == torch.float32
    assert not torch.equal(draws[1], draw_latents(500, 16, np.random.default_rng(4), sphere=False))


def test_disturbed_silhouettes_are_new_ones_drawn_by_the_seed():
    pictures = np.random.default_rng(0).integers(0, 256, (200, 16, 12), dtype=np.uint8)
    before = pictures.copy()
    made = disturbed(pictures, np.random.default_rng(1))
    assert np.array_equal(pictures, before)
    assert (made.shape, made.dtype) == (pictures.shape, np.uint8)
    changed = (made != pictures).mean((1, 2))
    assert (changed > 0).mean() > 0.95
    # Whole pictures are not replaced, and neither all disturbances are small nor all large.
    assert changed.max() < 0.8
    assert np.quantile(changed[changed > 0], 0.1) < 0.1 < np.quantile(changed, 0.8)
    assert np.array_equal(made, disturbed(pictures, np.random.default_rng(1)))
    assert not np.array_equal(made, disturbed(pictures, np.random.default_rng(2)))
    assert len(disturbed(pictures[:0], np.random.default_rng(1))) == 0


class Stop(Exception):
    pass


def interrupted(settings, out, at):
    def progress(done, total, text):
        if done == at:
            raise Stop

    with pytest.raises(Stop):
        train_generator(settings, Bars(), out, progress=progress)


def assert_same_states(one, other, parts=PARTS):
    for part in parts:
        state, again = (read_state(folder / f"{part}.safetensors")[0] for folder in (one, other))
        assert state.keys() == again.keys()
        for key, value in state.items():
            torch.testing.assert_close(value.float(), again[key].float(), rtol=0, atol=1e-5)


def test_a_run_interrupted_in_both_phases_ends_with_the_same_networks(tmp_path):
    told = []
    whole = train_generator(TINY, Bars(), tmp_path / "whole", progress=lambda *line: told.append(line))
    assert [(done, total) for done, total, _ in told] == [(done, 6) for done in range(7)]
    cut = tmp_path / "cut"
    interrupted(TINY, cut, 3)
    interrupted(TINY, cut, 5)
    assert not (cut / "generator.safetensors").exists()
    assert train_generator(TINY, Bars(), cut) == cut
    assert_same_states(whole, cut)
    lines = [json.loads(line) for line in (cut / "log.jsonl").read_text().splitlines()]
    assert [(line["network"], line["step"]) for line in lines] == [
        *(("critic", i) for i in (1, 2, 3)),
        *(("judge", i) for i in (1, 2, 3)),
    ]
    train_generator(TINY, Bars(), cut)
    assert_same_states(whole, cut)


def test_what_is_written_loads_and_says_how_it_was_made(tmp_path):
    train_generator(TINY, Bars(), tmp_path)
    gan = load_gan(tmp_path)
    assert gan.generator.size == gan.critic.module.size == (16, 16)
    assert (gan.generator.latent, gan.generator.channels) == (4, 1)
    frames = torch.from_numpy(np.concatenate([Bars().load([i])[0][:3] for i in (0, 1, 3)])).float() / 255
    for scored in (gan.critic, gan.judge):
        assert len(scored.quantiles) == 101
        assert list(scored.quantiles) == sorted(scored.quantiles)
        scores = scored.scores(frames).detach()
        assert scored.quantiles[0] == pytest.approx(float(scores.min()), abs=1e-4)
        assert scored.quantiles[-1] == pytest.approx(float(scores.max()), abs=1e-4)
    description = json.loads((tmp_path / "model.json").read_text())
    assert description["data"] == "bars"
    assert description["pictures"] == 9
    assert description["skipped"] == [["2/nm-01/090", "broken"]]
    assert GeneratorSettings(**{**description["settings"], "population": TINY.population}) == TINY
    assert read_state(tmp_path / "generator.safetensors")[1] == {
        "format": "gaitkeeper",
        "network": "Generator",
        "size": "[16, 16]",
    }


def test_every_network_learns_and_the_judge_disturbs_none(tmp_path):
    fresh = train_generator(replace(TINY, iterations=0, judge_steps=0), Bars(), tmp_path / "fresh")
    alone = train_generator(replace(TINY, judge_steps=0), Bars(), tmp_path / "alone")
    judged = train_generator(TINY, Bars(), tmp_path / "judged")
    assert_same_states(alone, judged, ("generator", "critic"))
    assert_same_states(fresh, alone, ("judge",))
    for part in PARTS:
        begun, ended = (read_state(folder / f"{part}.safetensors")[0] for folder in (fresh, judged))
        # The critics' last biases shift all scores alike, so that nothing moves them.
        still = [key for key, value in begun.items() if key.endswith("weight") and torch.equal(value, ended[key])]
        assert not still


def test_the_critic_learns_to_tell_recorded_from_generated(tmp_path):
    settings = replace(TINY, width=2, iterations=15, critic_steps=4, judge_steps=0, learning_rate=2e-3, batch=8)
    train_generator(settings, Bars(), tmp_path)
    gaps = [json.loads(line)["gap"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert np.mean(gaps[-5:]) > abs(gaps[0]) + 0.2


def test_global_random_numbers_are_left_alone(tmp_path):
    before = torch.get_rng_state()
    train_generator(TINY, Bars(), tmp_path)
    assert torch.equal(before, torch.get_rng_state())


def test_a_folder_of_another_run_is_refused(tmp_path):
    train_generator(TINY, Bars(), tmp_path)
    with pytest.raises(GaitkeeperError, match=rf"{CHECKPOINT}: belongs to a run with other settings"):
        train_generator(replace(TINY, seed=1), Bars(), tmp_path)


@pytest.mark.parametrize(("more", "message"), [({"rows": 32}, "32 rows.*16x12"), ({"rows": 16, "columns": 8}, "16x12")])
def test_silhouettes_that_do_not_fit_are_refused(tmp_path, more, message):
    with pytest.raises(DataError, match=rf"bars: expected silhouettes of .*{message}"):
        train_generator(replace(TINY, **more), Bars(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_data_without_a_usable_sequence_are_refused(tmp_path):
    class Broken(Bars):
        def load(self, indices):
            return [DataError("broken") for _ in indices]

    with pytest.raises(DataError, match="bars: none of 4 sequences can be used; the first: broken"):
        train_generator(TINY, Broken(), tmp_path)
