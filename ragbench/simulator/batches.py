"""The batches that a design ran, reconstructed from the rows of its requests. Fits and draws nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ragbench.files.csv_table import RecordError, read_columns
from ragbench.results.records import Row
from ragbench.statistics.columns import Floats

STAGES = ("embed_s", "retrieve_s", "generate_s")
IN_SHARE = 0.5  # of the network time, before the queue
_LONGEST_TURN_S = 0.01
_TIMED = {"lull", "max_wait", "deadline", "window", "overdue"}  # close reasons of batches that a policy let wait


class FitError(ValueError):
    """The measured requests do not say how long a batch takes."""


@dataclass(frozen=True, slots=True)
class Moment:
    """The conditions at the start or the end of a batch that its speed depends on.

    `others`: other replicas that compute. `idle_s`: how long its own replica had been idle; caches and clocks go cold.
    `crowd`: requests in the service beside the batch; their arrivals and answers need the processors too.
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


@dataclass(slots=True, eq=False)
class _Run:
    """The rows of one batch; when it ran; the runs before and after it on the same replica."""

    rows: Sequence[Row]
    start_s: float
    end_s: float
    before: "_Run | None" = None
    after: "_Run | None" = None

    @classmethod
    def of(cls, rows: Sequence[Row]) -> "_Run":
        """It ended when its first answer left, before that answer's way back through the network."""
        end_s = min((row.done_s or 0.0) - IN_SHARE * max(0.0, _network_s(row)) for row in rows)
        return cls(rows, end_s - sum(_stages(rows[0])), end_s)

    @property
    def replica(self) -> str:
        return self.rows[0].replica or ""

    @property
    def is_timed(self) -> bool:
        return self.rows[0].close_reason in _TIMED

    @property
    def sent_s(self) -> float:
        return min(row.sent_s or 0.0 for row in self.rows)

    @property
    def idle_s(self) -> float:
        """How long its replica was idle before its first request came; infinite for the first batch."""
        if self.before is None:
            return float("inf")
        return 0.0 if self.sent_s < self.before.end_s else self.start_s - self.before.end_s

    @property
    def dispatch_s(self) -> float | None:
        """Time in the queue where it is the way to the engine alone: an empty service, and no policy that waits."""
        answered_s = max((row.done_s or 0.0 for row in self.before.rows), default=0.0) if self.before else 0.0
        if self.is_timed or (self.before is not None and self.sent_s < answered_s):
            return None
        return min(row.queue_s or 0.0 for row in self.rows)

    @property
    def turn_s(self) -> float | None:
        """The time to the next batch where all of that was waiting already; longer gaps have other reasons."""
        after = self.after
        if after is None or after.is_timed or max(row.sent_s or 0.0 for row in after.rows) >= self.end_s:
            return None
        dequeued_s, next_s = (float(np.median([_dequeued_s(row) for row in run.rows])) for run in (self, after))
        turn_s = next_s - dequeued_s - sum(_stages(self.rows[0]))
        return max(0.0, turn_s) if turn_s < _LONGEST_TURN_S else None


def batches_of(rows: Sequence[Row]) -> list[Batch]:
    """The batches of one point, by start; only requests that were answered and report their stages count."""
    ok = [row for row in rows if row.status == "ok" and None not in (row.generate_s, row.done_s, row.sent_s)]
    runs = sorted((_Run.of(group) for group in _group_by_batch(ok)), key=lambda run: run.start_s)
    latest: dict[str, _Run] = {}
    for run in runs:
        run.before = latest.get(run.replica)
        if run.before is not None:
            run.before.after = run
        latest[run.replica] = run
    point = _Point(
        np.array([run.replica for run in runs]),
        np.array([run.start_s for run in runs]),
        np.array([run.end_s for run in runs]),
        _Presence.of(ok),
    )
    return [
        Batch(
            point.moment(run, run.start_s),
            point.moment(run, run.end_s),
            _stages(run.rows[0]),
            tuple(max(0.0, _network_s(row)) for row in run.rows),
            beside=point.beside(run),
            dispatch_s=run.dispatch_s,
            turn_s=run.turn_s,
        )
        for run in runs
    ]


