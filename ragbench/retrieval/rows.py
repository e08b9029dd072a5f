"""summary.csv of a retrieval study: one row per cell. Columns, units, reading and writing.

Times are seconds, memory MiB, work bytes and floating point operations; an absent value is an empty cell. What the
figures mean is decided by the process that measures them.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ragbench.files.csv_table import read_dicts, read_frame, write_table
from ragbench.results.records import RecordError
from ragbench.retrieval.cells import SETTINGS, TEXT_SETTINGS, Cell

if TYPE_CHECKING:
    import pandas as pd

STATUSES = ("ok", "skipped", "failed")
MEASURED = (
    *("repeats", "build_s", "search_s", "search_min_s", "search_max_s", "queries_per_s"),
    *("bytes_moved", "flops", "floor_s", "of_roofline", "recall_at_k", "max_relative_error"),
    *("index_mib", "peak_mib", "inertia"),
)
COLUMNS = ("grid", *SETTINGS, "status", "reason", *MEASURED, "hardware")
_TEXTS = {"grid", *TEXT_SETTINGS, "status", "reason", "hardware"}
_MOST_LETTERS = 300


@dataclass(frozen=True, slots=True)
class Row:
    """What became of a cell, and on which machine. `measured`: by name, what is known."""

    cell: Cell
    status: str
    reason: str | None
    measured: Mapping[str, float]
    hardware: str

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise ValueError(f"status must be one of {', '.join(STATUSES)}, got {self.status!r}")
        for name, value in self.measured.items():
            if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
                raise ValueError(f"{name} must be a number, got {value!r}")

    @classmethod
    def told(cls, cell: Cell, told: Mapping[str, Any], *, hardware: str) -> "Row":
        """From what a process told of `cell`. Raises ValueError where that is no row."""
        measured = {name: told[name] for name in MEASURED if told.get(name) is not None}
        return cls(cell, told.get("status", "none"), _one_line(told.get("reason")), measured, hardware)

    @classmethod
    def unmeasured(cls, cell: Cell, status: str, reason: str, *, hardware: str) -> "Row":
        """Of a cell that was not measured, and why."""
        return cls(cell, status, _one_line(reason), {}, hardware)

    @property
    def is_whole(self) -> bool:
        """Whether it need not be measured again."""
        return self.status != "failed"


def _one_line(text: object) -> str | None:
    return " ".join(str(text).split())[:_MOST_LETTERS] or None if text is not None else None


def rows_csv(rows: Iterable[Row]) -> str:
    """The rows as CSV text, figures to eight digits."""
    return write_table(COLUMNS, (_cells(row) for row in rows))


def _cells(row: Row) -> list[object]:
    about = {"status": row.status, "reason": row.reason, "hardware": row.hardware}
    values = {**asdict(row.cell), **about, **row.measured}
    return [f"{value:.8g}" if isinstance(value := values.get(name), float) else value for name in COLUMNS]


def read_rows(path: Path) -> list[Row]:
    """The rows of a file; none where it is not there. Raises RecordError where it cannot be read."""
    if not path.is_file():
        return []
    lines = read_dicts(path, COLUMNS)
    try:
        return [_row(line) for line in lines]
    except (TypeError, ValueError) as error:
        raise RecordError(f"{path}: {error}") from error


def _row(line: Mapping[str, str | None]) -> Row:
    known = {name: value for name, value in line.items() if value is not None}
    settings = {n: (known[n] if n in _TEXTS else int(known[n])) if n in known else None for n in ("grid", *SETTINGS)}
    measured = {name: float(known[name]) for name in MEASURED if name in known}
    return Row(Cell(**settings), known.get("status", ""), line["reason"], measured, known.get("hardware", ""))  # type: ignore[arg-type]


def load_rows(path: Path) -> "pd.DataFrame":
    """The file with typed columns. Raises RecordError."""
    kinds = {name: "text" if name in _TEXTS else "real" if name in MEASURED else "whole" for name in COLUMNS}
    return read_frame(path, kinds, needed=COLUMNS)[list(COLUMNS)]
