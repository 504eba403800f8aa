"""Training of anonymizers on contours."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gaitkeeper.datasets.base import Sample
from gaitkeeper.datasets.walkers import WalkerSequences
from gaitkeeper.errors import DataError, GaitkeeperError, WeightsError
from gaitkeeper.models.generators.anonymizers import load_contour_networks
from gaitkeeper.motion.contours import contour_sequence
from gaitkeeper.synthetic.population import Population
from gaitkeeper.training.anonymizer_settings import ITERATIONS, SUBJECTS, WEIGHT, AnonymizerSettings
from gaitkeeper.training.anonymizers import contour_loss, discriminator_loss, generator_loss, train_anonymizer
from gaitkeeper.training.loop import CHECKPOINT, WEIGHTS

TINY = AnonymizerSettings(
    widths=(4, 6),
    latent=4,
    points=32,
    window=4,
    batch=3,
    contours=6,
    iterations=4,
    checkpoint_every=2,
    subjects=(61, 62),
    conditions=("nm-01",),
    views=(36, 90),
    frames=6,
)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Of each kind that others build on."""
    folder = tmp_path_factory.mktemp("weights")
    noise = train_anonymizer(replace(TINY, kind="noise"), folder / "noise")
    # Long enough that what it makes is within the frame.
    longer = replace(TINY, noise_weights=str(noise), iterations=60, learning_rate=4e-3)
    gan = train_anonymizer(longer, folder / "st-gan")
    return {"noise_weights": str(noise), "inverted": str(gan)}


@pytest.fixture(scope="module")
def contours():
    data = WalkerSequences(Population(), subjects=[61, 62], conditions=["nm-01"], views=[90], frames=8)
    return [torch.from_numpy(contour_sequence(found).points) for found in data.load(range(2))]


@pytest.mark.parametrize("alpha", [0.2, 0.3, 0.4])
def test_the_published_loss_is_smallest_at_the_original(contours, alpha):
    y, z = contours[0], contours[1][:1].expand_as(contours[0])
    losses = [float(contour_loss(torch.lerp(y, z, s), y, z, alpha=alpha, norm="l1")) for s in np.linspace(0, 1, 11)]
    apart = float((y - z).abs().mean())
    # Along the line from y to z it rises by 1 - alpha of the distance.
    np.testing.assert_allclose(losses, apart * (alpha + (1 - alpha) * np.linspace(0, 1, 11)), rtol=1e-4)
    assert np.all(np.diff(losses) > 0)
    beyond = contour_loss(torch.lerp(y, z, 0.3), y, z, alpha=1.5, norm="l1")
    assert beyond < contour_loss(y, y, z, alpha=1.5, norm="l1")


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), alpha=st.floats(0.01, 0.99))
def test_no_contour_has_less_of_the_published_loss_than_the_original(seed, alpha):
    rng = np.random.default_rng(seed)
    y, z, g = (torch.from_numpy(rng.standard_normal((3, 5, 2)) * rng.uniform(0.01, 2)) for _ in range(3))
    assert contour_loss(y, y, z, alpha=alpha, norm="l1") <= contour_loss(g, y, z, alpha=alpha, norm="l1") + 1e-9


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), alpha=st.floats(0.0, 4.0))
def test_the_squared_loss_is_smallest_at_the_weighted_mean(seed, alpha):
    rng = np.random.default_rng(seed)
    y, z, away = (torch.from_numpy(rng.standard_normal((3, 5, 2))) for _ in range(3))
    best = ((y + alpha * z) / (1 + alpha)).requires_grad_()
    loss = contour_loss(best, y, z, alpha=alpha, norm="squared")
    (slope,) = torch.autograd.grad(loss, best)
    assert slope.abs().max() < 1e-9
    rise = contour_loss(best + away, y, z, alpha=alpha, norm="squared") - loss
    assert float(rise.detach()) == pytest.approx((1 + alpha) * float(away.square().mean()), rel=1e-6)


