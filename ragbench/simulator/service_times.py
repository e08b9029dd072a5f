"""How long a batch takes and what the network adds, fitted to the requests of a measured design.

The batches are those measured: one drawn from the fifty or more likest, in size, in how many other replicas computed
meanwhile (they share the machine) and in whether the pipeline had rested before (caches go cold), and scaled along the
fitted line a + b n to the size wanted. So the noise is the measured noise, and T(n) between measured sizes follows the
line.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from ragbench.records import Row

Floats = NDArray[np.float64]

STAGES = ("embed_s", "retrieve_s", "generate_s")
_LIKEST = 50
_FEWEST = 5
_LONGEST_TURN_S = 0.01
REST_S = 0.003  # without work, after which a pipeline counts as rested
IN_SHARE = 0.5  # of the network time, before the queue


class FitError(ValueError):
    """The measured requests do not say how long a batch takes."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One measured batch. `others`: replicas that computed meanwhile, on average; `is_rested`: no batch just before."""

    size: int
    stages_s: tuple[float, ...]
    others: float
    is_rested: bool

    @property
    def length_s(self) -> float:
        """T."""
        return sum(self.stages_s)


@dataclass(frozen=True, slots=True)
class Drawn:
    """A simulated batch, in seconds.

    The delay before it starts if the pipeline has rested, the time after it until the next may start, and what the
    network adds to each of its requests.
    """

    stages_s: tuple[float, ...]
    dispatch_s: float
    turnaround_s: float
    network_s: Sequence[float]


class ServiceTimes:
    """Draws batches. `a_s` + `b_s` n is the mean length of a batch of n with no other replica at work."""

    def __init__(
        self,
        batches: Sequence[Batch],
        *,
        networks_s: Sequence[tuple[int, float]],
        dispatches_s: Sequence[float],
        turnarounds_s: Sequence[tuple[int, float]] = (),
        cold_start_s: float = 4.0,
    ) -> None:
        """What was measured.

        `networks_s`: batch size and time in no stage of each request; `dispatches_s`: from closed to started;
        `turnarounds_s`: batch size, and the time from its end to the start of one that had been waiting.
        """
        if len(batches) < _FEWEST:
            raise FitError(f"{len(batches)} batches are too few to fit service times to; wanted {_FEWEST} or more")
        self.cold_start_s = cold_start_s
        self._batches = sorted(batches, key=lambda batch: batch.size)
        self._sizes = np.array([batch.size for batch in self._batches], dtype=np.float64)
        self._others = np.array([batch.others for batch in self._batches])
        self._rested = np.array([float(batch.is_rested) for batch in self._batches])
        self.a_s, self.b_s, self._c_s = _plane(
            self._sizes, np.array([batch.length_s for batch in self._batches]), self._others
        )
        self._networks = _BySize(networks_s)
        self._turnarounds = _BySize(turnarounds_s)
        self._dispatches_s = list(dispatches_s) or [0.0]
        self._likest: dict[tuple[int, int, bool], list[int]] = {}

    def with_batches(self, batches: Sequence[Batch]) -> "ServiceTimes":
        """The same server round other batches, such as those of its pipeline alone."""
        return ServiceTimes(
            batches,
            networks_s=self._networks.measured,
            dispatches_s=self._dispatches_s,
            turnarounds_s=self._turnarounds.measured,
            cold_start_s=self.cold_start_s,
        )

    @property
    def batches(self) -> int:
        """How many batches the fit is to."""
        return len(self._batches)

    @property
    def way_in_s(self) -> float:
        """How long a request takes to the queue: half of what the network adds to one that is answered alone."""
        return IN_SHARE * float(np.median(self._networks.like(1)))

    def draw(self, size: int, *, others: int, is_rested: bool, rng: Random) -> Drawn:
        """A batch of `size` while `others` more replicas compute, after a rest or at once after another batch."""
        batch = self._batches[rng.choice(self._like(size, others, is_rested))]
        scale = self.mean_s(size) / self.mean_s(batch.size)
        return Drawn(
            tuple(stage * scale for stage in batch.stages_s),
            0.0 if not is_rested else rng.choice(self._dispatches_s),
            rng.choice(self._turnarounds.like(size)),
            rng.choices(self._networks.like(size), k=size),
        )

    def mean_s(self, size: int, *, others: float = 0.0) -> float:
        """The line, T(size), and what `others` replicas at work add to it."""
        return self.a_s + (self.b_s + self._c_s * others) * size

    def _like(self, size: int, others: int, is_rested: bool) -> list[int]:
        key = (size, others, is_rested)
        if key not in self._likest:
            apart = np.abs(np.log(self._sizes / size)) + np.abs(self._others - min(others, self._others.max()))
            apart += 0.5 * np.abs(self._rested - is_rested)
            self._likest[key] = _nearest(apart, _LIKEST)
        return self._likest[key]

    def speed(self, rows: Sequence[Row]) -> float:
        """How long the batches of a point took over what the line gives them: the machine's drift; 1 is as fitted."""
        batches = _batches([row for row in rows if _is_whole(row)])
        wanted = sum(self.mean_s(batch.size, others=batch.others) for batch in batches)
        return sum(batch.length_s for batch in batches) / wanted if wanted else 1.0


