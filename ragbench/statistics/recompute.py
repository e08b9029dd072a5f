"""The summaries of measured points, computed again from their files: rows, replicas, telemetry, manifest.

So older results get new columns and new rules, and can be judged by another SLO. Measures nothing.
"""

import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ragbench.files.csv_format import CsvFormat, RowT
from ragbench.files.csv_table import RecordError
from ragbench.results import records
from ragbench.results.metrics import METRICS
from ragbench.results.paths import PointPaths, StudyPaths
from ragbench.results.slo import Slo
from ragbench.statistics.summary import summarise
from ragbench.study.arrivals import ArrivalError, step_up_s


def recompute(
    paths: StudyPaths,
    *,
    slo: Slo | None = None,
    same_answers: bool | None = None,
    on_point: Callable[[str], None] | None = None,
) -> list[dict[str, Any]]:
    """Compute every whole point again, in its manifest and in summary.csv. -> the manifests.

    `slo` and `same_answers` hold for all points; without them each point has the SLO that it was measured for, and
    `same_answers` as before. `on_point` is called with each name. Raises RecordError where the rows of a point cannot
    be read; the points before it are then computed, summary.csv is not.
    """
    manifests = []
    for manifest in records.read_manifests(paths.root):
        point = paths.point(manifest["point"]["name"])
        manifests.append(_again(manifest, point, slo, same_answers))
        records.write_manifest(point.manifest, manifests[-1])
        if on_point is not None:
            on_point(manifest["point"]["name"])
    records.write_atomic(paths.summary, records.summary_csv(manifests))
    return manifests


def _again(manifest: dict[str, Any], paths: PointPaths, slo: Slo | None, same_answers: bool | None) -> dict[str, Any]:
    point, before = manifest["point"], manifest["summary"]
    if slo is None and point.get("slo"):
        slo = Slo.of(point["slo"])
    if same_answers is None:
        same_answers = bool(manifest.get("same_answers"))
    summary = summarise(
        records.REQUESTS.read(paths.requests),
        offered_rps=point["offered_rps"],
        concurrency=point.get("concurrency"),
        duration_s=point.get("duration_s"),
        replicas=_read(records.REPLICAS, paths.replicas),
        scaling=records.Scaling(_read(records.DECISIONS, paths.scaling), _read(records.STARTS, paths.starts)),
        step_up_s=_step_up_s(point, paths),
        telemetry=_read(records.TELEMETRY, paths.telemetry),
        slo=slo,
        # The rows do not say why a server died; where they say why a point failed, the reason comes out the same.
        failure=before.get("verdict_reason") if before.get("verdict") == "failed" else None,
        cores=(manifest.get("hardware") or {}).get("cores"),
        same_answers=same_answers,
        source=before.get("source") or "measured",
    )
    figures = asdict(summary)
    infinite = [name for name, value in figures.items() if isinstance(value, float) and not math.isfinite(value)]
    if infinite:
        raise RecordError(f"{paths.requests}: its rows give no finite {infinite[0]}")
    # The columns that name the point and its machine are not in requests.csv.
    row = {name: before.get(name) for name in METRICS} | figures
    return manifest | {"slo": slo.as_dict() if slo else None, "same_answers": same_answers, "summary": row}


def _read(form: CsvFormat[RowT], path: Path) -> tuple[RowT, ...]:
    """The rows of a file; none where there is no file."""
    return tuple(form.read(path)) if path.is_file() else ()


def _step_up_s(point: dict[str, Any], paths: PointPaths) -> float | None:
    """When the load stepped up. Its length is taken for 0 where the number of requests and their answers decided it."""
    lasts_s = float(point.get("duration_s") or (point.get("requests") or 0) / (point["offered_rps"] or 1))
    try:
        return step_up_s(point["arrival"], lasts_s)
    except ArrivalError as error:
        raise RecordError(f"{paths.manifest}: {error}") from error
