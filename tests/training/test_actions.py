import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from gaitkeeper.datasets.actors import Actors
from gaitkeeper.datasets.clips import to_skeletons
from gaitkeeper.errors import DataError, GaitkeeperError
from gaitkeeper.models.actions.networks import Fed, build
from gaitkeeper.models.actions.preparation import Preparation
from gaitkeeper.models.states import read_state
from gaitkeeper.models.weights import load_recognizer
from gaitkeeper.motion.kinematics import bone_lengths, to_joints
from gaitkeeper.motion.skeletons import NTU_25
from gaitkeeper.training.action_settings import ACTION_NETWORKS, PUBLISHED, SHORT, ActionTraining, Recipe, recipe_of
from gaitkeeper.training.actions import (
    INFERENCE_RATE,
    augmented,
    open_training_clips,
    options_of,
    train_actions,
)
from gaitkeeper.training.loop import CHECKPOINT
from tests.attacks.victims import clips

EVERY = pytest.mark.parametrize("network", ACTION_NETWORKS)
UNITS = {"widths": (8, 8), "strides": (1, 2)}
NARROW = {
    **dict.fromkeys(("st-gcn", "agcn", "aagcn", "as-gcn", "dgnn", "ctr-gcn"), UNITS),
    "sgn": {"widths": (8,)},
    "ms-g3d": {"widths": (6, 6, 6)},
    "hrnn": {"widths": (4, 4, 4, 8)},
}
SMALL_INFERENCE = {"frames": 6, "width": 8}
CLASSES = ("hand waving", "bow", "side kick", "squat down", "throw")


class Few:
    """Some actors in a few classes, of whom one clip is broken."""

    name, biometric, layout, fps, classes = "few actors", False, NTU_25, Actors.fps, CLASSES

    def __init__(self, subjects=(1, 2, 3), *, takes=(1,), broken=()):
        actors = Actors(subjects=subjects, takes=takes)
        wanted = [i for i, sample in enumerate(actors.samples) if sample.action in CLASSES]
        self.samples = [replace(s, label=CLASSES.index(s.action)) for s in (actors.samples[i] for i in wanted)]
        self._arrays = actors.load(wanted)
        self.broken = broken

    def load(self, indices):
        return [DataError("broken") if i in self.broken else self._arrays[i] for i in indices]


@pytest.fixture(scope="module")
def few():
    return Few()


def tiny(network, **changes):
    return ActionTraining(**{"epochs": 2, "batch": 8, "frames": 12, **NARROW[network], **changes})