class _BySize:
    """Measured seconds by batch size, and those of about a size."""

    def __init__(self, measured: Sequence[tuple[int, float]]) -> None:
        self.measured = list(measured)
        self._sizes = np.array([size for size, _ in self.measured], dtype=np.float64)
        self._like: dict[int, list[float]] = {}

    def like(self, size: int) -> list[float]:
        """Those of the nearest sizes, two hundred or more; a zero where nothing was measured."""
        if size not in self._like:
            nearest = _nearest(np.abs(np.log(self._sizes / size)), 4 * _LIKEST)
            self._like[size] = [self.measured[index][1] for index in nearest] or [0.0]
        return self._like[size]


def _nearest(apart: Floats, count: int) -> list[int]:
    """Indices of the `count` least, and of all that are as near as the last of them: no order among equals counts."""
    if len(apart) <= count:
        return list(range(len(apart)))
    return np.flatnonzero(apart <= np.partition(apart, count - 1)[count - 1]).tolist()


def _plane(sizes: Floats, lengths_s: Floats, others: Floats) -> tuple[float, float, float]:
    """a, b, c >= 0 of a + b n + c others n, by least squares; a is 0 where all sizes are one."""
    columns = np.column_stack([np.ones_like(sizes), sizes, others * sizes])
    if len(np.unique(sizes)) < 2:
        columns[:, 0] = 0.0
    a, b, c = nnls(columns, lengths_s)[0].tolist()
    return a, b, c


def fit(points: Sequence[Sequence[Row]]) -> ServiceTimes:
    """From the rows of one design's points. Raises FitError where they report no stages."""
    batches: list[Batch] = []
    networks: list[tuple[int, float]] = []
    turnarounds: list[tuple[int, float]] = []
    dispatches: list[float] = []
    for rows in points:
        ok = [row for row in rows if _is_whole(row)]
        batches += _batches(ok)
        networks += [(row.batch_size or 1, max(0.0, _network_s(row))) for row in ok]
        dispatches += _dispatches(ok)
        turnarounds += _turnarounds(ok)
    return ServiceTimes(batches, networks_s=networks, dispatches_s=dispatches, turnarounds_s=turnarounds)


def _is_whole(row: Row) -> bool:
    return row.status == "ok" and None not in (row.generate_s, row.done_s, row.sent_s)


def _stages(row: Row) -> tuple[float, ...]:
    return tuple(getattr(row, stage) or 0.0 for stage in STAGES)


def _network_s(row: Row) -> float:
    return (row.done_s or 0.0) - (row.sent_s or 0.0) - (row.queue_s or 0.0) - sum(_stages(row))


def _batches(ok: Sequence[Row]) -> list[Batch]:
    groups = _together(ok)
    spans = [(rows[0].replica, *_span(rows)) for rows in groups]
    return [
        Batch(rows[0].batch_size or 1, _stages(rows[0]), _others(span, spans), _is_rested(span, spans))
        for rows, span in zip(groups, spans, strict=True)
    ]


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


def _began_s(row: Row) -> float:
    """When it left the queue; knows nothing of the way back."""
    return (row.sent_s or 0.0) + (row.queue_s or 0.0)


def _is_rested(span: tuple[str | None, float, float], spans: Sequence[tuple[str | None, float, float]]) -> bool:
    """Whether nothing of the same replica ended in the last moments before this batch began."""
    replica, start, _ = span
    return not any(r == replica and start - REST_S < e <= start + REST_S / 2 for r, s, e in spans if s < start)


def _span(rows: Sequence[Row]) -> tuple[float, float]:
    """About when a batch began and ended: its first answer had half its network time still to go."""
    end = min((row.done_s or 0.0) - max(0.0, _network_s(row)) / 2 for row in rows)
    return end - sum(_stages(rows[0])), end


def _others(span: tuple[str | None, float, float], spans: Sequence[tuple[str | None, float, float]]) -> float:
    """How many batches of other replicas ran during this one, on average over it."""
    replica, start, end = span
    shared = sum(max(0.0, min(end, e) - max(start, s)) for other, s, e in spans if other != replica)
    return shared / (end - start) if end > start else 0.0


def _turnarounds(ok: Sequence[Row]) -> list[tuple[int, float]]:
    """From the end of a batch to the start of the next of the same replica, where all of that had been waiting."""
    runs = sorted((rows[0].replica or "", _start_s(rows), rows) for rows in _together(ok))
    found = []
    for (replica, start_s, rows), (following, next_s, others) in pairwise(runs):
        end_s = start_s + sum(_stages(rows[0]))
        if (
            replica == following
            and max(row.sent_s or 0.0 for row in others) < end_s
            and next_s - end_s < _LONGEST_TURN_S
        ):
            found.append((len(rows), max(0.0, next_s - end_s)))
    return found


def _start_s(rows: Sequence[Row]) -> float:
    return float(np.median([_began_s(row) for row in rows]))


def _dispatches(ok: Sequence[Row]) -> list[float]:
    """Queue times of requests that found the service empty and ran alone: nothing but the way to the engine."""
    latest = 0.0
    found = []
    for row in sorted(ok, key=lambda row: row.sent_s or 0.0):
        if (row.sent_s or 0.0) >= latest and row.batch_size == 1 and row.queue_s is not None:
            found.append(row.queue_s)
        latest = max(latest, row.done_s or 0.0)
    return found
