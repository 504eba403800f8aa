import base64
import struct
import zlib
from dataclasses import replace

import cv2
import numpy as np
import pytest

from gaitkeeper.audit.action_report import action_section, stick_example
from gaitkeeper.audit.palette import palette_uri
from gaitkeeper.audit.report import Report, render_report
from gaitkeeper.audit.stick_figures import draw, see, stick_panels, strip
from gaitkeeper.errors import DataError
from gaitkeeper.motion.skeletons import HDM05_25, KINETICS_18, LAYOUTS, NTU_25

PAPER = (250, 250, 248)


def standing(frames=5, layout=NTU_25, persons=1):
    """Return people who stand facing +z, arms spread, the left one toward +x, and shift a little to the left."""
    pose = np.zeros((len(layout), 3))
    pose[:, 1] = 1.0
    for left, right in layout.pairs:
        pose[left], pose[right] = (0.3, 1.2, 0.0), (-0.3, 1.2, 0.0)
    pose[list(layout.feet), 1] = 0.0
    pose[layout.root] = (0.0, 1.0, 0.0)
    motion = np.tile(pose, (persons, frames, 1, 1))
    motion[..., 0] += 0.1 * np.arange(frames)[:, None] + 1.0 * np.arange(persons)[:, None, None]
    return motion.astype(np.float32)


def inked(frame):
    return (np.abs(frame.astype(int) - PAPER).max(2) > 40).any()


def near(frame, point, color, reach=3):
    x, y = np.round(point).astype(int)
    patch = frame[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1].reshape(-1, 3)
    return (np.abs(patch.astype(int) - color).max(1) < 6).any()


def test_the_camera_is_level_with_a_person_who_faces_it():
    motion = standing()
    camera = see([motion], NTU_25)
    assert camera.axes @ camera.axes.T == pytest.approx(np.eye(3), abs=1e-6)
    assert np.linalg.det(camera.axes) == pytest.approx(1.0)
    pixels, toward = camera.project(motion[0, 0])
    left, right = NTU_25.index("left hand"), NTU_25.index("right hand")
    assert pixels[left, 0] > pixels[right, 0]
    assert pixels[NTU_25.index("left foot"), 1] > pixels[left, 1]
    assert camera.project(np.array([0.0, 1.0, 1.0]))[1] > camera.project(np.array([0.0, 1.0, 0.0]))[1]
    assert np.isfinite(toward).all()


def test_lengths_along_the_picture_are_to_scale():
    camera = see([standing()], NTU_25)
    along = camera.axes[0]
    start, end = camera.project(np.stack([np.zeros(3), along]))[0]
    assert np.linalg.norm(end - start) == pytest.approx(camera.scale)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=lambda layout: layout.name)
def test_everyone_is_in_sight_all_the_time(layout):
    clean = standing(layout=layout, persons=2)
    attacked = clean + 0.05
    camera = see([clean, attacked], layout)
    for motion in (clean, attacked):
        pixels, _ = camera.project(motion)
        assert (pixels > 0).all()
        assert (pixels < camera.size).all()
    panels = stick_panels(clean, attacked, layout)
    assert len({panel.frames.shape for panel in panels}) == 1
    assert panels[0].frames.shape[:2] == (5, 280)
    assert panels[0].frames.dtype == np.uint8


def test_panels_share_their_camera_and_the_overlay_has_both():
    clean = standing()
    attacked = clean.copy()
    hand = NTU_25.index("left hand")
    attacked[:, :, hand, 1] += 0.3
    recorded, shown, over = stick_panels(clean, attacked, NTU_25)
    camera = see([clean, attacked], NTU_25)
    before, after = (camera.project(motion[0, 2, hand])[0] for motion in (clean, attacked))
    assert not near(shown.frames[2], before, (120, 132, 146))
    assert near(over.frames[2], after, (204, 40, 140))
    assert not near(shown.frames[2], after, (204, 40, 140))
    assert near(shown.frames[2], after, (0, 114, 178))
    assert near(recorded.frames[2], before, (120, 132, 146))


def test_the_joints_that_moved_most_are_marked_and_nothing_where_none_moved():
    mark = np.array((204, 40, 140))

    def marked(frames):
        return (frames == mark).all(-1).reshape(len(frames), -1).sum(1)

    clean = standing()
    attacked = clean.copy()
    attacked[:, 1:3, NTU_25.index("right foot"), 2] += np.array([0.05, 0.1])
    over = stick_panels(clean, attacked, NTU_25)[2].frames
    counts = marked(over)
    assert counts[2] > counts[1] > 0
    assert (counts[[0, 3, 4]] == 0).all()
    assert marked(stick_panels(clean, clean, NTU_25)[2].frames).sum() == 0


