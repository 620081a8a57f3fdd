"""A report's source in, the model card's tables of results out: levels, operating points, screening, calibration, subgroups."""

from mammo.evaluation.judge import LevelResult, PointResult
from mammo.evaluation.metrics import Metric
from mammo.evaluation.subgroups import Subgroup
from mammo.report.cards import card_words as say
from mammo.report.cards.facts import Blocks
from mammo.report.cards.markdown import escaped, table
from mammo.report.source import ReportSource
from mammo.settings.schema import Settings


def results(source: ReportSource, settings: Settings | None) -> Blocks:
    judgement = source.judgement
    sides = [(name, side) for name, side in (("raw", judgement.before), ("as judged", judgement.after)) if side]
    said: Blocks = [
        *(["PHANTOM: these numbers say nothing about patients."] if source.phantom else []),
        f"With 95 % intervals. Levels, at the main operating point (`{judgement.decision.rule}`):",
        table(say.LEVEL_HEADER, [(name, *_level_row(level)) for name, level in judgement.levels.items()]),
        f"Operating points, level {judgement.task}:",
        table(say.POINT_HEADER, [_point_row(one) for one in judgement.own.points]),
        f"What 1,000 people would see, level patient, {1000 * judgement.how.prevalence:g} of them with cancer:",
        table(say.SCREENING_HEADER, [_screening_row(one) for one in judgement.levels["patient"].points]),
        f"Calibration, level {judgement.task}:",
        table(
            ("scores", "Brier", "ECE", "slope", "intercept"),
            [(name, *map(_shown, side.metrics.values())) for name, side in sides],
        ),
    ]
    if judgement.subgroups:
        said.append("Subgroups, by one column at a time (pairs of columns were not judged):")
        said.append(table(say.GROUP_HEADER, map(_group_row, judgement.subgroups)))
    if source.folds:
        folds = [(number, *_level_row(fold.own)) for number, fold in enumerate(source.folds)]
        said += [f"Folds, level {judgement.task}:", table(("fold", *say.LEVEL_HEADER[1:]), folds)]
    return said


def _level_row(level: LevelResult) -> tuple[object, ...]:
    metrics = level.ranking | level.main.metrics | {"delong": level.delong}
    shown = _some(metrics, "auc", "delong", "average_precision", "recall", "specificity")
    return (level.n, level.n_positive, level.n_patients, _threshold(level.main), *shown)


def _point_row(one: PointResult) -> tuple[object, ...]:
    confusion = one.confusion
    counts = (confusion.true_positive, confusion.false_positive, confusion.true_negative, confusion.false_negative)
    return (
        f"`{one.rule}`",
        _threshold(one),
        *_some(one.metrics, "recall", "specificity", "precision", "npv", "accuracy"),
        *counts,
    )


def _screening_row(one: PointResult) -> tuple[object, ...]:
    counts = [_shown(one.metrics[f"{name}_per_1000"], digits=1) for name in ("recalled", "found", "missed")]
    return (f"`{one.rule}`", *counts, *_some(one.metrics, "ppv_at_prevalence", "npv_at_prevalence"))


def _group_row(group: Subgroup) -> tuple[object, ...]:
    counts = (escaped(group.column), escaped(group.value), group.n, group.n_positive, group.n_patients)
    return (*counts, *_some(group.metrics, "auc", "recall", "specificity"), "few malignant" if group.few else "")


def _some(metrics: dict[str, Metric], *wanted: str) -> list[str]:
    return [_shown(metrics[name]) for name in wanted]


def _shown(metric: Metric, digits: int = 3) -> str:
    if metric.value is None:
        return f"undefined: {metric.undefined}"
    return metric.with_bounds(digits) + (f" (no interval: {metric.no_interval})" if metric.no_interval else "")


def _threshold(one: PointResult) -> str:
    return "by fold" if one.threshold is None else f"{one.threshold:.3f}"
