"""Shipping anonymizers with their cards."""

import json

import pytest

from gaitkeeper.audit.anonymizer_card import measured, ship_anonymizer
from gaitkeeper.errors import GaitkeeperError
from gaitkeeper.models.generators.anonymizers import anonymizer_path
from gaitkeeper.training.anonymizer_settings import AnonymizerSettings
from gaitkeeper.training.anonymizers import train_anonymizer


def test_a_run_is_shipped_with_its_card(tmp_path):
    tiny = AnonymizerSettings(
        kind="noise", points=32, iterations=2, contours=4, subjects=(51, 51), views=(90,), frames=4
    )
    train_anonymizer(tiny, tmp_path / "run")
    figures = [{"measure": "pieces", "value": 1.0}]
    path = ship_anonymizer(tmp_path / "run", "noise-walkers", tmp_path / "weights", measure=lambda weights: figures)
    card = json.loads(path.read_text())
    assert (card["name"], card["measures"]) == ("noise-walkers", figures)
    assert card["training"]["settings"]["points"] == 32
    assert set(card["losses"]) == {"recorded", "made"}
    copied = tmp_path / "weights" / "noise-walkers.safetensors"
    assert copied.read_bytes() == (tmp_path / "run" / "model.safetensors").read_bytes()
    with pytest.raises(GaitkeeperError, match="unknown anonymizer 'other'; shipped are noise-walkers, "):
        ship_anonymizer(tmp_path / "run", "other", tmp_path)
    with pytest.raises(GaitkeeperError, match="expected a file of a finished run, found none"):
        ship_anonymizer(tmp_path, "noise-walkers", tmp_path)


@pytest.mark.parametrize("name", ["noise-walkers", "st-gan-walkers"])
def test_the_figures_of_a_card_are_measured_again(name):
    path = anonymizer_path(name)
    told = json.loads(path.with_suffix(".json").read_text())["measures"]
    for wanted, found in zip(told, measured(path), strict=True):
        assert wanted["measure"] == found["measure"]
        assert found["value"] == pytest.approx(wanted["value"], rel=0.02)
