"""A source's header, its display and its stored values enter; the data set of a copy that names nobody leaves."""

import numpy as np
import pydicom.uid as uids
from pydicom import Dataset

from mammo.deidentify.allow_list import SOP_CLASSES, allowed
from mammo.deidentify.pseudonyms import Pseudonyms
from mammo.images.display import Display, Table

METHOD = "mammo: allow-list by the basic profile of DICOM PS3.15"
NEW_UIDS = ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
IDENTITY = ("SOPClassUID", *NEW_UIDS, "FrameOfReferenceUID", "PatientID", "SourceImageSequence")
ALWAYS_LOSSY = (uids.JPEGBaseline8Bit, uids.JPEGExtended12Bit, uids.JPEGLSNearLossless)
RESCALE = ("RescaleIntercept", "RescaleSlope", "RescaleType")
MOST_REFERENCES = 20


def deidentified_image(
    header: Dataset, display: Display, stored: np.ndarray, pseudonyms: Pseudonyms
) -> tuple[Dataset, tuple[str, ...]]:
    """Build a copy's data set, and name the elements of which something was left out.

    Args:
        header: The source's elements that are kept or replaced, with its file meta.
        display: What the source's header says of display.
        stored: The source's stored values [height, width], bits above BitsStored cleared.
        pseudonyms: Where new ids come from.

    Raises:
        ValueError, TypeError or the like: The header is damaged.
    """
    image, misfits = allowed(header, signed=display.signed)
    patient = str(header.get("PatientID") or "").strip()
    _set_identity(image, header, patient or f"study {header.StudyInstanceUID}", pseudonyms)
    _set_pixels(image, display, stored)
    if header.file_meta.get("TransferSyntaxUID") in ALWAYS_LOSSY:
        image.LossyImageCompression = "01"  # the copy is not compressed, its pixels once were (PS3.3 C.7.6.1.1.5)
    return image, misfits


def _set_identity(image: Dataset, header: Dataset, patient: str, pseudonyms: Pseudonyms) -> None:
    """Set new ids, and what PS3.15 E.1.1 asks a copy to say of itself; the dates are gone, so their order is too."""
    image.PatientName = image.PatientID = pseudonyms.patient(patient)
    image.SOPClassUID = header.SOPClassUID
    for keyword in NEW_UIDS:
        setattr(image, keyword, pseudonyms.uid(str(header[keyword].value)))
    if header.get("FrameOfReferenceUID"):
        image.FrameOfReferenceUID, image.PositionReferenceIndicator = (
            pseudonyms.uid(str(header.FrameOfReferenceUID)),
            None,
        )
    references = [
        _reference(item, pseudonyms) for item in header.get("SourceImageSequence") or [] if _is_reference(item)
    ]
    if references:
        image.SourceImageSequence = references[:MOST_REFERENCES]
    image.PatientIdentityRemoved, image.LongitudinalTemporalInformationModified = "YES", "REMOVED"
    image.DeidentificationMethod = METHOD
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = (
        "113100",
        "DCM",
        "Basic Application Confidentiality Profile",
    )
    image.DeidentificationMethodCodeSequence = [code]


def _is_reference(item: Dataset) -> bool:
    return item.get("ReferencedSOPClassUID") in SOP_CLASSES and bool(item.get("ReferencedSOPInstanceUID"))


def _reference(item: Dataset, pseudonyms: Pseudonyms) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID = item.ReferencedSOPClassUID
    reference.ReferencedSOPInstanceUID = pseudonyms.uid(str(item.ReferencedSOPInstanceUID))
    return reference


def _set_pixels(image: Dataset, display: Display, stored: np.ndarray) -> None:
    """Describe the array by itself (PS3.3 C.7.6.3), and write the first modality and VOI table as they were understood."""
    image.SamplesPerPixel, image.PixelRepresentation = 1, int(display.signed)
    image.PhotometricInterpretation = "MONOCHROME1" if display.inverted else "MONOCHROME2"
    image.Rows, image.Columns = stored.shape
    image.BitsAllocated, image.BitsStored, image.HighBit = (
        8 * stored.dtype.itemsize,
        display.bits_stored,
        display.bits_stored - 1,
    )
    data = stored.astype(stored.dtype.newbyteorder("<")).tobytes()
    image.add_new("PixelData", "OW" if stored.dtype.itemsize == 2 else "OB", data + b"\0" * (len(data) % 2))
    if isinstance(display.modality, Table):
        image.ModalityLUTSequence = [_table_item(display.modality)]
        image.ModalityLUTSequence[0].ModalityLUTType = "US"
        for keyword in RESCALE:
            image.pop(keyword, None)
    if isinstance(display.voi, Table):
        image.VOILUTSequence = [_table_item(display.voi)]


def _table_item(table: Table) -> Dataset:
    item = Dataset()
    item.add_new(
        "LUTDescriptor", "SS" if table.first < 0 else "US", [len(table.entries) % 2**16, table.first, table.bits]
    )
    item.add_new("LUTData", "OW", table.entries.astype("<u2").tobytes())
    return item
