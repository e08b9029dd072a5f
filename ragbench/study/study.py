"""A study: what is measured, under which load, with which settings. Values and their rules.

The text below a field is what editors show for its key. Reading the TOML is in study_file.py; turning a study into
points is in points.py.
"""

import math
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field, PlainValidator, WithJsonSchema, model_validator
from pydantic.config import JsonDict
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

from ragbench.files.mistakes import refuse, sentence
from ragbench.files.values import (
    TABLE,
    Count,
    Distinct,
    Filled,
    Listed,
    Name,
    Natural,
    OneOrMore,
    Positive,
    Text,
    Truth,
)
from ragbench.results.metrics import METRICS
from ragbench.results.slo import LIMITS, Slo
from ragbench.study.address import ca_file_mistakes, url_mistakes
from ragbench.study.arrivals import Span, parse_arrival
from ragbench.study.questions import load_questions

Value = str | int | float | bool

_SETTING = re.compile(r"[a-z][a-z0-9_]*")
# The harness asks for any free port, and a settings column must not hide a measured one.
_RESERVED_SETTINGS = frozenset({"port", *METRICS})
_MOST_REQUESTS = 5_000_000
_MOST_PROCESSES = 64


def command_mistakes(command: str) -> list[str]:
    """Why a command line is empty or cannot be split into words, a line each."""
    try:
        return [] if shlex.split(command) else ["command must not be empty"]
    except ValueError as error:
        return [f"command {command!r} cannot be split into words: {error}"]


def _command(text: str) -> str:
    for line in command_mistakes(text):
        raise sentence(line)
    return text


def _arrival(text: str) -> str:
    parse_arrival(text)
    return text


def _questions(name: str) -> str:
    load_questions(name)
    return name


def _slo(table: object) -> Slo:
    if not isinstance(table, Mapping | Slo):
        raise sentence(f"slo must be a table, as in {{ latency_p95_s = 1.0 }}, got {table!r}")
    return table if isinstance(table, Slo) else Slo.of(table)


def _setting_name(name: str) -> str:
    if not _SETTING.fullmatch(name):
        raise ValueError("a name is lower-case letters, digits and _, as in max_batch_size")
    if name in _RESERVED_SETTINGS:
        raise ValueError("the name is taken; write it into the command instead")
    return name


def _setting(value: object) -> object:
    if not isinstance(value, str | int | float | bool) or (isinstance(value, float) and not math.isfinite(value)):
        raise PydanticCustomError("setting_type", "no setting")
    return value


_SECONDS = {"type": "number", "exclusiveMinimum": 0, "description": "A limit in seconds."}
_SHARE = {**_SECONDS, "maximum": 1, "description": "The share of all requests that must keep latency_s."}
_SLO_SCHEMA = {
    "type": "object",
    "properties": {**dict.fromkeys(LIMITS, _SECONDS), "attainment": _SHARE},
    "additionalProperties": False,
}

Command = Annotated[Text, AfterValidator(_command)]
Arrival = Annotated[Text, AfterValidator(_arrival)]
Limits = Annotated[Slo, PlainValidator(_slo), WithJsonSchema(_SLO_SCHEMA)]
SettingName = Annotated[Text, AfterValidator(_setting_name)]
Setting = Annotated[Value, PlainValidator(_setting, json_schema_input_type=Value)]


@dataclass(frozen=True, slots=True, kw_only=True, config=TABLE)
class Workload:
    """What is asked."""

    questions: Annotated[Filled, AfterValidator(_questions)] = "facts"
    """A shipped set of questions, or the path of a JSONL file."""
    k: Count = 2
    """Documents wanted per question."""
    max_new_tokens: Count | None = None
    """The most tokens of an answer; absent: as the service decides."""
    same_answers: Truth = False
    """One text for all questions is what the service should give, and no error that came with status 200."""


