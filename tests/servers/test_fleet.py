"""The fleet over real processes: start, replace, drain, stop, and what happens when they don't behave."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from servers.fleet import Fleet, FleetError, free_port
from servers.replica import Roster

FAKE = Path(__file__).parent / "fakes" / "replica.py"
LIMIT_S = 20.0


@asynccontextmanager
async def fleet_of(mode: str, *, drain_s: float = 5.0) -> AsyncIterator[tuple[Fleet, Roster]]:
    roster = Roster()
    fleet = Fleet(
        roster,
        [sys.executable, str(FAKE), mode],
        host="127.0.0.1",
        base_port=free_port("127.0.0.1", 18_000),
        ready_timeout_s=LIMIT_S,
        drain_s=drain_s,
    )
    try:
        async with asyncio.timeout(LIMIT_S):
            yield fleet, roster
    finally:
        await fleet.stop()


async def until(roster: Roster, holds: Callable[[], bool]) -> None:
    """Wait, woken by the roster, until the condition holds."""
    while not holds():
        roster.changed.clear()
        await roster.changed.wait()


def is_alive(pid: int | None) -> bool:
    assert pid is not None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_starts_on_ports_that_count_up_and_leaves_no_process() -> None:
    async with fleet_of("good") as (fleet, roster):
        await fleet.start(2)
        first, second = roster.own("ready")
        assert int(second.url.rsplit(":", 1)[1]) > int(first.url.rsplit(":", 1)[1])
        pids = [first.pid, second.pid]
        assert all(is_alive(pid) for pid in pids)
    assert not any(is_alive(pid) for pid in pids)
    assert list(roster) == []


async def test_skips_a_port_in_use() -> None:
    base = free_port("127.0.0.1", 18_500)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", base))
        taken.listen()
        assert free_port("127.0.0.1", base) > base
    assert free_port("127.0.0.1", base, taken=[base]) > base


async def test_a_killed_replica_leaves_the_roster_and_is_replaced_on_the_next_resize() -> None:
    async with fleet_of("good") as (fleet, roster):
        await fleet.start(2)
        victim = roster.own("ready")[0]
        assert victim.pid is not None
        os.kill(victim.pid, signal.SIGKILL)
        await until(roster, lambda: victim not in roster)
        assert len(roster.own("ready")) == 1
        fleet.resize(2)
        await until(roster, lambda: len(roster.own("ready")) == 2)


async def test_scaling_down_drains_the_newest_and_waits_for_its_requests() -> None:
    async with fleet_of("good") as (fleet, roster):
        await fleet.start(2)
        oldest, newest = roster.own("ready")
        with newest.serving():
            fleet.resize(1)
            assert (oldest.state, newest.state) == ("ready", "draining")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(until(roster, lambda: newest not in roster), 0.3)
            assert is_alive(newest.pid)
        await until(roster, lambda: newest not in roster)
        assert is_alive(oldest.pid)


async def test_a_stubborn_replica_is_killed() -> None:
    async with fleet_of("stubborn", drain_s=0.1) as (fleet, roster):
        await fleet.start(1)
        [replica] = roster.own("ready")
    assert not is_alive(replica.pid)


async def test_replicas_that_never_come_up_are_an_error_with_their_status() -> None:
    async with fleet_of("broken") as (fleet, _):
        with pytest.raises(FleetError, match=r"2 replicas failed to start; .*ended with status 1 before it was ready"):
            await fleet.start(2)


async def test_a_command_that_cannot_be_started_is_an_error() -> None:
    roster = Roster()
    options = {"host": "127.0.0.1", "base_port": 18_700, "ready_timeout_s": LIMIT_S, "drain_s": 1.0}
    fleet = Fleet(roster, ["/no/such/program"], **options)  # type: ignore[arg-type]
    with pytest.raises(FleetError, match="could not be started"):
        await asyncio.wait_for(fleet.start(1), LIMIT_S)
    assert list(roster) == []


async def test_two_fleets_on_the_same_ports_both_come_up() -> None:
    """Both find the same port free; the replica that comes second says that it is taken, and another is started."""
    base = free_port("127.0.0.1", 18_800)
    options = {"host": "127.0.0.1", "base_port": base, "ready_timeout_s": LIMIT_S, "drain_s": 1.0}
    rosters = [Roster(), Roster()]
    fleets = [Fleet(roster, [sys.executable, str(FAKE), "good"], **options) for roster in rosters]  # type: ignore[arg-type]
    try:
        async with asyncio.timeout(LIMIT_S):
            await asyncio.gather(*(fleet.start(2) for fleet in fleets))
        urls = [replica.url for roster in rosters for replica in roster.own("ready")]
        assert len(set(urls)) == 4
    finally:
        await asyncio.gather(*(fleet.stop() for fleet in fleets))


async def test_replicas_that_keep_dying_are_started_ever_more_slowly() -> None:
    now = 0.0
    roster = Roster()
    command = [sys.executable, str(FAKE), "broken"]
    options = {"host": "127.0.0.1", "base_port": 18_900, "ready_timeout_s": LIMIT_S, "drain_s": 1.0}
    fleet = Fleet(roster, command, clock=lambda: now, **options)  # type: ignore[arg-type]
    starts = []
    for now in (0.0, 0.1, 1.0, 2.2, 3.0, 6.3):
        fleet.resize(1)
        if list(roster):
            starts.append(now)
            await until(roster, lambda: not list(roster))
    assert starts == [0.0, 0.1, 2.2, 6.3]
