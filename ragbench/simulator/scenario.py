"""What-ifs: a load and events of a design, read from a TOML file, run in virtual time, and written as results."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, field
from operator import methodcaller
from pathlib import Path
from typing import Any

import numpy as np
from pydantic.dataclasses import dataclass

from ragbench.files.csv_format import CsvFormat
from ragbench.files.mistakes import checked
from ragbench.files.toml_tables import StudyError, read_toml
from ragbench.files.values import TABLE, Natural, Number, Positive, Several, Text, Whole
from ragbench.results.paths import SHIPPED_STUDIES
from ragbench.results.records import REQUESTS, ReplicaCount, Row, write_atomic
from ragbench.simulator.run import DESIGNS, run
from ragbench.simulator.service_times import ServiceTimes
from ragbench.study.arrivals import Span, parse_arrival
from ragbench.study.questions import Question
from ragbench.study.schedule import Request
from ragbench.study.study import Arrival

MOST_ROWS = 50_000  # in requests.csv; beyond it, every k-th request
_ASKED = Question("scenario", "?")


@dataclass(frozen=True, slots=True, config=TABLE)
class Phase:
    """A part of the load at one rate."""

    duration_s: Positive
    """How long it lasts."""
    rate: Positive
    """Requests per second."""


@dataclass(frozen=True, slots=True, config=TABLE)
class Kill:
    """A moment at which replicas die."""

    at_s: Number
    """From the beginning of the load."""
    replicas: Whole
    """How many die."""


@dataclass(frozen=True, slots=True, kw_only=True, config=TABLE)
class Scenario:
    """A what-if: a load, and the events of a design under it."""

    title: Text = ""
    """The title of the figure; absent: the name of the file."""
    design: Text
    """The design that is simulated, as in "scaled"."""
    arrival: Arrival = "poisson"
    """How requests arrive, as in "poisson" or "gamma:cv=3"."""
    seed: Natural = 1
    """Decides the schedule and the service times."""
    timeout_s: Positive = 30.0
    """The longest that a request may take, from when it was due."""
    phases: Several[Phase]
    """Loads one after another, as in [{ duration_s = 10, rate = 50 }]."""
    kills: tuple[Kill, ...] = ()
    """When how many replicas die, as in [{ at_s = 5, replicas = 1 }]."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Settings of the design that are not as they were measured."""

    @property
    def duration_s(self) -> float:
        """How long its load lasts."""
        return sum(phase.duration_s for phase in self.phases)

    @property
    def offered_rps(self) -> float:
        """Its mean rate."""
        return sum(phase.duration_s * phase.rate for phase in self.phases) / self.duration_s


@dataclasses.dataclass(frozen=True, slots=True)
class Simulated:
    """The requests and replicas of a scenario, and how long it took to compute."""

    rows: list[Row]
    counts: list[ReplicaCount]
    wall_s: float


def read_scenario(path: Path) -> Scenario:
    """Raises StudyError naming the file and what is wrong in it."""
    try:
        tables = read_toml(path)
    except OSError as error:
        shipped = ", ".join(sorted(str(one.stem) for one in (SHIPPED_STUDIES / "whatif").glob("*.toml")))
        raise StudyError([f"--scenario {path}: {error.strerror}; in studies/whatif: {shipped}"]) from error
    try:
        return checked(Scenario, {"title": path.stem, **tables})
    except StudyError as error:
        raise StudyError(f"{path}: {mistake}" for mistake in error.mistakes) from error


