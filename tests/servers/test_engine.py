"""The two places where a pipeline runs: equal answers, errors told, and neither outlives or survives the other."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from servers.engine import Engine
from servers.rag.models import ModelError
from servers.rag.pipeline import Ask
from servers.service import ENGINES
from servers.settings import Settings
from tests.servers.running import QUESTION, is_alive, running

ASKS = [Ask(f"Which animals can {verb}?", 2, 8) for verb in ("make honey", "spin webs", "build dams")]


@asynccontextmanager
async def loaded(name: str, folder: Path, backend: str = "static") -> AsyncIterator[Engine]:
    engine = ENGINES[name]()
    try:
        await engine.load(Settings(corpus_size=200, cache_dir=folder, backend=backend))
        yield engine
    finally:
        await engine.stop()


def engine_of(server: int) -> psutil.Process:
    """The engine process of a server."""
    (child,) = [child for child in psutil.Process(server).children() if "servers.engine_process" in child.cmdline()]
    return child


async def test_both_give_the_same_answers_in_the_order_asked_for(tmp_path: Path) -> None:
    told = {}
    for name in ENGINES:
        async with loaded(name, tmp_path) as engine:
            whole, *single = await asyncio.gather(engine.run(ASKS), *(engine.run([ask]) for ask in ASKS))
        assert [answer.result for answer in whole] == ["bees", "spiders", "beavers"]
        assert [answers[0].result for answers in single] == ["bees", "spiders", "beavers"]
        told[name] = [(answer.query, answer.result, answer.documents, answer.completion_tokens) for answer in whole]
    assert told["thread"] == told["process"]


@pytest.mark.parametrize("name", ENGINES)
async def test_questions_join_one_by_one_and_leave_as_they_are_answered(name: str, tmp_path: Path) -> None:
    async with loaded(name, tmp_path, "continuous") as engine:
        given_up = engine.run(ASKS[:2])
        answered = [engine.run([ask]) for ask in ASKS]
        await asyncio.sleep(0)
        given_up.cancel()
        answers = [answer for [answer] in await asyncio.gather(*answered)]
        assert [answer.result for answer in answers] == ["bees", "spiders", "beavers"]
        assert all(set(answer.stage_s) == {"embed", "retrieve", "generate"} for answer in answers)


@pytest.mark.parametrize("name", ENGINES)
async def test_a_failing_run_fails_alone_and_one_given_up_mixes_nothing_up(name: str, tmp_path: Path) -> None:
    async with loaded(name, tmp_path) as engine:
        with pytest.raises(Exception, match="max"):
            await engine.run([])
        given_up = engine.run(ASKS[:1])
        await asyncio.sleep(0)
        given_up.cancel()
        [answer] = await engine.run(ASKS[1:2])
        assert answer.result == "spiders"


@pytest.mark.parametrize("name", ENGINES)
async def test_what_is_missing_is_told_where_it_is_waited_for(name: str, tmp_path: Path) -> None:
    engine = ENGINES[name]()
    try:
        with pytest.raises(ModelError, match="that folder does not hold a model"):
            await engine.load(Settings(corpus_size=30, cache_dir=tmp_path, generator=str(tmp_path)))
    finally:
        await engine.stop()


async def test_a_server_whose_engine_dies_stops_and_says_so(tmp_path: Path) -> None:
    async with running(tmp_path, "batched") as (server, client):
        assert (await client.post("/rag", json=QUESTION)).json()["result"] == "hummingbirds"
        os.kill(engine_of(server.pid).pid, signal.SIGKILL)
        asked = await asyncio.gather(*(client.post("/rag", json=QUESTION) for _ in range(4)), return_exceptions=True)
        assert not [answer for answer in asked if isinstance(answer, httpx.Response) and answer.status_code == 200]
        await asyncio.wait_for(server.ended(), 10)
        assert "batched: the engine process ended with status -9" in (tmp_path / "batched.log").read_text()
        assert server.failure() == "the server exited with code 1"


async def test_an_engine_does_not_outlive_a_server_that_is_killed(tmp_path: Path) -> None:
    async with running(tmp_path, "batched") as (server, client):
        await client.post("/rag", json=QUESTION)
        engine = engine_of(server.pid).pid
        asked = [asyncio.create_task(client.post("/rag", json=QUESTION)) for _ in range(64)]
        await asyncio.sleep(0.05)
        os.kill(server.pid, signal.SIGSTOP)  # so that answers come in which it never reads
        await asyncio.sleep(0.5)
        os.kill(server.pid, signal.SIGKILL)
        await asyncio.gather(*asked, return_exceptions=True)
        deadline_s = time.monotonic() + 10
        while is_alive(engine) and psutil.Process(engine).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline_s, "the engine is still there"
            await asyncio.sleep(0.05)


async def test_the_stub_takes_its_time_and_gives_questions_back(tmp_path: Path) -> None:
    engine = ENGINES["thread"]()
    about = await engine.load(Settings(profile="stub"))
    started_s = time.perf_counter()
    answers = await engine.run(ASKS)
    assert time.perf_counter() - started_s >= 0.0002 + 3 * 0.00002
    assert [answer.result for answer in answers] == [ask.query for ask in ASKS]
    assert about.model_name == "stub"
    await engine.stop()
