"""Measures time and memory of each step that handles every case, by the number of cases, each size in a fresh process.

The cases are rows of a manifest, four films a patient. Films and prepared arrays are links to a few real files, so that
each look-up is a real one and a million of them fit on a disk.
"""

import functools
import hashlib
import math
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from mammo.bench.evaluation import draw_scores, some_decision
from mammo.bench.measure import Finding, Series, in_process, limit
from mammo.cases.audit import audit_split, refuse_leaks
from mammo.cases.splits import Split, split_lesions
from mammo.data.dataset import MammogramDataset
from mammo.data.sampler import EpochSampler
from mammo.evaluation.judge import How, judge
from mammo.images.preprocess import PreprocessSettings
from mammo.judging.judged import Judged
from mammo.prepare.gather import PreparedSplit, prepare_split, requests_of
from mammo.prepare.readers import read_lesions
from mammo.prepare.records import Entry, Seen, stamp_file, write_array, write_line
from mammo.report.write import write_report
from mammo.runtime import peak_memory_mb
from mammo.settings.schema import DataSettings, Settings

SIZES = (1_000, 10_000, 100_000, 1_000_000)
STEPS = ("read", "split and audit", "store look-up", "epoch start", "evaluation", "report")
Result = TypeVar("Result")
LINKS = 50_000  # of one file; file systems allow about 65,000
RESAMPLES = 100
IMAGE_SIZE = (32, 32)
# Of the exponent b in time ~ cases^b. Below 1 the part that is equal for all sizes still counts.
LINEAR = "<= 1.15"


def bench_growth(largest: int = SIZES[-1]) -> list[Finding]:
    """Measure every size up to the largest, once: the steps are long where it matters."""
    sizes = tuple(size for size in SIZES if size <= largest) or SIZES[:1]
    found = {}
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            found[size] = in_process(measure_size, size, folder)
        steps = ", ".join(f"{step} {seconds:.2f} s" for step, (seconds, _) in found[size].items())
        print(f"{size:,} cases: {steps}; most memory {max(mb for _, mb in found[size].values()):.0f} MB", flush=True)
    seconds = [Series(step, tuple(found[size][step][0] for size in sizes), "s") for step in STEPS]
    memory = [Series(step, tuple(found[size][step][1] for size in sizes), "MB") for step in STEPS]
    bars = [_exponent(sizes, one) for one in seconds] if len(sizes) > 1 else []
    audit = [found[sizes[-1]][step] for step in STEPS[:2]]
    audit_s = Series(f"read, split and audit of {sizes[-1]:,}", (sum(took for took, _ in audit),), "s")
    bars += [
        limit(audit_s, "<= 90"),
        limit(Series("its most memory", (max(mb for _, mb in audit),), "MB"), "<= 3000"),
    ]
    return [
        Finding("growth: time", tuple(seconds), tuple(bars), cases=sizes),
        Finding("growth: most memory until then", tuple(memory), cases=sizes),
    ]


def _exponent(sizes: tuple[int, ...], took: Series) -> Series:
    """Compute by which power of the number of cases the time grows between the two largest sizes."""
    power = math.log(took.values[-1] / took.values[-2]) / math.log(sizes[-1] / sizes[-2])
    return Series(f"{took.name}: time grows by the power", (power,), bar=LINEAR)


def measure_size(size: int, place: str) -> dict[str, tuple[float, float]]:
    """Measure all steps for a number of cases in an empty folder; returns seconds and most MB until then, by step."""
    folder = Path(place)
    data = DataSettings(
        kind="manifest", manifest=folder / "manifest.csv", image_size=IMAGE_SIZE, store=folder / "store"
    )
    settings = Settings(output=folder, data=data)
    _write_manifest(folder, size)
    found: dict[str, tuple[float, float]] = {}
    measured = functools.partial(_measured, found)
    table = measured("read", lambda: read_lesions(settings))
    split = measured("split and audit", lambda: _audited(split_lesions(table, settings.data)))
    _write_store(settings, split)
    prepared = measured("store look-up", lambda: prepare_split(settings, split))
    measured("epoch start", lambda: _first_batch(settings, prepared))
    scores = draw_scores(size, size // 4)
    judgement = measured("evaluation", lambda: judge(scores, some_decision(), how=How(resamples=RESAMPLES)))
    measured("report", lambda: write_report(Judged(folder / "judged", "growth", judgement, scores)))
    return found


def _measured(found: dict[str, tuple[float, float]], step: str, work: Callable[[], Result]) -> Result:
    start = time.perf_counter()
    result = work()
    found[step] = time.perf_counter() - start, peak_memory_mb()
    return result


def _audited(split: Split) -> Split:
    refuse_leaks(audit_split(split), split_name="holdout")
    return split


def _first_batch(settings: Settings, prepared: PreparedSplit) -> None:
    """Start an epoch: draw its order, and read the samples of the first batch."""
    rows = prepared.split.rows("train")
    dataset = MammogramDataset(prepared, rows, settings=settings, channels=1)
    cases = prepared.split.samples.cases.iloc[rows]
    sampler = EpochSampler(cases["label"].to_numpy(int), cases["patient_id"].to_numpy(str), batch_size=16, seed=0)
    for draw in next(iter(sampler)):
        dataset[draw]


def _write_manifest(folder: Path, size: int) -> None:
    """Four films a patient, 3 % of the patients with a malignant breast, and the films' files."""
    number = np.arange(size)
    patient, film = number // 4, number % 4
    frame = pd.DataFrame({"image": [f"{one // 1000:04d}/{one:07d}.dcm" for one in number]})
    frame["patient_id"] = [f"P{one:07d}" for one in patient]
    frame["laterality"] = np.where(film < 2, "LEFT", "RIGHT")
    frame["view"] = np.where(film % 2 == 0, "CC", "MLO")
    frame["lesion_type"] = "mass"
    frame["label"] = ((patient * 7919 + film // 2) % 100 < 3).astype(int)
    frame["density"], frame["assessment"], frame["subtlety"] = patient % 4 + 1, patient % 5 + 1, patient % 5 + 1
    frame["x"], frame["y"], frame["width"], frame["height"] = patient % 500 + 0.5, film * 100 + 1, 120, 130
    frame.to_csv(folder / "manifest.csv", index=False)
    _link([folder / name for name in frame["image"]], b"a film of the phantom's %d")


def _write_store(settings: Settings, split: Split) -> None:
    """The index as `prepare` writes it, and an array for each entry."""
    preprocess = PreprocessSettings.from_data(settings.data)
    store = settings.store_folder / preprocess.key
    store.mkdir(parents=True)
    array = np.full(preprocess.stored_size, 7, np.uint16)
    crc32 = write_array(store / "first.npy", array)
    names = []
    with (store / "index.jsonl").open("wb", buffering=0) as index:
        for request in requests_of(split.samples):
            name = hashlib.sha256(request.film.encode()).hexdigest()[:40]
            file, stamps = f"{name[:2]}/{name}.npy", (stamp_file(Path(request.film)),)
            entry = Entry(file, crc32, name, request.box, request.box, stamps, Seen("left", "", ()))
            write_line(index, request, entry, store / "index.jsonl")
            names.append(store / entry.file)
    _link(names, (store / "first.npy").read_bytes())


def _link(paths: list[Path], content: bytes) -> None:
    """Make many files of a few contents; each content has its own number where it has a place for one."""
    for number, path in enumerate(paths):
        if number % LINKS == 0:
            source = path
            source.parent.mkdir(parents=True, exist_ok=True)
            source.write_bytes(content % number if b"%d" in content else content)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(source, path)
