"""What the replicas of a fleet have counted, those that are gone included. What is added to what is metrics_sum.py."""

import asyncio

import aiohttp

from servers.metrics_sum import Families, counted, parsed, started_s, text, total
from servers.replica import Roster
from servers.replica_connector import ReplicaConnector
from servers.reply import read_bounded

__all__ = ["ReplicaMetrics"]

_DEADLINE_S = 1.0
_MOST_BYTES = 1 << 20  # ours say some 20 KB
_Life = tuple[str, float | None]
"""One process at one address."""


class ReplicaMetrics:
    """Asks the replicas of a roster, and remembers what each had counted when it last answered."""

    def __init__(self, roster: Roster, *, api_key: str | None = None) -> None:
        self._roster = roster
        self._headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        self._last: dict[_Life, Families] = {}
        self._gone: dict[_Life, Families] = {}
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
            return text(total(parsed(own), [*answered.values(), *silent, *self._gone.values()]))

    async def _answers(self) -> dict[_Life, Families]:
        urls = [replica.url for replica in self._roster.in_state("ready", "draining")]
        async with aiohttp.ClientSession(
            connector=ReplicaConnector(), headers=self._headers, timeout=aiohttp.ClientTimeout(total=_DEADLINE_S)
        ) as session:
            found = await asyncio.gather(*(_fetch(session, url) for url in urls))
        return {
            (url, started_s(families)): families
            for url, families in zip(urls, found, strict=True)
            if families is not None
        }

    def _retire(self, answered: dict[_Life, Families]) -> None:
        """Keep apart those who are gone. One that was unregistered may come back, and is counted once."""
        for life in answered:
            self._gone.pop(life, None)
        taken_over = {url for url, _ in answered}
        for life in [life for life in self._last if life not in answered]:
            if life[0] in taken_over or self._roster.find(life[0]) is None:
                self._gone[life] = counted(self._last.pop(life))


async def _fetch(session: aiohttp.ClientSession, url: str) -> Families | None:
    """A replica's metrics; None where it gives none that can be read."""
    try:
        async with session.get(f"{url}/metrics", allow_redirects=False) as answer:
            return parsed((await read_bounded(answer, _MOST_BYTES)).decode()) if answer.status == 200 else None
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return None
