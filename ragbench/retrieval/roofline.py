"""What each device does at best: bytes/s of a copy, FLOP/s of a matrix product by dtype. Measured elsewhere."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragbench.files.csv_format import CsvFormat

_LONGEST_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Roof:
    """The limits of a device for one dtype: a row of roofline.csv. `threads`: None for a GPU."""

    device: str
    name: str
    threads: int | None
    copy_gb_per_s: float
    dtype: str
    matmul_gflop_per_s: float

    def __post_init__(self) -> None:
        for name in ("copy_gb_per_s", "matmul_gflop_per_s"):
            if not 0 < (rate := getattr(self, name)) < math.inf:
                raise ValueError(f"{name} must be a positive number, got {rate}")

    def __str__(self) -> str:
        threads = f", threads {self.threads}" if self.threads else ""
        product = f"{self.dtype} {self.matmul_gflop_per_s:,.0f}"
        return f"{self.device} ({self.name}{threads}): copy {self.copy_gb_per_s:.1f} GB/s; product, GFLOP/s: {product}"


ROOFS = CsvFormat(Roof, real=".6g")


def reported_roofs(report: Mapping[str, Any]) -> list[Roof]:
    """A roof per dtype of what the measuring process reports of a device. Raises ValueError."""
    try:
        device, name, copy = str(report["device"]), str(report["name"]), float(report["copy_gb_per_s"])
        threads = report.get("threads")
        threads = threads if isinstance(threads, int) else None
        products = report["matmul_gflop_per_s"].items()
        return [Roof(device, name, threads, copy, str(dtype), float(rate)) for dtype, rate in products]
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise ValueError(f"no rates: {str(report)[:_LONGEST_SHOWN]}") from error


def read_roofs(path: Path) -> list[Roof]:
    """The roofs of a roofline.csv; none where there is no such file. Raises RecordError."""
    return ROOFS.read(path) if path.is_file() else []
