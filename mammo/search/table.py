"""Makes the table of a search: each variant's out-of-fold results, and its difference to the baseline. No paddle."""

import statistics
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mammo.evaluation.compare import Difference
from mammo.evaluation.metrics import Metric
from mammo.files import write_text, written_beside
from mammo.judging.comparison import compare_paths
from mammo.judging.cross_validation import is_judged, judge_folds
from mammo.judging.judged import Judged
from mammo.progress import print_table
from mammo.report.runs import read_kept
from mammo.report.text import PHANTOM, p_text, short
from mammo.runs import fold_folders, is_cross_validation
from mammo.search.grid import Search
from mammo.settings.load import changed

# The table of the terminal has two halves, each of 80 columns.
HALVES = (
    ("variant", "folds", "AUC", "difference", "p"),
    ("variant", "recall", "specificity", "slope", "gap", "epochs", "min/fold"),
)
METRICS = ("auc", "difference", "recall", "specificity", "calibration_slope")
NOT_ENDED = Metric(None, "its folds have not all ended")


@dataclass(frozen=True)
class Row:
    """A variant: how many of its folds have ended and, once all have, its judgement.

    `difference` is its AUC minus the baseline's. `gap` (training AUC minus validation AUC in the epoch kept), `epochs`
    and `minutes` (in epochs) are means of the folds that have ended; None where no log has them.
    """

    name: str
    folds: int
    ended: int
    judged: Judged | None
    difference: Difference | None
    gap: float | None
    epochs: float | None
    minutes: float | None

    @property
    def metrics(self) -> dict[str, Metric]:
        """Pooled, at the task's level and the main operating point."""
        own = self.judged.judgement.own if self.judged else None
        found = own.ranking | own.main.metrics if own else {}
        found |= {"difference": self.difference.difference} if self.difference else {}
        return {name: found.get(name, NOT_ENDED) for name in METRICS}


def make_rows(search: Search) -> list[Row]:
    """Judge the variants whose folds have all ended, and compare them with the baseline, in the order of the file.

    Raises:
        ScoreError: They were judged on different cases.
    """
    folds = {name: _folds_of(search, name) for name in search.variants}
    complete = [name for name, parts in folds.items() if all(map(is_judged, parts.values()))]
    judged = {name: judge_folds(search.folder / name) for name in complete}
    differences = _compare(search, complete)
    rows = []
    for name, parts in folds.items():
        logs = [read_kept(part) for part in parts.values() if is_judged(part)]
        gap = _mean(float(log["gap/auc"].loc[kept]) for log, kept in logs if "gap/auc" in log)
        epochs, minutes = _mean(len(log) for log, _ in logs), _mean(_minutes(log) for log, _ in logs)
        rows.append(Row(name, len(parts), len(logs), judged.get(name), differences.get(name), gap, epochs, minutes))
    return rows


def _folds_of(search: Search, name: str) -> dict[int, Path]:
    folder = search.folder / name
    return fold_folders(folder) if is_cross_validation(folder) else search.parts(name)


def _compare(search: Search, complete: Sequence[str]) -> dict[str, Difference]:
    """The difference in AUC of each variant to the baseline, as `mammo compare` has it."""
    others = [name for name in complete if name != search.baseline]
    if search.baseline not in complete or not others:
        return {}
    _, pairs = compare_paths([search.folder / name for name in (search.baseline, *others)])
    auc = [next(one for one in pair.differences if one.metric == "auc") for pair in pairs]
    return dict(zip(others, auc, strict=True))


def _minutes(log: pd.DataFrame) -> float:
    return float(log["time_epoch_s"].sum()) / 60


def _mean(values: Iterable[float]) -> float | None:
    known = list(values)
    return statistics.fmean(known) if known else None


def show_table(search: Search, rows: Sequence[Row]) -> None:
    """Print the table, and what to know of it."""
    cells = [_cells(search, row) for row in rows]
    for half in HALVES:
        print_table(
            _title(search, rows) if half == HALVES[0] else "", half, [[one[name] for name in half] for one in cells]
        )
    print("\n".join(textwrap.fill(note, 80) for note in _notes(search)))


