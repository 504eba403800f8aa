"""``python -m gaitkeeper.audit.card RUN NAME``: put a trained run and its figures into the package."""

from __future__ import annotations

import json
import shutil
import sys
from importlib import resources
from pathlib import Path

from gaitkeeper.errors import GaitkeeperError
from gaitkeeper.files import replacing, write_text
from gaitkeeper.models.weights import SHIPPED
from gaitkeeper.training.loop import WEIGHTS

LIMITS = (
    "Trained on synthetic walkers alone: on recordings of real people its figures are lower and have to be measured.",
    "Narrower than the published network (channels 32 64 128, 256 a part) and batch-normalized; figures of attacks on "
    "the published one may differ.",
    "For evaluating attacks and defenses, not for identifying people.",
)


def ship(run: Path, name: str, folder: Path) -> Path:
    """Copy a run's weights into ``folder`` and write their card beside them.

    Args:
        run: folder with ``model.safetensors`` and ``model.json`` of ``gaitkeeper train``, and ``evaluation.json`` of
            ``gaitkeeper evaluate --ablations --out``.
        name: one of ``SHIPPED``.
        folder: where the package keeps its weights.

    Returns:
        The card.

    Raises:
        GaitkeeperError: an unknown name, or a file of the run is missing.
    """
    if name not in SHIPPED:
        raise GaitkeeperError(f"unknown weights {name!r}; shipped are {', '.join(SHIPPED)}")
    for needed in (WEIGHTS, "model.json", "evaluation.json"):
        if not (run / needed).is_file():
            raise GaitkeeperError(f"{run / needed}: expected a file of a finished and evaluated run, found none")
    with replacing(folder / SHIPPED[name]) as temporary:
        shutil.copyfile(run / WEIGHTS, temporary)
    evaluation = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))
    card = {
        "name": name,
        "licence": "Apache-2.0",
        "command": "make weights",
        "training": json.loads((run / "model.json").read_text(encoding="utf-8")),
        "evaluation": [
            {key: figure[key] for key in ("data", "stored", "condition", "view", "metric", "value", "low", "high", "n")}
            for figure in evaluation
        ],
        "limits": LIMITS,
    }
    path = (folder / SHIPPED[name]).with_suffix(".json")
    write_text(path, json.dumps(card, indent=1) + "\n")
    return path


if __name__ == "__main__":
    print(ship(Path(sys.argv[1]), sys.argv[2], Path(str(resources.files("gaitkeeper") / "weights"))))
