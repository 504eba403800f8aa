"""Charts of an audit as inline SVG: the same records give the same bytes, and text stays text."""

import base64
import hashlib
import io
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import matplotlib
import numpy as np
from markupsafe import escape
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.markers import MarkerStyle
from matplotlib.transforms import Affine2D

from gaitkeeper.audit.grid import SHARES
from gaitkeeper.audit.verdict import (
    ATTACKS,
    NORMS,
    PUBLISHED_CONTROL,
    Record,
    amount_text,
    attack_text,
    budget_text,
    condition_rank,
    control_of,
    family,
    has_interval,
    is_attack,
    is_control,
    natural_of,
    norm_rank,
    scope_of,
    scope_text,
    select,
    smallest_sparse,
    storage_formats,
    stored_text,
    strongest,
)

# Okabe and Ito's palette: its colors can be told apart under all common forms of color blindness.
PALETTE = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = ("o", "s", "^", "D", "v", "P")
# An attack's variants keep its color and differ in their dashes.
DASHES = ("", "6 1.6", "2 1.4", "6 1.4 2 1.4")
CONTROL = "#808890"
# Greys that can be told from either background of the page.
CONTROLS = (
    (CONTROL, "4 2 1 2", "X"),
    ("#6a737d", "8 2", "<"),
    ("#98a1aa", "3 1.2", ">"),
    ("#7d8790", "9 2 1 1.5 1 2", "*"),
    ("#59626b", "1.5 1.5", "d"),
)
# Stands for the page's text color and is replaced by `currentColor`, so that charts follow the page's theme.
INK = "#010203"
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "gaitkeeper",
    "font.family": "sans-serif",
    "font.size": 10.0,
    "text.parse_math": False,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
}


