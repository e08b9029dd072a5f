"""The balancer against real HTTP replicas that answer, refuse, hang, talk rubbish, or drop the connection."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from policies.health import HealthRules
from policies.routing import RoutingPolicy, round_robin
from servers.errors import DeadlinePassed, QuestionFailed, QueueFull, Unavailable
from servers.fleet.asking.reply import TryFailed
from servers.fleet.balancer import Balancer, Tries
from servers.fleet.replica import Replica, Roster
from servers.fleet.traffic import queue_s
from servers.http.exchange import Reply

Start = Callable[..., Awaitable[Replica]]
RULES = HealthRules(failures=2, ejection_s=5.0, slow_start_s=0.0)
LONG = 1000.0  # a deadline that nothing here reaches; the balancer's clock stands at 1


STATUSES = {
    "full": 429,
    "very full": 429,
    "no quota": 429,
    "drains": 503,
    "ends": 503,
    "fails": 500,
    "poisoned": 500,
    "redirects": 302,
    "lost": 404,
    "locked": 401,
}


MARKS = {
    "full": {"X-Error-Scope": "server", "Retry-After": "2"},
    "very full": {"X-Error-Scope": "server", "Retry-After": "9"},
    "poisoned": {"X-Error-Scope": "request"},
    "ends": {"X-Error-Scope": "engine"},
    "redirects": {"Location": "http://127.0.0.1:1/elsewhere"},
}


class Clock:
    now = 1.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def asked() -> Counter[str]:
    return Counter()


@pytest.fixture
def seen() -> list[web.Request]:
    return []


@pytest.fixture
async def start(asked: Counter[str], seen: list[web.Request]) -> AsyncIterator[Start]:
    """Start a replica which behaves as its name says, registered or our own."""
    runners = []
    released = asyncio.Event()

    async def begin(behaviour: str, *, registered: bool = False) -> Replica:
        async def rag(request: web.Request) -> web.StreamResponse:
            asked[behaviour] += 1
            seen.append(request)
            body = await request.read()
            assert request.transport is not None
            headers = {"Server-Timing": "queue;dur=250, generate;dur=1", "X-Batch-Size": "4", "X-Secret": "no"}
            headers |= {"X-Batch-Close": "full", "X-Load": "outstanding=7;wait_s=0.5"}
            headers["X-Request-Id"] = request.headers.get("X-Request-Id", "")
            if behaviour == "drops":
                request.transport.abort()
            elif behaviour == "slow":
                await asyncio.sleep(0.05)
            elif behaviour == "hangs":
                await released.wait()
            elif behaviour == "mixes up":
                headers["X-Request-Id"] = "another"
            elif behaviour == "breaks off":
                request.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
                request.transport.close()
            elif behaviour == "streams":
                answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
                await answer.prepare(request)
                await answer.write(b"first")
                await released.wait()
                await answer.write(b"last")
                return answer
            headers |= MARKS.get(behaviour, {})
            status = STATUSES.get(behaviour, 200)
            if behaviour == "rubbish":
                return web.Response(body=b"\0\1 no JSON", content_type="application/json")
            if behaviour in ("empty", "deep"):
                body = b"[" * 100_000 if behaviour == "deep" else b""
                return web.Response(body=body, content_type="application/json")
            if behaviour == "a page":
                return web.Response(body=b"<html>", content_type="text/html")
            text = f'{{"result": "{behaviour}", "body": "{body.decode()}"}}'
            return web.Response(status=status, text=text, headers=headers, content_type="application/json")

        async def ready(request: web.Request) -> web.Response:
            return web.Response(headers={"X-Load": "outstanding=3;wait_s=0.5"})

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
    released.set()
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@asynccontextmanager
async def balancing(route: RoutingPolicy = round_robin, **given: Any) -> AsyncIterator[tuple[Balancer, Roster]]:
    roster = Roster(RULES)
    balancer = Balancer(roster, route, **given)
    await balancer.client.open()
    try:
        yield balancer, roster
    finally:
        await balancer.client.close()


@pytest.fixture
async def balanced(clock: Clock) -> AsyncIterator[tuple[Balancer, Roster]]:
    async with balancing(tries=Tries(timeout_s=10.0, max_waiting=2), clock=clock) as both:
        yield both


async def ask(balancer: Balancer, body: bytes = b"", *, deadline_s: float = LONG) -> Reply:
    return await balancer.forward("/rag", body, {"X-Request-Id": "1"}, deadline_s=deadline_s)


async def test_passes_body_status_and_known_headers(
    start: Start, balanced: tuple[Balancer, Roster], seen: list[web.Request]
) -> None:
    balancer, roster = balanced
    roster.add(await start("good"))
    reply = await ask(balancer, b"hello", deadline_s=6.0)
    assert (reply.status, reply.body) == (200, b'{"result": "good", "body": "hello"}')
    assert (dict(reply.headers)[b"x-batch-size"], dict(reply.headers)[b"x-batch-close"]) == (b"4", b"full")
    assert "X-Secret" not in reply.headers
    assert seen[0].headers["X-Request-Timeout-S"] == "5.000", "what is left of the time goes along"
    assert seen[0].headers["X-Request-Id"] == "1"
    assert balancer.traffic.queue_wait_p95_s(1.0) == 0.25
    assert balancer.traffic.arrival_rps(1.0) == 0.2
    assert [replica.outstanding for replica in roster] == [0]
    assert [replica.load(1.0).outstanding for replica in roster] == [7], "those that others sent"
    assert [replica.load(9.0).outstanding for replica in roster] == [0], "old news"
    assert [replica.load(now).rate_rps is None for replica in roster for now in (9.0, 12.0)] == [False, True]


@pytest.mark.parametrize(
    "behaviour",
    [
        "drops",
        "drains",
        "fails",
        "rubbish",
        "a page",
        "breaks off",
        "mixes up",
        "redirects",
        "lost",
        "empty",
        "deep",
        "locked",
    ],
)
async def test_asks_another_replica_when_one_fails(
    behaviour: str, start: Start, balanced: tuple[Balancer, Roster], asked: Counter[str]
) -> None:
    balancer, roster = balanced
    roster.add(await start(behaviour))
    roster.add(await start("good"))
    replies = [await ask(balancer) for _ in range(8)]
    assert {reply.body for reply in replies} == {b'{"result": "good", "body": ""}'}
    assert asked["good"] == 8
    if behaviour == "drains":
        assert asked[behaviour] > 2, "it is well, and only busy"
    else:
        assert asked[behaviour] == 2, "after two failures in a row it is left alone"


async def test_one_left_alone_gets_one_request_and_is_back_when_it_answers(
    start: Start, balanced: tuple[Balancer, Roster], clock: Clock
) -> None:
    balancer, roster = balanced
    good, was_bad = await start("good"), await start("good")
    for replica in (good, was_bad):
        roster.add(replica)
    assert not was_bad.health.failed(1.0, is_unreachable=False)
    assert was_bad.health.failed(1.0, is_unreachable=False)
    assert {balancer.choose() for _ in range(4)} == {good}
    clock.now = 6.0
    with was_bad.serving():
        assert {balancer.choose() for _ in range(4)} == {good}
    assert {balancer.choose() for _ in range(4)} == {good, was_bad}
    while was_bad.health.out_until_s is not None:
        await ask(balancer)
    assert was_bad.health.share(6.0) == 1.0


async def test_where_all_are_left_alone_all_are_asked(start: Start, balanced: tuple[Balancer, Roster]) -> None:
    balancer, roster = balanced
    replica = await start("good")
    roster.add(replica)
    balancer.failed(replica, TryFailed("a test", is_unreachable=True))
    assert (await ask(balancer)).status == 200


async def test_a_full_replica_is_passed_over_and_is_well(
    start: Start, balanced: tuple[Balancer, Roster], asked: Counter[str]
) -> None:
    balancer, roster = balanced
    full = await start("full")
    roster.add(full)
    roster.add(await start("good"))
    assert {(await ask(balancer)).status for _ in range(6)} == {200}
    assert asked["full"] > 2, "it is not left alone for that"
    assert full.health.out_until_s is None
    assert full.load(1.0).outstanding == 7, "its refusal says how much it has"


async def test_where_all_are_full_the_client_is_told_the_shortest_wait(
    start: Start, balanced: tuple[Balancer, Roster], asked: Counter[str]
) -> None:
    balancer, roster = balanced
    for behaviour in ("very full", "full", "fails", "very full"):
        roster.add(await start(behaviour))
    with pytest.raises(QueueFull, match="every replica is full") as refused:
        await ask(balancer)
    assert refused.value.retry_after_s == 2
    assert asked.total() == 4, "once a replica"


async def test_a_refusal_of_what_a_replica_asks_is_passed_on(
    start: Start, balanced: tuple[Balancer, Roster], asked: Counter[str]
) -> None:
    balancer, roster = balanced
    roster.add(await start("no quota"))
    roster.add(await start("good"))
    assert [(await ask(balancer)).status for _ in range(4)] == [429, 200, 429, 200]


async def test_all_having_answered_amiss_is_unavailable(
    start: Start, balanced: tuple[Balancer, Roster], asked: Counter[str]
) -> None:
    balancer, roster = balanced
    roster.add(await start("fails"))
    with pytest.raises(Unavailable, match="no replica"):
        await ask(balancer)
    assert asked["fails"] == 1, "once a replica"


async def test_a_request_waits_for_the_first_replica(start: Start, balanced: tuple[Balancer, Roster]) -> None:
    balancer, roster = balanced
    waiting = [asyncio.create_task(ask(balancer)) for _ in range(2)]
    await balancer.wanted.wait()
    assert balancer.waiting == 2
    with pytest.raises(QueueFull):
        await ask(balancer)
    roster.add(await start("good"))
    assert {reply.status for reply in await asyncio.gather(*waiting)} == {200}
    assert balancer.waiting == 0


async def test_a_request_outlives_the_only_replica(start: Start, balanced: tuple[Balancer, Roster]) -> None:
    balancer, roster = balanced
    dying = await start("hangs")
    roster.add(dying)
    waiting = asyncio.create_task(ask(balancer))
    while not dying.outstanding:
        await asyncio.sleep(0)
    await asyncio.sleep(0.05)  # on its way
    roster.move(dying, "end")
    roster.remove(dying)
    roster.add(await start("good"))
    assert (await waiting).body == b'{"result": "good", "body": ""}'


async def test_the_deadline_holds_for_waiting_and_for_tries(start: Start, clock: Clock) -> None:
    async with balancing(tries=Tries(timeout_s=0.2)) as (balancer, roster):
        loop = asyncio.get_running_loop()
        with pytest.raises(DeadlinePassed, match="no replica was ready"):
            await ask(balancer, deadline_s=loop.time() + 0.05)
        hanging = await start("hangs")
        roster.add(hanging)
        hanging.alive_s = loop.time() + 60.0  # it goes on with what it has
        for _ in range(2):
            with pytest.raises(DeadlinePassed):
                await ask(balancer, deadline_s=loop.time() + 0.1)
        assert hanging.health.out_until_s is None, "the client was short of time, which is no fault of the replica's"
        roster.add(await start("good"))
        replies = [await ask(balancer, deadline_s=loop.time() + 30) for _ in range(2)]
        assert {reply.body for reply in replies} == {b'{"result": "good", "body": ""}'}, "a try has its own limit"


@pytest.mark.parametrize(("silent_s", "is_at_fault"), [(0.04, True), (60.0, False)])
async def test_a_replica_that_answers_nobody_for_a_while_is_at_fault_for_a_deadline_that_passes(
    start: Start, silent_s: float, is_at_fault: bool
) -> None:
    """Clients who give it a moment cannot have it left alone."""
    async with balancing(tries=Tries(timeout_s=30.0, silent_s=silent_s)) as (balancer, roster):
        hanging = await start("hangs")
        roster.add(hanging)
        loop = asyncio.get_running_loop()
        for _ in range(2):
            with pytest.raises(DeadlinePassed):
                await ask(balancer, deadline_s=loop.time() + 0.05)
        assert (hanging.health.out_until_s is not None) is is_at_fault


async def test_what_cannot_be_in_time_is_refused_at_once(
    start: Start, balanced: tuple[Balancer, Roster], clock: Clock
) -> None:
    balancer, roster = balanced
    replica = await start("good")
    roster.add(replica)
    replica.report(1.0, 9, 2.6)
    assert (await ask(balancer, deadline_s=1.5)).status == 200, "nobody is there: what it said is over"
    replica.report(1.0, 9, 2.6)
    with replica.serving():
        with pytest.raises(QueueFull) as refused:
            await ask(balancer, deadline_s=3.5)
        assert refused.value.retry_after_s == 3
        clock.now = 2.1
        assert (await ask(balancer, deadline_s=3.5)).status == 200, "that was said long ago"


async def test_a_long_answer_is_passed_on_in_parts(start: Start, balanced: tuple[Balancer, Roster]) -> None:
    balancer, roster = balanced
    replica = await start("streams")
    roster.add(replica)
    reply = await ask(balancer)
    parts = reply.parts
    assert parts is not None
    assert await anext(parts) == b"first", "before the last part exists"
    assert replica.outstanding == 1
    await parts.aclose()  # the client has gone
    assert replica.outstanding == 0
    reply = await ask(balancer)
    assert replica.outstanding == 1
    assert reply.parts is not None
    await reply.parts.aclose()  # it had gone before the first part was asked for
    assert replica.outstanding == 0


@pytest.mark.slow
async def test_an_unreachable_registered_replica_is_dead_and_our_own_is_left_to_the_fleet(
    balanced: tuple[Balancer, Roster],
) -> None:
    balancer, roster = balanced
    registered = Replica("http://127.0.0.1:1", registered=True, state="ready")
    own = Replica("http://127.0.0.1:1", state="ready")
    roster.add(registered)
    roster.add(own)
    with pytest.raises(Unavailable):
        await ask(balancer)
    assert (registered.state, own.state) == ("dead", "ready")


async def test_is_ready(start: Start, balanced: tuple[Balancer, Roster]) -> None:
    balancer, _ = balanced
    replica = await start("good")
    assert await balancer.client.is_ready(replica.url)
    assert replica.load(balancer.client._clock()).outstanding == 0
    assert await balancer.client.is_ready(replica.url, of=replica)
    assert (replica.load(balancer.client._clock()).outstanding, replica.reported_rps) == (3, 8.0)
    assert not await balancer.client.is_ready("http://127.0.0.1:1")


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
    assert queue_s(header) == seconds


async def test_a_refusal_is_passed_on_at_once_where_no_other_replica_could_be_in_time(
    start: Start, balanced: tuple[Balancer, Roster], asked: Counter[str]
) -> None:
    """Three times the load, and each refusal asked of everybody: the balancer alone would have been too much."""
    balancer, roster = balanced
    roster.add(await start("full"))
    other = await start("good")
    roster.add(other)
    other.report(1.0, 9, 7.0)
    with other.serving(), pytest.raises(QueueFull) as refused:
        await ask(balancer, deadline_s=5.0)
    assert (refused.value.retry_after_s, asked["good"]) == (2, 0)
    other.report(-1.0, 9, 2.0)
    balancer._turn = 0
    with other.serving(), pytest.raises(QueueFull):  # what it said is old: we are behind, and more tries delay us more
        await ask(balancer, deadline_s=5.0)
    other.report(1.0, 9, 2.0)
    with other.serving():
        assert (await ask(balancer, deadline_s=5.0)).status == 200


async def test_an_error_of_the_request_s_own_is_passed_on_and_costs_no_replica_anything(
    start: Start, balanced: tuple[Balancer, Roster], asked: Counter[str]
) -> None:
    balancer, roster = balanced
    poisoned = await start("poisoned")
    roster.add(poisoned)
    roster.add(await start("good"))
    replies = [await ask(balancer) for _ in range(10)]
    assert [reply.status for reply in replies] == [500, 200] * 5
    assert {dict(reply.headers)[b"x-error-scope"] for reply in replies if reply.status == 500} == {b"request"}
    assert asked == {"poisoned": 5, "good": 5}, "nobody else is asked, and it stays in the rotation"
    assert poisoned.health.out_until_s is None


async def test_for_bad_answers_never_more_than_half_are_left_alone_and_never_the_last(
    start: Start, balanced: tuple[Balancer, Roster]
) -> None:
    balancer, roster = balanced
    bad = [await start("fails") for _ in range(4)]
    for replica in bad:
        roster.add(replica)
    for _ in range(6):
        with pytest.raises(Unavailable):
            await ask(balancer)
    assert sum(replica.health.out_until_s is not None for replica in bad) == 2
    for replica in bad[:3]:
        roster.remove(replica)
    bad[3].health.out_until_s = None
    for _ in range(6):
        with pytest.raises(Unavailable):
            await ask(balancer)
    assert bad[3].health.out_until_s is None
    balancer.failed(bad[3], TryFailed("it hangs, which is another matter", is_silent=True))
    assert bad[3].health.out_until_s is not None


async def test_one_that_is_out_and_fails_its_trial_rests_again_however_many_are_out(
    balanced: tuple[Balancer, Roster], clock: Clock
) -> None:
    balancer, roster = balanced
    replicas = [Replica(f"http://127.0.0.1:{port}") for port in (1, 2, 3)]
    for replica in replicas:
        roster.add(replica)
        roster.move(replica, "get_ready")
    for replica in replicas[:2] * 2:
        balancer.failed(replica, TryFailed("it says nothing", is_silent=True))
    clock.now += RULES.ejection_s
    balancer.failed(replicas[0], TryFailed("it answered 500"))
    assert not replicas[0].health.may_be_asked(clock.now, 0)


@pytest.mark.slow
async def test_a_run_that_goes_on_is_neither_cut_nor_asked_elsewhere_and_ends_at_its_deadline(
    start: Start, asked: Counter[str]
) -> None:
    """Four times the try's limit, with a sign of progress now and then; without one it is asked elsewhere."""
    async with balancing(tries=Tries(timeout_s=0.3)) as (balancer, roster):
        working = await start("hangs")
        roster.add(working)
        asking = asyncio.create_task(ask(balancer, deadline_s=time.monotonic() + 1.2))
        while not asking.done():
            await asyncio.sleep(0.05)
            working.progressed(time.monotonic(), try_timeout_s=0.3)
            if len(list(roster)) == 1:
                roster.add(await start("good"))
        with pytest.raises(DeadlinePassed):
            await asking
        assert asked == {"hangs": 1}
        reply = await ask(balancer, deadline_s=time.monotonic() + 30)
        assert reply.body == b'{"result": "good", "body": ""}'


