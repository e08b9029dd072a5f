"""Search each design's capacity: start it once, probe the rates that capacity.py names, write every probe as a point.

A probe that lies there whole is taken from its files, so that an interrupted search goes on where it was.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ragbench.capacity import Probe, Search, Vote
from ragbench.capacity_file import Outcome
from ragbench.columns import Columns, Window
from ragbench.config import Study, StudyError
from ragbench.descriptors import allow_files
from ragbench.growth import growth
from ragbench.in_flight import in_flight_at
from ragbench.launch import HURRIED_GRACE_S, LaunchError, Remote, Service, start
from ragbench.load import OnRow
from ragbench.measure import Surroundings, measure, schedule_of, write_point
from ragbench.paths import StudyPaths
from ragbench.points import Configuration, Point, expand
from ragbench.records import Row, read_manifest, read_rows
from ragbench.schedule import schedule_csv, sha256
from ragbench.slo import Slo
from ragbench.telemetry import throttling
from ragbench.workload import QuestionSet

MOST_TRIES = 3


@dataclass(frozen=True, slots=True)
class Plan:
    """How the designs of a study are probed. `start_rps`: None starts each at the lowest rate of its load."""

    slo: Slo
    arrival: str = "poisson"
    seeds: int = 3
    duration_s: float = 5.0
    tolerance: float = 0.05
    start_rps: float | None = None
    most_probes: int = 16

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise StudyError([f"--seeds must be >= 1, got {self.seeds}"])
        if not 0 < self.tolerance <= 1:
            raise StudyError([f"--tolerance must be a share above 0, up to 1, got {self.tolerance:g}"])
        if not 0 < self.duration_s < float("inf"):
            raise StudyError([f"--duration-s must be > 0, got {self.duration_s:g}"])
        if self.most_probes < 1:
            raise StudyError([f"--most-probes must be >= 1, got {self.most_probes}"])
        if self.start_rps is not None and not 0 < self.start_rps < float("inf"):
            raise StudyError([f"--start must be a rate > 0, got {self.start_rps:g}"])


class Watching:
    """What a search tells of itself while it runs; each does nothing unless replaced."""

    def starting(self, configuration: Configuration) -> None:
        """A server is being started."""

    def point_begins(self, point: Point) -> None:
        """A load is about to be fired."""

    def row(self, row: Row) -> None:
        """A request is over."""

    def probed(self, configuration: Configuration, probe: Probe, search: Search) -> None:
        """A rate is decided."""

    def note(self, text: str) -> None:
        """A line to keep."""


def first_points(study: Study, plan: Plan, *, design: str | None = None) -> list[Point]:
    """One point per design at its start rate: what all its probes are made from. Raises StudyError."""
    firsts: dict[str, Point] = {}
    for launch in expand(study):
        firsts.setdefault(launch.configuration.name, launch.points[0])
    wanted = [p for p in firsts.values() if design in (None, p.configuration.design, p.configuration.name)]
    if not wanted:
        raise StudyError([f"no design {design!r} in study {study.name}; there: {', '.join(sorted(firsts))}"])
    return [_probing(point, plan, _start_rps(point, plan), seed=study.seeds[0]) for point in wanted]


def _start_rps(point: Point, plan: Plan) -> float:
    return plan.start_rps or min(point.load.rates, default=1.0)


def _probing(point: Point, plan: Plan, rate_rps: float, *, seed: int) -> Point:
    load = replace(
        point.load,
        arrivals=(plan.arrival,),
        rates=(rate_rps,),
        concurrency=(),
        duration_s=plan.duration_s,
        requests=None,
    )
    return replace(
        point, arrival=plan.arrival, offered_rps=rate_rps, concurrency=None, seed=seed, load=load, slo=plan.slo
    )


def vote(rows: Sequence[Row], summary: Mapping[str, Any], *, tolerance: float) -> Vote:
    """Whether one seed kept the promise, and could go on keeping it.

    A short load cannot show a queue that grows slowly: at 2% above capacity, 5 s add 0.1 s of latency. So a queue that
    gains more than half the tolerance of what was asked over the steady window is a failure as well. A promise that
    was kept beside another busy program was kept.
    """
    verdict, reason = summary["verdict"], summary["verdict_reason"]
    if verdict in ("failed", "failing", "saturated", "shedding", "client_limited"):
        return Vote(False, f"{verdict}: {reason}", is_service=verdict != "client_limited")
    if not summary["requests"]:
        return Vote(False, "no request was drawn", is_service=False)
    window = Window(summary["window_start_s"], summary["window_end_s"])
    # A schedule may ask for more than its rate by luck: who answers the rate itself has not fallen behind it.
    behind = min(_behind(rows, window), 1 - summary["throughput_rps"] / summary["offered_rps"])
    if summary["slo_met"] and behind <= tolerance / 2:
        return Vote(True)
    why = f"answers fell behind by {behind:.1%} of what was asked" if summary["slo_met"] else "the SLO was not kept"
    is_alone = verdict != "contaminated"
    return Vote(False, why if is_alone else f"{why}, but {reason}", is_service=is_alone)


def _behind(rows: Sequence[Row], window: Window) -> float:
    """What the queue gained over the window, as a share of the requests due in it."""
    columns = Columns.of(rows)
    grown = growth(columns, window)
    if grown is not None:
        return grown.gained / grown.due
    before, after = in_flight_at(columns.starts_s, columns.ends_s, np.array([window.start_s, window.end_s]))
    gained = float(after - before)
    due = int(np.count_nonzero(window.holds(columns.due_s)))
    return gained / max(1, due) if gained > 1 else 0.0


class Searcher:
    """Searches designs one after another; holds what all of them share."""

    def __init__(
        self, plan: Plan, paths: StudyPaths, questions: QuestionSet, *, around: Surroundings, watching: Watching
    ) -> None:
        self._plan = plan
        self._paths = paths
        self._questions = questions
        self._around = around
        self._watching = watching

    async def search(self, first: Point) -> Outcome:
        """The capacity of the design of `first`. A server that does not start leaves it unresolved."""
        search = Search(_start_rps(first, self._plan), self._plan.tolerance, self._plan.most_probes)
        running = _Running(self._paths, self._watching)
        try:
            while (rate_rps := search.next_rps) is not None:
                probe = Probe(rate_rps, self._plan.seeds)
                while not probe.is_decided:
                    point = _probing(first, self._plan, rate_rps, seed=first.seed + len(probe.votes))
                    probe = probe.with_vote(await self._vote(point, running))
                search = search.told(probe)
                self._watching.probed(first.configuration, probe, search)
        except LaunchError as error:
            self._watching.note(str(error))
            found = replace(search.found(), resolved=False, reason=error.reason)
            return Outcome(first.configuration, found, tuple(search.probes.values()))
        finally:
            await running.stop(is_hurried=search.next_rps is not None)
        return Outcome(first.configuration, search.found(), tuple(search.probes.values()))

    async def _vote(self, point: Point, running: "_Running") -> Vote:
        """One seed's vote. One that another program or a late client spoiled is measured again, MOST_TRIES in all."""
        for _ in range(MOST_TRIES):
            rows, summary = await self._measured(point, running)
            found = vote(rows, summary, tolerance=self._plan.tolerance)
            if found.is_service:
                break
        return found

    async def _measured(self, point: Point, running: "_Running") -> tuple[Sequence[Row], dict[str, Any]]:
        """The point's rows and summary: those that lie there, else measured now and written."""
        manifest = _whole(self._paths, point, self._questions)
        if manifest is not None:
            return read_rows(self._paths.point(point.name).requests), manifest["summary"]
        allow_files([point])
        service = await running.service(point)
        self._watching.point_begins(point)
        on_row: OnRow = self._watching.row
        measured = await measure(point, service, self._questions, on_row=on_row)
        log = service.new_log()
        manifest = write_point(measured, self._paths, log=log, questions=self._questions, around=self._around)
        if (line := throttling(measured.telemetry)) is not None:
            self._watching.note(line)
        if measured.failure is not None:
            await running.stop()
        return measured.rows, manifest["summary"]