def write_table(search: Search, rows: Sequence[Row]) -> tuple[Path, Path]:
    """Write `table.csv`, with all digits and intervals, and `table.md` into the search's folder."""
    table, page = search.folder / "table.csv", search.folder / "table.md"
    with written_beside(table) as beside:
        pd.DataFrame([_numbers(search, row) for row in rows]).to_csv(beside, index=False)
    cells = [_cells(search, row) for row in rows]
    lines = [list(cells[0]), ["---"] * len(cells[0]), *([*one.values()] for one in cells)]
    text = [f"# {_title(search, rows)}", "", *(f"| {' | '.join(line)} |" for line in lines), ""]
    write_text(page, "\n".join([*text, *(f"- {note}" for note in _notes(search)), ""]))
    return table, page


def _title(search: Search, rows: Sequence[Row]) -> str:
    phantom = PHANTOM if any(row.judged and row.judged.phantom for row in rows) else ""
    return f"{search.path.stem}: pooled out-of-fold scores{_screening(search)}, with 95 % intervals{phantom}"


def _screening(search: Search) -> str:
    only = ", ".join(map(str, search.only))
    return f", screening on {len(search.only)} of {search.folds} folds ({only})" if only else ""


def _cells(search: Search, row: Row) -> dict[str, str]:
    """A row in words."""
    metrics, none = row.metrics, "baseline" if row.name == search.baseline else "-"
    numbers = {"gap": (row.gap, 3), "epochs": (row.epochs, 1), "min/fold": (row.minutes, 1)}
    return {
        "variant": row.name,
        "folds": f"{row.ended} of {row.folds}",
        "AUC": short(metrics["auc"]),
        "difference": metrics["difference"].as_difference() if row.difference else none,
        "p": p_text(row.difference) if row.difference else "",
        "recall": str(metrics["recall"]),
        "specificity": str(metrics["specificity"]),
        "slope": str(metrics["calibration_slope"]),
        **{name: "-" if value is None else f"{value:.{digits}f}" for name, (value, digits) in numbers.items()},
    }


def _numbers(search: Search, row: Row) -> dict[str, object]:
    cells: dict[str, object] = {"variant": row.name, "folds": row.folds, "ended": row.ended}
    cells["screening"] = bool(search.only)
    for name, metric in row.metrics.items():
        cells |= {name: metric.value, f"{name}_low": metric.low, f"{name}_high": metric.high}
    p = {name: getattr(row.difference, name, None) for name in ("p", "p_holm")}
    return cells | p | {"gap": row.gap, "epochs": row.epochs, "minutes_per_fold": row.minutes}


def _notes(search: Search) -> tuple[str, ...]:
    return (
        f"difference: AUC minus that of {search.baseline}; p by DeLong for clusters, adjusted by Holm's method",
        "recall, specificity: at each variant's main operating point; slope: of calibration, 1 is right",
        "gap: training AUC - validation AUC in the epoch kept; gap, epochs, min/fold: means of the folds",
        "A recipe chosen by this table was selected on these cases, and its figures here are selection figures: "
        "quote those of cases that chose nothing.",
    )


def show_plan(search: Search, processes: int) -> None:
    """Print the variants, how many of their folds have ended, what they change, and how long the others will take."""
    base = search.variants[search.baseline].model_dump(mode="json")
    rows, minutes, left = [], [], 0
    for name, settings in search.variants.items():
        ended = [part for part in search.parts(name).values() if is_judged(part)]
        left += len(search.trained) - len(ended)
        minutes += [_minutes(read_kept(part)[0]) for part in ended]
        changes = changed(base, settings.model_dump(mode="json")).items()
        lines = [f"{key} {now} ({was})" for key, (was, now) in changes]
        rows.append((name, f"{len(ended)} of {len(search.trained)}", "\n".join(lines)))
    print_table(f"{search.path.stem}{_screening(search)}", ("variant", "folds", "settings (baseline's)"), rows)
    print(f"{left} folds are left, in {search.folder}")
    if minutes and left:
        about = statistics.fmean(minutes) * left / min(processes, left)
        print(f"about {about:.0f} min in {processes} processes, as far as the folds that have ended tell")
