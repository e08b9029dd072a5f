"""`ragbench limit`: a design against its own pipeline without a server, in turns."""

import dataclasses
import shlex
import sys
import tempfile
from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path
from typing import Annotated

import typer

from ragbench.cli.common import ResultsOption, StudyArgument, interruptible, say, surroundings, terminal
from ragbench.cli.console import Columns, table_of
from ragbench.files.toml_tables import StudyError
from ragbench.measure.limit import LIMIT, Turn, bare_argv, bare_rps, medians
from ragbench.measure.progress import Progress
from ragbench.measure.sweep import Plan, make_plan
from ragbench.measure.sweep import run as run_sweep
from ragbench.processes.child import Child, ChildError
from ragbench.processes.interrupts import run_until_done
from ragbench.results.paths import StudyPaths
from ragbench.results.records import read_manifests, write_atomic
from ragbench.study.points import Launch, expand, file_name
from ragbench.study.study import Study
from ragbench.study.study_file import find_study, load_study

_DURATION_S = 5.0
_LONGEST_S = 1800.0
_COLUMNS: Columns = [
    *(("configuration", itemgetter(0)), ("turns", itemgetter(1))),
    *((name, lambda row, name=name: getattr(row[2], name)) for name in ("bare_rps", "served_rps", "ratio")),
]


def limit(
    study: StudyArgument = "limit",
    bare: Annotated[str, typer.Option(help="What times the bare pipeline.")] = "python -m servers.limit",
    results: ResultsOption = Path("results"),
) -> None:
    """Measure each design of STUDY, and in turns with it its pipeline alone; by how much the server is slower."""
    source = find_study(study)
    loaded = load_study(source)
    if any(design.load.rates for design in loaded.designs.values()):
        raise StudyError(["[load]: wanted concurrency alone: users enough to keep the pipeline busy"])
    paths = StudyPaths(results / loaded.name)
    commands = {_bare_file(launch, paths): _bare_argv(bare, launch, paths) for launch in expand(loaded)}
    blocks = [dataclasses.replace(loaded, seeds=(seed,)) for seed in loaded.seeds]
    plans = [_plan(block, paths) for block in blocks]
    around = surroundings(source)
    timed = [_to_time(block, plan, paths) for block, plan in zip(blocks, plans, strict=True)]
    points, others = [point for plan in plans for point in plan.points], sum(map(len, timed))
    starts = sum(len(plan.launches) for plan in plans) + others
    with (
        interruptible(lambda: f"the same command goes on from what is whole: see {paths.root}"),
        Progress(points, starts=starts, others=others) as progress,
    ):
        for block, plan, launches in zip(blocks, plans, timed, strict=True):
            for launch in launches:
                progress.begin(f"the pipeline of {launch.configuration.name} alone")
                out = _bare_file(launch, paths)
                run_until_done(_time_bare(commands[out], out))
                progress.done()
            run_until_done(run_sweep(block, source, paths, plan=plan, around=around, progress=progress))
    turns = _turns(loaded, paths)
    write_atomic(paths.root / "limit.csv", LIMIT.text(turns))
    terminal.print(table_of(_COLUMNS, medians(turns), title="beside the pipeline alone; requests/s, medians"))
    terminal.print_line(f"turns: {paths.root / 'limit.csv'}")


def _bare_file(launch: Launch, paths: StudyPaths) -> Path:
    return paths.root / "bare" / file_name(f"{launch.configuration.name}-seed{launch.points[0].seed}.csv")


def _bare_argv(bare: str, launch: Launch, paths: StudyPaths) -> list[str]:
    duration_s, out = launch.points[0].load.duration_s or _DURATION_S, _bare_file(launch, paths)
    return bare_argv(bare, launch.configuration, duration_s=duration_s, out=out, python=sys.executable)


def _plan(block: Study, paths: StudyPaths) -> Plan:
    plan = make_plan(block, paths)
    for name, difference in plan.changed.items():
        measured = f"{name} in {paths.root} was measured with {difference}"
        raise StudyError([f"{measured}; delete it, or write elsewhere with --results"])
    return plan


def _to_time(block: Study, plan: Plan, paths: StudyPaths) -> list[Launch]:
    """The launches whose server is about to be measured: the two halves of a turn are measured together."""
    names = {point.name for point in plan.points}
    return [
        launch
        for launch in expand(block)
        if not _has_text(_bare_file(launch, paths)) or any(point.name in names for point in launch.points)
    ]


async def _time_bare(argv: Sequence[str], out: Path) -> None:
    """Run it to its end; cancelled, none of it is left. Raises StudyError where it cannot be run or wrote nothing."""
    write_atomic(out, "")
    with tempfile.TemporaryDirectory(prefix="ragbench-limit-") as scratch:
        try:
            async with Child("the bare pipeline", argv, log=Path(scratch) / "bare.log") as child:
                await child.done(_LONGEST_S, limit="the most for one pipeline")
        except ChildError as error:
            raise StudyError([f"--bare: {error}"]) from error
        if not _has_text(out):
            raise StudyError([f"--bare: {shlex.join(argv)}: wrote nothing to {out}; {child.log_end()}"])


def _has_text(file: Path) -> bool:
    return file.is_file() and file.stat().st_size > 0


def _turns(study: Study, paths: StudyPaths) -> list[Turn]:
    """The valid turns; a line for each other. Raises StudyError where none is valid."""
    summaries = {manifest["point"]["name"]: manifest["summary"] for manifest in read_manifests(paths.root)}
    turns = []
    for launch in expand(study):
        bare = bare_rps(_bare_file(launch, paths))
        for point in launch.points:
            summary = summaries[point.name]
            if summary["verdict"] != "valid" or not summary["throughput_rps"]:
                say(f"{point.name} is left out: {summary['verdict']}: {summary['verdict_reason']}")
                continue
            size, served = launch.configuration.settings["max_batch_size"], summary["throughput_rps"]
            turns.append(Turn(launch.configuration.name, int(size), point.concurrency or 0, point.seed, bare, served))
    if not turns:
        raise StudyError([f"no turn in {paths.root} is valid"])
    return sorted(turns, key=lambda turn: (turn.configuration, turn.users, turn.seed))
