"""What defines the anonymization of a video. Free of heavy imports, so that the command line starts fast."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

MethodName = Literal[
    "replacement",
    "deformation",
    "deformation-strong",
    "st-gan",
    "st-gan-published",
    "noise-gait",
    "blur",
    "pixelate",
    "dilate",
    "black",
    "hide",
]
"""What can be done to people who walk. ``hide`` shows nobody."""


@dataclass(frozen=True, kw_only=True)
class AnonymizeSettings:
    """How a video is anonymized.

    Args:
        method: what is done to people who walk; the default is the one whose worst case over judges was the best.
        strength: scales what a method does, where it can be scaled; 1 is what was measured.
        seed: of everything drawn at random. Without it nothing is stored from which the draws could be repeated.
        faces: cover faces that methods color from the original, or keep them.
        clothes: dress drawn people in about the original's colors, or in any.
        masks: folder of one PNG file a frame, in order of their names, nonzero where people are; instead of our own
            segmentation. What else differs from the empty scene is removed all the same.
        background: a picture of the empty scene; then it is known to be empty, and people who never move are found.
        keep_audio: keep the sound. Voices identify.
        force: anonymize in part what would be refused: obscure all of a video whose camera moves, and take a damaged
            one as far as it can be read.
    """

    method: MethodName = "replacement"
    strength: float = 1.0
    seed: int | None = None
    faces: Literal["cover", "keep"] = "cover"
    clothes: Literal["keep", "random"] = "keep"
    masks: Path | None = None
    background: Path | None = None
    keep_audio: bool = False
    force: bool = False
