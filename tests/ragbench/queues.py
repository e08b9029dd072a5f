"""Queues of one server in virtual time, from textbook formulas, for tests of what judges them. Measures nothing."""

import numpy as np

from ragbench.results.records import Row


def fifo(due_s, service_s):
    """When each request ends at one first-come server: Lindley's recursion, as a running maximum."""
    worked = np.cumsum(service_s)
    return worked + np.maximum.accumulate(due_s - np.concatenate([[0.0], worked[:-1]]))


def random_queue(rho, n, *, rng, rate_rps=100.0, is_markov=True):
    """(due, done) of M/M/1, or M/D/1, at utilisation `rho`, empty at first."""
    due = np.cumsum(rng.exponential(1 / rate_rps, n))
    service = rng.exponential(rho / rate_rps, n) if is_markov else np.full(n, rho / rate_rps)
    return due - due[0], fifo(due - due[0], service)


def steady_latencies(rho, n, *, rng, warm_up=4000):
    """Times in the system of M/M/1 at service rate 1 / rho, long after its start. Mean rho / (1 - rho)."""
    due, done = random_queue(rho, n + warm_up, rng=rng, rate_rps=1.0)
    return (done - due)[warm_up:]


def rows_of(due_s, done_s, **fields):
    """Answered rows, sent as they are due."""
    return [
        Row(i, "q", due, due, done, done - due, 0.0, "ok", 200, **fields)
        for i, (due, done) in enumerate(zip(np.asarray(due_s).tolist(), np.asarray(done_s).tolist(), strict=True))
    ]
