"""What defines the training of the video score. Free of torch, so that the command line starts fast."""

from dataclasses import dataclass, field

from gaitkeeper.errors import DataError
from gaitkeeper.synthetic.actions import Acting
from gaitkeeper.synthetic.population import CONDITIONS, VIEWS, Population

TRAIN_WALKERS = range(1, 77)
VALIDATION_WALKERS = range(77, 85)
TEST_WALKERS = range(85, 125)


@dataclass(frozen=True, kw_only=True)
class WalkingTraining:
    """Settings of the training of a walking network; the defaults made the shipped weights.

    Args:
        steps: of the optimizer.
        batch: clips in a step: half are walkers, a quarter actors, a quarter spoiled walkers.
        learning_rate: greatest, of AdamW; it rises over the first twentieth of the steps and falls along a cosine.
        weight_decay: AdamW's.
        smoothing: distance of the labels from 0 and 1.
        widths: channels of the network.
        conditions: walks of each walker that are learned from.
        views: views of each walk, and of each actor's performance.
        frames: of each walk.
        seed: of initialization, clips and their variation.
        checkpoint_every: steps between checkpoints.
        population: the walkers, and how actors are dressed.
        acting: the actors.
    """

    steps: int = 400
    batch: int = 40
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    smoothing: float = 0.01
    widths: tuple[int, int, int, int] = (16, 32, 48, 96)
    conditions: int = 4
    views: int = 2
    frames: int = 60
    seed: int = 0
    checkpoint_every: int = 100
    population: Population = field(default_factory=Population)
    acting: Acting = field(default_factory=Acting)

    def __post_init__(self) -> None:
        most = {"conditions": len(CONDITIONS), "views": len(VIEWS)}
        for name in ("steps", "batch", "conditions", "views", "checkpoint_every"):
            value, high = getattr(self, name), most.get(name)
            if value < 1 or (high is not None and value > high):
                raise DataError(f"walking: expected {name} of {f'1 to {high}' if high else 'at least 1'}, got {value}")
        if self.batch < 4:
            raise DataError(f"walking: expected a batch of at least 4 clips, got {self.batch}")
        if self.frames < 48:
            raise DataError(f"walking: expected walks of at least 48 frames, got {self.frames}")
        if not self.learning_rate > 0:
            raise DataError(f"walking: expected a positive learning rate, got {self.learning_rate}")
