from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gaitkeeper.audit.adaptive import (
    Halves,
    PairJudge,
    RvtmJudge,
    SetJudge,
    Tuning,
    Watch,
    images_of,
    load_pairs,
    load_rvtm,
)
from gaitkeeper.audit.judges import Check, Recordings, checked, identification, load_judges
from gaitkeeper.audit.train_judges import enrolled, measured, walkers
from gaitkeeper.errors import DataError, WeightsError
from gaitkeeper.models.gait.gaitset import GaitSet
from gaitkeeper.models.gait.rvtm import RvtmSettings, fit
from gaitkeeper.models.victim import Victim
from gaitkeeper.motion.silhouettes import energy_image
from gaitkeeper.training.pairs import PairSettings, draw_images, draw_pairs, fresh, pair_loss, people, rate, train_pairs

VIEWS = (36, 90)


def dilated(recordings):
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7))
    clips = [np.stack([cv2.dilate(frame, kernel) for frame in frames]) for frames in recordings.silhouettes]
    return replace(recordings, silhouettes=clips, anonymized=np.ones(len(recordings), bool))


@pytest.fixture(scope="module")
def own():
    return walkers(range(1, 7), VIEWS)


@pytest.fixture(scope="module")
def test_people():
    return walkers(range(85, 93), VIEWS)


def blank(identities, views, **changes):
    count = len(identities)
    return Recordings(
        silhouettes=[np.zeros((2, 64, 44), np.uint8)] * count,
        identities=np.array(identities),
        views=np.array(views),
        conditions=np.array(["nm-01"] * count),
        **changes,
    )


def test_identification_of_a_case_made_by_hand():
    gallery = blank([1, 1, 2, 3, 1, 2], [0, 0, 0, 0, 90, 90])
    probes = blank([1, 2, 3, 9], [0, 0, 90, 0])
    scores = np.array(
        [
            [0.1, 0.9, 0.5, 0.3, 0.2, 0.8],  # best of two sequences wins at 0, second at 90
            [0.7, 0.1, 0.5, 0.6, 0.1, 0.9],  # third at 0, first at 90
            [0.1, 0.2, 0.3, 0.4, 0.5, 0.6],  # not enrolled at 90, first at 0
            [0.1, 0.2, 0.3, 0.4, 0.5, 0.6],  # not enrolled at all
        ]
    )
    first = identification(scores, probes, gallery)
    np.testing.assert_array_equal(first["same"], [1, 0, np.nan, np.nan])
    np.testing.assert_array_equal(first["cross"], [0, 1, 1, np.nan])
    third = identification(scores, probes, gallery, rank=3)
    np.testing.assert_array_equal(third["same"], [1, 1, np.nan, np.nan])
    np.testing.assert_array_equal(third["cross"], [1, 1, 1, np.nan])


def test_a_judge_that_says_nothing_identifies_nobody():
    gallery, probes = blank([1, 2, 3], [0, 0, 0]), blank([1, 2, 3], [0, 0, 0])
    found = identification(np.zeros((3, 3)), probes, gallery, rank=2)
    assert not found["same"].any()
    assert np.isnan(found["cross"]).all()


@given(st.integers(0, 50))
def test_identification_agrees_with_a_search_by_loops(seed):
    rng = np.random.default_rng(seed)
    gallery = blank(rng.integers(0, 4, 12), rng.choice([0, 36, 90], 12))
    probes = blank(rng.integers(0, 4, 6), rng.choice([0, 36, 90], 6))
    scores = rng.standard_normal((6, 12))
    found = identification(scores, probes, gallery, rank=2)
    for n in range(6):
        hits = {}
        for view in set(gallery.views.tolist()):
            best = {}
            for g in np.flatnonzero(gallery.views == view):
                who = gallery.identities[g]
                best[who] = max(best.get(who, -np.inf), scores[n, g])
            if probes.identities[n] in best:
                order = sorted(best, key=lambda who: -best[who])
                hits[view] = order.index(probes.identities[n]) < 2
        cross = [hit for view, hit in hits.items() if view != probes.views[n]]
        same = hits.get(probes.views[n], np.nan)
        np.testing.assert_equal(found["same"][n], float(same))
        np.testing.assert_allclose(found["cross"][n], np.mean(cross) if cross else np.nan)


def test_scores_that_do_not_fit_are_refused():
    one = blank([1], [0])
    with pytest.raises(DataError, match=r"finite scores of shape \(1, 1\), got \(1, 2\)"):
        identification(np.zeros((1, 2)), one, one)
    with pytest.raises(DataError, match="finite"):
        identification(np.full((1, 1), np.nan), one, one)


def test_recordings_say_what_does_not_fit():
    with pytest.raises(DataError, match=r"expected views of shape \(2,\), got \(1,\)"):
        blank([1, 2], [0])
    with pytest.raises(DataError, match=r"recording 0: expected silhouettes \(t, 64, 44\) uint8, got \(1, 64, 64\)"):
        replace(blank([1], [0]), silhouettes=[np.zeros((1, 64, 64), np.uint8)])
    with pytest.raises(DataError, match="recording 0"):
        replace(blank([1], [0]), silhouettes=[np.zeros((0, 64, 44), np.uint8)])


