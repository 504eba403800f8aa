"""ST-GCN: official outputs, persons, and checkpoints of another graph."""

import pytest
import torch

from gaitkeeper.errors import WeightsError
from gaitkeeper.models.actions.graphs import HDM05_25, NTU25, NTU25_TIPS_AT_HANDS
from gaitkeeper.models.actions.st_gcn import STGCN
from gaitkeeper.models.states import load_strictly
from tests.models.actions import parameters, settled, skeletons

NARROW = {"classes": 5, "widths": (4, 4, 6), "strides": (1, 1, 2)}


def test_official_keys_outputs_and_gradients(packs):
    assert packs.check("st_gcn", STGCN)


def test_published_size():
    with torch.device("meta"):
        assert parameters(STGCN()) == 3_098_832


def test_the_number_of_persons_is_free_and_absent_ones_count():
    module = settled(lambda: STGCN(**NARROW), skeletons())
    x = skeletons(2, 9, 25, 1)
    with torch.no_grad():
        alone, absent = module(x), module(torch.zeros_like(x))
        torch.testing.assert_close(module(x.expand(-1, -1, -1, -1, 3)), alone)
        together = module(torch.cat([x, torch.zeros_like(x)], 4))
    torch.testing.assert_close(together, (alone + absent) / 2)


@pytest.mark.parametrize("options", [{}, {"graph": NTU25_TIPS_AT_HANDS, "truncated": False}, {"max_hop": 2}])
def test_options_follow_from_a_state_dict(options):
    module = settled(lambda: STGCN(**NARROW, kernel=5, **options), skeletons())
    with torch.device("meta"):
        again = STGCN(**STGCN.options(module.state_dict()))
    load_strictly(again, module.state_dict(), "saved")
    x = skeletons()
    assert torch.equal(again.eval()(x), module(x))


@pytest.mark.parametrize(
    ("other", "found"),
    [
        (
            {"graph": NTU25_TIPS_AT_HANDS},
            "expected ntu-25, found ntu-25-hands, with the bones 21-7, 23-11 rather than 21-22, 23-24",
        ),
        ({"graph": HDM05_25}, "found hdm05-25, with the bones 0-10, 1-0, 2-1, 4-3 rather"),
        ({"truncated": False}, "found the same, split by spatial within 1 with distances as measured"),
    ],
)
def test_a_checkpoint_of_another_graph_is_refused(other, found):
    state = STGCN(**NARROW, **other).state_dict()
    module = STGCN(**NARROW, graph=NTU25)
    with pytest.raises(WeightsError, match=found):
        load_strictly(module, state, "file")
    state["A"] = state["A"] * 0.5
    with pytest.raises(WeightsError, match="no published one"):
        module.load_state_dict(state)
    with pytest.raises(ValueError, match=r"A of shape \(3, 25, 25\) is of no published graph"):
        STGCN.options(state)


def test_widths_and_strides_go_together():
    with pytest.raises(ValueError, match="got 2 and 1"):
        STGCN(widths=(4, 4), strides=(1,))
