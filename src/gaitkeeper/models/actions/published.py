"""What published action networks were trained with, for loading their weights and for training anew. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_RAW: Mapping[str, Any] = {"center": "none", "facing": "none", "timing": "pad", "frames": 300}
_TWO_STREAM: Mapping[str, Any] = {
    "center": "frame", "joint": "spine", "facing": "spine", "timing": "loop", "frames": 300,
}  # fmt: skip

PREPARATIONS: Mapping[str, Mapping[str, Any]] = {
    "st-gcn": _RAW,
    "agcn": _TWO_STREAM,
    "aagcn": _TWO_STREAM,
    "as-gcn": _RAW,
    "dgnn": _TWO_STREAM,
    "ctr-gcn": {"center": "start", "joint": "spine", "facing": "none", "timing": "resize", "frames": 64, "crop": 0.95},
    "sgn": {"center": "start", "joint": "spine", "facing": "none", "timing": "none", "frames": None},
    "ms-g3d": _TWO_STREAM,
    "hrnn": {"center": "frame", "facing": "none", "timing": "none", "frames": None},
}
"""By network, what :meth:`~gaitkeeper.models.actions.preparation.Preparation.fitting` takes beside the layout."""
