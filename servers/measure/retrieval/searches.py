"""Searches timed: each point of each contender, in turns. Chooses no data and knows no answer."""

import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from servers.measure.retrieval.data import Data
from servers.measure.retrieval.job import Contender, Job, Point
from servers.measure.retrieval.plain import PlainIndex
from servers.measure.retrieval.rates import SETTLED_S, TURN_S, Rates
from servers.rag.retrieval import RetrieverMissing, build

__all__ = ["Entrant", "Timed", "entrants", "load_libraries", "peak_mib", "times"]

Tell = Callable[[str], None]
_MOST_CALLS = 500


@dataclass(slots=True)
class Entrant:
    """A contender with its index, or why it has none: `status` is ok, skipped (not to be had here) or failed."""

    contender: Contender
    index: Any = None
    build_s: float | None = None
    status: str = "ok"
    reason: str | None = None

    def search(self, queries: np.ndarray, point: Point) -> tuple[np.ndarray, np.ndarray]:
        """As the contract has it."""
        return self.index.search(queries, point.k, **point.settings())

    def bare(self, queries: np.ndarray, point: Point) -> tuple[Any, np.ndarray]:
        """What is timed. -> scores or keys, ids. For FAISS its own search, without what the contract adds to it."""
        if self.contender.backend != "faiss":
            ids, scores = self.search(queries, point)
            return scores, ids
        self.index.configure(nprobe=point.nprobe, ef_search=point.ef_search)
        rerank = point.rerank if self.contender.index == "ivf_pq" else None
        return self.index.raw_search(queries, point.k, rerank=rerank)


@dataclass(slots=True)
class Timed:
    """A point of an entrant, with the seconds of one call in each turn."""

    entrant: Entrant
    point: Point
    search_s: list[float] = field(default_factory=list)
    spent_s: float = 0.0

    @property
    def median_s(self) -> float:
        """Of one call."""
        return median(self.search_s)


def load_libraries(job: Job) -> None:
    """Have every contender search a few numbers, alone and together, so that what it imports and compiles is there."""
    few = np.eye(4, job.d, dtype=np.float32)
    for contender in job.contenders:
        entrant = _entrant(job, contender, Data(few, few), lambda _: None)
        if entrant.status == "ok" and contender.points:
            for batch in (1, len(few)):
                entrant.search(few[:batch], Point(k=1, batch=batch))


def entrants(job: Job, data: Data, tell: Tell) -> list[Entrant]:
    """Everybody's index, built one after the other."""
    return [_entrant(job, contender, data, tell) for contender in job.contenders]


def _entrant(job: Job, contender: Contender, data: Data, tell: Tell) -> Entrant:
    tell(f"building {contender.name}")
    began_s = time.perf_counter()
    try:
        if contender.backend == "plain":
            index: Any = PlainIndex(np.asarray(data.vectors), job.metric)
        else:
            spec = contender.spec(job.metric, job.seed)
            index = build(contender.backend, data.vectors, spec, device=contender.device, threads=job.threads)
    except RetrieverMissing as error:
        return Entrant(contender, status="skipped", reason=str(error))
    except (ValueError, MemoryError, RuntimeError) as error:
        return Entrant(contender, status="failed", reason=str(error) or "out of memory")
    return Entrant(contender, index, time.perf_counter() - began_s)


def times(job: Job, entered: Sequence[Entrant], data: Data, rates: dict[str, Rates], tell: Tell) -> list[Timed]:
    """Every point warmed up once, then timed in `repeats` turns, those with the same batch next to each other."""
    timed = [Timed(one, point) for one in entered if one.status == "ok" for point in one.contender.points]
    timed.sort(key=lambda one: (one.point.batch, one.point.k))
    for one in timed:
        tell(f"warming up {one.entrant.contender.name}, batch {one.point.batch}")
        _warm(one, data.queries)
    for turn in range(job.repeats):
        tell(f"turn {turn + 1} of {job.repeats}")
        for rate in rates.values():
            rate.turn()
        for one in timed:
            if one.entrant.status == "ok" and (turn == 0 or one.spent_s * (turn + 1) / turn <= job.budget_s):
                time.sleep(SETTLED_S)
                _turn(one, data.queries, turn)
    return [one for one in timed if one.entrant.status == "ok"]


def _warm(one: Timed, queries: np.ndarray) -> None:
    try:
        one.entrant.bare(queries[: one.point.batch], one.point)
    except (ValueError, MemoryError, RuntimeError) as error:
        one.entrant.status, one.entrant.reason = "failed", str(error) or "out of memory"


def _turn(one: Timed, queries: np.ndarray, turn: int) -> None:
    calls, began_s = 0, time.perf_counter()
    for batch in _batches(queries, one.point.batch, turn):
        one.entrant.bare(batch, one.point)
        calls += 1
        took_s = time.perf_counter() - began_s
        if took_s >= TURN_S or calls == _MOST_CALLS:
            break
    one.search_s.append(took_s / calls)
    one.spent_s += took_s


def _batches(queries: np.ndarray, size: int, turn: int) -> Iterator[np.ndarray]:
    """Batches of the queries for ever, each turn from another place."""
    count = len(queries) // size
    place = turn
    while True:
        start = place % count * size
        yield queries[start : start + size]
        place += 1


def peak_mib() -> float:
    """The most memory that this process has had resident.

    Linux tells it as VmHWM. getrusage's figure would do elsewhere, but on Linux it starts at what the process that
    started this one had, for a program keeps its record when it becomes another one.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace")
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")) / (1 << 10)
    except (OSError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)
