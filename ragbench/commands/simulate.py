"""`ragbench simulate`: a measured study again in virtual time, or a what-if fitted to it."""

import shutil
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from ragbench.commands.common import FolderArgument, results_folder, terminal
from ragbench.config import StudyError
from ragbench.paths import StudyPaths
from ragbench.records import write_atomic
from ragbench.simulator.replay import Agreement, agreement_csv, fits, replay, verdict
from ragbench.simulator.scenario import Scenario, read_scenario, tell
from ragbench.simulator.scenario_file import summary_of, write
from ragbench.simulator.service_times import FitError, ServiceTimes


def simulate(
    folder: FolderArgument,
    scenario: Annotated[
        Path | None, typer.Option(help="A what-if, as in studies/whatif/thousand.toml, instead of FOLDER's own points.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where to write; FOLDER-simulated unless given.")] = None,
) -> None:
    """Run the designs in virtual time, with service times fitted to FOLDER, and say how far that is from it."""
    paths = results_folder(folder)
    target = StudyPaths(out or folder.with_name(f"{folder.resolve().name}-simulated"))
    try:
        if scenario is None:
            _replay(paths, target)
        else:
            _what_if(paths, target.root / scenario.stem, read_scenario(scenario))
    except FitError as error:
        raise StudyError([str(error)]) from error


def _replay(paths: StudyPaths, target: StudyPaths) -> None:
    with Console(stderr=True).status("simulating") as status:
        agreements, times = replay(paths, target, on_point=status.update)
    if paths.study_toml.is_file():
        shutil.copyfile(paths.study_toml, target.study_toml)
    write_atomic(target.root / "agreement.csv", agreement_csv(agreements))
    terminal.print(_fits_table(times))
    terminal.print(_agreement_table(agreements))
    terminal.print(verdict(agreements), soft_wrap=True)
    terminal.print(f"table:   {target.root / 'agreement.csv'}\nsummary: {target.summary}", soft_wrap=True)


def _what_if(paths: StudyPaths, folder: Path, scenario: Scenario) -> None:
    times, manifest = _fitted(paths, scenario.variant)
    info = manifest["server_info"]
    with Console(stderr=True).status(f"simulating: {scenario.title}"):
        told = tell(scenario, design=info["design"], settings=info["settings"], times=times)
    summary = summary_of(told, scenario)
    table = Table(title=scenario.title, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name, value in summary.items():
        table.add_row(name, f"{value:.4g}" if isinstance(value, float) and abs(value) < 1000 else f"{value:,.0f}")
    terminal.print(table)
    for path in write(told, scenario, folder):
        terminal.print(f"written: {path}", soft_wrap=True)


def _fitted(paths: StudyPaths, variant: str) -> tuple[ServiceTimes, dict[str, object]]:
    """The variant's service times; of several choices of settings, those with the largest batches."""
    found = fits(paths)
    choices = [(name, fitted) for name, fitted in found.items() if fitted[1][0]["point"]["variant"] == variant]
    if not choices:
        known = ", ".join(sorted({manifests[0]["point"]["variant"] for _, manifests in found.values()}))
        raise StudyError([f"no variant {variant!r} to fit to in {paths.root}; there: {known}"])
    _, (times, manifests) = max(
        choices, key=lambda choice: choice[1][1][0]["server_info"]["settings"].get("max_batch_size", 1)
    )
    return times, manifests[0]


def _fits_table(times: dict[str, ServiceTimes]) -> Table:
    table = Table(title="service times fitted: T(n) = a + b n for a batch of n, other replicas at rest; ms")
    for name in ("design", "a", "b", "T(1)", "T(8)", "T(32)", "batches"):
        table.add_column(name, justify="left" if name == "design" else "right")
    for name, fitted in times.items():
        line = [fitted.a_s, fitted.b_s, *(fitted.mean_s(size) for size in (1, 8, 32))]
        table.add_row(name, *(f"{value * 1e3:.2f}" for value in line), str(fitted.batches))
    return table


def _agreement_table(agreements: list[Agreement]) -> Table:
    table = Table(title="measured and simulated; ms")
    for name in ("design", "arrival", "rate", "load", "verdict", "p50", "simulated", "off", "p95", "simulated", "off"):
        table.add_column(name, justify="left" if name in ("design", "arrival", "verdict") else "right")
    for one in sorted(agreements, key=lambda one: (one.design, one.arrival, one.offered_rps, one.seed)):
        table.add_row(
            *(one.design, one.arrival, f"{one.offered_rps:g}/s", f"{one.load:.0%}", one.verdict),
            *(f"{one.latency_p50_s * 1e3:.1f}", f"{one.simulated_p50_s * 1e3:.1f}", f"{one.p50_off:+.0%}"),
            *(f"{one.latency_p95_s * 1e3:.1f}", f"{one.simulated_p95_s * 1e3:.1f}", f"{one.p95_off:+.0%}"),
            style=None if not one.is_judged else "green" if one.agrees else "yellow",
        )
    return table
