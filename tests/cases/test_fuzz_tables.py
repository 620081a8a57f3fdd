"""Manifests of any kind end as tables whose invariants hold, or as one line; never as anything else."""

import csv
import io
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mammo.cases.audit import audit_split
from mammo.cases.manifest import KNOWN, read_manifest
from mammo.cases.samples import make_samples
from mammo.cases.splits import check_trainable, split_lesions
from mammo.cases.table import BOX, LesionTable
from mammo.errors import CaseError, DataMissingError, SplitError
from mammo.prepare.readers import read_lesions
from mammo.settings.schema import DataSettings, Settings
from mammo.tables import LONGEST_ROW, read_table, to_numbers

ROOT = Path(__file__).resolve().parents[2]

BOUNDED = settings(derandomize=True, max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
FEWER = settings(BOUNDED, max_examples=120)
ODD_CELLS = [
    "", " ", "0", "1", "-1", "0.0", "1.0", "+1", "1e0", "0.5", "-0", "1e999", "-1e999", "1e-400", "nan", "NaN",
    "inf", "NA", "null", "None",
    "True", "0x1", "1_0", "1,5", "٠", "١٢", "½", "１", "9" * 400, "a\nb", "a\r\nb", 'say "a"', "'", "#", "=1+1",
    "\ufeff", "\u200b",
    "\u00a0",    "\u2028", "é", "é", "乳腺", "\U0001f600", "\x1a", "\x0b", "x" * 3000, "../../etc/passwd", "/", ".",
    "C:\\a", "a;b",
    "a\tb", "\\", "\\N",
]  # fmt: skip
GOOD_CELLS: dict[str, list[str]] = {
    "image": ["a.png", "b.png", "./a.png", "dir/c.png"],
    "patient_id": ["P1", "P2", "P3", " P1 "],
    "pathology": ["MALIGNANT", "BENIGN", "benign", "BENIGN_WITHOUT_CALLBACK", ""],
    "label": ["0", "1", "1.0", ""],
    "image_label": ["0", "1", ""],
    "laterality": ["LEFT", "R", "left", ""],
    "view": ["CC", "MLO", "ML", ""],
    "lesion_type": ["mass", "Calcification", ""],
    "split": ["train", "test", "val", ""],
    "lesion_id": ["L1", "L2", "L3", "L4", "L5"],
    "density": ["1", "B", "4.0", ""],
    "assessment": ["0", "4A", "BI-RADS 5", ""],
} | {name: ["1", "2.5", "3e1", ""] for name in (*BOX, "subtlety")}
some_text = st.text(max_size=8)
cells = st.sampled_from(ODD_CELLS) | some_text


@st.composite
def tables(draw: Any, columns: dict[str, list[str]], required: tuple[str, ...]) -> list[list[str]]:
    """A header and rows, most of them as they should be."""
    optional = [name for name in columns if name not in required]
    names = [*required, *draw(st.lists(st.sampled_from(optional), max_size=5, unique=True))]
    if draw(st.integers(0, 9)) == 0:
        names += draw(
            st.lists(st.sampled_from([*columns, "", " label", "Label", "image.1", "x" * 40]) | some_text, max_size=2)
        )
    spoiled = draw(st.integers(0, 3)) == 0
    rows = []
    for _ in range(draw(st.integers(0, 6))):
        good = [draw(st.sampled_from(columns.get(name, ["", "1"]))) for name in names]
        if spoiled and draw(st.booleans()):
            good[draw(st.integers(0, len(good) - 1))] = draw(cells)
        if spoiled and draw(st.integers(0, 5)) == 0:
            good = good[: draw(st.integers(0, len(good)))] + draw(st.lists(cells, max_size=2))
        rows.append(good)
    return [names, *rows]


FORMS = ("plain", "windows", "excel", "old mac", "utf-16", "semicolons", "all quoted")


def as_bytes(table: list[list[str]], form: str) -> bytes:
    """The table as programs of this world write it."""
    text = io.StringIO(newline="")
    ends = {"windows": "\r\n", "excel": "\r\n", "old mac": "\r"}.get(form, "\n")
    quoting = csv.QUOTE_ALL if form == "all quoted" else csv.QUOTE_MINIMAL
    csv.writer(text, lineterminator=ends, delimiter=";" if form == "semicolons" else ",", quoting=quoting).writerows(
        table
    )
    whole = text.getvalue()
    if form == "utf-16":
        return whole.encode("utf-16", "surrogatepass")
    return whole.encode("utf-8-sig" if form == "excel" else "utf-8", "surrogatepass")


def assert_one_line(error: Exception, path: Path) -> None:
    assert "\n" not in str(error)
    assert str(path) in str(error)
    assert len(str(error)) < 10_000


def assert_holds(table: LesionTable, rows: int) -> None:
    """What every reader of a lesion table relies on."""
    frame = table.frame
    assert len(frame) + len(table.excluded) == rows
    assert frame["lesion_id"].is_unique
    assert set(frame["label"].dropna()) <= {0.0, 1.0}
    assert set(frame["image_label"].dropna()) <= {0.0, 1.0}
    assert set(frame["laterality"]) <= {"LEFT", "RIGHT", ""}
    assert set(frame["split"]) <= {"train", "validation", "test", ""}
    assert (frame["patient_id"] != "").all()
    assert frame.groupby("image_id")["patient_id"].nunique().max() == 1
    boxes = frame[list(BOX)].to_numpy(float)
    known = ~np.isnan(boxes).all(axis=1)
    assert np.isfinite(boxes[known]).all()
    assert (boxes[known][:, 2:] > 0).all()


def rows_written(path: Path) -> list[list[str]]:
    """Rows of a file as the standard library reads them, without empty and blank lines."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file))[1:]
    return [row for row in rows if row and not (len(row) == 1 and row[0] and not row[0].strip(" \t"))]


def read_or_refused(path: Path) -> LesionTable | None:
    try:
        return read_manifest(path)
    except (CaseError, DataMissingError) as error:
        assert_one_line(error, path)
        return None


def assert_samples_account_for_all(table: LesionTable, rows: int) -> None:
    """Every lesion, film and breast is a case, part of one, or a listed exclusion."""
    lesions = make_samples(table, "lesion")
    assert len(lesions) + len(lesions.excluded) == rows
    assert set(lesions.cases["label"]) <= {0, 1}
    images = make_samples(table, "image")
    assert len(images) + len(images.excluded) == table.frame["image_id"].nunique()
    breasts = make_samples(table, "breast")
    assert len(breasts.views) + len(breasts.excluded) == table.frame["image_id"].nunique()
    for samples in (lesions, images, breasts):
        assert samples.cases["case_id"].is_unique
        assert set(samples.views["case"]) == set(range(len(samples)))


def try_manifest(path: Path, content: bytes) -> LesionTable | None:
    path.write_bytes(content)
    table = read_or_refused(path)
    if table is not None:
        rows = len(rows_written(path))
        assert_holds(table, rows)
        assert_samples_account_for_all(table, rows)
    return table


manifests = tables(GOOD_CELLS, ("image", "patient_id", "label"))


@settings(BOUNDED, max_examples=700)
@given(table=manifests, form=st.sampled_from(FORMS))
def test_any_manifest_ends_as_a_table_that_holds_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, table: list[list[str]], form: str
) -> None:
    try_manifest(tmp_path_factory.getbasetemp() / "fuzzed.csv", as_bytes(table, form))


def test_a_good_share_of_the_tables_tried_is_read(tmp_path: Path) -> None:
    generator = random.Random(3)
    read = refused = 0
    for number in range(200):
        names = [
            "image",
            "patient_id",
            "label",
            *generator.sample(sorted(set(KNOWN) & set(GOOD_CELLS) - {"image", "patient_id", "label"}), 3),
        ]
        rows = [[generator.choice(GOOD_CELLS[name]) for name in names] for _ in range(number % 4)]
        done = try_manifest(tmp_path / "m.csv", as_bytes([names, *rows], FORMS[number % 4]))
        read, refused = read + (done is not None), refused + (done is None)
    assert read > 20
    assert refused > 20


@BOUNDED
@given(
    content=st.binary(max_size=80) | st.text(alphabet='a,1"\n\r;\t \0é', max_size=60).map(lambda text: text.encode())
)
def test_any_bytes_end_in_one_line_or_a_table(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.getbasetemp()
    for start in (b"", b"image,patient_id,label\n", b"\xef\xbb\xbfimage,patient_id,label\r\n"):
        try_manifest(folder / "bytes.csv", start + content)


@BOUNDED
@given(table=manifests)
def test_the_order_of_rows_changes_no_case(tmp_path_factory: pytest.TempPathFactory, table: list[list[str]]) -> None:
    path = tmp_path_factory.getbasetemp() / "order.csv"
    outcomes = []
    for rows in (table[1:], table[:0:-1]):
        path.write_bytes(as_bytes([table[0], *rows], "plain"))
        read = read_or_refused(path)
        columns = [name for name in (read.frame if read else []) if name != "lesion_id" or "lesion_id" in table[0]]
        outcomes.append(None if read is None else sorted(map(repr, read.frame[columns].to_numpy().tolist())))
        for task in ("image", "breast") if read else ():
            samples = make_samples(read, task)
            outcomes[-1] += sorted(map(repr, samples.cases[["case_id", "patient_id", "label"]].to_numpy().tolist()))
    assert outcomes[0] == outcomes[1]


@FEWER
@given(
    table=manifests, kind=st.sampled_from(["holdout", "manifest"]), task=st.sampled_from(["lesion", "image", "breast"])
)
def test_any_manifest_ends_in_a_split_that_can_be_learnt_from_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, table: list[list[str]], kind: str, task: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "split.csv"
    path.write_bytes(as_bytes(table, "plain"))
    data = DataSettings(kind="manifest", manifest=path, split=kind, task=task, lesion_types=("mass",))
    try:
        split = split_lesions(read_lesions(Settings(data=data)), data)
    except (CaseError, SplitError, DataMissingError) as error:
        assert "\n" not in str(error)
        return
    assert set(split.part) <= {"train", "validation", "test"}
    leaks = audit_split(split).leaks
    assert kind == "manifest" or leaks == []
    try:
        check_trainable(split, 2)
    except SplitError as error:
        assert "\n" not in str(error)
    else:
        labels = split.samples.cases["label"].to_numpy()
        assert all(set(labels[split.rows(part)]) == {0, 1} for part in ("train", "validation"))


@FEWER
@given(
    value=st.floats(allow_nan=False, allow_infinity=False),
    form=st.sampled_from(["{!r}", "{:.17g}", "{:.17e}", "{:+.20f}"]),
)
def test_a_number_is_read_as_the_nearest_float(value: float, form: str) -> None:
    text = form.format(value)
    assert to_numbers(pd.Series([text, f" {text}"], dtype=object)).tolist() == [float(text)] * 2


@pytest.mark.parametrize(
    "cell",
    ["", "nan", "inf", "1e999", "-1e999", "0x1", "1_0", "١٢", "１", "1,5", "1j", "True", "--1", "1e", ".", "1 2"],
)
def test_what_is_no_decimal_number_is_none(cell: str) -> None:
    assert to_numbers(pd.Series(["1", cell], dtype=object)).isna().tolist() == [False, True]


@settings(BOUNDED, max_examples=300)
@given(
    table=st.lists(
        st.lists(st.text(alphabet='ab,"\n\r \t;é', max_size=5), min_size=3, max_size=3), min_size=1, max_size=5
    )
)
def test_cells_are_read_as_the_standard_library_reads_them(
    tmp_path_factory: pytest.TempPathFactory, table: list[list[str]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "cells.csv"
    path.write_bytes(as_bytes([["x", "y", "z"], *table], "plain"))
    written = [
        row for row in rows_written(path) if any(cell.strip(" \t") for cell in row)
    ]  # rows of blanks are skipped
    expected = [row + [""] * (3 - len(row)) for row in written]  # the writer leaves a lone \r unquoted
    assert read_table(path, "a table", error=CaseError).to_numpy().tolist() == expected


IN_3_GIB = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
from pathlib import Path
from mammo.errors import CaseError
from mammo.tables import read_table
try:
    read_table(Path(sys.argv[1]), "a table", error=CaseError)
except CaseError as error:
    print(error)
"""
NAMES = ",".join(f"c{number}" for number in range(2000))


@pytest.mark.parametrize(
    ("begin", "size", "words"),
    [
        (b"image,label\n", 30 << 30, f"refused: {30 << 30} bytes; expected a table, of at most {4 << 30}"),
        (b"image,label\n", 4 << 30, f"cannot be read as CSV (a row of more than {LONGEST_ROW} characters)"),
        (NAMES.encode() + b"\n" + b"x,\n" * 150_001, None, "has more than 150000 rows of 2000 columns"),
    ],
    ids=["30 GiB", "4 GiB in one line", "short rows below a wide header"],
)
def test_a_table_that_fits_in_no_memory_is_refused_within_3_gib(
    tmp_path: Path, begin: bytes, size: int | None, words: str
) -> None:
    path = tmp_path / "big.csv"
    path.write_bytes(begin)
    if size:
        os.truncate(path, size)  # zeros that take no disk
    done = subprocess.run(
        [sys.executable, "-c", IN_3_GIB, str(path)],
        capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}, timeout=120, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout.startswith(f"{path}: {words}")
    assert done.stdout.count("\n") == 1


def test_a_row_that_goes_on_over_many_lines_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "row.csv"
    path.write_text('image,label\n"' + '\n","' * 1_500_000 + '"\n', encoding="utf-8")
    with pytest.raises(CaseError, match=f"a row of more than {LONGEST_ROW} characters"):
        read_table(path, "a table", error=CaseError)


def test_rows_up_to_the_longest_are_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    cell = "x" * 130_000
    path.write_text("a,b\n" + f"{cell},{cell}\n" * 40, encoding="utf-8")
    assert read_table(path, "a table", error=CaseError).to_numpy().tolist() == [[cell, cell]] * 40
