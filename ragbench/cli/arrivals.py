"""`ragbench calibrate --arrivals`: the four checks on every arrival process and on every known-bad one."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import typer

from ragbench.calibration.arrival_checks import CHECKS, DURATION_S, KNOWN_BAD, LAWS, RATE_RPS, Check, check
from ragbench.cli.common import say, terminal
from ragbench.cli.console import table_of
from ragbench.files.csv_table import write_table
from ragbench.results.records import write_atomic
from ragbench.study.arrivals import ARRIVALS, Span, Times, parse_arrival, poisson
from ragbench.terminal import Status, Table

_SPAN = Span(duration_s=DURATION_S)
_RISK = 0.01  # that any of a table of good arrivals is rejected by bad luck


@dataclass(frozen=True, slots=True)
class Line:
    """One process and its checks at each seed: (seeds, checks)."""

    name: str
    is_control: bool
    seeds: Sequence[Sequence[Check]]

    def summary(self, i: int, least_p: float) -> str:
        """How many seeds pass check `i`, and its smallest p, or its largest deviation where nothing is random."""
        checks = [seed[i] for seed in self.seeds]
        p = [check.p for check in checks if check.p is not None]
        worst = f"p {min(p):.1g}" if p else f"off {max(check.deviation or 0.0 for check in checks):.1g}"
        return f"{sum(check.passed(least_p) for check in checks)}/{len(checks)}  {worst}"

    def is_right(self, least_p: float) -> bool:
        """A shipped process passes every check at every seed; a control fails at least one at every seed."""
        passed = [all(check.passed(least_p) for check in seed) for seed in self.seeds]
        return not any(passed) if self.is_control else all(passed)


def calibrate(out: Path, *, seeds: int) -> None:
    """Check every arrival process, and three known-bad ones as controls; exit 1 where one is wrong.

    Each is drawn `seeds` times. The table goes to arrivals.csv in `out`.
    """
    total = len(ARRIVALS) + len(KNOWN_BAD)
    with tempfile.TemporaryDirectory() as scratch:
        lines = list(Status("drawing", total=total).over(_lines(seeds, Path(scratch))))
    least_p = _RISK / (total * len(CHECKS) * seeds)
    write_atomic(out / "arrivals.csv", _csv(lines, least_p))
    terminal.print(_table(lines, seeds, least_p))
    terminal.print_line(f"table: {out / 'arrivals.csv'}")
    if wrong := [line.name for line in lines if not line.is_right(least_p)]:
        say(f"not as they should be: {', '.join(wrong)}")
        raise typer.Exit(1)


def _lines(seeds: int, scratch: Path) -> Iterator[Line]:
    def draw(process: Callable[..., Times], seed: int) -> Callable[[float], Times]:
        return lambda rate: process(rate, _SPAN, np.random.default_rng([seed, round(rate)]))

    for name in ARRIVALS:
        specs = [_with_trace(name, scratch / f"{seed}.csv", seed) for seed in range(seeds)]
        draws = [draw(parse_arrival(spec).draw, seed) for seed, spec in enumerate(specs)]
        yield Line(name, False, [check(times, LAWS[name]()) for times in draws])
    for name, process in KNOWN_BAD.items():
        yield Line(name, True, [check(draw(process, seed), LAWS["poisson"]()) for seed in range(seeds)])


def _with_trace(name: str, path: Path, seed: int) -> str:
    """The process with its defaults; a trace is written first, ten times as fast as it will be replayed."""
    if name != "trace":
        return name
    times = poisson(10 * RATE_RPS, Span(requests=round(RATE_RPS * DURATION_S) + 1000), np.random.default_rng(seed))
    write_atomic(path, write_table(["offset_s"], ([f"{time:.9f}"] for time in times)))
    return f"trace:path={path}"


def _table(lines: Sequence[Line], seeds: int, least_p: float) -> Table:
    def verdict(line: Line) -> str:
        word = "rejected" if line.is_control else "as named"
        return word if line.is_right(least_p) else f"NOT {word.upper()}"

    checks = [(name, partial(Line.summary, i=i, least_p=least_p)) for i, name in enumerate(CHECKS)]
    return table_of(
        ["name", *checks, ("verdict", verdict)],
        lines,
        title=f"arrivals: of {seeds} seeds, how many pass, and the worst of them",
        caption=f"A check fails at p <= {least_p:.1g}: among all here, a good arrival is rejected by bad luck once in "
        f"{1 / _RISK:.0f} tables. Even spacing is exact: its checks are deviations, in units of what is allowed.",
    )


def _csv(lines: Sequence[Line], least_p: float) -> str:
    def number(value: float | None) -> str | None:
        return None if value is None else f"{value:.6g}"

    rows = (
        (line.name, line.is_control, seed, check.name, number(check.p), number(check.deviation), check.passed(least_p))
        for line in lines
        for seed, checks in enumerate(line.seeds)
        for check in checks
    )
    return write_table(("arrival", "is_control", "seed", "check", "p", "deviation", "passed"), rows)
