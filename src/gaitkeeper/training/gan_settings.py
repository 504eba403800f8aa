"""What defines the training of a silhouette generator. Free of torch, so that the command line starts fast."""

from dataclasses import dataclass, field
from typing import Literal

from gaitkeeper.synthetic.population import Population


@dataclass(frozen=True, kw_only=True)
class GeneratorSettings:
    """Settings of a WGAN-GP's training; the defaults made the shipped weights.

    Args:
        width: channels before the generator's last and after the critic's first convolution; published 64.
        rows: of a generated picture, a multiple of 16; published 64.
        columns: of a generated picture, a multiple of 16; published 64. The victim's 44 are the middle ones.
        latent: dimensions of a latent.
        sphere: draw latents uniformly from the sphere of radius sqrt(latent), where the attack moves them, in place
            of a normal distribution.
        iterations: generator steps; published 16000.
        critic_steps: critic steps before each; published 5.
        judge_steps: steps of a second critic against the finished generator and disturbed recordings; it scores what
            attacks make and no attack ever sees it.
        batch: pictures in a step.
        learning_rate: Adam's, falling linearly to zero over the last half of the run; published 1e-4, constant.
        gradient_penalty: weight of the penalty on the critic's slope.
        averaging: weight of the past in the moving average of the generator's weights that is kept.
        frames: frames of each sequence to learn from.
        precision: arithmetic; auto takes bfloat16 where the device computes in it.
        seed: of initialization, pictures and latents.
        checkpoint_every: iterations between checkpoints.
        first_subject: first walker to learn from.
        last_subject: last walker to learn from.
        population: the walkers.
    """

    width: int = 16
    rows: int = 64
    columns: int = 48
    latent: int = 128
    sphere: bool = True
    iterations: int = 760
    critic_steps: int = 3
    judge_steps: int = 300
    batch: int = 64
    learning_rate: float = 3e-4
    gradient_penalty: float = 10.0
    averaging: float = 0.995
    frames: int = 20
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    seed: int = 0
    checkpoint_every: int = 50
    first_subject: int = 1
    last_subject: int = 74
    population: Population = field(default_factory=Population)
