"""The verdict of an audit in plain words: sentences made from its records alone, each with n and interval."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Record = Mapping[str, Any]

ATTACKS = {
    "none": "unaltered",
    "random": "random control",
    "fgsm": "FGSM",
    "pgd": "PGD",
    "mi-fgsm": "MI-FGSM",
}
NORMS = {"linf": "L∞", "l2": "L2", "frames": "altered frames", "joints": "altered joints"}
STORED = {"uint8": "8-bit frames", "binary": "binary masks"}
CLOSING = (
    "These figures hold for this network, this data and these attacks; "
    "a stronger attack may do more, and nothing here shows security."
)
_CONDITION_ORDER = ("NM", "all", "BG", "CL")
_STORED_ORDER = ("uint8", "binary")


def attack_text(name: str) -> str:
    """Return an attack's name as people write it: ``pgd-restarts`` becomes "PGD (restarts)"."""
    for key in sorted(ATTACKS, key=len, reverse=True):
        if name == key:
            return ATTACKS[key]
        if name.startswith(f"{key}-"):
            return f"{ATTACKS[key]} ({name[len(key) + 1 :]})"
    return name


def amount_text(norm: str | None, budget: float | None) -> str:
    """Return a budget without its norm; L∞ budgets that are whole or half 8-bit steps read as ``16/255``."""
    if budget is None:
        return "unbounded"
    steps = budget * 255
    if norm == "linf" and 0 < budget < 1 and abs(2 * steps - round(2 * steps)) < 1e-3:
        return f"{round(2 * steps) / 2:g}/255"
    return f"{budget:.4g}"


def budget_text(norm: str | None, budget: float | None) -> str:
    """Return a budget with its norm: "L∞ 16/255", "L2 4", "1 frame", "3 joints"."""
    amount = amount_text(norm, budget)
    if norm is None:
        return "no budget" if budget is None else amount
    if norm in ("frames", "joints"):
        return f"{amount} {norm[:-1] if budget == 1 else norm}"
    return f"{NORMS.get(norm, norm)} {amount}"


def stored_text(stored: str) -> str:
    """Return a storage format in words."""
    return STORED.get(stored, stored)


def interval_text(record: Record) -> str:
    """Return "[90.3, 93.6]", or an empty string where a record has no interval."""
    if not has_interval(record):
        return ""
    return f"[{record['low']:.1f}, {record['high']:.1f}]"


def has_interval(record: Record) -> bool:
    """Whether both ends of a record's interval were measured."""
    return all(record[end] is not None and math.isfinite(record[end]) for end in ("low", "high"))


def measured(record: Record) -> bool:
    """Whether a record has a value."""
    return record["value"] is not None and math.isfinite(record["value"])


def select(records: Sequence[Record], **wanted: Any) -> list[Record]:
    """Return the measured records whose keys have the wanted values."""
    return [r for r in records if measured(r) and all(r[key] == value for key, value in wanted.items())]


def is_attack(record: Record) -> bool:
    """Whether a record is of an attack, neither of unaltered sequences nor of the control."""
    return record["attack"] not in ("none", "random")


def condition_rank(condition: str) -> tuple[int, str]:
    """Sort key that puts normal walking first."""
    known = condition in _CONDITION_ORDER
    return (_CONDITION_ORDER.index(condition) if known else len(_CONDITION_ORDER), condition)


def norm_rank(norm: str) -> tuple[int, str]:
    """Sort key that puts L∞ first."""
    return (list(NORMS).index(norm) if norm in NORMS else len(NORMS), norm)


def storage_formats(records: Sequence[Record]) -> list[str]:
    """Return the storage formats that occur, 8-bit frames first."""
    found = {r["stored"] for r in records if r["stored"] is not None}
    return [s for s in _STORED_ORDER if s in found] + sorted(found - set(_STORED_ORDER))


