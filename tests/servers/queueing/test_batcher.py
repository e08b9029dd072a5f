"""The batcher shell in virtual time: what it collects, what it answers, and what happens when something fails."""

import asyncio
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest

from policies.admission import Admission
from policies.batching import Close, LateBinding, Queue, SizeOrAge, Wait
from servers.errors import QueueFull, Unavailable
from servers.queueing.batch import Done
from servers.queueing.batcher import Batcher
from tests import virtual
from tests.servers import jobs
from tests.servers.jobs import submitting

SERVICE_S = 0.1


class Pipeline:
    """Squares numbers, one batch after another, in `SERVICE_S` of virtual time each; remembers what came when."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.taken_s: list[float] = []
        self._turn = asyncio.Lock()

    async def run(self, numbers: list[int]) -> Sequence[int]:
        self.batches.append(numbers)
        self.taken_s.append(round(virtual.now(), 6))
        async with self._turn:
            await asyncio.sleep(SERVICE_S)
        if -1 in numbers:
            raise RuntimeError("one of these is bad")
        return [number**2 for number in numbers]


def make(pipeline: Pipeline, **options: Any) -> Batcher[int, int]:
    """A batcher of at most four, unless told otherwise."""
    usual = {"policy": LateBinding(4, 0.5, 0.01), "admission": Admission(100), "max_batch_size": 4}
    return Batcher(submitting(pipeline.run), clock=virtual.now, **(usual | options))


async def serve(pipeline: Pipeline, arrivals: dict[int, float], **options: Any) -> list[Any]:
    """Submit each number at its time; what became of each, a Done or an error, in the numbers' order."""
    batcher = make(pipeline, **options)
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
    assert [round(done.queue_s, 6) for done in results] == [0.0, 0.09, 0.07, 0.05], "the end at 0.1, and the lull"


def test_a_batch_never_exceeds_its_size_and_the_order_is_kept() -> None:
    pipeline = Pipeline()
    virtual.run(serve(pipeline, dict.fromkeys(range(10), 0.0), policy=SizeOrAge(4, 0.05)))
    assert pipeline.batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_a_full_batch_is_handed_over_while_another_runs_and_starts_at_its_end() -> None:
    """Of the nine, four run, four lie ready and count as waiting; whoever comes then is in neither."""
    pipeline = Pipeline()
    arrivals = {0: 0.0, **{n: 0.02 + n / 1e6 for n in range(1, 5)}, **{n: 0.05 + n / 1e6 for n in range(5, 9)}, 9: 0.06}
    results = virtual.run(serve(pipeline, arrivals, admission=Admission(8)))
    assert pipeline.batches == [[0], [1, 2, 3, 4], [5, 6, 7, 8]]
    assert pipeline.taken_s == [0.0, 0.020004, 0.1], "never more than one lies ready"
    assert [round(done.queue_s, 4) for done in results[:9]] == [0.0, *[0.08] * 4, *[0.15] * 4]
    assert isinstance(results[9], QueueFull), "four lie ready and four wait: eight"


def test_where_requests_join_each_runs_by_itself_as_soon_as_a_slot_is_free() -> None:
    """Numbers take as long as they are large, in tenths of a second; two at a time."""

    class Engine(Pipeline):
        async def run(self, numbers: list[int]) -> Sequence[int]:
            self.batches.append(numbers)
            await asyncio.sleep(SERVICE_S * numbers[0])
            return numbers

    engine = Engine()
    results = virtual.run(serve(engine, {9: 0.0, 1: 0.02, 2: 0.03, 3: 0.04}, is_continuous=True, max_batch_size=2))
    assert engine.batches == [[9], [1], [2], [3]]
    assert [round(done.queue_s, 6) for done in results] == [0.0, 0.0, 0.09, 0.28]
    assert [done.batch_size for done in results] == [1, 2, 2, 2]


