"""What is written: a request's row, a sample of telemetry, a point's summary row, the manifest. Columns, units, writes.

Times are seconds from the schedule's origin; an absent value is an empty cell. Columns of a summary: metrics.py.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from ragbench.files.csv_table import RecordError, read_frame, read_table, write_table
from ragbench.files.text_file import parse_told, read_text
from ragbench.files.whole_file import write_whole
from ragbench.results.manifest_checks import LARGEST, NEEDED, is_plain_name, manifest_mistake
from ragbench.results.metrics import FIGURES, LOAD, METRICS, NAMING, NEWER_COLUMNS, ORIGIN, names
from ragbench.results.verdict_names import VERDICTS

if TYPE_CHECKING:
    import pandas as pd
Status = Literal[
    "ok",
    "rejected",
    "timeout",
    "http_error",
    "connection_error",
    "reset",
    "truncated",
    "bad_answer",
    "unsent",
]
STATUSES: tuple[str, ...] = get_args(Status)
# In no file of before they were measured, which can still be read.
NEWER_REQUEST_COLUMNS = ("f1",)
NEWER_TELEMETRY_COLUMNS = ("throttled_share",)
# Of each line of summary.csv, without which there is no figure.
_NAMES: tuple[tuple[str, Callable[[object], bool], str], ...] = (
    ("point", is_plain_name, "the name of a folder"),
    *((name, lambda value: isinstance(value, str), "text") for name in ("configuration", "design", "arrival")),
    ("seed", lambda value: isinstance(value, int), "a whole number"),
    ("verdict", lambda value: value in VERDICTS, f"one of {', '.join(VERDICTS)}"),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One scheduled request and how it ended. The fields are the columns of requests.csv, in order.

    In a closed loop a request is due when it is sent. `latency_s` = `done_s` - `due_s`; `send_lag_s` = `sent_s` -
    `due_s`. `status`: `ok`; `rejected` (429, 503); `timeout` (ours, or 504); `http_error` (any other status);
    `connection_error` (there was no connection); `reset` (it was lost before an answer began); `truncated` (the answer
    was cut off); `bad_answer` (one that does not hold what it should); `unsent`. `close_reason`: why its batch closed.
    `exact_match` is 0 or 1, `f1` and `recall_at_k` 0 to 1.
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
    close_reason: str | None = None
    replica: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    exact_match: float | None = None
    f1: float | None = None
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


@dataclass(frozen=True, slots=True)
class Sample:
    """What a point cost its machine, once a second. The fields are the columns of telemetry.csv; None: not known.

    `..._cpu_cores`: cores' worth of CPU used since the sample before. `other`: everything on the cores we may run on,
    less the client and the server with their children; under a CPU quota, of that what the quota misses.
    `throttled_share`: of the quota's periods since then, those that ended with it used up.
    `gpu_energy_j` counts up from an origin of the driver's own.
    """

    t_s: float
    client_cpu_cores: float | None = None
    client_memory_mib: float | None = None
    server_cpu_cores: float | None = None
    server_memory_mib: float | None = None
    other_cpu_cores: float | None = None
    gpu_percent: float | None = None
    gpu_memory_mib: float | None = None
    gpu_power_w: float | None = None
    gpu_energy_j: float | None = None
    throttled_share: float | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What a fleet's autoscaler knew at `t_s`, how many replicas it wanted, and why. The columns of scaling.csv.

    `queue_wait_p95_s` and `arrival_rps` are of a window of the last seconds; None where it reaches back to before the
    load, or is not told: they then speak of another load too.
    """

    t_s: float
    ready: int
    starting: int
    outstanding: int
    queue_wait_p95_s: float | None
    arrival_rps: float | None
    target: int
    reason: str


@dataclass(frozen=True, slots=True)
class Start:
    """A replica that was ready at `t_s`, `start_s` after it had been started. The columns of starts.csv."""

    t_s: float
    start_s: float


_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Scaling:
    """What a fleet told of its scaling within a point, in order of time; nothing where it does not tell."""

    decisions: tuple[Decision, ...] = ()
    starts: tuple[Start, ...] = ()


NOTHING_TOLD = Scaling()
REQUEST_COLUMNS = tuple(item.name for item in fields(Row))
REPLICA_COLUMNS = tuple(item.name for item in fields(ReplicaCount))
TELEMETRY_COLUMNS = tuple(item.name for item in fields(Sample))
DECISION_COLUMNS = tuple(item.name for item in fields(Decision))
START_COLUMNS = tuple(item.name for item in fields(Start))


