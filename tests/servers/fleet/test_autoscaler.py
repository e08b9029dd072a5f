"""The autoscaler's shell: what it tells the policy, what it does with the answer, and what it keeps."""

import asyncio
from collections import deque
from typing import Any, cast

import pytest

from policies import scaling
from servers.fleet.autoscaler import Autoscaler
from servers.fleet.balancer import Balancer
from servers.fleet.processes import Fleet
from servers.fleet.replica import Replica, Roster
from servers.fleet.traffic import Traffic


class Party:
    """Stands for fleet, balancer and policy at once."""

    def __init__(self) -> None:
        self.traffic = Traffic()
        self.waiting = 0
        self.wanted = asyncio.Event()
        self.starts = deque([(8.0, 2.5)])
        self.seen: list[scaling.Fleet] = []
        self.sizes: list[int] = []
        self.wish = 2

    def target(self, fleet: scaling.Fleet, now: float) -> scaling.Target:
        self.seen.append(fleet)
        if self.wish < 0:
            raise RuntimeError("a broken policy")
        return scaling.Target(self.wish, "a test")

    def resize(self, count: int) -> bool:
        self.sizes.append(count)
        return True


@pytest.fixture
def party() -> Party:
    return Party()


@pytest.fixture
def autoscaler(party: Party) -> Autoscaler:
    roster, any_party = Roster(), cast(Any, party)
    for state in ("ready", "ready", "starting", "draining"):
        roster.add(Replica(f"http://{len(list(roster))}", state=state))
    first, second, *_ = roster
    first.outstanding = 3
    second.told(9.5, 4, None)
    return Autoscaler(
        roster,
        cast(Fleet, any_party),
        cast(Balancer, any_party),
        any_party,
        every_s=0.01,
        name="it",
        clock=lambda: 10.0,
    )


async def test_the_policy_sees_what_waits_what_we_sent_and_what_others_sent(
    party: Party, autoscaler: Autoscaler
) -> None:
    party.waiting = 2
    party.traffic.arrived(10.0)
    autoscaler.decide(10.0)
    [seen] = party.seen
    assert (seen.ready, seen.starting, seen.outstanding, seen.arrival_rps) == (2, 1, 2 + 3 + 4, 0.2)
    assert party.sizes == [2]


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
