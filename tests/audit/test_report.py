import base64
import json
import re
import resource
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from gaitkeeper.audit.figures import Key, attack_keys, budget_plots, view_plot, view_plots
from gaitkeeper.audit.present import examples, frames_text, frozen
from gaitkeeper.audit.report import Example, Panel, Picture, Report, Table, render_report, write_report
from gaitkeeper.audit.verdict import (
    CLOSING,
    attack_text,
    budget_text,
    control_of,
    is_attack,
    overview,
    strongest,
    verdict,
)
from gaitkeeper.errors import DataError


def record(attack, value, low=None, high=None, **changes):
    goal = "natural" if attack == "none" else "nontargeted"
    norm, budget = (None, None) if attack == "none" else ("linf", 16 / 255)
    return {
        **{"model": "gaitset", "data": "walkers", "attack": attack, "goal": goal, "norm": norm, "budget": budget},
        **{"stored": "uint8", "condition": "NM", "view": "all", "metric": "rank1"},
        **{"value": value, "low": low, "high": high, "n": 300, **changes},
    }


NATURAL = record("none", 92.1, 88.5, 94.6)
PGD = record("pgd", 0.0, 0.0, 1.3)
CONTROL = record("random", 91.8, 88.1, 94.4)
BINARY = [{**NATURAL, "stored": "binary"}, record("pgd", 91.5, 87.8, 94.2, stored="binary")]


SPARSE = {"norm": "altered", "budget": 1 / 40, "stored": "binary"}


def sparse(attack, value, low=None, high=None, **changes):
    return record(attack, value, low, high, **{**SPARSE, **changes})


ALTERED = [
    record("none", 92.0, 88.0, 95.0, stored="binary"),
    sparse("temporal-sparse", 40.0, 34.0, 46.0),
    sparse("random-directions", 81.0, 76.0, 85.0),
    sparse("random-latents", 88.0, 84.0, 92.0),
    sparse("temporal-sparse", 5.0, 3.0, 8.0, budget=1 / 10),
    sparse("random-directions", 60.0, 54.0, 66.0, budget=1 / 10),
    sparse("random-latents", 70.0, 64.0, 75.0, budget=1 / 10),
]


def told(records, **options):
    return " ".join(verdict(records, **{"chance": 2.0, **options}))


def report(records=(NATURAL, PGD, CONTROL), **changes):
    frames = np.zeros((13, 8, 6), np.uint8)
    frames[:, 2:5, 3] = np.arange(13, dtype=np.uint8)[:, None] * 10
    colored = np.repeat(frames[..., None], 3, axis=-1)
    colored[..., 0] += 100
    panels = [Panel(label="unaltered", frames=frames), Panel(label="attacked", frames=colored, marked=(2, 12))]
    return replace(
        Report(
            title="An audit",
            records=list(records),
            settings={"seed": 7, "attack": {"pgd": {"steps": 20, "size": 2 / 255}}, "views": (0, 18), "flag": None},
            chance=2.0,
            identities=50,
            examples=[Example(title="One walk", caption="Two frames differ.", panels=panels)],
            pictures=[Picture(title="Seen", caption="A still.", image=colored[0])],
            limits=["All people are rendered."],
        ),
        **changes,
    )


def grid():
    """Records as a real audit has them: two formats, two norms, budgets, conditions and views."""
    records = []
    for stored in ("uint8", "binary"):
        for condition, value in (("NM", 92.0), ("BG", 84.0), ("CL", 70.0)):
            records.append(record("none", value, value - 3, value + 3, stored=stored, condition=condition))
            for view in range(0, 181, 18):
                one = {"stored": stored, "condition": condition, "view": view, "n": 30}
                records.append(record("none", value - view / 90, value - 9, value + 7, **one))
                records.append(record("pgd", 5.0, 1.0, 9.0, **one))
        for norm, budgets in (("linf", (1 / 255, 4 / 255, 16 / 255)), ("frames", (1, 4))):
            for attack, lost in (("fgsm", 40), ("pgd", 85), ("random", 1)):
                for i, budget in enumerate(budgets):
                    value = 92.0 - lost * (i + 1) / len(budgets)
                    where = {"norm": norm, "budget": budget, "stored": stored}
                    records.append(record(attack, value, value - 3, value + 3, **where))
                    aimed = {**where, "goal": "targeted", "metric": "success"}
                    records.append(record(attack, lost / 2, lost / 2 - 0.4, lost / 2 + 3, **aimed))
                    records.append(record(attack, 0.05, 0.04, 0.06, **where, metric="l2"))
    return records


