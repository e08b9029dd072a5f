"""The batches that a design ran, reconstructed from the rows of its requests. Fits and draws nothing."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ragbench.files.csv_table import RecordError, read_columns
from ragbench.results.records import Row
from ragbench.statistics.columns import Floats

if TYPE_CHECKING:
    import pandas as pd

STAGES = ("embed_s", "retrieve_s", "generate_s")
IN_SHARE = 0.5  # of the network time, before the queue
_LONGEST_TURN_S = 0.01
_TIMES = (*STAGES, "due_s", "sent_s", "done_s", "queue_s")
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
    others: float
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


class _Presence:
    """Intervals of time: how many hold a moment, and how long all of them lasted before it. Moments (n,) s."""

    def __init__(self, starts_s: Floats, ends_s: Floats) -> None:
        self._ends = [(sorted_s, np.append(0.0, np.cumsum(sorted_s))) for sorted_s in map(np.sort, (starts_s, ends_s))]

    def at(self, moments_s: Floats) -> NDArray[np.int64]:
        """Intervals that hold each moment."""
        begun, ended = (np.searchsorted(sorted_s, moments_s, side="right") for sorted_s, _ in self._ends)
        return begun - ended

    def before_s(self, moments_s: Floats) -> Floats:
        """Seconds of all intervals before each moment, together."""
        counts = [np.searchsorted(sorted_s, moments_s, side="right") for sorted_s, _ in self._ends]
        begun_s, ended_s = (n * moments_s - sums_s[n] for n, (_, sums_s) in zip(counts, self._ends, strict=True))
        return begun_s - ended_s


def batches_of(rows: Sequence[Row]) -> list[Batch]:
    """The batches of one point, by start; only requests that were answered and report their stages count.

    A batch ended when its first answer left, before that answer's way back through the network.
    """
    asked = _requests(rows)
    by_batch = asked.groupby("batch")
    runs = by_batch[["replica", "batch_size", "is_timed", "length_s"]].first()
    for name, (column, figure) in _OF_ITS_REQUESTS.items():
        runs[name] = by_batch[column].agg(figure)
    runs["start_s"] = runs["end_s"] - runs["length_s"]
    runs = runs.sort_values("start_s", kind="stable")
    before, after = (runs.groupby("replica").shift(places) for places in (1, -1))

    is_at_once = runs["first_sent_s"] < before["end_s"]
    idle_s = (runs["start_s"] - before["end_s"]).mask(is_at_once, 0.0).fillna(np.inf)
    # The queue is the way to the engine alone where the service was empty and no policy let the batch wait.
    dispatch_s = runs["queue_s"].mask((runs["is_timed"] > 0) | (runs["first_sent_s"] < before["answered_s"]))
    # The gap to the next batch counts where all of that was waiting already; longer gaps have other reasons.
    gap_s = after["dequeued_s"] - runs["dequeued_s"] - runs["length_s"]
    is_turn = (after["is_timed"] == 0) & (after["last_sent_s"] < runs["end_s"]) & (gap_s < _LONGEST_TURN_S)
    turn_s = gap_s.clip(lower=0.0).where(is_turn)

    met: dict[str, list[Moment]] = {}
    others, beside = _others(runs)
    everyone = _Presence(asked["reached_s"], asked["left_s"])
    for end in ("start_s", "end_s"):
        moment_s = asked["batch"].map(runs[end])
        is_there = (asked["reached_s"] <= moment_s) & (moment_s < asked["left_s"])
        crowd = everyone.at(runs[end]) - is_there.groupby(asked["batch"]).sum()[runs.index]
        met[end] = list(map(Moment, map(int, runs["batch_size"]), others[end].tolist(), idle_s, crowd.tolist()))
    return [
        Batch(*of_batch)
        for of_batch in zip(
            *met.values(),
            zip(*(by_batch[stage].first()[runs.index] for stage in STAGES), strict=True),
            by_batch["network_s"].agg(tuple)[runs.index],
            beside.tolist(),
            *([None if np.isnan(value) else value for value in times_s] for times_s in (dispatch_s, turn_s)),
            strict=True,
        )
    ]


_OF_ITS_REQUESTS = {
    "end_s": ("left_s", "min"),
    "queue_s": ("queue_s", "min"),
    "dequeued_s": ("dequeued_s", "median"),
    "first_sent_s": ("sent_s", "min"),
    "last_sent_s": ("sent_s", "max"),
    "answered_s": ("done_s", "max"),
}


def _requests(rows: Sequence[Row]) -> "pd.DataFrame":
    """A line per request that counts, with the number of its batch: requests of one batch have equal stage times.

    Two batches may take equally long to the microsecond. But one replica runs one batch at a time, so a request that
    left the queue after the first batch ended belongs to the second. `reached_s`, `left_s`: when it was at the service.
    """
    import pandas as pd  # noqa: PLC0415  `ragbench doctor` needs no pandas

    ok = [row for row in rows if row.status == "ok" and None not in (row.generate_s, row.done_s, row.sent_s)]
    asked = pd.DataFrame(
        {name: np.array([getattr(row, name) or 0.0 for row in ok], dtype=np.float64) for name in _TIMES}
        | {"batch_size": [row.batch_size or 1 for row in ok], "replica": [row.replica or "" for row in ok]}
        | {"is_timed": np.array([row.close_reason in _TIMED for row in ok], dtype=np.float64)}
    )
    asked["length_s"] = asked[list(STAGES)].sum(axis=1)
    asked["network_s"] = (asked["done_s"] - asked["due_s"] - asked["queue_s"] - asked["length_s"]).clip(lower=0.0)
    asked["reached_s"] = asked["sent_s"] + IN_SHARE * asked["network_s"]
    asked["left_s"] = asked["done_s"] - (1 - IN_SHARE) * asked["network_s"]
    asked["dequeued_s"] = asked["sent_s"] + asked["queue_s"]  # about: the way to the service is not counted
    asked = asked.sort_values("dequeued_s", kind="stable")
    numbers, batch = itertools.count(), []
    open_until: dict[tuple[object, ...], tuple[int | None, float]] = {}
    for alike in asked[["replica", "batch_size", *STAGES, "length_s", "dequeued_s"]].itertuples(index=False, name=None):
        *key, length_s, dequeued_s = alike
        number, end_s = open_until.get(tuple(key), (None, -np.inf))
        if dequeued_s >= end_s:
            number = next(numbers)
            open_until[tuple(key)] = number, dequeued_s + 0.9 * length_s
        batch.append(number)
    return asked.assign(batch=batch)


def _others(runs: "pd.DataFrame") -> tuple["pd.DataFrame", "pd.Series"]:
    """-> batches of other replicas at each batch's start and end, and how many ran during it on average."""
    others, beside = runs[["start_s", "end_s"]].astype(int), 0.0 * runs["length_s"]
    for replica, own in runs.groupby("replica"):
        foreign = _Presence(*(runs.loc[runs["replica"] != replica, end] for end in ("start_s", "end_s")))
        others.loc[own.index] = own[["start_s", "end_s"]].apply(foreign.at)
        shared_s = foreign.before_s(own["end_s"]) - foreign.before_s(own["start_s"])
        beside[own.index] = (shared_s / own["length_s"]).where(own["length_s"] > 0, 0.0).round(6)
    return others, beside


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
