"""A measured study in virtual time: each of its points on the same schedule, beside what was measured there."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from ragbench.paths import StudyPaths
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
from ragbench.simulator.designs import DESIGNS
from ragbench.simulator.run import run
from ragbench.simulator.service_times import FitError, ServiceTimes, fit
from ragbench.slo import Slo
from ragbench.stats import Summary, summarise
from ragbench.workload import Question

Manifest = dict[str, Any]

BELOW = 0.8  # of capacity: nearer to it, small errors of service time become large ones of latency
WITHIN = 0.15
_SEED = 1


@dataclass(frozen=True, slots=True)
class Agreement:
    """One point, measured and simulated. `load`: its rate over the most that the design ever answered."""

    design: str
    arrival: str
    offered_rps: float
    seed: int
    load: float
    verdict: str
    latency_p50_s: float
    simulated_p50_s: float
    latency_p95_s: float
    simulated_p95_s: float

    @property
    def is_judged(self) -> bool:
        """Whether it counts: measured well, and clear of saturation."""
        return self.verdict == "valid" and self.load < BELOW

    @property
    def p50_off(self) -> float:
        """Simulated over measured, less 1."""
        return self.simulated_p50_s / self.latency_p50_s - 1

    @property
    def p95_off(self) -> float:
        """Simulated over measured, less 1."""
        return self.simulated_p95_s / self.latency_p95_s - 1

    @property
    def agrees(self) -> bool:
        """Whether both are within the margin."""
        return abs(self.p50_off) <= WITHIN and abs(self.p95_off) <= WITHIN


AGREEMENT_COLUMNS = tuple(item.name for item in fields(Agreement))


def fits(paths: StudyPaths) -> dict[str, tuple[ServiceTimes, list[Manifest]]]:
    """Service times per design of a measured study, by the design's name, with the open-loop points it was seen in.

    Designs this package has no model of, and those that report no stages, are left out. Raises FitError where that
    leaves none.
    """
    groups: dict[str, list[Manifest]] = {}
    for manifest in read_manifests(paths.root):
        info, point = manifest.get("server_info") or {}, manifest["point"]
        if point["offered_rps"] is not None and info.get("design") in DESIGNS and "settings" in info:
            groups.setdefault(design_name(point), []).append(manifest)
    found: dict[str, tuple[ServiceTimes, list[Manifest]]] = {}
    for name, manifests in groups.items():
        rows = [read_rows(paths.point(manifest["point"]["name"]).requests) for manifest in manifests]
        try:
            found[name] = (fit(rows), manifests)
        except FitError:
            continue
    if not found:
        raise FitError(
            f"nothing to fit in {paths.root}: wanted open-loop points of {', '.join(DESIGNS)} with stage times"
        )
    return found


def design_name(point: Manifest) -> str:
    """The variant and its settings, as in `batched max_batch_size=8`."""
    settings = [f"{name}={value}" for name, value in point["settings"].items()]
    return " ".join([point["variant"], *settings])


def replay(
    paths: StudyPaths, out: StudyPaths, *, on_point: Callable[[str], None] | None = None
) -> tuple[list[Agreement], dict[str, ServiceTimes]]:
    """Simulate every open-loop point of `paths` into `out`, files as of a measured study. Raises FitError."""
    agreements: list[Agreement] = []
    fitted = fits(paths)
    written: list[Manifest] = []
    for name, (times, manifests) in fitted.items():
        most_rps = max(manifest["summary"]["throughput_rps"] for manifest in manifests)
        for manifest in manifests:
            measured = read_rows(paths.point(manifest["point"]["name"]).requests)
            rows, counts = simulated(manifest, measured, times)
            written.append(_write(out, manifest, rows, counts, fitted_to=str(paths.root)))
            agreements += _agreement(name, manifest, written[-1]["summary"], most_rps)
            if on_point is not None:
                on_point(manifest["point"]["name"])
    write_atomic(out.summary, summary_csv(written))
    return agreements, {name: times for name, (times, _) in fitted.items()}


def simulated(manifest: Manifest, measured: Sequence[Row], times: ServiceTimes) -> tuple[list[Row], list[ReplicaCount]]:
    """The point's own schedule on its own design and settings."""
    info = manifest["server_info"]
    return run(
        [Request(row.request, row.due_s, Question(row.question, "?")) for row in measured],
        design=info["design"],
        settings=info["settings"],
        times=times,
        timeout_s=manifest["point"]["timeout_s"],
        seed=_SEED,
    )


def _write(
    out: StudyPaths, manifest: Manifest, rows: Sequence[Row], counts: Sequence[ReplicaCount], *, fitted_to: str
) -> Manifest:
    """requests.csv, replicas.csv, and the manifest last. -> the manifest."""
    point = manifest["point"]
    slo = Slo.of(manifest["slo"]) if manifest.get("slo") else None
    found = summarise(
        rows,
        offered_rps=point["offered_rps"],
        duration_s=point["duration_s"],
        replicas=counts,
        slo=slo,
        source="simulated",
    )
    files = out.point(point["name"])
    write_atomic(files.requests, requests_csv(rows))
    if counts:
        write_atomic(files.replicas, replicas_csv(counts))
    kept = {
        name: manifest[name] for name in ("point", "slo", "seed", "schedule_sha256", "hardware") if name in manifest
    }
    told = kept | {"fitted_to": fitted_to, "server_info": manifest["server_info"], "summary": _row(manifest, found)}
    write_manifest(files.manifest, told)
    return told


def _row(manifest: Manifest, found: Summary) -> dict[str, Any]:
    before = manifest["summary"]
    names = ("point", "variant", "arrival", "offered_rps", "concurrency", "seed")
    return {name: before.get(name) for name in names} | asdict(found) | {"hardware": before.get("hardware")}


def _agreement(name: str, manifest: Manifest, found: dict[str, Any], most_rps: float) -> list[Agreement]:
    """None where either has no answers."""
    before = manifest["summary"]
    if None in (before["latency_p50_s"], found["latency_p50_s"]):
        return []
    return [
        Agreement(
            design=name,
            arrival=before["arrival"],
            offered_rps=before["offered_rps"],
            seed=before["seed"],
            load=before["offered_rps"] / most_rps,
            verdict=before["verdict"],
            latency_p50_s=before["latency_p50_s"],
            simulated_p50_s=found["latency_p50_s"],
            latency_p95_s=before["latency_p95_s"],
            simulated_p95_s=found["latency_p95_s"],
        )
    ]


def agreement_csv(agreements: Sequence[Agreement]) -> str:
    """The table as CSV text."""
    rows = ([_cell(value) for value in asdict(one).values()] for one in agreements)
    return "\n".join([",".join(AGREEMENT_COLUMNS), *map(",".join, rows)]) + "\n"


def _cell(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def verdict(agreements: Sequence[Agreement]) -> str:
    """In one line, how many of the points that count agree."""
    judged = [one for one in agreements if one.is_judged]
    agree = sum(one.agrees for one in judged)
    return (
        f"p50 and p95 within {WITHIN:.0%} in {agree} of {len(judged)} valid points below {BELOW:.0%} of capacity "
        f"(of {len(agreements)} points)"
    )
