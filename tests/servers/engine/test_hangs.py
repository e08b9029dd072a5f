"""Servers whose engine stops or whose batcher ends: what /ready, the log and the exit status say."""

import asyncio
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from servers.engine import service
from servers.engine.progress import Progress
from servers.settings import Settings
from tests import virtual
from tests.servers.engine.test_engine import engine_of
from tests.servers.running import QUESTION, running

STUB = ["--profile", "stub", "--hang-s", "0.5"]


async def until(client: httpx.AsyncClient, status: int) -> None:
    async with asyncio.timeout(30):
        while (await client.get("/ready")).status_code != status:
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("design", ["baseline", "batched"])
async def test_a_stopped_engine_is_not_ready_though_nobody_waits_for_it_and_is_again(
    design: str, tmp_path: Path
) -> None:
    async with running(tmp_path, design, *STUB) as (server, client):
        engine = engine_of(server.pid).pid
        os.kill(engine, signal.SIGSTOP)
        try:
            with pytest.raises(httpx.ReadTimeout):
                await client.post("/rag", json=QUESTION, timeout=0.2)
            await until(client, 503)
            assert (await client.get("/health")).status_code == 200
            async with asyncio.timeout(30):
                while "rag_engine_hangs_total 1.0" not in (await client.get("/metrics")).text:
                    await asyncio.sleep(0.05)
        finally:
            os.kill(engine, signal.SIGCONT)
        await until(client, 200)
        assert (await client.post("/rag", json=QUESTION)).status_code == 200
        log = tmp_path / f"{design}.log"
        async with asyncio.timeout(30):  # the line comes with the watch's next look, up to a quarter of hang_s later
            while "the engine goes on; /ready says yes" not in log.read_text():
                await asyncio.sleep(0.05)
    told = log.read_text()
    assert "CRITICAL" in told
    assert "the engine hangs: no step has ended for" in told


@pytest.mark.slow
async def test_a_batcher_that_ends_takes_its_server_down_with_a_line(tmp_path: Path) -> None:
    async with running(tmp_path, "batched", *STUB, "--stub-fault", "batcher", "--stub-fault-after-s", "0.2") as (
        server,
        _,
    ):
        await asyncio.wait_for(server.ended(), 30)
        assert server.failure() == "the server exited with code 1"
    assert "a fault to order: the batcher ends" in (tmp_path / "batched.log").read_text()


def test_a_pause_of_the_whole_server_is_no_hang_and_a_hang_is_one_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    paused_s = 0.0
    monkeypatch.setattr(service, "time", SimpleNamespace(monotonic=lambda: virtual.now() + paused_s))
    progress = Progress({1}, hang_s=5.0)
    rag = service.RagService(Settings(profile="stub"))
    rag._engine = SimpleNamespace(progress=progress)  # type: ignore[assignment]

    async def scenario() -> None:
        nonlocal paused_s
        progress.stepped(virtual.now())
        watching = asyncio.create_task(rag._watch())
        await asyncio.sleep(1.0)
        paused_s = 10.0
        await asyncio.sleep(1.0)  # the next look comes too late
        progress.stepped(virtual.now() + paused_s)
        assert caplog.text == ""
        await asyncio.sleep(20.0)
        watching.cancel()

    virtual.run(scenario())
    [record] = caplog.records
    assert record.getMessage().startswith("the engine hangs: no step has ended for")
