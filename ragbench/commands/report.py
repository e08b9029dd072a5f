"""`ragbench summarise` and `ragbench report`: from results that lie there already."""

import typer

from ragbench import console
from ragbench.commands.common import FolderArgument, build_report, results_folder, say_where, terminal
from ragbench.sweep import rebuild_summary


def summarise(folder: FolderArgument) -> None:
    """Rebuild summary.csv of FOLDER from its whole points, and print it."""
    paths = results_folder(folder)
    terminal.print(console.points_table(rebuild_summary(paths)))
    terminal.print(f"summary: {paths.summary}", soft_wrap=True)


def report(folder: FolderArgument) -> None:
    """Make the figures and report.html of FOLDER."""
    paths = results_folder(folder)
    rebuild_summary(paths)
    reported = build_report(paths)
    say_where(paths, reported=reported)
    if not reported:
        raise typer.Exit(1)
