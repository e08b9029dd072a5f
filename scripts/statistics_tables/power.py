"""How often `ragbench compare` shows a difference that is there, and one that is not. Queues are solved, not measured.

The servers are those of tests/ragbench/compare_fixture.py, 20 s a run. "before" is the rule of commit b269b21.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t

from ragbench.compare.cells import Comparison, compare
from ragbench.compare.differences import estimate
from ragbench.compare.gate import judge, parse_gates
from ragbench.compare.pairs import Pair
from ragbench.compare.sides import LATENCIES, SLICES, Level, Requests, Run
from ragbench.results.paths import PointPaths
from ragbench.statistics.columns import Window
from ragbench.statistics.intervals import Floats, Statistic, mean, once, quantile

TITLE = "How often a difference between two servers is shown"

MEAN_S = 0.014  # of a service, uniform from half to one and a half times that: 71/s at most
DURATION_S = 20.0
RATES = {1: (40.0,), 3: (20.0, 40.0, 90.0), 7: (10.0, 15.0, 20.0, 30.0, 40.0, 90.0, 110.0)}
SEEDS = (1, 2, 3, 5)
GATE = "latency_p95_s > +5%"


@dataclass(frozen=True, slots=True)
class Case:
    """Two servers, the second `slower` times as slow; each start of either is off by e^(`starts` x normal)."""

    name: str
    slower: float
    starts: float
    seeds: int
    rates: int
    repeats: int


def cases() -> Iterator[Case]:
    """What is tried."""
    for name, slower, starts, repeats in (
        ("equal", 1.0, 0.0, 200),
        ("20% apart", 1.2, 0.0, 40),
        ("50% slower", 1.5, 0.0, 20),
        ("equal, starts differ by 5%", 1.0, 0.05, 100),
        ("equal, starts differ by 20%", 1.0, 0.20, 100),
    ):
        for rates in RATES:
            for seeds in SEEDS:
                if slower > 1 or rates == 3 or not starts:
                    yield Case(name, slower, starts, seeds, rates, repeats)


def rows(report: Callable[[str], None]) -> list[dict[str, Any]]:
    """A row for each case."""
    told = []
    with get_context("spawn").Pool(2) as pool:
        for case in cases():
            told.append(row(case, pool.map(partial(repeat, case), range(case.repeats), chunksize=2)))
            report(f"{case.name}, {case.seeds} seeds, {case.rates} rates: {told[-1]}")
    return told


def notes(_: Any) -> list[str]:
    """How to read it."""
    return [
        "Shares of p50 and p95 cells count all loads at which both servers keep up; a cell without an interval counts "
        "as not shown. Throughput is counted at the loads beyond both servers' capacity (90/s, 110/s): below it both "
        "answer all that is asked, and there is no difference to show. `any`: repeats in which any cell at all was "
        "shown of two servers that do not differ; `false_throughput`: cells below capacity whose throughput was shown "
        f"to differ; `gate`: repeats in which `{GATE}` failed.",
        "Verdicts are set, not judged: valid below capacity, saturated beyond.",
        "Where each start of a server is some percent off, one or two seeds cannot know it; `ragbench compare` then "
        "says that its intervals speak of these runs only. From three seeds on the intervals are wider by what the "
        "seeds show. Few seeds show it roughly: servers that differ only in their starts are told apart in more than "
        "5% of the comparisons, and three seeds may show a few differences less than two.",
    ]


def row(case: Case, found: Sequence[dict[str, float]]) -> dict[str, Any]:
    """The means over all repeats, of which a share that was never there is empty."""
    head = {"servers": case.name, "rates": case.rates, "seeds": case.seeds, "repeats": len(found)}
    return head | {name: _mean([each[name] for each in found]) for name in found[0]}


def _mean(values: Sequence[float]) -> float | None:
    known = [value for value in values if not math.isnan(value)]
    return round(float(np.mean(known)), 3) if known else None


def repeat(case: Case, number: int) -> dict[str, float]:
    """One comparison, judged by both rules."""
    pairs = make_pairs(case, number)
    comparison = compare(pairs)
    found = {(cell.metric, cell.pair.level.offered_rps): cell.is_shown for cell in comparison.compared}
    before = shown_before(pairs)
    return (
        _shares("", found, pairs, is_equal=case.slower == 1)
        | _shares("_before", before, pairs, is_equal=case.slower == 1)
        | {"gate": float(_fails(comparison))}
    )


def _shares(
    suffix: str, shown: dict[tuple[str, float], bool], pairs: Sequence[Pair], *, is_equal: bool
) -> dict[str, float]:
    rates = {pair.level.offered_rps: pair.verdict(1) == "valid" for pair in pairs}
    kept_up = [rate for rate, is_valid in rates.items() if is_valid]
    beyond = [rate for rate, is_valid in rates.items() if not is_valid]

    def share(metric: str, at: Sequence[float]) -> float:
        return float(np.mean([shown.get((metric, rate), False) for rate in at])) if at else math.nan

    if is_equal:
        return {f"any{suffix}": float(any(shown.values()))}
    wanted = [shown.get((name, rate), False) for name in ("latency_p50_s", "latency_p95_s") for rate in kept_up]
    wanted += [shown.get(("throughput_rps", rate), False) for rate in beyond]
    return {
        f"shown{suffix}": float(np.mean(wanted)),
        f"p50{suffix}": share("latency_p50_s", kept_up),
        f"p95{suffix}": share("latency_p95_s", kept_up),
        f"throughput{suffix}": share("throughput_rps", beyond),
        f"false_throughput{suffix}": share("throughput_rps", kept_up),
    }


def _fails(comparison: Comparison) -> bool:
    return any(each.outcome == "fails" for each in judge(comparison, parse_gates([GATE])))


def make_pairs(case: Case, number: int) -> list[Pair]:
    """The runs of repeat `number`: other arrivals and services each time, one arrival process for both servers."""
    pairs = []
    for rate in RATES[case.rates]:
        seeds = [number * 100 + seed for seed in range(1, case.seeds + 1)]
        runs = tuple((_run(case, 0, rate, seed), _run(case, 1, rate, seed)) for seed in seeds)
        pairs.append(Pair("one", "two", "poisson", Level(offered_rps=rate), runs))
    return pairs


def _run(case: Case, server: int, rate: float, seed: int) -> Run:
    start = np.random.default_rng([seed, server]).normal()  # one start serves all rates of a seed
    mean_s = MEAN_S * (case.slower if server else 1.0) * math.exp(case.starts * start)
    due = np.random.default_rng([seed, round(rate * 1000)]).exponential(1 / rate, int(rate * DURATION_S * 2) + 50)
    due = np.cumsum(due)
    due = due[due < DURATION_S]
    services = mean_s * np.random.default_rng([seed, round(rate * 1000), server]).uniform(0.5, 1.5, len(due))
    window = Window(float(due[0]) + 0.1 * DURATION_S, float(due[-1]))
    verdict = "valid" if rate * MEAN_S * case.slower < 0.95 else "saturated"
    return Run(
        ("one", "two")[server],
        "poisson",
        Level(offered_rps=rate),
        seed,
        verdict,
        "simulated",
        "a queue",
        window,
        f"{rate:g}-{seed}",
        None,
        PointPaths(Path()),
        kept=requests_of(due, services, window),
    )


def requests_of(due: Floats, services: Floats, window: Window) -> Requests:
    """Lindley's recursion: a request is served once those before it are."""
    work = np.cumsum(services)
    done = work + np.maximum.accumulate(due - (work - services))
    answered = np.histogram(done, SLICES, (window.start_s, window.end_s))[0].astype(np.float64)
    return Requests((done - due)[due >= window.start_s], answered, answered, window.length_s / SLICES)


