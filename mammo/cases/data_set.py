"""Defines what the model card, the checklist and the report say of a data set."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DataSetWords:
    """What is known of a data set. An empty text means that only the authors of a study can say it.

    Attributes:
        data: Name, licence and origin.
        films: What kind of films they are.
        reference_standard: What proves the labels.
        unknown_because: Why `reference_standard` and the origin are not known here, such as "the films are generated".
        generated: Whether no patient is in it.
    """

    data: str
    films: str = ""
    reference_standard: str = ""
    unknown_because: str = ""
    generated: bool = False