async def test_a_question_that_three_replicas_end_with_is_asked_of_no_fourth(
    start: Start, balanced: tuple[Balancer, Roster], asked: Counter[str]
) -> None:
    balancer, roster = balanced
    for behaviour, registered in (("ends", False), ("drops", False), ("ends", True), ("good", False)):
        roster.add(await start(behaviour, registered=registered))
    with pytest.raises(QuestionFailed):
        await ask(balancer)
    assert asked == {"ends": 2, "drops": 1}


async def test_replicas_of_others_that_break_off_blame_no_question(start: Start, asked: Counter[str]) -> None:
    async with balancing(lambda loads, turn, rng: 0) as (balancer, roster):
        for behaviour in ("drops", "drops", "rubbish", "drops", "good"):
            roster.add(await start(behaviour, registered=True))
        assert (await ask(balancer, deadline_s=time.monotonic() + 30)).status == 200
        assert asked.total() == 5


async def test_questions_that_two_replicas_ended_with_meet_no_other_such_in_the_third(start: Start) -> None:
    """So one of them that ends it, too, takes no neighbour with it that would be blamed."""
    most = 0
    async with balancing(lambda loads, turn, rng: 0) as (balancer, roster):
        for _ in range(2):
            roster.add(await start("ends"))
        third = await start("slow")
        roster.add(third)
        asking = [asyncio.create_task(ask(balancer, deadline_s=time.monotonic() + 30)) for _ in range(8)]
        while not all(task.done() for task in asking):
            most = max(most, third.outstanding)
            await asyncio.sleep(0.002)
        assert ({task.result().status for task in asking}, most) == ({200}, 1)
        await third.suspects.acquire()
        with pytest.raises(DeadlinePassed):
            await ask(balancer, deadline_s=time.monotonic() + 0.2)


