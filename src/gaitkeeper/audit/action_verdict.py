"""The verdict on action recognizers in plain words: sentences made from the records alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gaitkeeper.audit.action_grid import DISPLACEMENTS
from gaitkeeper.audit.action_summary import LARGEST_BONE, MILLIMETRES, RATIO, within
from gaitkeeper.audit.verdict import Bar, Record, clearly_below, has_interval, interval_text, measured, select

ATTACKS = {
    "none": "unattacked",
    "smart": "SMART",
    "smart-random": "random control of SMART",
    "smart-published-1": "SMART as released (version 1)",
    "smart-published-2": "SMART as released (version 2)",
    "smart-published-3": "SMART as released (version 3)",
    "ciasa": "CIASA",
    "admm": "ADMM attack",
    "fgsm": "FGSM",
    "pgd": "PGD",
    "mi-fgsm": "MI-FGSM",
    "random": "random control",
}
"""Attacks and controls as people write them, in the order of tables."""

CONTROLS = {"smart": "smart-random", **dict.fromkeys(("fgsm", "pgd", "mi-fgsm"), "random")}
"""The matched control of an attack: same start, bounds and number of steps, random directions."""

BONES = {"exact": "bones kept exactly", "loss": "bones kept by a loss", "free": "bones free"}
SHORT_BONES = {"exact": "exact bones", "loss": "bones in the loss", "free": "free bones"}
GOALS = ("anything-but", "anything-but-n", "specified")
"""Kinds of goals, in the order of tables."""

_SETTING = ("attack", "goal", "bones", "budget", "condition")
_WIDEST = 0.010
"""Mean displacement, metres, up to which successes are told."""


def attack_text(name: str) -> str:
    """Return an attack's name as people write it."""
    return ATTACKS.get(name, name)


def goal_kind(goal: str) -> str:
    """Return what a goal is without its number: ``anything-but-3`` is ``anything-but-n``."""
    return "anything-but-n" if goal.startswith("anything-but-") else goal


def goal_text(goal: str) -> str:
    """Return a goal in words."""
    if goal_kind(goal) == "anything-but-n":
        return f"the true class not among the first {goal.rsplit('-', 1)[1]}"
    return {"anything-but": "anything but the true class", "specified": "another class that is asked for"}.get(
        goal, goal
    )


def goal_short(goal: str) -> str:
    """Return a goal in few words."""
    if goal_kind(goal) == "anything-but-n":
        return f"not among the first {goal.rsplit('-', 1)[1]}"
    return {"anything-but": "anything but", "specified": "specified"}.get(goal, goal)


def goal_rank(goal: str) -> tuple[int, str]:
    """Sort key: anything but the true class first, a specified class last."""
    kind = goal_kind(goal)
    return (GOALS.index(kind) if kind in GOALS else len(GOALS), goal)


def setting_text(record: Record, *, goal: bool = False, short: bool = False) -> str:
    """Return what was done: "SMART, bones kept exactly", "PGD, bones kept exactly, joints within 10 mm".

    Args:
        record: of the setting.
        goal: name the goal too.
        short: as a table has it: "PGD, exact bones, ≤ 10 mm".
    """
    parts = [attack_text(record["attack"])]
    if goal:
        parts.append(goal_text(record["goal"]))
    bones = record["bones"]
    if bones is not None:
        parts.append((SHORT_BONES if short else BONES).get(bones) or f"bones {bones}")
    if record["budget"] is not None:
        parts.append(f"{'≤' if short else 'joints within'} {MILLIMETRES * record['budget']:g} mm")
    return ", ".join(parts)


def is_control(name: str) -> bool:
    """Whether an attack's name is that of a control, which follows no gradient."""
    return name in CONTROLS.values()


def setting_rank(record: Record) -> tuple[Any, ...]:
    """Sort key of settings at one goal: attacks before controls, exact bones before others, small budgets first."""
    known = list(ATTACKS)
    name = record["attack"]
    order = known.index(name) if name in known else len(known)
    bones = list(BONES).index(record["bones"]) if record["bones"] in BONES else len(BONES)
    return (is_control(name), order, name, bones, record["budget"] or 0.0)


def settings_of(records: Sequence[Record], goal: str) -> list[Record]:
    """Return the success records at one goal, in the order of tables."""
    return sorted(select(records, metric="success", goal=goal), key=setting_rank)


