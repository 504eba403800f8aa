"""Tables, plots and pictures of the reproduction of ST-GAN: published beside measured."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import matplotlib
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG

from gaitkeeper.anonymize.walk import Anonymizer, Walk, with_margin
from gaitkeeper.audit.anonymization_grid import NATURAL, RANKS
from gaitkeeper.audit.anonymization_published import FRAME_SCORES, REMARKS, TRENDS, VIDEO_SCORES
from gaitkeeper.audit.anonymization_summary import LOOKS, figure, judges_of, methods_of
from gaitkeeper.audit.anonymization_tables import MISSING, text_of
from gaitkeeper.audit.figures import INK, MARKERS, PALETTE, STYLE, Chart, Key, Plot, blank_axes, inline_svg
from gaitkeeper.audit.report import Picture, Table
from gaitkeeper.audit.reproduce_anonymization import (
    NO_NOISE,
    AnonymizationReproduction,
    inverted_name,
    published_name,
    squared_name,
)
from gaitkeeper.audit.verdict import Record, select
from gaitkeeper.datasets.walkers import WalkerSequences
from gaitkeeper.seeding import stream
from gaitkeeper.synthetic.population import FPS

_SHOWN = 8
"""Frames of a clip in a picture."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a reproduction measured.

    Args:
        settings: of the reproduction.
        methods: figures of the methods.
        variants: figures of what was trained for it.
        logs: of the trainings, by name.
    """

    settings: AnonymizationReproduction
    methods: Sequence[Record]
    variants: Sequence[Record]
    logs: Mapping[str, Sequence[Mapping[str, float]]]


def success(record: Record | None) -> Record | None:
    """Return the share that is not identified, which the document calls success."""
    if record is None:
        return None
    return {**record, "value": 100 - record["value"], "low": 100 - record["high"], "high": 100 - record["low"]}


def reproduced_tables(measured: Measured) -> list[Table]:
    """Return the tables, in the document's order and then what it leaves out."""
    made = [*_comparison(measured), *_scores(measured), *_alphas(measured)]
    made += [_steps(measured), _equal_overlap(measured), _inversion(measured)]
    return [table for table in made if table.rows]


def _by_view(
    measured: Measured, records: Sequence[Record], names: Mapping[str, str], *, title: str, trend: str
) -> list[Table]:
    """Return tables of success by view, one a judge and rank, with rows of these methods by their titles."""
    views = measured.settings.measured.views
    made = []
    for judge in judges_of(records):
        for rank in RANKS:
            rows = []
            for name, text in names.items():
                found = [success(figure(records, judge, name, view=view, rank=rank)) for view in ("all", *views)]
                if found[0] is not None:
                    rows.append((text, *map(text_of, found)))
            guess = 100 - measured.settings.measured.chance(rank)
            made.append(
                Table(
                    title=f"{title}: success against {judge}, top-{rank}, in %",
                    caption=f"{TRENDS[trend]} No numbers are printed. Measured: probes not identified by a judge as "
                    f"trained, same view; guessing alone gives {guess:.3g} %.",
                    columns=("method", "all views", *(f"{view}°" for view in views)),
                    rows=rows,
                    folded=rank > 1,
                )
            )
    return made


def _comparison(measured: Measured) -> list[Table]:
    names = {
        NATURAL: "unaltered",
        "contour": "contour round trip (control)",
        "noise-gait": "noise gait (2017)",
        "st-gan-published": "ST-GAN, published loss",
        "st-gan": "ST-GAN, squared loss",
    }
    return _by_view(measured, measured.methods, names, title="Figure 11", trend="Figure 11")


def _alphas(measured: Measured) -> list[Table]:
    alphas = measured.settings.alphas
    names = {published_name(alpha): f"published loss, α = {alpha:g}" for alpha in alphas}
    names |= {squared_name(alpha): f"squared loss, α = {alpha:g}" for alpha in alphas}
    return _by_view(measured, measured.variants, names, title="Figures 15 and 16", trend="Figures 15 and 16")


def _scores(measured: Measured) -> list[Table]:
    """Return tables 2 and 3: printed scores, and beside them those that were measured."""
    views = measured.settings.measured.views
    made = []
    for printed, metric in ((FRAME_SCORES, None), (VIDEO_SCORES, "video")):
        rows = []
        for alpha in measured.settings.alphas:
            values = [printed.value(alpha, view) for view in views]
            if any(value is not None for value in values):
                rows.append((f"α = {alpha:g}, published", *(MISSING if v is None else f"{v:.4f}" for v in values)))
            for name, text in ((published_name(alpha), "published loss"), (squared_name(alpha), "squared loss")):
                if metric:
                    cells = (_looks(measured.variants, name, metric, view) for view in views)
                    rows.append((f"α = {alpha:g}, {text}, measured", *cells))
        if metric:
            rows.append(("unaltered, measured", *(_looks(measured.variants, NATURAL, metric, view) for view in views)))
            beside = "Measured by this package's network on silhouettes, of two classes: compare the trend."
        else:
            beside = "Frames are scored in color only, which this measurement on silhouettes does not have."
        made.append(
            Table(
                title=f"{printed.where}: {'video' if metric else 'frame'} score by view",
                caption=f"Published: {printed.what}. {TRENDS['Tables 2 and 3']} {beside}",
                columns=("", *(f"{view}°" for view in views)),
                rows=rows,
                folded=metric is None,
            )
        )
    return made


