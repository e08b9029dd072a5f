"""A replica's record: what it knows for how long, and what happens to tries when it is lost."""

import asyncio

from servers.fleet.replica import Replica, Roster


async def test_tries_end_when_their_replica_is_lost_even_those_that_expire_at_that_moment() -> None:
    replica = Replica("http://127.0.0.1:1", registered=True, state="ready")
    roster = Roster()
    roster.add(replica)
    loop = asyncio.get_running_loop()

    async def attempt(limit_s: float) -> str:
        try:
            async with asyncio.timeout(limit_s) as limit:
                with replica.trying(limit, deadline_s=1000.0):
                    await asyncio.Event().wait()
        except TimeoutError:
            return "gone" if replica.gone.is_set() else "late"
        return "never"

    tries = [asyncio.create_task(attempt(limit_s)) for limit_s in (1000.0, 0.0)]
    await asyncio.sleep(0)
    loop.call_soon(roster.move, replica, "end")  # in the same turn of the loop as the second one's end
    assert await asyncio.wait_for(asyncio.gather(*tries), 10) == ["gone", "gone"]
    replica.has_ended = True
    roster.move(replica, "return")
    assert not replica.gone.is_set()
    assert not replica.has_ended
    replica.has_ended = True
    replica.answered(1.0, 0.1, 1)
    assert not replica.has_ended


def test_the_rate_by_its_own_reports_is_what_it_has_and_one_more_over_the_wait() -> None:
    replica = Replica("http://127.0.0.1:1", state="ready")
    replica.said(10.0, 3, 0.5)
    assert replica.reported_rps == 8.0
    replica.said(11.0, 0, 0.1)
    assert replica.reported_rps == 8.0 + 0.2 * (10.0 - 8.0)
    replica.said(12.0, 5, None)
    assert replica.reported_rps == 8.4
    assert replica.load(12.5).outstanding == 5


def test_a_report_is_valid_for_as_long_as_the_roster_says() -> None:
    replica = Replica("http://127.0.0.1:1", state="ready")
    Roster(report_s=2.5).add(replica)
    replica.said(10.0, 4, None)
    assert [replica.load(now).outstanding for now in (12.4, 12.6)] == [4, 0]


async def test_it_has_finished_when_neither_we_nor_another_proxy_have_a_request_there() -> None:
    replica = Replica("http://127.0.0.1:1", state="ready")
    replica.begin()
    replica.released.clear()
    finished = asyncio.create_task(replica.finished())
    for end in (replica.end, replica.released.set):
        await asyncio.sleep(0)
        assert not finished.done()
        end()
    await asyncio.wait_for(finished, 10)


def test_the_version_grows_with_every_change() -> None:
    roster = Roster()
    replica = Replica("http://127.0.0.1:1", state="ready")
    seen = [roster.version]
    for change in (lambda: roster.add(replica), lambda: roster.move(replica, "drain"), lambda: roster.remove(replica)):
        change()
        seen.append(roster.version)
    assert sorted(set(seen)) == seen
