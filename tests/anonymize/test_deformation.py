"""Deformation: what stays, what the drawn body does to known shapes, and what becomes of time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaitkeeper.anonymize.deformation import Deformation
from gaitkeeper.anonymize.walk import Walk, bodies, with_margin
from gaitkeeper.seeding import stream
from gaitkeeper.synthetic.walkers import Walkers

STILL = {"width": 0.0, "regions": 0.0, "shear": 0.0, "sway": 0.0, "cadence": 0.0}


@pytest.fixture(scope="module")
def walks() -> list[Walk]:
    walkers = Walkers()
    found = [walkers.silhouettes(s, "nm-05", (0, 36, 72, 90, 144, 180)) for s in (77, 79, 81)]
    return [Walk(silhouettes=with_margin(clip), fps=30) for clips in found for clip in clips]


def only(**some: float) -> Deformation:
    return Deformation(**{**STILL, **some})


def applied(method: Deformation, walk: Walk, seed: int = 0) -> np.ndarray:
    return method(walk, stream(seed, "test")).silhouettes


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    one, other = one >= 128, other >= 128
    return float(((one & other).sum((1, 2)) / (one | other).sum((1, 2))).mean())


def post(*, rows: int = 100, columns: int = 81, frames: int = 3) -> Walk:
    """A body like a post, 20 columns wide, in rows 10 to 90."""
    silhouettes = np.zeros((frames, rows, columns), np.uint8)
    silhouettes[:, 10:90, 30:51] = 255
    return Walk(silhouettes=silhouettes, fps=30)


def widths(frame: np.ndarray) -> np.ndarray:
    return frame[10:90].sum(axis=1) / 255


def test_same_stream_same_bytes_and_another_clip_another_body(walks):
    one, same, other = (applied(Deformation(), walks[3], seed) for seed in (5, 5, 6))
    assert one.tobytes() == same.tobytes()
    assert overlap(one, other) < 0.9
    assert one.shape == walks[3].silhouettes.shape
    assert one.dtype == np.uint8


@pytest.mark.parametrize("method", [Deformation(strength=0), only(), only(strength=3)])
def test_nothing_drawn_nothing_changed(walks, method):
    walk = walks[1]
    found = applied(method, walk)
    np.testing.assert_array_equal(found, walk.silhouettes)
    assert not np.shares_memory(found, walk.silhouettes)


@pytest.mark.parametrize("name", list(STILL))
def test_every_setting_matters(walks, name):
    walk = walks[3]
    changed = applied(only(**{name: getattr(Deformation(), name)}), walk, 2)
    assert (changed != walk.silhouettes).any()
    wide = applied(only(**{name: getattr(Deformation(), name), "strength": 1.8}), walk, 2)
    assert overlap(changed, walk.silhouettes) < 1
    # Steps that are much too fast meet the person's own again.
    if name != "cadence":
        assert overlap(wide, walk.silhouettes) < overlap(changed, walk.silhouettes)


def test_a_report_does_not_tell_what_was_drawn(walks):
    found = Deformation()(walks[0], stream(3))
    assert dict(found.drawn) == {"strength": 1.0}
    assert found.colors is None


@pytest.mark.parametrize("seed", range(5))
def test_height_and_ground_stay(walks, seed):
    for walk in walks[::4]:
        before, after = bodies(walk.silhouettes), bodies(applied(Deformation(), walk, seed))
        assert np.abs(np.median(after.top) - np.median(before.top)) <= 1
        assert np.abs(np.median(after.bottom) - np.median(before.bottom)) <= 1


def test_the_width_factor_is_smooth_and_around_the_axis():
    walk = post()
    found = np.stack([applied(only(width=0.22), walk, seed)[0] for seed in range(120)])
    factors = np.stack([widths(frame) for frame in found]) / 21
    logarithms = np.log(factors[:, 15:75])
    assert logarithms.mean() == pytest.approx(0, abs=0.05)
    # Cut at two deviations and between knots, so a little less than drawn.
    assert 0.16 < logarithms.std(axis=0).mean() < 0.24
    assert np.abs(np.diff(logarithms, axis=1)).max() < 0.1
    # Rows near each other are alike, far ones less.
    near, far = (np.corrcoef(logarithms[:, 0], logarithms[:, k])[0, 1] for k in (4, 55))
    assert near > 0.9
    assert 0.1 < far < 0.75
    columns = np.arange(81) + 0.5
    mean = (found[:, 10:90] * columns).sum(axis=2) / found[:, 10:90].sum(axis=2)
    np.testing.assert_allclose(mean, 40.5, atol=0.51)


def test_regions_are_moved_up_or_down():
    frames = np.zeros((1, 120, 60), np.uint8)
    frames[0, 10:110, 25:35] = 255
    # The hips' row, wider.
    frames[0, 57:60, 15:45] = 255
    walk = Walk(silhouettes=frames, fps=30)
    hips = []
    for seed in range(60):
        found = applied(only(regions=0.1), walk, seed)[0]
        wide = np.flatnonzero(found[:, 18] >= 128)
        assert 1 <= len(wide) <= 5
        hips.append(wide.mean() + 0.5)
        np.testing.assert_array_equal(np.flatnonzero((found >= 128).any(axis=1)), np.arange(10, 110))
    # Head and trunk end at 48 of 100, as much again below: d log(p / (1 - p)) has a deviation of about 0.11.
    assert np.mean(hips) == pytest.approx(58.5, abs=1)
    assert 1.2 < np.std(hips) < 4


def test_shear_leans_without_moving_the_middle():
    found = applied(only(shear=0.1), post(), 4)
    columns = np.arange(81) + 0.5
    mean = (found[0, 10:90] * columns).sum(axis=1) / found[0, 10:90].sum(axis=1)
    slopes = np.diff(mean)
    assert np.abs(slopes).mean() > 0.01
    np.testing.assert_allclose(slopes, slopes.mean(), atol=0.03)
    assert mean[39:41].mean() == pytest.approx(40.5, abs=0.05)
    np.testing.assert_allclose(found[1], found[0])


def test_sway_moves_the_head_with_the_steps_and_not_the_feet():
    walk = post(frames=60)
    found = applied(only(sway=0.05), walk, 1)
    columns = np.arange(81) + 0.5
    mean = (found * columns).sum(axis=2)[:, 10:90] / found.sum(axis=2)[:, 10:90]
    head, feet = mean[:, 2], mean[:, -1]
    assert np.ptp(head) > 1
    assert np.ptp(feet) < 0.05
    # As often as a post repeats itself at the earliest, 0.7 s.
    spectrum = np.abs(np.fft.rfft(head - head.mean()))
    assert abs(spectrum[1:].argmax() + 1 - 60 / 21) <= 1


def pendulum(*, frames: int, period: float, rate: float = 1.0) -> np.ndarray:
    """A body whose leg swings."""
    down, right = np.mgrid[:80, :70] + 0.5
    silhouettes = np.zeros((frames, 80, 70), np.uint8)
    silhouettes[:, 10:45, 28:42] = 255
    for t in range(frames):
        lean = 0.4 * np.sin(2 * np.pi * rate * t / period)
        leg = np.abs(right - 35 - lean * (down - 45)) < 4
        silhouettes[t][leg & (down > 45) & (down < 70)] = 255
    return silhouettes


@pytest.mark.parametrize("frames", [60, 150])
def test_time_is_warped_by_one_rate(frames):
    walk = Walk(silhouettes=pendulum(frames=frames, period=32), fps=30)
    rates = np.exp(np.linspace(-0.24, 0.24, 49))
    expected = [pendulum(frames=frames, period=32, rate=rate) for rate in rates]
    found, fits = [], []
    for seed in range(10 if frames < 100 else 4):
        clip = applied(only(cadence=0.12), walk, seed)
        assert len(clip) == frames
        scores = [overlap(clip, other) for other in expected]
        found.append(np.log(rates[int(np.argmax(scores))]))
        fits.append(max(scores))
    assert min(fits) > 0.95
    assert 0.04 < np.std(found) < 0.2


def test_a_clip_too_short_for_a_cycle_is_only_slowed():
    walk = Walk(silhouettes=pendulum(frames=10, period=32), fps=30)
    changes = []
    for seed in range(12):
        clip = applied(only(cadence=0.12), walk, seed)
        assert len(clip) == 10
        changes.append((clip != walk.silhouettes).any())
    assert 0 < sum(changes) < 12
    single = Walk(silhouettes=walk.silhouettes[:1], fps=30)
    np.testing.assert_array_equal(applied(only(cadence=0.12), single), single.silhouettes)


def test_motion_stays_natural_and_the_shape_does_not(walks):
    def legs(frames: np.ndarray) -> float:
        lower = frames[:, frames.shape[1] * 6 // 10 :] >= 128
        return float(np.mean(lower[1:] ^ lower[:-1]))

    for strength, least, most in ((1.0, 0.5, 0.75), (1.8, 0.35, 0.65)):
        method = Deformation(strength=strength)
        clips = [applied(method, walk, seed) for seed, walk in enumerate(walks)]
        activity = np.mean([legs(c) / legs(w.silhouettes) for c, w in zip(clips, walks, strict=True)])
        assert 0.85 < activity < 1.15
        assert least < np.mean([overlap(c, w.silhouettes) for c, w in zip(clips, walks, strict=True)]) < most


@pytest.mark.parametrize("strength", [1.0, 3.0])
def test_nobody_is_cut_off_by_the_frame(walks, strength):
    for seed, walk in enumerate(walks):
        assert not (applied(Deformation(strength=strength), walk, seed)[:, :, [0, -1]] >= 128).any()


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.floats(0, 5))
def test_any_clip_gives_a_clip(seed, strength):
    rng = np.random.default_rng(seed)
    t, h, w = rng.integers(1, [60, 12, 12])
    frames = (rng.integers(0, 256, (t, h, w)) * (rng.random((t, 1, 1)) > 0.3)).astype(np.uint8)
    found = applied(Deformation(strength=strength), Walk(silhouettes=frames, fps=float(rng.uniform(5, 60))), seed)
    assert found.shape == frames.shape


def test_frames_without_a_person_stay_without(walks):
    frames = walks[0].silhouettes.copy()
    frames[:5] = 0
    found = applied(only(width=0.22, shear=0.1), Walk(silhouettes=frames, fps=30))
    assert found.any(axis=(1, 2)).tolist() == [False] * 5 + [True] * 35
    empty = Walk(silhouettes=np.zeros((3, 20, 10), np.uint8), fps=25)
    assert not applied(Deformation(), empty).any()


@pytest.mark.parametrize("name", ["strength", *STILL])
@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf")])
def test_settings_out_of_range(name, value):
    with pytest.raises(ValueError, match=f"expected a {name} of at least 0, got {value}"):
        Deformation(**{name: value})


def test_a_strength_beyond_all_measure():
    with pytest.raises(ValueError, match=r"expected a strength of at most 5, got 5\.5"):
        Deformation(strength=5.5)