def requests_csv(rows: Iterable[Row]) -> str:
    """The rows as CSV text; due times to the nanosecond as in schedule.csv, measured ones to the microsecond."""
    return write_table(REQUEST_COLUMNS, (map(_exact, REQUEST_COLUMNS, astuple(row)) for row in rows))


def _exact(column: str, value: object) -> object:
    return f"{value:.9f}" if column == "due_s" else value


def replicas_csv(counts: Iterable[ReplicaCount]) -> str:
    """The replica counts as CSV text."""
    return write_table(REPLICA_COLUMNS, map(astuple, counts))


def telemetry_csv(samples: Iterable[Sample]) -> str:
    """The samples as CSV text."""
    return write_table(TELEMETRY_COLUMNS, map(astuple, samples))


def scaling_csv(decisions: Iterable[Decision]) -> str:
    """The decisions as CSV text."""
    return write_table(DECISION_COLUMNS, map(astuple, decisions))


def starts_csv(starts: Iterable[Start]) -> str:
    """The starts as CSV text."""
    return write_table(START_COLUMNS, map(astuple, starts))


def summary_csv(manifests: Iterable[Mapping[str, Any]]) -> str:
    """One row per manifest, by design, arrival, load and seed; the settings columns are the union over all."""
    points = sorted(manifests, key=_sort_key)
    settings = dict.fromkeys(name for manifest in points for name in manifest["point"]["settings"])
    columns = (*names(NAMING), *settings, *names((*LOAD, *FIGURES, *ORIGIN)))
    rows = [dict(manifest["point"]["settings"]) | dict(manifest["summary"]) for manifest in points]
    return write_table(columns, ([row.get(column) for column in columns] for row in rows))


def _sort_key(manifest: Mapping[str, Any]) -> tuple[Any, ...]:
    """By design; closed loops after open ones; then by arrival, load and seed."""
    point = manifest["point"]
    settings = [
        (name, isinstance(value, str), value if not isinstance(value, str) else 0, str(value))
        for name, value in sorted(point["settings"].items())
    ]
    offered, users = point["offered_rps"], point.get("concurrency")
    return (point["design"], settings, offered is None, point["arrival"], offered or 0.0, users or 0, point["seed"])


def write_atomic(path: Path, text: str) -> None:
    """Write `text` under a temporary name and rename it, so that `path` is either old or whole. OSErrors name it."""
    # Answers may hold lone surrogates, which UTF-8 cannot.
    write_whole(path, text.encode("utf-8", errors="backslashreplace"))


def copy_text(source: Path, path: Path) -> None:
    """Write the text of `source` as `write_atomic` does; an error is then about `path`, which shutil leaves open."""
    try:
        text = read_text(source)
    except ValueError as error:
        raise RecordError(str(error)) from error
    write_atomic(path, text)


def write_manifest(path: Path, manifest: Mapping[str, Any]) -> None:
    """Write the manifest, which makes its point whole."""
    write_atomic(path, json.dumps(manifest, indent=2, allow_nan=False) + "\n")


def read_manifest(path: Path) -> dict[str, Any] | None:
    """The manifest of the point in the folder of `path`, absent figures of its summary None; None where there is none.

    Raises RecordError, which names the file, where it is damaged or of another ragbench.
    """
    try:
        manifest = parse_told(read_text(path))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise _unusable(path, f"is damaged: {error}") from error
    if not isinstance(manifest, dict) or not {"point", "summary"} <= manifest.keys():
        raise _unusable(path, "is damaged: it has no point or no summary")
    point = manifest["point"]
    missing = [name for name in NEEDED if not isinstance(point, dict) or name not in point]
    if missing:
        raise _unusable(path, f"is not of this ragbench: its point has no {', '.join(missing)}")
    mistake = manifest_mistake(manifest, folder=path.parent.name)
    if mistake is not None:
        raise _unusable(path, f"is damaged: {mistake}")
    absent = dict.fromkeys(METRICS) | {"point": point["name"], "design": point["design"]}
    return manifest | {"summary": absent | manifest["summary"]}


def _unusable(path: Path, why: str) -> RecordError:
    return RecordError(f"{path} {why}. Move the folder away, or write elsewhere with --results")


def read_manifests(root: Path) -> list[dict[str, Any]]:
    """The manifests of all whole points under `root`, by design, arrival, load, seed. Hidden folders are unfinished.

    Raises RecordError as `read_manifest` does.
    """
    found = (read_manifest(path) for path in sorted(root.glob("*/manifest.json")) if path.parent.name[0] != ".")
    return sorted((manifest for manifest in found if manifest is not None), key=_sort_key)


