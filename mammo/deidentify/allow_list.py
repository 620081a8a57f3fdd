"""Builds a new header from the elements of a source header that may leave the institution; each value is checked.

An element that is not named here is dropped. No named element is in Table E.1-1 of PS3.15's basic profile.
PS3.3 says which elements are required.
"""

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pydicom.uid as uids
from pydicom import Dataset
from pydicom.datadict import dictionary_VR
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence as Items
from pydicom.sr import Code
from pydicom.sr.codedict import codes

from mammo.images.dicom_header import SHUTTER
from mammo.images.limits import DECODER_FAULTS, MAX_SIDE_PX

SOP_CLASSES: dict[str, str] = {
    uids.DigitalMammographyXRayImageStorageForPresentation: "MG",
    uids.DigitalMammographyXRayImageStorageForProcessing: "MG",
    uids.DigitalXRayImageStorageForPresentation: "DX",
    uids.DigitalXRayImageStorageForProcessing: "DX",
    uids.ComputedRadiographyImageStorage: "CR",
    uids.SecondaryCaptureImageStorage: "OT",
}
# Type 2: an image must have them, empty if nothing is known. For the first seven the profile's action is Z, so they
# are always empty.
EMPTY_IF_ABSENT = (
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
    "StudyID",
    "PatientBirthDate",
    "PatientSex",
    "Manufacturer",
    "SeriesNumber",
    "InstanceNumber",
    "PatientOrientation",
)
MORE_EMPTY_IF_ABSENT: dict[str, tuple[str, ...]] = {
    "MG": ("AnatomicRegionSequence", "AcquisitionContextSequence"),
    "DX": ("AnatomicRegionSequence", "AcquisitionContextSequence", "DetectorType"),
    "CR": ("BodyPartExamined", "ViewPosition", "Laterality"),
}
VIEWS = ("CC", "MLO", "ML", "LM", "LMO", "FB", "SIO", "ISO", "XCC", "XCCL", "XCCM", "SPECIMEN")  # PS3.16, CID 4014
VIEW_CODES = tuple(codes.cid4014.concepts.values())
VIEW_MODIFIERS = ("CV", "AT", "TAN", "RL", "RM", "RI", "RS")  # PS3.16, CID 4015
MODIFIER_CODES = tuple(codes.cid4015.concepts.values())
PROJECTIONS = ("AP", "PA", "LL", "RL", "RLD", "LLD", "RLO", "LLO")
IMAGE_FLAVOUR = re.compile("TOMO(_PROJ|_2D)?|GENERATED_2D|POST_CONTRAST|SUBTRACTION|(LOW|HIGH)_ENERGY|NORMALIZED")
FILTERS = ("MOLYBDENUM", "ALUMINUM", "COPPER", "RHODIUM", "NIOBIUM", "EUROPIUM", "LEAD", "SILVER", "TIN")
# Free text in the file: kept only if it begins with one of these names, and then as the name written here.
VENDORS = {
    "AGFA": "AGFA", "CARESTREAM": "CARESTREAM", "EASTMAN KODAK": "KODAK", "FUJI": "FUJIFILM",
    "GE ": "GE MEDICAL SYSTEMS", "GIOTTO": "IMS GIOTTO", "HOLOGIC": "HOLOGIC", "I.M.S": "IMS GIOTTO",
    "IMS": "IMS GIOTTO", "KODAK": "KODAK", "KONICA": "KONICA MINOLTA", "LORAD": "LORAD",
    "METALTRONICA": "METALTRONICA", "PHILIPS": "PHILIPS", "PLANMED": "PLANMED", "SECTRA": "SECTRA",
    "SIEMENS": "SIEMENS",
}  # fmt: skip
MODELS = {
    name.upper(): name
    for name in (
        "Selenia Dimensions", "Lorad Selenia", "Selenia", "3Dimensions", "Lorad M-IV", "Senographe 2000D",
        "Senographe DS", "Senographe Essential", "Senographe Care", "Senographe Pristina", "MAMMOMAT Inspiration",
        "MAMMOMAT Revelation", "MAMMOMAT Fusion", "MAMMOMAT B.brilliant", "MAMMOMAT NovationDR", "Mammomat Novation",
        "AMULET Innovality", "AMULET", "FDR-1000AWS", "FDR-2000AWS", "FDR-3000AWS", "MicroDose", "Giotto Class",
        "Giotto Image", "Planmed Nuance", "Planmed Clarity", "Planmed Sophie", "Helianthus",
    )
}  # fmt: skip
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,2})?")
MOST_ITEMS = 20
SHORT = re.compile(r"[+-]?[0-9]+(\.[0-9]{0,3}0*)?([eE]\+?0?[0-6])?")  # more decimals could be a date
WHOLE = re.compile(r"[+-]?[0-9]+")
DIRECTION = re.compile(r"(?=[APRLHF]{1,3}$)(?!.*(A.*P|P.*A|R.*L|L.*R|H.*F|F.*H|(.).*\2))")
# Takes an element's values; returns those to keep, and whether nothing was left out.
Check = Callable[[list[Any]], tuple[list[Any], bool]]


