"""What the replicas of a fleet have counted, those that are gone included, added up by the rules of OVER_REPLICAS."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence

import aiohttp
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from servers.fleet.connector import ReplicaConnector
from servers.fleet.replica import Roster
from servers.fleet.reply import read_bounded
from servers.http.endpoints import METRICS
from servers.telemetry.metrics import OVER_REPLICAS

__all__ = ["Families", "ReplicaMetrics", "counted", "parsed", "started_s", "text", "total"]

_DEADLINE_S = 1.0
_MOST_AWAY = 16
_MOST_BYTES = 1 << 20  # ours say some 20 KB
_Life = tuple[str, float | None]
"""One process at one address."""
Families = Mapping[str, Metric]
"""Metrics by name, a counter's without its `_total`."""
_COMBINED = {family.name: how for metric, how in OVER_REPLICAS.items() for family in metric.collect()}


class ReplicaMetrics:
    """Asks the replicas of a roster, and remembers what each had counted when it last answered.

    Of those that are gone for good there is one sum. The last `_MOST_AWAY` that were unregistered and may come back are
    kept apart: their counters would be added twice.
    """

    def __init__(self, roster: Roster, *, api_key: str | None = None) -> None:
        self._roster = roster
        self._headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        self._last: dict[_Life, Families] = {}
        self._registered: set[_Life] = set()
        self._away: dict[_Life, Families] = {}
        self._gone: Families = {}
        self._asking = asyncio.Lock()

    @property
    def remembered(self) -> int:
        """How many replicas are remembered one by one though they are not on the roster."""
        return len(self._away)

    async def added_to(self, own: str) -> str:
        """The exposition `own` of the fleet with what its replicas add.

        One that does not answer in time has no gauges in it, and the counters that it had: they must not fall.
        """
        async with self._asking:
            answered = await self._answers()
            self._retire(answered)
            self._last |= answered
            silent = [counted(families) for life, families in self._last.items() if life not in answered]
            return text(total(parsed(own), [*answered.values(), *silent, *self._away.values(), self._gone]))

    async def _answers(self) -> dict[_Life, Families]:
        asked = self._roster.in_state("ready", "draining")
        async with aiohttp.ClientSession(
            connector=ReplicaConnector(), headers=self._headers, timeout=aiohttp.ClientTimeout(total=_DEADLINE_S)
        ) as session:
            found = await asyncio.gather(*(_fetch(session, replica.url) for replica in asked))
        answered: dict[_Life, Families] = {}
        for replica, families in zip(asked, found, strict=True):
            if families is not None:
                life = replica.url, started_s(families)
                answered[life] = families
                if replica.registered:
                    self._registered.add(life)
        return answered

    def _retire(self, answered: dict[_Life, Families]) -> None:
        """Keep apart those who may come back, add up those who will not."""
        for life in answered:
            self._away.pop(life, None)
        answering = {url for url, _ in answered}
        for life in [life for life in self._last if life not in answered]:
            is_taken_over = life[0] in answering
            if not is_taken_over and self._roster.find(life[0]) is not None:
                continue
            families = counted(self._last.pop(life))
            if life in self._registered and not is_taken_over:
                self._away[life] = families
            else:
                self._add(life, families)
        while len(self._away) > _MOST_AWAY:
            life = next(iter(self._away))
            self._add(life, self._away.pop(life))

    def _add(self, life: _Life, families: Families) -> None:
        self._registered.discard(life)
        self._gone = total({}, [self._gone, families])


async def _fetch(session: aiohttp.ClientSession, url: str) -> Families | None:
    """A replica's metrics; None where it gives none that can be read."""
    try:
        async with session.get(url + METRICS.path, allow_redirects=False) as answer:
            return parsed((await read_bounded(answer, _MOST_BYTES)).decode()) if answer.status == 200 else None
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return None


def parsed(exposition: str) -> Families:
    """An exposition's metrics. Raises ValueError where it is none."""
    families = text_string_to_metric_families(exposition)
    return {family.name: family for family in families if not family.name.endswith("_created")}


def total(own: Families, replicas: Iterable[Families]) -> Families:
    """The fleet's own metrics, with what its replicas add to them."""
    everyone = [own, *replicas]
    added = {
        name: _combined([families[name] for families in everyone if name in families], how)
        for name, how in _COMBINED.items()
        if any(name in families for families in everyone)
    }
    return {**own, **added}


def counted(families: Families) -> Families:
    """What of a replica's metrics outlives it: a counter that fell would be read as a restart, and as new requests."""
    return {name: family for name, family in families.items() if family.type in ("counter", "histogram")}


def started_s(families: Families) -> float | None:
    """When the process started that says this, in s since 1970: one that takes over an address counts from 0 again."""
    family = families.get("process_start_time_seconds")
    return family.samples[0].value if family and family.samples else None


def text(families: Families) -> str:
    """The exposition of these metrics."""
    registry = CollectorRegistry()
    registry.register(_Listed(families.values()))
    return generate_latest(registry).decode()


class _Listed(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _combined(families: Sequence[Metric], how: Callable[[Iterable[float]], float]) -> Metric:
    """Series by series: those of the same name and labels become one."""
    series: dict[tuple[str, frozenset[tuple[str, str]]], list[Sample]] = {}
    for family in families:
        for sample in family.samples:
            series.setdefault((sample.name, frozenset(sample.labels.items())), []).append(sample)
    first = families[0]
    combined = Metric(first.name, first.documentation, first.type)
    for same in series.values():
        combined.add_sample(same[0].name, same[0].labels, how(sample.value for sample in same))
    return combined
