"""The grid of an audit: which attacks, budgets, goals and stored formats. Free of torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Literal, get_args

from gaitkeeper.audit.action_grid import ActionSettings
from gaitkeeper.errors import GaitkeeperError
from gaitkeeper.synthetic.population import Population

Name = Literal[
    "none",
    "random",
    "fgsm",
    "pgd",
    "mi-fgsm",
    "temporal-sparse",
    "temporal-sparse-published",
    "random-directions",
    "random-search",
    "random-latents",
]
Norm = Literal["linf", "l2", "frames", "altered", "inserted"]
SHARES = ("altered", "inserted")
"""Norms whose budget is a share of a sequence's frames."""

Placement = Literal["first", "random", "spread"]
GoalName = Literal["natural", "nontargeted", "targeted"]
StoredName = Literal["uint8", "binary"]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One attack at one setting.

    Args:
        attack: ``none`` leaves the sample as it is; ``random`` is the control, matched to PGD and on free frames to
            MI-FGSM; ``random-directions`` is the one matched to the temporal sparse attack (same start and steps,
            nothing asked of the recognizer), ``random-search`` takes the best of those steps, and ``random-latents``
            takes none (the paper's control).
        goal: what the attack is after.
        norm: how its change is bounded; None for ``none``.
        budget: the bound: a change of values in [0, 1] for linf, its Euclidean norm for l2, a number of altered
            frames for frames (whose pixels are free), the share of altered or of inserted frames for altered and
            inserted (whose pixels are free or generated).
        stored: the format in which the sample is stored before it is recognized.
        straight_through: whether the attack sees through the storing.
        steps: of the attack.
        restarts: of PGD.
        coherent: generated frames start from the clip's own and stay near their neighbors.
        where: which frames are altered, or where they are inserted.
    """

    attack: Name = "none"
    goal: GoalName = "natural"
    norm: Norm | None = None
    budget: float | None = None
    stored: StoredName = "uint8"
    straight_through: bool = False
    steps: int = 0
    restarts: int = 1
    coherent: bool = False
    where: Placement = "first"

    def __post_init__(self) -> None:
        sparse = self.norm in SHARES
        if self.generated and self.norm is not None and not sparse:
            raise GaitkeeperError(
                f"{self.attack} alters or inserts frames: expected norm altered or inserted, got {self.norm}"
            )
        if sparse and not (self.budget is not None and 0 < self.budget <= 1):
            raise GaitkeeperError(f"expected a share of frames in (0, 1] as budget of {self.norm}, got {self.budget}")
        if self.coherent and not self.generated:
            raise GaitkeeperError(f"only generated frames can be coherent; {self.attack} sets pixels")

    @property
    def label(self) -> str:
        """The attack's name in results."""
        suffix = "-straight-through" if self.straight_through else "-coherent" if self.coherent else ""
        return self.attack + suffix

    @property
    def generated(self) -> bool:
        """Whether the attack's frames come from the generator."""
        return self.attack.startswith(("temporal-sparse", "random-"))

    @property
    def key(self) -> str:
        """What tells this cell from every other."""
        return "|".join(str(value) for value in asdict(self).values())


def sequence_cell(
    attack: str,
    goal: str,
    *,
    norm: Norm | None = None,
    budget: float | None = None,
    stored: StoredName | None = None,
    straight_through: bool = False,
    steps: int | None = None,
    restarts: int = 1,
    coherent: bool = False,
    where: Placement = "first",
) -> Cell:
    """Return the cell of one attack on sequences that is asked for by name, with what is usual for it.

    Args:
        attack: its name.
        goal: nontargeted or targeted.
        norm: None is altered for attacks whose frames are generated, else linf.
        budget: grey levels of 255 for linf, None being 16; the share of frames for altered and inserted, None being
            1/40; else as in :class:`Cell`.
        stored: None is binary for altered and inserted, else 8-bit.
        straight_through: see :class:`Cell`.
        steps: None is 40 where frames are generated, 100 as published, else 10.
        restarts: see :class:`Cell`.
        coherent: see :class:`Cell`.
        where: see :class:`Cell`.

    Raises:
        GaitkeeperError: there is no such attack on sequences, or the values do not go together.
    """
    name = next((known for known in get_args(Name)[1:] if known == attack), None)
    aim = next((known for known in get_args(GoalName)[1:] if known == goal), None)
    if name is None or aim is None:
        raise GaitkeeperError(
            f"{attack}, {goal}: expected an attack on sequences, {', '.join(get_args(Name)[1:])}, and one of the goals "
            f"{', '.join(get_args(GoalName)[1:])}"
        )
    generated = Cell(attack=name).generated
    norm = norm or ("altered" if generated else "linf")
    sparse = norm in SHARES
    if budget is None:
        budget = 1 / 40 if sparse else 16
    if steps is None:
        steps = 100 if name == "temporal-sparse-published" else 40 if generated else 10
    return Cell(
        attack=name,
        goal=aim,
        norm=norm,
        budget=budget / 255 if norm == "linf" else budget,
        stored=stored or ("binary" if sparse else "uint8"),
        straight_through=straight_through,
        steps={"fgsm": 1, "random-latents": 0}.get(name, steps),
        restarts=restarts,
        coherent=coherent,
        where=where,
    )


@dataclass(frozen=True, kw_only=True)
class SparseSettings:
    """Which cells of the temporal sparse attack an audit has. Sequences are stored binary.

    Args:
        altered: shares of frames that are altered.
        inserted: shares of frames that are inserted.
        targeted: shares of altered frames at which the attack also tries to be taken for a given other person.
        coherent: also with frames that stay near their neighbors.
        where: which frames are altered, or where they are inserted.
        steps: of the attack.
        pixel_steps: of MI-FGSM on the pixels of the same altered frames.
    """

    altered: tuple[float, ...] = (1 / 40, 1 / 10)
    inserted: tuple[float, ...] = ()
    targeted: tuple[float, ...] = (1 / 10,)
    coherent: bool = True
    where: Placement = "first"
    steps: int = 40
    pixel_steps: int = 20

    def cells(self) -> Iterator[Cell]:
        """Yield the cells, controls before their attack."""
        base = Cell(goal="nontargeted", stored="binary", steps=self.steps, where=self.where)
        chosen: tuple[tuple[Norm, tuple[float, ...]], ...] = (("altered", self.altered), ("inserted", self.inserted))
        for norm, shares in chosen:
            for share in shares:
                cell = replace(base, norm=norm, budget=share)
                yield replace(cell, attack="random-latents", steps=0)
                for coherent in (False, True) if self.coherent and norm == "altered" else (False,):
                    yield replace(cell, attack="random-directions", coherent=coherent)
                    if not coherent:
                        yield replace(cell, attack="random-search")
                    yield replace(cell, attack="temporal-sparse", coherent=coherent)
                if norm == "altered":
                    yield replace(cell, attack="random", steps=self.pixel_steps)
                    yield replace(cell, attack="mi-fgsm", straight_through=True, steps=self.pixel_steps)
        for share in self.targeted:
            cell = replace(base, norm="altered", budget=share, goal="targeted")
            yield replace(cell, attack="random-directions")
            yield replace(cell, attack="temporal-sparse")


@dataclass(frozen=True, kw_only=True)
class GridSettings:
    """Which cells an audit has.

    Args:
        linf: L-infinity budgets for 8-bit silhouettes, in grey levels of 255.
        l2: L2 budgets of PGD for 8-bit silhouettes, in units of a full pixel change.
        attacks: attacks at each L-infinity budget.
        targeted_linf: L-infinity budgets at which PGD also tries to be taken for a given other person.
        frames: numbers of frames, of its own choice, that MI-FGSM alters without bound, through the binarization.
        steps: steps of PGD and MI-FGSM.
        frame_steps: steps there.
        restarts: random starts of PGD.
        sparse: what the temporal sparse attack is measured on.
    """

    linf: tuple[float, ...] = (1, 4, 16)
    l2: tuple[float, ...] = (4,)
    attacks: tuple[Literal["fgsm", "pgd", "mi-fgsm"], ...] = ("fgsm", "pgd", "mi-fgsm")
    targeted_linf: tuple[float, ...] = (16,)
    frames: tuple[int, ...] = ()
    steps: int = 10
    frame_steps: int = 12
    restarts: int = 1
    sparse: SparseSettings = field(default_factory=SparseSettings)

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
        yield from self.sparse.cells()

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
        transfer: names of further recognizers that judge every attacked sequence, beside all of ``model``. A model
            that is named here too judges its own 8-bit sequences again with their silhouettes made binary.
        generator: name of the shipped generator, or a folder that ``gaitkeeper train-generator`` wrote.
        data: folder of silhouettes in the layout of CASIA-B, CASIA-A or OpenGait; None renders walkers, and
            ``walkers-a`` those that stand in for CASIA-A.
        subjects: subjects to enroll and to look for; None takes walkers 075 to 124, or all in the folder.
        views: camera views in degrees; None takes all.
        probes: probes drawn a condition.
        frames: frames of a walker's sequence.
        batch: sequences attacked at once.
        seed: of the choice of probes, targets and random starts.
        examples: attacked sequences kept for the report, a cell.
        grid: the attacks.
        population: the walkers.
        actions: of the half that is about actions; models, data, subjects, seed and examples apply to it too.
    """

    model: tuple[str, ...] = ("gaitset-walkers",)
    transfer: tuple[str, ...] = ()
    generator: str = "walkers"
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
    actions: ActionSettings = field(default_factory=ActionSettings)

    def __post_init__(self) -> None:
        for name in ("probes", "frames", "batch"):
            if getattr(self, name) < 1:
                raise GaitkeeperError(f"expected {name} of at least 1, got {getattr(self, name)}")
