"""Makes auxiliary targets: what radiologists saw in a lesion, which a network learns beside its malignancy."""

import numpy as np
import pandas as pd

from mammo.cases.findings import VOCABULARY
from mammo.errors import SettingsError
from mammo.settings.schema import AuxiliarySettings

HIGHEST_SUBTLETY = 5.0  # from 1, hard to see, to 5, obvious


def auxiliary_targets(cases: pd.DataFrame, settings: AuxiliarySettings) -> np.ndarray:
    """Make the targets of cases that have the columns `shape`, `margins` and `subtlety`.

    Returns:
        float32 [cases, targets] in 0-1, NaN where nothing is known: for each group of `settings.weights`, in its order,
        a column for each word (1 if it describes the case), or the subtlety, scaled.

    """
    made = [_subtlety(cases) if group == "subtlety" else _words(cases, group) for group in settings.weights]
    return np.concatenate([np.zeros((len(cases), 0), np.float32), *made], axis=1)


def check_known(cases: pd.DataFrame, settings: AuxiliarySettings) -> None:
    """Check that the cases of a data set have what is to be learnt.

    Raises:
        SettingsError: No case has a group.
    """
    for group, weight in settings.weights.items():
        if np.isnan(auxiliary_targets(cases, AuxiliarySettings(**{group: weight}))).all():
            expected = "fill that column of the data set, or set its weight to 0"
            raise SettingsError(f"training.auxiliary.{group}: no case has a known {group}; {expected}")


def auxiliary_weights(settings: AuxiliarySettings) -> np.ndarray:
    """Give the loss weight of each column of `auxiliary_targets`, float32 [targets]: a group shares its weight."""
    counts = {group: len(VOCABULARY.get(group, [group])) for group in settings.weights}
    shares = [np.full(counts[group], weight / counts[group]) for group, weight in settings.weights.items()]
    return np.concatenate([np.zeros(0), *shares]).astype(np.float32)


def _words(cases: pd.DataFrame, group: str) -> np.ndarray:
    said = cases[group].astype(str).str.split("-")
    made = np.array([[word in words for word in VOCABULARY[group]] for words in said], np.float32)
    made[cases[group].to_numpy() == ""] = np.nan
    return made


def _subtlety(cases: pd.DataFrame) -> np.ndarray:
    scaled = (cases["subtlety"].to_numpy(np.float32) - 1) / (HIGHEST_SUBTLETY - 1)
    scaled[~((scaled >= 0) & (scaled <= 1))] = np.nan  # CBIS-DDSM also has 0, which its description does not explain
    return scaled[:, None]
