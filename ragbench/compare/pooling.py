"""The figures of one pair, the requests of all its seeds taken together, and why some are not compared.

Latencies are compared between valid points. Throughput is compared between valid points and, as the most that a server
answers, between overloaded ones. Between a valid point and an overloaded one nothing is: their verdicts differ already.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ragbench.compare.differences import Difference, estimates
from ragbench.compare.pairs import OVERLOADED, Pair
from ragbench.compare.sides import BINS, COMPARED, LATENCIES, Run
from ragbench.statistics.intervals import Floats, means, quantiles

FEWEST_IN_TAIL = 10  # requests beyond a percentile, of all seeds together, for an interval
TOO_FEW = "too few requests for an interval"
UNANSWERED = "it may fall among the unanswered requests"
ABSENT = float("nan")

Values = list[tuple[Floats, Floats]]  # of a and of b, a seed


@dataclass(frozen=True, slots=True)
class Cell:
    """One figure of a pair, at one load. `a`, `b`: of all seeds together. `why_not`: why there is no difference.

    `is_repeat`: its answers are those of the cell before it, as goodput's are throughput's where all came in time, and
    it is not counted again.
    """

    pair: Pair
    metric: str
    a: float = ABSENT
    b: float = ABSENT
    difference: Difference | None = None
    why_not: str = ""
    is_repeat: bool = False

    @property
    def short(self) -> str:
        """The figure as in words: p95, throughput."""
        return self.metric.removeprefix("latency_").removesuffix("_s").removesuffix("_rps")

    @property
    def alike(self) -> tuple[str, str, bool, bool]:
        """Equal for figures that vary from start to start of the servers for the same reasons."""
        return self.pair.a, self.pair.b, self.metric in LATENCIES, self.pair.verdict(0) == "valid"


def pooled(pair: Pair, rng: np.random.Generator) -> list[Cell]:
    """All COMPARED of `pair`, in their order; their differences lack what starts add."""
    cells = {metric: Cell(pair, metric, why_not=_why_not(pair, metric)) for metric in COMPARED}
    metrics = [metric for metric in COMPARED if not cells[metric].why_not]
    if metrics:
        runs = [(a.requests(), b.requests()) for a, b in pair.used]
        waits = [(a.latencies_s, b.latencies_s) for a, b in runs]
        answered = _per_s(pair, [(a.answered, b.answered) for a, b in runs])
        good = _per_s(pair, [(a.good, b.good) for a, b in runs])
        cells |= _latencies(pair, waits, [metric for metric in metrics if metric in LATENCIES], rng)
        if "throughput_rps" in metrics:
            cells["throughput_rps"] = _rate(pair, "throughput_rps", answered, rng)
        if "goodput_rps" in metrics and "throughput_rps" in metrics and _is_same(answered, good):
            cells["goodput_rps"] = replace(cells["throughput_rps"], metric="goodput_rps", is_repeat=True)
        elif "goodput_rps" in metrics:
            cells["goodput_rps"] = _rate(pair, "goodput_rps", good, rng)
    return list(cells.values())


def _why_not(pair: Pair, metric: str) -> str:
    """Why the points have no such figure to compare; empty: they do.

    The latency of a queue that grows says how long it was watched, and so does the share of its answers that came in
    time. The latency of a server that refuses is that of fewer requests than were asked.
    """
    if not pair.used:
        return f"left out: {pair.left_out}"
    verdicts = pair.verdict(0), pair.verdict(1)
    if verdicts == ("valid", "valid"):
        return ""
    allowed = {"throughput_rps": OVERLOADED, "goodput_rps": ("shedding",)}.get(metric, ())
    return "" if all(verdict in allowed for verdict in verdicts) else pair.overloaded


def _latencies(pair: Pair, waits: Values, metrics: Sequence[str], rng: np.random.Generator) -> dict[str, Cell]:
    if not metrics:
        return {}
    shares = [LATENCIES[metric] for metric in metrics]
    is_paired = pair.is_paired and all(len(a) == len(b) for a, b in waits)
    found = estimates(waits, lambda values, counts: quantiles(values, counts, shares), is_paired=is_paired, rng=rng)
    fewest = min(sum(len(both[side]) for both in waits) for side in (0, 1))
    figures = [_quantiles(np.concatenate([both[side] for both in waits]), shares) for side in (0, 1)]
    cells = {}
    for metric, a, b, difference in zip(metrics, *figures, found or [None] * len(metrics), strict=True):
        is_enough = bool(found) and fewest * (1 - LATENCIES[metric]) >= FEWEST_IN_TAIL
        why_not = TOO_FEW if not is_enough else "" if difference else UNANSWERED
        cells[metric] = Cell(pair, metric, a, b, difference if is_enough else None, why_not)
    return cells


def _quantiles(values: Floats, shares: Sequence[float]) -> list[float]:
    if not values.size:
        return [ABSENT] * len(shares)
    found = quantiles(values, np.ones((1, len(values)), np.int32), shares)[0]
    return [float(each) if np.isfinite(each) else ABSENT for each in found]


def _per_s(pair: Pair, counts: Values) -> Values:
    """Answers in each BINS-th of the window as answers per second there: windows of two seeds are not equally long."""
    return [
        (a * BINS / _length_s(run_a), b * BINS / _length_s(run_b))
        for (a, b), (run_a, run_b) in zip(counts, pair.used, strict=True)
    ]


def _length_s(run: Run) -> float:
    return run.window_s[1] - run.window_s[0]


def _is_same(some: Values, others: Values) -> bool:
    return all(np.array_equal(x, y) for pair in zip(some, others, strict=True) for x, y in zip(*pair, strict=True))


def _rate(pair: Pair, metric: str, rates: Values, rng: np.random.Generator) -> Cell:
    """No interval of a rate is narrower than one answer more or less in each run."""
    a, b = (float(np.mean(np.concatenate(side))) for side in zip(*rates, strict=True))
    answers = [
        float(np.mean(each)) * _length_s(run)
        for both, runs in zip(rates, pair.used, strict=True)
        for each, run in zip(both, runs, strict=True)
    ]
    found = estimates(rates, means, is_paired=pair.is_paired, rng=rng, resolution=1 / max(1.0, min(answers)))
    difference = found[0] if found else None
    return Cell(pair, metric, a, b, difference, "" if difference else TOO_FEW if a and b else "a figure is 0")
