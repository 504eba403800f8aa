import numpy as np
import pytest

from gaitkeeper.metrics.silhouettes import SPECK, looks, nearest_overlap


def mask(*boxes, rows=10, columns=8):
    frame = np.zeros((rows, columns), np.uint8)
    for top, bottom, left, right in boxes:
        frame[top:bottom, left:right] = 255
    return frame


def test_area_height_and_pieces_of_drawn_boxes():
    found = looks(
        np.stack(
            [
                mask((2, 7, 1, 5)),
                mask((0, 4, 0, 2), (6, 10, 4, 8)),
                mask((2, 7, 1, 5), (9, 10, 4, 4 + SPECK)),
                mask((2, 7, 1, 4), (8, 9, 3, 4 + SPECK)),
                mask((3, 5, 2, 4), (5, 7, 4, 6)),
                mask(),
                mask((0, 1, 0, SPECK)),
            ]
        )
    )
    assert found.single.tolist() == [True, False, True, False, True, False, False]
    np.testing.assert_allclose(found.area, np.array([20, 24, 24, 20, 8, 0, 4]) / 80)
    np.testing.assert_allclose(found.height, np.array([5, 10, 8, 7, 4, 0, 1]) / 10)


def test_a_person_begins_at_128():
    grey = np.stack([mask((1, 5, 1, 5)) // 255 * level for level in (127, 128)]).astype(np.uint8)
    found = looks(grey)
    assert found.area.tolist() == [0, 0.2]
    assert found.single.tolist() == [False, True]


def test_no_masks_give_no_figures():
    found = looks(np.zeros((0, 10, 8), np.uint8))
    assert (len(found.single), len(found.area), len(found.height)) == (0, 0, 0)


def test_nearest_overlap_is_the_best_intersection_over_union():
    ours = np.stack([mask((0, 4, 0, 4)), mask((0, 2, 0, 4)), mask((8, 10, 6, 8)), mask()])
    others = np.stack([mask((0, 4, 0, 2)), mask((0, 4, 0, 4)), mask((0, 1, 0, 1)), mask()])
    np.testing.assert_allclose(nearest_overlap(ours, others), [1, 0.5, 0, 0])
    np.testing.assert_allclose(nearest_overlap(ours[:2], others[:1]), [0.5, 4 / 12], rtol=1e-6)


@pytest.mark.parametrize("chunk", [1, 2, 5, 512])
def test_chunks_do_not_change_the_overlap(chunk):
    rng = np.random.default_rng(0)
    ours, others = (rng.integers(0, 256, (n, 6, 5), dtype=np.uint8) for n in (5, 23))
    a, b = ours[:, None] >= 128, others[None] >= 128
    want = ((a & b).sum((2, 3)) / (a | b).sum((2, 3))).max(1)
    np.testing.assert_allclose(nearest_overlap(ours, others, chunk=chunk), want, rtol=1e-6)
