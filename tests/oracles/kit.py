"""What the oracle scripts share: values that Rust can make alike, and the form
of what is printed.

A series is stored as it is when it is short; else as `{"seed", "n", "shape",
"scale", "shift"}`, from which `series` here and `series` in
host/core/tests/oracle.rs make the same doubles: a linear congruential generator
and operations whose result IEEE 754 fixes.
"""

import importlib.metadata
import json
import math


def _uniform(state):
    state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
    return state, (state >> 11) / 2**53


def series(spec):
    """The values of a series: a list as it is, a description as it says."""
    if isinstance(spec, list):
        return [float(value) for value in spec]
    if spec["shape"] == "sawtooth":  # the worked case D1
        teeth = [(37 * i % 1000) / 1000 for i in range(spec["n"])]
        return [tooth * tooth for tooth in teeth] if spec["squared"] else teeth
    state, values = spec["seed"], []
    for _ in range(spec["n"]):
        state, value = _uniform(state)
        match spec["shape"]:
            case "uniform":
                pass
            case "bell":  # near the standard normal
                value -= 6.0
                for _ in range(11):
                    state, more = _uniform(state)
                    value += more
            case "skew":  # a long tail to the right
                value = value / (1.0001 - value)
            case "ties":  # eight values
                value = float(math.floor(value * 8.0))
            case "binary":  # one in five
                value = 1.0 if value < 0.2 else 0.0
        values.append(value * spec["scale"] + spec["shift"])
    return values


def made(seed, n, shape, scale=1.0, shift=0.0):
    return {"seed": seed, "n": n, "shape": shape, "scale": scale, "shift": shift}


class Draws:
    """The draws of histories, made as `Draws` in host/core/tests/oracle.rs does."""

    def __init__(self, seed):
        self.state = seed

    def __call__(self):
        self.state = (1_103_515_245 * self.state + 12_345) % (1 << 31)
        return (self.state >> 8) / (1 << 23)


def plain(value):
    """As JSON can hold it: what is not finite becomes null."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def emit(packages, cases):
    """Prints the oracle: the versions it was computed with, and the cases."""
    versions = {name: importlib.metadata.version(name) for name in packages}
    print(json.dumps(plain({"packages": versions, "cases": cases}), indent=1))
