"""Settings of an index: what to build, and on which device. Builds nothing."""

import os
from dataclasses import asdict, dataclass
from typing import Any

METRICS = {
    "ip": "inner product, larger is nearer",
    "cosine": "cosine of the angle, larger is nearer; 0 with a zero vector",
    "l2": "Euclidean distance, smaller is nearer",
    "l1": "sum of absolute differences (Manhattan), smaller is nearer",
}
KINDS = {
    "flat": "exact: every vector is compared",
    "ivf": "the vectors of the nprobe nearest clusters are compared",
    "ivf_pq": "the same on codes of a few bytes, the best of them then on the vectors themselves (FAISS alone)",
    "hnsw": "a walk along a graph of neighbours (FAISS alone)",
}
DTYPES = ("float32", "float16", "bfloat16")


class RetrieverMissing(RuntimeError):
    """The library or device of a backend is missing; the message, one line, says what to do."""


@dataclass(frozen=True, slots=True)
class Place:
    """`device`: cpu or cuda. `threads`: None is one for each core that this process may use."""

    device: str = "cpu"
    threads: int | None = None

    @property
    def workers(self) -> int:
        """Number of threads to start."""
        if self.threads is not None:
            return self.threads
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class Spec:
    """What to build. Raises ValueError that names the valid values.

    `dtype`: that of an exact search's scan; its answers are exact in any. `nlist`: number of clusters (None: four times
    the square root of n). `nprobe`: clusters that a query scans. `m`: bytes of a code. `rerank`: the best rerank * k
    codes are compared again by their vectors; 0: none. `ef_search`: candidates of an HNSW search.
    """

    metric: str = "ip"
    kind: str = "flat"
    dtype: str = "float32"
    nlist: int | None = None
    nprobe: int = 8
    m: int = 16
    rerank: int = 10
    ef_search: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        _require("metric", self.metric, METRICS)
        _require("index", self.kind, KINDS)
        _require("dtype", self.dtype, DTYPES)
        least = {"nlist": 1, "nprobe": 1, "m": 1, "rerank": 0, "ef_search": 1}
        for name, lowest in least.items():
            value = getattr(self, name)
            if value is not None and value < lowest:
                raise ValueError(f"{name} must be >= {lowest}, got {value}")
        if self.metric == "l1" and self.kind in {"ivf", "ivf_pq"}:
            raise ValueError(f"index {self.kind} wants metric ip, cosine or l2, got l1: its clusters are means")

    def lists(self, count: int) -> int:
        """Number of clusters for `count` vectors."""
        return min(count, self.nlist if self.nlist is not None else max(1, round(4 * count**0.5)))

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def _require(field: str, value: str, valid: Any) -> None:
    if value not in valid:
        raise ValueError(f"{field} must be one of {', '.join(valid)}, got {value!r}")