class References(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []
        self.tags = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.found += [value for name, value in attrs if name in ("src", "href", "xlink:href", "srcset", "data")]


@pytest.mark.parametrize(
    ("norm", "budget", "text"),
    [
        ("linf", 16 / 255, "L∞ 16/255"),
        ("linf", np.float32(8 / 255), "L∞ 8/255"),
        ("linf", 0.5 / 255, "L∞ 0.5/255"),
        ("linf", 0.05, "L∞ 0.05"),
        ("linf", 1.0, "L∞ 1"),
        ("linf", 0.0, "L∞ 0"),
        ("l2", 2.5, "L2 2.5"),
        ("frames", 1, "1 frame"),
        ("frames", 8, "8 frames"),
        ("joints", 3.0, "3 joints"),
        ("altered", 1 / 40, "1/40 of the frames altered"),
        ("inserted", np.float32(0.1), "1/10 of the frames inserted"),
        ("altered", 0.075, "3/40 of the frames altered"),
        ("altered", 2**0.5 / 10, "14.1 % of the frames altered"),
        ("altered", 1.0, "all frames altered"),
        (None, None, "no budget"),
    ],
)
def test_budgets_are_written_as_people_write_them(norm, budget, text):
    assert budget_text(norm, budget) == text


def test_attack_names():
    names = [attack_text(name) for name in ("pgd", "mi-fgsm-straight-through", "mine")]
    assert names == ["PGD", "MI-FGSM (straight-through)", "mine"]
    assert attack_text("temporal-sparse-coherent") == "temporal sparse attack (coherent)"
    assert attack_text("random-directions-coherent") == "random directions (coherent)"
    assert attack_text("random-latents") == "random latents"


@pytest.mark.parametrize(
    ("attack", "control"),
    [
        ("temporal-sparse", "random-directions"),
        ("temporal-sparse-coherent", "random-directions-coherent"),
        ("temporal-sparse-published", "random-latents"),
        ("pgd-straight-through", "random"),
    ],
)
def test_every_attack_has_its_own_control(attack, control):
    names = ("random", "random-latents", "random-directions-coherent", "random-directions")
    controls = [sparse(name, 80.0) for name in names]
    attacked = sparse(attack, 40.0)
    assert control_of([*controls, attacked], attacked)["attack"] == control
    others = [r for r in controls if r["attack"] != control]
    assert control_of([*others, attacked], attacked) is None
    assert control_of([sparse(control, 80.0, budget=1 / 20)], attacked) is None
    assert [is_attack(r) for r in (*controls, attacked)] == [False] * 4 + [True]


def test_verdict_of_the_temporal_sparse_attack_at_its_smallest_share():
    text = told(ALTERED)
    assert (
        "The temporal sparse attack on binary masks at its smallest share, 1/40 of the frames altered, lowers rank-1 "
        "from 92.0 % [88.0, 95.0] to 40.0 % [34.0, 46.0] (n = 300); it is 81.0 % [76.0, 85.0] under the matched random "
        "control (random directions, n = 300) and 88.0 % [84.0, 92.0] under the paper's control (random latents, "
        "n = 300)."
    ) in text
    assert (
        "the temporal sparse attack at 1/10 of the frames altered, lowers rank-1 from 92.0 % [88.0, 95.0] to 5.0 % "
        "[3.0, 8.0] (n = 300); the matched random control leaves it at 60.0 % [54.0, 66.0] (n = 300)."
    ) in text
    assert "not clearly weaker" not in text
    assert "70.0" not in text


def test_a_sparse_attack_that_loses_is_said_to():
    weak = [r for r in ALTERED if r["budget"] != 1 / 10 and r["attack"] != "temporal-sparse"]
    weak += [sparse("temporal-sparse", 86.0, 82.0, 90.0), sparse("pgd", 70.0, 65.0, 75.0)]
    assert "at its smallest share, 1/40 of the frames altered, has no measurable effect" in told(weak)
    noisy = [{**r, "high": 50.0, "low": 30.0} if r["attack"] == "random-directions" else r for r in ALTERED]
    assert told(noisy).count("not clearly weaker than the attack (the intervals overlap)") == 1


def test_the_papers_control_is_not_the_matched_one():
    text = told([r for r in ALTERED if r["attack"] != "random-directions"])
    assert "matched random control leaves" not in text
    assert text.count("No matched random control was measured") == 2
    published = [r for r in ALTERED if r["budget"] != 1 / 10 and r["attack"] != "temporal-sparse"]
    published.append(sparse("temporal-sparse-published", 50.0, 44.0, 56.0))
    assert "the paper's control leaves it at 88.0 % [84.0, 92.0] (n = 300)." in told(published)


def test_the_smallest_share_is_not_told_twice():
    text = told([r for r in ALTERED if r["budget"] != 1 / 10])
    assert text.count("40.0 %") == 1
    assert (
        "Beside the temporal sparse attack on binary masks at its smallest share, 1/40 of the frames altered, rank-1 "
        "is 88.0 % [84.0, 92.0] under the paper's control (random latents, n = 300)."
    ) in text


def test_verdict_of_coherence_prints_overlap_and_success():
    def both(attack, overlap, success):
        return [
            sparse(attack, overlap, metric="overlap"),
            sparse(attack, 83.0, metric="overlap_before"),
            sparse(attack, success, success - 5, success + 5, metric="success", n=276),
        ]

    text = told([*ALTERED, *both("temporal-sparse", 49.0, 55.0), *both("temporal-sparse-coherent", 72.0, 31.0)])
    assert (
        "Kept near their neighbors, its frames overlap them by 72.0 %, else by 49.0 % (n = 300; the frames that stood "
        "there by 83.0 %); the attack then succeeds on 31.0 % [26.0, 36.0] of sequences (n = 276), else on 55.0 % "
        "[50.0, 60.0] (n = 276)."
    ) in text
    assert "Kept near" not in told([*ALTERED, *both("temporal-sparse", 49.0, 55.0)])


def test_targeted_shares_read_well():
    aimed = {"goal": "targeted", "metric": "success", "budget": 1 / 10}
    text = told([*ALTERED, sparse("temporal-sparse", 41.0, 36.0, 47.0, **aimed)])
    assert "another person, the" not in text
    assert "the temporal sparse attack at 1/10 of the frames altered stored as binary masks is identified as" in text
    assert "No matched random control was measured" in text


def test_overview_shows_the_smallest_share_with_both_controls_once():
    labels = [bar.label for bar in overview(ALTERED)]
    assert labels == [
        "Unaltered",
        "Random directions, 1/10 of the frames altered, binary masks",
        "Temporal sparse attack, 1/10 of the frames altered, binary masks",
        "Random latents, 1/40 of the frames altered, binary masks",
        "Random directions, 1/40 of the frames altered, binary masks",
        "Temporal sparse attack, 1/40 of the frames altered, binary masks",
    ]
    assert [bar.kind for bar in overview(ALTERED)] == ["natural", "control", "attack", "control", "control", "attack"]


def test_transfer_is_never_the_strongest_attack():
    moved = sparse("temporal-sparse", 0.0, 0.0, 1.0, metric="transfer", judge="other")
    scope = {"condition": "NM", "view": "all"}
    assert strongest([*ALTERED, moved], scope, "nontargeted", "binary")["value"] == 5.0


def test_controls_are_told_apart_and_variants_share_a_color():
    names = ("random", "random-directions", "random-directions-coherent", "random-latents")
    attacks = ("pgd", "pgd-straight-through", "temporal-sparse", "temporal-sparse-coherent")
    keys = attack_keys([sparse(name, 50.0) for name in (*names, *attacks)])
    assert len({keys[name].dash for name in names}) == len({keys[name].marker for name in names}) == 4
    assert not {keys[name].color for name in names} & {keys[name].color for name in attacks}
    assert keys["pgd"].color == keys["pgd-straight-through"].color != keys["temporal-sparse"].color
    assert len({(key.color, key.dash) for key in keys.values()}) == 8
    assert len({key.swatch for key in keys.values()}) == 8


def test_shares_are_plotted_as_fractions():
    aimed = {"goal": "targeted", "metric": "success"}
    records = [*ALTERED, sparse("temporal-sparse", 30.0, 25.0, 35.0, **aimed)]
    records += [sparse("temporal-sparse", 70.0, 65.0, 75.0, metric="transfer", judge="other")]
    first, second = budget_plots(records, chance=2.0)
    assert [key.label for key in first.legend] == [
        *("unaltered", "temporal sparse attack", "random directions", "random latents", "guessing")
    ]
    assert [chart.title for chart in first.charts] == ["Share of frames altered, binary masks"]
    for text in ("1/40", "1/10", "share of frames altered", "rank-1, %"):
        assert f">{text}<" in first.charts[0].svg
    assert ">1/40<" in second.charts[0].svg
    assert ">success, %<" in second.charts[0].svg


def test_views_under_the_smallest_share():
    views = [{**r, "view": view, "n": 27} for r in ALTERED for view in (0, 90)]
    plots = view_plots([*ALTERED, *views], chance=2.0)
    assert [plot.title for plot in plots] == [
        "Rank-1 of unaltered sequences by view",
        "Rank-1 by view under the strongest attack, binary masks",
        "Rank-1 by view under the temporal sparse attack at its smallest share",
    ]
    labels = ["unaltered", "temporal sparse attack", "random directions", "random latents", "guessing"]
    assert [key.label for key in plots[2].legend] == labels
    assert plots[2].caption.startswith("Temporal sparse attack at 1/40 of the frames altered; NM.")


def test_tables_and_plots_of_the_caller():
    lines = [(Key(label="mine", color="#d55e00"), [{**NATURAL, "view": view} for view in (0, 90)])]
    plot = view_plot("By view <b>", "Mine.", lines, chance=2.0, up="success, %")
    open_table = Table(
        title="Table 2", caption="published | measured", columns=("S", "NM"), rows=[("1/40", "71.2 <b>")]
    )
    page = render_report(report(tables=[open_table, replace(open_table, title="Table 6", folded=True)], plots=[plot]))
    assert "<h2>Results</h2>" in page
    assert "<h3>Table 2</h3>" in page
    assert "<summary>Table 6</summary>" in page
    assert page.count('<tr><th scope="row">1/40</th><td>71.2 &lt;b&gt;</td></tr>') == 2
    assert "By view &lt;b&gt;" in page
    assert 'aria-label="success, % against view"' in page
    assert "<h2>Results</h2>" not in render_report(report())
    with pytest.raises(DataError, match="table 'Table 2', row 1: expected 2 cells, found 1"):
        render_report(report(tables=[replace(open_table, rows=[("1/40", "1"), ("1/20",)])]))


def cells(page, heading):
    """Return a section's first table as rows of texts."""
    table = re.search(r"<table.*?</table>", page[page.index(heading) :], flags=re.DOTALL)[0]
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, flags=re.DOTALL) for row in table.split("<tr")[1:]]
    return [[re.sub(r"\s+", " ", re.sub("<[^>]*>", " ", cell)).strip() for cell in row] for row in rows]


