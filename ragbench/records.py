"""What is written: the row of a request, the summary row of a point, the manifest. Columns, units, atomic writes.

Times are seconds from the schedule's origin; an absent value is an empty cell. What the figures mean is in stats.py.
"""

import csv
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    import pandas as pd

Status = Literal["ok", "rejected", "timeout", "http_error", "connection_error", "bad_answer", "unsent"]
STATUSES: tuple[str, ...] = get_args(Status)

SUMMARY_FRONT = ("point", "variant")
SUMMARY_REST = (
    "arrival",
    "offered_rps",
    "seed",
    "verdict",
    "verdict_reason",
    "requests",
    "completed",
    "rejected",
    "timed_out",
    "failed",
    "unsent",
    "duration_s",
    "sent_rps",
    "throughput_rps",
    "goodput_rps",
    "latency_mean_s",
    "latency_p50_s",
    "latency_p90_s",
    "latency_p95_s",
    "latency_p99_s",
    "latency_max_s",
    "send_lag_p99_s",
    "queue_s",
    "embed_s",
    "retrieve_s",
    "generate_s",
    "batch_size",
    "replicas",
    "exact_match",
    "recall_at_k",
    "hardware",
)
_TEXT_COLUMNS = {
    *("point", "variant", "arrival", "verdict", "verdict_reason", "hardware"),
    *("question", "status", "replica", "result", "error"),
}
_WHOLE_COLUMNS = {
    *("request", "seed", "requests", "completed", "rejected", "timed_out", "failed", "unsent", "replicas"),
    *("ready", "starting", "draining"),
}


class RecordError(ValueError):
    """A results file cannot be used: it is missing, or its columns are not those expected."""


@dataclass(frozen=True, slots=True)
class Row:
    """One scheduled request and how it ended. The fields are the columns of requests.csv, in order.

    `latency_s` = `done_s` - `due_s`; `send_lag_s` = `sent_s` - `due_s`. `status`: `ok`; `rejected` (429, 503);
    `timeout` (ours, or 504); `http_error` (any other status); `connection_error`; `bad_answer` (an answer that does not
    hold what it should, or was cut off); `unsent`. `exact_match` is 0 or 1, `recall_at_k` 0 to 1.
    """

    request: int
    question: str
    due_s: float
    sent_s: float | None = None
    done_s: float | None = None
    latency_s: float | None = None
    send_lag_s: float | None = None
    status: Status = "unsent"
    http_status: int | None = None
    queue_s: float | None = None
    embed_s: float | None = None
    retrieve_s: float | None = None
    generate_s: float | None = None
    batch_size: int | None = None
    replica: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    exact_match: float | None = None
    recall_at_k: float | None = None
    result: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class ReplicaCount:
    """How many replicas a service had at `t_s`. The fields are the columns of replicas.csv."""

    t_s: float
    ready: int
    starting: int
    draining: int


REQUEST_COLUMNS = tuple(item.name for item in fields(Row))
REPLICA_COLUMNS = tuple(item.name for item in fields(ReplicaCount))


def requests_csv(rows: Iterable[Row]) -> str:
    """The rows as CSV text; due times to the nanosecond as in schedule.csv, measured ones to the microsecond."""
    return _csv(REQUEST_COLUMNS, ([_due(v) if i == 2 else _cell(v) for i, v in enumerate(astuple(r))] for r in rows))


def replicas_csv(counts: Iterable[ReplicaCount]) -> str:
    """The replica counts as CSV text."""
    return _csv(REPLICA_COLUMNS, ([_cell(value) for value in astuple(count)] for count in counts))


def summary_csv(manifests: Iterable[Mapping[str, Any]]) -> str:
    """One row per manifest, by design, arrival, rate and seed; the settings columns are the union over all."""
    points = sorted(manifests, key=_sort_key)
    settings = dict.fromkeys(name for manifest in points for name in manifest["point"]["settings"])
    columns = (*SUMMARY_FRONT, *settings, *SUMMARY_REST)
    rows = [dict(manifest["point"]["settings"]) | dict(manifest["summary"]) for manifest in points]
    return _csv(columns, ([_cell(row.get(column)) for column in columns] for row in rows))


def _sort_key(manifest: Mapping[str, Any]) -> tuple[Any, ...]:
    point = manifest["point"]
    settings = [
        (name, isinstance(value, str), value if not isinstance(value, str) else 0, str(value))
        for name, value in sorted(point["settings"].items())
    ]
    return (point["variant"], settings, point["arrival"], point["offered_rps"], point["seed"])


def _csv(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()


def _due(value: float) -> str:
    return f"{value:.9f}"


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.6g}" if 0 < abs(value) < 0.001 else f"{value:.6f}".rstrip("0").rstrip(".")
    # A NUL inside a cell ends the file for some readers.
    return str(value).replace("\0", "\ufffd")


def write_atomic(path: Path, text: str) -> None:
    """Write `text` under a temporary name and rename it, so that `path` is either old or whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.partial")
    # Answers may hold lone surrogates, which UTF-8 cannot.
    with temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def write_manifest(path: Path, manifest: Mapping[str, Any]) -> None:
    """Write the manifest, which makes its point whole."""
    write_atomic(path, json.dumps(manifest, indent=2, allow_nan=False) + "\n")


def read_manifest(path: Path) -> dict[str, Any] | None:
    """The manifest at `path`, or None where there is no whole one."""
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) and {"point", "summary"} <= manifest.keys() else None


def read_manifests(root: Path) -> list[dict[str, Any]]:
    """The manifests of all whole points under `root`, by design, arrival, rate, seed. Hidden folders are unfinished."""
    found = (read_manifest(path) for path in sorted(root.glob("*/manifest.json")) if path.parent.name[0] != ".")
    return sorted((manifest for manifest in found if manifest is not None), key=_sort_key)


def load_summary(path: Path) -> "pd.DataFrame":
    """summary.csv with typed columns. Raises RecordError naming what is missing."""
    return _load(path, (*SUMMARY_FRONT, *SUMMARY_REST))


def load_requests(path: Path) -> "pd.DataFrame":
    """requests.csv with typed columns. Raises RecordError naming what is missing."""
    return _load(path, REQUEST_COLUMNS)


def load_replicas(path: Path) -> "pd.DataFrame":
    """replicas.csv with typed columns. Raises RecordError naming what is missing."""
    return _load(path, REPLICA_COLUMNS)


def _load(path: Path, columns: Sequence[str]) -> "pd.DataFrame":
    import pandas as pd  # noqa: PLC0415  half a second to import, and measuring does not need it

    if not path.is_file():
        raise RecordError(f"there is no {path}")
    with path.open(encoding="utf-8", newline="") as file:
        present = next(csv.reader(file), [])
    missing = [column for column in columns if column not in present]
    if missing:
        raise RecordError(f"{path} lacks the columns {', '.join(missing)}")
    types = {column: _column_type(column) for column in columns}
    try:
        # "NA" and "null" are answers like any other; only an empty cell is absent.
        return pd.read_csv(path, dtype=types, keep_default_na=False, na_values=[""])
    except ValueError as error:
        raise RecordError(f"{path} has a cell of the wrong type: {error}") from error


def _column_type(column: str) -> str:
    if column in _TEXT_COLUMNS:
        return "str"
    return "int64" if column in _WHOLE_COLUMNS else "float64"
