"""What scipy, numpy, evidently and nannyml say about two samples; prints
host/core/tests/oracle/drift.json."""

import warnings

warnings.filterwarnings("ignore")

import numpy as np
import pandas as pd
from evidently.legacy.calculations.stattests.chisquare_stattest import _chi_stat_test
from evidently.legacy.calculations.stattests.jensenshannon import _jensenshannon
from evidently.legacy.calculations.stattests.hellinger_distance import _hellinger_distance
from evidently.legacy.calculations.stattests.kl_div import _kl_div
from evidently.legacy.calculations.stattests.psi import _psi
from evidently.legacy.calculations.stattests.wasserstein_distance_norm import (
    _wasserstein_distance_norm,
)
from evidently.legacy.calculations.stattests.z_stattest import _z_stat_test
from evidently.legacy.core import ColumnType
from nannyml.chunk import SizeBasedChunker
from nannyml.drift.univariate import methods
from nannyml.thresholds import StandardDeviationThreshold
from scipy.stats import chi2_contingency, fisher_exact, ks_2samp, wasserstein_distance

from kit import emit, made, series

NUMBER, CATEGORY = ColumnType.Numerical, ColumnType.Categorical


def sawtooth(n, squared):
    return {"shape": "sawtooth", "n": n, "squared": squared}


PAIRS = {
    "D1": (sawtooth(2000, False), sawtooth(500, True)),
    "few": ([1.0, 2.5, 2.5, 4.0, 7.0], [0.5, 2.5, 3.0]),
    "one-each": ([1.0], [2.0]),
    "same": ([3.0, 1.0, 2.0], [1.0, 2.0, 3.0]),
    "apart": ([1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0, 9.0]),
    "constant": ([2.0] * 12, [2.0] * 7),
    "constant-moved": ([2.0] * 12, [3.0] * 7),
    "negative": ([-3.0, -1.5, 0.0, 1.5, 3.0, 9.0], [-2.0, -1.0, 0.25, 0.5]),
    "bell-moved": (made(1, 900, "bell"), made(2, 700, "bell", 1.0, 0.2)),
    "bell-wider": (made(3, 400, "bell"), made(4, 400, "bell", 1.5)),
    "bell-large": (made(5, 12000, "bell"), made(6, 11000, "bell", 1.0, 0.02)),
    "bell-large-moved": (made(7, 12000, "bell"), made(8, 2000, "bell", 1.0, 0.3)),
    "skew": (made(9, 1500, "skew"), made(10, 600, "skew", 1.2)),
    "ties": (made(11, 500, "ties"), made(12, 300, "ties", 1.0, 1.0)),
    "uniform-out-of-range": (made(13, 300, "uniform"), made(14, 200, "uniform", 1.2, -0.1)),
}


def nannyml(name, reference, current):
    """A method of nannyml, without its chunks and thresholds."""
    kind = {
        "js": methods.ContinuousJensenShannonDistance,
        "hellinger": methods.ContinuousHellingerDistance,
        "l-infinity": methods.LInfinityDistance,
        "categories-js": methods.CategoricalJensenShannonDistance,
        "categories-hellinger": methods.CategoricalHellingerDistance,
    }[name]
    method = kind(chunker=SizeBasedChunker(100), threshold=StandardDeviationThreshold())
    method._fit(reference)
    return method._calculate(current)


def numbers(reference, current):
    r, c = np.array(reference), np.array(current)
    rs, cs = pd.Series(reference, name="x"), pd.Series(current, name="x")
    exact = len(r) * len(c) <= 1_000_000
    exact_p = ks_2samp(r, c, method="exact").pvalue if exact else None
    deciles = np.quantile(r, np.arange(1, 10) / 10)
    shares = [
        np.bincount(np.searchsorted(deciles, side, side="left"), minlength=10) / len(side)
        for side in (r, c)
    ]
    binned = len(np.unique(r)) > 20
    return {
        "ks": ks_2samp(r, c, method="asymp").statistic,
        "ks-p-exact": exact_p,
        "ks-p-asymptotic": ks_2samp(r, c, method="asymp").pvalue,
        "w1": wasserstein_distance(r, c),
        "w1-evidently": _wasserstein_distance_norm(rs, cs, NUMBER, 0.1)[0],
        "deciles": deciles,
        "decile-shares": shares,
        "sturges-pooled": np.histogram_bin_edges(np.concatenate([r, c]), "sturges"),
        "doane": np.histogram_bin_edges(r, "doane"),
        "doane-reference": np.histogram(r, np.histogram_bin_edges(r, "doane"))[0],
        "doane-current": np.histogram(c, np.histogram_bin_edges(r, "doane"))[0],
        "binned": binned,
        "psi-evidently": _psi(rs, cs, NUMBER, 0.1)[0],
        "js-evidently": _jensenshannon(rs, cs, NUMBER, 0.1)[0],
        "kl-evidently": _kl_div(rs, cs, NUMBER, 0.1)[0],
        "js-nannyml": nannyml("js", rs, cs),
        "hellinger-nannyml": nannyml("hellinger", rs, cs),
    }


