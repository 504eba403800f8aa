"""Whatever fails, nothing of a person is passed on that a confident track does not explain."""

from pathlib import Path

import numpy as np
import pytest

from gaitkeeper.anonymize import survey as surveying
from gaitkeeper.anonymize.compose import Composer, ComposeSettings
from gaitkeeper.anonymize.sources import ClipSource
from gaitkeeper.anonymize.survey import survey
from gaitkeeper.anonymize.walk import Anonymized, Walk
from gaitkeeper.perception.video import Clip
from tests.anonymize.scenes import EMPTY, filmed, leaks

PINK = (255, 0, 255)


def painted(walk: Walk, rng: np.random.Generator) -> Anonymized:
    """The silhouette as it is in one color, so that no original pixel is inside it."""
    return Anonymized(silhouettes=walk.silhouettes, colors=np.full((*walk.silhouettes.shape, 3), PINK, np.uint8))


def kept(walk: Walk, rng: np.random.Generator) -> Anonymized:
    """The silhouette as it is, in the original's colors."""
    return Anonymized(silhouettes=walk.silhouettes)


def compose(clip: Clip, method, **settings) -> tuple[np.ndarray, Composer]:
    composer = Composer(survey(ClipSource(clip)), method, np.random.default_rng, ComposeSettings(**settings))
    return np.stack([composer.compose(i, frame) for i, frame in enumerate(clip.frames)]), composer


def test_a_walker_is_shown_and_nothing_else_of_them_is_left() -> None:
    clip, masks, empty = filmed()
    shown, composer = compose(clip, painted)
    assert composer.shown.sum() > 30, "hardly any frame has a confident walk"
    assert leaks(clip.frames, shown, masks, empty).sum() == 0
    pink = (np.abs(shown.astype(int) - PINK).max(axis=-1) < 60).sum(axis=(1, 2))
    frames = np.flatnonzero(composer.shown)
    ratio = pink[frames] / masks[frames].sum(axis=(1, 2))
    assert 0.6 < np.median(ratio) < 1.2, "the silhouette is not where the person was"


def test_without_a_method_nobody_is_shown() -> None:
    clip, masks, empty = filmed()
    shown, composer = compose(clip, None)
    assert composer.shown.sum() == 0
    assert composer.hidden[EMPTY + 5 :].all()
    assert leaks(clip.frames, shown, masks, empty).sum() == 0


def test_where_nobody_was_the_picture_is_kept() -> None:
    clip, masks, _ = filmed()
    shown, _ = compose(clip, kept)
    near = np.stack([_grown(mask, 25) for mask in masks])
    same = (np.abs(shown.astype(int) - clip.frames.astype(int)).max(axis=-1) <= 12) | near
    assert same.mean() > 0.995


@pytest.mark.parametrize("view", [0, 36, 180])
def test_other_views_leak_nothing(view: int) -> None:
    clip, masks, empty = filmed(9, view)
    shown, _ = compose(clip, painted)
    assert leaks(clip.frames, shown, masks, empty).sum() == 0


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("broken", ["detector", "tracker", "segmentation", "changes"])
def test_a_stage_that_fails_in_random_frames_leaks_nothing(
    broken: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(seed)
    clip, masks, empty = filmed(7 + seed)
    if broken == "detector":
        working = surveying.detect

        def detect(mask, settings):
            found = working(mask, settings)
            way = rng.integers(4)
            if way == 0:
                return found[:0]
            return found + rng.integers(-30, 30, found.shape) if way == 1 else found

        monkeypatch.setattr(surveying, "detect", detect)
    elif broken == "tracker":
        step = surveying.Tracker.step

        def lost(self, frame, boxes):
            step(self, frame, boxes)
            if rng.random() < 0.15:
                self.ended += self.active
                self.active = []

        monkeypatch.setattr(surveying.Tracker, "step", lost)
    elif broken == "segmentation":
        cut = surveying.segment

        def torn(frames, background, path, changed, settings=None):
            boxes, found = cut(frames, background, path, changed, settings)
            for i in range(len(found)):
                way = rng.integers(4)
                if way == 0:
                    found[i] = np.zeros_like(found[i])
                elif way == 1:
                    found[i] = found[i] & (rng.random(found[i].shape) < 0.5)
                elif way == 2:
                    boxes[i] = boxes[i] + np.tile(rng.integers(-20, 20, 2), 2)
            return boxes, found

        monkeypatch.setattr(surveying, "segment", torn)
    else:
        sees = surveying.changed
        monkeypatch.setattr(surveying, "changed", lambda *a: sees(*a) * np.uint8(rng.random() < 0.7))
    shown, _ = compose(clip, painted)
    # Of some eighty thousand pixels of the person two pairs may have the color of what is drawn there by chance.
    assert leaks(clip.frames, shown, masks, empty).sum() <= 2


def test_somebody_who_stands_until_they_leave_is_no_background() -> None:
    clip, masks, empty = filmed()
    still = np.argmax(masks.sum(axis=(1, 2)))
    # They stand for most of the clip, so that the background shows them, and are gone in the end.
    frames = np.concatenate([np.repeat(clip.frames[still : still + 1], 70, axis=0), clip.frames[:EMPTY].repeat(3, 0)])
    truth = np.concatenate([np.repeat(masks[still : still + 1], 70, axis=0), masks[:EMPTY].repeat(3, 0)])
    rng = np.random.default_rng(0)
    frames = (frames + rng.normal(0, 1.5, frames.shape)).round().clip(0, 255).astype(np.uint8)
    shown, composer = compose(Clip(frames, 30.0, Path("still.mp4")), painted)
    assert composer.survey.unverified[masks[still]].mean() > 0.95
    assert leaks(frames, shown, truth, empty).max() <= 0.02 * masks[still].sum()


def _grown(mask: np.ndarray, by: int) -> np.ndarray:
    import cv2

    return cv2.dilate(mask.astype(np.uint8), np.ones((2 * by + 1, 2 * by + 1), np.uint8)) > 0
