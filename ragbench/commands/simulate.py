"""`ragbench simulate`: a measured study again in virtual time, or a what-if fitted to it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from ragbench.commands.common import FolderArgument, results_folder, terminal
from ragbench.commands.status_line import StatusLine
from ragbench.config import StudyError
from ragbench.paths import StudyPaths
from ragbench.records import copy_text, read_manifests, write_atomic
from ragbench.simulator.agreement import Agreement, agreement_csv, told
from ragbench.simulator.alone import read_batches
from ragbench.simulator.replay import Fitted, choose, fits, replay
from ragbench.simulator.scenario import Scenario, read_scenario, tell
from ragbench.simulator.scenario_file import summary_of, write
from ragbench.simulator.service_times import Batch, FitError
from ragbench.terminal import Table


def simulate(
    folder: FolderArgument,
    scenario: Annotated[
        Path | None, typer.Option(help="A what-if, as in studies/whatif/thousand.toml, instead of FOLDER's own points.")
    ] = None,
    times: Annotated[
        Path | None,
        typer.Option(help="Service times of the pipeline alone, from `python -m servers.limit --out`, not FOLDER's."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where to write; FOLDER-simulated unless given.")] = None,
) -> None:
    """Run the designs in virtual time, with service times fitted to FOLDER, and say how far that is from it."""
    paths = results_folder(folder)
    target = StudyPaths(out or folder.with_name(f"{folder.resolve().name}-simulated"))
    if any(manifest["summary"].get("source") != "simulated" for manifest in read_manifests(target.root)):
        raise StudyError([f"--out: {target.root} holds what was measured; name another folder"])
    try:
        batches = read_batches(times) if times is not None else []
        if scenario is None:
            _replay(paths, target, batches)
        else:
            _what_if(paths, target.root / scenario.stem, read_scenario(scenario), batches)
    except FitError as error:
        raise StudyError([str(error)]) from error


def _replay(paths: StudyPaths, target: StudyPaths, batches: Sequence[Batch]) -> None:
    with StatusLine("simulating") as line:
        agreements, fitted = replay(
            paths, target, on_point=lambda name: line.show(f"simulating {name}"), batches=batches
        )
    if paths.study_toml.is_file():
        copy_text(paths.study_toml, target.study_toml)
    write_atomic(target.root / "agreement.csv", agreement_csv(agreements))
    terminal.print(_fits_table(fitted))
    terminal.print(_agreement_table(agreements))
    terminal.print(told(agreements), soft_wrap=True)
    terminal.print(f"table:   {target.root / 'agreement.csv'}\nsummary: {target.summary}", soft_wrap=True)


def _what_if(paths: StudyPaths, folder: Path, scenario: Scenario, batches: Sequence[Batch]) -> None:
    fitted = choose(fits(paths, batches=batches), scenario.design)
    with StatusLine(f"simulating: {scenario.title}"):
        what = tell(scenario, design=fitted.info["design"], settings=fitted.info["settings"], times=fitted.times)
    written = write(what, scenario, folder)
    summary = summary_of(what, scenario)
    table = Table(title=scenario.title, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name, value in summary.items():
        table.add_row(name, f"{value:.4g}" if isinstance(value, float) and abs(value) < 1000 else f"{value:,.0f}")
    terminal.print(table)
    for path in written:
        terminal.print(f"written: {path}", soft_wrap=True)


def _fits_table(fitted: list[Fitted]) -> Table:
    table = Table(title="service times fitted: T(n) = a + b n for a batch of n, other replicas at rest; ms")
    for name in ("design", "a", "b", "T(1)", "T(8)", "T(32)", "batches"):
        table.add_column(name, justify="left" if name == "design" else "right")
    for one in fitted:
        times = one.times
        line = [times.a_s, times.b_s, *(times.mean_s(size) for size in (1, 8, 32))]
        table.add_row(one.name, *(f"{value * 1e3:.2f}" for value in line), str(times.batches))
    return table


def _agreement_table(agreements: list[Agreement]) -> Table:
    table = Table(title="measured and simulated; ms. speed: the load's batches over the fit's")
    left = ("design", "arrival", "verdict")
    for name in (
        *left[:2],
        "rate",
        "load",
        "verdict",
        "speed",
        *("p50", "simulated", "off", "p95", "simulated", "off"),
    ):
        table.add_column(name, justify="left" if name in left else "right")
    for one in agreements:
        table.add_row(
            *(one.design, one.arrival, f"{one.offered_rps:g}/s", f"{one.load:.0%}", one.verdict, f"{one.speed:.2f}"),
            *(f"{one.latency_p50_s * 1e3:.1f}", f"{one.simulated_p50_s * 1e3:.1f}", f"{one.p50_off:+.0%}"),
            *(f"{one.latency_p95_s * 1e3:.1f}", f"{one.simulated_p95_s * 1e3:.1f}", f"{one.p95_off:+.0%}"),
            style=None if not one.is_judged else "green" if one.agrees else "yellow",
        )
    return table
