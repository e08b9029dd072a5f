"""One response a key: while the first request runs, soon after it, and when the first leaves or fails."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

import pytest

from servers.http.deduplication import Duplicates
from servers.http.exchange import Reply
from tests import virtual


class Work:
    """Responds with how often it was asked, once `go` is set."""

    def __init__(self, status: int = 200) -> None:
        self.asked = 0
        self.status = status
        self.go = asyncio.Event()

    async def __call__(self) -> Reply:
        self.asked += 1
        response = Reply(self.status, b"%d" % self.asked)
        await self.go.wait()
        return response


async def test_who_comes_meanwhile_waits_for_the_first_and_who_comes_later_gets_its_response() -> None:
    work, known = Work(), Duplicates()
    asking = [asyncio.create_task(known.once("id", work)) for _ in range(3)]
    other = asyncio.create_task(known.once("another", work))
    await asyncio.sleep(0)
    work.go.set()
    assert [response.body for response in await asyncio.gather(*asking)] == [b"1", b"1", b"1"]
    assert (await other).body == b"2"
    assert (await known.once("id", work)).body == b"1"
    assert work.asked == 2


async def test_when_the_first_leaves_the_next_computes() -> None:
    work, known = Work(), Duplicates()
    first, second, third = (asyncio.create_task(known.once("id", work)) for _ in range(3))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    work.go.set()
    assert [response.body for response in await asyncio.gather(second, third)] == [b"2", b"2"]


async def test_a_failure_is_not_remembered() -> None:
    known = Duplicates()

    async def fail() -> Reply:
        raise RuntimeError("no")

    for _ in range(2):
        with pytest.raises(RuntimeError):
            await known.once("id", fail)


async def test_an_error_and_a_response_in_parts_are_not_kept() -> None:
    work, known = Work(status=429), Duplicates()
    work.go.set()
    assert [(await known.once("id", work)).body for _ in range(2)] == [b"1", b"2"]

    async def parts() -> Reply:
        return Reply(200, b"", parts=_parts())

    assert await known.once("parts", parts) is not await known.once("parts", parts)
    assert len(known) == 0


async def test_as_many_responses_are_remembered_as_the_bytes_hold() -> None:
    known = Duplicates(most_bytes=101_000)

    async def ask(key: int, length: int) -> int:
        return len((await known.once(key, _later(length))).body)

    for key in range(200):
        await ask(key, 10_000)
    assert len(known) == 9
    assert await ask(199, 1) == 10_000, "the newest is remembered"
    assert await ask(0, 1) == 1, "the oldest is not"
    assert await ask(1000, 200_000) == 200_000
    assert len(known) == 0, "one that does not fit leaves no room for others, and goes too"
    for key in range(2000, 2500):
        await ask(key, 0)
    assert len(known) < 100, "a response of no length takes some room as well"


def test_a_response_is_remembered_for_its_time_and_no_longer() -> None:
    async def asked_thrice() -> list[bytes]:
        work, known = Work(), Duplicates(keep_s=10.0)
        work.go.set()
        bodies = []
        for pause_s in (9.0, 1.5, 0.0):
            bodies.append((await known.once("a", work)).body)
            await asyncio.sleep(pause_s)
        return bodies

    assert virtual.run(asked_thrice()) == [b"1", b"1", b"2"]


def test_responses_go_when_their_time_is_over_though_nobody_asks() -> None:
    async def asked_and_left() -> list[int]:
        known = Duplicates(keep_s=10.0)
        left = []
        for key in range(3):
            await known.once(key, _later(6))
            await asyncio.sleep(4.0)
        for _ in range(4):
            left.append(len(known))
            await asyncio.sleep(4.0)
        await known.once("again", _later(6))
        await asyncio.sleep(11.0)
        return [*left, len(known)]

    assert virtual.run(asked_and_left()) == [2, 1, 0, 0, 0]


def _later(length: int) -> Callable[[], Awaitable[Reply]]:
    async def respond() -> Reply:
        return Reply(200, bytes(length))

    return respond


async def _parts() -> AsyncGenerator[bytes, None]:
    yield b"part"
