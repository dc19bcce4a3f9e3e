"""What river says of streams; prints host/core/tests/oracle/online.json."""

from river import drift

from kit import emit, made, series

# Streams in parts: what changes, changes between them.
STREAMS = {
    "quiet": [made(1, 3000, "uniform")],
    "bell-steps": [made(2, 1000, "bell"), made(3, 1000, "bell", 1.0, 1.0), made(4, 800, "bell")],
    "errors-double": [made(5, 2000, "binary"), made(6, 3000, "binary", -1.0, 1.0)],
    "skew": [made(7, 1500, "skew", 0.2), made(8, 1500, "skew", 1.0)],
    "constant-then-step": [[2.0] * 40, made(9, 400, "ties", 1.0, 4.0)],
    "slow-rise": [made(10 + i, 200, "uniform", 1.0, i / 10) for i in range(20)],
    "large": [made(50, 700, "bell", 1e6, 1e9), made(51, 700, "bell", 1e6, 1e9 - 1e6)],
}
ADWIN = {
    "default": {},
    "every-value": {"clock": 1, "delta": 0.05},
    "coarse": {"max_buckets": 2, "min_window_length": 20, "grace_period": 100},
}
PAGE_HINKLEY = {
    "default": {},
    "sensitive": {"threshold": 5.0, "min_instances": 10},
    "up": {"mode": "up", "threshold": 20.0, "alpha": 0.99},
    "down": {"mode": "down", "threshold": 20.0, "delta": 0.1},
}


def alarms(detector, values):
    found = []
    for index, value in enumerate(values):
        detector.update(value)
        if detector.drift_detected:
            found.append(index)
    return found


def adwin(options, values):
    detector = drift.ADWIN(**options)
    return {
        "alarms": alarms(detector, values),
        "width": detector.width,
        "mean": detector.estimation,
        "squares": detector.variance,
    }


def page_hinkley(options, values):
    detector = drift.PageHinkley(**options)
    return {"alarms": alarms(detector, values), "mean": detector._x_mean.get()}


def main():
    cases = {"adwin": ADWIN, "page-hinkley": PAGE_HINKLEY, "streams": {}}
    for name, parts in STREAMS.items():
        values = [value for part in parts for value in series(part)]
        cases["streams"][name] = {
            "parts": parts,
            "adwin": {key: adwin(options, values) for key, options in ADWIN.items()},
            "page-hinkley": {
                key: page_hinkley(options, values) for key, options in PAGE_HINKLEY.items()
            },
        }
    emit(["river"], cases)


main()
