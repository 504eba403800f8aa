import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from gaitkeeper.audit.action_published import AVERAGE, NETWORKS, SMART, SOURCES, network_of
from gaitkeeper.audit.action_report import action_examples, action_section, report_title, stick_example, stick_picture
from gaitkeeper.audit.action_summary import summarize_actions
from gaitkeeper.audit.action_verdict import action_bars, action_verdict, control_of, goal_text, setting_text, told
from gaitkeeper.audit.report import Report, Table, render_report
from gaitkeeper.audit.verdict import CLOSING
from gaitkeeper.errors import DataError
from gaitkeeper.metrics.intervals import student, wilson
from gaitkeeper.motion.kinematics import bone_lengths, change, place_bones, roughness
from gaitkeeper.motion.skeletons import HDM05_25, Layout
from tests.audit.test_report import cells
from tests.audit.test_report import report as gait_report

CLASSES = ("kick", "hop", "squat", "throw")
CLIPS = 20


def clips(n=CLIPS, frames=12, layout: Layout = HDM05_25, seed=0):
    """Return smooth motions ``(n, 1, t, v, 3)`` of a body with its own bone lengths, joints that coincide together."""
    rng = np.random.default_rng(seed)
    places = rng.normal(0, 0.3, (n, 1, 1, len(layout), 3)) + 0.05 * rng.normal(0, 1, (n, 1, frames, 1, 3)).cumsum(2)
    swing = 0.1 * np.sin(np.linspace(0, 3, frames)[:, None, None] + rng.normal(0, 1, (n, 1, 1, len(layout), 3)))
    joints = torch.tensor(places + swing, dtype=torch.float32)
    lengths = torch.full((len(layout.bones),), 0.25)
    for group in layout.coincident:
        for index, bone in enumerate(layout.bones):
            lengths[index] *= not set(bone) <= set(group)
    return place_bones(joints, lengths, layout)


def moved(clean, size, *, bones, seed=1):
    """Return clips with joints moved smoothly by about ``size`` metres, bones kept or not."""
    rng = np.random.default_rng(seed)
    bumps = np.sin(np.linspace(0, math.pi, clean.shape[2]))[:, None, None]
    directions = torch.tensor(size * bumps * rng.normal(0, 1, (*clean.shape[:2], 1, *clean.shape[3:])))
    changed = clean + directions.float()
    return place_bones(changed, bone_lengths(clean, HDM05_25), HDM05_25) if bones == "exact" else changed


def rows_of(model, data="hdm05", *, size=0.006, every=10, judges=(), wrong=1):
    """Return rows of an audit: clips really moved, success where the test says so."""
    clean = clips()
    fps = torch.full((CLIPS,), 30.0)
    labels = [CLASSES[i % 4] for i in range(CLIPS)]
    made = []

    def add(attack, goal, bones, budget, attacked, lost):
        of = {"kind": "action", "model": model, "data": data, "attack": attack, "goal": goal, "bones": bones}
        of |= {"budget": budget, "cell": f"{attack}/{goal}/{bones}/{budget}", "condition": "all"}
        measures = {}
        if attacked is not None:
            measures = vars(change(clean, attacked, HDM05_25, fps=fps)).copy()
            for suffix, motion in (("", attacked), ("_clean", clean)):
                rough = roughness(motion, HDM05_25, fps=fps)
                measures |= {f"rough_acceleration{suffix}": rough.acceleration, f"jerk{suffix}": rough.jerk}
                measures |= {f"skate{suffix}": rough.skate}
        for i in range(CLIPS):
            natural = i >= wrong
            success = bool(lost(i)) if natural else None
            right = natural and not (success and attacked is not None)
            row = {**of, "sample": f"clip-{i}", "label": labels[i], "natural": natural, "right": right}
            row |= {"target": CLASSES[(i + 1) % 4] if goal == "specified" else None, "success": success}
            row |= {"predicted": labels[i] if right else CLASSES[(i + 1) % 4]}
            if attacked is not None:
                row |= {name: float(value[i]) for name, value in measures.items()}
                row |= {"limits": 0.02, "limits_clean": 0.01, "steps": 100, "forwards": 101, "backwards": 100}
                row |= {"transfer": {judge: {"right": i % 5 > 0, "success": i % 5 == 0} for judge in judges}}
            made.append(row)

    add("none", "natural", None, None, None, lambda i: False)
    smart = moved(clean, size, bones="exact")
    for goal in ("anything-but", "anything-but-3", "specified"):
        add("smart", goal, "exact", None, smart, lambda i: i % every)
    add("smart-random", "anything-but", "exact", None, moved(clean, size, bones="exact", seed=2), lambda i: False)
    add("smart", "anything-but", "loss", None, moved(clean, size / 4, bones="loss"), lambda i: True)
    for budget in (0.005, 0.02):
        for attack in ("pgd", "random"):
            done = moved(clean, budget / 4, bones="exact", seed=3)
            add(attack, "anything-but", "exact", budget, done, lambda i, a=attack: a == "pgd" and i % 3 == 0)
    return made


