"""The command line: run, plan, load, summarise, report. Parses, calls, prints; exit codes are decided here.

0: done. 1: measured, but a point failed or a load was not sent as asked. 2: the request makes no sense.
130 and 143: interrupted by Ctrl-C and SIGTERM.
"""

import resource
import shlex
import sys
import traceback
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from ragbench import console
from ragbench.arrivals import ARRIVALS
from ragbench.config import Study, StudyError
from ragbench.hardware import git_state
from ragbench.interrupts import Interrupted, run_until_done
from ragbench.launch import Remote
from ragbench.measure import Measurement, look_around, measure, write_point
from ragbench.paths import StudyPaths
from ragbench.points import Point, expand
from ragbench.progress import Progress, expected_s, minutes
from ragbench.records import read_manifests
from ragbench.study_file import find_study, load_study, parse_study
from ragbench.sweep import Plan, make_plan, rebuild_summary
from ragbench.sweep import run as run_sweep
from ragbench.workload import QuestionsError, load_questions

app = typer.Typer(
    help="How a RAG service behaves under load.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
_out = Console(width=None if sys.stdout.isatty() else 160)
_MOST_FILES = 65_536  # an overloaded open loop has one connection per request in flight


class Redo(StrEnum):
    """Which whole points to measure again."""

    changed = "changed"
    all = "all"


StudyArgument = Annotated[str, typer.Argument(metavar="STUDY", help="A study file, or the name of one in studies/.")]
ResultsOption = Annotated[Path, typer.Option(help="The folder that holds a folder per study.")]
FolderArgument = Annotated[Path, typer.Argument(metavar="FOLDER", help="The results folder of a study.")]


@app.command()
def run(
    study: StudyArgument,
    results: ResultsOption = Path("results"),
    report: Annotated[bool, typer.Option(help="End with figures and report.html.")] = True,
    redo: Annotated[Redo | None, typer.Option(help="Measure whole points again: those changed since, or all.")] = None,
) -> None:
    """Measure every point of STUDY that is not whole yet, and report."""
    path, loaded, paths, plan = _planned(study, results, redo)
    if plan.changed and redo is None:
        _refuse_changed(paths, plan)
    _say_skipped(paths, plan, redo)
    _allow_many_files()
    around = look_around()
    try:
        with Progress(plan.points, starts=len(plan.launches)) as progress:
            run_until_done(run_sweep(loaded, path, paths, plan=plan, around=around, progress=progress))
    except Interrupted as interruption:
        whole = len(rebuild_summary(paths))
        again = shlex.join(["python", "-m", "ragbench", "run", study, "--results", str(results)])
        _say(f"{interruption}; kept: {_points(whole)}. To go on: {again}")
        raise typer.Exit(interruption.exit_code) from None
    manifests = rebuild_summary(paths)
    _out.print(console.points_table(manifests))
    failed = sum(manifest["summary"]["verdict"] == "failed" for manifest in manifests)
    reported = report and _build_report(paths)
    _say_where(paths, reported=reported)
    if failed:
        _say(f"{failed} of {_points(len(manifests))} failed: see verdict_reason in {paths.summary} and each server.log")
    if failed or (report and not reported):
        raise typer.Exit(1)


@app.command()
def plan(study: StudyArgument, results: ResultsOption = Path("results")) -> None:
    """Print the points of STUDY, which of them are whole, and how long the rest takes."""
    _, loaded, paths, planned = _planned(study, results, None)
    _out.print(console.plan_table(expand(loaded), planned))
    points, starts = planned.points, sum(launch.design.url is None for launch in planned.launches)
    load_s = sum(point.expected_s for point in points)
    _out.print(
        f"{_points(len(points))} to measure, {len(planned.whole)} whole in {paths.root}; server starts: {starts}. "
        f"{minutes(load_s)} of load, about {minutes(expected_s(points, starts))} in all on the tiny profile.",
        soft_wrap=True,
    )


@app.command()
def load(  # noqa: PLR0913, PLR0917  an option each
    url: Annotated[str, typer.Option(help="The service, as in http://127.0.0.1:8000.")],
    rate: Annotated[float, typer.Option(help="Requests per second.")],
    arrival: Annotated[str, typer.Option(help=f"One of: {', '.join(ARRIVALS)}.")] = "poisson",
    requests: Annotated[int | None, typer.Option(help="Send exactly so many.")] = None,
    duration_s: Annotated[float | None, typer.Option(help="Send for so many seconds.")] = None,
    seed: Annotated[int, typer.Option(help="Of the schedule and the questions.")] = 1,
    timeout_s: Annotated[float, typer.Option(help="Per request, from when it is due.")] = 30.0,
    k: Annotated[int, typer.Option(help="Documents wanted per question.")] = 2,
    questions: Annotated[str, typer.Option(help="A shipped set or a JSONL file.")] = "facts",
    warmup_requests: Annotated[int, typer.Option(help="Asked before, and not counted.")] = 8,
    out: Annotated[Path | None, typer.Option(help="A folder to write the rows to.")] = None,
) -> None:
    """Fire one load at a service that runs already, and print what came of it."""
    point = _single_point(
        {
            "study": {"seeds": [seed]},
            "workload": {"questions": questions, "k": k},
            "load": {
                "arrivals": [arrival],
                "rates": [rate],
                "duration_s": duration_s,
                "requests": requests,
                "warmup_requests": warmup_requests,
                "timeout_s": timeout_s,
            },
            "variants": {"service": {"url": url}},
        }
    )
    asked = load_questions(questions)
    _allow_many_files()

    async def measured() -> Measurement:
        with Progress([point], starts=0) as progress:
            progress.point_begins(point)
            return await measure(point, Remote(url), asked, on_row=progress.row)

    measurement = run_until_done(measured())
    if measurement.failure is not None:
        _say(measurement.failure)
        raise typer.Exit(1)
    summary = measurement.summary
    _out.print(console.load_table(summary, title=point.name))
    if out is not None:
        write_point(measurement, StudyPaths(out), log="", questions=asked, around=look_around())
        _out.print(f"rows: {StudyPaths(out).point(point.name).folder}", soft_wrap=True)
    if summary.unsent or summary.verdict == "client_limited":
        _say(f"the load was not sent as asked: {summary.verdict_reason}")
        raise typer.Exit(1)


@app.command()
def summarise(folder: FolderArgument) -> None:
    """Rebuild summary.csv of FOLDER from its whole points, and print it."""
    paths = _results_folder(folder)
    _out.print(console.points_table(rebuild_summary(paths)))
    _out.print(f"summary: {paths.summary}", soft_wrap=True)


@app.command()
def report(folder: FolderArgument) -> None:
    """Make the figures and report.html of FOLDER."""
    paths = _results_folder(folder)
    rebuild_summary(paths)
    reported = _build_report(paths)
    _say_where(paths, reported=reported)
    if not reported:
        raise typer.Exit(1)


def _planned(name: str, results: Path, redo: Redo | None) -> tuple[Path, Study, StudyPaths, Plan]:
    path = find_study(name)
    study = load_study(path)
    paths = StudyPaths(results / study.name)
    return path, study, paths, make_plan(study, paths, redo=redo.value if redo else None)


def _single_point(tables: dict[str, Any]) -> Point:
    """The one point of a load given by options; absent options are left out."""
    given = tables | {"load": {key: value for key, value in tables["load"].items() if value is not None}}
    return expand(parse_study(given, default_name="load"))[0].points[0]


def _results_folder(folder: Path) -> StudyPaths:
    paths = StudyPaths(folder)
    if not read_manifests(folder):
        raise StudyError([f"no whole point in {folder}: give the results folder of a study, as in results/smoke"])
    return paths


def _refuse_changed(paths: StudyPaths, plan: Plan) -> NoReturn:
    name, difference = next(iter(plan.changed.items()))
    raise StudyError(
        [
            f"{_points(len(plan.changed))} in {paths.root} measured with other settings, e.g. {name}: {difference}",
            "measure them again with --redo changed, or keep them and write elsewhere with --results",
        ]
    )


def _say_skipped(paths: StudyPaths, plan: Plan, redo: Redo | None) -> None:
    if plan.whole:
        names = {point.name for point in plan.whole}
        commits = {m["git_commit"] for m in read_manifests(paths.root) if m["point"]["name"] in names}
        measured = ", ".join(sorted(str(commit)[:9] for commit in commits))
        now, dirty = git_state(Path.cwd())
        here = f"{str(now)[:9]}{' with changes' if dirty else ''}"
        _say(f"kept: {_points(len(plan.whole))} (code then: {measured}; now: {here}); --redo all measures them again")
    if plan.failed:
        _say(f"failed last time and measured again: {_points(len(plan.failed))}")
    if plan.changed and redo is not None:
        name, difference = next(iter(plan.changed.items()))
        _say(f"changed and measured again: {_points(len(plan.changed))}, e.g. {name}: {difference}")
    if plan.others:
        _say(
            f"no longer in the study but still in the summary of {paths.root}: {_points(len(plan.others))}; "
            f"delete their folders to drop them, e.g. {plan.others[0]}"
        )


def _build_report(paths: StudyPaths) -> bool:
    """Figures and page; the results stand without them, so a failure is told and not raised."""
    try:
        from ragbench.report import build  # noqa: PLC0415  brings Jupyter, which measuring does not need

        build(paths.root)
    except Exception:
        traceback.print_exc()
        _say(f"the report could not be made; the results are whole. Again: python -m ragbench report {paths.root}")
        return False
    return True


def _say_where(paths: StudyPaths, *, reported: bool) -> None:
    places = {"summary": paths.summary}
    if reported:
        places |= {"figures": paths.figures, "report": paths.report}
    for what, path in places.items():
        _out.print(f"{what + ':':9}{path}", soft_wrap=True)


def _allow_many_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _points(n: int) -> str:
    return f"{n} point" if n == 1 else f"{n} points"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """Run the command line; mistakes of the user are lines, not tracebacks."""
    try:
        app()
    except StudyError as error:
        for mistake in error.mistakes:
            _say(mistake)
    except QuestionsError as error:
        _say(str(error))
    except Interrupted as interruption:
        _say(str(interruption))
        sys.exit(interruption.exit_code)
    sys.exit(2)


if __name__ == "__main__":
    main()
