"""The scaled design as a real process tree: replicas of its own and registered ones, a kill, a scale-up, no orphans."""

import asyncio
import os
import signal
from pathlib import Path

import httpx
import psutil
import pytest
from aiohttp import web

from tests.servers.running import QUESTION, is_alive, running


async def replicas(client: httpx.AsyncClient, *states: str) -> list[dict[str, object]]:
    listed = (await client.get("/replicas")).json()["replicas"]
    return [replica for replica in listed if replica["state"] in states]


async def until_ready(client: httpx.AsyncClient, count: int, *, within_s: float) -> None:
    async with asyncio.timeout(within_s):
        while len(await replicas(client, "ready")) != count:
            await asyncio.sleep(0.1)


async def test_a_killed_replica_is_replaced_and_its_requests_are_answered(tmp_path: Path) -> None:
    """200 requests while one of two replicas is killed: the fleet is whole again within 15 s, and nothing is lost."""
    flags = ["--base-port", "18300", "--min-replicas", "2", "--max-replicas", "3"]
    async with running(tmp_path, "scaled", *flags) as (_, client):
        before = await replicas(client, "ready")
        backend = (await client.get("/assign")).json()["backend"]
        assert backend in {f"{replica['url']}/rag" for replica in before}
        assert (await client.post(backend, json=QUESTION)).status_code == 200

        async def ask(due_s: float) -> int:
            await asyncio.sleep(due_s)
            return (await client.post("/rag", json=QUESTION)).status_code

        async def kill_one() -> None:
            await asyncio.sleep(1.0)
            os.kill(int(str(before[0]["pid"])), signal.SIGKILL)

        asked = [ask(number / 80) for number in range(200)]
        statuses, _ = await asyncio.gather(asyncio.gather(*asked), kill_one())
        assert set(statuses) == {200}
        await until_ready(client, 2, within_s=15.0)
        after = await replicas(client, "ready")
        assert before[0]["pid"] not in {replica["pid"] for replica in after}
    assert not any(is_alive(int(str(replica["pid"]))) for replica in after)


@pytest.mark.slow
async def test_load_scales_up_to_the_maximum_and_a_replica_from_elsewhere_can_join(tmp_path: Path) -> None:
    flags = ["--base-port", "18400", "--min-replicas", "1", "--max-replicas", "2", "--outstanding-per-replica", "4"]
    async with running(tmp_path, "scaled", *flags) as (_, client), running(tmp_path, "batched") as (elsewhere, _):
        load = asyncio.create_task(keep_asking(client))
        await until_ready(client, 2, within_s=30.0)
        assert 'rag_scaling_decisions_total{direction="up"} 1.0' in (await client.get("/metrics")).text
        answer = await client.post("/register", json={"url": elsewhere.url})
        assert answer.json()["state"] == "ready"
        assert len(await replicas(client, "ready")) == 3
        assert (await client.post("/unregister", json={"url": elsewhere.url})).status_code == 200
        assert (await client.post("/unregister", json={"url": elsewhere.url})).status_code == 422
        load.cancel()
        await asyncio.wait({load})


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 3])
async def test_a_poisoned_question_fails_alone_and_ends_no_engine(count: int, tmp_path: Path) -> None:
    """A hundred times in a row, among good ones."""
    fleet = ["--base-port", "18600", "--min-replicas", str(count), "--max-replicas", str(count)]
    flags = [*fleet, "--profile", "stub", "--stub-batch-s", "0.01", "--stub-poison", "poison"]
    async with running(tmp_path, "scaled", *flags) as (_, client):
        before = await replicas(client, "ready")

        async def ask(query: str) -> int:
            return (await client.post("/rag", json={"query": query})).status_code

        for number in range(100):
            *good, bad = await asyncio.gather(*(ask(f"good {n}") for n in range(3)), ask(f"poison {number}"))
            assert (good, bad) == ([200, 200, 200], 500)
        after = await replicas(client, "ready")
        assert [replica["pid"] for replica in after] == [replica["pid"] for replica in before]
        assert not any(replica["ejected"] for replica in after)
        assert 'rag_failed_questions_total{error="QuestionFailed"} 100.0' in (await client.get("/metrics")).text


