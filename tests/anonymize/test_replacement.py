from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from gaitkeeper.anonymize.fitting import USUAL, Fitted, fit, place, steady
from gaitkeeper.anonymize.replacement import Replacement
from gaitkeeper.anonymize.walk import Walk, bodies, with_margin
from gaitkeeper.seeding import stream
from gaitkeeper.synthetic.kinematics import JOINTS
from gaitkeeper.synthetic.population import Population
from gaitkeeper.synthetic.substitute import Palette, draw_silhouettes, draw_substitute, extents, view
from gaitkeeper.synthetic.walkers import Walkers

VIEWS = (0, 36, 72, 90, 144, 180)


def _apart(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Distance on the circle of phases, cycles."""
    return np.abs((one - other + 0.5) % 1 - 0.5)


def _angle(one: np.ndarray | float, other: np.ndarray | float) -> np.ndarray:
    return np.abs((np.asarray(one) - other + 180) % 360 - 180)


def _signed(fitted: Fitted) -> int:
    return -fitted.view if fitted.mirrored else fitted.view


def _walk(seed: int, direction: np.ndarray, phase: np.ndarray, *, height: int = 64, fps: float = 30.0) -> Walk:
    """Film somebody who is not in the templates."""
    figure = draw_substitute(stream(seed, "walker")).figure(phase)
    top, bottom, _ = extents(figure, direction)
    zoom = np.full(len(phase), height / np.median(bottom - top))
    margin = round(0.15 * height)
    shape = (height + 2 * margin, round(0.7 * height) + 2 * margin)
    seen = view(direction, zoom, margin - zoom * top.min(), np.full(len(phase), shape[1] / 2))
    return Walk(silhouettes=draw_silhouettes(figure, seen, shape), fps=fps)


def _rough(walk: Walk, seed: int) -> Walk:
    """Spoil silhouettes as bad segmentation does: holes, jitter, cut feet and nothing at all."""
    rng = np.random.default_rng(seed)
    frames = walk.silhouettes.copy()
    rows, columns = frames.shape[1:]
    for frame in frames:
        for _ in range(rng.poisson(2)):
            r, c, size = rng.integers(rows), rng.integers(columns), rng.integers(2, rows // 10)
            frame[r : r + size, c : c + size] = 0
        if rng.random() < 0.25:
            frame[int(0.82 * rows) :] = 0
        frame[:] = np.roll(frame, rng.normal(0, 0.015 * rows, 2).round().astype(int), (0, 1))
        if rng.random() < 0.05:
            frame[:] = 0
    return Walk(silhouettes=frames, fps=walk.fps)


@pytest.fixture(scope="module")
def clips():
    """Clips of the population under attack with the true view and phase of each."""
    walkers = Walkers(Population())
    found = []
    for subject, condition in ((77, "nm-01"), (80, "bg-02"), (84, "cl-01")):
        skeleton = walkers.pose(subject, condition, frames=40).joints
        # The first harmonic of the feet's distance peaks where the left foot meets the floor.
        feet = skeleton[:, JOINTS.index("ankle_l"), 0] - skeleton[:, JOINTS.index("ankle_r"), 0]
        rendered = walkers.silhouettes(subject, condition, VIEWS, frames=40)
        for angle, silhouettes in zip(VIEWS, rendered, strict=True):
            for mirrored in (False, True):
                shown = np.ascontiguousarray(silhouettes[..., ::-1]) if mirrored else silhouettes
                walk = Walk(silhouettes=with_margin(shown), fps=30.0)
                found.append((walk, -angle if mirrored else angle, -feet if mirrored else feet))
    return found


def test_view_side_and_phase_are_found(clips):
    views, steps, cadences = [], [], []
    for walk, direction, feet in clips:
        fitted = fit(walk)
        views.append(_angle(_signed(fitted), direction))
        # In step: the legs swing as the phase says.
        steps.append(np.corrcoef(np.cos(2 * np.pi * fitted.phase), feet)[0, 1])
        cadences.append(fitted.cadence)
        assert fitted.phase.shape == fitted.direction.shape == (40,)
        assert 0 < fitted.cost < 0.4
    assert np.mean(np.array(views) <= 18) >= 0.95
    assert np.mean(np.array(steps) > 0.9) >= 0.95
    assert 0.7 < min(cadences) <= max(cadences) < 1.2


@pytest.mark.parametrize("direction", [0.0, 40.0, 90.0, 150.0, -60.0, -130.0])
def test_phase_stays_in_step_over_hundreds_of_rough_frames(direction):
    phase = 0.3 + np.cumsum(np.linspace(0.8, 1.1, 300)) / 30
    walk = _rough(_walk(11, np.full(300, direction), phase), 1)
    fitted = fit(walk)
    assert (_apart(fitted.phase, phase) < 0.1).mean() > 0.98
    assert _angle(fitted.direction, direction).max() < 27
    # Pace and phase are smooth, whatever the frames are like.
    pace = np.diff(fitted.phase) * 30
    assert 0.6 < pace.min() <= pace.max() < 1.4
    assert np.abs(np.diff(pace)).max() < 0.03


def test_who_turns_is_followed():
    direction = np.linspace(30, 150, 240)
    phase = np.arange(240) * 0.95 / 30
    fitted = fit(_rough(_walk(12, direction, phase), 2))
    assert _angle(fitted.direction, direction).mean() < 9
    assert (_apart(fitted.phase, phase) < 0.1).all()
    assert fitted.view == 90
    assert not fitted.mirrored


@pytest.mark.parametrize(("height", "fps"), [(64, 15.0), (50, 25.0), (240, 60.0)])
def test_resolution_and_frame_rate_do_not_matter(height, fps):
    frames = round(1.5 * fps)
    phase = 0.7 + np.arange(frames) * 0.9 / fps
    fitted = fit(_walk(13, np.full(frames, 60.0), phase, height=height, fps=fps))
    assert _angle(_signed(fitted), 60) <= 18
    assert (_apart(fitted.phase, phase) < 0.05).all()
    assert fitted.cadence == pytest.approx(0.9, rel=0.06)


def test_a_mirrored_clip_gives_the_mirrored_fit():
    walk = _walk(14, np.full(60, 72.0), 0.2 + np.arange(60) * 0.9 / 30)
    mirrored = Walk(silhouettes=np.ascontiguousarray(walk.silhouettes[..., ::-1]), fps=30.0)
    one, other = fit(walk), fit(mirrored)
    assert (one.view, one.mirrored) == (72, False)
    assert (other.view, other.mirrored) == (72, True)
    np.testing.assert_allclose(other.direction, -one.direction, atol=4)
    assert _apart(other.phase, one.phase + 0.5).max() < 0.03


@pytest.mark.parametrize("frames", [1, 2, 3, 10])
def test_short_clips_are_fitted_at_about_the_usual_pace(frames):
    fitted = fit(_walk(15, np.full(frames, 90.0), 0.1 + np.arange(frames) * 0.9 / 30))
    assert fitted.phase.shape == fitted.direction.shape == (frames,)
    assert fitted.cadence == pytest.approx(USUAL, abs=0.3)
    # Silhouettes from the side do not tell the left leg from the right at once.
    assert _apart(2 * fitted.phase[0], 0.2) < 0.2


def test_nobody_gives_a_usual_walk_and_an_empty_clip():
    walk = Walk(silhouettes=np.zeros((20, 40, 30), np.uint8), fps=30.0)
    fitted = fit(walk)
    assert (fitted.view, fitted.cadence) == (90, USUAL)
    assert np.isnan(fitted.cost)
    np.testing.assert_allclose(np.diff(fitted.phase), USUAL / 30)
    assert place(walk.silhouettes, 30.0) is None
    shown = Replacement()(walk, stream(0))
    assert not shown.silhouettes.any()
    assert shown.colors is not None
    assert not shown.colors.any()


@settings(max_examples=15)
@given(
    arrays.arrays(
        np.uint8,
        st.tuples(st.integers(1, 4), st.integers(1, 40), st.integers(1, 40)),
        elements=st.sampled_from([0, 255]),
    )
)
def test_whatever_is_given_something_finite_comes_out(silhouettes):
    walk = Walk(silhouettes=silhouettes, fps=30.0)
    fitted = fit(walk)
    assert np.isfinite(fitted.phase).all()
    assert np.isfinite(fitted.direction).all()
    shown = Replacement(painted=False)(walk, stream(0))
    assert shown.silhouettes.shape == silhouettes.shape
    assert shown.silhouettes.dtype == np.uint8


def test_place_bridges_gaps_and_ignores_jitter():
    frames = np.zeros((90, 60, 40), np.uint8)
    rng = np.random.default_rng(0)
    for t, frame in enumerate(frames):
        if t % 9:
            r, c = 10 + rng.integers(-2, 3), 12 + rng.integers(-2, 3)
            frame[r : r + 40, c : c + 16] = 255
        if t in (20, 50):
            frame[38:] = 0
    found = place(frames, 30.0)
    assert found is not None
    for values, expected in ((found.top, 10), (found.bottom, 50), (found.middle, 20.5)):
        assert np.abs(values - expected).max() < 2
        assert np.abs(np.diff(values)).max() < 0.25


def test_steady_passes_slow_changes_and_no_steps():
    slow = np.linspace(0, 30, 120)
    np.testing.assert_allclose(steady(slow, 30.0)[30:-30], slow[30:-30], atol=0.1)
    steps = np.sin(2 * np.pi * 1.9 * np.arange(120) / 30)
    assert np.abs(steady(steps, 30.0)[30:-30]).max() < 0.05


def test_a_substitute_walks_in_the_same_place_in_step_and_looks_otherwise(clips):
    overlap, motion = [], []
    method = Replacement(painted=False)
    for i, (walk, direction, _) in enumerate(clips):
        shown = method(walk, stream(0, "clip", i))
        ours, theirs = shown.silhouettes >= 128, walk.silhouettes >= 128
        overlap.append((ours & theirs).sum() / (ours | theirs).sum())
        # The substitute is where the original is: height, ground line and middle.
        before, after = bodies(walk.silhouettes), bodies(shown.silhouettes)
        assert after.height == pytest.approx(before.height, abs=3)
        assert np.median(after.bottom - before.bottom) == pytest.approx(0, abs=2)
        assert np.median(after.middle - before.middle) == pytest.approx(0, abs=4)
        if _angle(abs(direction), 90) <= 54:
            legs = slice(walk.silhouettes.shape[1] - 28, walk.silhouettes.shape[1] - 8)
            motion.append(np.abs(np.diff(ours[:, legs].astype(int), axis=0)).sum())
            motion[-1] /= np.abs(np.diff(theirs[:, legs].astype(int), axis=0)).sum()
    assert 0.6 < np.mean(overlap) < 0.85
    assert 0.8 < np.mean(motion) < 1.2


def test_everything_comes_from_the_stream():
    walk = _walk(16, np.full(30, 90.0), np.arange(30) * 0.03, height=80)
    one, same, other = (Replacement()(walk, stream(seed, "draw")) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.silhouettes, same.silhouettes)
    assert one.colors is not None
    assert same.colors is not None
    np.testing.assert_array_equal(one.colors, same.colors)
    assert (one.silhouettes != other.silhouettes).any()
    # Painting or not changes nothing about who is shown.
    plain = Replacement(painted=False)(walk, stream(1, "draw"))
    np.testing.assert_array_equal(plain.silhouettes, one.silhouettes)
    assert plain.colors is None


def test_shape_and_clothes_of_the_original_do_not_pass():
    phase, direction = np.arange(60) * 0.9 / 30, np.full(60, 90.0)
    # As if every original had the same fit: then only place and height of the body are left of it.
    fitted = Fitted(view=90, mirrored=False, direction=direction, phase=phase, cadence=0.9, cost=0.1)
    method = Replacement(painted=False, estimate=lambda walk: fitted)
    shown = [method(_walk(seed, direction, phase), stream(0)).silhouettes for seed in (17, 18, 19)]
    originals = [_walk(seed, direction, phase).silhouettes for seed in (17, 18, 19)]

    def overlap(one: np.ndarray, other: np.ndarray) -> float:
        one, other = one >= 128, other >= 128
        return float((one & other).sum() / (one | other).sum())

    for (one, other), (before, after) in zip(pairwise(originals), pairwise(shown), strict=True):
        assert overlap(one, other) < 0.8
        assert overlap(before, after) > 0.86


def test_colors_are_the_palettes():
    walk = _walk(20, np.full(12, 90.0), np.arange(12) * 0.03, height=120)
    red = Palette(hair=(200, 0, 0), skin=(200, 0, 0), top=(200, 0, 0), trousers=(200, 0, 0), shoes=(200, 0, 0))
    shown = Replacement(palette=red)(walk, stream(0))
    assert shown.colors is not None
    assert shown.colors.shape == (*walk.silhouettes.shape, 3)
    assert not shown.colors[..., 1:].any()
    assert (shown.colors[shown.silhouettes > 0][:, 0] > 0).mean() > 0.999


def test_the_pace_can_be_spread():
    walk = _walk(21, np.full(60, 90.0), np.arange(60) * 0.9 / 30)
    seen: list[float] = []
    for seed in range(12):
        drawn = Replacement(painted=False, cadence_spread=0.1)(walk, stream(seed)).drawn
        seen.append(float(drawn["cadence"]))
    assert 0.04 < np.std(seen) < 0.2
    same = {Replacement(painted=False)(walk, stream(seed)).drawn["cadence"] for seed in range(3)}
    assert len(same) == 1
    with pytest.raises(ValueError, match=r"expected a spread of the cadence from 0 to 0\.3, got -0\.1"):
        Replacement(cadence_spread=-0.1)


def test_what_was_drawn_is_told_but_not_who():
    walk = _walk(22, np.full(40, -72.0), np.arange(40) * 0.9 / 30)
    method = partial(Replacement(painted=False), walk)
    one, other = (method(stream(seed)).drawn for seed in (1, 2))
    assert one == other
    assert set(one) == {"view", "side", "cadence"}
    assert (one["view"], one["side"]) == (72.0, "right")
