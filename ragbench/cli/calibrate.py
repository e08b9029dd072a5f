"""`ragbench calibrate`: the harness measured against servers whose answers are known."""

from dataclasses import fields
from pathlib import Path
from typing import Annotated

import typer

from ragbench.calibration import figures, queues, run, stall
from ragbench.calibration.run import Calibration
from ragbench.cli import arrivals
from ragbench.cli.common import say, surroundings, terminal
from ragbench.cli.console import Columns, table_of
from ragbench.measure.point import now_utc
from ragbench.processes.interrupts import run_until_done
from ragbench.terminal import Status, Table, styled

_LAGS = ("send_lag_p50_s", "send_lag_p95_s", "send_lag_p99_s", "send_lag_max_s")
_SENT: Columns = [
    *("processes", "asked_rps", "sent_rps", "gap_cv", *_LAGS, "latency_p50_s", "latency_p99_s"),
    ("verdict", lambda sent: sent.verdict if sent.is_clean else f"{sent.verdict}: {sent.verdict_reason}"),
]
_QUEUES: Columns = [
    *("queue", "utilisation", "requests"),
    *("mean_theory_s", "mean_exact_s", "mean_s", "mean_low_s", "mean_high_s", "mean_off"),
    *("p95_theory_s", "p95_exact_s", "p95_s", "p95_low_s", "p95_high_s"),
    ("theory inside", lambda cell: cell.is_inside if cell.has_interval else "no interval"),
]
_STALL = [field.name for field in fields(stall.Seen)]


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
    for table in _tables(found):
        terminal.print(table)
    for claim in found.claims:
        mark = styled("holds", "green") if claim.holds else styled("FAILS", "red")
        terminal.print(mark, f" {claim.text}", soft_wrap=True)
    terminal.print_line(f"figures: {out}")
    if not all(claim.holds for claim in found.claims):
        say(f"not all holds on this machine as it is now ({around.hardware}): is something else running?")
        raise typer.Exit(1)


def _tables(found: Calibration) -> list[Table]:
    """Of each part of a calibration."""
    return [
        table_of(
            _SENT,
            [sent for rising in found.sent.values() for sent in rising],
            title="(1) asked against sent, even spacing, a server that answers at once",
        ),
        table_of(
            _QUEUES,
            found.cells,
            title=f"(2) queues of known mean and 95th percentile, service {queues.MEAN_S * 1e3:g} ms",
            caption="low, high: the 95% interval of what was measured. exact: the same arrivals and service times "
            "solved without a network (Lindley). Of 400 seeds each queue has the one whose exact solution is nearest "
            "to theory: so the luck of a draw is not taken for an error.",
        ),
        table_of(_STALL, found.seen, title=f"(3) a server that stalls for {stall.STALL_S:g} s"),
    ]
