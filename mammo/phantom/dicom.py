"""Writes arrays of the phantom as DICOM files: full films as mammography objects, crops and masks as secondary captures."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    DigitalMammographyXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from mammo.phantom.film import WHITE

FILM_HEIGHT_MM = 240.0
DATE = "20000101"  # fixed, so that the bytes depend on the seed only
COMMENT = "generated phantom, not a patient"
# SNOMED codes of DICOM PS3.16, context group 4014 (view for mammography)
VIEW_CODES = {"CC": ("399162004", "cranio-caudal"), "MLO": ("399368009", "medio-lateral oblique")}


@dataclass(frozen=True)
class Identity:
    """Whose and which image a file is; `salt` makes the UIDs of one set of settings its own."""

    patient_id: str
    laterality: str
    view: str
    salt: str
    study: str
    series: str
    instance: int

    @property
    def study_uid(self) -> str:
        """UID derived from the salt and the study's name."""
        return self._uid("study", self.study)

    @property
    def series_uid(self) -> str:
        """UID derived from the salt and the series' name."""
        return self._uid("series", self.series)

    @property
    def instance_uid(self) -> str:
        """UID derived from the salt, the series' name and the instance number."""
        return self._uid("instance", self.series, str(self.instance))

    @property
    def path(self) -> str:
        """Folder/StudyUID/SeriesUID/file, the form that CBIS-DDSM's CSVs use."""
        return f"{self.study}/{self.study_uid}/{self.series_uid}/{self.instance:06d}.dcm"

    def _uid(self, *names: str) -> str:
        return str(generate_uid(entropy_srcs=["mammo phantom", self.salt, *names]))


def write_film(root: Path, who: Identity, film: np.ndarray, *, inverted: bool) -> None:
    """Write a full film: uint16 [H, W], 12 bits stored; `inverted` stores it as MONOCHROME1."""
    dataset = _common(who, "full mammogram images", DigitalMammographyXRayImageStorageForPresentation)
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator = VIEW_CODES[who.view][0], "SCT"
    code.CodeMeaning = VIEW_CODES[who.view][1]
    code.ViewModifierCodeSequence = []
    dataset.ViewCodeSequence = [code]
    dataset.ImageLaterality, dataset.ViewPosition = who.laterality[0], who.view
    dataset.PresentationIntentType, dataset.PresentationLUTShape = (
        "FOR PRESENTATION",
        "INVERSE" if inverted else "IDENTITY",
    )
    dataset.PixelIntensityRelationship, dataset.PixelIntensityRelationshipSign = "LOG", -1
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = 0, 1, "US"
    dataset.WindowCenter, dataset.WindowWidth = (WHITE + 1) // 2, WHITE + 1
    dataset.LossyImageCompression, dataset.BurnedInAnnotation = "00", "YES"
    dataset.ImagerPixelSpacing = [round(FILM_HEIGHT_MM / film.shape[0], 4)] * 2
    _save(root, who, dataset, WHITE - film if inverted else film, bits=12, inverted=inverted)


def write_part(root: Path, who: Identity, pixels: np.ndarray, *, description: str) -> None:
    """Write a crop (uint16, 16 bits) or a mask (uint8, 8 bits) as a secondary capture."""
    dataset = _common(who, description, SecondaryCaptureImageStorage)
    dataset.ConversionType = "WSD"
    dataset.Laterality = who.laterality[0]
    _save(root, who, dataset, pixels, bits=8 * pixels.dtype.itemsize, inverted=False)


def _common(who: Identity, description: str, kind: str) -> Dataset:
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.ImageType = ["DERIVED", "PRIMARY"]
    dataset.SOPClassUID, dataset.SOPInstanceUID = kind, who.instance_uid
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = who.study_uid, who.series_uid
    dataset.StudyDate = dataset.ContentDate = DATE
    dataset.StudyTime = dataset.ContentTime = "000000"
    dataset.Modality, dataset.BodyPartExamined = "MG", "BREAST"
    dataset.Manufacturer, dataset.ManufacturerModelName = "mammo phantom", "phantom"
    dataset.SeriesDescription, dataset.ImageComments = description, COMMENT
    dataset.PatientID = who.patient_id.replace("_", "-")
    dataset.PatientName = f"Phantom^{who.patient_id.split('_')[1]}"
    dataset.PatientBirthDate, dataset.PatientSex = "", "O"
    dataset.AccessionNumber, dataset.ReferringPhysicianName, dataset.StudyID = "", "", "PHANTOM"
    dataset.SeriesNumber, dataset.InstanceNumber = 1, who.instance + 1
    dataset.PatientOrientation = who.view  # as in CBIS-DDSM, whose files keep the view here
    return dataset


def _save(root: Path, who: Identity, dataset: Dataset, pixels: np.ndarray, *, bits: int, inverted: bool) -> None:
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated = 8 * pixels.dtype.itemsize
    dataset.BitsStored, dataset.HighBit = bits, bits - 1
    data = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID, dataset.file_meta.MediaStorageSOPInstanceUID = (
        dataset.SOPClassUID,
        dataset.SOPInstanceUID,
    )
    path = root / who.path
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