ROWS = rows_of("sgn-actors", judges=("st-gcn-actors", "other"))
RECORDS = summarize_actions(ROWS)
NAMED = {"attack": "smart", "goal": "anything-but", "bones": "exact"}


def find(records, metric, **wanted):
    keys = {"model": "sgn-actors", **NAMED, **wanted}
    return next(r for r in records if r["metric"] == metric and all(r[k] == v for k, v in keys.items()))


def picked(**wanted):
    return [r for r in ROWS if all(r[k] == v for k, v in {**NAMED, **wanted}.items())]


def report(rows=ROWS, **changes):
    section = action_section(rows, models=("sgn-actors",), classes=4)
    return replace(Report(title="Actions", records=(), settings={"seed": 7}, actions=section), **changes)


def test_shares_are_of_the_clips_that_are_recognized_unattacked():
    attacked = [r for r in picked() if r["natural"]]
    assert len(attacked) == CLIPS - 1
    wanted = [100 * v for v in wilson([r["success"] for r in attacked])]
    found = find(RECORDS, "success")
    assert [found[k] for k in ("value", "low", "high")] == pytest.approx(wanted)
    assert found["n"] == CLIPS - 1
    accuracy = find(RECORDS, "accuracy")
    assert (accuracy["value"], accuracy["n"]) == (100 * np.mean([r["right"] for r in picked()]), CLIPS)
    natural = find(RECORDS, "accuracy", attack="none", goal="natural", bones=None)
    assert natural["value"] == pytest.approx(95.0)


@pytest.mark.parametrize(("limit", "metric"), [(0.002, "success-2mm"), (0.005, "success-5mm"), (0.01, "success-10mm")])
def test_success_within_a_displacement(limit, metric):
    rows = [{**r, "displacement": 0.0015 * i} for i, r in enumerate(picked())]
    found = find(summarize_actions(rows), metric)
    reached = [bool(r["success"]) and r["displacement"] <= limit for r in rows if r["natural"]]
    assert 0 < sum(reached) < len(reached)
    assert (found["value"], found["n"]) == (pytest.approx(100 * np.mean(reached)), len(reached))


@pytest.mark.parametrize(
    ("metric", "key", "scale"),
    [
        ("displacement", "displacement", 1e3),
        ("acceleration", "acceleration", 1),
        ("angle", "angle", 180 / math.pi),
        ("bone", "bone", 100),
        ("jerk_clean", "jerk_clean", 1),
        ("limits", "limits", 100),
        ("pose", "pose", 1e3),
    ],
)
def test_physical_means_are_over_successes_in_the_units_told(metric, key, scale):
    won = [scale * r[key] for r in picked() if r["success"]]
    found = find(RECORDS, metric)
    assert [found[k] for k in ("value", "low", "high", "n")] == pytest.approx([*student(won), len(won)])