def test_transfer_table():
    def moved(r, model, judge, value):
        return {**r, "model": model, "metric": "transfer", "judge": judge, "value": value, "low": value, "high": value}

    one = [r for r in ALTERED if r["budget"] != 1 / 10]
    records = [{**r, "model": model} for model in ("a", "b") for r in one]
    records += [moved(r, "a", "b", r["value"] + 4) for r in one] + [moved(r, "b", "a", r["value"] + 3) for r in one]
    records += [moved(r, "a", "c", 77.0) for r in one] + [moved(r, "a", "a, binarized", 11.5) for r in one[1:2]]
    aimed = sparse("temporal-sparse", 9.0, 7.0, 12.0, goal="targeted", model="a", metric="transfer-success", judge="b")
    records += [aimed, {**aimed, "metric": "success", "value": 44.0}]
    page = render_report(report(records))
    table = cells(page, "<h2>Transfer between recognizers")
    assert table[0] == ["attack", "budget", "a", "b", "c", "attacked, binarized"]
    assert table[1] == ["attacked: a"]
    assert table[2] == [
        *("unaltered", "– binary masks", "● 92.0 [88.0, 95.0] n = 300", "96.0 [96.0, 96.0] n = 300"),
        *("77.0 [77.0, 77.0] n = 300", "–"),
    ]
    assert table[3][:3] == [
        "temporal sparse attack",
        "1/40 of the frames altered binary masks",
        "● 40.0 [34.0, 46.0] n = 300",
    ]
    assert table[3][5].startswith("11.5")
    assert [row[0] for row in table[4:6]] == ["random directions", "random latents"]
    assert table[6] == ["attacked: b"]
    assert [cell[:6] for cell in table[8][2:]] == ["43.0 [", "● 40.0", "–", "–"]
    targeted = cells(page, "<h3>success, %; NM")
    assert [cell[:6] for cell in targeted[1][2:]] == ["● 44.0", "9.0 [7"]
    assert "transfer: " not in "".join(cells(page, "<h3>Unaltered sequences")[0])
    assert "How much was changed" not in page