def simulate(scenario: Scenario, *, design: str, settings: Mapping[str, Any], times: ServiceTimes) -> Simulated:
    """Run it on `design` with the measured `settings`, overridden by those of the scenario. Raises StudyError."""
    began_s = time.monotonic()
    unknown = [name for name in scenario.settings if name not in {*settings, "own_machines", "cold_start_s"}]
    if unknown:
        raise StudyError([f"settings: {name!r} is no setting of {design}" for name in unknown])
    if design not in DESIGNS:
        raise StudyError([f"there is no model of {design!r}; known: {', '.join(DESIGNS)}"])
    if scenario.kills and design != "scaled":
        raise StudyError([f"kills need replicas, and {design} has none"])
    try:
        rows, counts = run(
            schedule(scenario),
            design=design,
            settings={**settings, **scenario.settings},
            times=times,
            timeout_s=scenario.timeout_s,
            seed=scenario.seed,
            events=[(kill.at_s, methodcaller("kill", kill.replicas)) for kill in scenario.kills],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise StudyError([f"settings: {error}"]) from error
    return Simulated(rows, counts, time.monotonic() - began_s)


def schedule(scenario: Scenario) -> list[Request]:
    """The phases' loads one after another, from one seeded generator."""
    rng = np.random.default_rng(scenario.seed)
    process = parse_arrival(scenario.arrival)
    due: list[float] = []
    start_s = 0.0
    for phase in scenario.phases:
        due += (start_s + process.draw(phase.rate, Span(duration_s=phase.duration_s), rng)).tolist()
        start_s += phase.duration_s
    return [Request(number, due_s, _ASKED) for number, due_s in enumerate(due)]


@dataclasses.dataclass(frozen=True, slots=True)
class TimelineRow:
    """A second of a scenario: requests due in it, and replicas at its end."""

    t_s: float
    offered_rps: float
    answered_share: float
    latency_p50_s: float
    latency_p95_s: float
    ready: int
    starting: int


def timeline(simulated: Simulated, *, step_s: float = 1.0) -> list[TimelineRow]:
    """By steps of the schedule; latencies of answered requests, NaN where there were none."""
    due = np.array([row.due_s for row in simulated.rows])
    latency = np.array([row.latency_s if row.status == "ok" else np.nan for row in simulated.rows], dtype=np.float64)
    moments = []
    for start_s in np.arange(int(due[-1] / step_s) + 1 if len(due) else 0) * step_s:
        inside = (due >= start_s) & (due < start_s + step_s)
        known = latency[inside & ~np.isnan(latency)]
        p50, p95 = np.percentile(known, [50, 95]).tolist() if len(known) else (float("nan"), float("nan"))
        ready, starting = _at(simulated.counts, start_s + step_s)
        share = len(known) / int(inside.sum()) if inside.any() else float("nan")
        moments.append(TimelineRow(float(start_s), float(inside.sum()) / step_s, share, p50, p95, ready, starting))
    return moments


def _at(counts: Sequence[ReplicaCount], moment: float) -> tuple[int, int]:
    before = [count for count in counts if count.t_s <= moment]
    return (before[-1].ready, before[-1].starting) if before else (1, 0)


TIMELINE = CsvFormat(TimelineRow, real=".6g")


def summary_of(simulated: Simulated, scenario: Scenario) -> dict[str, float]:
    """Figures of the scenario; `wall_s`: how long it took to compute."""
    latency_s = np.array([row.latency_s for row in simulated.rows if row.status == "ok"], dtype=np.float64)
    p50, p95, p99 = np.percentile(latency_s, [50, 95, 99]).tolist() if len(latency_s) else [float("nan")] * 3
    ready = [count.ready for count in simulated.counts] or [1]
    return {
        "requests": len(simulated.rows),
        "answered": len(latency_s),
        "offered_rps": scenario.offered_rps,
        "latency_p50_s": p50,
        "latency_p95_s": p95,
        "latency_p99_s": p99,
        "replicas_least": min(ready),
        "replicas_most": max(ready),
        "simulated_s": scenario.duration_s,
        "wall_s": simulated.wall_s,
    }


def write(simulated: Simulated, scenario: Scenario, folder: Path) -> list[Path]:
    """Write requests.csv (at most MOST_ROWS), timeline.csv and timeline.png. -> their paths."""
    from ragbench.simulator.figure import draw_timeline  # noqa: PLC0415  `ragbench doctor` needs no matplotlib

    every = -(-len(simulated.rows) // MOST_ROWS) or 1
    rows = timeline(simulated)
    write_atomic(folder / "requests.csv", REQUESTS.text(simulated.rows[::every]))
    write_atomic(folder / "timeline.csv", TIMELINE.text(rows))
    note = f"requests.csv holds one request in {every}" if every > 1 else ""
    draw_timeline([asdict(row) for row in rows], folder / "timeline.png", title=scenario.title, note=note)
    return [folder / name for name in ("requests.csv", "timeline.csv", "timeline.png")]
