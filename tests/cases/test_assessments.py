"""BI-RADS assessments of manifests and of CBIS-DDSM: what is refused, and which one a film or a breast has."""

from pathlib import Path

import numpy as np
import pytest

from mammo.cases.cbis_ddsm import CSV_FILES, read_official_csvs
from mammo.cases.manifest import read_manifest
from mammo.cases.samples import make_samples
from mammo.errors import CaseError
from tests.cases.test_cases import write_manifest
from tests.shared_data import SHARED, needs

HEAD = "image,patient_id,laterality,view,lesion_id,label,x,y,width,height,assessment\n"
ROWS = [
    "a.png,P1,LEFT,CC,L1,1,1,2,3,4,4",
    "a.png,P1,LEFT,CC,L2,0,1,2,3,4,5",
    "b.png,P1,LEFT,MLO,L3,1,1,2,3,4,0",
    "c.png,P2,RIGHT,CC,L4,0,1,2,3,4,2",
    "d.png,P2,RIGHT,MLO,L5,0,1,2,3,4,",
]


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("lesion", {"L1": 4, "L2": 5, "L3": 0, "L4": 2, "L5": np.nan}),
        ("image", {"a.png": 5, "b.png": 0, "c.png": 2, "d.png": np.nan}),
        ("breast", {"P1_LEFT": 5, "P2_RIGHT": np.nan}),
    ],
)
def test_a_film_or_breast_has_the_highest_assessment_of_its_lesions(
    tmp_path: Path, task: str, expected: dict[str, float]
) -> None:
    cases = make_samples(read_manifest(write_manifest(tmp_path, ROWS, HEAD)), task).cases
    found = {Path(name).name: value for name, value in cases.set_index("case_id")["assessment"].items()}
    assert found == {name: pytest.approx(value, nan_ok=True) for name, value in expected.items()}


@pytest.mark.parametrize("cell", ["7", "four", "-1", "4.5"])
def test_manifest_with_another_assessment_is_refused(tmp_path: Path, cell: str) -> None:
    path = write_manifest(tmp_path, [ROWS[0][:-1] + cell], HEAD)
    expected = f"line 2: assessment must be a BI-RADS assessment 0 to 6, or 4A to 4C, got '{cell}'"
    with pytest.raises(CaseError, match=expected) as caught:
        read_manifest(path)
    assert "\n" not in str(caught.value)


@needs("cbis_ddsm_csv")
@pytest.mark.parametrize("cell", ["7", "four", "-1"])
def test_official_file_with_another_assessment_is_refused(tmp_path: Path, cell: str) -> None:
    for name in CSV_FILES.values():
        text = (SHARED / "cbis_ddsm_csv" / name).read_text(encoding="utf-8")
        (tmp_path / name).write_text(text.replace("SPICULATED,4,MALIGNANT", f"SPICULATED,{cell},MALIGNANT", 1), "utf-8")
    rule = "line 2: assessment must be a BI-RADS category 0 to 6"
    with pytest.raises(CaseError, match=f"mass_case_description_train_set.csv.*{rule}, got '{cell}'"):
        read_official_csvs(tmp_path)


@needs("cbis_ddsm_csv")
def test_films_of_cbis_ddsm_have_the_highest_assessment() -> None:
    table = read_official_csvs(SHARED / "cbis_ddsm_csv")
    cases = make_samples(table, "image").cases.set_index("case_id")["assessment"]
    expected = table.frame.groupby("image_id")["assessment"].max()
    assert cases.to_dict() == expected.to_dict()
