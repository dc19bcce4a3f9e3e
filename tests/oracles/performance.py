"""What scikit-learn, statsmodels and nannyml say about labelled answers, their
scores and the calibration of these; prints host/core/tests/oracle/performance.json.

Rows are derived from a linear congruential generator, in operations whose result
IEEE 754 fixes, so that the test in Rust makes the same ones.
"""

import warnings

import numpy as np
from nannyml.calibration import (
    IsotonicCalibrator,
    _calculate_expected_calibration_error,
    _get_bin_index_edges,
    needs_calibration,
)
from sklearn.calibration import calibration_curve
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import (
    accuracy_score,
    brier_score_loss,
    f1_score,
    precision_recall_fscore_support,
    precision_score,
    recall_score,
    roc_auc_score,
)
from statsmodels.stats.proportion import proportion_confint

from kit import Draws, emit

# Name, rows, seed, steps of the score, and how likely the answer is positive.
HISTORIES = [
    ("honest", 2_000, 7, 1 << 23, lambda score: score),
    ("shy", 3_000, 8, 1 << 23, lambda score: 1.0 if score > 0.75 else 0.0 if score < 0.25 else score),
    ("boastful", 3_000, 9, 1 << 23, lambda score: 0.2 + 0.6 * score),
    ("coarse", 1_500, 10, 16, lambda score: 0.2 + 0.6 * score),
    ("rare", 1_000, 11, 1 << 23, lambda score: 0.03 + 0.05 * score),
    ("backwards", 1_000, 12, 64, lambda score: 0.9 - 0.5 * score),
    ("tiny", 40, 13, 1 << 23, lambda score: score),
]


def history(rows, seed, steps, truth):
    draw = Draws(seed)
    scores, labels = [], []
    for _ in range(rows):
        score = np.floor(draw() * steps) / steps
        scores.append(float(score))
        labels.append(1 if draw() < truth(score) else 0)
    return np.array(scores), np.array(labels)


def delong(scores, labels):
    """Variance of the area from the matrix of all pairs."""
    positive, negative = scores[labels == 1], scores[labels == 0]
    wins = (positive[:, None] > negative[None, :]) + 0.5 * (positive[:, None] == negative[None, :])
    return float(
        np.sqrt(
            wins.mean(axis=1).var(ddof=1) / len(positive)
            + wins.mean(axis=0).var(ddof=1) / len(negative)
        )
    )


def delta_method(table, figure):
    """Standard error of a figure of a table of counts, by complex-step
    derivatives and the covariance of a multinomial distribution."""
    table = np.array(table, dtype=float)
    n = table.sum()
    p = table.ravel() / n
    gradient = np.zeros_like(p)
    for cell in range(len(p)):
        moved = p.astype(complex)
        moved[cell] += 1e-30j
        gradient[cell] = figure(moved.reshape(table.shape)).imag / 1e-30
    covariance = (np.diag(p) - np.outer(p, p)) / n
    return float(np.sqrt(gradient @ covariance @ gradient))


def equal_width_error(scores, labels, bins):
    truth, mean = calibration_curve(labels, scores, n_bins=bins, strategy="uniform")
    # As calibration_curve itself finds them.
    edges = np.linspace(0.0, 1.0, bins + 1)
    counts = np.bincount(np.searchsorted(edges[1:-1], scores), minlength=bins)
    counts = counts[counts > 0]
    return float(np.sum(counts / len(scores) * np.abs(truth - mean)))


