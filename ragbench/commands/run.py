"""`ragbench run` and `ragbench plan`: measure what a study names, or say what that would be."""

import shlex
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from ragbench import console
from ragbench.commands.common import (
    ResultsOption,
    StudyArgument,
    build_report,
    counted,
    say,
    say_where,
    terminal,
)
from ragbench.config import Study, StudyError
from ragbench.descriptors import allow_files
from ragbench.hardware import git_state
from ragbench.interrupts import Interrupted, run_until_done
from ragbench.measure import look_around
from ragbench.paths import StudyPaths
from ragbench.points import expand
from ragbench.progress import Progress, expected_s, minutes
from ragbench.recompute import recompute
from ragbench.records import read_manifests
from ragbench.study_file import find_study, load_study
from ragbench.sweep import Plan, make_plan, rebuild_summary
from ragbench.sweep import run as run_sweep


class Redo(StrEnum):
    """Which whole points to measure again."""

    changed = "changed"
    all = "all"


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
    allow_files(plan.points)
    _judge_kept(loaded, paths, plan)
    around = look_around()
    try:
        with Progress(plan.points, starts=len(plan.launches)) as progress:
            run_until_done(run_sweep(loaded, path, paths, plan=plan, around=around, progress=progress))
    except Interrupted as interruption:
        whole = len(rebuild_summary(paths))
        again = shlex.join(["python", "-m", "ragbench", "run", study, "--results", str(results)])
        say(f"{interruption}; kept: {counted(whole)}. To go on: {again}")
        raise typer.Exit(interruption.exit_code) from None
    manifests = rebuild_summary(paths)
    failed = sum(manifest["summary"]["verdict"] == "failed" for manifest in manifests)
    reported = report and build_report(paths)
    terminal.print(console.points_table(manifests))
    say_where(paths, reported=reported)
    if failed:
        say(f"{failed} of {counted(len(manifests))} failed: see verdict_reason in {paths.summary} and each server.log")
    if failed or (report and not reported):
        raise typer.Exit(1)


def plan(study: StudyArgument, results: ResultsOption = Path("results")) -> None:
    """Print the points of STUDY, which of them are whole, and how long the rest takes."""
    _, loaded, paths, planned = _planned(study, results, None)
    terminal.print(console.plan_table(expand(loaded), planned))
    points, starts = planned.points, sum(launch.configuration.url is None for launch in planned.launches)
    load_s = sum(point.expected_s for point in points)
    terminal.print(
        f"{counted(len(points))} to measure, {len(planned.whole)} whole in {paths.root}; server starts: {starts}. "
        f"{minutes(load_s)} of load, about {minutes(expected_s(points, starts))} in all on the tiny profile.",
        soft_wrap=True,
    )


def _planned(name: str, results: Path, redo: Redo | None) -> tuple[Path, Study, StudyPaths, Plan]:
    path = find_study(name)
    study = load_study(path)
    paths = StudyPaths(results / study.name)
    return path, study, paths, make_plan(study, paths, redo=redo.value if redo else None)


def _judge_kept(study: Study, paths: StudyPaths, plan: Plan) -> None:
    """Compute kept points again where they were judged by another SLO than the study has now."""
    kept = {point.name for point in plan.whole}
    judged_by = [m.get("slo") for m in read_manifests(paths.root) if m["point"]["name"] in kept]
    if study.slo is not None and any(slo != study.slo.as_dict() for slo in judged_by):
        recompute(paths, slo=study.slo)
        say(f"judged again by the slo of the study: {study.slo}")


def _refuse_changed(paths: StudyPaths, plan: Plan) -> NoReturn:
    name, difference = next(iter(plan.changed.items()))
    raise StudyError(
        [
            f"{counted(len(plan.changed))} in {paths.root} measured with other settings, e.g. {name}: {difference}",
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
        say(f"kept: {counted(len(plan.whole))} (code then: {measured}; now: {here}); --redo all measures them again")
    if plan.failed:
        say(f"failed last time and measured again: {counted(len(plan.failed))}")
    if plan.changed and redo is not None:
        name, difference = next(iter(plan.changed.items()))
        say(f"changed and measured again: {counted(len(plan.changed))}, e.g. {name}: {difference}")
    if plan.others:
        say(
            f"no longer in the study but still in the summary of {paths.root}: {counted(len(plan.others))}; "
            f"delete their folders to drop them, e.g. {plan.others[0]}"
        )