def test_looks_of_the_altered_frames_have_a_table_of_their_own():
    looks = {"overlap": 49.0, "overlap_before": 83.0, "critic": 7.0, "realism": 6.5, "single": 75.0, "l2": 21.6}
    records = [*ALTERED, *(sparse("temporal-sparse", value, metric=name) for name, value in looks.items())]
    records += [sparse("random-latents", 51.0, metric="overlap"), sparse("random-latents", None, metric="critic")]
    page = render_report(report(records))
    table = cells(page, "<h3>How the altered frames look")
    assert table[0] == [
        *("attack", "frames", "overlap, %", "overlap before, %", "critic, %", "realism, %", "in one piece, %"),
        "what they do",
    ]
    assert table[1][0] == "temporal sparse attack"
    assert [cell.split()[0] for cell in table[1][2:]] == ["49.0", "83.0", "7.0", "6.5", "75.0", "40.0"]
    assert [cell.split()[0] for cell in table[2][2:]] == ["51.0", "–", "–", "–", "–", "88.0"]
    costs = cells(page, "How much was changed")
    assert costs[0] == ["attack", "goal", "budget", "stored as", "L2 distance"]


def test_shares_head_the_columns_and_controls_come_last():
    table = cells(render_report(report(ALTERED)), "<h5>Share of frames altered, binary masks")
    assert table[0] == ["share", "1/40", "1/10"]
    assert [row[0] for row in table[1:]] == ["temporal sparse attack", "random directions", "random latents"]
    assert table[1][2] == "5.0 [3.0, 8.0]"


