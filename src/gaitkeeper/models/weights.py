"""Recognizers by name: official checkpoints, our own safetensors, the shipped ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

import torch
from torch import Tensor, nn

from gaitkeeper.errors import DataError, WeightsError
from gaitkeeper.models.actions.agcn import from_released
from gaitkeeper.models.actions.networks import FAMILIES, NETWORK, action_victim, family_of, from_state
from gaitkeeper.models.actions.preparation import Preparation
from gaitkeeper.models.actions.published import PREPARATIONS
from gaitkeeper.models.ensemble import Ensemble, Member
from gaitkeeper.models.gait.deepgaitv2 import DeepGaitV2
from gaitkeeper.models.gait.gaitbase import GaitBase
from gaitkeeper.models.gait.gaitgl import GaitGL
from gaitkeeper.models.gait.gaitpart import GaitPart
from gaitkeeper.models.gait.gaitset import GaitSet, from_original, is_original
from gaitkeeper.models.states import call_named, load_strictly, read_state
from gaitkeeper.models.victim import Victim
from gaitkeeper.motion.motion import SILHOUETTES

SHIPPED = {
    "gaitset-walkers": "gaitset-walkers.safetensors",
    "gaitbase-walkers": "gaitbase-walkers.safetensors",
    "gaitpart-walkers": "gaitpart-walkers.safetensors",
    "st-gcn-actors": "st-gcn-actors.safetensors",
    "ctr-gcn-actors": "ctr-gcn-actors.safetensors",
    "sgn-actors": "sgn-actors.safetensors",
    "hrnn-actors": "hrnn-actors.safetensors",
}
"""Weights in the package, by the name that ``--model`` takes."""


def for_convolutions(module: nn.Module) -> nn.Module:
    """Lay a network's convolution weights out channels last, in place; about 1.5 times faster on a CPU.

    Three-dimensional convolutions stay as they are: they gain nothing.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            part.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return module


Recognizer = GaitSet | GaitPart | GaitGL | GaitBase | DeepGaitV2

MOST_PERSONS = 16
"""Most persons of a clip that weights may ask for."""

_NETWORKS: Mapping[str, type[Recognizer]] = {
    "set_block1.forward_block.0.conv.weight": GaitSet,
    "Backbone.forward_block.feature.0.conv.weight": GaitPart,
    "conv3d.0.conv3d.weight": GaitGL,
    "Backbone.forward_block.conv1.conv.weight": GaitBase,
    "layer0.forward_block.0.weight": DeepGaitV2,
}
"""The recognizers by the key of their first convolution."""


def load_recognizer(path: Path) -> Victim:
    """Load a recognizer of gaits or actions of any width from a published checkpoint or our own file.

    Of gaits those are OpenGait's and for GaitSet that of the original repository, whose distance is another one; of
    actions those of the networks' own repositories. Network, widths, blocks, classes and batch normalization follow
    from keys and shapes, and of published action networks the preparation too.

    Raises:
        WeightsError: the file cannot be read, or its keys and shapes are those of no network here.
    """
    state, metadata = read_state(path)
    if FAMILIES["as-gcn"].key.removeprefix(NETWORK) in state:
        state = {f"{NETWORK}{key}": value for key, value in state.items()}
    if family_of(renamed := from_released(state)) is not None:
        return _action_recognizer(renamed, metadata, path)
    original = is_original(state)
    if original:
        state = from_original(state)
    network = next((network for key, network in _NETWORKS.items() if key in state), None)
    if network is None:
        names = ", ".join([*(network.__name__ for network in _NETWORKS.values()), *FAMILIES])
        found = ", ".join(list(state)[:4]) or "nothing"
        raise WeightsError(f"{path}: expected the keys of {names}; found {found}")
    try:
        options = network.options(state)
    except KeyError as error:
        found = ", ".join(list(state)[:4])
        raise WeightsError(f"{path}: expected {network.__name__}'s keys; {error} is missing, found {found}") from None
    except (ValueError, IndexError) as error:
        raise WeightsError(f"{path}: has not {network.__name__}'s shapes ({error})") from None
    with torch.device("meta"):
        module = network(**options)
    load_strictly(module, state, path)
    return Victim(for_convolutions(module.eval()), SILHOUETTES, distance="whole" if original else "parts")