@pytest.mark.slow
async def test_a_question_that_ends_engines_ends_three_at_most_and_costs_its_neighbours_nothing(tmp_path: Path) -> None:
    """As a crash in a library does: the engine's process is gone, without an exception."""
    fleet = ["--base-port", "18650", "--min-replicas", "3", "--max-replicas", "3"]
    poison = ["--stub-poison", "poison", "--stub-poison-effect", "ends"]
    async with running(tmp_path, "scaled", *fleet, "--profile", "stub", "--stub-batch-s", "0.05", *poison) as (
        _,
        client,
    ):

        async def ask(query: str) -> int:
            return (await client.post("/rag", json={"query": query}, timeout=60)).status_code

        bad, *good = await asyncio.gather(ask("poison"), *(ask(f"good {number}") for number in range(60)))
        assert (bad, set(good)) == (500, {200})
        await until_ready(client, 3, within_s=30.0)
        ends = 'rag_replica_ends_total{reason="engine_ended"}'
        assert f"{ends} 3.0" in (await client.get("/metrics")).text


async def keep_asking(client: httpx.AsyncClient) -> None:
    """Sixteen users, each asking again when answered."""

    async def user() -> None:
        while True:
            await client.post("/rag", json=QUESTION)

    async with asyncio.TaskGroup() as users:
        for _ in range(16):
            users.create_task(user())


@pytest.mark.slow
async def test_a_killed_parent_leaves_no_replica(tmp_path: Path) -> None:
    flags = ["--base-port", "18500", "--min-replicas", "1", "--max-replicas", "1"]
    async with running(tmp_path, "scaled", *flags) as (server, client):
        [replica] = await replicas(client, "ready")
        os.kill(server.pid, signal.SIGKILL)
        async with asyncio.timeout(10):
            while is_alive(int(str(replica["pid"]))):
                await asyncio.sleep(0.1)


@pytest.mark.slow
async def test_registration_wants_the_token_where_one_is_set(tmp_path: Path) -> None:
    flags = ["--base-port", "18600", "--min-replicas", "1", "--max-replicas", "1", "--admin-token", "hush"]
    async with running(tmp_path, "scaled", *flags) as (server, client):
        url = (await replicas(client, "ready"))[0]["url"]
        assert (await client.post("/register", json={"url": url})).status_code == 403
        headers = {"Authorization": "Bearer hush"}
        assert (await client.post("/register", json={"url": url}, headers=headers)).status_code == 200
        for bad in ("ftp://127.0.0.1:1", "http://127.0.0.1:1/path", "nonsense", "http://[::1", server.url):
            assert (await client.post("/register", json={"url": bad}, headers=headers)).status_code == 422
        assert "hush" not in (await client.get("/info")).text


STUB = ["--profile", "stub", "--stub-batch-s", "0.02"]


@pytest.mark.slow
async def test_a_replica_that_hangs_is_replaced_and_what_it_held_is_answered_by_another(tmp_path: Path) -> None:
    flags = [*STUB, "--base-port", "18650", "--min-replicas", "2", "--max-replicas", "2", "--heartbeat-s", "0.3"]
    async with running(tmp_path, "scaled", *flags) as (_, client):
        before = await replicas(client, "ready")
        hung = int(str(before[0]["pid"]))
        os.kill(hung, signal.SIGSTOP)
        answers = await asyncio.gather(*(client.post("/rag", json={"query": f"q{n}"}) for n in range(40)))
        assert [answer.json()["result"] for answer in answers] == [f"q{n}" for n in range(40)]
        await until_ready(client, 2, within_s=20.0)
        assert hung not in {replica["pid"] for replica in await replicas(client, "ready")}
        assert not is_alive(hung)
        text = (await client.get("/metrics")).text
        assert 'rag_replica_ends_total{reason="hung"} 1.0' in text
        assert "rag_retries_total 0.0" not in text


