"""capacity.csv: a row per configuration, where its capacity lies and whether that is resolved. Writes no file.

`capacity_rps`: the edge fitted; `low_rps`, `high_rps`: the bracket, no narrower than the noise; `probes`: rates tried;
`points`: loads fired for them; `load_s`: how long each lasted; `bias`: the share by which loads of that length may
place a capacity too high, which `low_rps` allows for.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from ragbench.capacity import Found
from ragbench.capacity_load import Load
from ragbench.points import Configuration
from ragbench.slo import Slo

COLUMNS = (
    *("configuration", "design", "arrival", "slo", "capacity_rps", "low_rps", "high_rps", "resolved", "reason"),
    *("probes", "points", "load_s", "bias"),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One configuration's search: what was found, and every load."""

    configuration: Configuration
    found: Found
    loads: tuple[Load, ...]


def capacity_csv(
    outcomes: Sequence[Outcome], *, arrival: str, slo: Slo, load_s: float, bias: float, before: str = ""
) -> str:
    """The outcomes as CSV text.

    `before`: the file as it was; what it has of other configurations, arrivals and promises stays in it.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    found_again = {(outcome.configuration.name, arrival, str(slo)) for outcome in outcomes}
    for row in csv.DictReader(io.StringIO(before)):
        if (row["configuration"], row["arrival"], row["slo"]) not in found_again:
            writer.writerow([row.get(name, "") for name in COLUMNS])
    for outcome in outcomes:
        found, ends = outcome.found, (outcome.found.capacity_rps, outcome.found.low_rps, outcome.found.high_rps)
        writer.writerow(
            [
                *(outcome.configuration.name, outcome.configuration.design, arrival, str(slo)),
                *("" if end is None else f"{end:.4g}" for end in ends),
                *("true" if found.resolved else "false", found.reason),
                *(len({load.rate_rps for load in outcome.loads}), len(outcome.loads), f"{load_s:g}", f"{bias:.4f}"),
            ]
        )
    return text.getvalue()
