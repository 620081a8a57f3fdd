"""Translates the words of charts and tables to Chinese.

In a key `#` is a number; in its value `{0}` is the first of these numbers.
"""

import re

from mammo.report.charts import LABELS
from mammo.settings.metrics import METRICS

NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?")
# The marks of a group with few malignant cases and of a missing value, the same in both languages.
STAR, NONE = " *", "– "

POINTS = {
    "threshold": "阈值",
    "threshold #": "阈值 {0}",
    "recall ≥ #": "召回率 ≥ {0}",
    "specificity ≥ #": "特异度 ≥ {0}",
    "Youden": "约登指数",
    "recall ≥ #, threshold #": "召回率 ≥ {0}，阈值 {1}",
    "specificity ≥ #, threshold #": "特异度 ≥ {0}，阈值 {1}",
    "Youden, threshold #": "约登指数，阈值 {0}",
    "recall ≥ #, own of each fold": "召回率 ≥ {0}，各折自己的阈值",
    "specificity ≥ #, own of each fold": "特异度 ≥ {0}，各折自己的阈值",
    "Youden, own of each fold": "约登指数，各折自己的阈值",
}
CASES = {
    "benign": "良性",
    "malignant": "恶性",
    "level": "层级",
    "lesion": "病灶",
    "image": "影像",
    "breast": "乳房",
    "patient": "患者",
    "lesions": "病灶",
    "images": "影像",
    "breasts": "乳房",
    "patients": "患者",
    "cases": "病例",
    "part": "部分",
    "train": "训练",
    "validation": "验证",
    "test": "测试",
    "all": "全部",
    "share": "恶性比例",
    "views": "体位数",
    "out-of-fold": "折外评分",
    "group": "分组",
    "case": "病例",
    "score": "评分",
    "reason": "原因",
    "warning": "警告",
    "count": "数量",
    "fold": "折",
    "lesion type": "病灶类型",
    "density": "乳腺密度",
    "view": "体位",
    "laterality": "侧别",
    "subtlety": "显著程度",
    "assessment": "BI-RADS 评估",
    "source": "来源",
    "pathology": "病理",
    "mass": "肿块",
    "calcification": "钙化",
    "LEFT": "左",
    "RIGHT": "右",
    "unknown": "未知",
    "MALIGNANT": "恶性",
    "BENIGN": "良性",
    "BENIGN_WITHOUT_CALLBACK": "良性（无需召回）",
    "without BENIGN_WITHOUT_CALLBACK": "不含“良性（无需召回）”",
    "no benign without callback": "不含无需召回的良性",
    "false negative": "假阴性（漏诊）",
    "false positive": "假阳性（误报）",
}
REASONS = {
    "fewer than two patients with malignant, or with benign, cases": "有恶性（或良性）病例的患者少于两名",
    "complete separation, or all scores are equal": "评分将两类完全分开，或全部相等",
    "the fit did not converge": "拟合未收敛",
    "it has no value in # of # resamples": "在 {1} 次重抽样中有 {0} 次没有值",
    "every resample has the same value": "每次重抽样的值都相同",
    "no training log belongs to these scores": "这些评分没有对应的训练日志",
    "the training log does not have it": "训练日志中没有这一项",
    "the score table has no column to group by, or the same value everywhere": (
        "评分表中没有可用于分组的列，或各列取值全部相同"
    ),
    "there is no threshold to sweep": "没有可扫描的阈值",
    "lesion has no label of its own": "病灶没有自己的标签",
    "lesion has neither box nor mask": "病灶既没有边界框也没有掩膜",
    "film has no label, or a lesion without one and none that is malignant": (
        "影像没有标签，或有未标注的病灶且没有恶性病灶"
    ),
    "breast has another film whose label is unknown": "该乳房另有一张标签未知的影像",
    "film has no laterality": "影像没有侧别",
    "lesion type is not in data.lesion_types": "病灶类型不在 data.lesion_types 之内",
    "BENIGN_WITHOUT_CALLBACK, which settings leave out": "良性（无需召回），按设置排除",
    "film or mask is not on the disk": "磁盘上没有影像或掩膜",
    "the scores came from outside, without films": "评分来自外部，没有影像",
    "view is neither CC nor MLO": "体位既不是 CC 也不是 MLO",
    "a second film of the same view of the breast": "同一乳房同一体位的第二张影像",
}
WARNINGS = {
    "bytes after the last pixel were ignored (PS3.5 8.1.1 allows padding)": (
        "忽略了最后一个像素之后的字节（PS3.5 8.1.1 允许填充）"
    ),
    "PresentationLUTShape INVERSE contradicts MONOCHROME2: shown inverted, as the shape says": (
        "PresentationLUTShape INVERSE 与 MONOCHROME2 矛盾：按前者反色显示"
    ),
    "raw FOR PROCESSING film, accepted by data.raw_films: networks learn from films FOR PRESENTATION": (
        "探测器原始影像（FOR PROCESSING），由 data.raw_films 允许：网络通常从 FOR PRESENTATION 影像学习"
    ),
    "its DICOM Modality is neither MG (mammography) nor CR, DX, RG or OT": (
        "其 DICOM Modality 既不是 MG（乳腺摄影），也不是 CR、DX、RG 或 OT"
    ),
    "a picture in colour, turned into gray by luminance": "彩色图片，已按亮度转为灰度",
    "all pixels have one value: there is no breast to find": "所有像素值相同：找不到乳房",
    "the breast that was found covers less of the film than a breast does": "找到的乳房在影像中所占面积过小",
    "the breast that was found covers nearly the whole film, or no background was found": (
        "找到的乳房几乎占满整张影像，或未找到背景"
    ),
    "the breast that was found touches neither the left nor the right edge of the film": (
        "找到的乳房既不靠影像左缘也不靠右缘"
    ),
    "the breast that was found reaches from the left to the right edge of the film along most of its height": (
        "找到的乳房在大部分高度上从左缘延伸到右缘"
    ),
    "the breast lies on the other side of the film than on the other films of its laterality": (
        "乳房所在的一侧与同侧别的其他影像相反"
    ),
    "the box of the lesion has a side below # pixels of its film": "病灶边界框有一边不足 {0} 像素",
    "the box of the lesion covers most of its film": "病灶边界框占据了影像的大部分",
    "part of the lesion's box lies outside its film: is it in pixels of another resolution?": (
        "病灶边界框有一部分在影像之外：是否使用了另一分辨率的像素坐标？"
    ),
    "the lesion's box lies outside the breast that was found": "病灶边界框在找到的乳房之外",
    "the lesion's mask has values between its two: above the middle counts (antialiased or JPEG)": (
        "病灶掩膜在两个值之间还有其他值：高于中间值者计入（抗锯齿或 JPEG）"
    ),
    "the laterality of its DICOM header contradicts that of the table": "其 DICOM 头中的侧别与表格中的矛盾",
    "patient id is another spelling of one that the run learnt from": "患者编号是该次运行所学患者编号的另一种写法",
}
METRIC_NAMES = {metric.english: metric.chinese for metric in METRICS}
UNDEFINED = dict(metric.undefined for metric in METRICS if metric.undefined[0])
WORDS = WARNINGS | METRIC_NAMES | LABELS | POINTS | CASES | REASONS | UNDEFINED


def translate(text: str) -> str | None:
    """The Chinese of a text; None where it is not known, such as of text from outside."""
    if text.endswith(STAR):
        plain = translate(text.removesuffix(STAR))
        return None if plain is None else plain + STAR
    if text.startswith(NONE):
        plain = translate(text.removeprefix(NONE))
        return None if plain is None else NONE + plain
    if text in WORDS:
        return WORDS[text]
    pattern = NUMBER.sub("#", text)
    return WORDS[pattern].format(*NUMBER.findall(text)) if pattern != text and pattern in WORDS else None
