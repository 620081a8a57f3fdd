"""A weight file enters a backbone, by name or path; a report of what was loaded leaves, and nothing stays random in silence."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from mammo.archives.unpack import is_archive, unpacked, visible
from mammo.errors import WeightsError, few_of
from mammo.files import write_text
from mammo.model.backbone import Backbone
from mammo.model.download import default_cache, fetch
from mammo.model.key_maps import SSLD_URLS, mapped, may_be_missing
from mammo.model.tensors import sha256_of
from mammo.model.unpickle import load_pdparams

WEIGHT_ENDINGS = (".pdparams", ".safetensors")


@dataclass(frozen=True)
class LoadReport:
    """Parameter names: `loaded` and `missing` are the network's, `extra` the file's, `misshaped` both have."""

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    misshaped: tuple[str, ...]

    def summary(self) -> str:
        """Tell the four counts in one line, with the first names of what was not loaded."""
        parts = [f"{len(self.loaded)} parameters loaded"]
        for what, names in (("missing", self.missing), ("extra", self.extra), ("mis-shaped", self.misshaped)):
            parts.append(f"{len(names)} {what}" + (f" ({few_of(names)})" if names else ""))
        return ", ".join(parts)


def load_pretrained(
    backbone: Backbone,
    name: str,
    source: str,
    *,
    gray: Literal["sum", "repeat"] = "repeat",
    sha256: str | None = None,
    cache: Path | None = None,
) -> LoadReport:
    """Load weights into a backbone, all or none.

    Args:
        backbone: What is filled; unchanged when anything is wrong.
        name: Its name, such as `ResNet50_vd`.
        source: `ssld` (downloaded once) or the path of a .pdparams or .safetensors file, or of an archive (.zip, .tar, .tar.gz, …)
            that holds one.
        gray: For a one-channel backbone and a file of three: `sum` adds the stem's weights over the input channels, so a gray
            image gives what it gave three times repeated; `repeat` keeps the file's shape and so needs three channels.
        sha256: What the file's hash must be, an archive's own; None does not check, and then a byte that was flipped within
            an array goes unnoticed unless it makes a number infinite.
        cache: Where downloads, and what archives hold, are kept; None is the user's cache folder.

    Raises:
        WeightsError: The file is not there or not this one, a parameter is missing or has another shape, or a value is no
            finite float.
    """
    path = _weight_file(name, source, sha256, cache)
    tensors = mapped(name, load_pdparams(path))
    state = backbone.network.state_dict()
    if gray == "sum":
        tensors = _summed_stem(tensors, {key: tuple(value.shape) for key, value in state.items()})
    report = _compare(name, tensors, {key: tuple(value.shape) for key, value in state.items()})
    _refuse(report, tensors, path, name)
    for key in report.loaded:
        state[key].set_value(np.ascontiguousarray(tensors[key], dtype=np.float32))
    return report


def _weight_file(name: str, source: str, sha256: str | None, cache: Path | None) -> Path:
    if source == "ssld":
        if name not in SSLD_URLS:
            raise WeightsError(
                f"pretrained ssld: none are published for {name}; those that have them: {', '.join(SSLD_URLS)}; "
                "else give the path of a weight file, or none"
            )
        return fetch(SSLD_URLS[name], cache=cache, sha256=sha256)
    try:
        path = Path(source).expanduser()
    except RuntimeError as error:
        raise WeightsError(
            f"{source}: there is no such home folder ({error}); give the path of the weight file without ~"
        ) from None
    if not path.is_file():
        raise WeightsError(
            f"{path}: the weight file is not there; put it there, or set pretrained to ssld, none or another path"
        )
    if sha256 is not None and (got := sha256_of(path)) != sha256:
        raise WeightsError(
            f"{path}: expected SHA-256 {sha256}, got {got}; it is another file or a damaged one: fetch it again"
        )
    return _weights_within(path, cache) if is_archive(path) else path


def _weights_within(archive: Path, cache: Path | None) -> Path:
    """The one weight file that an archive holds, unpacked in the cache."""
    folder = unpacked(archive, (default_cache() if cache is None else cache) / "unpacked", error=WeightsError)
    found = [
        file for file in sorted(folder.rglob("*")) if file.suffix in WEIGHT_ENDINGS and file in visible(file.parent)
    ]
    if len(found) != 1:
        names = ", ".join(str(file.relative_to(folder)) for file in found[:5]) or "none"
        raise WeightsError(
            f"{archive}: expected one .pdparams or .safetensors file in it, got {len(found)} ({names}); unpack it and name one"
        )
    _hold_as_unpacked(found[0], archive, folder)
    return found[0]


def _hold_as_unpacked(file: Path, archive: Path, folder: Path) -> None:
    """Note a file's SHA-256 when it is unpacked, and hold later that it still has it."""
    note, digest = file.with_name(f".{file.name}.sha256"), sha256_of(file)
    if not note.is_file():
        write_text(note, digest)
    elif note.read_text(encoding="utf-8") != digest:
        raise WeightsError(
            f"{file}: is damaged: it has another SHA-256 than when it was unpacked from {archive}; remove {folder}, and run again"
        )


def _summed_stem(tensors: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Add up the input channels of a convolution of which the network has one and the file three: the stem."""
    summed = dict(tensors)
    for key, array in tensors.items():
        wanted = shapes.get(key)
        if (
            wanted is not None
            and array.ndim == 4
            and wanted == (array.shape[0], 1, *array.shape[2:])
            and array.shape[1] == 3
        ):
            summed[key] = array.sum(axis=1, keepdims=True)
            break  # only the stem sees the image
    return summed


def _compare(name: str, tensors: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]]) -> LoadReport:
    both = [key for key in shapes if key in tensors]
    return LoadReport(
        loaded=tuple(key for key in both if tensors[key].shape == shapes[key]),
        missing=tuple(key for key in shapes if key not in tensors),
        extra=tuple(key for key in tensors if key not in shapes),
        misshaped=tuple(
            f"{key} {list(shapes[key])} expected, {list(tensors[key].shape)} in the file"
            for key in both
            if tensors[key].shape != shapes[key]
        ),
    )


def _refuse(report: LoadReport, tensors: Mapping[str, np.ndarray], path: Path, name: str) -> None:
    """Raise when a part of the backbone would stay random."""
    faults = []
    missing = [key for key in report.missing if not may_be_missing(name, key)]
    if missing:
        faults.append(f"{len(missing)} parameters missing ({few_of(missing)})")
    if report.misshaped:
        faults.append(f"{len(report.misshaped)} of another shape ({few_of(report.misshaped)})")
    odd = [key for key in report.loaded if tensors[key].dtype.kind != "f" or not np.isfinite(tensors[key]).all()]
    if odd:
        faults.append(f"{len(odd)} that are not finite floats ({few_of(odd)})")
    if faults:
        raise WeightsError(
            f"{path}: does not fit {name}: {'; '.join(faults)}; give the weights of {name}, or another backbone"
        )
