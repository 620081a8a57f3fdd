"""Makes run folders `output/<config>/<time>/`, points `output/latest` at the newest, and finds runs again."""

import hashlib
import json
import secrets
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from mammo.errors import DataMissingError, SettingsError
from mammo.files import Lock, held_by, locked, read_json, write_text

CONFIG_FILE = "config.yaml"
ENVIRONMENT_FILE = "environment.json"
FOLDS_FILE = "cross_validation.json"
ENSEMBLE_FILE = "ensemble.json"
LOCK_FILE = ".lock"
VISUALDL_FILE = "vdlrecords.run.log"  # VisualDL shows one file of a folder


def make_run_folder(output: Path, config_name: str) -> Path:
    """Make a new, empty run folder.

    Args:
        output: The folder of all runs; made if it is not there.
        config_name: The settings file's name without its ending.

    Returns:
        The run folder; two runs of one second get different names.
    """
    stem = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    for number in range(1, 1000):
        folder = output / config_name / (stem if number == 1 else f"{stem}_{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise DataMissingError(f"{output / config_name}: no free name for a run folder; is another program making them?")


def point_latest_at(output: Path, folder: Path) -> None:
    """Make a run the default of all commands: replace the link `output/latest` in one step."""
    beside = output / f".latest-{secrets.token_hex(4)}"
    beside.symlink_to(folder.relative_to(output), target_is_directory=True)
    beside.replace(output / "latest")


def read_hash(folder: Path, name: str) -> str:
    """Read the hash of a run's split or data: `split_sha256` or `data_sha256`.

    Raises:
        DataMissingError: The run's `environment.json` is missing or damaged.
    """
    path = folder / ENVIRONMENT_FILE
    try:
        return str(read_json(path)[name])
    except (OSError, ValueError, KeyError) as error:
        what = f"{path}: is missing or damaged ({error}), so the run's data are not known"
        raise DataMissingError(f"{what}; use another run") from error


@contextmanager
def writing(folder: Path) -> Iterator[Lock]:
    """Let only this process write to a run folder while the block runs.

    Raises:
        InUseError: Another process trains or judges that run.
    """
    with locked(folder / LOCK_FILE, doing=f"{folder}: this run is being written") as lock:
        yield lock


def holder_of(folder: Path) -> str:
    """Return who writes to a run folder, such as ` (process 12 on HOST, since …)`, or ""."""
    return held_by(folder / LOCK_FILE)


def curves_folder(output: Path, run: Path) -> Path:
    """Return the folder of a run's VisualDL files: `output/visualdl/<config>/<time>`, or in a run folder elsewhere.

    They are not in the run folder, because VisualDL follows links and would show the newest run again as `latest`.
    """
    for root in (output, *run.parents[1:3]):
        if run.resolve().is_relative_to(root.resolve()):
            folder = root / "visualdl" / run.resolve().relative_to(root.resolve())
            if root == output or folder.is_dir():
                return folder
    return run / "visualdl"


def network_sha256(folder: Path) -> str:
    """Return the hash of a run's best network, as its checkpoint states it, or "" where there is none."""
    try:
        return str(read_json(folder / "checkpoints" / "best" / "hashes.json")["network.safetensors"])
    except (OSError, ValueError, KeyError):
        return ""


def run_fingerprint(run: Path) -> dict[str, str]:
    """Return hashes of a run's weights and scores, and its log without times: equal for runs that ended the same.

    Raises:
        FileNotFoundError: The run has not ended.
    """
    found = {}
    for name in ("last", "best"):
        for file in sorted((run / "checkpoints" / name).glob("*.safetensors")):
            found[f"{name}/{file.name}"] = hashlib.sha256(file.read_bytes()).hexdigest()
    for name in ("scores_validation.csv", "scores_test.csv", "decision.json"):
        found[name] = hashlib.sha256((run / name).read_bytes().replace(run.name.encode(), b"")).hexdigest()
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    found["log.jsonl"] = json.dumps(
        [{key: value for key, value in line.items() if not key.startswith("time")} for line in lines]
    )
    return found


def find_run(output: Path, run: Path | None = None) -> Path:
    """Find a run folder: the given one, or the newest below `output`.

    Raises:
        DataMissingError: There is no run there.
    """
    if run is not None:
        if not (run / CONFIG_FILE).is_file():
            advice = "mammo compare --list shows all runs; train one: mammo train -c quickstart"
            raise DataMissingError(f"{run}: is not a run folder (it has no {CONFIG_FILE}); {advice}")
        return run.resolve()
    latest = output / "latest"
    if (latest / CONFIG_FILE).is_file():
        return latest.resolve()
    runs = [file.parent for file in output.glob(f"*/*/{CONFIG_FILE}") if is_trained(file.parent)]
    if not runs:
        raise no_run_in(output)
    return max(runs, key=lambda folder: (folder.name, folder)).resolve()


def no_run_in(output: Path) -> DataMissingError:
    """Return the error for an output folder without a run."""
    return DataMissingError(f"{output}: has no run yet; train one: mammo train -c quickstart")


def refuse_doubles(runs: Sequence[Path]) -> None:
    """Check that each run is named once.

    Raises:
        SettingsError: Naming it.
    """
    seen: set[Path] = set()
    for run in runs:
        if run.resolve() in seen:
            raise SettingsError(f"{run}: is named twice; name each run once")
        seen.add(run.resolve())


def is_trained(folder: Path) -> bool:
    """Return whether a network was trained there; judgements in other folders and ensembles have no checkpoints."""
    return (folder / "checkpoints").is_dir() or any(folder.glob("fold_*/checkpoints"))


def check_out(out: Path, run: Path | None = None) -> Path:
    """Check that a judgement written to a folder replaces no other run.

    Args:
        out: The folder.
        run: The judged run, whose own judgement may be replaced.

    Raises:
        SettingsError: It is another run, or a file.
    """
    if out.exists() and not out.is_dir():
        raise SettingsError(f"--out {out}: is a file; expected a folder, or an unused name")
    if is_trained(out) and (run is None or out.resolve() != run.resolve()):
        raise SettingsError(f"--out {out}: is another run, whose results would be replaced; name another folder")
    return out


def mark_cross_validation(folder: Path, folds: int, only: Sequence[int] = ()) -> None:
    """Note in a run folder that it has a run for each fold, or for some `only` (from 0), as a screening of recipes."""
    write_text(folder / FOLDS_FILE, json.dumps({"folds": folds} | ({"only": list(only)} if only else {})))


def is_cross_validation(folder: Path) -> bool:
    """Return whether a run folder has a run for each fold."""
    return (folder / FOLDS_FILE).is_file()


def read_folds(folder: Path) -> int:
    """Return into how many folds the cases of a cross-validation are divided.

    Raises:
        DataMissingError: The note is missing or damaged.
    """
    return _read_note(folder)[0]


def read_only(folder: Path) -> tuple[int, ...]:
    """Return which folds of a cross-validation are trained, where these are not all; else none.

    Raises:
        DataMissingError: The note is missing or damaged.
    """
    return _read_note(folder)[1]


def _read_note(folder: Path) -> tuple[int, tuple[int, ...]]:
    try:
        note = read_json(folder / FOLDS_FILE)
        folds, only = note["folds"], note.get("only", [])
        if not isinstance(folds, int) or folds < 2:
            raise ValueError(f"expected a whole number of folds from 2, got {folds!r}")
        if not isinstance(only, list) or any(fold not in range(folds) for fold in only):
            raise ValueError(f"only: expected a list of folds from 0 to {folds - 1}, got {only!r}")
        return folds, tuple(only)
    except (OSError, ValueError, KeyError) as error:
        raise DataMissingError(f"{folder / FOLDS_FILE}: is missing or damaged ({error}); use another run") from error


def fold_folder(folder: Path, fold: int) -> Path:
    """Return the folder of a fold's run."""
    return folder / f"fold_{fold}"


def fold_folders(folder: Path) -> dict[int, Path]:
    """Return the folders of a cross-validation's runs, by fold.

    Raises:
        DataMissingError: The note of its folds is missing or damaged.
    """
    folds, only = _read_note(folder)
    return {fold: fold_folder(folder, fold) for fold in only or range(folds)}


def command_line() -> list[str]:
    """Return the command of this process as a user can type it again: `mammo VERB …` or `python tools/VERB.py …`."""
    program, *options = sys.argv
    return ["python", *sys.argv] if program.endswith(".py") and "__main__" not in program else ["mammo", *options]
