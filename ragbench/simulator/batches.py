"""The batches that a design ran, found again in the rows of its requests. Fits and draws nothing."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ragbench.columns import Floats
from ragbench.records import Row

__all__ = ["IN_SHARE", "STAGES", "Batch", "Moment", "batches_of"]

STAGES = ("embed_s", "retrieve_s", "generate_s")
IN_SHARE = 0.5  # of the network time, before the queue
_LONGEST_TURN_S = 0.01
_TIMED = {"lull", "max_wait", "deadline", "window", "overdue"}  # the reasons of batches that a policy let wait


@dataclass(frozen=True, slots=True)
class Moment:
    """What a batch meets as it starts, or as it ends.

    `others`: replicas that compute; `idle_s`: how long its own replica had nothing to do, for caches and clocks
    go cold; `crowd`: requests in the service besides its own: their arrivals and answers share the machine with it.
    """

    size: int
    others: int
    idle_s: float
    crowd: int


@dataclass(frozen=True, slots=True)
class Batch:
    """One measured batch.

    `networks_s`: of each of its requests, from due to done, what neither queue nor stages explain; `beside`: replicas
    that computed meanwhile, on average; `dispatch_s`: from closed to started; `turn_s`: from its end to the start of
    the next. The last two are None where the rows cannot tell them from a wait that the policy wanted.
    """

    start: Moment
    end: Moment
    stages_s: tuple[float, ...]
    networks_s: tuple[float, ...] = ()
    beside: float = 0.0
    dispatch_s: float | None = None
    turn_s: float | None = None

    @property
    def size(self) -> int:
        """How many requests."""
        return self.start.size

    @property
    def length_s(self) -> float:
        """T."""
        return sum(self.stages_s)


@dataclass(frozen=True, slots=True)
class _Run:
    """The rows of one batch; about when it ran; when its first request set out, and its last answer came."""

    rows: Sequence[Row]
    start_s: float
    end_s: float
    sent_s: float
    done_s: float

    @property
    def replica(self) -> str:
        return self.rows[0].replica or ""

    @property
    def is_timed(self) -> bool:
        return self.rows[0].close_reason in _TIMED


def batches_of(rows: Sequence[Row]) -> list[Batch]:
    """Those of one point, in order of their start; of answers that tell their stages."""
    ok = [row for row in rows if row.status == "ok" and None not in (row.generate_s, row.done_s, row.sent_s)]
    runs = sorted((_run(group) for group in _together(ok)), key=lambda run: run.start_s)
    before, after = _neighbours(runs)
    beside = _beside(runs)
    starts = _moments(ok, runs, [run.start_s for run in runs], before)
    ends = _moments(ok, runs, [run.end_s for run in runs], before)
    return [
        Batch(
            starts[place],
            ends[place],
            _stages(run.rows[0]),
            tuple(max(0.0, _network_s(row)) for row in run.rows),
            beside=beside[place],
            dispatch_s=_dispatch_s(run, before[place]),
            turn_s=_turn_s(run, after[place]),
        )
        for place, run in enumerate(runs)
    ]


def _stages(row: Row) -> tuple[float, ...]:
    return tuple(getattr(row, stage) or 0.0 for stage in STAGES)


def _network_s(row: Row) -> float:
    return (row.done_s or 0.0) - row.due_s - (row.queue_s or 0.0) - sum(_stages(row))


def _began_s(row: Row) -> float:
    """When it left the queue; knows nothing of the way in."""
    return (row.sent_s or 0.0) + (row.queue_s or 0.0)


def _together(ok: Sequence[Row]) -> list[list[Row]]:
    """The requests of each batch: they tell the same stage times.

    So may those of another batch, to the microsecond; but that one cannot have begun before this one ended.
    """
    alike: dict[tuple[object, ...], list[Row]] = {}
    for row in sorted(ok, key=_began_s):
        alike.setdefault((row.replica, row.batch_size, *_stages(row)), []).append(row)
    groups: list[list[Row]] = []
    for rows in alike.values():
        for row in rows:
            if row is rows[0] or _began_s(row) >= _began_s(groups[-1][0]) + 0.9 * sum(_stages(row)):
                groups.append([])
            groups[-1].append(row)
    return groups


def _run(rows: Sequence[Row]) -> _Run:
    """Its first answer had half its network time still to go."""
    end_s = min((row.done_s or 0.0) - IN_SHARE * max(0.0, _network_s(row)) for row in rows)
    return _Run(
        rows,
        start_s=end_s - sum(_stages(rows[0])),
        end_s=end_s,
        sent_s=min(row.sent_s or 0.0 for row in rows),
        done_s=max(row.done_s or 0.0 for row in rows),
    )


def _neighbours(runs: Sequence[_Run]) -> tuple[list[_Run | None], list[_Run | None]]:
    """Of each run, the one before and the one after it on the same replica."""
    before: list[_Run | None] = [None] * len(runs)
    after: list[_Run | None] = [None] * len(runs)
    latest: dict[str, int] = {}
    for place, run in enumerate(runs):
        if (earlier := latest.get(run.replica)) is not None:
            before[place], after[earlier] = runs[earlier], run
        latest[run.replica] = place
    return before, after


def _beside(runs: Sequence[_Run]) -> list[float]:
    """Of each run, how many batches of other replicas ran during it, on average."""
    starts_s, ends_s = np.array([run.start_s for run in runs]), np.array([run.end_s for run in runs])
    replicas = np.array([run.replica for run in runs])
    found = []
    for run in runs:
        shared_s = np.minimum(ends_s, run.end_s) - np.maximum(starts_s, run.start_s)
        length_s = run.end_s - run.start_s
        foreign_s = float(shared_s[(replicas != run.replica) & (shared_s > 0)].sum())
        found.append(foreign_s / length_s if length_s > 0 else 0.0)
    return found


def _moments(
    ok: Sequence[Row], runs: Sequence[_Run], at_s: Sequence[float], before: Sequence[_Run | None]
) -> list[Moment]:
    """Of each run, what it meets at its moment of `at_s`; its own requests are no crowd."""
    everyone = _Stays.of(ok)
    starts_s, ends_s = np.array([run.start_s for run in runs]), np.array([run.end_s for run in runs])
    replicas = np.array([run.replica for run in runs])
    found = []
    for run, moment_s, earlier in zip(runs, at_s, before, strict=True):
        others = int(np.sum((replicas != run.replica) & (starts_s <= moment_s) & (ends_s > moment_s)))
        crowd = everyone.held(moment_s) - _Stays.of(run.rows).held(moment_s)
        found.append(Moment(run.rows[0].batch_size or 1, others, _idle_s(run, earlier), crowd))
    return found


@dataclass(frozen=True, slots=True)
class _Stays:
    """When each request reached the service and left it, both in order; half of its network time lies before."""

    reached_s: Floats
    left_s: Floats

    @classmethod
    def of(cls, rows: Sequence[Row]) -> "_Stays":
        network_s = np.array([max(0.0, _network_s(row)) for row in rows])
        sent_s = np.array([row.sent_s or 0.0 for row in rows])
        done_s = np.array([row.done_s or 0.0 for row in rows])
        return cls(np.sort(sent_s + IN_SHARE * network_s), np.sort(done_s - (1 - IN_SHARE) * network_s))

    def held(self, moment_s: float) -> int:
        """How many were there."""
        return int(np.searchsorted(self.reached_s, moment_s) - np.searchsorted(self.left_s, moment_s))


def _idle_s(run: _Run, before: _Run | None) -> float:
    """How long its replica had nothing to do before the first of its requests came."""
    if before is None:
        return float("inf")
    return 0.0 if run.sent_s < before.end_s else run.start_s - before.end_s


def _dispatch_s(run: _Run, before: _Run | None) -> float | None:
    """Where the service was empty and the policy waited for nothing: the time in the queue is the way to the engine."""
    if run.is_timed or (before is not None and run.sent_s < before.done_s):
        return None
    return min(row.queue_s or 0.0 for row in run.rows)


def _turn_s(run: _Run, after: _Run | None) -> float | None:
    """Where all of the next batch had been waiting."""
    if after is None or after.is_timed or max(row.sent_s or 0.0 for row in after.rows) >= run.end_s:
        return None
    turn_s = _median_s(after) - _median_s(run) - sum(_stages(run.rows[0]))
    return max(0.0, turn_s) if turn_s < _LONGEST_TURN_S else None


def _median_s(run: _Run) -> float:
    return float(np.median([_began_s(row) for row in run.rows]))
