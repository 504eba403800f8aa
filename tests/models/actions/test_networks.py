"""Skeleton networks as victims: what their files say, and what is refused."""

import json
import re
from dataclasses import replace

import pytest
import torch

from gaitkeeper.attacks.eot import Expected, Positions
from gaitkeeper.errors import DataError, WeightsError
from gaitkeeper.models.actions.networks import FAMILIES, Fed, action_victim, build, family_of, from_state
from gaitkeeper.models.actions.preparation import Preparation
from gaitkeeper.models.actions.published import PREPARATIONS
from gaitkeeper.models.states import save_state
from gaitkeeper.models.victim import Victim
from gaitkeeper.models.weights import load_victim, recognizes_actions
from gaitkeeper.motion.motion import skeletons
from gaitkeeper.motion.skeletons import HDM05_25, KINETICS_18, MHAD_35, NTU_25, NTU_25_HANDS, UCLA_20
from tests.attacks.victims import clips
from tests.motion.test_kinematics import ELBOW

CLASSES = ("bow", "hop", "kick", "squat", "throw")
UNITS = {"widths": (8, 8), "strides": (1, 2)}
NARROW = {
    "st-gcn": UNITS,
    "agcn": UNITS,
    "aagcn": UNITS,
    "as-gcn": {"widths": (4, 8), "strides": (1, 2), "recon_width": 4, "inference": {"frames": 6, "width": 8}},
    "dgnn": UNITS,
    "ctr-gcn": UNITS,
    "sgn": {"width": 4, "frames": 6},
    "ms-g3d": {"widths": (6, 12), "scales": 3, "window_scales": 2},
    "hrnn": {"units": (3, 4, 5, 6)},
}
PREPARED = Preparation(layout=NTU_25, scale=0.35, frames=8)
EVERY = pytest.mark.parametrize("name", FAMILIES)
TEACHES = {"st-gcn": "A", "as-gcn": "network.A"}
"""Families whose checkpoints hold the fixed graph, and its key."""


