"""capacity.csv: a row per configuration, where its capacity lies and whether that is resolved. Writes no file."""

from collections.abc import Sequence
from dataclasses import dataclass

from ragbench.capacity import Found, Probe
from ragbench.csv_table import Table, csv_text
from ragbench.points import Configuration
from ragbench.slo import Slo

COLUMNS = (
    *("configuration", "design", "arrival", "slo", "capacity_rps", "low_rps", "high_rps", "resolved", "reason"),
    *("probes", "points"),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One configuration's search: what was found, and every probe."""

    configuration: Configuration
    found: Found
    probes: tuple[Probe, ...]


def capacity_csv(outcomes: Sequence[Outcome], *, arrival: str, slo: Slo, before: Table | None = None) -> str:
    """The outcomes as CSV text. `probes`: rates tried; `points`: loads fired for them.

    `before`: the file as it was; what it has of other configurations, arrivals and promises stays in it.
    """
    found_again = {(outcome.configuration.name, arrival, str(slo)) for outcome in outcomes}
    kept = [row for _, row in before.records()] if before is not None else []
    others = [row for row in kept if (row["configuration"], row["arrival"], row["slo"]) not in found_again]
    rows = [[row[name] for name in COLUMNS] for row in others]
    return csv_text(COLUMNS, [*rows, *(_cells(outcome, arrival, slo) for outcome in outcomes)])


def _cells(outcome: Outcome, arrival: str, slo: Slo) -> list[object]:
    found = outcome.found
    return [
        *(outcome.configuration.name, outcome.configuration.design, arrival, str(slo)),
        *(None if end is None else f"{end:g}" for end in (found.capacity_rps, found.low_rps, found.high_rps)),
        *(found.resolved, found.reason),
        *(len(outcome.probes), sum(len(probe.votes) for probe in outcome.probes)),
    ]
