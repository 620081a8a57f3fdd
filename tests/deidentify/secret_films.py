"""Writes films with secrets in their headers, and searches bytes and folders for these secrets."""

import base64
import gzip
import io
import json
import re
import urllib.parse
import zipfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom import Dataset, Sequence
from pydicom.dataset import FileDataset
from pydicom.uid import UID

from tests.deidentify.test_deidentify import fill_with_secrets
from tests.images.dicom_files import film_dataset, saved
from tests.prepare.test_untrusted import put_secret
from tests.tiny import film

SECRETS = {
    "PatientName": "Zyxwvütska^Secretiana", "PatientID": "QQ778899ZZ", "OtherPatientNames": "王密密^Ægirotta",
    "PatientBirthName": "Mumblesby", "PatientBirthDate": "19430217", "StudyDate": "20140719", "SeriesDate": "20140723",
    "AcquisitionDateTime": "20140727134759.123", "StudyTime": "134711.987", "AccessionNumber": "ACC4711XYZ",
    "StationName": "MURMUR-ROOM-9", "InstitutionName": "Hushington Infirmarium",
    "InstitutionAddress": "Whisperlane 4711", "ReferringPhysicianName": "Quietmann^Doc",
    "OperatorsName": "Silentium^Op", "PatientComments": "keepthisback nottelling", "ImageComments": "nottobetold ever",
    "StudyDescription": "Hiddenwords", "StudyID": "STU0815ID", "PatientAddress": "Veiledstreet 23",
    "MedicalRecordLocator": "REC3141592", "PatientTelephoneNumbers": "+49-555-081747",
    "DeviceSerialNumber": "SN27182818", "WindowCenterWidthExplanation": "CLOAKEDWINDOW",
    "StudyInstanceUID": "2.25.1111122222333334444455555", "SeriesInstanceUID": "2.25.6666677777888889999900000",
    "SOPInstanceUID": "2.25.9876598765987659876598765", "FrameOfReferenceUID": "2.25.1357913579135791357913579",
}  # fmt: skip
ELSEWHERE = {
    "preamble": "Undertheseats", "application": "MUFFLED-AE", "nested name": "Coverdale^Nestling",
    "nested id": "NESTED4242", "owner": "SHADOWCORP 1.0", "private": "Privatissima", "private name": "Curtainy^Deep",
    "private uid": "2.25.2468024680246802468024680", "overlay": "Overcastlabel",
}  # fmt: skip
FILLED = ("SECRET", "19630412")  # what `fill_with_secrets` puts into every other element of the dictionary
OURS = tuple(
    sorted(
        {
            word
            for value in (SECRETS | ELSEWHERE).values()
            for word in re.split(r"[\^ ]", value)
            if len(word.encode()) > 4
        }
    )
)
WORDS = (*OURS, *FILLED)
PATIENTS = 24
DAMAGED = ("cut_in_header", "cut_in_pixels", "name_for_rows")


def write_secret_films(folder: Path) -> Path:
    """Write two films per patient, three damaged ones, and the manifest of all; every second patient is malignant."""
    folder.mkdir(parents=True)
    random, blank = np.random.default_rng(11), np.full((96, 80), 0xA5A5, np.uint16)
    whole = saved(_dataset_of_secrets(blank), folder / "blank.dcm").read_bytes()
    (folder / "blank.dcm").unlink()
    lines = ["image,patient_id,laterality,view,lesion_id,lesion_type,label,x,y,width,height"]
    for number in range(PATIENTS):
        for view in ("CC", "MLO"):
            x, y = (int(value) for value in random.integers(25, 45, 2))
            pixels, name = film(random, x, y, number % 2), f"{number:02d}_{view}"
            (folder / f"{name}.dcm").write_bytes(whole.replace(blank.tobytes(), pixels.tobytes()))
            lines.append(f"{name}.dcm,CASE{number:02d},LEFT,{view},L{name},mass,{number % 2},{x - 8},{y - 8},16,16")
    for number, name in enumerate(DAMAGED):
        (folder / f"{name}.dcm").write_bytes(whole)
        _damage(folder / f"{name}.dcm", blank.tobytes())
        lines.append(f"{name}.dcm,BROKEN{number},LEFT,CC,L{name},mass,{number % 2},20,20,16,16")
    path = folder / "manifest.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _dataset_of_secrets(pixels: np.ndarray) -> FileDataset:
    window = {"WindowCenter": "32768", "WindowWidth": "65536"}
    dataset = film_dataset(pixels, bits=16, SpecificCharacterSet="ISO_IR 192", **(SECRETS | window))
    dataset.ReferencedPatientSequence = Sequence([_named(ELSEWHERE["nested name"], ELSEWHERE["nested id"])])
    fill_with_secrets(dataset)
    dataset.preamble = ELSEWHERE["preamble"].encode().ljust(128, b"\0")
    dataset.file_meta.MediaStorageSOPInstanceUID = UID(SECRETS["SOPInstanceUID"])
    dataset.file_meta.SourceApplicationEntityTitle = ELSEWHERE["application"]
    block = dataset.private_block(0x0029, ELSEWHERE["owner"], create=True)
    block.add_new(1, "LO", ELSEWHERE["private"])
    block.add_new(2, "UI", ELSEWHERE["private uid"])
    block.add_new(3, "SQ", Sequence([_named(ELSEWHERE["private name"], "1")]))
    dataset.add_new(0x60001500, "LO", ELSEWHERE["overlay"])
    return dataset


