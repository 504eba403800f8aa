import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from gaitkeeper.datasets.base import Sample
from gaitkeeper.errors import DataError, GaitkeeperError
from gaitkeeper.models.gait.gaitset import GaitSet
from gaitkeeper.models.gait.parts import SeparateBNNecks
from gaitkeeper.models.states import read_state
from gaitkeeper.models.weights import load_recognizer
from gaitkeeper.training.loop import CHECKPOINT, build, draw_windows, train
from gaitkeeper.training.losses import batch_all_triplet, part_cross_entropy
from gaitkeeper.training.sampler import IdentitySampler
from gaitkeeper.training.settings import NARROW, TrainSettings

TINY = TrainSettings(
    channels=(2, 2, 4),
    embedding=4,
    iterations=6,
    identities=2,
    sequences=2,
    frames=2,
    checkpoint_every=3,
    precision="float32",
)


class Bars:
    """Three people, each a bar of another width, in five takes."""

    name = "bars"
    biometric = False

    def __init__(self):
        self.samples = [Sample(str(s), f"nm-0{take}", 90) for s in range(3) for take in range(5)]

    def load(self, indices):
        found = []
        for i in indices:
            frames = np.zeros((4, 64, 44), np.uint8)
            frames[:, :, 20 - 5 * int(self.samples[i].subject) : 24] = 255
            found.append(DataError("broken") if i == 4 else frames)
        return found


def naive_triplet(embedding, labels, margin):
    losses = []
    for p in range(embedding.shape[2]):
        part = [
            float(torch.dist(embedding[a, :, p], embedding[b, :, p]))
            - float(torch.dist(embedding[a, :, p], embedding[c, :, p]))
            + margin
            for a in range(len(labels))
            for b in range(len(labels))
            for c in range(len(labels))
            if labels[a] == labels[b] and labels[a] != labels[c]
        ]
        positive = [loss for loss in part if loss > 0]
        losses.append(sum(positive) / max(1, len(positive)))
    return sum(losses) / len(losses)


def test_triplet_loss_is_its_definition():
    embedding = torch.randn(6, 3, 2, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    loss, active = batch_all_triplet(embedding, labels, margin=0.2)
    assert float(loss) == pytest.approx(naive_triplet(embedding, labels, 0.2), rel=1e-3)
    assert 0 < float(active) <= 1
    far = torch.zeros(4, 1, 1)
    far[2:] = 10
    assert float(batch_all_triplet(far, torch.tensor([0, 0, 1, 1]), margin=0.2)[0]) == 0


def test_neck_gives_cosines_and_the_cross_entropy_averages_parts():
    neck = SeparateBNNecks(2, 3, 5).eval()
    logits = neck(torch.randn(4, 3, 2)).detach()
    assert logits.shape == (4, 5, 2)
    assert logits.abs().max() <= 1 + 1e-5
    labels = torch.tensor([0, 1, 2, 3])
    want = np.mean([float(torch.nn.functional.cross_entropy(16 * logits[:, :, p], labels)) for p in range(2)])
    assert float(part_cross_entropy(logits, labels, scale=16, smoothing=0)) == pytest.approx(want, rel=1e-5)


def test_sampler_draws_p_identities_with_k_sequences_and_repeats_itself():
    labels = [0] * 3 + [1] * 9 + [2] * 5
    sampler = IdentitySampler(labels, identities=2, sequences=4, seed=0)
    for iteration in range(20):
        batch = sampler.batch(iteration)
        drawn = np.array(labels)[batch]
        assert len(set(drawn)) == 2
        assert all((drawn == d).sum() == 4 for d in set(drawn))
        assert np.array_equal(batch, IdentitySampler(labels, identities=2, sequences=4, seed=0).batch(iteration))
    with pytest.raises(ValueError, match="identities"):
        IdentitySampler([0, 0], identities=2, sequences=1, seed=0)


class Stop(Exception):
    pass


def test_an_interrupted_run_ends_with_the_same_weights(tmp_path):
    whole = train(TINY, Bars(), tmp_path / "whole")

    def interrupt(done, total, text):
        if done == 5:
            raise Stop

    with pytest.raises(Stop):
        train(TINY, Bars(), tmp_path / "cut", progress=interrupt)
    assert not (tmp_path / "cut" / "model.safetensors").exists()
    resumed = train(TINY, Bars(), tmp_path / "cut")
    # Two runs of these convolutions on a CPU may differ in the last bits, interrupted or not.
    for key, value in read_state(whole)[0].items():
        torch.testing.assert_close(read_state(resumed)[0][key], value, rtol=0, atol=1e-5)
    lines = (tmp_path / "cut" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["iteration"] for line in lines] == [1, 2, 3, 4, 5, 6]
    card = json.loads((tmp_path / "cut" / "model.json").read_text())
    assert card["identities"] == 3
    assert card["skipped"] == [["0/nm-04/090", "broken"]]
    load_recognizer(resumed)


def test_default_settings_are_those_of_the_shipped_gaitset():
    module = build(TrainSettings(), 74)
    assert isinstance(module, GaitSet)
    assert [part.conv.out_channels for part in module.set_block3.forward_block[::2]] == [64, 64]
    assert module.Head.fc_bin.shape == (62, 64, 128)
    assert sum(weight.numel() for weight in build(TrainSettings(channels=(2, 2, 4)), 3).parameters()) < 40_000


@pytest.mark.parametrize("network", NARROW)
def test_every_network_trains_resumes_and_loads(network, tmp_path):
    channels = (2, 2, 4, 4)[: len(NARROW[network])]
    settings = replace(TINY, network=network, channels=channels, iterations=3, checkpoint_every=2, frames=3)

    def interrupt(done, total, text):
        if done == 3:
            raise Stop

    with pytest.raises(Stop):
        train(settings, Bars(), tmp_path, progress=interrupt)
    state, _ = read_state(train(settings, Bars(), tmp_path))
    victim = load_recognizer(tmp_path / "model.safetensors")
    assert type(victim.module) is type(build(settings, 3))
    torch.manual_seed(settings.seed)
    fresh = build(settings, 3).state_dict()
    assert fresh.keys() == state.keys()
    moved = {key for key, value in fresh.items() if not torch.equal(state[key], value)}
    assert moved == set(fresh)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["iteration"] for line in lines] == [1, 2, 3]
    assert json.loads((tmp_path / "model.json").read_text())["settings"]["channels"] == list(channels)


