"""Replacement: a random synthetic person walks in the original's place, a fresh one each clip."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from gaitkeeper.anonymize.fitting import SOLES, place, steady
from gaitkeeper.anonymize.fitting import Fitted as Fitted
from gaitkeeper.anonymize.fitting import fit as fit
from gaitkeeper.anonymize.walk import Anonymized, Walk
from gaitkeeper.synthetic.substitute import (
    Light,
    Palette,
    draw_colors,
    draw_palette,
    draw_silhouettes,
    draw_substitute,
    extents,
    view,
)


class Estimate(Protocol):
    """Finds view and phase of a walk, as :func:`~gaitkeeper.anonymize.fitting.fit` does."""

    def __call__(self, walk: Walk) -> Fitted:
        """Return how somebody walks past the camera."""
        ...


@dataclass(frozen=True, kw_only=True)
class Replacement:
    """Shows somebody who does not exist, seen from the same side, in step and at the same place.

    What passes on purpose: view, phase and cadence, and the body's place and height in the picture, each smooth over
    time. What does not: body, gait and clothes, and the unevenness of the original's pace. A new person is drawn
    each clip: one person for all clips of somebody would make these linkable.

    Args:
        painted: whether to paint the substitute in color too.
        palette: its colors; None takes those that the walk brings, else draws them at random.
        light: what it is painted in.
        cadence_spread: standard deviation by which the pace is changed, a share of it, one draw a clip. Above 0, the
            substitute falls out of step with the original.
        estimate: finds view and phase.

    Reference:
        No paper; the feasibility study of this project found it at chance for recognizers trained against it.
    """

    painted: bool = True
    palette: Palette | None = None
    light: Light = field(default_factory=Light)
    cadence_spread: float = 0.0
    estimate: Estimate = fit

    def __post_init__(self) -> None:
        if not 0 <= self.cadence_spread <= 0.3:
            raise ValueError(f"expected a spread of the cadence from 0 to 0.3, got {self.cadence_spread}")

    def __call__(self, walk: Walk, rng: np.random.Generator) -> Anonymized:
        """Replace the person of a walk; nothing is shown where nobody is in any frame."""
        # All draws come first and are the same whatever the clip shows.
        substitute, palette, warp = draw_substitute(rng), draw_palette(rng), float(rng.standard_normal())
        shape = walk.silhouettes.shape[1], walk.silhouettes.shape[2]
        where = place(walk.silhouettes, walk.fps)
        if where is None:
            empty = np.zeros_like(walk.silhouettes)
            return Anonymized(silhouettes=empty, colors=np.zeros((*empty.shape, 3), np.uint8) if self.painted else None)
        fitted = self.estimate(walk)
        pace = 1 + self.cadence_spread * float(np.clip(warp, -2.0, 2.0))
        middle = fitted.phase[len(fitted.phase) // 2]
        figure = substitute.figure(middle + pace * (fitted.phase - middle))
        top, bottom, column = extents(figure, fitted.direction)
        ground = steady(bottom, walk.fps, SOLES)
        zoom = (where.bottom - where.top) / (ground - steady(top, walk.fps))
        rows = where.bottom - zoom * ground
        columns = where.middle - zoom * steady(column, walk.fps)
        seen = view(fitted.direction, zoom, rows, columns)
        colors = None
        if self.painted:
            colors = draw_colors(figure, seen, shape, self.palette or walk.palette or palette, self.light, rng)
        side = "right" if fitted.mirrored else "left"
        return Anonymized(
            silhouettes=draw_silhouettes(figure, seen, shape),
            colors=colors,
            drawn={"view": float(fitted.view), "side": side, "cadence": round(pace * fitted.cadence, 2)},
        )