def test_where_requests_join_one_that_is_given_up_frees_its_slot() -> None:
    given_up: list[int] = []

    class Engine(Pipeline):
        async def run(self, numbers: list[int]) -> Sequence[int]:
            try:
                await asyncio.sleep(SERVICE_S * numbers[0])
            except asyncio.CancelledError:
                given_up.extend(numbers)
                raise
            return numbers

    async def scenario() -> Done[int]:
        batcher = make(Engine(), max_batch_size=1, is_continuous=True)
        serving = asyncio.create_task(batcher.serve())
        long = asyncio.create_task(batcher.submit(50))
        short = asyncio.create_task(batcher.submit(1))
        await asyncio.sleep(0.3)
        long.cancel()
        answered = await short
        serving.cancel()
        await asyncio.wait({serving, long})
        return answered

    assert virtual.run(scenario()).queue_s == pytest.approx(0.3)
    assert given_up == [50]


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
        batcher = make(pipeline)
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
        batcher = make(Pipeline(), policy=SizeOrAge(1, 0.0), max_batch_size=1)
        serving = asyncio.create_task(batcher.serve())
        asked = [asyncio.create_task(batcher.submit(number)) for number in (1, 2)]
        await asyncio.sleep(0.05)
        serving.cancel()
        return await asyncio.gather(*asked, return_exceptions=True)

    results = virtual.run(scenario())
    assert [type(result) for result in results] == [Unavailable, Unavailable]


def test_a_batch_whose_engine_has_ended_is_a_line_and_no_traceback(caplog: pytest.LogCaptureFixture) -> None:
    pipeline = Pipeline()

    async def run(numbers: list[int]) -> Sequence[int]:
        raise Unavailable("the engine has ended")

    pipeline.run = run  # type: ignore[method-assign]
    [failed] = virtual.run(serve(pipeline, {1: 0.0}))
    assert isinstance(failed, Unavailable)
    [record] = caplog.records
    assert (record.getMessage(), record.exc_info) == ("a batch of 1 was not run: the engine has ended", None)


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


@pytest.mark.parametrize(
    "decision",
    [
        lambda waiting: 1 // 0,
        lambda waiting: Close(1, "wrong place", picked=(waiting,)),
        lambda waiting: Close(0, "none"),
    ],
)
def test_a_policy_that_keeps_failing_ends_the_batcher_and_nobody_waits_for_ever(decision: Any) -> None:
    class Broken:
        def decide(self, queue: Queue, now: float) -> Close | Wait:
            return decision(queue.waiting) if queue.waiting else Wait(None)

    async def scenario() -> tuple[list[Any], BaseException | None]:
        batcher = make(Pipeline(), policy=Broken())
        serving = asyncio.create_task(batcher.serve())
        failed = [(await asyncio.gather(batcher.submit(1), return_exceptions=True))[0] for _ in range(3)]
        await asyncio.wait({serving})
        return failed, serving.exception()

    failed, error = virtual.run(scenario())
    assert all(isinstance(one, ZeroDivisionError | ValueError) for one in failed)
    assert type(error) is type(failed[-1])


def test_a_request_that_fails_in_its_batch_fails_alone() -> None:
    class Poisoned(Pipeline):
        async def run(self, numbers: list[int]) -> Sequence[Any]:
            squares = await super().run([abs(number) for number in numbers])
            return [
                ValueError("poison") if number < 0 else square for number, square in zip(numbers, squares, strict=True)
            ]

    results = virtual.run(serve(Poisoned(), {2: 0.0, -1: 0.01, 3: 0.02}))
    assert [str(one) if isinstance(one, ValueError) else one.result for one in results] == [4, "poison", 9]


def test_a_batch_closed_beyond_the_room_keeps_the_places_that_were_picked() -> None:
    class Last:
        def decide(self, queue: Queue, now: float) -> Close | Wait:
            if queue.waiting < 6:
                return Wait(now + 0.01) if queue.waiting else Wait(None)
            return Close(6, "last first", picked=tuple(range(queue.waiting - 1, queue.waiting - 7, -1)))

    pipeline = Pipeline()
    virtual.run(_cut(serve(pipeline, dict.fromkeys(range(1, 7), 0.0), policy=Last())))
    assert pipeline.batches[0] == [6, 5, 4, 3]


async def _cut(work: Any) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(work, 1.0)


