"""How long a fleet takes to leave a bad replica alone, and to have another in its place. Breaks nothing."""

import asyncio
import time
from dataclasses import dataclass, field

from ragbench.chaos.fleet import Fleet, Replica

__all__ = ["LONGEST_EJECTION_S", "Replacement", "watch"]

LONGEST_EJECTION_S = 10.0
_DECISION_S = 2.0  # for the third heartbeat, and for the next scaling decision
_LOOK_S = 0.05


@dataclass(frozen=True, slots=True)
class Replacement:
    """`ejected_s`: from the fault until the replica gets no more requests; None: it still does.

    `successor_s`: from then until as many are ready as before; None: they are not. `start_s`: the longest start of a
    replica of this fleet so far, as it says itself.
    """

    ejected_s: float | None = None
    successor_s: float | None = None
    start_s: float | None = None
    needs_successor: bool = field(default=True, kw_only=True)

    @property
    def figures(self) -> dict[str, float | None]:
        """For the scenario's row."""
        told = {"ejected_s": self.ejected_s}
        return told | ({"successor_s": self.successor_s, "start_s": self.start_s} if self.needs_successor else {})

    @property
    def mishaps(self) -> list[str]:
        """What took too long."""
        found = []
        if self.ejected_s is None or self.ejected_s > LONGEST_EJECTION_S:
            found.append(f"the bad replica was not ejected within {LONGEST_EJECTION_S:g} s")
        if self.needs_successor:
            limit_s = (self.start_s or 0.0) + _DECISION_S
            if self.successor_s is None or self.successor_s > limit_s:
                found.append(f"its successor was not ready within {limit_s:.1f} s")
        return found


async def watch(
    fleet: Fleet, victim: Replica, *, before: int, limit_s: float, needs_successor: bool = True
) -> Replacement:
    """Look at the fleet's own account of it from now on, when the fault strikes, for at most `limit_s`.

    `before`: how many replicas were ready until then.
    """
    began_s = time.monotonic()
    ejected_s: float | None = None
    while (now_s := time.monotonic() - began_s) < limit_s:
        asked = [replica for replica in await fleet.replicas() if replica.is_asked]
        others = [replica for replica in asked if (replica.url, replica.pid) != (victim.url, victim.pid)]
        if ejected_s is None and len(others) == len(asked):
            ejected_s = now_s
        if ejected_s is not None and not needs_successor:
            break
        if ejected_s is not None and len(others) >= before:
            return Replacement(ejected_s, now_s - ejected_s, await fleet.longest_start_s())
        await asyncio.sleep(_LOOK_S)
    return Replacement(ejected_s, None, await fleet.longest_start_s(), needs_successor=needs_successor)
