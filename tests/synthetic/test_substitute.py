from dataclasses import replace

import numpy as np
import pytest

from gaitkeeper.seeding import stream
from gaitkeeper.synthetic.figure import MATERIALS
from gaitkeeper.synthetic.kinematics import JOINTS, Walk
from gaitkeeper.synthetic.substitute import (
    Light,
    Palette,
    View,
    draw_colors,
    draw_palette,
    draw_silhouettes,
    draw_substitute,
    extents,
    view,
)
from gaitkeeper.synthetic.templates import DIRECTIONS, PHASES, mean_templates, treadmill

SHAPE = (160, 120)
PHASE = np.arange(24) / 24
GREY = (110, 110, 110)


def _seen(seed: int, angle: float, phase: np.ndarray = PHASE):
    """Return a figure and cameras that show it 128 rows tall, on row 144 and in the middle."""
    figure = draw_substitute(stream(seed, "test")).figure(phase)
    direction = np.full(len(phase), angle)
    top, bottom, middle = extents(figure, direction)
    zoom = np.full(len(phase), 128 / np.median(bottom - top))
    return figure, view(direction, zoom, 144 - zoom * bottom.max(), 60 - zoom * middle.mean())


def test_templates_are_mean_silhouettes_by_view_and_phase():
    templates = mean_templates().mean
    assert templates.shape == (20, PHASES, 32, 22)
    assert templates.dtype == np.float32
    assert templates.min() >= 0
    assert templates.max() <= 1
    assert mean_templates().mean is templates
    with pytest.raises(ValueError, match="read-only"):
        templates[0] = 0
    # The body reaches from the first row to the last, and its middle is the picture's.
    assert (templates.max(axis=(1, 3))[:, [0, -1]] > 0.2).all()
    columns = (templates.sum(axis=2) * (np.arange(22) + 0.5)).sum(axis=2) / templates.sum(axis=(2, 3))
    assert np.abs(columns - 11).max() < 1.0


