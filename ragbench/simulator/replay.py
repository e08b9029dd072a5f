"""A measured study in virtual time: each of its open-loop points on the same schedule, beside what was measured."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial

import numpy as np

from ragbench.results.metrics import METRICS
from ragbench.results.paths import StudyPaths
from ragbench.results.records import REPLICAS, REQUESTS, ReplicaCount, Row, summary_csv, write_atomic, write_manifest
from ragbench.results.slo import Slo
from ragbench.simulator.agreement import Agreement, Pair, agree, latencies
from ragbench.simulator.batches import Batch
from ragbench.simulator.fitting import Fits, Manifest, Measured, fits
from ragbench.simulator.run import run
from ragbench.simulator.service_times import FitError, ServiceTimes
from ragbench.statistics.columns import Floats, Window
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
    batches: Sequence[Batch] = (),
) -> Fits:
    """Simulate every open-loop point of `paths` into `out`, files as of a measured study. Raises FitError.

    What is written is simulated with the point's own rate left out of the fit, where the other rates suffice.
    """
    found = fits(paths, batches=batches)
    agreements: list[Agreement] = []
    written: list[Manifest] = []
    left_out = list(found.left_out)
    for design in found.fitted:
        others: dict[float, ServiceTimes] = {}
        for offered_rps in sorted({point.offered_rps for point in design.points}):
            try:
                others[offered_rps] = design.without(offered_rps)
            except FitError as error:
                left_out.append(f"{design.name}: {offered_rps:g}/s only in sample: without it {error}")
        pairs: dict[tuple[str, float], list[Pair]] = {}
        for point in design.points:
            on_point(point.name)
            manifest, pair = _simulate(out, point, design.times, others.get(point.offered_rps), study=paths.root.name)
            written.append(manifest)
            pairs.setdefault((point.manifest["point"]["arrival"], point.offered_rps), []).append(pair)
        most_rps = max(point.manifest["summary"]["throughput_rps"] or 0.0 for point in design.points)
        for (arrival, offered_rps), of_load in sorted(pairs.items()):
            agreement = agree(design.name, arrival, offered_rps, of_load, most_rps=most_rps)
            if agreement is not None:
                agreements.append(agreement)
            else:
                left_out.append(f"{design.name}: {arrival} {offered_rps:g}/s not compared: nothing was answered")
    write_atomic(out.summary, summary_csv(written))
    return Fits(found.fitted, left_out, agreements)


def _simulate(
    out: StudyPaths, point: Measured, in_sample: ServiceTimes, without: ServiceTimes | None, *, study: str
) -> tuple[Manifest, Pair]:
    """The point by both fits; written is that without its rate, where there is one. -> its manifest, the latencies."""
    schedule = [Request(row.request, row.due_s, Question(row.question, "?")) for row in point.rows]
    info, timeout_s = point.manifest["server_info"], point.manifest["point"]["timeout_s"]
    simulate = partial(run, schedule, design=info["design"], settings=info["settings"], timeout_s=timeout_s)

    def runs(times: ServiceTimes) -> list[tuple[list[Row], list[ReplicaCount]]]:
        return [simulate(times=times, seed=seed) for seed in _SEEDS]

    def pooled(runs: Sequence[tuple[Sequence[Row], Sequence[ReplicaCount]]]) -> Floats:
        return np.concatenate([latencies(rows, window) for rows, _ in runs])

    shown = runs(without or in_sample)
    twin = _write(out, point.manifest, *shown[0], study=study, is_left_out=without is not None)
    # Both have the same schedule, so the same steady window.
    window = Window(twin["summary"]["window_start_s"], twin["summary"]["window_end_s"])
    predicted_s = None if without is None else pooled(shown)
    inside_s = pooled(shown if without is None else runs(in_sample))
    measured_s = latencies(point.rows, window)
    return twin, Pair(point.verdict, measured_s, predicted_s, inside_s, in_sample.speed(point.batches))


def _write(
    out: StudyPaths,
    manifest: Manifest,
    rows: Sequence[Row],
    counts: Sequence[ReplicaCount],
    *,
    study: str,
    is_left_out: bool,
) -> Manifest:
    """requests.csv, replicas.csv, and the manifest last. -> the manifest."""
    point, before = manifest["point"], manifest["summary"]
    found = summarise(
        rows,
        offered_rps=point["offered_rps"],
        duration_s=point.get("duration_s"),
        replicas=counts,
        slo=Slo.of(manifest["slo"]) if manifest.get("slo") else None,
        source="simulated",
    )
    files = out.point(point["name"])
    write_atomic(files.requests, REQUESTS.text(rows))
    if counts:
        write_atomic(files.replicas, REPLICAS.text(counts))
    twin = {
        **{name: manifest[name] for name in _KEPT if name in manifest},
        "fitted_to": study,
        "left_out_rps": point["offered_rps"] if is_left_out else None,
        "summary": {name: before.get(name) for name in METRICS} | asdict(found),
    }
    write_manifest(files.manifest, twin)
    return twin
