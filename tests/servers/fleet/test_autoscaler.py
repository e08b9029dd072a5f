"""The autoscaler's shell: what it does with a policy's answer and what it keeps; and what a fleet shows it."""

import asyncio
from typing import Any, cast

import pytest

from policies import scaling
from policies.health import HealthRules
from policies.routing import round_robin
from policies.weights import by_share
from servers.fleet import Snapshot
from servers.fleet.autoscaler import Autoscaler
from servers.fleet.balancer import Tries
from servers.fleet.haproxy.keeper import Front
from servers.fleet.local import LocalFleet
from servers.fleet.processes import Start
from servers.fleet.replica import Replica


class Party:
    """Stands for fleet and policy at once."""

    def __init__(self) -> None:
        self.wanted = asyncio.Event()
        self.seen: list[scaling.Fleet] = []
        self.sizes: list[int] = []
        self.wish = 2

    def target(self, fleet: scaling.Fleet, now: float) -> scaling.Target:
        self.seen.append(fleet)
        if self.wish < 0:
            raise RuntimeError("a broken policy")
        return scaling.Target(self.wish, "a test")

    def snapshot(self, now: float) -> Snapshot:
        return Snapshot(scaling.Fleet(2, 1, 9, 0.5, 0.2), 5.0, [(8.0, 2.5)])

    def resize(self, count: int) -> bool:
        self.sizes.append(count)
        return True


@pytest.fixture
def party() -> Party:
    return Party()


@pytest.fixture
def autoscaler(party: Party) -> Autoscaler:
    any_party = cast(Any, party)
    return Autoscaler(any_party, any_party, every_s=0.01, name="it", clock=lambda: 10.0)


def test_a_fleet_shows_what_waits_what_we_sent_and_what_others_sent() -> None:
    start = Start(["none"], host="127.0.0.1", base_port=8000, ready_timeout_s=1.0, drain_s=1.0)
    tries = Tries(1.0, 10)
    fleet = LocalFleet(start, round_robin, rules=HealthRules(), tries=tries, heartbeat_s=1.0, clock=lambda: 10.0)
    for state in ("ready", "ready", "starting", "draining"):
        fleet.roster.add(Replica(f"http://{len(list(fleet.roster))}", state=state))
    first, second, *_ = fleet.roster
    first.outstanding = 3
    second.report(9.5, 4, None)
    fleet.balancer.waiting = 2
    fleet.balancer.traffic.arrived(10.0)
    seen = fleet.snapshot(10.0).seen
    assert (seen.ready, seen.starting, seen.outstanding, seen.arrival_rps) == (2, 1, 2 + 3 + 4, 0.2)


def test_behind_haproxy_a_fleet_shows_what_waits_there_too() -> None:
    start = Start(["none"], host="127.0.0.1", base_port=8000, ready_timeout_s=1.0, drain_s=1.0)
    fleet = LocalFleet(
        *(start, round_robin),
        rules=HealthRules(),
        tries=Tries(1.0, 10),
        heartbeat_s=1.0,
        front=Front("/none", "replicas", by_share, 1),
        clock=lambda: 10.0,
    )
    replica = Replica("http://127.0.0.1:8000", state="ready")
    fleet.roster.add(replica)
    replica.said(8.0, 5, 0.1)  # two heartbeats ago
    assert fleet._keeper is not None
    fleet._keeper.waiting = 4
    assert fleet.snapshot(10.0).seen.outstanding == 4 + 5


async def test_the_fleet_gets_the_size_that_the_policy_wants(party: Party, autoscaler: Autoscaler) -> None:
    autoscaler.decide(10.0)
    assert (len(party.seen), party.sizes) == (1, [2])


async def test_every_decision_is_kept_with_its_inputs(party: Party, autoscaler: Autoscaler) -> None:
    autoscaler.decide(4.0)
    party.wish = 3
    autoscaler.decide(9.0)
    told = autoscaler.describe()
    assert (told["policy"], told["window_s"]) == ("it", 5.0)
    assert told["starts"] == [{"age_s": 2.0, "start_s": 2.5}]
    first, second = told["decisions"]
    assert (first["number"], first["age_s"], first["target"]) == (0, 6.0, 2)
    assert (second["number"], second["ready"], second["starting"], second["reason"]) == (1, 2, 1, "a test")


async def test_a_broken_policy_is_asked_again_and_whoever_waits_is_seen_at_once(
    party: Party, autoscaler: Autoscaler, caplog: pytest.LogCaptureFixture
) -> None:
    party.wish = -1
    running = asyncio.create_task(autoscaler.run())
    async with asyncio.timeout(10):
        while len(party.seen) < 2:
            await asyncio.sleep(0)
        party.wish = 1
        party.wanted.set()
        while not party.sizes:
            await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait({running})
    assert "a scaling decision failed" in caplog.text
