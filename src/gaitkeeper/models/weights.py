"""Weights on disk: official checkpoints, our own safetensors, the shipped ones."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

import torch
from torch import Tensor, nn

from gaitkeeper.errors import WeightsError
from gaitkeeper.files import replacing
from gaitkeeper.models.gait.gaitset import BINS, GaitSet, from_original, is_original
from gaitkeeper.models.victim import Victim
from gaitkeeper.motion.motion import SILHOUETTES

SHIPPED = {"gaitset-walkers": "gaitset-walkers.safetensors"}
"""Weights in the package, by the name that ``--model`` takes."""


def read_state(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a state dict and its metadata without running anything in the file.

    ``.safetensors``, and pickled checkpoints by torch's restricted loader; a checkpoint's ``model`` entry is taken,
    and a data-parallel ``module.`` prefix dropped.

    Raises:
        WeightsError: the file is missing, damaged, or holds more than tensors.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: expected a weights file, found {'a folder' if path.is_dir() else 'nothing'}")
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "pt") as file:
                return {key: file.get_tensor(key) for key in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
        except SafetensorError as error:
            raise WeightsError(f"{path}: not a readable safetensors file ({error})") from error
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"{path}: not a checkpoint of plain tensors ({reason})") from error
    if isinstance(loaded, Mapping) and isinstance(loaded.get("model"), Mapping):
        loaded = loaded["model"]
    if not isinstance(loaded, Mapping) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise WeightsError(f"{path}: expected a state dict of tensors, found {type(loaded).__name__}")
    return {str(key).removeprefix("module."): value for key, value in loaded.items()}, {}


def save_state(path: Path | str, module: nn.Module, metadata: Mapping[str, str]) -> None:
    """Write a network's state as safetensors, whole or not at all."""
    from safetensors.torch import save_file

    state = {key: value.detach().cpu().contiguous() for key, value in module.state_dict().items()}
    with replacing(path) as temporary:
        save_file(state, temporary, metadata=dict(metadata))


def load_strictly(module: nn.Module, state: Mapping[str, Tensor], source: Path | str) -> None:
    """Load a state dict whose keys and shapes must be exactly the network's.

    Raises:
        WeightsError: naming the file, the missing and unexpected keys and the shapes that differ.
    """
    own = module.state_dict()
    faults = [f"missing {key}" for key in own if key not in state]
    faults += [f"unexpected {key}" for key in state if key not in own]
    faults += [
        f"{key}: expected shape {tuple(own[key].shape)}, found {tuple(value.shape)}"
        for key, value in state.items()
        if key in own and own[key].shape != value.shape
    ]
    faults += [f"{key}: not finite" for key, v in state.items() if v.is_floating_point() and not v.isfinite().all()]
    if faults:
        shown = "; ".join(faults[:6]) + (f"; and {len(faults) - 6} more" if len(faults) > 6 else "")
        raise WeightsError(f"{source}: does not fit {type(module).__name__}: {shown}")
    module.load_state_dict(state)


def for_convolutions(module: nn.Module) -> nn.Module:
    """Lay a network's convolution weights out channels last, in place; about 1.5 times faster on a CPU."""
    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def load_gaitset(path: Path) -> Victim:
    """Load a GaitSet of any width from OpenGait's, the original repository's or our own file.

    Widths, batch normalization and the distance of the original repository follow from the keys.
    """
    state, _ = read_state(path)
    original = is_original(state)
    if original:
        state = from_original(state)
    try:
        channels = [state[f"set_block{i}.forward_block.0.conv.weight"].shape[0] for i in (1, 2, 3)]
        parts, _, embedding = state["Head.fc_bin"].shape
    except (KeyError, ValueError, IndexError):
        found = ", ".join(list(state)[:4]) or "nothing"
        raise WeightsError(
            f"{path}: expected GaitSet's keys set_block1.forward_block.0.conv.weight, ..., Head.fc_bin; found {found}"
        ) from None
    if parts != 2 * sum(BINS):
        raise WeightsError(f"{path}: expected {2 * sum(BINS)} parts in Head.fc_bin, found {parts}")
    normalize = "set_block1.forward_block.0.bn.weight" in state
    module = GaitSet(channels=channels, embedding=embedding, normalize=normalize).eval()
    load_strictly(module, state, path)
    for_convolutions(module)
    return Victim(module, SILHOUETTES, distance="whole" if original else "parts")


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
        model: the name of shipped weights, the path of a GaitSet checkpoint, or ``package:function`` where the
            function takes nothing and returns a Victim or a ``torch.nn.Module`` that embeds silhouettes
            ``(n, t, 64, 44)`` in [0, 1].
        device: where to put the network.
    """
    if model in SHIPPED:
        victim = load_gaitset(shipped(model))
    elif ":" in model and not Path(model).exists():
        victim = _from_function(model)
    elif Path(model).suffix in {".safetensors", ".pt", ".pth", ".ptm"} or Path(model).exists():
        victim = load_gaitset(Path(model))
    else:
        raise WeightsError(
            f"{model!r} is no model: expected {', '.join(SHIPPED)}, the path of a checkpoint, or package:function"
        )
    victim.module.to(device)
    return victim


def _from_function(model: str) -> Victim:
    import importlib
    import sys

    package, _, attribute = model.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        made = getattr(importlib.import_module(package), attribute)()
    except (ImportError, AttributeError, TypeError) as error:
        raise WeightsError(f"{model}: cannot be called without arguments ({error})") from error
    finally:
        sys.path.remove(str(Path.cwd()))
    if isinstance(made, Victim):
        return made
    if isinstance(made, nn.Module):
        return Victim.of(made)
    raise WeightsError(f"{model}: expected it to return a Victim or a torch.nn.Module, got {type(made).__name__}")
