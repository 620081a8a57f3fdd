"""A run folder enters; a folder that answers without paddle's training code leaves: programs, manifest, and proof of equal scores."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from mammo import __version__
from mammo.cases.splits import PARTS
from mammo.errors import SettingsError, WeightsError, first_line
from mammo.evaluation.calibration import log_odds
from mammo.files import flush_folder, read_json, write_text
from mammo.inference.load import LoadedRun, input_form, load_run
from mammo.inference.score import part_loader
from mammo.judging.run_cases import read_split
from mammo.model.frozen import PARAMETERS_ENDING, PROGRAM_ENDINGS, silent
from mammo.model.network import DeployedNet
from mammo.model.tensors import sha256_of
from mammo.prepare.gather import PreparedSplit, gather_split, prepare_split
from mammo.progress import track
from mammo.runs import network_sha256, read_hash
from mammo.runtime import available_cores, paddle
from mammo.serving.engines import NETWORK, ONNX_FILE, installed_engines, open_engine
from mammo.serving.export_description import MANIFEST_FILE, Manifest, Origin, Parity

CLOSE_ENOUGH = 1e-4  # of logits up to 1, and of larger ones as a share: scores then differ by less than a third of it
OPSET = 17
VERSIONS = ("paddlepaddle", "paddlepaddle-gpu", "paddle2onnx", "numpy")


@dataclass(frozen=True)
class Proof:
    """Real cases as arrays, and the logits that the checkpoint gives them."""

    batches: tuple[tuple[np.ndarray, np.ndarray], ...]
    logits: np.ndarray


def export_run(folder: Path, out: Path, *, images: int = 100) -> Manifest:
    """Export a run's best network.

    Args:
        folder: The run.
        out: The new folder; it is written beside and gets its name when it is whole and proved.
        images: On so many of the run's own cases, spread over its parts, every engine installed must agree with the checkpoint.

    Returns:
        The export's manifest.

    Raises:
        SettingsError: `out` is there already, or paddle2onnx is not installed.
        WeightsError: The run has no whole checkpoint, it cannot be converted, or an engine's logits differ by `CLOSE_ENOUGH` or more.
        DataMissingError: The run has not ended, or its films are gone.
    """
    if out.exists() or out.is_symlink():
        raise SettingsError(f"--out {out}: expected a name that is free; an export is not written over another")
    converter = _converter()
    run = load_run(folder)
    prepared = prepare_split(run.settings, gather_split(run.settings))
    proof = prove(run, prepared, images)
    with _folder_beside(out) as beside:
        _write_programs(run, beside, converter)
        parity = {name: compare(beside, name, proof) for name in installed_engines()}
        manifest = _manifest(run, beside, parity)
        write_text(beside / MANIFEST_FILE, manifest.model_dump_json(indent=1))
    return manifest


def _converter() -> Any:
    try:
        import paddle2onnx
    except ImportError as error:
        raise SettingsError(
            f"paddle2onnx is not installed ({first_line(error)}); pip install 'mammo[export]' brings it"
        ) from None
    found = version("paddle2onnx")
    if paddle.__version__.startswith("2.") and not found.startswith("1."):
        raise SettingsError(
            f"paddle2onnx {found} is for paddlepaddle 3, this is {paddle.__version__}; pip install 'paddle2onnx<2'"
        )
    return paddle2onnx


@contextmanager
def _folder_beside(out: Path) -> Iterator[Path]:
    """A new folder that takes its name when the block ends well, and is removed when it does not."""
    out.parent.mkdir(parents=True, exist_ok=True)
    beside = out.with_name(f".{out.name}.{os.getpid()}")
    beside.mkdir()
    try:
        yield beside
        flush_folder(beside)
        beside.rename(out)
        flush_folder(out.parent)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def prove(run: LoadedRun, prepared: PreparedSplit, images: int) -> Proof:
    """Score some of a run's own cases by its checkpoint, taken from each part in turn, so that even a few come from all."""
    parts = [prepared.split.rows(part) for part in PARTS]
    places = np.concatenate([np.arange(len(rows)) for rows in parts])
    rows = np.concatenate(parts)[np.argsort(places, kind="stable")][:images]
    batches, logits = [], []
    loader = part_loader(run.settings, prepared, rows)
    with paddle.no_grad():
        for image, present, *_ in track(loader, len(loader), "scoring by the checkpoint"):
            batches.append((image.numpy(), present.numpy()))
            logits.append(log_odds(run.network(image, present).astype("float32").numpy()))
    return Proof(tuple(batches), np.concatenate(logits))


