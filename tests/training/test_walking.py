"""Training of the video score."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from gaitkeeper.errors import DataError, GaitkeeperError
from gaitkeeper.models.states import read_state
from gaitkeeper.models.walking import SHIPPED_WALKING, WalkingNetwork, load_walking
from gaitkeeper.synthetic.actions import CLASSES
from gaitkeeper.synthetic.walkers import Walkers
from gaitkeeper.training import walking
from gaitkeeper.training.walking import (
    SPOILED,
    acts,
    figures,
    ship_walking,
    slides,
    spoil,
    train_walking,
    varied,
    walks,
    windowed,
)
from gaitkeeper.training.walking_settings import WalkingTraining

TINY = WalkingTraining(
    steps=4, batch=8, widths=(2, 2, 3, 4), conditions=1, views=1, frames=48, checkpoint_every=2, seed=3
)


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Train on and test with one walker and one actor."""
    monkeypatch.setattr(walking, "TRAIN_WALKERS", range(1, 3))
    monkeypatch.setattr(walking, "TRAIN_ACTORS", range(1, 2))
    monkeypatch.setattr(walking.figures, "__kwdefaults__", {"walkers": range(85, 86), "actors": range(31, 32)})


def steps(t):
    return np.repeat(np.arange(t, dtype=np.uint8), 64 * 44).reshape(t, 64, 44)


def test_what_is_learned_from_has_the_sizes_asked_for():
    settings = replace(TINY, conditions=2, views=3)
    assert [clip.shape for clip in walks(settings, [1, 2])] == [(48, 64, 44)] * 12
    assert [clip.shape for clip in slides(settings, [1])] == [(48, 64, 44)] * 6
    acted = acts(settings, [1])
    assert len(acted) == 3 * len(CLASSES)
    assert all(clip.shape[1:] == (64, 44) and 40 <= len(clip) <= 90 for clip in acted)