def beside(records: Sequence[Record], record: Record, metric: str) -> Record | None:
    """Return another metric of the same network, data and setting."""
    keys = ("model", "data", *_SETTING)
    return next(iter(select(records, metric=metric, **{key: record[key] for key in keys})), None)


def control_of(records: Sequence[Record], attacked: Record) -> Record | None:
    """Return the matched control of an attack's record, in the same metric.

    A control that was measured at anything but the true class stands for stricter goals too: what does not lose the
    true class reaches none of them.
    """
    name = CONTROLS.get(attacked["attack"])
    same = {key: attacked[key] for key in ("model", "data", "metric", "condition", "bones", "budget")}
    for goal in (attacked["goal"], "anything-but"):
        found = select(records, attack=name, goal=goal, **same)
        if found:
            return found[0]
    return None


def told(records: Sequence[Record], goal: str) -> Record | None:
    """Return the success record that stands for a goal: SMART with exact bones, else the most successful attack."""
    found = [r for r in settings_of(records, goal) if not is_control(r["attack"])]
    smart = [r for r in found if (r["attack"], r["bones"]) == ("smart", "exact")]
    return smart[0] if smart else _strongest(records, found)


def goals_of(records: Sequence[Record]) -> list[str]:
    """Return the goals of the attacks that were measured."""
    return sorted({r["goal"] for r in records if r["attack"] != "none" and measured(r)}, key=goal_rank)


def action_verdict(records: Sequence[Record], *, chance: float | None = None) -> list[str]:
    """Put the records of one action recognizer on one data set into plain words.

    Args:
        records: of :func:`gaitkeeper.audit.action_summary.summarize_actions`.
        chance: accuracy of guessing, percent, if known.

    Returns:
        Paragraphs, one a goal; never an empty list.
    """
    natural = next(iter(select(records, attack="none", metric="accuracy")), None)
    sentences = ["Unattacked clips were not measured here."]
    if natural is not None:
        guessing = f"; guessing gives {chance:.3g} %" if chance else ""
        sentences = [
            f"{natural['model']} recognizes {_share(natural)} of the clips unattacked (n = {natural['n']}{guessing}). "
            "Success is counted on the clips that it recognizes."
        ]
    goals = [goal for goal in goals_of(records) if told(records, goal)]
    if not goals:
        return [*sentences, "No attack was measured: these figures say nothing about robustness."]
    for goal in goals:
        sentences.append(" ".join(_goal_sentences(records, goal)))
    return sentences + _transfer_sentences(records)


def action_bars(records: Sequence[Record]) -> list[Bar]:
    """Return the figures that carry the verdict: accuracy, and each goal's success, also at the widest limit."""
    bars = [
        Bar(label="Recognized unattacked", record=r, kind="natural")
        for r in select(records, attack="none", metric="accuracy")[:1]
    ]
    for goal in goals_of(records):
        found = told(records, goal)
        if found is None:
            continue
        limited = beside(records, found, within(_WIDEST))
        control = control_of(records, found if found["budget"] is not None or limited is None else limited)
        if control is not None and control["goal"] == goal:
            up_to = f", ≤ {MILLIMETRES * _WIDEST:g} mm" if control["metric"] == within(_WIDEST) else ""
            bars.append(Bar(label=f"{_capital(attack_text(control['attack']))}{up_to}", record=control, kind="control"))
        name = f"{attack_text(found['attack'])}, {goal_short(goal)}"
        if limited is not None:
            label = f"{name}, ≤ {MILLIMETRES * _WIDEST:g} mm"
            bars.append(Bar(label=label, record=limited, kind="attack"))
        bars.append(Bar(label=f"{name}, any size", record=found, kind="attack"))
    return bars


