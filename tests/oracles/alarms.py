"""How often Evidently and NannyML, at their defaults, report drift where there is
none, and how soon where there is; prints JSON for the example `drift_alarms` of
backstop-core, whose values these are. Takes some minutes."""

import json
import sys
import warnings

warnings.filterwarnings("ignore")

import numpy as np
import pandas as pd
from evidently.legacy.calculations.stattests import (
    jensenshannon_stat_test,
    ks_stat_test,
    psi_stat_test,
    wasserstein_stat_test,
)
from evidently.legacy.calculations.stattests.registry import _get_default_stattest
from evidently.legacy.core import ColumnType
from nannyml.chunk import SizeBasedChunker
from nannyml.drift.univariate import methods
from nannyml.drift.univariate.calculator import DEFAULT_THRESHOLDS

# As in host/core/examples/drift_alarms.rs.
ALARMS = [
    (50, 100), (100, 100), (200, 100), (500, 100), (1000, 60),
    (2000, 60), (5000, 60), (10000, 60), (20000, 40), (50000, 40),
]  # fmt: skip
WINDOWS_EACH, REFERENCE_WINDOWS, REFERENCE_ROWS_MIN = 5, 10, 2000
SHIFTED_ROWS, SHIFTS = [100, 500, 2000], [0.1, 0.25, 0.5, 1.0]
SHIFTED_RUNS, SHIFTED_WINDOWS = 41, 20


class Values:
    """The generator of kit.py, many steps at once."""

    def __init__(self, seed):
        self.state = np.uint64(seed)

    def take(self, n, shift):
        factors = np.multiply.accumulate(np.full(12 * n, 6364136223846793005, np.uint64))
        sums = np.concatenate([[np.uint64(1)], factors[:-1]]).cumsum(dtype=np.uint64)
        states = factors * self.state + sums * np.uint64(1442695040888963407)
        self.state = states[-1]
        uniforms = (states >> np.uint64(11)).astype(float) / 2.0**53
        return pd.Series(np.exp(0.5 * (uniforms.reshape(n, 12).sum(axis=1) - 6.0 + shift)), name="x")


def evidently(reference):
    default = _get_default_stattest(reference, reference, ColumnType.Numerical)
    named = {
        "Evidently default": default,
        "Evidently JS ≥ 0.1": jensenshannon_stat_test,
        "Evidently PSI ≥ 0.1": psi_stat_test,
    }
    return {
        name: lambda window, test=test: test(
            reference, window, ColumnType.Numerical, None
        ).drifted
        for name, test in named.items()
    }


def nannyml(reference, rows):
    named = {
        "NannyML JS (default)": ("jensen_shannon", methods.ContinuousJensenShannonDistance),
        "NannyML W1": ("wasserstein", methods.WassersteinDistance),
        "NannyML KS": ("kolmogorov_smirnov", methods.KolmogorovSmirnovStatistic),
    }
    answer = {}
    for name, (key, kind) in named.items():
        method = kind(chunker=SizeBasedChunker(rows), threshold=DEFAULT_THRESHOLDS[key])
        method.fit(reference)
        answer[name] = lambda window, method=method: method.alert(method.calculate(window))
    return answer


def reference_rows(rows):
    return max(rows * REFERENCE_WINDOWS, REFERENCE_ROWS_MIN)


def judges(reference, rows):
    return {**evidently(reference), **nannyml(reference, rows)}


def alarms():
    table = {}
    for rows, references in ALARMS:
        for run in range(references):
            values = Values(rows * 1000 + run)
            judged = judges(values.take(reference_rows(rows), 0.0), rows)
            for _ in range(WINDOWS_EACH):
                window = values.take(rows, 0.0)
                for name, drifted in judged.items():
                    rates = table.setdefault(name, {})
                    part = bool(drifted(window)) / (references * WINDOWS_EACH)
                    rates[str(rows)] = rates.get(str(rows), 0.0) + part
        print(rows, {name: round(rates[str(rows)], 3) for name, rates in table.items()}, file=sys.stderr)
    return table


def delays():
    table = {}
    for rows in SHIFTED_ROWS:
        for shift in SHIFTS:
            found = {}
            for run in range(SHIFTED_RUNS):
                values = Values((rows + 7) * 1000 + run)
                judged = judges(values.take(reference_rows(rows), 0.0), rows)
                waiting = dict(judged)
                for at in range(SHIFTED_WINDOWS):
                    if not waiting:
                        break
                    window = values.take(rows, shift)
                    for name in [name for name, drifted in waiting.items() if drifted(window)]:
                        found.setdefault(name, []).append((at + 1) * rows)
                        del waiting[name]
                for name in waiting:
                    found.setdefault(name, []).append(float("inf"))
            for name, all_rows in found.items():
                median = sorted(all_rows)[len(all_rows) // 2]
                case = f"{rows} rows, {shift:g} σ"
                table.setdefault(name, {})[case] = median if median < float("inf") else None
    return table


print(json.dumps({"alarms": alarms(), "delays": delays()}, ensure_ascii=False, indent=1))