def test_what_was_not_measured_is_said():
    page = render_report(report([*ALTERED, sparse("temporal-sparse", float("nan"), metric="success", n=0)]))
    assert "not measured" in page


def keep(folder, name, before, after, **row):
    row = {
        **{"model": "gaitset", "attack": "temporal-sparse", "goal": "nontargeted", "norm": "inserted", "budget": 0.5},
        **{"stored": "binary", "sample": "076/nm-06/000", "galleries": 10, "right": [18], "target": None},
        **{"success": 1.0, "overlap": 0.5, "overlap_before": None, "changed": 0.25, "linf": 1.0, **row},
    }
    (folder / "examples").mkdir(exist_ok=True)
    np.savez(folder / "examples" / name, before=before, after=after, row=json.dumps(row))


def walk(length):
    frames = np.zeros((length, 64, 44), np.uint8)
    for i in range(length):
        frames[i, 4:60, 4 + i : 14 + i] = 255
    return frames


def test_inserted_frames_are_marked_and_the_original_waits(tmp_path):
    before, new = walk(4), 255 - walk(2)
    keep(tmp_path, "0.npz", before, np.concatenate([new[:1], before[:2], new[1:], before[2:]]))
    (example,) = examples(tmp_path, ("gaitset",))
    original, attacked, difference = example.panels[:3]
    assert example.title == "Temporal sparse attack, nontargeted, 1/2 of the frames inserted, binary masks"
    assert "Frames 1 and 4 of 6 inserted." in example.caption
    assert attacked.marked == difference.marked == (0, 3)
    assert original.marked == ()
    assert np.array_equal(original.frames, before[[0, 0, 1, 1, 2, 3]])
    page = render_report(report(examples=[example]))
    assert 'title="frame 4 is inserted"' in page
    assert "2 of 6 frames are inserted." in page


def test_altered_frames_are_counted_from_one(tmp_path):
    before = walk(6)
    after = before.copy()
    after[[0, 1, 2, 5]] = 255
    keep(tmp_path, "0.npz", before, after, norm="linf", budget=1.0, attack="pgd", overlap=None)
    keep(tmp_path, "1.npz", before, after, norm="altered", budget=0.1, overlap_before=0.75, target="077")
    keep(tmp_path, "2.npz", before, after, norm="altered", budget=1 / 40, model="other")
    shown = examples(tmp_path, ("gaitset", "other"))
    assert [example.title.split(",")[0] for example in shown] == [
        *("other: temporal sparse attack", "gaitset: temporal sparse attack", "gaitset: PGD")
    ]
    assert "Frames 1–3 and 6 of 6 altered. Overlap with the neighboring frames 50%, before 75%." in shown[1].caption
    assert ", taken for 077 in 100%." in shown[1].caption
    assert " altered" not in shown[2].caption
    assert shown[1].panels[1].marked == (0, 1, 2, 5)


def test_an_example_that_is_not_an_insertion_is_refused(tmp_path):
    keep(tmp_path, "odd.npz", walk(4), walk(5)[::-1])
    with pytest.raises(DataError, match=r"odd\.npz: expected the 4 recorded frames in order among 5"):
        examples(tmp_path, ("gaitset",))


@pytest.mark.parametrize(
    ("indices", "text"),
    [((2,), "frame 3 of 9"), ((0, 1, 2, 3), "frames 1–4 of 9"), ((0, 4, 5, 8), "frames 1, 5–6 and 9 of 9")],
)
def test_frames_are_listed_in_runs(indices, text):
    assert frames_text(indices, 9) == text


def test_frozen_gives_back_a_sequence_without_insertions():
    shown, inserted = frozen(walk(3), walk(3))
    assert (np.array_equal(shown, walk(3)), inserted) == (True, ())