def binary():
    for name, rows, seed, steps, truth in HISTORIES:
        scores, labels = history(rows, seed, steps, truth)
        called = (scores >= 0.6).astype(int)
        table = np.array(
            [
                [np.sum((labels == 0) & (called == 0)), np.sum((labels == 0) & (called == 1))],
                [np.sum((labels == 1) & (called == 0)), np.sum((labels == 1) & (called == 1))],
            ]
        )
        case = {
            "history": name,
            "rows": rows,
            "seed": seed,
            "steps": steps,
            "positives": int(labels.sum()),
            "accuracy": accuracy_score(labels, called),
            "precision": precision_score(labels, called),
            "recall": recall_score(labels, called),
            "specificity": recall_score(labels, called, pos_label=0),
            "f1": f1_score(labels, called),
            "f1_error": delta_method(
                table, lambda t: 2 * t[1, 1] / (2 * t[1, 1] + t[0, 1] + t[1, 0])
            ),
            "recall_wilson": [
                float(end)
                for end in proportion_confint(table[1, 1], table[1].sum(), 0.05, method="wilson")
            ],
            "auc": roc_auc_score(labels, scores),
            "auc_error": delong(scores, labels),
            "brier": brier_score_loss(labels, scores),
            "brier_error": float(((scores - labels) ** 2).std(ddof=1) / np.sqrt(rows)),
            "equal_width": {
                str(bins): equal_width_error(scores, labels, bins) for bins in (5, 10, 15)
            },
        }
        if steps > rows:  # nannyml's depends on the order of equal scores.
            case["equal_count"] = {
                str(bins): float(
                    _calculate_expected_calibration_error(
                        labels, scores, _get_bin_index_edges(rows, bins)
                    )
                )
                for bins in (5, 10)
            }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if rows >= 200:
                case["needs_calibration"] = bool(
                    needs_calibration(labels, scores, IsotonicCalibrator())
                )
        yield case


def classes():
    for name, table in [
        ("usual", [[50, 3, 2], [4, 40, 6], [1, 9, 30]]),
        ("lopsided", [[900, 20, 5, 1], [30, 60, 4, 0], [9, 3, 11, 2], [2, 0, 1, 3]]),
        ("never answered", [[10, 5, 0], [2, 20, 0], [3, 4, 0]]),
        ("never true", [[10, 5, 1], [2, 20, 3], [0, 0, 0]]),
        ("not there", [[10, 5, 0], [2, 20, 0], [0, 0, 0]]),
        ("perfect", [[10, 0], [0, 20]]),
    ]:
        labels, answers = [], []
        for actual, row in enumerate(table):
            for predicted, count in enumerate(row):
                labels += [actual] * count
                answers += [predicted] * count
        case = {"table": table, "name": name, "averages": []}
        for average in ("macro", "weighted", "micro"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                figures = precision_recall_fscore_support(labels, answers, average=average)
            for metric, value in zip(("precision", "recall", "f1"), figures[:3]):
                of = {"metric": metric, "average": average, "value": float(value)}
                if name in ("usual", "lopsided"):

                    def figure(t, metric=metric, average=average):
                        found, labelled, answered = np.diag(t), t.sum(axis=1), t.sum(axis=0)
                        if average == "micro":
                            return found.sum() / t.sum()
                        each = {
                            "precision": found / answered,
                            "recall": found / labelled,
                            "f1": 2 * found / (labelled + answered),
                        }[metric]
                        weights = labelled / labelled.sum() if average == "weighted" else None
                        return np.average(each, weights=weights)

                    of["error"] = delta_method(table, figure)
                case["averages"].append(of)
        yield case


def isotonic():
    for name, rows, seed, steps, truth in HISTORIES:
        scores, labels = history(rows, seed, steps, truth)
        draw = Draws(seed + 100)
        weights = np.array([np.floor(draw() * 4.0) for _ in range(rows)])
        grid = np.arange(-4, 69) / 64
        curves = {}
        for kind, weight in (("plain", None), ("weighted", weights)):
            regression = IsotonicRegression(out_of_bounds="clip").fit(
                scores, labels, sample_weight=weight
            )
            curves[kind] = [float(value) for value in regression.predict(grid)]
        yield {"history": name, "rows": rows, "seed": seed, "steps": steps, "curves": curves}


def main():
    packages = ("numpy", "scikit-learn", "statsmodels", "nannyml")
    emit(
        packages,
        {
            "binary": list(binary()),
            "classes": list(classes()),
            "isotonic": list(isotonic()),
        },
    )


if __name__ == "__main__":
    main()
