"""What statsmodels and scipy say about comparisons of rates, means and pairs, and
what confidence sequences are; prints host/core/tests/oracle/compare.json.

confseq's package needs Boost to build, so its beta-binomial mixture is derived
here again, in its own parametrisation (g, h, r, v, s), on scipy.
"""

import math

import numpy as np
from scipy import optimize, special, stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import (
    confint_proportions_2indep,
    proportion_confint,
    tost_proportions_2indep,
)
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

from kit import emit

RATES = [
    ((8, 100), (5, 100)),
    ((80, 1_000), (50, 1_000)),
    ((51, 1_000), (50, 1_000)),
    ((0, 30), (0, 40)),
    ((0, 200), (9, 300)),
    ((40, 40), (35, 40)),
    ((2_000, 100_000), (10_100, 500_000)),
    ((301_000, 1_000_000), (300_000, 1_000_000)),
]


def rates():
    for (a, n), (b, m) in RATES:
        case = {"candidate": [a, n], "baseline": [b, m]}
        case["wilson"] = [
            float(end) for end in proportion_confint(a, n, alpha=0.05, method="wilson")
        ]
        for method in ("newcomb", "wald"):
            case[method] = {
                str(alpha): [
                    float(end)
                    for end in confint_proportions_2indep(
                        a, n, b, m, method=method, compare="diff", alpha=alpha
                    )
                ]
                for alpha in (0.05, 0.1)
            }
        # The larger p-value of the two one-sided tests.
        if 5 <= a <= n - 5 and 5 <= b <= m - 5:
            case["tost_wald"] = {
                str(margin): float(
                    tost_proportions_2indep(a, n, b, m, -margin, margin, method="wald").pvalue
                )
                for margin in (0.005, 0.02, 0.05, 0.1)
            }
        yield case


def means():
    for one, other in [
        ((10, 5.0, 1.0), (12, 4.0, 1.5)),
        ((50, 0.8, 0.1), (45, 0.78, 0.12)),
        ((3, 100.0, 30.0), (1_000, 90.0, 2.0)),
        ((5_000, 250.0, 80.0), (50_000, 246.0, 75.0)),
    ]:

        def described(side):
            # Values with exactly this mean and this spread.
            n, mean, spread = side
            values = np.arange(n, dtype=float)
            values = (values - values.mean()) / values.std(ddof=1) * spread + mean
            return DescrStatsW(values)

        compared = CompareMeans(described(one), described(other))
        yield {
            "candidate": one,
            "baseline": other,
            "welch": {
                str(alpha): [
                    float(end) for end in compared.tconfint_diff(alpha=alpha, usevar="unequal")
                ]
                for alpha in (0.05, 0.1)
            },
            "tost_welch": {
                str(margin): float(compared.ttost_ind(-margin, margin, usevar="unequal")[0])
                for margin in (0.05, 1.0, 5.0, 20.0)
            },
        }


def pairs():
    for both, b, c, neither in [
        (90, 5, 2, 3),
        (900, 40, 20, 40),
        (0, 1, 0, 0),
        (10, 7, 7, 10),
        (5_000, 300, 250, 450),
        (0, 500_500, 499_500, 0),
        (9_000, 3, 4, 993),
    ]:
        n = both + b + c + neither
        differences = np.repeat([1.0, -1.0, 0.0], [b, c, both + neither])
        exact = mcnemar([[both, b], [c, neither]], exact=True).pvalue
        fewer = min(b, c)
        mid = 2 * (stats.binom.cdf(fewer - 1, b + c, 0.5) + stats.binom.pmf(fewer, b + c, 0.5) / 2)
        yield {
            "pairs": [both, b, c, neither],
            "difference": float(differences.mean()),
            "squared_error": float(differences.var(ddof=0) / n),
            "exact": float(exact),
            "mid_p": float(min(1.0, mid)),
            # What is 0 but for rounding is 0 on every machine.
            "log_e": round(float(log_mixture(b, b + c, 0.5, 5_000, 0.05)), 9) + 0.0,
        }


def best_rho(v, alpha):
    return v / (2 * math.log(1 / alpha) + math.log(1 + 2 * math.log(1 / alpha)))


def log_mixture(events, trials, rate, t_opt, alpha_opt):
    """BetaBinomialMixture::log_superMG, two-sided, with g + h = 1."""
    g, h = rate, 1 - rate
    r = max(best_rho(t_opt * g * h, alpha_opt) - g * h, 1e-3 * g * h)
    s, v = events - g * trials, g * h * trials
    return (
        -(v / h + s) * math.log(g)
        - (v / g - s) * math.log(h)
        + special.betaln((r + v - g * s) / g, (r + v + h * s) / h)
        - special.betaln(r / g, r / h)
    )


def sequences():
    widths = []
    for n in (2, 100, 1_000, 5_000, 20_000, 1_000_000):
        for alpha in (0.001, 0.05, 0.1):
            # Two-sided: where the mixture of N(0, rho²) reaches 1 / alpha.
            rho2 = 1 / best_rho(5_000, alpha)
            log_e = lambda z: (rho2 * n * z * z / (n * rho2 + 1) - math.log(n * rho2 + 1)) / 2
            two = optimize.brentq(lambda z: log_e(z) + math.log(alpha), 0, 1_000, xtol=1e-13)
            case = {"samples": n, "alpha": alpha, "two_sided": two}
            if 2 * alpha < 1:
                rho2 = 1 / best_rho(5_000, 2 * alpha)
                v = n * rho2 + 1
                case["one_sided"] = math.sqrt(
                    2 * v / (n * rho2) * math.log(1 + math.sqrt(v) / (2 * alpha))
                )
                # The mixture itself, by quadrature over its half-normal distribution.
                z = 3.0
                weigh = lambda u: math.sqrt(2 / math.pi) * np.exp(
                    -u * u / 2 + math.sqrt(rho2 * n) * u * z - rho2 * n * u * u / 2
                )
                peak = math.sqrt(rho2 * n) * z / v
                reach = 12 / math.sqrt(v)
                nodes, weights = np.polynomial.legendre.leggauss(400)
                low, high = max(0.0, peak - reach), peak + reach
                at = (high - low) / 2 * nodes + (high + low) / 2
                case["one_sided_log_e_at_3"] = float(
                    math.log(np.sum(weights * weigh(at)) * (high - low) / 2)
                )
            widths.append(case)
    bounds = []
    for events, trials in [
        (0, 1), (1, 1), (0, 100), (5, 100), (50, 100), (1, 1_000), (250, 5_000),
        (999, 1_000), (60_000, 100_000), (30, 1_000_000),
    ]:
        for alpha in (0.05, 0.001):
            at = lambda p: log_mixture(events, trials, p, 5_000, 0.05) + math.log(alpha)
            rate = min(max(events / trials, 1e-300), 1 - 2**-53)
            low, high = 0.0, 1.0
            if events > 0:
                # The mixture falls from the left end to the rate.
                edge = 1e-300
                low = 0.0 if at(edge) < 0 else optimize.brentq(at, edge, rate, xtol=1e-16)
            if events < trials:
                edge = 1 - 2**-53
                high = 1.0 if at(edge) < 0 else optimize.brentq(at, rate, edge, xtol=1e-16)
            bounds.append({"events": events, "trials": trials, "alpha": alpha, "ends": [low, high]})
    return {"widths": widths, "bounds": bounds}


def main():
    packages = ("numpy", "scipy", "statsmodels")
    emit(
        packages,
        {
            "rates": list(rates()),
            "means": list(means()),
            "pairs": list(pairs()),
            "sequences": sequences(),
        },
    )


if __name__ == "__main__":
    main()
