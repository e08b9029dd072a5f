"""`ragbench limit`: a design beside its own pipeline with no server round it, in turns."""

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from ragbench.commands.common import ResultsOption, StudyArgument, say, terminal
from ragbench.config import Study, StudyError
from ragbench.interrupts import Interrupted, run_until_done
from ragbench.limit import Turn, bare_argv, bare_rps, limit_csv, verdicts
from ragbench.measure import look_around
from ragbench.paths import StudyPaths
from ragbench.points import Launch, expand
from ragbench.progress import Progress
from ragbench.records import read_manifests, write_atomic
from ragbench.study_file import find_study, load_study
from ragbench.sweep import make_plan
from ragbench.sweep import run as run_sweep

_DURATION_S = 5.0
_LONGEST_S = 1800


def limit(
    study: StudyArgument = "limit",
    bare: Annotated[str, typer.Option(help="What times the bare pipeline.")] = "python -m servers.limit",
    results: ResultsOption = Path("results"),
) -> None:
    """Measure each design of STUDY, and in turns with it its pipeline alone; by how much the server is slower."""
    source = find_study(study)
    loaded = load_study(source)
    if any(variant.load.rates for variant in loaded.variants):
        raise StudyError(["[load]: wanted concurrency alone: users enough to keep the pipeline busy"])
    paths = StudyPaths(results / loaded.name)
    around = look_around()
    try:
        for seed in loaded.seeds:
            block = dataclasses.replace(loaded, seeds=(seed,))
            for launch in expand(block):
                _time_bare(bare, launch, paths)
            plan = make_plan(block, paths)
            with Progress(plan.points, starts=len(plan.launches)) as progress:
                run_until_done(run_sweep(block, source, paths, plan=plan, around=around, progress=progress))
    except (Interrupted, KeyboardInterrupt) as interruption:
        say(f"{interruption or 'interrupted'}; the same command goes on from what is whole: see {paths.root}")
        raise typer.Exit(getattr(interruption, "exit_code", 130)) from None
    turns = _turns(loaded, paths)
    write_atomic(paths.root / "limit.csv", limit_csv(turns))
    terminal.print(_table(turns))
    terminal.print(f"turns: {paths.root / 'limit.csv'}", soft_wrap=True)


def _bare_file(launch: Launch, paths: StudyPaths) -> Path:
    return paths.root / "bare" / f"{launch.design.name}-seed{launch.points[0].seed}.csv"


def _time_bare(bare: str, launch: Launch, paths: StudyPaths) -> None:
    out = _bare_file(launch, paths)
    if out.is_file():
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    duration_s = launch.points[0].load.duration_s or _DURATION_S
    argv = bare_argv(bare, launch.design, duration_s=duration_s, out=out, python=sys.executable)
    say(f"the pipeline of {launch.design.name} alone")
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=_LONGEST_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StudyError([f"--bare: {error}"]) from error
    if done.returncode != 0 or not out.is_file():
        raise StudyError(
            [f"--bare: {' '.join(argv)} ended with status {done.returncode}: {done.stderr.strip()[-500:]}"]
        )


def _turns(study: Study, paths: StudyPaths) -> list[Turn]:
    summaries = {manifest["point"]["name"]: manifest["summary"] for manifest in read_manifests(paths.root)}
    turns = []
    for launch in expand(study):
        bare = bare_rps(_bare_file(launch, paths))
        for point in launch.points:
            summary = summaries[point.name]
            if summary["verdict"] == "failed":
                raise StudyError([f"{point.name} failed: {summary['verdict_reason']}"])
            size = int(launch.design.settings["max_batch_size"])
            served = float(summary["throughput_rps"])
            turns.append(Turn(launch.design.name, size, point.concurrency or 0, point.seed, bare, served))
    return sorted(turns, key=lambda turn: (turn.design, turn.users, turn.seed))


def _table(turns: list[Turn]) -> Table:
    table = Table("design", title="beside the pipeline alone; requests/s, medians")
    for column in ("turns", "alone", "served", "ratio"):
        table.add_column(column, justify="right")
    for one in verdicts(turns):
        table.add_row(one.design, str(one.turns), f"{one.bare_rps:.4g}", f"{one.served_rps:.4g}", f"{one.ratio:.3f}")
    return table
