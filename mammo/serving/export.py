"""Exports a run's best network, or those of an ensemble, once every engine gives the checkpoint's scores on cases."""

import tempfile
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from mammo import __version__
from mammo.cases.splits import PARTS
from mammo.errors import SettingsError, WeightsError, first_line
from mammo.evaluation.calibration import log_odds
from mammo.files import flush_folder, read_json, write_text
from mammo.images.familiarity import FEWEST, Familiarity, fit_familiarity
from mammo.images.network_input import apply_variant, to_unit
from mammo.inference.decision_file import read_decision
from mammo.inference.load import LoadedRun, load_run
from mammo.inference.score import part_loader
from mammo.judging.judged import read_split
from mammo.model.frozen import PARAMETERS_ENDING, PROGRAM_ENDINGS, silent
from mammo.model.network import DeployedNet
from mammo.model.tensors import sha256_of
from mammo.prepare.gather import PreparedSplit, gather_split, prepare_split
from mammo.prepare.records import read_checked
from mammo.progress import track
from mammo.runs import ENSEMBLE_FILE, network_sha256, read_hash
from mammo.runtime import available_cores, paddle
from mammo.serving.engines import NETWORK, ONNX_FILE, installed_engines, open_engine
from mammo.serving.export_description import DESCRIPTION_FILE, ExportDescription, Origin, Parity
from mammo.serving.half import halve_weights

CLOSE_ENOUGH = 1e-4  # of logits; relative for logits above 1. Scores then differ by less than a third of it
CLOSE_IN_HALF = 1e-2  # of weights stored in 16 bits
OPSET = 17
# Batches of real cases, image float32 [N, V, C, H, W] and present bool [N, V]; the checkpoint's logits, float64 [n].
Proof = tuple[list[tuple[np.ndarray, np.ndarray]], np.ndarray]


def export_run(folder: Path, out: Path, *, images: int = 100, half: bool = False) -> ExportDescription:
    """Export a run's best network, or the members of an ensemble, each to a folder of its own.

    Args:
        folder: The run.
        out: The new folder. It gets this name when it is complete and all engines have been compared.
        images: Number of the run's own cases, from all parts, on which each engine is compared with the checkpoint.
        half: Store weights in 16 bits, as ONNX only: half the size, and logits may differ by `CLOSE_IN_HALF`.

    Raises:
        SettingsError: `out` already exists, or paddle2onnx is not installed.
        WeightsError: The run has no complete checkpoint, the network cannot be converted, or an engine's logits differ
            by `CLOSE_ENOUGH` or more.
        DataMissingError: The run has not ended, or its films are missing.
    """
    if out.exists() or out.is_symlink():
        raise SettingsError(f"--out {out}: expected a name that is free; an export is not written over another")
    converter = _converter()
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as place:
        beside = Path(place) / out.name
        beside.mkdir()
        write = _write_ensemble if (folder / ENSEMBLE_FILE).is_file() else _write_network
        description = write(folder, beside, converter, images, half)
        beside.rename(out)
    flush_folder(out.parent)
    return description


def _write_network(folder: Path, out: Path, converter: Any, images: int, half: bool) -> ExportDescription:
    run = load_run(folder)
    prepared = prepare_split(run.settings, gather_split(run.settings))
    proof = prove(run, prepared, images)
    _write_programs(run, out, converter)
    engines = installed_engines()
    if half:
        halve_weights(out / ONNX_FILE)
        for path in out.iterdir():
            if path.name != ONNX_FILE:
                path.unlink()
        engines = [name for name in engines if name != "paddle"]
        if not engines:
            raise SettingsError("--half: needs onnxruntime or OpenVINO to compare the network; pip install onnxruntime")
    parity = {name: compare(out, name, proof, bar=CLOSE_IN_HALF if half else CLOSE_ENOUGH) for name in engines}
    found = {"half": half, "familiarity": _familiarity(run, prepared)}
    return _write_description(_describe(run, out, parity).model_copy(update=found), out)


def _familiarity(run: LoadedRun, prepared: PreparedSplit) -> Familiarity | None:
    """Describe the pictures that the run learnt from; None if they are too few."""
    size, case = run.form.preprocess.image_size, prepared.split.samples.views["case"].to_numpy(int)
    learnt = np.flatnonzero(np.isin(case, prepared.split.rows("train")))
    if len(learnt) < FEWEST:
        return None
    entries = [prepared.entries[view] for view in learnt]
    pictures = (read_checked(prepared.store.path(entry), entry.crc32) for entry in entries)
    return fit_familiarity(
        apply_variant(to_unit(pixels), size) for pixels in track(pictures, len(entries), "describing")
    )


