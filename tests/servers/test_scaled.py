"""The scaled design as a real process tree: replicas of its own and registered ones, a kill, a scale-up, no orphans."""

import asyncio
import os
import signal
from pathlib import Path

import httpx

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


async def test_load_scales_up_to_the_maximum_and_a_replica_from_elsewhere_can_join(tmp_path: Path) -> None:
    flags = ["--base-port", "18400", "--min-replicas", "1", "--max-replicas", "2", "--outstanding-per-replica", "4"]
    async with running(tmp_path, "scaled", *flags) as (_, client), running(tmp_path, "batched") as (elsewhere, _):
        load = asyncio.create_task(keep_asking(client))
        await until_ready(client, 2, within_s=30.0)
        assert 'rag_scaling_decisions_total{direction="up"} 1.0' in (await client.get("/metrics")).text
        answer = await client.post("/register", json={"url": elsewhere.url})
        assert answer.json() == {"url": elsewhere.url, "pid": None, "state": "ready", "outstanding": 0}
        assert len(await replicas(client, "ready")) == 3
        assert (await client.post("/unregister", json={"url": elsewhere.url})).status_code == 200
        assert (await client.post("/unregister", json={"url": elsewhere.url})).status_code == 422
        load.cancel()
        await asyncio.wait({load})


async def keep_asking(client: httpx.AsyncClient) -> None:
    """Sixteen users, each asking again when answered."""

    async def user() -> None:
        while True:
            await client.post("/rag", json=QUESTION)

    async with asyncio.TaskGroup() as users:
        for _ in range(16):
            users.create_task(user())


async def test_a_killed_parent_leaves_no_replica(tmp_path: Path) -> None:
    flags = ["--base-port", "18500", "--min-replicas", "1", "--max-replicas", "1"]
    async with running(tmp_path, "scaled", *flags) as (server, client):
        [replica] = await replicas(client, "ready")
        os.kill(server.pid, signal.SIGKILL)
        async with asyncio.timeout(10):
            while is_alive(int(str(replica["pid"]))):
                await asyncio.sleep(0.1)


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