def test_templates_of_the_other_side_are_mirrored_half_a_cycle_later():
    templates = mean_templates().mean
    for angle in (18, 90, 162):
        left, right = (templates[list(DIRECTIONS).index(v)] for v in (angle, -angle))
        np.testing.assert_array_equal(right, np.roll(left, PHASES // 2, axis=0)[..., ::-1])


def test_people_differ_at_the_outline_and_not_beside_it_or_within():
    variance = mean_templates().variance
    assert variance.shape == (32, 22)
    np.testing.assert_allclose(variance, variance[:, ::-1], atol=1e-6)
    assert 0 <= variance.min() < 0.002
    assert variance.max() < 0.25
    # At the waist: middle of the body, its edge, and the margin of the picture.
    assert variance[12, 7] > 4 * variance[12, 10]
    assert variance[12, 7] > 4 * variance[12, 0]


def test_legs_of_templates_are_apart_where_feet_meet_the_floor():
    side = mean_templates().mean[list(DIRECTIONS).index(90)]
    columns = np.arange(22) - 10.5
    legs = side[:, 26:]
    spread = (legs * columns**2).sum(axis=(1, 2)) / legs.sum(axis=(1, 2))
    for contact in (0, PHASES // 2):
        assert spread[contact] > 1.5 * spread[contact + PHASES // 4]


def test_on_the_treadmill_nobody_comes_forward_and_the_standing_foot_goes_back():
    someone = draw_substitute(stream(3, "treadmill"))
    walk = Walk(someone.body, someone.gait, someone.outfit.hem)
    phase = np.linspace(0, 3, 91)
    joints = walk.pose(phase).joints - treadmill(walk, phase)
    pelvis = joints[:, JOINTS.index("pelvis"), 0]
    assert np.ptp(pelvis) < 0.15
    np.testing.assert_allclose(pelvis[:30], pelvis[60:90], atol=1e-9)
    standing = (phase > 0.12) & (phase < 0.4)
    speed = np.diff(joints[standing, JOINTS.index("ankle_l"), 0]) / np.diff(phase[standing])
    np.testing.assert_allclose(speed, -walk.stride, rtol=0.1)


def test_draws_depend_on_the_stream_alone():
    one, same, other = (draw_substitute(stream(seed, "who")) for seed in (1, 1, 2))
    assert one == same
    assert one.body.stature != other.body.stature
    assert one.gait != other.gait
    assert draw_palette(stream(1)) == draw_palette(stream(1)) != draw_palette(stream(2))


def test_substitutes_differ_carry_nothing_and_sometimes_wear_coats():
    people = [draw_substitute(stream(0, "many", i)) for i in range(200)]
    assert np.std([p.body.stature for p in people]) > 0.05
    assert {p.outfit.bag for p in people} == {""}
    assert 0.1 < np.mean([p.outfit.coat for p in people]) < 0.3


@pytest.mark.parametrize("angle", [0, 54, 90, 180, -54])
def test_extents_are_where_the_silhouette_is(angle):
    figure, seen = _seen(4, angle)
    drawn = draw_silhouettes(figure, seen, SHAPE)
    top, bottom, middle = extents(figure, np.full(len(PHASE), angle))
    zoom, (columns, rows) = seen.focals / 430.0, seen.shifts.T
    for t, frame in enumerate(drawn):
        inside = np.flatnonzero(frame.any(axis=1))
        assert inside[0] == pytest.approx(rows[t] + zoom[t] * top[t], abs=1.5)
        assert inside[-1] + 1 == pytest.approx(rows[t] + zoom[t] * bottom[t], abs=1.5)
        mass = frame.sum(axis=0).cumsum()
        half = np.searchsorted(mass, mass[-1] / 2) + 0.5
        # Limbs that swing shift the half of the mass but not by much.
        assert columns[t] + zoom[t] * middle[t] == pytest.approx(half, abs=5)


def test_the_other_side_is_the_mirror_image_of_the_opposite_phase():
    someone = draw_substitute(stream(5, "side"))
    changes = {name: 0.0 for name in vars(someone.gait) if name.endswith("_asymmetry")}
    someone = replace(someone, gait=replace(someone.gait, **changes))
    zoom, row, column = np.full(24, 0.5), np.full(24, 80.0), np.full(24, 60.0)
    left = draw_silhouettes(someone.figure(PHASE), view(np.full(24, 60.0), zoom, row, column), SHAPE)
    right = draw_silhouettes(someone.figure(PHASE + 0.5), view(np.full(24, -60.0), zoom, row, column), SHAPE)
    assert np.abs(left.astype(int) - right[..., ::-1].astype(int)).mean() < 1.0


def test_silhouettes_move_and_grow_with_the_view():
    figure, seen = _seen(6, 36)
    drawn = draw_silhouettes(figure, seen, SHAPE)
    moved = draw_silhouettes(figure, View(seen.cameras, seen.focals, seen.shifts + np.array((3, -5))), SHAPE)
    np.testing.assert_array_equal(moved[:, 5:100, 5:110], drawn[:, 10:105, 2:107])
    double = View(seen.cameras, 2 * seen.focals, 2 * seen.shifts)
    large = draw_silhouettes(figure, double, (2 * SHAPE[0], 2 * SHAPE[1]))
    small = large.reshape(24, SHAPE[0], 2, SHAPE[1], 2).mean(axis=(2, 4))
    assert np.abs(small - drawn).mean() < 1.0
    assert ((drawn > 0) & (drawn < 255)).any()


def test_silhouettes_out_of_the_picture_are_cut():
    figure, seen = _seen(6, 90)
    away = View(seen.cameras, seen.focals, seen.shifts + np.array((1000, 0)))
    assert not draw_silhouettes(figure, away, SHAPE).any()
    half = View(seen.cameras, seen.focals, seen.shifts + np.array((0, 80)))
    shown = draw_silhouettes(figure, half, SHAPE)
    np.testing.assert_array_equal(shown[:, 80:], draw_silhouettes(figure, seen, SHAPE)[:, :80])
    palette = Palette(hair=GREY, skin=GREY, top=GREY, trousers=GREY, shoes=GREY)
    assert not draw_colors(figure, away, SHAPE, palette, Light(), stream(0)).any()


@pytest.mark.parametrize("angle", [0, 90, 144])
def test_colors_cover_the_silhouette_and_are_the_palettes_on_average(angle):
    figure, seen = _seen(7, angle)
    palette = Palette(hair=GREY, skin=GREY, top=GREY, trousers=GREY, shoes=GREY)
    colors = draw_colors(figure, seen, SHAPE, palette, Light(), stream(0))
    covered = draw_silhouettes(figure, seen, SHAPE)
    assert colors.shape == (24, *SHAPE, 3)
    assert (colors[covered > 0].max(axis=1) > 0).mean() > 0.9999
    assert colors[covered > 200].mean() == pytest.approx(110, rel=0.1)
    # Light and folds give it form.
    assert colors[covered > 200].std() > 10


def test_each_part_has_its_color():
    figure, seen = _seen(8, 90)
    palette = Palette(hair=(0, 0, 255), skin=(255, 255, 0), top=(255, 0, 0), trousers=(0, 255, 0), shoes=(255, 0, 255))
    colors = draw_colors(figure, seen, SHAPE, palette, Light(), stream(0)).astype(int)
    inside = draw_silhouettes(figure, seen, SHAPE) == 255
    bright = colors > 60
    rows = np.broadcast_to(np.arange(SHAPE[0])[:, None], SHAPE)
    place = {}
    for name, channels in (("hair", (0, 0, 1)), ("top", (1, 0, 0)), ("trousers", (0, 1, 0)), ("shoes", (1, 0, 1))):
        found = inside & (bright == np.array(channels, bool)).all(axis=-1)
        assert found.sum() > 24 * 20, name
        place[name] = np.broadcast_to(rows, found.shape)[found].mean()
    assert place["hair"] < place["top"] < place["trousers"] < place["shoes"]
    assert set(MATERIALS) - {"bag"} == set(vars(palette))


def test_light_comes_from_where_it_is_said_to():
    figure, seen = _seen(9, 0)
    palette = Palette(hair=GREY, skin=GREY, top=GREY, trousers=GREY, shoes=GREY)
    inside = draw_silhouettes(figure, seen, SHAPE) == 255
    columns = np.broadcast_to(np.arange(SHAPE[1]), inside.shape)
    means = []
    for across in (-1.0, 1.0):
        light = Light(toward=(across, 0.0, 0.3), direct=1.5, ambient=0.3)
        colors = draw_colors(figure, seen, SHAPE, palette, light, stream(0))[..., 0]
        means.append(colors[inside & (columns < 60)].mean() - colors[inside & (columns >= 60)].mean())
    assert means[0] > 20
    assert means[1] < -20


@pytest.mark.parametrize("color", [(1, 2), (0, 0, 256), (-1, 0, 0)])
def test_palettes_of_no_color_are_refused(color):
    with pytest.raises(ValueError, match="expected top as three numbers from 0 to 255"):
        Palette(hair=GREY, skin=GREY, top=color, trousers=GREY, shoes=GREY)
