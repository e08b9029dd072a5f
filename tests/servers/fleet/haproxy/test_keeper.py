"""The keeper against a fake runtime API: in step with a roster, out of step when HAProxy is away, and back."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from policies.health import HealthRules
from policies.weights import by_work
from servers.fleet.haproxy.keeper import Front, Keeper, NoHAProxy
from servers.fleet.haproxy.runtime import Away
from servers.fleet.haproxy.servers import Refused
from servers.fleet.replica import Replica, Roster
from servers.fleet.traffic import Traffic
from servers.telemetry import metrics
from tests.servers.fleet.haproxy.fake import FakeHAProxy, Slot, slots

pytestmark = pytest.mark.timeout(30)


class Clock:
    """A time that is set."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def replica(roster: Roster, port: int, *, rate_rps: float | None = None, state: str = "ready") -> Replica:
    """One of ours on the roster."""
    made = Replica(f"http://127.0.0.1:{port}", state=state, reported_rps=rate_rps)  # type: ignore[arg-type]
    roster.add(made)
    return made


class Kept:
    """A fake HAProxy, a roster and the keeper between them."""

    def __init__(self, path: Path, count: int = 3, least: int = 1) -> None:
        self.haproxy = FakeHAProxy(slots(count))
        self.clock = Clock()
        self.roster = Roster(HealthRules(slow_start_s=0.0))
        self.traffic = Traffic(window_s=5.0)
        front = Front(str(path), "replicas", by_work, least)
        self.keeper = Keeper(front, self.roster, self.traffic, clock=self.clock)


@pytest.fixture
async def kept(tmp_path: Path) -> AsyncIterator[Kept]:
    made = Kept(tmp_path / "s")
    async with made.haproxy.listening(tmp_path / "s"):
        yield made


@asynccontextmanager
async def keeping(kept: Kept) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(kept.keeper.run())
        yield
        task.cancel()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.01)


async def test_ready_replicas_get_requests_by_their_rates(kept: Kept) -> None:
    replica(kept.roster, 8001, rate_rps=40.0)
    replica(kept.roster, 8002, rate_rps=10.0)
    replica(kept.roster, 8003, state="starting")
    await kept.keeper.once()
    assert kept.haproxy.taking() == {8001: 256, 8002: 64}
    told = len(kept.haproxy.heard)
    await kept.keeper.once()
    assert len(kept.haproxy.heard) == told, "nothing is said twice"


async def test_a_draining_replica_is_released_when_haproxy_has_no_request_at_it(kept: Kept) -> None:
    leaves = replica(kept.roster, 8001)
    assert leaves.released.is_set()
    await kept.keeper.once()
    assert not leaves.released.is_set()
    kept.haproxy.slots["slot1"].sessions = 1
    kept.roster.move(leaves, "drain")
    await kept.keeper.once()
    assert kept.haproxy.slots["slot1"].state == "drain"
    await kept.keeper.once()
    assert not leaves.released.is_set()
    kept.haproxy.slots["slot1"].sessions = 0
    await kept.keeper.once()
    assert leaves.released.is_set()
    assert kept.haproxy.slots["slot1"].state == "drain", "it is freed when the replica has ended"
    kept.roster.move(leaves, "end")
    kept.roster.remove(leaves)
    await kept.keeper.once()
    assert kept.haproxy.slots["slot1"].state == "maint"


async def test_an_idle_replica_is_not_released_in_the_round_that_drains_it(kept: Kept) -> None:
    """HAProxy may have sent it a request between the look and the command."""
    leaves = replica(kept.roster, 8001)
    await kept.keeper.once()
    kept.roster.move(leaves, "drain")
    await kept.keeper.once()
    assert not leaves.released.is_set()
    await kept.keeper.once()
    assert leaves.released.is_set()


async def test_an_ejected_replica_gets_nothing_until_a_heartbeat_is_answered_after_its_time(kept: Kept) -> None:
    bad, _ = replica(kept.roster, 8001), replica(kept.roster, 8002)
    await kept.keeper.once()
    bad.missed = 2
    assert bad.health.failed(kept.clock.now, is_unreachable=True)
    await kept.keeper.once()
    assert set(kept.haproxy.taking()) == {8002}
    bad.missed = 0
    await kept.keeper.once()
    assert set(kept.haproxy.taking()) == {8002}, "it is out for half a second"
    bad.missed = 1
    kept.clock.now += 0.6
    await kept.keeper.once()
    assert set(kept.haproxy.taking()) == {8002}, "it missed another heartbeat"
    bad.missed = 0
    await kept.keeper.once()
    assert set(kept.haproxy.taking()) == {8001, 8002}
    assert bad.describe()["ejected"] is False


async def test_if_all_are_ejected_all_are_asked(kept: Kept) -> None:
    for port in (8001, 8002):
        assert replica(kept.roster, port).health.failed(kept.clock.now, is_unreachable=True)
    for each in kept.roster:
        each.missed = 1
    await kept.keeper.once()
    assert set(kept.haproxy.taking()) == {8001, 8002}


