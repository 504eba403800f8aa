from dataclasses import replace

import numpy as np
import pytest

from gaitkeeper.errors import DataError
from gaitkeeper.motion.skeletons import (
    HDM05_25,
    HDM05_25_RETARGETED,
    KINETICS_18,
    LAYOUTS,
    MHAD_35,
    NTU_25,
    NTU_25_HANDS,
    UCLA_20,
    outward,
)

EVERY = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=lambda layout: layout.name)


@pytest.mark.parametrize(("layout", "joints"), [(NTU_25, 25), (HDM05_25, 25), (MHAD_35, 35), (KINETICS_18, 18)])
def test_sizes_are_the_published_ones(layout, joints):
    assert len(layout) == joints
    assert len(UCLA_20) == 20


@EVERY
def test_both_trees_span_all_joints_and_sides_mirror(layout):
    assert len(set(layout.joints)) == len(layout)
    assert {joint for joint, _ in layout.edges} == set(range(len(layout))) - {layout.center}
    for joint in range(len(layout)):
        for start, parents in ((layout.root, dict(enumerate(layout.parents))), (layout.center, dict(layout.edges))):
            at, steps = joint, 0
            while at != start:
                at, steps = parents[at], steps + 1
                assert steps < len(layout)
    assert [layout.mirrored[j] for j in layout.mirrored] == list(range(len(layout)))
    mirror = layout.mirrored
    assert {frozenset((mirror[a], mirror[b])) for a, b in layout.bones} == {frozenset(b) for b in layout.bones}
    assert {frozenset((mirror[a], mirror[b])) for a, b in layout.edges} == {frozenset(e) for e in layout.edges}
    for left, right in layout.pairs:
        names = layout.joints[left], layout.joints[right]
        assert names[0].replace("left", "right") == names[1] or "r" + names[0][1:] == names[1]


@EVERY
def test_a_body_faces_between_hips_and_shoulders_and_its_spine_starts_at_the_root(layout):
    hips, shoulders = layout.across
    assert hips in layout.pairs
    assert shoulders in layout.pairs
    start, end = layout.spine
    assert layout.places[start] == layout.root
    assert layout.parents[end] == start
    assert end not in {joint for pair in layout.pairs for joint in pair}
    # OpenPose hangs the hips on the shoulders.
    above = {joint: {joint} for joint in range(len(layout))}
    for joint, carried in layout.bones:
        above[carried] |= above[joint]
    assert all(above[foot] & set(hips) for foot in layout.feet)
    assert layout is KINETICS_18 or not any(above[foot] & set(shoulders) for foot in layout.feet)


def test_the_hand_tip_variants_differ_in_edges_alone_and_have_the_published_sums():
    assert set(NTU_25.edges) ^ set(NTU_25_HANDS.edges) == {(21, 22), (23, 24), (21, 7), (23, 11)}
    assert NTU_25.bones == NTU_25_HANDS.bones
    assert (7, 21) in NTU_25.bones
    # Normalized by columns, the outward matrix of a graph sums to its number of joints with children.
    for layout, wanted in ((NTU_25, 20), (NTU_25_HANDS, 18)):
        matrix = np.zeros((25, 25))
        for joint, parent in layout.edges:
            matrix[joint, parent] = 1
        assert (matrix.sum(0) > 0).sum() == wanted
        assert (matrix.sum(1) > 0).sum() == 24
    assert NTU_25.joints[NTU_25.center] == "spine shoulder"


def test_hdm05s_bones_differ_from_its_edges_at_the_hands_only():
    bones = {frozenset(bone) for bone in HDM05_25.bones}
    edges = {frozenset(edge) for edge in HDM05_25.edges}
    assert edges - bones == {frozenset((17, 18)), frozenset((22, 23))}
    assert bones - edges == {frozenset((17, 19)), frozenset((22, 24))}


def test_coincident_joints_are_one_place_and_angles_leave_them_out():
    assert [HDM05_25.places[j] for j in (0, 5, 10, 12, 13)] == [10, 10, 10, 12, 13]
    assert [HDM05_25_RETARGETED.places[j] for j in (12, 13, 17, 19, 22, 24)] == [12, 12, 17, 17, 22, 22]
    assert len(HDM05_25.distinct) == 23
    for layout in LAYOUTS.values():
        for a, at, b in layout.angles:
            assert len({layout.places[j] for j in (a, at, b)}) == 3
        # k bones meeting at a joint make k - 1 angles; the sum over a tree is its joints less two.
        assert len(layout.angles) == len(layout.distinct) - 2
    assert (10, 1, 2) in HDM05_25.angles


def test_a_layout_that_is_no_tree_is_refused():
    with pytest.raises(ValueError, match="edges of ntu-25 are no tree"):
        replace(NTU_25, edges=NTU_25.edges[1:])
    with pytest.raises(ValueError, match="no tree from its root"):
        replace(NTU_25, bones=(*NTU_25.bones, NTU_25.bones[-1]))
    with pytest.raises(ValueError, match=r"do not reach joints \[24\]"):
        replace(NTU_25, bones=outward([b for b in NTU_25.bones if 24 not in b], 0))
    with pytest.raises(DataError, match="ucla-20 has no joint 'tail'"):
        UCLA_20.index("tail")
    assert UCLA_20.index("left foot") == 15
