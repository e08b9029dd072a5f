"""Which run is compared with which: equal load and seed on both sides. Computes no difference.

Where both runs of a pair got the same schedule, request by request, they are *paired*; otherwise (another arrival, a
closed loop) they have no more in common than rate and seed.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, product

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
        return tuple(runs for runs in self.runs if all(run.status not in LEFT_OUT for run in runs))

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

    def counted(self, statuses: Collection[str], *, sides: Sequence[int] = (0, 1)) -> str:
        """The runs with one of `statuses`, as in `batched contaminated (1 of 3 seeds)`; empty: none."""
        counts = Counter((side, runs[side].status) for side in sides for runs in self.runs)
        total = f"{len(self.runs)} seed{'s' if len(self.runs) > 1 else ''}"
        return "; ".join(
            f"{(self.a, self.b)[side]} {status} ({n} of {total})"
            for (side, status), n in counts.items()
            if status in statuses
        )


def make_pairs(a: Side, b: Side, *, arrival: str | None = None, is_across_machines: bool = False) -> list[Pair]:
    """Every load that both sides have, by design, arrival, level. Raises StudyError where nothing can be compared."""
    sides = [[run for run in read_runs(side) if arrival in (None, run.arrival)] for side in (a, b)]
    if missing := [str(side.folder) for side, runs in zip((a, b), sides, strict=True) if not runs]:
        wanted = "points" if arrival is None else f"arrival {arrival!r}"
        raise StudyError([f"no {wanted} in {' and '.join(missing)}"])
    if len({frozenset(run.paths.folder for run in runs) for runs in sides}) == 1:
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
    sides = [[runs[side] for pair in pairs for runs in pair.used] for side in (0, 1)]
    folders = [{run.paths.folder.parent for run in runs} for runs in sides]
    for runs in [sides[0] + sides[1]] if folders[0] & folders[1] else sides:
        machines = Counter(f"{run.hardware} ({run.hostname})" if run.hostname else run.hardware for run in runs)
        for difference, counts in (("on different machines", machines), ("at different commits", _code(runs))):
            if len(counts) > 1:
                names = " and ".join(dict.fromkeys(str(run.paths.folder.parent) for run in runs))
                counted = ", ".join(f"{name} ({n} of {len(runs)} points)" for name, n in counts.items())
                raise StudyError([f"{names} was measured {difference}: {counted}; measure it again on one"])
    hardware = [dict.fromkeys(run.hardware for run in runs) for runs in sides]
    if not is_across_machines and hardware[0].keys() != hardware[1].keys() and all(sides):
        names = " against ".join(" and ".join(kinds) for kinds in hardware)
        raise StudyError([f"measured on different machines: {names}; --across-machines compares them all the same"])


def _code(runs: Sequence[Run]) -> Counter[str]:
    """By the checksum of the code where it is known: two commits may have the same code, and one commit two."""
    names = {}
    for run in runs:
        parts = (run.commit and run.commit[:9], run.code and f"code {run.code}")
        names[run.code or run.commit] = " with ".join(filter(None, parts))
    return Counter(name for run in runs if (name := names[run.code or run.commit]))


def _matched(a: Side, b: Side, runs_a: Sequence[Run], runs_b: Sequence[Run]) -> Iterator[Pair]:
    """Equal designs and arrivals; two that differ only where both sides name one."""
    designs = [dict.fromkeys((run.configuration, run.arrival) for run in runs) for runs in (runs_a, runs_b)]
    for of_a, of_b in product(*designs):
        is_one_configuration = of_a[0] == of_b[0] or None not in (a.configuration, b.configuration)
        is_one_arrival = of_a[1] == of_b[1] or None not in (a.arrival, b.arrival)
        if is_one_configuration and is_one_arrival:
            partners = {(run.level, run.seed): run for run in runs_b if (run.configuration, run.arrival) == of_b}
            matched = {(run.level, run.seed): run for run in runs_a if (run.configuration, run.arrival) == of_a}
            common = sorted(matched.keys() & partners.keys())
            for level, keys in groupby(common, key=lambda key: key[0]):
                runs = tuple((matched[key], partners[key]) for key in keys)
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
