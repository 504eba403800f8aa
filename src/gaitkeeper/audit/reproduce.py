"""Reproducing a paper's experiments: its settings, the audits it takes, and running them. Starts free of torch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gaitkeeper.audit.grid import AuditSettings, Cell, Norm
from gaitkeeper.audit.published import SHARES
from gaitkeeper.datasets.protocols import CASIA_A, CASIA_B, TEST_SUBJECTS, protocol_for
from gaitkeeper.errors import DataError, GaitkeeperError
from gaitkeeper.synthetic.population import VIEWS

if TYPE_CHECKING:
    from gaitkeeper.audit.recognition import Progress
    from gaitkeeper.audit.reproduction import Reproduction

BASELINE_STEPS = 20
"""Iterations of PGD and MI-FGSM in the paper's comparison."""

PUBLISHED_STEPS = 100
"""Iterations of the attack as published."""

WALKERS_A = "walkers-a"
"""Name of the walkers who stand in for CASIA-A."""


@dataclass(frozen=True, kw_only=True)
class ReproduceSettings:
    """What defines a reproduction's figures.

    Args:
        models: names of shipped weights, paths of checkpoints, or ``package:function``. The first is attacked in every
            experiment; for the transfer each is attacked, and all judge.
        transfer: further recognizers that only judge.
        generator: name of the shipped generator, or a folder that ``gaitkeeper train-generator`` wrote.
        data: folder of silhouettes in the layout of CASIA-B; None renders walkers.
        data_a: folder of silhouettes in the layout of CASIA-A; None renders the walkers who stand in for it, and with
            ``data`` leaves the cross-database experiment out.
        subjects: subjects to enroll and to look for; None takes 075 to 124.
        probes: probes drawn a condition; insertion has half as many, transfer and the published settings a fifth.
        frames: frames of a walker's sequence.
        batch: sequences attacked at once.
        steps: of the attack.
        seed: of the choice of probes, targets and random starts.
        quick: few people, probes, shares and steps: to see that it runs, not to compare.
    """

    models: tuple[str, ...] = ("gaitset-walkers", "gaitbase-walkers", "gaitpart-walkers")
    transfer: tuple[str, ...] = ()
    generator: str = "walkers"
    data: str | None = None
    data_a: str | None = None
    subjects: tuple[str, ...] | None = None
    probes: int = 100
    frames: int = 40
    batch: int = 25
    steps: int = 40
    seed: int = 0
    quick: bool = False

    def __post_init__(self) -> None:
        for name in ("probes", "frames", "batch", "steps"):
            if getattr(self, name) < 1:
                raise GaitkeeperError(f"expected {name} of at least 1, got {getattr(self, name)}")
        if not self.models:
            raise GaitkeeperError("expected at least one model, got none")

    @property
    def shares(self) -> tuple[float, ...]:
        """Shares of frames that are set, ascending."""
        return (SHARES[0], SHARES[-1]) if self.quick else SHARES

    @property
    def reduced(self) -> ReproduceSettings:
        """The settings in effect: with fewer probes and steps where it has to be quick."""
        return replace(self, probes=min(self.probes, 2), steps=min(self.steps, 5)) if self.quick else self


@dataclass(frozen=True, kw_only=True)
class Part:
    """One audit of a reproduction, in a folder of its own.

    Args:
        name: of the folder.
        settings: of the audit.
        cells: what is measured, most important first.
    """

    name: str
    settings: AuditSettings
    cells: tuple[Cell, ...]


