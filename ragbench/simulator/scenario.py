"""What-ifs: a load and events of a design, read from a TOML file, run in virtual time, and written as results."""

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import field
from operator import methodcaller
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic.dataclasses import dataclass

from ragbench.files.csv_table import write_table
from ragbench.files.mistakes import checked
from ragbench.files.toml_tables import StudyError, read_toml
from ragbench.files.values import TABLE, Natural, Number, Positive, Several, Text, Whole
from ragbench.files.whole_file import write_whole
from ragbench.results.paths import SHIPPED_STUDIES
from ragbench.results.records import REQUESTS, ReplicaCount, Row, write_atomic
from ragbench.simulator.run import DESIGNS, run
from ragbench.simulator.service_times import ServiceTimes
from ragbench.statistics.summary import percentile
from ragbench.study.arrivals import Span, parse_arrival
from ragbench.study.questions import Question
from ragbench.study.schedule import Request
from ragbench.study.study import Arrival

if TYPE_CHECKING:
    import pandas as pd

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
        shipped = ", ".join(sorted(path.stem for path in (SHIPPED_STUDIES / "whatif").glob("*.toml")))
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


def timeline(simulated: Simulated, *, step_s: float = 1.0) -> "pd.DataFrame":
    """A line per step of the schedule: the requests due in it, and the replicas at its end.

    Latencies are of answered requests; they and the share answered are NaN where there are none.
    """
    import pandas as pd  # noqa: PLC0415  `ragbench doctor` needs no pandas

    latency_s = {row.request: row.latency_s if row.status == "ok" else np.nan for row in simulated.rows}
    steps = pd.Series([int(row.due_s // step_s) for row in simulated.rows], dtype=int, index=list(latency_s))
    by_step = pd.Series(latency_s, dtype=float).groupby(steps)
    columns = {"offered_rps": by_step.size() / step_s, "answered_share": by_step.count() / by_step.size()}
    columns |= {f"latency_p{percent}_s": by_step.quantile(percent / 100) for percent in (50, 95)}
    moments = pd.DataFrame(columns).reindex(range(steps.max() + 1 if len(steps) else 0))
    moments["offered_rps"] = moments["offered_rps"].fillna(0.0)
    moments.insert(0, "t_s", moments.index * step_s)
    counts = pd.DataFrame([ReplicaCount(-np.inf, 1, 0, 0), *simulated.counts])
    places = counts["t_s"].searchsorted(moments["t_s"] + step_s, side="right") - 1
    return moments.join(counts.loc[places, ["ready", "starting"]].reset_index(drop=True))


def summary_of(simulated: Simulated, scenario: Scenario) -> dict[str, float]:
    """Figures of the scenario; `wall_s`: how long it took to compute."""
    latency_s = np.array([row.latency_s for row in simulated.rows if row.status == "ok"], dtype=np.float64)
    ready = [count.ready for count in simulated.counts] or [1]
    return {
        "requests": len(simulated.rows),
        "answered": len(latency_s),
        "offered_rps": scenario.offered_rps,
        **{f"latency_p{percent}_s": percentile(latency_s, percent) or np.nan for percent in (50, 95, 99)},
        "replicas_least": min(ready),
        "replicas_most": max(ready),
        "simulated_s": scenario.duration_s,
        "wall_s": simulated.wall_s,
    }


def write(simulated: Simulated, scenario: Scenario, folder: Path) -> list[Path]:
    """Write requests.csv (at most MOST_ROWS), timeline.csv and timeline.png. -> their paths."""
    from ragbench.plots import rendered  # noqa: PLC0415  `ragbench doctor` needs no matplotlib
    from ragbench.simulator.figure import timeline_figure  # noqa: PLC0415

    every = -(-len(simulated.rows) // MOST_ROWS) or 1
    moments = timeline(simulated)
    write_atomic(folder / "requests.csv", REQUESTS.text(simulated.rows[::every]))
    cells = moments.astype(object).where(moments.notna(), None)
    write_atomic(folder / "timeline.csv", write_table(list(moments), cells.itertuples(index=False)))
    note = f"requests.csv holds one request in {every}" if every > 1 else ""
    figure = timeline_figure(moments, title=scenario.title, note=note)
    write_whole(folder / "timeline.png", rendered(figure, "png"))
    return [folder / name for name in ("requests.csv", "timeline.csv", "timeline.png")]
