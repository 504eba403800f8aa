"""``python -m gaitkeeper.audit.card RUN NAME``: put a trained run and its figures into the package.

A run of ``gaitkeeper train`` is shipped under one of ``weights.SHIPPED``, one of ``gaitkeeper train-generator`` under
one of ``gan.SHIPPED_GENERATORS``, and one of ``gaitkeeper train-walking`` under ``walking.SHIPPED_WALKING``.
"""

from __future__ import annotations

import json
import shutil
import sys
from importlib import resources
from pathlib import Path

from gaitkeeper.errors import GaitkeeperError
from gaitkeeper.files import replacing, write_text
from gaitkeeper.models.generators.gan import PARTS, SHIPPED_GENERATORS
from gaitkeeper.models.walking import SHIPPED_WALKING
from gaitkeeper.models.weights import SHIPPED
from gaitkeeper.training.action_settings import ACTION_NETWORKS
from gaitkeeper.training.loop import WEIGHTS
from gaitkeeper.training.walking import ship_walking

LIMITS = (
    "Trained on synthetic walkers alone: on recordings of real people its figures are lower and have to be measured.",
    "Narrower than the published network, and batch-normalized throughout; figures of attacks on the published one may "
    "differ.",
    "For evaluating attacks and defenses, not for identifying people.",
)


ACTION_LIMITS = (
    "Trained on synthetic actors alone, by a short recipe: it knows twenty acted classes of one person and nothing of "
    "recorded people.",
    "Some are narrower than the published network: figures of attacks on the published one may differ.",
    "For evaluating attacks and defenses.",
)

GENERATOR_LIMITS = (
    "Trained on synthetic walkers alone, for minutes and at a quarter of the published width: some silhouettes have "
    "broken limbs or specks.",
    "The judge's scores tell recorded from generated and disturbed walkers; they are no measure of what people notice.",
    "For evaluating attacks and defenses.",
)


def ship_generator(run: Path, name: str, folder: Path) -> Path:
    """Copy a generator with its critics into ``folder`` and write their card beside them.

    Args:
        run: folder with the weights and ``model.json`` of ``gaitkeeper train-generator``, and ``generator.json`` of
            ``gaitkeeper generator``.
        name: one of ``SHIPPED_GENERATORS``.
        folder: where the package keeps its weights.

    Returns:
        The card.

    Raises:
        GaitkeeperError: an unknown name, or a file of the run is missing.
    """
    if name not in SHIPPED_GENERATORS:
        raise GaitkeeperError(f"unknown generator {name!r}; shipped are {', '.join(SHIPPED_GENERATORS)}")
    _expect(run, *(f"{part}.safetensors" for part in PARTS), "model.json", "generator.json")
    for part in PARTS:
        with replacing(folder / f"{part}-{name}.safetensors") as temporary:
            shutil.copyfile(run / f"{part}.safetensors", temporary)
    card = {
        "name": name,
        "licence": "Apache-2.0",
        "command": "make weights",
        "training": json.loads((run / "model.json").read_text(encoding="utf-8")),
        "measures": json.loads((run / "generator.json").read_text(encoding="utf-8")),
        "limits": GENERATOR_LIMITS,
    }
    path = folder / f"generator-{name}.json"
    write_text(path, json.dumps(card, indent=1) + "\n")
    return path


def _expect(run: Path, *names: str) -> None:
    for name in names:
        if not (run / name).is_file():
            raise GaitkeeperError(f"{run / name}: expected a file of a finished and evaluated run, found none")


def ship(run: Path, name: str, folder: Path) -> Path:
    """Copy a run's weights into ``folder`` and write their card beside them.

    Args:
        run: folder with ``model.safetensors`` and ``model.json`` of ``gaitkeeper train``, and ``evaluation.json`` of
            ``gaitkeeper evaluate --out``, of gaits with ``--ablations``.
        name: one of ``SHIPPED``.
        folder: where the package keeps its weights.

    Returns:
        The card.

    Raises:
        GaitkeeperError: an unknown name, or a file of the run is missing.
    """
    if name not in SHIPPED:
        raise GaitkeeperError(f"unknown weights {name!r}; shipped are {', '.join(SHIPPED)}")
    _expect(run, WEIGHTS, "model.json", "evaluation.json")
    with replacing(folder / SHIPPED[name]) as temporary:
        shutil.copyfile(run / WEIGHTS, temporary)
    evaluation = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))
    training = json.loads((run / "model.json").read_text(encoding="utf-8"))
    actions = training.get("network") in ACTION_NETWORKS
    keys = ("data", "stored", "condition", "view", "metric", "value", "low", "high", "n")
    card = {
        "name": name,
        "licence": "Apache-2.0",
        "command": "make weights",
        "training": training,
        "evaluation": [{key: figure[key] for key in (("model", *keys) if actions else keys)} for figure in evaluation],
        "limits": ACTION_LIMITS if actions else LIMITS,
    }
    path = (folder / SHIPPED[name]).with_suffix(".json")
    write_text(path, json.dumps(card, indent=1) + "\n")
    return path


if __name__ == "__main__":
    run, name = Path(sys.argv[1]), sys.argv[2]
    package = Path(str(resources.files("gaitkeeper") / "weights"))
    if name == SHIPPED_WALKING:
        print(ship_walking(run, package))
    else:
        print((ship_generator if name in SHIPPED_GENERATORS else ship)(run, name, package))
