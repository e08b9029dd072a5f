"""The batches that a design ran, reconstructed from the rows of its requests: a data frame, a line each. Fits nothing.

- `size`, STAGES, and `length_s`, the time that its stages took together.
- `idle_s`: how long its replica had been idle before; caches and clocks go cold. Infinite for the first one.
- `others_at_end`: other replicas that computed when it ended; `beside`: how many computed during it, on average.
- `crowd_at_start`, `crowd_at_end`: requests in the service beside the batch; their arrivals and answers need the
  processors too.
- `networks_s`: of each of its requests, the part of the latency that is neither queue nor stages.
- `dispatch_s`: from closed to started; `turn_s`: from its end to the start of the next. NaN where the rows cannot tell
  them from a wait that the policy wanted.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ragbench.files.csv_table import RecordError, read_columns
from ragbench.results.records import Row
from ragbench.simulator.service_times import IN_SHARE, STAGES, FitError
from ragbench.statistics.columns import Floats

_LONGEST_TURN_S = 0.01
_TIMES = (*STAGES, "due_s", "sent_s", "done_s", "queue_s")
_TIMED = {"lull", "cost", "max_wait", "deadline", "window", "overdue"}  # close reasons of batches that had to wait
_OF_ITS_REQUESTS = {
    **{name: (name, "first") for name in ("replica", "size", "is_timed", *STAGES, "length_s")},
    "networks_s": ("network_s", tuple),
    "end_s": ("left_s", "min"),
    "queue_s": ("queue_s", "min"),
    "dequeued_s": ("dequeued_s", "median"),
    "first_sent_s": ("sent_s", "min"),
    "last_sent_s": ("sent_s", "max"),
    "answered_s": ("done_s", "max"),
}


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


def batches_of(rows: Sequence[Row]) -> pd.DataFrame:
    """The batches of one point, by start; only requests that were answered and report their stages count.

    A batch ended when its first answer left, before that answer's way back through the network.
    """
    requests = _requests(rows)
    batches = requests.groupby("batch").agg(**_OF_ITS_REQUESTS)
    batches["start_s"] = batches["end_s"] - batches["length_s"]
    batches = batches.sort_values("start_s", kind="stable")
    before, after = (batches.groupby("replica").shift(places) for places in (1, -1))

    is_at_once = batches["first_sent_s"] < before["end_s"]
    batches["idle_s"] = (batches["start_s"] - before["end_s"]).mask(is_at_once, 0.0).fillna(np.inf)
    # The queue is the way to the engine alone where the service was empty and no policy let the batch wait.
    is_wait = (batches["is_timed"] > 0) | (batches["first_sent_s"] < before["answered_s"])
    batches["dispatch_s"] = batches["queue_s"].mask(is_wait)
    # The gap to the next batch counts where all of that was waiting already; longer gaps have other reasons.
    gap_s = after["dequeued_s"] - batches["dequeued_s"] - batches["length_s"]
    is_turn = (after["is_timed"] == 0) & (after["last_sent_s"] < batches["end_s"]) & (gap_s < _LONGEST_TURN_S)
    batches["turn_s"] = gap_s.clip(lower=0.0).where(is_turn)

    everyone = _Presence(requests["reached_s"], requests["left_s"])
    for end in ("start", "end"):
        moment_s = requests["batch"].map(batches[f"{end}_s"])
        is_there = (requests["reached_s"] <= moment_s) & (moment_s < requests["left_s"])
        batches[f"crowd_at_{end}"] = everyone.at(batches[f"{end}_s"])
        batches[f"crowd_at_{end}"] -= is_there.groupby(requests["batch"]).sum()
    for replica, own in batches.groupby("replica"):
        foreign = batches[batches["replica"] != replica]
        others = _Presence(foreign["start_s"], foreign["end_s"])
        shared_s = others.before_s(own["end_s"]) - others.before_s(own["start_s"])
        batches.loc[own.index, "others_at_end"] = others.at(own["end_s"])
        batches.loc[own.index, "beside"] = (shared_s / own["length_s"]).where(own["length_s"] > 0, 0.0).round(6)
    return batches


def _requests(rows: Sequence[Row]) -> pd.DataFrame:
    """A line per request that counts, with the number of its batch: requests of one batch have equal stage times.

    Two batches may take equally long to the microsecond. But one replica runs one batch at a time, so a request that
    left the queue after the first batch ended belongs to the second. `reached_s`, `left_s`: when it was at the service.
    """
    ok = [row for row in rows if row.status == "ok" and None not in (row.generate_s, row.done_s, row.sent_s)]
    requests = pd.DataFrame(
        {name: np.array([getattr(row, name) or 0.0 for row in ok], dtype=np.float64) for name in _TIMES}
        | {"size": [row.batch_size or 1 for row in ok], "replica": [row.replica or "" for row in ok]}
        | {"is_timed": np.array([row.close_reason in _TIMED for row in ok], dtype=np.float64)}
    )
    requests["length_s"] = requests[list(STAGES)].sum(axis=1)
    in_service_s = requests["queue_s"] + requests["length_s"]
    requests["network_s"] = (requests["done_s"] - requests["due_s"] - in_service_s).clip(lower=0.0)
    requests["reached_s"] = requests["sent_s"] + IN_SHARE * requests["network_s"]
    requests["left_s"] = requests["done_s"] - (1 - IN_SHARE) * requests["network_s"]
    requests["dequeued_s"] = requests["sent_s"] + requests["queue_s"]  # about: the way to the service is not counted
    requests = requests.sort_values("dequeued_s", kind="stable")
    numbers, batch = itertools.count(), []
    open_until: dict[tuple[object, ...], tuple[int | None, float]] = {}
    key_columns = ["replica", "size", *STAGES]
    for *key, length_s, dequeued_s in requests[[*key_columns, "length_s", "dequeued_s"]].itertuples(
        index=False, name=None
    ):
        number, end_s = open_until.get(tuple(key), (None, -np.inf))
        if dequeued_s >= end_s:
            number = next(numbers)
            open_until[tuple(key)] = number, dequeued_s + 0.9 * length_s
        batch.append(number)
    return requests.assign(batch=batch)


def read_batches(path: Path) -> pd.DataFrame:
    """Batches of a pipeline without a server, from the file of `python -m servers.limit --out`: a batch a row.

    It needs the columns `batch_size` and STAGES. Raises FitError, OSError.
    """
    try:
        columns = read_columns(path, ("batch_size", *STAGES))
        batches = pd.DataFrame({name: columns[name].values("real", may_be_absent=False) for name in STAGES})
        sizes = columns["batch_size"].values("count", may_be_absent=False)
    except RecordError as error:
        raise FitError(str(error)) from error
    return batches.assign(size=sizes, length_s=batches.sum(axis=1), idle_s=0.0, beside=0.0, crowd_at_start=0)
