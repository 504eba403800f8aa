"""Measuring anonymizers: what is written and read back, rows, intervals, warnings, resuming, report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaitkeeper.anonymize.walk import Anonymized, Walk, with_margin
from gaitkeeper.audit.anonymization import AnonymizationOutcome, hits, run_anonymization
from gaitkeeper.audit.anonymization_grid import NATURAL, AnonymizationSettings
from gaitkeeper.audit.anonymization_published import ALPHAS, FRAME_SCORES, VIDEO_SCORES, VIEWS
from gaitkeeper.audit.anonymization_report import ranking, sentences_of, write_anonymization_report
from gaitkeeper.audit.anonymization_summary import clustered, figure, warnings_of, worst
from gaitkeeper.audit.anonymized import ReadBack, Recorder, read_back, told
from gaitkeeper.audit.judges import Check, Recordings
from gaitkeeper.audit.recognition import silent
from gaitkeeper.audit.reproduce_anonymization import (
    AnonymizationReproduction,
    Inverted,
    reproduce_anonymization,
    trainings,
    variants,
)
from gaitkeeper.audit.verdict import Record
from gaitkeeper.errors import DataError, GaitkeeperError
from gaitkeeper.metrics.intervals import wilson
from gaitkeeper.motion.silhouettes import energy_image
from gaitkeeper.synthetic.walkers import Walkers

SMALL = AnonymizationSettings(
    methods=("blur", "black"),
    judges=("energy",),
    subjects=(77, 78, 79),
    conditions=("nm-05", "bg-01"),
    views=(0, 90),
    frames=15,
    own=(1, 2),
    validation=(83, 84),
)


@dataclass(frozen=True)
class EnergyJudge:
    """Nearest neighbor of energy images; adapted, along directions in which a person's clips differ little."""

    name: str = "energy"
    history: tuple[Check, ...] = ()
    weights: np.ndarray | None = None

    def _features(self, recordings: Recordings) -> np.ndarray:
        images = np.stack([clip.mean(axis=0).ravel() / 255 for clip in recordings.silhouettes])
        return images if self.weights is None else images @ self.weights

    def scores(self, probes: Recordings, gallery: Recordings) -> np.ndarray:
        one, other = self._features(probes), self._features(gallery)
        return -np.linalg.norm(one[:, None] - other[None], axis=2).astype(np.float32)

    def adapted(
        self, own: Recordings, validation: tuple[Recordings, Recordings], *, seed: int = 0, progress: object = silent
    ) -> EnergyJudge:
        assert own.anonymized is not None
        assert 0 < own.anonymized.sum() < len(own)
        images, groups = self._features(own), 1000 * own.identities + own.views
        apart = np.concatenate([images[groups == g] - images[groups == g].mean(axis=0) for g in np.unique(groups)])
        axes = np.linalg.svd(apart, full_matrices=False)[2][:8]
        checks = (Check(0, 0.5, 0.25), Check(1, 0.75, 0.5))
        return replace(self, weights=np.eye(images.shape[1]) - axes.T @ axes, history=checks)


@dataclass(frozen=True)
class Nobody:
    """Shows nobody."""

    def __call__(self, walk: Walk, rng: np.random.Generator) -> Anonymized:
        return Anonymized(silhouettes=np.zeros_like(walk.silhouettes))


def _score(clips: Sequence[np.ndarray], fps: float) -> np.ndarray:
    return np.array([clip.mean() / 255 for clip in clips])


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, AnonymizationOutcome]:
    out = tmp_path_factory.mktemp("anonymization")
    return out, run_anonymization(SMALL, out, judges=[EnergyJudge()], scorer=_score)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ("fog",)}, "methods: expected some of black, .*, got fog"),
        ({"methods": ()}, "methods: expected .*, got none"),
        ({"conditions": ("nm-01",)}, "conditions: expected some of bg-01, .*, got nm-01"),
        ({"views": (45,)}, "views: expected .*, got 45"),
        ({"subjects": (85, 85)}, "subjects: expected different numbers from 1 to 124"),
        ({"subjects": (85, 125)}, "subjects: expected different numbers from 1 to 124"),
        ({"subjects": (50, 85)}, "subjects and own share 50"),
        ({"subjects": (84, 85)}, "validation and subjects share 84|subjects and validation share 84"),
        ({"own": (1,)}, "own: expected at least 2, got 1"),
        ({"judges": ()}, "judges: expected at least 1, got 0"),
        ({"frames": 7}, "expected 8 to 1000 frames of a clip, got 7"),
        ({"strength": 0.0}, "expected a strength above 0"),
        ({"form": "film"}, "form: expected silhouettes or video, got film"),
    ],
)
def test_unusable_settings_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(GaitkeeperError, match=message):
        replace(AnonymizationSettings(), **changes)  # type: ignore[arg-type]


