"""The batches that a design ran, found again in the rows of its requests. Fits and draws nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ragbench.files.csv_table import read_dicts
from ragbench.results.records import Row
from ragbench.statistics.columns import Floats

__all__ = ["IN_SHARE", "STAGES", "Batch", "FitError", "Moment", "batches_of", "read_batches"]

STAGES = ("embed_s", "retrieve_s", "generate_s")
IN_SHARE = 0.5  # of the network time, before the queue
_LONGEST_TURN_S = 0.01
_TIMED = {"lull", "max_wait", "deadline", "window", "overdue"}  # close reasons of batches that a policy let wait


class FitError(ValueError):
    """The measured requests do not say how long a batch takes."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What makes a batch fast or slow at the moment it starts, or ends.

    `others`: other replicas that compute. `idle_s`: how long its own replica had been idle; caches and clocks go cold.
    `crowd`: requests in the service that are not in the batch; their arrivals and answers need the processors too.
    """

    size: int
    others: int
    idle_s: float
    crowd: int


@dataclass(frozen=True, slots=True)
class Batch:
    """One measured batch.

    `networks_s`: the part of each request's latency that is neither queue nor stages. `beside`: how many other replicas
    computed during it, on average. `dispatch_s`: from closed to started. `turn_s`: from its end to the start of the
    next. The last two are None where the rows cannot tell them from a wait that the policy wanted.
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
        """Its number of requests."""
        return self.start.size

    @property
    def length_s(self) -> float:
        """The time that its stages took together."""
        return sum(self.stages_s)


@dataclass(frozen=True, slots=True)
class _Run:
    """The rows of one batch, about when it ran, when its first request was sent, when its last answer came."""

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
    """The batches of one point, by start; only requests that were answered and report their stages count."""
    ok = [row for row in rows if row.status == "ok" and None not in (row.generate_s, row.done_s, row.sent_s)]
    runs = sorted((_run(group) for group in _together(ok)), key=lambda run: run.start_s)
    before, after = _neighbours(runs)
    point = _Point.of(ok, runs)
    return [
        Batch(
            point.moment(run, run.start_s, earlier),
            point.moment(run, run.end_s, earlier),
            _stages(run.rows[0]),
            tuple(max(0.0, _network_s(row)) for row in run.rows),
            beside=point.beside(run),
            dispatch_s=_dispatch_s(run, earlier),
            turn_s=_turn_s(run, later),
        )
        for run, earlier, later in zip(runs, before, after, strict=True)
    ]


def read_batches(path: Path) -> list[Batch]:
    """Batches that a pipeline was timed in with no server round it, as `python -m servers.limit --out` keeps them.

    A batch a row; of its columns those that are wanted are `batch_size` and the stages. Raises FitError, OSError.
    """
    rows = read_dicts(path)
    try:
        moments = [Moment(int(row["batch_size"] or ""), others=0, idle_s=0.0, crowd=0) for row in rows]
        stages = [tuple(float(row[stage] or "") for stage in STAGES) for row in rows]
    except (KeyError, TypeError, ValueError) as error:
        raise FitError(f"{path}: wanted a number in each of batch_size, {', '.join(STAGES)} ({error!r})") from error
    return [Batch(moment, moment, stages_s) for moment, stages_s in zip(moments, stages, strict=True)]


def _stages(row: Row) -> tuple[float, ...]:
    return tuple(getattr(row, stage) or 0.0 for stage in STAGES)


def _network_s(row: Row) -> float:
    return (row.done_s or 0.0) - row.due_s - (row.queue_s or 0.0) - sum(_stages(row))


def _began_s(row: Row) -> float:
    """About when it left the queue: the time on the way to the service is not in it."""
    return (row.sent_s or 0.0) + (row.queue_s or 0.0)


def _together(ok: Sequence[Row]) -> list[list[Row]]:
    """The requests of each batch: those with equal stage times.

    Two batches may take equally long to the microsecond. But one replica runs one batch at a time, so a request that
    left the queue after the first batch ended belongs to the second.
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
    """It ended when its first answer set out: before that answer's way back through the network."""
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


@dataclass(frozen=True, slots=True)
class _Stays:
    """When requests reached the service and when they left it, each sorted. IN_SHARE of the network time is before."""

    reached_s: Floats
    left_s: Floats

    @classmethod
    def of(cls, rows: Sequence[Row]) -> "_Stays":
        network_s = np.array([max(0.0, _network_s(row)) for row in rows])
        sent_s = np.array([row.sent_s or 0.0 for row in rows])
        done_s = np.array([row.done_s or 0.0 for row in rows])
        return cls(np.sort(sent_s + IN_SHARE * network_s), np.sort(done_s - (1 - IN_SHARE) * network_s))

    def held(self, moment_s: float) -> int:
        """How many were in the service."""
        return int(np.searchsorted(self.reached_s, moment_s) - np.searchsorted(self.left_s, moment_s))


@dataclass(frozen=True, slots=True)
class _Point:
    """Everything that ran in a point: its batches as arrays, and the stays of all its requests."""

    replicas: NDArray[np.str_]
    starts_s: Floats
    ends_s: Floats
    stays: _Stays

    @classmethod
    def of(cls, rows: Sequence[Row], runs: Sequence[_Run]) -> "_Point":
        return cls(
            np.array([run.replica for run in runs]),
            np.array([run.start_s for run in runs]),
            np.array([run.end_s for run in runs]),
            _Stays.of(rows),
        )

    def moment(self, run: _Run, moment_s: float, before: _Run | None) -> Moment:
        """What `run`, which follows `before` on its replica, meets at `moment_s`."""
        computing = (self.starts_s <= moment_s) & (self.ends_s > moment_s)
        return Moment(
            size=run.rows[0].batch_size or 1,
            others=int(np.sum(computing & (self.replicas != run.replica))),
            idle_s=_idle_s(run, before),
            crowd=self.stays.held(moment_s) - _Stays.of(run.rows).held(moment_s),
        )

    def beside(self, run: _Run) -> float:
        """How many batches of other replicas ran during it, on average."""
        shared_s = np.minimum(self.ends_s, run.end_s) - np.maximum(self.starts_s, run.start_s)
        length_s = run.end_s - run.start_s
        foreign_s = float(shared_s[(self.replicas != run.replica) & (shared_s > 0)].sum())
        return foreign_s / length_s if length_s > 0 else 0.0


def _idle_s(run: _Run, before: _Run | None) -> float:
    """How long its replica was idle before the first of its requests came; infinite for the first batch."""
    if before is None:
        return float("inf")
    return 0.0 if run.sent_s < before.end_s else run.start_s - before.end_s


def _dispatch_s(run: _Run, before: _Run | None) -> float | None:
    """The time in the queue, where that is only the way to the engine: the service was empty and no policy waited."""
    if run.is_timed or (before is not None and run.sent_s < before.done_s):
        return None
    return min(row.queue_s or 0.0 for row in run.rows)


def _turn_s(run: _Run, after: _Run | None) -> float | None:
    """The time to the next batch, where all of that was waiting already; longer gaps have other reasons."""
    if after is None or after.is_timed or max(row.sent_s or 0.0 for row in after.rows) >= run.end_s:
        return None
    turn_s = _median_s(after) - _median_s(run) - sum(_stages(run.rows[0]))
    return max(0.0, turn_s) if turn_s < _LONGEST_TURN_S else None


def _median_s(run: _Run) -> float:
    return float(np.median([_began_s(row) for row in run.rows]))