@pytest.mark.slow
async def test_a_replica_whose_engine_hangs_is_replaced(tmp_path: Path) -> None:
    """Its front still answers; what it should compute never ends."""
    flags = [*STUB, "--base-port", "18800", "--min-replicas", "1", "--max-replicas", "1"]
    async with running(tmp_path, "scaled", *flags, "--heartbeat-s", "0.3", "--hang-s", "0.5") as (_, client):
        [before] = await replicas(client, "ready")
        [engine] = psutil.Process(int(str(before["pid"]))).children()
        engine.suspend()
        answer = await client.post("/rag", json={"query": "still there?"})
        assert answer.json()["result"] == "still there?"
        assert before["pid"] not in {replica["pid"] for replica in await replicas(client, "ready")}
        assert not psutil.pid_exists(engine.pid) or engine.status() == psutil.STATUS_ZOMBIE


async def test_an_answer_in_parts_is_passed_on_as_it_comes(tmp_path: Path) -> None:
    go_on = asyncio.Event()

    async def rag(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        await answer.write(b"first")
        await go_on.wait()
        await answer.write(b"last")
        return answer

    async def ready(request: web.Request) -> web.Response:
        return web.Response()

    app = web.Application()
    app.add_routes([web.post("/rag", rag), web.get("/ready", ready)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    flags = [*STUB, "--base-port", "18850", "--min-replicas", "0", "--max-replicas", "1"]
    async with running(tmp_path, "scaled", *flags) as (_, client):
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        assert (await client.post("/register", json={"url": url})).status_code == 200
        async with client.stream("POST", "/rag", json=QUESTION) as answer:
            parts = answer.aiter_bytes()
            assert await anext(parts) == b"first"
            assert [replica["outstanding"] for replica in await replicas(client, "ready")] == [1]
            go_on.set()
            assert await anext(parts) == b"last"
    await runner.cleanup()


@pytest.mark.slow
async def test_the_same_request_twice_at_once_is_computed_once(tmp_path: Path) -> None:
    flags = [*STUB, "--base-port", "18900", "--min-replicas", "2", "--max-replicas", "2"]
    async with running(tmp_path, "scaled", *flags) as (_, client):
        asking = (client.post("/rag", json=QUESTION, headers={"X-Request-Id": "same"}) for _ in range(5))
        answers = await asyncio.gather(*asking)
        assert {answer.status_code for answer in answers} == {200}
        assert "rag_batch_size_sum 1.0" in await metrics_of(client)


async def metrics_of(client: httpx.AsyncClient) -> str:
    """The fleet's metrics; the warm-up goes past the batcher and is not in them."""
    return (await client.get("/metrics")).text


@pytest.mark.slow
async def test_a_fleet_of_nobody_starts_with_the_first_request_and_goes_again(tmp_path: Path) -> None:
    flags = [*STUB, "--base-port", "18700", "--min-replicas", "0", "--max-replicas", "1", "--down-cooldown-s", "1"]
    async with running(tmp_path, "scaled", *flags) as (_, client):
        assert (await client.get("/ready")).status_code == 200
        assert await replicas(client, "ready", "starting") == []
        answers = await asyncio.gather(*(client.post("/rag", json={"query": f"q{n}"}) for n in range(5)))
        assert [answer.json()["result"] for answer in answers] == [f"q{n}" for n in range(5)]
        await until_ready(client, 0, within_s=30.0)
        told = (await client.get("/scaling")).json()
        reasons = {one["reason"] for one in told["decisions"] if one["target"] != one["ready"] + one["starting"]}
        assert reasons == {"outstanding per replica"}
        assert len(told["starts"]) == 1


@pytest.mark.slow
async def test_the_first_replica_can_be_made_slow_for_a_study(tmp_path: Path) -> None:
    flags = [*STUB, "--base-port", "18750", "--min-replicas", "2", "--max-replicas", "2", "--slow-replica", "5"]
    async with running(tmp_path, "scaled", *flags, "--routing", "least_work") as (_, client):
        slow, other = [str(replica["url"]) for replica in await replicas(client, "ready")]

        async def seconds(url: str) -> float:
            took = [(await client.post(f"{url}/rag", json=QUESTION)).elapsed.total_seconds() for _ in range(5)]
            return min(took)

        assert await seconds(slow) > 0.095
        assert await seconds(other) < 0.095
