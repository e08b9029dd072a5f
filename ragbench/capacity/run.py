"""Search the capacity of each design: start it once, load it at the rates of search.py, write each load as a point.

A load that was measured before is read from its files, so that an interrupted search continues.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ragbench.capacity.load import BROKEN_BURN, Load, load_length_s, loaded, start_bias
from ragbench.capacity.search import Search, load_line
from ragbench.capacity.table import FILE, Capacity, write_row
from ragbench.files.mistakes import checked
from ragbench.files.toml_tables import StudyError
from ragbench.load.descriptors import allow_files
from ragbench.load.target import RAG
from ragbench.load.wires import wire_of
from ragbench.machine.mixing import strangers
from ragbench.measure.runner import Runner
from ragbench.measure.sweep import difference
from ragbench.processes.child import ChildError
from ragbench.results.records import REQUESTS, Row, read_manifest
from ragbench.results.slo import Slo
from ragbench.statistics.columns import Columns, Window
from ragbench.statistics.verdicts import NOT_MEASURED, Evidence, one_text, service_fault, texts
from ragbench.study.points import Point, expand
from ragbench.study.study import Study

MOST_TRIES = 3
_BETWEEN_S = 1.0  # from one load to the next: last answers, warm-up
_FEWEST_LOADS = 10  # of a search where loads hardly disagree


@dataclass(frozen=True, slots=True)
class Plan:
    """How the designs of a study are searched.

    `duration_s` of a load: None derives it from the SLO. `start_rps`: None starts at the design's lowest rate.
    """

    slo: Slo
    arrival: str = "poisson"
    duration_s: float | None = None
    tolerance: float = 0.1
    start_rps: float | None = None
    most_loads: int = 30

    def __post_init__(self) -> None:
        if not 0 < self.tolerance <= 1:
            raise StudyError([f"--tolerance must be a share above 0, up to 1, got {self.tolerance:g}"])
        if self.duration_s is not None and not 0 < self.duration_s < float("inf"):
            raise StudyError([f"--duration-s must be > 0, got {self.duration_s:g}"])
        if self.most_loads < 1:
            raise StudyError([f"--most-loads must be >= 1, got {self.most_loads}"])
        if self.start_rps is not None and not 0 < self.start_rps < float("inf"):
            raise StudyError([f"--start must be a rate > 0, got {self.start_rps:g}"])

    @property
    def load_s(self) -> float:
        """How long each load lasts."""
        return self.duration_s or load_length_s(self.slo)

    @property
    def bias(self) -> float:
        """The share by which loads of this length may place a capacity too high."""
        return start_bias(self.slo, self.load_s)

    def first_rps(self, point: Point) -> float:
        """The rate of a design's first load."""
        return self.start_rps or min(point.load.rates, default=1.0)

    def lasts_s(self, designs: int) -> tuple[float, float]:
        """The least and the most time that the searches of so many designs take."""
        each_s = self.load_s + _BETWEEN_S
        return designs * min(_FEWEST_LOADS, self.most_loads) * each_s, designs * self.most_loads * each_s


def first_points(study: Study, plan: Plan, *, design: str | None = None) -> list[Point]:
    """The first point of each design, from which its loads are made. Raises StudyError."""
    firsts: dict[str, Point] = {}
    for launch in expand(study):
        wire_of(launch.configuration.wire or RAG)
        firsts.setdefault(launch.configuration.name, launch.points[0])
    wanted = [p for p in firsts.values() if design in (None, p.configuration.design, p.configuration.name)]
    if not wanted:
        raise StudyError([f"no design {design!r} in study {study.name}; there: {', '.join(sorted(firsts))}"])
    return [_probing(point, plan, plan.first_rps(point), seed=study.seeds[0]) for point in wanted]


def _probing(point: Point, plan: Plan, rate_rps: float, *, seed: int) -> Point:
    own = {"arrivals": [plan.arrival], "rates": [rate_rps], "concurrency": []}
    load = checked(type(point.load), {**asdict(point.load), **own, "duration_s": plan.load_s, "requests": None})
    return replace(
        point, arrival=plan.arrival, offered_rps=rate_rps, concurrency=None, seed=seed, load=load, slo=plan.slo
    )


