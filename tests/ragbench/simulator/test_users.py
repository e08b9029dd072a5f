"""Closed-loop users in virtual time: known throughput, and the same batches as the real batcher has with such users."""

import asyncio
from itertools import count

import pytest

from policies.admission import Admission
from policies.batching import POLICIES
from ragbench.simulator.service_times import ServiceTimes
from ragbench.simulator.users import APART_S, BACK_OFF_S, run_users
from servers.queueing.batcher import Batcher
from tests import virtual
from tests.ragbench.simulator.known import BATCHED, line, on_a_line
from tests.servers.jobs import submitting

A_S, B_S = 0.02, 0.001


def aways_s():
    """How long the users stay away, answer by answer; no two are equal."""
    return (0.002 + 0.0002 * (7 * n % 37) + 1e-7 * n for n in count())


class Away(ServiceTimes):
    """T(n) = a + b n exactly, and a way back that is never the same."""

    def __init__(self) -> None:
        super().__init__(on_a_line(A_S, B_S))
        self._aways_s = aways_s()

    def networks_s(self, end, rng):
        return [next(self._aways_s) for _ in range(end.size)]


def with_users(users, *, duration_s=2.0, times=None, timeout_s=30.0, **settings):
    times = times or line(A_S, B_S)
    given = {"design": "batched", "settings": {**BATCHED, **settings}, "times": times, "timeout_s": timeout_s}
    return run_users(users, duration_s=duration_s, seed=1, **given)


def test_one_user_asks_as_often_as_it_is_answered():
    rows = with_users(1)
    assert [row.due_s for row in rows] == pytest.approx([0.021 * n for n in range(96)])
    assert [row.latency_s for row in rows] == pytest.approx([0.021] * len(rows))


def test_a_user_has_one_request_at_a_time_and_eight_are_one_batch():
    rows = with_users(8)
    assert {row.batch_size for row in rows if row.due_s > 0.1} == {8}
    for row in rows:
        assert sum(other.due_s <= row.due_s < other.done_s for other in rows) <= 8


def test_requests_that_are_due_before_the_end_are_answered():
    rows = with_users(3, duration_s=0.1)
    assert all(row.status == "ok" and row.due_s < 0.1 for row in rows)
    assert max(row.done_s for row in rows) > 0.1


def test_who_is_refused_backs_off():
    rows = with_users(4, max_queue=1, max_batch_size=1, duration_s=0.5)
    refused = [row for row in rows if row.status == "rejected"]
    assert refused
    assert len(refused) <= 3 * (0.5 / BACK_OFF_S + 1)


def test_a_request_that_times_out_is_asked_again():
    rows = with_users(1, timeout_s=0.01, duration_s=0.5)
    assert [row.status for row in rows] == ["timeout"] * len(rows)
    assert [row.due_s for row in rows] == pytest.approx([0.11 * n for n in range(5)])


async def real(users, policy, *, duration_s):
    """Batch sizes of the requests that such users ask, in the order in which they are due."""
    pipeline, asked, pauses_s = asyncio.Lock(), [], aways_s()

    async def work(batch):
        async with pipeline:
            await asyncio.sleep(A_S + B_S * len(batch))
        return batch

    batcher = Batcher(submitting(work), policy=policy, admission=Admission(1024), max_batch_size=8, clock=virtual.now)
    serving = asyncio.create_task(batcher.serve())

    async def user(number):
        await asyncio.sleep(number * APART_S)
        while (due_s := virtual.now()) < duration_s:
            done = await batcher.submit(due_s)
            asked.append((due_s, done.batch_size, done.close_reason))
            await asyncio.sleep(next(pauses_s))

    await asyncio.gather(*(user(number) for number in range(users)))
    serving.cancel()
    await asyncio.wait({serving})
    return sorted(asked)


@pytest.mark.parametrize("users", [2, 6, 12])
@pytest.mark.parametrize("name", ["late_binding", "cost_aware"])
def test_same_batches_as_the_batcher(name, users):
    policy = POLICIES[name](max_batch_size=8, max_wait_s=0.05, lull_s=0.0015)
    told = virtual.run(real(users, policy, duration_s=3.0))
    rows = with_users(users, duration_s=3.0, times=Away(), policy=name, request_timeout_s=1e9, timeout_s=1e9)
    assert [row.due_s for row in rows] == pytest.approx([due_s for due_s, _, _ in told], abs=1e-9)
    assert [row.batch_size for row in rows] == [size for _, size, _ in told]
    assert [row.close_reason for row in rows] == [reason for _, _, reason in told]
    assert name == "late_binding" or users == 12 or "cost" in {row.close_reason for row in rows}
