"""What an iteration of the temporal sparse attack costs: beside recomputing the sequence, and its networks' passes.

One frame of forty is altered. Times are the least of several interleaved runs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.attacks import least_seconds, walkers
from gaitkeeper.attacks.goals import Rejected
from gaitkeeper.attacks.splice import Spliced, place
from gaitkeeper.attacks.temporal_sparse import TemporalSparse
from gaitkeeper.memory import keep_freed_memory
from gaitkeeper.models.gait.gaitset import GaitSet
from gaitkeeper.models.generators.gan import SilhouetteGAN, load_gan
from gaitkeeper.models.victim import Victim, embed, undisturbed
from gaitkeeper.models.weights import for_convolutions, load_victim
from gaitkeeper.motion.motion import SILHOUETTES, Motion
from gaitkeeper.seeding import SampleStreams

SHARE = 1 / 40
STEPS = 50


def gradient_of(victim: Victim | Spliced, motion: Motion, data: Tensor) -> Tensor:
    """Return the gradient of the squared embedding."""
    leaf = data.clone().requires_grad_(True)
    embedding = victim(motion.with_data(leaf)).embedding
    assert embedding is not None
    return torch.autograd.grad(embedding.square().sum(), leaf)[0]


def share_of_victim(name: str, victim: Victim, motion: Motion) -> None:
    """Print how much faster the victim's forward and backward pass is when the other frames are kept."""
    streams = SampleStreams(0, range(len(motion)))
    spliced = Spliced(victim, place(motion, SHARE, where="random", streams=streams))
    frames = spliced.frames
    with torch.no_grad():
        kept, whole = spliced(frames).embedding, victim(motion).embedding
    assert kept is not None
    assert whole is not None
    slow, fast = least_seconds(
        lambda: gradient_of(victim, motion, motion.data), lambda: gradient_of(spliced, frames, frames.data)
    )
    difference = float((kept - whole).abs().max())
    print(
        f"{name}: whole sequence / one frame with the others kept: {slow / fast:.1f} (asked: at least 10); "
        f"embeddings differ by at most {difference:.1e} of {float(whole.abs().max()):.2g} (asked: 1e-5)"
    )


def iteration(name: str, victim: Victim, motion: Motion, gan: SilhouetteGAN) -> None:
    """Print what an iteration costs beside one forward and backward pass of generator, critic and victim."""
    keys = range(len(motion))
    attack = TemporalSparse(gan=gan, sparsity=SHARE, steps=STEPS)
    spliced = Spliced(victim, place(motion, SHARE, streams=SampleStreams(0, keys)))
    # A distance that cannot be exceeded, so that no sample stops early.
    goal = Rejected(reference=embed(victim, [motion]), threshold=float("inf"))
    latents = torch.randn(len(motion), gan.generator.latent)

    def own_passes() -> None:
        for _ in range(STEPS):
            leaf = latents.clone().requires_grad_(True)
            silhouettes = gan.silhouettes(leaf)
            with undisturbed(gan.critic.module):
                score = gan.critic.scores(silhouettes).sum()
            embedding = spliced(spliced.frames.with_data(silhouettes[:, None])).embedding
            assert embedding is not None
            torch.autograd.grad(embedding.square().sum() + score, leaf)

    def attacked() -> None:
        attack.on(spliced, goal, streams=SampleStreams(0, keys))

    own, ours = least_seconds(own_passes, attacked)
    print(f"{name}: iteration / forward and backward passes of its networks: {ours / own:.3f} (asked: at most 1.15)")


def main() -> None:
    """Run on one thread, on the shipped network and on the published width."""
    keep_freed_memory()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    motion, _ = walkers("nm-05", range(75, 83), (72,), frames=40)
    gan = load_gan("walkers")
    torch.manual_seed(0)
    published = Victim(for_convolutions(GaitSet().eval()), SILHOUETTES)
    for name, victim in (("shipped GaitSet", load_victim("gaitset-walkers")), ("published width", published)):
        share_of_victim(name, victim, motion)
        iteration(name, victim, motion, gan)
    torch.set_num_threads(threads)


if __name__ == "__main__":
    main()
