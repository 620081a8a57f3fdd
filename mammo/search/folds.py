"""Trains the folds of a search's variants, several at a time, each by a `mammo train` of its own with one thread."""

import logging
import shlex
import shutil
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from mammo.cases.splits import Split, check_trainable
from mammo.errors import InUseError, SplitError, advising, last_line
from mammo.files import locked, write_text
from mammo.judging.cross_validation import is_judged
from mammo.model.network import start_from_pretrained
from mammo.parallel.commands import Ended, run_commands
from mammo.prepare.gather import check_split, gather_split, prepare_split
from mammo.prepare.readers import check_places, check_writable
from mammo.report.runs import read_kept
from mammo.runs import CONFIG_FILE, LOCK_FILE, command_line, holder_of, writing
from mammo.search.grid import Search, has_saved
from mammo.settings.load import dump_settings
from mammo.training.assemble import make_network, make_tuner
from mammo.training.folds import describe_folds

logger = logging.getLogger(__name__)
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
STOPPING_S = 60  # a fold of a killed search ends its step and saves


@dataclass(frozen=True)
class Outcome:
    """What became of a search's folds: which variants have a new one, and of those that failed why, a line each."""

    trained: set[str] = field(default_factory=set)
    failed: list[str] = field(default_factory=list)


def train_folds(search: Search, processes: int, train: Sequence[str]) -> Outcome:
    """Train the folds that are not finished, or go on with them; a fold that fails does not stop the others.

    Args:
        search: The variants; all are checked before anything is trained.
        processes: How many folds are trained at a time.
        train: The command that trains, without options.

    Raises:
        MammoError: Some variants cannot be trained; all are named.
        InUseError: Another process runs this search.
        Stopped: A signal came; the folds have saved what they learnt.
    """
    with ExitStack() as stack:
        stack.enter_context(advising(f"go on with: {shlex.join(command_line())}"))
        check_recipes(search)
        _check_cases(search)
        search.folder.mkdir(parents=True, exist_ok=True)
        stack.enter_context(locked(search.folder / LOCK_FILE, doing=f"{search.folder}: this search is being run"))
        for name, settings in search.variants.items():
            (search.folder / name).mkdir(exist_ok=True)
            stack.enter_context(writing(search.folder / name))
            describe_folds(search.folder / name, settings, search.folds, only=search.only)
        jobs = [(name, part) for name in search.variants for part in _unfinished(search, name)]
        total = len(search.variants) * len(search.trained)
        logger.info("%d of %d folds are finished; %d processes of one thread each", total - len(jobs), total, processes)
        return _train(jobs, processes, train)


def check_recipes(search: Search) -> None:
    """Build the network of each variant, with weights and optimizer, which finds unknown names and missing files."""
    loaded: set[str] = set()

    def check(name: str) -> None:
        settings = search.variants[name]
        network, backbone = make_network(settings)
        model = settings.model.model_dump_json()
        if model not in loaded:
            start_from_pretrained(backbone, settings.model)
            loaded.add(model)
        make_tuner(settings, network)

    search.for_each(check)


def _check_cases(search: Search) -> None:
    """Read the cases and prepare the films of all variants, and check that they have the same cases in the same folds.

    Raises:
        MammoError: As `fit` would; all are named.
    """
    splits: dict[str, Split] = {}  # by the settings of data

    def check(name: str) -> None:
        settings = search.variants[name]
        data = settings.data.model_dump_json()
        if data not in splits:
            check_writable(settings.output, "output")
            check_places(settings)
            split = gather_split(settings)
            check_split(settings, split)
            splits[data] = prepare_split(settings, split).split
        check_trainable(splits[data], settings.training.batch_size)
        if splits[data].sha256 != next(iter(splits.values())).sha256:
            what = "has other cases than the variants before it, or others in a fold"
            raise SplitError(f"{what}; set data alike, so that they can be compared")

    search.for_each(check)


def _unfinished(search: Search, name: str) -> list[Path]:
    """The folds of a variant that are not finished; those that have saved nothing yet get the settings of now."""
    parts = {fold: part for fold, part in search.parts(name).items() if not is_judged(part)}
    for fold, part in parts.items():
        _wait_for(part)
        if not has_saved(part):
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            write_text(part / CONFIG_FILE, dump_settings(search.settings_of(name, fold)))
    return list(parts.values())


def _wait_for(part: Path) -> None:
    """Wait for the process of a killed search, which notices that, saves and ends.

    Raises:
        InUseError: It does not end: someone trains that fold.
    """
    until = time.monotonic() + STOPPING_S
    if holder := holder_of(part):
        logger.info("%s: waits for its process%s to save and end", part, holder)
    while holder := holder_of(part):
        if time.monotonic() > until:
            raise InUseError(f"{part}: is trained by another process{holder}; wait until it has ended, or stop it")
        time.sleep(1)


def _train(jobs: list[tuple[str, Path]], processes: int, train: Sequence[str]) -> Outcome:
    outcome, seconds = Outcome(), []
    commands = [((*train, "--resume", str(part)), _log_of(part)) for _, part in jobs]
    with closing(run_commands(commands, processes, environment=ONE_THREAD)) as ends:
        for done, end in enumerate(ends, 1):
            name, part = jobs[end.number]
            seconds.append(end.seconds)
            if end.code:
                outcome.failed.append(_failure(name, part, end))
            else:
                outcome.trained.add(name)
            left = len(jobs) - done
            result = f"{_result(name, part, end)}; {done} of {len(jobs)} folds"
            logger.info("%s%s", result, _left(seconds, left, processes))
    return outcome


def _log_of(part: Path) -> Path:
    return part.with_name(f"{part.name}.log")


def _failure(name: str, part: Path, end: Ended) -> str:
    last = last_line(_log_of(part).read_text(encoding="utf-8", errors="replace"))
    return f"{name}, {part.name}: failed with code {end.code}: {last} ({_log_of(part)})"


def _result(name: str, part: Path, end: Ended) -> str:
    took = f"{end.seconds / 60:.1f} min"
    if end.code:
        return f"{name}, {part.name}: failed after {took}"
    log, kept = read_kept(part)
    return f"{name}, {part.name}: validation AUC {log['validation/auc'].loc[kept]:.3f}, {took}"


def _left(seconds: list[float], left: int, processes: int) -> str:
    """When the folds that are left will be finished, as far as those of now tell."""
    if not left:
        return ""
    left_s = statistics.fmean(seconds) * left / min(processes, left)
    end = datetime.now() + timedelta(seconds=left_s)
    return f", about {left_s / 60:.0f} min left, until {end:%H:%M}"
