"""The video score."""

import json
from importlib import resources

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from gaitkeeper.errors import DataError, WeightsError
from gaitkeeper.models.states import save_state
from gaitkeeper.models.walking import (
    FEWEST,
    FPS,
    SHIPPED_WALKING,
    WINDOW,
    NetworkScorer,
    WalkingNetwork,
    at_rate,
    load_walking,
    video_score,
)
from gaitkeeper.synthetic.acting import Troupe
from gaitkeeper.synthetic.moving import performance
from gaitkeeper.synthetic.population import Population
from gaitkeeper.synthetic.walkers import Walkers


class Bright(nn.Module):
    """Takes the mean of a window's first frame for the logit, times 8."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(8.0))
        self.lengths = []

    def forward(self, x):
        self.lengths.append(tuple(x.shape[:2]))
        return self.weight * x[:, 0].mean((1, 2))


def constant(scores):
    return lambda clips, fps: np.full(len(clips), scores)


def give_scorer():
    return constant(0.125)


def give_number():
    return 3


def need_argument(value):
    return value


def steps(t):
    """A clip of which frame i is i of 255 bright."""
    return np.repeat(np.arange(t, dtype=np.uint8), 64 * 44).reshape(t, 64, 44)


@pytest.fixture(scope="module")
def scorer():
    return load_walking()


@pytest.fixture(scope="module")
def walkers():
    """Thirty walks of ten unseen subjects from three views."""
    return [
        clip
        for subject in range(85, 125, 4)
        for clip in Walkers(Population()).silhouettes(subject, "nm-05", [0, 90, 144])
    ]


def test_the_network_is_small_and_takes_any_length():
    network = WalkingNetwork().eval()
    assert sum(p.numel() for p in network.parameters()) < 300_000
    for t in (FEWEST, WINDOW, 50):
        assert network(torch.rand(3, t, 64, 44)).shape == (3,)


def test_every_parameter_learns():
    network = WalkingNetwork((2, 3, 4, 5)).train()
    network(torch.rand(4, 20, 64, 44, generator=torch.Generator().manual_seed(0))).sum().backward()
    assert all(p.grad is not None and bool((p.grad != 0).any()) for p in network.parameters())


def test_clips_of_a_batch_do_not_change_each_other():
    network = WalkingNetwork().eval()
    x = torch.rand(3, 24, 64, 44, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(network(x)[1:2], network(x[1:2]))


def test_a_clips_score_is_the_mean_over_windows():
    module = Bright()
    score = NetworkScorer(module, batch=2)([steps(70)], FPS)
    starts = np.array([0, 16, 32, 38])
    assert score == pytest.approx((1 / (1 + np.exp(-8 * starts / 255))).mean(), abs=1e-6)
    assert module.lengths == [(2, WINDOW), (2, WINDOW)]


@given(st.integers(FEWEST, 130))
def test_windows_cover_every_clip(t):
    seen = []

    class Watch(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def forward(self, x):
            seen.extend((255 * x[:, :, 0, 0]).round().int().flatten().tolist())
            return torch.zeros(len(x))

    assert NetworkScorer(Watch())([steps(t)], FPS).tolist() == [0.5]
    assert set(seen) == set(range(t))


def test_clips_of_less_than_a_step_have_no_score(scorer):
    scores = scorer([steps(FEWEST - 1), steps(FEWEST), np.zeros((0, 64, 44), np.uint8)], FPS)
    assert np.isnan(scores).tolist() == [True, False, True]
    # Half the frames at half the rate show as long.
    assert np.isnan(scorer([steps(FEWEST // 2)], FPS / 2)).tolist() == [False]


def test_other_frame_rates_are_brought_to_thirty():
    assert at_rate(steps(6), 60.0)[:, 0, 0].tolist() == [0, 2, 4]
    assert at_rate(steps(3), 15.0)[:, 0, 0].tolist() == [0, 0, 1, 2, 2, 2]
    assert at_rate(steps(25), 25.0).shape[0] == 30
    clip = steps(5)
    assert at_rate(clip, FPS) is clip


def test_walkers_walk(scorer, walkers):
    scores = video_score(walkers, scorer=scorer)
    assert scores.shape == (30,)
    assert scores.mean() > 0.9
    assert (scores > 0.5).mean() > 0.9


@pytest.mark.parametrize("action", ["drink water", "sit down", "hand waving", "bow", "jump up", "run on the spot"])
def test_actors_who_do_something_else_do_not(scorer, action):
    clips = [
        clip
        for actor in (31, 35, 40)
        for clip in performance(Troupe(), actor, action, 1, [0, 90], population=Population())
    ]
    assert video_score(clips, scorer=scorer).mean() < 0.1


def test_walks_that_stand_still_or_have_no_order_are_none(scorer, walkers):
    rng = np.random.default_rng(0)
    changed = {
        "frozen": [clip[[9] * len(clip)] for clip in walkers],
        "shuffled": [clip[rng.permutation(len(clip))] for clip in walkers],
        "still legs": [np.concatenate([clip[:, :34], clip[[9] * len(clip), 34:]], axis=1) for clip in walkers],
        "nobody": [np.zeros_like(clip) for clip in walkers[:1]],
        "noise": [rng.integers(0, 2, walkers[0].shape, dtype=np.uint8) * 255],
    }
    for name, clips in changed.items():
        # Shuffled frames of a front view differ little from a walk's.
        assert scorer(clips, FPS).mean() < (0.2 if name == "shuffled" else 0.1), name


def test_pictures_of_other_sizes_are_aligned():
    walkers = Walkers(Population(noise=0.0))
    masks, want = walkers.masks(90, "nm-01", 90), walkers.silhouettes(90, "nm-01", [90])[0]
    masks[5] = 0
    want[5] = 0
    seen = []

    def watch(clips, fps):
        seen.extend(clips)
        return np.zeros(len(clips))

    video_score([masks, want], scorer=watch)
    assert seen[0].shape == want.shape
    assert not seen[0][5].any()
    one, other = seen[0] >= 128, want >= 128
    assert (one & other).sum() / (one | other).sum() > 0.9
    np.testing.assert_array_equal(seen[1], want)


def test_any_scorer_takes_the_networks_place(monkeypatch, tmp_path):
    assert video_score([steps(40)] * 2, scorer=constant(0.25)).tolist() == [0.25, 0.25]
    assert video_score([steps(40)], scorer=load_walking("tests.models.test_walking:give_scorer")).tolist() == [0.125]
    with pytest.raises(WeightsError, match="give_number: expected it to return a function of silhouettes, got int"):
        load_walking("tests.models.test_walking:give_number")
    with pytest.raises(WeightsError, match="need_argument: cannot be called without arguments"):
        load_walking("tests.models.test_walking:need_argument")
    with pytest.raises(WeightsError, match="no_such_package:there: cannot be called"):
        load_walking("no_such_package:there")


def test_files_of_any_width_are_loaded_and_others_refused(tmp_path):
    network = WalkingNetwork((2, 3, 4, 6)).eval()
    save_state(tmp_path / "small.safetensors", network, {"format": "gaitkeeper"})
    loaded = load_walking(str(tmp_path / "small.safetensors"))
    clip = steps(WINDOW)
    np.testing.assert_array_equal(loaded([clip], FPS), NetworkScorer(network)([clip], FPS))
    state = {key: value.contiguous() for key, value in network.state_dict().items()}
    for name, changed, message in (
        ("other", {"a": torch.ones(1)}, "expected the keys of a walking network; found a"),
        ("less", {k: v for k, v in state.items() if k != "head.bias"}, "missing head.bias"),
        ("depth", {k: v for k, v in state.items() if k != "stem.6.weight"}, "expected three convolutions"),
        ("shape", {**state, "head.weight": torch.ones(1, 3)}, "head.weight: expected shape"),
    ):
        path = tmp_path / f"{name}.safetensors"
        save_file(changed, path)
        with pytest.raises(WeightsError, match=f"{name}.*{message}"):
            load_walking(str(path))
    with pytest.raises(WeightsError, match=r"none\.safetensors: expected a weights file, found nothing"):
        load_walking(str(tmp_path / "none.safetensors"))


@pytest.mark.parametrize(
    ("clip", "fps", "message"),
    [
        (np.zeros((40, 64, 44)), 30, r"clip 1: expected silhouettes \(t, h, w\) uint8, got \(40, 64, 44\) float64"),
        (np.zeros((64, 44), np.uint8), 30, r"clip 1: .* got \(64, 44\) uint8"),
        (np.zeros((4, 0, 44), np.uint8), 30, r"clip 1"),
        (np.zeros((40, 64, 44), np.uint8), 0, "frames a second above 0, got 0"),
        (np.zeros((40, 64, 44), np.uint8), np.nan, "above 0, got nan"),
    ],
)
def test_what_is_no_clip(clip, fps, message):
    with pytest.raises(DataError, match=message):
        video_score([steps(40), clip], fps=fps)


def test_no_clips_have_no_scores(scorer):
    assert video_score([], scorer=scorer).shape == (0,)


def test_scoring_leaves_the_random_state_and_the_network_alone(scorer):
    before = torch.get_rng_state()
    state = {key: value.clone() for key, value in scorer.module.state_dict().items()}
    scorer([steps(40)], FPS)
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(value, state[key]) for key, value in scorer.module.state_dict().items())


def test_the_card_tells_figures_of_people_not_learned_from():
    path = resources.files("gaitkeeper") / "weights" / f"{SHIPPED_WALKING}.json"
    told = json.loads(path.read_text(encoding="utf-8"))
    assert told["metrics"]["walking"]["mean"] > 0.9
    others = [figures["mean"] for name, figures in told["metrics"].items() if name not in ("what", "walking")]
    assert len(others) > 20
    assert np.mean(others) < 0.1
    assert told["training"]["settings"]["population"]["seed"] == 0
