"""What an audit of action recognizers does: its settings and the cells of its grid. Free of torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from gaitkeeper.errors import GaitkeeperError
from gaitkeeper.synthetic.actions import Acting

ActionAttack = Literal[
    "none",
    "smart",
    "smart-random",
    "smart-published-1",
    "smart-published-2",
    "smart-published-3",
    "ciasa",
    "admm",
    "fgsm",
    "pgd",
    "mi-fgsm",
    "random",
]
ActionGoal = Literal["natural", "anything-but", "anything-but-n", "specified"]
BoneRule = Literal["exact", "loss", "free"]

BOUNDED: tuple[ActionAttack, ...] = ("fgsm", "pgd", "mi-fgsm", "random")
"""Attacks within a largest displacement of each joint in each frame."""

RELEASED: tuple[ActionAttack, ...] = ("smart-published-1", "smart-published-2", "smart-published-3")
ACTION_ATTACKS: tuple[ActionAttack, ...] = get_args(ActionAttack)
ACTION_GOALS: tuple[ActionGoal, ...] = get_args(ActionGoal)

DISPLACEMENTS = (0.002, 0.005, 0.010, 0.020, 0.050)
"""Mean displacements of a joint, metres, up to which successes are counted."""


@dataclass(frozen=True, kw_only=True)
class ActionCell:
    """One condition of an audit of action recognizers.

    Args:
        attack: what is done; ``none`` only recognizes, ``smart-random`` and ``random`` are the matched controls of
            SMART and PGD.
        goal: nothing, anything but the true class, anything but the ``top`` best, or a specified other class.
        bones: keep them exactly, ask for it in the loss, or leave them free.
        budget: largest displacement of a joint in a frame, metres; None without such a bound.
        steps: of the attack.
        top: see ``goal``.

    Raises:
        GaitkeeperError: the values do not go together.
    """

    attack: ActionAttack = "none"
    goal: ActionGoal = "natural"
    bones: BoneRule | None = None
    budget: float | None = None
    steps: int = 0
    top: int = 3

    def __post_init__(self) -> None:
        if (self.attack == "none") != (self.goal == "natural"):
            raise GaitkeeperError(f"the attack {self.attack} and the goal {self.goal} do not go together")
        if (self.attack in BOUNDED) != (self.budget is not None):
            raise GaitkeeperError(f"{self.attack}: only {', '.join(BOUNDED)} have a budget, got {self.budget}")
        if self.budget is not None and not 0 < self.budget < 10:
            raise GaitkeeperError(f"expected a budget above 0 and below 10 metres, got {self.budget}")
        if self.attack != "none" and self.bones not in _RULES[self.attack]:
            allowed = " or ".join(_RULES[self.attack])
            raise GaitkeeperError(f"{self.attack}: expected bones {allowed}, got {self.bones}")
        if self.steps < 0 or self.top < 1:
            raise GaitkeeperError(f"expected steps >= 0 and top >= 1, got {self.steps} and {self.top}")

    @property
    def aim(self) -> str:
        """The goal, with its number."""
        return f"anything-but-{self.top}" if self.goal == "anything-but-n" else self.goal

    @property
    def key(self) -> str:
        """A text that no other cell has."""
        budget = "" if self.budget is None else f"{1000 * self.budget:g}mm"
        parts = (self.attack, self.aim, self.bones or "", budget, str(self.steps) if self.steps else "")
        return "/".join(part for part in parts if part)


_RULES: dict[ActionAttack, tuple[BoneRule, ...]] = {
    "none": (),
    **dict.fromkeys(("smart", "smart-random"), ("exact", "loss")),
    **dict.fromkeys(RELEASED, ("loss",)),
    "ciasa": ("exact",),
    "admm": ("loss",),
    **dict.fromkeys(BOUNDED, ("exact", "free")),
}

STEPS: dict[ActionAttack, int] = {
    "none": 0,
    **dict.fromkeys(("smart", "smart-random"), 150),
    "ciasa": 100,
    **dict.fromkeys(RELEASED, 1000),
    "admm": 500,
    "fgsm": 1,
    **dict.fromkeys(("pgd", "mi-fgsm", "random"), 20),
}
"""Steps of each attack where nothing else is asked for."""


def cell_of(
    attack: ActionAttack,
    goal: ActionGoal = "anything-but",
    *,
    bones: BoneRule | None = None,
    budget: float | None = None,
    steps: int | None = None,
    top: int = 3,
) -> ActionCell:
    """Return a cell, with what is usual for its attack where nothing is given: exact bones, 10 mm, its steps."""
    return ActionCell(
        attack=attack,
        goal=goal,
        bones=bones or _RULES[attack][0],
        budget=0.01 if budget is None and attack in BOUNDED else budget,
        steps=STEPS[attack] if steps is None else steps,
        top=top,
    )


def action_cell(
    attack: str, goal: str, *, bones: BoneRule | None, budget: float | None, steps: int | None, top: int
) -> ActionCell:
    """Return the cell of one attack that is asked for by name; as :func:`cell_of`, the budget in millimetres.

    Goals may bear the names that they have for gaits, nontargeted and targeted.

    Raises:
        GaitkeeperError: there is no such attack on actions, or the values do not go together.
    """
    goal = {"nontargeted": "anything-but", "targeted": "specified"}.get(goal, goal)
    for name in ACTION_ATTACKS[1:]:
        for aim in ACTION_GOALS[1:]:
            if (name, aim) == (attack, goal):
                metres = None if budget is None else budget / 1000
                return cell_of(name, aim, bones=bones, budget=metres, steps=steps, top=top)
    raise GaitkeeperError(
        f"{attack}, {goal}: expected an attack on actions, {', '.join(ACTION_ATTACKS[1:])}, and one of the goals "
        f"{', '.join(ACTION_GOALS[1:])}"
    )


@dataclass(frozen=True, kw_only=True)
class ActionGrid:
    """Which attacks an audit of action recognizers runs.

    Args:
        goals: of SMART.
        top: the N of anything-but-n.
        steps: of SMART and its control.
        loss: SMART with bones in the loss too.
        others: further attacks, at anything but the true class (CIASA also at a specified one).
        budgets: largest displacements of PGD, with its control, metres.
    """

    goals: tuple[ActionGoal, ...] = ("anything-but", "anything-but-n", "specified")
    top: int = 3
    steps: int = 150
    loss: bool = True
    others: tuple[ActionAttack, ...] = ("ciasa", "admm")
    budgets: tuple[float, ...] = (0.005, 0.01, 0.02)

    def cells(self) -> Iterator[ActionCell]:
        """Yield the cells, the natural one first."""
        yield ActionCell()
        for goal in self.goals:
            yield cell_of("smart", goal, steps=self.steps, top=self.top)
        yield cell_of("smart-random", steps=self.steps)
        if self.loss:
            yield cell_of("smart", bones="loss", steps=self.steps)
        for attack in self.others:
            yield cell_of(attack, "specified" if attack == "ciasa" else "anything-but")
        for budget in self.budgets:
            for attack in ("pgd", "random"):
                yield cell_of(attack, budget=budget)


QUICK_ACTIONS = ActionGrid(goals=("anything-but", "specified"), steps=60, loss=False, others=(), budgets=(0.02,))
"""A grid of seconds."""


@dataclass(frozen=True, kw_only=True)
class ActionSettings:
    """The half of an audit that is about actions.

    Args:
        clips: drawn of the test clips, in equal parts of each class as far as they go.
        frames: resample clips to so many frames; without it 60 of motion capture, else those recorded.
        protocol: the split of NTU RGB+D that --data is tested on; without it cross-subject.
        takes: performances of each action by each synthetic actor.
        batch: clips attacked at once.
        transfer: action recognizers that judge every attacked clip, beside those that are attacked.
        grid: the attacks.
        acting: the synthetic actors.
    """

    clips: int = 100
    frames: int | None = None
    protocol: str | None = None
    takes: int = 1
    batch: int = 16
    transfer: tuple[str, ...] = ()
    grid: ActionGrid = field(default_factory=ActionGrid)
    acting: Acting = field(default_factory=Acting)

    def __post_init__(self) -> None:
        for name in ("clips", "takes", "batch"):
            if getattr(self, name) < 1:
                raise GaitkeeperError(f"actions: expected {name} of at least 1, got {getattr(self, name)}")
        if self.frames is not None and not 4 <= self.frames <= 10_000:
            raise GaitkeeperError(f"actions: expected 4 to 10000 frames, got {self.frames}")

    def quick(self) -> ActionSettings:
        """Return few clips and attacks."""
        return replace(self, clips=min(self.clips, 20), grid=QUICK_ACTIONS)
