"""What defines a training run. Free of torch, so that the command line starts fast."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from gaitkeeper.synthetic.population import Population
from gaitkeeper.training.action_settings import ActionNetwork

GaitNetwork = Literal["gaitset", "gaitpart", "gaitgl", "gaitbase", "deepgaitv2"]
NetworkName = GaitNetwork | ActionNetwork
"""Recognizers of gaits, and of actions."""

NARROW: Mapping[NetworkName, tuple[int, ...]] = {
    "gaitset": (16, 32, 64),
    "gaitpart": (16, 32, 64),
    "gaitgl": (16, 32, 64),
    "gaitbase": (16, 32, 64, 128),
    "deepgaitv2": (16, 32, 64, 128),
}
"""Widths that train in minutes to an hour on a few cores, about half or a quarter of the published ones."""


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """Settings of a recognizer's training; the defaults made the shipped weights.

    Args:
        network: the recognizer: of gaits, or of actions, to whose training only this and ``seed`` apply.
        channels: widths of its blocks; without them a narrow network. Published for CASIA-B: 32 64 128 of gaitset,
            gaitpart and gaitgl, 64 128 256 512 of gaitbase and deepgaitv2. Four make the deeper gaitpart and gaitgl
            that were published for OU-MVLP and GREW.
        embedding: channels a part of the embedding; published 256, of gaitpart and gaitgl 128.
        normalize: batch normalization after each convolution. The published gaitset, gaitpart and gaitgl have none;
            gaitbase and deepgaitv2 always have it.
        iterations: optimizer steps.
        identities: different people in a batch (P).
        sequences: sequences of each (K).
        frames: frames drawn from each sequence: any of them for gaitset and gaitbase, to which order means nothing,
            and a window of consecutive ones for the others.
        learning_rate: Adam's.
        milestones: shares of the run after which the learning rate falls to a tenth.
        weight_decay: Adam's, decoupled from the gradient.
        margin: of the triplet loss.
        cross_entropy: weight of the cross-entropy over training identities beside the triplet loss; 0 leaves it out.
        scale: factor on the cross-entropy's logits, which are cosines but for gaitgl; published 16, of gaitgl 1.
        smoothing: label smoothing of the cross-entropy; published 0.1, of gaitgl 0.
        binarize: share of training sequences that are shown as binary masks.
        precision: arithmetic; auto takes bfloat16 where the device computes in it.
        seed: of initialization, batches and frames.
        checkpoint_every: iterations between checkpoints.
        first_subject: first walker to train on.
        last_subject: last walker to train on.
        population: the walkers.
    """

    network: NetworkName = "gaitset"
    channels: tuple[int, ...] | None = None
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