def test_recordings_join_and_select():
    one = blank([1, 2], [0, 90])
    both = one.joined(replace(one, anonymized=np.array([True, True])))
    assert both.anonymized.tolist() == [False, False, True, True]
    assert one.joined(one).anonymized is None
    assert both.select(both.anonymized).identities.tolist() == [1, 2]
    assert both.select(np.array([3, 0])).views.tolist() == [90, 0]


def test_the_shipped_judges_identify_walkers_and_dilation_fools_them(test_people):
    probes, gallery = enrolled(test_people)
    for judge, stride in zip(load_judges(("rvtm", "gaitset")), (2, 10), strict=True):
        thin = [replace(r, silhouettes=[f[::stride] for f in r.silhouettes]) for r in (probes, gallery)]
        natural = checked(judge, (thin[0], thin[1]), 0)
        fooled = checked(judge, (dilated(thin[0]), thin[1]), 0)
        assert natural.same >= 0.8, judge.name
        assert fooled.same <= natural.same - 0.3, judge.name
        assert judge.history == ()


def test_an_unknown_judge_and_view_are_named(test_people):
    with pytest.raises(DataError, match="unknown judge 'nobody'; expected rvtm, wu-mt, gaitset"):
        load_judges(("nobody",))
    (judge,) = load_judges(("rvtm",))
    strange = replace(test_people.select(np.arange(1)), views=np.array([18]))
    with pytest.raises(DataError, match="rvtm was fitted to the views 0, 36, 72, 90, 144, 180; got 18"):
        judge.scores(strange, strange)


def test_the_refitted_model_sees_through_dilation_and_leaves_the_first_as_it_was(own, test_people):
    model = fit(images_of(own), own.identities, own.views, own.conditions, settings=RvtmSettings(components=5))
    judge = RvtmJudge(model=model)
    probes, gallery = enrolled(test_people)
    before = judge.scores(probes, gallery)
    adapted = judge.adapted(own.joined(dilated(own)), (dilated(probes), gallery))
    assert [check.step for check in adapted.history] == [0, 1, 2]
    assert max(check.same for check in adapted.history[1:]) > adapted.history[0].same + 0.1
    assert checked(adapted, (dilated(probes), gallery), 0).same == max(c.same for c in adapted.history[1:])
    np.testing.assert_array_equal(judge.scores(probes, gallery), before)
    without = judge.adapted(own, (probes, gallery))
    assert len(without.history) == 2


def few(own):
    return replace(own, silhouettes=[frames[::10] for frames in own.silhouettes])


@pytest.mark.parametrize("kind", ["wu-mt", "gaitset"])
def test_refining_leaves_the_first_as_it_was_keeps_the_best_and_repeats(kind, own, test_people):
    tuning = Tuning(iterations=4, every=2, identities=3, sequences=4, frames=3)
    if kind == "wu-mt":
        network = fresh(PairSettings(widths=(4, 4, 8)), images_of(own)).eval()
        judge = PairJudge(network=network, tuning=tuning)
    else:
        torch.manual_seed(0)
        judge = SetJudge(victim=Victim.of(GaitSet(channels=(2, 2, 4), embedding=4, normalize=True)), tuning=tuning)
        network = judge.victim.module
    people_seen = few(test_people).select(test_people.identities < 88)
    probes, gallery = enrolled(people_seen)
    both = few(own).joined(few(dilated(own)))
    state = {key: value.clone() for key, value in network.state_dict().items()}
    random = torch.get_rng_state()
    runs = [judge.adapted(both, (dilated(probes), gallery), seed=3) for _ in range(2)]
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    assert [check.step for check in runs[0].history] == [0, 2, 4]
    np.testing.assert_array_equal(*(run.scores(probes, gallery) for run in runs))


def test_halves_pair_originals_with_anonymized_recordings_of_the_same_people(own):
    both = own.joined(dilated(own))
    halves = Halves(both, Tuning(identities=3, sequences=4), seed=0)
    index = halves.batch(5)
    assert len(index) == 12
    originals, others = index[:6], index[6:]
    assert not both.anonymized[originals].any()
    assert both.anonymized[others].all()
    np.testing.assert_array_equal(both.identities[originals], both.identities[others])
    assert len(Halves(own, Tuning(identities=3, sequences=4), seed=0).batch(0)) == 12
    with pytest.raises(DataError, match="every person both as recorded and anonymized"):
        Halves(own.joined(dilated(own.select(own.identities < 3))), Tuning(), seed=0)
    with pytest.raises(DataError, match="two people or more, got 1"):
        Halves(own.select(own.identities == 1), Tuning(), seed=0)