async def test_of_the_questions_that_three_replicas_ended_with_only_the_one_that_ended_the_third_is_blamed(
    start: Start,
) -> None:
    async with balancing(lambda loads, turn, rng: 0) as (balancer, roster):
        for behaviour in ("ends", "ends", "ends", "good"):
            roster.add(await start(behaviour))
        asking = [ask(balancer, deadline_s=time.monotonic() + 30) for _ in range(8)]
        answers = await asyncio.gather(*asking, return_exceptions=True)
        assert sum(isinstance(answer, QuestionFailed) for answer in answers) == 1
        assert {answer.status for answer in answers if not isinstance(answer, BaseException)} == {200}


@pytest.mark.slow
async def test_what_an_unregistered_replica_works_at_may_take_until_its_deadline(
    start: Start, asked: Counter[str]
) -> None:
    async with balancing(tries=Tries(timeout_s=0.3)) as (balancer, roster):
        leaving = await start("hangs", registered=True)
        roster.add(leaving)
        asking = asyncio.create_task(ask(balancer, deadline_s=time.monotonic() + 1.0))
        while not leaving.outstanding:
            await asyncio.sleep(0.01)
        roster.add(await start("good"))
        balancer.unregister(leaving)
        with pytest.raises(DeadlinePassed):
            await asking
        assert asked == {"hangs": 1}