def test_adversarial_losses_are_those_of_the_equations():
    logits = torch.tensor([-3.0, 0.0, 2.0], dtype=torch.float64)
    recorded = torch.tensor([1.0, -1.0, 0.5], dtype=torch.float64)
    certain, told = logits.sigmoid(), recorded.sigmoid()
    torch.testing.assert_close(generator_loss(logits, "saturating"), (1 - certain).log().mean())
    torch.testing.assert_close(generator_loss(logits, "non-saturating"), -certain.log().mean())
    torch.testing.assert_close(discriminator_loss(recorded, logits), -(told.log() + (1 - certain).log().mean()).mean())
    # Where the discriminator is sure the published form no longer teaches.
    sure = torch.tensor([-12.0], dtype=torch.float64, requires_grad=True)
    slopes = [
        float(torch.autograd.grad(generator_loss(sure, form), sure)[0]) for form in ("saturating", "non-saturating")
    ]
    assert -1e-4 < slopes[0] < 0
    assert slopes[1] == pytest.approx(-1, abs=1e-4)


class Stop(Exception):
    pass


def interrupted(settings, out, at):
    def progress(done, total, text):
        if done == at:
            raise Stop

    with pytest.raises(Stop):
        train_anonymizer(settings, out, progress=progress)


@pytest.mark.parametrize("kind", ["noise", "st-gan", "st-gan-no-noise", "noise-gait", "inverter"])
def test_an_interrupted_run_ends_with_the_same_bytes(kind, weights, tmp_path):
    run = replace(TINY, kind=kind, snapshots=(2,), **weights)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        told = []
        whole = train_anonymizer(run, tmp_path / "whole", progress=lambda *line: told.append(line))
        interrupted(run, tmp_path / "cut", 3)
        assert not (tmp_path / "cut" / WEIGHTS).exists()
        cut = train_anonymizer(run, tmp_path / "cut")
    finally:
        torch.set_num_threads(threads)
    assert [(done, total) for done, total, _ in told] == [(done, 4) for done in range(5)]
    assert cut.read_bytes() == whole.read_bytes()
    first, again = (folder / "step-2.safetensors" for folder in (whole.parent, cut.parent))
    assert first.read_bytes() == again.read_bytes() != whole.read_bytes()
    logs = [(folder / "log.jsonl").read_text() for folder in (whole.parent, cut.parent)]
    assert logs[0] == logs[1]
    lines = [json.loads(line) for line in logs[0].splitlines()]
    assert [line["iteration"] for line in lines] == [1, 2, 3, 4]
    assert ("reconstruction" in lines[0]) == (kind != "noise")
    assert ("perturbation" in lines[0]) == (kind not in {"noise", "inverter"})
    assert ("temporal" in lines[0]) == kind.startswith("st-gan")
    assert load_contour_networks(whole).kind == kind
    description = json.loads((whole.parent / "model.json").read_text())
    assert description["settings"]["kind"] == kind
    assert description["clips"] == 4


def test_the_noise_generator_is_as_it_was_when_it_was_trained(weights):
    noise, gan = (load_contour_networks(weights[name]) for name in ("noise_weights", "inverted"))
    for key, value in noise.noise.state_dict().items():
        assert torch.equal(value, gan.noise.state_dict()[key])


def test_training_goes_where_the_losses_say(tmp_path):
    """With L1 ever nearer to the original; with squares to a mean that alpha chooses."""
    figures = {}
    for norm, alpha in (("l1", 0.3), ("squared", 0.1), ("squared", 2.0)):
        run = replace(TINY, kind="noise-gait", norm=norm, alpha=alpha, widths=(16, 32), views=(90,))
        out = tmp_path / f"{norm}-{alpha}"
        train_anonymizer(replace(run, iterations=300, learning_rate=1e-2, checkpoint_every=300), out)
        lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
        figures[norm, alpha] = np.array([(line["reconstruction"], line["perturbation"]) for line in lines])
    early, late = slice(20, 80), slice(-40, None)
    ways = {key: (value[early].mean(0), value[late].mean(0)) for key, value in figures.items()}
    begun, ended = ways["l1", 0.3]
    assert ended[0] < 0.7 * begun[0]
    assert ended[0] < 0.6 * ended[1]
    # The optimum has alpha times as much of one as of the other.
    assert ways["squared", 0.1][1][0] < 0.6 * ways["squared", 0.1][1][1]
    assert ways["squared", 2.0][1][0] > 1.15 * ways["squared", 2.0][1][1]


def test_seeds_differ_and_global_random_numbers_are_left_alone(tmp_path):
    run = replace(TINY, kind="noise-gait")
    before = torch.get_rng_state()
    one, other = (train_anonymizer(replace(run, seed=seed), tmp_path / str(seed)) for seed in (0, 1))
    assert torch.equal(before, torch.get_rng_state())
    assert one.read_bytes() != other.read_bytes()