def test_further_examples_are_folded():
    example = report().examples[0]
    page = render_report(report(examples=[example] * 8))
    assert "<summary>2 more</summary>" in page
    assert page.count('class="player"') == 8


def test_verdict_of_an_attack_that_works():
    text = told([NATURAL, PGD, CONTROL], identities=50, unseen=True)
    assert "50 people the network never trained on is 92.1 % [88.5, 94.6]" in text
    assert "(NM, n = 300; guessing gives 2 %)" in text
    assert "PGD at L∞ 16/255, lowers rank-1 from 92.1 % [88.5, 94.6] to 0.0 % [0.0, 1.3] (n = 300)" in text
    assert "the matched random control leaves it at 91.8 % [88.1, 94.4] (n = 300)" in text
    assert "not clearly weaker" not in text
    assert text.endswith(CLOSING)


def test_verdict_does_not_say_unseen_unless_told():
    assert "never trained" not in told([NATURAL, PGD, CONTROL], identities=50)


def test_verdict_of_an_attack_without_effect():
    text = told([NATURAL, record("pgd", 90.0, 86.0, 93.0), CONTROL])
    assert ("no measurable effect" in text, "lowers" in text) == (True, False)


def test_verdict_of_the_same_attack_stored_as_binary_masks():
    text = told([NATURAL, PGD, CONTROL, *BINARY])
    assert "to 0.0 % [0.0, 1.3]" in text
    assert (
        "stored as binary masks, PGD at L∞ 16/255 has no measurable effect, since the intervals overlap: "
        "rank-1 is 91.5 % [87.8, 94.2] against 92.1 % [88.5, 94.6] unaltered (n = 300)" in text
    )
    assert text.count("binary masks") == 1


def test_verdict_names_what_is_strongest_on_binary_masks():
    few = record("pgd-straight-through", 12.0, 9.0, 16.0, norm="frames", budget=4, stored="binary")
    records = [NATURAL, PGD, CONTROL, *BINARY, few]
    text = told(records)
    assert "The strongest of the 2 attack settings tried on binary masks, PGD (straight-through) at 4 frames," in text
    assert "No matched random control was measured" in text
    assert [bar.record["value"] for bar in overview(records)] == [92.1, 91.8, 0.0, 91.5, 12.0]


def test_the_smallest_of_equally_strong_budgets_counts():
    text = told([NATURAL, PGD, record("pgd", 0.0, 0.0, 1.3, budget=4 / 255), CONTROL])
    assert "PGD at L∞ 4/255, lowers" in text


def test_verdict_says_when_the_control_is_as_strong():
    pgd = record("pgd", 40.0, 34.0, 46.0)
    remark = "not clearly weaker than the attack"
    assert f"{remark} (the intervals overlap)" in told([NATURAL, pgd, record("random", 44.0, 38.0, 50.0)])
    assert f"{remark} (it does more)" in told([NATURAL, pgd, record("random", 10.0, 7.0, 13.0)])


def test_the_control_of_another_budget_is_not_the_matched_one():
    text = told([NATURAL, PGD, {**CONTROL, "budget": 8 / 255}])
    assert ("91.8" in text, "No matched random control was measured" in text) == (False, True)


def test_verdict_compares_only_the_same_probes():
    text = told([record("none", 60.0, 54.0, 66.0, condition="BG"), PGD])
    assert "lowers" not in text
    assert "60.0" not in text
    bag = [record("none", 60.0, 54.0, 66.0, condition="BG"), record("pgd", 5.0, 3.0, 8.0, condition="BG")]
    assert "lowers rank-1 from 60.0 % [54.0, 66.0] to 5.0 %" in told([PGD, *bag])


def test_verdict_says_when_there_is_little_to_lose():
    low = record("none", 30.0, 25.0, 35.5)
    assert "too low to judge" in told([low, PGD])
    assert "too low to judge" not in told([NATURAL, PGD])
    assert "too low to judge" in told([record("none", 70.0, 65.0, 75.0), PGD], chance=50.0)


def test_verdict_claims_nothing_without_intervals():
    text = told([record("none", 92.1), record("pgd", 0.0), record("random", 91.8)])
    assert "(no interval)" in text
    assert "cannot be judged" in text
    assert "lowers" not in text


