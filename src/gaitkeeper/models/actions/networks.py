"""All skeleton networks by name: how they are built, known by their keys, fed, and wrapped as victims."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor, nn

from gaitkeeper.errors import DataError, WeightsError
from gaitkeeper.models.actions import agcn, sgn
from gaitkeeper.models.actions.as_gcn import ASGCN, ActionalASGCN
from gaitkeeper.models.actions.as_gcn_inference import ActionalInference
from gaitkeeper.models.actions.ctr_gcn import CTRGCN
from gaitkeeper.models.actions.dgnn import DGNN
from gaitkeeper.models.actions.graphs import Graph
from gaitkeeper.models.actions.hrnn import HDM05_25_PARTS, HRNN, NTU25_PARTS
from gaitkeeper.models.actions.ms_g3d import MSG3D
from gaitkeeper.models.actions.preparation import Preparation
from gaitkeeper.models.actions.st_gcn import STGCN
from gaitkeeper.models.victim import Victim
from gaitkeeper.motion.motion import Motion, skeletons
from gaitkeeper.motion.skeletons import (
    HDM05_25,
    HDM05_25_RETARGETED,
    KINETICS_18,
    LAYOUTS,
    MHAD_35,
    NTU_25,
    NTU_25_HANDS,
    UCLA_20,
    Layout,
)

NETWORK, INFERENCE = "network.", "inference."
"""Prefixes of AS-GCN's two modules in one file."""

_HRNN_PARTS = {
    **dict.fromkeys((NTU_25.name, NTU_25_HANDS.name), NTU25_PARTS),
    **dict.fromkeys((HDM05_25.name, HDM05_25_RETARGETED.name), HDM05_25_PARTS),
}
_BY_JOINTS = {len(layout): layout for layout in (NTU_25, KINETICS_18, UCLA_20, MHAD_35)}


@dataclass(frozen=True, kw_only=True)
class Family:
    """A family of networks.

    Args:
        key: a key of its state dicts that no other family has.
        build: makes a network of a layout, numbers of classes and persons, and other options.
        options: what the keys and shapes of a state dict say of these other options, with ``classes``, ``joints``
            where they tell, and for families that tell persons apart ``persons``.
        layout: of published weights of 25 joints.
    """

    key: str
    build: Callable[..., nn.Module]
    options: Callable[[Mapping[str, Tensor]], dict[str, Any]]
    layout: Layout = NTU_25


