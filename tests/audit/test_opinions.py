import csv
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaitkeeper.audit.opinion_report import sentences_of, write_opinion_report
from gaitkeeper.audit.opinions import FEWEST, Rating, differences, opinions, read_ratings, write_opinions
from gaitkeeper.audit.study import DATABASE, study
from gaitkeeper.audit.study_clips import StudyClip
from gaitkeeper.audit.study_store import Store
from gaitkeeper.errors import DataError
from gaitkeeper.metrics.intervals import student


def shown(*clips):
    """Return clips of the conditions and views given."""
    return [
        StudyClip(condition=condition, view=view, video=Path("none.mp4"), digest=f"{number:064x}")
        for number, (condition, view) in enumerate(clips)
    ]


def rated(file, clips, scores, *, finish=True):
    """Store the scores of participants, one row each and one score a clip; None is no rating."""
    store = Store.of(file, clips, seed=0)
    numbers = store.numbers()
    codes = []
    for row in scores:
        code = store.enroll().code
        codes.append(code)
        for clip, score in zip(clips, row, strict=True):
            if score is not None:
                store.rate(code, numbers[clip.condition, clip.view, clip.digest], score)
        if finish:
            store.finish(code)
    return store, codes


TWO = shown(("original", ""), ("original", ""), ("swapped", ""), ("swapped", ""))
SCORES = [(5, 5, 3, 2), (4, 5, 1, 2), (4, 4, 4, 3)]


def test_scores_are_means_of_the_participants_means(tmp_path):
    rated(tmp_path / "r", TWO, SCORES)
    original, swapped = opinions(tmp_path / "r")
    assert (original.condition, original.view, original.participants, original.ratings) == ("original", "all", 3, 6)
    # Means of their own: 5, 4.5 and 4; their deviation is 0.5, and Student's quantile with 2 degrees of freedom 4.3027.
    assert original.mean == pytest.approx(4.5)
    assert original.low == pytest.approx(4.5 - 4.3027 * 0.5 / np.sqrt(3), abs=1e-4)
    assert original.high == 5.0
    assert original.quartiles == pytest.approx((4.25, 4.5, 4.75))
    assert (original.least, original.most) == (4.0, 5.0)
    assert original.counts == (0, 0, 0, 3, 3)
    assert swapped.mean == pytest.approx((2.5 + 1.5 + 3.5) / 3)
    assert swapped.counts == (1, 2, 2, 1, 0)


def test_one_who_rated_more_counts_no_more(tmp_path):
    rated(tmp_path / "r", TWO, [(1, 1, 1, 1), (5, None, None, None)], finish=False)
    original, swapped = opinions(tmp_path / "r")
    assert original.mean == 3.0
    assert original.ratings == 3
    assert (swapped.mean, swapped.low, swapped.high, swapped.participants) == (1.0, None, None, 1)


def test_views_are_told_by_angle_where_there_are_several(tmp_path):
    clips = shown(("a", "90"), ("a", "0"), ("a", "144"), ("b", "0"))
    rated(tmp_path / "r", clips, [(1, 2, 3, 4)])
    assert [(o.condition, o.view, o.mean) for o in opinions(tmp_path / "r")] == [
        *(("a", "all", 2.0), ("a", "0", 2.0), ("a", "90", 1.0), ("a", "144", 3.0)),
        ("b", "all", 4.0),
    ]


def test_differences_are_of_the_same_people(tmp_path):
    rated(tmp_path / "r", TWO, [*SCORES, (1, 1, None, None)])
    (found,) = differences(read_ratings(tmp_path / "r"))
    # Of those who rated both: 5 - 2.5, 4.5 - 1.5 and 4 - 3.5.
    assert (found.more, found.less, found.participants) == ("original", "swapped", 3)
    assert (found.mean, found.low, found.high) == pytest.approx(student([2.5, 3.0, 0.5]))
    assert not found.shown
    assert found.low < 0 < found.mean


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=8))
def test_a_difference_is_the_same_whatever_the_names(pairs):
    def of(first, second):
        return [
            Rating(participant=number, condition=name, view="", clip=clip, score=score)
            for number, pair in enumerate(pairs)
            for clip, (name, score) in enumerate(zip((first, second), pair, strict=True))
        ]

    (straight,), (swapped,) = differences(of("a", "b")), differences(of("b", "a"))
    assert straight.mean >= 0
    assert straight.mean == pytest.approx(swapped.mean)
    assert straight.shown == swapped.shown
    assert straight.mean == pytest.approx(abs(np.mean([a - b for a, b in pairs])))


