"""Checks in a command's first seconds what would else fail after films were drawn or prepared: places to write, extras, readers."""

import tempfile
from pathlib import Path

from mammo.errors import SettingsError
from mammo.images.readers import readers
from mammo.parallel.cluster import check_address
from mammo.prepare.readers import reader_of
from mammo.settings.schema import Settings


def check_places(settings: Settings) -> None:
    """Check that what reads films is installed, and that a store which is not there yet can be made.

    A store that is there may be another user's, and be read all the same: filling it says what it lacks.

    Raises:
        SettingsError: Naming the data set's setting, the folder, or the extra that is missing.
        ImageError: `data.untrusted` is asked for where the system has no limits for processes.
    """
    reader_of(settings.data)
    if not settings.store_folder.is_dir():
        check_writable(settings.store_folder, "data.store, or output,")
    readers(untrusted=settings.data.untrusted)
    if settings.data.cluster:
        check_address(settings.data.cluster)


def check_writable(folder: Path, key: str) -> None:
    """Make a folder, and a file in it that is removed at once.

    Raises:
        SettingsError: It cannot be made, or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise SettingsError(
            f"{folder}: cannot be written ({error.strerror or error}); set {key} to a folder of yours with space"
        ) from error
