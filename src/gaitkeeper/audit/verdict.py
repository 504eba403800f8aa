"""The verdict of an audit in plain words: sentences made from its records alone, each with n and interval."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from gaitkeeper.audit.grid import SHARES

Record = Mapping[str, Any]

ATTACKS = {
    "none": "unaltered",
    "random": "random control",
    "random-directions": "random directions",
    "random-latents": "random latents",
    "random-search": "random search",
    "fgsm": "FGSM",
    "pgd": "PGD",
    "mi-fgsm": "MI-FGSM",
    "temporal-sparse": "temporal sparse attack",
}
CONTROLS = {
    "temporal-sparse": "random-directions",
    "temporal-sparse-coherent": "random-directions-coherent",
    "temporal-sparse-published": "random-latents",
}
"""The control of an attack: same start and number of steps, for the published attack the paper's own."""

PUBLISHED_CONTROL = "random-latents"
"""Generated frames without any step, with which the paper compares; not matched to an attack that takes steps."""

NORMS = {
    "linf": "L∞",
    "l2": "L2",
    "frames": "altered frames",
    "joints": "altered joints",
    "altered": "share of frames altered",
    "inserted": "share of frames inserted",
}
STORED = {"uint8": "8-bit frames", "binary": "binary masks"}
CLOSING = (
    "These figures hold for this network, this data and these attacks; "
    "a stronger attack may do more, and nothing here shows security."
)
_CONDITION_ORDER = ("NM", "all", "BG", "CL")
_STORED_ORDER = ("uint8", "binary")


def family(name: str) -> tuple[str, str]:
    """Return the attack that a name is a variant of, and which: ``pgd-restarts`` is ``("pgd", "restarts")``."""
    for key in sorted(ATTACKS, key=len, reverse=True):
        if name == key or name.startswith(f"{key}-"):
            return key, name[len(key) + 1 :]
    return name, ""


def attack_text(name: str) -> str:
    """Return an attack's name as people write it: ``pgd-restarts`` becomes "PGD (restarts)"."""
    key, variant = family(name)
    return ATTACKS.get(key, key) + (f" ({variant})" if variant else "")


def subject_text(name: str) -> str:
    """Return an attack's name as a sentence uses it: "PGD", "the temporal sparse attack (coherent)"."""
    text = attack_text(name)
    return f"the {text}" if name.startswith("temporal-sparse") else text


def amount_text(norm: str | None, budget: float | None) -> str:
    """Return a budget without its norm.

    L∞ budgets that are whole or half 8-bit steps read as ``16/255``, shares of frames as ``1/40``.
    """
    if budget is None:
        return "unbounded"
    if norm in SHARES:
        share = Fraction(float(budget)).limit_denominator(1000)
        return str(share) if abs(share - budget) < 1e-6 * budget else f"{100 * budget:.3g} %"
    steps = budget * 255
    if norm == "linf" and 0 < budget < 1 and abs(2 * steps - round(2 * steps)) < 1e-3:
        return f"{round(2 * steps) / 2:g}/255"
    return f"{budget:.4g}"


def budget_text(norm: str | None, budget: float | None) -> str:
    """Return a budget with its norm: "L∞ 16/255", "L2 4", "1 frame", "1/40 of the frames altered"."""
    amount = amount_text(norm, budget)
    if norm is None:
        return "no budget" if budget is None else amount
    if norm in SHARES and budget is not None:
        return f"all frames {norm}" if budget == 1 else f"{amount} of the frames {norm}"
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


def is_control(name: str) -> bool:
    """Whether an attack's name is that of a control, which follows no gradient."""
    return name.startswith("random")


def is_attack(record: Record) -> bool:
    """Whether a record is of an attack, neither of unaltered sequences nor of a control."""
    return record["attack"] != "none" and not is_control(record["attack"])


def attack_rank(name: str) -> tuple[bool, str]:
    """Sort key that puts controls last."""
    return (is_control(name), name)


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