def scope_of(records: Sequence[Record]) -> dict[str, Any]:
    """Return the condition and view that the verdict is about.

    Where both unaltered and attacked sequences were measured comes first, then all views together, then
    normal walking: figures are only ever compared within one scope.

    Returns:
        ``{"condition": ..., "view": ...}``, empty without records.
    """
    natural = {(r["condition"], r["view"]) for r in select(records, attack="none", metric="rank1")}
    attacked = {(r["condition"], r["view"]) for r in records if is_attack(r) and measured(r)}
    scopes = {(r["condition"], r["view"]) for r in records if measured(r)}

    def rank(scope: tuple[str, Any]) -> tuple[Any, ...]:
        condition, view = scope
        both = (scope in natural) + (scope in attacked)
        return (-both, scope not in attacked, view != "all", condition_rank(condition), str(view))

    if not scopes:
        return {}
    condition, view = min(scopes, key=rank)
    return {"condition": condition, "view": view}


def natural_of(records: Sequence[Record], scope: Mapping[str, Any], stored: str | None = None) -> Record | None:
    """Return rank-1 on unaltered sequences, if possible stored in the same format."""
    found = select(records, attack="none", metric="rank1", **scope)
    return next((r for r in found if r["stored"] == stored), found[0] if found else None)


def control_of(records: Sequence[Record], attacked: Record) -> Record | None:
    """Return the matched random control of an attack's record: same budget, storage, goal and probes."""
    keys = ("metric", "norm", "budget", "stored", "goal", "condition", "view")
    found = select(records, attack="random", **{key: attacked[key] for key in keys})
    return found[0] if found else None


def strongest(records: Sequence[Record], scope: Mapping[str, Any], goal: str, stored: str) -> Record | None:
    """Return the record of the attack that did most in one storage format.

    Nontargeted attacks are ranked by the rank-1 that is left (by success where that was not measured),
    targeted ones by success; of equals the smallest budget counts.
    """
    found = [r for r in select(records, goal=goal, stored=stored, **scope) if is_attack(r)]
    ranked = [r for r in found if r["metric"] == "rank1"] if goal != "targeted" else []
    if ranked:
        return min(ranked, key=lambda r: (r["value"], _size(r)))
    succeeded = [r for r in found if r["metric"] == "success"]
    return min(succeeded, key=lambda r: (-r["value"], _size(r)), default=None)


def clearly_below(lower: Record, upper: Record) -> bool:
    """Whether the interval of one record lies wholly below that of another."""
    return has_interval(lower) and has_interval(upper) and lower["high"] < upper["low"]


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One row of the verdict's overview: what it is, its record and how it is drawn."""

    label: str
    record: Record
    kind: str


def overview(records: Sequence[Record]) -> list[Bar]:
    """Return the handful of figures that carry the verdict, for one network on one data set."""
    scope = scope_of(records)
    natural = natural_of(records, scope)
    bars = [Bar(label="Unaltered", record=natural, kind="natural")] if natural else []
    first: Record | None = None
    for stored in storage_formats(records):
        worst = strongest(records, scope, "nontargeted", stored)
        if worst is None or worst["metric"] != "rank1":
            continue
        control = control_of(records, worst)
        if control:
            bars.append(Bar(label=f"Random control, {_setting(control)}", record=control, kind="control"))
        same = _same_setting(records, first, stored) if first else None
        # The first format's strongest attack is shown in the others too, beside what is strongest there.
        for record in (worst,) if same is None or same is worst else (same, worst):
            label = f"{attack_text(record['attack'])}, {_setting(record)}"
            bars.append(Bar(label=label, record=record, kind="attack"))
        first = first or worst
    return bars


def verdict(
    records: Sequence[Record], *, chance: float, identities: int | None = None, unseen: bool = False
) -> list[str]:
    """Put an audit's records into plain words.

    Figures are compared only between the same probes, and a difference is claimed only where the intervals do
    not overlap. A control that is not clearly weaker than its attack is named.

    Args:
        records: the audit's records in long form; percentages for ``rank1`` and ``success``.
        chance: rank-1 of guessing, percent.
        identities: people in the gallery, if known.
        unseen: whether the network was trained on none of them; only then the verdict says so.

    Returns:
        Sentences; never an empty list.
    """
    if not any(measured(r) and r["metric"] in ("rank1", "success") for r in records):
        return ["No identification rate was measured, so nothing can be said about one.", CLOSING]
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        groups.setdefault((record["model"], record["data"]), []).append(record)
    sentences = []
    for (model, data), group in groups.items():
        if len(groups) > 1:
            sentences.append(f"{model} on {data}:")
        sentences += group_verdict(group, chance=chance, identities=identities, unseen=unseen)
    return [*sentences, CLOSING]


