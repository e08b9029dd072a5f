"""A trace of arrivals: offsets, and output lengths if it has them. Reads the CSV; scales no load.

Times are a column of seconds (`offset_s`, `timestamp`, BurstGPT's `Timestamp`), or of dates and times in the same
columns and in `TIMESTAMP` (Azure's LLM inference traces). Output tokens are a column by one of its usual names.
"""

import hashlib
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ragbench.files.csv_table import Column, RecordError, read_columns
from ragbench.files.text_file import read_bytes
from ragbench.files.toml_tables import StudyError

TIME_COLUMNS = ("offset_s", "timestamp", "time_s")
LENGTH_COLUMNS = ("generatedtokens", "response tokens", "output_tokens", "max_new_tokens")


class ArrivalError(StudyError):
    """An arrival is written wrongly, or its trace cannot be used; the message names the file and the line."""

    def __init__(self, mistake: str) -> None:
        super().__init__([mistake])


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
        read = read_columns(Path(path), raw=raw, may_skip_lines=True)
        columns = {name.strip().lower(): column for name, column in read.items()}
        due, tokens = (_first(columns, names) for names in (TIME_COLUMNS, LENGTH_COLUMNS))
        if due is None:
            raise ArrivalError(f"{path} has no column of times; wanted one of {', '.join(TIME_COLUMNS)}")
        times = np.array(due.values((_seconds, "a number of seconds or a date and time"), may_be_absent=False))
        lengths = None if tokens is None else tokens.values((_length, "a number of output tokens"), may_be_absent=False)
    except OSError as error:
        raise ArrivalError(f"no trace at {path!r}: {error.strerror}") from error
    except RecordError as error:
        raise ArrivalError(f"{error}; a trace is a CSV file in UTF-8") from error
    order = np.argsort(times, kind="stable")
    if len(times) < 2 or times[order[-1]] <= times[order[0]]:
        raise ArrivalError(f"{path} holds {len(times)} arrivals; wanted at least 2, at different times")
    ordered = None if lengths is None else tuple(lengths[i] for i in order)
    return Trace(times[order] - times[order[0]], ordered, hashlib.sha256(raw).hexdigest())


def _first(columns: Mapping[str, Column], names: Sequence[str]) -> Column | None:
    return next((columns[name] for name in names if name in columns), None)


def _seconds(text: str) -> float:
    """Seconds; dates and times count from 1970, and as UTC where they name no zone. Raises ValueError."""
    try:
        seconds = float(text)
    except ValueError:
        when = datetime.fromisoformat(text.strip())
        seconds = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    if not math.isfinite(seconds):
        raise ValueError(text)
    return seconds


def _length(text: str) -> int:
    """At least 1: failed requests of public traces have no tokens. Raises ValueError."""
    tokens = float(text)
    if not (tokens >= 0 and tokens.is_integer()):
        raise ValueError(text)
    return max(1, int(tokens))
