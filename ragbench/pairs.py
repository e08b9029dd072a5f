"""Which run is compared with which: equal load and seed on both sides. Computes no difference.

Where both runs of a pair got the same schedule, request by request, they are *paired*; otherwise (another arrival, a
closed loop) they have no more in common than rate and seed.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ragbench.config import StudyError
from ragbench.sides import Level, Run, Side, read_runs

GROWING = frozenset({"saturated", "failed"})  # the latency of such a point is not a property of the server


@dataclass(frozen=True, slots=True)
class Pair:
    """One load on two servers (or two arrivals on one), each seed once: `runs` holds (a, b) by seed."""

    a: str
    b: str
    arrival: str
    level: Level
    runs: tuple[tuple[Run, Run], ...]

    @property
    def is_paired(self) -> bool:
        """Whether each two runs got the same requests at the same moments."""
        return all(a.schedule_sha256 is not None and a.schedule_sha256 == b.schedule_sha256 for a, b in self.runs)

    @property
    def seeds(self) -> list[int]:
        """The seeds that both sides have."""
        return [a.seed for a, _ in self.runs]

    @property
    def remark(self) -> str:
        """Which runs are not valid, as in `batched: saturated (3 of 3 seeds)`; empty: none."""
        found = []
        for name, side in ((self.a, [a for a, _ in self.runs]), (self.b, [b for _, b in self.runs])):
            missed = Counter(run.verdict for run in side if run.verdict != "valid")
            found += [f"{name}: {verdict} ({n} of {len(side)} seeds)" for verdict, n in missed.items()]
        return "; ".join(found)

    def is_failed(self, side: int) -> bool:
        """Whether any run of side 0 or 1 failed."""
        return any(runs[side].verdict == "failed" for runs in self.runs)

    def is_growing(self, side: int) -> bool:
        """Whether any run of side 0 or 1 fell behind or failed."""
        return any(runs[side].verdict in GROWING for runs in self.runs)


def make_pairs(a: Side, b: Side, *, arrival: str | None = None, is_across_machines: bool = False) -> list[Pair]:
    """Every load that both sides have, by design, arrival, level. Raises StudyError where nothing can be compared."""
    sides = [read_runs(side) for side in (a, b)]
    if arrival is not None:
        sides = [[run for run in runs if run.arrival == arrival] for runs in sides]
        for runs, side in zip(sides, (a, b), strict=True):
            if not runs:
                raise StudyError([f"no arrival {arrival!r} in {side.folder}"])
    _refuse_same(*sides)
    pairs = [pair for names in _matched(a, b, *sides) for pair in _at_each_level(*names)]
    if not pairs:
        raise StudyError(["the two sides have no load in common: no equal arrival, rate (or users) and seed"])
    if not is_across_machines:
        _refuse_machines(pairs)
    return pairs


def _matched(
    a: Side, b: Side, runs_a: Sequence[Run], runs_b: Sequence[Run]
) -> Iterator[tuple[list[Run], list[Run], str, str]]:
    """The runs of each two (design, arrival) to compare, with what to call them."""
    for configuration_a, arrival_a in dict.fromkeys((run.configuration, run.arrival) for run in runs_a):
        for configuration_b, arrival_b in dict.fromkeys((run.configuration, run.arrival) for run in runs_b):
            is_one_configuration = configuration_a == configuration_b or (
                a.configuration is not None and b.configuration is not None
            )
            is_one_arrival = arrival_a == arrival_b or (a.arrival is not None and b.arrival is not None)
            if is_one_configuration and is_one_arrival:
                found_a = [run for run in runs_a if (run.configuration, run.arrival) == (configuration_a, arrival_a)]
                found_b = [run for run in runs_b if (run.configuration, run.arrival) == (configuration_b, arrival_b)]
                yield found_a, found_b, *_names(a, b, found_a[0], found_b[0])


def _names(a: Side, b: Side, run_a: Run, run_b: Run) -> tuple[str, str]:
    """The design, and as much more as it takes to tell the sides apart."""
    if run_a.arrival != run_b.arrival:
        return f"{run_a.configuration}@{run_a.arrival}", f"{run_b.configuration}@{run_b.arrival}"
    if run_a.configuration != run_b.configuration:
        return run_a.configuration, run_b.configuration
    folders = [side.folder.name for side in (a, b)]
    if folders[0] == folders[1]:
        folders = [str(side.folder) for side in (a, b)]
    return f"{run_a.configuration} ({folders[0]})", f"{run_b.configuration} ({folders[1]})"


def _at_each_level(runs_a: Sequence[Run], runs_b: Sequence[Run], name_a: str, name_b: str) -> Iterator[Pair]:
    by_load = {(run.level, run.seed): run for run in runs_b}
    for level in sorted({run.level for run in runs_a}):
        at_level = sorted((run for run in runs_a if run.level == level), key=lambda run: run.seed)
        runs = tuple((run, by_load[level, run.seed]) for run in at_level if (level, run.seed) in by_load)
        if runs:
            arrivals = dict.fromkeys(run.arrival for run in runs[0])
            yield Pair(name_a, name_b, " / ".join(arrivals), level, runs)


def _refuse_same(runs_a: Iterable[Run], runs_b: Iterable[Run]) -> None:
    both = [{(run.paths.folder.resolve()) for run in runs} for runs in (runs_a, runs_b)]
    if both[0] == both[1]:
        raise StudyError(
            ["both sides name the same points; name a configuration or an arrival, as in FOLDER:CONFIGURATION@ARRIVAL"]
        )


def _refuse_machines(pairs: Sequence[Pair]) -> None:
    machines = [sorted({runs[side].hardware for pair in pairs for runs in pair.runs}) for side in (0, 1)]
    if len({*machines[0], *machines[1]}) > 1:
        raise StudyError(
            [
                f"measured on different machines: {' and '.join(machines[0])} against {' and '.join(machines[1])}; "
                "--across-machines compares them all the same"
            ]
        )
