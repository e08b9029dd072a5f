"""capacity.csv: a row a configuration, with its capacity and whether that is resolved."""

from dataclasses import dataclass
from pathlib import Path

from ragbench.files.csv_format import CsvFormat
from ragbench.results.records import write_atomic

FILE = "capacity.csv"


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
)


def write_row(row: Capacity, path: Path) -> None:
    """Add it to the file, in place of a row with its key."""
    before = CAPACITY.read(path) if path.is_file() else []
    write_atomic(path, CAPACITY.text([*(other for other in before if other.key != row.key), row]))
