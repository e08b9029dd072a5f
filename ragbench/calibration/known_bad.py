"""Three generators with faults that load generators have had: negative controls for arrival_checks.py.

Each claims to be Poisson and is not. No load is ever made from them.
"""

from collections.abc import Callable, Mapping

import numpy as np

from ragbench.study.arrivals import Span, Times, poisson

Control = Callable[[float, Span, np.random.Generator], Times]


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


KNOWN_BAD: Mapping[str, Control] = {
    "each second's gaps rescaled": pinned_to_seconds,
    "one seed for eight workers": one_seed_for_all_workers,
    "gaps cut at three means": gaps_cut_at_three_means,
}
