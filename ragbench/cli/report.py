"""`ragbench summarise` and `ragbench report`: from results that lie there already."""

from typing import Annotated

import typer

from ragbench.cli import console
from ragbench.cli.common import FolderArgument, build_report, results_folder, say, say_where, terminal
from ragbench.files.toml_tables import StudyError
from ragbench.measure.sweep import rebuild_summary
from ragbench.results.records import RecordError, read_manifests
from ragbench.results.slo import parse_slo
from ragbench.statistics.recompute import recompute
from ragbench.terminal import Status

SloOption = Annotated[
    list[str] | None,
    typer.Option("--slo", metavar="KEY=VALUE", help="As in latency_p95_s=1.0; may be given several times."),
]


def summarise(folder: FolderArgument, slo: SloOption = None) -> None:
    """Compute every point of FOLDER again from its rows, by today's rules; write summary.csv and print it."""
    paths = results_folder(folder)
    names = [manifest["point"]["name"] for manifest in read_manifests(paths.root)]
    try:
        asked = parse_slo(slo or [])
        with Status("points", total=len(names)) as status:
            manifests = recompute(paths, slo=asked, on_point=lambda _: status.done())
    except (RecordError, ValueError) as error:
        raise StudyError([str(error)]) from error
    terminal.print(console.points_table(manifests))
    for line in console.reasons(manifests):
        say(line)
    if asked is not None:
        met = sum(manifest["summary"]["slo_met"] is True for manifest in manifests)
        terminal.print(f"slo {asked}: met at {met} of {len(manifests)} points", soft_wrap=True)
    terminal.print(f"summary: {paths.summary}", soft_wrap=True)


def report(folder: FolderArgument) -> None:
    """Make the figures and report.html of FOLDER."""
    paths = results_folder(folder)
    rebuild_summary(paths)
    reported = build_report(paths)
    say_where(paths, reported=reported)
    if not reported:
        raise typer.Exit(1)
