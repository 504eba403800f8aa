"""Joints as the networks see them: published bone lists, and the matrices that are made of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gaitkeeper.motion import skeletons
from gaitkeeper.motion.skeletons import Layout

Matrix = NDArray[np.float32]
Partition = Literal["uniform", "distance", "spatial"]


@dataclass(frozen=True, kw_only=True)
class Graph:
    """The joints of a skeleton and the bones between them.

    Learned graphs are tied to the list of bones that a network was trained with, so two lists of the same joints
    are two graphs.

    Args:
        name: what messages call it.
        joints: number of joints.
        bones: ``(child, parent)``, counted from 0, in the published order.
        center: the joint that the spatial partition measures distances from.
    """

    name: str
    joints: int
    bones: tuple[tuple[int, int], ...]
    center: int

    def __post_init__(self) -> None:
        if any(not 0 <= joint < self.joints for joint in (self.center, *sum(self.bones, ()))):
            raise ValueError(f"{self.name}: joints are numbered 0..{self.joints - 1}")

    @classmethod
    def of(cls, layout: Layout) -> Graph:
        """Return the graph on which networks see a layout: its published edges."""
        return cls(name=layout.name, joints=len(layout), bones=layout.edges, center=layout.center)


NTU25 = Graph.of(skeletons.NTU_25)
"""NTU RGB+D as ST-GCN, 2s-AGCN, CTR-GCN, MS-G3D and AS-GCN connect it."""

NTU25_TIPS_AT_HANDS = Graph.of(skeletons.NTU_25_HANDS)
"""NTU RGB+D as DGNN, pyskl and mmaction2 connect it."""

HDM05_25 = Graph.of(skeletons.HDM05_25)
"""The 25 joints of HDM05 that the attacks' papers keep."""

MHAD35 = Graph.of(skeletons.MHAD_35)
"""Berkeley MHAD."""

OPENPOSE18 = Graph.of(skeletons.KINETICS_18)
"""Kinetics-skeleton."""

NW_UCLA20 = Graph.of(skeletons.UCLA_20)
"""Northwestern-UCLA, first version of the Kinect."""

COCO17 = Graph(
    name="coco-17",
    joints=17,
    bones=(
        (15, 13), (13, 11), (16, 14), (14, 12), (11, 5), (12, 6), (9, 7), (7, 5), (10, 8), (8, 6), (5, 0), (6, 0),
        (1, 0), (3, 1), (2, 0), (4, 2),
    ),
    center=0,
)  # fmt: skip
"""COCO key points as pyskl connects them."""

GRAPHS = (NTU25, NTU25_TIPS_AT_HANDS, HDM05_25, MHAD35, OPENPOSE18, COCO17, NW_UCLA20)
"""The published graphs."""


def neighbors(graph: Graph) -> Matrix:
    """Return the undirected adjacency, ``(v, v)`` of 0 and 1 without self loops."""
    found = np.zeros((graph.joints, graph.joints), np.float32)
    for child, parent in graph.bones:
        found[child, parent] = found[parent, child] = 1
    return found


def hops(graph: Graph, limit: int | None = None) -> NDArray[np.float64]:
    """Return the number of bones between each pair of joints, ``(v, v)``.

    Args:
        graph: the joints.
        limit: larger distances are infinite; None for no limit. Joints that are not connected are infinitely far.
    """
    distance = np.where(neighbors(graph) > 0, 1.0, np.inf)
    np.fill_diagonal(distance, 0.0)
    for middle in range(graph.joints):
        distance = np.minimum(distance, distance[:, middle, None] + distance[middle, None])
    return distance if limit is None else np.where(distance <= limit, distance, np.inf)


def columns_to_one(adjacency: NDArray[np.floating]) -> NDArray[np.float64]:
    """Divide each column by its sum, A D^-1; empty columns stay 0."""
    total = adjacency.sum(0, dtype=np.float64)
    return adjacency / np.where(total > 0, total, 1.0)


def split_then_normalized(graph: Graph) -> Matrix:
    """Return the graph of 2s-AGCN and CTR-GCN: self, inward and outward bones, each normalized by itself.

    Returns:
        ``(3, v, v)``; an inward bone has its entry at ``[parent, child]``.

    Reference:
        Shi et al., "Two-stream adaptive graph convolutional networks", CVPR 2019.
    """
    inward = np.zeros((graph.joints, graph.joints))
    for child, parent in graph.bones:
        inward[parent, child] = 1
    parts = (np.eye(graph.joints), columns_to_one(inward), columns_to_one(inward.T))
    return np.stack(parts).astype(np.float32)