def test_the_protocol_is_that_of_the_document() -> None:
    settings = AnonymizationSettings()
    assert [len(settings.samples(part)) for part in ("gallery", "probes", "own")] == [960, 1440, 3000]
    assert (settings.chance(), settings.chance(3)) == (2.5, 7.5)
    enrolled = {s.condition for s in settings.samples("gallery")}
    assert not enrolled & {s.condition for s in settings.samples("probes")}
    quick = settings.quick()
    assert (len(quick.subjects), len(quick.views), len(quick.judges), len(quick.methods)) == (4, 2, 1, 2)
    assert not quick.adapt


def test_one_clip_a_person_gives_wilsons_interval() -> None:
    values = np.array([1, 0, 1, 1, 0, 0, 1, 1.0])
    assert clustered(values, np.arange(8)) == pytest.approx(wilson(values))


def test_clips_that_are_all_alike_count_as_one_a_person() -> None:
    people = np.array([1, 0, 1, 1, 0, 0, 1, 1.0])
    assert clustered(people.repeat(6), np.arange(8).repeat(6)) == pytest.approx(wilson(people))
    assert clustered(np.zeros(48), np.arange(8).repeat(6)) == pytest.approx(wilson(np.zeros(8)))
    assert all(np.isnan(clustered(np.zeros(0), np.zeros(0))))


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 5)), min_size=1, max_size=60))
def test_intervals_over_people_hold_the_mean_and_are_no_narrower(pairs: list[tuple[float, int]]) -> None:
    values, people = (np.array(column, float) for column in zip(*pairs, strict=True))
    share, low, high = clustered(values, people)
    assert 0 <= low <= share <= high <= 1
    _, narrow, wide = wilson(values)
    assert high - low >= wide - narrow - 1e-9


def test_what_is_read_back_is_what_was_written() -> None:
    clips = [with_margin(clip) for clip in Walkers().silhouettes(77, "nm-05", [0, 90], frames=12)]
    empty = np.zeros((5, *clips[0].shape[1:]), np.uint8)
    wide = np.zeros((4, 40, 90), np.uint8)
    wide[:, 10:30, 20:60] = 255
    sent = [clips[0], empty, clips[1][:9], wide]
    back = read_back(sent, fps=30)
    assert [clip.shape for clip in back] == [clip.shape for clip in sent]
    for before, after in zip(sent, back, strict=True):
        assert set(np.unique(after)) <= {0, 255}
        before_, after_ = before >= 128, after >= 128
        assert (before_ & after_).sum() >= 0.97 * (before_ | after_).sum()
    assert not back[1].any()


def test_greys_are_kept_where_they_say_something_and_noise_of_the_coder_is_not() -> None:
    ramp = np.broadcast_to(np.linspace(0, 255, 64).astype(np.uint8), (6, 48, 64))
    graded, split = (read_back([ramp], fps=30, graded=flag)[0] for flag in (True, False))
    seen = ramp >= 40
    assert np.abs(graded[seen].astype(int) - ramp[seen]).mean() < 4
    assert not graded[ramp < 24].any()
    assert ((split == 255) == (ramp >= 128)).mean() > 0.97


def test_every_method_judge_and_task_has_a_row(measured: tuple[Path, AnonymizationOutcome]) -> None:
    rows = measured[1].rows
    judged = [(r["method"], r["adapted"], r["task"]) for r in rows if r["model"] == "energy"]
    methods = ("blur", "black")
    wanted = {(m, flag, task) for m in methods for flag in (False, True) for task in ("re-identify", "link")}
    wanted |= {(NATURAL, flag, "re-identify") for flag in (False, True)}
    assert len(judged) == len(wanted)
    assert set(judged) == wanted
    assert {r["method"] for r in rows if r["model"] == "looks"} == {NATURAL, *methods}
    probes = len(SMALL.samples("probes"))
    assert all(
        len(r[where][rank]) == probes for r in rows if "same" in r for where in ("same", "cross") for rank in "13"
    )


