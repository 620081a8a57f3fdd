"""Reads and writes a run's `decision.json`. No paddle needed."""

from pathlib import Path

from mammo.errors import DataMissingError
from mammo.evaluation.operating_point import Decision
from mammo.files import read_json, write_json
from mammo.runs import is_cross_validation

DECISION_FILE = "decision.json"
NETWORK = "network_sha256"


def write_decision(decision: Decision, folder: Path, *, network: str = "") -> None:
    """Write a decision and the SHA-256 of the network whose scores it was made on."""
    write_json(folder / DECISION_FILE, decision.as_json() | {NETWORK: network})


def read_decision(folder: Path) -> Decision:
    """Read a run's decision; raises what `read_decision_and_network` raises."""
    return read_decision_and_network(folder)[0]


def read_decision_and_network(folder: Path) -> tuple[Decision, str | None]:
    """Read a run's decision and the SHA-256 of the network whose scores it was made on; None where the file has none.

    Raises:
        DataMissingError: The run has none yet, it is damaged, or the folder is a cross-validation.
    """
    path = folder / DECISION_FILE
    if is_cross_validation(folder):
        raise DataMissingError(f"{folder}: is a cross-validation; name one of its folds, such as {folder / 'fold_0'}")
    try:
        values = read_json(path)
        return Decision.of_json(values), values.get(NETWORK)
    except FileNotFoundError:
        advice = "the run ended before its first epoch did: start a new one, or name another with --run"
        if (folder / "checkpoints" / "last").exists():
            advice = f"the run has not ended yet: go on with mammo train --resume {folder}"
        raise DataMissingError(f"{path}: is missing; {advice}") from None
    except (OSError, ValueError) as error:
        advice = f"mammo train --resume {folder} makes it again"
        raise DataMissingError(f"{path}: is no decision file ({error}); {advice}") from error
