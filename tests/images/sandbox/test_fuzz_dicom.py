"""2,000 seeded mutations of ten real DICOM files in the sandboxed decoder; the counts are printed and add up."""

import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32

from mammo.errors import ImageError
from mammo.images.sandbox.decode import end_processes, read_untrusted_film
from mammo.images.sandbox.process import Limits
from tests.images.workers import on_linux, peak_bytes, workers_of
from tests.shared_data import SHARED, needs

SEED = 20240229
EACH = 200  # of each of the ten files
TRUNCATIONS = 50  # of these
LIMITS = Limits(seconds=20.0, memory_bytes=2**30)
PIXEL_DATA = b"\xe0\x7f\x10\x00"
ODD_LENGTHS = (0, 1, 2, 3, 7, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
# What an error may say, in the order of the search.
KINDS = {
    "stopped: time": r"it took longer than 20 s",
    "stopped: memory": r"(decoding it )?needs? more than the 1024 MiB",
    "stopped: signal": r"it was ended by SIG",
    # The second is about a file with a TIFF preamble that has lost its DICM.
    "structure": r"damaged (or cut-short )?DICOM file|damaged or cut short",
    "pixel data": r"damaged .* pixel data|its compressed data|its pixel data has|an array of",
    "bounds": r"more than the \d+ per side|would become|an image has at least one|the file is empty|grows past",
    "header": r"DICOM header|expected|is missing|needs a decoder|transfer syntax|RescaleSlope|without pixel data|LUT"
    r"|HighBit|RescaleIntercept|not square|PixelPadding|Shutter|quality-control|lie elsewhere|functional groups",
}


def real_files() -> list[Path]:
    folders = (SHARED / "dicom_cases", SHARED / "cbis_ddsm_roi_dicom")
    return [path for folder in folders for path in sorted(folder.iterdir()) if path.suffix != ".html"]


class Source:
    """One file of the corpus: its bytes, the start of its pixels, and (place, bytes) of its elements' length fields."""

    def __init__(self, path: Path) -> None:
        self.name, self.content = path.name, path.read_bytes()
        self.pixels = self.content.rindex(PIXEL_DATA)
        dataset = dcmread(path)
        parts = (dataset.file_meta, dataset)
        raw = [part.get_item(tag) for part in parts for tag in part.keys()]  # noqa: SIM118 - a data set is no dict
        values = [(element.value_tell, element.VR) for element in raw if isinstance(element, RawDataElement)]
        short = [(at - 2, 2) for at, kind in values if kind and kind not in EXPLICIT_VR_LENGTH_32]
        self.lengths = short + [(at - 4, 4) for at, kind in values if not kind or kind in EXPLICIT_VR_LENGTH_32]


def flip_header(source: Source, others: list[Source], draw: random.Random) -> bytes:
    """Change 1 to 8 bytes before the pixels."""
    return _flipped(source.content, 0, source.pixels + 12, draw)


def flip_codestream(source: Source, others: list[Source], draw: random.Random) -> bytes:
    """Change 1 to 8 bytes of the pixels, half of the time near their start, where codestreams have their headers."""
    near = source.pixels + 200 if draw.random() < 0.5 else len(source.content)
    return _flipped(source.content, source.pixels + 8, min(near, len(source.content)), draw)


def change_length(source: Source, others: list[Source], draw: random.Random) -> bytes:
    """Change an element's length to an odd one, such as 0, 65,535 or 4 GB; in explicit files its 2 or its 4 bytes."""
    at, size = draw.choice(source.lengths)
    value = draw.choice(ODD_LENGTHS).to_bytes(4, "little")[:size]
    return source.content[:at] + value + source.content[at + size :]


def splice(source: Source, others: list[Source], draw: random.Random) -> bytes:
    """Cut out a piece, double it, or replace it by one of another file."""
    size = draw.choice((1, 2, 8, 64, 512, 4096))
    at = draw.randrange(source.pixels + 100) if draw.random() < 0.7 else draw.randrange(len(source.content))
    before, piece, after = source.content[:at], source.content[at : at + size], source.content[at + size :]
    other = draw.choice(others).content
    start = draw.randrange(len(other))
    return before + draw.choice((b"", piece + piece, other[start : start + size])) + after


def _flipped(content: bytes, start: int, end: int, draw: random.Random) -> bytes:
    mutated = bytearray(content)
    for _ in range(draw.randint(1, 8)):
        mutated[draw.randrange(start, end)] = draw.randrange(256)
    return bytes(mutated)


MUTATIONS: tuple[Callable[[Source, list[Source], random.Random], bytes], ...] = (
    flip_header,
    flip_codestream,
    change_length,
    splice,
)


def mutants(source: Source, others: list[Source]) -> list[Callable[[], bytes]]:
    """Return functions that make the mutated files, so that 3 GB of them need not be in memory at once."""
    ends = [number * len(source.content) // TRUNCATIONS for number in range(TRUNCATIONS)]
    recipes: list[Callable[[], bytes]] = [partial(_cut, source, end) for end in ends]
    for number in range(EACH - TRUNCATIONS):
        draw = random.Random(f"{SEED} {source.name} {number}")
        recipes.append(partial(MUTATIONS[number % len(MUTATIONS)], source, others, draw))
    return recipes


def _cut(source: Source, end: int) -> bytes:
    return source.content[:end]


class Watch(threading.Thread):
    """Checks the decoding processes every few milliseconds: which there are, and the most memory of any."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seen: set[int] = set()
        self.peak, self.done = 0, threading.Event()

    def run(self) -> None:
        while not self.done.wait(0.02):
            for worker in workers_of():
                self.seen.add(worker)
                self.peak = max(self.peak, peak_bytes(worker))


def outcome(path: Path, mutant: Callable[[], bytes]) -> str:
    """Read one mutated file; return the name of its outcome, or what is wrong with it."""
    path.write_bytes(mutant())
    start = time.monotonic()
    try:
        film = read_untrusted_film(path, limits=LIMITS)
    except ImageError as error:
        message = str(error)
        kind = next((kind for kind, words in KINDS.items() if re.search(words, message)), f"unknown: {message}")
        in_one_line = message.startswith(f"{path}: ") and "\n" not in message and len(message) < 900
        return kind if in_one_line else f"not one clear line: {message}"
    finally:
        path.unlink()
        assert time.monotonic() - start < LIMITS.seconds + 10
    return "decoded" if film.pixels.dtype == np.uint16 and film.pixels.ndim == 2 else "no film"


@on_linux
@needs("dicom_cases")
@needs("cbis_ddsm_roi_dicom")
@pytest.mark.slow
def test_2000_mutations_end_as_a_film_or_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ten real files, 200 mutants each, the whole files at their full size.

    Corpus rules: the eight files of `dicom_cases` (JPEG Lossless three times, JPEG 2000 twice, JPEG-LS, RLE,
    uncompressed) and the two of `cbis_ddsm_roi_dicom` (implicit VR). Of each: 50 truncations, evenly spread from
    nothing to nearly all, then in turn byte flips in the header, byte flips in the codestream, changed length fields,
    and splices (cut, doubled, or from another file). The random numbers of a mutant depend only on the seed, the file's
    name and the mutant's number.
    """
    sources = [Source(path) for path in real_files()]
    assert len(sources) == 10
    jobs = [mutant for source in sources for mutant in mutants(source, sources)]
    assert len(jobs) == 2000
    end_processes()
    watch = Watch()
    watch.start()
    start = time.monotonic()
    paths = (tmp_path / f"{number}.dcm" for number in range(len(jobs)))
    with ThreadPoolExecutor(2) as threads:
        counts = Counter(threads.map(outcome, paths, jobs))
    seconds = time.monotonic() - start
    watch.done.set()
    watch.join()
    end_processes()
    decoded, refused = counts["decoded"], sum(count for kind, count in counts.items() if kind in KINDS)
    memory = f"{watch.peak / 2**20:.0f} MiB of {LIMITS.memory_bytes / 2**20:.0f}"
    with capsys.disabled():
        print(f"\n{len(jobs)} mutations in {seconds:.0f} s: {decoded} decoded, {refused} refused")
        print(dict(counts.most_common()))
        print(f"decoding processes: {len(watch.seen)}, most memory of any {memory}")
    assert decoded + refused == 2000, [kind for kind in counts if kind not in KINDS]
    assert decoded > 100
    assert refused > 600
    assert 0 < watch.peak <= LIMITS.memory_bytes
    assert workers_of() == []


@needs("dicom_cases")
def test_no_message_about_a_mutant_quotes_its_header(tmp_path: Path) -> None:
    source = Source(SHARED / "dicom_cases" / "dx_image.dcm")
    header = dcmread(SHARED / "dicom_cases" / "dx_image.dcm", stop_before_pixels=True)
    words = {
        str(element.value)
        for element in header
        if element.VR in ("PN", "LO", "DA", "UI", "SH") and len(str(element.value)) > 5
    }
    assert len(words) > 5
    for mutant in mutants(source, [source]):
        (tmp_path / "a.dcm").write_bytes(mutant())
        try:
            read_untrusted_film(tmp_path / "a.dcm")
        except ImageError as error:
            assert not [word for word in words if word in str(error)]
