"""The batcher shell in virtual time: what it collects, what it answers, and what happens when something fails."""

import asyncio
from collections.abc import Sequence

import pytest

from policies.admission import Admission
from policies.batching import Close, LateBinding, Queue, SizeOrAge, Wait
from servers.batcher import Batcher, Done
from servers.errors import QueueFull, Unavailable
from tests import virtual

SERVICE_S = 0.1


class Pipeline:
    """Squares numbers, a batch at a time, in `SERVICE_S` of virtual time; remembers the batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    async def run(self, numbers: list[int]) -> Sequence[int]:
        self.batches.append(numbers)
        await asyncio.sleep(SERVICE_S)
        if -1 in numbers:
            raise RuntimeError("one of these is bad")
        return [number**2 for number in numbers]


async def serve(pipeline: Pipeline, arrivals: dict[int, float], **settings: object) -> list[Done[int] | BaseException]:
    """Submit each number at its time; the results in the numbers' order."""
    options = {"policy": LateBinding(4, 0.5, 0.01), "admission": Admission(100), "request_timeout_s": 60.0, **settings}
    batcher: Batcher[int, int] = Batcher(pipeline.run, clock=virtual.now, **options)  # type: ignore[arg-type]
    serving = asyncio.create_task(batcher.serve())

    async def ask(number: int, due: float) -> Done[int]:
        await asyncio.sleep(due)
        return await batcher.submit(number)

    results = await asyncio.gather(*(ask(number, due) for number, due in arrivals.items()), return_exceptions=True)
    serving.cancel()
    await asyncio.wait({serving})
    return results


def test_what_arrives_while_the_pipeline_is_busy_is_one_batch() -> None:
    pipeline = Pipeline()
    results = virtual.run(serve(pipeline, {1: 0.0, 2: 0.02, 3: 0.04, 4: 0.06}))
    assert pipeline.batches == [[1], [2, 3, 4]]
    assert [done.result for done in results] == [1, 4, 9, 16]
    assert [done.batch_size for done in results] == [1, 3, 3, 3]
    assert [done.close_reason for done in results] == ["lone", "lull", "lull", "lull"]
    assert [round(done.queue_s, 6) for done in results] == [0.0, 0.08, 0.06, 0.04]


def test_a_batch_never_exceeds_its_size_and_the_order_is_kept() -> None:
    pipeline = Pipeline()
    virtual.run(serve(pipeline, dict.fromkeys(range(10), 0.0), policy=SizeOrAge(4, 0.05)))
    assert pipeline.batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_a_failing_batch_fails_its_own_requests_and_the_next_one_is_served() -> None:
    pipeline = Pipeline()
    results = virtual.run(serve(pipeline, {-1: 0.0, 5: 0.05, 6: 0.3}))
    assert isinstance(results[0], RuntimeError)
    assert [done.result for done in results[1:]] == [25, 36]


def test_a_full_queue_refuses_with_the_predicted_drain_time() -> None:
    pipeline = Pipeline()
    results = virtual.run(serve(pipeline, {1: 0.0, 2: 0.2, 3: 0.21, 4: 0.22, 5: 0.23}, admission=Admission(2)))
    refused = results[4]
    assert isinstance(refused, QueueFull)
    assert refused.retry_after_s == 1
    assert [done.result for done in results[:4]] == [1, 4, 9, 16]


def test_a_cancelled_request_costs_no_compute() -> None:
    pipeline = Pipeline()

    async def scenario() -> None:
        batcher: Batcher[int, int] = Batcher(
            pipeline.run,
            policy=LateBinding(4, 0.5, 0.01),
            admission=Admission(9),
            request_timeout_s=60.0,
            clock=virtual.now,
        )
        serving = asyncio.create_task(batcher.serve())
        first = asyncio.create_task(batcher.submit(1))
        await asyncio.sleep(0.01)
        given_up, kept = asyncio.create_task(batcher.submit(2)), asyncio.create_task(batcher.submit(3))
        await asyncio.sleep(0.01)
        given_up.cancel()
        assert (await first).result == 1
        assert (await kept).result == 9
        serving.cancel()
        await asyncio.wait({serving, given_up})

    virtual.run(scenario())
    assert pipeline.batches == [[1], [3]]


def test_stopping_answers_whoever_waits_or_runs() -> None:
    async def scenario() -> list[BaseException | Done[int]]:
        batcher: Batcher[int, int] = Batcher(
            Pipeline().run, policy=SizeOrAge(1, 0.0), admission=Admission(9), request_timeout_s=60.0, clock=virtual.now
        )
        serving = asyncio.create_task(batcher.serve())
        asked = [asyncio.create_task(batcher.submit(number)) for number in (1, 2)]
        await asyncio.sleep(0.05)
        serving.cancel()
        return await asyncio.gather(*asked, return_exceptions=True)

    results = virtual.run(scenario())
    assert [type(result) for result in results] == [Unavailable, Unavailable]


def test_a_policy_that_fails_fails_those_who_wait_and_the_next_one_is_served() -> None:
    class Moody:
        def __init__(self) -> None:
            self.asked = 0

        def decide(self, queue: Queue, now: float) -> Close | Wait:
            if not queue.waiting:
                return Wait(None)
            self.asked += 1
            if self.asked == 1:
                raise ZeroDivisionError("a bug in the policy")
            return Close(queue.waiting + 5, "greedy")

    results = virtual.run(serve(Pipeline(), {1: 0.0, 2: 0.1}, policy=Moody()))
    assert isinstance(results[0], ZeroDivisionError)
    assert results[1].result == 4


def test_an_idle_batcher_sleeps_until_something_arrives() -> None:
    """With no request and no timer the virtual loop would stand still: the assertion in it says so."""

    async def scenario() -> None:
        batcher: Batcher[int, int] = Batcher(
            Pipeline().run, policy=SizeOrAge(1, 0.0), admission=Admission(9), request_timeout_s=60.0, clock=virtual.now
        )
        await batcher.serve()

    with pytest.raises(AssertionError, match="nothing would ever happen"):
        virtual.run(scenario())
