"""Describes an export in `export_description.json`, and checks that an export is what its description says."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, ValidationError

from mammo.errors import WeightsError, in_one_line
from mammo.evaluation.operating_point import Decision
from mammo.files import read_json
from mammo.images.familiarity import Familiarity
from mammo.images.network_input import InputForm
from mammo.images.preprocess import check_version
from mammo.model.tensors import sha256_of
from mammo.settings.types import Strict, Task

DESCRIPTION_FILE = "export_description.json"
FORMER_FILE = "manifest.json"  # the name of the description in exports of earlier versions


class Parity(Strict):
    """The largest difference between an engine's logits and the checkpoint's; relative for logits above 1."""

    images: int
    largest_difference: float


class Origin(Strict):
    """The run that a network comes from, and the data that the run was trained on."""

    run: str
    network_sha256: str
    data: str
    patients: int
    cases: int
    split_sha256: str


class ExportDescription(Strict):
    """Describes an export, so that whoever loads it prepares films exactly as training did.

    Attributes:
        format: Version of this file; others are refused.
        classes: In the order of the logits.
        form: The input that the network expects.
        decision: How a logit becomes a score and a call, as in the run's `decision.json`.
        results: Metrics of the run's test part with their intervals, by level; of a run on all cases, the out-of-fold
            ones of its recipe; empty for a run that was not evaluated.
        parity: By engine, as measured during the export.
        versions: Of the packages that made the export.
        files: SHA-256 of each file of the network.
        members: Of an ensemble, whose logit is the mean of its members': SHA-256 of the description of each, by the
            name of its folder. It has no network of its own, and `form` is the first member's.
        familiarity: Of the pictures that the network learnt from; None where they were too few.
        half: Whether the weights are stored in 16 bits.
    """

    format: Literal[1] = 1
    task: Task
    classes: tuple[str, str] = ("benign", "malignant")
    form: InputForm
    decision: Annotated[Decision, BeforeValidator(Decision.of_json), PlainSerializer(Decision.as_json)]
    origin: Origin
    results: dict[str, Any]
    parity: dict[str, Parity]
    versions: dict[str, str]
    files: dict[str, str]
    members: dict[str, str] = Field(default_factory=dict)
    familiarity: Familiarity | None = None
    half: bool = False


def read_description(folder: Path) -> ExportDescription:
    """Read the description of an export, and check that the files beside it are the ones that it describes.

    Raises:
        WeightsError: The folder is not an export, comes from another version, or is damaged.
    """
    path = folder / DESCRIPTION_FILE
    again = "export the run again: mammo export RUN"
    if not path.exists() and (folder / FORMER_FILE).exists():
        raise WeightsError(f"{folder}: is an export of an earlier version ({FORMER_FILE} for {path.name}); {again}")
    try:
        description = ExportDescription.model_validate(read_json(path))
        advice = "export it again from a run that was trained with this version"
        check_version(description.form.preprocess, path, advice)
        members = {f"{name}/{DESCRIPTION_FILE}": sha256 for name, sha256 in description.members.items()}
        for name, sha256 in (description.files | members).items():
            (folder / name).stat()  # reports a missing file as missing
            inside = name.count("/") == (name in members) and ".." not in name
            if not inside or sha256_of(folder / name) != sha256:
                problem = f"is damaged or of another export (its hash is not that of {path.name})"
                raise WeightsError(f"{folder / name}: {problem}; {again}")
    except FileNotFoundError as error:
        raise WeightsError(f"{error.filename}: is missing; expected a folder that mammo export made") from None
    except ValueError as error:
        errors = [str(error)]
        if isinstance(error, ValidationError):
            errors = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        problem = in_one_line(f"{path}: is no description of an export, or of another version", errors)
        raise WeightsError(f"{problem}; {again}") from error
    return description
