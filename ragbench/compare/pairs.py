"""Which run is compared with which: equal load and seed on both sides. Computes no difference.

Where both runs of a pair got the same schedule, request by request, they are *paired*; otherwise (another arrival, a
closed loop) they have no more in common than rate and seed.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from ragbench.compare.sides import Level, Run, Side, read_runs
from ragbench.files.toml_tables import StudyError

LEFT_OUT = ("failed", "contaminated", "client_limited", "failing")  # verdicts of points whose figures say nothing
BROKEN = ("failed", "failing")  # of these, the ones that are the server's own doing
OVERLOADED = ("saturated", "shedding")  # the most that a server answers, under a load that asked for more
NOT_KEPT = "without its requests"


@dataclass(frozen=True, slots=True)
class Pair:
    """One load on two servers (or two arrivals on one), each seed once: `runs` holds (a, b) by seed."""

    a: str
    b: str
    arrival: str
    level: Level
    runs: tuple[tuple[Run, Run], ...]

    @property
    def used(self) -> tuple[tuple[Run, Run], ...]:
        """The runs that have figures on both sides. A point left out takes its seed along, so that seeds stay equal."""
        return tuple(runs for runs in self.runs if not any(why_left_out(run) for run in runs))

    @property
    def is_paired(self) -> bool:
        """Whether each two runs got the same requests at the same moments."""
        return all(a.schedule_sha256 is not None and a.schedule_sha256 == b.schedule_sha256 for a, b in self.used)

    @property
    def seeds(self) -> list[int]:
        """The seeds that both sides have."""
        return [a.seed for a, _ in self.runs]

    def verdict(self, side: int) -> str:
        """Of the used runs of side 0 or 1: valid where all are. One overloaded seed counts: the others were lucky."""
        verdicts = [runs[side].verdict for runs in self.used]
        return next((verdict for verdict in OVERLOADED if verdict in verdicts), "valid")

    def is_broken(self, side: int) -> bool:
        """Whether any run of side 0 or 1 failed, or failed much of what it was asked."""
        return any(runs[side].verdict in BROKEN for runs in self.runs)

    def is_measured(self, side: int) -> bool:
        """Whether any run of side 0 or 1 says something about the server."""
        return any(not why_left_out(runs[side]) for runs in self.runs)

    @property
    def left_out(self) -> str:
        """The points left out, as in `batched contaminated (1 of 3 seeds)`; empty: none."""
        return "; ".join(filter(None, (self._named(side, why_left_out) for side in (0, 1))))

    @property
    def overloaded(self) -> str:
        """The overloaded points, as in `batched saturated (3 of 3 seeds)`; empty: none."""
        return "; ".join(filter(None, (self.named(side, OVERLOADED) for side in (0, 1))))

    def named(self, side: int, verdicts: Sequence[str]) -> str:
        """The runs of side 0 or 1 with one of `verdicts`, counted by verdict."""
        return self._named(side, lambda run: run.verdict if run.verdict in verdicts else "")

    def _named(self, side: int, word_of: Callable[[Run], str]) -> str:
        counted = Counter(filter(None, (word_of(runs[side]) for runs in self.runs)))
        of = f"of {len(self.runs)} seed{'s' if len(self.runs) > 1 else ''}"
        return ", ".join(f"{(self.a, self.b)[side]} {word} ({n} {of})" for word, n in counted.items())


def why_left_out(run: Run) -> str:
    """Why nothing is compared with `run`; empty: it is used."""
    if run.verdict in LEFT_OUT:
        return run.verdict
    return "" if run.has_requests else NOT_KEPT


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
    refuse_mixtures(pairs, is_across_machines=is_across_machines)
    return pairs


def refuse_mixtures(pairs: Sequence[Pair], *, is_across_machines: bool = False) -> None:
    """Raise StudyError where runs that would be pooled or compared are not of one machine and one state of the code.

    Two folders may be of two states of the code: that is what is compared. Two kinds of machine only where asked for;
    two hosts of one kind are alike. One folder of two of either, on one side or between both, is a study that went on
    elsewhere: nobody asked what that changes.
    """
    runs = [[both[side] for pair in pairs for both in pair.used] for side in (0, 1)]
    folders = [{run.paths.folder.parent.resolve() for run in side} for side in runs]
    groups = [[*runs[0], *runs[1]]] if folders[0] & folders[1] else runs
    for group in groups:
        for where, found in (("on different machines", _hosts(group)), ("at different commits", _states(group))):
            if len(found) > 1:
                counted = ", ".join(f"{name} ({n} of {len(group)} points)" for name, n in found.items())
                raise StudyError([f"{_folders(group)} was measured {where}: {counted}; measure it again on one"])
    kinds = [dict.fromkeys(run.hardware for run in side) for side in runs]
    if not is_across_machines and kinds[0].keys() != kinds[1].keys() and all(runs):
        raise StudyError(
            [
                f"measured on different machines: {' and '.join(kinds[0])} against {' and '.join(kinds[1])}; "
                "--across-machines compares them all the same"
            ]
        )


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


def _hosts(runs: Iterable[Run]) -> Counter[str]:
    return Counter(f"{run.hardware} ({run.hostname})" if run.hostname else run.hardware for run in runs)


def _states(runs: Sequence[Run]) -> Counter[str]:
    """By the checksum of the code where it is known: two commits may have the same code, and one commit two."""
    names = {run.code or run.commit: _state(run.code, run.commit) for run in runs}
    counted = Counter(run.code or run.commit for run in runs)
    return Counter({names[state]: n for state, n in counted.items() if state})


def _state(code: str | None, commit: str | None) -> str:
    parts = ([commit[:9]] if commit else []) + ([f"code {code}"] if code else [])
    return " with ".join(parts)


def _folders(runs: Iterable[Run]) -> str:
    return " and ".join(dict.fromkeys(str(run.paths.folder.parent) for run in runs))
