"""Metrics of a fleet: those of all replicas, past ones included, combined by the rules of OVER_REPLICAS."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import cast

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from servers.fleet.asking.client import ReplicaClient
from servers.fleet.replica import Roster
from servers.http.endpoints import METRICS
from servers.telemetry.metrics import OVER_REPLICAS

_DEADLINE_S = 1.0
_MOST_AWAY = 16
_Life = tuple[str, float | None]
"""One process: its address, and its start time."""
Families = Mapping[str, Metric]
"""Metrics by name, a counter's without its `_total`."""
_COMBINED = {family.name: how for metric, how in OVER_REPLICAS.items() for family in metric.collect()}


class ReplicaMetrics:
    """Scrapes the replicas of a roster, and keeps what each answered last.

    The last `_MOST_AWAY` that are gone are kept apart, since a registered one may come back and would be added twice.
    The counters of earlier ones are kept as one sum.
    """

    def __init__(self, roster: Roster, client: ReplicaClient) -> None:
        self._roster = roster
        self._client = client
        self._last: dict[_Life, Families] = {}  # in order of their last answers
        self._gone: Families = {}
        self._asking = asyncio.Lock()

    async def added_to(self, own: str) -> str:
        """The exposition `own` of the fleet with the metrics of its replicas.

        A replica that does not answer in time adds its last counters, which must not fall, and no gauges.
        """
        async with self._asking:
            asked = self._roster.in_state("ready", "draining")
            scraped = await asyncio.gather(*(self._scrape(replica.url) for replica in asked))
            answered = dict(filter(None, scraped))
            for life in answered:
                self._last.pop(life, None)
            self._last |= answered
            self._add_up(answered)
            silent = [counted(families) for life, families in self._last.items() if life not in answered]
            return text(total(parsed(own), [*answered.values(), *silent, self._gone]))

    async def _scrape(self, url: str) -> tuple[_Life, Families] | None:
        """A replica's metrics; None if it gives none that can be parsed."""
        exposition = await self._client.text(url + METRICS.path, timeout_s=_DEADLINE_S)
        if exposition is None:
            return None
        try:
            families = parsed(exposition)
        except ValueError:
            return None
        return (url, started_s(families)), families

    def _add_up(self, answered: Mapping[_Life, Families]) -> None:
        """Add up all but the last replicas that are gone: off the roster, or with a successor at their address."""
        successors = {url for url, _ in answered}
        gone = [
            life
            for life in self._last
            if life not in answered and (life[0] in successors or self._roster.find(life[0]) is None)
        ]
        for life in gone[:-_MOST_AWAY]:
            self._gone = total({}, [self._gone, counted(self._last.pop(life))])


def parsed(exposition: str) -> Families:
    """The metrics of an exposition. Raises ValueError."""
    families = text_string_to_metric_families(exposition)
    return {family.name: family for family in families if not family.name.endswith("_created")}


def total(own: Families, replicas: Iterable[Families]) -> Families:
    """The fleet's own metrics combined with those of its replicas."""
    everyone = [own, *replicas]
    added = {
        name: _combined([families[name] for families in everyone if name in families], how)
        for name, how in _COMBINED.items()
        if any(name in families for families in everyone)
    }
    return {**own, **added}


def counted(families: Families) -> Families:
    """The metrics that outlive a replica: Prometheus reads a counter that falls as a restart."""
    return {name: family for name, family in families.items() if family.type in ("counter", "histogram")}


def started_s(families: Families) -> float | None:
    """Start time of the process in s since 1970. Another process at the same address counts from 0 again."""
    family = families.get("process_start_time_seconds")
    return family.samples[0].value if family and family.samples else None


def text(families: Families) -> str:
    """The exposition of these metrics."""
    return generate_latest(cast(CollectorRegistry, SimpleNamespace(collect=families.values))).decode()


def _combined(families: Sequence[Metric], how: Callable[[Iterable[float]], float]) -> Metric:
    """Combine the samples of each series, that is, of one name and one set of labels."""
    series: dict[tuple[str, frozenset[tuple[str, str]]], list[Sample]] = {}
    for family in families:
        for sample in family.samples:
            series.setdefault((sample.name, frozenset(sample.labels.items())), []).append(sample)
    first = families[0]
    combined = Metric(first.name, first.documentation, first.type)
    for same in series.values():
        combined.add_sample(same[0].name, same[0].labels, how(sample.value for sample in same))
    return combined
