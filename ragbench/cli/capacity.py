"""`ragbench capacity`: the highest rate at which each design of a study keeps its SLO."""

from pathlib import Path
from typing import Annotated

import typer

from ragbench.capacity.run import Plan, Searcher, first_points
from ragbench.capacity.table import FILE
from ragbench.cli.common import (
    ResultsOption,
    SloOption,
    StudyArgument,
    interruptible,
    say,
    slo_of,
    surroundings,
    terminal,
)
from ragbench.cli.console import table_of
from ragbench.files.toml_tables import StudyError
from ragbench.measure.progress import Progress
from ragbench.measure.runner import Runner
from ragbench.measure.sweep import recording
from ragbench.processes.interrupts import run_until_done
from ragbench.results.paths import StudyPaths
from ragbench.results.slo import Slo
from ragbench.study.arrivals import ArrivalError, parse_arrival
from ragbench.study.questions import load_questions
from ragbench.study.study import Study
from ragbench.study.study_file import find_study, load_study


def capacity(  # noqa: PLR0913, PLR0917  an option each
    study: StudyArgument,
    slo: SloOption = None,
    arrival: Annotated[
        str | None, typer.Option(help="As in ideal; else poisson, or the study's if it has none.")
    ] = None,
    tolerance: Annotated[float, typer.Option(help="How wide the bracket may be, as a share.")] = 0.1,
    start: Annotated[float | None, typer.Option(help="The first rate; else the study's lowest.")] = None,
    duration_s: Annotated[float | None, typer.Option(help="Of one load; else 60 times the SLO, 15 to 120 s.")] = None,
    design: Annotated[str | None, typer.Option(help="Only this design, or this configuration of it.")] = None,
    most_loads: Annotated[int, typer.Option(help="Stop the search of a design after so many loads.")] = 30,
    results: ResultsOption = Path("results"),
) -> None:
    """Find the rate each design of STUDY can carry: double, halve the bracket, then load both sides of the edge."""
    source = find_study(study)
    loaded = load_study(source)
    plan = Plan(_slo(slo, loaded.slo), _arrival(arrival, loaded), duration_s, tolerance, start, most_loads)
    try:
        parse_arrival(plan.arrival)
    except ArrivalError as error:
        raise StudyError([f"--arrival: {error}"]) from error
    points = first_points(loaded, plan, design=design)
    say(_ahead(plan, len(points)))
    paths = StudyPaths(results / f"{loaded.name}-capacity")
    advice = f"whole loads are kept, the same command goes on from them: see {paths.root}"
    with interruptible(lambda: advice), recording(source, paths), Progress() as progress:
        runner = Runner(paths, load_questions(loaded.workload.questions), surroundings(source), progress)
        rows = run_until_done(Searcher(plan, runner).search_all(points))
    from ragbench.capacity.figure import save_capacity  # noqa: PLC0415  measuring does not need matplotlib

    figures = save_capacity(paths.root)
    columns = ("configuration", "capacity_rps", "low_rps", "high_rps", "points", "resolved", "reason")
    terminal.print(table_of(columns, rows, title="capacity"))
    table = paths.root / FILE
    for name, path in (("probes", paths.summary), ("capacity", table), *(("figure", path) for path in figures[:1])):
        terminal.print_line(f"{name + ':':10}{path}")
    if not all(row.resolved for row in rows):
        raise typer.Exit(1)


def _arrival(option: str | None, study: Study) -> str:
    """The option; else Poisson, unless the study has open loops of other kinds only."""
    own = [arrival for design in study.designs.values() for arrival in design.load.arrivals]
    return option or (own[0] if own and "poisson" not in own else "poisson")


def _slo(options: list[str] | None, own: Slo | None) -> Slo:
    slo = slo_of(options) or own
    if slo is None:
        raise StudyError(["no SLO: give --slo latency_p95_s=1.0, or slo = {...} in the study's [study]"])
    return slo


def _ahead(plan: Plan, designs: int) -> str:
    """The plan: how long it takes and how far off it may be."""
    least_min, most_min = (lasts_s / 60 for lasts_s in plan.lasts_s(designs))
    return (
        f"{designs} design{'' if designs == 1 else 's'}, up to {plan.most_loads} loads of {plan.load_s:g} s each: "
        f"{least_min:.1f} to {most_min:.1f} minutes. A load begins with an empty queue, so of this length it may place "
        f"the capacity up to {plan.bias:.1%} too high; the bracket allows for it"
    )
