"""Writes the phantom's arrays as DICOM files: films as mammography objects, crops and masks as secondary captures."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom.uid as uids
from pydicom import Dataset

from mammo.phantom.film import WHITE

FILM_HEIGHT_MM = 240.0
DATE = "20000101"  # fixed, so that the bytes depend on the seed only
COMMENT = "generated phantom, not a patient"
# SNOMED codes of DICOM PS3.16, context group 4014 (view for mammography)
VIEW_CODES = {"CC": ("399162004", "cranio-caudal"), "MLO": ("399368009", "medio-lateral oblique")}


@dataclass(frozen=True)
class Identity:
    """The patient, view and place of a file. `name` is that of its study and series; `salt` goes into all UIDs."""

    patient_id: str
    laterality: str
    view: str
    salt: str
    name: str
    instance: int

    @property
    def path(self) -> str:
        """Study name/study UID/series UID/file, as in the CSVs of CBIS-DDSM."""
        return f"{self.name}/{self.uid('study')}/{self.uid('series')}/{self.instance:06d}.dcm"

    def uid(self, level: str) -> str:
        """Return the UID of the study, the series or the instance."""
        number = [str(self.instance)] if level == "instance" else []
        return str(uids.generate_uid(entropy_srcs=["mammo phantom", self.salt, level, self.name, *number]))


def write_film(root: Path, identity: Identity, film: np.ndarray, *, inverted: bool) -> None:
    """Write a full film: uint16 [H, W], 12 bits stored; `inverted` stores it as MONOCHROME1."""
    dataset = _common(identity, "full mammogram images", uids.DigitalMammographyXRayImageStorageForPresentation)
    code = Dataset()
    code.CodeValue, code.CodeMeaning = VIEW_CODES[identity.view]
    code.CodingSchemeDesignator = "SCT"
    code.ViewModifierCodeSequence = []
    dataset.ViewCodeSequence = [code]
    dataset.ImageLaterality, dataset.ViewPosition = identity.laterality[0], identity.view
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.PresentationLUTShape = "INVERSE" if inverted else "IDENTITY"
    dataset.PixelIntensityRelationship, dataset.PixelIntensityRelationshipSign = "LOG", -1
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = 0, 1, "US"
    dataset.WindowCenter, dataset.WindowWidth = (WHITE + 1) // 2, WHITE + 1
    dataset.LossyImageCompression, dataset.BurnedInAnnotation = "00", "YES"
    dataset.ImagerPixelSpacing = [round(FILM_HEIGHT_MM / film.shape[0], 4)] * 2
    _save(root, identity, dataset, WHITE - film if inverted else film, bits=12, inverted=inverted)


def write_part(root: Path, identity: Identity, pixels: np.ndarray, *, description: str) -> None:
    """Write a crop (uint16 [H, W], 16 bits) or a mask (uint8 [H, W], 8 bits) as a secondary capture."""
    dataset = _common(identity, description, uids.SecondaryCaptureImageStorage)
    dataset.ConversionType = "WSD"
    dataset.Laterality = identity.laterality[0]
    _save(root, identity, dataset, pixels, bits=8 * pixels.dtype.itemsize, inverted=False)


def _common(identity: Identity, description: str, kind: str) -> Dataset:
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.ImageType = ["DERIVED", "PRIMARY"]
    dataset.SOPClassUID, dataset.SOPInstanceUID = kind, identity.uid("instance")
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = identity.uid("study"), identity.uid("series")
    dataset.StudyDate = dataset.ContentDate = DATE
    dataset.StudyTime = dataset.ContentTime = "000000"
    dataset.Modality, dataset.BodyPartExamined = "MG", "BREAST"
    dataset.Manufacturer, dataset.ManufacturerModelName = "mammo phantom", "phantom"
    dataset.SeriesDescription, dataset.ImageComments = description, COMMENT
    dataset.PatientID = identity.patient_id.replace("_", "-")
    dataset.PatientName = f"Phantom^{identity.patient_id.split('_')[1]}"
    dataset.PatientBirthDate, dataset.PatientSex = "", "O"
    dataset.AccessionNumber, dataset.ReferringPhysicianName, dataset.StudyID = "", "", "PHANTOM"
    dataset.SeriesNumber, dataset.InstanceNumber = 1, identity.instance + 1
    dataset.PatientOrientation = identity.view  # as in CBIS-DDSM, whose files store the view here
    return dataset


def _save(root: Path, identity: Identity, dataset: Dataset, pixels: np.ndarray, *, bits: int, inverted: bool) -> None:
    kind = "MONOCHROME1" if inverted else "MONOCHROME2"
    dataset.set_pixel_data(pixels, kind, bits, generate_instance_uid=False)
    path = root / identity.path
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
