"""State dicts on disk: read without running anything, written whole, loaded strictly."""

from __future__ import annotations

import importlib
import json
import pickle
import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from gaitkeeper.errors import WeightsError
from gaitkeeper.files import replacing

PACKED = "gaitkeeper"
"""Key of our metadata: safetensors writes several keys in an order that differs from run to run."""


def read_state(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a state dict and its metadata without running anything in the file.

    ``.safetensors``, and pickled checkpoints by torch's restricted loader; a checkpoint's ``model`` or ``state_dict``
    is taken, and a data-parallel ``module.`` prefix dropped.

    Raises:
        WeightsError: the file is missing, damaged, holds more than tensors, or claims more values than it holds.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: expected a weights file, found {'a folder' if path.is_dir() else 'nothing'}")
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "pt") as file:
                state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
                metadata = dict(file.metadata() or {})
            packed = json.loads(metadata.pop(PACKED, "{}"))
            if not isinstance(packed, dict) or not all(isinstance(value, str) for value in packed.values()):
                raise ValueError("its metadata are not texts by name")
            return _sound(state, path), {**metadata, **packed}
        except (SafetensorError, ValueError, RecursionError) as error:
            raise WeightsError(f"{path}: not a readable safetensors file ({error})") from error
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"{path}: not a checkpoint of plain tensors ({reason})") from error
    if isinstance(loaded, Mapping):
        inside = (loaded.get(name) for name in ("model", "state_dict"))
        loaded = next((state for state in inside if isinstance(state, Mapping)), loaded)
    if not isinstance(loaded, Mapping) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise WeightsError(f"{path}: expected a state dict of tensors, found {type(loaded).__name__}")
    return _sound(loaded, path), {}


def _sound(state: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Return a state dict without prefix; refuse empty tensors and those that claim more values than the file holds."""
    empty = next((key for key, value in state.items() if not value.numel()), None)
    if empty is not None:
        raise WeightsError(f"{path}: {empty} is empty, of shape {tuple(state[empty].shape)}")
    values, size = sum(value.numel() for value in state.values()), path.stat().st_size
    if values > size:
        raise WeightsError(f"{path}: claims {values} values in {size} bytes")
    return {str(key).removeprefix("module."): value for key, value in state.items()}


def save_state(path: Path | str, module: nn.Module, metadata: Mapping[str, str]) -> None:
    """Write a network's state as safetensors, whole or not at all; the same state gives the same bytes."""
    from safetensors.torch import save_file

    state = {key: value.detach().cpu().contiguous() for key, value in module.state_dict().items()}
    with replacing(path) as temporary:
        save_file(state, temporary, metadata={PACKED: json.dumps(dict(metadata), sort_keys=True)})


def load_strictly(module: nn.Module, state: Mapping[str, Tensor], source: Path | str) -> None:
    """Load a state dict whose keys and shapes must be exactly the network's.

    A network on the ``meta`` device gets its memory, on the CPU, once all is known to fit.

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
    # Assigning keeps buffers that are not in the state, which giving a meta network memory would not.
    missing = any(weight.is_meta for weight in module.parameters())
    fitting = {key: value.to(own[key].dtype).clone() for key, value in state.items()} if missing else state
    try:
        module.load_state_dict(fitting, assign=missing)
    except WeightsError as error:
        raise WeightsError(f"{source}: {error}") from None


def call_named(model: str) -> object:
    """Return what the function without arguments that ``package:function`` names makes; the working folder is searched.

    Raises:
        WeightsError: it cannot be imported or called.
    """
    package, _, attribute = model.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        return getattr(importlib.import_module(package), attribute)()
    except (ImportError, AttributeError, TypeError) as error:
        raise WeightsError(f"{model}: cannot be called without arguments ({error})") from error
    finally:
        sys.path.remove(str(Path.cwd()))