def scope_text(scope: Mapping[str, Any]) -> str:
    """Return a scope in words: "NM, all views"."""
    view = "all views" if scope["view"] == "all" else f"view {scope['view']}°"
    return f"{'All conditions' if scope['condition'] == 'all' else scope['condition']}, {view}"


def natural_of(records: Sequence[Record], scope: Mapping[str, Any], stored: str | None = None) -> Record | None:
    """Return rank-1 on unaltered sequences, if possible stored in the same format."""
    found = select(records, attack="none", metric="rank1", **scope)
    return next((r for r in found if r["stored"] == stored), found[0] if found else None)


def control_of(records: Sequence[Record], attacked: Record) -> Record | None:
    """Return the control of an attack's record, see ``CONTROLS``: same budget, storage, goal and probes."""
    return _beside(records, attacked, CONTROLS.get(attacked["attack"], "random"))


def _beside(records: Sequence[Record], record: Record, attack: str) -> Record | None:
    """Return the record that differs from another only in its attack."""
    keys = ("metric", "norm", "budget", "stored", "goal", "condition", "view")
    found = select(records, attack=attack, **{key: record[key] for key in keys})
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


def smallest_sparse(
    records: Sequence[Record], scope: Mapping[str, Any], attack: str = "temporal-sparse"
) -> Record | None:
    """Return rank-1 under the temporal sparse attack at its smallest share of frames, altered before inserted."""
    found = [
        r
        for r in select(records, attack=attack, goal="nontargeted", metric="rank1", **scope)
        if r["norm"] in SHARES and r["budget"] is not None
    ]
    return min(found, key=lambda r: (SHARES.index(r["norm"]), r["stored"] != "binary", r["budget"]), default=None)


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
            bars.append(_labeled(control, "control"))
        same = _same_setting(records, first, stored) if first else None
        # The first format's strongest attack is shown in the others too, beside what is strongest there.
        bars += [_labeled(r, "attack") for r in ((worst,) if same is None or same is worst else (same, worst))]
        first = first or worst
    sparse = smallest_sparse(records, scope)
    if sparse is not None:
        shown = [_beside(records, sparse, name) for name in (PUBLISHED_CONTROL, CONTROLS["temporal-sparse"])]
        added = [_labeled(r, "control") for r in shown if r] + [_labeled(sparse, "attack")]
        bars += [bar for bar in added if all(bar.record is not other.record for other in bars)]
    return bars


def _labeled(record: Record, kind: str) -> Bar:
    name = attack_text(record["attack"])
    return Bar(label=f"{name[0].upper()}{name[1:]}, {_setting(record)}", record=record, kind=kind)


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
    told: list[Record] = []
    for stored in storage_formats(records):
        worst = strongest(records, scope, "nontargeted", stored)
        if worst is None:
            continue
        same = _same_setting(records, first, stored) if first else None
        if same is not None:
            sentences.append(_repeated_sentence(records, scope, same))
        if same is not worst:
            sentences += _strongest_sentences(records, scope, worst)
        told.append(worst)
        first = first or worst
    sentences += _sparse_sentences(records, scope, told)
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
    name = f"{subject_text(worst['attack'])} at {budget_text(worst['norm'], worst['budget'])}"
    stored, many = stored_text(worst["stored"]), len(tried) > 1
    count = f" of the {len(tried)} attack settings" if many else " attack"
    subject = f"The strongest{count} tried on {stored}, {name},"
    control = control_of(records, worst)
    if worst["metric"] == "success":
        sentence = f"{subject} succeeds on {_figure(worst)} of sequences (n = {worst['n']})"
        if control:
            sentence += f"; {_control_text(control)} on {_figure(control)} (n = {control['n']})"
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
        sentence += f"; {_control_text(control)} leaves it at {_figure(control)} (n = {control['n']})"
    return [
        f"{sentence}.",
        *_control_remark(worst, control, weaker=control and clearly_below(worst, control)),
    ]


