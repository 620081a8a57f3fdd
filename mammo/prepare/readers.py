"""Reads the data set that `data.kind` names; a new data set is a row of `READERS` and a file with its reader."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from mammo.archives.unpack import data_root
from mammo.cases import cbis_ddsm, manifest
from mammo.cases.table import DataSetWords, LesionTable, select_lesions
from mammo.errors import SettingsError, did_you_mean
from mammo.images.decode import readers
from mammo.parallel.spread import check_address
from mammo.phantom import draw
from mammo.prepare.locate import locate_files
from mammo.settings.schema import DataSettings, Settings
from mammo.settings.types import CROPPED


@dataclass(frozen=True)
class Reader:
    """How a data set is read.

    Attributes:
        words: What reports say about it.
        needs: The key of `data` that must be set, and what it is; None where none is needed.
        read: Reads the lesion table, without what settings leave out; it may unpack or generate the data set.
    """

    words: DataSetWords
    needs: tuple[str, str] | None
    read: Callable[[Settings], LesionTable]


def _read_cbis_ddsm(settings: Settings) -> LesionTable:
    return _read_series(settings.data, data_root(Path(settings.data.root or ""), settings.store_folder))


def _read_manifest(settings: Settings) -> LesionTable:
    return select_lesions(manifest.read_manifest(Path(settings.data.manifest or "")), settings.data)


def _read_phantom(settings: Settings) -> LesionTable:
    return _read_series(settings.data, draw.make_phantom(settings))


def _read_series(data: DataSettings, root: Path) -> LesionTable:
    """Read a table that names DICOM series, and find their files below `root`."""
    table = select_lesions(cbis_ddsm.read_cbis_ddsm(data, root), data)
    need_masks = data.task in CROPPED
    return locate_files(table, root, missing=data.bad_images, need_masks=need_masks, untrusted=data.untrusted)


READERS = {
    "cbis_ddsm": Reader(cbis_ddsm.WORDS, ("root", "the folder that holds CBIS-DDSM"), _read_cbis_ddsm),
    "manifest": Reader(manifest.WORDS, ("manifest", "the path of a CSV file"), _read_manifest),
    "phantom": Reader(draw.WORDS, None, _read_phantom),
}


def reader_of(data: DataSettings) -> Reader:
    """Return the reader that `data.kind` names.

    Raises:
        SettingsError: There is no such reader, or a setting that it needs is missing.
    """
    if data.kind not in READERS:
        advice = did_you_mean(data.kind, READERS)
        raise SettingsError(f"data.kind: expected one of {', '.join(READERS)}, got {data.kind[:100]!r}{advice}")
    reader = READERS[data.kind]
    if reader.needs and getattr(data, reader.needs[0]) is None:
        raise SettingsError(f"data: kind {data.kind} needs data.{reader.needs[0]}, {reader.needs[1]}")
    return reader


def read_lesions(settings: Settings) -> LesionTable:
    """Read the lesion table of the data set that settings name, without what they leave out.

    Raises:
        SettingsError: `data.kind` is unknown, or a setting that it needs is missing.
        DataMissingError: The data set, or a film of it, is not there.
        CaseError: Its tables break their contract.
    """
    table = reader_of(settings.data).read(settings)
    aspect = table.frame["pixel_aspect"].fillna(settings.data.pixel_aspect)
    return replace(table, frame=table.frame.assign(pixel_aspect=aspect))


def words_of(kind: str) -> DataSetWords:
    """Return what reports say about a kind of data set; about an unknown one, that nothing is known."""
    if kind in READERS:
        return READERS[kind].words
    unknown = f"{kind}: not known to this version of mammo."
    return DataSetWords(unknown, unknown_because="the data set is not known here")


def check_places(settings: Settings) -> None:
    """Check at a command's start that the readers are installed, and that a new store can be created.

    An existing store may be another user's and can still be read; filling it reports what is missing.

    Raises:
        SettingsError: Names the data set's setting, the folder, or the missing extra.
        DataMissingError: The data set is not there.
        ImageError: `data.untrusted` is set, and the system has no limits for processes.
    """
    reader = reader_of(settings.data)
    if reader.words.generated:
        _check_nothing_is_ignored(settings.data)
    elif reader.needs and not Path(getattr(settings.data, reader.needs[0])).exists():
        reader.read(settings)  # fails, and says where to get the data
    if not settings.store_folder.is_dir():
        check_writable(settings.store_folder, "data.store, or output,")
    readers(untrusted=settings.data.untrusted)
    if settings.data.cluster:
        check_address(settings.data.cluster)


def _check_nothing_is_ignored(data: DataSettings) -> None:
    """Raise SettingsError if a data set is given beside a kind that generates its films."""
    for kind, reader in READERS.items():
        if reader.needs and getattr(data, reader.needs[0]) is not None:
            given = f"data.{reader.needs[0]} is set, but data.kind is {data.kind}, which generates its films"
            raise SettingsError(f"{given}; add -o data.kind={kind}, or remove data.{reader.needs[0]}")


def check_writable(folder: Path, key: str) -> None:
    """Create a folder, and a file in it that is removed at once, or raise SettingsError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        advice = f"set {key} to a folder of yours with space"
        raise SettingsError(f"{folder}: cannot be written ({error.strerror or error}); {advice}") from error
