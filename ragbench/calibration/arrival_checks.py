"""Whether arrivals follow the law of their name: four checks of due times. Pure.

- rate: the number of arrivals, against rate x duration and the spread of the law.
- gaps: Kolmogorov-Smirnov distance of the gaps from their law, at a low rate, where pinning and rescaling show.
- dispersion: variance / mean of the counts per window, against the law's index of dispersion.
- lag-1: rank correlation of each gap with the next, which is 0.

The times of a process whose rate varies are first rescaled to an even rate (Brown et al., The Time-Rescaling Theorem,
Neural Computation 14, 2002). Each check gives a p-value. Even spacing has no randomness: there each check is the
largest deviation against a limit.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy import special, stats

from ragbench.study.arrivals import Span, Times, poisson

RATE_RPS = 20.0
LOW_RATE_RPS = 2.0
DURATION_S = 4000.0
WINDOW_S = 20.0
Cdf = Callable[[Times, float], Times]
Control = Callable[[float, Span, np.random.Generator], Times]

CHECKS = ("rate", "gaps", "dispersion", "lag-1")
_EXACT = 1e-6  # of a gap: how far even spacing may be from even


@dataclass(frozen=True, slots=True)
class Law:
    """The distribution of a process. `cdf(gaps, rate)`; `dispersion(rate, window_s)`: variance / mean of counts.

    `cdf` is None for a process without randomness. `fixed`: the number of arrivals in DURATION_S is certain.
    `clock(times)`: the times rescaled to an even rate, where it varies; both run from 0 to DURATION_S.
    """

    cdf: Cdf | None
    dispersion: Callable[[float, float], float]
    fixed: bool = False
    clock: Callable[[Times], Times] | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check: a p-value, or, without randomness, the deviation in units of the limit."""

    name: str
    p: float | None = None
    deviation: float | None = None

    def passed(self, least_p: float) -> bool:
        """Whether the check does not reject the law."""
        return self.p > least_p if self.p is not None else (self.deviation or 0.0) <= 1.0


def poisson_law() -> Law:
    """Exponential gaps; counts as variable as their mean."""
    return Law(lambda gaps, rate: -np.expm1(-rate * gaps), lambda rate, window_s: 1.0)


def uniform_law() -> Law:
    """N instants in T seconds: gaps of survival (1 - x/T)^n, binomial counts, a certain total."""

    def cdf(gaps: Times, rate: float) -> Times:
        return 1 - (1 - gaps / DURATION_S) ** round(rate * DURATION_S)

    return Law(cdf, lambda rate, window_s: 1 - window_s / DURATION_S, fixed=True)


def gamma_law(cv: float = 2.0) -> Law:
    """Independent gamma gaps from an equilibrium start. Variance of counts: Cox, Renewal Theory (1962), section 4.5."""
    shape = 1 / cv**2

    def dispersion(rate: float, window_s: float) -> float:
        # Var N(w) = 2 rate * integral of (M(u) - rate u + 1/2) du over the window, M the renewal function, which is the
        # sum over k of the probability that k gaps are over by u.
        u = np.linspace(0, window_s, 2001)
        most = math.ceil(rate * window_s + 12 * cv * math.sqrt(rate * window_s) + 60 * cv**2)
        k = np.arange(1, most + 1)[:, None]
        renewals = np.sum(special.gammainc(k * shape, u[None, :] * rate * shape), axis=0)
        return float(2 * np.trapezoid(renewals - rate * u + 0.5, u) / window_s)

    return Law(lambda gaps, rate: special.gammainc(shape, gaps * rate * shape), dispersion)


def on_off_law(on_s: float = 1.0, off_s: float = 3.0) -> Law:
    """The interrupted Poisson process: hyperexponential gaps (Kuczura, Bell System Technical Journal 52, 1973).

    Counts: its intensity has the variance and the memory of an on-off process, exp(-(1/on + 1/off) t).
    """
    share, turns = on_s / (on_s + off_s), 1 / on_s + 1 / off_s

    def cdf(gaps: Times, rate: float) -> Times:
        burst = rate / share
        total = burst + turns
        root = math.sqrt(total**2 - 4 * burst / off_s)
        fast, slow = (total + root) / 2, (total - root) / 2
        weight = (burst - slow) / (fast - slow)
        return -weight * np.expm1(-fast * gaps) - (1 - weight) * np.expm1(-slow * gaps)

    def dispersion(rate: float, window_s: float) -> float:
        span = turns * window_s
        return 1 + 2 * rate / share * (1 - share) / turns * (1 + math.expm1(-span) / span)

    return Law(cdf, dispersion)


def step_law(share: float = 0.2, up: float = 0.33, down: float = 0.67) -> Law:
    """Poisson, once each second is weighted by its share of the mean rate."""

    def clock(times: Times) -> Times:
        x = times / DURATION_S
        above = np.clip(x - up, 0, down - up)
        return DURATION_S * (share * x + (1 - share) * above) / (share + (1 - share) * (down - up))

    return replace(poisson_law(), clock=clock)


def ramp_law(share: float = 0.1) -> Law:
    """As `step_law`; the rate is a triangle on a rectangle."""

    def clock(times: Times) -> Times:
        x = times / DURATION_S
        triangle = np.where(x < 0.5, x**2, 0.5 - (1 - x) ** 2)
        return DURATION_S * (share * x + (1 - share) * triangle) * 2 / (1 + share)

    return replace(poisson_law(), clock=clock)


