"""The cells of a study: every grid multiplied out. Measures nothing."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import product

from ragbench.retrieval.study import INDEXES, Grid, Study

_ALWAYS = ("data", "storage", "memory_mib", "metric", "n", "d", "backend", "device", "dtype")
_SEARCH = ("k", "batch")
_KMEANS = ("clusters", "iterations")


@dataclass(frozen=True, slots=True)
class Cell:
    """One search, or one training of k-means, that is measured. The fields are columns of summary.csv."""

    grid: str
    task: str
    data: str
    metric: str
    n: int
    d: int
    k: int | None
    batch: int | None
    backend: str
    index: str | None
    device: str
    dtype: str
    nlist: int | None
    nprobe: int | None
    m: int | None
    rerank: int | None
    ef_search: int | None
    storage: str
    memory_mib: int | None
    clusters: int | None
    iterations: int | None
    threads: int
    seed: int

    @property
    def gib(self) -> float:
        """The size of its vectors in float32."""
        return self.n * self.d * 4 / 2**30


SETTINGS = tuple(item.name for item in fields(Cell) if item.name != "grid")


def cells_of(study: Study, *, threads: int) -> tuple[Cell, ...]:
    """Every cell of every grid, in order. Settings that do not apply to a cell are None, so that all cells differ.

    `threads`: for a study that sets none.
    """
    shared = {"threads": study.threads or threads, "seed": study.seed}
    absent = dict.fromkeys(SETTINGS)
    return tuple(
        Cell(**{**absent, **shared, **settings, "grid": name})  # type: ignore[arg-type]
        for name, grid in study.grids.items()
        for settings in _settings(grid)
    )


def _settings(grid: Grid) -> Iterator[dict[str, str | int | None]]:
    for task in grid.task:
        for index in grid.index if task == "search" else (None,):
            names = (*_ALWAYS, *(_KMEANS if index is None else (*INDEXES[index], *_SEARCH)))
            for values in product(*(getattr(grid, name) for name in names)):
                yield {"task": task, "index": index, **dict(zip(names, values, strict=True))}
