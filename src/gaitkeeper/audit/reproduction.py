"""What a reproduction gave: printed figures beside measured ones, as tables, plots, a JSON file and a report."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from gaitkeeper import __version__
from gaitkeeper.audit.figures import NATURAL, Plot, attack_keys, view_plot
from gaitkeeper.audit.grid import Norm
from gaitkeeper.audit.present import LIMITS, examples
from gaitkeeper.audit.published import CONDITIONS, FIGURE_ONLY, TABLE_2, TABLE_3, TABLE_4, TABLE_5, TABLE_6, TARGETED
from gaitkeeper.audit.report import Report, Table, write_report
from gaitkeeper.audit.reproduce import Part, ReproduceSettings
from gaitkeeper.audit.run import Outcome
from gaitkeeper.audit.verdict import Record, amount_text, attack_text, interval_text, select
from gaitkeeper.datasets.protocols import TRAIN_SUBJECTS
from gaitkeeper.files import write_text
from gaitkeeper.models.generators.gan import SHIPPED_GENERATORS
from gaitkeeper.models.weights import SHIPPED, card

MISSING = "–"
"""Stands in place of what was not measured."""

CONTROLS = ("random-latents", "random-directions", "random-search")
"""The paper's control, the one that takes as many steps as the attack, and the best of these steps."""


def figure_text(record: Record | None, *, count: bool = False) -> str:
    """Return a figure with its interval, and with its number of samples if asked for: "15.3 [9.9, 22.8] n = 100"."""
    if record is None:
        return MISSING
    interval = interval_text(record)
    text = f"{record['value']:.1f}" + (f" {interval}" if interval else "")
    return f"{text} n = {record['n']}" if count else text


def printed_text(value: float | None) -> str:
    """Return a printed figure as it was printed, without trailing zeros."""
    return MISSING if value is None else f"{value:g}"


def counts_text(*records: Record | None) -> str:
    """Return the number of samples of the records that were measured."""
    counts = sorted({record["n"] for record in records if record is not None})
    return MISSING if not counts else str(counts[0]) if len(counts) == 1 else f"{counts[0]}–{counts[-1]}"


