"""One answer a key: while the first is under way, soon after it, and when the first leaves or fails."""

import asyncio

import pytest

from servers.http.deduplication import Duplicates
from tests import virtual


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
    work, known = Work(), Duplicates[int](size=_none)
    asking = [asyncio.create_task(known.once("id", work)) for _ in range(3)]
    other = asyncio.create_task(known.once("another", work))
    await asyncio.sleep(0)
    work.go.set()
    assert await asyncio.gather(*asking) == [1, 1, 1]
    assert await other == 2
    assert await known.once("id", work) == 1
    assert work.asked == 2


async def test_when_the_first_leaves_the_next_computes() -> None:
    work, known = Work(), Duplicates[int](size=_none)
    first, second, third = (asyncio.create_task(known.once("id", work)) for _ in range(3))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    work.go.set()
    assert await asyncio.gather(second, third) == [2, 2]


async def test_a_failure_is_not_remembered() -> None:
    known = Duplicates[int](size=_none)

    async def fail() -> int:
        raise RuntimeError("no")

    for _ in range(2):
        with pytest.raises(RuntimeError):
            await known.once("id", fail)


async def test_what_is_not_to_be_kept_is_forgotten() -> None:
    work, known = Work(), Duplicates[int](size=_none, keep=lambda answer: answer > 1)
    work.go.set()
    assert [await known.once("id", work) for _ in range(3)] == [1, 2, 2]


async def test_as_many_answers_are_remembered_as_the_bytes_hold() -> None:
    now = 0.0
    known = Duplicates[bytes](size=len, most_bytes=100_000, clock=lambda: now)

    async def ask(key: int, length: int) -> int:
        return len(await known.once(key, lambda: _later(bytes(length))))

    for key in range(200):
        await ask(key, 10_000)
    assert len(known) == 9
    assert await ask(199, 1) == 10_000, "the newest is remembered"
    assert await ask(0, 1) == 1, "the oldest is not"
    assert await ask(1000, 200_000) == 200_000
    assert len(known) == 0, "one that does not fit leaves no room for others, and goes too"
    for key in range(2000, 2500):
        await ask(key, 0)
    assert len(known) < 100, "an answer of no length takes some room as well"


async def test_an_answer_is_remembered_for_its_time_and_no_longer() -> None:
    now = 0.0
    work, known = Work(), Duplicates[int](size=_none, keep_s=10.0, clock=lambda: now)
    work.go.set()
    assert await known.once("a", work) == 1
    now = 9.0
    assert await known.once("a", work) == 1
    now = 10.0
    assert await known.once("a", work) == 2


def test_answers_go_when_their_time_is_over_though_nobody_asks() -> None:
    async def asked_and_left() -> list[int]:
        known = Duplicates[bytes](size=len, keep_s=10.0, clock=virtual.now)
        left = []
        for key in range(3):
            await known.once(key, lambda: _later(b"answer"))
            await asyncio.sleep(4.0)
        for _ in range(4):
            left.append(len(known))
            await asyncio.sleep(4.0)
        await known.once("again", lambda: _later(b"answer"))
        await asyncio.sleep(11.0)
        return [*left, len(known)]

    assert virtual.run(asked_and_left()) == [2, 1, 0, 0, 0]


def _none(answer: int) -> int:
    return 0


async def _later(answer: bytes) -> bytes:
    return answer
