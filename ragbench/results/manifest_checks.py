"""What a point's manifest must hold so that its figures can be computed: names, types, sizes. Reads no file.

A manifest may come from anybody.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, create_model, model_validator

from ragbench.files.csv_format import LARGEST
from ragbench.results.metrics import METRICS, Source, Verdict
from ragbench.results.slo import Slo

_NEEDED = ("name", "design", "settings", "arrival", "offered_rps", "seed")  # of its point
_LARGEST_SETTING = 1e300
_LONGEST_SHOWN = 60
_NO_NAME = re.compile(r"[/\0\n]|\A\.{0,2}\Z")


def is_plain_name(name: object) -> bool:
    """Whether `name` can name a file in a folder, and leads out of no folder."""
    return isinstance(name, str) and not _NO_NAME.search(name)


def manifest_mistake(manifest: Any, *, folder: str) -> str | None:
    """The first thing wrong with the manifest of the point in `folder`; None where it can be used."""
    if not isinstance(manifest, dict) or not {"point", "summary"} <= manifest.keys():
        return "is damaged: it has no point or no summary"
    point = manifest["point"]
    missing = [name for name in _NEEDED if not isinstance(point, dict) or name not in point]
    if missing:
        return f"is not of this ragbench: its point has no {', '.join(missing)}"
    try:
        _Manifest.model_validate(manifest)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        return f"is damaged: {ascii(place)[1:-1]}: {first['msg']}, got {_shown(first['input'])}"
    return next((f"is damaged: {line}" for line in _contradictions(point, manifest["summary"], folder)), None)


def _contradictions(point: Mapping[str, Any], summary: Mapping[str, Any], folder: str) -> Iterator[str]:
    if point["name"] != folder:
        yield f"its point is called {_shown(point['name'])}, and its folder {_shown(folder)}"
    names = {"point": "name", "design": "design", "configuration": "configuration", "arrival": "arrival"}
    for column, name in names.items():
        if summary.get(column, point.get(name)) != point.get(name):
            yield f"summary.{column} is {_shown(summary[column])}, and point.{name} {_shown(point.get(name))}"


def _slo(limits: dict[str, Any] | None) -> dict[str, Any] | None:
    if limits:
        Slo.of(limits)
    return limits


_Number = Annotated[float, Field(ge=-LARGEST, le=LARGEST)]
_Positive = Annotated[float, Field(gt=0, le=LARGEST)]
_Whole = Annotated[int, Field(ge=-LARGEST, le=LARGEST)]
_Count = Annotated[int, Field(ge=1, le=LARGEST)]
_Seed = Annotated[int, Field(ge=0)]
_Setting = str | bool | Annotated[float, Field(ge=-_LARGEST_SETTING, le=_LARGEST_SETTING)]
_Slo = Annotated[dict[str, Any] | None, AfterValidator(_slo)]
_CELLS: Mapping[str, Any] = {"text": str, "count": _Whole, "whole": _Whole, "truth": bool, "real": _Number}


class _Table(BaseModel):
    """Strict types; a key that is not named may have any value."""

    model_config = ConfigDict(strict=True, extra="allow")


class _Point(_Table):
    design: str
    configuration: str | None = None
    settings: dict[str, _Setting]
    arrival: str
    offered_rps: _Positive | None
    concurrency: _Count | None = None
    seed: _Seed
    duration_s: _Positive | None = None
    requests: _Count | None = None
    timeout_s: Annotated[float, Field(gt=0, le=_LARGEST_SETTING)] = 1.0
    slo: _Slo = None

    @model_validator(mode="after")
    def _has_one_load(self) -> Self:
        if (self.offered_rps is None) == (self.concurrency is None):
            raise ValueError("its point must have either offered_rps or concurrency")
        return self


class _Figures(_Table):
    """A figure that METRICS does not list is a number."""

    __pydantic_extra__: dict[str, _Number | None]


class _Hardware(_Table):
    cores: _Number | None = None
    hostname: str | None = None


_cells: dict[str, Any] = {name: (_CELLS[metric.kind] | None, None) for name, metric in METRICS.items()}
_cells |= {"seed": (_Seed, 0), "verdict": (Verdict, ...), "source": (Source | None, None)}
_Summary = create_model("_Summary", __base__=_Figures, **_cells)


class _Manifest(_Table):
    point: _Point
    summary: _Summary  # type: ignore[valid-type]
    slo: _Slo = None
    same_answers: bool | None = None
    git_commit: str | None = None
    code_sha256: str | None = None
    schedule_sha256: str | None = None
    hardware: _Hardware | None = None
    server_info: dict[str, Any] | None = None


def _shown(value: object) -> str:
    """A value in one line, shortened."""
    text = ascii(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."
