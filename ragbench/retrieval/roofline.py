"""What each device does at best: bytes/s of a copy, FLOP/s of a matrix product by dtype. Measured elsewhere."""

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragbench.records import RecordError

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("device", "name", "threads", "copy_gb_per_s", "dtype", "matmul_gflop_per_s")
_TEXTS = ("device", "name", "dtype")


@dataclass(frozen=True, slots=True)
class Rates:
    """The two roofs of a device. `threads`: None for a GPU."""

    device: str
    name: str
    threads: int | None
    copy_gb_per_s: float
    matmul_gflop_per_s: Mapping[str, float]

    @classmethod
    def told(cls, told: Mapping[str, Any]) -> "Rates":
        """From what a process told. Raises ValueError where that is none."""
        try:
            roofs = {str(dtype): float(rate) for dtype, rate in told["matmul_gflop_per_s"].items()}
            threads = told.get("threads")
            return cls(str(told["device"]), str(told["name"]), threads, float(told["copy_gb_per_s"]), roofs)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"no rates: {told!r}") from error

    def __str__(self) -> str:
        threads = f", threads {self.threads}" if self.threads else ""
        roofs = ", ".join(f"{dtype} {rate:,.0f}" for dtype, rate in self.matmul_gflop_per_s.items())
        return f"{self.device} ({self.name}{threads}): copy {self.copy_gb_per_s:.1f} GB/s; product, GFLOP/s: {roofs}"


def rates_csv(found: Iterable[Rates]) -> str:
    """The rates as CSV text, a row per device and dtype."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in found:
        for dtype, rate in one.matmul_gflop_per_s.items():
            threads = "" if one.threads is None else one.threads
            writer.writerow((one.device, one.name, threads, f"{one.copy_gb_per_s:.6g}", dtype, f"{rate:.6g}"))
    return text.getvalue()


def read_rates(path: Path) -> list[Rates]:
    """The rates of a roofline.csv; none where it is not there."""
    found: dict[str, dict[str, Any]] = {}
    with path.open(encoding="utf-8", newline="") if path.is_file() else io.StringIO() as file:
        for line in csv.DictReader(file):
            threads = int(line["threads"]) if line["threads"] else None
            one = found.setdefault(line["device"], {**line, "threads": threads, "matmul_gflop_per_s": {}})
            one["matmul_gflop_per_s"][line["dtype"]] = line["matmul_gflop_per_s"]
    return [Rates.told(one) for one in found.values()]


def load_rates(path: Path) -> "pd.DataFrame":
    """roofline.csv with typed columns; no rows where it is not there. Raises RecordError."""
    import pandas as pd  # noqa: PLC0415  half a second to import, and measuring does not need it

    if not path.is_file():
        return pd.DataFrame(columns=list(COLUMNS))
    table = pd.read_csv(path, dtype=dict.fromkeys(_TEXTS, "str"))
    missing = [name for name in COLUMNS if name not in table]
    if missing:
        raise RecordError(f"{path} lacks the columns {', '.join(missing)}")
    return table
