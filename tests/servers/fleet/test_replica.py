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
