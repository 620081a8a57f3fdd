"""What several test modules begin with; of several test processes, each computes on one thread."""

import os
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from tests.tiny import write_films


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the tiny set's films and their manifest, for one module's runs."""
    folder = tmp_path_factory.mktemp("films")
    write_films(folder)
    return folder
