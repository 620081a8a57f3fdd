"""Fixtures of several test modules, the order of modules, and which of them run on one stack only."""

import os
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from tests.tiny import write_films

# The longest modules begin first, so that no process works on alone at the end (measured, the longest first).
LONGEST = (
    "test_search.py",
    "test_resume.py", "test_odd_places.py", "test_faults.py", "test_run_damage.py", "test_distributed.py",
    "test_cluster.py", "test_export.py", "test_judging_commands.py", "test_header_secrets.py", "test_folds.py",
    "test_store_workers.py", "test_commands.py", "test_fuzz_dicom.py", "test_twins_score.py", "test_training.py",
    "test_phantom.py", "test_bench.py",
)  # fmt: skip
# These depend on neither paddle nor NumPy's version: tables, settings, archives, downloads, copies without names, the
# sandbox, reports, the structure of the code. `-m "not one_stack"` leaves them out.
ONE_STACK = (
    "test_unpack.py", "test_damaged_archives.py", "test_cases.py", "test_contradictions.py", "test_identity.py",
    "test_words.py", "test_fuzz_tables.py", "test_fuzz_scores.py", "test_fuzz_settings.py", "test_settings.py",
    "test_floors.py", "test_untrusted.py", "test_download.py", "test_download_replaced.py", "test_deidentify.py",
    "test_deidentify_command.py", "test_sandbox.py", "test_hostile_process.py", "test_page.py", "test_checklist.py",
    "test_model_card.py", "test_header_secrets.py", "test_store_sources.py", "test_judging_commands.py",
    "test_bench.py", "test_main.py", "test_docs.py", "test_assessments.py", "test_reader.py", "test_grid.py",
    "test_run_commands.py",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark and order the tests by their module's name."""
    order = {name: number for number, name in enumerate(LONGEST)}
    for item in items:
        if item.path.name in ONE_STACK:
            item.add_marker(pytest.mark.one_stack)
    items.sort(key=lambda item: order.get(item.path.name, len(order)))


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the tiny set's films and their manifest, for one module's runs."""
    folder = tmp_path_factory.mktemp("films")
    write_films(folder)
    return folder