def _repeated_sentence(records: Sequence[Record], scope: Mapping[str, Any], same: Record) -> str:
    natural = natural_of(records, scope, same["stored"])
    subject = (
        f"When the sequences are stored as {stored_text(same['stored'])}, "
        f"{subject_text(same['attack'])} at {budget_text(same['norm'], same['budget'])}"
    )
    if same["metric"] == "success":
        return f"{subject} succeeds on {_figure(same)} of sequences (n = {same['n']})."
    return f"{subject} {_effect(same, natural)}."


def _sparse_sentences(records: Sequence[Record], scope: Mapping[str, Any], told: Sequence[Record]) -> list[str]:
    """Return what the temporal sparse attack does at its smallest share, and what coherence costs it."""
    sparse = smallest_sparse(records, scope)
    if sparse is None:
        return []
    control, latents = control_of(records, sparse), _beside(records, sparse, PUBLISHED_CONTROL)
    natural = natural_of(records, scope, sparse["stored"])
    # Where it was the strongest attack, only the paper's control is still untold.
    untold = all(record is not sparse for record in told)
    beside = " and ".join(
        f"{_figure(r)} under {_control_text(r)} ({attack_text(r['attack'])}, n = {r['n']})"
        for r in (control if untold else None, latents)
        if r
    )
    setting = f"on {stored_text(sparse['stored'])} at its smallest share, "
    setting += budget_text(sparse["norm"], sparse["budget"])
    sentences = []
    if untold:
        sentence = f"The temporal sparse attack {setting}, {_effect(sparse, natural)}"
        sentences.append(f"{sentence}; it is {beside}." if beside else f"{sentence}.")
        if natural is None or clearly_below(sparse, natural):
            sentences += _control_remark(sparse, control, weaker=control and clearly_below(sparse, control))
    elif beside:
        sentences.append(f"Beside the temporal sparse attack {setting}, rank-1 is {beside}.")
    return sentences + _coherence_sentences(records, scope, sparse)


def _coherence_sentences(records: Sequence[Record], scope: Mapping[str, Any], sparse: Record) -> list[str]:
    keys = ("norm", "budget", "stored", "goal")
    same = {key: sparse[key] for key in keys} | dict(scope)

    def find(metric: str, variant: str = "") -> Record | None:
        return next(iter(select(records, attack=f"temporal-sparse{variant}", metric=metric, **same)), None)

    near, far, stood = find("overlap", "-coherent"), find("overlap"), find("overlap_before")
    if near is None or far is None:
        return []
    sentence = (
        f"Kept near their neighbors, its frames overlap them by {_percent(near)}, else by {_percent(far)} "
        f"(n = {near['n']}{f'; the frames that stood there by {_percent(stood)}' if stood else ''})"
    )
    won, free = find("success", "-coherent"), find("success")
    if won and free:
        sentence += (
            f"; the attack then succeeds on {_figure(won)} of sequences (n = {won['n']}), "
            f"else on {_figure(free)} (n = {free['n']})"
        )
    return [f"{sentence}."]


def _control_text(control: Record) -> str:
    return "the paper's control" if control["attack"] == PUBLISHED_CONTROL else "the matched random control"


def _percent(record: Record) -> str:
    interval = interval_text(record)
    return f"{record['value']:.1f} %" + (f" {interval}" if interval else "")


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
        f"False-accept risk: aimed at a chosen other person, {subject_text(aimed['attack'])} at "
        f"{budget_text(aimed['norm'], aimed['budget'])} stored as {stored_text(aimed['stored'])} "
        f"is identified as that person in {_figure(aimed)} of sequences "
        f"(n = {aimed['n']}; guessing gives {chance:.3g} %)"
    )
    if control:
        sentence += f"; {_control_text(control)} in {_figure(control)} (n = {control['n']})"
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


def _size(record: Record) -> tuple[tuple[int, str], float, bool, str]:
    """Order by norm and budget; of equals PGD, the attack that the most formats are measured with."""
    budget = record["budget"]
    size = math.inf if budget is None else budget
    return (norm_rank(str(record["norm"])), size, record["attack"] != "pgd", record["attack"])
