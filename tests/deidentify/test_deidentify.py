"""Tests de-identified copies: nothing secret is copied, ids are consistent, the film stays the same."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import DataElement, Dataset, config, dcmread
from pydicom.datadict import DicomDictionary, dictionary_VR, keyword_dict, tag_for_keyword
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    DigitalMammographyXRayImageStorageForProcessing,
    EnhancedSRStorage,
    JPEG2000Lossless,
    JPEGLSLossless,
    SecondaryCaptureImageStorage,
)

from mammo.deidentify.allow_list import KEPT, allowed
from mammo.deidentify.burned_in_text import find_marks
from mammo.deidentify.folder import pseudonyms_of
from mammo.deidentify.one_file import (
    BURNED_IN,
    CAPTURE,
    MARKS,
    MISFITS,
    NO_PATIENT,
    SILENT,
    Copied,
    Pseudonyms,
    Refused,
    deidentify,
)
from mammo.images.decode import read_film, read_pixels
from tests.images.dicom_files import film_dataset, ramp, saved
from tests.images.drawn_film import drawn_film

KEY = Pseudonyms(b"k" * 32)
NAMES, DATES = b"SECRET", b"19630412"
TEXT_VRS = ("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT")
BYTE_VRS = ("OB", "OD", "OF", "OL", "OV", "OW", "UN")
E11 = [  # the elements of PS3.15 Table E.1-1 that a mammogram usually has
    "AccessionNumber", "AcquisitionDate", "AcquisitionTime", "AcquisitionDeviceProcessingDescription", "AdmissionID",
    "ContentDate", "CountryOfResidence", "DerivationDescription", "DetectorID", "DeviceSerialNumber", "EthnicGroup",
    "ImageComments", "InstitutionAddress", "InstitutionName", "IssuerOfPatientID", "Occupation", "OperatorsName",
    "OtherPatientIDs", "OtherPatientNames", "PatientAddress", "PatientAge", "PatientBirthDate", "PatientComments",
    "PatientID", "PatientName", "PatientSex", "PatientSize", "PatientWeight", "PerformedStationName",
    "PerformingPhysicianName", "PhysiciansOfRecord", "ProtocolName", "ReferringPhysicianName",
    "RequestAttributesSequence", "SeriesDescription", "StationName", "StudyDate", "StudyDescription", "StudyID",
    "StudyInstanceUID", "SOPInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "DateOfLastDetectorCalibration",
    "PregnancyStatus", "AcquisitionContextSequence",
]  # fmt: skip


def mammogram(
    pixels: np.ndarray | None = None, *, study: str = "1.2.3", series: str = "1.2.3.1", **elements: Any
) -> FileDataset:
    ids = {"StudyInstanceUID": study, "SeriesInstanceUID": series}
    return film_dataset(ramp() if pixels is None else pixels, **(ids | elements))


def copied(*files: Path, out: Path, key: Pseudonyms = KEY) -> list[Copied]:
    out.mkdir(exist_ok=True)
    done = list(deidentify(files, out, key))
    assert [outcome.why for outcome in done if isinstance(outcome, Refused)] == []
    return [outcome for outcome in done if isinstance(outcome, Copied)]


def refusal(file: Path, out: Path) -> str:
    out.mkdir(exist_ok=True)
    (outcome,) = deidentify([file], out, KEY)
    assert isinstance(outcome, Refused), outcome
    assert list(out.rglob("*.dcm")) == []
    return outcome.why


def copy_of(dataset: FileDataset, folder: Path) -> Copied:
    return copied(saved(dataset, folder / "in.dcm"), out=folder / "out")[0]


def element(keyword: str, vr: str, value: Any) -> DataElement:
    return DataElement(tag_for_keyword(keyword) or 0, vr, value, validation_mode=config.IGNORE)


# A film is refused if one of these has a value that is not a term of its own.
DISPLAYED = ("PresentationLUTShape", "ShutterShape")


def fill_with_secrets(dataset: Dataset, *, deep: int = 2) -> None:
    """Put a secret into every element of the dictionary that the film does not need, in nested items too."""
    for tag, (vr, _, _, retired, keyword) in DicomDictionary.items():
        if (
            keyword in DISPLAYED
            or keyword in dataset
            or not keyword
            or tag >> 16 in (0x0000, 0x0002, 0x0028, 0x7FE0, 0xFFFE)
            or (retired and vr == "SQ")
        ):
            continue
        if vr in TEXT_VRS:
            dataset.add(element(keyword, vr, "SECRET"))
        elif vr in ("DA", "DT", "DS", "IS", "AS", "TM", "UI"):
            dataset.add(element(keyword, vr, {"AS": "196Y", "TM": "196304", "UI": "1.2.19630412"}.get(vr, "19630412")))
        elif vr in BYTE_VRS:
            dataset.add(element(keyword, vr, NAMES + b"TEXT" * 2 + b"SECRET" * 3))
        elif vr == "SQ" and deep:
            item = Dataset()
            item.PatientName, item.PatientID, item.CodeMeaning, item.CodeValue = (
                "SECRET^A",
                "SECRET",
                "SECRET",
                "SECRET",
            )
            item.ReferencedSOPInstanceUID = "1.2.19630412"
            dataset.add(element(keyword, "SQ", [item]))


def secret_film() -> FileDataset:
    dataset = mammogram((ramp() | 0x5000).astype(np.uint16), PatientBirthDate="19630412", LUTExplanation="SECRET")
    fill_with_secrets(dataset)
    dataset.preamble = NAMES * 21 + b"\0\0"
    dataset.file_meta.ImplementationVersionName, dataset.file_meta.SourceApplicationEntityTitle = "SECRET", "SECRET"
    dataset.file_meta.PrivateInformationCreatorUID, dataset.file_meta.PrivateInformation = "1.2.19630412", NAMES * 2
    block = dataset.private_block(0x0029, "SECRET", create=True)
    block.add_new(1, "LO", "SECRET")
    dataset.add_new(0x60003000, "OW", NAMES * 4)
    dataset.add_new(0x60001500, "LO", "SECRET")
    dataset.add_new(0x50003000, "OW", NAMES * 4)
    dataset.add_new(0xFFFCFFFC, "OB", NAMES * 4)
    return dataset


def assert_no_secret(copy: Path) -> None:
    content = copy.read_bytes()
    for secret in (NAMES, DATES, b"S\0E\0C\0R\0"):
        assert secret not in content, dcmread(copy)


def test_film_full_of_secrets_leaves_none_in_its_copy(tmp_path: Path) -> None:
    source = saved(secret_film(), tmp_path / "in.dcm")
    assert source.read_bytes().count(NAMES) > 1000
    copy = copied(source, out=tmp_path / "out")[0].copy
    assert_no_secret(copy)
    assert np.array_equal(read_pixels(copy), ramp() & 0x0FFF)
    assert copy.read_bytes()[:128] == b"\0" * 128


@pytest.mark.parametrize(("syntax", "marker"), [(JPEG2000Lossless, b"\xff\x64"), (JPEGLSLossless, b"\xff\xfe")])
def test_comment_in_a_compressed_stream_is_not_copied(syntax: str, marker: bytes, tmp_path: Path) -> None:
    dataset = mammogram(ramp(80, 70))
    dataset.compress(syntax, generate_instance_uid=False)
    comment = marker + b"\0\x0a" + (b"\0\x01" if syntax == JPEG2000Lossless else b"XX") + NAMES
    stream = next(generate_frames(dataset.PixelData, number_of_frames=1))
    start = stream.index(b"\xff\x90" if syntax == JPEG2000Lossless else b"\xff\xf7")
    dataset.PixelData = encapsulate([stream[:start] + comment + stream[start:]])
    source = saved(dataset, tmp_path / "in.dcm")
    assert NAMES in source.read_bytes()
    copy = copied(source, out=tmp_path / "out")[0].copy
    assert_no_secret(copy)
    assert np.array_equal(dcmread(copy).pixel_array, ramp(80, 70))


@settings(max_examples=300, deadline=None)
@given(
    keyword=st.sampled_from(sorted(set(keyword_dict) - {""})),
    text=st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=3, max_size=8),
)
def test_text_in_any_element_of_the_dictionary_is_not_copied(keyword: str, text: str) -> None:
    secret, vr = f"ZQ{text}", dictionary_VR(keyword)
    inner = Dataset()
    inner.PatientName = inner.CodeMeaning = inner.CodeValue = inner.CodingSchemeDesignator = secret
    source = Dataset()
    source.SOPClassUID = DigitalMammographyXRayImageStorageForProcessing
    source.add(
        element(keyword, vr, [inner]) if vr == "SQ" else element(keyword, vr if vr in TEXT_VRS else "LO", secret)
    )
    if keyword == "SOPClassUID":
        return
    header, _ = allowed(source, signed=False)
    written = io.BytesIO()
    header.save_as(written, implicit_vr=False, little_endian=True)
    assert secret.encode() not in written.getvalue()


@pytest.mark.parametrize("keyword", [keyword for keyword in KEPT if dictionary_VR(keyword) in ("DS", "IS")])
def test_date_or_word_in_a_kept_number_is_left_out(keyword: str) -> None:
    for value in ("19630412", "SECRET", "1\\19630412"):
        source = Dataset()
        source.SOPClassUID = SecondaryCaptureImageStorage
        source.add(element(keyword, "LO", value.split("\\")))
        header, misfits = allowed(source, signed=False)
        assert not header.get(keyword)
        assert misfits == (keyword,)


def test_no_kept_element_is_in_the_basic_profile_or_can_be_a_time_name_uid_or_long_text() -> None:
    kept = set(KEPT)
    assert kept & set(E11) == set()
    assert {dictionary_VR(keyword) for keyword in kept} <= {"CS", "DS", "IS", "LO", "SH", "SQ", "SS", "US or SS"}


def test_copy_states_how_it_was_deidentified(tmp_path: Path) -> None:
    done = dcmread(copy_of(mammogram(PatientSex="F", PatientAge="051Y", KVP="28", ViewPosition="MLO"), tmp_path).copy)
    assert (done.PatientIdentityRemoved, done.LongitudinalTemporalInformationModified) == ("YES", "REMOVED")
    code = done.DeidentificationMethodCodeSequence[0]
    assert (code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning) == (
        "113100",
        "DCM",
        "Basic Application Confidentiality Profile",
    )
    assert (done.PatientName, done.PatientSex, done.PatientBirthDate, done.StudyDate) == (done.PatientID, "", "", "")
    assert (done.KVP, done.ViewPosition, "PatientAge" in done) == (28, "MLO", False)
    assert done.file_meta.ImplementationVersionName.startswith("MAMMO_")


def test_codes_get_the_standards_meaning_and_free_text_a_known_name(tmp_path: Path) -> None:
    view, modifier = Dataset(), Dataset()
    view.CodeValue, view.CodingSchemeDesignator, view.CodeMeaning = "R-10226", "SNM3", "SECRET"
    modifier.CodeValue, modifier.CodingSchemeDesignator, modifier.CodeMeaning = "399055006", "SCT", "SECRET"
    view.ViewModifierCodeSequence = [modifier]
    source = mammogram(
        ViewCodeSequence=[view], Manufacturer="GE SECRET", ManufacturerModelName="Senographe Essential SECRET"
    )
    done = dcmread(copy_of(source, tmp_path).copy)
    assert (done.ViewCodeSequence[0].CodeValue, done.ViewCodeSequence[0].CodeMeaning) == (
        "399368009",
        "medio-lateral oblique",
    )
    assert done.ViewCodeSequence[0].ViewModifierCodeSequence[0].CodeMeaning == "Spot Compression"
    assert (done.Manufacturer, done.ManufacturerModelName) == ("GE MEDICAL SYSTEMS", "Senographe Essential")


def test_ids_agree_within_a_run_and_with_the_key_only(tmp_path: Path) -> None:
    first, second, other = (
        mammogram(),
        mammogram(series="1.2.3.2"),
        mammogram(study="1.2.4", series="1.2.4.1", PatientID="OTHER"),
    )
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = first.SOPClassUID, first.SOPInstanceUID
    second.SourceImageSequence = [reference]
    files = [saved(dataset, tmp_path / name) for dataset, name in ((first, "a"), (second, "b"), (other, "c"))]
    a, b, c = (dcmread(done.copy) for done in copied(*files, out=tmp_path / "out"))
    assert (a.StudyInstanceUID == b.StudyInstanceUID) is (a.PatientID == b.PatientID) is True
    assert (
        len({a.SeriesInstanceUID, b.SeriesInstanceUID, c.SeriesInstanceUID, c.StudyInstanceUID, a.StudyInstanceUID})
        == 5
    )
    assert c.PatientID != a.PatientID
    assert b.SourceImageSequence[0].ReferencedSOPInstanceUID == a.SOPInstanceUID
    assert all(
        uid.startswith("2.25.") and uid.is_valid for uid in (a.StudyInstanceUID, a.SeriesInstanceUID, a.SOPInstanceUID)
    )
    again, fresh = (
        copied(files[0], out=tmp_path / "again")[0],
        copied(files[0], out=tmp_path / "fresh", key=pseudonyms_of(None))[0],
    )
    assert again.ids == (first.PatientID, a.PatientID, "1.2.3", a.StudyInstanceUID)
    assert fresh.ids[1] != again.ids[1]
    assert fresh.ids[3] != again.ids[3]


def tables(descriptor: list[int], entries: np.ndarray, vr: str = "US") -> list[Dataset]:
    item = Dataset()
    item.add_new("LUTDescriptor", vr, descriptor)
    item.add_new("LUTData", "OW", entries.astype("<u2").tobytes())
    item.LUTExplanation = "SECRET"
    return [item]


FILMS: dict[str, Callable[[], FileDataset]] = {
    "plain": mammogram,
    "inverted": lambda: mammogram(kind="MONOCHROME1"),
    "signed": lambda: mammogram((ramp().astype(np.int16) - 2048), WindowCenter="-100", WindowWidth="900"),
    "8 bits, odd length": lambda: mammogram(ramp(41, 31, 255).astype(np.uint8), bits=8),
    "16 bits": lambda: mammogram(ramp(top=65535), bits=16),
    "windows": lambda: mammogram(WindowCenter=["2000", "900.5"], WindowWidth=["1500", "12"], VOILUTFunction="SIGMOID"),
    "padding": lambda: mammogram(PixelPaddingValue=0),
    "shutter": lambda: mammogram(
        ShutterShape="RECTANGULAR",
        ShutterLeftVerticalEdge="3",
        ShutterRightVerticalEdge="20",
        ShutterUpperHorizontalEdge="5",
        ShutterLowerHorizontalEdge="30",
    ),
    "contradicting shape": lambda: mammogram(PresentationLUTShape="INVERSE"),
    "rescale": lambda: mammogram(RescaleSlope="-2.5", RescaleIntercept="17", WindowCenter="-3000", WindowWidth="4000"),
    "VOI LUT": lambda: mammogram(VOILUTSequence=tables([3000, 500, 12], np.linspace(0, 4095, 3000) ** 2 / 4095)),
    "VOI LUT below zero": lambda: mammogram(
        ramp().astype(np.int16) - 2048, VOILUTSequence=tables([4096, -2048, 16], np.linspace(0, 65535, 4096), "SS")
    ),
    "modality LUT": lambda: mammogram(ModalityLUTSequence=tables([4096, 0, 16], np.linspace(65535, 0, 4096))),
}


@pytest.mark.parametrize("name", FILMS)
def test_copy_shows_the_same_film(name: str, tmp_path: Path) -> None:
    source = saved(FILMS[name](), tmp_path / "in.dcm")
    copy = copied(source, out=tmp_path / "out")[0].copy
    assert np.array_equal(read_film(copy).pixels, read_film(source).pixels)
    assert np.array_equal(dcmread(copy).pixel_array, dcmread(source).pixel_array)
    assert_no_secret(copy)


@pytest.mark.parametrize(
    ("elements", "words"),
    [
        ({"VOILUTSequence": tables([3000, 0, 12], np.arange(3000) % 251)}, "VOI LUT that only rise or only fall"),
        (
            {"SOPClassUID": EnhancedSRStorage},
            "expected a mammography, digital X-ray, CR or secondary capture image, got another kind",
        ),
        (
            {"WindowCenter": "2e6", "WindowWidth": "4e6"},
            "a value that its display depends on is not of the standard's form",
        ),
        ({"NumberOfFrames": 2}, "expected one frame"),
        ({"SamplesPerPixel": 3}, "expected one gray sample per pixel"),
        ({"StudyInstanceUID": ""}, "StudyInstanceUID missing from its DICOM header"),
        ({"PixelData": None}, "expected a DICOM image, got one without pixel data"),
    ],
)
def test_file_that_cannot_be_copied_faithfully_is_refused(elements: dict[str, Any], words: str, tmp_path: Path) -> None:
    why = refusal(saved(mammogram(**elements), tmp_path / "in.dcm"), tmp_path / "out")
    assert why.startswith(f"{tmp_path / 'in.dcm'}: ")
    assert words in why
    assert "SECRET" not in why


def test_same_image_twice_is_refused(tmp_path: Path) -> None:
    files = [saved(dataset, tmp_path / name) for dataset in [mammogram()] for name in ("a.dcm", "b.dcm")]
    done = list(deidentify(files, tmp_path, KEY))
    assert [type(outcome) for outcome in done] == [Copied, Refused]
    assert "its SOP Instance UID is that of a file already copied" in str(done[1])


@pytest.mark.parametrize(
    ("elements", "kind", "detail"),
    [
        ({"BurnedInAnnotation": "YES"}, BURNED_IN, ""),
        ({}, SILENT, ""),
        ({"BurnedInAnnotation": "NO", "ImageType": ["DERIVED", "SECONDARY"]}, CAPTURE, ""),
        ({"BurnedInAnnotation": "NO", "SOPClassUID": SecondaryCaptureImageStorage}, CAPTURE, ""),
        ({"BurnedInAnnotation": "NO", "PatientID": ""}, NO_PATIENT, ""),
        ({"BurnedInAnnotation": "NO", "ViewPosition": "SECRET", "KVP": "19630412"}, MISFITS, "ViewPosition KVP"),
    ],
)
def test_warning(elements: dict[str, Any], kind: str, detail: str, tmp_path: Path) -> None:
    assert copy_of(mammogram(np.full((40, 30), 7, np.uint16), **elements), tmp_path).warnings == {kind: detail}


def test_letters_beside_the_breast_are_found_and_a_white_frame_is_not(tmp_path: Path) -> None:
    assert find_marks(drawn_film()) == []
    assert find_marks(drawn_film(border=4)) == []
    letters, label = find_marks(drawn_film(letters=True))  # drawn from x 330, with its feet at y 80; and a filled box
    assert abs(letters[0] - 330) < 12
    assert abs(letters[1] + letters[3] - 80) < 12
    assert label == (360, 520, 120, 25)
    warnings = copy_of(mammogram(drawn_film(letters=True), bits=16, BurnedInAnnotation="NO"), tmp_path).warnings
    assert list(warnings) == [MARKS]
    assert warnings[MARKS].endswith(" 360,520,120,25")
