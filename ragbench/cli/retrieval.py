"""`ragbench retrieval`: searches and k-means by every backend, apart from any server."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from ragbench.cli.common import ResultsOption, interruptible, is_made, say, say_where, surroundings, terminal
from ragbench.cli.console import table_of
from ragbench.machine.hardware import usable_cores
from ragbench.processes.interrupts import run_until_done
from ragbench.results.paths import RetrievalPaths
from ragbench.retrieval.plan import Plan, make_plan
from ragbench.retrieval.roofline import read_roofs
from ragbench.retrieval.run import measure_rates
from ragbench.retrieval.run import run as run_jobs
from ragbench.retrieval.study import Study
from ragbench.retrieval.study_file import load_study
from ragbench.study.study_file import find_study
from ragbench.terminal import Status

GridOption = Annotated[list[str] | None, typer.Option("--grid", metavar="NAME", help="Measure this grid alone; again.")]


def retrieval(
    study: Annotated[str, typer.Argument(metavar="STUDY", help="A study file, or one's name.")] = "retrieval",
    results: ResultsOption = Path("results"),
    redo: Annotated[bool, typer.Option("--redo", help="Measure whole cells again.")] = False,
    report: Annotated[bool, typer.Option(help="End with figures and report.html.")] = True,
    grid: GridOption = None,
) -> None:
    """Measure every cell of the retrieval study STUDY that is not whole yet, and report."""
    source = find_study(study)
    loaded = load_study(source)
    paths = RetrievalPaths(results / loaded.name)
    around = surroundings(source)
    plan = make_plan(loaded, paths, hardware=str(around.hardware), cores=usable_cores(), grids=grid or (), redo=redo)
    _say_kept(plan, paths)
    again = shlex.join(["python", "-m", "ragbench", "retrieval", study, "--results", str(results)])
    with interruptible(lambda: f"whole jobs are kept in {paths.summary}. To go on: {again}"):
        _print_rates(loaded, plan, paths)
        with Status(total=len(plan.jobs)) as status:
            rows = run_until_done(run_jobs(loaded, source, paths, plan=plan, around=around, status=status))
    reported = report and is_made("ragbench.retrieval.report", paths, again=again)
    _print_grids(paths)
    say_where(paths, reported=reported)
    failed = sum(row.status == "failed" for row in rows)
    if failed:
        say(f"{failed} of {len(rows)} cells failed: see reason in {paths.summary}, and {paths.log}")
    if len(rows) < len(plan.cells):
        say(f"not measured yet: {len(plan.cells) - len(rows)} cells of other grids")
    if failed or (report and not reported):
        raise typer.Exit(1)


def _say_kept(plan: Plan, paths: RetrievalPaths) -> None:
    whole = [row for row in plan.rows if row.is_whole]
    if whole:
        skipped = sum(row.status == "skipped" for row in whole)
        say(f"kept: {len(whole)} cells, of them {skipped} skipped; --redo measures them again")
    if plan.again:
        say(f"failed last time and measured again: {plan.again} cells")
    if plan.others:
        say(f"no longer in the study, and in no figure: {len(plan.others)} cells, kept in {paths.others}")


def _print_rates(study: Study, plan: Plan, paths: RetrievalPaths) -> None:
    """Measured where any job is; a complete study has them on disk."""
    threads = usable_cores()
    roofs = run_until_done(measure_rates(study, paths, threads=threads)) if plan.jobs else read_roofs(paths.roofline)
    for roof in roofs:
        terminal.print_line(f"roofline, {roof}")


def _print_grids(paths: RetrievalPaths) -> None:
    """The table of each grid. Reasons are too long for its cells: they stand below it, each once with its count."""
    # pandas takes half a second to import: too long before a mistake in the study is reported.
    from ragbench.retrieval.results import by_grid  # noqa: PLC0415
    from ragbench.retrieval.rows import load_rows  # noqa: PLC0415

    for heading, rows in by_grid(load_rows(paths.summary)):
        reasons = rows["reason"].dropna().value_counts() if "reason" in rows else {}
        columns = [name for name in rows.columns if name != "reason"]
        caption = "\n".join(f"{count} x {reason}" for reason, count in reasons.items())
        terminal.print(table_of(columns, rows.to_dict("records"), title=heading, caption=caption or None))