def test_sides_have_their_own_colors_and_a_pelvis_that_is_one_point_has_none():
    motion = standing(layout=HDM05_25)
    shown = stick_panels(motion, motion, HDM05_25)[1].frames
    camera = see([motion, motion], HDM05_25)
    for name, color in (("lfingers", (0, 114, 178)), ("rfingers", (213, 94, 0))):
        assert near(shown[0], camera.project(motion[0, 0, HDM05_25.index(name)])[0], color)


def test_absent_persons_are_not_drawn():
    motion = standing(persons=2)
    motion[1] = 0
    motion[0, 3] = 0
    colors = {"left": (0, 0, 0), "right": (0, 0, 0), "middle": (0, 0, 0)}
    frames = draw([(motion, colors)], NTU_25, see([motion], NTU_25))
    assert [inked(frame) for frame in frames] == [True, True, True, False, True]
    alone = draw([(motion[:1], colors)], NTU_25, see([motion[:1]], NTU_25))
    assert np.array_equal(frames, alone)


def test_points_of_a_picture_have_no_floor_and_hang_upright():
    motion = standing(layout=KINETICS_18)
    camera = see([motion], KINETICS_18)
    assert camera.floor is None
    high, low = camera.project(np.array([[0.0, 0.1, 0.9], [0.0, 0.4, 0.1]]))[0]
    assert low[1] > high[1]


def test_strip():
    motion = standing(frames=9)
    image = strip(motion, motion + 0.01, NTU_25, count=4, height=100)
    width = see([motion, motion + 0.01], NTU_25, height=100).size[0]
    assert image.shape == (100, 4 * width, 3)
    assert strip(motion[:, :2], motion[:, :2], NTU_25, count=6, height=100).shape[0] == 100


@pytest.mark.parametrize(
    ("clean", "attacked", "message"),
    [
        (standing(), standing(frames=4), r"two motions \(m, t, 25, 3\) of one shape, got \(1, 5, 25, 3\)"),
        (standing()[..., :2], standing()[..., :2], "of one shape"),
        (np.zeros((1, 5, 25, 3)), np.zeros((1, 5, 25, 3)), "expected joints to draw, all finite, got 0 skeletons"),
        (standing(), standing() * np.nan, "expected joints to draw, all finite"),
    ],
)
def test_what_cannot_be_drawn(clean, attacked, message):
    with pytest.raises(DataError, match=message):
        stick_panels(clean, attacked, NTU_25)


def decoded(uri):
    data = np.frombuffer(base64.b64decode(uri.removeprefix("data:image/png;base64,")), np.uint8)
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]


@pytest.mark.parametrize("colors", [1, 3, 256])
def test_palette_images_keep_every_pixel(colors):
    rng = np.random.default_rng(0)
    palette = np.unique(rng.integers(0, 1 << 24, 2 * colors))[:colors]
    picked = palette[np.concatenate([np.arange(colors), rng.integers(0, colors, 7 * 53 - colors % (7 * 53))])][: 7 * 53]
    image = np.stack([picked >> 16, picked >> 8 & 255, picked & 255], -1).astype(np.uint8).reshape(7, 53, 3)
    assert np.array_equal(decoded(palette_uri(image)), image)


def test_too_many_colors_have_no_palette():
    image = np.zeros((1, 257, 3), np.uint8)
    image[0, :, 0], image[0, :, 1] = np.arange(257) % 256, np.arange(257) // 256
    assert palette_uri(image) is None
    assert palette_uri(image[:, :256]) is not None


def test_drawings_are_stored_with_a_palette_and_read_back_as_drawn():
    motion = standing()
    row = {"model": "m", "attack": "smart", "goal": "anything-but", "bones": "exact", "budget": None, "sample": "s"}
    row |= {"label": "a", "predicted": "b", "target": None, "success": True, "displacement": 0.01, "largest": 0.02}
    example = stick_example(motion, motion + 0.01, row | {"bone": 0.0}, NTU_25, fps=30.0)
    section = replace(action_section([]), examples=[example])
    page = render_report(Report(title="t", records=(), settings={}, actions=section))
    sheets = [part.split('"')[0] for part in page.split('src="')[1:]]
    assert len(sheets) == 3
    for sheet, panel in zip(sheets, example.panels, strict=True):
        data = base64.b64decode(sheet.removeprefix("data:image/png;base64,"))
        assert struct.unpack(">IIBB", data[16:26])[2:] == (8, 3)
        assert zlib.crc32(data[12:29]) == struct.unpack(">I", data[29:33])[0]
        width = panel.frames.shape[2]
        for i, frame in enumerate(panel.frames):
            assert np.array_equal(decoded(sheet)[:, i * width : (i + 1) * width], frame)
    assert f'data-fps="{example.fps}"' in page
