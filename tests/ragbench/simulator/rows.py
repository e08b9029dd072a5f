"""Rows of batches whose times are known, as a client writes them down."""

import pandas as pd

from ragbench.results.records import Row
from ragbench.simulator.batches import batches_of
from ragbench.simulator.service_times import ServiceTimes


def answered(start_s, size, length_s, *, sent_s=None, network_s=0.002, replica=None, reason=None, lag_s=0.0):
    """The rows of one batch that left the queue at `start_s`; a quarter of the length is embedding.

    No two batches take equally long on a real clock; by that they are told apart.
    """
    length_s += 1e-9 * start_s + (1e-12 if replica == "1" else 0.0)
    stages = {"embed_s": length_s / 4, "retrieve_s": 0.0, "generate_s": 3 * length_s / 4}
    sent = start_s if sent_s is None else sent_s
    due, queue_s = sent - lag_s, start_s - sent
    done = sent + queue_s + length_s + network_s
    return [
        Row(
            *(number, "q", due, sent, done, done - due, lag_s, "ok", 200),
            queue_s=queue_s,
            batch_size=size,
            replica=replica,
            close_reason=reason,
            **stages,
        )
        for number in range(size)
    ]


def separate(sizes, *, a_s=0.01, b_s=0.003):
    """Batches far apart, one of each size."""
    return [row for place, size in enumerate(sizes) for row in answered(float(place), size, a_s + b_s * size)]


def fit(points):
    """Service times of the batches of so many points."""
    return ServiceTimes(pd.concat([batches_of(rows) for rows in points]))
