"""Lists every DICOM attribute that can change a film's pixels or their meaning, and how reading treats it.

Sections are of the DICOM standard, edition 2024b. How an attribute is handled:
`applied`: the film is shown as the attribute says.
`refused`: the values or cases named here end in an `ImageError` that names the attribute.
`warned`: the film is read, and a warning is counted.
`irrelevant`: it changes nothing for a single gray film, and is not read.
"""

from typing import Literal

Handling = Literal["applied", "refused", "warned", "irrelevant"]
# By handling and keyword: for which values or why, and the section of the standard.
DISPLAY_RULES: dict[Handling, dict[str, tuple[str, str]]] = {
    "applied": {
        "SOPClassUID": ("objects without an image are skipped in folders, and refused if named alone", "PS3.4 B.5"),
        "PhotometricInterpretation": ("MONOCHROME1 inverts, MONOCHROME2 does not; no others", "PS3.3 C.7.6.3.1.2"),
        "PresentationLUTShape": ("INVERSE inverts; IDENTITY with MONOCHROME1 is refused", "PS3.3 C.11.6, C.8.11.1"),
        "Rows": ("1 to 30,000; refused if the pixel data has another size", "PS3.3 C.7.6.3"),
        "Columns": ("as Rows", "PS3.3 C.7.6.3"),
        "BitsAllocated": ("8 or 16; others are refused", "PS3.5 8.1.1"),
        "BitsStored": ("1 to BitsAllocated; all other bits are cleared", "PS3.5 8.1.1"),
        "HighBit": ("any that fits BitsStored in raw and RLE pixels; only BitsStored - 1 in others", "PS3.5 8.1.1"),
        "PixelRepresentation": ("0 unsigned, 1 signed; others are refused", "PS3.5 8.1.1"),
        "PixelPaddingValue": ("such pixels are as dark as the darkest other pixel", "PS3.3 C.7.5.1.1.2"),
        "PixelPaddingRangeLimit": ("with PixelPaddingValue; refused without", "PS3.3 C.7.5.1.1.2"),
        "ShutterShape": ("RECTANGULAR: black outside; other shapes are refused", "PS3.3 C.7.6.11"),
        "ShutterLeftVerticalEdge": ("with ShutterShape", "PS3.3 C.7.6.11"),
        "ShutterRightVerticalEdge": ("with ShutterShape", "PS3.3 C.7.6.11"),
        "ShutterUpperHorizontalEdge": ("with ShutterShape", "PS3.3 C.7.6.11"),
        "ShutterLowerHorizontalEdge": ("with ShutterShape", "PS3.3 C.7.6.11"),
        "ModalityLUTSequence": ("the first table, before RescaleSlope", "PS3.3 C.11.1"),
        "RescaleSlope": ("with RescaleIntercept; 0, or one of the two alone, is refused", "PS3.3 C.11.1"),
        "RescaleIntercept": ("with RescaleSlope", "PS3.3 C.11.1"),
        "VOILUTSequence": ("the first of several, before a window", "PS3.3 C.11.2"),
        "WindowCenter": ("the first of several; as many as WindowWidth, else refused", "PS3.3 C.11.2.1.2"),
        "WindowWidth": ("LINEAR from 1, others above 0; smaller ones are refused", "PS3.3 C.11.2.1.2"),
        "VOILUTFunction": ("LINEAR, LINEAR_EXACT, SIGMOID; others are refused", "PS3.3 C.11.2.1.3"),
        "SharedFunctionalGroupsSequence": ("window, tables, rescale, spacing and side of the frame", "PS3.3 C.7.6.16"),
        "PerFrameFunctionalGroupsSequence": ("as the shared ones, with priority over them", "PS3.3 C.7.6.16"),
        "PixelData": ("bytes after the last pixel are ignored with a warning", "PS3.5 8.1.1, A.4"),
    },
    "refused": {
        "PresentationIntentType": ("FOR PROCESSING, unless data.raw_films=accept", "PS3.3 C.8.11.1"),
        "QualityControlImage": ("YES and BOTH: a test object, not a patient", "PS3.3 C.7.6.1"),
        "SamplesPerPixel": ("all but 1 (colour)", "PS3.3 C.7.6.3.1.1"),
        "NumberOfFrames": ("all but 1 (tomosynthesis)", "PS3.3 C.7.6.6"),
        "PixelAspectRatio": ("pixels whose sides differ by more than 1 %", "PS3.3 C.7.6.3.1.7"),
        "PixelSpacing": ("pixels whose sides differ by more than 1 %; 0 means unknown", "PS3.3 10.7.1"),
        "ImagerPixelSpacing": ("pixels whose sides differ by more than 1 %; 0 means unknown", "PS3.3 10.7.1"),
        "FloatPixelData": ("an image of real numbers", "PS3.3 C.7.6.24"),
        "DoubleFloatPixelData": ("an image of real numbers", "PS3.3 C.7.6.25"),
        "PixelDataProviderURL": ("the pixels are not in the file", "PS3.3 C.7.6.3"),
    },
    "warned": {
        "Modality": ("other than MG, CR, DX, RG or OT", "PS3.3 C.7.3.1.1.1"),
        "ImageLaterality": ("compared with the side of the breast on the film, over a data set", "PS3.3 C.8.11.7"),
        "Laterality": ("as ImageLaterality, if that is absent", "PS3.3 C.7.3.1"),
    },
    "irrelevant": {
        "PresentationLUTSequence": ("for presentation states and printing, not part of an image", "PS3.3 C.11.4"),
        "OverlayData": ("drawn on request only; overlays in unused bits of a pixel are cleared", "PS3.3 C.9.2"),
        "OverlayBitPosition": ("outside BitsStored, where bits are cleared", "PS3.5 8.1.2"),
        "RescaleType": ("only a unit", "PS3.3 C.11.1.1.2"),
        "WindowCenterWidthExplanation": ("names of windows", "PS3.3 C.11.2"),
        "PixelIntensityRelationship": ("about raw values; display has tables of its own", "PS3.3 C.8.11.3"),
        "PixelIntensityRelationshipSign": ("as PixelIntensityRelationship", "PS3.3 C.8.11.3"),
        "PixelIntensityRelationshipLUTSequence": ("converts to raw values, not for display", "PS3.3 C.7.6.16.2.13"),
        "RealWorldValueMappingSequence": ("units for measuring", "PS3.3 C.7.6.16.2.11"),
        "SmallestImagePixelValue": ("a statistic", "PS3.3 C.7.6.3"),
        "LargestImagePixelValue": ("a statistic", "PS3.3 C.7.6.3"),
        "PatientOrientation": ("the chest wall is found in the pixels", "PS3.3 C.7.6.1.1.1"),
        "FieldOfViewRotation": ("already applied to the pixels", "PS3.3 C.8.11.4"),
        "FieldOfViewHorizontalFlip": ("already applied to the pixels", "PS3.3 C.8.11.4"),
        "BurnedInAnnotation": ("labels are removed with the background", "PS3.3 C.7.6.1"),
        "LossyImageCompression": ("a record of earlier compression", "PS3.3 C.7.6.1.1.5"),
        "ICCProfile": ("for colour", "PS3.3 C.11.15"),
    },
}
READ = tuple(keyword for handling in ("applied", "refused", "warned") for keyword in DISPLAY_RULES[handling])
