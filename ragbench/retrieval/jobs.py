"""Cells -> jobs, each of one data set and one process, and the messages on its stdout. Measures nothing."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ragbench.retrieval.cells import Cell
from ragbench.retrieval.study import Study

_DATA_SET = ("grid", "task", "data", "n", "d", "metric", "storage", "memory_mib", "seed", "threads")
_CONTENDER = {
    "search": ("backend", "index", "device", "dtype", "nlist", "m"),
    "kmeans": ("backend", "device", "dtype", "clusters", "iterations"),
}
_POINT = ("k", "batch", "nprobe", "rerank", "ef_search")
_OWN = tuple(dict.fromkeys(name for names in (*_CONTENDER.values(), _POINT) for name in names))
MESSAGES = {"progress": str, "row": dict, "rates": dict}  # a line of JSON each: {kind: content}


@dataclass(frozen=True, slots=True)
class Job:
    """Cells of one data set. `timeout_s`: the longest its process may take."""

    cells: tuple[Cell, ...]
    repeats: int
    budget_s: float
    timeout_s: float

    def __str__(self) -> str:
        first = self.cells[0]
        where = f", {first.storage}" if first.storage != "memory" else ""
        cap = f", {first.memory_mib} MiB" if first.memory_mib is not None else ""
        count = f"{len(self.cells)} cell{'s' if len(self.cells) > 1 else ''}"
        data_set = f"{first.task}, {first.data}, n {first.n:,}, d {first.d:,}, {first.metric}"
        return f"{first.grid}: {data_set}{where}{cap}: {count}"

    def as_dict(self) -> dict[str, Any]:
        """JSON values for the measuring process: contenders, for search each with its points."""
        first = self.cells[0]
        contenders: dict[tuple[Any, ...], dict[str, Any]] = {}
        for cell in self.cells:
            own = _values(cell, _CONTENDER[cell.task])
            contender = contenders.setdefault(tuple(own.values()), own)
            if cell.task == "search":
                contender.setdefault("points", []).append(_values(cell, _POINT))
        limits = {"repeats": self.repeats, "budget_s": self.budget_s}
        return {**_values(first, _DATA_SET), **limits, "contenders": list(contenders.values())}

    def cell_of(self, row: Mapping[str, Any]) -> Cell | None:
        """The cell with the settings of `row`; None if the job has no such cell."""
        return next((cell for cell in self.cells if all(row.get(n) == getattr(cell, n) for n in _OWN)), None)


def jobs_of(study: Study, cells: Iterable[Cell]) -> tuple[Job, ...]:
    """One job for each data set among `cells`, in their order."""
    groups: dict[tuple[Any, ...], list[Cell]] = {}
    for cell in cells:
        groups.setdefault(tuple(_values(cell, _DATA_SET).values()), []).append(cell)
    return tuple(
        Job(tuple(group), study.repeats, study.budget_s, study.job_timeout_s + study.budget_s * len(group))
        for group in groups.values()
    )


def read_message(line: bytes) -> tuple[str, Any]:
    """The kind, one of MESSAGES, and the content of a line. Raises ValueError for any other line."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        message = None
    if isinstance(message, dict) and len(message) == 1:
        ((kind, content),) = message.items()
        if kind in MESSAGES and isinstance(content, MESSAGES[kind]):
            return kind, content
    shown = line.decode(errors="replace").strip()[:100]
    raise ValueError(f"a line on stdout that is neither progress nor a row: {shown!r}")


def _values(cell: Cell, names: Iterable[str]) -> dict[str, Any]:
    return {name: getattr(cell, name) for name in names}