def _action_recognizer(state: Mapping[str, Tensor], metadata: Mapping[str, str], path: Path) -> Victim:
    """Return a skeleton network as a victim: with the preparation and classes that our own files tell, else published.

    Raises:
        WeightsError: keys and shapes are not those of one network, or the metadata do not fit it.
    """
    ours = "preparation" in metadata
    try:
        told = {key: json.loads(metadata[key]) for key in ("preparation", "classes", "persons")} if ours else {}
    except (KeyError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: its metadata cannot be read ({error})") from error
    try:
        preparation = Preparation.from_json(told["preparation"]) if ours else None
        # Some networks draw their first weights from the random state that is the caller's.
        with torch.random.fork_rng(devices=[]):
            found = from_state(state, layout=None if preparation is None else preparation.layout)
    except KeyError as error:
        raise WeightsError(f"{path}: expected the keys of {family_of(state)}; {error} is missing") from None
    except (ValueError, IndexError, RuntimeError, DataError) as error:
        raise WeightsError(f"{path}: has not the shapes of {family_of(state)} ({error})") from None
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None
    load_strictly(found.module, state, path)
    if preparation is None:
        preparation = Preparation.fitting(found.layout, **PREPARATIONS[found.family])
    classes, persons = told.get("classes"), found.persons or told.get("persons")
    if ours and not (isinstance(classes, list) and all(isinstance(name, str) for name in classes)):
        raise WeightsError(f"{path}: expected a list of names of classes, found {str(classes)[:60]}")
    if ours and (type(persons) is not int or not 1 <= persons <= MOST_PERSONS):
        raise WeightsError(f"{path}: expected a number of persons, found {str(persons)[:60]}")
    if classes is not None and len(classes) != found.classes:
        raise WeightsError(f"{path}: names {len(classes)} classes of {found.classes}")
    try:
        return action_victim(found.module.eval(), preparation, classes=classes, persons=persons)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None


def shipped(name: str) -> Path:
    """Return the path of shipped weights."""
    if name not in SHIPPED:
        raise WeightsError(f"unknown weights {name!r}; shipped are {', '.join(SHIPPED)}")
    return Path(str(resources.files("gaitkeeper") / "weights" / SHIPPED[name]))


def card(name: str) -> dict[str, object]:
    """Return the card of shipped weights: command, seed, data, metrics, limits."""
    return json.loads(shipped(name).with_suffix(".json").read_text(encoding="utf-8"))


def load_victim(model: str, *, device: str = "cpu") -> Victim:
    """Return the victim that ``--model`` names.

    Args:
        model: the name of shipped weights, the path of a checkpoint, or ``package:function`` where the
            function takes nothing and returns a Victim or a ``torch.nn.Module`` that embeds silhouettes
            ``(n, t, 64, 44)`` in [0, 1].
        device: where to put the network.
    """
    if model in SHIPPED:
        victim = load_recognizer(shipped(model))
    elif ":" in model and not Path(model).exists():
        victim = _from_function(model)
    elif Path(model).suffix in {".safetensors", ".pt", ".pth", ".ptm"} or Path(model).exists():
        victim = load_recognizer(Path(model))
    else:
        raise WeightsError(
            f"{model!r} is no model: expected {', '.join(SHIPPED)}, the path of a checkpoint, or package:function"
        )
    victim.module.to(device)
    return victim


def load_action_victim(model: str, *, device: str = "cpu") -> Member:
    """Return the recognizer of actions that ``--model`` names: a victim, or several joined by ``+`` as one ensemble.

    Args:
        model: as :func:`load_victim` takes it; the streams of a network, ``joint.safetensors+bone.safetensors``, are
            added.
        device: where to put the networks.

    Raises:
        WeightsError: as :func:`load_victim` does, or members that do not go together.
    """
    if "+" not in model or Path(model).exists():
        return load_victim(model, device=device)
    try:
        return Ensemble([load_victim(part, device=device) for part in model.split("+")])
    except WeightsError:
        raise
    except DataError as error:
        raise WeightsError(f"{model}: {error}") from None


def recognizes_actions(model: str) -> bool:
    """Tell whether a model, as ``--model`` names it, recognizes actions of skeletons; else it recognizes gaits."""
    return load_action_victim(model).domain.layout is not None


def _from_function(model: str) -> Victim:
    made = call_named(model)
    if isinstance(made, Victim):
        return made
    if isinstance(made, nn.Module):
        return Victim.of(made)
    raise WeightsError(f"{model}: expected it to return a Victim or a torch.nn.Module, got {type(made).__name__}")
