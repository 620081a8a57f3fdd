"""Reads the words and grades of a table's cells; a cell with more than one possible meaning is refused."""

import contextlib
import difflib
import math
import re
import unicodedata
from pathlib import Path

PATHOLOGIES = {
    "malignant": "MALIGNANT", "malign": "MALIGNANT", "malignancy": "MALIGNANT", "cancer": "MALIGNANT",
    "carcinoma": "MALIGNANT", "benign": "BENIGN", "benign_without_callback": "BENIGN_WITHOUT_CALLBACK",
    "benignwithoutcallback": "BENIGN_WITHOUT_CALLBACK", "normal": "NORMAL", "no_finding": "NORMAL",
}  # fmt: skip
LABELS = {
    "0": 0.0, "1": 1.0, "0.0": 0.0, "1.0": 1.0, "false": 0.0, "true": 1.0, "no": 0.0, "yes": 1.0,
    "benign": 0.0, "malignant": 1.0, "cancer": 1.0, "negative": 0.0, "positive": 1.0,
}  # fmt: skip
SIDES = dict.fromkeys(("l", "left", "lt", "left_breast"), "LEFT")
SIDES |= dict.fromkeys(("r", "right", "rt", "right_breast"), "RIGHT")
SPLITS = {
    "train": "train", "training": "train", "tr": "train",
    "val": "validation", "valid": "validation", "validation": "validation", "dev": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
MASSES = ("mass", "masses", "nodule", "mass_lesion", "circ", "spic")
CALCIFICATIONS = (
    "calcification", "calcifications", "calc", "calcs", "microcalcification", "microcalcifications", "micros",
    "suspicious_calcification",
)  # fmt: skip
ASYMMETRIES = ("asymmetry", "asymmetries", "focal_asymmetry", "global_asymmetry", "asym")
DISTORTIONS = ("architectural_distortion", "distortion", "arch")
LESION_WORDS = (
    dict.fromkeys(MASSES, "mass")
    | dict.fromkeys(CALCIFICATIONS, "calcification")
    | dict.fromkeys(ASYMMETRIES, "asymmetry")
    | dict.fromkeys(DISTORTIONS, "architectural_distortion")
    | {"other": "other", "misc": "other"}
    | dict.fromkeys(("no_finding", "no_findings", "normal", "norm", "negative", "no_lesion"), "")
)
UNKNOWN = {"", "-", "_", "?", "na", "n_a", "n/a", "nan", "none", "null", "unknown", "not_available"}
GRADE = re.compile(r"(?:(?:bi-?_?rads|acr|density|category|cat|type)[_: -]*)?([0-6a-d]|[0-6]\.0)([a-c])?")
DENSITIES = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0}
VIEW = re.compile(r"([LR])[ _-]?(CC|MLO)")


def word(text: str) -> str:
    """Return a cell as a word to look up: in lower case, composed, with one underscore for spaces and hyphens.

    Underscores at the ends are removed except from a word with a digit, so that -1 is not 1.
    """
    plain = unicodedata.normalize("NFKC", text).strip().casefold().replace("i̇", "i")
    if plain in UNKNOWN:
        return plain
    joined = re.sub(r"[\s_\-]+", "_", plain)
    return joined if any(sign.isdigit() for sign in joined) else joined.strip("_")


def is_unknown(text: str) -> bool:
    """Whether a cell says that nothing is known."""
    return word(text) in UNKNOWN


def density(text: str) -> float | None:
    """Return breast density 1 to 4, also from ACR's letters A to D; NaN if unknown, None if it is not a density."""
    if is_unknown(text):
        return math.nan
    found = GRADE.fullmatch(word(text))
    grade, sub = (found[1].removesuffix(".0"), found[2]) if found else ("", None)
    if sub is None and grade in DENSITIES:
        return DENSITIES[grade]
    return float(grade) if sub is None and grade in {"0", "1", "2", "3", "4"} else None


def assessment(text: str) -> float | None:
    """Return a BI-RADS assessment 0 to 6 (4A to 4C are 4); NaN if unknown, None if it is not an assessment."""
    if is_unknown(text):
        return math.nan
    found = GRADE.fullmatch(word(text))
    grade = found[1].removesuffix(".0") if found else ""
    if not found or not grade.isdigit() or len(grade) != 1:
        return None
    return float(grade) if found[2] is None or grade == "4" else None


def lesion_type(text: str) -> str | None:
    """Return one of `table.LESION_TYPES`: "" if unknown, `other` for other words, None for a mistyped word."""
    key = word(text)
    if key in UNKNOWN:
        return ""
    if key in LESION_WORDS:
        return LESION_WORDS[key]
    kinds = {LESION_WORDS[part] for part in re.split(r"[\W_]+", key) if LESION_WORDS.get(part)}
    if kinds:  # such as "spiculated mass"; two kinds are ambiguous
        return kinds.pop() if len(kinds) == 1 else None
    return None if difflib.get_close_matches(key, LESION_WORDS, n=1, cutoff=0.75) else "other"


def near_lesion_type(text: str) -> str:
    """Return the known word that a mistyped one resembles."""
    return next(iter(difflib.get_close_matches(word(text), LESION_WORDS, n=1, cutoff=0.75)), "mass")


def view_and_side(text: str) -> tuple[str, str]:
    """Return a view, as `CC` or `MLO` if it is one of them, and its side if it names one, such as `L` in `LCC`."""
    plain = text.strip().upper()
    found = VIEW.fullmatch(plain)
    return (found[2], SIDES[found[1].lower()]) if found else (plain, "")


def path_as_meant(name: str, folder: Path) -> str:
    """Return a path of a table as this disk has it.

    If there is no such file, it tries `~` as the home folder, backslashes as slashes, and the composed and decomposed
    forms of accented letters (macOS writes the latter).
    """
    if not name or (name.isascii() and "\\" not in name and not name.startswith("~")) or _exists(folder / name):
        return name
    slashes = name.replace("\\", "/")
    with contextlib.suppress(RuntimeError):  # this user has no home folder
        slashes = str(Path(slashes).expanduser()) if slashes.startswith("~/") else slashes
    tries = [slashes, *(unicodedata.normalize(form, slashes) for form in ("NFC", "NFD"))]
    return next((one for one in tries if _exists(folder / one)), slashes)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that is too long for this disk
        return False
