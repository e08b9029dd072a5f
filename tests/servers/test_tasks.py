"""Tasks with an owner: what ends by itself ends its server, and no other file of the servers makes one without."""

import ast
import asyncio
import gc
from pathlib import Path

import pytest

import servers
from servers.tasks import Background, TaskEnded, beside, shared, unless
from tests import virtual

SERVERS = Path(servers.__file__).parent


def test_a_task_that_fails_or_returns_ends_the_block_with_its_error() -> None:
    async def fails() -> None:
        await asyncio.sleep(1.0)
        raise ZeroDivisionError("a bug")

    async def returns() -> None:
        await asyncio.sleep(1.0)

    async def block(work: object, *, kept: bool) -> float:
        async with Background() as background:
            (background.keep if kept else background.start)(work(), name="batcher")  # type: ignore[operator]
            await asyncio.sleep(100.0)
        return virtual.now()

    with pytest.raises(ZeroDivisionError, match="a bug"):
        virtual.run(block(fails, kept=True))
    with pytest.raises(TaskEnded, match="'batcher' has ended"):
        virtual.run(block(returns, kept=True))
    assert virtual.run(block(returns, kept=False)) == 100.0


def test_the_end_of_the_block_cancels_and_waits() -> None:
    ended = []

    async def lives() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(1.0)
            ended.append(virtual.now())

    async def block() -> None:
        async with Background() as background:
            background.keep(lives(), name="lives")
            await asyncio.sleep(1.0)

    virtual.run(block())
    assert ended == [2.0]


def test_of_several_errors_the_first_is_raised_and_the_others_are_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def fails(error: Exception, at_s: float) -> None:
        await asyncio.sleep(at_s)
        raise error

    async def fails_at_its_end() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise OSError("at its end")

    async def two() -> None:
        async with Background() as background:
            background.start(fails(ValueError("first"), 1.0), name="one")
            background.start(fails(KeyError("second"), 1.0), name="other")
            await asyncio.sleep(100.0)

    async def block_and_task() -> None:
        async with Background() as background:
            background.start(fails_at_its_end(), name="one")
            await asyncio.sleep(1.0)
            raise ValueError("first")

    for block, other in ((two, "second"), (block_and_task, "at its end")):
        caplog.clear()
        with pytest.raises(ValueError, match="first"):
            virtual.run(block())
        assert [other in str(record.exc_info[1]) for record in caplog.records if record.exc_info] == [True]


def test_work_goes_on_unless_the_event_comes_first() -> None:
    async def scenario(at_s: float) -> tuple[str | None, float]:
        event = asyncio.Event()
        asyncio.get_running_loop().call_later(at_s, event.set)

        async def work() -> str:
            await asyncio.sleep(2.0)
            return "done"

        return await unless(event, work()), virtual.now()

    assert virtual.run(scenario(1.0)) == (None, 1.0)
    assert virtual.run(scenario(3.0)) == ("done", 2.0)


def test_a_task_beside_a_block_that_fails_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def fails() -> None:
        raise ZeroDivisionError("a bug")

    async def scenario() -> None:
        with beside(fails()):
            await asyncio.sleep(1.0)

    virtual.run(scenario())
    assert "a bug" in caplog.text


def test_a_shared_task_outlives_who_waits_for_it_and_fails_unheard_if_nobody_does() -> None:
    async def fails() -> None:
        await asyncio.sleep(2.0)
        raise ZeroDivisionError("a bug")

    async def scenario() -> None:
        unheard: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context))
        work = shared(fails())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(work), 1.0)
        await asyncio.sleep(2.0)
        assert work.done()
        del work
        gc.collect()
        assert unheard == []

    virtual.run(scenario())


def test_no_other_file_makes_a_task_that_nobody_owns() -> None:
    """A task is a TaskGroup's (or a Background's), or tasks.py makes it."""
    orphans = []
    for path in sorted(SERVERS.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id=owner), attr="create_task")) if owner in (
                    "asyncio",
                    "loop",
                ):
                    orphans.append(f"{path.relative_to(SERVERS)}:{node.lineno}")
    assert [place for place in orphans if not place.startswith("tasks.py")] == []
