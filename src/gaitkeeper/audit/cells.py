"""From a cell of the grid to the threat and the attack that it names."""

from __future__ import annotations

from gaitkeeper.attacks.gradient import FGSM, MIFGSM, PGD
from gaitkeeper.attacks.threats import L2, Frames, Linf, Threat
from gaitkeeper.audit.grid import SHARES, Cell


def threat_of(cell: Cell) -> Threat:
    """Return the threat model of a cell that attacks."""
    assert cell.norm is not None
    assert cell.budget is not None
    if cell.norm == "frames":
        return Frames(count=int(cell.budget))
    if cell.norm in SHARES:
        return Linf(eps=1.0)  # Pixels of [0, 1] without a bound: the paper's budget of 1.
    return Linf(eps=cell.budget) if cell.norm == "linf" else L2(eps=cell.budget)


def attack_of(cell: Cell) -> FGSM | PGD | MIFGSM:
    """Return the attack of a cell that attacks.

    It runs on whole sequences, for shares of frames on those frames alone. On free frames attacks start at the
    original, and MI-FGSM takes PGD's larger steps: pixels that do not cross the threshold of binarization change
    nothing.
    """
    through = cell.straight_through
    free = cell.norm == "frames" or cell.norm in SHARES
    if cell.attack == "fgsm":
        return FGSM(straight_through=through)
    if cell.attack == "mi-fgsm":
        return MIFGSM(steps=cell.steps, step_size=2.5 / cell.steps if free else None, straight_through=through)
    return PGD(
        steps=cell.steps,
        restarts=cell.restarts,
        random_start=not free,
        straight_through=through,
        directions="random" if cell.attack == "random" else "gradient",
    )
