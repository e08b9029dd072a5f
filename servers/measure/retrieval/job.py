"""A job: one data set and the contenders that search or cluster it in turns. Measures nothing."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveFloat, PositiveInt, ValidationError

from servers.rag.retrieval import Spec


class JobError(ValueError):
    """A job is invalid; the message says why."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Point(_Strict):
    """How one index is searched."""

    k: PositiveInt
    batch: PositiveInt
    nprobe: PositiveInt | None = None
    rerank: NonNegativeInt | None = None
    ef_search: PositiveInt | None = None

    def settings(self) -> dict[str, int]:
        """Arguments of the index's search beside queries and k."""
        return self.model_dump(exclude={"k", "batch"}, exclude_none=True)


class Contender(_Strict):
    """A backend with an index, or with a number of clusters."""

    backend: str
    device: Literal["cpu", "cuda"] = "cpu"
    dtype: str = "float32"
    index: str | None = None
    nlist: PositiveInt | None = None
    m: PositiveInt | None = None
    clusters: PositiveInt | None = None
    iterations: PositiveInt | None = None
    points: tuple[Point, ...] = ()

    def spec(self, metric: str, seed: int) -> Spec:
        """The index. Raises ValueError."""
        return Spec(
            metric=metric, kind=self.index or "flat", dtype=self.dtype, nlist=self.nlist, m=self.m or 16, seed=seed
        )

    @property
    def name(self) -> str:
        """Its name in progress lines."""
        return " ".join(filter(None, (self.backend, self.index, self.device if self.device != "cpu" else None)))


class Job(_Strict):
    """`memory_mib` limits the memory of the process, `budget_s` the seconds that a point is repeated for."""

    grid: str = ""
    task: Literal["search", "kmeans"]
    data: str
    n: PositiveInt
    d: PositiveInt
    metric: str
    storage: Literal["memory", "file"] = "memory"
    memory_mib: PositiveInt | None = None
    seed: NonNegativeInt = 0
    threads: PositiveInt | None = None
    repeats: PositiveInt = 5
    budget_s: PositiveFloat = 30.0
    contenders: tuple[Contender, ...] = Field(min_length=1)

    def cell(self, contender: Contender, point: Point | None) -> dict[str, Any]:
        """The settings of one row."""
        about = self.model_dump(
            include={"task", "data", "metric", "n", "d", "storage", "memory_mib", "threads", "seed"}
        )
        about |= contender.model_dump(exclude={"points"})
        return about | (point.model_dump() if point else dict.fromkeys(Point.model_fields))


def read(path: Path) -> Job:
    """The job in a JSON file. Raises JobError."""
    try:
        return Job.model_validate_json(path.read_bytes())
    except OSError as error:
        raise JobError(f"{path}: {error.strerror}") from error
    except ValidationError as error:
        mistakes = "; ".join(f"{'.'.join(map(str, part['loc']))}: {part['msg']}" for part in error.errors())
        raise JobError(f"{path}: {mistakes}") from error
