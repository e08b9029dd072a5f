"""Measure the jobs of a plan, a process each, and write their rows. A broken job is failed rows; the next job runs.

How a process is run and ended is in child.py.
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
from ragbench.retrieval.roofline import ROOFS, Roof, reported_roofs
from ragbench.retrieval.rows import ROWS, Row
from ragbench.retrieval.study import Study
from ragbench.terminal import Status

RATES_TIMEOUT_S = 600.0


async def measure_rates(study: Study, paths: RetrievalPaths, *, threads: int) -> list[Roof]:
    """The roofs of each device, also written to roofline.csv. Raises StudyError where the command reports none."""
    roofs: list[Roof] = []

    def take(kind: str, content: Any) -> None:
        if kind == "rates":
            roofs.extend(reported_roofs(content))

    argv = [*_argv(study), "--rates", "--threads", str(study.threads or threads)]
    with locked(paths):
        _log(paths, f"rates: {study.command}")
        end, fault, last = await _reports(argv, paths, take, RATES_TIMEOUT_S, limit="the most for all rates")
        if end or not roofs:
            reason = f"{end or fault or 'no rates'}; {paths.log} ends: {last or '-'}"
            raise StudyError([f"{shlex.join(argv)}: {reason}"])
        write_atomic(paths.roofline, ROOFS.text(roofs))
    return roofs


async def run(
    study: Study, study_file: Path, paths: RetrievalPaths, *, plan: Plan, around: Surroundings, status: Status
) -> list[Row]:
    """Measure every job of `plan`. -> the rows of the study's cells. Where it is cancelled, finished jobs are kept."""
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
    """A row for each cell of the job: as reported, or `failed` with the reason."""
    rows: dict[Cell, Row] = {}

    def take(kind: str, content: Any) -> None:
        if kind == "progress":
            doing(content)
        elif kind == "row":
            cell = job.cell_of(content)
            if cell is None:
                raise ValueError(f"a row of no cell of the job: {json.dumps(content)[:200]}")
            rows[cell] = Row.reported(cell, content, hardware=hardware)

    _log(paths, str(job))
    with tempfile.TemporaryDirectory(prefix="ragbench-job-") as folder:
        file = Path(folder) / "job.json"
        file.write_text(json.dumps(job.as_dict()), encoding="utf-8")
        limit = f"job_timeout_s, and budget_s for each of {len(job.cells)} cells"
        end, fault, last = await _reports([*argv, str(file)], paths, take, job.timeout_s, limit=limit)
    reason = ": ".join(filter(None, [end or fault or "ended without a row for this cell", last]))
    return [rows.get(cell) or Row.unmeasured(cell, "failed", reason, hardware=hardware) for cell in job.cells]


async def _reports(
    argv: Sequence[str], paths: RetrievalPaths, take: Callable[[str, Any], None], timeout_s: float, *, limit: str
) -> tuple[str, str, str]:
    """Run a process to its end and pass on its messages.

    -> how it ended, if not well; its first unusable line; its last line in the log. Unusable lines go to the log.
    """
    faults, end = [], ""

    def on_line(line: bytes) -> None:
        try:
            take(*read_message(line))
        except ValueError as error:
            faults.append(str(error))

    child = Child("its process", argv, log=paths.log, on_line=on_line)
    try:
        async with child:
            await child.done(timeout_s, limit=limit)
    except ChildError as error:
        end = error.reason
    last = child.last_line()
    for fault in faults:
        _log(paths, fault)
    return end, next(iter(faults), ""), last


def _argv(study: Study) -> list[str]:
    """The words of its command; "python" is the Python that runs ragbench."""
    words = shlex.split(study.command)
    return [sys.executable, *words[1:]] if words[0] == "python" else words


def _log(paths: RetrievalPaths, line: str) -> None:
    """Add a line to log.txt."""
    with naming(paths.log), append_to(paths.log) as log:
        log.write(f"[ragbench] {line}\n".encode(errors="backslashreplace"))


def _write(paths: RetrievalPaths, plan: Plan, rows: dict[Cell, Row]) -> None:
    """Write both files; others.csv first where rows move there, so that each row is always in one of them."""
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
        **around.as_dict(),
    }