async def test_what_haproxy_counts_is_the_demand(kept: Kept) -> None:
    kept.haproxy.requests = 1000
    await kept.keeper.once()
    assert kept.traffic.arrival_rps(kept.clock.now) == 0, "those came before this fleet"
    kept.haproxy.requests, kept.haproxy.retries, kept.haproxy.waiting = 1050, 3, 7
    before = metrics.RETRIES._value.get()
    await kept.keeper.once()
    assert kept.traffic.arrival_rps(kept.clock.now) == 10
    assert kept.keeper.waiting == 7
    assert metrics.RETRIES._value.get() == before + 3
    kept.haproxy.requests = 20
    await kept.keeper.once()
    assert kept.traffic.arrival_rps(kept.clock.now) == 14, "a new HAProxy counts from 0"


async def test_a_refusal_of_one_server_leaves_the_others_in_step(kept: Kept) -> None:
    replica(kept.roster, 8001)
    replica(kept.roster, 8002)
    kept.haproxy.answers["set server replicas/slot1"] = "Permission denied\n\n"
    with pytest.raises(Refused, match=r"`set server replicas/slot1 addr 127.0.0.1 port 8001` was answered: Permission"):
        await kept.keeper.once()
    assert set(kept.haproxy.taking()) == {8002}


async def test_too_few_servers_are_said_and_those_there_are_serve(kept: Kept) -> None:
    for port in range(8001, 8006):
        replica(kept.roster, port)
    with pytest.raises(Refused, match="has 3 servers, and 2 replicas find none free"):
        await kept.keeper.once()
    assert set(kept.haproxy.taking()) == {8001, 8002, 8003}


async def test_a_registered_replica_whose_name_is_unknown_is_left_out(
    kept: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    kept.roster.add(Replica("http://nowhere.invalid:80", registered=True, state="ready"))
    replica(kept.roster, 8001)
    for _ in range(2):
        await kept.keeper.once()
    assert set(kept.haproxy.taking()) == {8001}
    assert caplog.text.count("HAProxy cannot be told of http://nowhere.invalid:80") == 1


async def test_servers_of_an_earlier_fleet_are_freed_at_the_start_and_ours_at_the_end(kept: Kept) -> None:
    kept.haproxy.slots["slot2"] = Slot(port=7000, state="ready", weight=9)
    await kept.keeper.begin()
    assert kept.haproxy.taking() == {}
    replica(kept.roster, 8001)
    await kept.keeper.once()
    await kept.keeper.end()
    assert {slot.state for slot in kept.haproxy.slots.values()} == {"maint"}


async def test_the_end_without_haproxy_is_a_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    await Kept(tmp_path / "none").keeper.end()
    assert "the servers of HAProxy are left as they are: HAProxy cannot be reached" in caplog.text


async def test_a_wrong_socket_backend_or_level_is_said_at_the_start_with_the_setting(tmp_path: Path) -> None:
    with pytest.raises(NoHAProxy, match=r"cannot be reached at .*none: No such file or directory \(--haproxy-socket\)"):
        await Kept(tmp_path / "none").keeper.begin()
    made = Kept(tmp_path / "s", count=3, least=4)
    async with made.haproxy.listening(tmp_path / "s"):
        with pytest.raises(NoHAProxy, match=r"has 3 servers, wanted as many as --max-replicas, 4"):
            await made.keeper.begin()
        made.haproxy.answers["show servers"] = "Can't find backend.\n\n"
        with pytest.raises(NoHAProxy, match=r"Can't find backend\. \(--haproxy-backend\)") as caught:
            await made.keeper.begin()
    assert caught.value.status == 2


async def test_a_change_is_told_at_once(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("servers.fleet.haproxy.keeper._LOOK_S", 1000.0)
    async with keeping(kept):
        replica(kept.roster, 8001)
        await until(lambda: 8001 in kept.haproxy.taking())
        replica(kept.roster, 8002)
        await until(lambda: 8002 in kept.haproxy.taking())


async def test_a_change_during_a_round_is_told_in_the_next(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("servers.fleet.haproxy.keeper._LOOK_S", 1000.0)
    replica(kept.roster, 8001)
    second = iter([8002])
    kept.haproxy.on_change = lambda: [replica(kept.roster, port) for port in second]
    async with keeping(kept):
        await until(lambda: set(kept.haproxy.taking()) == {8001, 8002})


async def test_a_haproxy_that_was_away_gets_everything_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    made = Kept(tmp_path / "s")
    replica(made.roster, 8001)
    async with made.haproxy.listening(tmp_path / "s"):
        await made.keeper.once()
    made.haproxy.slots = slots(3)  # what a reload leaves
    async with keeping(made):
        await until(lambda: "HAProxy is not in step" in caplog.text)
        await asyncio.sleep(0.6)
        async with made.haproxy.listening(tmp_path / "s"):
            await until(lambda: made.haproxy.taking() == {8001: 256})
            await until(lambda: "HAProxy is in step with the fleet again" in caplog.text)
    assert caplog.text.count("HAProxy is not in step with the fleet, and is tried again: HAProxy cannot be") == 1


async def test_a_reload_that_nobody_notices_is_mended(kept: Kept) -> None:
    replica(kept.roster, 8001)
    async with keeping(kept):
        await until(lambda: kept.haproxy.taking() == {8001: 256})
        kept.haproxy.slots.update(slots(3))
        await until(lambda: kept.haproxy.taking() == {8001: 256})


async def test_pauses_grow_to_a_second(tmp_path: Path) -> None:
    keeper = Kept(tmp_path / "none").keeper
    assert [await keeper._round() for _ in range(5)] == [0.25, 0.5, 1.0, 1.0, 1.0]
    with pytest.raises(Away):
        await keeper.once()
