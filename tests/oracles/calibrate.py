"""What scipy, mapie and an implementation of its own say about bounds and
thresholds; prints host/core/tests/oracle/calibrate.json.

Histories are derived from a linear congruential generator, in operations whose
result IEEE 754 fixes, so that the test in Rust makes the same ones.
"""

import importlib.metadata
import json
import math

import numpy as np
from mapie.risk_control.fwer_control import FWERFixedSequenceTesting
from mapie.risk_control.methods import (
    compute_hoeffding_bentkus_p_value,
    find_best_predict_param,
    get_r_hat_plus,
)
from scipy.stats import beta, binom

from kit import Draws


def bounds():
    for errors, trials, delta, rate in [
        (0, 30, 0.05, 0.05),
        (0, 299, 0.05, 0.01),
        (3, 30, 0.05, 0.2),
        (29, 100, 0.001, 0.3),
        (29, 30, 0.1, 0.99),
        (7, 500, 0.01, 0.03),
        (120, 5_000, 0.05, 0.03),
        (2_950, 100_000, 0.0005, 0.03),
        (299_000, 10_000_000, 0.05, 0.03),
        (5_000_000, 10_000_000, 0.025, 0.5005),
        (5_000_000, 10_000_000, 0.025, 0.5),
        (300_000, 10_000_000, 0.05, 0.03),
        (9_000, 9_001, 0.05, 0.9999),
        (12, 1_000_000, 1e-6, 4e-5),
    ]:
        hoeffding = errors / trials
        yield {
            "errors": errors,
            "trials": trials,
            "delta": delta,
            "rate": rate,
            "clopper_pearson_upper": float(beta.ppf(1 - delta, errors + 1, trials - errors)),
            "binomial_cdf": float(binom.cdf(errors, trials, rate)),
            "hoeffding_bentkus_p": float(
                compute_hoeffding_bentkus_p_value(
                    np.array([errors / trials]), trials, rate
                )[0, 0]
            ),
            "hoeffding_upper": min(1.0, hoeffding + math.sqrt(math.log(1 / delta) / (2 * trials))),
        }


# Name, rows, seed, steps of the score, and how often an answer is wrong.
HISTORIES = [
    ("smooth", 2_000, 7, 1 << 23, "0.3 * (1 - score)"),
    ("coarse", 1_500, 8, 16, "0.3 * (1 - score)"),
    ("small", 110, 9, 1 << 23, "0.1 * (1 - score)"),
    ("bad-top", 3_000, 10, 1 << 23, "0.3 if score > 0.995 else 0.1 * (1 - score)"),
    ("hopeless", 900, 11, 1 << 23, "0.4"),
    ("tiny", 40, 12, 1 << 23, "0.0"),
]
QUESTIONS = [(0.05, 0.05), (0.03, 0.1), (0.1, 0.01)]


def history(rows, seed, steps, wrong):
    chance = eval("lambda score: " + wrong)
    draw = Draws(seed)
    found = []
    for _ in range(rows):
        score = 0.5 + math.floor(draw() * steps) / steps / 2
        found.append((score, not draw() < chance(score)))
    return found


def fewest(errors, rate, delta):
    trials = errors + 1
    while binom.cdf(errors, trials, rate) > delta:
        trials += 1
    return trials


def curve(rows):
    """For each distinct score, from high to low: accepted and wrong."""
    for score in sorted({score for score, _ in rows}, reverse=True):
        accepted = [correct for other, correct in rows if other >= score]
        yield score, len(accepted), accepted.count(False)


def coverage_steps(points, first, steps=100):
    chosen = []
    for step in range(steps):
        wanted = first + (points[-1][1] - first) * step // (steps - 1)
        index = next(i for i, (_, accepted, _) in enumerate(points) if accepted >= wanted)
        if index not in chosen:
            chosen.append(index)
    return chosen


def fixed_sequence(points, rate, delta):
    rows = points[-1][1]
    starts = 5
    first = fewest(2, rate, delta / 2)
    if rows < first:
        possible = [n for n in (fewest(e, rate, delta) for e in (2, 1, 0)) if n <= rows]
        if not possible:
            return {"needed": fewest(0, rate, delta)}
        first, starts = possible[0], 1
    chosen = coverage_steps(points, first)
    p = np.array([binom.cdf(points[i][2], points[i][1], rate) for i in chosen])
    if starts == 1:
        passed = FWERFixedSequenceTesting(n_starts=1).run(p, delta)
    else:
        begins = {start * len(chosen) // starts for start in range(1, starts)}
        passed, have = [], 0.0
        for step in range(len(chosen)):
            if step == 0:
                have = delta / 2
            elif step in begins:
                have += delta / 8
            if have > 0 and p[step] <= have:
                passed.append(step)
            else:
                have = 0.0
    if len(passed) == 0:
        return {}
    score, accepted, wrong = points[chosen[int(passed[-1])]]
    return {"threshold": score, "accepted": accepted, "wrong": wrong, "passed": len(passed)}


def sgr(points, rate, delta):
    each = delta / len(points).bit_length()
    if fewest(0, rate, each) > points[-1][1]:
        return {"needed": fewest(0, rate, each)}
    low, high, best = 0, len(points), None
    while low < high:
        middle = (low + high) // 2
        _, accepted, wrong = points[middle]
        bound = 1.0 if wrong == accepted else beta.ppf(1 - each, wrong + 1, accepted - wrong)
        if bound <= rate:
            best, low = middle, middle + 1
        else:
            high = middle
    if best is None:
        return {}
    score, accepted, wrong = points[best]
    return {"threshold": score, "accepted": accepted, "wrong": wrong}


def conformal(rows, points, rate):
    # mapie's lambdas rise with the risk; ours fall.
    lambdas = np.array([-score for score, _, _ in points])
    risks = np.array([[float(s >= -l and not c) for l in lambdas] for s, c in rows])
    _, bound = get_r_hat_plus(risks, lambdas, "crc", None, None, None)
    if bound[0] > rate:
        return {}
    if bound[0] == bound[-1]:
        # mapie takes a flat curve for a falling one and returns its first point.
        return {"threshold": float(-lambdas[-1])}
    best = float(-find_best_predict_param(lambdas, bound, np.array([rate]))[0])
    return {"threshold": best}


def thresholds():
    for name, rows, seed, steps, wrong in HISTORIES:
        found = history(rows, seed, steps, wrong)
        points = list(curve(found))
        for rate, delta in QUESTIONS:
            yield {
                "history": name,
                "rows": rows,
                "seed": seed,
                "steps": steps,
                "wrong": sum(not correct for _, correct in found),
                "error_max": rate,
                "delta": delta,
                "fixed_sequence": fixed_sequence(points, rate, delta),
                "sgr": sgr(points, rate, delta),
                "conformal": conformal(found, points, rate),
            }


print(
    json.dumps(
        {
            "packages": {
                name: importlib.metadata.version(name) for name in ("numpy", "scipy", "mapie")
            },
            "bounds": list(bounds()),
            "thresholds": list(thresholds()),
        },
        indent=1,
    )
)
