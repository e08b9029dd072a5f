"""`ragbench calibrate`: the harness measured against servers whose answers are known."""

import itertools
from pathlib import Path
from typing import Annotated

import typer

from ragbench.calibration import figures, queues, run, stall
from ragbench.calibration.run import Calibration
from ragbench.cli import arrivals
from ragbench.cli.common import say, surroundings, terminal
from ragbench.measure.point import now_utc
from ragbench.processes.interrupts import run_until_done
from ragbench.terminal import Status, Table, right, styled

_IN_MS = ("send_lag_p50_s", "send_lag_p95_s", "send_lag_p99_s", "send_lag_max_s", "latency_p50_s", "latency_p99_s")


def calibrate(
    out: Annotated[Path, typer.Option(help="The folder to write to.")] = Path("results/calibration"),
    quick: Annotated[bool, typer.Option("--quick", help="Shorter loads: a minute instead of four.")] = False,
    is_of_arrivals: Annotated[
        bool,
        typer.Option("--arrivals", help="Check the arrival processes alone, with three known-bad ones as controls."),
    ] = False,
    seeds: Annotated[int, typer.Option(help="With --arrivals, how often each is drawn.", min=1)] = 20,
) -> None:
    """Prove on this machine that the load named is the load sent, and that known queues are measured as they are."""
    out.mkdir(parents=True, exist_ok=True)  # before minutes are spent
    if is_of_arrivals:
        arrivals.calibrate(out, seeds=seeds)
        return
    around = surroundings()
    with Status() as status:
        lengths = run.QUICK if quick else run.WHOLE
        found = run_until_done(run.calibrated(lengths, report=status.begin))
    run.write(found, out, about={"quick": quick, "measured_at": now_utc(), **around.as_dict()})
    figures.save(found, out)
    for table in (_rates_table, _queues_table, _stall_table):
        terminal.print(table(found))
    for claim in found.claims:
        mark = styled("holds", "green") if claim.holds else styled("FAILS", "red")
        terminal.print(mark, f" {claim.text}", soft_wrap=True)
    terminal.print_line(f"figures: {out}")
    if not all(claim.holds for claim in found.claims):
        say(f"not all holds on this machine as it is now ({around.hardware}): is something else running?")
        raise typer.Exit(1)


def _rates_table(found: Calibration) -> Table:
    table = Table(
        *right("processes", "asked/s", "sent/s", "gap CV", "lag p50", "p95", "p99", "max", "latency p50", "p99"),
        "verdict",
        title="(1) asked against sent, even spacing, a server that answers at once; times in ms",
    )
    for sent in itertools.chain.from_iterable(found.sent.values()):
        times = [f"{getattr(sent, name) * 1e3:.2f}" for name in _IN_MS]
        sends = [f"{sent.asked_rps:g}", f"{sent.sent_rps:.2f}", f"{sent.gap_cv:.3f}"]
        verdict = sent.verdict if sent.is_clean else f"{sent.verdict}: {sent.verdict_reason}"
        table.add_row(str(sent.processes), *sends, *times, verdict)
    return table


def _queues_table(found: Calibration) -> Table:
    table = Table(
        *right("queue", "load", "n", "mean theory", "exact", "measured", "off", "p95 theory", "exact", "measured"),
        "theory inside",
        title=f"(2) queues of known mean and 95th percentile, service {queues.MEAN_S * 1e3:g} ms; ms, [95% interval]",
        caption="exact: the same arrivals and service times solved without a network (Lindley). Of 400 seeds each "
        "queue has the one whose exact solution is nearest to theory: so the luck of a draw is not taken for an error.",
    )
    for cell in found.cells:
        means = [f"{cell.mean_theory_s * 1e3:.1f}", f"{cell.mean_exact_s * 1e3:.1f}"]
        tails = [f"{cell.p95_theory_s * 1e3:.1f}", f"{cell.p95_exact_s * 1e3:.1f}"]
        table.add_row(
            *(cell.queue, f"{cell.utilisation:g}", str(cell.requests), *means),
            _with_interval(cell.mean_s, cell.mean_low_s, cell.mean_high_s),
            f"{cell.mean_off:+.1%}",
            *tails,
            _with_interval(cell.p95_s, cell.p95_low_s, cell.p95_high_s),
            "no interval" if not cell.has_interval else "yes" if cell.is_inside else styled("no", "red"),
        )
    return table


def _stall_table(found: Calibration) -> Table:
    columns = right("loop", "requests", "p50", "p95", "p99", "max", "p99 by arithmetic")
    table = Table(*columns, title=f"(3) a server that stalls for {stall.STALL_S:g} s; times in s")
    for seen in found.seen:
        times = (seen.latency_p50_s, seen.latency_p95_s, seen.latency_p99_s, seen.latency_max_s)
        expected = "" if seen.expected_p99_s is None else f"{seen.expected_p99_s:.3f}"
        table.add_row(seen.loop, str(seen.requests), *(f"{value:.3f}" for value in times), expected)
    return table


def _with_interval(value_s: float, low_s: float | None, high_s: float | None) -> str:
    interval = "" if low_s is None or high_s is None else f" [{low_s * 1e3:.1f}, {high_s * 1e3:.1f}]"
    return f"{value_s * 1e3:.1f}{interval}"