def _write_programs(run: LoadedRun, folder: Path, converter: Any) -> None:
    """Write paddle's program and parameters, and the same as ONNX."""
    form = input_form(run.settings)
    spec = [paddle.static.InputSpec([None, *form.shape], "float32", "image")]
    if form.views > 1:
        spec.append(paddle.static.InputSpec([None, form.views], "bool", "present"))
    with silent():
        paddle.jit.save(DeployedNet(run.network, views=form.views), str(folder / NETWORK), input_spec=spec)
    program = next(
        folder / f"{NETWORK}{ending}" for ending in PROGRAM_ENDINGS if (folder / f"{NETWORK}{ending}").is_file()
    )
    parameters = folder / f"{NETWORK}{PARAMETERS_ENDING}"
    # From 2.0 its optimizer may install packages by itself, and its default opset is below what pooling needs.
    how = {"optimize_tool": None} if int(version("paddle2onnx").split(".")[0]) >= 2 else {}
    try:
        with silent():
            converter.export(
                str(program), str(parameters), save_file=str(folder / ONNX_FILE), opset_version=OPSET, **how
            )
    except Exception as error:  # its C++ throws what it likes
        raise WeightsError(
            f"{run.folder}: paddle2onnx cannot convert {run.settings.model.backbone} ({first_line(error)})"
        ) from error
    if not (folder / ONNX_FILE).is_file():
        raise WeightsError(f"{run.folder}: paddle2onnx cannot convert {run.settings.model.backbone}; it wrote nothing")
    parameters.with_name(f"{parameters.name}.info").unlink(missing_ok=True)  # paddle 2's notes for its own training


def compare(folder: Path, name: str, proof: Proof) -> Parity:
    """Compare an engine with the checkpoint.

    Raises:
        WeightsError: They differ.
    """
    engine = open_engine(folder, name, threads=available_cores())
    logits = np.concatenate(
        [engine(*batch) for batch in track(proof.batches, len(proof.batches), f"scoring by {name}")]
    )
    largest = float((np.abs(logits - proof.logits) / np.maximum(1, np.abs(proof.logits))).max())
    if not largest < CLOSE_ENOUGH:
        raise WeightsError(
            f"{name} gives other logits than the checkpoint, by up to {largest:.2g} on {len(logits)} images (expected below "
            f"{CLOSE_ENOUGH:g}); nothing was exported"
        )
    return Parity(images=len(logits), largest_difference=largest)


def _manifest(run: LoadedRun, folder: Path, parity: dict[str, Parity]) -> Manifest:
    split = read_split(run.folder)
    learnt = split[split["part"] == "train"]
    origin = Origin(
        run=f"{run.folder.parent.name}/{run.folder.name}",
        network_sha256=network_sha256(run.folder),
        data=run.settings.data.kind,
        patients=int(learnt["patient_id"].nunique()),
        cases=len(learnt),
        split_sha256=read_hash(run.folder, "split_sha256"),
    )
    return Manifest(
        task=run.settings.data.task,
        form=input_form(run.settings),
        decision=run.decision.as_json(),
        origin=origin,
        results=_results(run.folder),
        parity=parity,
        versions={"mammo": __version__} | {name: found for name in VERSIONS if (found := _version(name))},
        files={path.name: sha256_of(path) for path in sorted(folder.iterdir())},
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _results(folder: Path) -> dict[str, Any]:
    """What the run reached on its test part, by level; nothing where it was not judged."""
    try:
        return dict(read_json(folder / "report" / "metrics.json")["levels"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}
