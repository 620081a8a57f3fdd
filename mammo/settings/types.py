"""Defines the types of settings: ranges, names, the rule of an operating point, and groups without unknown keys."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PositiveInt

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Aspect = Annotated[float, Field(ge=0.2, le=5)]
Size = tuple[PositiveInt, PositiveInt]
TableName = Annotated[str, Field(max_length=100)]  # a key of a table in a room that settings do not know
Task = Literal["lesion", "finding", "image", "breast"]
CROPPED = ("lesion", "finding")  # tasks that look at a crop around each lesion, not at whole films
PAIRED = ("finding", "breast")  # tasks whose case has up to two films, CC and MLO
LesionType = Literal["mass", "calcification", "asymmetry", "architectural_distortion", "other"]
LevelScore = Literal["max", "mean", "noisy_or"]
CalibrationMethod = Literal["temperature", "isotonic", "none"]


def _at_home(value: object) -> object:
    """Replace `~` at the start of a path by the home folder."""
    if not isinstance(value, str | Path) or not str(value).startswith("~"):
        return value
    try:
        return type(value)(str(Path(value).expanduser()))
    except RuntimeError as error:
        raise ValueError(f"there is no such home folder ({error}); give the path without ~") from None


FilePath = Annotated[Path, BeforeValidator(_at_home)]
HomePath = Annotated[str, BeforeValidator(_at_home)]


class Strict(BaseModel):
    """A group of settings: unknown keys are errors, values cannot be changed after checking."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)


def _check_rule(value: object) -> str:
    text = str(value).replace(" ", "") if isinstance(value, str | int | float) and not isinstance(value, bool) else ""
    rule, _, bound = text.partition(">=")
    try:
        bounded = rule in ("recall", "specificity")
        number = bound if bounded else rule
        known = (rule == "youden" and not bound) or ((bounded or not bound) and 0 <= float(number) <= 1)
    except ValueError:
        known = False
    if not known:
        raise ValueError(f"expected recall>=R, specificity>=S, youden or a threshold in 0-1, got {value!r}")
    return text


Rule = Annotated[str, BeforeValidator(_check_rule)]