@dataclass(frozen=True)
class Reproduction:
    """A reproduction, or as much of it as has run.

    Args:
        settings: of the reproduction.
        parts: its audits.
        outcomes: of the parts that have run, by name.
    """

    settings: ReproduceSettings
    parts: Sequence[Part]
    outcomes: Mapping[str, Outcome]

    def records(self, part: str) -> list[Record]:
        """Return the records of a part, none if it has not run."""
        return list(self.outcomes[part].records) if part in self.outcomes else []

    def find(self, part: str, *, metric: str, condition: str, view: int | str, **wanted: Any) -> list[Record]:
        """Return a part's measured records of a metric, condition and view, and with further wanted values."""
        return select(self._grouped.get((part, metric, condition, view), ()), **wanted)

    def first(self, part: str, **wanted: Any) -> Record | None:
        """Return the first record that :meth:`find` finds."""
        return next(iter(self.find(part, **wanted)), None)

    @cached_property
    def _grouped(self) -> dict[tuple[Any, ...], list[Record]]:
        """Records by part, metric, condition and view: there are thousands, and hundreds are looked for."""
        groups: dict[tuple[Any, ...], list[Record]] = {}
        for part in self.outcomes:
            for record in self.records(part):
                key = (part, record["metric"], record["condition"], record["view"])
                groups.setdefault(key, []).append(record)
        return groups

    def shares(self, part: str) -> list[float]:
        """Return the shares of frames that a part was measured at, ascending."""
        return sorted({r["budget"] for r in self.records(part) if r["budget"] is not None})

    @cached_property
    def tables(self) -> list[Table]:
        """Printed figures beside measured ones, the paper's order in mind; tables by view are folded."""
        made = []
        if "alteration" in self.outcomes:
            made += [self._nontargeted("alteration", "altered", "Figure 5"), self._targeted("alteration", "altered")]
        if "cross-database" in self.outcomes:
            made.append(self._crossed())
        if "alteration" in self.outcomes:
            made += [self._baselines(), self._coherence()]
        if "published" in self.outcomes:
            made.append(self._as_published())
        if "transfer" in self.outcomes:
            made += [self._transfer("NM", folded=False), self._transfer("all", folded=True)]
        made.append(self._printed_transfer())
        if "insertion" in self.outcomes:
            made += [self._nontargeted("insertion", "inserted", "Figure 10"), self._targeted("insertion", "inserted")]
        return made + self._by_view("alteration", "altered") + self._by_view("insertion", "inserted")

    @cached_property
    def plots(self) -> list[Plot]:
        """Rank-1 by view, all conditions together; one plot a share of altered or of inserted frames."""
        return [*self._view_plots("alteration", "altered"), *self._view_plots("insertion", "inserted")]

    @property
    def remarks(self) -> list[str]:
        """Why figures differ from the printed ones: first the data and networks, then the attack."""
        settings = self.settings
        made = []
        if settings.data is None:
            least = max(1, round(settings.frames / 40))
            made.append(
                f"The people are synthetic walkers under CASIA-B's protocol, {settings.frames} frames a sequence, so "
                f"that 1/40 is {least} frame{'s' if least > 1 else ''}; CASIA-B's sequences are of different lengths "
                "and of recorded people. Figures can be compared in their order and trend, not in their size."
            )
        if settings.data_a is None and settings.data is None:
            made.append(
                "The walkers in CASIA-A's place are other people than those trained on, under another camera and with "
                "more segmentation noise, but they come from the same renderer."
            )
        if settings.models[0] in SHIPPED:
            made.append(
                "The shipped recognizer is narrower than the published GaitSet and has batch normalization; it was "
                "trained in minutes on walkers 001 to 074."
            )
        if settings.generator in SHIPPED_GENERATORS:
            made.append(
                "The shipped generator is a quarter of the published one's width and was trained in minutes on the "
                "same walkers, not for 16,000 iterations on CASIA-B."
            )
        return [
            *made,
            f"Probes are drawn, {settings.probes} a condition and half as many for insertion; the paper looks for all. "
            "By view few are left, as n says. Measured averages are over probes, printed ones over views.",
            "Sequences are stored as binary masks, before and after the attack, and success is decided on what is "
            "stored; the paper does not say whether generated gray values were kept.",
            "K = max(1, round(S N)) frames of N are set, the first ones; the paper does not say how it rounds. "
            "Inserted frames stand before the others.",
            "The attack is the corrected one: the mask selects the frames that are set and the critic pulls toward "
            "recorded silhouettes (both printed the other way round); it descends on margins between identities in "
            "place of the cosine, through the binarization; the critic asks for no more than typical silhouettes, in "
            "place of a weight of 1000; latents return to the sphere; the best step is kept, and a sample stops when "
            f"it has won; {settings.steps} steps in place of 100. What these corrections do together stands in the "
            "table of the attack as published.",
            "The last average of Table 4 is printed as 5.11; the mean of its three views is 6.11.",
        ]

    @property
    def skipped(self) -> list[tuple[str, str]]:
        """The samples that were skipped, with the reasons."""
        return list(dict.fromkeys(row for outcome in self.outcomes.values() for row in outcome.skipped))

    @property
    def unseen(self) -> bool:
        """Whether the first recognizer was trained on none of the people; only of walkers this is known."""
        subjects = self.outcomes["alteration"].subjects
        ours = self.settings.data is None and self.settings.models[0] in SHIPPED
        return ours and min(int(name) for name in subjects) > TRAIN_SUBJECTS[-1]

    def _nontargeted(self, part: str, norm: Norm, where: str) -> Table:
        rows = []
        for share in self.shares(part):
            for condition in (*CONDITIONS, "all"):
                scope = {"metric": "rank1", "stored": "binary", "condition": condition, "view": "all"}
                natural = self.first(part, attack="none", **scope)
                made = [
                    self.first(part, attack=name, goal="nontargeted", norm=norm, budget=share, **scope)
                    for name in (*CONTROLS, "temporal-sparse")
                ]
                if natural is not None:
                    cells = (FIGURE_ONLY, *map(figure_text, (natural, *made)), counts_text(natural, *made))
                    rows.append((f"{amount_text(norm, share)}, {condition}", *cells))
        return Table(
            title=f"{where}: nontargeted, frames {norm}, rank-1 in %",
            caption="Random latents are the paper's control; random directions take the attack's start and number of "
            "steps and ask the recognizer nothing; random search keeps the best of these steps. The paper draws curves "
            "by view and prints no number.",
            columns=(
                f"share {norm}", "published", "unaltered", *map(attack_text, CONTROLS), attack_text("temporal-sparse"),
                "n",
            ),
            rows=rows,
        )  # fmt: skip

    def _targeted(self, part: str, norm: Norm) -> Table:
        printed = TARGETED[norm]
        rows = []
        for share in self.shares(part):
            for condition in CONDITIONS:
                found, control = (
                    self.first(
                        part, attack=name, goal="targeted", norm=norm, budget=share, metric="success",
                        condition=condition, view="all",
                    )
                    for name in ("temporal-sparse", "random-directions")
                )  # fmt: skip
                if found is not None:
                    published = printed_text(printed.value((share, condition), "average"))
                    cells = (published, figure_text(found), figure_text(control), counts_text(found, control))
                    rows.append((f"{amount_text(norm, share)}, {condition}", *cells))
        where = f"{TABLE_2.where} and averages of {TABLE_6.where}" if norm == "altered" else TABLE_5.where
        return Table(
            title=f"{where}: targeted, frames {norm}, success in %",
            caption="Taken for one other person, drawn at random, over the galleries of other views. Published "
            "figures are averages over views.",
            columns=(f"share {norm}", "published", "measured", attack_text("random-directions"), "n"),
            rows=rows,
        )

    def _by_view(self, part: str, norm: Norm) -> list[Table]:
        """Return a table a condition: targeted success by view, and rank-1 of the nontargeted attack beside it."""
        records, printed, shares = self.records(part), TARGETED[norm], self.shares(part)
        tables = []
        for condition in CONDITIONS:
            views = sorted({r["view"] for r in records if r["condition"] == condition} - {"all"})
            rows = []
            for view in (*views, "all"):
                scope = {"condition": condition, "view": view}
                natural = self.first(part, attack="none", stored="binary", metric="rank1", **scope)
                cells = [figure_text(natural, count=True)]
                for share in shares:
                    own = {**scope, "norm": norm, "budget": share, "stored": "binary", "attack": "temporal-sparse"}
                    cells += [
                        figure_text(self.first(part, goal="nontargeted", metric="rank1", **own)),
                        printed_text(printed.value((share, condition), "average" if view == "all" else view)),
                        figure_text(self.first(part, goal="targeted", metric="success", **own), count=True),
                    ]
                rows.append((str(view) if view == "all" else f"{view}°", *cells))
            headings = [
                f"{amount_text(norm, share)}: {what}"
                for share in shares
                for what in ("rank-1", "targeted, published", "targeted, measured")
            ]
            if views:
                tables.append(
                    Table(
                        title=f"{printed.where} in full: frames {norm}, {condition}, by view",
                        caption="Rank-1 under the nontargeted attack and success of the targeted one, in %.",
                        columns=("view", "unaltered rank-1", *headings),
                        rows=rows,
                        folded=True,
                    )
                )
        return tables

    def _crossed(self) -> Table:
        rows = []
        for share in (None, *self.shares("cross-database")):
            for column in TABLE_4.columns:
                scope = {
                    "condition": "all" if column == "average" else f"{column}°",
                    "view": "all",
                    "metric": "rank1",
                }
                names = ("none",) * (1 + len(CONTROLS)) if share is None else ("temporal-sparse", *CONTROLS)
                found, *controls = (self.first("cross-database", attack=name, budget=share, **scope) for name in names)
                cells = (
                    printed_text(TABLE_4.value(share or 0.0, column)),
                    figure_text(found),
                    *(MISSING if share is None else figure_text(control) for control in controls),
                    counts_text(found),
                )
                amount = "0" if share is None else amount_text("altered", share)
                rows.append((f"{amount}, {column if column == 'average' else f'{column}°'}", *cells))
        people = len(self.outcomes["cross-database"].subjects)
        return Table(
            title=f"{TABLE_4.where}: other people under another camera, rank-1 in %",
            caption=f"{people} people, so that guessing gives {100 / people:.3g} %; the fourth walk of each view is "
            "enrolled, and the gallery of the own view counts. 0° is seen from the side.",
            columns=("share altered, view", "published", "measured", *map(attack_text, CONTROLS), "n"),
            rows=rows,
        )

    def _baselines(self) -> Table:
        share = self.shares("alteration")[0]
        scope = {"condition": "all", "view": "all"}
        judge = f"{self.settings.models[0]}, binarized"
        rows = []
        for name in ("none", "random", "fgsm", "pgd", "mi-fgsm", "temporal-sparse"):
            budget = None if name == "none" else share
            goal = "natural" if name == "none" else "nontargeted"
            seen = f"{name}-straight-through" if name in {"fgsm", "pgd", "mi-fgsm"} else name
            gray = {**scope, "attack": name, "budget": budget, "goal": goal, "stored": "uint8"}
            binary = {**scope, "attack": seen, "budget": budget, "goal": goal, "stored": "binary"}
            after = self.first("alteration", metric="transfer", judge=judge, **gray)
            lead = [
                self.first("alteration", metric="rank1", **gray),
                after,
                self.first("alteration", metric="rank1", **binary),
            ]
            looks = [self.first("alteration", metric=m, **binary) for m in ("changed", "realism", "single")]
            published = FIGURE_ONLY if name not in {"none", "random"} else MISSING
            rows.append((attack_text(name), published, *map(figure_text, (*lead, *looks)), counts_text(*lead)))
        return Table(
            title=f"Figure 6: perturbations of the same frames, {amount_text('altered', share)} altered, rank-1 in %",
            caption="All conditions. Perturbations are free within [0, 1]. Stored in 8 bits; the same sequence made "
            "binary afterwards; stored as binary masks, with attacks that descend through the rounding. Looks are of "
            "the binary masks: the share of recorded silhouettes that a judge unknown to the attack scores lower, and "
            "of frames in one piece.",
            columns=(
                "attack", "published", "8-bit", "8-bit, then binary", "binary", "pixels changed, %", "realism, %",
                "one piece, %", "n",
            ),
            rows=rows,
        )  # fmt: skip

    def _coherence(self) -> Table:
        metrics = ("rank1", "success", "overlap", "overlap_before", "realism", "single")
        rows = []
        for share in self.shares("alteration"):
            for name in ("temporal-sparse", "random-directions"):
                for label in (name, f"{name}-coherent"):
                    own = {
                        "attack": label, "goal": "nontargeted", "budget": share, "stored": "binary",
                        "condition": "all", "view": "all",
                    }  # fmt: skip
                    found = [self.first("alteration", metric=metric, **own) for metric in metrics]
                    if any(found):
                        text = f"{amount_text('altered', share)}, {attack_text(label)}"
                        rows.append((text, *map(figure_text, found), counts_text(found[0])))
        return Table(
            title="Frames that stay near their neighbors, in %",
            caption="All conditions. The paper leaves this as future work. Overlap is the intersection over union of "
            "the set frames with their neighbors; overlap before is that of the frames that stood there.",
            columns=(
                "share altered", "rank-1", "success", "overlap", "overlap before", "realism", "one piece", "n",
            ),
            rows=rows,
        )  # fmt: skip

    def _as_published(self) -> Table:
        names = ("random-latents", "temporal-sparse-published", "temporal-sparse")
        scope = {"condition": "all", "view": "all", "stored": "binary"}
        natural = self.first("published", attack="none", metric="rank1", **scope)
        rows = []
        for share in self.shares("published"):
            own = {**scope, "budget": share}
            found = [self.first("published", attack=name, metric="rank1", **own) for name in names]
            looks = [self.first("published", attack=name, metric="realism", **own) for name in names[1:]]
            cells = map(figure_text, (natural, *found, *looks))
            rows.append((amount_text("altered", share), *cells, counts_text(natural, *found)))
        return Table(
            title="The attack as published and as corrected, nontargeted, rank-1 in %",
            caption="All conditions, the same probes. As published: the cosine, a critic's weight of 1000, 100 steps, "
            "no gradient through the binarization; with the signs that its text describes.",
            columns=(
                "share altered", "unaltered", attack_text("random-latents"), "as published", "corrected",
                "realism as published, %", "realism corrected, %", "n",
            ),
            rows=rows,
        )  # fmt: skip

    def _transfer(self, condition: str, *, folded: bool) -> Table:
        scope = {"condition": condition, "view": "all", "stored": "binary"}
        models = self.settings.models
        judges = list(dict.fromkeys((*models, *self.settings.transfer)))

        def cell(model: str, judge: str, attack: str) -> Record | None:
            own = {**scope, "model": model, "attack": attack}
            if judge == model:
                return self.first("transfer", metric="rank1", **own)
            return self.first("transfer", metric="transfer", judge=judge, **own)

        rows = []
        for model in models:
            for attack in ("none", "random-directions", "temporal-sparse"):
                found = [cell(model, judge, attack) for judge in judges]
                texts = [
                    figure_text(record) + (" (attacked)" if judge == model and attack != "none" else "")
                    for judge, record in zip(judges, found, strict=True)
                ]
                rows.append((f"{model}: {attack_text(attack)}", *texts, counts_text(*found)))
        share = amount_text("altered", self.shares("transfer")[0])
        return Table(
            title=f"In {TABLE_3.where}'s place: transfer at {share}, {condition}, rank-1 in %",
            caption="A row is the recognizer that the attacker knows and what was done to its sequences; a column is "
            "the recognizer that judges them.",
            columns=("attacked", *judges, "n"),
            rows=rows,
            folded=folded,
        )

    def _printed_transfer(self) -> Table:
        return Table(
            title=f"{TABLE_3.where} as published: {TABLE_3.what}, in %",
            caption="Quoted, not measured: recognizers of energy images are not there yet"
            + ("." if "transfer" in self.outcomes else ", and the transfer between others needs a second recognizer."),
            columns=("view", *(column if column == "average" else f"{column}°" for column in TABLE_3.columns)),
            rows=[(str(name), *map(printed_text, values)) for name, values in TABLE_3.rows.items()],
        )

    def _view_plots(self, part: str, norm: Norm) -> list[Plot]:
        records = select(self.records(part), stored="binary", metric="rank1", condition="all")
        views = [r for r in records if r["view"] != "all"]
        if len({r["view"] for r in views}) < 2:
            return []
        # Drawn as in the report's other charts, which are on the alteration.
        keys, natural = attack_keys(self.records("alteration")), select(views, attack="none")
        plots = []
        for share in self.shares(part):
            own = {"goal": "nontargeted", "norm": norm, "budget": share}
            lines = [(NATURAL, natural)]
            lines += [(keys[name], select(views, attack=name, **own)) for name in ("temporal-sparse", *CONTROLS)]
            where = "Figure 5" if norm == "altered" else "Figure 10"
            plots.append(
                view_plot(
                    f"{where}: rank-1 by view, {amount_text(norm, share)} of the frames {norm}",
                    "All conditions together. Bands are 95 % intervals. 0° is seen from the front, 90° from the side.",
                    lines,
                    chance=100 / len(self.outcomes[part].subjects),
                )
            )
        return plots