def network(name, layout=NTU_25, *, persons=2, **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = build(name, layout=layout, classes=len(CLASSES), persons=persons, **{**NARROW[name], **options})
        with torch.no_grad():
            for weight in made.parameters():
                weight.add_(0.05 * torch.randn_like(weight))
    return made.eval()


def saved(path, module, told=None, *, layout=NTU_25):
    prepared = replace(PREPARED, layout=layout).to_json()
    told = told or {"preparation": prepared, "classes": CLASSES, "persons": 2}
    save_state(path, module, {key: json.dumps(value) for key, value in told.items()})
    return path


def logits(victim, motion):
    with torch.no_grad():
        return victim(motion).logits


def refused(path, *messages):
    with pytest.raises(WeightsError) as error:
        load_victim(str(path))
    text = str(error.value)
    assert text.startswith(f"{path}: ")
    for message in messages:
        assert message in text
    assert text.count(str(path)) == 1


@EVERY
def test_our_file_is_the_victim_that_was_saved(tmp_path, name):
    module = network(name)
    assert family_of(module.state_dict()) == name
    path = saved(tmp_path / "model.safetensors", module)
    victim = load_victim(str(path))
    assert (victim.classes, victim.domain, victim.output) == (CLASSES, skeletons(NTU_25, persons=2), "logits")
    assert recognizes_actions(str(path))
    motion = clips(NTU_25, persons=2)
    wanted = logits(action_victim(module, PREPARED, classes=CLASSES, persons=2), motion)
    assert wanted.shape == (3, len(CLASSES))
    assert torch.equal(logits(victim, motion), wanted)
    assert (wanted[0] - wanted[1]).abs().max() > 1e-5
    victim.domain.check(motion)
    data = motion.data.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(victim(motion.with_data(data)).logits.square().sum(), data)
    assert gradient.isfinite().all()
    assert (gradient.flatten(1).abs().sum(1) > 0).all()
    torch.testing.assert_close(logits(victim, motion.select([2])), wanted[2:], rtol=1e-4, atol=1e-5)


@EVERY
def test_one_joint_of_a_victims_domain_more_is_refused(name):
    victim = action_victim(network(name, persons=1), PREPARED, persons=1)
    motion = clips(NTU_25)
    with pytest.raises(DataError, match=r"v=25, m=1\), got \(3, 3, 9, 24, 1\)"):
        victim.domain.check(replace(motion, data=motion.data[:, :, :, :24]))
    with pytest.raises(DataError, match=r"m=1\), got \(3, 3, 9, 25, 2\)"):
        victim.domain.check(clips(NTU_25, persons=2))


WRAPPED = {
    "bare": lambda state: state,
    "data parallel": lambda state: {f"module.{key}": value for key, value in state.items()},
    "state_dict": lambda state: {"epoch": 65, "state_dict": state, "optimizer": {"param_groups": [{"lr": 0.1}]}},
    "model": lambda state: {"model": {f"module.{key}": value for key, value in state.items()}},
}


@EVERY
def test_published_forms_load_with_the_published_preparation(tmp_path, name):
    layout = NTU_25_HANDS if name == "dgnn" else NTU_25
    module = network(name, layout)
    state = module.state_dict()
    for form, wrap in WRAPPED.items():
        torch.save(wrap(state), tmp_path / f"{form}.pt")
        victim = load_victim(str(tmp_path / f"{form}.pt"))
        assert all(torch.equal(value, state[key]) for key, value in victim.module.state_dict().items()), form
        assert victim.domain.layout is layout
        assert victim.classes is None
        assert victim.domain.shape[3] == (2 if name in ("agcn", "aagcn", "dgnn", "ctr-gcn", "ms-g3d") else None)
    published = Preparation.fitting(layout, **PREPARATIONS[name])
    motion = clips(NTU_25, persons=2)
    assert torch.equal(logits(victim, motion), logits(action_victim(module, published), motion))


def test_published_preparations_are_those_of_the_papers():
    def values(name):
        made = Preparation.fitting(NTU_25, **PREPARATIONS[name])
        return made.center, made.joint, made.facing, made.scale, made.timing, made.frames, made.crop

    for name in ("st-gcn", "as-gcn"):
        assert values(name) == ("none", None, "none", 1.0, "pad", 300, 1.0)
    for name in ("agcn", "aagcn", "dgnn", "ms-g3d"):
        assert values(name) == ("frame", 1, "spine", 1.0, "loop", 300, 1.0)
    assert values("ctr-gcn") == ("start", 1, "none", 1.0, "resize", 64, 0.95)
    assert values("sgn")[:5] == ("start", 1, "none", 1.0, "none")


def test_the_older_names_of_2s_agcns_released_weights_load(tmp_path):
    module = network("agcn", widths=(4, 8))
    state = module.state_dict()
    old = {re.sub(r"^l(\d+)\.", r"l\1a.", key).replace(".down.", ".conv_res."): value for key, value in state.items()}
    assert "l2a.gcn1.conv_res.0.weight" in old
    path = tmp_path / "ntu_cs_agcn_joint-49-31300.pt"
    torch.save(old, path)
    published = Preparation.fitting(NTU_25, **PREPARATIONS["agcn"])
    motion = clips(NTU_25, persons=2)
    assert torch.equal(logits(load_victim(str(path)), motion), logits(action_victim(module, published), motion))


@pytest.mark.parametrize("name", TEACHES)
def test_a_checkpoint_with_its_graph_says_how_hand_tips_hang(tmp_path, name):
    torch.save(network(name, NTU_25_HANDS).state_dict(), tmp_path / "other.pt")
    assert load_victim(str(tmp_path / "other.pt")).domain.layout is NTU_25_HANDS
    torch.save(network(name, NTU_25).state_dict(), tmp_path / "usual.pt")
    assert load_victim(str(tmp_path / "usual.pt")).domain.layout is NTU_25
    torch.save(network(name, HDM05_25).state_dict(), tmp_path / "hdm05.pt")
    assert load_victim(str(tmp_path / "hdm05.pt")).domain.layout is HDM05_25


@pytest.mark.parametrize("layout", [UCLA_20, KINETICS_18, MHAD_35], ids=lambda layout: layout.name)
@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "hrnn"])
def test_other_numbers_of_joints_get_their_layout(tmp_path, name, layout):
    torch.save(network(name, layout).state_dict(), tmp_path / "model.pt")
    victim = load_victim(str(tmp_path / "model.pt"))
    assert victim.domain.layout is layout
    assert logits(victim, clips(layout, persons=2)).isfinite().all()


def test_hrnn_needs_a_layout_whose_parts_are_known():
    with pytest.raises(DataError, match=r"hrnn: expected a layout of ntu-25, .*, got ucla-20"):
        build("hrnn", layout=UCLA_20, classes=3)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("agcn", "data_bn.weight: expected shape (120,), found (150,)"),
        ("sgn", "does not fit SGN: dif_embed.cnn.0.bn.bias: expected shape (60,), found (75,)"),
        ("hrnn", "hrnn: expected a layout of ntu-25, ntu-25-hands"),
    ],
)
def test_a_layout_of_other_joints_is_refused(tmp_path, name, message):
    refused(saved(tmp_path / "model.safetensors", network(name), layout=UCLA_20), message)


def test_a_checkpoint_of_a_graph_that_its_layout_has_not_is_refused(tmp_path):
    refused(saved(tmp_path / "model.safetensors", network("st-gcn"), layout=NTU_25_HANDS), "graph")


