"""Several systems' score tables of the same cases in, one table of their mean logits out."""

from collections.abc import Sequence

import pandas as pd

from mammo.errors import ScoreError
from mammo.evaluation.scores import check_same_cases


def mean_logits(tables: Sequence[pd.DataFrame], names: Sequence[str]) -> pd.DataFrame:
    """Average the logits case by case; scores are those of the first table until a decision makes them anew.

    Raises:
        ScoreError: A table has no logits, or the cases, labels or patients differ.
    """
    without = [name for name, table in zip(names, tables, strict=True) if "logit" not in table]
    if without:
        raise ScoreError(f"{', '.join(without)}: an ensemble averages logits, and this table has no column logit")
    aligned = check_same_cases(tables, names)
    mean = sum(table["logit"].to_numpy(float) for table in aligned) / len(aligned)
    return aligned[0].assign(logit=mean)