def test_ratios_largest_bones_and_undefined_values():
    rows = picked(bones="loss")
    records = summarize_actions(rows)
    won = [r for r in rows if r["success"]]
    largest = find(records, "bone_largest", bones="loss")
    assert largest["value"] == pytest.approx(100 * max(r["bone_largest"] for r in won))
    assert largest["low"] is None
    ratio = np.mean([r["rough_acceleration"] / r["rough_acceleration_clean"] for r in won])
    assert find(records, "acceleration_ratio", bones="loss")["value"] == pytest.approx(ratio)
    holes = [{**r, "skate": math.nan if i else 0.5, "limits": None} for i, r in enumerate(won)]
    records = summarize_actions(holes)
    assert (find(records, "skate", bones="loss")["value"], find(records, "skate", bones="loss")["n"]) == (500.0, 1)
    assert not [r for r in records if r["metric"] == "limits"]


def test_an_attack_without_success_has_no_physical_means():
    records = summarize_actions([{**r, "success": False if r["natural"] else None} for r in picked()])
    assert {r["metric"] for r in records} >= {"success", "steps", "transfer-success"}
    assert not {r["metric"] for r in records} & {"displacement", "bone_largest", "acceleration_ratio"}


def test_transfer_counts_where_the_judge_recognizes_the_clip_too():
    judge = {**ROWS[0], "model": "st-gcn-actors"}
    known = [{**judge, "sample": f"clip-{i}", "right": i < 10} for i in range(CLIPS)]
    records = summarize_actions([*ROWS, *known])
    found = next(r for r in records if r["metric"] == "transfer-success" and r["judge"] == "st-gcn-actors")
    assert (found["n"], found["value"]) == (9, pytest.approx(100 / 9))
    other = next(r for r in records if r["metric"] == "transfer-success" and r["judge"] == "other")
    assert other["n"] == CLIPS - 1


def test_what_a_judge_recognizes_may_stand_in_the_unattacked_rows():
    rows = [
        {**r, "transfer": {"other": {"right": int(r["sample"][5:]) < 10, "success": False}}}
        if r["attack"] == "none"
        else r
        for r in ROWS
    ]
    records = summarize_actions(rows)
    found = next(r for r in records if r["metric"] == "transfer-success" and r["judge"] == "other")
    assert (found["n"], found["value"]) == (9, pytest.approx(100 / 9))
    clean = [r for r in records if r["attack"] == "none" and r["metric"] == "transfer"]
    assert [(r["judge"], r["value"], r["n"]) for r in clean] == [("other", 50.0, CLIPS)]
    assert not [r for r in records if r["attack"] == "none" and r["metric"] == "transfer-success"]


def test_rows_of_another_kind_are_left_out():
    assert summarize_actions([*ROWS, {"kind": "gait"}]) == RECORDS


@pytest.mark.parametrize(
    ("goal", "text"),
    [
        ("anything-but", "anything but the true class"),
        ("anything-but-5", "the true class not among the first 5"),
        ("specified", "another class that is asked for"),
    ],
)
def test_goals_in_words(goal, text):
    assert goal_text(goal) == text


def test_settings_in_words():
    pgd = find(RECORDS, "success", attack="pgd", budget=0.005)
    assert setting_text(pgd) == "PGD, bones kept exactly, joints within 5 mm"
    assert setting_text({**pgd, "bones": "elastic", "budget": None, "attack": "mine"}) == "mine, bones elastic"


def test_controls_are_matched_and_bound_stricter_goals():
    pgd = find(RECORDS, "success", attack="pgd", budget=0.005)
    assert (control_of(RECORDS, pgd)["attack"], control_of(RECORDS, pgd)["budget"]) == ("random", 0.005)
    assert control_of(RECORDS, find(RECORDS, "success"))["attack"] == "smart-random"
    assert control_of(RECORDS, find(RECORDS, "success", goal="specified"))["goal"] == "anything-but"
    assert control_of(RECORDS, find(RECORDS, "success", bones="loss")) is None


