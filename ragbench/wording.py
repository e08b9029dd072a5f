"""A comparison in words: which server is faster, by how much, where, and how far to trust it. Computes nothing."""

from collections.abc import Iterator

from ragbench.compare import ALPHA, LATENCIES, Cell, Comparison
from ragbench.intervals import Interval
from ragbench.pairs import Pair


def sentences(comparison: Comparison) -> list[str]:
    """One line per cell that differs; one per load about those that do not, and about what was not compared."""
    return [line for pair in _pairs(comparison) for line in _of_pair(comparison, pair)]


def _pairs(comparison: Comparison) -> list[Pair]:
    return list({id(cell.pair): cell.pair for cell in comparison.cells}.values())


def _of_pair(comparison: Comparison, pair: Pair) -> Iterator[str]:
    cells = [cell for cell in comparison.cells if cell.pair is pair]
    where = f"{pair.level.label}, {pair.arrival}"
    for cell in cells:
        if comparison.is_shown(cell):
            yield sentence(cell, comparison.interval(cell))
    open_cells = [(cell, comparison.interval(cell)) for cell in cells if not comparison.is_shown(cell)]
    told = [f"{cell.short} {span(found)}" for cell, found in open_cells if found is not None]
    if told:
        yield f"no difference shown between {pair.b} and {pair.a} {where}: {', '.join(told)}"
    absent = {cell.why_not: [other.short for other in cells if other.why_not == cell.why_not] for cell in cells}
    for why_not, names in absent.items():
        if why_not:
            yield f"not compared {where}: {', '.join(names)} ({why_not})"
    if pair.remark:
        yield f"not valid {where}: {pair.remark}"


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
    return f"{pair.b} {verb} {pair.a} {pair.level.label} by {by} ({cell.short}, {pair.arrival})"


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
    methods = {cell.difference.method for cell in compared if cell.difference}
    if any(method.startswith("within") for method in methods):
        lines.append(
            "Fewer than 3 common seeds: the intervals come from blocks of requests within the runs and speak of these "
            "runs only, not of what other starts of the servers would show."
        )
    if methods & {"seeds", "within the runs"}:
        lines.append("Unpaired where the two sides did not get the same schedule: other arrivals, or a closed loop.")
    fewest = min((len(cell.pair.runs) for cell in compared), default=0)
    if 3 <= fewest < 5:
        lines.append(f"With {fewest} seeds only large differences can be shown; 5 seeds show much smaller ones.")
    sources = {run.source for cell in comparison.cells for runs in cell.pair.runs for run in runs}
    if sources - {"measured"}:
        lines.append(f"Sources: {' and '.join(sorted(sources))}.")
    return lines
