"""A number of cases enters; time and memory of each step that looks at all of them leave, each size in a process of its own.

The cases are rows of a phantom manifest, four films a patient. Films and prepared arrays are links to a few real files, so that
every look-up is one of the file system's, and a million of them fits on a disk.
"""

import hashlib
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from mammo.bench.evaluation import draw_scores, some_decision
from mammo.bench.measure import Finding, Ratio, Series
from mammo.bench.processes import last_line_of
from mammo.cases.audit import audit_split, refuse_leaks
from mammo.cases.splits import Split, split_lesions
from mammo.data.dataset import MammogramDataset
from mammo.data.sampler import EpochSampler
from mammo.evaluation.judge import How, judge
from mammo.images.preprocess import PreprocessSettings
from mammo.judging.judged import Judged
from mammo.prepare.arrays import write_array
from mammo.prepare.gather import prepare_split, requests_of
from mammo.prepare.index import Entry, Seen, write_line
from mammo.prepare.readers import read_lesions
from mammo.prepare.stamps import stamp_file
from mammo.report.write import write_report
from mammo.runtime import peak_memory_mb
from mammo.settings.schema import DataSettings, Settings

SIZES = (1_000, 10_000, 100_000, 1_000_000)
STEPS = ("read", "split and audit", "store look-up", "epoch start", "evaluation", "report")
Result = TypeVar("Result")
LINKS = 50_000  # of one file; file systems allow about 65,000
RESAMPLES = 100
IMAGE = (32, 32)
LINEAR = "<= 1.15"  # the power of the number of cases that time grows by; below 1 while what is the same for all sizes still counts


def bench_growth(largest: int = SIZES[-1]) -> list[Finding]:
    """Measure every size up to the largest, once: the steps are long where it matters."""
    sizes = [size for size in SIZES if size <= largest] or [SIZES[0]]
    found = {}
    for size in sizes:
        found[size] = _in_process(size)
        told = ", ".join(f"{step} {seconds:.2f} s" for step, (seconds, _) in found[size].items())
        print(f"{size:,} cases: {told}; most memory {max(mb for _, mb in found[size].values()):.0f} MB", flush=True)
    seconds = tuple(Series(step, tuple(found[size][step][0] for size in sizes), "s") for step in STEPS)
    memory = tuple(Series(step, tuple(found[size][step][1] for size in sizes), "MB") for step in STEPS)
    audit = sum(found[sizes[-1]][step][0] for step in STEPS[:2])
    audit_mb = max(found[sizes[-1]][step][1] for step in STEPS[:2])
    powers = tuple(
        Ratio(f"{one.name}: time grows by the power", (_power(sizes, one.values),), LINEAR)
        for one in seconds
        if len(sizes) > 1
    )
    bars = (
        Ratio(f"read, split and audit of {sizes[-1]:,}, s", (audit,), "<= 90"),
        Ratio("its most memory, MB", (audit_mb,), "<= 3000"),
    )
    return [
        Finding("growth: time", seconds, powers + bars, cases=tuple(sizes)),
        Finding("growth: most memory until then", memory, cases=tuple(sizes)),
    ]


def _power(sizes: list[int], values: tuple[float, ...]) -> float:
    return math.log(values[-1] / values[-2]) / math.log(sizes[-1] / sizes[-2])


def _in_process(size: int) -> dict[str, tuple[float, float]]:
    with tempfile.TemporaryDirectory() as folder:
        found = json.loads(last_line_of("growth", size, folder))
    return {step: (seconds, mb) for step, (seconds, mb) in found.items()}


def main() -> None:
    """As a process of its own: a number of cases and a folder in, a JSON line of seconds and megabytes out."""
    size, folder = int(sys.argv[1]), Path(sys.argv[2])
    settings = _settings(folder)
    _write_manifest(folder, size)
    found: dict[str, tuple[float, float]] = {}
    table = _measured(found, "read", lambda: read_lesions(settings))
    split = _measured(found, "split and audit", lambda: _audited(split_lesions(table, settings.data)))
    _write_store(settings, split)
    prepared = _measured(found, "store look-up", lambda: prepare_split(settings, split))
    rows = split.rows("train")

    def begin() -> None:
        dataset = MammogramDataset(prepared, rows, settings=settings, channels=1)
        cases = split.samples.cases.iloc[rows]
        sampler = EpochSampler(cases["label"].to_numpy(int), cases["patient_id"].to_numpy(str), batch_size=16, seed=0)
        for draw in next(iter(sampler)):
            dataset[draw]

    _measured(found, "epoch start", begin)
    scores = draw_scores(size, size // 4)
    judgement = _measured(found, "evaluation", lambda: judge(scores, some_decision(), how=How(resamples=RESAMPLES)))
    _measured(found, "report", lambda: write_report(Judged(folder / "judged", "growth", judgement, scores)))
    print(json.dumps(found))


def _measured(found: dict[str, tuple[float, float]], step: str, work: Callable[[], Result]) -> Result:
    start = time.perf_counter()
    result = work()
    took = time.perf_counter() - start
    found[step] = took, peak_memory_mb()
    return result


def _settings(folder: Path) -> Settings:
    data = DataSettings(kind="manifest", manifest=folder / "manifest.csv", image_size=IMAGE, store=folder / "store")
    return Settings(output=folder, data=data)


def _audited(split: Split) -> Split:
    refuse_leaks(audit_split(split), split_name="holdout")
    return split


def _write_manifest(folder: Path, size: int) -> None:
    """Four films a patient, 3 % of the patients with a malignant breast, and the films' files."""
    number = np.arange(size)
    patient, film = number // 4, number % 4
    frame = pd.DataFrame(
        {
            "image": [f"{one // 1000:04d}/{one:07d}.dcm" for one in number],
            "patient_id": [f"P{one:07d}" for one in patient],
        }
    )
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
            entry = Entry(
                f"{name[:2]}/{name}.npy",
                crc32,
                name,
                request.box,
                request.box,
                (stamp_file(Path(request.film)),),
                Seen("left", "", ()),
            )
            write_line(index, request, entry, store / "index.jsonl")
            names.append(store / entry.file)
    _link(names, (store / "first.npy").read_bytes())


def _link(paths: list[Path], content: bytes) -> None:
    """Make many files of a few contents (of one, where it has no place for a number)."""
    for number, path in enumerate(paths):
        if number % LINKS == 0:
            source = path
            source.parent.mkdir(parents=True, exist_ok=True)
            source.write_bytes(content % number if b"%d" in content else content)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(source, path)


if __name__ == "__main__":
    main()