def _write_ensemble(folder: Path, out: Path, converter: Any, images: int, half: bool) -> ExportDescription:
    """Export each member to a folder of its own; the decision and the results are the ensemble's."""
    runs = [Path(member) for member in read_json(folder / ENSEMBLE_FILE)["members"]]
    described = []
    for number, run in enumerate(runs):
        (out / f"member_{number}").mkdir()
        described.append(_write_network(run, out / f"member_{number}", converter, images, half))
    first = described[0]
    networks = "".join(one.origin.network_sha256 for one in described)
    origin = {"run": f"{folder.parent.name}/{folder.name}", "network_sha256": sha256(networks.encode()).hexdigest()}
    changes = {
        "decision": read_decision(folder),
        "origin": first.origin.model_copy(update=origin),
        "results": _results(folder),
        "parity": {name: max((one.parity[name] for one in described), key=_difference) for name in first.parity},
        "files": {},
        "members": {path.parent.name: sha256_of(path) for path in sorted(out.glob(f"*/{DESCRIPTION_FILE}"))},
    }
    return _write_description(first.model_copy(update=changes), out)


def _difference(parity: Parity) -> float:
    return parity.largest_difference


def _write_description(description: ExportDescription, folder: Path) -> ExportDescription:
    write_text(folder / DESCRIPTION_FILE, description.model_dump_json(indent=1))
    flush_folder(folder)
    return description


def _converter() -> Any:
    try:
        import paddle2onnx
    except ImportError as error:
        problem = f"paddle2onnx is not installed ({first_line(error)})"
        raise SettingsError(f"{problem}; pip install 'mammo[export]' brings it") from None
    found, own = version("paddle2onnx"), paddle.__version__
    if own.startswith("2.") and not found.startswith("1."):
        raise SettingsError(f"paddle2onnx {found} is for paddlepaddle 3, this is {own}; pip install 'paddle2onnx<2'")
    return paddle2onnx


def prove(run: LoadedRun, prepared: PreparedSplit, images: int) -> Proof:
    """Score some of a run's own cases with its checkpoint; they are taken from its parts in turn."""
    parts = [prepared.split.rows(part) for part in PARTS]
    places = np.concatenate([np.arange(len(rows)) for rows in parts])
    rows = np.concatenate(parts)[np.argsort(places, kind="stable")][:images]
    loader = part_loader(run.settings, prepared, rows)
    batches, logits = [], []
    with paddle.no_grad():
        for image, present, *_ in track(loader, len(loader), "scoring by the checkpoint"):
            batches.append((image.numpy(), present.numpy()))
            logits.append(log_odds(run.network(image, present).astype("float32").numpy()))
    return batches, np.concatenate(logits)


def _write_programs(run: LoadedRun, folder: Path, converter: Any) -> None:
    """Write paddle's program and parameters, and the same network as ONNX."""
    form = run.form
    spec = [paddle.static.InputSpec([None, *form.shape], "float32", "image")]
    if form.views > 1:
        spec.append(paddle.static.InputSpec([None, form.views], "bool", "present"))
    with silent():
        paddle.jit.save(DeployedNet(run.network, views=form.views), str(folder / NETWORK), input_spec=spec)
    program = next(path for path in folder.iterdir() if path.suffix in PROGRAM_ENDINGS)
    parameters, onnx = folder / f"{NETWORK}{PARAMETERS_ENDING}", folder / ONNX_FILE
    # From 2.0 its optimizer may install packages by itself, and its default opset is below what pooling needs.
    how = {"optimize_tool": None} if int(version("paddle2onnx").split(".")[0]) >= 2 else {}
    problem = f"{run.folder}: paddle2onnx cannot convert {run.settings.model.backbone}"
    try:
        with silent():
            converter.export(str(program), str(parameters), save_file=str(onnx), opset_version=OPSET, **how)
    except Exception as error:  # its C++ code raises errors of any type
        raise WeightsError(f"{problem} ({first_line(error)})") from error
    if not onnx.is_file():
        raise WeightsError(f"{problem}; it wrote nothing")
    parameters.with_name(f"{parameters.name}.info").unlink(missing_ok=True)  # paddle 2's notes for its own training


def compare(folder: Path, name: str, proof: Proof, *, bar: float = CLOSE_ENOUGH) -> Parity:
    """Compare an engine with the checkpoint.

    Raises:
        WeightsError: Logits differ by `bar` or more.
    """
    batches, wanted = proof
    engine = open_engine(folder, name, threads=available_cores())
    logits = np.concatenate([engine(*batch) for batch in track(batches, len(batches), f"scoring by {name}")])
    largest = float((np.abs(logits - wanted) / np.maximum(1, np.abs(wanted))).max())
    if not largest < bar:
        found = f"by up to {largest:.2g} on {len(logits)} images (expected below {bar:g})"
        raise WeightsError(f"{name} gives other logits than the checkpoint, {found}; nothing was exported")
    return Parity(images=len(logits), largest_difference=largest)


def _describe(run: LoadedRun, folder: Path, parity: dict[str, Parity]) -> ExportDescription:
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
    versions = {"mammo": __version__, "paddlepaddle": paddle.__version__, "paddle2onnx": version("paddle2onnx")}
    return ExportDescription(
        task=run.settings.data.task,
        form=run.form,
        decision=run.decision,
        origin=origin,
        results=_results(run.folder),
        parity=parity,
        versions=versions | {"numpy": np.__version__},
        files={path.name: sha256_of(path) for path in sorted(folder.iterdir())},
    )


def _results(folder: Path) -> dict[str, Any]:
    """Read the metrics of the run's test part, by level; empty for a run that was not evaluated."""
    try:
        return dict(read_json(folder / "report" / "metrics.json")["levels"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}
