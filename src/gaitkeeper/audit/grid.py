"""The grid of an audit: which attacks, budgets, goals and stored formats. Free of torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Literal

from gaitkeeper.errors import GaitkeeperError
from gaitkeeper.synthetic.population import Population

Name = Literal["none", "random", "fgsm", "pgd", "mi-fgsm"]
Norm = Literal["linf", "l2", "frames"]
GoalName = Literal["natural", "nontargeted", "targeted"]
StoredName = Literal["uint8", "binary"]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One attack at one setting.

    Args:
        attack: ``none`` leaves the sample as it is; ``random`` is the control, matched to PGD and on free frames to
            MI-FGSM.
        goal: what the attack is after.
        norm: how its change is bounded; None for ``none``.
        budget: the bound: a change of values in [0, 1] for linf, its Euclidean norm for l2, a number of altered
            frames for frames (whose pixels are free).
        stored: the format in which the sample is stored before it is recognized.
        straight_through: whether the attack sees through the storing.
        steps: of the attack.
        restarts: of PGD.
    """

    attack: Name = "none"
    goal: GoalName = "natural"
    norm: Norm | None = None
    budget: float | None = None
    stored: StoredName = "uint8"
    straight_through: bool = False
    steps: int = 0
    restarts: int = 1

    @property
    def label(self) -> str:
        """The attack's name in results."""
        return f"{self.attack}-straight-through" if self.straight_through else self.attack

    @property
    def key(self) -> str:
        """What tells this cell from every other."""
        return "|".join(str(value) for value in asdict(self).values())


@dataclass(frozen=True, kw_only=True)
class GridSettings:
    """Which cells an audit has.

    Args:
        linf: L-infinity budgets for 8-bit silhouettes, in grey levels of 255.
        l2: L2 budgets of PGD for 8-bit silhouettes, in units of a full pixel change.
        attacks: attacks at each L-infinity budget.
        targeted_linf: L-infinity budgets at which PGD also tries to be taken for a given other person.
        frames: numbers of frames that MI-FGSM alters without bound, through the binarization.
        steps: steps of PGD and MI-FGSM.
        frame_steps: steps there.
        restarts: random starts of PGD.
    """

    linf: tuple[float, ...] = (1, 4, 16)
    l2: tuple[float, ...] = (4,)
    attacks: tuple[Literal["fgsm", "pgd", "mi-fgsm"], ...] = ("fgsm", "pgd", "mi-fgsm")
    targeted_linf: tuple[float, ...] = (16,)
    frames: tuple[int, ...] = (1, 4)
    steps: int = 10
    frame_steps: int = 12
    restarts: int = 1

    def cells(self) -> Iterator[Cell]:
        """Yield the cells, natural rows of a stored format before its attacks."""
        yield Cell()
        nontargeted = Cell(goal="nontargeted", steps=self.steps)
        for levels in self.linf:
            yield from self._attacks(replace(nontargeted, norm="linf", budget=levels / 255), self.attacks)
        for length in self.l2:
            yield from self._attacks(replace(nontargeted, norm="l2", budget=float(length)), ("pgd",))
        for levels in self.targeted_linf:
            targeted = replace(nontargeted, goal="targeted", norm="linf", budget=levels / 255)
            yield replace(targeted, attack="random")
            yield replace(targeted, attack="pgd", restarts=self.restarts)

        yield Cell(stored="binary")
        if self.linf:
            bounded = replace(nontargeted, stored="binary", norm="linf", budget=max(self.linf) / 255)
            yield from self._attacks(bounded, ("pgd",))
            yield replace(bounded, attack="pgd", straight_through=True, restarts=self.restarts)
        for count in self.frames:
            free = replace(nontargeted, stored="binary", norm="frames", budget=float(count), steps=self.frame_steps)
            for cell in (free, replace(free, goal="targeted")):
                yield replace(cell, attack="random")
                yield replace(cell, attack="mi-fgsm", straight_through=True)

    def _attacks(self, cell: Cell, attacks: Sequence[Name]) -> Iterator[Cell]:
        """Yield the control matched to PGD and then the attacks, at one setting."""
        yield replace(cell, attack="random")
        for attack in attacks:
            yield replace(
                cell,
                attack=attack,
                steps=1 if attack == "fgsm" else cell.steps,
                restarts=self.restarts if attack == "pgd" else 1,
            )


@dataclass(frozen=True, kw_only=True)
class AuditSettings:
    """What defines an audit's figures.

    Args:
        model: names of shipped weights, paths of checkpoints, or ``package:function``; several are audited in turn.
        data: folder of silhouettes as ``<subject>/<condition>/<view>/*.png``; None renders walkers.
        subjects: subjects to enroll and to look for; None takes walkers 075 to 124, or all in the folder.
        views: camera views in degrees; None takes all.
        probes: probes drawn a condition.
        frames: frames of a walker's sequence.
        batch: sequences attacked at once.
        seed: of the choice of probes, targets and random starts.
        examples: attacked sequences kept for the report, a cell.
        grid: the attacks.
        population: the walkers.
    """

    model: tuple[str, ...] = ("gaitset-walkers",)
    data: str | None = None
    subjects: tuple[str, ...] | None = None
    views: tuple[int, ...] | None = None
    probes: int = 100
    frames: int = 40
    batch: int = 25
    seed: int = 0
    examples: int = 1
    grid: GridSettings = field(default_factory=GridSettings)
    population: Population = field(default_factory=Population)

    def __post_init__(self) -> None:
        for name in ("probes", "frames", "batch"):
            if getattr(self, name) < 1:
                raise GaitkeeperError(f"expected {name} of at least 1, got {getattr(self, name)}")
