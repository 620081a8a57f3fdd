"""Prepares the requested arrays of one film file and writes them to the store: the work of one worker."""

import hashlib
from pathlib import Path

import cv2

from mammo.errors import ImageError, MaskError, StoreError, in_one_line
from mammo.images.decode import Readers, readers, start_of
from mammo.images.film import Film
from mammo.images.geometry import Box, box_of_mask, check_mask, looks_like_mask, mask_from
from mammo.images.preprocess import PreprocessSettings, prepare_film, prepare_lesion
from mammo.prepare.records import Entry, FileStamp, Seen, StoreRequest, stamp_file, status_of, write_array

ASPECT_TOLERANCE = 0.02  # masks within 2 % of their film's aspect ratio are scaled to it; others are exclusions
# A finished request, whose array is in the store; or why it failed: a MaskError if its mask does not fit its film, as
# some of CBIS-DDSM do not; or that the store cannot be written.
Result = tuple[StoreRequest, Entry | ImageError | StoreError]


def prepare_requests(
    requests: list[StoreRequest], settings: PreprocessSettings, folder: Path, *, untrusted: bool = False
) -> list[Result]:
    """Prepare all requests of one film, decoding it once; a bad film fails all of them, a bad mask only its own.

    Args:
        requests: All of the same film.
        settings: How to prepare it.
        folder: The store's folder, where the arrays are written.
        untrusted: Decode in a process of its own; the pixels are the same.

    Returns:
        A result per request; a `StoreError` ends the work, and is the last.
    """
    cv2.setNumThreads(1)
    path = Path(requests[0].film)
    read = readers(untrusted=untrusted)
    try:
        start_of(path)
        before = status_of(path)
        film = read.film(path)
        stamp = stamp_file(path, before)
    except (ImageError, OSError) as error:
        return [(request, ImageError(str(error))) for request in requests]
    shape = repr(film.pixels.shape).encode()[:16]
    film_hash = hashlib.blake2b(film.pixels.tobytes(), digest_size=20, person=shape).hexdigest()
    made: list[Result] = []
    for request in requests:
        try:
            made.append((request, _make(request, film, stamp, film_hash, settings, folder, read)))
        except (ImageError, OSError) as error:
            text = str(error) if request.film in str(error) else f"{request.film}: {error}"
            # A new error: this one's traceback would keep the film in memory.
            made.append((request, MaskError(text) if isinstance(error, MaskError) else ImageError(text)))
        except StoreError as error:
            return [*made, (request, error)]
    return made


def _make(
    request: StoreRequest,
    film: Film,
    stamp: FileStamp,
    film_hash: str,
    settings: PreprocessSettings,
    folder: Path,
    read: Readers,
) -> Entry:
    absent = [mask for mask in request.masks if not Path(mask).is_file()]
    if absent:
        raise ImageError(f"mask {', '.join(absent)} does not exist; correct the column mask or leave it empty")
    before = [status_of(Path(mask)) for mask in request.masks]
    box, doubts = request.box, tuple[str, ...]()
    if box is None and request.masks:
        box, doubts = _box_from_masks(request.masks, film.pixels.shape, read)
    stamps = (stamp, *(stamp_file(Path(mask), status) for mask, status in zip(request.masks, before, strict=True)))
    if settings.task != "lesion":
        prepared = prepare_film(film, settings, box=box, pixel_aspect=request.pixel_aspect)
    elif box is None:
        raise ImageError(f"{request.film}: expected a lesion's box or mask, got neither")
    else:
        prepared = prepare_lesion(film, box, settings, pixel_aspect=request.pixel_aspect)
    identity: tuple[object, ...] = ([stamp.sha256 for stamp in stamps], box)
    if request.pixel_aspect != 1:
        identity = (*identity, request.pixel_aspect)
    name = hashlib.sha256(repr(identity).encode()).hexdigest()[:40]
    file = f"{name[:2]}/{name}.npy"
    crc32 = write_array(folder / file, prepared.pixels)
    seen = Seen(prepared.chest_wall, film.laterality, (*prepared.remarks, *doubts))
    return Entry(file, crc32, film_hash, box, prepared.box, stamps, seen)


def _box_from_masks(masks: tuple[str, ...], film_size: tuple[int, ...], read: Readers) -> tuple[Box, tuple[str, ...]]:
    """Find the mask among the candidates by content; return its box in the film's pixels and its warning keys."""
    readable, broken = [], []
    for name in masks:
        try:
            readable.append((name, read.pixels(Path(name))))
        except ImageError as error:
            broken.append(str(error))
    found = [(name, pixels) for name, pixels in readable if looks_like_mask(pixels)]
    if not found and broken:
        raise ImageError(in_one_line("no mask can be read", broken))
    if not found and len(masks) == 1 and (value := readable[0][1].min()) == readable[0][1].max():
        fix = "correct it, or leave the column empty"
        raise MaskError(f"{masks[0]}: the mask is empty: all its pixels are {int(value)}; {fix}")
    if not found:
        raise MaskError(f"none of {len(masks)} files is a mask (two values): {', '.join(masks)}")
    name, pixels = max(found, key=lambda pair: pair[1].size)
    mask = mask_from(pixels)
    doubts = check_mask(name, pixels, mask)
    box = box_of_mask(mask)
    if box is None:
        raise MaskError(f"{name}: the mask outlines nothing")
    height, width = pixels.shape[:2]
    across, down = film_size[1] / width, film_size[0] / height
    if abs(across / down - 1) > ASPECT_TOLERANCE:
        film = f"its film, {film_size[1]}×{film_size[0]} px"
        raise MaskError(f"{name}: mask of {width}×{height} px does not have the shape of {film}")
    return (box[0] * across, box[1] * down, box[2] * across, box[3] * down), doubts