def test_defaults_follow_from_the_kind_and_the_norm():
    for kind, (first, last) in SUBJECTS.items():
        run = AnonymizerSettings(kind=kind)
        assert (run.walkers[0], run.walkers[-1], run.steps) == (first, last, ITERATIONS[kind])
    judged, learned = set(AnonymizerSettings(kind="inverter").walkers), set(AnonymizerSettings().walkers)
    assert not judged & learned
    assert not learned & set(AnonymizerSettings(kind="noise").walkers)
    assert AnonymizerSettings(norm="l1").scale == WEIGHT["l1"]
    assert AnonymizerSettings(norm="l1", weight=3.0).scale == 3.0
    published = AnonymizerSettings.published(kind="noise-gait", alpha=0.4)
    assert (published.norm, published.adversarial, published.alpha) == ("l1", "saturating", 0.4)


class Own:
    """Clips of a user's own: bars of two people; one cannot be read, one is empty."""

    name = "own"
    biometric = False

    def __init__(self, people=2):
        self.samples = [Sample(str(i % people), f"nm-0{i}", 90) for i in range(4)]

    def load(self, indices):
        found = []
        for i in indices:
            frames = np.zeros((3 + i, 32, 24), np.uint8)
            if i != 3:
                frames[:, 2:30, 6 - i : 14 + i] = 255
            found.append(DataError("broken") if i == 2 else frames)
        return found


def test_other_data_than_walkers_of_any_length(tmp_path):
    train_anonymizer(replace(TINY, kind="noise-gait", iterations=2), tmp_path, data=Own())
    description = json.loads((tmp_path / "model.json").read_text())
    assert (description["data"], description["clips"]) == ("own", 2)
    assert description["skipped"] == [["0/nm-02/090", "broken"], ["1/nm-03/090", "nobody is in it"]]


def test_data_that_cannot_be_used_are_refused(weights, tmp_path):
    class Broken(Own):
        def load(self, indices):
            return [DataError("broken") for _ in indices]

    with pytest.raises(DataError, match="own: none of 4 sequences can be used; the first: broken"):
        train_anonymizer(replace(TINY, kind="noise"), tmp_path / "a", data=Broken())
    with pytest.raises(DataError, match="own: expected at least two people in each view"):
        train_anonymizer(replace(TINY, kind="noise-gait"), tmp_path / "b", data=Own(people=1))
    with pytest.raises(WeightsError, match="expected weights of noise, found st-gan"):
        train_anonymizer(replace(TINY, noise_weights=weights["inverted"]), tmp_path / "c")
    with pytest.raises(DataError, match="makes contours of 32 resampled points, expected 64 resampled"):
        train_anonymizer(replace(TINY, noise_weights=weights["noise_weights"], points=64), tmp_path / "d")
    with pytest.raises(DataError, match="padded: expected with noise, st-gan or st-gan-no-noise, got inverter"):
        train_anonymizer(replace(TINY, kind="inverter", padded=True), tmp_path / "e")
    assert not list(tmp_path.iterdir())


def test_padded_contours_as_published(weights, tmp_path):
    run = replace(TINY, points=128, padded=True, views=(90,))
    noise = train_anonymizer(replace(run, kind="noise"), tmp_path / "noise")
    path = train_anonymizer(replace(run, noise_weights=str(noise)), tmp_path / "st-gan")
    networks = load_contour_networks(path)
    assert (networks.padded, networks.points) == (True, 128)
    with pytest.raises(DataError, match="32 resampled points, expected 128 padded points"):
        train_anonymizer(replace(run, noise_weights=weights["noise_weights"]), tmp_path / "mixed")
    with pytest.raises(DataError, match="makes padded contours; expected resampled ones to invert"):
        train_anonymizer(replace(TINY, kind="inverter", inverted=str(path)), tmp_path / "inverter")


def test_a_folder_of_another_run_is_refused(tmp_path):
    run = replace(TINY, kind="noise")
    train_anonymizer(run, tmp_path)
    with pytest.raises(GaitkeeperError, match=rf"{CHECKPOINT}: belongs to a run with other settings \(seed 0"):
        train_anonymizer(replace(run, seed=1), tmp_path)


def test_the_slope_of_the_two_norms_is_alike_where_it_matters():
    # A fortieth of a body height: see WEIGHT.
    apart = 1 / 40
    assert math.isclose(WEIGHT["l1"], 2 * WEIGHT["squared"] * apart)