@dataclass(frozen=True, kw_only=True)
class Key:
    """One entry of a legend.

    Args:
        label: what the line shows.
        color: a CSS color.
        dash: the line's dashes as SVG writes them, empty for a solid line.
        marker: matplotlib's name of the marker, empty for none.
    """

    label: str
    color: str
    dash: str = ""
    marker: str = ""

    @property
    def swatch(self) -> str:
        """A sample of the line and its marker as an SVG element."""
        color = "currentColor" if self.color == INK else self.color
        shape = f'<path d="{_shape(self.marker)}" fill="{color}"/>' if self.marker else ""
        return (
            f'<svg class="swatch" viewBox="0 0 32 10" aria-hidden="true"><path d="M0 5H32" stroke="{color}" '
            f'stroke-width="2" stroke-dasharray="{self.dash or "none"}"/>{shape}</svg>'
        )


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One small chart: its heading and its SVG element."""

    title: str
    svg: str


@dataclass(frozen=True, kw_only=True)
class Plot:
    """Charts that share a legend."""

    title: str
    caption: str
    legend: tuple[Key, ...]
    charts: tuple[Chart, ...]


def _shape(marker: str) -> str:
    """Return a marker as an SVG path around the middle of a swatch."""
    style = MarkerStyle(marker)
    # Curves become corners at the scale of pixels.
    path = style.get_path().transformed(style.get_transform() + Affine2D().scale(10))
    corners = [np.asarray(polygon, np.float64) for polygon in path.to_polygons()]
    scale = 4 / max(float(np.abs(polygon).max()) for polygon in corners)
    return "".join("M" + "L".join(f"{16 + scale * x:.1f} {5 - scale * y:.1f}" for x, y in p) + "Z" for p in corners)


def heading(norm: str | None, stored: str) -> str:
    """Return the heading of what was measured with one norm and storage format."""
    name = NORMS.get(norm, norm) if norm else "no budget"
    return f"{name[0].upper()}{name[1:]}, {stored_text(stored)}"


def png_uri(image: np.ndarray) -> str:
    """Return an image, uint8 of shape (h, w) or (h, w, 3) in RGB, as a ``data:`` address of a PNG."""
    ordered = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    _, data = cv2.imencode(".png", ordered, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    return "data:image/png;base64," + base64.b64encode(data.tobytes()).decode("ascii")


def sheet(frames: np.ndarray, columns: int) -> np.ndarray:
    """Lay frames (t, h, w[, 3]) out row by row in one image of at most ``columns`` frames a row."""
    length, height, width, *channels = frames.shape
    columns = min(length, columns)
    rows = -(-length // columns)
    padded = np.zeros((rows * columns, height, width, *channels), np.uint8)
    padded[:length] = frames
    grid = padded.reshape(rows, columns, height, width, *channels).swapaxes(1, 2)
    return np.ascontiguousarray(grid.reshape(rows * height, columns * width, *channels))


def budget_plots(records: Sequence[Record], *, chance: float) -> list[Plot]:
    """Draw rank-1 and targeted success against the budget, one chart a norm and storage format.

    Args:
        records: the records of one network on one data set.
        chance: rank-1 of guessing, percent.
    """
    scope = scope_of(records)
    keys = attack_keys(records)
    plots = []
    for goal, metric, title in (
        ("nontargeted", "rank1", "Rank-1 against the budget"),
        ("targeted", "success", "Targeted success against the budget"),
    ):
        found = [
            r
            for r in select(records, goal=goal, metric=metric, **scope)
            if r["attack"] != "none" and r["norm"] is not None and r["budget"] is not None
        ]
        charts, used = [], set()
        for stored in storage_formats(found):
            for norm in sorted({r["norm"] for r in found if r["stored"] == stored}, key=norm_rank):
                inside = [r for r in found if r["stored"] == stored and r["norm"] == norm]
                natural = natural_of(records, scope, stored) if metric == "rank1" else None
                charts.append(_budget_chart(inside, norm, stored, natural, keys, chance, metric))
                used |= {r["attack"] for r in inside}
        if charts:
            fixed = [NATURAL] if metric == "rank1" and natural_of(records, scope) else []
            legend = (*fixed, *(key for name, key in keys.items() if name in used), GUESSING)
            caption = f"{scope_text(scope)}. Bands are 95 % intervals. " + (
                "Lower is worse for the network." if metric == "rank1" else "Higher is worse for the network."
            )
            plots.append(Plot(title=title, caption=caption, legend=legend, charts=tuple(charts)))
    return plots


def view_plots(records: Sequence[Record], *, chance: float) -> list[Plot]:
    """Draw rank-1 against the camera's view: unaltered by condition, then attacked beside its control.

    Args:
        records: the records of one network on one data set.
        chance: rank-1 of guessing, percent.
    """
    views = [r for r in records if r["view"] != "all" and r["metric"] == "rank1"]
    natural = [r for r in select(views, attack="none") if r["stored"] == _first_storage(views)]
    conditions = sorted({r["condition"] for r in natural}, key=condition_rank)
    plots = []
    if len({r["view"] for r in natural}) > 1:
        lines = []
        for number, condition in enumerate(c for c in conditions if c != "all" or len(conditions) == 1):
            key = Key(label=condition, color=PALETTE[(number + 1) % 6], marker=MARKERS[number % 6])
            lines.append((key, [r for r in natural if r["condition"] == condition]))
        caption = "Bands are 95 % intervals. 0° is seen from the front, 90° from the side."
        plots.append(view_plot("Rank-1 of unaltered sequences by view", caption, lines, chance=chance))
    return plots + _attacked_views(records, views, chance)


def view_plot(
    title: str, caption: str, lines: Sequence[tuple[Key, Sequence[Record]]], *, chance: float, up: str = "rank-1, %"
) -> Plot:
    """Draw figures against the camera's view.

    Args:
        title: of the plot; no other of a report has it for the same network and data.
        caption: how to read it.
        lines: how each is drawn, and its records, one a view.
        chance: rank-1 of guessing, percent.
        up: what the records' values are.
    """
    legend = (*(key for key, _ in lines), GUESSING)
    return Plot(title=title, caption=caption, legend=legend, charts=(_view_chart(lines, title, chance, up),))


NATURAL = Key(label="unaltered", color=INK, dash="5 3")
"""How unaltered sequences are drawn."""

GUESSING = Key(label="guessing", color=CONTROL, dash="1 2.5")
"""How the rank-1 of guessing is drawn."""


def _attacked_views(records: Sequence[Record], views: Sequence[Record], chance: float) -> list[Plot]:
    scope = scope_of(records)
    keys = attack_keys(records)
    axes = ("attack", "norm", "budget", "stored", "goal")
    attacked = [r for r in select(views, goal="nontargeted") if is_attack(r) and r["condition"] == scope["condition"]]
    settings = {tuple(r[key] for key in axes) for r in attacked}
    drawn = [r for r in select(records, **scope) if tuple(r[key] for key in axes) in settings]
    chosen = [
        (
            f"Rank-1 by view under the strongest attack, {stored_text(stored)}",
            strongest(drawn, scope, "nontargeted", stored),
        )
        for stored in storage_formats(attacked)
    ]
    sparse = smallest_sparse(drawn, scope)
    if all(record is not sparse for _, record in chosen):
        chosen.append(("Rank-1 by view under the temporal sparse attack at its smallest share", sparse))
    plots = []
    for title, worst in chosen:
        if worst is None:
            continue
        same = {key: worst[key] for key in ("norm", "budget", "stored", "goal", "condition")}
        natural = select(views, attack="none", condition=worst["condition"])
        control = control_of(records, worst)
        controls = [control["attack"]] if control else []
        if worst["attack"].startswith("temporal-sparse"):
            controls = list(dict.fromkeys((*controls, PUBLISHED_CONTROL)))
        lines = [
            (NATURAL, [r for r in natural if r["stored"] == worst["stored"]] or natural),
            *((keys[name], select(views, attack=name, **same)) for name in (worst["attack"], *controls)),
        ]
        lines = [(key, points) for key, points in lines if points]
        if max(len(points) for _, points in lines) < 2:
            continue
        setting = budget_text(worst["norm"], worst["budget"])
        caption = f"{attack_text(worst['attack'])} at {setting}; {worst['condition']}. Bands are 95 % intervals."
        plots.append(view_plot(title, f"{caption[0].upper()}{caption[1:]}", lines, chance=chance))
    return plots


def attack_keys(records: Iterable[Record]) -> dict[str, Key]:
    """Return how each attack and control is drawn, the same in every chart of a report.

    Variants of an attack share its color and differ in dashes and markers; controls are grey.
    """
    names = sorted({r["attack"] for r in records if is_attack(r)})
    families = list(dict.fromkeys(family(name)[0] for name in names))
    keys = {}
    for i, name in enumerate(names):
        variants = [other for other in names if family(other)[0] == family(name)[0]]
        keys[name] = Key(
            label=attack_text(name),
            color=PALETTE[families.index(family(name)[0]) % 6],
            dash=DASHES[variants.index(name) % len(DASHES)],
            marker=MARKERS[(i + i // 6) % 6],
        )
    known = [name for name in ATTACKS if is_control(name)]
    controls = {r["attack"] for r in records if is_control(r["attack"])}
    for i, name in enumerate(sorted(controls | {"random"}, key=lambda name: (name not in known, name))):
        color, dash, marker = CONTROLS[i % len(CONTROLS)]
        keys[name] = Key(label=attack_text(name), color=color, dash=dash, marker=marker)
    return keys


def _budget_chart(
    records: Sequence[Record],
    norm: str,
    stored: str,
    natural: Record | None,
    keys: Mapping[str, Key],
    chance: float,
    metric: str,
) -> Chart:
    figure, axes = blank_axes()
    budgets = sorted({float(r["budget"]) for r in records})
    if budgets[0] > 0 and budgets[-1] / budgets[0] >= 8:
        axes.set_xscale("log", base=2)
    if natural is not None:
        axes.axhline(natural["value"], color=NATURAL.color, linewidth=1.2, dashes=dashes_of(NATURAL))
        if has_interval(natural):
            axes.axhspan(natural["low"], natural["high"], color=INK, alpha=0.08, linewidth=0)
    for name, key in keys.items():
        _draw(axes, key, [r for r in records if r["attack"] == name], "budget")
    shown = budgets[:: -(-len(budgets) // 7)]
    axes.set_xticks(shown, [amount_text(norm, b) for b in shown])
    axes.minorticks_off()
    if len(budgets) == 1:
        whole = norm not in ("linf", *SHARES)
        axes.set_xlim(budgets[0] - 1 if whole else 0, budgets[0] + 1 if whole else 2 * budgets[0])
    label = NORMS[norm] if norm in SHARES else "budget, " + NORMS.get(norm, norm)
    of = (records[0]["model"], records[0]["data"], records[0]["goal"], stored, norm)
    return Chart(
        title=heading(norm, stored),
        svg=_svg(figure, axes, label, "rank-1, %" if metric == "rank1" else "success, %", chance, of),
    )


def _view_chart(lines: Sequence[tuple[Key, Sequence[Record]]], title: str, chance: float, up: str) -> Chart:
    figure, axes = blank_axes(width=9.2, height=3.0)
    for key, records in lines:
        _draw(axes, key, records, "view")
    views = sorted({r["view"] for _, records in lines for r in records})
    shown = views[:: -(-len(views) // 12)]
    axes.set_xticks(shown, [f"{view:g}°" for view in shown])
    first = lines[0][1][0]
    of = (first["model"], first["data"], title)
    return Chart(title="", svg=_svg(figure, axes, "view", up, chance, of))


def blank_axes(width: float = 3.7, height: float = 2.5) -> tuple[Figure, Axes]:
    """Return a figure of a size in inches and its axes, in the report's style."""
    # The style is set before anything is drawn, since artists read it when they are made.
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height))
        axes = figure.add_axes((0.6 / width, 0.52 / height, 1 - 0.72 / width, 1 - 0.62 / height))
    return figure, axes