def load_of(
    rows: Sequence[Row], summary: Mapping[str, Any], *, slo: Slo, tolerance: float, same_answers: bool = False
) -> Load:
    """A measured load. Contamination by another program excuses a broken SLO and does not spoil a kept one.

    `same_answers`: one text for all questions is no fault.
    """
    columns = Columns(rows)
    window = Window(summary["window_start_s"], summary["window_end_s"])
    load = loaded(
        summary["offered_rps"],
        columns.latencies_of(window.holds(columns.due_s)),
        starts_s=columns.starts_s,
        ends_s=columns.ends_s,
        window=window,
        slo=slo,
        tolerance=tolerance,
    )
    verdict, reason = summary["verdict"], summary["verdict_reason"]
    broken = replace(load, burn_rate=max(BROKEN_BURN, load.burn_rate), reason=f"{verdict}: {reason}")
    if verdict == "contaminated":
        if service_fault(Evidence(columns, window, same_answers=same_answers)) is not None:
            return replace(broken, reason=reason, is_service=False)
        return load if load.kept else replace(load, reason=f"{load.reason}, but {reason}", is_service=False)
    if not rows:
        return replace(load, reason=reason, is_service=False)
    return load if verdict == "valid" else replace(broken, is_service=verdict != "client_limited")


@dataclass
class Searcher:
    """Searches designs one after another, with one plan."""

    plan: Plan
    runner: Runner

    async def search_all(self, firsts: Sequence[Point]) -> list[Capacity]:
        """Every design in turn; each row is written at once."""
        rows = []
        for first in firsts:
            rows.append(await self.search(first))
            write_row(rows[-1], self.runner.paths.root / FILE)
        return rows

    async def search(self, first: Point) -> Capacity:
        """The capacity of the design of `first`. A server that does not start leaves it unresolved."""
        plan, progress = self.plan, self.runner.progress
        search = Search(plan.first_rps(first), plan.tolerance, plan.most_loads, plan.bias)
        answers: set[tuple[str, str]] = set()
        failed: dict[str, Any] = {}
        try:
            async with self.runner:
                while (rate_rps := search.next_rps) is not None:
                    before = sum(load.rate_rps == rate_rps for load in search.loads)
                    point = _probing(first, plan, rate_rps, seed=first.seed + before)
                    search = search.after(await self._load(point, answers))
                    progress.done(load_line(first.configuration.name, search))
        except ChildError as error:
            progress.note(str(error))
            failed = {"resolved": False, "reason": error.reason}
        return Capacity(
            configuration=first.configuration.name,
            design=first.configuration.design,
            arrival=plan.arrival,
            slo=str(plan.slo),
            **(asdict(search.found()) | failed),
            probes=len({load.rate_rps for load in search.loads}),
            points=len(search.loads),
            load_s=float(plan.load_s),
            bias=plan.bias,
        )

    async def _load(self, point: Point, answers: set[tuple[str, str]]) -> Load:
        """One load; up to MOST_TRIES where another program or a late client spoils it.

        `answers`: the `texts` of the search so far; those of this load are added. One short load asks too few questions
        to detect one text for all of them; a search asks enough.
        """
        for _ in range(MOST_TRIES):
            rows, summary = await self._measured(point)
            alike = point.workload.same_answers
            load = load_of(rows, summary, slo=self.plan.slo, tolerance=self.plan.tolerance, same_answers=alike)
            answers |= texts(rows)
            if not alike and load.kept and (fault := one_text(answers)) is not None:
                load = replace(load, burn_rate=BROKEN_BURN, reason=f"failing: {fault}")
            if load.is_service:
                break
        return load

    async def _measured(self, point: Point) -> tuple[Sequence[Row], dict[str, Any]]:
        """Rows and summary of the point, from its files or measured now and written."""
        files = self.runner.paths.point(point.name)
        manifest = read_manifest(files.manifest)
        if manifest is None or not _is_usable(manifest, point, self.runner):
            allow_files([point])
            manifest = await self.runner.run(point)
        return REQUESTS.read(files.requests), manifest["summary"]


def _is_usable(manifest: dict[str, Any], point: Point, runner: Runner) -> bool:
    """Whether `point` was measured before: as it is now, soundly and with a window, on this machine, with this code."""
    around, summary = runner.around, manifest["summary"]
    machine = around.hardware
    return not (
        summary["verdict"] in NOT_MEASURED
        or any(summary[name] is None for name in ("offered_rps", "window_start_s", "window_end_s"))
        or manifest["point"]["slo"] != point.as_dict()["slo"]
        or difference(manifest, point, runner.questions)
        or strangers([manifest], hardware=str(machine), hostname=machine.hostname, code=around.code_sha256)
    )
