"""Whole audits of action recognizers: actors and takes of motion capture, through files and back."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from gaitkeeper.audit.action_clips import (
    batch_of,
    choose_clips,
    evaluate_actions,
    fit,
    load_clips,
    open_action_data,
    training_clips,
)
from gaitkeeper.audit.action_grid import ActionCell, ActionGrid, ActionSettings, action_cell, cell_of
from gaitkeeper.audit.action_summary import summarize_actions
from gaitkeeper.audit.actions import run_action_audit
from gaitkeeper.audit.grid import AuditSettings, GridSettings
from gaitkeeper.audit.present import audit_and_report
from gaitkeeper.datasets.hdm05 import CLASSES_11, Hdm05
from gaitkeeper.datasets.open_clips import open_clips
from gaitkeeper.errors import DataError, GaitkeeperError
from gaitkeeper.models.actions.networks import action_victim, build
from gaitkeeper.models.actions.preparation import Preparation
from gaitkeeper.models.victim import Victim
from gaitkeeper.models.weights import load_victim
from gaitkeeper.motion.kinematics import bone_lengths, change
from gaitkeeper.motion.motion import skeletons
from gaitkeeper.motion.skeletons import HDM05_25, NTU_25
from tests.audit.test_run import MODEL as GAIT
from tests.figures import drawn_folder

MODEL = "sgn-actors"
SUBJECTS = ("031", "033")
CELLS = (
    ActionCell(),
    cell_of("smart", steps=8),
    cell_of("smart", "anything-but-n", steps=4, top=2),
    cell_of("smart", "specified", steps=4),
    cell_of("pgd", budget=0.03, steps=5),
    cell_of("random", budget=0.03, steps=5),
)
SMALL = ActionSettings(clips=6, frames=20, batch=4)
CONTROLS = ("random", "smart-random")


def other_actors():
    """A network of other weights, for transfer."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        module = build("sgn", layout=NTU_25, classes=20, width=8)
    return action_victim(module, Preparation(layout=NTU_25, scale=0.35), persons=1)


class Centered(nn.Module):
    """Logits of where the joints are on average, and of one class that is likely from the start."""

    def __init__(self, joints: int, classes: int, likely: int = 0) -> None:
        super().__init__()
        self.bias = 9.0 * torch.eye(classes)[likely]
        self.weight = nn.Parameter(torch.randn(classes, 3, joints, generator=torch.Generator().manual_seed(0)))

    def forward(self, data: torch.Tensor) -> torch.Tensor:
        return torch.einsum("nctvm,kcv->nk", data - data[:, :, :, :1], self.weight) / data.shape[2] + self.bias


def of_eleven_classes():
    return Victim(
        Centered(25, 11, likely=tuple(CLASSES_11).index("rotate_armsBB")), skeletons(HDM05_25), output="logits"
    )


def of_five_classes():
    return Victim(Centered(25, 5), skeletons(NTU_25), output="logits")


OTHER = "tests.audit.test_actions:other_actors"
ELEVEN = "tests.audit.test_actions:of_eleven_classes"
FIVE = "tests.audit.test_actions:of_five_classes"


def run(out, models=(MODEL,), settings=SMALL, **more):
    return run_action_audit(models, settings, out, **{"subjects": SUBJECTS, "cells": CELLS, **more})


