"""A measured study in virtual time: each of its open-loop points on the same schedule, beside what was measured."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ragbench.columns import Window
from ragbench.paths import StudyPaths
from ragbench.points import configuration_label
from ragbench.records import (
    ReplicaCount,
    Row,
    read_manifests,
    read_rows,
    replicas_csv,
    requests_csv,
    summary_csv,
    write_atomic,
    write_manifest,
)
from ragbench.schedule import Request
from ragbench.simulator.agreement import Agreement, Pair, agree, latencies
from ragbench.simulator.batches import Batch
from ragbench.simulator.designs import DESIGNS
from ragbench.simulator.run import run
from ragbench.simulator.service_times import FitError, ServiceTimes, fit
from ragbench.slo import Slo
from ragbench.stats import summarise
from ragbench.workload import Question

Manifest = dict[str, Any]

_SEEDS = range(1, 11)  # of a point's simulations, on one schedule: the first is written, all count for the agreement
_KEPT = ("point", "slo", "seed", "schedule_sha256", "hardware", "server_info")  # of the measured manifest


@dataclass(frozen=True, slots=True)
class Fitted:
    """One design with one choice of settings: its service times, and the points it was measured in."""

    name: str
    times: ServiceTimes
    manifests: Sequence[Manifest]

    @property
    def design(self) -> str:
        """As the study calls it."""
        return str(self.manifests[0]["point"]["design"])

    @property
    def info(self) -> Manifest:
        """What the server told of itself."""
        return dict(self.manifests[0]["server_info"])


def fits(paths: StudyPaths, *, batches: Sequence[Batch] = ()) -> list[Fitted]:
    """Every design of a measured study, fitted to its open-loop points; with `batches`, as if these were its own.

    Designs this package has no model of, and those that report no stages, are left out. Raises FitError where that
    leaves none.
    """
    groups: dict[str, list[Manifest]] = {}
    for manifest in read_manifests(paths.root):
        info, point = manifest.get("server_info") or {}, manifest["point"]
        if point["offered_rps"] is not None and info.get("design") in DESIGNS and "settings" in info:
            groups.setdefault(configuration_label(point), []).append(manifest)
    found = []
    for name, manifests in groups.items():
        try:
            times = fit([_rows(paths, manifest) for manifest in manifests])
        except FitError:
            continue
        found.append(Fitted(name, times.with_batches(batches) if batches else times, manifests))
    if not found:
        raise FitError(
            f"nothing to fit in {paths.root}: wanted open-loop points of {', '.join(DESIGNS)} with stage times"
        )
    return found


def choose(fitted: Sequence[Fitted], design: str) -> Fitted:
    """The design's; of several choices of settings, that with the largest batches. Raises FitError."""
    choices = [one for one in fitted if one.design == design]
    if not choices:
        raise FitError(f"no design {design!r} to fit to; there: {', '.join(sorted({one.design for one in fitted}))}")
    return max(choices, key=lambda one: one.info["settings"].get("max_batch_size", 1))


def replay(
    paths: StudyPaths,
    out: StudyPaths,
    *,
    on_point: Callable[[str], None] | None = None,
    batches: Sequence[Batch] = (),
) -> tuple[list[Agreement], list[Fitted]]:
    """Simulate every open-loop point of `paths` into `out`, files as of a measured study. Raises FitError."""
    fitted = fits(paths, batches=batches)
    agreements: list[Agreement] = []
    written: list[Manifest] = []
    for design in fitted:
        pairs: dict[tuple[str, float], list[Pair]] = {}
        for manifest in design.manifests:
            if on_point is not None:
                on_point(manifest["point"]["name"])
            measured = _rows(paths, manifest)
            runs = [simulated(manifest, measured, design.times, seed=seed) for seed in _SEEDS]
            twin = _write(out, manifest, *runs[0], fitted_to=paths.root.name)
            written.append(twin)
            load = manifest["summary"]["arrival"], manifest["point"]["offered_rps"]
            pairs.setdefault(load, []).append(_pair(manifest, measured, [rows for rows, _ in runs], twin, design.times))
        most_rps = max(manifest["summary"]["throughput_rps"] or 0.0 for manifest in design.manifests)
        for (arrival, offered_rps), of_load in sorted(pairs.items()):
            agreement = agree(design.name, arrival, offered_rps, of_load, most_rps=most_rps)
            agreements += [agreement] if agreement else []
    write_atomic(out.summary, summary_csv(written))
    return agreements, fitted


def simulated(
    manifest: Manifest, measured: Sequence[Row], times: ServiceTimes, *, seed: int
) -> tuple[list[Row], list[ReplicaCount]]:
    """The point's own schedule on its own design and settings."""
    info = manifest["server_info"]
    return run(
        [Request(row.request, row.due_s, Question(row.question, "?")) for row in measured],
        design=info["design"],
        settings=info["settings"],
        times=times,
        timeout_s=manifest["point"]["timeout_s"],
        seed=seed,
    )


def _rows(paths: StudyPaths, manifest: Manifest) -> list[Row]:
    return read_rows(paths.point(manifest["point"]["name"]).requests)


def _pair(
    manifest: Manifest, measured: Sequence[Row], runs: Sequence[Sequence[Row]], twin: Manifest, times: ServiceTimes
) -> Pair:
    # Both have the same schedule, so the same steady window.
    window = Window(twin["summary"]["window_start_s"], twin["summary"]["window_end_s"])
    verdict = manifest["summary"]["verdict"]
    simulated_s = np.concatenate([latencies(rows, window) for rows in runs])
    return Pair(verdict, latencies(measured, window), simulated_s, times.speed(measured))


def _write(
    out: StudyPaths, manifest: Manifest, rows: Sequence[Row], counts: Sequence[ReplicaCount], *, fitted_to: str
) -> Manifest:
    """requests.csv, replicas.csv, and the manifest last. -> the manifest."""
    point, before = manifest["point"], manifest["summary"]
    found = summarise(
        rows,
        offered_rps=point["offered_rps"],
        duration_s=point["duration_s"],
        replicas=counts,
        slo=Slo.of(manifest["slo"]) if manifest.get("slo") else None,
        source="simulated",
    )
    files = out.point(point["name"])
    write_atomic(files.requests, requests_csv(rows))
    if counts:
        write_atomic(files.replicas, replicas_csv(counts))
    names = ("point", "configuration", "design", "arrival", "offered_rps", "concurrency", "seed")
    row = {name: before.get(name) for name in names} | asdict(found) | {"hardware": before.get("hardware")}
    kept = {name: manifest[name] for name in _KEPT if name in manifest}
    twin = kept | {"fitted_to": fitted_to, "summary": row}
    write_manifest(files.manifest, twin)
    return twin
