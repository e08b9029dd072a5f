"""A comparison in words: which server is faster, by how much, where, and how far to trust it. Computes nothing."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence

from ragbench.compare.cells import Cell, Comparison
from ragbench.compare.differences import ALPHA, Difference
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


def sentence(cell: Cell, found: Interval) -> str:
    """A shown difference: `batched is faster than baseline at 12/s by 18-31% (p95, poisson)`."""
    more, less = ("is slower", "is faster") if cell.metric in LATENCIES else ("answers more", "answers less")
    low, high = sorted((abs(found.low), abs(found.high)))
    pair = cell.pair
    where = f"{cell.short}, {pair.arrival}" + (f"; {pair.overloaded}" if pair.overloaded else "")
    verb = more if found.low > 0 else less
    return f"{pair.b} {verb} than {pair.a} {pair.level.label} by {number(low)}-{number(high)}% ({where})"


def span(found: Interval) -> str:
    """An interval with signs: `-4 to +7%`."""
    return f"{signed(found.low)} to {signed(found.high)}%"


def signed(value: float) -> str:
    """+7, -0.4."""
    return ("-" if value < 0 else "+") + number(abs(value))


def number(value: float) -> str:
    """Two digits: 31, 4.2, 0.35; large ones whole."""
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def footnotes(comparison: Comparison) -> Iterator[str]:
    """What the intervals are, what they are not, and which points they are of."""
    found = [cell.difference for cell in comparison.compared if cell.difference]
    if found:
        yield (
            f"Percent of the first side. All {len(found)} intervals hold at once with {100 * (1 - ALPHA):g}% "
            f"confidence ({100 * (1 - ALPHA / len(found)):.5g}% each)."
        )
    if not all(difference.shows_starts for difference in found):
        yield (
            "Fewer than 3 common seeds: the intervals come from blocks of requests within the runs and speak of these "
            "runs only, not of what other starts of the servers would show."
        )
    if over_seeds := [difference for difference in found if difference.shows_starts]:
        yield _of_seeds(over_seeds)
    if not all(difference.is_paired for difference in found):
        yield "Unpaired where the two sides did not get the same schedule: other arrivals, or a closed loop."
    runs = [run for pair in comparison.pairs for both in pair.runs for run in both]
    if counted := Counter(run.status for run in runs if run.status in LEFT_OUT):
        reasons = ", ".join(f"{n} {status}" for status, n in counted.items())
        yield f"{counted.total()} of {len(runs)} points left out, with the other side of their seed: {reasons}."
    if any(pair.overloaded for pair in comparison.pairs):
        yield (
            "Of two overloaded points the throughput is compared, as the most that each server answers; of a valid and "
            "an overloaded one, nothing."
        )
    sources = sorted({run.source for run in runs})
    if sources != ["measured"]:
        yield f"Sources: {' and '.join(sources)}."


def _of_seeds(found: Sequence[Difference]) -> str:
    """How far the intervals speak of other starts of the servers."""
    widest = max(math.hypot(1, difference.starts_error / difference.error) for difference in found if difference.error)
    spread = (
        f"they differ up to {number(widest)} times as much as that, and the intervals are wider for it."
        if widest > 1.05
        else "they differ by no more than that."
    )
    return (
        f"Seeds are pooled; errors come from blocks of requests within the runs. Over the seeds, each another start, "
        f"{spread} What differs from start to start by less than the runs can tell is not in the intervals of "
        f"{min(difference.seeds for difference in found)} seeds."
    )
