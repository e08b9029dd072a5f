"""A comparison in words: which server is faster, by how much, where, and how far to trust it. Computes nothing."""

import math
from collections import Counter
from collections.abc import Iterator

from ragbench.compare.cells import Cell, Comparison
from ragbench.compare.differences import ALPHA
from ragbench.compare.sides import LATENCIES, LEFT_OUT
from ragbench.statistics.intervals import Interval


def sentences(comparison: Comparison) -> Iterator[str]:
    """One line per cell that differs; one per load about those that do not, and about what was not compared."""
    for pair in comparison.pairs:
        cells = [cell for cell in comparison.cells if cell.pair is pair and not cell.is_repeat]
        yield from (sentence(cell, cell.interval) for cell in cells if cell.interval and cell.is_shown)
        hidden = [f"{cell.short} {span(cell.interval)}" for cell in cells if cell.interval and not cell.is_shown]
        if hidden:
            yield f"no difference shown between {pair.b} and {pair.a} {pair.load}: {', '.join(hidden)}"
        for why_not in dict.fromkeys(cell.why_not for cell in cells if cell.why_not and pair.used):
            names = ", ".join(cell.short for cell in cells if cell.why_not == why_not)
            yield f"not compared {pair.load}: {names} ({why_not})"
        if pair.left_out:
            yield f"left out {pair.load}: {pair.left_out}"


def sentence(cell: Cell, interval: Interval) -> str:
    """A shown difference: `batched is faster than baseline at 12/s by 18-31% (p95, poisson)`."""
    pair = cell.pair
    more, less = ("is slower", "is faster") if cell.metric in LATENCIES else ("answers more", "answers less")
    verb = more if interval.low > 0 else less
    low, high = sorted((abs(interval.low), abs(interval.high)))
    context = "; ".join(filter(None, (f"{cell.short}, {pair.arrival}", pair.overloaded)))
    return f"{pair.b} {verb} than {pair.a} {pair.level.label} by {number(low)}-{number(high)}% ({context})"


def span(interval: Interval) -> str:
    """An interval with signs: `-4 to +7%`."""
    return f"{signed(interval.low)} to {signed(interval.high)}%"


def signed(value: float) -> str:
    """+7, -0.4."""
    return ("-" if value < 0 else "+") + number(abs(value))


def number(value: float) -> str:
    """Two digits: 31, 4.2, 0.35; large ones whole."""
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def footnotes(comparison: Comparison) -> Iterator[str]:
    """What the intervals are, what they are not, and which points they are of."""
    differences = [cell.difference for cell in comparison.compared if cell.difference]
    if n := len(differences):
        yield (
            f"Percent of the first side. All {n} intervals hold at once with {100 * (1 - ALPHA):g}% confidence "
            f"({100 * (1 - ALPHA / n):.5g}% each)."
        )
    pooled = [difference for difference in differences if difference.shows_starts]
    if len(pooled) < len(differences):
        yield (
            "Fewer than 3 common seeds: the intervals come from blocks of requests within the runs and speak of these "
            "runs only, not of what other starts of the servers would show."
        )
    if pooled:
        ratios = [difference.starts_error / difference.error for difference in pooled if difference.error]
        widest = math.hypot(1, max(ratios, default=0.0))
        spread = (
            f"they differ up to {number(widest)} times as much as that, and the intervals are wider for it."
            if widest > 1.05
            else "they differ by no more than that."
        )
        yield (
            "Seeds are pooled; errors come from blocks of requests within the runs. Over the seeds, each another "
            f"start, {spread} What differs from start to start by less than the runs can tell is not in the intervals "
            f"of {min(difference.seeds for difference in pooled)} seeds."
        )
    if not all(difference.is_paired for difference in differences):
        yield "Unpaired where the two sides did not get the same schedule: other arrivals, or a closed loop."
    runs = [run for pair in comparison.pairs for both in pair.runs for run in both]
    if excluded := Counter(run.status for run in runs if run.status in LEFT_OUT):
        reasons = ", ".join(f"{count} {status}" for status, count in excluded.items())
        yield f"{excluded.total()} of {len(runs)} points left out, with the other side of their seed: {reasons}."
    if any(pair.overloaded for pair in comparison.pairs):
        yield (
            "Of two overloaded points the throughput is compared, as the most that each server answers; of a valid and "
            "an overloaded one, nothing."
        )
    sources = sorted({run.source for run in runs})
    if sources != ["measured"]:
        yield f"Sources: {' and '.join(sources)}."
