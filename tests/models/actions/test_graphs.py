"""Adjacency matrices against the published ones: whole where a pack has them, by their sums where facts have those."""

import numpy as np
import pytest

from gaitkeeper.models.actions.graphs import (
    COCO17,
    GRAPHS,
    HDM05_25,
    NTU25,
    NTU25_TIPS_AT_HANDS,
    NW_UCLA20,
    OPENPOSE18,
    Graph,
    directed_bones,
    hops,
    incidence,
    multi_scale,
    neighbors,
    normalized_then_split,
    split_then_normalized,
    windowed,
)


@pytest.mark.parametrize(
    ("pack", "extra", "build"),
    [
        ("st_gcn", "graph_A", lambda: normalized_then_split(NTU25)),
        ("as_gcn", "graph_A", lambda: normalized_then_split(NTU25, max_hop=4)),
        ("agcn", "graph_A", lambda: split_then_normalized(NTU25)),
        ("aagcn", "graph_A", lambda: split_then_normalized(NTU25)),
        ("ctr_gcn", "graph_A", lambda: split_then_normalized(NTU25)),
        ("ms_g3d", "graph_A", lambda: neighbors(NTU25)),
        ("ms_g3d", "graph_scales_13", lambda: multi_scale(neighbors(NTU25), 13)),
        ("ms_g3d", "graph_g3d_w3_scales_6", lambda: multi_scale(windowed(NTU25, 3), 6)),
        ("dgnn", "graph_source_M", lambda: incidence(NTU25_TIPS_AT_HANDS)[0]),
        ("dgnn", "graph_target_M", lambda: incidence(NTU25_TIPS_AT_HANDS)[1]),
    ],
)
def test_matrices_are_the_official_ones(packs, pack, extra, build):
    _, arrays = packs.load_pack(pack)
    got = build()
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, arrays[f"extra.{extra}"], rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("matrices", "sums"),
    [
        (normalized_then_split(NTU25), (8.95, 13.30, 2.75)),
        (normalized_then_split(NTU25, truncated=False), (8.95, 7.30, 8.75)),
        (normalized_then_split(OPENPOSE18), (6.6667, 8.5833, 2.75)),
        (normalized_then_split(NTU25, "distance"), (8.95, 16.05)),
        (normalized_then_split(NTU25_TIPS_AT_HANDS), (9.1167, 13.1333, 2.75)),
        (split_then_normalized(NTU25), (25, 24, 20)),
        (split_then_normalized(NTU25_TIPS_AT_HANDS), (25, 24, 18)),
        (
            multi_scale(windowed(NTU25, 5), 6).reshape(6, 125, 125),
            (125, 124.1506, 119.9918, 115.9366, 115.9936, 119.5656),
        ),
    ],
)
def test_subsets_have_the_published_sums(matrices, sums):
    np.testing.assert_allclose(matrices.sum((1, 2)), sums, atol=1e-4)


@pytest.mark.parametrize("graph", GRAPHS, ids=lambda graph: graph.name)
def test_graphs_are_connected_trees(graph):
    distance = hops(graph)
    assert len(graph.bones) == graph.joints - 1
    assert np.isfinite(distance).all()
    np.testing.assert_array_equal(distance, distance.T)
    np.testing.assert_array_equal(distance == 1, neighbors(graph) == 1)


@pytest.mark.parametrize("graph", [NTU25, HDM05_25, COCO17, NW_UCLA20], ids=lambda graph: graph.name)
@pytest.mark.parametrize("partition", ["uniform", "distance", "spatial"])
@pytest.mark.parametrize("max_hop", [1, 3])
def test_subsets_share_the_normalized_pairs(graph, partition, max_hop):
    subsets = normalized_then_split(graph, partition, max_hop=max_hop)
    assert len(subsets) == {"uniform": 1, "distance": max_hop + 1, "spatial": 2 * max_hop + 1}[partition]
    assert ((subsets > 0).sum(0) <= 1).all()
    np.testing.assert_array_equal(subsets.sum(0) > 0, hops(graph) <= max_hop)
    np.testing.assert_allclose(subsets.sum((0, 1)), 1, rtol=1e-6)


def test_distances_along_a_chain():
    chain = Graph(name="chain", joints=4, bones=((0, 1), (1, 2), (2, 3)), center=0)
    np.testing.assert_array_equal(hops(chain)[0], [0, 1, 2, 3])
    np.testing.assert_array_equal(hops(chain, 2)[0], [0, 1, 2, np.inf])
    assert directed_bones(chain) == ((1, 0), (2, 1), (3, 2), (3, 3))
    inward = split_then_normalized(chain)[1]
    assert inward[1, 0] == inward[2, 1] == inward[3, 2] == 1
    assert inward.sum() == 3


def test_bad_graphs_are_named():
    with pytest.raises(ValueError, match=r"short: joints are numbered 0\.\.2"):
        Graph(name="short", joints=3, bones=((0, 1), (1, 3)), center=0)
    with pytest.raises(ValueError, match="got 'radial'"):
        normalized_then_split(NTU25, "radial")