def group_verdict(records: Sequence[Record], *, chance: float, identities: int | None, unseen: bool) -> list[str]:
    """Return the verdict on one network and one data set, without the closing sentence."""
    scope = scope_of(records)
    sentences = _natural_sentences(records, scope, chance, identities, unseen)
    if not any(is_attack(r) and measured(r) for r in records):
        return [*sentences, "No attack was measured: these figures say nothing about robustness."]
    first: Record | None = None
    for stored in storage_formats(records):
        worst = strongest(records, scope, "nontargeted", stored)
        if worst is None:
            continue
        same = _same_setting(records, first, stored) if first else None
        if same is not None:
            sentences.append(_repeated_sentence(records, scope, same))
        if same is not worst:
            sentences += _strongest_sentences(records, scope, worst)
        first = first or worst
    for stored in storage_formats(records):
        aimed = strongest(records, scope, "targeted", stored)
        if aimed is not None:
            sentences += _targeted_sentences(records, aimed, chance)
    return sentences


def _natural_sentences(
    records: Sequence[Record], scope: Mapping[str, Any], chance: float, identities: int | None, unseen: bool
) -> list[str]:
    natural = natural_of(records, scope)
    if natural is None:
        return ["Unaltered sequences were not measured here, so no change can be claimed."]
    people = f"{identities} people" if identities else "people"
    whom = f"of {people} the network never trained on" if unseen else f"among {people}"
    sentences = [
        f"Rank-1 identification {whom} is {_figure(natural)} on unaltered sequences "
        f"({_place(scope)}, n = {natural['n']}; guessing gives {chance:.3g} %)."
    ]
    others = [
        f"{_figure(r)} under {condition} (n = {r['n']})"
        for condition in sorted({r["condition"] for r in records} - {scope["condition"], "all"}, key=condition_rank)
        if (r := natural_of(records, {**scope, "condition": condition}, natural["stored"]))
    ]
    if others:
        sentences.append(f"It is {' and '.join(others)}.")
    if natural["value"] < chance + (100 - chance) / 2:
        sentences.append(
            "That is less than half way from guessing to perfect: too low to judge an attack by, "
            "since there is little left to lose."
        )
    return sentences


def _strongest_sentences(records: Sequence[Record], scope: Mapping[str, Any], worst: Record) -> list[str]:
    tried = {
        (r["attack"], r["norm"], r["budget"])
        for r in select(records, stored=worst["stored"], goal=worst["goal"], metric=worst["metric"], **scope)
        if is_attack(r)
    }
    name = f"{attack_text(worst['attack'])} at {budget_text(worst['norm'], worst['budget'])}"
    stored, many = stored_text(worst["stored"]), len(tried) > 1
    count = f" of the {len(tried)} attack settings" if many else " attack"
    subject = f"The strongest{count} tried on {stored}, {name},"
    control = control_of(records, worst)
    if worst["metric"] == "success":
        sentence = f"{subject} succeeds on {_figure(worst)} of sequences (n = {worst['n']})"
        if control:
            sentence += f"; the matched random control on {_figure(control)} (n = {control['n']})"
        return [
            f"{sentence}.",
            *_control_remark(worst, control, weaker=control and clearly_below(control, worst)),
        ]
    natural = natural_of(records, scope, worst["stored"])
    sentence = f"{subject} {_effect(worst, natural)}"
    if natural is not None and not clearly_below(worst, natural):
        if many and has_interval(worst) and has_interval(natural):
            none = f"None of the {len(tried)} attack settings tried on {stored} has a measurable effect."
            return [none, f"{sentence}."]
        return [f"{sentence}."]
    if control:
        sentence += f"; the matched random control leaves it at {_figure(control)} (n = {control['n']})"
    return [
        f"{sentence}.",
        *_control_remark(worst, control, weaker=control and clearly_below(worst, control)),
    ]


