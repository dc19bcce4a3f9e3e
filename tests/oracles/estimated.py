"""What nannyml's CBPE says about windows without labels; prints
host/core/tests/oracle/estimated.json.

Rows are derived from a linear congruential generator, in operations whose result
IEEE 754 fixes, so that the test in Rust makes the same ones. No two scores of a
history are equal: of such nannyml's area under the ROC curve takes the order of
the rows.
"""

import contextlib
import io
import logging
import os
import warnings

os.environ["NML_DISABLE_USAGE_LOGGING"] = "1"

import nannyml
import numpy as np
import pandas as pd

from kit import Draws, emit


METRICS = ["accuracy", "precision", "recall", "f1", "roc_auc"]
TRUTHS = {
    "honest": lambda score: score,
    "boastful": lambda score: 0.2 + 0.6 * score,
    "rare": lambda score: 0.02 + 0.4 * score * score,
}


def rows(count, seed, truth, narrow):
    """Distinct scores; `narrow` draws them towards one half, where the model is
    unsure."""
    draw, seen, out = Draws(seed), set(), []
    while len(out) < count:
        score = 0.5 + (draw() - 0.5) * narrow
        actual = 1 if draw() < TRUTHS[truth](score) else 0
        if score not in seen:
            seen.add(score)
            out.append((score, 1 if score >= 0.5 else 0, actual))
    return pd.DataFrame(out, columns=["score", "predicted", "actual"])


def binary():
    for truth, count, chunk_rows, seed in [
        ("honest", 3_000, 300, 21),
        ("boastful", 4_000, 500, 22),
        ("rare", 4_000, 500, 23),
        # The last chunk has 300 rows.
        ("boastful", 3_300, 500, 24),
    ]:
        history = rows(count, seed, truth, 1.0)
        estimator = nannyml.CBPE(
            problem_type="classification_binary",
            y_pred_proba="score",
            y_pred="predicted",
            y_true="actual",
            metrics=METRICS,
            chunk_size=chunk_rows,
        )
        estimator.fit(history.copy())
        windows = []
        for window_seed, narrow in ((31, 1.0), (32, 0.6), (33, 0.2)):
            window = rows(chunk_rows, window_seed, truth, narrow)[["score", "predicted"]]
            found = estimator.estimate(window.copy()).filter(period="analysis").to_df()
            figures = {}
            for metric in METRICS:
                row = found[metric].iloc[0]
                figures[metric] = {
                    "value": float(row["value"]),
                    "sampling_error": float(row["sampling_error"]),
                    "low": float(row["lower_confidence_boundary"]),
                    "high": float(row["upper_confidence_boundary"]),
                    "threshold_low": float(row["lower_threshold"]),
                    "threshold_high": float(row["upper_threshold"]),
                    "alert": bool(row["alert"]),
                }
            windows.append({"seed": window_seed, "narrow": narrow, "metrics": figures})
        yield {
            "truth": truth,
            "rows": count,
            "chunk_rows": chunk_rows,
            "seed": seed,
            "calibrated": bool(estimator.needs_calibration),
            "windows": windows,
        }


def class_rows(count, seed, sharp):
    """Three classes; the first two scores are drawn, the third is the rest.
    `sharp` moves scores towards the ends."""
    draw, out = Draws(seed), []
    for _ in range(count):
        raw = [draw() for _ in range(3)]
        raw = [value * value * sharp + value * (1.0 - sharp) for value in raw]
        total = raw[0] + raw[1] + raw[2]
        scores = [value / total for value in raw]
        predicted = scores.index(max(scores))
        # Flatter than the scores say.
        at = draw()
        flat = [0.15 + 0.55 * value for value in scores]
        actual = 0 if at < flat[0] else 1 if at < flat[0] + flat[1] else 2
        out.append((*scores, predicted, actual))
    return pd.DataFrame(out, columns=["s0", "s1", "s2", "predicted", "actual"])


def classes():
    count, chunk_rows, seed = 4_000, 500, 41
    history = class_rows(count, seed, 1.0)
    names = {0: "a", 1: "b", 2: "c"}
    estimator = nannyml.CBPE(
        problem_type="classification_multiclass",
        y_pred_proba={"a": "s0", "b": "s1", "c": "s2"},
        y_pred="predicted",
        y_true="actual",
        metrics=["accuracy"],
        chunk_size=chunk_rows,
    )
    named = lambda frame: frame.assign(
        predicted=frame["predicted"].map(names), actual=frame["actual"].map(names)
    )
    estimator.fit(named(history))
    kinds = {
        name: type(calibrator).__name__ == "IsotonicCalibrator"
        for name, calibrator in estimator._calibrators.items()
    }
    windows = []
    for window_seed, sharp in ((51, 1.0), (52, 0.5), (53, 0.0)):
        window = named(class_rows(chunk_rows, window_seed, sharp)).drop(columns=["actual"])
        found = estimator.estimate(window).filter(period="analysis").to_df()
        row = found["accuracy"].iloc[0]
        windows.append(
            {
                "seed": window_seed,
                "sharp": sharp,
                "value": float(row["value"]),
                "sampling_error": float(row["sampling_error"]),
                "threshold_low": float(row["lower_threshold"]),
                "threshold_high": float(row["upper_threshold"]),
                "alert": bool(row["alert"]),
            }
        )
    return {
        "rows": count,
        "chunk_rows": chunk_rows,
        "seed": seed,
        "calibrated": [kinds[name] for name in ("a", "b", "c")],
        "windows": windows,
    }


def main():
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    packages = ("numpy", "pandas", "scikit-learn", "nannyml")
    with contextlib.redirect_stdout(io.StringIO()):
        found = {"binary": list(binary()), "classes": classes()}
    emit(packages, found)


if __name__ == "__main__":
    main()