def read_batches(path: Path) -> list[Batch]:
    """Batches of a pipeline without a server, from the file of `python -m servers.limit --out`: a batch a row.

    It needs the columns `batch_size` and STAGES. Raises FitError, OSError.
    """
    try:
        columns = read_columns(path, ("batch_size", *STAGES))
        sizes = columns["batch_size"].values("count", may_be_absent=False)
        stages = [columns[stage].values("real", may_be_absent=False) for stage in STAGES]
    except RecordError as error:
        raise FitError(str(error)) from error
    moments = [Moment(size, others=0, idle_s=0.0, crowd=0) for size in sizes]
    return [Batch(moment, moment, times_s) for moment, times_s in zip(moments, zip(*stages, strict=True), strict=True)]


def _stages(row: Row) -> tuple[float, ...]:
    return tuple(getattr(row, stage) or 0.0 for stage in STAGES)


def _network_s(row: Row) -> float:
    return (row.done_s or 0.0) - row.due_s - (row.queue_s or 0.0) - sum(_stages(row))


def _dequeued_s(row: Row) -> float:
    """About when it left the queue; the way to the service is not counted."""
    return (row.sent_s or 0.0) + (row.queue_s or 0.0)


def _group_by_batch(ok: Sequence[Row]) -> list[list[Row]]:
    """The requests of each batch: those with equal stage times.

    Two batches may take equally long to the microsecond. But one replica runs one batch at a time, so a request that
    left the queue after the first batch ended belongs to the second.
    """
    alike: dict[tuple[object, ...], list[Row]] = {}
    for row in sorted(ok, key=_dequeued_s):
        alike.setdefault((row.replica, row.batch_size, *_stages(row)), []).append(row)
    groups: list[list[Row]] = []
    for rows in alike.values():
        for row in rows:
            if row is rows[0] or _dequeued_s(row) >= _dequeued_s(groups[-1][0]) + 0.9 * sum(_stages(row)):
                groups.append([])
            groups[-1].append(row)
    return groups


@dataclass(frozen=True, slots=True)
class _Presence:
    """When requests reached and left the service, each sorted. IN_SHARE of the network time is the way in."""

    reached_s: Floats
    left_s: Floats

    @classmethod
    def of(cls, rows: Sequence[Row]) -> "_Presence":
        network_s = np.array([max(0.0, _network_s(row)) for row in rows])
        sent_s = np.array([row.sent_s or 0.0 for row in rows])
        done_s = np.array([row.done_s or 0.0 for row in rows])
        return cls(np.sort(sent_s + IN_SHARE * network_s), np.sort(done_s - (1 - IN_SHARE) * network_s))

    def at(self, moment_s: float) -> int:
        """How many requests are in the service."""
        return int(np.searchsorted(self.reached_s, moment_s) - np.searchsorted(self.left_s, moment_s))


@dataclass(frozen=True, slots=True)
class _Point:
    """All batches of a point as arrays, and the presence of all its requests."""

    replicas: NDArray[np.str_]
    starts_s: Floats
    ends_s: Floats
    presence: _Presence

    def moment(self, run: _Run, moment_s: float) -> Moment:
        """The conditions of `run` at `moment_s`."""
        computing = (self.starts_s <= moment_s) & (self.ends_s > moment_s)
        return Moment(
            size=run.rows[0].batch_size or 1,
            others=int(np.sum(computing & (self.replicas != run.replica))),
            idle_s=run.idle_s,
            crowd=self.presence.at(moment_s) - _Presence.of(run.rows).at(moment_s),
        )

    def beside(self, run: _Run) -> float:
        """How many batches of other replicas ran during it, on average."""
        shared_s = np.minimum(self.ends_s, run.end_s) - np.maximum(self.starts_s, run.start_s)
        length_s = run.end_s - run.start_s
        foreign_s = float(shared_s[(self.replicas != run.replica) & (shared_s > 0)].sum())
        return foreign_s / length_s if length_s > 0 else 0.0
