"""What a step of SMART costs beside the network's own passes, and what batches save."""

from __future__ import annotations

import torch

from benchmarks.attacks import least_seconds
from gaitkeeper.attacks.goals import Nontargeted
from gaitkeeper.attacks.smart import Smart
from gaitkeeper.datasets.actors import Actors
from gaitkeeper.datasets.clips import to_skeletons
from gaitkeeper.memory import keep_freed_memory
from gaitkeeper.models.victim import Victim
from gaitkeeper.models.weights import load_victim
from gaitkeeper.motion.motion import Motion
from gaitkeeper.seeding import SampleStreams
from gaitkeeper.synthetic.actions import TEST_ACTORS

STEPS = 20
BATCHES = (1, 8, 64)


def acted(count: int) -> tuple[Motion, torch.Tensor]:
    """Return clips of synthetic actors, of 60 frames each, and their labels."""
    actors = Actors(subjects=TEST_ACTORS, takes=(1,))
    index = range(0, len(actors.samples), len(actors.samples) // count)[:count]
    arrays = [array for array in actors.load(index) if not isinstance(array, Exception)]
    motion = to_skeletons(arrays, actors.layout, fps=actors.fps, frames=60)
    return motion, torch.tensor([actors.samples[i].label for i in index])


def attack(victim: Victim, motion: Motion, labels: torch.Tensor, bones: str, steps: int) -> None:
    smart = Smart(bones="exact" if bones == "exact" else "loss", steps=steps)
    smart(victim, motion, Nontargeted(labels=labels), streams=SampleStreams(0, range(len(motion))))


def step_cost(name: str, motion: Motion, labels: torch.Tensor) -> None:
    """Print the cost of a step, which SMART goes on taking for all clips."""
    victim = load_victim(name)
    network = victim.module.eval().requires_grad_(False)
    assert victim.prepare is not None
    inputs = [x if x is None else x.detach() for x in victim.prepare(motion)]

    def own_passes() -> None:
        for _ in range(STEPS):
            leaf = inputs[0].clone().requires_grad_(True)
            torch.autograd.grad(network(leaf, *inputs[1:]).square().sum(), leaf)

    own, exact, loss = least_seconds(
        own_passes,
        lambda: attack(victim, motion, labels, "exact", STEPS),
        lambda: attack(victim, motion, labels, "loss", STEPS),
        repeats=3,
    )
    for bones, seconds in (("exact bones", exact), ("bones in the loss", loss)):
        ratio = seconds / own
        print(f"{name}: SMART step, {bones} / forward and backward pass: {ratio:.3f} (asked: at most 1.15)")


def throughput(name: str) -> None:
    """Print what a clip costs in batches of several sizes, and how it compares with clips one by one."""
    victim = load_victim(name)
    motion, labels = acted(max(BATCHES))

    def in_batches(size: int) -> None:
        for start in range(0, len(motion), size):
            part = slice(start, start + size)
            attack(victim, motion.select(part), labels[part], "exact", 3)

    times = least_seconds(*(lambda size=size: in_batches(size) for size in BATCHES), repeats=2)
    for size, seconds in zip(BATCHES, times, strict=True):
        print(
            f"{name}: batches of {size}: {1000 * seconds / len(motion) / 3:.1f} ms a clip and step, "
            f"{seconds / times[0]:.2f} of one by one"
        )


def main() -> None:
    """Run on one thread, on shipped networks."""
    keep_freed_memory()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    motion, labels = acted(16)
    for name in ("sgn-actors", "st-gcn-actors", "ctr-gcn-actors", "hrnn-actors"):
        step_cost(name, motion, labels)
        throughput(name)
    torch.set_num_threads(threads)


if __name__ == "__main__":
    main()
