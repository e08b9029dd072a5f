"""What-ifs: a load and things that happen to a design, as a TOML file, run in virtual time. Measures nothing."""

import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ragbench.files.text_file import read_text
from ragbench.files.toml_tables import StudyError
from ragbench.results.paths import SHIPPED_STUDIES
from ragbench.results.records import ReplicaCount, Row
from ragbench.simulator.designs import DESIGNS
from ragbench.simulator.fleet import Fleet
from ragbench.simulator.run import Act, run
from ragbench.simulator.service_times import ServiceTimes
from ragbench.study.arrivals import ArrivalError, Span, parse_arrival
from ragbench.study.questions import Question
from ragbench.study.schedule import Request

_KEYS = ("title", "design", "arrival", "seed", "timeout_s", "phases", "kills", "settings")
_ASKED = Question("scenario", "?")


@dataclass(frozen=True, slots=True)
class Scenario:
    """`phases`: (seconds, requests/s) one after another; `kills`: (moment in s, how many replicas die)."""

    title: str
    design: str
    phases: tuple[tuple[float, float], ...]
    settings: Mapping[str, Any]
    kills: tuple[tuple[float, int], ...] = ()
    arrival: str = "poisson"
    timeout_s: float = 30.0
    seed: int = 1

    @property
    def duration_s(self) -> float:
        """How long its load lasts."""
        return sum(length_s for length_s, _ in self.phases)

    @property
    def offered_rps(self) -> float:
        """Its mean rate."""
        return sum(length_s * rate for length_s, rate in self.phases) / self.duration_s


@dataclass(frozen=True, slots=True)
class Told:
    """What came of a scenario, and how long it took to compute."""

    rows: list[Row]
    counts: list[ReplicaCount]
    wall_s: float


def read_scenario(path: Path) -> Scenario:
    """Raises StudyError naming the file and what is wrong in it."""
    try:
        told = tomllib.loads(read_text(path))
    except OSError as error:
        shipped = ", ".join(sorted(str(one.stem) for one in (SHIPPED_STUDIES / "whatif").glob("*.toml")))
        raise StudyError([f"--scenario {path}: {error.strerror}; in studies/whatif: {shipped}"]) from error
    except (ValueError, RecursionError) as error:
        raise StudyError([f"{path}: {error}"]) from error
    mistakes = [f"{path}: unknown key {key!r}; valid: {', '.join(_KEYS)}" for key in told if key not in _KEYS]
    mistakes += [f"{path}: {key} is needed" for key in ("design", "phases") if key not in told]
    try:
        parse_arrival(told.get("arrival", "poisson"))
        scenario = Scenario(
            title=told.get("title", path.stem),
            design=str(told.get("design", "")),
            phases=tuple((float(one["duration_s"]), float(one["rate"])) for one in told.get("phases", [])),
            settings=told.get("settings", {}),
            kills=tuple((float(one["at_s"]), int(one["replicas"])) for one in told.get("kills", [])),
            arrival=told.get("arrival", "poisson"),
            timeout_s=float(told.get("timeout_s", 30.0)),
            seed=int(told.get("seed", 1)),
        )
    except (ArrivalError, KeyError, TypeError, ValueError) as error:
        wanted = "phases = [{ duration_s = 10, rate = 50 }], kills = [{ at_s = 5, replicas = 1 }]"
        raise StudyError([*mistakes, f"{path}: {error!r}; wanted as in {wanted}"]) from error
    if not all(0 < value < float("inf") for phase in scenario.phases for value in phase) or not scenario.phases:
        mistakes.append(f"{path}: wanted one phase or more, each with finite duration_s > 0 and rate > 0")
    if mistakes:
        raise StudyError(mistakes)
    return scenario


def tell(scenario: Scenario, *, design: str, settings: Mapping[str, Any], times: ServiceTimes) -> Told:
    """Run it on `design` with the settings measured, save where the scenario gives its own. Raises StudyError."""
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
            happenings=[(moment, _killing(count)) for moment, count in scenario.kills],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise StudyError([f"settings: {error}"]) from error
    return Told(rows, counts, time.monotonic() - began_s)


def schedule(scenario: Scenario) -> list[Request]:
    """The phases' loads one after another, from one seeded generator."""
    rng = np.random.default_rng(scenario.seed)
    process = parse_arrival(scenario.arrival)
    due: list[float] = []
    start_s = 0.0
    for length_s, rate in scenario.phases:
        due += (start_s + process.draw(rate, Span(duration_s=length_s), rng)).tolist()
        start_s += length_s
    return [Request(number, due_s, _ASKED) for number, due_s in enumerate(due)]


def _killing(count: int) -> Act:
    def kill(service: Any) -> None:
        assert isinstance(service, Fleet), "only fleets are killed in"
        service.kill(count)

    return kill


@dataclass(frozen=True, slots=True)
class Moment:
    """A second of a scenario: requests that fell due in it, and replicas at its end."""

    t_s: float
    offered_rps: float
    answered_share: float
    latency_p50_s: float
    latency_p95_s: float
    ready: int
    starting: int


def timeline(told: Told, *, step_s: float = 1.0) -> list[Moment]:
    """By steps of the schedule; latencies of answered requests, NaN where there were none."""
    due = np.array([row.due_s for row in told.rows])
    latency = np.array([row.latency_s if row.status == "ok" else np.nan for row in told.rows], dtype=np.float64)
    moments = []
    for start_s in np.arange(int(due[-1] / step_s) + 1 if len(due) else 0) * step_s:
        inside = (due >= start_s) & (due < start_s + step_s)
        known = latency[inside & ~np.isnan(latency)]
        p50, p95 = np.percentile(known, [50, 95]).tolist() if len(known) else (float("nan"), float("nan"))
        ready, starting = _at(told.counts, start_s + step_s)
        share = len(known) / int(inside.sum()) if inside.any() else float("nan")
        moments.append(Moment(float(start_s), float(inside.sum()) / step_s, share, p50, p95, ready, starting))
    return moments


def _at(counts: Sequence[ReplicaCount], moment: float) -> tuple[int, int]:
    before = [count for count in counts if count.t_s <= moment]
    return (before[-1].ready, before[-1].starting) if before else (1, 0)
