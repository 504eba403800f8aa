import numpy as np
import pytest

from gaitkeeper.datasets.base import Sample
from gaitkeeper.datasets.walkers import WalkersA, walk_name
from gaitkeeper.errors import DataError
from gaitkeeper.motion.silhouettes import align_sequence
from gaitkeeper.synthetic.body import People, draw_body
from gaitkeeper.synthetic.camera import INDOORS, OUTDOORS
from gaitkeeper.synthetic.population import OUTDOOR_PEOPLE, Population
from gaitkeeper.synthetic.walkers import Walkers


@pytest.fixture(scope="module")
def data() -> WalkersA:
    return WalkersA()


@pytest.fixture(scope="module")
def clean() -> Walkers:
    return Walkers(Population(seed=OUTDOOR_PEOPLE.seed, noise=0.0), OUTDOORS)


def test_subjects_takes_and_views_are_those_of_casia_a(data):
    assert len(data.samples) == len(set(data.samples)) == 240
    assert {s.view for s in data.samples} == {0, 45, 90}
    assert {s.condition for s in data.samples} == {"1", "2", "3", "4"}
    assert {s.subject for s in data.samples} == {f"{i:03d}" for i in range(1, 21)}
    assert (data.name, data.biometric) == ("walkers-a", False)
    assert OUTDOORS.conditions[:5] == ("00_1", "00_2", "00_3", "00_4", "45_1")
    assert walk_name(Sample("001", "3", 0)) == "00_3"


def test_lengths_vary_and_go_with_the_speed(data):
    lengths = np.array([data.frames(s) for s in data.samples])
    assert lengths.min() >= 40
    assert lengths.max() <= 90
    assert len(set(lengths)) > 20
    assert (lengths == 40).mean() + (lengths == 90).mean() < 0.2
    speeds = [data._walkers.speed(int(s.subject), walk_name(s)) for s in data.samples]
    assert np.corrcoef(lengths, speeds)[0, 1] < -0.7


def test_loaded_samples_do_not_depend_on_others(data):
    some = data.load([7, 100, 7])
    assert [len(x) for x in some[:2]] == [data.frames(data.samples[i]) for i in (7, 100)]
    assert all(x.dtype == np.uint8 and x.shape[1:] == (64, 44) for x in some)
    part = WalkersA(subjects=[int(data.samples[100].subject)], takes=[1, 2], views=[45])
    index = data.samples.index(part.samples[1])
    np.testing.assert_array_equal(part.load([0, 1])[1], data.load([index])[0])
    np.testing.assert_array_equal(some[0], some[2])


def test_every_sequence_is_a_walk_of_its_own(data):
    crowd = data._walkers
    assert crowd.gait(3, "00_1") != crowd.gait(3, "45_1")
    assert crowd.outfit(3, "00_1") != crowd.outfit(3, "45_1")
    assert not any(crowd.outfit(3, walk).bag or crowd.outfit(3, walk).coat for walk in OUTDOORS.conditions)


def travel(masks: np.ndarray) -> float:
    """How many columns the person moves to the right."""
    columns = [(m > 0).any(axis=0).nonzero()[0].mean() for m in masks[[0, -1]]]
    return float(columns[1] - columns[0])


def growth(masks: np.ndarray) -> float:
    first, last = ((m > 0).any(axis=1).sum() for m in masks[[0, -1]])
    return float(last / first)


def test_angles_are_to_the_image_plane_and_every_second_take_comes_back(clean):
    for take, way in ((1, -1), (2, 1), (3, -1), (4, 1)):
        side, oblique, front = (clean.masks(2, f"{v:02d}_{take}", v, frames=50) for v in (0, 45, 90))
        assert way * travel(side) > 100
        assert 0.95 < growth(side) < 1.05
        assert 40 < way * travel(oblique) < 0.9 * way * travel(side)
        assert abs(travel(front)) < 12
        assert (growth(front) > 1.1) if way < 0 else (growth(front) < 0.9)
        # The width goes with the stride only as far as one sees it from the side.
        wide = [np.ptp((m > 0).any(axis=1).sum(axis=1)) for m in (side, oblique, front)]
        assert wide[0] > wide[1] > wide[2]


def test_nobody_leaves_the_picture(data):
    for sample in data.samples[::5]:
        walk = walk_name(sample)
        masks = data._walkers.masks(int(sample.subject), walk, sample.view, frames=data.frames(sample))
        assert masks.shape[1:] == (240, 352)
        assert not masks[:, [0, -1]].any()
        assert not masks[:, :, [0, -1]].any()
        assert (masks > 0).any(axis=2).sum(axis=1).min() > 60


def test_silhouettes_agree_with_aligned_masks(clean):
    for walk in ("00_1", "45_2", "90_3"):
        view = int(walk[:2])
        ours = clean.silhouettes(5, walk, [view], frames=12)[0] >= 128
        theirs = align_sequence(clean.masks(5, walk, view, frames=12))[0] >= 128
        assert np.median((ours & theirs).sum(axis=(1, 2)) / (ours | theirs).sum(axis=(1, 2))) > 0.85


def test_the_camera_is_another(data):
    ours, theirs = OUTDOORS.camera("00_1", 0), INDOORS.camera("nm-01", 90)
    assert ours.view == theirs.view == 90
    assert ours.distance > 1.5 * theirs.distance
    assert ours.height > 1.5 * theirs.height
    assert ours.focal > 1.5 * theirs.focal


def test_people_are_others_and_slimmer_and_mostly_men():
    def means(people: People, name: str) -> float:
        rngs = [np.random.default_rng(i) for i in range(400)]
        return float(np.mean([getattr(draw_body(rng, 1.0, people), name) for rng in rngs]))

    usual = People()
    assert means(People(stature=1.6), "stature") == pytest.approx(means(usual, "stature") - 0.1, abs=0.005)
    assert means(People(fatness=-1), "waist_depth") < 0.9 * means(usual, "waist_depth")
    assert means(People(men=1), "shoulder_joint") == pytest.approx(means(usual, "shoulder_joint") + 0.005, abs=0.001)
    # Also where nobody differs from the mean.
    assert draw_body(np.random.default_rng(0), 0.0, People(fatness=1)).belly > 1.5 * 0.008
    ours, theirs = Walkers(OUTDOOR_PEOPLE, OUTDOORS), Walkers()
    assert {ours.body(i) for i in range(1, 21)}.isdisjoint(theirs.body(i) for i in range(1, 125))


def test_only_what_is_recorded_can_be_asked_for(data, clean):
    with pytest.raises(DataError, match=r"subject 21: walkers are 1 to 20"):
        clean.body(21)
    with pytest.raises(DataError, match=r"'nm-01': expected one of 00_1, .*90_4"):
        clean.silhouettes(1, "nm-01", [0])
    with pytest.raises(DataError, match="view 18: expected one of 0, 45, 90"):
        clean.masks(1, "00_1", 18)
    with pytest.raises(DataError, match="'00_5'"):
        WalkersA(subjects=[1], takes=[5]).load([0])