def _terms(*terms: str, most: int = 1) -> Check:
    """Keep at most `most` values, all from the given terms; otherwise drop the element."""

    def check(values: list[Any]) -> tuple[list[Any], bool]:
        found = [str(value).strip().upper() for value in values]
        fits = len(found) <= most and all(value in terms for value in found)
        return (found, True) if fits else ([], False)

    return check


def _number(low: float, high: float, *, most: int = 1, least: int = 1, form: re.Pattern[str] = NUMBER) -> Check:
    """Keep numbers of a range, with their digits unchanged (PS3.5 6.2: at most 16 characters).

    No range of the table is wide enough for a date or an id.
    """

    def check(values: list[Any]) -> tuple[list[Any], bool]:
        found = [str(value).strip() for value in values]
        fits = least <= len(found) <= most and all(
            len(text) <= 16 and form.fullmatch(text) and low <= float(text) <= high for text in found
        )
        return (found, True) if fits else ([], False)

    return check


def _begins(names: dict[str, str]) -> Check:
    """Replace free text by the known name that it begins with."""

    def check(values: list[Any]) -> tuple[list[Any], bool]:
        text = " ".join(str(values[0]).upper().split()) + " " if len(values) == 1 else ""
        found = [name for start, name in names.items() if text.startswith(start)]
        return found[:1], bool(found)

    return check


def _image_type(values: list[Any]) -> tuple[list[Any], bool]:
    """Keep values 1 and 2 as PS3.3 C.7.6.1.1.2 defines them; empty the further values that are not known."""
    found = [str(value).strip().upper() for value in values]
    if len(found) < 2 or found[0] not in ("ORIGINAL", "DERIVED") or found[1] not in ("PRIMARY", "SECONDARY"):
        return [], False
    kept = found[:2] + [value if IMAGE_FLAVOUR.fullmatch(value) else "" for value in found[2:]]
    while kept[-1] == "":
        kept.pop()
    return kept, len([value for value in found if value]) == len([value for value in kept if value])


def _orientation(values: list[Any]) -> tuple[list[Any], bool]:
    """Keep two directions (PS3.3 C.7.6.1.1.1), or the view, which CBIS-DDSM stores here."""
    found = [str(value).strip().upper() for value in values]
    if len(found) == 1 and found[0] in (*VIEWS, *VIEW_MODIFIERS):
        return found, True
    fits = len(found) == 2 and all(DIRECTION.match(value) for value in found)
    return (found, True) if fits else ([], False)


def _coded(known: Sequence[Code], *, within: tuple[str, Check] | None = None) -> Check:
    """Keep items with a known code, with the standard's meaning, and of inner items those that `within` checks."""

    def check(values: list[Any]) -> tuple[list[Any], bool]:
        kept, whole = [], len(values) <= MOST_ITEMS
        for item in values[:MOST_ITEMS]:
            code = _known_code(item, known)
            whole = whole and code is not None
            if code is not None:
                kept.append(code_item(code))
                if within is not None:
                    keyword, inner = within
                    modifiers, all_fit = inner(_values(item, keyword))
                    setattr(kept[-1], keyword, modifiers)
                    whole = whole and all_fit
        return kept, whole

    return check