def even_law() -> Law:
    """No randomness at all."""
    return Law(None, lambda rate, window_s: 0.0, fixed=True)


# The law of each of ARRIVALS. The trace that is checked was recorded from a Poisson process.
LAWS: Mapping[str, Callable[..., Law]] = {
    "ideal": even_law,
    "poisson": poisson_law,
    "uniform": uniform_law,
    "gamma": gamma_law,
    "on_off": on_off_law,
    "step": step_law,
    "ramp": ramp_law,
    "trace": poisson_law,
}


def check(draw: Callable[[float], Times], law: Law) -> list[Check]:
    """The four checks. `draw(rate_rps)` gives the due times of DURATION_S seconds at a rate."""
    times, sparse = (law.clock(due) if law.clock else due for due in (draw(RATE_RPS), draw(LOW_RATE_RPS)))
    if law.cdf is None:
        return _even(times, sparse)
    return [_rate(times, law), _gaps(sparse, law.cdf), _dispersion(times, law), _lag_1(times)]


def _two_sided(z: float) -> float:
    return float(2 * stats.norm.sf(abs(z)))


def _rate(times: Times, law: Law) -> Check:
    excess = len(times) - RATE_RPS * DURATION_S
    if law.fixed:
        return Check("rate", deviation=abs(excess))  # to the nearest whole number
    variance = RATE_RPS * DURATION_S * law.dispersion(RATE_RPS, WINDOW_S)
    return Check("rate", p=_two_sided(excess / math.sqrt(variance)))


def _gaps(times: Times, cdf: Cdf) -> Check:
    return Check("gaps", p=float(stats.kstest(np.diff(times), lambda gaps: cdf(gaps, LOW_RATE_RPS)).pvalue))


def _dispersion(times: Times, law: Law) -> Check:
    """Chi-square test of a variance, its degrees of freedom corrected for the counts' kurtosis (Box, 1953)."""
    counts = _counts(times)
    free = (len(counts) - 1) / (1 + max(-1.0, float(stats.kurtosis(counts, bias=False))) / 2)
    ratio = np.var(counts, ddof=1) / (RATE_RPS * WINDOW_S * law.dispersion(RATE_RPS, WINDOW_S))
    below, above = stats.chi2.cdf(free * ratio, free), stats.chi2.sf(free * ratio, free)
    return Check("dispersion", p=float(2 * min(below, above)))


def _lag_1(times: Times) -> Check:
    """Of ranks, so that a few long gaps of a bursty process do not decide."""
    gaps = np.diff(times)
    return Check("lag-1", p=_two_sided(float(stats.spearmanr(gaps[:-1], gaps[1:])[0]) * math.sqrt(len(gaps) - 1)))


def _even(times: Times, sparse: Times) -> list[Check]:
    gaps, wide = np.diff(times) * RATE_RPS - 1, np.diff(sparse) * LOW_RATE_RPS - 1
    return [
        Check("rate", deviation=abs(len(times) - RATE_RPS * DURATION_S)),
        Check("gaps", deviation=float(np.max(np.abs(wide))) / _EXACT),
        Check("dispersion", deviation=float(np.ptp(_counts(times)))),  # a window holds one more or less at most
        Check("lag-1", deviation=abs(float(np.mean(gaps[:-1] * gaps[1:]))) / _EXACT**2),
    ]


def _counts(times: Times) -> Times:
    edges = np.linspace(0, DURATION_S, round(DURATION_S / WINDOW_S) + 1)
    return np.histogram(times, edges)[0].astype(np.float64)


def pinned_to_seconds(rate_rps: float, span: Span, rng: np.random.Generator) -> Times:
    """Each second's gaps rescaled so that the last of them ends on the second."""
    seconds = int(span.duration_s or 0.0)
    parts = [np.empty(0)]
    for second, n in enumerate(rng.poisson(rate_rps, seconds)):
        ends = np.cumsum(rng.exponential(1.0, n))
        parts.append(second + ends / (ends[-1] if n else 1.0))
    return np.concatenate(parts)


def one_seed_for_all_workers(rate_rps: float, span: Span, rng: np.random.Generator) -> Times:
    """Eight workers, each with an eighth of the rate and the same seed: every arrival comes eight times."""
    seed = int(rng.integers(2**32))
    return np.sort(np.concatenate([poisson(rate_rps / 8, span, np.random.default_rng(seed)) for _ in range(8)]))


def gaps_cut_at_three_means(rate_rps: float, span: Span, rng: np.random.Generator) -> Times:
    """Exponential gaps, none longer than three of their mean: no lull, and 5% more load than was named."""
    end_s = span.duration_s or 0.0
    gaps = np.minimum(rng.exponential(1 / rate_rps, round(1.2 * rate_rps * end_s) + 100), 3 / rate_rps)
    times = np.cumsum(gaps)
    return times[times < end_s]


# Negative controls: faults of known load generators, in processes that claim to be Poisson. No load is made from them.
KNOWN_BAD: Mapping[str, Control] = {
    "each second's gaps rescaled": pinned_to_seconds,
    "one seed for eight workers": one_seed_for_all_workers,
    "gaps cut at three means": gaps_cut_at_three_means,
}
