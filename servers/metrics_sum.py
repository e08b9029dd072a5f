"""The /metrics of a fleet out of its own and its replicas': which series are added, and how, is `OVER_REPLICAS`.

Fetches nothing. Works on the text format, so that replicas may be anywhere and of another version.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from servers.metrics import OVER_REPLICAS

__all__ = ["Families", "counted", "parsed", "started_s", "text", "total"]

Families = Mapping[str, Metric]
"""Metrics by name, a counter's without its `_total`."""

_COMBINED = {family.name: how for metric, how in OVER_REPLICAS.items() for family in metric.collect()}


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
