"""Shared by all tests: one thread, and the folder of reference data beside the repository."""

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import pytest
import torch

torch.set_num_threads(1)
hypothesis.settings.register_profile("gaitkeeper", deadline=None, derandomize=True)
hypothesis.settings.load_profile("gaitkeeper")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    if not SHARED.is_dir():
        pytest.skip(f"the reference data are not beside the repository ({SHARED})")
    return SHARED
