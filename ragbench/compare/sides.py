"""One side of a comparison: `FOLDER[:CONFIGURATION[@ARRIVAL]]` -> the runs it names, with figures and requests.

What is compared with what is decided in pairs.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ragbench.files.toml_tables import StudyError
from ragbench.machine.mixing import code_of
from ragbench.results.folder import locate
from ragbench.results.metrics import METRICS
from ragbench.results.paths import PointPaths, StudyPaths
from ragbench.results.records import REQUESTS, RecordError, load_summary, read_manifest, read_manifests
from ragbench.results.slo import Slo
from ragbench.statistics.columns import Floats, Window

_COMPARED = {name: metric.percentile for name, metric in METRICS.items() if "compare" in metric.uses}
LATENCIES = {name: percentile / 100 for name, percentile in _COMPARED.items() if percentile is not None}
COMPARED = (*LATENCIES, *(name for name in _COMPARED if name not in LATENCIES))
SLICES = 100  # of a window, in which answers are counted
NOT_KEPT = "without its requests"
BROKEN = ("failed", "failing")  # verdicts that are the server's own doing, of those left out
LEFT_OUT = (*BROKEN, "contaminated", "client_limited", NOT_KEPT)  # the figures of such points say nothing
OVERLOADED = ("saturated", "shedding")  # the most that a server answers, under a load that asked for more


@dataclass(frozen=True, slots=True)
class Side:
    """What one argument names: a results folder, in it one design or all, under one arrival or all."""

    folder: Path
    configuration: str | None = None
    arrival: str | None = None


@dataclass(frozen=True, slots=True, order=True)
class Level:
    """How much load: a rate for an open loop, a number of users for a closed one."""

    concurrency: int = 0
    offered_rps: float = 0.0

    @property
    def label(self) -> str:
        """As words: `at 12/s`, `with 8 users`."""
        return f"with {self.concurrency} users" if self.concurrency else f"at {self.offered_rps:g}/s"


@dataclass(frozen=True, slots=True)
class Requests:
    """A run's requests within its steady window.

    `latencies_s`: of each one due in it, in order; a request without an ok answer is infinitely late. `answered`,
    `good`: ok answers, and those within the SLO's limit for one request, that ended in each of SLICES of `slice_s`.
    """

    latencies_s: Floats
    answered: Floats
    good: Floats
    slice_s: float

    def counts(self, metric: str) -> Floats:
        """The answers of a rate, by slice."""
        return self.good if metric == "goodput_rps" else self.answered

    def values(self, metric: str) -> Floats:
        """The sample of which a quantile or the mean is the figure `metric`, in the order of time."""
        return self.latencies_s if metric in LATENCIES else self.counts(metric) / self.slice_s


@dataclass(frozen=True, slots=True)
class Run:
    """One whole point as a comparison sees it. None: not known."""

    configuration: str
    arrival: str
    level: Level
    seed: int
    verdict: str
    source: str
    hardware: str
    window: Window
    schedule_sha256: str | None
    slo: Slo | None
    paths: PointPaths
    commit: str | None = None
    code: str | None = None
    hostname: str | None = None
    kept: Requests | None = None  # its requests, where they need not be read

    @property
    def status(self) -> str:
        """Its verdict, or NOT_KEPT where requests are missed: a committed study may keep those of one seed alone."""
        is_missed = self.kept is None and not self.paths.requests.is_file()
        return NOT_KEPT if is_missed and self.verdict not in LEFT_OUT else self.verdict

    def requests(self) -> Requests:
        """Its requests, read unless kept."""
        if self.kept is not None:
            return self.kept
        rows = REQUESTS.frame(self.paths.requests)
        due = rows[self.window.holds(rows["due_s"])].sort_values("request")
        ok = rows[self.window.holds(rows["done_s"]) & (rows["status"] == "ok")]
        good = ok if self.slo is None else ok[ok["latency_s"] <= self.slo.limit_s]
        latencies = due["latency_s"].where(due["status"] == "ok", np.inf).to_numpy(dtype=np.float64)
        ends = (self.window.start_s, self.window.end_s)
        answered, within_limit = (np.histogram(part["done_s"], SLICES, ends)[0].astype(float) for part in (ok, good))
        return Requests(latencies, answered, within_limit, self.window.length_s / SLICES)


def parse_side(text: str) -> Side:
    """`results/smoke:batched-max_batch_size=8@poisson` and its beginnings. Raises StudyError."""
    folder, _, rest = text.partition(":")
    configuration, _, arrival = rest.partition("@")
    if not folder:
        raise StudyError(
            [f"a side looks like FOLDER[:CONFIGURATION[@ARRIVAL]], as in results/smoke:batched, got {text!r}"]
        )
    return Side(Path(folder), configuration or None, arrival or None)


def read_runs(side: Side) -> list[Run]:
    """The whole points that `side` names. Raises StudyError where there are none, naming those there are."""
    runs = _all_runs(side.folder)
    names = [name for name in ("configuration", "arrival") if getattr(side, name) is not None]
    known = {name: {getattr(run, name) for run in runs} for name in names}
    mistakes = [
        f"no {name} {getattr(side, name)!r} in {side.folder / 'summary.csv'}; there: {', '.join(sorted(known[name]))}"
        for name in names
        if getattr(side, name) not in known[name]
    ]
    if mistakes:
        raise StudyError(mistakes)
    return [run for run in runs if all(getattr(run, name) == getattr(side, name) for name in names)]


def _all_runs(folder: Path) -> list[Run]:
    try:
        paths = StudyPaths(locate(folder))
        summary = load_summary(paths.summary)
    except FileNotFoundError as error:
        raise StudyError([str(error)]) from error
    except RecordError as error:
        read_manifests(paths.root)  # of which one of another ragbench is told of first
        raise StudyError([f"{error}; `ragbench report {folder} --recompute` writes the columns of today"]) from error
    return [_run(row, paths.point(row["point"])) for row in summary.to_dict("records")]


def _run(row: Mapping[str, Any], paths: PointPaths) -> Run:
    manifest = read_manifest(paths.manifest) or {}
    slo = manifest.get("slo") or manifest.get("point", {}).get("slo")  # judged again by another, or as measured
    return Run(
        configuration=row["configuration"],
        arrival=row["arrival"],
        level=Level(*(0 if pd.isna(row[name]) else row[name] for name in ("concurrency", "offered_rps"))),
        seed=int(row["seed"]),
        verdict=row["verdict"],
        source=row["source"],
        hardware=str(row["hardware"]),
        window=Window(float(row["window_start_s"]), float(row["window_end_s"])),
        schedule_sha256=manifest.get("schedule_sha256"),
        slo=Slo.of(slo) if slo else None,
        paths=paths,
        commit=manifest.get("git_commit"),
        code=code_of(manifest),
        hostname=(manifest.get("hardware") or {}).get("hostname"),
    )
