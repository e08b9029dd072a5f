"""A retrieval study: grids of searches and of k-means. Values and their rules.

Reading the TOML is in study_file.py; multiplying a grid out is in cells.py.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import product

from ragbench.study.study import at_least, command_mistakes, distinct, name_mistakes, positive, refuse

METRICS = {"search": ("ip", "cosine", "l2", "l1"), "kmeans": ("l2", "cosine")}  # by task
INDEXES = {  # -> the settings that concern it
    "flat": (),
    "ivf": ("nlist", "nprobe"),
    "ivf_pq": ("nlist", "nprobe", "m", "rerank"),
    "hnsw": ("ef_search",),
}
CHOICES = {
    "task": tuple(METRICS),
    "metric": METRICS["search"],
    "index": tuple(INDEXES),
    "device": ("cpu", "cuda"),
    "dtype": ("float32", "float16", "bfloat16"),
    "storage": ("memory", "file"),
}
DATA = re.compile(r"uniform|clustered|intrinsic:[1-9][0-9]*|.+\.npy")
_INTRINSIC = re.compile(r"intrinsic:([0-9]+)")
LEAST = {"rerank": 0}  # of the whole numbers; of the others 1


@dataclass(frozen=True, slots=True)
class Grid:
    """Settings and their values, to be multiplied out. `max_gib`: vectors (as float32) larger than that are left out.

    `nlist`, `nprobe`: of ivf and ivf_pq; `m`, `rerank`: of ivf_pq (sub-quantisers; times k candidates ranked again by
    their vectors, 0: none); `ef_search`: of hnsw; `k`, `batch`, `index`: of search; `clusters`,
    `iterations`: of kmeans.
    """

    name: str
    metric: tuple[str, ...]
    n: tuple[int, ...]
    d: tuple[int, ...]
    backend: tuple[str, ...]
    task: tuple[str, ...] = ("search",)
    data: tuple[str, ...] = ("uniform",)
    k: tuple[int, ...] = (10,)
    batch: tuple[int, ...] = (1,)
    index: tuple[str, ...] = ("flat",)
    device: tuple[str, ...] = ("cpu",)
    dtype: tuple[str, ...] = ("float32",)
    nlist: tuple[int, ...] = ()
    nprobe: tuple[int, ...] = ()
    m: tuple[int, ...] = ()
    rerank: tuple[int, ...] = (0,)
    ef_search: tuple[int, ...] = ()
    storage: tuple[str, ...] = ("memory",)
    memory_mib: tuple[int | None, ...] = (None,)
    clusters: tuple[int, ...] = ()
    iterations: tuple[int, ...] = (20,)
    max_gib: float | None = None

    def __post_init__(self) -> None:
        refuse(
            [
                *name_mistakes("grid", self.name),
                *(mistake for name, values in self._lists() for mistake in _list_mistakes(name, values)),
                *positive(max_gib=self.max_gib),
                *self._needed(),
                *self._metric_mistakes(),
                *self._misfits(),
            ]
        )

    def _lists(self) -> Iterator[tuple[str, tuple[object, ...]]]:
        for item in fields(self):
            values = getattr(self, item.name)
            if isinstance(values, tuple) and (values or item.name in NEEDED):
                yield item.name, values

    def _needed(self) -> list[str]:
        """What an index or a task of this grid cannot do without."""
        wanted = {("index", name): own for name, own in INDEXES.items() if "search" in self.task and name in self.index}
        if "kmeans" in self.task:
            wanted["task", "kmeans"] = ("clusters", "iterations")
        absent: dict[str, str] = {}
        for (setting, value), names in wanted.items():
            absent |= {name: f'{setting} = "{value}"' for name in names if not getattr(self, name)}
        return [f"{name} is needed for {because}" for name, because in absent.items()]

    def _metric_mistakes(self) -> list[str]:
        if "kmeans" not in self.task:
            return []
        known = METRICS["kmeans"]
        wrong = [name for name in self.metric if name in METRICS["search"] and name not in known]
        return [f"metric {name!r} is none of kmeans (known: {', '.join(known)})" for name in wrong]

    def _misfits(self) -> list[str]:
        """Values that no vectors of the grid's n and d can have."""
        top = min(self.n, default=None)
        mistakes = []
        for name, task in (("k", "search"), ("clusters", "kmeans")):
            if top is not None and task in self.task:
                mistakes += [f"{name} {x} is more than n {top}" for x in getattr(self, name) if x > top >= 1]
        if "search" in self.task and "ivf_pq" in self.index:
            parts = [(d, m) for d, m in product(self.d, self.m) if m >= 1 and d % m]
            mistakes += [f"d {d} is no multiple of m {m} (ivf_pq)" for d, m in parts]
        least = min(self.d, default=None)
        dimensions = [int(told.group(1)) for told in map(_INTRINSIC.fullmatch, self.data) if told]
        if least is not None and least >= 1:
            mistakes += [f"data intrinsic:{x} is more than d {least}" for x in dimensions if x > least]
        return mistakes


NEEDED = ("metric", "n", "d", "backend")


@dataclass(frozen=True, slots=True)
class Study:
    """Everything one run measures. `command` measures a job; `threads` of None: as many as there are cores.

    Each point is searched `repeats` times, but for no longer than `budget_s`. A job may take `job_timeout_s`, and
    `budget_s` more for each of its cells.
    """

    name: str
    grids: tuple[Grid, ...]
    title: str = ""
    command: str = "python -m servers.retrieval"
    repeats: int = 5
    budget_s: float = 30.0
    threads: int | None = None
    seed: int = 0
    job_timeout_s: float = 1800.0

    def __post_init__(self) -> None:
        refuse(
            [
                *name_mistakes("study", self.name),
                *command_mistakes(self.command),
                *at_least(1, repeats=self.repeats, threads=self.threads),
                *at_least(0, seed=self.seed),
                *positive(budget_s=self.budget_s, job_timeout_s=self.job_timeout_s),
                *distinct("grids", [grid.name for grid in self.grids]),
            ]
        )


def _list_mistakes(name: str, values: Sequence[object]) -> list[str]:
    return [*distinct(name, values), *(mistake for value in values for mistake in _value_mistakes(name, value))]


def _value_mistakes(name: str, value: object) -> list[str]:
    if name in CHOICES:
        known = CHOICES[name]
        return [] if value in known else [f"{name} {value!r} is unknown (known: {', '.join(known)})"]
    if name == "data" and not DATA.fullmatch(str(value)):
        return [f"data {value!r} is unknown (known: uniform, clustered, intrinsic:16, FILE.npy)"]
    if isinstance(value, int):
        return at_least(LEAST.get(name, 1), **{name: value})
    return [] if value != "" else [f"{name} must not be empty"]
