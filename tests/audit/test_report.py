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

from gaitkeeper.audit.report import Example, Panel, Picture, Report, render_report, write_report
from gaitkeeper.audit.verdict import CLOSING, attack_text, budget_text, overview, verdict
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
        (None, None, "no budget"),
    ],
)
def test_budgets_are_written_as_people_write_them(norm, budget, text):
    assert budget_text(norm, budget) == text


def test_attack_names():
    names = [attack_text(name) for name in ("pgd", "mi-fgsm-straight-through", "mine")]
    assert names == ["PGD", "MI-FGSM (straight-through)", "mine"]


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
    assert f"Every record ({len(grid())})" in page


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
