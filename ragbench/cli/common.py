"""Shared by the commands: arguments, the results folder of a study, reports."""

import importlib
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from ragbench.files.toml_tables import StudyError
from ragbench.files.unwritten import line_of
from ragbench.files.whole_file import refuse_links
from ragbench.measure.point import Surroundings, look_around
from ragbench.processes.interrupts import Interrupted
from ragbench.results.paths import RetrievalPaths, StudyPaths
from ragbench.results.records import RecordError, read_manifests
from ragbench.results.slo import Slo, parse_slo
from ragbench.terminal import Terminal, say

StudyArgument = Annotated[str, typer.Argument(metavar="STUDY", help="A study file, or the name of one in studies/.")]
ResultsOption = Annotated[Path, typer.Option(help="The folder that holds a folder per study.")]
SloOption = Annotated[
    list[str] | None, typer.Option("--slo", metavar="KEY=VALUE", help="As in latency_p95_s=1.0; repeatable.")
]
FolderArgument = Annotated[Path, typer.Argument(metavar="FOLDER", help="The results folder of a study.")]

terminal = Terminal(width=None if sys.stdout.isatty() else 160)


def surroundings(study: Path | None = None) -> Surroundings:
    """The surroundings of this process and of the file `study`; a line for each that is not known."""
    around = look_around(study)
    for problem in around.problems:
        say(problem)
    return around


def slo_of(options: Sequence[str] | None) -> Slo | None:
    """The SLO of the options --slo. Raises StudyError."""
    try:
        return parse_slo(options or [])
    except ValueError as error:
        raise StudyError([f"--slo: {error}"]) from error


@contextmanager
def interruptible(advice: Callable[[], str]) -> Iterator[None]:
    """If the work inside is interrupted, print the signal and `advice`, and exit with the signal's code."""
    try:
        yield
    except Interrupted as interruption:
        say(f"{interruption}; {advice()}")
        raise typer.Exit(interruption.exit_code) from None


def counted(n: int) -> str:
    """1 point, 2 points."""
    return f"{n} point" if n == 1 else f"{n} points"


def results_folder(folder: Path) -> StudyPaths:
    """The paths of a study's results. Raises StudyError where there are none, RecordError where links lie in them."""
    paths = StudyPaths(folder)
    refuse_links(folder)
    if RetrievalPaths(folder).roofline.is_file():
        raise StudyError([f"{folder} is of a retrieval study: `ragbench retrieval STUDY` makes its report again"])
    if not read_manifests(folder):
        raise StudyError([f"no whole point in {folder}: give the results folder of a study, as in results/smoke"])
    return paths


def build_report(paths: StudyPaths) -> bool:
    """Make figures and page. -> whether they could be made."""
    return is_made("ragbench.report.page", paths, again=f"python -m ragbench report {paths.root}")


def is_made(module: str, paths: StudyPaths, *, again: str) -> bool:
    """Whether `build` of `module` made a report; a failure is printed, with the command that tries again."""
    try:
        importlib.import_module(module).build(paths.root)  # brings Jupyter, which measuring does not need
    except (RecordError, StudyError) as error:
        say(str(error))
    except Exception as error:
        line = line_of(error) if isinstance(error, OSError) else None
        say(traceback.format_exc().rstrip("\n") if line is None else line)
    else:
        return True
    say(f"the report could not be made; the results are whole. Again: {again}")
    return False


def say_where(paths: StudyPaths, *, reported: bool) -> None:
    """Print the paths of the results."""
    places = {"summary": paths.summary, "figures": paths.figures, "report": paths.report}
    for what, path in list(places.items())[: None if reported else 1]:
        terminal.print_line(f"{what + ':':9}{path}")
