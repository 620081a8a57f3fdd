"""Lists every DICOM attribute that changes pixels or their meaning, and what reading a film does with it.

`applied`: the film is shown as the attribute says. `refused`: a value that is not listed as read ends in an `ImageError` that
names the attribute. `warned`: the film is read and the remark is counted. `irrelevant`: it changes neither pixels nor their
meaning for a single gray film, and is not read. Sections are of the DICOM standard, edition 2024b.
"""

from dataclasses import dataclass
from typing import Literal

Handling = Literal["applied", "refused", "warned", "irrelevant"]


@dataclass(frozen=True)
class DisplayRule:
    """One attribute: its keyword, what is done with it, the values or cases that this means, and the standard's section."""

    keyword: str
    handling: Handling
    what: str
    section: str


def _rule(keyword: str, handling: Handling, what: str, section: str) -> DisplayRule:
    return DisplayRule(keyword, handling, what, section)


DISPLAY_RULES: tuple[DisplayRule, ...] = (
    _rule(
        "SOPClassUID",
        "applied",
        "objects that hold no image are skipped by kind in folders, refused by name alone",
        "PS3.4 B.5",
    ),
    _rule("Modality", "warned", "another modality than MG, CR, DX, RG or OT", "PS3.3 C.7.3.1.1.1"),
    _rule("PresentationIntentType", "refused", "FOR PROCESSING, unless data.raw_films=accept", "PS3.3 C.8.11.1"),
    _rule("QualityControlImage", "refused", "YES: a test object, no patient", "PS3.3 C.7.6.1"),
    _rule(
        "ImageLaterality",
        "warned",
        "compared with the side on which the breast lies, over a whole data set",
        "PS3.3 C.8.11.7",
    ),
    _rule("Laterality", "warned", "as ImageLaterality, where that is absent", "PS3.3 C.7.3.1"),
    _rule("SamplesPerPixel", "refused", "anything but 1 (colour)", "PS3.3 C.7.6.3.1.1"),
    _rule(
        "PhotometricInterpretation",
        "applied",
        "MONOCHROME1 is inverted, MONOCHROME2 not; others are refused",
        "PS3.3 C.7.6.3.1.2",
    ),
    _rule(
        "PresentationLUTShape",
        "applied",
        "INVERSE inverts; IDENTITY with MONOCHROME1 is refused",
        "PS3.3 C.11.6, C.8.11.1",
    ),
    _rule(
        "PresentationLUTSequence",
        "irrelevant",
        "of presentation states and printing, no part of an image",
        "PS3.3 C.11.4",
    ),
    _rule("NumberOfFrames", "refused", "anything but 1 (tomosynthesis)", "PS3.3 C.7.6.6"),
    _rule("Rows", "applied", "1 to 30,000; refused where the pixel data is of another size", "PS3.3 C.7.6.3"),
    _rule("Columns", "applied", "as Rows", "PS3.3 C.7.6.3"),
    _rule("PixelAspectRatio", "refused", "pixels that are not square to 1 %", "PS3.3 C.7.6.3.1.7"),
    _rule("PixelSpacing", "refused", "pixels that are not square to 1 %; 0 counts as unknown", "PS3.3 10.7.1"),
    _rule("ImagerPixelSpacing", "refused", "pixels that are not square to 1 %; 0 counts as unknown", "PS3.3 10.7.1"),
    _rule("BitsAllocated", "applied", "8 or 16; others are refused", "PS3.5 8.1.1"),
    _rule("BitsStored", "applied", "1 to BitsAllocated; what lies outside these bits is cleared", "PS3.5 8.1.1"),
    _rule(
        "HighBit",
        "applied",
        "any that holds BitsStored, in raw and RLE pixels; BitsStored - 1 alone in others",
        "PS3.5 8.1.1",
    ),
    _rule("PixelRepresentation", "applied", "0 unsigned, 1 signed; others are refused", "PS3.5 8.1.1"),
    _rule("PixelPaddingValue", "applied", "such pixels are as dark as the darkest other one", "PS3.3 C.7.5.1.1.2"),
    _rule("PixelPaddingRangeLimit", "applied", "with PixelPaddingValue; refused without", "PS3.3 C.7.5.1.1.2"),
    _rule("ShutterShape", "applied", "RECTANGULAR: black outside; other shapes are refused", "PS3.3 C.7.6.11"),
    _rule("ShutterLeftVerticalEdge", "applied", "with ShutterShape", "PS3.3 C.7.6.11"),
    _rule("ShutterRightVerticalEdge", "applied", "with ShutterShape", "PS3.3 C.7.6.11"),
    _rule("ShutterUpperHorizontalEdge", "applied", "with ShutterShape", "PS3.3 C.7.6.11"),
    _rule("ShutterLowerHorizontalEdge", "applied", "with ShutterShape", "PS3.3 C.7.6.11"),
    _rule("ModalityLUTSequence", "applied", "the first table, before RescaleSlope", "PS3.3 C.11.1"),
    _rule("RescaleSlope", "applied", "with RescaleIntercept; 0, or one of the two alone, is refused", "PS3.3 C.11.1"),
    _rule("RescaleIntercept", "applied", "with RescaleSlope", "PS3.3 C.11.1"),
    _rule("VOILUTSequence", "applied", "the first of several, before a window", "PS3.3 C.11.2"),
    _rule("WindowCenter", "applied", "the first of several, with WindowWidth", "PS3.3 C.11.2.1.2"),
    _rule(
        "WindowWidth",
        "applied",
        "LINEAR from 1, others above 0; smaller ones, or another number of widths than of centres, are refused",
        "PS3.3 C.11.2.1.2",
    ),
    _rule("VOILUTFunction", "applied", "LINEAR, LINEAR_EXACT, SIGMOID; others are refused", "PS3.3 C.11.2.1.3"),
    _rule(
        "SharedFunctionalGroupsSequence",
        "applied",
        "window, tables, rescale, spacing and side of the frame",
        "PS3.3 C.7.6.16",
    ),
    _rule("PerFrameFunctionalGroupsSequence", "applied", "as the shared ones, which it goes before", "PS3.3 C.7.6.16"),
    _rule("PixelData", "applied", "bytes after the last pixel are ignored and warned of", "PS3.5 8.1.1, A.4"),
    _rule("FloatPixelData", "refused", "an image of real numbers", "PS3.3 C.7.6.24"),
    _rule("DoubleFloatPixelData", "refused", "an image of real numbers", "PS3.3 C.7.6.25"),
    _rule("PixelDataProviderURL", "refused", "the pixels lie elsewhere: none are in the file", "PS3.3 C.7.6.3"),
    _rule(
        "OverlayData",
        "irrelevant",
        "drawn on request only; overlay bits in unused bits of a pixel are cleared",
        "PS3.3 C.9.2",
    ),
    _rule("OverlayBitPosition", "irrelevant", "its bit lies outside BitsStored, which are cleared", "PS3.5 8.1.2"),
    _rule("RescaleType", "irrelevant", "the unit alone", "PS3.3 C.11.1.1.2"),
    _rule("WindowCenterWidthExplanation", "irrelevant", "names of windows", "PS3.3 C.11.2"),
    _rule(
        "PixelIntensityRelationship",
        "irrelevant",
        "what raw values meant; the display chain has its own tables",
        "PS3.3 C.8.11.3",
    ),
    _rule("PixelIntensityRelationshipSign", "irrelevant", "as PixelIntensityRelationship", "PS3.3 C.8.11.3"),
    _rule(
        "PixelIntensityRelationshipLUTSequence",
        "irrelevant",
        "leads back to raw values, not to display",
        "PS3.3 C.7.6.16.2.13",
    ),
    _rule("RealWorldValueMappingSequence", "irrelevant", "units for measuring", "PS3.3 C.7.6.16.2.11"),
    _rule("SmallestImagePixelValue", "irrelevant", "a statistic", "PS3.3 C.7.6.3"),
    _rule("LargestImagePixelValue", "irrelevant", "a statistic", "PS3.3 C.7.6.3"),
    _rule("PatientOrientation", "irrelevant", "the chest wall is found in the pixels", "PS3.3 C.7.6.1.1.1"),
    _rule("FieldOfViewRotation", "irrelevant", "already done to the pixels", "PS3.3 C.8.11.4"),
    _rule("FieldOfViewHorizontalFlip", "irrelevant", "already done to the pixels", "PS3.3 C.8.11.4"),
    _rule("BurnedInAnnotation", "irrelevant", "labels are cut off with the background", "PS3.3 C.7.6.1"),
    _rule("LossyImageCompression", "irrelevant", "a record of what was done", "PS3.3 C.7.6.1.1.5"),
    _rule("ICCProfile", "irrelevant", "of colour", "PS3.3 C.11.15"),
)
READ = tuple(rule.keyword for rule in DISPLAY_RULES if rule.handling != "irrelevant")
