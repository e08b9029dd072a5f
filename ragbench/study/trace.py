"""A trace of arrivals: offsets, and output lengths if it has them. Reads the CSV; scales no load.

Times are a column of seconds (`offset_s`, `timestamp`, BurstGPT's `Timestamp`), or of dates and times in the same
columns and in `TIMESTAMP` (Azure's LLM inference traces). Output tokens are a column by one of its usual names.
"""

import hashlib
import math
import os
import reprlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ragbench.files.csv_table import RecordError, foreign_lines
from ragbench.files.text_file import read_bytes

TIME_COLUMNS = ("offset_s", "timestamp", "time_s")
LENGTH_COLUMNS = ("generatedtokens", "response tokens", "output_tokens", "max_new_tokens")


class ArrivalError(ValueError):
    """An arrival is written wrongly, or its trace cannot be used; the message names the file and the line."""


@dataclass(frozen=True, slots=True)
class Trace:
    """Arrivals in order. `offsets_s`: (n,) s from the first. `lengths`: output tokens of each, if it has them."""

    offsets_s: NDArray[np.float64]
    lengths: tuple[int, ...] | None
    sha256: str

    @property
    def rate_rps(self) -> float:
        """Its own mean rate: gaps over the time they take."""
        return (len(self.offsets_s) - 1) / float(self.offsets_s[-1])

    def scale(self, rate_rps: float) -> float:
        """The factor of its times for a mean rate of `rate_rps`."""
        return self.rate_rps / rate_rps


def read_trace(path: str) -> Trace:
    """The trace at `path`; read once while the file does not change. Raises ArrivalError."""
    try:
        seen = os.stat(path)
    except OSError as error:
        raise ArrivalError(f"no trace at {path!r}: {error.strerror}") from error
    return _read(path, seen.st_mtime_ns, seen.st_size)


@lru_cache(maxsize=4)
def _read(path: str, mtime_ns: int, size: int) -> Trace:
    del mtime_ns, size  # a changed file is read again
    try:
        raw = read_bytes(Path(path))
        lines = foreign_lines(raw, name=path)
    except OSError as error:
        raise ArrivalError(f"no trace at {path!r}: {error.strerror}") from error
    except RecordError as error:
        raise ArrivalError(f"{error}; a trace is a CSV file in UTF-8") from error
    except ValueError as error:
        raise ArrivalError(str(error)) from error
    header = [name.strip().lower() for name in lines[0]] if lines else []
    time_column = _column(header, TIME_COLUMNS)
    if time_column is None:
        raise ArrivalError(f"{path} has no column of times; wanted one of {', '.join(TIME_COLUMNS)} in its first line")
    cells = [(number, line) for number, line in enumerate(lines[1:], start=2) if line]
    times = np.array([_time(path, number, line, time_column) for number, line in cells])
    order = np.argsort(times, kind="stable")
    if len(times) < 2 or times[order[-1]] <= times[order[0]]:
        raise ArrivalError(f"{path} holds {len(times)} arrivals; wanted at least 2, at different times")
    length_column = _column(header, LENGTH_COLUMNS)
    lengths = None if length_column is None else [_length(path, n, line, length_column) for n, line in cells]
    ordered = None if lengths is None else tuple(lengths[i] for i in order)
    return Trace(times[order] - times[order[0]], ordered, hashlib.sha256(raw).hexdigest())


def _column(header: Sequence[str], names: Collection[str]) -> int | None:
    return next((header.index(name) for name in names if name in header), None)


def _time(path: str, number: int, line: Sequence[str], column: int) -> float:
    """Seconds; dates and times count from 1970, and as UTC where they name no zone."""
    text = line[column].strip() if column < len(line) else ""
    try:
        seconds = float(text)
    except ValueError:
        seconds = _date_time(text)
    if not math.isfinite(seconds):
        raise ArrivalError(f"{path}:{number}: {reprlib.repr(text)} is neither a number of seconds nor a date and time")
    return seconds


def _date_time(text: str) -> float:
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return math.nan
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def _length(path: str, number: int, line: Sequence[str], column: int) -> int:
    text = line[column].strip() if column < len(line) else ""
    try:
        tokens = float(text)
    except ValueError:
        tokens = math.nan
    if not (tokens >= 0 and tokens.is_integer()):
        raise ArrivalError(f"{path}:{number}: {reprlib.repr(text)} is not a number of output tokens")
    return max(1, int(tokens))  # failed requests of public traces have none