def log_of(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.fixture(autouse=True)
def _small_inference(monkeypatch):
    monkeypatch.setattr("gaitkeeper.training.actions.SHORT_INFERENCE", SMALL_INFERENCE)


class Stop(Exception):
    pass


def cut(step):
    def progress(done, total, text):
        if done == step and total > 1:
            raise Stop

    return progress


def same(one, other, **tolerance):
    states = [read_state(path)[0] for path in (one, other)]
    for key, value in states[0].items():
        torch.testing.assert_close(states[1][key], value, rtol=0, **tolerance)


@pytest.mark.parametrize(
    ("network", "changes"),
    [
        ("hrnn", {"widths": (8, 8, 8, 16), "epochs": 20, "learning_rate": 1e-2}),
        ("sgn", {"widths": (16,), "epochs": 25, "learning_rate": 5e-3}),
        ("st-gcn", {"widths": (16, 32), "epochs": 25, "learning_rate": 2e-2}),
    ],
)
def test_networks_learn(network, changes, few, tmp_path):
    weights = train_actions(network, tiny(network, augment=False, **changes), few, tmp_path)
    lines = log_of(tmp_path)
    assert lines[-1]["loss"] < 0.8 * lines[0]["loss"]
    victim = load_recognizer(weights)
    assert victim.classes == CLASSES
    arrays = few.load(range(len(few.samples)))
    with torch.no_grad():
        found = victim(to_skeletons(arrays, NTU_25, fps=few.fps)).logits.argmax(1)
    right = (found == torch.tensor([sample.label for sample in few.samples])).double().mean()
    assert right > 3 / len(CLASSES)


@EVERY
def test_every_network_trains_and_its_file_says_how_it_sees(network, few, tmp_path):
    settings = tiny(network, stream="bone", epochs=12 if network == "as-gcn" else 1, batch=15)
    weights = train_actions(network, settings, few, tmp_path, seed=3)
    victim = load_recognizer(weights)
    wanted = Preparation(layout=NTU_25, **recipe_of(network, settings).preparation)
    assert victim.prepare.preparation == wanted
    assert (wanted.frames, wanted.stream, wanted.scale) == (12, "bone", 0.35)
    assert victim.domain.shape == (3, None, 25, 1)
    assert (victim.classes, victim.domain.layout) == (CLASSES, NTU_25)
    description = json.loads((tmp_path / "model.json").read_text())
    assert (description["network"], description["clips"], description["seed"]) == (network, 15, 3)
    assert description["classes"] == list(CLASSES)
    assert description["recipe"]["epochs"] == settings.epochs
    fresh = build(network, layout=NTU_25, classes=5, **options_of(network, settings)).state_dict()
    assert fresh.keys() == read_state(weights)[0].keys()
    assert all(value.isfinite().all() for value in read_state(weights)[0].values())


@pytest.mark.parametrize("network", ["hrnn", "sgn", "dgnn", "st-gcn"])
def test_an_interrupted_run_ends_with_the_same_weights(network, few, tmp_path):
    settings = tiny(network, epochs=4, checkpoint_every=2)
    whole = train_actions(network, settings, few, tmp_path / "whole")
    with pytest.raises(Stop):
        train_actions(network, settings, few, tmp_path / "cut", progress=cut(7))
    assert not (tmp_path / "cut" / "model.safetensors").exists()
    assert [line["epoch"] for line in log_of(tmp_path / "cut")] == [1, 2]
    resumed = train_actions(network, settings, few, tmp_path / "cut")
    assert [line["epoch"] for line in log_of(tmp_path / "cut")] == [1, 2, 3, 4]
    if network == "hrnn":
        assert resumed.read_bytes() == whole.read_bytes()
    # Two runs of convolutions on a CPU may differ in the last bits, interrupted or not.
    same(resumed, whole, atol=1e-5)
    once_more = resumed.read_bytes()
    assert train_actions(network, settings, few, tmp_path / "cut").read_bytes() == once_more
    assert len(log_of(tmp_path / "cut")) == 4


def test_the_seed_and_nothing_else_decides(few, tmp_path):
    settings = tiny("hrnn")
    torch.manual_seed(99)
    before = torch.get_rng_state()
    one = train_actions("hrnn", settings, few, tmp_path / "one")
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(7)
    assert train_actions("hrnn", settings, few, tmp_path / "two").read_bytes() == one.read_bytes()
    assert train_actions("hrnn", settings, few, tmp_path / "three", seed=1).read_bytes() != one.read_bytes()


def test_a_folder_of_another_run_is_refused(few, tmp_path):
    settings = tiny("hrnn", epochs=1)
    train_actions("hrnn", settings, few, tmp_path)
    with pytest.raises(GaitkeeperError, match=rf"{CHECKPOINT}.*seed 0 instead of 1"):
        train_actions("hrnn", settings, few, tmp_path, seed=1)
    with pytest.raises(GaitkeeperError, match="takes 2 instead of 3"):
        train_actions("hrnn", replace(settings, takes=3), few, tmp_path)
    with pytest.raises(GaitkeeperError, match="network hrnn instead of sgn"):
        train_actions("sgn", tiny("sgn", epochs=1), few, tmp_path)


def test_subjects_for_validation_are_recognized_and_not_learned_from(few, tmp_path):
    settings = tiny("hrnn", validation=("002",))
    held = train_actions("hrnn", settings, few, tmp_path / "held")
    description = json.loads((tmp_path / "held" / "model.json").read_text())
    assert description["clips"] == 10
    assert all(0 <= line["validation"] <= 1 for line in log_of(tmp_path / "held"))
    other = Few()
    for i, sample in enumerate(other.samples):
        if sample.subject == "002":
            other._arrays[i] = other._arrays[i][:, ::-1].copy() + 1
    assert train_actions("hrnn", settings, other, tmp_path / "other").read_bytes() == held.read_bytes()
    assert "validation" not in log_of_run(few, tmp_path / "none")[0]
    with pytest.raises(DataError, match="no clip of the subjects for validation, 077"):
        train_actions("hrnn", replace(settings, validation=("077",)), few, tmp_path / "unknown")
    with pytest.raises(DataError, match="few actors: no clip to learn from"):
        train_actions("hrnn", replace(settings, validation=("001", "002", "003")), few, tmp_path / "all")


def log_of_run(data, folder):
    train_actions("hrnn", tiny("hrnn", epochs=1), data, folder)
    return log_of(folder)


def test_bad_clips_are_listed_and_the_others_go_on(tmp_path):
    data = Few(broken=(4, 7))
    train_actions("hrnn", tiny("hrnn", epochs=1), data, tmp_path)
    description = json.loads((tmp_path / "model.json").read_text())
    assert description["skipped"] == [[data.samples[i].key, "broken"] for i in (4, 7)]
    assert description["clips"] == 13
    with pytest.raises(DataError, match="no clip to learn from; the first: broken"):
        train_actions("hrnn", tiny("hrnn"), Few(broken=range(15)), tmp_path / "none")


def test_dgnns_graphs_stay_while_they_are_frozen(few, tmp_path, monkeypatch):
    monkeypatch.setitem(SHORT, "dgnn", replace(SHORT["dgnn"], frozen=2))
    settings = tiny("dgnn", epochs=3)

    def learned(step):
        folder = tmp_path / str(step)
        with pytest.raises(Stop):
            train_actions("dgnn", settings, few, folder, progress=cut(step))
        state = torch.load(folder / CHECKPOINT, weights_only=True)["model"]
        return {key: value for key, value in state.items() if key.endswith(("source_M", "target_M"))}

    two, still = learned(5), read_state(train_actions("dgnn", settings, few, tmp_path / "whole"))[0]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        fresh = build("dgnn", layout=NTU_25, classes=5, **UNITS).state_dict()
    assert len(two) == 4
    for key, value in two.items():
        assert torch.equal(value, fresh[key]), key
        assert not torch.equal(still[key], fresh[key]), key
    assert not torch.equal(still["fc.weight"], fresh["fc.weight"])


def test_as_gcns_inference_module_learns_first_and_then_the_network(few, tmp_path, monkeypatch):
    monkeypatch.setitem(SHORT, "as-gcn", replace(SHORT["as-gcn"], inference=2))
    settings = tiny("as-gcn", epochs=4, validation=("003",))
    with pytest.raises(Stop):
        train_actions("as-gcn", settings, few, tmp_path / "cut", progress=cut(5))
    first = torch.load(tmp_path / "cut" / CHECKPOINT, weights_only=True)["model"]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        fresh = build("as-gcn", layout=NTU_25, classes=5, inference=SMALL_INFERENCE, **UNITS).state_dict()
    last = read_state(train_actions("as-gcn", settings, few, tmp_path / "cut"))[0]
    moved = {key for key in fresh if not torch.equal(first[key], fresh[key])}
    assert moved
    assert all(key.startswith("inference.") for key in moved)
    later = {key for key in fresh if not torch.equal(first[key], last[key])}
    assert "network.fcn.weight" in later
    assert all(key.startswith("network.") for key in later)
    lines = log_of(tmp_path / "cut")
    assert ["accuracy" in line for line in lines] == ["validation" in line for line in lines]
    assert ["accuracy" in line for line in lines] == [False, False, True, True]
    assert lines[1]["loss"] < lines[0]["loss"]
    assert INFERENCE_RATE == 5e-4
    with pytest.raises(DataError, match="more epochs than the 2 of as-gcn's inference module, got 2"):
        train_actions("as-gcn", replace(settings, epochs=2), few, tmp_path / "short")


@EVERY
@pytest.mark.parametrize("recipes", [SHORT, PUBLISHED], ids=["short", "published"])
def test_recipes_resolve_and_their_preparations_feed_their_networks(network, recipes):
    name = "short" if recipes is SHORT else "published"
    found = recipe_of(network, ActionTraining(recipe=name))
    assert {**found.preparation, "stream": "joint"} == {**recipes[network].preparation, "stream": "joint"}
    assert replace(found, preparation={}) == replace(recipes[network], preparation={})
    assert list(found.milestones) == sorted(found.milestones)
    assert all(milestone < found.epochs for milestone in found.milestones)
    assert found.inference < found.epochs
    module = build(network, layout=NTU_25, classes=5, **options_of(network, tiny(network)))
    fed = Fed(Preparation.fitting(NTU_25, **found.preparation), module)
    motion = clips(NTU_25, frames=30)
    with torch.no_grad():
        assert module.eval()(*fed(motion)).shape == (3, 5)


def test_settings_take_the_recipes_place():
    settings = ActionTraining(epochs=7, batch=3, learning_rate=0.5, frames=20, stream="motion", augment=False)
    found = recipe_of("sgn", replace(settings, recipe="published"))
    assert (found.epochs, found.batch, found.learning_rate) == (7, 3, 0.5)
    assert (found.yaw, found.tilt, found.scale, found.crop, found.noise) == (0, 0, 0, 1, 0)
    assert found.preparation["timing"] == "resize"
    assert (found.preparation["frames"], found.preparation["stream"]) == (20, "motion")
    assert recipe_of("agcn", replace(settings, recipe="published")).preparation["timing"] == "loop"


@pytest.mark.parametrize("warmup", [{"warmup": 2}, {"warmup_epochs": 1}], ids=["steps", "epochs"])
def test_the_learning_rate_warms_up_and_falls(few, tmp_path, monkeypatch, warmup):
    seen = []
    step = torch.optim.SGD.step

    def spy(self, *arguments):
        seen.append(self.param_groups[0]["lr"])
        return step(self, *arguments)

    # Optimizers wrap the method of their class when one is made.
    monkeypatch.setattr(torch.optim.SGD, "step", spy)
    recipe = replace(PUBLISHED["hrnn"], milestones=(1, 2), learning_rate=0.1, **warmup)
    monkeypatch.setitem(PUBLISHED, "hrnn", recipe)
    settings = ActionTraining(recipe="published", epochs=3, batch=8, frames=8, **NARROW["hrnn"])
    train_actions("hrnn", settings, few, tmp_path)
    assert seen == pytest.approx([0.05, 0.1, 0.01, 0.01, 0.001, 0.001])


def test_augmentation_turns_and_scales_and_leaves_absent_persons_absent():
    motion = clips(NTU_25, persons=2)
    still = replace(Recipe(epochs=1), yaw=0.0, tilt=0.0, scale=0.0, noise=0.0)
    rng = np.random.default_rng(0)
    torch.testing.assert_close(augmented(motion.data, still, 1.0, rng), motion.data)
    turned = augmented(motion.data, replace(still, yaw=1.0, scale=0.2), 1.0, rng)
    before, after = (bone_lengths(to_joints(x), NTU_25)[:, 0] for x in (motion.data, turned))
    sizes = (after / before).flatten(1)
    torch.testing.assert_close(sizes, sizes[:, :1].expand_as(sizes), rtol=1e-3, atol=0)
    assert sizes[:, 0].unique().numel() == 3
    assert ((sizes > 0.8) & (sizes < 1.2)).all()
    torch.testing.assert_close(turned[:, 1], motion.data[:, 1] * sizes[:, 0, None, None, None], rtol=1e-4, atol=1e-5)
    noisy = augmented(motion.data, replace(still, noise=0.01), 0.5, rng)
    absent = ~motion.data.ne(0).any(3, keepdim=True).any(1, keepdim=True).expand_as(noisy)
    assert not noisy[absent].any()
    change = (noisy - motion.data)[~absent]
    assert 1e-3 < change.std() < 0.02


@pytest.mark.parametrize(
    ("network", "changes", "message"),
    [
        ("sgn", {"widths": (8, 8)}, r"expected 1 widths and no strides of sgn, got \(8, 8\)"),
        ("hrnn", {"widths": (8,)}, "expected 4 widths"),
        ("ms-g3d", {"widths": (6, 6, 6), "strides": (1, 1, 1)}, "no strides of ms-g3d"),
        ("st-gcn", {"widths": (8, 8)}, "as many widths as strides of st-gcn"),
        ("st-gcn", {"widths": None, "strides": (1,)}, "as many widths as strides"),
        ("st-gcn", {"widths": (8, 0), "strides": (1, 1)}, "widths and strides from 1"),
        ("ms-g3d", {"widths": (5, 6, 6)}, "ms-g3d cannot be built so .*divisible by 6"),
    ],
)
def test_what_no_network_has_is_refused(network, changes, message, few, tmp_path):
    with pytest.raises(DataError, match=message):
        train_actions(network, ActionTraining(**changes), few, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "wrong", [{"epochs": 0}, {"batch": 0}, {"frames": 0}, {"takes": 0}, {"checkpoint_every": 0}, {"learning_rate": 0.0}]
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(DataError, match=rf"expected .*{next(iter(wrong)).replace('_', '.')}"):
        ActionTraining(**wrong)


def test_actors_for_validation_are_none_of_the_test():
    settings, data = open_training_clips(ActionTraining(takes=1), None)
    assert settings.validation == tuple(f"{number:03d}" for number in range(25, 31))
    assert {sample.subject for sample in data.samples} == {f"{number:03d}" for number in range(1, 31)}
    asked, _ = open_training_clips(ActionTraining(validation=("007",)), None)
    assert asked.validation == ("007",)


def test_data_of_ones_own_are_split_as_published(shared):
    settings, data = open_training_clips(ActionTraining(), shared / "real" / "hdm05-11")
    assert {sample.subject for sample in data.samples} == {"bd", "bk", "dg"}
    assert len(data.samples) == 189
    assert settings.validation is None


def test_networks_of_one_person_refuse_two(few, tmp_path):
    victim = load_recognizer(train_actions("hrnn", tiny("hrnn", epochs=1), few, tmp_path))
    with pytest.raises(DataError, match="m=1"):
        victim.domain.check(clips(NTU_25, persons=2))