def test_what_is_clear_is_claimed_and_what_is_not_is_not(tmp_path):
    rated(tmp_path / "r", TWO, [(5, 5, 2, 1), (5, 4, 1, 2), (5, 5, 1, 1), (4, 5, 2, 1), (5, 5, 2, 2)])
    ratings = read_ratings(tmp_path / "r")
    lead, claim = sentences_of(opinions(tmp_path / "r"), differences(ratings))
    assert lead.startswith("Mean opinion scores: original 4.80 [")
    assert re.fullmatch(r"original looks more natural than swapped, by 3\.30 \[\d\.\d\d, \d\.\d\d\]\.", claim)
    rated(tmp_path / "s", TWO, SCORES)
    sentences = sentences_of(opinions(tmp_path / "s"), differences(read_ratings(tmp_path / "s")))
    assert sentences[1:] == ["No difference is shown between original and swapped."]


def test_few_participants_who_agree_show_nothing():
    for count in (FEWEST - 1, FEWEST):
        scores = [(participant, name, score) for participant in range(count) for name, score in (("a", 5), ("b", 1))]
        ratings = [Rating(participant=p, condition=c, view="", clip=0, score=s) for p, c, s in scores]
        (found,) = differences(ratings)
        assert (found.mean, found.low, found.high) == (4.0, 4.0, 4.0)
        assert found.shown == (count == FEWEST)


def test_tables_are_written_without_codes_and_times(tmp_path):
    _, codes = rated(tmp_path / "r", TWO, SCORES)
    write_opinions(tmp_path, tmp_path / "r")
    rows = list(csv.DictReader((tmp_path / "opinions.csv").read_text().splitlines()))
    assert [row["condition"] for row in rows] == ["original", "swapped"]
    assert float(rows[0]["mean"]) == 4.5
    assert [rows[0][f"score{score}"] for score in range(1, 6)] == ["0", "0", "0", "3", "3"]
    single = (tmp_path / "ratings.csv").read_text()
    assert single.splitlines()[:2] == ["participant,condition,view,clip,score", "1,original,,1,5"]
    assert len(single.splitlines()) == 1 + 12
    assert not any(code in single for code in codes)
    assert "20" not in single


def test_participants_are_numbered_anew_after_one_withdrew(tmp_path):
    store, codes = rated(tmp_path / "r", TWO, SCORES)
    store.withdraw(codes[0])
    assert {rating.participant for rating in read_ratings(tmp_path / "r")} == {1, 2}


def test_the_report_tells_and_draws_what_was_found(tmp_path):
    clips = shown(*((condition, view) for condition in ("<i>original", "swapped") for view in ("0", "90")))
    store, codes = rated(tmp_path / DATABASE, clips, [(5, 4, 2, 1), (4, 5, 1, 2), (5, 5, 2, None)], finish=False)
    store.finish(codes[0])
    left_out = next(clip for clip in store.order(codes[2]) if clip not in store.participant(codes[2]).ratings)
    store.rate(codes[2], left_out, None)
    found = study([], out=tmp_path, report=True)
    assert len(found) == 6
    page = (tmp_path / "report.html").read_text()
    assert "3 participants, of whom 1 finished" in page
    assert "11 ratings" in page
    assert "No difference is shown between &lt;i&gt;original and swapped." in page
    assert "only where at least 5 participants rated both" in page
    assert "<i>original" not in page
    assert "The ratings of 2 who did not finish count as far as they go." in page
    assert "1 rating is missing: the clip did not play." in page
    assert page.count('<figure class="plot">') == 2
    assert not re.search(r'(?:src|href)="(?!#|data:)', page)
    assert not any(code in page for code in codes)
    first = (tmp_path / "report.html").read_bytes()
    write_opinion_report(tmp_path, tmp_path / DATABASE)
    assert (tmp_path / "report.html").read_bytes() == first


def test_without_ratings_there_is_nothing_to_report(tmp_path):
    with pytest.raises(DataError, match=r"ratings\.sqlite: expected the database of a study, found nothing"):
        study([], out=tmp_path, report=True)
    Store.of(tmp_path / DATABASE, TWO, seed=0)
    with pytest.raises(DataError, match="expected ratings to report, found none yet"):
        study([], out=tmp_path, report=True)
