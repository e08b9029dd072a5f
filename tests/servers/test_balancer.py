"""The balancer against real HTTP replicas that answer, refuse, or drop the connection."""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web

from policies.routing import round_robin
from servers.balancer import Balancer, _queue_s
from servers.errors import Unavailable
from servers.replica import Replica, Roster

Start = Callable[..., Awaitable[Replica]]


@pytest.fixture
def asked() -> Counter[str]:
    return Counter()


@pytest.fixture
async def start(asked: Counter[str]) -> AsyncIterator[Start]:
    """Start a replica which behaves as its name says, registered or our own."""
    runners = []

    async def begin(behaviour: str, *, registered: bool = False) -> Replica:
        async def rag(request: web.Request) -> web.Response:
            asked[behaviour] += 1
            body = await request.read()
            if behaviour == "drops":
                assert request.transport is not None
                request.transport.abort()
            headers = {"Server-Timing": "queue;dur=250, generate;dur=1", "X-Batch-Size": "4", "X-Secret": "no"}
            headers["X-Batch-Close"] = "full"
            status = {"full": 429, "drains": 503}.get(behaviour, 200)
            return web.Response(status=status, body=behaviour.encode() + b":" + body, headers=headers)

        async def ready(request: web.Request) -> web.Response:
            return web.Response()

        app = web.Application()
        app.router.add_post("/rag", rag)
        app.router.add_get("/ready", ready)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        runners.append(runner)
        port = runner.addresses[0][1]
        return Replica(f"http://127.0.0.1:{port}", registered=registered, state="ready")

    yield begin
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
async def balanced() -> AsyncIterator[tuple[Balancer, Roster]]:
    roster = Roster()
    balancer = Balancer(roster, round_robin, request_timeout_s=10.0, clock=lambda: 1.0)
    await balancer.open()
    yield balancer, roster
    await balancer.close()


async def test_passes_body_status_and_known_headers(start: Start, balanced: tuple[Balancer, Roster]) -> None:
    balancer, roster = balanced
    roster.add(await start("good"))
    reply = await balancer.forward(b"hello", {"X-Request-Id": "1"})
    assert (reply.status, reply.body) == (200, b"good:hello")
    assert (reply.headers["X-Batch-Size"], reply.headers["X-Batch-Close"]) == ("4", "full")
    assert "X-Secret" not in reply.headers
    assert balancer.traffic.queue_wait_p95_s(1.0) == 0.25
    assert balancer.traffic.arrival_rps(1.0) == 0.2
    assert [replica.outstanding for replica in roster] == [0]


@pytest.mark.parametrize("behaviour", ["drops", "drains"])
async def test_asks_another_replica_when_one_fails(
    behaviour: str, start: Start, balanced: tuple[Balancer, Roster], asked: Counter[str]
) -> None:
    balancer, roster = balanced
    roster.add(await start(behaviour))
    roster.add(await start("good"))
    replies = [await balancer.forward(b"", {}) for _ in range(4)]
    assert {reply.body for reply in replies} == {b"good:"}
    assert asked["good"] == 4
    assert asked[behaviour] > 0


async def test_a_full_replica_speaks_for_itself(start: Start, balanced: tuple[Balancer, Roster]) -> None:
    balancer, roster = balanced
    roster.add(await start("full"))
    assert (await balancer.forward(b"", {})).status == 429


async def test_nobody_left_to_ask_is_unavailable(
    start: Start, balanced: tuple[Balancer, Roster], asked: Counter[str]
) -> None:
    balancer, roster = balanced
    with pytest.raises(Unavailable, match="no replica is ready"):
        await balancer.forward(b"", {})
    roster.add(await start("drops"))
    with pytest.raises(Unavailable):
        await balancer.forward(b"", {})
    assert asked["drops"] == 1


async def test_an_unreachable_registered_replica_is_dead_and_our_own_is_left_to_the_fleet(
    start: Start, balanced: tuple[Balancer, Roster]
) -> None:
    balancer, roster = balanced
    registered, own = await start("drops", registered=True), await start("drops")
    roster.add(registered)
    roster.add(own)
    with pytest.raises(Unavailable):
        await balancer.forward(b"", {})
    assert (registered.state, own.state) == ("dead", "ready")


async def test_is_ready(start: Start, balanced: tuple[Balancer, Roster]) -> None:
    balancer, _ = balanced
    replica = await start("good")
    assert await balancer.is_ready(replica.url)
    assert not await balancer.is_ready("http://127.0.0.1:1")


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("queue;dur=250, embed;dur=1", 0.25),
        ('embed;dur=7, queue;desc="waiting";dur=12.5', 0.0125),
        ('queue;dur=3;desc="x"', 0.003),
        ("queue, embed;dur=1", 0.0),
        ("queue;dur=soon", 0.0),
        ("", 0.0),
    ],
)
def test_the_queue_wait_is_read_from_any_server_timing(header: str, seconds: float) -> None:
    assert _queue_s(header) == seconds
