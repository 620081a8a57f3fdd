"""What several test modules begin with."""

from pathlib import Path

import pytest

from tests.tiny import write_films


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the tiny set's films and their manifest, for one module's runs."""
    folder = tmp_path_factory.mktemp("films")
    write_films(folder)
    return folder
