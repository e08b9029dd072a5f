"""The heartbeat: one miss is nothing, three in a row are the end, and a registered replica may come back."""

import asyncio
from typing import cast

import pytest

from policies.health import HealthRules
from servers.fleet.asking.reply import TryFailed
from servers.fleet.balancer import Balancer, Tries
from servers.fleet.heartbeat import Heartbeat
from servers.fleet.replica import Replica, Roster


class Answers:
    """Stands for a balancer: the replicas answer as `is_well` says."""

    is_well: bool | None = True

    def __init__(self, roster: Roster) -> None:
        self._roster = roster
        self.client = self

    async def is_ready(self, url: str, *, timeout_s: float, of: Replica) -> bool | None:
        of.said(0.0, 7, None)
        return self.is_well

    tries = Tries()

    def failed(self, replica: Replica, failure: TryFailed) -> None:
        replica.health.failed(0.0, is_unreachable=False)


@pytest.fixture
def roster() -> Roster:
    return Roster(HealthRules())


async def beat(roster: Roster, answers: Answers, times: int) -> None:
    heartbeat = Heartbeat(roster, cast(Balancer, answers))
    for _ in range(times):
        await heartbeat.once()


async def test_the_load_in_an_answer_is_noted(roster: Roster) -> None:
    replica = Replica("http://127.0.0.1:1", state="ready")
    roster.add(replica)
    await beat(roster, Answers(roster), 1)
    assert replica.load(0.0).outstanding == 7


async def test_three_misses_in_a_row_end_our_own(roster: Roster) -> None:
    replica, answers = Replica("http://127.0.0.1:1", state="ready"), Answers(roster)
    roster.add(replica)
    answers.is_well = False
    await beat(roster, answers, 2)
    assert replica.health.out_until_s is not None, "no more requests for now"
    assert (replica.state, replica.stop.is_set()) == ("ready", False)
    answers.is_well = True
    await beat(roster, answers, 1)
    answers.is_well = False
    await beat(roster, answers, 2)
    assert replica.state == "ready", "they were not in a row"
    await beat(roster, answers, 1)
    assert (replica.state, replica.fault, replica.stop.is_set()) == ("dead", "hung", True)
    assert replica.gone.is_set()


async def test_a_registered_one_is_dead_until_it_answers(roster: Roster) -> None:
    replica, answers = Replica("http://127.0.0.1:1", registered=True, state="ready"), Answers(roster)
    roster.add(replica)
    answers.is_well = False
    await beat(roster, answers, 3)
    assert (replica.state, replica.stop.is_set()) == ("dead", False)
    answers.is_well = True
    await beat(roster, answers, 1)
    assert (replica.state, replica.fault, replica.gone.is_set()) == ("ready", None, False)


async def test_one_that_answers_questions_is_not_asked(roster: Roster) -> None:
    replica, answers = Replica("http://127.0.0.1:1", state="ready"), Answers(roster)
    roster.add(replica)
    answers.is_well = False
    heartbeat = Heartbeat(roster, cast(Balancer, answers), clock=lambda: 10.5)
    for heard_s, missed in ((9.0, 1), (9.0, 2), (10.0, 0), (9.0, 1)):
        replica.heard_s = heard_s
        await heartbeat.once()
        assert replica.missed == missed


async def test_one_that_starts_is_not_asked_and_one_that_drains_is_watched(roster: Roster) -> None:
    answers = Answers(roster)
    answers.is_well = False
    for state in ("starting", "draining"):
        roster.add(Replica(f"http://127.0.0.1:1/{state}", state=state))
    await beat(roster, answers, 3)
    assert [(replica.state, replica.fault) for replica in roster] == [("starting", None), ("dead", "hung")]


async def test_each_sign_of_progress_gives_the_tries_more_time_but_never_beyond_their_deadline(roster: Roster) -> None:
    """A run of 100 s whose replica says that it is ready goes on; its deadline at 40 s ends it."""
    replica, answers = Replica("http://127.0.0.1:1", state="ready"), Answers(roster)
    roster.add(replica)
    heartbeat = Heartbeat(roster, cast(Balancer, answers), clock=asyncio.get_running_loop().time)
    began_s = asyncio.get_running_loop().time()
    async with asyncio.timeout(30.0) as near, asyncio.timeout(30.0) as far:
        with replica.trying(near, deadline_s=began_s + 40.0), replica.trying(far, deadline_s=began_s + 100.0):
            replica.heard_s = began_s - 100.0
            answers.is_well = False
            await heartbeat.once()
            assert [round((limit.when() or 0.0) - began_s) for limit in (near, far)] == [30, 30], "no sign of progress"
            answers.is_well = True
            answers.tries = Tries(timeout_s=60.0)
            await heartbeat.once()
            assert [round((limit.when() or 0.0) - began_s) for limit in (near, far)] == [40, 60]


async def test_our_own_want_of_descriptors_or_time_is_no_miss(roster: Roster) -> None:
    replica, answers = Replica("http://127.0.0.1:1", state="ready"), Answers(roster)
    roster.add(replica)
    answers.is_well = None
    await beat(roster, answers, 5)
    answers.is_well = False
    times = iter([100.0, 107.0] * 5)
    heartbeat = Heartbeat(roster, cast(Balancer, answers), clock=lambda: next(times))
    for _ in range(5):
        await heartbeat.once()
    assert (replica.missed, replica.state) == (0, "ready")


async def test_one_that_is_being_ended_is_not_asked_any_more(roster: Roster) -> None:
    replica, answers = Replica("http://127.0.0.1:1", state="draining"), Answers(roster)
    roster.add(replica)
    answers.is_well, replica.is_ending = False, True
    await beat(roster, answers, 3)
    assert (replica.state, replica.fault) == ("draining", None), "it says no, as it should, and does not hang"