def alteration_cells(settings: ReproduceSettings) -> Iterator[Cell]:
    """Yield the cells of figures 5 and 6, tables 2 and 6, and of coherent frames."""
    yield Cell(stored="binary")
    yield from _nontargeted(settings, "altered")
    yield from _targeted(settings, "altered")
    yield Cell()
    first = _base(settings, "altered", settings.shares[0])
    for stored in ("uint8", "binary"):
        free = replace(first, stored=stored, steps=min(settings.steps, BASELINE_STEPS))
        seen = stored == "binary"
        yield replace(free, attack="random")
        yield replace(free, attack="fgsm", straight_through=seen, steps=1)
        yield replace(free, attack="pgd", straight_through=seen)
        yield replace(free, attack="mi-fgsm", straight_through=seen)
    yield replace(first, attack="temporal-sparse", stored="uint8")
    for share in settings.shares:
        cell = _base(settings, "altered", share)
        yield replace(cell, attack="random-directions", coherent=True)
        yield replace(cell, attack="temporal-sparse", coherent=True)


def insertion_cells(settings: ReproduceSettings) -> Iterator[Cell]:
    """Yield the cells of figure 10 and table 5."""
    yield Cell(stored="binary")
    yield from _nontargeted(settings, "inserted")
    yield from _targeted(settings, "inserted")


def cross_cells(settings: ReproduceSettings) -> Iterator[Cell]:
    """Yield the cells of table 4."""
    yield Cell(stored="binary")
    yield from _nontargeted(settings, "altered")


def transfer_cells(settings: ReproduceSettings) -> Iterator[Cell]:
    """Yield the cells that stand in table 3's place."""
    yield Cell(stored="binary")
    first = _base(settings, "altered", settings.shares[0])
    yield replace(first, attack="random-directions")
    yield replace(first, attack="temporal-sparse")


def published_cells(settings: ReproduceSettings) -> Iterator[Cell]:
    """Yield the cells that compare the attack as published with the corrected one."""
    yield Cell(stored="binary")
    for share in settings.shares[: 1 if settings.quick else None]:
        cell = _base(settings, "altered", share)
        yield replace(cell, attack="random-latents", steps=0)
        yield replace(cell, attack="temporal-sparse")
        yield replace(cell, attack="temporal-sparse-published", steps=PUBLISHED_STEPS)


def _base(settings: ReproduceSettings, norm: Norm, share: float) -> Cell:
    return Cell(goal="nontargeted", stored="binary", norm=norm, budget=share, steps=settings.steps)


def _nontargeted(settings: ReproduceSettings, norm: Norm) -> Iterator[Cell]:
    for share in settings.shares:
        cell = _base(settings, norm, share)
        yield replace(cell, attack="random-latents", steps=0)
        yield replace(cell, attack="random-directions")
        yield replace(cell, attack="random-search")
        yield replace(cell, attack="temporal-sparse")


def _targeted(settings: ReproduceSettings, norm: Norm) -> Iterator[Cell]:
    for share in settings.shares:
        cell = replace(_base(settings, norm, share), goal="targeted")
        yield replace(cell, attack="random-directions")
        yield replace(cell, attack="temporal-sparse")


def parts_of(settings: ReproduceSettings) -> list[Part]:
    """Return the audits of a reproduction, in the order in which they run.

    Raises:
        DataError: a folder is missing, not in the layout of CASIA-B or CASIA-A, or lacks the people to test on.
    """
    settings = settings.reduced
    subjects, views = _people(settings)
    first = settings.models[0]
    base = AuditSettings(
        model=(first,), generator=settings.generator, data=settings.data, subjects=subjects, views=views,
        probes=settings.probes, frames=settings.frames, batch=settings.batch, seed=settings.seed,
    )  # fmt: skip
    fifth = replace(base, probes=math.ceil(settings.probes / 5), examples=0)
    # A model that also judges sees its 8-bit sequences again, made binary.
    parts = [
        Part(
            name="alteration",
            settings=replace(base, transfer=(first,)),
            cells=tuple(alteration_cells(settings)),
        )
    ]
    if settings.data_a is not None or settings.data is None:
        crossed = replace(base, data=settings.data_a or WALKERS_A, subjects=_people_a(settings), views=None)
        parts.append(Part(name="cross-database", settings=crossed, cells=tuple(cross_cells(settings))))
    parts.append(Part(name="published", settings=fifth, cells=tuple(published_cells(settings))))
    if len(settings.models) + len(settings.transfer) > 1:
        judged = replace(fifth, model=settings.models, transfer=settings.transfer)
        parts.append(Part(name="transfer", settings=judged, cells=tuple(transfer_cells(settings))))
    half = replace(base, probes=math.ceil(settings.probes / 2))
    parts.append(Part(name="insertion", settings=half, cells=tuple(insertion_cells(settings))))
    return parts


