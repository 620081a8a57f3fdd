"""Words the comparison with the radiologists' assessments, in English and Chinese, for terminal, page and card."""

from typing import NamedTuple

from mammo.evaluation.human_reader import ReaderLevel


class Both(NamedTuple):
    """A text in both languages."""

    english: str
    chinese: str


LIMITS = Both(
    "BI-RADS is the assessment that radiologists recorded before biopsy. As a rule they had all views, earlier films "
    "and the patient's history, and the films were chosen because something was found. It is not a blinded reading "
    "study, and neither side's figures say how either would do in screening.",
    "BI-RADS 是放射科医师在活检前记录的评估。他们通常能看到全部体位、既往影像和病史，而且这些影像是因为有所发现"
    "才被选入的。这不是盲法阅片研究；双方的数值都不能说明各自在筛查中的表现。",
)
GENERATED = Both(
    "PHANTOM: these categories were drawn together with the films; no one gave them.",
    "PHANTOM：这些类别随影像一同由程序生成，并非任何人所给。",
)
NEVER_AN_INPUT = Both("The assessment is never an input of the network.", "该评估从不作为网络的输入。")
MAYBE_AN_INPUT = Both(
    "Whether the system that made the scores saw the assessment is not known here.",
    "给出评分的系统是否见过该评估，此处未知。",
)
FEW_STEPS = Both(
    "The reader's curve has few points, so its area is somewhat too small: the differences at the same recall or "
    "specificity are the fairer ones. Between two points a curve is straight.",
    "阅片者的曲线只有几个点，其下面积略偏小：在相同召回率或特异度处的差值更公平。曲线在两点之间为直线。",
)


def limits_of(*, phantom: bool, outside: bool) -> Both:
    """What the comparison can show: for generated films, for scores from outside, or for a network of mammo."""
    first, second = GENERATED if phantom else LIMITS, MAYBE_AN_INPUT if outside else NEVER_AN_INPUT
    return Both(f"{first.english} {second.english}", first.chinese + second.chinese)


def who_was_compared(level: ReaderLevel) -> Both:
    """How many cases were compared, which were left out, and where BI-RADS 0 is."""
    english, chinese = [], []
    if level.unknown:
        english.append(f"{level.unknown:,} without an assessment")
        chinese.append(f"{level.unknown:,} 例没有评估")
    if level.proven:
        english.append(f"{level.proven:,} with BI-RADS 6 (cancer known)")
        chinese.append(f"{level.proven:,} 例为 BI-RADS 6（癌症已知）")
    first = f"Compared on {level.n:,} of {level.of:,} cases" + (
        f"; left out: {', '.join(english)}." if english else "."
    )
    second = f"比较了 {level.of:,} 例中的 {level.n:,} 例" + (f"；排除：{'，'.join(chinese)}。" if chinese else "。")
    if level.incomplete:
        recalled = level.auc_recalled.with_bounds()
        first += (
            f" BI-RADS 0 (incomplete, {level.incomplete:,} of them) is ordered lowest and not called; between 3 and 4, "
            f"as a recall, the reader's AUC is {recalled}."
        )
        second += (
            f"BI-RADS 0（检查不完全，{level.incomplete:,} 例）排在最低，不判为恶性；若视为召回而排在 3 与 4 之间，"
            f"阅片者的 AUC 为 {recalled}。"
        )
    return Both(first, second)