def _looks(records: Sequence[Record], method: str, metric: str, view: int | str = "all") -> str:
    found = select(records, model=LOOKS, method=method, metric=metric, condition="all", view=view)
    return f"{found[0]['value']:.4f}" if found else MISSING


def _steps(measured: Measured) -> Table:
    """Return what the document leaves out: how success fades as the published loss is trained on."""
    judges = judges_of(measured.variants)
    rows = []
    for name, log in measured.logs.items():
        errors = {int(line["iteration"]): float(line["reconstruction"]) for line in log if "reconstruction" in line}
        for step in measured.settings.snapshots:
            label = f"{name}-step-{step}"
            found = [success(figure(measured.variants, judge, label)) for judge in judges]
            if any(found):
                overlap = _looks(measured.variants, label, "overlap")
                error = np.mean([value for at, value in errors.items() if step - 20 < at <= step])
                rows.append((str(step), f"{error:.4f}", overlap, *map(text_of, found)))
    return Table(
        title="What the document leaves out: success over training steps, published loss",
        caption="Success top-1 in %, same view, judges as trained. The published loss is smallest at the original gait "
        "for α below 1, so what it hides is what training has not yet undone. The reconstruction error is the mean "
        "absolute difference of contour points, in body heights, over the last 20 steps.",
        columns=("step", "reconstruction error", "overlap with the original", *judges),
        rows=rows,
    )


def _equal_overlap(measured: Measured) -> Table:
    """Return all that was measured in the order of its overlap with the original."""
    judges = judges_of(measured.methods)
    points = overlaps(measured)
    rows = []
    for name, overlap, records in sorted(points, key=lambda point: -point[1]):
        found = [success(figure(records, judge, name)) for judge in judges]
        adapted = [success(figure(records, judge, name, adapted=True)) for judge in judges]
        cells = [text for pair in zip(found, adapted, strict=True) for text in map(text_of, pair)]
        rows.append((name, f"{overlap:.3f}", *cells))
    return Table(
        title="Methods at equal overlap",
        caption="Success top-1 in %, same view, in the order of the overlap with the original: compare neighbors.",
        columns=("method", "overlap", *(f"{judge}, {how}" for judge in judges for how in ("as trained", "adapted"))),
        rows=rows,
        folded=True,
    )


def overlaps(measured: Measured) -> list[tuple[str, float, Sequence[Record]]]:
    """Return every method and variant with its overlap with the original and the figures it is in."""
    found: list[tuple[str, float, Sequence[Record]]] = []
    for records in (measured.methods, measured.variants):
        for name in methods_of(records):
            record = select(records, model=LOOKS, method=name, metric="overlap", condition="all", view="all")
            seen = any(name == known for known, _, _ in found)
            if record and not seen and not name.endswith("-inverted"):
                found.append((name, float(record[0]["value"]), records))
    return found


def _inversion(measured: Measured) -> Table:
    judges = judges_of(measured.variants)
    rows = []
    for name in methods_of(measured.variants):
        undone = inverted_name(name)
        if undone not in methods_of(measured.variants):
            continue
        for label in (name, undone):
            found = [figure(measured.variants, judge, label) for judge in judges]
            rows.append((label, _looks(measured.variants, label, "overlap"), *map(text_of, found)))
    return Table(
        title="Section 5: can the original be recovered?",
        caption=f"{TRENDS['Section 5']} Measured: people identified, rank-1 in %, same view, by judges as trained, in "
        "anonymized clips and in what a network makes of them that an attacker trained on people of their own. "
        f"Guessing gives {measured.settings.measured.chance():.3g} %.",
        columns=("clips", "overlap with the original", *judges),
        rows=rows,
    )


def sentences_of(measured: Measured) -> list[str]:
    """Return what of the document's claims was measured, a sentence each, and how to read it."""
    said = []
    for judge in judges_of(measured.methods):
        old, new = (success(figure(measured.methods, judge, name)) for name in ("noise-gait", "st-gan-published"))
        if old and new:
            back = figure(measured.methods, judge, "st-gan-published", adapted=True)
            after = f"; adapted to ST-GAN, the judge identifies {text_of(back)} %" if back else ""
            said.append(
                f"Against {judge} as trained, ST-GAN with the published loss succeeds in {text_of(new)} % and the "
                f"noise gait of 2017 in {text_of(old)} %{after}."
            )
    for judge in judges_of(measured.variants):
        for form, named in (("published", published_name), ("squared", squared_name)):
            rates = [success(figure(measured.variants, judge, named(alpha))) for alpha in measured.settings.alphas]
            if len(rates) > 1 and all(rates):
                listed = ", ".join(f"{rate['value']:.1f}" for rate in rates if rate)
                said.append(
                    f"With α = {', '.join(f'{a:g}' for a in measured.settings.alphas)}, the {form} loss succeeds "
                    f"against {judge} in {listed} %."
                )
    return [*said, *REMARKS]