def test_verdict_of_targeted_attacks():
    aimed = {"goal": "targeted", "metric": "success"}
    text = told([NATURAL, record("pgd", 41.0, 36.0, 47.0, **aimed), record("random", 1.0, 0.3, 2.9, **aimed)])
    assert "False-accept risk: aimed at a chosen other person" in text
    assert "in 41.0 % [36.0, 47.0] of sequences (n = 300; guessing gives 2 %)" in text
    assert "the matched random control in 1.0 % [0.3, 2.9]" in text
    assert "not clearly more than guessing" in told([NATURAL, record("pgd", 3.0, 1.6, 5.6, **aimed)])


@pytest.mark.parametrize("records", [[], [record("none", None)], [record("none", float("nan"))]])
def test_verdict_of_nothing(records):
    nothing = "No identification rate was measured, so nothing can be said about one."
    assert verdict(records, chance=2.0) == [nothing, CLOSING]


@pytest.mark.parametrize("records", [[NATURAL], [NATURAL, CONTROL]])
def test_verdict_without_attacks(records):
    assert "say nothing about robustness" in told(records)


@pytest.mark.parametrize("records", [[], [NATURAL], [NATURAL, PGD, CONTROL, *BINARY], grid()])
def test_verdict_never_promises(records):
    assert not re.search(r"\bsecure\b|\bsafe\b|cannot be recognized|robust to|protects", told(records))


def test_two_networks_are_told_apart():
    sentences = verdict([NATURAL, PGD, {**NATURAL, "model": "mine"}], chance=2.0)
    assert {"gaitset on walkers:", "mine on walkers:"} <= set(sentences)


def test_report_is_self_contained():
    page = render_report(report(grid(), biometric=True, skipped=[("a", "b")], decisions=[{"which": "clean"}]))
    parser = References()
    parser.feed(page)
    assert parser.tags.count("svg") > 10
    assert all(reference.startswith(("data:", "#")) for reference in parser.found)
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)", re.sub(r"base64,[\w+/=]*", "", page))
    assert not {"link", "iframe", "object", "embed", "base"} & set(parser.tags)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy[1].startswith("default-src 'none'; img-src data:;")


def test_chart_references_stay_inside_their_chart():
    page = render_report(report(grid()))
    charts = re.findall(r'<svg role="img".*?</svg>', page, flags=re.DOTALL)
    owned = [set(re.findall(r'id="([\w-]+)"', chart)) for chart in charts]
    assert sum(map(len, owned)) == len(set().union(*owned)) > 0
    for chart, ids in zip(charts, owned, strict=True):
        assert set(re.findall(r'(?:href="#|url\(#)([\w-]+)', chart)) <= ids


def test_same_report_same_bytes(tmp_path):
    write_report(tmp_path / "one.html", report(grid()))
    write_report(tmp_path / "two.html", report(grid()))
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


def test_names_are_escaped():
    bad = "<script>alert(1)</script>"
    names = {"model": bad, "data": bad, "condition": bad, "norm": bad, "stored": bad}
    records = [
        {**r, **names, "attack": attack, "budget": budget}
        for r, attack in ((NATURAL, "none"), (PGD, bad), (CONTROL, "random"))
        for budget in ((None,) if attack == "none" else (1.0, 2.0))
    ]
    page = render_report(
        report(
            records,
            title=bad,
            settings={bad: bad, '"': {"$\\frac": "</style>"}},
            skipped=[(bad, bad)],
            decisions=[{bad: bad}],
            limits=[bad],
            examples=[Example(title=bad, caption=bad, panels=[Panel(label=bad, frames=np.ones((1, 2, 2), np.uint8))])],
            pictures=[Picture(title=bad, caption=bad, image=np.ones((2, 2, 3), np.uint8))],
        )
    )
    parser = References()
    parser.feed(page)
    assert bad not in page
    assert parser.tags.count("script") == 1
    assert "&lt;script&gt;" in page


def test_a_name_that_is_no_text_does_not_stop_the_report(tmp_path):
    write_report(tmp_path / "report.html", report(skipped=[("caf\udce9.png", "truncated")]))
    assert "caf\\udce9.png" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_values_are_printed_with_intervals_and_counts():
    page = render_report(report(grid()))
    for text in ("92.0", "[89.0, 95.0]", "n = 300", "[81.0, 87.0]", "16/255", "PGD", "random control", "L2 distance"):
        assert text in page
    views = sum(r["attack"] != "none" and r["view"] != "all" for r in grid())
    assert f"Every record besides attacks by view ({len(grid()) - views})" in page
    (head, *rows) = cells(page, "Attacks by view, BG")
    assert head == ["attack", *(f"{view}°" for view in range(0, 181, 18))]
    assert rows[0] == ["PGD nontargeted, L∞ 16/255, 8-bit frames", *["5.0 [1.0, 9.0] n = 30"] * 11]


