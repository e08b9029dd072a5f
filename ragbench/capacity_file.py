"""capacity.csv: a row per configuration, where its capacity lies and whether that is resolved. Writes no file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ragbench.capacity import Found, Probe
from ragbench.csv_table import write_table
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


def capacity_csv(
    outcomes: Sequence[Outcome], *, arrival: str, slo: Slo, before: Sequence[Mapping[str, str | None]] = ()
) -> str:
    """The outcomes as CSV text. `probes`: rates tried; `points`: loads fired for them.

    `before`: the rows of the file as it was; what it has of other configurations, arrivals and promises stays in it.
    """
    found_again = {(outcome.configuration.name, arrival, str(slo)) for outcome in outcomes}
    others = (row for row in before if (row["configuration"], row["arrival"], row["slo"]) not in found_again)
    rows: list[list[object]] = [[row[name] for name in COLUMNS] for row in others]
    for outcome in outcomes:
        found, ends = outcome.found, (outcome.found.capacity_rps, outcome.found.low_rps, outcome.found.high_rps)
        rows.append(
            [
                *(outcome.configuration.name, outcome.configuration.design, arrival, str(slo)),
                *(None if end is None else f"{end:g}" for end in ends),
                *(found.resolved, found.reason),
                *(len(outcome.probes), sum(len(probe.votes) for probe in outcome.probes)),
            ]
        )
    return write_table(COLUMNS, rows)
