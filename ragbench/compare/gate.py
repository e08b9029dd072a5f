"""A gate for CI: `latency_p95_s > +5%` fails where the whole interval of a difference is beyond it. Pure.

It also fails by verdicts alone: the first side carries a load, and the second fails or falls behind.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ragbench.compare.cells import Cell, Comparison
from ragbench.compare.sides import BROKEN, COMPARED, LATENCIES, LEFT_OUT, OVERLOADED
from ragbench.compare.wording import signed, span
from ragbench.files.toml_tables import StudyError

Outcome = Literal["fails", "holds", "not shown", "not compared"]
_GRAMMAR = re.compile(r"\s*(\w+)\s*([<>])\s*([+-]?\d+(?:\.\d+)?)\s*%\s*")


@dataclass(frozen=True, slots=True)
class Gate:
    """The difference to fail at: `metric` of b above (or below) that of a by `percent`."""

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
        elif parts[1] not in COMPARED:
            mistakes.append(f"--fail-if: unknown figure {parts[1]!r}; known: {', '.join(COMPARED)}")
        else:
            gates.append(Gate(parts[1], parts[2] == ">", float(parts[3])))
    if mistakes:
        raise StudyError(mistakes)
    return gates


def judge(comparison: Comparison, gates: Sequence[Gate]) -> list[Judged]:
    """Every cell of each gate's figure. Raises StudyError where a gate has no pair that can be judged."""
    judged, mistakes = [], []
    for gate in gates:
        outcomes = [_judged(gate, cell) for cell in comparison.cells if cell.metric == gate.metric]
        if all(each.outcome == "not compared" for each in outcomes):
            reasons = sorted({each.reason for each in outcomes})
            mistakes.append(f"--fail-if '{gate}' has nothing to judge: {'; '.join(reasons)}")
        judged += outcomes
    if mistakes:
        raise StudyError(mistakes)
    return judged


def _judged(gate: Gate, cell: Cell) -> Judged:
    interval = cell.interval
    if reason := _worse(gate, cell):
        return Judged(gate, cell, "fails", reason)
    if interval is None:
        return Judged(gate, cell, "not compared", cell.why_not)
    sign = 1 if gate.is_above else -1
    least, most = sorted(sign * (end - gate.percent) for end in (interval.low, interval.high))
    return Judged(gate, cell, "fails" if least > 0 else "holds" if most <= 0 else "not shown", span(interval))


def _worse(gate: Gate, cell: Cell) -> str:
    """Why b is worse by its verdict alone; empty: it is not. The figures of such points are not judged.

    A server that fails where the first does not is worse by any figure. One that saturates where the first is valid has
    an unbounded latency; one that sheds load answers fewer requests, perhaps as fast.
    """
    pair = cell.pair
    broken = pair.counted(BROKEN, sides=[1])
    if broken and not pair.counted(BROKEN, sides=[0]) and any(a.status not in LEFT_OUT for a, _ in pair.runs):
        return f"{broken}, {pair.a} did not"
    is_latency = gate.metric in LATENCIES
    if not pair.used or pair.verdict(0) != "valid" or is_latency != gate.is_above:  # the last: a gate on getting better
        return ""
    fallen = ("saturated",) if is_latency else OVERLOADED
    return f"{pair.counted(fallen, sides=[1])}, {pair.a} valid" if pair.verdict(1) in fallen else ""