def test_the_same_seed_gives_the_same_walks():
    one, same, other = (walks(replace(TINY, seed=seed), [1]) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert (np.asarray(one) != np.asarray(other)).any()


def test_who_slides_does_not_move_the_legs():
    """Against a walk little changes from frame to frame: alignment jumps by a column, and the view turns."""
    calm = replace(TINY, population=replace(TINY.population, noise=0.0))
    moved = np.abs(np.diff(np.asarray(slides(calm, range(1, 5))).astype(int), axis=1)).mean()
    walked = np.asarray([Walkers(calm.population).silhouettes(s, "nm-01", [90])[0] for s in range(1, 5)])
    assert 0 < moved < 0.6 * np.abs(np.diff(walked.astype(int), axis=1)).mean()


@pytest.mark.parametrize("size", [16, 32, 40])
def test_windows_are_in_order_and_inside(size):
    rng = np.random.default_rng(0)
    speeds = []
    for _ in range(200):
        clip = windowed(steps(60), size, rng)[:, 0, 0].astype(int)
        assert len(clip) == size
        assert (np.diff(clip) >= 0).all()
        speeds.append((clip[-1] - clip[0]) / (size - 1))
    assert min(speeds) == pytest.approx(0.75, abs=0.06)
    assert max(speeds) == pytest.approx(1.3, abs=0.06)


def test_a_window_as_long_as_the_clip_is_the_clip():
    for seed in range(20):
        clip = windowed(steps(40), 40, np.random.default_rng(seed))[:, 0, 0]
        assert len(clip) == 40
        assert clip[-1] <= 39


def test_what_spoiling_does():
    rng = np.random.default_rng(0)
    clip, other = steps(20), steps(20) + 100
    assert len(set(spoil("frozen", clip, [other], rng)[:, 0, 0].tolist())) == 1
    mixed = spoil("shuffled", clip, [other], rng)[:, 0, 0]
    assert sorted(mixed.tolist()) == list(range(20))
    assert mixed.tolist() != list(range(20))
    assert (spoil("strangers", clip, [other], rng) >= 100).all()
    legs = spoil("still legs", clip, [other], rng)
    assert legs[:, 0, 0].tolist() == list(range(20))
    assert len(set(legs[:, 63, 0].tolist())) == 1
    half = np.zeros((9, 64, 44), np.uint8)
    half[:, :32] = 255
    half[:4, 32:] = 255
    np.testing.assert_array_equal(spoil("mean", half, [other], rng), np.repeat(half[4:5], 9, axis=0))
    full = np.full((9, 64, 44), 255, np.uint8)
    torn = spoil("torn", full, [other], rng)
    assert 0.05 < (torn == 0).mean() < 0.9
    assert (torn[0] != torn[1]).any()
    blobs = spoil("blobs", full, [other], rng)
    assert 0.01 < (blobs == 255).mean() < 0.9
    assert set(np.unique(blobs).tolist()) == {0, 255}
    assert full.min() == 255


@pytest.mark.parametrize("kind", sorted(set(SPOILED) - {"sliding"}))
def test_spoiled_clips_keep_shape_and_type_and_the_walk(kind):
    clip = Walkers().silhouettes(1, "nm-01", [90])[0]
    before = clip.copy()
    made = [spoil(kind, clip, [clip], np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert made[0].shape == clip.shape
    assert made[0].dtype == np.uint8
    np.testing.assert_array_equal(made[0], made[1])
    assert (made[0] != clip).any()
    np.testing.assert_array_equal(clip, before)


def test_variations_stay_in_range_and_differ():
    x = torch.from_numpy(Walkers().silhouettes(1, "nm-01", [90, 0])).float() / 255
    seen = torch.stack([varied(x, np.random.default_rng(seed)) for seed in range(12)])
    assert float(seen.min()) >= 0
    assert float(seen.max()) <= 1
    assert len({float(one.sum()) for one in seen}) > 6
    # All frames of a clip are changed alike: a clip of one frame stays one.
    still = varied(x[:, :1].expand(-1, 5, -1, -1), np.random.default_rng(3))
    assert bool((still == still[:, :1]).all())


def test_training_writes_weights_log_and_figures(tmp_path):
    lines = []
    path = train_walking(TINY, tmp_path, progress=lambda done, total, text: lines.append((done, total, text)))
    assert [line[:2] for line in lines] == [(i, 4) for i in range(5)]
    logged = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in logged] == [1, 2, 3, 4]
    told = json.loads((tmp_path / "model.json").read_text())
    assert told["clips"] == {"walkers": 2, "actors": 20, "sliding": 2}
    assert set(told["figures"]) == {"walking", *CLASSES, *SPOILED}
    assert told["figures"]["walking"]["clips"] == 1
    assert told["figures"]["bow"]["clips"] == 1
    scores = load_walking(str(path))([steps(40)], 30.0)
    assert 0 < scores[0] < 1


def test_an_interrupted_run_ends_with_the_same_weights(tmp_path):
    whole = train_walking(TINY, tmp_path / "whole")

    class Interrupted(Exception):
        pass

    def stop(done, total, text):
        if done == 3:
            raise Interrupted

    with pytest.raises(Interrupted):
        train_walking(TINY, tmp_path / "halves", progress=stop)
    halves = train_walking(TINY, tmp_path / "halves")
    assert whole.read_bytes() == halves.read_bytes()
    with pytest.raises(GaitkeeperError, match=r"other settings.*batch 8 instead of 12"):
        train_walking(replace(TINY, batch=12), tmp_path / "halves")


def test_training_learns_to_tell_walks_from_what_is_done_here(tmp_path):
    settings = replace(TINY, steps=30, batch=12, widths=(4, 8, 8, 16), learning_rate=5e-3, checkpoint_every=30)
    train_walking(settings, tmp_path)
    losses = [json.loads(line)["loss"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert np.mean(losses[-6:]) < 0.85 * np.mean(losses[:6])


def test_figures_tell_shares_and_means():
    network = WalkingNetwork((2, 2, 2, 2)).eval()
    torch.nn.init.zeros_(network.head.weight)
    torch.nn.init.constant_(network.head.bias, float(np.log(3)))
    found = figures(network, TINY, walkers=[85], actors=[31])
    assert all(one["mean"] == pytest.approx(0.75) and one["share"] == 1 for one in found.values())


def test_shipping_writes_weights_and_card(tmp_path):
    path = train_walking(TINY, tmp_path / "run")
    card = ship_walking(tmp_path / "run", tmp_path / "weights")
    told = json.loads(card.read_text())
    assert told["name"] == SHIPPED_WALKING
    assert told["training"]["settings"]["steps"] == 4
    assert {"walking", "bow", "frozen"} <= set(told["metrics"])
    assert told["limits"]
    shipped = tmp_path / "weights" / f"{SHIPPED_WALKING}.safetensors"
    assert shipped.read_bytes() == path.read_bytes()
    assert set(read_state(shipped)[0]) == set(WalkingNetwork(TINY.widths).state_dict())
    with pytest.raises(DataError, match=r"elsewhere: expected model\.safetensors and model\.json of a finished run"):
        ship_walking(tmp_path / "elsewhere", tmp_path / "weights")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("steps", 0, "expected steps of at least 1, got 0"),
        ("batch", 3, "a batch of at least 4 clips, got 3"),
        ("conditions", 11, "expected conditions of 1 to 10, got 11"),
        ("views", 0, "expected views of 1 to 11, got 0"),
        ("frames", 40, "walks of at least 48 frames, got 40"),
        ("learning_rate", 0.0, "a positive learning rate, got 0"),
    ],
)
def test_settings_out_of_bounds(name, value, message):
    with pytest.raises(DataError, match=message):
        replace(TINY, **{name: value})


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    with pytest.raises(DataError, match=r"the loss of step .* is not finite"):
        train_walking(replace(TINY, learning_rate=1e30), tmp_path)
