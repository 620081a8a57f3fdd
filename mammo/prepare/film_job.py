"""One film file and what is wanted of it in, prepared arrays and their places out: the work of one `prepare` worker."""

import hashlib
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from mammo.errors import ImageError, MaskError, in_one_line
from mammo.images.decode import looks_like_mask, mask_from
from mammo.images.film import Film
from mammo.images.geometry import Box, box_of_mask
from mammo.images.preprocess import PreprocessSettings, prepare_film, prepare_lesions
from mammo.images.readers import Readers, readers

ASPECT_TOLERANCE = 0.02  # masks within 2 % of their film's aspect ratio are scaled onto it; others are listed
WATCH_SECONDS = 0.5


@dataclass(frozen=True)
class Wish:
    """What is wanted of a film: the film itself, or the lesion at `box`, or the lesion that one of `masks` outlines."""

    film: str
    box: Box | None = None
    masks: tuple[str, ...] = ()


@dataclass(frozen=True)
class FileStamp:
    """How a file looked when it was read."""

    path: str
    bytes: int
    mtime_ns: int
    sha256: str


@dataclass(frozen=True)
class Made:
    """What a wish became: pixels (uint16), the box in the film and in them, and a hash of the whole film's pixels."""

    wish: Wish
    stamps: tuple[FileStamp, ...]
    pixels: np.ndarray
    film_box: Box | None
    stored_box: Box | None
    film_hash: str


@dataclass(frozen=True)
class Fault:
    """Why a wish became nothing; `is_mask` where its mask does not fit its film, which CBIS-DDSM has by nature."""

    wish: Wish
    text: str
    is_mask: bool


def make_wishes(wishes: list[Wish], settings: PreprocessSettings, *, untrusted: bool = False) -> list[Made | Fault]:
    """Fulfil all wishes of one film, decoding it once; a bad film is every wish's fault, a bad mask its own wish's.

    Args:
        wishes: All of the same film.
        settings: How it is prepared.
        untrusted: Decode in a process of its own; the pixels are the same.
    """
    cv2.setNumThreads(1)
    path = Path(wishes[0].film)
    read = readers(untrusted=untrusted)
    try:
        film = read.film(path)
        stamp = stamp_file(path)
    except (ImageError, OSError) as error:
        return [Fault(wish, str(error), is_mask=False) for wish in wishes]
    film_hash = hashlib.blake2b(film.pixels.tobytes(), digest_size=20, person=repr(film.pixels.shape).encode()[:16]).hexdigest()
    return [_make(wish, film, stamp, film_hash, settings, read) for wish in wishes]


def end_with(parent: int) -> None:
    """End this worker when its parent does, however that ends: joblib's would outlive it by five minutes, and hold its output open."""
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(WATCH_SECONDS)
    os._exit(1)


def _make(wish: Wish, film: Film, stamp: FileStamp, film_hash: str, settings: PreprocessSettings, read: Readers) -> Made | Fault:
    try:
        absent = [mask for mask in wish.masks if not Path(mask).is_file()]
        if absent:
            raise ImageError(f"mask {', '.join(absent)} is not there; correct the column mask or leave it empty")
        stamps = (stamp, *(stamp_file(Path(mask)) for mask in wish.masks))
        box = wish.box or (_box_from_masks(wish.masks, film.pixels.shape, read) if wish.masks else None)
        if settings.task == "lesion":
            if box is None:
                raise ImageError(f"{wish.film}: expected a lesion's box or mask, got neither")
            prepared = prepare_lesions(film, [box], settings)[0]
        else:
            prepared = prepare_film(film, settings, box=box)
    except (ImageError, OSError) as error:
        text = str(error) if wish.film in str(error) else f"{wish.film}: {error}"
        return Fault(wish, text, is_mask=isinstance(error, MaskError))
    return Made(wish, stamps, prepared.pixels, box, prepared.box, film_hash)


def _box_from_masks(masks: tuple[str, ...], film_size: tuple[int, ...], read: Readers) -> Box:
    """Find the mask among the candidates by content, and its box in the film's pixels."""
    found, broken = [], []
    for name in masks:
        try:
            pixels = read.pixels(Path(name))
        except ImageError as error:
            broken.append(str(error))
            continue
        if looks_like_mask(pixels):
            found.append((name, pixels))
    if not found and broken:
        raise ImageError(in_one_line("no mask can be read", broken))
    if not found:
        raise MaskError(f"none of {len(masks)} files is a mask (two values): {', '.join(masks)}")
    name, pixels = max(found, key=lambda pair: pair[1].size)
    box = box_of_mask(mask_from(pixels))
    if box is None:
        raise MaskError(f"{name}: the mask outlines nothing")
    height, width = pixels.shape[:2]
    across, down = film_size[1] / width, film_size[0] / height
    if abs(across / down - 1) > ASPECT_TOLERANCE:
        raise MaskError(f"{name}: mask of {width}×{height} px does not have the shape of its film, {film_size[1]}×{film_size[0]} px")
    return (box[0] * across, box[1] * down, box[2] * across, box[3] * down)


def stamp_file(path: Path) -> FileStamp:
    """Take a file's size, time of change and content hash."""
    status = path.stat()
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256") if hasattr(hashlib, "file_digest") else hashlib.sha256(file.read())
    return FileStamp(str(path), status.st_size, status.st_mtime_ns, digest.hexdigest())
