"""`ragbench calibrate --arrivals`: every arrival process and every known-bad one, put to the four checks."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import typer

from ragbench.calibration.arrival_checks import CHECKS, DURATION_S, KNOWN_BAD, LAWS, RATE_RPS, Check, check
from ragbench.cli.common import say, terminal
from ragbench.files.csv_table import write_table
from ragbench.files.unwritten import naming
from ragbench.results.records import write_atomic
from ragbench.study.arrivals import ARRIVALS, Span, Times, parse_arrival, poisson
from ragbench.terminal import Status, Table, Text, right, styled

_SPAN = Span(duration_s=DURATION_S)
_RISK = 0.01  # that any of a table of good arrivals is rejected by bad luck
Draw = Callable[[float], Times]


@dataclass(frozen=True, slots=True)
class Line:
    """One process and what the checks found at each seed: (seeds, checks)."""

    name: str
    is_control: bool
    found: Sequence[Sequence[Check]]

    def passed(self, least_p: float) -> list[int]:
        """How many seeds pass each check."""
        return [sum(checks[i].passed(least_p) for checks in self.found) for i in range(len(CHECKS))]

    def worst(self, i: int) -> str:
        """The smallest p of a check, or the largest deviation where nothing is random."""
        p = [checks[i].p for checks in self.found]
        known = [value for value in p if value is not None]
        if known:
            return f"p {min(known):.1g}"
        return f"off {max(checks[i].deviation or 0.0 for checks in self.found):.1g}"

    def stands(self, least_p: float) -> bool:
        """A shipped process passes every check at every seed; a control fails one at least at every seed."""
        whole = [all(found.passed(least_p) for found in checks) for checks in self.found]
        return not any(whole) if self.is_control else all(whole)


def calibrate(out: Path, *, seeds: int) -> None:
    """Put every arrival process, and three known-bad ones as controls, to the four checks; exit 1 where one is wrong.

    Each is drawn `seeds` times. The table goes to arrivals.csv in `out`.
    """
    with tempfile.TemporaryDirectory() as scratch:
        total = len(ARRIVALS) + len(KNOWN_BAD)
        drawn = _lines(seeds, Path(scratch))
        lines = list(Status("drawing", total=total).over(drawn))
    least_p = _RISK / (total * len(CHECKS) * seeds)
    write_atomic(out / "arrivals.csv", _csv(lines, least_p))
    terminal.print(_table(lines, seeds, least_p))
    terminal.print(f"table: {out / 'arrivals.csv'}", soft_wrap=True)
    wrong = [line.name for line in lines if not line.stands(least_p)]
    if wrong:
        say(f"not as they should be: {', '.join(wrong)}")
        raise typer.Exit(1)


def _lines(seeds: int, scratch: Path) -> Iterator[Line]:
    for name in ARRIVALS:
        yield Line(name, False, [check(_shipped(name, seed, scratch), LAWS[name]()) for seed in range(seeds)])
    law = LAWS["poisson"]()
    for name in KNOWN_BAD:
        yield Line(name, True, [check(_control(name, seed), law) for seed in range(seeds)])


def _shipped(name: str, seed: int, scratch: Path) -> Draw:
    """The process with its defaults; a trace is written first, ten times as fast as it will be replayed."""
    spec = name
    if name == "trace":
        spec = f"trace:path={_written(scratch / f'{seed}.csv', seed)}"
    return lambda rate: parse_arrival(spec).draw(rate, _SPAN, np.random.default_rng([seed, round(rate)]))


def _written(path: Path, seed: int) -> Path:
    n = round(RATE_RPS * DURATION_S)
    times = poisson(10 * RATE_RPS, Span(requests=n + 1000), np.random.default_rng(seed))
    with naming(path):
        path.write_text("\n".join(["offset_s", *(f"{time:.9f}" for time in times)]) + "\n", encoding="utf-8")
    return path


def _control(name: str, seed: int) -> Draw:
    return lambda rate: KNOWN_BAD[name](rate, _SPAN, np.random.default_rng([seed, round(rate)]))


def _table(lines: Sequence[Line], seeds: int, least_p: float) -> Table:
    table = Table(
        "arrival",
        *right(*CHECKS),
        "verdict",
        title=f"arrivals: of {seeds} seeds, how many pass, and the worst of them",
        caption=f"A check fails at p <= {least_p:.1g}: among all here, a good arrival is rejected by bad luck once in "
        f"{1 / _RISK:.0f} tables. Even spacing is exact: its checks are deviations, in units of what is allowed.",
    )
    for line in lines:
        cells = [f"{n}/{seeds}  {line.worst(i)}" for i, n in enumerate(line.passed(least_p))]
        table.add_row(line.name, *cells, _verdict(line, least_p), end_section=line.name == list(ARRIVALS)[-1])
    return table


def _verdict(line: Line, least_p: float) -> Text:
    """In a word, what the checks make of it, and whether that is as it should be."""
    if line.is_control:
        return styled("rejected", "green") if line.stands(least_p) else styled("NOT REJECTED", "red")
    return styled("as named", "green") if line.stands(least_p) else styled("NOT AS NAMED", "red")


def _csv(lines: Sequence[Line], least_p: float) -> str:
    rows = (
        (line.name, line.is_control, seed, found.name, *map(_number, (found.p, found.deviation)), found.passed(least_p))
        for line in lines
        for seed, checks in enumerate(line.found)
        for found in checks
    )
    return write_table(("arrival", "is_control", "seed", "check", "p", "deviation", "passed"), rows)


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.6g}"
