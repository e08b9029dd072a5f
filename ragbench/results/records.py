"""The files of a point, and summary.csv: their rows, columns and units; reading and writing them.

Times are seconds from the schedule's origin; an absent value is an empty cell. Columns of a summary: metrics.py.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from ragbench.files.csv_format import LARGEST, CsvFormat
from ragbench.files.csv_table import RecordError, read_frame, write_table
from ragbench.files.text_file import parse_reported, read_text
from ragbench.files.whole_file import write_whole
from ragbench.results.manifest_checks import is_plain_name, manifest_mistake
from ragbench.results.metrics import FIGURES, LOAD, METRICS, NAMING, ORIGIN, VERDICTS

if TYPE_CHECKING:
    import pandas as pd
Status = Literal[
    "ok", "rejected", "timeout", "http_error", "connection_error", "reset", "truncated", "bad_answer", "unsent"
]
STATUSES: tuple[str, ...] = get_args(Status)
# Columns of summary.csv that every figure needs: whether a value is right, and what is wanted.
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
    """The machine's use during a point, once a second. The fields are the columns of telemetry.csv; None: not known.

    `..._cpu_cores`: CPU seconds per second since the previous sample. `other`: all use of the cores we may run on, less
    the client and the server with their children; under a CPU quota, the part of it that the quota lacks.
    `throttled_share`: of the quota's periods since then, the share that ended with it used up.
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

    `queue_wait_p95_s` and `arrival_rps` are of a window of the last seconds; None where that is not reported or began
    before the load.
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


@dataclass(frozen=True, slots=True)
class Scaling:
    """What a fleet reported of its scaling within a point, in order of time; nothing where it reports none."""

    decisions: tuple[Decision, ...] = ()
    starts: tuple[Start, ...] = ()


NO_SCALING = Scaling()
REQUESTS = CsvFormat(Row, reals={"due_s": ".9f"})  # as in schedule.csv, to the nanosecond
REPLICAS = CsvFormat(ReplicaCount)
TELEMETRY = CsvFormat(Sample)
DECISIONS = CsvFormat(Decision)
STARTS = CsvFormat(Start)


def summary_csv(manifests: Iterable[Mapping[str, Any]]) -> str:
    """One row per manifest, by design, arrival, load and seed; the settings columns are the union over all."""
    points = sorted(manifests, key=_sort_key)
    settings = dict.fromkeys(name for manifest in points for name in manifest["point"]["settings"])
    columns = (*NAMING, *settings, *LOAD, *FIGURES, *ORIGIN)
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
    """Write the text of `source` as `write_atomic` does. An OSError of the write names `path`, as shutil's does not."""
    try:
        text = read_text(source)
    except ValueError as error:
        raise RecordError(str(error)) from error
    write_atomic(path, text)


def write_manifest(path: Path, manifest: Mapping[str, Any]) -> None:
    """Write the manifest, which makes its point whole."""
    write_atomic(path, json.dumps(manifest, indent=2, allow_nan=False) + "\n")


def read_manifest(path: Path) -> dict[str, Any] | None:
    """The manifest at `path`, with None for figures that its summary lacks; None where there is no file.

    Raises RecordError, which names the file, where it is damaged or of another ragbench.
    """
    try:
        manifest = parse_reported(read_text(path))
        mistake = manifest_mistake(manifest, folder=path.parent.name)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        mistake = f"is damaged: {error}"
    if mistake is not None:
        raise RecordError(f"{path} {mistake}. Move the folder away, or write elsewhere with --results")
    point = manifest["point"]
    absent = dict.fromkeys(METRICS) | {"point": point["name"], "design": point["design"]}
    return manifest | {"summary": absent | manifest["summary"]}


def read_manifests(root: Path) -> list[dict[str, Any]]:
    """The manifests of all whole points under `root`, by design, arrival, load and seed. Hidden folders are unfinished.

    Raises RecordError as `read_manifest` does.
    """
    paths = (path for path in root.glob("*/manifest.json") if path.parent.name[0] != ".")
    return sorted(filter(None, map(read_manifest, sorted(paths))), key=_sort_key)


def load_summary(path: Path) -> "pd.DataFrame":
    """summary.csv with typed columns. Raises RecordError."""
    kinds = {name: metric.kind for name, metric in METRICS.items()}
    table = read_frame(path, kinds, needed=list(kinds), most=LARGEST)
    for column, is_right, wanted in _NAMES:
        wrong = [value for value in table[column] if not is_right(value)]
        if wrong:
            raise RecordError(f"{path}: each {column} must be {wanted}, got {ascii(wrong[0])[:60]}")
    return table
