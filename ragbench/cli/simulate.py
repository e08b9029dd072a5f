"""`ragbench simulate`: a measured study again in virtual time, or a what-if fitted to it."""

from operator import itemgetter
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from ragbench.cli.common import FolderArgument, results_folder, terminal
from ragbench.cli.console import Columns, table_of
from ragbench.files.toml_tables import StudyError
from ragbench.files.whole_file import refuse_links
from ragbench.results.paths import StudyPaths
from ragbench.results.records import copy_text, read_manifests, write_atomic
from ragbench.simulator.agreement import AGREEMENT, Agreement, summary_line
from ragbench.simulator.batches import read_batches
from ragbench.simulator.fitting import choose, fits
from ragbench.simulator.replay import replay
from ragbench.simulator.scenario import Scenario, read_scenario, summary_of, write
from ragbench.simulator.scenario import simulate as simulated
from ragbench.simulator.service_times import FitError
from ragbench.terminal import Status

_FITTED: Columns = [
    *("name", "times.a_s", "times.b_s"),
    *((f"T({size}) s", lambda fit, size=size: fit.times.mean_s(size)) for size in (1, 8, 32)),
    "times.batches",
]
_AGREEMENT = (
    *("design", "arrival", "offered_rps", "load", "verdict", "speed"),
    *("latency_p50_s", "simulated_p50_s", "p50_off"),
    *("latency_p95_s", "simulated_p95_s", "p95_off"),
)


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
    title = "service times fitted: T(n) = a + b n for a batch of n, other replicas at rest"
    terminal.print(table_of(_FITTED, replayed.fitted, title=title))
    title = "measured, and simulated with the load's rate left out of the fit. speed: the load's batches over the fit's"
    terminal.print(table_of(_AGREEMENT, replayed.agreements, title=title, style=_is_good))
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
    terminal.print(
        table_of([("figure", itemgetter(0)), ("value", itemgetter(1))], [*summary.items()], title=scenario.title)
    )
    for left_out in found.left_out:
        terminal.print_line(left_out)
    for path in written:
        terminal.print_line(f"written: {path}")


def _is_good(cell: Agreement) -> str | None:
    return None if not cell.is_judged else "green" if cell.agrees else "yellow"
