"""A gate for CI: `latency_p95_s > +5%` fails where the whole interval of a difference is beyond it. Pure.

A load at which the first side kept up and the second no longer does has no latency to compare; a gate on latency fails
there too, since a growing queue is slower than any percentage.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ragbench.compare import LATENCIES, Cell, Comparison
from ragbench.config import StudyError
from ragbench.sides import METRICS
from ragbench.wording import signed, span

Outcome = Literal["fails", "holds", "not shown", "not compared"]
_GRAMMAR = re.compile(r"\s*(\w+)\s*([<>])\s*([+-]?\d+(?:\.\d+)?)\s*%\s*")


@dataclass(frozen=True, slots=True)
class Gate:
    """What must not be shown: `metric` of b above (or below) that of a by `percent`."""

    metric: str
    is_above: bool
    percent: float

    def __str__(self) -> str:
        return f"{self.metric} {'>' if self.is_above else '<'} {signed(self.percent)}%"


@dataclass(frozen=True, slots=True)
class Judged:
    """One cell against one gate, with the figures."""

    gate: Gate
    cell: Cell
    outcome: Outcome
    reason: str


def parse_gates(options: Sequence[str]) -> list[Gate]:
    """From options such as `latency_p95_s > +5%`. Raises StudyError with the grammar and the known names."""
    gates, mistakes = [], []
    for option in options:
        parts = _GRAMMAR.fullmatch(option)
        if parts is None:
            mistakes.append(f"--fail-if looks like 'latency_p95_s > +5%' or 'throughput_rps < -3%', got {option!r}")
        elif parts[1] not in METRICS:
            mistakes.append(f"--fail-if: unknown figure {parts[1]!r}; known: {', '.join(METRICS)}")
        else:
            gates.append(Gate(parts[1], parts[2] == ">", float(parts[3])))
    if mistakes:
        raise StudyError(mistakes)
    return gates


def judge(comparison: Comparison, gates: Sequence[Gate]) -> list[Judged]:
    """Every cell of each gate's figure. Raises StudyError where a gate has nothing at all to judge."""
    judged = [
        _judged(comparison, gate, cell) for gate in gates for cell in comparison.cells if cell.metric == gate.metric
    ]
    mistakes = []
    for gate in gates:
        if all(each.outcome == "not compared" for each in judged if each.gate == gate):
            reasons = sorted({each.reason for each in judged if each.gate == gate})
            mistakes.append(f"--fail-if '{gate}' has nothing to judge: {'; '.join(reasons)}")
    if mistakes:
        raise StudyError(mistakes)
    return judged


def _judged(comparison: Comparison, gate: Gate, cell: Cell) -> Judged:
    found = comparison.interval(cell)
    if found is None:
        died = cell.pair.is_failed(1) and not cell.pair.is_failed(0)
        fell = gate.metric in LATENCIES and gate.is_above and cell.pair.is_growing(1) and not cell.pair.is_growing(0)
        return Judged(gate, cell, "fails" if fell or died else "not compared", cell.why_not)
    if gate.is_above:
        is_beyond, is_within = found.low > gate.percent, found.high <= gate.percent
    else:
        is_beyond, is_within = found.high < gate.percent, found.low >= gate.percent
    return Judged(gate, cell, "fails" if is_beyond else "holds" if is_within else "not shown", span(found))