def test_windows_are_consecutive_and_start_again_where_frames_are_missing():
    counting = np.arange(9, dtype=np.uint8)[:, None, None] * np.ones((1, 2, 2), np.uint8)
    rng = np.random.default_rng(0)
    windows = draw_windows([counting] * 200, 4, rng)[:, :, 0, 0].astype(int)
    assert (np.diff(windows) == 1).all()
    assert set(windows[:, 0]) == set(range(6))
    assert draw_windows([counting[:2]], 5, rng)[0, :, 0, 0].tolist() == [0, 1, 0, 1, 0]
    assert draw_windows([counting[:4]], 4, rng)[0, :, 0, 0].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"channels": (2, 2)}, r"expected 3 widths of gaitset, got \(2, 2\)"),
        ({"channels": (2, 0, 2)}, "expected 3 widths"),
        ({"network": "gaitgl", "channels": (2, 2)}, "expected 3 or 4 widths of gaitgl"),
        ({"network": "gaitbase", "channels": (2, 2, 4)}, "expected 4 widths of gaitbase"),
        ({"network": "deepgaitv2", "channels": None, "normalize": False}, "no form without batch normalization"),
    ],
)
def test_settings_that_no_network_has_are_refused_before_anything_is_loaded(tmp_path, wrong, message):
    with pytest.raises(DataError, match=message):
        train(replace(TINY, **wrong), None, tmp_path)


def test_a_folder_of_another_run_is_refused(tmp_path):
    train(TINY, Bars(), tmp_path)
    with pytest.raises(GaitkeeperError, match=rf"{CHECKPOINT}.*seed 0 instead of 1"):
        train(replace(TINY, seed=1), Bars(), tmp_path)
    other = replace(TINY, network="gaitpart")
    with pytest.raises(GaitkeeperError, match=r"network gaitset instead of gaitpart"):
        train(other, Bars(), tmp_path)


def test_the_loss_falls(tmp_path):
    train(replace(TINY, iterations=60, checkpoint_every=60), Bars(), tmp_path)
    losses = [json.loads(line)["loss"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:10])