def test_verdict():
    text = " ".join(action_verdict(RECORDS, chance=25.0))
    success, limited = find(RECORDS, "success"), find(RECORDS, "success-10mm")
    assert "sgn-actors recognizes 95.0 % [76.4, 99.1] of the clips unattacked (n = 20; guessing gives 25 %)." in text
    assert (
        f"SMART, anything but the true class, bones kept exactly: {success['value']:.1f} % "
        f"[{success['low']:.1f}, {success['high']:.1f}] of these clips are lost (n = 19), {limited['value']:.1f} % "
    ) in text
    assert "bones keep their lengths and accelerations are" in text
    assert "The matched random control does so on 0.0 % [0.0, 16.8] (n = 19), at a mean displacement of at most" in text
    assert "not among the first 3, bones kept exactly: 94.7 % [75.4, 99.1] of these clips reach this goal" in text
    assert "of these clips are taken for that class" in text
    assert "The matched random control loses the true class of 0.0 % [0.0, 16.8] (n = 19)" in text
    assert "Of the 4 attack settings tried at this goal, SMART, bones kept by a loss, reaches it on most" in text
    assert "Judged by networks that took no part, motions of SMART, bones kept exactly, succeed on " in text
    assert "not clearly weaker" not in text
    assert not re.search(r"\bsecure\b|\bsafe\b|robust to|nan", text)


def test_verdict_names_what_cannot_be_claimed():
    def text(rows):
        return " ".join(action_verdict(summarize_actions(rows)))

    lucky = {"success": True, "displacement": 0.004}
    noisy = [{**r, **lucky} if r["attack"] == "smart-random" and r["natural"] else r for r in ROWS]
    assert "The control is not clearly weaker than the attack (the intervals overlap)" in text(noisy)
    assert "No matched random control was measured" in text([r for r in ROWS if "random" not in r["attack"]])
    assert "say nothing about robustness" in text(ROWS[:CLIPS])
    assert text(ROWS[CLIPS:]).startswith("Unattacked clips were not measured here.")
    rough = [{**r, "rough_acceleration": 2.0 + i / 99, "rough_acceleration_clean": 1.0} for i, r in enumerate(picked())]
    assert "clearly rougher than the recorded ones" in text(rough)
    assert "clearly rougher" not in text(ROWS)


def test_without_exact_smart_the_most_successful_attack_is_told():
    rest = [r for r in RECORDS if (r["attack"], r["bones"]) != ("smart", "exact")]
    assert told(rest, "anything-but")["bones"] == "loss"
    assert told([r for r in rest if r["attack"] != "smart"], "anything-but")["attack"] == "pgd"
    assert told([r for r in rest if "random" in r["attack"]], "anything-but") is None


def test_bars():
    bars = action_bars(RECORDS)
    assert [bar.kind for bar in bars] == ["natural", "control", *["attack"] * 6]
    assert bars[2].label == "SMART, anything but, ≤ 10 mm"


def test_published_rates_average_to_the_printed_means():
    for goal, rows in SMART.rates.items():
        assert tuple(rows) == (*NETWORKS, AVERAGE)
        for source in SOURCES:
            values = np.array([SMART.values(goal, network, source) for network in NETWORKS])
            assert values.mean(0) == pytest.approx(SMART.values(goal, AVERAGE, source), abs=0.011)
    assert SMART.values("anything-but", "SGN", "HDM05") == SMART.values("natural", "HRNN", "NTU") == ()


@pytest.mark.parametrize(
    ("model", "network"),
    [
        *(("st-gcn-actors", "ST-GCN"), ("runs/hrnn", "HRNN"), ("agcn-hdm05", "2s-AGCN"), ("2s-agcn", "2s-AGCN")),
        *(("aagcn", None), ("st-gcnn", None), ("sgn-actors", None)),
    ],
)
def test_networks_of_the_table(model, network):
    assert network_of(model) == network


def two_networks():
    return [*ROWS, *rows_of("st-gcn-actors", size=0.02, every=4, judges=("sgn-actors",))]


