"""`decision.json` and `report/metrics.json` of a run folder, read and written. No paddle needed."""

import json
from pathlib import Path

from mammo.errors import DataMissingError
from mammo.evaluation.judge import Decisions, Judgement
from mammo.evaluation.operating_point import Decision
from mammo.files import read_json, write_text
from mammo.runs import fold_folder, is_cross_validation, network_sha256, read_folds

DECISION_FILE = "decision.json"
NETWORK = "network_sha256"


def write_decision(decision: Decision, folder: Path, *, network: str = "") -> None:
    """Keep how scores become calls, and the hash of the network whose scores they are."""
    write_json(folder / DECISION_FILE, decision.as_json() | {NETWORK: network})


def is_of_its_network(folder: Path) -> bool:
    """Whether a run's decision was made of the scores of its best network as it is now: training may have gone on since."""
    try:
        return read_json(folder / DECISION_FILE).get(NETWORK) == network_sha256(folder)
    except (OSError, ValueError):
        return False


def write_judgement(judgement: Judgement, folder: Path) -> Path:
    """Write `report/metrics.json` below a folder."""
    (folder / "report").mkdir(parents=True, exist_ok=True)
    path = folder / "report" / "metrics.json"
    write_json(path, judgement.as_json())
    return path


def read_decisions(folder: Path) -> Decisions:
    """Read a run's decision, or those of a cross-validation's folds by their number.

    Raises:
        DataMissingError: There is none yet.
    """
    if not is_cross_validation(folder):
        return read_decision(folder)
    return {fold: read_decision(fold_folder(folder, fold)) for fold in range(read_folds(folder))}


def read_decision(folder: Path) -> Decision:
    """Read a run's decision.

    Raises:
        DataMissingError: The run has none yet, or holds several of folds.
    """
    path = folder / DECISION_FILE
    if is_cross_validation(folder):
        raise DataMissingError(f"{folder}: is a cross-validation; name one of its folds, such as {folder / 'fold_0'}")
    try:
        decision = Decision.of_json({key: value for key, value in read_json(path).items() if key != NETWORK})
    except FileNotFoundError:
        if (folder / "checkpoints" / "last").exists():
            advice = f"the run has not ended yet: go on with tools/train.py --resume {folder}"
        else:
            advice = "the run ended before its first epoch did: start a new one, or name another with --run"
        raise DataMissingError(f"{path}: is missing; {advice}") from None
    except (OSError, ValueError) as error:
        raise DataMissingError(
            f"{path}: is no decision file ({error}); tools/train.py --resume {folder} makes it anew"
        ) from error
    return decision


def write_json(path: Path, values: object) -> None:
    """Write JSON, durably."""
    write_text(path, json.dumps(values, indent=1))
