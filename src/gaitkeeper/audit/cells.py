"""From a cell of the grid to the threat and the attack that it names."""

from __future__ import annotations

from gaitkeeper.attacks.admm import ADMM
from gaitkeeper.attacks.attacked import Attacked
from gaitkeeper.attacks.ciasa import CIASA
from gaitkeeper.attacks.goals import Goal
from gaitkeeper.attacks.gradient import FGSM, MIFGSM, PGD, Recognizer
from gaitkeeper.attacks.joints import Bones, of_skeletons
from gaitkeeper.attacks.smart import HDM05_SCALE, Smart, published
from gaitkeeper.attacks.threats import L2, Frames, Joints, Linf, Threat
from gaitkeeper.audit.action_grid import BOUNDED, RELEASED, ActionCell
from gaitkeeper.audit.grid import SHARES, Cell
from gaitkeeper.motion.motion import Motion
from gaitkeeper.motion.skeletons import HDM05_25, HDM05_25_RETARGETED
from gaitkeeper.seeding import SampleStreams


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


SCALES = {HDM05_25.name: HDM05_SCALE, HDM05_25_RETARGETED.name: HDM05_SCALE}
"""Metres in a unit of the coordinates that SMART's released code saw, by layout."""

NTU_SCALE = 1.0348574
"""The same for NTU RGB+D, and for want of another number for all other layouts."""


def run_action_attack(
    cell: ActionCell, victim: Recognizer, motion: Motion, goal: Goal, streams: SampleStreams
) -> Attacked:
    """Run the attack of a cell on clips in metres."""
    if cell.attack in BOUNDED:
        assert cell.budget is not None
        bones: Bones = "exact" if cell.bones == "exact" else "free"
        attack: FGSM | PGD | MIFGSM = PGD(
            steps=cell.steps, bones=bones, directions="random" if cell.attack == "random" else "gradient"
        )
        if cell.attack == "fgsm":
            attack = FGSM(bones=bones)
        elif cell.attack == "mi-fgsm":
            attack = MIFGSM(steps=cell.steps, bones=bones)
        return attack(victim, motion, goal, threat=Joints(eps=cell.budget), streams=streams)
    if cell.attack == "ciasa":
        return CIASA(steps=cell.steps)(victim, motion, goal, streams=streams)
    if cell.attack == "admm":
        return ADMM(rounds=max(1, cell.steps // ADMM().inner))(victim, motion, goal, streams=streams)
    if cell.attack in RELEASED:
        layout = of_skeletons(victim.domain)
        version = RELEASED.index(cell.attack) + 1
        released = published(version=version, scale=SCALES.get(layout.name, NTU_SCALE), steps=cell.steps)  # type: ignore[arg-type]
        return released(victim, motion, goal, streams=streams)
    smart = Smart(
        bones="exact" if cell.bones == "exact" else "loss",
        steps=cell.steps,
        directions="random" if cell.attack == "smart-random" else "gradient",
    )
    return smart(victim, motion, goal, streams=streams)
