"""`ragbench run`: measure the points of a study, or print what that would be."""

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from ragbench.cli import console
from ragbench.cli.common import (
    ResultsOption,
    StudyArgument,
    build_report,
    counted,
    interruptible,
    say,
    say_where,
    surroundings,
    terminal,
)
from ragbench.files.toml_tables import StudyError
from ragbench.load.descriptors import allow_files
from ragbench.machine.mixing import strangers
from ragbench.measure.point import Surroundings
from ragbench.measure.progress import Progress, expected_s
from ragbench.measure.sweep import Plan, Redo, make_plan, rebuild_summary
from ragbench.measure.sweep import run as run_sweep
from ragbench.processes.interrupts import run_until_done
from ragbench.results.paths import StudyPaths
from ragbench.statistics.latency_intervals import left_empty, too_short
from ragbench.statistics.recompute import recompute
from ragbench.statistics.verdicts import NO_MEANS, NOT_MEASURED
from ragbench.study.points import expand
from ragbench.study.study import Study
from ragbench.study.study_file import find_study, load_study
from ragbench.terminal import minutes


def run(
    study: StudyArgument,
    results: ResultsOption = Path("results"),
    report: Annotated[bool, typer.Option(help="End with figures and report.html.")] = True,
    redo: Annotated[
        Redo | None,
        typer.Option(help="Measure whole points again: changed since, invalid (spoiled or failed), or all."),
    ] = None,
    mixed: Annotated[
        bool, typer.Option("--mixed", help="Go on beside points of another machine or of other code.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the points and how long they take; measure nothing.")
    ] = False,
) -> None:
    """Measure every point of STUDY that is not whole yet, and report."""
    path = find_study(study)
    loaded = load_study(path)
    paths = StudyPaths(results / loaded.name)
    plan = make_plan(loaded, paths, redo=redo)
    if dry_run:
        _print_plan(loaded, paths, plan)
        return
    if plan.changed and redo not in (Redo.changed, Redo.all):
        _refuse_changed(paths, plan)
    around = surroundings(path)
    _refuse_mixed(paths, plan, around, mixed=mixed)
    _say_skipped(paths, plan, redo, around)
    allow_files(plan.points)
    _judge_kept(loaded, paths, plan)
    again = _command(study, results, *(["--redo", redo.value] if redo else []), *(["--mixed"] if mixed else []))
    with (
        interruptible(lambda: f"kept: {counted(len(rebuild_summary(paths)))}. To go on: {again}"),
        Progress(plan.points, starts=len(plan.launches)) as progress,
    ):
        run_until_done(run_sweep(loaded, path, paths, plan=plan, around=around, progress=progress))
    manifests = rebuild_summary(paths)
    reported = report and build_report(paths)
    terminal.print(console.points_table(manifests))
    say_where(paths, reported=reported)
    for line in left_empty([manifest["summary"] for manifest in manifests]):
        say(line)
    is_good = _say_verdicts(manifests, paths, again=_command(study, results, "--redo", "invalid"))
    if not is_good or (report and not reported):
        raise typer.Exit(1)


def _print_plan(loaded: Study, paths: StudyPaths, planned: Plan) -> None:
    """The points, which of them are whole, how long the rest takes, and which figures will have no interval."""
    terminal.print(console.plan_table(expand(loaded), planned))
    points, starts = planned.points, sum(launch.configuration.url is None for launch in planned.launches)
    load_s = sum(point.expected_s for point in points)
    terminal.print(
        f"{counted(len(points))} to measure, {len(planned.whole)} whole in {paths.root}; server starts: {starts}. "
        f"{minutes(load_s)} of load, about {minutes(expected_s(points, starts))} in all on the tiny profile.",
        soft_wrap=True,
    )
    every = [point for launch in expand(loaded) for point in launch.points]
    for line in too_short([point.offered_rps * point.expected_s for point in every if point.offered_rps is not None]):
        terminal.print_line(line)


def _command(study: str, results: Path, *options: str) -> str:
    return shlex.join(["python", "-m", "ragbench", "run", study, "--results", str(results), *options])


def _say_verdicts(manifests: Sequence[Mapping[str, Any]], paths: StudyPaths, *, again: str) -> bool:
    """Print the unusable points, and how to measure spoiled ones again. -> whether every service answered."""
    counts = Counter(manifest["summary"]["verdict"] for manifest in manifests)
    for verdict in NO_MEANS:
        if counts[verdict]:
            share = f"{counts[verdict]} of {counted(len(manifests))} {verdict}"
            say(f"{share}: see verdict_reason in {paths.summary} and each server.log")
    if spoiled := [f"{counts[verdict]} {verdict}" for verdict in NOT_MEASURED if counts[verdict]]:
        say(f"{', '.join(spoiled)}; to measure them again: {again}")
    return not any(counts[verdict] for verdict in NO_MEANS)


def _judge_kept(study: Study, paths: StudyPaths, plan: Plan) -> None:
    """Judge kept points again where the study has another SLO or another `same_answers` now."""
    manifests, alike = plan.whole.values(), study.workload.same_answers
    is_other_slo = study.slo is not None and any(manifest.get("slo") != study.slo.as_dict() for manifest in manifests)
    is_other_rule = any(bool(manifest.get("same_answers")) != alike for manifest in manifests)
    if is_other_slo or is_other_rule:
        recompute(paths, slo=study.slo, same_answers=alike)
    if is_other_slo:
        say(f"judged again by the slo of the study: {study.slo}")
    if is_other_rule:
        say(f"judged again with same_answers = {str(alike).lower()}")


def _refuse_mixed(paths: StudyPaths, plan: Plan, around: Surroundings, *, mixed: bool) -> None:
    """Raise StudyError where kept points are of another machine or other code, without --mixed."""
    if not plan.points:
        return
    machine = around.hardware
    lines = strangers(plan.whole.values(), hardware=str(machine), hostname=machine.hostname, code=around.code_sha256)
    if mixed:
        for line in lines:
            say(f"kept all the same (--mixed): {line}")
    elif lines:
        advice = (
            "go on with --mixed (never pooled), measure all again with --redo all, or write elsewhere with --results"
        )
        raise StudyError([*(f"points in {paths.root} {line}" for line in lines), advice])


def _refuse_changed(paths: StudyPaths, plan: Plan) -> NoReturn:
    name, difference = next(iter(plan.changed.items()))
    changed = f"{counted(len(plan.changed))} in {paths.root} measured with other settings, e.g. {name}: {difference}"
    raise StudyError(
        [changed, "measure them again with --redo changed, or keep them and write elsewhere with --results"]
    )


def _say_skipped(paths: StudyPaths, plan: Plan, redo: Redo | None, around: Surroundings) -> None:
    if plan.whole:
        commits = {str(manifest.get("git_commit"))[:9] for manifest in plan.whole.values()}
        measured = ", ".join(sorted(commits))
        here = f"{str(around.git_commit)[:9]}{' with changes' if around.git_dirty else ''}"
        say(f"kept: {counted(len(plan.whole))} (code then: {measured}; now: {here}); --redo all measures them again")
    if plan.again:
        say(f"not usable last time and measured again: {counted(len(plan.again))}")
    if plan.changed and redo is not None:
        name, difference = next(iter(plan.changed.items()))
        say(f"changed and measured again: {counted(len(plan.changed))}, e.g. {name}: {difference}")
    if plan.others:
        say(
            f"no longer in the study but still in the summary of {paths.root}: {counted(len(plan.others))}; "
            f"delete their folders to drop them, e.g. {plan.others[0]}"
        )