@dataclass(frozen=True, slots=True, kw_only=True, config=TABLE)
class Load:
    """How it is asked: open loop, arrivals x rates; and closed loop, users who each wait for their answer."""

    arrivals: Listed[Arrival] = ("ideal", "poisson")
    """Open loop: how requests arrive, as in "poisson" or "gamma:cv=3"."""
    rates: Distinct[Positive] = ()
    """Open loop: requests per second, a load each."""
    concurrency: Distinct[Count] = ()
    """Closed loop: numbers of users who each wait for their answer, a load each."""
    duration_s: Positive | None = None
    """How long each load lasts; or give requests."""
    requests: Count | None = None
    """How many requests each load has; or give duration_s."""
    warmup_requests: Count = 8
    """Requests before each load that are not counted."""
    timeout_s: Positive = 30.0
    """The longest that a request may take, from when it was due."""
    ready_timeout_s: Positive = 120.0
    """The longest that a server may take to start, or to answer the warm-up before a point."""
    processes: Annotated[Count, Field(le=_MOST_PROCESSES)] = 1
    """Client processes that share the sending of each load."""
    deadline_s: Positive | None = None
    """Sent to the server with each request: the longest that its answer is of use."""
    restart: Truth = False
    """Each point has a server of its own, which remembers no load before."""

    @model_validator(mode="after")
    def _fits_together(self) -> "Load":
        refuse(self._mistakes())
        return self

    def _mistakes(self) -> Iterator[PydanticCustomError]:
        if not self.rates and not self.concurrency:
            wanted = "needs rates, e.g. rates = [5, 10, 20], or concurrency, e.g. concurrency = [8]"
            yield sentence(wanted, "rates", "concurrency")
        if (self.duration_s is None) == (self.requests is None):
            got = "neither" if self.requests is None else "both"
            yield sentence(f"exactly one of duration_s and requests is needed, got {got}", "duration_s", "requests")
            return
        for rate in self.rates:
            if (n := self.span.expected_requests(rate)) > _MOST_REQUESTS:
                most = f"more than the {_MOST_REQUESTS:,} one process can keep"
                yield sentence(f"a load of {n:.0f} requests ({rate:g}/s) is {most}", "rates", "duration_s", "requests")

    @property
    def span(self) -> Span:
        """How long one load lasts."""
        return Span(duration_s=self.duration_s, requests=self.requests)


_NEEDED: JsonDict = {"required": [], "oneOf": [{"required": ["command"]}, {"required": ["url"]}]}


@dataclass(frozen=True, slots=True, kw_only=True, config=ConfigDict(**TABLE, json_schema_extra=_NEEDED))
class Design:
    """One design under test: a command that prints a ready line, or the URL of a service that already runs."""

    command: Command | None = None
    """The command line that starts the server; "python" is the Python that runs ragbench."""
    url: Text | None = None
    """The address of a service that already runs, as in "http://127.0.0.1:8000"."""
    ca_file: Text | None = None
    """The certificates (PEM) to trust at an https URL, instead of those that the system trusts."""
    wire: Text | None = None
    """What the service speaks: a name of ragbench/load/wires; absent: rag, which is POST /rag."""
    settings: Mapping[SettingName, OneOrMore[Setting]] = field(default_factory=dict)
    """Flags of the command: max_batch_size = 8 is --max-batch-size 8. A list of values is a sweep."""
    load: Load
    """Keys here replace those of [load] for this design; duration_s and requests replace each other."""

    @model_validator(mode="after")
    def _fits_together(self) -> "Design":
        refuse(self._mistakes())
        return self

    def _mistakes(self) -> Iterator[PydanticCustomError]:
        if (self.command is None) == (self.url is None):
            got = "neither" if self.command is None else "both"
            yield sentence(f"exactly one of command and url is needed, got {got}", "command", "url")
            return
        if self.url is not None:
            yield from (sentence(line, "url") for line in url_mistakes(self.url))
        if self.ca_file is None:
            return
        if self.url is None or not self.url.lower().startswith("https:"):
            wanted = f"ca_file is for a url that begins with https://, got {self.url or self.command!r}"
            yield sentence(wanted, "ca_file", "url", "command")
        else:
            yield from (sentence(line, "ca_file") for line in ca_file_mistakes(self.ca_file))


@dataclass(frozen=True, slots=True, kw_only=True, config=TABLE)
class Head:
    """The study as a whole."""

    name: Name = "study"
    """Names the folder of results; absent: the name of the file."""
    title: Text = ""
    """The title of the report."""
    seeds: Listed[Natural] = (1,)
    """Each design is measured once a seed; a seed decides the schedules, the questions and the order."""
    slo: Limits | None = None
    """What the answers of a point should keep, as in { latency_p95_s = 1.0 }."""


@dataclass(frozen=True, slots=True, kw_only=True, config=TABLE)
class Study(Head):
    """Everything one run measures: each design under its load, once per seed."""

    designs: Mapping[Name, Design]
    workload: Workload = field(default_factory=Workload)