def test_tables():
    page = render_report(report(two_networks()))
    table = cells(page, "<h3>Success: anything but the true class")
    assert table[0] == ["network", "attack", "≤ 2 mm", "≤ 5 mm", "≤ 10 mm", "≤ 20 mm", "≤ 50 mm", "any", "n"]
    assert [row[1] for row in table[1:8]] == [
        *("SMART, exact bones", "SMART, bones in the loss"),
        *("PGD, exact bones, ≤ 5 mm", "PGD, exact bones, ≤ 20 mm"),
        *("random control of SMART, exact bones", "random control, exact bones, ≤ 5 mm"),
        "random control, exact bones, ≤ 20 mm",
    ]
    assert table[1][0] == "sgn-actors"
    assert table[2][7:] == ["100.0 [83.2, 100.0]", "19"]
    moves = cells(page, "<h3>How attacked motions move")
    assert moves[0][3:] == ["acceleration, m/s²", "acceleration, after / before", "jerk, m/s³", *moves[0][6:]]
    assert re.fullmatch(r"[\d.]+ \[[\d.]+, [\d.]+\] \(before [\d.]+\)", moves[1][3])
    moved_table = cells(page, "<h3>How far attacked motions are")
    assert moved_table[0][-1] == "largest Δ bone length, %"
    assert moved_table[1][-2].startswith("0")
    assert not any("random" in row[2] for row in moved_table)


def test_printed_beside_measured():
    page = render_report(report(two_networks()))
    table = cells(page, "<h3>SMART as printed, and as measured on hdm05")
    assert len(table[0]) == 1 + 3 * 4
    assert table[0][4:6] == ["AB, measured on hdm05", "ABN, published HDM05"]
    assert table[0][8] == "ABN, measured on hdm05, N = 3"
    names = [row[0] for row in table[1:]]
    assert names == ["HRNN", "ST-GCN (st-gcn-actors)", "AS-GCN", "DGNN", "2s-AGCN", "mean", "sgn-actors"]
    st_gcn = table[2]
    assert st_gcn[1:4] == ["99.57", "99.96", "100"]
    assert st_gcn[5] == "93.3 / 90.28"
    assert st_gcn[4].endswith("n = 19")
    assert table[1][4] == table[7][1] == "–"
    assert "means over batches of the best share" in page
    assert "split at random" in page


def test_transfer_matrix():
    page = render_report(report(two_networks()))
    table = cells(page, "<h3>Transfer: anything but the true class")
    assert table[0] == ["attacked", "attack", "sgn-actors", "st-gcn-actors", "other"]
    first = table[1]
    assert first[2].startswith("●")
    assert re.fullmatch(r"[\d.]+ \[[\d.]+, [\d.]+\] n = 19", first[3])
    other = next(row for row in table[1:] if row[0].startswith("st-gcn"))
    assert (other[3][0], other[4]) == ("●", "–")


def test_curves_have_a_panel_a_goal_and_dashed_controls():
    section = action_section(two_networks())
    (plot,) = section.plots
    assert [chart.title for chart in plot.charts] == [
        *("Anything but the true class", "The true class not among the first 3", "Another class that is asked for")
    ]
    assert [key.label for key in plot.legend] == ["sgn-actors", "st-gcn-actors", "matched control"]
    dashes = [chart.svg.count("stroke-dasharray") for chart in plot.charts]
    assert dashes[0] > dashes[1] == dashes[2]


def test_both_halves_one_or_the_other():
    section = report().actions
    both = render_report(gait_report(actions=section))
    for text in ("<h3>Gait</h3>", "<h3>Skeleton actions</h3>", "Rank-1", "50 identities", "sgn-actors on hdm05"):
        assert text in both
    alone = render_report(report())
    for text in ("Rank-1", "identities", "identification", "<h3>Gait</h3>"):
        assert text not in alone
    for text in (CLOSING, "4 actions", "guessing 25 %", "Matched control", "Every record (", "Student"):
        assert text in alone
    assert "skeleton" not in render_report(gait_report()).lower()


@pytest.mark.parametrize(
    ("gait", "actions", "title"),
    [
        (True, False, "How easily is this gait recognizer fooled?"),
        (False, True, "How easily is this action recognizer fooled?"),
        (True, True, "How easily are these gait and action recognizers fooled?"),
    ],
)
def test_titles(gait, actions, title):
    assert report_title(gait=gait, actions=actions) == title