def test_a_request_costs_the_same_however_many_wait() -> None:
    """Counted in calls of functions, of which a look at everybody makes one each."""

    async def calls_of_one(waiting: int) -> int:
        batcher = make(Pipeline(), admission=Admission(100_000))
        serving = asyncio.create_task(batcher.serve())
        asked = [asyncio.create_task(batcher.submit(number)) for number in range(waiting)]
        await asyncio.sleep(0.01)
        counted = 0

        def count(*event: object) -> None:
            nonlocal counted
            counted += 1

        one = asyncio.create_task(batcher.submit(0))
        sys.setprofile(count)
        try:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        finally:
            sys.setprofile(None)
        serving.cancel()
        await asyncio.gather(serving, one, *asked, return_exceptions=True)
        return counted

    few, many = virtual.run(calls_of_one(20)), virtual.run(calls_of_one(5000))
    assert many < 1.5 * few, f"{few} calls where 20 wait, {many} where 5,000 do"


def test_a_long_request_counts_as_several_usual_ones() -> None:
    """Of a queue for ten, one of work eight leaves room for two, and a prediction knows how long it takes."""

    async def scenario() -> tuple[list[str], float | None, float | None]:
        batcher = make(Pipeline(), admission=Admission(10), work=lambda number: 8 if number >= 100 else 1)
        serving = asyncio.create_task(batcher.serve())
        first = asyncio.create_task(batcher.submit(0))
        await asyncio.sleep(0.01)
        told = []

        async def ask(number: int) -> None:
            try:
                await batcher.submit(number)
                told.append("answered")
            except QueueFull as refused:
                told.append(str(refused))

        async with asyncio.TaskGroup() as asking:
            for number in (100, 1, 2, 3):
                asking.create_task(ask(number))
        await first
        short_s, long_s = batcher.predicted_s(virtual.now()), batcher.predicted_s(virtual.now(), 8)
        serving.cancel()
        await asyncio.wait({serving})
        return told, short_s, long_s

    told, short_s, long_s = virtual.run(scenario())
    assert sorted(told) == ["answered"] * 3 + ["too busy: queue full"]
    assert short_s is not None
    assert long_s is not None
    assert long_s > short_s


def test_an_idle_batcher_sleeps_until_something_arrives() -> None:
    """With no request and no timer the virtual loop would stand still: the assertion in it says so."""

    async def scenario() -> None:
        batcher = make(Pipeline(), policy=SizeOrAge(1, 0.0), max_batch_size=1)
        await batcher.serve()

    with pytest.raises(AssertionError, match="nothing would ever happen"):
        virtual.run(scenario())


def test_who_leaves_a_run_is_told_to_it_and_the_last_ends_it() -> None:
    async def scenario() -> list[int]:
        jobs.cancelled.clear()
        batcher = make(Pipeline(), policy=SizeOrAge(3, 0.5), max_batch_size=3)
        serving = asyncio.create_task(batcher.serve())
        asking = [asyncio.create_task(batcher.submit(number)) for number in range(3)]
        for leaver in (1, 2, 0):
            await asyncio.sleep(0.01)
            asking[leaver].cancel()
        await asyncio.sleep(0.01)
        assert batcher.outstanding == 0, "the run has ended"
        serving.cancel()
        await asyncio.wait({serving, *asking})
        return jobs.cancelled

    assert virtual.run(scenario()) == [1, 2, 0]


def test_a_request_that_cannot_be_in_time_is_refused_and_one_of_the_next_batch_is_not() -> None:
    async def scenario() -> list[str]:
        batcher = make(Pipeline(), admission=Admission(100, never_late=4))
        serving = asyncio.create_task(batcher.serve())
        await batcher.submit(0)
        asking = [asyncio.create_task(batcher.submit(number)) for number in range(12)]
        await asyncio.sleep(0.02)
        told = []
        for left_s in (0.05, 5.0):
            try:
                await batcher.submit(99, deadline_s=virtual.now() + left_s)
                told.append("answered")
            except QueueFull as refused:
                told.append(str(refused))
        await asyncio.gather(*asking)
        try:
            await batcher.submit(98, deadline_s=virtual.now() + 0.01)
            told.append("answered")
        finally:
            serving.cancel()
            await asyncio.wait({serving})
        return told

    assert virtual.run(scenario()) == ["too busy: deadline", "answered", "answered"]
