"""The summaries of points measured before, computed again from what they wrote: rows, replicas, telemetry, manifest.

So old results get new columns and new rules, and another SLO can be asked of them. Measures nothing.
"""

import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from ragbench.files.csv_table import RecordError
from ragbench.results.metrics import METRICS, Summary
from ragbench.results.paths import PointPaths, StudyPaths
from ragbench.results.records import (
    DECISIONS,
    REPLICAS,
    REQUESTS,
    STARTS,
    TELEMETRY,
    Scaling,
    read_manifests,
    summary_csv,
    write_atomic,
    write_manifest,
)
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

    `slo` is asked of all points, and `same_answers` holds for all. Without the first, each is judged by the SLO that it
    was measured for; without the second, as it was before.
    `on_point` is called with each name.
    Raises RecordError where the rows of a point cannot be read; points before it are then computed, summary.csv is not.
    """
    manifests = []
    for manifest in read_manifests(paths.root):
        point = paths.point(manifest["point"]["name"])
        manifests.append(_again(manifest, point, slo, same_answers))
        write_manifest(point.manifest, manifests[-1])
        if on_point is not None:
            on_point(manifest["point"]["name"])
    write_atomic(paths.summary, summary_csv(manifests))
    return manifests


def _again(manifest: dict[str, Any], paths: PointPaths, slo: Slo | None, same_answers: bool | None) -> dict[str, Any]:
    before = manifest["summary"]
    own = manifest["point"].get("slo")
    asked = slo or (Slo.of(own) if own else None)
    alike = bool(manifest.get("same_answers")) if same_answers is None else same_answers
    figures = asdict(_summary(manifest, paths, asked, same_answers=alike))
    wild = [name for name, value in figures.items() if isinstance(value, float) and not math.isfinite(value)]
    if wild:
        raise RecordError(f"{paths.requests}: its rows give no finite {wild[0]}")
    # What names the point and its machine no row of requests.csv can tell.
    row = {name: before.get(name) for name in METRICS} | figures
    judged_by = {"slo": asked.as_dict() if asked else None, "same_answers": alike}
    return manifest | judged_by | {"summary": row}


def _summary(manifest: dict[str, Any], paths: PointPaths, slo: Slo | None, *, same_answers: bool) -> Summary:
    point, before = manifest["point"], manifest["summary"]
    return summarise(
        REQUESTS.read(paths.requests),
        offered_rps=point["offered_rps"],
        concurrency=point.get("concurrency"),
        duration_s=point.get("duration_s"),
        replicas=REPLICAS.read(paths.replicas) if paths.replicas.is_file() else (),
        scaling=Scaling(
            tuple(DECISIONS.read(paths.scaling)) if paths.scaling.is_file() else (),
            tuple(STARTS.read(paths.starts)) if paths.starts.is_file() else (),
        ),
        step_up_s=_step_up_s(point, paths),
        telemetry=TELEMETRY.read(paths.telemetry) if paths.telemetry.is_file() else (),
        slo=slo,
        # Why a server died is in no row; the same reason comes out where the rows do tell.
        failure=before.get("verdict_reason") if before.get("verdict") == "failed" else None,
        cores=(manifest.get("hardware") or {}).get("cores"),
        same_answers=same_answers,
        source=before.get("source") or "measured",
    )


def _step_up_s(point: dict[str, Any], paths: PointPaths) -> float | None:
    try:
        return step_up_s(point["arrival"], _lasts_s(point))
    except ArrivalError as error:
        raise RecordError(f"{paths.manifest}: {error}") from error


def _lasts_s(point: dict[str, Any]) -> float:
    """How long its load was to last; 0 where its answers decided."""
    return float(point.get("duration_s") or (point.get("requests") or 0) / (point["offered_rps"] or 1))