def reproduced_plots(measured: Measured) -> list[Plot]:
    """Draw success against the overlap with the original, a chart a judge."""
    points = overlaps(measured)
    families = {"published loss": "l1-", "squared loss": "squared-"}
    kinds = [*families, "other methods"]
    keys = [Key(label=kind, color=PALETTE[i], marker=MARKERS[i]) for i, kind in enumerate(kinds)]
    charts = []
    for judge in judges_of(measured.methods):
        drawn = []
        for name, overlap, records in points:
            record = success(figure(records, judge, name))
            if record is not None:
                family = next((i for i, start in enumerate(families.values()) if name.startswith(start)), 2)
                drawn.append((name, overlap, record, keys[family]))
        charts.append(Chart(title=judge, svg=_scatter(drawn, judge)))
    caption = "Every method, value of α and snapshot; judges as trained, top-1, same view. Lines are 95 % intervals."
    title = "Success against the overlap with the original"
    return [Plot(title=title, caption=caption, legend=tuple(keys), charts=tuple(charts))] if points else []


def _scatter(points: Sequence[tuple[str, float, Record, Key]], judge: str) -> str:
    figure_, axes = blank_axes(width=4.6, height=3.2)
    target = io.StringIO()
    with matplotlib.rc_context(STYLE):
        for name, overlap, record, key in points:
            axes.vlines(overlap, record["low"], record["high"], color=key.color, alpha=0.4, linewidth=1.2)
            axes.plot([overlap], [record["value"]], color=key.color, marker=key.marker, markersize=5)
            if key.label == "other methods":
                left = overlap > 0.85  # else the name would leave the chart
                style: dict[str, Any] = {
                    "xytext": (-5 if left else 4, 3),
                    "ha": "right" if left else "left",
                    "fontsize": 7,
                }
                axes.annotate(name, (overlap, record["value"]), textcoords="offset points", **style)
        axes.set_ylim(-1, 101)
        axes.grid(True, color=INK, alpha=0.12, linewidth=0.8)
        axes.set_xlabel("overlap with the original")
        axes.set_ylabel("success, %")
        figure_.patch.set_visible(False)
        axes.patch.set_visible(False)
        FigureCanvasSVG(figure_).print_svg(target, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return inline_svg(target.getvalue(), "success, % against overlap with the original", ("overlap", judge))


def pictures_of(
    settings: AnonymizationReproduction, anonymizers: Mapping[str, Anonymizer], *, seed: int
) -> list[Picture]:
    """Return figures 17 and 18, silhouettes by alpha and where they differ, and figure 7, without noise generator."""
    measured = settings.measured
    view = min(measured.views, key=lambda v: abs(v - 90))
    data = WalkerSequences(
        measured.population, subjects=measured.subjects[:1], conditions=measured.conditions[:1], views=(view,),
        frames=measured.frames,
    )  # fmt: skip
    (clip,) = data.load([0])
    assert isinstance(clip, np.ndarray)
    original, key = with_margin(clip), data.samples[0].key
    shown = np.linspace(0, len(clip) - 1, _SHOWN).round().astype(int)

    def strip(name: str) -> np.ndarray:
        walk = Walk(silhouettes=original, fps=FPS)
        return anonymizers[name](walk, stream(seed, "anonymize", name, key)).silhouettes[shown]

    made = []
    for form, named in (("published", published_name), ("squared", squared_name)):
        strips = [strip(named(alpha)) for alpha in settings.alphas]
        rows = [
            original[shown],
            *strips,
            *(np.bitwise_xor(s >= 128, original[shown] >= 128) * np.uint8(255) for s in strips),
        ]
        listed = ", ".join(f"{alpha:g}" for alpha in settings.alphas)
        made.append(
            Picture(
                title=f"Figures 17 and 18: the effect of α, {form} loss",
                caption=f"{TRENDS['Figure 18']} Rows: the original; α = {listed}; and where these differ from it.",
                image=_sheet(rows),
            )
        )
    if NO_NOISE in anonymizers:
        rows = [original[shown], strip(NO_NOISE), strip(squared_name(settings.alphas[0]))]
        made.append(
            Picture(
                title="Figure 7: without the noise generator",
                caption="Rows: the original; a Gaussian seed in place of a noise contour; a noise contour.",
                image=_sheet(rows),
            )
        )
    return made


def _sheet(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Return rows of silhouettes ``(t, h, w)`` as one RGB picture, twice as large."""
    image = np.concatenate([np.concatenate(list(row), axis=1) for row in rows])
    larger = cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    return np.repeat(larger[..., None], 3, axis=2)
