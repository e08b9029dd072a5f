"""What the replicas of a fleet have counted, those that are gone included. What is added to what is metrics_sum.py."""

import asyncio

import aiohttp

from servers.metrics_sum import Families, counted, parsed, started_s, text, total
from servers.replica import Roster

__all__ = ["ReplicaMetrics"]

_DEADLINE_S = 1.0
_Life = tuple[str, float | None]
"""One process at one address."""


class ReplicaMetrics:
    """Asks the replicas of a roster, and remembers what each had counted when it last answered."""

    def __init__(self, roster: Roster) -> None:
        self._roster = roster
        self._last: dict[_Life, Families] = {}
        self._gone: Families = {}
        self._asking = asyncio.Lock()

    async def added_to(self, own: str) -> str:
        """The exposition `own` of the fleet with what its replicas add.

        One that does not answer in time has no gauges in it, and the counters that it had: they must not fall.
        """
        async with self._asking:
            answered = await self._answers()
            self._retire(answered)
            self._last |= answered
            silent = [counted(families) for life, families in self._last.items() if life not in answered]
            return text(total(parsed(own), [*answered.values(), *silent, self._gone]))

    async def _answers(self) -> dict[_Life, Families]:
        urls = [replica.url for replica in self._roster.in_state("ready", "draining")]
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_DEADLINE_S)) as session:
            found = await asyncio.gather(*(_fetch(session, url) for url in urls))
        return {
            (url, started_s(families)): families
            for url, families in zip(urls, found, strict=True)
            if families is not None
        }

    def _retire(self, answered: dict[_Life, Families]) -> None:
        """Add those whose process is gone to the one total of all who are."""
        taken_over = {url for url, _ in answered}
        for life in [life for life in self._last if life not in answered]:
            if life[0] in taken_over or self._roster.find(life[0]) is None:
                self._gone = total(self._gone, [counted(self._last.pop(life))])


async def _fetch(session: aiohttp.ClientSession, url: str) -> Families | None:
    """A replica's metrics; None where it gives none that can be read."""
    try:
        async with session.get(f"{url}/metrics", allow_redirects=False) as answer:
            return parsed(await answer.text()) if answer.status == 200 else None
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return None