def _on_graph(network: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """Return how a network on a graph that tells persons apart is built."""

    def build(*, layout: Layout, classes: int, persons: int, **options: Any) -> nn.Module:
        return network(graph=Graph.of(layout), classes=classes, persons=persons, **options)

    return build


def _st_gcn(*, layout: Layout, classes: int, persons: int, **options: Any) -> nn.Module:
    return STGCN(graph=Graph.of(layout), classes=classes, **options)


def _sgn(*, layout: Layout, classes: int, persons: int, **options: Any) -> nn.Module:
    return sgn.SGN(joints=len(layout), classes=classes, **options)


def _hrnn(*, layout: Layout, classes: int, persons: int, **options: Any) -> nn.Module:
    if layout.name not in _HRNN_PARTS:
        raise DataError(
            f"hrnn: expected a layout of {', '.join(_HRNN_PARTS)}, whose body parts are known, got {layout.name}"
        )
    return HRNN(joints=len(layout), classes=classes, parts=_HRNN_PARTS[layout.name], **options)


def _as_gcn(
    *, layout: Layout, classes: int, persons: int, inference: Mapping[str, Any] | None = None, **options: Any
) -> nn.Module:
    network = ASGCN(graph=Graph.of(layout), classes=classes, **options)
    return ActionalASGCN(network, ActionalInference(joints=len(layout), **(inference or {})))


def _as_gcn_options(state: Mapping[str, Tensor]) -> dict[str, Any]:
    parts = [
        {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        for prefix in (NETWORK, INFERENCE)
    ]
    if not parts[1]:
        raise WeightsError(
            f"expected AS-GCN's inference module beside its network, in one file with keys {NETWORK}* and "
            f"{INFERENCE}*; found the network alone"
        )
    return {**ASGCN.options(parts[0]), "inference": ActionalInference.options(parts[1])}


FAMILIES: Mapping[str, Family] = {
    "st-gcn": Family(key="st_gcn_networks.0.gcn.conv.weight", build=_st_gcn, options=STGCN.options),
    "aagcn": Family(key="l1.gcn1.conv_ta.weight", build=_on_graph(agcn.AAGCN), options=agcn.AAGCN.options),
    "agcn": Family(key="l1.gcn1.conv_d.0.weight", build=_on_graph(agcn.AGCN), options=agcn.AGCN.options),
    "as-gcn": Family(key="network.class_layer_0.gcn.conv.weight", build=_as_gcn, options=_as_gcn_options),
    "dgnn": Family(key="l1.dgn.H_v.weight", build=_on_graph(DGNN), options=DGNN.options, layout=NTU_25_HANDS),
    "ctr-gcn": Family(key="l1.gcn1.convs.0.conv3.weight", build=_on_graph(CTRGCN), options=CTRGCN.options),
    "sgn": Family(key="tem_embed.cnn.0.cnn.weight", build=_sgn, options=sgn.SGN.options),
    "ms-g3d": Family(key="sgcn1.0.A_res", build=_on_graph(MSG3D), options=MSG3D.options),
    "hrnn": Family(key="levels.0.0.weight_hh_l0", build=_hrnn, options=HRNN.options),
}
"""All families by name; AAGCN's keys include 2s-AGCN's, so it comes first."""


def family_of(state: Mapping[str, Tensor]) -> str | None:
    """Return the name of the family that a state dict is of, or None."""
    return next((name for name, family in FAMILIES.items() if family.key in state), None)


def build(name: str, *, layout: Layout, classes: int, persons: int = 1, **options: Any) -> nn.Module:
    """Return a network of a family, freshly initialized; full-size unless the options say otherwise.

    Args:
        name: of the family.
        layout: the joints.
        classes: actions.
        persons: persons of a clip, which some families have in their weights.
        options: of the network itself, as its class has them; ``inference`` holds those of AS-GCN's inference.
    """
    return FAMILIES[name].build(layout=layout, classes=classes, persons=persons, **options)


class Found(NamedTuple):
    """What a state dict is of.

    Args:
        module: the network, without the state.
        family: its name.
        layout: its joints.
        persons: persons that it tells apart; None where it does not.
        classes: number of actions.
    """

    module: nn.Module
    family: str
    layout: Layout
    persons: int | None
    classes: int


def from_state(state: Mapping[str, Tensor], *, layout: Layout | None = None) -> Found:
    """Return the network that a state dict is of.

    Args:
        state: with the keys of a family.
        layout: the joints; None for those of published weights with as many.

    Raises:
        KeyError, ValueError, IndexError: keys are missing, or shapes are not the family's.
        WeightsError: no layout has so many joints, or AS-GCN's inference module is missing.
    """
    name = family_of(state)
    assert name is not None
    family = FAMILIES[name]
    options = family.options(state)
    graph, joints = options.pop("graph", None), options.pop("joints", None)
    persons = options.pop("persons", None)
    if layout is None:
        count = joints or _joints(state)
        layout = family.layout if count in (None, 25) else _BY_JOINTS.get(count)
        layout = LAYOUTS.get(graph.name, layout) if isinstance(graph, Graph) else layout
        if layout is None:
            raise WeightsError(f"expected weights of {', '.join(map(str, sorted(_BY_JOINTS)))} joints, found {count}")
    module = family.build(layout=layout, persons=persons or 1, **options)
    return Found(module, name, layout, persons, options["classes"])


def _joints(state: Mapping[str, Tensor]) -> int | None:
    """Return the number of joints of a network on a graph."""
    for key in ("A", "network.A", "l1.gcn1.PA", "l1.dgn.source_M"):
        if key in state:
            return state[key].shape[-1]
    residual = state.get("sgcn1.0.A_res")
    return None if residual is None else residual.shape[1]


class Fed:
    """What a victim hands to its network: a prepared clip, and for SGN and HRNN what these take of it.

    Args:
        preparation: of clips.
        module: the network.

    Raises:
        WeightsError: the network averages frames, and clips of a batch would differ in length.
    """

    def __init__(self, preparation: Preparation, module: nn.Module) -> None:
        self.preparation = preparation
        self._frames = module.frames if isinstance(module, sgn.SGN) else None
        self._lengths = isinstance(module, HRNN)
        if preparation.frames is None and not (self._frames or self._lengths):
            raise WeightsError(f"{type(module).__name__} needs clips of one length: a preparation with frames")

    def __call__(self, motion: Motion) -> Sequence[Tensor | None]:
        """Return the network's inputs of clips in metres."""
        return self.hand(*self.preparation(motion), positions=motion.extras.get("positions"))

    def hand(self, x: Tensor, lengths: Tensor | None, *, positions: Tensor | None = None) -> Sequence[Tensor | None]:
        """Return the network's inputs of prepared clips.

        Args:
            x: ``(n, c, t, v, m)``.
            lengths: of the clips; None where all frames count.
            positions: ``(n, frames)``, what SGN sees of each part of a clip; see :func:`sgn.sample`.
        """
        if self._frames is not None:
            return sgn.sample(Motion(data=x, lengths=lengths), frames=int(self._frames), positions=positions)
        return (x, lengths) if self._lengths else (x,)


def action_victim(
    module: nn.Module, preparation: Preparation, *, classes: Sequence[str] | None = None, persons: int | None = None
) -> Victim:
    """Return a skeleton network as a victim that is fed with clips in metres.

    Args:
        module: the network.
        preparation: what it was trained with.
        classes: names of the actions.
        persons: persons of a clip; None for any number.
    """
    domain = skeletons(preparation.layout, persons=persons)
    return Victim(module, domain, output="logits", prepare=Fed(preparation, module), classes=classes)
