import numpy as np
import pytest
import torch

from gaitkeeper.audit.recognition import evaluate
from gaitkeeper.datasets.base import Sample
from gaitkeeper.datasets.open import open_sequences
from gaitkeeper.datasets.protocols import CASIA_A, CASIA_B, Protocol, protocol_for
from gaitkeeper.datasets.walkers import WalkersA
from gaitkeeper.errors import DataError
from gaitkeeper.models.victim import Victim
from tests.datasets.published import casia_a

ALL = [Sample(name, str(take), view) for name in ("fyc", "hy") for take in range(1, 5) for view in (0, 45, 90)]


def test_casia_a_enrolls_the_fourth_take_and_looks_for_the_others_by_view():
    assert protocol_for(ALL) is CASIA_A
    gallery, probes = CASIA_A.split(ALL)
    assert {ALL[i] for i in gallery} == {s for s in ALL if s.condition == "4"}
    assert list(probes) == ["0°", "45°", "90°"]
    for view, found in zip((0, 45, 90), probes.values(), strict=True):
        assert [ALL[i] for i in found] == [s for s in ALL if s.condition != "4" and s.view == view]
        assert len(found) == 6
    assert not CASIA_A.exclude_same_view


def test_trees_and_walkers_in_the_way_of_casia_a_get_its_protocol(tmp_path):
    casia_a(tmp_path, frames=5)
    assert protocol_for(open_sequences(tmp_path).samples) is CASIA_A
    assert protocol_for(open_sequences(tmp_path, views=(0,)).samples) is CASIA_A
    gallery, probes = protocol_for(WalkersA().samples).split(WalkersA().samples)
    assert len(gallery) == 60
    assert {name: len(found) for name, found in probes.items()} == {"0°": 60, "45°": 60, "90°": 60}


@pytest.mark.parametrize(
    "samples",
    [
        [s for s in ALL if s.condition != "4"],
        [*ALL, Sample("fyc", "5", 0)],
        [*ALL, Sample("fyc", "1", 18)],
        [Sample(name, take, 0) for name in ("ann", "bob") for take in ("01", "04")],
    ],
)
def test_other_data_do_not(samples):
    protocol = protocol_for(samples)
    assert protocol.gallery == ()
    assert protocol.exclude_same_view == (len({s.view for s in samples}) > 1)


def test_casia_b_excludes_the_own_view_where_there_are_others():
    several = [Sample("001", "nm-01", view) for view in (0, 90)]
    assert protocol_for(several) == CASIA_B
    assert not protocol_for(several[:1]).exclude_same_view
    assert protocol_for(several[:1]).probes == CASIA_B.probes


def test_views_of_a_name_are_the_only_ones_looked_for():
    protocol = Protocol(gallery=("1",), probes={"side": ("2",), "any": ("2",)}, views={"side": (0,)})
    samples = [Sample(name, take, view) for name in "ab" for take in "12" for view in (0, 90)]
    _, probes = protocol.split(samples)
    assert [samples[i].key for i in probes["side"]] == ["a/2/000", "b/2/000"]
    assert len(probes["any"]) == 4
    with pytest.raises(DataError, match=r"looks for 0; the data have conditions 1$"):
        protocol.split([s for s in samples if s.condition == "1"])


class Middle(torch.nn.Module):
    """Embeds a sequence as one number that tells view and person apart, the view more."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(dim=(1, 2, 3))[:, None, None]


class Marked:
    """Sequences whose brightness is the person's and the view's."""

    name, biometric, samples = "marked", False, ALL

    def load(self, indices):
        grey = {"fyc": 40, "hy": 90, 0: 0, 45: 20, 90: 100}
        return [np.full((5, 64, 44), grey[ALL[i].subject] + grey[ALL[i].view], np.uint8) for i in indices]


def test_every_view_of_casia_a_is_a_gallery_that_counts():
    # Brightness is 40, 60, 140 for fyc and 90, 110, 190 for hy, at 0, 45 and 90 degrees, and the nearest decides.
    # Galleries that are right of three, fyc's and hy's: the darker is taken for fyc, the brighter for hy.
    expected = {"0°": (3 + 2) / 6, "45°": (3 + 2) / 6, "90°": (1 + 3) / 6}
    records = evaluate(Victim.of(Middle()), Marked(), CASIA_A, model="middle", skipped=[])
    found = {r["condition"]: r["value"] / 100 for r in records if r["view"] == "all"}
    assert found == pytest.approx(expected)
