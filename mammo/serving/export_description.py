"""An exported folder enters; what it is and how to ask it leaves, every file of it checked. No paddle needed."""

from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from mammo.errors import WeightsError, in_one_line
from mammo.evaluation.operating_point import Decision
from mammo.files import read_json
from mammo.images.network_input import InputForm
from mammo.images.preprocess import check_version
from mammo.model.tensors import sha256_of
from mammo.settings.types import Strict, Task

MANIFEST_FILE = "manifest.json"


class Parity(Strict):
    """How far an engine's logits lie from those of the checkpoint at most (of logits above 1 as a share), over so many images."""

    images: int
    largest_difference: float


class Origin(Strict):
    """Which run a network is of, and what that learnt from."""

    run: str
    network_sha256: str
    data: str
    patients: int
    cases: int
    split_sha256: str


class Manifest(Strict):
    """What an export is; whoever loads it prepares films exactly as training did.

    Attributes:
        format: Of this file; others are refused.
        task: What a case is.
        classes: In the order of the logits.
        form: What the network wants to see.
        decision: How a logit becomes a score and a call, as in the run's `decision.json`.
        origin: The run.
        results: Of the run's test part: for each level, metrics with their intervals; empty where it was not judged.
        parity: By engine, as measured when this was exported.
        versions: Of the packages that made it.
        files: SHA-256 of each file of the network.
    """

    format: Literal[1] = 1
    task: Task
    classes: tuple[str, str] = ("benign", "malignant")
    form: InputForm
    decision: dict[str, Any]
    origin: Origin
    results: dict[str, Any]
    parity: dict[str, Parity]
    versions: dict[str, str]
    files: dict[str, str]

    def read_decision(self) -> Decision:
        """The decision as such.

        Raises:
            ValueError: It is none.
        """
        return Decision.of_json(self.decision)


def read_manifest(folder: Path) -> Manifest:
    """Read an export's manifest, and hold that the network beside it is the one that it describes.

    Raises:
        WeightsError: It is no export, of another version, or damaged.
    """
    path = folder / MANIFEST_FILE
    again = "export the run again: tools/export.py RUN"
    try:
        manifest = Manifest.model_validate(read_json(path))
        manifest.read_decision()
        check_version(manifest.form.preprocess, path, "export it again from a run that was trained with this version")
        for name, sha256 in manifest.files.items():
            (folder / name).stat()  # told as missing, where it is
            if "/" in name or sha256_of(folder / name) != sha256:
                raise WeightsError(
                    f"{folder / name}: is damaged or of another export (its hash is not the manifest's); {again}"
                )
    except FileNotFoundError as error:
        raise WeightsError(f"{error.filename}: is missing; expected a folder that tools/export.py made") from None
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
        raise WeightsError(
            in_one_line(f"{path}: is no manifest of an export, or of another version", faults) + f"; {again}"
        ) from None
    except ValueError as error:
        raise WeightsError(f"{path}: is no manifest of an export ({error}); {again}") from error
    return manifest
