"""``python -m gaitkeeper.audit.train_judges [NAME ...]``: train the judges of the package, and write their cards."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file

from gaitkeeper import __version__
from gaitkeeper.audit.adaptive import (
    PairJudge,
    Tuning,
    Watch,
    images_of,
    load_pairs,
    load_rvtm,
    weights_path,
)
from gaitkeeper.audit.judges import Judge, JudgeName, Recordings, identification
from gaitkeeper.datasets.base import load_usable
from gaitkeeper.datasets.protocols import CASIA_B
from gaitkeeper.datasets.walkers import WalkerSequences
from gaitkeeper.files import replacing, write_text
from gaitkeeper.metrics.intervals import wilson
from gaitkeeper.models.gait.rvtm import RvtmSettings, fit
from gaitkeeper.models.states import save_state
from gaitkeeper.synthetic.population import Population
from gaitkeeper.training.codes import CodeSettings, fresh_codes, train_codes
from gaitkeeper.training.sampler import IdentitySampler

VIEWS = (0, 36, 72, 90, 144, 180)
"""Views that judges are trained on and measured with, degrees."""

TRAINING, VALIDATION, TEST = range(1, 51), range(77, 85), range(85, 125)
"""Walkers that judges learn from, by whom training is stopped, and by whom they are measured."""

LIMITS: Mapping[str, tuple[str, ...]] = {
    "rvtm": (
        "Fitted to synthetic walkers alone: on recordings of real people its figures are lower, and to be measured.",
        "It knows the views it was fitted to, and no others. How the published parts are joined is our reading.",
        "For evaluating anonymizers, not for identifying people.",
    ),
    "wu-mt": (
        "Trained on synthetic walkers alone: on recordings of real people its figures are lower, and to be measured.",
        "Its images have half the published size, its third convolution is as large as its maps, and it was trained on "
        "people and triplets in place of millions of pairs.",
        "For evaluating anonymizers, not for identifying people.",
    ),
}


def walkers(subjects: Sequence[int], views: Sequence[int] = VIEWS) -> Recordings:
    """Return recordings of walkers under all conditions, as they were made."""
    data = WalkerSequences(Population(), subjects=subjects, views=views)
    kept, silhouettes = load_usable(data, range(len(data.samples)), [])
    found = [data.samples[i] for i in kept]
    return Recordings(
        silhouettes=silhouettes,
        identities=np.array([int(s.subject) for s in found]),
        views=np.array([s.view for s in found]),
        conditions=np.array([s.condition for s in found]),
    )


def enrolled(recordings: Recordings) -> tuple[Recordings, Recordings]:
    """Return the probes and the gallery of CASIA-B's protocol."""
    gallery = np.isin(recordings.conditions, CASIA_B.gallery)
    return recordings.select(~gallery), recordings.select(gallery)


def measured(judge: Judge, recordings: Recordings) -> list[dict[str, Any]]:
    """Return rank 1 and 3 in percent of a judge, by condition and view, with Wilson intervals."""
    probes, gallery = enrolled(recordings)
    scores = judge.scores(probes, gallery)
    figures = []
    for rank in (1, 3):
        for kind, values in identification(scores, probes, gallery, rank=rank).items():
            for condition, names in {**CASIA_B.probes, "all": tuple(np.unique(probes.conditions))}.items():
                chosen = np.isin(probes.conditions, list(names))
                for view in ("all", *np.unique(probes.views).tolist()):
                    counted = values[chosen & (True if view == "all" else probes.views == view)]
                    value, low, high = (100 * share for share in wilson(counted[~np.isnan(counted)]))
                    figures.append(
                        {
                            "data": "walkers", "condition": condition, "view": view, "metric": f"rank{rank}",
                            "gallery": kind, "value": value, "low": low, "high": high, "n": len(counted),
                        }
                    )  # fmt: skip
    return figures


def train_rvtm(path: Path, own: Recordings) -> tuple[Judge, dict[str, Any]]:
    """Fit the view transformation model and write it; returns the judge and its settings."""
    settings = RvtmSettings()
    model = fit(images_of(own), own.identities, own.views, own.conditions, settings=settings)
    with replacing(path) as temporary:
        save_file({key: np.ascontiguousarray(value) for key, value in model.state().items()}, temporary)
    return load_rvtm(path), dataclasses.asdict(settings)


def train_mt(path: Path, own: Recordings, validation: Recordings) -> tuple[Judge, dict[str, Any]]:
    """Train MT, keep the weights that identify most of the validation walkers, and write them."""
    settings = CodeSettings()
    network = fresh_codes(settings, images_of(own)).eval()
    watch = Watch(
        PairJudge(network=network),
        network,
        enrolled(validation),
        Tuning(iterations=settings.iterations, every=100, patience=settings.iterations),
    )
    train_codes(
        network, own.silhouettes, IdentitySampler(
            own.identities, identities=settings.identities, sequences=settings.sequences, seed=settings.seed
        ).batch, own.identities, settings, watch=watch,
        progress=show,
    )  # fmt: skip
    history = [dataclasses.asdict(check) for check in watch.restore()]
    # Half precision is enough for what is compared, and the pairs' convolution holds each code four times.
    save_state(path, copy.deepcopy(network).half(), {"format": "gaitkeeper", "network": "MidTop"})
    return load_pairs(path), {**dataclasses.asdict(settings), "history": history}


def show(done: int, total: int, text: str) -> None:
    """Print every fiftieth line of progress."""
    if done % 50 == 0:
        print(f"{done}/{total} {text}", flush=True)


def main(names: Sequence[str]) -> None:
    """Train judges by name, and write weights and cards into the package."""
    own, validation, test = (walkers(subjects) for subjects in (TRAINING, VALIDATION, TEST))
    for name in names:
        path = weights_path(name)  # type: ignore[arg-type]
        judge, settings = train_rvtm(path, own) if name == "rvtm" else train_mt(path, own, validation)
        figures = measured(judge, test)
        card = {
            "name": f"{name}-walkers",
            "licence": "Apache-2.0",
            "command": f"python -m gaitkeeper.audit.train_judges {name}",
            "training": {
                "gaitkeeper": __version__,
                "data": f"walkers {TRAINING[0]}-{TRAINING[-1]}, chosen on {VALIDATION[0]}-{VALIDATION[-1]}",
                "views": VIEWS,
                "settings": settings,
                "threads": torch.get_num_threads(),
                "device": f"{os.cpu_count()} CPU cores",
            },
            "evaluation": figures,
            "limits": LIMITS[name],
        }
        write_text(path.with_suffix(".json"), json.dumps(card, indent=1) + "\n")
        print(path, next(f for f in figures if f["condition"] == "all" and f["view"] == "all"))


NAMES: tuple[JudgeName, ...] = ("rvtm", "wu-mt")

if __name__ == "__main__":
    main(sys.argv[1:] or NAMES)