def _repeated_sentence(records: Sequence[Record], scope: Mapping[str, Any], same: Record) -> str:
    natural = natural_of(records, scope, same["stored"])
    subject = (
        f"When the sequences are stored as {stored_text(same['stored'])}, "
        f"{attack_text(same['attack'])} at {budget_text(same['norm'], same['budget'])}"
    )
    if same["metric"] == "success":
        return f"{subject} succeeds on {_figure(same)} of sequences (n = {same['n']})."
    return f"{subject} {_effect(same, natural)}."


def _effect(attacked: Record, natural: Record | None) -> str:
    count = f"(n = {attacked['n']})"
    if natural is None:
        return f"leaves rank-1 at {_figure(attacked)} {count}"
    if clearly_below(attacked, natural):
        return f"lowers rank-1 from {_figure(natural)} to {_figure(attacked)} {count}"
    both = f"rank-1 is {_figure(attacked)} against {_figure(natural)} unaltered {count}"
    if has_interval(attacked) and has_interval(natural):
        return f"has no measurable effect, since the intervals overlap: {both}"
    return f"has an effect that cannot be judged, since an interval is missing: {both}"


def _targeted_sentences(records: Sequence[Record], aimed: Record, chance: float) -> list[str]:
    control = control_of(records, aimed)
    sentence = (
        f"False-accept risk: aimed at a chosen other person, {attack_text(aimed['attack'])} at "
        f"{budget_text(aimed['norm'], aimed['budget'])} stored as {stored_text(aimed['stored'])} "
        f"is identified as that person in {_figure(aimed)} of sequences "
        f"(n = {aimed['n']}; guessing gives {chance:.3g} %)"
    )
    if control:
        sentence += f"; the matched random control in {_figure(control)} (n = {control['n']})"
    sentences = [f"{sentence}."]
    if not has_interval(aimed) or aimed["low"] <= chance:
        return [*sentences, "That is not clearly more than guessing."]
    return sentences + _control_remark(aimed, control, weaker=control and clearly_below(control, aimed))


def _control_remark(attacked: Record, control: Record | None, *, weaker: Any) -> list[str]:
    if control is None:
        return ["No matched random control was measured, so part of this may be the effect of noise alone."]
    if weaker:
        return []
    if not (has_interval(attacked) and has_interval(control)):
        why = "an interval is missing"
    elif clearly_below(attacked, control) or clearly_below(control, attacked):
        why = "it does more"
    else:
        why = "the intervals overlap"
    return [
        f"The control is not clearly weaker than the attack ({why}): "
        "random changes of the same size may do as much, and the effect cannot be put down to the attack."
    ]


def _same_setting(records: Sequence[Record], first: Record, stored: str) -> Record | None:
    keys = ("metric", "attack", "norm", "budget", "goal", "condition", "view")
    found = select(records, stored=stored, **{key: first[key] for key in keys})
    return found[0] if found else None


def _figure(record: Record) -> str:
    return f"{record['value']:.1f} % {interval_text(record) or '(no interval)'}"


def _setting(record: Record) -> str:
    return f"{budget_text(record['norm'], record['budget'])}, {stored_text(record['stored'])}"


def _place(scope: Mapping[str, Any]) -> str:
    condition = "all conditions" if scope["condition"] == "all" else str(scope["condition"])
    return condition if scope["view"] == "all" else f"{condition}, view {scope['view']}°"


def _size(record: Record) -> tuple[float, str, bool, str]:
    """Order by budget; of equals PGD, the attack that the most formats are measured with."""
    budget = record["budget"]
    return (math.inf if budget is None else budget, str(record["norm"]), record["attack"] != "pgd", record["attack"])
