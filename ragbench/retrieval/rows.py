"""summary.csv of a retrieval study: one row per cell. Columns, units, reading and writing.

Times are seconds, memory MiB, work bytes and floating point operations; an absent value is an empty cell. What the
figures mean is decided by the process that measures them.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragbench.files.csv_format import CsvFormat
from ragbench.retrieval.cells import Cell

if TYPE_CHECKING:
    import pandas as pd

STATUSES = ("ok", "skipped", "failed")
_MOST_LETTERS = 300


@dataclass(frozen=True, slots=True)
class Row(Cell):
    """The result of a cell and its machine. What was not measured is None."""

    status: str
    reason: str | None
    repeats: float | None = None
    build_s: float | None = None
    search_s: float | None = None
    search_min_s: float | None = None
    search_max_s: float | None = None
    queries_per_s: float | None = None
    bytes_moved: float | None = None
    flops: float | None = None
    floor_s: float | None = None
    of_roofline: float | None = None
    recall_at_k: float | None = None
    max_relative_error: float | None = None
    index_mib: float | None = None
    peak_mib: float | None = None
    inertia: float | None = None
    hardware: str = field(kw_only=True)

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise ValueError(f"status must be one of {', '.join(STATUSES)}, got {self.status!r}")
        for name in MEASURED:
            value = getattr(self, name)
            if value is not None and not _is_number(value):
                raise ValueError(f"{name} must be a number, got {value!r}")

    @classmethod
    def reported(cls, cell: Cell, report: Mapping[str, Any], *, hardware: str) -> "Row":
        """From what the measuring process reports of `cell`. Raises ValueError where a value is invalid."""
        measured: dict[str, Any] = {name: report.get(name) for name in MEASURED}
        status, reason = report.get("status", "none"), _one_line(report.get("reason"))
        return cls(**asdict(cell), status=status, reason=reason, **measured, hardware=hardware)

    @classmethod
    def unmeasured(cls, cell: Cell, status: str, reason: str, *, hardware: str) -> "Row":
        """A cell that was not measured, with the reason."""
        return cls(**asdict(cell), status=status, reason=_one_line(reason), hardware=hardware)

    @property
    def cell(self) -> Cell:
        """The cell alone."""
        return Cell(**{item.name: getattr(self, item.name) for item in fields(Cell)})

    @property
    def is_whole(self) -> bool:
        """Whether it is measured or skipped: such a cell is not measured again."""
        return self.status != "failed"


MEASURED = tuple(item.name for item in fields(Row) if item.default is None)
ROWS = CsvFormat(Row, real=".8g", most=1e300, ints="whole")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _one_line(text: object) -> str | None:
    return " ".join(str(text).split())[:_MOST_LETTERS] or None if text is not None else None


def read_rows(path: Path) -> list[Row]:
    """The rows of a file; none where there is no such file. Raises RecordError."""
    return ROWS.read(path) if path.is_file() else []


def load_rows(path: Path) -> "pd.DataFrame":
    """The file with typed columns, and no others. Raises RecordError."""
    return ROWS.frame(path)[list(ROWS.columns)]