def _people(settings: ReproduceSettings) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Return the subjects and views to test on, those that the paper tested on where there is no other wish."""
    tested = tuple(f"{number:03d}" for number in TEST_SUBJECTS)
    subjects, views = settings.subjects or tested, VIEWS
    if settings.data is not None:
        from gaitkeeper.datasets.open import open_sequences

        samples = open_sequences(Path(settings.data)).samples
        if protocol_for(samples).gallery != CASIA_B.gallery:
            found = ", ".join(sorted({sample.condition for sample in samples})[:8])
            raise DataError(f"{settings.data}: expected CASIA-B's conditions nm-01, ..., cl-02, found {found}")
        present = sorted({sample.subject for sample in samples})
        views = tuple(sorted({sample.view for sample in samples}))
        subjects = settings.subjects or tuple(name for name in present if name in tested)
        if not subjects:
            raise DataError(
                f"{settings.data}: expected some of the subjects 075 to 124, on whom the paper tests, found "
                f"{', '.join(present[:4])}, ...; choose others with --subjects"
            )
    if settings.quick:
        return subjects[:6], views[:: math.ceil(len(views) / 3)]
    return subjects, views


def _people_a(settings: ReproduceSettings) -> tuple[str, ...] | None:
    """Return the subjects of the cross-database experiment; None takes all."""
    if settings.data_a is None:
        return ("001", "002", "003", "004") if settings.quick else None
    from gaitkeeper.datasets.open import open_sequences

    samples = open_sequences(Path(settings.data_a)).samples
    if protocol_for(samples) != CASIA_A:
        found = ", ".join(sorted({sample.condition for sample in samples})[:8])
        raise DataError(f"{settings.data_a}: expected CASIA-A's takes 1 to 4 from 0, 45 and 90 degrees, found {found}")
    return tuple(sorted({sample.subject for sample in samples}))[:4] if settings.quick else None


def reproduce_temporal_sparse(
    settings: ReproduceSettings, out: Path, *, device: str, progress: Progress
) -> Reproduction:
    """Run the temporal sparse attack's experiments, or go on with them, and write what they gave.

    Writes a folder a part, ``reproduction.json`` with all records and tables, and ``report.html``; the last two
    anew after each part, so that what is done can be looked at.

    Args:
        settings: of the reproduction.
        out: its folder.
        device: where to compute.
        progress: called as probes are done.

    Raises:
        GaitkeeperError: unusable data or weights, or a folder of another reproduction.

    Reference:
        He et al., "Temporal sparse adversarial attack on sequence-based gait recognition", arXiv 2002.09674.
    """
    from gaitkeeper.audit.reproduction import Reproduction, write_reproduction
    from gaitkeeper.audit.run import Outcome, run_audit
    from gaitkeeper.models.generators.gan import load_gan
    from gaitkeeper.models.weights import load_victim

    parts = parts_of(settings)
    # A missing file is better told now than after the parts that do not need it.
    gan = load_gan(settings.generator)
    for name in (*settings.models, *settings.transfer):
        gan.check(load_victim(name).domain)
    outcomes: dict[str, Outcome] = {}
    for part in parts:

        def tell(done: int, total: int, text: str, part: Part = part) -> None:
            progress(done, total, f"{part.name}: {text}")

        folder = out / part.name
        finished = (folder / "summary.json").exists()
        outcomes[part.name] = run_audit(part.settings, folder, cells=part.cells, device=device, progress=tell)
        made = Reproduction(settings=settings.reduced, parts=parts, outcomes=dict(outcomes))
        if part is parts[-1] or not finished:
            write_reproduction(made, out)
    return made