def normalized_then_split(
    graph: Graph, partition: Partition = "spatial", *, max_hop: int = 1, truncated: bool = True
) -> Matrix:
    """Return the graph of ST-GCN and AS-GCN: pairs up to ``max_hop`` bones apart, normalized together, then split.

    Args:
        graph: the joints.
        partition: ``uniform`` one subset of all pairs; ``distance`` one a distance; ``spatial`` two a distance above
            0: the source at least as far from the center as the target, and nearer to it.
        max_hop: the largest distance within the graph, in bones.
        truncated: of ``spatial``: distances to the center beyond ``max_hop`` count as equal, as in the released
            code, whose weights need it; False measures them, as the paper says.

    Returns:
        ``(k, v, v)``, with k 1, ``max_hop + 1`` or ``2 max_hop + 1``.

    Raises:
        ValueError: another partition.

    Reference:
        Yan et al., "Spatial temporal graph convolutional networks for skeleton-based action recognition",
        AAAI 2018, section 3.3.
    """
    distance = hops(graph, max_hop)
    normal = columns_to_one(np.isfinite(distance).astype(np.float64))
    if partition == "uniform":
        return normal[None].astype(np.float32)
    levels = [np.where(distance == hop, normal, 0.0) for hop in range(max_hop + 1)]
    if partition == "distance":
        return np.stack(levels).astype(np.float32)
    if partition != "spatial":
        raise ValueError(f"expected the partition uniform, distance or spatial, got {partition!r}")
    depth = hops(graph, max_hop if truncated else None)[:, graph.center]
    closer = depth[:, None] >= depth[None]
    subsets = [levels[0]]
    for level in levels[1:]:
        subsets += [np.where(closer, level, 0.0), np.where(closer, 0.0, level)]
    return np.stack(subsets).astype(np.float32)


def recognize(matrices: NDArray[np.floating]) -> dict[str, Any] | None:
    """Return the arguments of :func:`normalized_then_split` that give these matrices, or None.

    Args:
        matrices: ``(k, v, v)``, such as the saved graph of a checkpoint.
    """
    count, joints = len(matrices), matrices.shape[-1]
    kinds: list[tuple[Partition, bool, int]] = [("distance", True, count - 1), ("uniform", True, 1)]
    if count % 2:
        kinds = [("spatial", truncated, count // 2) for truncated in (True, False)] + kinds
    for graph in GRAPHS:
        for partition, truncated, max_hop in kinds if graph.joints == joints else ():
            own = normalized_then_split(graph, partition, max_hop=max_hop, truncated=truncated)
            if own.shape == matrices.shape and np.allclose(own, matrices, rtol=0, atol=1e-5):
                return {"graph": graph, "partition": partition, "max_hop": max_hop, "truncated": truncated}
    return None


def windowed(graph: Graph, window: int) -> Matrix:
    """Return the adjacency of joints in a window of frames, ``(window v, window v)``: A + I between any two frames.

    Reference:
        Liu et al., "Disentangling and unifying graph convolutions", CVPR 2020, section 3.3.
    """
    return np.tile(neighbors(graph) + np.eye(graph.joints, dtype=np.float32), (window, window))


def multi_scale(adjacency: NDArray[np.floating], scales: int) -> Matrix:
    """Return MS-G3D's disentangled scales: joints exactly k bones apart and themselves, symmetrically normalized.

    Args:
        adjacency: ``(v, v)``, of :func:`neighbors` or :func:`windowed`.
        scales: number of scales, k from 0.

    Returns:
        ``(scales v, v)``, the scales one below the other.

    Reference:
        Liu et al., "Disentangling and unifying graph convolutions", CVPR 2020, equations 3 and 4.
    """
    identity = np.eye(len(adjacency))
    step = adjacency + identity
    reached, found = identity, [identity]
    for _ in range(scales - 1):
        further = np.minimum(reached @ step, 1.0)
        found.append(further - reached + identity)
        reached = further
    roots = [1 / np.sqrt(scale.sum(1)) for scale in found]
    normal = [root[:, None] * scale * root for root, scale in zip(roots, found, strict=True)]
    return np.concatenate(normal).astype(np.float32)


def directed_bones(graph: Graph) -> tuple[tuple[int, int], ...]:
    """Return DGNN's edges ``(source, target)``: bones away from the root in sorted order, then the root's self loop.

    The root is the one joint that is nobody's child.
    """
    (root,) = set(range(graph.joints)) - {child for child, _ in graph.bones}
    return (*sorted((parent, child) for child, parent in graph.bones), (root, root))


def incidence(graph: Graph) -> tuple[Matrix, Matrix]:
    """Return DGNN's source and target matrices of :func:`directed_bones`, each ``(v, e)``.

    A row is divided by the number of bone ends at its joint, then 1e-6 is added everywhere.

    Reference:
        Shi et al., "Skeleton-based action recognition with directed graph neural networks", CVPR 2019.
    """
    bones = directed_bones(graph)
    ends = np.zeros((2, graph.joints, len(bones)))
    for column, (source, target) in enumerate(bones):
        ends[0, source, column] = ends[1, target, column] = 1
    ends = ends / ends.sum((0, 2))[None, :, None] + 1e-6
    source, target = ends.astype(np.float32)
    return source, target
