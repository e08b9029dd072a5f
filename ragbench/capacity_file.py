"""capacity.csv: a row per configuration, where its capacity lies and whether that is resolved. Writes no file."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from ragbench.capacity import Found, Probe
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


def capacity_csv(outcomes: Sequence[Outcome], *, arrival: str, slo: Slo, before: str = "") -> str:
    """The outcomes as CSV text. `probes`: rates tried; `points`: loads fired for them.

    `before`: the file as it was; what it has of other configurations, arrivals and promises stays in it.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    found_again = {(outcome.configuration.name, arrival, str(slo)) for outcome in outcomes}
    for row in csv.DictReader(io.StringIO(before)):
        if (row["configuration"], row["arrival"], row["slo"]) not in found_again:
            writer.writerow([row[name] for name in COLUMNS])
    for outcome in outcomes:
        found, ends = outcome.found, (outcome.found.capacity_rps, outcome.found.low_rps, outcome.found.high_rps)
        writer.writerow(
            [
                *(outcome.configuration.name, outcome.configuration.design, arrival, str(slo)),
                *("" if end is None else f"{end:g}" for end in ends),
                *("true" if found.resolved else "false", found.reason),
                *(len(outcome.probes), sum(len(probe.votes) for probe in outcome.probes)),
            ]
        )
    return text.getvalue()
