"""A point's folder: written under a hidden name and renamed, so that it is either whole or absent."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ragbench.files.csv_format import CsvFormat
from ragbench.files.toml_tables import StudyError
from ragbench.files.unwritten import kept_elsewhere
from ragbench.machine.mixing import SHOWN
from ragbench.measure.point import Measurement, Surroundings
from ragbench.processes.priority import may_be_served_first
from ragbench.results.metrics import LOAD
from ragbench.results.paths import StudyPaths
from ragbench.results.records import DECISIONS, REPLICAS, REQUESTS, STARTS, TELEMETRY, write_atomic, write_manifest
from ragbench.study.arrivals import CLOSED, parse_arrival
from ragbench.study.points import Point
from ragbench.study.questions import QuestionSet
from ragbench.study.schedule import schedule_csv, sha256


def write_point(
    measurement: Measurement, paths: StudyPaths, *, log: str, questions: QuestionSet, around: Surroundings
) -> dict[str, Any]:
    """Write the point's folder under a hidden name, manifest last, and rename it. -> the manifest.

    Where that fails, as on a full disk, the point is kept elsewhere: raises StudyError, which says where.
    """

    def write(there: StudyPaths) -> dict[str, Any]:
        return _put_together(measurement, there, log=log, questions=questions, around=around)

    name = measurement.point.name
    try:
        return write(paths)
    except OSError as error:
        shutil.rmtree(paths.partial(name).folder, ignore_errors=True)
        mistakes = kept_elsewhere(error, lambda folder: write(StudyPaths(folder)), what=name, into=paths.root)
        raise StudyError(mistakes) from error


def _put_together(
    measurement: Measurement, paths: StudyPaths, *, log: str, questions: QuestionSet, around: Surroundings
) -> dict[str, Any]:
    point = measurement.point
    aside = paths.partial(point.name)
    shutil.rmtree(aside.folder, ignore_errors=True)
    schedule = schedule_csv(measurement.schedule)
    write_atomic(aside.schedule, schedule)
    write_atomic(aside.requests, REQUESTS.text(measurement.rows))
    tables: list[tuple[Path, CsvFormat[Any], Sequence[Any]]] = [
        (aside.replicas, REPLICAS, measurement.replicas),
        (aside.scaling, DECISIONS, measurement.scaling.decisions),
        (aside.starts, STARTS, measurement.scaling.starts),
        (aside.telemetry, TELEMETRY, measurement.telemetry),
    ]
    for path, table, rows in tables:
        if rows:
            write_atomic(path, table.text(rows))
    write_atomic(aside.log, log)
    manifest = {
        "point": point.as_dict(),
        "seed": point.seed,
        "slo": None if point.slo is None else point.slo.as_dict(),  # by which the summary below judges,
        "same_answers": point.workload.same_answers,  # and whether one text for all questions is no fault
        "schedule_sha256": sha256(schedule),
        "trace": trace_of(point),
        "questions_sha256": questions.sha256,
        **around.as_dict(),
        "client_goes_first": may_be_served_first(),
        "server_info": measurement.server_info,
        "caches": measurement.caches,
        "started_at": measurement.started_at,
        "summary": summary_row(measurement, around),
    }
    write_manifest(aside.manifest, manifest)
    final = paths.point(point.name).folder
    shutil.rmtree(final, ignore_errors=True)
    os.rename(aside.folder, final)
    return manifest


def summary_row(measurement: Measurement, around: Surroundings) -> dict[str, Any]:
    """The point's row of summary.csv, without the settings columns."""
    point = measurement.point
    return {
        "point": point.name,
        "configuration": point.configuration.name,
        "design": point.configuration.design,
        **{name: getattr(point, name) for name in LOAD},
        **asdict(measurement.summary),
        "hardware": str(around.hardware),
        "hostname": around.hardware.hostname,
        "code": around.code_sha256[:SHOWN],
    }


def trace_of(point: Point) -> dict[str, Any] | None:
    """Which trace the point replays and by what its times are multiplied; None where it replays none."""
    trace = None if point.arrival == CLOSED else parse_arrival(point.arrival).trace
    if trace is None or point.offered_rps is None:
        return None
    return {"sha256": trace.sha256, "arrivals": len(trace.offsets_s), "scale": trace.scale(point.offered_rps)}