def rows_in(out):
    return [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module", autouse=True)
def _few_training_clips():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gaitkeeper.audit.actions.LEARNED", 20)
        yield


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    out = tmp_path_factory.mktemp("audit")
    return out, run(out, (MODEL,), replace(SMALL, transfer=(OTHER,)))


def test_each_cell_has_a_row_a_clip_and_the_summary_says_what_they_say(done):
    out, outcome = done
    rows = rows_in(out)
    assert outcome.rows == rows
    cells = [cell.key for cell in CELLS]
    assert [(row["cell"], row["sample"]) for row in rows] == [
        (cell, clip) for cell in cells for clip in [row["sample"] for row in rows[: SMALL.clips]]
    ]
    assert len({row["sample"] for row in rows}) == SMALL.clips
    assert {row["sample"][:3] for row in rows} <= set(SUBJECTS)
    assert json.loads((out / "summary.json").read_text()) == outcome.records == summarize_actions(rows)
    assert outcome.skipped == []
    assert not outcome.data.biometric


def test_only_what_is_recognized_is_attacked_and_targets_are_other_classes(done):
    _, outcome = done
    natural = {row["sample"]: row["right"] for row in outcome.rows if row["attack"] == "none"}
    assert any(natural.values())
    for row in outcome.rows:
        assert row["natural"] == natural[row["sample"]]
        if row["attack"] == "none":
            assert row["success"] is None
        elif not row["natural"]:
            assert row["success"] is None
            assert "displacement" not in row
        else:
            assert (row["target"] is not None) == (row["goal"] == "specified")
            assert row["target"] != row["label"]
            assert row["success"] in (True, False)
            if row["goal"] == "specified":
                assert row["success"] == (row["predicted"] == row["target"])
            elif row["goal"] == "anything-but":
                assert row["success"] == (row["predicted"] != row["label"])
            else:
                assert row["goal"] == "anything-but-2"
                assert not row["success"] or row["predicted"] != row["label"]


def test_measures_keep_what_the_cells_promise(done):
    _, outcome = done
    attacked = [row for row in outcome.rows if row["success"] is not None]
    assert attacked
    for row in attacked:
        assert 0 <= row["displacement"] <= row["largest"]
        if row["bones"] == "exact":
            assert row["bone"] < 1e-4
        if row["budget"] is not None:
            assert row["largest"] <= row["budget"] * (1 + 1e-4)
        assert row["forwards"] > 0
        assert row["rough_acceleration_clean"] > 0
        assert 0 <= row["limits_clean"] <= 1
    # Clean clips differ from each other and not from cell to cell.
    cleans = {(row["sample"], row["jerk_clean"]) for row in attacked}
    assert len(cleans) == len({sample for sample, _ in cleans})
    pgd = [row for row in attacked if row["attack"] == "pgd"]
    random = [row for row in attacked if row["attack"] == "random"]
    assert sum(row["success"] for row in pgd) > sum(row["success"] for row in random)


def test_examples_are_kept_of_successes_alone(done):
    out, outcome = done
    kept = sorted((out / "examples").glob("*.npz"))
    assert kept
    for path in kept:
        with np.load(path) as example:
            row = json.loads(str(example["row"]))
            assert row["success"]
            assert row["attack"] not in CONTROLS
            before, after = (torch.from_numpy(example[name]) for name in ("before", "after"))
            found = change(before[None], after[None], NTU_25, fps=float(example["fps"]))
            assert float(found.displacement) == pytest.approx(row["displacement"], rel=1e-3)
            match = [r for r in outcome.rows if (r["cell"], r["sample"]) == (row["cell"], row["sample"])]
            assert match[0]["predicted"] == row["predicted"]


def test_others_judge_every_attacked_clip_and_every_clean_one(done):
    _, outcome = done
    for row in outcome.rows:
        judged = row["attack"] == "none" or row["success"] is not None
        assert set(row["transfer"]) == ({OTHER} if judged else set())
    victim = load_victim(OTHER)
    clips = load_clips(outcome.data, range(len(outcome.data.samples)), SMALL, [])
    chosen = {row["sample"]: row for row in outcome.rows if row["attack"] == "none"}
    clips = [clip for clip in clips if clip.key in chosen]
    with torch.no_grad():
        found = victim(batch_of(clips, victim, outcome.data)).logits.argmax(1)
    for clip, predicted in zip(clips, found.tolist(), strict=True):
        assert chosen[clip.key]["transfer"][OTHER] == {"right": predicted == clip.label, "success": None}


def test_two_models_are_attacked_in_turn_and_judge_each_other(tmp_path):
    cells = [ActionCell(), cell_of("pgd", budget=0.02, steps=3)]
    outcome = run(tmp_path, (MODEL, OTHER), replace(SMALL, clips=4), cells=cells)
    assert {(row["model"], *row["transfer"]) for row in outcome.rows if row["attack"] == "none"} == {
        (MODEL, OTHER), (OTHER, MODEL),
    }  # fmt: skip
    clean = {(row["model"], row["sample"]): row["right"] for row in outcome.rows if row["attack"] == "none"}
    for row in (row for row in outcome.rows if row["attack"] == "none"):
        for judge, said in row["transfer"].items():
            assert said["right"] == clean[judge, row["sample"]]


class Stop(Exception):
    pass


def test_an_audit_that_is_interrupted_goes_on_and_gives_the_same_bytes(tmp_path):
    settings, cells = replace(SMALL, batch=2, transfer=(OTHER,)), (CELLS[0], replace(CELLS[4], steps=2))
    whole, again = tmp_path / "whole", tmp_path / "cut"
    run(whole, (MODEL,), settings, cells=cells)

    def interrupt(count, total, text):
        if count > SMALL.clips:
            raise Stop

    with pytest.raises(Stop):
        run(again, (MODEL,), settings, cells=cells, progress=interrupt)
    rows = again / "rows.jsonl"
    lines = rows.read_bytes().splitlines(keepends=True)
    assert SMALL.clips < len(lines) < len(rows_in(whole))
    assert not (again / "summary.json").exists()
    rows.write_bytes(b"".join(lines[:-1]) + lines[-1][:40])
    run(again, (MODEL,), settings, cells=cells)
    assert rows.read_bytes() == (whole / "rows.jsonl").read_bytes()
    assert (again / "summary.json").read_bytes() == (whole / "summary.json").read_bytes()
    names = [sorted(path.name for path in (folder / "examples").iterdir()) for folder in (whole, again)]
    assert names[0] == names[1]
    with pytest.raises(GaitkeeperError, match="an audit with other settings"):
        run(again, (MODEL,), settings, cells=cells, seed=1)


def test_batches_change_nothing(done, tmp_path):
    out, _ = done
    run(tmp_path, (MODEL,), replace(SMALL, batch=1, transfer=(OTHER,)), cells=CELLS[:2])
    wanted = {(row["cell"], row["sample"]): row for row in rows_in(out)}
    for row in rows_in(tmp_path):
        same = wanted[row["cell"], row["sample"]]
        assert [row[key] for key in ("natural", "predicted", "success")] == [
            same[key] for key in ("natural", "predicted", "success")
        ]
        if row["success"] is not None:
            assert row["displacement"] == pytest.approx(same["displacement"], rel=0.05)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    out = tmp_path_factory.mktemp("written")
    return out, run(out, cells=CELLS[:2], write_clips=True)


def recognized(folder, model=MODEL):
    """Return what a fresh victim says of each clip of a folder."""
    data = open_clips(folder)
    clips = load_clips(data, range(len(data.samples)), ActionSettings(), [])
    victim = load_victim(model)
    with torch.no_grad():
        predicted = victim(batch_of(clips, victim, data)).logits.argmax(1).tolist()
    return {clip.key: (clip, data.classes[label]) for clip, label in zip(clips, predicted, strict=True)}


def test_what_is_written_is_what_was_judged(written):
    out, outcome = written
    attacked = {row["sample"]: row for row in outcome.rows if row["success"] is not None}
    found = recognized(out / "attacked")
    assert set(found) == set(attacked)
    clean = {clip.key: clip for clip in load_clips(outcome.data, range(40), SMALL, [])}
    for key, row in attacked.items():
        clip, predicted = found[key]
        assert predicted == row["predicted"]
        before = clean[key]
        assert (clip.subject, clip.label, clip.fps) == (before.subject, before.label, before.fps)
        moved = change(*(torch.from_numpy(c.joints)[None].double() for c in (before, clip)), NTU_25, fps=clip.fps)
        assert float(moved.displacement) == pytest.approx(row["displacement"], rel=1e-6)
    records, skipped = evaluate_actions(
        (MODEL,), SMALL, data=str(out / "attacked"), subjects=None, device="cpu"
    )  # fmt: skip
    right = [row["right"] for row in attacked.values()]
    assert [r["value"] for r in records] == [pytest.approx(100 * np.mean(right))]
    assert skipped == []


def test_an_interrupted_attack_lists_all_clips_that_it_wrote(written, tmp_path):
    out, _ = written
    again = tmp_path / "again"
    shutil.copytree(out, again)
    for name in ("attacked/clips.json", "summary.json"):
        (again / name).unlink()
    lines = (again / "rows.jsonl").read_text().splitlines(keepends=True)
    (again / "rows.jsonl").write_text("".join(lines[:-2]))
    run(again, cells=CELLS[:2], write_clips=True)
    assert (again / "attacked" / "clips.json").read_bytes() == (out / "attacked" / "clips.json").read_bytes()
    with pytest.raises(DataError, match="written of one model and attack"):
        run(tmp_path / "two", (MODEL, OTHER), cells=[ActionCell(), cell_of("pgd")], write_clips=True)


def test_clips_are_drawn_evenly_from_classes_by_the_seed():
    data = open_action_data(ActionSettings(), None, ("031", "032"))
    chosen = choose_clips(data, 30, 0)
    counts = np.bincount([data.samples[i].label for i in chosen], minlength=20)
    assert (len(chosen), counts.min(), counts.max()) == (30, 1, 2)
    assert chosen == sorted(set(chosen)) == choose_clips(data, 30, 0)
    assert chosen != choose_clips(data, 30, 1)
    assert choose_clips(data, 1000, 0) == list(range(40))


def test_limits_are_of_training_clips(done):
    _, outcome = done
    learned = training_clips(outcome.data, ActionSettings(), None, 40)
    assert {int(clip.subject) for clip in learned} <= set(range(1, 25))
    assert len(learned) == 40
    assert training_clips(outcome.data, ActionSettings(), "/nowhere", 40) == []


@pytest.fixture(scope="module")
def takes(shared, tmp_path_factory):
    """Some short takes of each actor."""
    folder = tmp_path_factory.mktemp("hdm05")
    for part, actors in (("train", ("bd", "bk")), ("test", ("mm", "tr"))):
        for actor in actors:
            (skeleton,) = sorted((shared / "real" / "hdm05-11" / part).rglob(f"HDM_{actor}.asf"))[:1]
            files = sorted((shared / "real" / "hdm05-11" / part).rglob(f"HDM_{actor}_*.amc"))
            for file in sorted(files, key=lambda path: path.stat().st_size)[:3]:
                shutil.copy(file, folder)
            shutil.copy(skeleton, folder)
    return folder


def test_takes_of_motion_capture_get_sixty_frames_and_their_own_rates(takes, tmp_path):
    cells = [ActionCell(), cell_of("pgd", budget=0.02, steps=2)]
    outcome = run_action_audit(
        (ELEVEN,), ActionSettings(clips=6), tmp_path, data=str(takes), cells=cells, write_clips=True
    )
    assert outcome.data.biometric
    assert outcome.skipped == []
    assert len(outcome.rows) == 12
    raw = Hdm05(takes, split="test")
    lasting = {s.key: (a.shape[1] - 1) / 120 for s, a in zip(raw.samples, raw.load(range(6)), strict=True)}
    clips = load_clips(raw, range(6), ActionSettings(), [])
    for clip in clips:
        assert clip.joints.shape == (1, 60, 25, 3)
        assert 59 / clip.fps == pytest.approx(lasting[clip.key])
    short = load_clips(raw, [0], ActionSettings(frames=25), [])[0]
    assert 24 / short.fps == pytest.approx(lasting[short.key])
    lengths = [bone_lengths(torch.from_numpy(x), HDM05_25)[0, 0] for x in (clips[0].joints, raw.load([0])[0])]
    torch.testing.assert_close(lengths[0], lengths[1], atol=1e-5, rtol=0)
    for clip, _ in recognized(tmp_path / "attacked", ELEVEN).values():
        assert 59 / clip.fps == pytest.approx(lasting[clip.key])
        assert clip.joints.shape == (1, 60, 25, 3)
    assert open_clips(tmp_path / "attacked").biometric


def test_data_that_a_model_does_not_know_are_refused(takes, tmp_path):
    with pytest.raises(DataError, match=r"sgn-actors: expected clips of ntu-25's 25 joints, hdm05 has hdm05-25"):
        run_action_audit((MODEL,), ActionSettings(clips=2), tmp_path, data=str(takes))
    with pytest.raises(DataError, match="recognizes gaits, not the actions of actors"):
        run(tmp_path, (GAIT,))
    with pytest.raises(DataError, match="expected a model of the 20 classes of actors, got 5"):
        run(tmp_path / "five", (FIVE,))
    with pytest.raises(DataError, match="actors are numbered; unknown subject ann"):
        run(tmp_path, subjects=("ann",))
    with pytest.raises(DataError, match="unknown subject 77"):
        run(tmp_path, subjects=("077",))
    victim = load_victim(MODEL)
    data = open_action_data(ActionSettings(), None, ("031",))
    data.classes = (*data.classes[:-1], "dance")
    with pytest.raises(DataError, match=r"sgn-actors: knows 20 classes \(.*\), actors has 20"):
        fit(victim, data, MODEL)


def test_evaluation_prints_nearest_neighbors_beside():
    records, skipped = evaluate_actions(
        (MODEL,), ActionSettings(frames=20), data=None, subjects=("031",), device="cpu"
    )  # fmt: skip
    assert [record["model"] for record in records] == [MODEL, "nearest middle frame", "nearest sequence"]
    assert all(record["n"] == 20 for record in records)
    assert all(0 <= record["low"] <= record["value"] <= record["high"] <= 100 for record in records)
    assert skipped == []


@pytest.mark.parametrize(
    ("name", "goal", "options", "message"),
    [
        ("temporal-sparse", "nontargeted", {}, "expected an attack on actions, smart"),
        ("smart", "natural", {}, "one of the goals anything-but"),
        ("smart", "targeted", {"budget": 5.0}, "only fgsm, pgd, mi-fgsm, random have a budget"),
        ("smart", "nontargeted", {"bones": "free"}, "smart: expected bones exact or loss, got free"),
        ("pgd", "nontargeted", {"budget": 0.0}, "a budget above 0"),
        ("pgd", "anything-but-n", {"top": 0}, "top >= 1"),
        ("ciasa", "specified", {"steps": -1}, "steps >= 0"),
    ],
)
def test_attacks_that_there_are_not_are_refused(name, goal, options, message):
    given = {"bones": None, "budget": None, "steps": None, "top": 3, **options}
    with pytest.raises(GaitkeeperError, match=message):
        action_cell(name, goal, **given)


def test_cells_bear_the_names_of_gaits_too_and_millimetres():
    cell = action_cell("pgd", "targeted", bones="free", budget=7.0, steps=None, top=3)
    assert cell == ActionCell(attack="pgd", goal="specified", bones="free", budget=0.007, steps=20)
    assert action_cell("smart", "anything-but-n", bones=None, budget=None, steps=9, top=4).key == (
        "smart/anything-but-4/exact/9"
    )
    cells = list(ActionGrid().cells())
    assert cells[0] == ActionCell()
    assert len({cell.key for cell in cells}) == len(cells)


def test_a_report_has_both_halves(tmp_path):
    grid = GridSettings(linf=(16,), l2=(), attacks=("pgd",), targeted_linf=(), steps=1)
    grid = replace(grid, sparse=replace(grid.sparse, altered=(), inserted=(), targeted=()))
    cells = ActionGrid(goals=("anything-but",), steps=4, loss=False, others=(), budgets=())
    settings = AuditSettings(
        model=(GAIT, MODEL), subjects=None, probes=1, frames=6, views=(0, 90), batch=4, grid=grid,
        actions=ActionSettings(clips=3, frames=20, grid=cells),
    )  # fmt: skip
    sentences, skipped = audit_and_report(settings, tmp_path, device="cpu", progress=lambda *_: None)
    assert skipped == []
    page = (tmp_path / "report.html").read_text()
    for text in ("rank-1", "SMART", GAIT, MODEL):
        assert text in page
    assert any(MODEL in sentence for sentence in sentences)
    assert {row["kind"] for row in rows_in(tmp_path / "actions")} == {"action"}
    assert all("galleries" in row for row in rows_in(tmp_path))


def test_data_of_one_kind_fit_no_models_of_both(tmp_path):
    folder = drawn_folder(tmp_path / "data", subjects=2, takes=("nm-01", "nm-05"))
    settings = AuditSettings(model=(GAIT, MODEL), data=str(folder))
    with pytest.raises(DataError, match="expected models of gaits or of actions, got both"):
        audit_and_report(settings, tmp_path / "out", device="cpu", progress=lambda *_: None)