def _known_code(item: Any, known: Sequence[Code]) -> Code | None:
    if not isinstance(item, Dataset):
        return None
    scheme = str(item.get("CodingSchemeDesignator", "")).strip()
    scheme = "SRT" if scheme in ("SNM3", "99SDM") else scheme  # older names of one scheme, PS3.16 section 8
    came = Code(str(item.get("CodeValue", "")).strip(), scheme, "")
    return next((code for code in known if code == came), None)


def code_item(code: Code) -> Dataset:
    """Make the item of a code sequence."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme_designator, code.meaning
    return item


_whole = partial(_number, form=WHOLE)
YES_NO = _terms("YES", "NO")
SPACING = _number(1e-4, 100, least=2, most=2)
KEPT: dict[str, Check] = {
    # What kind of image it is
    "ImageType": _image_type,
    "Modality": _terms("MG", "CR", "DX", "RG", "OT"),
    "PresentationIntentType": _terms("FOR PRESENTATION", "FOR PROCESSING"),
    "ConversionType": _terms("DV", "DI", "DF", "WSD", "SD", "SI", "DRW", "SYN"),
    "QualityControlImage": _terms("YES", "NO", "BOTH"),
    "BurnedInAnnotation": YES_NO,
    "RecognizableVisualFeatures": YES_NO,
    "LossyImageCompression": _terms("00", "01"),
    "LossyImageCompressionRatio": _number(1, 1000, most=4),
    "LossyImageCompressionMethod": _terms("ISO_10918_1", "ISO_14495_1", "ISO_15444_1", most=4),
    "SeriesNumber": _whole(0, 99_999),
    "InstanceNumber": _whole(0, 99_999),
    # Which breast, which view
    "BodyPartExamined": _terms("BREAST"),
    "Laterality": _terms("R", "L"),
    "ImageLaterality": _terms("R", "L", "U", "B"),
    "ViewPosition": _terms(*VIEWS, *VIEW_MODIFIERS, *PROJECTIONS),
    "PatientOrientation": _orientation,
    "AnatomicRegionSequence": _coded([codes.SCT.Breast]),
    "ViewCodeSequence": _coded(VIEW_CODES, within=("ViewModifierCodeSequence", _coded(MODIFIER_CODES))),
    "OrganExposed": _terms("BREAST"),
    "BreastImplantPresent": YES_NO,
    "PartialView": YES_NO,
    # How stored values become displayed ones
    **dict.fromkeys(("PixelPaddingValue", "PixelPaddingRangeLimit"), _whole(-(2**15), 2**16 - 1)),
    "PixelIntensityRelationship": _terms("LIN", "LOG", "DISP"),
    "PixelIntensityRelationshipSign": _whole(-1, 1),
    "RescaleIntercept": _number(-1e6, 1e6),
    "RescaleSlope": _number(-1e6, 1e6),
    "RescaleType": _terms("US", "OD", "HU"),
    "WindowCenter": _number(-1e6, 1e6, most=16, form=SHORT),
    "WindowWidth": _number(0, 1e6, most=16, form=SHORT),
    "VOILUTFunction": _terms("LINEAR", "LINEAR_EXACT", "SIGMOID"),
    "PresentationLUTShape": _terms("IDENTITY", "INVERSE"),
    **dict.fromkeys(SHUTTER, _whole(0, MAX_SIDE_PX)),
    "ShutterShape": _terms("RECTANGULAR"),
    # Size in millimetres
    "PixelSpacing": SPACING,
    "PixelSpacingCalibrationType": _terms("GEOMETRY", "FIDUCIAL"),
    "ImagerPixelSpacing": SPACING,
    "NominalScannedPixelSpacing": SPACING,
    "PixelAspectRatio": _whole(1, 10_000, most=2),
    "EstimatedRadiographicMagnificationFactor": _number(0.1, 10),
    **dict.fromkeys(("DistanceSourceToDetector", "DistanceSourceToPatient"), _number(0, 10_000)),
    "FieldOfViewShape": _terms("RECTANGLE", "ROUND", "HEXAGONAL"),
    "FieldOfViewDimensions": _whole(1, 1_000, most=2),
    "FieldOfViewOrigin": _number(-10_000, 10_000, least=2, most=2),
    "FieldOfViewRotation": _number(0, 360),
    "FieldOfViewHorizontalFlip": YES_NO,
    # How the film was taken
    "Manufacturer": _begins(VENDORS),
    "ManufacturerModelName": _begins(MODELS),
    "KVP": _number(0, 200),
    "ExposureTime": _whole(0, 99_999),
    "XRayTubeCurrent": _whole(0, 2_000),
    "Exposure": _whole(0, 2_000),
    "ExposureInuAs": _whole(0, 2_000_000),
    "RelativeXRayExposure": _whole(0, 99_999),
    "FocalSpots": _number(0, 10, most=4),
    "AnodeTargetMaterial": _terms("TUNGSTEN", "MOLYBDENUM", "RHODIUM"),
    "FilterType": _terms("STRIP", "WEDGE", "BUTTERFLY", "MULTIPLE", "FLAT", "NONE"),
    "FilterMaterial": _terms(*FILTERS, most=4),
    "Grid": _terms("FIXED", "FOCUSED", "RECIPROCATING", "PARALLEL", "CROSSED", "NONE", most=4),
    "BodyPartThickness": _number(0, 500),
    "CompressionForce": _number(0, 1_000),
    "OrganDose": _number(0, 100),
    "EntranceDoseInmGy": _number(0, 1_000),
    "HalfValueLayer": _number(0, 10),
    "ExposureControlMode": _terms("MANUAL", "AUTOMATIC"),
    "PositionerType": _terms("MAMMOGRAPHIC", "NONE", "COLUMN", "CARM", "RIGID"),
    "PositionerPrimaryAngle": _number(-360, 360),
    "DetectorType": _terms("DIRECT", "SCINTILLATOR", "STORAGE", "FILM"),
    "DetectorConfiguration": _terms("AREA", "SLOT"),
    "DetectorBinning": _number(1, 16, least=2, most=2),
    "DetectorElementSpacing": SPACING,
}


def allowed(source: Dataset, *, signed: bool) -> tuple[Dataset, tuple[str, ...]]:
    """Copy the elements of `KEPT` whose values pass their checks to a new data set without any identity.

    Args:
        source: A header; its SOPClassUID must be one of `SOP_CLASSES`.
        signed: Whether stored values are signed; the padding value is then signed too.

    Returns:
        The data set, and the keywords of elements of which a value was left out.
    """
    header, misfits = Dataset(), []
    for keyword, check in KEPT.items():
        try:
            values = _values(source, keyword)
            kept, whole = check(values) if values else ([], True)
        except DECODER_FAULTS:  # a value that is not of its own type
            kept, whole = [], False
        if not whole:
            misfits.append(keyword)
        if kept:
            _put(header, keyword, kept, signed=signed)
    _drop_half_of_a_window(header, misfits)
    kind = SOP_CLASSES[source.SOPClassUID]
    if "Modality" not in header:
        header.Modality = kind
    for keyword in (*EMPTY_IF_ABSENT, *MORE_EMPTY_IF_ABSENT.get(kind, ())):
        if keyword not in header:
            setattr(header, keyword, [] if dictionary_VR(keyword) == "SQ" else None)
    return header, tuple(misfits)


def _values(source: Dataset, keyword: str) -> list[Any]:
    """Return the values of one element; none if it is absent or blank."""
    value = source.get(keyword)
    values = list(value) if isinstance(value, MultiValue | Items | list | tuple) else [value]
    return values if any(value is not None and str(value).strip() for value in values) else []


def _put(header: Dataset, keyword: str, values: list[Any], *, signed: bool) -> None:
    vr = dictionary_VR(keyword)
    if vr == "US or SS":
        vr = "SS" if signed else "US"
    if vr in ("US", "SS"):
        values = [int(value) for value in values]
    header.add_new(keyword, vr, values if vr == "SQ" or len(values) > 1 else values[0])


def _drop_half_of_a_window(header: Dataset, misfits: list[str]) -> None:
    """Remove centre, width and function if one of them is missing: they have no meaning without each other."""
    whole = "WindowCenter" in header and "WindowWidth" in header
    if "VOILUTFunction" in misfits or not whole:
        for keyword in ("WindowCenter", "WindowWidth", "VOILUTFunction"):
            header.pop(keyword, None)
