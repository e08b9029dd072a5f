"""capacity.csv: a row per configuration, where its capacity lies and whether that is resolved. Writes no file.

`capacity_rps`: the edge fitted; `low_rps`, `high_rps`: the bracket, no narrower than the noise; `probes`: rates tried;
`points`: loads fired for them; `load_s`: how long each lasted; `bias`: the share by which loads of that length may
place a capacity too high, which `low_rps` allows for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ragbench.capacity.load import Load
from ragbench.capacity.search import Found
from ragbench.files.csv_table import write_table
from ragbench.results.slo import Slo
from ragbench.study.points import Configuration

KEY = ("configuration", "arrival", "slo")  # of a row: what is found again replaces it
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
    outcomes: Sequence[Outcome],
    *,
    arrival: str,
    slo: Slo,
    load_s: float,
    bias: float,
    before: Sequence[Mapping[str, str | None]] = (),
) -> str:
    """The outcomes as CSV text.

    `before`: the rows of the file as it was; what it has of other configurations, arrivals and promises stays in it.
    """
    found_again = {(outcome.configuration.name, arrival, str(slo)) for outcome in outcomes}
    others = (row for row in before if (row["configuration"], row["arrival"], row["slo"]) not in found_again)
    rows: list[list[object]] = [[row.get(name) for name in COLUMNS] for row in others]
    for outcome in outcomes:
        found, ends = outcome.found, (outcome.found.capacity_rps, outcome.found.low_rps, outcome.found.high_rps)
        rows.append(
            [
                *(outcome.configuration.name, outcome.configuration.design, arrival, str(slo)),
                *(None if end is None else f"{end:.4g}" for end in ends),
                *(found.resolved, found.reason),
                *(len({load.rate_rps for load in outcome.loads}), len(outcome.loads), f"{load_s:g}", f"{bias:.4f}"),
            ]
        )
    return write_table(COLUMNS, rows)
