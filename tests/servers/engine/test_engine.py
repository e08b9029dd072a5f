"""The two places where a pipeline runs: equal answers, errors told, and neither outlives or survives the other."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from servers.backend import Chunk, Done, Event, Failed, Failure, Loaded
from servers.engine import Engine, EngineDied, _observe, messages
from servers.engine.messages import HEAD
from servers.engine.service import ENGINES
from servers.errors import EngineEnded, QuestionFailed, Unavailable
from servers.rag.models import ModelError
from servers.rag.pipeline import Answered, Ask
from servers.settings import Settings
from servers.tasks import Background
from servers.telemetry import metrics
from tests.servers.running import QUESTION, is_alive, running

ASKS = [Ask(f"Which animals can {verb}?", 2, 8) for verb in ("make honey", "spin webs", "build dams")]


@asynccontextmanager
async def loaded(name: str, folder: Path, backend: str = "static") -> AsyncIterator[Engine]:
    engine = ENGINES[name]()
    async with Background() as background:
        try:
            await engine.load(Settings(corpus_size=200, cache_dir=folder, backend=backend), background)
            yield engine
        finally:
            await engine.stop()


async def outcomes_of(engine: Engine, asks: list[Ask]) -> list[Any]:
    """What became of each question of one batch."""
    return await asyncio.gather(*(job.done for job in engine.submit(asks)), return_exceptions=True)


def engine_of(server: int) -> psutil.Process:
    """The engine process of a server."""
    (child,) = [child for child in psutil.Process(server).children() if "servers.engine.process" in child.cmdline()]
    return child


async def test_both_give_the_same_answers_in_the_order_asked_for(tmp_path: Path) -> None:
    told = {}
    for name in ENGINES:
        async with loaded(name, tmp_path) as engine:
            whole, *single = await asyncio.gather(
                outcomes_of(engine, ASKS), *(outcomes_of(engine, [ask]) for ask in ASKS)
            )
        assert [answer.result for answer in whole] == ["bees", "spiders", "beavers"]
        assert [answers[0].result for answers in single] == ["bees", "spiders", "beavers"]
        told[name] = [(answer.query, answer.result, answer.documents, answer.completion_tokens) for answer in whole]
    assert told["thread"] == told["process"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ENGINES)
async def test_questions_join_one_by_one_and_leave_as_they_are_answered(name: str, tmp_path: Path) -> None:
    async with loaded(name, tmp_path, "continuous") as engine:
        given_up = engine.submit(ASKS[:2])
        answered = [engine.submit([ask])[0].done for ask in ASKS]
        await asyncio.sleep(0)
        for job in given_up:
            job.cancel()
        answers = await asyncio.gather(*answered)
        assert [answer.result for answer in answers] == ["bees", "spiders", "beavers"]
        assert all(set(answer.stage_s) == {"embed", "retrieve", "generate"} for answer in answers)


@pytest.mark.slow
@pytest.mark.parametrize("name", ENGINES)
async def test_a_run_that_is_given_up_mixes_nothing_up(name: str, tmp_path: Path) -> None:
    async with loaded(name, tmp_path) as engine:
        [given_up] = engine.submit(ASKS[:1])
        await asyncio.sleep(0)
        given_up.cancel()
        [answer] = await outcomes_of(engine, ASKS[1:2])
        assert answer.result == "spiders"


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["static", "continuous"])
@pytest.mark.parametrize("name", ENGINES)
async def test_a_job_yields_its_chunks_where_they_are_wanted_and_its_answer(
    name: str, backend: str, tmp_path: Path
) -> None:
    async with loaded(name, tmp_path, backend) as engine:
        streamed, _ = engine.submit(ASKS[:2], stream=True)
        [whole] = engine.submit(ASKS[:1])
        *chunks, done = [event async for event in streamed.events()]
        assert isinstance(done, Done)
        assert done.result.result == "bees"
        assert all(isinstance(chunk, Chunk) for chunk in chunks)
        assert sum(len(chunk.ids) for chunk in chunks if isinstance(chunk, Chunk)) == done.result.completion_tokens
        [alone] = [event async for event in whole.events()]
        assert isinstance(alone, Done)
        assert alone.result.result == "bees"


@pytest.mark.slow
@pytest.mark.parametrize("name", ENGINES)
async def test_who_leaves_a_stream_cancels_its_job(name: str, tmp_path: Path) -> None:
    async with loaded(name, tmp_path, "continuous") as engine:
        [job] = engine.submit(ASKS[:1], stream=True)
        events = job.events()
        await anext(events)
        await events.aclose()
        [answer] = await outcomes_of(engine, ASKS[1:2])
        assert answer.result == "spiders"
        assert job.done.done(), "the engine has ended it"
        assert engine.progress.stalled_s(time.monotonic() + 9.0) == 0.0


@pytest.mark.slow
@pytest.mark.parametrize("name", ENGINES)
async def test_what_is_missing_is_told_where_it_is_waited_for(name: str, tmp_path: Path) -> None:
    engine = ENGINES[name]()
    settings = Settings(corpus_size=30, cache_dir=tmp_path, generator=str(tmp_path))
    async with Background() as background:
        with pytest.raises(ModelError, match="that folder does not hold a model"):
            await engine.load(settings, background)
        await engine.stop()


async def test_a_server_whose_engine_dies_stops_and_says_so(tmp_path: Path) -> None:
    async with running(tmp_path, "batched") as (server, client):
        assert (await client.post("/rag", json=QUESTION)).json()["result"] == "hummingbirds"
        os.kill(engine_of(server.pid).pid, signal.SIGKILL)
        asked = await asyncio.gather(*(client.post("/rag", json=QUESTION) for _ in range(4)), return_exceptions=True)
        assert not [answer for answer in asked if isinstance(answer, httpx.Response) and answer.status_code == 200]
        await asyncio.wait_for(server.ended(), 10)
        assert "batched: the engine process ended with status -9" in (tmp_path / "batched.log").read_text()
        assert server.failure() == "the server exited with code 70"


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


@pytest.mark.parametrize(("rest", "status"), [(b"\0\0\0\x09half", 0), (HEAD.pack(1) + b"?", 70)])
def test_an_engine_ends_where_its_server_breaks_off_or_cannot_be_read(rest: bytes, status: int) -> None:
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-m", "servers.engine.process", str(theirs.fileno())]
    with ours, theirs, subprocess.Popen(command, pass_fds=[theirs.fileno()]) as engine:
        theirs.close()
        ours.sendall(messages.framed(Settings(profile="stub")) + rest)
        ours.shutdown(socket.SHUT_WR)
        try:
            assert engine.wait(60) == status
        finally:
            engine.kill()


async def test_the_stub_takes_its_time_and_gives_questions_back(tmp_path: Path) -> None:
    async with stub("thread") as (engine, about):
        started_s = time.perf_counter()
        answers = await outcomes_of(engine, ASKS)
        assert time.perf_counter() - started_s >= 0.0002 + 3 * 0.00002
        assert [answer.result for answer in answers] == [ask.query for ask in ASKS]
        assert about.model_name == "stub"


@asynccontextmanager
async def stub(name: str, **settings: Any) -> AsyncIterator[tuple[Any, Loaded]]:
    engine = ENGINES[name]()
    async with Background() as background:
        try:
            yield engine, await engine.load(Settings(profile="stub", **settings), background)
        finally:
            await engine.stop()


@pytest.mark.parametrize("name", ENGINES)
async def test_a_poisoned_question_fails_alone_a_hundred_times_in_a_row(name: str) -> None:
    poison = Ask("poison", 2, 8)
    async with stub(name, stub_poison="poison") as (engine, _):
        for _ in range(100):
            one, bad, other = await outcomes_of(engine, [ASKS[0], poison, ASKS[1]])
            assert (one.query, type(bad), other.query) == (ASKS[0].query, QuestionFailed, ASKS[1].query)
        assert not engine.progress.hangs(time.monotonic() + 1000.0), "it has nothing to do"


@pytest.mark.parametrize("name", ENGINES)
async def test_an_engine_that_fails_whatever_it_is_asked_ends_and_says_so(name: str) -> None:
    outcomes: list[Any] = []

    async def ask_until_it_ends() -> None:
        async with stub(name, stub_fault="engine", stub_fault_after_s=0.0) as (engine, _):
            while True:
                outcomes.extend(await outcomes_of(engine, ASKS))

    with pytest.raises(EngineDied, match=r"ended with status 70|fault to order: every run fails"):
        await ask_until_it_ends()
    assert {type(outcome) for outcome in outcomes} <= {Unavailable, EngineEnded}, "another replica may answer them"


@pytest.mark.parametrize("name", ENGINES)
async def test_who_asks_an_engine_that_has_ended_is_told_at_once(name: str) -> None:
    asked: list[Any] = []

    async def ask_before_and_after_its_end() -> None:
        async with stub(name, stub_fault="engine", stub_fault_after_s=0.0) as (engine, _):
            try:
                await outcomes_of(engine, ASKS)
                await asyncio.Event().wait()
            finally:
                async with asyncio.timeout(30):
                    asked.extend(await outcomes_of(engine, ASKS[:1]))

    with pytest.raises(EngineDied):
        await ask_before_and_after_its_end()
    assert [type(outcome) for outcome in asked] == [Unavailable]


async def test_a_stopped_engine_hangs_though_nobody_waits_and_goes_on_when_it_is_continued() -> None:
    async with stub("process", stub_batch_s=0.01, hang_s=0.2) as (engine, _):
        pid = engine._child.pid
        os.kill(pid, signal.SIGSTOP)
        try:
            for job in engine.submit(ASKS):
                job.cancel()
            now = time.monotonic()
            assert (engine.progress.hangs(now), engine.progress.hangs(now + 0.3)) == (False, True)
        finally:
            os.kill(pid, signal.SIGCONT)
        await outcomes_of(engine, ASKS)
        assert engine.progress.stalled_s(time.monotonic() + 9.0) == 0.0


@pytest.mark.slow
async def test_a_run_of_many_steps_never_hangs_however_long_it_takes() -> None:
    async with stub("process", stub_batch_s=1.5, hang_s=0.6) as (engine, _):
        running = asyncio.gather(*(job.done for job in engine.submit(ASKS)))
        stalled_s = []
        while not running.done():
            await asyncio.sleep(0.05)
            stalled_s.append(engine.progress.stalled_s(time.monotonic()))
        assert len(stalled_s) > 20
        assert sorted(stalled_s)[len(stalled_s) // 2] < 0.5, "half a second since the last step, of one and a half"


def test_the_stages_of_a_run_are_observed_once() -> None:
    def observed() -> dict[str, float]:
        samples = [sample for family in metrics.STAGE_SECONDS.collect() for sample in family.samples]
        return {sample.labels["stage"]: sample.value for sample in samples if sample.name.endswith("_count")}

    def done(job: int, seconds: float) -> Done[Answered]:
        return Done(job, Answered("q", "r", (), 1, 1, {"embed": seconds, "generate": 2 * seconds}))

    before = observed()
    failed: Event = Failed(9, Failure("internal", "internal error"))
    _observe([done(0, 0.1), done(1, 0.1), failed, done(2, 0.2)])
    risen = {stage: count - before.get(stage, 0.0) for stage, count in observed().items()}
    assert {stage: by for stage, by in risen.items() if by} == {"embed": 2.0, "generate": 2.0}
