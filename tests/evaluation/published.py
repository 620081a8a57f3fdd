"""Published worked examples, as numbers: what the judgement must reproduce."""

import numpy as np

# Hanley & McNeil 1982 (Radiology 143:29), CT ratings 1-5 of 58 normal and 51 abnormal images.
CT_NORMAL, CT_ABNORMAL = (33, 6, 6, 11, 2), (3, 2, 2, 11, 33)

# Obuchowski 1997 (Biometrics 53:567), Table 3: 65 arteries of 36 patients, read twice:
# patient, stenosis, reader 1, reader 2.
ARTERIES = np.array(
    [
        [1, 1, 87, 87], [1, 1, 79, 83], [2, 1, 88, 94], [2, 1, 95, 93], [3, 1, 100, 100], [3, 1, 68, 79],
        [4, 1, 65, 61], [4, 1, 89, 91], [5, 1, 97, 97], [5, 1, 100, 100], [6, 1, 100, 99], [6, 1, 89, 88],
        [7, 1, 77, 77], [8, 1, 94, 89], [8, 0, 45, 44], [9, 1, 89, 92], [9, 0, -11, -17], [10, 1, 95, 91],
        [10, 0, 30, 14], [11, 1, 95, 95], [11, 0, 10, -122], [12, 1, 100, 100], [12, 0, 19, -3], [13, 1, 75, 75],
        [14, 0, 70, 73], [14, 1, 70, 81], [15, 0, 26, 27], [15, 1, 86, 93], [16, 0, 0, 8], [16, 1, 65, 70],
        [17, 0, 6, 23], [17, 1, 100, 100], [18, 0, 76, 79], [18, 1, 96, 95], [19, 0, 44, 55], [19, 1, 100, 100],
        [20, 0, 73, 67], [20, 1, 97, 94], [21, 1, 85, 86], [22, 0, 58, 60], [22, 1, 100, 99], [23, 0, -2, -2],
        [23, 1, 100, 100], [24, 0, -3, -14], [24, 0, 0, -11], [25, 0, 47, -3], [25, 0, -94, -90], [26, 0, -16, 17],
        [26, 0, 75, 85], [27, 0, 5, -22], [27, 0, -1, -14], [28, 0, -6, -52], [29, 0, 37, 38], [29, 0, 47, 35],
        [30, 0, 42, 40], [30, 0, 4, 6], [31, 0, 55, 23], [31, 0, 55, 45], [32, 0, 4, -87], [32, 0, -13, -65],
        [33, 0, 49, 24], [33, 0, 35, 9], [34, 0, 53, 66], [35, 0, 2, -15], [36, 0, -48, -78],
    ]
)  # fmt: skip

# Turck et al. 2010 (Intensive Care Medicine 36:107), as pROC's aSAH: outcome good, then poor; WFNS grade and S100B.
WFNS_GOOD = [int(digit) for digit in "111151221221112121134141551124112212122111121211324214115422111312244111"]
WFNS_POOR = [int(digit) for digit in "32455552521254425552525245441442255225555"]
S100B_GOOD = (
    "0.13 0.14 0.1 0.04 0.47 0.18 0.1 0.1 0.04 0.08 0.04 0.09 0.11 0.07 0.17 0.07 0.11 0.13 0.19 0.05 0.16 "
    "0.14 0.34 0.09 0.5 0.46 0.16 0.07 0.43 0.45 0.11 0.08 0.09 0.08 0.06 0.13 0.1 0.14 0.15 0.06 0.05 0.09 "
    "0.04 0.09 0.08 0.16 0.09 0.08 0.33 0.11 0.28 0.07 0.1 0.32 0.07 0.05 0.24 0.38 0.1 0.15 0.08 0.14 0.1 "
    "0.07 0.04 0.19 0.15 0.47 0.17 0.15 0.5 0.48"
)
S100B_POOR = (
    "0.13 0.1 0.16 0.12 0.44 0.71 0.49 0.07 0.33 0.09 0.07 0.41 0.35 0.48 0.96 0.25 0.86 0.52 2.07 0.07 0.77 "
    "0.3 0.03 0.09 0.23 0.7 0.27 0.71 0.08 0.26 0.13 0.1 0.11 0.22 0.56 0.14 0.58 0.32 0.82 0.74 0.44"
)

# Obuchowski 1998 (Statistics in Medicine 17:1495): thyroid glands of 21 patients, PET against SPECT; per patient how
# many both got right, only the first, only the second, neither.
THYROIDS = np.array(
    [
        [0, 2, 3, 1, 2, 4, 3, 2, 1, 1, 2, 2, 3, 2, 0, 2, 2, 2, 2, 1, 2],
        [0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        [2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 1, 0, 0, 0],
        [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0],
    ]
)


def rated(counts_negative: tuple[int, ...], counts_positive: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Labels and ratings (1, 2, …) from how often each rating was given."""
    ratings = [np.repeat(np.arange(1, len(counts) + 1), counts) for counts in (counts_negative, counts_positive)]
    return np.repeat([0, 1], [len(part) for part in ratings]), np.concatenate(ratings).astype(float)