class Scripted:
    """A judge whose identification follows a script: what a watch needs of one."""

    name = "gaitset"
    history = ()

    def __init__(self, shares):
        self.shares = iter(shares)

    def scores(self, probes, gallery):
        right = probes.identities[:, None] == gallery.identities[None, :]
        hits = np.arange(len(probes)) < next(self.shares) * len(probes)
        return np.where(hits[:, None], right, ~right).astype(np.float32)


def test_a_watch_keeps_the_best_weights_and_stops_when_identification_flattens():
    network = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(network.weight)
    people_seen = blank([1, 2, 3, 4], [0] * 4)
    watch = Watch(
        Scripted([0.25, 0.5, 1.0, 0.75, 0.5]), network, (people_seen, people_seen), Tuning(every=10, patience=2)
    )
    stops = []
    for step in range(1, 41):
        torch.nn.init.constant_(network.weight, step)
        stops.append(watch(step))
        if stops[-1]:
            break
    assert len(stops) == 40
    assert [check.same for check in watch.restore()] == [0.25, 0.5, 1.0, 0.75, 0.5]
    assert network.weight.item() == 20


def test_training_pairs_lowers_the_loss_and_repeats(own):
    settings = PairSettings(
        widths=(4, 8, 16), iterations=25, identities=4, sequences=4, normalize=False, dropout=0.0, learning_rate=2e-3
    )
    images = torch.from_numpy(images_of(own))
    first, second = draw_pairs(own.identities, np.random.default_rng(0), negatives=1)
    states, losses = [], []
    for _ in range(2):
        network = fresh(settings, images.numpy())
        with torch.no_grad():
            losses.append(float(pair_loss(network.eval(), images, own.identities, first, second)))
        train_pairs(network, own.silhouettes, people(own.identities, settings), own.identities, settings)
        assert not network.training
        with torch.no_grad():
            losses.append(float(pair_loss(network, images, own.identities, first, second)))
        states.append(network.state_dict())
    assert losses[1] < losses[0]
    assert losses[2:] == losses[:2]
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


def test_a_fresh_network_is_neither_sure_nor_dead(own):
    images = images_of(own)
    network = fresh(PairSettings(), images).eval()
    rng = np.random.default_rng(5)
    first, second = (torch.from_numpy(images[rng.integers(len(images), size=64)]) for _ in range(2))
    with torch.no_grad():
        logits = network(first, second)
    gaps = logits[:, 1] - logits[:, 0]
    assert abs(gaps.mean()) < 0.5
    assert 0.5 < gaps.std() < 2


def test_pairs_of_a_batch():
    labels = np.repeat([0, 1, 2], 3)
    first, second = draw_pairs(labels, np.random.default_rng(0), negatives=2)
    alike = labels[first] == labels[second]
    assert alike.sum() == 9
    assert len(first) == 27
    assert len({frozenset(pair) for pair in zip(first.tolist(), second.tolist(), strict=True)}) == 27
    assert len(draw_pairs(labels, np.random.default_rng(0), negatives=99)[0]) == 9 + 27


def test_drawn_images_are_energy_images_of_stretches():
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (10, 64, 44), dtype=np.uint8)
    (whole,) = draw_images([frames], rng, shortest=1.0, shift=0)
    np.testing.assert_allclose(whole, energy_image(frames))
    images = draw_images([frames] * 20, rng, shortest=0.1, shift=2)
    assert images.shape == (20, 64, 44)
    assert len({image.tobytes() for image in images}) == 20


def test_the_learning_rate_rises_and_falls():
    assert rate(0) == pytest.approx(0.05)
    assert rate(0.5) == pytest.approx(0.5)
    assert rate(1) == pytest.approx(0, abs=1e-12)


def test_batches_need_two_people():
    assert people(np.repeat([0, 1], 4), PairSettings())(0).shape == (12,)
    with pytest.raises(DataError, match="two people or more, got 1"):
        people(np.zeros(3), PairSettings())


def test_damaged_weights_are_named(tmp_path):
    from safetensors.numpy import save_file

    path = tmp_path / "judge.safetensors"
    save_file({"views": np.zeros(2, np.int64)}, path)
    with pytest.raises(WeightsError, match=r"judge\.safetensors: expected views, means.*means is missing"):
        load_rvtm(path)
    with pytest.raises(WeightsError, match=r"judge\.safetensors: expected the keys and shapes of LB or MT"):
        load_pairs(path)


def test_measured_figures_are_those_of_identification(test_people):
    (judge,) = load_judges(("rvtm",))
    figures = measured(judge, test_people)
    whole = next(
        f for f in figures if (f["condition"], f["view"], f["metric"], f["gallery"]) == ("all", "all", "rank1", "same")
    )
    assert whole["value"] == pytest.approx(100 * checked(judge, enrolled(test_people), 0).same)
    assert whole["low"] < whole["value"] < whole["high"]
    assert whole["n"] == 8 * 6 * 2
    assert Check(0, 1.0, 0.5).same == 1.0
