"""`ragbench simulate`: a measured study again in virtual time, or a what-if fitted to it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from ragbench.cli.common import FolderArgument, results_folder, terminal
from ragbench.files.toml_tables import StudyError
from ragbench.files.whole_file import refuse_links
from ragbench.results.paths import StudyPaths
from ragbench.results.records import copy_text, read_manifests, write_atomic
from ragbench.simulator.agreement import AGREEMENT, Agreement, summary_line
from ragbench.simulator.batches import read_batches
from ragbench.simulator.fitting import Fitted, choose, fits
from ragbench.simulator.replay import replay
from ragbench.simulator.scenario import Scenario, read_scenario, summary_of, write
from ragbench.simulator.scenario import simulate as simulated
from ragbench.simulator.service_times import FitError
from ragbench.terminal import Status, Table, right


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
    refuse_links(target.root)
    if any(manifest["summary"].get("source") != "simulated" for manifest in read_manifests(target.root)):
        raise StudyError([f"--out: {target.root} holds what was measured; name another folder"])
    try:
        batches = read_batches(times) if times is not None else None
        if scenario is None:
            _replay(paths, target, batches)
        else:
            _what_if(paths, target.root / scenario.stem, read_scenario(scenario), batches)
    except FitError as error:
        raise StudyError([str(error)]) from error


def _replay(paths: StudyPaths, target: StudyPaths, batches: pd.DataFrame | None) -> None:
    with Status("fitting service times") as status:
        replayed = replay(paths, target, on_point=status.begin, batches=batches)
    if paths.study_toml.is_file():
        copy_text(paths.study_toml, target.study_toml)
    write_atomic(target.root / "agreement.csv", AGREEMENT.text(replayed.agreements))
    terminal.print(_fits_table(replayed.fitted))
    terminal.print(_agreement_table(replayed.agreements))
    for left_out in replayed.left_out:
        terminal.print_line(left_out)
    terminal.print_line(summary_line(replayed.agreements))
    terminal.print_line(f"table:   {target.root / 'agreement.csv'}\nsummary: {target.summary}")


def _what_if(paths: StudyPaths, folder: Path, scenario: Scenario, batches: pd.DataFrame | None) -> None:
    found = fits(paths, batches=batches)
    fitted = choose(found, scenario.design)
    with Status(f"simulating: {scenario.title}"):
        what = simulated(scenario, design=fitted.info["design"], settings=fitted.info["settings"], times=fitted.times)
    written = write(what, scenario, folder)
    summary = summary_of(what, scenario)
    table = Table("", *right(""), title=scenario.title, show_header=False)
    for name, value in summary.items():
        table.add_row(name, f"{value:.4g}" if isinstance(value, float) and abs(value) < 1000 else f"{value:,.0f}")
    terminal.print(table)
    for left_out in found.left_out:
        terminal.print_line(left_out)
    for path in written:
        terminal.print_line(f"written: {path}")


def _fits_table(fitted: Sequence[Fitted]) -> Table:
    title = "service times fitted: T(n) = a + b n for a batch of n, other replicas at rest; ms"
    table = Table("design", *right("a", "b", "T(1)", "T(8)", "T(32)", "batches"), title=title)
    for fit in fitted:
        times = fit.times
        line = [times.a_s, times.b_s, *(times.mean_s(size) for size in (1, 8, 32))]
        table.add_row(fit.name, *(f"{value * 1e3:.2f}" for value in line), str(times.batches))
    return table


def _agreement_table(agreements: Sequence[Agreement]) -> Table:
    figures = [name for percentile in ("p50", "p95") for name in (percentile, "simulated", "off")]
    table = Table(
        "design",
        "arrival",
        *right("rate", "load"),
        "verdict",
        *right("speed", *figures),
        title="measured, and simulated with the load's rate left out of the fit; ms. "
        "speed: the load's batches over the fit's",
    )
    for cell in agreements:
        table.add_row(
            *(cell.design, cell.arrival, f"{cell.offered_rps:g}/s", f"{cell.load:.0%}", cell.verdict),
            f"{cell.speed:.2f}",
            *(_ms(cell.latency_p50_s), _ms(cell.simulated_p50_s), _share(cell.p50_off)),
            *(_ms(cell.latency_p95_s), _ms(cell.simulated_p95_s), _share(cell.p95_off)),
            style=None if not cell.is_judged else "green" if cell.agrees else "yellow",
        )
    return table


def _ms(value_s: float | None) -> str:
    return "" if value_s is None else f"{value_s * 1e3:.1f}"


def _share(off: float | None) -> str:
    return "" if off is None else f"{off:+.0%}"
