"""Where real data lie, for the tests that use them: they are no part of the project."""

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("MAMMO_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


def needs(*parts: str) -> pytest.MarkDecorator:
    """Skip a test where a file or folder of the real data is absent."""
    return pytest.mark.skipif(
        not SHARED.joinpath(*parts).exists(),
        reason=f"{'/'.join(parts)} is not there: real data are not part of the project",
    )
