"""Lists the metrics: names, where each is shown, and why it may be undefined. Formulas: `evaluation/metrics.py`."""

from dataclasses import dataclass

ONE_CLASS = ("one class only", "只有一个类别")
NO_MALIGNANT = ("no malignant case", "没有恶性病例")
NO_BENIGN = ("no benign case", "没有良性病例")
EVERYWHERE = (
    "epoch levels points folds summary page_levels page_points groups page_groups card_levels card_points card_groups"
)
ALL_ALIKE = ("no one, or everyone, is called malignant", "无人或所有人被判为恶性")


@dataclass(frozen=True)
class MetricName:
    """A metric as people read it.

    Attributes:
        key: Its name in `metrics.json` and `log.jsonl`.
        english: Its name in tables.
        chinese: The same.
        shown: Where it is shown, separated by spaces: `epoch` (training's log, and what early stopping may monitor);
            `levels`, `points`, `folds` and `summary` (terminal); `page_levels`, `page_points`, `page_groups` (subgroups
            and folds); `card_levels`, `card_points`, `card_groups`; `groups` (the subgroups of `metrics.json`);
            `calibration`, and `screening` (page and card), `card_screening` (card only).
        undefined: The reason where it has no value, in both languages; empty where it always has one.
        short: A shorter name for narrow tables.
        digits: After the point, on the page.
    """

    key: str
    english: str
    chinese: str
    shown: str = ""
    undefined: tuple[str, str] = ("", "")
    short: str = ""
    digits: int = 3


# In the order in which they are shown.
METRICS = (
    MetricName("loss", "loss", "损失", "epoch"),
    MetricName(
        "auc",
        "AUC",
        "AUC",
        "epoch levels folds summary page_levels groups page_groups card_levels card_groups",
        ONE_CLASS,
    ),
    MetricName("auc_delong", "AUC, DeLong", "AUC（DeLong 法）", "page_levels card_levels", ONE_CLASS),
    MetricName("average_precision", "average precision", "平均精确率", "card_levels", ONE_CLASS),
    MetricName(
        "recall",
        "recall",
        "召回率",
        EVERYWHERE,
        NO_MALIGNANT,
    ),
    MetricName(
        "specificity",
        "specificity",
        "特异度",
        EVERYWHERE,
        NO_BENIGN,
        short="spec.",
    ),
    MetricName(
        "precision",
        "PPV",
        "阳性预测值",
        "epoch folds page_levels page_points groups page_groups card_points",
        ("no case called malignant", "没有病例被判为恶性"),
    ),
    MetricName(
        "npv", "NPV", "阴性预测值", "groups page_points card_points", ("no case called benign", "没有病例被判为良性")
    ),
    MetricName(
        "f1",
        "F1",
        "F1 分数",
        "epoch",
        ("no malignant case, and none called so", "没有恶性病例，也没有被判为恶性的病例"),
    ),
    MetricName("balanced_accuracy", "balanced accuracy", "平衡准确率", "epoch", ONE_CLASS),
    MetricName(
        "accuracy",
        "accuracy",
        "准确率",
        "epoch points folds summary page_levels card_points",
        ("no cases", "没有病例"),
        short="acc.",
    ),
    MetricName("brier", "Brier", "Brier 分数", "folds page_levels groups page_groups calibration"),
    MetricName("ece", "ECE", "期望校准误差（ECE）", "calibration"),
    MetricName("calibration_slope", "calibration slope", "校准斜率", "calibration", short="slope"),
    MetricName("calibration_intercept", "calibration intercept", "校准截距", "calibration", short="intercept"),
    MetricName("recalled_per_1000", "recalled", "召回人数", "screening", digits=0),
    MetricName("found_per_1000", "cancers found", "检出癌症", "screening", digits=1),
    MetricName("missed_per_1000", "cancers missed", "漏诊癌症", "screening", digits=1),
    MetricName("ppv_at_prevalence", "PPV at this prevalence", "此患病率下的阳性预测值", "screening", ALL_ALIKE),
    MetricName("npv_at_prevalence", "NPV at this prevalence", "此患病率下的阴性预测值", "card_screening", ALL_ALIKE),
)


def shown_in(*places: str) -> tuple[MetricName, ...]:
    """The metrics that are shown in one of these places, in order."""
    return tuple(metric for metric in METRICS if set(places) & set(metric.shown.split()))