TABLES = {
    "even": ([40, 30, 30], [38, 33, 29]),
    "moved": ([400, 300, 200, 100], [30, 40, 20, 30]),
    "new-category": ([50, 50, 0], [45, 40, 15]),
    "lost-category": ([50, 40, 10], [45, 40, 0]),
    "two": ([80, 20], [70, 30]),
    "two-rare": ([990, 10], [95, 5]),
    "large": ([10_000, 9_000, 8_000, 700, 60], [1_000, 900, 800, 120, 2]),
}


def categories(reference, current):
    def column(counts):
        return pd.Series([f"c{i}" for i, n in enumerate(counts) for _ in range(n)], name="x")

    rs, cs = column(reference), column(current)
    contingency = chi2_contingency(np.array([reference, current]), correction=False)
    yates = chi2_contingency(np.array([reference, current]))
    answer = {
        "chi2": contingency.statistic,
        "chi2-p": contingency.pvalue,
        "chi2-nannyml": yates.statistic,
        "chi2-nannyml-p": yates.pvalue,
        "freedom": contingency.dof,
        "chi2-evidently-p": _chi_stat_test(rs, cs, CATEGORY, 0.05)[0],
        "js-evidently": _jensenshannon(rs, cs, CATEGORY, 0.1)[0],
        "psi-evidently": _psi(rs, cs, CATEGORY, 0.1)[0],
        "l-infinity-nannyml": nannyml("l-infinity", rs, cs),
        "hellinger-nannyml": nannyml("categories-hellinger", rs, cs),
        "hellinger-evidently": _hellinger_distance(rs.copy(), cs.copy(), CATEGORY, 0.1)[0],
        "js-nannyml": nannyml("categories-js", rs, cs),
    }
    if len(reference) == 2:
        answer["fisher-p"] = fisher_exact([reference, current]).pvalue
        answer["z-evidently-p"] = _z_stat_test(rs, cs, CATEGORY, 0.05)[0]
    return answer


# Awkward data for numpy's bin rules.
EDGES = {
    "one": [4.0],
    "two": [4.0, 5.0],
    "three": [1.0, 2.0, 10.0],
    "constant": [0.1] * 9,
    "zeros": [0.0] * 5,
    "symmetric": [-1.0, 1.0, -1.0, 1.0, -2.0, 2.0],
    "tiny-range": [1.0, 1.0 + 2.0**-52, 1.0 + 2.0**-51],
    "huge": [1e300, -1e300, 3.0, 4.0],
    "outlier": [0.0] * 99 + [1000.0],
    "integers": [float(i % 7) for i in range(50)],
    "bell": made(21, 333, "bell", 3.0, 100.0),
    "skew": made(22, 1000, "skew"),
}


def edges(spec):
    values = np.array(series(spec))
    answer = {}
    for rule in ("sturges", "doane"):
        try:
            found = np.histogram_bin_edges(values, rule)
            answer[rule] = found
            answer[rule + "-counts"] = np.histogram(values, found)[0]
        except ValueError:
            answer[rule] = None
    return answer


def chunk_rule():
    """nannyml's threshold from the statistics of chunks of the reference."""
    specs = made(31, 1000, "bell"), made(32, 300, "bell", 1.0, 0.4)
    reference, current = (pd.Series(series(spec), name="x") for spec in specs)
    answer = {}
    for name, kind in (
        ("w1", methods.WassersteinDistance),
        ("js2-doane", methods.ContinuousJensenShannonDistance),
        ("ks", methods.KolmogorovSmirnovStatistic),
        ("hellinger-doane", methods.ContinuousHellingerDistance),
    ):
        method = kind(chunker=SizeBasedChunker(100), threshold=StandardDeviationThreshold())
        method.fit(reference)
        parts = [method.calculate(current[at : at + 100]) for at in range(0, 300, 100)]
        answer[name] = {"threshold": method.upper_threshold_value, "current": parts}
    return {"reference": specs[0], "current": specs[1], "says": answer}


def main():
    emit(
        ["numpy", "scipy", "pandas", "evidently", "nannyml"],
        {
            "numbers": {
                name: {"reference": r, "current": c, "says": numbers(series(r), series(c))}
                for name, (r, c) in PAIRS.items()
            },
            "categories": {
                name: {"reference": r, "current": c, "says": categories(r, c)}
                for name, (r, c) in TABLES.items()
            },
            "edges": {name: {"values": v, "says": edges(v)} for name, v in EDGES.items()},
            "chunks": chunk_rule(),
        },
    )


main()
