"""The rate at which the faster server becomes the slower one, with its interval. Pure. Latencies only.

Throughput has no crossover: until one of the servers saturates, both answer every request.

Between two measured rates the logarithm of the ratio is interpolated linearly over the logarithm of the rate. The error
of that is not in the interval; the two measured rates are reported beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ragbench.compare.cells import Cell, Comparison
from ragbench.compare.pairs import Pair
from ragbench.compare.sides import LATENCIES
from ragbench.statistics.intervals import Floats, Interval

TIMES = 4000
SURE = 0.95  # the share of redrawn differences in which the servers must cross, once
_SEED = 20_240_602


@dataclass(frozen=True, slots=True)
class Crossover:
    """Where `b` overtakes `a`, or the reverse. `interval` is None where the crossing is not shown."""

    metric: str
    pair: Pair
    rate_rps: float
    between_rps: tuple[float, float]
    interval: Interval | None
    share: float
    is_b_better_above: bool

    def __str__(self) -> str:
        a, b, (low, high) = self.pair.a, self.pair.b, self.between_rps
        better, worse = (b, a) if self.is_b_better_above else (a, b)
        place = f"near {self.rate_rps:.3g}/s (between the measured {low:g} and {high:g}/s"
        figure = f"{self.metric}, {self.pair.arrival}"
        if self.interval is None:
            share = f"{self.share:.0%} of redrawn differences cross once"
            return f"crossover not shown: {better} may overtake {worse} {place}; {figure}; {share})"
        interval = f"95%: {self.interval.low:.3g} to {self.interval.high:.3g}/s"
        return f"{better} overtakes {worse} {place}, {interval}; {figure})"


def crossovers(comparison: Comparison) -> list[Crossover]:
    """A crossover for each latency and pair whose differences change sign exactly once as the rate grows."""
    series: dict[tuple[str, ...], list[Cell]] = {}
    for cell in sorted(comparison.compared, key=lambda cell: cell.pair.level):
        if cell.pair.level.offered_rps and cell.metric in LATENCIES:
            series.setdefault((cell.metric, cell.pair.a, cell.pair.b, cell.pair.arrival), []).append(cell)
    return list(filter(None, (_crossover(cells) for cells in series.values() if len(cells) > 1)))


def _crossover(cells: Sequence[Cell]) -> Crossover | None:
    rates = np.array([cell.pair.level.offered_rps for cell in cells])
    differences = [cell.difference for cell in cells if cell.difference is not None]
    log_ratios = np.array([difference.log_ratio for difference in differences])
    (rate,) = crossing_rates(rates, log_ratios[None, :])
    if np.isnan(rate):
        return None
    rng = np.random.default_rng(_SEED)
    drawn = crossing_rates(rates, np.stack([difference.drawn(TIMES, rng) for difference in differences], axis=1))
    crossed = drawn[~np.isnan(drawn)]
    share = len(crossed) / len(drawn)
    interval = Interval(*map(float, np.quantile(crossed, [0.025, 0.975]))) if share >= SURE else None
    above = max(1, int(np.searchsorted(rates, rate)))
    between = float(rates[above - 1]), float(rates[above])
    return Crossover(cells[0].metric, cells[0].pair, float(rate), between, interval, share, bool(log_ratios[-1] < 0))


def crossing_rates(rates: Floats, log_ratios: Floats) -> Floats:
    """Where each row of `log_ratios`, (m, rates), changes sign; NaN where it does not, or more than once."""
    changes = np.diff(log_ratios > 0, axis=1)
    at = np.argmax(changes, axis=1)
    left, right = np.take_along_axis(log_ratios, at[:, None] + [0, 1], axis=1).T
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.clip(left / (left - right), 0, 1)
    logs = np.log(rates)
    crossings = np.exp(logs[at] + share * (logs[at + 1] - logs[at]))
    return np.where(changes.sum(axis=1) == 1, crossings, np.nan)
