"""A retrieval study: grids of searches and of k-means. Values and their rules.

The text below a field is what editors show for its key. Reading the TOML is in study_file.py; multiplying a grid out is
in cells.py.
"""

import re
from collections.abc import Iterator
from itertools import product
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, model_validator
from pydantic.config import JsonDict
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

from ragbench.files.mistakes import refuse, sentence
from ragbench.files.values import (
    TABLE,
    Choice,
    Count,
    Filled,
    Name,
    Natural,
    OneOrMore,
    Positive,
    Text,
)
from ragbench.study.study import Command

METRICS = {"search": ("ip", "cosine", "l2", "l1"), "kmeans": ("l2", "cosine")}  # by task
INDEXES = {  # -> the settings that concern it
    "flat": (),
    "ivf": ("nlist", "nprobe"),
    "ivf_pq": ("nlist", "nprobe", "m", "rerank"),
    "hnsw": ("ef_search",),
}
DATA = re.compile(r"uniform|clustered|intrinsic:[1-9][0-9]*|.+\.npy")
_INTRINSIC = re.compile(r"intrinsic:([0-9]+)")
_NEEDED = ("metric", "n", "d", "backend")  # of every grid
_SCHEMA: JsonDict = {"required": [*_NEEDED]}


def _data(text: str) -> str:
    if not DATA.fullmatch(text):
        raise ValueError(f"{text!r} is unknown (known: uniform, clustered, intrinsic:16, FILE.npy)")
    return text


Task = Annotated[Text, Choice(METRICS)]
Metric = Annotated[Text, Choice(METRICS["search"])]
Index = Annotated[Text, Choice(INDEXES)]
Device = Annotated[Text, Choice(["cpu", "cuda"])]
Dtype = Annotated[Text, Choice(["float32", "float16", "bfloat16"])]
Storage = Annotated[Text, Choice(["memory", "file"])]
Data = Annotated[Text, AfterValidator(_data)]


@dataclass(frozen=True, slots=True, kw_only=True, config=ConfigDict(**TABLE, json_schema_extra=_SCHEMA))
class Grid:
    """Settings and their values, to be multiplied out."""

    metric: OneOrMore[Metric] = ()
    """How near two vectors are: of search ip, cosine, l2 or l1; of kmeans l2 or cosine."""
    n: OneOrMore[Count] = ()
    """How many vectors."""
    d: OneOrMore[Count] = ()
    """Their dimensions."""
    backend: OneOrMore[Filled] = ()
    """What computes, as in "numpy" or "torch"."""
    task: OneOrMore[Task] = ("search",)
    """What is timed: a search, or a training of k-means."""
    data: OneOrMore[Data] = ("uniform",)
    """The vectors: uniform, clustered, intrinsic:16 (of so many dimensions in truth), or a file of .npy."""
    k: OneOrMore[Count] = (10,)
    """Of search: how many neighbours a query wants."""
    batch: OneOrMore[Count] = (1,)
    """Of search: how many queries at once."""
    index: OneOrMore[Index] = ("flat",)
    """Of search: how vectors are looked up; flat compares all."""
    device: OneOrMore[Device] = ("cpu",)
    """Where it is computed."""
    dtype: OneOrMore[Dtype] = ("float32",)
    """The numbers of a vector."""
    nlist: OneOrMore[Count] = ()
    """Of ivf and ivf_pq: how many lists the vectors are parted into."""
    nprobe: OneOrMore[Count] = ()
    """Of ivf and ivf_pq: how many lists a query looks into."""
    m: OneOrMore[Count] = ()
    """Of ivf_pq: how many sub-quantisers a vector has."""
    rerank: OneOrMore[Natural] = (0,)
    """Of ivf_pq: so many times k candidates are ranked again by their vectors; 0: none."""
    ef_search: OneOrMore[Count] = ()
    """Of hnsw: how many candidates a query keeps."""
    storage: OneOrMore[Storage] = ("memory",)
    """Where the vectors lie."""
    memory_mib: OneOrMore[Count | None] = (None,)
    """The most memory that a search of vectors in a file may take, in MiB."""
    clusters: OneOrMore[Count] = ()
    """Of kmeans: how many centres are wanted."""
    iterations: OneOrMore[Count] = (20,)
    """Of kmeans: how often the centres are moved."""
    max_gib: Positive | None = None
    """Vectors that are larger than this, as float32, are left out."""

    @model_validator(mode="after")
    def _fits_together(self) -> "Grid":
        refuse([*self._absent(), *self._misfits()])
        return self

    def _absent(self) -> Iterator[PydanticCustomError]:
        """Missing settings that a grid, its index or its task requires."""
        wanted: dict[str, str] = dict.fromkeys(_NEEDED, "")
        if "kmeans" in self.task:
            wanted |= dict.fromkeys(("clusters", "iterations"), ' for task = "kmeans"')
        for index in self.index if "search" in self.task else ():
            wanted |= dict.fromkeys(INDEXES[index], f' for index = "{index}"')
        for name, reason in wanted.items():
            if not getattr(self, name):
                yield sentence(f"{name} is needed{reason}", name)

    def _misfits(self) -> Iterator[PydanticCustomError]:
        """Values that contradict the task, n or d."""
        for name in self.metric if "kmeans" in self.task else ():
            if name not in (known := METRICS["kmeans"]):
                yield sentence(f"metric {name!r} is none of kmeans (known: {', '.join(known)})", "metric", "task")
        for name, task in (("k", "search"), ("clusters", "kmeans")):
            for x in getattr(self, name) if task in self.task and self.n else ():
                if x > (top := min(self.n)):
                    yield sentence(f"{name} {x} is more than n {top}", name, "n", "task")
        for d, m in product(self.d, self.m) if "search" in self.task and "ivf_pq" in self.index else ():
            if d % m:
                yield sentence(f"d {d} is no multiple of m {m} (ivf_pq)", "d", "m")
        for match in filter(None, map(_INTRINSIC.fullmatch, self.data if self.d else ())):
            if (x := int(match[1])) > (least := min(self.d)):
                yield sentence(f"data intrinsic:{x} is more than d {least}", "data", "d")


@dataclass(frozen=True, slots=True, kw_only=True, config=TABLE)
class Head:
    """The study as a whole."""

    name: Name = "study"
    """Names the folder of results; absent: the name of the file."""
    title: Text = ""
    """The title of the report."""
    command: Command = "python -m servers.retrieval"
    """The command line that measures a job; "python" is the Python that runs ragbench."""
    repeats: Count = 5
    """How often each point is searched."""
    budget_s: Positive = 30.0
    """But for no longer than so many seconds."""
    threads: Count | None = None
    """Threads of the CPU; absent: as many as there are cores."""
    seed: Natural = 0
    """Decides the vectors."""
    job_timeout_s: Positive = 1800.0
    """The longest that a job may take, and budget_s more for each of its cells."""


@dataclass(frozen=True, slots=True, kw_only=True, config=TABLE)
class Study(Head):
    """Everything one run measures."""

    grids: dict[Name, Grid]
