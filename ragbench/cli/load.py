"""`ragbench load`: one load at a service that runs already."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ragbench.cli import console
from ragbench.cli.common import SloOption, say, slo_of, surroundings, terminal
from ragbench.files.toml_tables import StudyError
from ragbench.files.whole_file import refuse_links
from ragbench.load.descriptors import allow_files
from ragbench.load.target import RAG
from ragbench.load.wires import WIRES, wire_of
from ragbench.machine.telemetry import throttling
from ragbench.measure.point import Measurement, measure
from ragbench.measure.point_folder import write_point
from ragbench.measure.progress import Progress
from ragbench.processes.interrupts import run_until_done
from ragbench.processes.launch import Remote
from ragbench.results.metrics import Verdict
from ragbench.results.paths import StudyPaths
from ragbench.study.arrivals import ARRIVALS
from ragbench.study.points import Point, expand
from ragbench.study.questions import load_questions
from ragbench.study.study_file import parse_study

BROKEN: tuple[Verdict, ...] = ("failed", "failing", "client_limited")  # saturated and shedding are answers


def load(  # noqa: PLR0913, PLR0917  an option each
    url: Annotated[str, typer.Option(help="The service, as in http://127.0.0.1:8000.")],
    rate: Annotated[float | None, typer.Option(help="Requests per second: an open loop.")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Users who wait for answers: a closed loop.")] = None,
    arrival: Annotated[str, typer.Option(help=f"{', '.join(ARRIVALS)}; as in gamma:cv=3.")] = "poisson",
    requests: Annotated[int | None, typer.Option(help="Send exactly so many.")] = None,
    duration_s: Annotated[float | None, typer.Option(help="Send for so many seconds.")] = None,
    seed: Annotated[int, typer.Option(help="Of the schedule and the questions.")] = 1,
    processes: Annotated[int, typer.Option(help="Client processes that share the sending.")] = 1,
    slo: SloOption = None,
    timeout_s: Annotated[float, typer.Option(help="Per request, from when it is due.")] = 30.0,
    k: Annotated[int, typer.Option(help="Documents wanted per question.")] = 2,
    questions: Annotated[str, typer.Option(help="A shipped set or a JSONL file.")] = "facts",
    warmup_requests: Annotated[int, typer.Option(help="Asked before, and not counted.")] = 8,
    same_answers: Annotated[
        bool, typer.Option("--same-answers", help="One text for all questions is no error.")
    ] = False,
    ca_file: Annotated[Path | None, typer.Option(help="Certificates (PEM) to trust, instead of the system's.")] = None,
    wire: Annotated[str, typer.Option(help=f"What the service speaks: {', '.join(WIRES)}.")] = RAG,
    out: Annotated[Path | None, typer.Option(help="A folder to write the rows to.")] = None,
) -> None:
    """Fire one load at a service that runs already, and print what came of it."""
    if (rate is None) == (concurrency is None):
        got = "neither" if rate is None else "both"
        raise StudyError([f"exactly one of --rate (open loop) and --concurrency (closed loop) is needed, got {got}"])
    if out is not None:
        if out.exists() and not out.is_dir():
            raise StudyError([f"--out must be a folder, got the file {out}"])
        refuse_links(out)
    wire_of(wire)
    limits = slo_of(slo)
    point = _single_point(
        {
            "study": {"seeds": [seed], "slo": limits and limits.as_dict()},
            "workload": {"questions": questions, "k": k, "same_answers": same_answers},
            "load": {
                **({"concurrency": [concurrency]} if rate is None else {"arrivals": [arrival], "rates": [rate]}),
                "duration_s": duration_s,
                "requests": requests,
                "warmup_requests": warmup_requests,
                "timeout_s": timeout_s,
                "processes": processes,
            },
            "designs": {
                "service": {"url": url, "wire": None if wire == RAG else wire, "ca_file": ca_file and str(ca_file)}
            },
        }
    )
    asked = load_questions(questions)
    allow_files([point])

    async def measured() -> Measurement:
        with Progress([point], starts=0) as progress:
            progress.begin(point.name)
            return await measure(point, Remote(url), asked, on_row=progress.row)

    measurement = run_until_done(measured())
    if measurement.failure is not None:
        say(measurement.failure)
        raise typer.Exit(1)
    if not measurement.rows:
        advice = "ask for a longer load or a higher rate"
        raise StudyError([f"nothing was scheduled: {point.name} drew no request; {advice}"])
    summary = measurement.summary
    if out is not None:
        write_point(measurement, StudyPaths(out), log="", questions=asked, around=surroundings())
    terminal.print(console.load_table(summary, title=point.name))
    if out is not None:
        terminal.print_line(f"rows: {StudyPaths(out).point(point.name).folder}")
    if (line := throttling(measurement.telemetry)) is not None:
        say(line)
    if summary.verdict != "valid":
        say(f"{summary.verdict}: {summary.verdict_reason}")
    if summary.verdict in BROKEN:
        raise typer.Exit(1)


def _single_point(tables: dict[str, dict[str, Any]]) -> Point:
    """The one point of a load given by options; absent options are left out."""
    given = {name: {key: x for key, x in table.items() if x is not None} for name, table in tables.items()}
    return expand(parse_study(given, default_name="load"))[0].points[0]
