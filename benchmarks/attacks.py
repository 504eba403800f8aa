"""What a step of PGD costs beside the network's own passes, and beside foolbox's PGD.

Times are the least of several interleaved runs, so that what else the machine does hardly matters.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from gaitkeeper.attacks.goals import Nontargeted
from gaitkeeper.attacks.gradient import PGD
from gaitkeeper.attacks.threats import Linf
from gaitkeeper.datasets.base import to_motion
from gaitkeeper.datasets.walkers import WalkerSequences
from gaitkeeper.memory import keep_freed_memory
from gaitkeeper.models.gait.gaitset import GaitSet
from gaitkeeper.models.victim import Gallery, Identifier, Victim, embed
from gaitkeeper.models.weights import for_convolutions, load_victim
from gaitkeeper.motion.motion import SILHOUETTES, Motion
from gaitkeeper.seeding import SampleStreams
from gaitkeeper.synthetic.population import Population

STEPS = 10
REPEATS = 5


def least_seconds(*runs: Callable[[], object], repeats: int = REPEATS) -> list[float]:
    """Return the least time of each, run in turn after one run to warm up."""
    times = [float("inf")] * len(runs)
    for repeat in range(repeats + 1):
        for i, run in enumerate(runs):
            start = time.perf_counter()
            run()
            if repeat:
                times[i] = min(times[i], time.perf_counter() - start)
    return times


def walkers(condition: str, subjects: range, views: tuple[int, ...], *, frames: int = 30) -> tuple[Motion, Tensor]:
    data = WalkerSequences(Population(), subjects=subjects, conditions=(condition,), views=views, frames=frames)
    arrays = [a for a in data.load(range(len(data.samples))) if not isinstance(a, Exception)]
    motion = to_motion(arrays, [s.view for s in data.samples])
    return motion, torch.tensor([subjects.index(int(s.subject)) for s in data.samples])


class LogitView(nn.Module):
    """The identifier as an image classifier, the way foolbox wants it."""

    def __init__(self, identifier: Identifier) -> None:
        super().__init__()
        self.identifier = identifier
        self.network = identifier.victim.module

    def forward(self, x: Tensor) -> Tensor:
        return self.identifier(Motion(data=x)).decisions()[0][:, 0]


def step_cost(name: str, victim: Victim, motion: Motion, labels: Tensor, identifier: Identifier) -> None:
    """Print the cost of a step. The budget is too small to survive rounding, so that no sample stops early."""
    network = victim.module.eval().requires_grad_(False)
    attack, threat = PGD(steps=STEPS), Linf(eps=0.4 / 255)
    goal = Nontargeted(labels=labels)

    def own_passes() -> None:
        for _ in range(STEPS):
            leaf = motion.data.clone().requires_grad_(True)
            torch.autograd.grad(network(leaf).square().sum(), leaf)

    def pgd() -> None:
        attack(identifier, motion, goal, threat=threat, streams=SampleStreams(0, range(len(motion))))

    own, ours = least_seconds(own_passes, pgd)
    print(f"{name}: PGD step / forward and backward pass of the network: {ours / own:.3f} (asked: at most 1.15)")


def beside_foolbox(motion: Motion, labels: Tensor, identifier: Identifier) -> None:
    """Print time and finds of PGD at equal settings: loss, budget, steps and step size."""
    try:
        import eagerpy
        import foolbox
    except ImportError:
        print("foolbox is not installed: pip install 'gaitkeeper[foolbox]'")
        return
    classifier = LogitView(identifier).eval()
    model = foolbox.PyTorchModel(classifier, bounds=(0, 1), device="cpu")
    goal = Nontargeted(labels=labels, kind="cross-entropy")
    for levels in (2, 4, 8):
        eps = levels / 255
        step_size = 2.5 * eps / STEPS
        theirs_attack = foolbox.attacks.LinfPGD(steps=STEPS, abs_stepsize=step_size, random_start=True)
        found: dict[str, Tensor] = {}

        def theirs(attack=theirs_attack, eps=eps, found=found) -> None:
            images, truth = eagerpy.astensors(motion.data, labels)
            _, clipped, _ = attack(model, images, foolbox.criteria.Misclassification(truth), epsilons=eps)
            stored = motion.with_data(identifier.domain.harden(clipped.raw))
            with torch.no_grad():
                found["theirs"] = goal.success(identifier(stored))

        def ours(eps=eps, step_size=step_size, found=found) -> None:
            streams = SampleStreams(0, range(len(motion)))
            attack = PGD(steps=STEPS, step_size=step_size)
            found["ours"] = attack(identifier, motion, goal, threat=Linf(eps=eps), streams=streams).success

        torch.manual_seed(0)
        slow, fast = least_seconds(theirs, ours, repeats=2)
        a, b = found["ours"], found["theirs"]
        counts = f"ours fools {int(a.sum())}, foolbox {int(b.sum())}, foolbox alone {int((b & ~a).sum())}"
        print(f"L-inf {levels}/255: time ours / foolbox {fast / slow:.2f}; of {len(motion)} probes {counts}")


def main() -> None:
    """Run on one thread, on the shipped network and on the published width."""
    keep_freed_memory()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    subjects, views = range(75, 91), (54, 90)
    gallery_motion, owners = walkers("nm-01", subjects, views)
    probes, labels = walkers("nm-05", subjects, (72,))
    torch.manual_seed(0)
    published = Victim(for_convolutions(GaitSet().eval()), SILHOUETTES)
    for name, victim in (("shipped GaitSet", load_victim("gaitset-walkers")), ("published width", published)):
        gallery = Gallery(embedding=embed(victim, [gallery_motion]), identities=owners, names=tuple(map(str, subjects)))
        identifier = Identifier(victim, gallery)
        few = slice(0, 8)
        step_cost(name, victim, probes.select(few), labels[few], identifier)
        if name.startswith("shipped"):
            beside_foolbox(probes, labels, identifier)
    torch.set_num_threads(threads)


if __name__ == "__main__":
    main()