def test_every_setting_is_printed():
    page = render_report(report())
    rows = dict(re.findall(r'<tr><th scope="row">([^<]*)</th><td>([^<]*)</td></tr>', page))
    assert rows["seed"] == "7"
    assert rows["attack.pgd.steps"] == "20"
    assert float(rows["attack.pgd.size"]) == 2 / 255
    assert rows["views"] == "0, 18"
    assert rows["flag"] == "none"


@pytest.mark.parametrize("biometric", [True, False])
def test_biometric_banner(biometric):
    words = "contains biometric data of real people: handle accordingly"
    assert (words in render_report(report(biometric=biometric))) == biometric


def test_skipped_decisions_and_limits_are_listed():
    page = render_report(
        report(
            skipped=[("walk 3", "all frames are black")],
            decisions=[{"which": "clean", "distance": 3.14159}, {"which": "attacked", "decision": "rejected"}],
        )
    )
    for text in ("walk 3", "all frames are black", "3.142", "rejected", "All people are rendered.", "cases, not rates"):
        assert text in page


def test_sheets_hold_every_frame():
    wanted = report().examples[0].panels
    page = render_report(report())
    sheets = re.findall(r'class="sheet"[^>]*base64,([\w+/=]*)', page)
    columns = [int(c) for c in re.findall(r'data-columns="(\d+)"', page)]
    assert len(sheets) == len(columns) == len(wanted)
    for text, count, panel in zip(sheets, columns, wanted, strict=True):
        image = cv2.imdecode(np.frombuffer(base64.b64decode(text), np.uint8), cv2.IMREAD_UNCHANGED)
        image = image[..., ::-1] if image.ndim == 3 else image
        for i, frame in enumerate(panel.frames):
            top, left = i // count * 8, i % count * 6
            assert np.array_equal(image[top : top + 8, left : left + 6], frame)
    assert 'data-marked="2,12"' in page
    assert page.count("is altered") == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frames": np.zeros((3, 4, 4))}, "panel 'x': expected uint8 frames"),
        ({"frames": np.zeros((0, 4, 4), np.uint8)}, "expected uint8 frames"),
        ({"frames": np.zeros((3, 4, 4, 4), np.uint8)}, "expected uint8 frames"),
        ({"marked": (3,)}, "expected marked frames from 0 to 2, found 3"),
    ],
)
def test_frames_that_cannot_be_shown(changes, message):
    panel = replace(Panel(label="x", frames=np.zeros((3, 4, 4), np.uint8)), **changes)
    with pytest.raises(DataError, match=message):
        render_report(report(examples=[Example(title="t", caption="", panels=[panel])]))


def test_other_input_that_cannot_be_shown():
    with pytest.raises(DataError, match=r"record 1 .*low, n missing"):
        render_report(report([NATURAL, {k: v for k, v in PGD.items() if k not in ("low", "n")}]))
    with pytest.raises(DataError, match=r"record 0 .*judge missing"):
        render_report(report([{**PGD, "metric": "transfer"}]))
    with pytest.raises(DataError, match="picture 'p'"):
        render_report(report(pictures=[Picture(title="p", caption="", image=np.zeros((4, 4), np.uint8))]))
    with pytest.raises(DataError, match="at least one panel"):
        render_report(report(examples=[Example(title="t", caption="", panels=[])]))


def test_a_failed_report_leaves_the_old_one(tmp_path):
    path = tmp_path / "report.html"
    write_report(path, report([NATURAL]))
    before = path.read_bytes()
    with pytest.raises(DataError):
        write_report(path, report([{}]))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))
        with pytest.raises(DataError, match=r"report\.html: the report cannot be written"):
            write_report(path, report())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_global_changes():
    code = (
        "import json, matplotlib; before = matplotlib.rcParams.copy()\n"
        "from gaitkeeper.audit.figures import budget_plots\n"
        "import sys; budget_plots(json.loads(sys.argv[1]), chance=2.0)\n"
        "assert matplotlib.rcParams.copy() == before and 'matplotlib.pyplot' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code, json.dumps(grid())], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "records",
    [
        [],
        [NATURAL],
        [PGD],
        [record("none", None)],
        [record("none", 90.0, view=90), record("pgd", 10.0, view=90, budget=None, norm=None)],
        [record("pgd", 90.0, 80.0, 95.0, metric="success")],
        [{**PGD, "norm": "elastic", "budget": 3, "stored": "float", "condition": "rain", "attack": "字$x$"}],
        [record("none", 90.0, stored=None), PGD],
    ],
)
def test_few_or_unusual_records_are_shown(records):
    assert CLOSING in render_report(report(records, examples=(), pictures=(), settings={}))
