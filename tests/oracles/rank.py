"""What scipy says about ranks, and a judge of its own about shifts; prints
host/core/tests/oracle/rank.json.

The interval is Kayenta's: roots of the corrected, standardised rank sum, here by
brentq on ranks of scipy.stats.rankdata; the estimate is numpy's median of all
differences.
"""

import numpy as np
from scipy.optimize import brentq
from scipy.stats import mannwhitneyu, norm, rankdata

from kit import emit, made, series

PAIRS = {
    "four": ([1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]),
    "few": ([1.5, 2.5, 9.0], [0.5, 3.0, 4.0, 5.0, 6.0]),
    "one": ([3.0], [1.0, 2.0, 4.0, 5.0]),
    "eight": (made(1, 8, "bell"), made(2, 60, "bell", 1.0, 0.5)),
    "nine": (made(3, 9, "bell"), made(4, 9, "bell", 1.0, 1.0)),
    "ties-few": ([1.0, 2.0, 2.0, 3.0], [2.0, 3.0, 3.0, 4.0, 5.0]),
    "ties": (made(5, 80, "ties"), made(6, 120, "ties", 1.0, 1.0)),
    "skew": (made(7, 60, "skew"), made(8, 60, "skew", 1.25)),
    "bell": (made(9, 300, "bell"), made(10, 400, "bell", 1.0, -0.15)),
    "apart": (made(11, 40, "uniform"), made(12, 50, "uniform", 1.0, 5.0)),
    "latencies": (made(13, 61, "bell", 12.0, 250.0), made(14, 61, "bell", 12.0, 230.0)),
}
CONFIDENCE = (0.95, 0.98)


def shift(x, y, confidence):
    n, m = len(x), len(y)

    def score(mu, quantile):
        ranks = rankdata(np.concatenate([x - mu, y]))
        _, ties = np.unique(ranks, return_counts=True)
        off = ranks[:n].sum() - n * (n + 1) / 2 - n * m / 2
        sigma = np.sqrt(
            n * m / 12 * ((n + m + 1) - (ties.astype(float) ** 3 - ties).sum() / ((n + m) * (n + m - 1)))
        )
        return (off - np.sign(off) * 0.5) / sigma - quantile

    low, high = x.min() - y.max(), x.max() - y.min()
    ends = []
    for quantile in (-norm.ppf((1 - confidence) / 2), norm.ppf((1 - confidence) / 2)):
        if score(low, quantile) <= 0:
            ends.append(low)
        elif score(high, quantile) >= 0:
            ends.append(high)
        else:
            ends.append(brentq(score, low, high, args=(quantile,), xtol=1e-12, rtol=1e-14))
    return ends


def main():
    cases = {}
    for name, (a, b) in PAIRS.items():
        x, y = np.array(series(a)), np.array(series(b))
        test = mannwhitneyu(x, y)
        cases[name] = {
            "x": a,
            "y": b,
            "u": test.statistic,
            "p": test.pvalue,
            "p-asymptotic": mannwhitneyu(x, y, method="asymptotic").pvalue,
            "cles": test.statistic / (len(x) * len(y)),
            "estimate": np.median(np.subtract.outer(x, y)),
            "intervals": {str(level): shift(x, y, level) for level in CONFIDENCE},
        }
    emit(["numpy", "scipy"], cases)


main()