def _draw(axes: Axes, key: Key, records: Sequence[Record], across: str) -> None:
    points = sorted(records, key=lambda r: r[across])
    x = [r[across] for r in points]
    style: dict[str, Any] = {"dashes": dashes_of(key)} if key.dash else {}
    axes.plot(
        x,
        [r["value"] for r in points],
        color=key.color,
        marker=key.marker or None,
        markersize=4.5,
        linewidth=1.6,
        clip_on=False,
        zorder=3,
        **style,
    )
    bounded = [r for r in points if has_interval(r)]
    if len(bounded) == 1:
        only = bounded[0]
        axes.vlines(only[across], only["low"], only["high"], color=key.color, alpha=0.5, linewidth=3)
        return
    axes.fill_between(
        [r[across] for r in bounded],
        [r["low"] for r in bounded],
        [r["high"] for r in bounded],
        color=key.color,
        alpha=0.18,
        linewidth=0,
    )


def dashes_of(key: Key) -> tuple[float, ...]:
    """Return the lengths of a key's dashes and of the gaps between them."""
    return tuple(float(length) for length in key.dash.split())


def _svg(figure: Figure, axes: Axes, across: str, up: str, chance: float, of: tuple[str, ...]) -> str:
    axes.axhline(chance, color=GUESSING.color, linewidth=1.1, dashes=dashes_of(GUESSING), zorder=1)
    axes.set_ylim(-1, 101)
    target = io.StringIO()
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        # Labels are drawn by the browser, so it is no matter that the font for measuring lacks a sign.
        warnings.filterwarnings("ignore", message="Glyph")
        axes.set_yticks(range(0, 101, 25))
        axes.yaxis.grid(True, color=INK, alpha=0.12, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(length=3, width=0.8, labelsize=9)
        axes.set_xlabel(across)
        axes.set_ylabel(up)
        figure.patch.set_visible(False)
        axes.patch.set_visible(False)
        FigureCanvasSVG(figure).print_svg(target, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return inline_svg(target.getvalue(), f"{up} against {across}", of)


def inline_svg(document: str, name: str, of: tuple[str, ...]) -> str:
    """Make matplotlib's SVG document an element of a page: in its colors, no namespaces, ids of its own."""
    svg = document[document.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg).replace("xlink:href", "href")
    view = re.search(r'viewBox="[\d. ]*"', svg)
    start = f'<svg role="img" aria-label="{escape(name)}" {view[0] if view else ""}>'
    svg = start + svg[svg.index(">") + 1 :]
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r"font-family: [^;\"]*; ", "", svg)
    svg = re.sub(r"\s+", " ", svg).replace("> <", "><").replace(INK, "currentColor")
    # A reference must not reach into another chart: one in a closed section would not be drawn.
    prefix = hashlib.blake2b(repr((of, name)).encode(), digest_size=6).hexdigest()
    return re.sub(r'(id="|href="#|url\(#)', rf"\1c{prefix}-", svg).strip()


def _first_storage(records: Sequence[Record]) -> str | None:
    formats = storage_formats([r for r in records if r["attack"] == "none"])
    return formats[0] if formats else None
