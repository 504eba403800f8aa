"""What defines a training run. Free of torch, so that the command line starts fast."""

from dataclasses import dataclass, field
from typing import Literal

from gaitkeeper.synthetic.population import Population


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """Settings of a recognizer's training; the defaults made the shipped weights.

    Args:
        channels: widths of GaitSet's three blocks; 32 64 128 is the published network for CASIA-B.
        embedding: channels a part of the embedding; published 256.
        normalize: batch normalization after each convolution; the published network has none.
        iterations: optimizer steps.
        identities: different people in a batch (P).
        sequences: sequences of each (K).
        frames: frames drawn from each sequence, without order.
        learning_rate: Adam's.
        milestones: shares of the run after which the learning rate falls to a tenth.
        weight_decay: Adam's, decoupled from the gradient.
        margin: of the triplet loss.
        cross_entropy: weight of the cross-entropy over training identities beside the triplet loss; 0 leaves it out.
        scale: factor on the cross-entropy's cosine logits.
        smoothing: label smoothing of the cross-entropy.
        binarize: share of training sequences that are shown as binary masks.
        precision: arithmetic; auto takes bfloat16 where the device computes in it.
        seed: of initialization, batches and frames.
        checkpoint_every: iterations between checkpoints.
        first_subject: first walker to train on.
        last_subject: last walker to train on.
        population: the walkers.
    """

    channels: tuple[int, int, int] = (16, 32, 64)
    embedding: int = 128
    normalize: bool = True
    iterations: int = 3000
    identities: int = 8
    sequences: int = 8
    frames: int = 10
    learning_rate: float = 1e-3
    milestones: tuple[float, ...] = (0.6, 0.85)
    weight_decay: float = 5e-4
    margin: float = 0.2
    cross_entropy: float = 0.5
    scale: float = 16.0
    smoothing: float = 0.1
    binarize: float = 0.3
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    seed: int = 0
    checkpoint_every: int = 250
    first_subject: int = 1
    last_subject: int = 74
    population: Population = field(default_factory=Population)
