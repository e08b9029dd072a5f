"""Queues of one server in virtual time, many runs at once. Arrays in, arrays out; decides nothing about them."""

import numpy as np

from ragbench.results.records import Row
from ragbench.statistics.columns import Columns, Floats


def fifo(due_s: Floats, service_s: Floats) -> Floats:
    """When each request ends at a first-come server, (..., n): Lindley's recursion as a running maximum."""
    worked = np.cumsum(service_s, axis=-1)
    return worked + np.maximum.accumulate(due_s - (worked - service_s), axis=-1)


def single(
    load: float, n: int, *, runs: int, rng: np.random.Generator, is_markov: bool = True
) -> tuple[Floats, Floats]:
    """(due, done) of M/M/1, or M/D/1, from empty, (runs, n); a service takes 1 s on average."""
    due = np.cumsum(rng.exponential(1 / load, (runs, n)), axis=1)
    service = rng.exponential(1.0, (runs, n)) if is_markov else np.ones((runs, n))
    return due, fifo(due, service)


def round_robin(load: float, n: int, *, runs: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """(due, done) of three servers in turn, the third three times as slow; `load` is that of the slow one."""
    due = np.cumsum(rng.exponential(1 / load, (runs, n)), axis=1)  # each server gets a third of it
    service = rng.exponential(1.0, (runs, n))
    done = np.empty_like(due)
    for server, mean_s in enumerate((1.0, 1.0, 3.0)):
        mine = slice(server, None, 3)
        done[:, mine] = fifo(due[:, mine], mean_s * service[:, mine])
    return due, done


def columns(due_s: Floats, done_s: Floats) -> Columns:
    """One run's columns as if every request was sent when due and answered."""
    times = enumerate(zip(due_s.tolist(), done_s.tolist(), strict=True))
    return Columns(Row(n, "", due, due, done, done - due, 0.0, "ok") for n, (due, done) in times)