def test_names_are_escaped():
    bad = "<script>alert(1)</script>"
    names = {"model": bad, "data": bad, "attack": bad, "goal": bad, "bones": bad, "label": bad}
    rows = [
        {**r, **({k: v for k, v in names.items() if r["attack"] != "none" or k in ("model", "data")})} for r in ROWS
    ]
    page = render_report(Report(title="t", records=(), settings={}, actions=action_section(rows, models=(bad,))))
    assert bad not in page
    assert page.count("<script") == 1


@pytest.mark.parametrize("rows", [[], ROWS[:CLIPS], picked(), picked()[:2]])
def test_few_rows_are_shown(rows):
    assert CLOSING in render_report(report(rows))


def test_a_table_of_actions_is_checked():
    section = replace(report().actions, tables=[Table(title="T", caption="", columns=("a", "b"), rows=[("1",)])])
    with pytest.raises(DataError, match="table 'T', row 0: expected 2 cells, found 1"):
        render_report(report(actions=section))


def test_what_a_network_was_trained_on_is_told():
    recipe = {"epochs": 30, "learning_rate": 0.001}
    card = {"training": {"data": "actors", "clips": 960, "recipe": recipe, "settings": {"augment": True}}}
    table = action_section(ROWS, cards={"sgn-actors": card}).tables[0]
    assert table.rows == [
        (
            "sgn-actors",
            "hdm05",
            "95.0 [76.4, 99.1]",
            "20",
            "960 clips of actors, 30 epochs, learning rate 0.001, with augmentation",
        )
    ]
    assert action_section(ROWS).tables[0].rows[0][-1] == "–"


def test_examples_play_at_the_speed_of_the_clip():
    clean = clips(1)[0].numpy()
    row = picked(goal="specified")[1]
    example = stick_example(clean, clean, row, HDM05_25, fps=18.68251)
    assert (example.fps, example.drawn, len(example.panels)) == (18.683, True, 3)
    assert example.title == "sgn-actors: SMART, another class that is asked for, bones kept exactly"
    aimed = "Clip clip-1: hop is taken for squat (asked for: squat); the goal is reached. Joints are "
    assert example.caption.startswith(aimed)
    assert "bones change by 0 %" in example.caption
    picture = stick_picture(clean, clean, row, HDM05_25, count=3)
    page = render_report(report(actions=action_section(ROWS, examples=[example], pictures=[picture])))
    assert 'class="player drawn"' in page
    assert 'data-fps="18.683"' in page
    assert page.count(picture.caption) == 2


def keep(folder, name, row, before=None):
    (folder / "examples").mkdir(exist_ok=True)
    before = clips(1, 4)[0].numpy() if before is None else before
    np.savez(folder / "examples" / name, before=before, after=before, fps=24.5, row=json.dumps(row))


def test_kept_examples_are_drawn_smart_first(tmp_path):
    keep(tmp_path, "0.npz", next(r for r in ROWS if r["attack"] == "pgd"))
    for number, goal in enumerate(("specified", "anything-but-3", "anything-but")):
        keep(tmp_path, f"{number + 1}.npz", picked(goal=goal)[1])
    titles = [example.title for example in action_examples(tmp_path, ["sgn-actors"], HDM05_25)]
    assert [title.split(", bones")[0] for title in titles] == [
        *(f"SMART, {goal_text(goal)}" for goal in ("anything-but", "anything-but-3", "specified")),
        "PGD, anything but the true class",
    ]
    (first,) = action_examples(tmp_path, ["sgn-actors", "other"], HDM05_25, most=1)
    assert (first.title.split(":")[0], first.fps) == ("sgn-actors", 24.5)


def test_files_that_are_no_kept_examples(tmp_path):
    keep(tmp_path, "0.npz", picked()[1], before=np.ones((1, 4, 20, 3)))
    with pytest.raises(DataError, match=r"0\.npz: expected two motions \(m, t, 25, 3\)"):
        action_examples(tmp_path, ["sgn-actors"], HDM05_25)
    with pytest.raises(DataError, match=r"0\.npz: expected an attacked clip kept by an audit of mine"):
        action_examples(tmp_path, ["mine"], HDM05_25)
    (tmp_path / "examples" / "0.npz").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"0\.npz: expected an attacked clip"):
        action_examples(tmp_path, ["sgn-actors"], HDM05_25)