def _goal_sentences(records: Sequence[Record], goal: str) -> list[str]:
    found = told(records, goal)
    if found is None:
        return []
    done = {"anything-but": "of these clips are lost", "specified": "of these clips are taken for that class"}
    reached = done.get(goal, "of these clips reach this goal")
    sentence = f"{setting_text(found, goal=True)}: {_share(found)} {reached} (n = {found['n']})"
    limited = beside(records, found, within(_WIDEST))
    if limited is not None:
        sentence += f", {_share(limited)} at a mean displacement of at most {MILLIMETRES * _WIDEST:g} mm"
    sentences = [f"{sentence}."]
    if found["value"] > 0:
        sentences += _physical_sentences(records, found)
    # An attack without a bound, and its control, are compared where the attack wins more often than not.
    compared, where = found, ""
    for limit in DISPLACEMENTS if found["budget"] is None else ():
        small = beside(records, found, within(limit))
        if small is not None and small["value"] >= 50:
            compared, where = small, f", at a mean displacement of at most {MILLIMETRES * limit:g} mm"
            break
    control = control_of(records, compared)
    if control is None:
        sentences.append("No matched random control was measured, so part of this may be the effect of noise alone.")
    elif control["goal"] != goal:
        text = f"The matched random control loses the true class of {_share(control)} (n = {control['n']}){where}"
        sentences.append(f"{text}, and can reach this goal on no more.")
    else:
        text = f"The matched random control does so on {_share(control)} (n = {control['n']}){where}"
        sentences.append(f"{text}; the attack on {_share(compared)}." if where else f"{text}.")
    if control is not None and not clearly_below(control, compared):
        why = "the intervals overlap" if has_interval(control) and has_interval(compared) else "an interval is missing"
        sentences.append(
            f"The control is not clearly weaker than the attack ({why}), and the effect cannot be put down to it."
        )
    others = [r for r in settings_of(records, goal) if not is_control(r["attack"]) and r is not found]
    best = _strongest(records, others)
    if best is not None:
        limited = beside(records, best, within(_WIDEST)) or best
        if _limited(records, best) > _limited(records, found):
            sentences.append(
                f"Of the {len(others) + 1} attack settings tried at this goal, {setting_text(best)}, reaches it on "
                f"most clips at up to {MILLIMETRES * _WIDEST:g} mm: {_share(limited)} (n = {limited['n']})."
            )
    return sentences


def _physical_sentences(records: Sequence[Record], found: Record) -> list[str]:
    moved, bone, ratio, largest = (
        beside(records, found, metric) for metric in ("displacement", "bone", RATIO, LARGEST_BONE)
    )
    if moved is None:
        return []
    parts = [f"a joint is {_mean(moved, 'mm')} from its place"]
    if bone is not None:
        text = f"bones change by {bone['value']:.2g} %" if bone["value"] >= 0.005 else "bones keep their lengths"
        # Where no bone changes, the largest change says nothing more.
        if largest is not None and bone["value"] >= 0.005:
            text += f" (one bone in one frame by up to {largest['value']:.2g} %)"
        parts.append(text)
    if ratio is not None:
        parts.append(f"accelerations are {_ratio(ratio)} times those before")
    listed = " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))
    sentences = [f"On average over the successful clips (n = {moved['n']}), {listed}."]
    if ratio is not None and has_interval(ratio) and ratio["low"] > 1:
        sentences.append("These motions are clearly rougher than the recorded ones.")
    return sentences


def _transfer_sentences(records: Sequence[Record]) -> list[str]:
    first = next((r for goal in goals_of(records) if (r := told(records, goal))), None)
    if first is None:
        return []
    same = {key: first[key] for key in _SETTING}
    judged = select(records, metric="transfer-success", **same)
    if not judged:
        return []
    listed = ", ".join(f"{_share(r)} on {r['judge']} (n = {r['n']})" for r in judged)
    return [f"Judged by networks that took no part, motions of {setting_text(first)}, succeed on {listed}."]


def _strongest(records: Sequence[Record], found: Sequence[Record]) -> Record | None:
    """Return the setting that reaches its goal on most clips at the widest limit, of equals at any displacement."""
    return max(found, key=lambda r: (_limited(records, r), r["value"]), default=None)


def _limited(records: Sequence[Record], record: Record) -> float:
    found = beside(records, record, within(_WIDEST))
    return found["value"] if found is not None else record["value"]


def _share(record: Record) -> str:
    return f"{record['value']:.1f} % {interval_text(record) or '(no interval)'}"


def _mean(record: Record, unit: str = "") -> str:
    text = f"{record['value']:.3g}" + (f" {unit}" if unit else "")
    return text + (f" [{record['low']:.3g}, {record['high']:.3g}]" if has_interval(record) else "")


def _ratio(record: Record) -> str:
    text = f"{record['value']:.2f}"
    return text + (f" [{record['low']:.2f}, {record['high']:.2f}]" if has_interval(record) else "")


def _capital(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}"


def groups_of(records: Sequence[Record]) -> Mapping[tuple[str, str], list[Record]]:
    """Return records by network and data set."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        groups.setdefault((record["model"], record["data"]), []).append(record)
    return groups
