"""The simulated server and the real batcher, both in virtual time, close the same batches at the same moments."""

import asyncio

import numpy as np
import pytest

from policies.admission import Admission
from policies.batching import CostAware, LateBinding, SizeOrAge
from ragbench.simulator.run import run
from servers.errors import QueueFull
from servers.queueing.batcher import Batcher
from tests import virtual
from tests.ragbench.simulator.known import BATCHED, line, requests
from tests.servers.jobs import submitting

A_S, B_S = 0.005, 0.002
LULL = {"lull_s": 0.0015, "deadline_margin_s": 0.0}
POLICIES = {
    "late_binding": (LateBinding(8, 0.05, **LULL), {}),
    "cost_aware": (CostAware(8, 0.05, **LULL), {}),
    "size_or_age": (SizeOrAge(8, 0.05), {}),
    "at once": (SizeOrAge(1, 0.0), {"policy": "size_or_age", "max_batch_size": 1, "max_wait_s": 0.0}),
}


def bursts(rate, seed):
    """Poisson arrivals, some of them in clumps; no two things ever fall due at one moment."""
    rng = np.random.default_rng(seed)
    due = np.cumsum(rng.exponential(1 / rate, 300))
    return np.sort(np.concatenate([due, due[:60] + rng.uniform(0, 0.002, 60)]))


async def real(due_s, policy, max_queue):
    """-> (queue time, batch size) of each request; None for those refused."""

    pipeline = asyncio.Lock()

    async def work(batch):
        async with pipeline:
            await asyncio.sleep(A_S + B_S * len(batch))
        return batch

    batcher = Batcher(
        submitting(work),
        policy=policy,
        admission=Admission(max_queue),
        max_batch_size=policy.max_batch_size,
        clock=virtual.now,
    )
    serving = asyncio.create_task(batcher.serve())

    async def ask(due):
        await asyncio.sleep(due)
        try:
            done = await batcher.submit(due)
        except QueueFull:
            return None
        return done.queue_s, done.batch_size

    answers = await asyncio.gather(*map(ask, due_s))
    serving.cancel()
    await asyncio.wait({serving})
    return answers


@pytest.mark.parametrize("rate", [20, 150, 600])
@pytest.mark.parametrize("name", POLICIES)
def test_same_batches_at_the_same_moments(name, rate):
    policy, settings = POLICIES[name]
    due_s, max_queue = bursts(rate, seed=rate), 20
    told = virtual.run(real(due_s.tolist(), policy, max_queue))
    rows, _ = run(
        requests(due_s),
        design="batched",
        settings={**BATCHED, **LULL, "policy": name, **settings, "max_queue": max_queue, "request_timeout_s": 1e9},
        times=line(A_S, B_S),
        timeout_s=1e9,
        seed=1,
    )
    assert [row.status == "rejected" for row in rows] == [answer is None for answer in told]
    assert [row.batch_size for row in rows] == [answer and answer[1] for answer in told]
    assert [row.queue_s for row in rows if row.status == "ok"] == pytest.approx(
        [answer[0] for answer in told if answer], abs=1e-9
    )
    assert rate < 600 or "rejected" in {row.status for row in rows}