class _Running:
    """The server of one design, started when first needed and after it failed."""

    def __init__(self, paths: StudyPaths, watching: Watching) -> None:
        self._paths = paths
        self._watching = watching
        self._service: Service | None = None

    async def service(self, point: Point) -> Service:
        """The server, running. Raises LaunchError."""
        if self._service is None and point.configuration.url is not None:
            self._service = Remote(point.configuration.url)
        elif self._service is None:
            self._watching.starting(point.configuration)
            self._service = await start(
                point.configuration.argv(sys.executable),
                log=self._paths.live_log,
                ready_timeout_s=point.load.ready_timeout_s,
            )
        assert self._service is not None
        return self._service

    async def stop(self, *, is_hurried: bool = False) -> None:
        """Stop it if it runs."""
        service, self._service = self._service, None
        if service is None:
            return
        left = await (service.stop(grace_s=HURRIED_GRACE_S) if is_hurried else service.stop())
        if left:
            self._watching.note(f"processes of the server could not be ended: {', '.join(map(str, left))}")


def _whole(paths: StudyPaths, point: Point, questions: QuestionSet) -> dict[str, Any] | None:
    """The manifest of `point` where it was measured before with these very settings, SLO, questions and schedule.

    What failed, was contaminated or left late is measured again.
    """
    manifest = read_manifest(paths.point(point.name).manifest)
    if manifest is None or manifest["summary"].get("verdict") in ("failed", "contaminated", "client_limited"):
        return None
    is_same = (
        manifest["point"] == point.as_dict()
        and manifest.get("questions_sha256") == questions.sha256
        and manifest.get("schedule_sha256") == sha256(schedule_csv(schedule_of(point, questions)))
    )
    return manifest if is_same else None


async def search_all(
    searcher: Searcher, points: Sequence[Point], *, on_outcome: Callable[[Outcome], None]
) -> list[Outcome]:
    """Every design in turn."""
    outcomes = []
    for point in points:
        outcomes.append(await searcher.search(point))
        on_outcome(outcomes[-1])
    return outcomes
