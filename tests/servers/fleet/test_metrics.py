"""The fleet's metrics as its replicas come, fall silent, go and are taken over: counters never fall."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx
import pytest
from aiohttp import web

from servers.fleet.asking.client import ReplicaClient
from servers.fleet.metrics import ReplicaMetrics
from servers.fleet.replica import Replica, Roster
from tests.servers.running import QUESTION, running

OWN = "# HELP rag_queue_depth Waiting\n# TYPE rag_queue_depth gauge\nrag_queue_depth 0.0\n"


def said(*, started_s: float, batches: int, depth: int) -> str:
    return (
        f"# HELP process_start_time_seconds Start\n# TYPE process_start_time_seconds gauge\n"
        f"process_start_time_seconds {started_s}\n"
        f"# HELP rag_queue_depth Waiting\n# TYPE rag_queue_depth gauge\nrag_queue_depth {depth}\n"
        f"# HELP rag_batches_total Batches\n# TYPE rag_batches_total counter\n"
        f'rag_batches_total{{reason="full"}} {batches}\n'
    )


class Fake:
    """A replica whose `says` is its /metrics; None never answers."""

    url = ""
    says: str | None = ""

    async def metrics(self, request: web.Request) -> web.Response:
        if self.says is None:
            await asyncio.Event().wait()
        return web.Response(text=self.says)


@pytest.fixture
async def fake() -> AsyncIterator[Callable[[], Awaitable[Fake]]]:
    runners: list[web.AppRunner] = []

    async def start() -> Fake:
        replica, app = Fake(), web.Application()
        app.router.add_get("/metrics", replica.metrics)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        runners.append(runner)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        replica.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return replica

    yield start
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
async def client() -> AsyncIterator[ReplicaClient]:
    client = ReplicaClient(timeout_s=1.0)
    await client.open()
    yield client
    await client.close()


async def now(metrics: ReplicaMetrics) -> tuple[float, float]:
    """Batches and queue depth of the fleet."""
    lines = dict(line.rsplit(" ", 1) for line in (await metrics.added_to(OWN)).splitlines() if line[0] != "#")
    return float(lines.get('rag_batches_total{reason="full"}', "0")), float(lines["rag_queue_depth"])


@pytest.mark.slow
async def test_what_a_replica_counted_stays_when_it_is_silent_and_when_it_is_gone(
    fake: Callable[[], Awaitable[Fake]], client: ReplicaClient
) -> None:
    roster = Roster()
    metrics = ReplicaMetrics(roster, client)
    assert await now(metrics) == (0, 0)
    first, second = await fake(), await fake()
    first.says = said(started_s=1, batches=5, depth=2)
    second.says = said(started_s=1, batches=10, depth=3)
    members = [Replica(first.url, state="ready"), Replica(second.url, state="draining")]
    for member in members:
        roster.add(member)
    assert await now(metrics) == (15, 5)
    second.says = None
    assert await now(metrics) == (15, 2)
    second.says = said(started_s=1, batches=11, depth=3)
    assert await now(metrics) == (16, 5)
    roster.remove(members[1])
    assert await now(metrics) == (16, 2)
    first.says = said(started_s=9, batches=1, depth=0)
    assert await now(metrics) == (17, 0)
    assert await now(metrics) == (17, 0)


async def test_the_counters_of_many_that_are_gone_are_one_sum(
    fake: Callable[[], Awaitable[Fake]], client: ReplicaClient
) -> None:
    roster = Roster()
    metrics = ReplicaMetrics(roster, client)
    replica, other = await fake(), await fake()
    for life in range(1, 31):  # our own at one address, each the successor of the last
        member = Replica(replica.url, state="ready")
        roster.add(member)
        replica.says = said(started_s=life, batches=2, depth=1)
        assert await now(metrics) == (2 * life, 1)
        roster.remove(member)
        assert await now(metrics) == (2 * life, 0)
    assert len(metrics._last) == 16
    for life in range(1, 31):  # and registered ones, each of which may come back
        member = Replica(other.url, registered=True, state="ready")
        roster.add(member)
        other.says = said(started_s=life, batches=3, depth=0)
        await now(metrics)
        roster.remove(member)
        assert await now(metrics) == (60 + 3 * life, 0)
    assert len(metrics._last) == 16
    roster.add(Replica(other.url, registered=True, state="ready"))
    other.says = said(started_s=30, batches=4, depth=0)
    assert await now(metrics) == (60 + 3 * 30 + 1, 0), "it came back, and is counted once"


async def test_a_registered_server_of_another_make_is_left_out(
    fake: Callable[[], Awaitable[Fake]], client: ReplicaClient
) -> None:
    roster = Roster()
    metrics = ReplicaMetrics(roster, client)
    foreign = await fake()
    foreign.says = "<html>\n<p class='x'>no such page</p>\n</html>"
    roster.add(Replica(foreign.url, registered=True, state="ready"))
    roster.add(Replica("http://127.0.0.1:1", registered=True, state="ready"))
    assert await now(metrics) == (0, 0)


async def test_a_fleet_counts_each_request_once_and_shows_the_batches_of_its_replicas(tmp_path: Path) -> None:
    flags = ["--profile", "stub", "--base-port", "18700", "--min-replicas", "2", "--max-replicas", "2"]
    async with running(tmp_path, "scaled", *flags) as (_, client):
        answers = await asyncio.gather(*(client.post("/rag", json=QUESTION) for _ in range(40)))
        assert {answer.status_code for answer in answers} == {200}
        urls = [replica["url"] for replica in (await client.get("/replicas")).json()["replicas"]]
        shares = [await series(client, f"{url}/metrics") for url in urls]
        fleet = await series(client, "/metrics")
    counted = 'rag_requests_total{status="200"}'
    assert min(share[counted] for share in shares) > 0
    assert sum(share[counted] for share in shares) == fleet[counted] == 40
    assert fleet["rag_request_seconds_count"] == 40
    assert fleet["rag_queue_wait_seconds_count"] == fleet["rag_batch_size_sum"] == 40
    assert fleet['rag_replicas{state="ready"}'] == 2


async def series(client: httpx.AsyncClient, url: str) -> dict[str, float]:
    lines = [line.rsplit(" ", 1) for line in (await client.get(url)).text.splitlines() if line[0] != "#"]
    return {name: float(value) for name, value in lines}
