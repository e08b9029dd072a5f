"""`ragbench report`: figures, page and tables of results that lie there already."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from ragbench.cli import answers, console
from ragbench.cli.common import (
    FolderArgument,
    SloOption,
    build_report,
    results_folder,
    say,
    say_where,
    slo_of,
    terminal,
)
from ragbench.files.toml_tables import StudyError
from ragbench.measure.sweep import rebuild_summary
from ragbench.results.paths import StudyPaths
from ragbench.results.records import read_manifests
from ragbench.results.slo import Slo
from ragbench.statistics.recompute import recompute
from ragbench.terminal import Status


def report(
    folder: FolderArgument,
    slo: SloOption = None,
    again: Annotated[
        bool,
        typer.Option("--recompute", help="Compute every point again from its rows, by today's rules, as --slo does."),
    ] = False,
    page: Annotated[bool, typer.Option(help="End with figures and report.html.")] = True,
    compared: Annotated[
        bool, typer.Option("--answers", help="Compare what the designs answered instead; exit 1 where any differ.")
    ] = False,
    reference: Annotated[
        str | None, typer.Option(help="With --answers, the design that the others are compared to.")
    ] = None,
) -> None:
    """Make the figures and report.html of FOLDER; with --slo, judge and print its points anew before that."""
    if compared and (slo or again):
        raise StudyError(["--answers compares answers alone: give it no --slo and no --recompute"])
    if reference is not None and not compared:
        raise StudyError(["--reference goes with --answers"])
    paths = results_folder(folder)
    if compared:
        answers.compare(paths, reference=reference)
        return
    judged_by = slo_of(slo)
    manifests = _recomputed(paths, judged_by) if slo or again else rebuild_summary(paths)
    reported = page and build_report(paths)
    if slo or again:
        _print_points(manifests, judged_by)
    say_where(paths, reported=reported)
    if page and not reported:
        raise typer.Exit(1)


def _recomputed(paths: StudyPaths, slo: Slo | None) -> list[dict[str, Any]]:
    """The manifests, computed again and written, as summary.csv is."""
    try:
        with Status("points", total=len(read_manifests(paths.root))) as status:
            return recompute(paths, slo=slo, on_point=lambda _: status.done())
    except ValueError as error:
        raise StudyError([str(error)]) from error


def _print_points(manifests: Sequence[Mapping[str, Any]], slo: Slo | None) -> None:
    terminal.print(console.points_table(manifests))
    for line in console.reasons(manifests):
        say(line)
    if slo is not None:
        met = sum(manifest["summary"]["slo_met"] is True for manifest in manifests)
        terminal.print_line(f"slo {slo}: met at {met} of {len(manifests)} points")
