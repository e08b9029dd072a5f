"""What each device does at best: bytes/s of a copy, FLOP/s of a matrix product by dtype. Measured elsewhere."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragbench.files.csv_format import CsvFormat
from ragbench.files.csv_table import RecordError

if TYPE_CHECKING:
    import pandas as pd

_LONGEST_SHOWN = 200


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
            threads, copy = told.get("threads"), float(told["copy_gb_per_s"])
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
            raise ValueError(f"no rates: {str(told)[:_LONGEST_SHOWN]}") from error
        if not all(0 < rate < math.inf for rate in (copy, *roofs.values())):
            raise ValueError(f"no rates: {str(told)[:_LONGEST_SHOWN]}")
        return cls(str(told["device"]), str(told["name"]), threads if isinstance(threads, int) else None, copy, roofs)

    def __str__(self) -> str:
        threads = f", threads {self.threads}" if self.threads else ""
        roofs = ", ".join(f"{dtype} {rate:,.0f}" for dtype, rate in self.matmul_gflop_per_s.items())
        return f"{self.device} ({self.name}{threads}): copy {self.copy_gb_per_s:.1f} GB/s; product, GFLOP/s: {roofs}"


@dataclass(frozen=True, slots=True)
class Roof:
    """What a device does in one dtype: a row of roofline.csv."""

    device: str
    name: str
    threads: int | None
    copy_gb_per_s: float
    dtype: str
    matmul_gflop_per_s: float


ROOFS = CsvFormat(Roof, real=".6g")


def rates_csv(found: Iterable[Rates]) -> str:
    """The rates as CSV text, a row per device and dtype."""
    return ROOFS.text(
        Roof(one.device, one.name, one.threads, one.copy_gb_per_s, dtype, rate)
        for one in found
        for dtype, rate in one.matmul_gflop_per_s.items()
    )


def read_rates(path: Path) -> list[Rates]:
    """The rates of a roofline.csv; none where it is not there. Raises RecordError."""
    found: dict[str, dict[str, Any]] = {}
    for roof in ROOFS.read(path) if path.is_file() else ():
        one = found.setdefault(roof.device, {**asdict(roof), "matmul_gflop_per_s": {}})
        one["matmul_gflop_per_s"][roof.dtype] = roof.matmul_gflop_per_s
    try:
        return [Rates.told(one) for one in found.values()]
    except ValueError as error:
        raise RecordError(f"{path}: {error}") from error


def load_rates(path: Path) -> "pd.DataFrame":
    """roofline.csv with typed columns; no rows where it is not there. Raises RecordError."""
    import pandas as pd  # noqa: PLC0415  half a second to import, and measuring does not need it

    if not path.is_file():
        return pd.DataFrame(columns=list(ROOFS.columns))
    read_rates(path)
    return ROOFS.frame(path)