def test_figures_are_those_of_the_rows(measured: tuple[Path, AnonymizationOutcome]) -> None:
    rows, records = measured[1].rows, measured[1].records
    row = next(r for r in rows if r["model"] == "energy" and r["method"] == "blur" and r["task"] == "link")
    hit = np.array(row["same"]["1"])
    found = figure(records, "energy", "blur", task="link", adapted=row["adapted"])
    assert found is not None
    assert found["value"] == pytest.approx(100 * hit.mean())
    assert found["n"] == len(hit)
    side = figure(records, "energy", "blur", task="link", adapted=row["adapted"], view=90)
    at_side = [s.view == 90 for s in SMALL.samples("probes")]
    assert side is not None
    assert side["value"] == pytest.approx(100 * hit[at_side].mean())
    third = figure(records, "energy", "blur", rank=3)
    assert third is not None
    assert third["value"] == 100


def test_a_black_silhouette_hides_nothing(measured: tuple[Path, AnonymizationOutcome]) -> None:
    for adapted in (False, True):
        natural, black = (figure(measured[1].records, "energy", m, adapted=adapted) for m in (NATURAL, "black"))
        assert natural is not None
        assert black is not None
        assert natural["value"] == black["value"] > 100 / 3


def test_nobody_is_identified_where_nobody_is_left(tmp_path: Path) -> None:
    few = replace(SMALL, methods=("black",), adapt=False, frames=8)
    found = run_anonymization(few, tmp_path, judges=[EnergyJudge()], anonymizers={"nobody": Nobody()}, scorer=_score)
    most = worst(found.records, "nobody")
    assert most is not None
    assert (most["value"], most["low"]) == (0, 0)
    assert most["high"] > 20
    looks = next(r for r in found.rows if (r["model"], r["method"]) == ("looks", "nobody"))
    assert looks["lost"] == len(few.samples("probes"))
    assert set(looks["overlap"]) == {0.0}
    assert "does not say what the method is worth" in " ".join(sentences_of(found.records, few, "nobody"))


def test_lost_clips_count_as_not_identified() -> None:
    samples = SMALL.samples("probes")
    clips = [Walkers().silhouettes(int(s.subject), s.condition, [s.view], frames=8)[0] for s in samples]
    whole = ReadBack(samples=samples, silhouettes=clips, likeness={})
    gone = [np.zeros((0, 64, 44), np.uint8), *clips[1:]]
    part = ReadBack(samples=samples, silhouettes=gone, likeness={})
    found = hits(EnergyJudge(), part, whole, anonymized=False, task="re-identify")
    assert found["same"]["1"] == [0.0] + [1.0] * (len(samples) - 1)
    enrolled = [clip if s.subject != "077" else gone[0] for s, clip in zip(samples, clips, strict=True)]
    unseen = hits(
        EnergyJudge(), whole, ReadBack(samples=samples, silhouettes=enrolled, likeness={}), anonymized=True, task="link"
    )
    assert unseen["same"]["1"] == [float(s.subject != "077") for s in samples]
    assert [value for s, value in zip(samples, unseen["cross"]["1"], strict=True) if s.subject == "077"] == [0.0] * 4


def test_unaltered_clips_are_like_themselves(measured: tuple[Path, AnonymizationOutcome]) -> None:
    looks = {r["method"]: r for r in measured[1].rows if r["model"] == "looks"}
    assert min(looks[NATURAL]["overlap"]) > 0.97
    assert np.mean(looks["blur"]["overlap"]) < 0.95
    assert np.mean(looks[NATURAL]["leg_motion"]) == pytest.approx(1, abs=0.1)


