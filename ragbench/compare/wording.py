"""A comparison in words: which server is faster, by how much, where, and how far to trust it. Computes nothing."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence

from ragbench.compare.cells import Cell, Comparison
from ragbench.compare.differences import ALPHA, FEWEST_SEEDS, Difference
from ragbench.compare.pairs import Pair, why_left_out
from ragbench.compare.sides import LATENCIES
from ragbench.statistics.intervals import Interval


def sentences(comparison: Comparison) -> list[str]:
    """One line per cell that differs; one per load about those that do not, and about what was not compared."""
    return [line for pair in _pairs(comparison) for line in _of_pair(comparison, pair)]


def _pairs(comparison: Comparison) -> list[Pair]:
    return list({id(cell.pair): cell.pair for cell in comparison.cells}.values())


def _of_pair(comparison: Comparison, pair: Pair) -> Iterator[str]:
    cells = [cell for cell in comparison.cells if cell.pair is pair and not cell.is_repeat]
    where = f"{pair.level.label}, {pair.arrival}"
    for cell in cells:
        if comparison.is_shown(cell):
            yield sentence(cell, comparison.interval(cell))
    open_cells = [(cell, comparison.interval(cell)) for cell in cells if not comparison.is_shown(cell)]
    differences = [f"{cell.short} {span(found)}" for cell, found in open_cells if found is not None]
    if differences:
        yield f"no difference shown between {pair.b} and {pair.a} {where}: {', '.join(differences)}"
    absent = {cell.why_not: [other.short for other in cells if other.why_not == cell.why_not] for cell in cells}
    for why_not, names in absent.items():
        if why_not and pair.used:
            yield f"not compared {where}: {', '.join(names)} ({why_not})"
    if pair.left_out:
        yield f"left out {where}: {pair.left_out}"


def sentence(cell: Cell, found: Interval | None) -> str:
    """A shown difference: `batched is faster than baseline at 12/s by 18-31% (p95, poisson)`."""
    assert found is not None
    is_more = found.low > 0
    if cell.metric in LATENCIES:
        verb = "is slower than" if is_more else "is faster than"
    else:
        verb = "answers more than" if is_more else "answers less than"
    low, high = sorted((abs(found.low), abs(found.high)))
    pair = cell.pair
    by = f"{number(low)}-{number(high)}%"
    where = f"{cell.short}, {pair.arrival}" + (f"; {pair.overloaded}" if pair.overloaded else "")
    return f"{pair.b} {verb} {pair.a} {pair.level.label} by {by} ({where})"


def span(found: Interval) -> str:
    """An interval with signs: `-4 to +7%`."""
    return f"{signed(found.low)} to {signed(found.high)}%"


def signed(value: float) -> str:
    """+7, -0.4."""
    return ("-" if value < 0 else "+") + number(abs(value))


def number(value: float) -> str:
    """Two digits: 31, 4.2, 0.35; large ones whole."""
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def footnotes(comparison: Comparison) -> list[str]:
    """What the intervals are, and what they are not."""
    compared = comparison.compared
    lines = []
    if compared:
        share = f"{100 * (1 - ALPHA):g}%"
        lines.append(
            f"Percent of the first side. All {len(compared)} intervals hold at once with {share} confidence "
            f"({100 * comparison.level:.5g}% each)."
        )
    found = [cell.difference for cell in compared if cell.difference]
    methods = {difference.method for difference in found}
    if any(method.startswith("within") for method in methods):
        lines.append(
            "Fewer than 3 common seeds: the intervals come from blocks of requests within the runs and speak of these "
            "runs only, not of what other starts of the servers would show."
        )
    if any(method.startswith("seeds") for method in methods):
        lines.append(_of_seeds(found))
    if methods & {"seeds pooled", "within the runs"}:
        lines.append("Unpaired where the two sides did not get the same schedule: other arrivals, or a closed loop.")
    lines += _of_points(comparison)
    sources = {run.source for cell in comparison.cells for runs in cell.pair.runs for run in runs}
    if sources - {"measured"}:
        lines.append(f"Sources: {' and '.join(sorted(sources))}.")
    return lines


def _of_seeds(found: Sequence[Difference]) -> str:
    """How far the intervals speak of other starts of the servers."""
    fewest = min(difference.seeds for difference in found if difference.seeds >= FEWEST_SEEDS)
    widest = max(math.hypot(1, difference.starts_error / difference.error) for difference in found if difference.error)
    spread = (
        f"they differ up to {number(widest)} times as much as that, and the intervals are wider for it."
        if widest > 1.05
        else "they differ by no more than that."
    )
    return (
        f"Seeds are pooled; errors come from blocks of requests within the runs. Over the seeds, each another start, "
        f"{spread} What differs from start to start by less than the runs can tell is not in the intervals of {fewest} "
        "seeds."
    )


def _of_points(comparison: Comparison) -> Iterator[str]:
    """Which points have no say, and which one though they are not valid."""
    pairs = _pairs(comparison)
    runs = [run for pair in pairs for both in pair.runs for run in both]
    counted = Counter(filter(None, map(why_left_out, runs)))
    if counted:
        reasons = ", ".join(f"{n} {word}" for word, n in counted.items())
        yield f"{counted.total()} of {len(runs)} points left out, with the other side of their seed: {reasons}."
    if any(pair.overloaded for pair in pairs):
        yield (
            "Of two overloaded points the throughput is compared, as the most that each server answers; of a valid and "
            "an overloaded one, nothing."
        )
