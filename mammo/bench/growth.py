"""Measures time and memory of each step that handles every case, by the number of cases, in fresh processes.

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

from mammo.bench.measure import Finding, Series, in_process, in_turns, limit, seconds
from mammo.cases.audit import audit_split, refuse_leaks
from mammo.cases.splits import Split, split_lesions
from mammo.data.dataset import MammogramDataset
from mammo.data.sampler import EpochSampler
from mammo.evaluation.calibration import Calibrator
from mammo.evaluation.intervals import resample
from mammo.evaluation.judge import judge
from mammo.evaluation.metrics import measure_ranking
from mammo.evaluation.operating_point import Decision, Point
from mammo.evaluation.scores import Cases, levels_of
from mammo.images.preprocess import PreprocessSettings
from mammo.judging.judged import Judged
from mammo.prepare.gather import PreparedSplit, prepare_split, requests_of
from mammo.prepare.readers import read_lesions
from mammo.prepare.records import Entry, Seen, stamp_file, write_array, write_line
from mammo.report.write import write_report
from mammo.runtime import peak_memory_mb
from mammo.settings.schema import DataSettings, EvaluationSettings, Settings

Result = TypeVar("Result")
SIZES = (1_000, 10_000, 100_000, 1_000_000)
STEPS = ("read", "split and audit", "store look-up", "epoch start", "evaluation", "report")
LINKS = 50_000  # of one file; file systems allow about 65,000
# Of the exponent b in time ~ cases^b. Below 1 the part that is equal for all sizes still counts.
LINEAR = "<= 1.15"
LEVEL, NO_SLOPE, WHOLE = "one level", "no calibration slope", "whole judgement"
BARS_S = {f"{LEVEL}, 10,000 cases": "<= 3", f"{LEVEL}, 100,000 cases": "<= 40"}
SUBGROUPS = {"density": 4, "view": 2, "laterality": 2, "subtlety": 5, "assessment": 6}


def bench_growth(largest: int = SIZES[-1]) -> list[Finding]:
    """Measure every size up to the largest, once: the steps are long where it matters."""
    sizes = _sizes(largest)
    found = {}
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            found[size] = in_process(measure_size, size, folder)
        steps = ", ".join(f"{step} {took:.2f} s" for step, (took, _) in found[size].items())
        print(f"{size:,} cases: {steps}; most memory {max(mb for _, mb in found[size].values()):.0f} MB", flush=True)
    times = [Series(step, tuple(found[size][step][0] for size in sizes), "s") for step in STEPS]
    memory = [Series(step, tuple(found[size][step][1] for size in sizes), "MB") for step in STEPS]
    bars = [_exponent(sizes, one) for one in times] if len(sizes) > 1 else []
    audit_s, audit_mb = zip(*(found[sizes[-1]][step] for step in STEPS[:2]), strict=True)
    bars.append(limit(Series(f"read, split and audit of {sizes[-1]:,}", (sum(audit_s),), "s"), "<= 90"))
    bars.append(limit(Series("its most memory", (max(audit_mb),), "MB"), "<= 3000"))
    return [
        Finding("growth: time", tuple(times), tuple(bars), cases=sizes),
        Finding("growth: most memory until then", tuple(memory), cases=sizes),
    ]


def _sizes(largest: int) -> tuple[int, ...]:
    return tuple(size for size in SIZES if size <= largest) or SIZES[:1]


def _exponent(sizes: tuple[int, ...], took: Series) -> Series:
    """Compute by which power of the number of cases the time grows between the two largest sizes."""
    power = math.log(took.values[-1] / took.values[-2]) / math.log(sizes[-1] / sizes[-2])
    return Series(f"{took.name}: time grows by the power", (power,), bar=LINEAR)


def measure_size(size: int, place: str) -> dict[str, tuple[float, float]]:
    """Measure all steps for a number of cases in an empty folder; returns seconds and most MB until then, by step."""
    folder = Path(place)
    manifest = folder / "manifest.csv"
    data = DataSettings(kind="manifest", manifest=manifest, image_size=(32, 32), store=folder / "store")
    settings = Settings(output=folder, data=data)
    _write_manifest(folder, size)
    found: dict[str, tuple[float, float]] = {}
    measured = functools.partial(_measured, found)
    table = measured("read", lambda: read_lesions(settings))
    split = measured("split and audit", lambda: _audited(split_lesions(table, settings.data)))
    _write_store(settings, split)
    prepared = measured("store look-up", lambda: prepare_split(settings, split))
    measured("epoch start", lambda: _first_batch(settings, prepared))
    scores = _draw_scores(size, size // 4)
    how = EvaluationSettings(resamples=100)
    judgement = measured("evaluation", lambda: judge(scores, _some_decision(), how=how))
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
    crc32 = write_array(store / "first.npy", np.full(preprocess.stored_size, 7, np.uint16))
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
        path.parent.mkdir(parents=True, exist_ok=True)
        if number % LINKS == 0:
            source = path
            source.write_bytes(content % number if b"%d" in content else content)
        else:
            os.link(source, path)


def bench_evaluation(resamples: int, largest: int, rounds: int) -> Finding:
    """Measure sizes up to the largest number of cases on one core, each time in a fresh process."""
    one_core = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    measure = functools.partial(in_process, seconds_of, environment=one_core)
    what = {
        f"{kind}, {cases:,} cases": functools.partial(measure, kind, cases, resamples)
        for cases in _sizes(min(largest, 100_000))
        for kind in (LEVEL, NO_SLOPE, WHOLE)
    }
    measured = in_turns(what, rounds, "s")
    usual = resamples == EvaluationSettings().resamples
    bars = [limit(measured[name], bar) for name, bar in BARS_S.items() if name in measured and usual]
    title = f"intervals by {resamples:,} resamples of the patients, one core"
    return Finding(title, tuple(measured.values()), tuple(bars))


def seconds_of(kind: str, cases: int, resamples: int) -> float:
    """Measure one kind of evaluation of a drawn score table, two cases a patient."""
    frame = _draw_scores(cases, cases // 2)
    level = Cases.of(frame, np.full((2, cases), 0.5))
    measure_ranking(np.array([0, 1]), np.array([0.0, 1.0]))  # loads scikit-learn
    if kind == WHOLE:
        return seconds(lambda: judge(frame, _some_decision(), how=EvaluationSettings(resamples=resamples)))
    return seconds(lambda: resample(level, resamples=resamples, calibration=kind != NO_SLOPE))


def _draw_scores(cases: int, patients: int) -> pd.DataFrame:
    """Draw a score table with subgroup columns; about two in three lesions are benign."""
    generator = np.random.default_rng(0)
    patient = np.concatenate([np.arange(patients), generator.integers(0, patients, cases - patients)])
    label = (generator.random(cases) < 0.35).astype(int)
    logit = generator.normal(size=cases) + 1.2 * (label - 0.5)
    side = np.where(generator.random(cases) < 0.5, "_LEFT", "_RIGHT")
    name = np.char.add("P", patient.astype(str))
    breast = np.char.add(name, side)
    columns = {
        "case_id": np.char.add("L", np.arange(cases).astype(str)),
        "patient_id": name,
        "breast_id": breast,
        "image_id": np.char.add(breast, "_CC"),
        "label": label,
        "logit": logit,
        "score": 1 / (1 + np.exp(-logit)),
    }
    subgroups = {column: generator.integers(1, kinds + 1, cases) for column, kinds in SUBGROUPS.items()}
    return pd.DataFrame(columns | subgroups)


def _some_decision() -> Decision:
    """Two operating points and a temperature of 1."""
    thresholds = {"recall>=0.90": 0.3, "youden": 0.5}
    points = tuple(Point(rule, dict.fromkeys(levels_of("lesion"), at)) for rule, at in thresholds.items())
    return Decision(points, Calibrator("temperature", 1.0), "lesion", "max", "validation", 100, 40, "")
