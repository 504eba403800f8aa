"""Shared by the tests of skeleton networks: the outputs of the official ones."""

import sys

import pytest


@pytest.fixture(scope="session")
def packs(shared):
    sys.path.insert(0, str(shared / "conformance"))
    import check_example

    yield check_example
    sys.path.remove(str(shared / "conformance"))
