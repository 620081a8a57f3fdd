"""Checks at a command's start what would otherwise fail after films are prepared: writable places and extras."""

import tempfile
from pathlib import Path

from mammo.errors import SettingsError
from mammo.images.decode import readers
from mammo.parallel.spread import check_address
from mammo.prepare.readers import reader_of
from mammo.settings.schema import Settings


def check_places(settings: Settings) -> None:
    """Check that the film readers are installed, and that a new store can be created.

    An existing store may be another user's and can still be read; filling it reports what is missing.

    Raises:
        SettingsError: Names the data set's setting, the folder, or the missing extra.
        ImageError: `data.untrusted` is set, and the system has no limits for processes.
    """
    reader_of(settings.data)
    if not settings.store_folder.is_dir():
        check_writable(settings.store_folder, "data.store, or output,")
    readers(untrusted=settings.data.untrusted)
    if settings.data.cluster:
        check_address(settings.data.cluster)


def check_writable(folder: Path, key: str) -> None:
    """Create a folder, and a file in it that is removed at once.

    Raises:
        SettingsError: It cannot be created or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise SettingsError(
            f"{folder}: cannot be written ({error.strerror or error}); set {key} to a folder of yours with space"
        ) from error