def _named(name: str, patient_id: str) -> Dataset:
    item = Dataset()
    item.PatientName, item.PatientID = name, patient_id
    return item


def _damage(path: Path, pixels: bytes) -> None:
    """Cut a file within the patient's name or its pixels, or write a name in place of Rows: `path` says which."""
    whole, patient = path.read_bytes(), SECRETS["PatientName"].encode()
    if path.stem == "name_for_rows":
        put_secret(path, (0x28, 0x10), b"US", ELSEWHERE["nested name"].encode())
    else:
        within = patient if path.stem == "cut_in_header" else pixels
        path.write_bytes(whole[: whole.index(within) + len(within) - 3])


def secrets_in(content: bytes) -> set[str]:
    """Find the secrets in bytes: in any usual encoding, escaped, in any case, also in archives, PNGs and base64."""
    return {word for layer in _layers(content) for word in _words_in(layer)}


def secrets_below(folder: Path) -> dict[str, set[str]]:
    """Find the secrets in the names and contents of all files below a folder: the words found, by file."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        words = secrets_in(name.encode()) | (secrets_in(path.read_bytes()) if path.is_file() else set())
        if words:
            found[name] = words
    return found


def _words_in(layer: bytes) -> Iterator[str]:
    lowered = layer.lower()
    for word in FILLED:  # in their own case only: a folder may well be called secret
        if any(form in layer for form in FORMS[word]):
            yield word
    for word in OURS:
        if any(form.lower() in lowered for form in FORMS[word]):
            yield word


def _layers(content: bytes) -> Iterator[bytes]:
    yield content
    if content.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for name in archive.namelist():
                yield from _layers(archive.read(name))
    if content.startswith(b"\x1f\x8b"):
        yield from _layers(gzip.decompress(content))
    for match in re.finditer(rb";base64,([A-Za-z0-9+/]+=*)", content):
        yield from _layers(base64.b64decode(match[1]))
    for match in re.finditer(rb"\x89PNG\r\n\x1a\n", content):
        with Image.open(io.BytesIO(content[match.start() :])) as image:
            image.load()
            yield repr((image.info, getattr(image, "text", {}))).encode() + image.tobytes()


def _forms_of(word: str) -> set[bytes]:
    """Return a word in every usual encoding: UTF-16 of either order is letters with zeros between them."""
    texts = {word, json.dumps(word)[1:-1], repr(word.encode())[2:-1], urllib.parse.quote(word)}
    texts |= {word.encode("ascii", how).decode() for how in ("xmlcharrefreplace", "backslashreplace")}
    if re.fullmatch(r"(19|20)\d{6}", word):
        day = datetime.strptime(word, "%Y%m%d")
        texts |= {
            day.strftime(form)
            for form in ("%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d %b %Y", "%d %B %Y")
        }
    if word.isascii():
        return {form for text in texts for form in (text.encode(), text.encode("utf-16-le")[:-1])}
    encodings = ("utf-8", "utf-16-le", "utf-16-be", *(["latin-1"] if max(map(ord, word)) < 256 else []))
    return {text.encode(encoding) for text in texts for encoding in encodings}


FORMS = {word: _forms_of(word) for word in WORDS}