def read_rows(path: Path) -> list[Row]:
    """The rows of a requests.csv as they were written. Raises RecordError where it cannot be read."""
    return _read(path, Row, newer=NEWER_REQUEST_COLUMNS)


def read_replicas(path: Path) -> list[ReplicaCount]:
    """The counts of a replicas.csv. Raises RecordError where it cannot be read."""
    return _read(path, ReplicaCount)


def read_telemetry(path: Path) -> list[Sample]:
    """The samples of a telemetry.csv. Raises RecordError where it cannot be read."""
    return _read(path, Sample, newer=NEWER_TELEMETRY_COLUMNS)


def read_scaling(path: Path) -> list[Decision]:
    """The decisions of a scaling.csv. Raises RecordError where it cannot be read."""
    return _read(path, Decision)


def read_starts(path: Path) -> list[Start]:
    """The starts of a starts.csv. Raises RecordError where it cannot be read."""
    return _read(path, Start)


def _read(path: Path, kind: type[_T], *, newer: Sequence[str] = ()) -> list[_T]:
    """One value of `kind` a line, each cell by the type of its field. An empty cell is None.

    Of the columns, `newer` may be missing; those fields then keep their defaults.
    """
    readers = {item.name: _reader(item.name, item.type) for item in fields(kind)}  # type: ignore[arg-type]
    header, lines = read_table(path, [name for name in readers if name not in newer])
    places = [(name, header.index(name), read) for name, read in readers.items() if name in header]
    found = []
    for number, cells in lines:
        try:
            found.append(kind(**{name: read(cells[at]) for name, at, read in places}))
        except ValueError as error:
            raise RecordError(f"{path}, line {number}: {error}") from error
    return found


def _reader(name: str, kind: Any) -> Callable[[str | None], Any]:
    """What turns a cell of a field of this type (float, int | None, Status) into its value, or raises ValueError."""
    kinds = get_args(kind) or (kind,)

    def read(cell: str | None) -> Any:
        if cell is None:
            if NoneType not in kinds:
                raise ValueError(f"{name} is absent")
            return None
        if float not in kinds and int not in kinds:
            if str not in kinds and cell not in kinds:
                raise ValueError(f"{name} must be one of {', '.join(map(str, kinds))}, got {ascii(cell)[:60]}")
            return cell
        value = float(cell) if float in kinds else int(cell)
        if not abs(value) <= LARGEST:
            raise ValueError(f"{name} must be a number up to {LARGEST:g}, got {cell[:60]}")
        return value

    return read


def load_summary(path: Path) -> "pd.DataFrame":
    """summary.csv with typed columns, NEWER_COLUMNS empty where it has none. Raises RecordError."""
    table = _load(path, {name: metric.kind for name, metric in METRICS.items()}, newer=NEWER_COLUMNS)
    for column, is_right, wanted in _NAMES:
        wrong = [value for value in table[column] if not is_right(value)]
        if wrong:
            raise RecordError(f"{path}: each {column} must be {wanted}, got {ascii(wrong[0])[:60]}")
    return table


def load_requests(path: Path) -> "pd.DataFrame":
    """requests.csv with typed columns, NEWER_REQUEST_COLUMNS empty where it has none. Raises RecordError."""
    return _load(path, _kinds(Row), newer=NEWER_REQUEST_COLUMNS)


def load_replicas(path: Path) -> "pd.DataFrame":
    """replicas.csv with typed columns. Raises RecordError naming what is missing."""
    return _load(path, _kinds(ReplicaCount))


def load_telemetry(path: Path) -> "pd.DataFrame":
    """telemetry.csv with typed columns. Raises RecordError naming what is missing."""
    return _load(path, _kinds(Sample), newer=NEWER_TELEMETRY_COLUMNS)


def load_scaling(path: Path) -> "pd.DataFrame":
    """scaling.csv with typed columns. Raises RecordError naming what is missing."""
    return _load(path, _kinds(Decision))


def _kinds(kind: type) -> dict[str, str]:
    """By column; what may be absent of numbers is real."""
    found = {item.name: get_args(item.type) or (item.type,) for item in fields(kind)}
    return {
        name: "count" if kinds == (int,) else "real" if {int, float} & {*kinds} else "text"
        for name, kinds in found.items()
    }


def _load(path: Path, kinds: Mapping[str, str], *, newer: Sequence[str] = ()) -> "pd.DataFrame":
    """The file with columns of these `kinds`; of these, `newer` may be missing and are then empty."""
    table = read_frame(path, kinds, needed=[column for column in kinds if column not in newer], most=LARGEST)
    return table.assign(**{column: float("nan") for column in newer if column not in table})