def write_reproduction(made: Reproduction, out: Path) -> None:
    """Write ``reproduction.json`` and ``report.html`` of what has run so far.

    The report's verdict and charts are on the alteration: other parts have other probes or people, and are given in
    tables of their own.
    """
    parts = {
        part.name: {
            "settings": part.settings,
            "cells": [cell.key for cell in part.cells],
            "subjects": made.outcomes[part.name].subjects,
            "skipped": made.outcomes[part.name].skipped,
            "records": made.outcomes[part.name].records,
        }
        for part in made.parts
        if part.name in made.outcomes
    }
    described = {"gaitkeeper": __version__, "settings": made.settings}
    content = {**described, "remarks": made.remarks, "tables": made.tables, "parts": parts}
    write_text(out / "reproduction.json", json.dumps(_plain(content), indent=1, allow_nan=False) + "\n")
    main = made.outcomes["alteration"]
    people = len(main.subjects)
    write_report(
        out / "report.html",
        Report(
            title="The temporal sparse attack, reproduced",
            records=main.records,
            settings={**described, "cards": {name: card(name) for name in made.settings.models if name in SHIPPED}},
            chance=100 / people,
            identities=people,
            tables=made.tables,
            plots=made.plots,
            examples=[
                example
                for part in made.parts
                if part.name in made.outcomes and part.settings.examples
                for example in examples(out / part.name, part.settings.model)
            ],
            skipped=made.skipped,
            biometric=any(outcome.biometric for outcome in made.outcomes.values()),
            limits=(*made.remarks, *LIMITS),
            unseen=made.unseen,
        ),
    )


def _plain(value: Any) -> Any:
    """Return what JSON can hold; figures that were not measured become null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain(dataclasses.asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
