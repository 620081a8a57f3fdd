"""Small DICOM files for tests, written by pydicom."""

from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import DigitalMammographyXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

NAME = "SECRET^NAME"


def film_dataset(pixels: np.ndarray, *, bits: int = 12, kind: str = "MONOCHROME2", **elements: Any) -> FileDataset:
    """A mammogram around uint8, int16 or uint16 pixels; further header elements by keyword, None removes one."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.PatientName, dataset.PatientID, dataset.StudyDate = NAME, "SECRET-ID", "19991231"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, kind
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8 * pixels.itemsize, bits, bits - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = pixels.tobytes()
    for keyword, value in elements.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    return dataset


def saved(dataset: FileDataset, path: Path, **how: Any) -> Path:
    """Write a data set and return its path."""
    dataset.save_as(path, enforce_file_format=True, **how)
    return path


def ramp(height: int = 40, width: int = 30, top: int = 4095) -> np.ndarray:
    """uint16 values from 0 to `top`, all rows and columns different."""
    return np.linspace(0, top, height * width).round().astype(np.uint16).reshape(height, width)
