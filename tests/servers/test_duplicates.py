"""One answer a key: while the first is under way, soon after it, and when the first leaves or fails."""

import asyncio

import pytest

from servers.duplicates import Duplicates


class Work:
    """Answers with how often it was asked, when it is told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.go = asyncio.Event()

    async def __call__(self) -> int:
        self.asked += 1
        mine = self.asked
        await self.go.wait()
        return mine


async def test_who_comes_meanwhile_waits_for_the_first_and_who_comes_later_is_told() -> None:
    work, known = Work(), Duplicates[int]()
    asking = [asyncio.create_task(known.once("id", work)) for _ in range(3)]
    other = asyncio.create_task(known.once("another", work))
    await asyncio.sleep(0)
    work.go.set()
    assert await asyncio.gather(*asking) == [1, 1, 1]
    assert await other == 2
    assert await known.once("id", work) == 1
    assert work.asked == 2


async def test_when_the_first_leaves_the_next_computes() -> None:
    work, known = Work(), Duplicates[int]()
    first, second, third = (asyncio.create_task(known.once("id", work)) for _ in range(3))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    work.go.set()
    assert await asyncio.gather(second, third) == [2, 2]


async def test_a_failure_is_not_remembered() -> None:
    known = Duplicates[int]()

    async def fail() -> int:
        raise RuntimeError("no")

    for _ in range(2):
        with pytest.raises(RuntimeError):
            await known.once("id", fail)


async def test_what_is_not_to_be_kept_is_forgotten() -> None:
    work, known = Work(), Duplicates[int](keep=lambda answer: answer > 1)
    work.go.set()
    assert [await known.once("id", work) for _ in range(3)] == [1, 2, 2]


async def test_answers_are_forgotten_after_their_time_and_beyond_their_number() -> None:
    now = 0.0
    work, known = Work(), Duplicates[int](keep_s=10.0, most=2, clock=lambda: now)
    work.go.set()
    assert [await known.once(key, work) for key in ("a", "b", "c", "a")] == [1, 2, 3, 4]
    now = 11.0
    assert await known.once("x", work) == 5
    assert await known.once("c", work) == 6
