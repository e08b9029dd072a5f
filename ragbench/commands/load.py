"""`ragbench load`: one load at a service that runs already."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ragbench import console
from ragbench.arrivals import ARRIVALS
from ragbench.commands.common import allow_many_files, say, terminal
from ragbench.interrupts import run_until_done
from ragbench.launch import Remote
from ragbench.measure import Measurement, look_around, measure, write_point
from ragbench.paths import StudyPaths
from ragbench.points import Point, expand
from ragbench.progress import Progress
from ragbench.study_file import parse_study
from ragbench.workload import load_questions


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
    allow_many_files()

    async def measured() -> Measurement:
        with Progress([point], starts=0) as progress:
            progress.point_begins(point)
            return await measure(point, Remote(url), asked, on_row=progress.row)

    measurement = run_until_done(measured())
    if measurement.failure is not None:
        say(measurement.failure)
        raise typer.Exit(1)
    summary = measurement.summary
    terminal.print(console.load_table(summary, title=point.name))
    if out is not None:
        write_point(measurement, StudyPaths(out), log="", questions=asked, around=look_around())
        terminal.print(f"rows: {StudyPaths(out).point(point.name).folder}", soft_wrap=True)
    if summary.unsent or summary.verdict == "client_limited":
        say(f"the load was not sent as asked: {summary.verdict_reason}")
        raise typer.Exit(1)


def _single_point(tables: dict[str, Any]) -> Point:
    """The one point of a load given by options; absent options are left out."""
    given = tables | {"load": {key: value for key, value in tables["load"].items() if value is not None}}
    return expand(parse_study(given, default_name="load"))[0].points[0]
