"""Measure the jobs of a plan, a process each, and write what they told. A broken job is rows; the next one goes on.

How a process is run and ended is in child.py; what is measured is its own affair.
"""

import json
import shlex
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ragbench.files.toml_tables import StudyError
from ragbench.files.unwritten import kept_elsewhere, naming
from ragbench.files.whole_file import append_to
from ragbench.measure.point import Surroundings, now_utc
from ragbench.measure.sweep import locked
from ragbench.processes.child import Child, ChildError
from ragbench.results.paths import RetrievalPaths
from ragbench.results.records import copy_text, write_atomic, write_manifest
from ragbench.retrieval.cells import Cell
from ragbench.retrieval.jobs import Job, read_message
from ragbench.retrieval.plan import Plan
from ragbench.retrieval.roofline import Rates, rates_csv
from ragbench.retrieval.rows import ROWS, Row
from ragbench.retrieval.study import Study
from ragbench.terminal import Status

RATES_TIMEOUT_S = 600.0


async def measure_rates(study: Study, paths: RetrievalPaths, *, threads: int) -> list[Rates]:
    """What each device does at best, also written to roofline.csv. Raises StudyError where the command cannot tell."""
    found: list[Rates] = []
    faults: list[str] = []

    def on_line(line: bytes) -> None:
        try:
            message = read_message(line)
            if message.kind == "rates":
                found.append(Rates.told(message.content))
        except ValueError as error:
            faults.append(str(error))

    argv = [*_argv(study), "--rates", "--threads", str(study.threads or threads)]
    with locked(paths):
        _log(paths, f"rates: {study.command}")
        child = Child("its process", argv, log=paths.log, on_line=on_line)
        end = await _end(child, RATES_TIMEOUT_S, limit="the most for all rates")
        if end or not found:
            told = end or next(iter(faults), "no rates")
            raise StudyError([f"{child.command}: {told}; {paths.log} ends: {child.last_line() or '-'}"])
        write_atomic(paths.roofline, rates_csv(found))
    return found


async def run(
    study: Study, study_file: Path, paths: RetrievalPaths, *, plan: Plan, around: Surroundings, status: Status
) -> list[Row]:
    """Measure every job of `plan`; -> a row per cell of the study that has one. Cancelled, it keeps the whole jobs."""
    rows = {row.cell: row for row in plan.rows}
    argv, started_at = _argv(study), now_utc()
    with locked(paths):
        if plan.jobs:
            paths.manifest.unlink(missing_ok=True)
        copy_text(study_file, paths.study_toml)
        _write(paths, plan, rows)
        for job in plan.jobs:
            status.begin(str(job))
            found = await _run_job(job, argv, paths, hardware=plan.hardware, doing=status.doing)
            rows |= {row.cell: row for row in found}
            try:
                _write(paths, plan, rows)
            except OSError as error:

                def elsewhere(folder: Path, rows: dict[Cell, Row] = rows) -> None:
                    _write(RetrievalPaths(folder), plan, rows)

                raise StudyError(kept_elsewhere(error, elsewhere, what=str(job), into=paths.root)) from error
            for reason, count in Counter(row.reason for row in found if row.status == "failed").items():
                status.note(f"{count} of {job} failed: {reason}")
            status.done()
        if plan.jobs and all(cell in rows for cell in plan.cells):
            write_manifest(paths.manifest, _manifest(study, rows, around, started_at=started_at))
    return [rows[cell] for cell in plan.cells if cell in rows]


async def _run_job(
    job: Job, argv: Sequence[str], paths: RetrievalPaths, *, hardware: str, doing: Callable[[str], None]
) -> list[Row]:
    """A row for each cell of the job: as told, or `failed` with the reason."""
    heard = _Heard(job, hardware, doing)
    _log(paths, str(job))
    with tempfile.TemporaryDirectory(prefix="ragbench-job-") as folder:
        file = Path(folder) / "job.json"
        file.write_text(json.dumps(job.as_dict()), encoding="utf-8")
        child = Child("its process", [*argv, str(file)], log=paths.log, on_line=heard.line)
        end = await _end(child, job.timeout_s, limit=f"job_timeout_s, and budget_s for each of {len(job.cells)} cells")
    last = child.last_line()
    for fault in heard.faults:
        _log(paths, fault)
    told = end or next(iter(heard.faults), "ended without a row for this cell")
    return heard.all_rows(f"{told}: {last}" if last else told)


class _Heard:
    """What a job's process told so far."""

    def __init__(self, job: Job, hardware: str, doing: Callable[[str], None]) -> None:
        self.faults: list[str] = []
        self._job = job
        self._hardware = hardware
        self._doing = doing
        self._rows: dict[Cell, Row] = {}

    def line(self, line: bytes) -> None:
        """Take in one line of its stdout; what cannot be used is a fault."""
        try:
            message = read_message(line)
            if message.kind == "progress":
                self._doing(message.content)
            elif message.kind == "row":
                self._take(message.content)
        except ValueError as error:
            self.faults.append(str(error))

    def _take(self, told: dict[str, Any]) -> None:
        cell = self._job.cell_of(told)
        if cell is None:
            raise ValueError(f"a row of no cell of the job: {json.dumps(told)[:200]}")
        self._rows[cell] = Row.told(cell, told, hardware=self._hardware)

    def all_rows(self, reason: str) -> list[Row]:
        """A row per cell; those not told of failed for `reason`."""
        return [
            self._rows.get(cell) or Row.unmeasured(cell, "failed", reason, hardware=self._hardware)
            for cell in self._job.cells
        ]


def _argv(study: Study) -> list[str]:
    """The words of its command; "python" is the one that runs this."""
    words = shlex.split(study.command)
    return [sys.executable, *words[1:]] if words[0] == "python" else words


async def _end(child: Child, timeout_s: float, *, limit: str) -> str:
    """Run it to its end; -> how it ended, where that was not well."""
    try:
        async with child:
            await child.done(timeout_s, limit=limit)
    except ChildError as error:
        return error.reason
    return ""


def _log(paths: RetrievalPaths, line: str) -> None:
    """Add a line to log.txt."""
    with naming(paths.log), append_to(paths.log) as log:
        log.write(f"[ragbench] {line}\n".encode(errors="backslashreplace"))


def _write(paths: RetrievalPaths, plan: Plan, rows: dict[Cell, Row]) -> None:
    """Both files; others.csv first where rows go there, so that they are never in neither."""
    if plan.others:
        write_atomic(paths.others, ROWS.text(plan.others))
    write_atomic(paths.summary, ROWS.text(rows[cell] for cell in plan.cells if cell in rows))
    if not plan.others:
        paths.others.unlink(missing_ok=True)


def _manifest(study: Study, rows: dict[Cell, Row], around: Surroundings, *, started_at: str) -> dict[str, Any]:
    statuses = [row.status for row in rows.values()]
    return {
        "study": study.name,
        "title": study.title,
        "command": study.command,
        "seed": study.seed,
        "threads": next(iter(rows)).threads,
        "repeats": study.repeats,
        "budget_s": study.budget_s,
        "cells": {status: statuses.count(status) for status in sorted(set(statuses))},
        "started_at": started_at,
        "ended_at": now_utc(),
        "git_commit": around.git_commit,
        "git_dirty": around.git_dirty,
        "study_git_commit": around.study_git_commit,
        "study_git_dirty": around.study_git_dirty,
        "versions": around.versions,
        "slurm": around.slurm,
        "hardware": around.hardware.as_dict(),
    }