def test_an_interrupted_measurement_goes_on_to_the_same_rows(
    measured: tuple[Path, AnonymizationOutcome], tmp_path: Path
) -> None:
    out, outcome = measured
    kept = (out / "rows.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "recordings").symlink_to(out / "recordings")
    (tmp_path / "settings.json").write_text((out / "settings.json").read_text())
    (tmp_path / "rows.jsonl").write_text("".join(kept[:7]) + kept[7][:40])
    again = run_anonymization(SMALL, tmp_path, judges=[EnergyJudge()], scorer=_score)
    assert (tmp_path / "rows.jsonl").read_text() == "".join(kept)
    assert again.records == outcome.records
    assert (tmp_path / "summary.json").read_bytes() == (out / "summary.json").read_bytes()


def test_recordings_are_kept_and_made_anew_where_settings_differ(tmp_path: Path) -> None:
    few = replace(SMALL, subjects=(77, 78), conditions=("nm-05",), views=(90,), frames=8)

    def read(seed: int) -> tuple[np.ndarray, int]:
        recorder = Recorder(few, tmp_path, seed=seed, progress=silent)
        clips = recorder.read("deformation", "probes").silhouettes
        return np.concatenate(list(clips)), (tmp_path / "deformation-probes.npz").stat().st_mtime_ns

    (first, at), (second, then), (other, later) = read(0), read(0), read(1)
    assert (first == second).all()
    assert at == then < later
    assert first.shape != other.shape or (first != other).any()
    (tmp_path / "deformation-probes.npz").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(DataError, match=r"deformation-probes.npz: expected recordings of an earlier run"):
        read(1)


def test_walkers_can_be_filmed_anonymized_and_segmented(tmp_path: Path) -> None:
    few = replace(SMALL, form="video", subjects=SMALL.subjects[:2], conditions=("nm-05",), views=(90,), frames=24)
    recorder = Recorder(few, tmp_path, seed=0, progress=silent)
    natural, black = recorder.read("natural", "probes"), recorder.read("black", "probes")
    for found in (natural, black):
        assert [len(clip) >= 20 for clip in found.silhouettes] == [True, True]
        assert np.isnan(found.likeness["overlap"]).all()
    truth = [Walkers(few.population).silhouettes(who, "nm-05", [90], frames=24)[0] for who in few.subjects]
    for found in (natural, black):
        own, other = (np.abs(energy_image(found.silhouettes[0]) - energy_image(clip)).mean() for clip in truth)
        assert own < min(other, 0.08), "the film does not show the walker's own outline"


def test_the_text_of_an_anonymizer_is_the_same_in_every_process() -> None:
    from gaitkeeper.anonymize.replacement import Replacement

    assert "0x" not in told(Replacement())
    assert told(Replacement()) != told(Replacement(painted=False))


def _records(*, natural: float, fixed: float, adapted: float | None, method: str) -> list[Record]:
    flags = {False: fixed, True: adapted}
    shares = [(NATURAL, flag, natural) for flag, share in flags.items() if share is not None]
    shares += [(method, flag, share) for flag, share in flags.items() if share is not None]
    usual = {"model": "rvtm", "data": "walkers", "metric": "identified", "gallery": "same", "rank": 1}
    usual |= {"condition": "all", "view": "all", "task": "re-identify", "n": 1440}
    return [
        {**usual, "method": m, "adapted": flag, "value": share, "low": share - 1, "high": share + 1}
        for m, flag, share in shares
    ]


def test_a_negative_control_that_stays_hidden_voids_adapted_figures() -> None:
    settings = AnonymizationSettings()
    weak = _records(natural=90, fixed=10, adapted=54, method="blur")
    for other in ("pixelate", "dilate"):
        weak += _records(natural=90, fixed=10, adapted=70, method=other)
    (warning,) = warnings_of(weak, settings)
    assert "No adapted figure counts: adapted to blur" in warning
    assert "54.0 %" in warning
    enough = [{**r, "value": 56.0} if r["value"] == 54 else r for r in weak]
    assert warnings_of(enough, settings) == ()


def test_weak_judges_and_missing_controls_are_told() -> None:
    settings = AnonymizationSettings()
    found = warnings_of(_records(natural=80, fixed=10, adapted=70, method="blur"), settings)
    assert [w for w in found if "rvtm identifies only 80.0 % of originals" in w]
    assert [w for w in found if "retrained by the recipe" in w]
    assert len([w for w in found if "was not measured" in w]) == 2
    (unadapted,) = warnings_of(
        _records(natural=90, fixed=10, adapted=None, method="blur"), replace(settings, adapt=False)
    )
    assert "No judge was adapted" in unadapted


def test_no_sentence_has_an_unadapted_rate_alone() -> None:
    settings = AnonymizationSettings()
    (both,) = sentences_of(_records(natural=90, fixed=10, adapted=70, method="blur"), settings, "blur")
    assert both.startswith("Identification by rvtm fell from 90.0 % [89.0, 91.0] to 10.0 % [9.0, 11.0] (chance 2.5 %)")
    assert "adapted to the method it identifies 70.0 %" in both
    (alone,) = sentences_of(_records(natural=90, fixed=10, adapted=None, method="blur"), settings, "blur")
    assert "does not say what the method is worth" in alone


def test_methods_are_ranked_by_the_worst_judge() -> None:
    records = _records(natural=90, fixed=3, adapted=70, method="dilate")
    records += [r for r in _records(natural=90, fixed=30, adapted=40, method="deformation") if r["method"] != NATURAL]
    first, second = ranking(records)
    assert "deformation hides most: 40.0 %" in first
    assert second == "In order: deformation 40.0 %, dilate 70.0 %."


def test_the_report_leads_with_what_does_not_count(measured: tuple[Path, AnonymizationOutcome], tmp_path: Path) -> None:
    out, outcome = measured
    path = tmp_path / "report.html"
    write_anonymization_report(path, outcome, SMALL, out=out, seed=0)
    text = path.read_text(encoding="utf-8")
    assert outcome.warnings
    assert text.index("What does not count") < text.index("Which hides most") < text.index("Identification by energy")
    for needed in ("guessing 33.3", "blur (control)", "Negative controls", "How judges adapted", "<canvas", "<svg"):
        assert needed in text.replace("\u00a0", " "), needed
    assert "http" not in text.replace("http-equiv", "")


def test_printed_scores_fall_with_alpha_in_every_view() -> None:
    for printed in (FRAME_SCORES, VIDEO_SCORES):
        columns = zip(*(printed.scores[alpha] for alpha in ALPHAS), strict=True)
        assert all(one > other for column in columns for one, other in pairwise(column))
        assert all(len(row) == len(VIEWS) for row in printed.scores.values())
        assert printed.value(0.3, 45) is None
    assert VIDEO_SCORES.value(0.4, 180) == 0.4983


def test_the_reproduction_runs_to_its_report(tmp_path: Path) -> None:
    measured = replace(
        SMALL, methods=("black",), subjects=(77, 78), conditions=("nm-05",), views=(90,), frames=16, adapt=False
    )
    settings = AnonymizationReproduction(
        measured=measured, alphas=(0.3,), steps=2, snapshots=(1,), inverters=False, ablation=False, learned=(61, 61)
    )
    done = reproduce_anonymization(settings, tmp_path, judges=[EnergyJudge()], scorer=_score)
    titles = [table.title for table in done.tables]
    assert [t for t in titles if t.startswith("Figures 15 and 16: success against energy, top-1")]
    scores = next(table for table in done.tables if table.title.startswith("Table 3"))
    assert ("α = 0.3, published", "0.5225") in [tuple(row) for row in scores.rows]
    steps = next(table for table in done.tables if "over training steps" in table.title)
    assert [row[0] for row in steps.rows] == ["1"]
    assert any("never saw the method" in sentence for sentence in done.sentences)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Figures 17 and 18" in text
    assert "Published and measured" in text
    made = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")}
    assert made
    assert reproduce_anonymization(settings, tmp_path, judges=[EnergyJudge()], scorer=_score) == done
    assert made == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")}


def test_what_is_trained_comes_before_what_undoes_it(tmp_path: Path) -> None:
    settings = AnonymizationReproduction(steps=100, squared_steps=80, snapshots=(50, 200))
    asked = trainings(settings, tmp_path)
    assert {a.alpha for a in asked.values() if a.norm == "l1"} == set(ALPHAS)
    assert asked["l1-0.3"].adversarial == "saturating"
    assert list(asked).index("squared-0.3") < list(asked).index("squared-0.3-inverted")
    made = variants(settings, tmp_path)
    assert set(asked) - set(made) == {"l1-followed"}
    assert [name for name in made if "step" in name] == ["l1-followed-step-50", "l1-followed-step-200"]
    assert [asked[name].iterations for name in ("l1-0.3", "squared-0.3", "l1-followed")] == [100, 80, 200]
    assert isinstance(made["l1-0.3-inverted"], Inverted)
    with pytest.raises(GaitkeeperError, match="at least 1 step"):
        AnonymizationReproduction(snapshots=(0,))
