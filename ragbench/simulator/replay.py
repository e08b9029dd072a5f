"""A measured study in virtual time: each of its open-loop points on the same schedule, beside what was measured."""

from collections.abc import Callable, Sequence
from dataclasses import asdict

import numpy as np
import pandas as pd

from ragbench.results.metrics import METRICS
from ragbench.results.paths import StudyPaths
from ragbench.results.records import REPLICAS, REQUESTS, ReplicaCount, Row, summary_csv, write_atomic, write_manifest
from ragbench.results.slo import Slo
from ragbench.simulator.agreement import Agreement, quantiles
from ragbench.simulator.fitting import Fits, Fitted, Manifest, Measured, fits
from ragbench.simulator.run import run
from ragbench.simulator.service_times import FitError, ServiceTimes
from ragbench.statistics.columns import Columns, Floats, Window
from ragbench.statistics.summary import summarise
from ragbench.study.questions import Question
from ragbench.study.schedule import Request

_SEEDS = range(1, 11)  # of a point's simulations, on one schedule: the first is written, all count for the agreement
_KEPT = ("point", "slo", "seed", "schedule_sha256", "hardware", "server_info")  # of the measured manifest


def replay(
    paths: StudyPaths,
    out: StudyPaths,
    *,
    on_point: Callable[[str], None] = lambda name: None,
    batches: pd.DataFrame | None = None,
) -> Fits:
    """Simulate every open-loop point of `paths` into `out`, files as of a measured study. Raises FitError.

    A load is simulated with its rate left out of the fit, where the other rates suffice.
    """
    fitted = fits(paths, batches=batches)
    agreements: list[Agreement] = []
    manifests: list[Manifest] = []
    left_out = list(fitted.left_out)
    for design in fitted.fitted:
        loads: dict[tuple[str, float], list[Measured]] = {}
        for point in design.points:
            loads.setdefault((point.manifest["point"]["arrival"], point.offered_rps), []).append(point)
        for (arrival, offered_rps), points in sorted(loads.items()):
            label = f"{design.name}: {arrival} {offered_rps:g}/s"
            try:
                times, is_predicted = design.without(offered_rps), True
            except FitError as error:
                times, is_predicted = design.times, False
                left_out.append(f"{label} not predicted: without its rate {error}")
            replayed = []
            for point in points:
                on_point(point.name)
                manifest, *latencies_s = _simulate(out, point, times, paths.root.name, is_predicted=is_predicted)
                manifests.append(manifest)
                replayed.append(latencies_s)
            measured_s, simulated_s = map(np.concatenate, zip(*replayed, strict=True))
            if np.isfinite(measured_s).any():
                agreements.append(_agreement(design, points, measured_s, simulated_s if is_predicted else None))
            else:
                left_out.append(f"{label} not compared: nothing was answered")
    write_atomic(out.summary, summary_csv(manifests))
    return Fits(fitted.fitted, left_out, agreements)


def _agreement(design: Fitted, points: Sequence[Measured], measured_s: Floats, simulated_s: Floats | None) -> Agreement:
    most_rps = max(point.manifest["summary"]["throughput_rps"] or 0.0 for point in design.points)
    return Agreement(
        design=design.name,
        arrival=points[0].manifest["point"]["arrival"],
        offered_rps=points[0].offered_rps,
        seeds=len(points),
        load=points[0].offered_rps / most_rps,
        verdict=next((point.verdict for point in points if point.verdict != "valid"), "valid"),
        speed=float(np.mean([design.times.speed(point.batches) for point in points])),
        is_predicted=simulated_s is not None,
        **quantiles(measured_s, simulated_s),
    )


def _simulate(
    out: StudyPaths, point: Measured, times: ServiceTimes, study: str, *, is_predicted: bool
) -> tuple[Manifest, Floats, Floats]:
    """Simulate a point with each seed, and write the first. -> its manifest, latencies measured and simulated, s.

    The latencies are of the requests due in the steady window, infinite without an answer.
    """
    schedule = [Request(row.request, row.due_s, Question(row.question, "?")) for row in point.rows]
    info, timeout_s = point.manifest["server_info"], point.manifest["point"]["timeout_s"]
    runs = [
        run(schedule, design=info["design"], settings=info["settings"], times=times, timeout_s=timeout_s, seed=seed)
        for seed in _SEEDS
    ]
    origin = {"fitted_to": study, "left_out_rps": point.offered_rps if is_predicted else None}
    manifest = _write(out, point.manifest, *runs[0], origin=origin)
    # Both have the same schedule, so the same steady window.
    window = Window(manifest["summary"]["window_start_s"], manifest["summary"]["window_end_s"])
    measured_s, *simulated_s = (_latencies(rows, window) for rows in (point.rows, *(rows for rows, _ in runs)))
    return manifest, measured_s, np.concatenate(simulated_s)


def _latencies(rows: Sequence[Row], window: Window) -> Floats:
    columns = Columns(rows)
    return columns.latencies_of(window.holds(columns.due_s))


def _write(
    out: StudyPaths, measured: Manifest, rows: Sequence[Row], counts: Sequence[ReplicaCount], *, origin: Manifest
) -> Manifest:
    """requests.csv, replicas.csv, and the manifest last. -> the manifest."""
    point = measured["point"]
    figures = summarise(
        rows,
        offered_rps=point["offered_rps"],
        duration_s=point.get("duration_s"),
        replicas=counts,
        slo=Slo.of(measured["slo"]) if measured.get("slo") else None,
        source="simulated",
    )
    files = out.point(point["name"])
    write_atomic(files.requests, REQUESTS.text(rows))
    if counts:
        write_atomic(files.replicas, REPLICAS.text(counts))
    summary = {name: measured["summary"].get(name) for name in METRICS} | asdict(figures)
    manifest = {name: measured[name] for name in _KEPT if name in measured} | origin | {"summary": summary}
    write_manifest(files.manifest, manifest)
    return manifest
