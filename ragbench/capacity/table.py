"""capacity.csv: a row a configuration, with its capacity and whether that is resolved. Writes no file."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from ragbench.capacity.load import Load
from ragbench.capacity.search import Found
from ragbench.files.csv_format import CsvFormat
from ragbench.results.slo import Slo
from ragbench.study.points import Configuration


@dataclass(frozen=True, slots=True)
class Outcome:
    """The search of one configuration: its result and every load."""

    configuration: Configuration
    found: Found
    loads: tuple[Load, ...]


@dataclass(frozen=True, slots=True)
class Capacity:
    """`capacity_rps`: the edge fitted; `low_rps`, `high_rps`: the bracket, no narrower than the noise.

    `probes`: rates tried; `points`: loads fired for them; `load_s`: how long each lasted; `bias`: the share by which
    loads of that length may place a capacity too high, which `low_rps` allows for.
    """

    configuration: str
    design: str | None
    arrival: str
    slo: str
    capacity_rps: float | None
    low_rps: float | None
    high_rps: float | None
    resolved: bool
    reason: str | None
    probes: int | None = None
    points: int | None = None
    load_s: float | None = None
    bias: float | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        """A new row replaces that of the same key."""
        return self.configuration, self.arrival, self.slo


CAPACITY = CsvFormat(
    Capacity,
    reals={**dict.fromkeys(("capacity_rps", "low_rps", "high_rps"), ".4g"), "load_s": "g", "bias": ".4f"},
    ints="whole",
)


def capacity_csv(
    outcomes: Sequence[Outcome], *, arrival: str, slo: Slo, load_s: float, bias: float, before: Sequence[Capacity] = ()
) -> str:
    """The outcomes as CSV text. Rows of `before`, the file as it was, stay unless one of `outcomes` has their key."""
    found = [_row(outcome, arrival=arrival, slo=slo, load_s=load_s, bias=bias) for outcome in outcomes]
    again = {row.key for row in found}
    return CAPACITY.text([*(row for row in before if row.key not in again), *found])


def _row(outcome: Outcome, *, arrival: str, slo: Slo, load_s: float, bias: float) -> Capacity:
    return Capacity(
        configuration=outcome.configuration.name,
        design=outcome.configuration.design,
        arrival=arrival,
        slo=str(slo),
        **asdict(outcome.found),
        probes=len({load.rate_rps for load in outcome.loads}),
        points=len(outcome.loads),
        load_s=float(load_s),
        bias=bias,
    )
