"""Which run is compared with which: equal load and seed on both sides. Computes no difference.

Where both runs of a pair got the same schedule, request by request, they are *paired*; otherwise (another arrival, a
closed loop) they have no more in common than rate and seed.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from ragbench.compare.sides import LEFT_OUT, OVERLOADED, Level, Run, Side, read_runs
from ragbench.files.toml_tables import StudyError


@dataclass(frozen=True, slots=True)
class Pair:
    """One load on two servers (or two arrivals on one), each seed once: `runs` holds (a, b) by seed."""

    a: str
    b: str
    arrival: str
    level: Level
    runs: tuple[tuple[Run, Run], ...]

    @property
    def load(self) -> str:
        """As words: `at 12/s, poisson`."""
        return f"{self.level.label}, {self.arrival}"

    @property
    def used(self) -> tuple[tuple[Run, Run], ...]:
        """The runs that have figures on both sides. A point left out takes its seed along, so that seeds stay equal."""
        return tuple(runs for runs in self.runs if all(run.is_used for run in runs))

    @property
    def is_paired(self) -> bool:
        """Whether each two runs got the same requests at the same moments."""
        return all(a.schedule_sha256 is not None and a.schedule_sha256 == b.schedule_sha256 for a, b in self.used)

    def verdict(self, side: int) -> str:
        """Of the used runs of side 0 or 1: valid where all are. One overloaded seed counts: the others were lucky."""
        verdicts = [runs[side].verdict for runs in self.used]
        return next((verdict for verdict in OVERLOADED if verdict in verdicts), "valid")

    @property
    def left_out(self) -> str:
        """The points left out, counted; empty: none."""
        return self.counted(LEFT_OUT)

    @property
    def overloaded(self) -> str:
        """The overloaded points, counted; empty: none."""
        return self.counted(OVERLOADED)

    def counted(self, words: Collection[str], *, sides: Sequence[int] = (0, 1)) -> str:
        """The runs with one of `words`, as in `batched contaminated (1 of 3 seeds)`; empty: none."""
        of = f"of {len(self.runs)} seed{'s' if len(self.runs) > 1 else ''}"
        parts = []
        for side in sides:
            found = Counter(word for runs in self.runs for word in runs[side].words if word in words)
            parts.append(", ".join(f"{(self.a, self.b)[side]} {word} ({n} {of})" for word, n in found.items()))
        return "; ".join(filter(None, parts))


def make_pairs(a: Side, b: Side, *, arrival: str | None = None, is_across_machines: bool = False) -> list[Pair]:
    """Every load that both sides have, by design, arrival, level. Raises StudyError where nothing can be compared."""
    sides = [read_runs(side) for side in (a, b)]
    if arrival is not None:
        sides = [[run for run in runs if run.arrival == arrival] for runs in sides]
        for runs, side in zip(sides, (a, b), strict=True):
            if not runs:
                raise StudyError([f"no arrival {arrival!r} in {side.folder}"])
    if len({frozenset(run.paths.folder.resolve() for run in runs) for runs in sides}) == 1:
        raise StudyError(
            ["both sides name the same points; name a configuration or an arrival, as in FOLDER:CONFIGURATION@ARRIVAL"]
        )
    pairs = list(_matched(a, b, *sides))
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


def _matched(a: Side, b: Side, runs_a: Sequence[Run], runs_b: Sequence[Run]) -> Iterator[Pair]:
    """Equal designs and arrivals; two that differ only where both sides name one."""
    designs = [list(dict.fromkeys((run.configuration, run.arrival) for run in runs)) for runs in (runs_a, runs_b)]
    for of_a, of_b in product(*designs):
        is_one_configuration = of_a[0] == of_b[0] or None not in (a.configuration, b.configuration)
        is_one_arrival = of_a[1] == of_b[1] or None not in (a.arrival, b.arrival)
        if is_one_configuration and is_one_arrival:
            some_a = [run for run in runs_a if (run.configuration, run.arrival) == of_a]
            some_b = {(run.level, run.seed): run for run in runs_b if (run.configuration, run.arrival) == of_b}
            for level in sorted({run.level for run in some_a}):
                seeds = sorted((run for run in some_a if run.level == level), key=lambda run: run.seed)
                runs = tuple((run, some_b[level, run.seed]) for run in seeds if (level, run.seed) in some_b)
                if runs:
                    yield Pair(*_names(a, b, of_a, of_b), " / ".join(dict.fromkeys((of_a[1], of_b[1]))), level, runs)


def _names(a: Side, b: Side, of_a: tuple[str, str], of_b: tuple[str, str]) -> tuple[str, str]:
    """The design, and as much more as it takes to tell the sides apart."""
    if of_a[1] != of_b[1]:
        return "@".join(of_a), "@".join(of_b)
    if of_a != of_b:
        return of_a[0], of_b[0]
    is_one_name = a.folder.name == b.folder.name
    folder_a, folder_b = (str(side.folder) if is_one_name else side.folder.name for side in (a, b))
    return f"{of_a[0]} ({folder_a})", f"{of_b[0]} ({folder_b})"


def _hosts(runs: Iterable[Run]) -> Counter[str]:
    return Counter(f"{run.hardware} ({run.hostname})" if run.hostname else run.hardware for run in runs)


def _states(runs: Sequence[Run]) -> Counter[str]:
    """By the checksum of the code where it is known: two commits may have the same code, and one commit two."""
    names = {
        run.code or run.commit: " with ".join(
            filter(None, (run.commit and run.commit[:9], run.code and f"code {run.code}"))
        )
        for run in runs
    }
    return Counter(name for run in runs if (name := names[run.code or run.commit]))


def _folders(runs: Iterable[Run]) -> str:
    return " and ".join(dict.fromkeys(str(run.paths.folder.parent) for run in runs))
