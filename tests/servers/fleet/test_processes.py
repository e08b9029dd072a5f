"""The fleet over real processes: start, replace, drain, stop, and what happens when they don't behave."""

import asyncio
import dataclasses
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from servers.addresses import free_port
from servers.fleet.processes import FleetError, ReplicaProcesses, Start
from servers.fleet.replica import Replica, Roster
from servers.tasks import Background

FAKE = Path(__file__).parents[1] / "fakes" / "replica.py"
LIMIT_S = 60.0


def start_of(mode: str, *, base_port: int = 18_000, **changes: Any) -> Start:
    start = Start([sys.executable, str(FAKE), mode], "127.0.0.1", base_port, ready_timeout_s=LIMIT_S, drain_s=5.0)
    return dataclasses.replace(start, **changes)


@asynccontextmanager
async def fleet_of(mode: str, **changes: Any) -> AsyncIterator[tuple[ReplicaProcesses, Roster]]:
    roster = Roster()
    fleet = ReplicaProcesses(roster, start_of(mode, **changes))
    async with Background() as background:
        fleet.open(background)
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


async def test_one_that_dies_soon_after_an_ejection_has_lived_since_it_was_ready() -> None:
    now = 0.0
    roster = Roster()
    fleet = ReplicaProcesses(roster, start_of("good"), clock=lambda: now)
    async with Background() as background:
        fleet.open(background)
        try:
            await fleet.start(1)
            [victim] = roster.own("ready")
            now = 1000.0
            victim.health.since_s = now  # as of one that has just come back into the rotation
            assert victim.pid is not None
            os.kill(victim.pid, signal.SIGKILL)
            await until(roster, lambda: victim not in roster)
            assert fleet._failures == 0, "it is replaced at once, and the next one too"
        finally:
            await fleet.stop()


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


async def test_one_that_is_drained_holds_what_it_has_beyond_the_drain_time_of_the_fleet() -> None:
    async with fleet_of("good", drain_s=0.05) as (fleet, roster):
        await fleet.start(2)
        _, newest = roster.own("ready")
        with newest.serving():
            fleet.resize(1)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(until(roster, lambda: newest not in roster), 0.5)
            assert is_alive(newest.pid)
            await fleet.stop()
        assert not is_alive(newest.pid), "at the end of the fleet its own time counts"


async def test_one_that_hangs_while_it_drains_is_not_waited_for() -> None:
    async with fleet_of("good") as (fleet, roster):
        await fleet.start(2)
        _, newest = roster.own("ready")
        with newest.serving():
            fleet.resize(1)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(until(roster, lambda: newest not in roster), 0.3)
            newest.fault = "hung"
            roster.move(newest, "end")
            await until(roster, lambda: newest not in roster)


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
    async with fleet_of("good", command=["/no/such/program"]) as (fleet, roster):
        with pytest.raises(FleetError, match="could not be started"):
            await fleet.start(1)
        assert list(roster) == []


async def test_two_fleets_on_the_same_ports_both_come_up() -> None:
    """Both find the same port free; the replica that comes second says that it is taken, and another is started."""
    base = free_port("127.0.0.1", 18_800)
    async with fleet_of("good", base_port=base) as (one, its), fleet_of("good", base_port=base) as (other, others):
        await asyncio.gather(one.start(2), other.start(2))
        urls = [replica.url for roster in (its, others) for replica in roster.own("ready")]
        assert len(set(urls)) == 4


async def test_replicas_that_keep_dying_are_started_ever_more_slowly() -> None:
    now = 0.0
    roster = Roster()
    fleet = ReplicaProcesses(roster, start_of("broken"), clock=lambda: now)
    starts = []
    async with Background() as background:
        fleet.open(background)
        for now in (0.0, 0.1, 1.0, 2.2, 3.0, 6.3):
            fleet.resize(1)
            if list(roster):
                starts.append(now)
                await until(roster, lambda: not list(roster))
    assert starts == [0.0, 0.1, 2.2, 6.3]


def environment_of(replica: Replica) -> dict[str, str]:
    assert replica.pid is not None
    return psutil.Process(replica.pid).environ()


async def test_gpus_are_shared_out_and_a_replacement_gets_the_one_that_is_free() -> None:
    async with fleet_of("good", gpus=["0", "GPU-b"], environment={"EXTRA": "told"}) as (fleet, roster):
        await fleet.start(3)
        told = [environment_of(replica)["CUDA_VISIBLE_DEVICES"] for replica in roster]
        assert told == ["0", "GPU-b", "0"]
        assert environment_of(roster.own("ready")[0])["EXTRA"] == "told"
        victim = roster.own("ready")[1]
        assert victim.pid is not None
        os.kill(victim.pid, signal.SIGKILL)
        await until(roster, lambda: victim not in roster)
        fleet.resize(3)
        assert [replica.gpu for replica in roster] == ["0", "0", "GPU-b"]


async def test_without_gpus_the_environment_says_nothing_of_them() -> None:
    async with fleet_of("good") as (fleet, roster):
        await fleet.start(1)
        environment = environment_of(roster.own("ready")[0])
        assert environment.get("CUDA_VISIBLE_DEVICES") == os.environ.get("CUDA_VISIBLE_DEVICES")


async def test_each_replica_has_a_log_of_its_own_where_a_folder_is_named(tmp_path: Path) -> None:
    async with fleet_of("good", log_dir=tmp_path / "logs") as (fleet, roster):
        await fleet.start(2)
        ports = sorted(replica.url.rsplit(":", 1)[1] for replica in roster)
        assert sorted(file.name for file in (tmp_path / "logs").iterdir()) == [f"replica-{port}.log" for port in ports]
        assert "a line for the log" in (tmp_path / "logs" / f"replica-{ports[0]}.log").read_text()


async def test_a_folder_that_cannot_be_written_costs_the_log_and_not_the_replica(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    async with fleet_of("good", log_dir=tmp_path / "file" / "logs") as (fleet, roster):
        await fleet.start(1)
        assert len(roster.own("ready")) == 1


@pytest.mark.slow
async def test_one_that_never_gets_ready_is_killed_at_once_and_counts_as_a_failure() -> None:
    async with fleet_of("silent", ready_timeout_s=0.5) as (fleet, roster):
        with pytest.raises(FleetError, match=r"was not ready after 0\.5 s"):
            await fleet.start(1)
        assert not list(roster)


async def test_one_that_hangs_is_killed_without_being_asked(tmp_path: Path) -> None:
    async with fleet_of("good", drain_s=60.0) as (fleet, roster):
        await fleet.start(1)
        [replica] = roster.own("ready")
        assert replica.pid is not None
        os.kill(replica.pid, signal.SIGSTOP)
        replica.fault = "hung"
        roster.move(replica, "end")
        replica.stop.set()
        await until(roster, lambda: not list(roster))
        assert not is_alive(replica.pid)
        fleet.resize(1)
        await until(roster, lambda: len(roster.own("ready")) == 1)


async def test_how_long_replicas_took_to_start_is_kept() -> None:
    async with fleet_of("good") as (fleet, _):
        await fleet.start(2)
        assert len(fleet.starts) == 2
        assert all(0 < start_s < LIMIT_S for _, start_s in fleet.starts)


@pytest.mark.slow
async def test_one_that_closes_its_output_and_lives_on_is_killed() -> None:
    async with fleet_of("mute") as (fleet, roster):
        with pytest.raises(FleetError, match=r"ended with status -9 before it was ready"):
            await fleet.start(1)
        assert not list(roster)