def shown_before(pairs: Sequence[Pair]) -> dict[tuple[str, float], bool]:
    """What commit b269b21 showed: t over three seeds or more, else within the runs; all five figures in the count."""
    told: dict[tuple[str, float], tuple[float, float, float, float]] = {}
    for pair in pairs:
        for metric, found in _told_before(pair).items():
            told[metric, pair.level.offered_rps] = found
    return {
        key: abs(ratio) > max(float(t.ppf(1 - 0.025 / len(told), degrees)) * error, least)
        for key, (ratio, error, degrees, least) in told.items()
    }


def _told_before(pair: Pair) -> dict[str, tuple[float, float, float, float]]:
    """The logarithm of the ratio, its error, degrees of freedom and least half width, by figure."""
    runs = [(a.requests(), b.requests()) for a, b in pair.runs]
    least = 1 / max(1.0, min(side.answered.sum() for both in runs for side in both))
    waits = [(a.latencies_s, b.latencies_s) for a, b in runs]
    is_seeds = len(runs) >= 3
    rule = _over_seeds if is_seeds else _within_runs
    fewest = min(len(side) for both in waits for side in both)
    told = {}
    if pair.verdict(0) == pair.verdict(1) == "valid":
        for name, share in LATENCIES.items():
            if (is_seeds or fewest * (1 - share) >= 10) and (known := rule(waits, partial(quantile, share=share))):
                told[name] = (*known, 0.0)
    if known := rule([(a.answered, b.answered) for a, b in runs], mean):
        told |= dict.fromkeys(("throughput_rps", "goodput_rps"), (*known, least))
    return told


def _over_seeds(runs: Sequence[tuple[Floats, Floats]], statistic: Statistic) -> tuple[float, float, float]:
    figures = [[statistic(side, once(side))[0] for side in both] for both in runs]
    ratios = np.array([np.log(b / a) for a, b in figures])
    return float(np.mean(ratios)), float(np.std(ratios, ddof=1)) / math.sqrt(len(ratios)), len(ratios) - 1.0


def _within_runs(runs: Sequence[tuple[Floats, Floats]], statistic: Statistic) -> tuple[float, float, float] | None:
    estimates = [estimate([run], statistic, is_paired=True, rng=np.random.default_rng(1)) for run in runs]
    known = [each for each in estimates if each is not None]
    if len(known) < len(runs):
        return None
    error = math.sqrt(sum(each.error**2 for each in known)) / len(known)
    return sum(each.log_ratio for each in known) / len(known), error, sum(each.degrees for each in known)