@EVERY
def test_a_cut_state_is_refused(tmp_path, name):
    state = network(name).state_dict()
    first, last = next(iter(state)), list(state)[-1]
    for missing in {first, last, "fc.weight"} & set(state):
        rest = {key: value for key, value in state.items() if key != missing}
        path = tmp_path / f"{missing}.pt"
        torch.save(rest, path)
        with pytest.raises(WeightsError, match=re.escape(str(path))):
            load_victim(str(path))
    torch.save({**state, "more": torch.ones(1)}, tmp_path / "more.pt")
    refused(tmp_path / "more.pt", "unexpected more")


@pytest.mark.parametrize("prefix", ["network.", ""])
def test_as_gcn_without_its_inference_module_says_so(tmp_path, prefix):
    parts = network("as-gcn").network.state_dict()
    path = tmp_path / "as_gcn.pt"
    torch.save({f"{prefix}{key}": value for key, value in parts.items()}, path)
    refused(path, "expected AS-GCN's inference module beside its network", "found the network alone")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": CLASSES[:4]}, "names 4 classes of 5"),
        ({"classes": 5}, "expected a list of names of classes, found 5"),
        ({"classes": [1, 2, 3, 4, 5]}, "expected a list of names"),
        ({"classes": None}, "expected a list of names"),
        ({"persons": "two"}, "expected a number of persons, found two"),
        ({"persons": 0}, "expected a number of persons, found 0"),
        ({"preparation": {}}, "expected a preparation with a layout"),
        ({"preparation": {**PREPARED.to_json(), "stream": "smell"}}, "expected stream"),
        ({"preparation": {**PREPARED.to_json(), "timing": "none", "frames": None}}, "clips of one length"),
    ],
)
def test_metadata_that_do_not_fit_are_refused(tmp_path, change, message):
    told = {"preparation": PREPARED.to_json(), "classes": CLASSES, "persons": 2, **change}
    refused(saved(tmp_path / "model.safetensors", network("st-gcn"), told), message)


@pytest.mark.parametrize("metadata", [{"preparation": json.dumps(PREPARED.to_json())}, {"preparation": "{"}])
def test_metadata_that_are_missing_or_cut_are_refused(tmp_path, metadata):
    path = tmp_path / "model.safetensors"
    save_state(path, network("sgn"), metadata)
    refused(path, "metadata cannot be read")


def test_the_global_random_state_stays(tmp_path):
    path = saved(tmp_path / "model.safetensors", network("as-gcn"))
    before = torch.get_rng_state()
    load_victim(str(path))
    assert torch.equal(torch.get_rng_state(), before)


def test_sgn_is_deterministic_and_randomized_where_that_is_asked_for():
    victim = action_victim(network("sgn", frames=20), replace(PREPARED, frames=60))
    motion = clips(NTU_25, frames=30)
    assert torch.equal(logits(victim, motion), logits(victim, motion))
    drawn = logits(Expected(victim, Positions(frames=20), draws=6), motion)
    assert drawn.shape == (3, 6, len(CLASSES))
    assert (drawn.std(1).amax(1) > 1e-4).all()
    assert torch.equal(logits(Expected(victim, Positions(frames=20), draws=6), motion), drawn)
    other = logits(Expected(victim, Positions(frames=20), draws=6, seed=1), motion)
    assert not torch.equal(other, drawn)


@pytest.mark.parametrize("name", ["sgn", "hrnn"])
def test_networks_that_take_lengths_see_clips_of_their_own(name):
    preparation = Preparation(layout=NTU_25, center="frame", facing="yaw", timing="none", frames=None)
    victim = action_victim(network(name), preparation)
    motion = clips(NTU_25, lengths=torch.tensor([9, 7, 8]))
    whole = logits(victim, motion)
    for row, length in enumerate([9, 7, 8]):
        alone = clips(NTU_25).select([row])
        alone = replace(alone, data=alone.data[:, :, :length])
        torch.testing.assert_close(whole[row : row + 1], logits(victim, alone), rtol=1e-4, atol=1e-5)


def test_networks_that_average_frames_need_one_length():
    preparation = Preparation(layout=NTU_25, timing="none", frames=None)
    with pytest.raises(WeightsError, match="STGCN needs clips of one length"):
        Fed(preparation, network("st-gcn"))


def test_a_state_of_none_of_them():
    assert family_of({"weight": torch.ones(1)}) is None
    state = network("sgn", MHAD_35).state_dict()
    found = from_state(state)
    assert (found.family, found.layout, found.persons, found.classes) == ("sgn", MHAD_35, None, 5)
    three = build("sgn", layout=ELBOW, classes=2, **NARROW["sgn"]).state_dict()
    with pytest.raises(WeightsError, match="expected weights of 18, 20, 25, 35 joints, found 3"):
        from_state(three)


def test_a_users_own_network_recognizes_actions():
    assert recognizes_actions("tests.models.actions.test_networks:own")
    assert not recognizes_actions("tests.attacks.victims:gait_module")


def own():
    return Victim(network("sgn"), skeletons(NTU_25), output="logits", prepare=Fed(PREPARED, network("sgn")))
