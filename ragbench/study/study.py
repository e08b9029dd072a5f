"""A study: what is measured, under which load, with which settings. Values and their rules.

Reading the TOML is in study_file.py; turning a study into points is in points.py.
"""

import math
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from types import MappingProxyType

from ragbench.files.toml_tables import StudyError
from ragbench.results.metrics import METRICS
from ragbench.results.slo import Slo
from ragbench.study.address import ca_file_mistakes, url_mistakes
from ragbench.study.arrivals import ArrivalError, Span, parse_arrival

Value = str | int | float | bool

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_SETTING = re.compile(r"[a-z][a-z0-9_]*")
# The harness asks for any free port, and a settings column must not hide a measured one.
_RESERVED_SETTINGS = frozenset({"port", *METRICS})
_MOST_REQUESTS = 5_000_000
_MOST_PROCESSES = 64


@dataclass(frozen=True, slots=True)
class Workload:
    """What is asked. `questions`: a shipped set or a path; `k`: documents wanted per question.

    `same_answers`: one text for all questions is what the service should give, and no error that came with status 200.
    """

    questions: str = "facts"
    k: int = 2
    max_new_tokens: int | None = None
    same_answers: bool = False

    def __post_init__(self) -> None:
        refuse(
            [
                *at_least(1, k=self.k, max_new_tokens=self.max_new_tokens),
                *(["questions must not be empty"] if not self.questions else []),
            ]
        )


@dataclass(frozen=True, slots=True)
class Load:
    """How it is asked: open loop, arrivals x rates (requests/s); and closed loop, `concurrency` users each waiting.

    Each load lasts `duration_s`, or exactly `requests`. `timeout_s` counts from when a request was due.
    `deadline_s` is told the server with each request, as the longest its answer is of use. `ready_timeout_s` is the
    longest a server may take to start, or to answer the warm-up before a point. `processes` share the sending of each
    load. `restart`: each point has a server of its own, which remembers no load before.
    """

    arrivals: tuple[str, ...] = ("ideal", "poisson")
    rates: tuple[float, ...] = ()
    concurrency: tuple[int, ...] = ()
    duration_s: float | None = None
    requests: int | None = None
    warmup_requests: int = 8
    timeout_s: float = 30.0
    ready_timeout_s: float = 120.0
    processes: int = 1
    deadline_s: float | None = None
    restart: bool = False

    def __post_init__(self) -> None:
        refuse(
            [
                *self._loop_mistakes(),
                *(f"rates must be > 0, got {rate:g}" for rate in self.rates if rate <= 0),
                *positive(timeout_s=self.timeout_s, ready_timeout_s=self.ready_timeout_s, duration_s=self.duration_s),
                *positive(deadline_s=self.deadline_s),
                *(mistake for users in self.concurrency for mistake in at_least(1, concurrency=users)),
                *at_least(1, requests=self.requests, warmup_requests=self.warmup_requests),
                *self._span_mistakes(),
                *_from_to(1, _MOST_PROCESSES, processes=self.processes),
            ]
        )

    def _loop_mistakes(self) -> list[str]:
        if self.concurrency and not self.rates:
            return distinct("concurrency", self.concurrency)
        mistakes = [*distinct("arrivals", self.arrivals), *distinct("rates", self.rates)]
        for arrival in self.arrivals:
            try:
                parse_arrival(arrival)
            except ArrivalError as error:
                mistakes.append(f"arrivals: {error}")
        return mistakes + (distinct("concurrency", self.concurrency) if self.concurrency else [])

    def _span_mistakes(self) -> list[str]:
        if self.duration_s is None and self.requests is None:
            return ["exactly one of duration_s and requests is needed, got neither"]
        if self.duration_s is not None and self.requests is not None:
            return ["exactly one of duration_s and requests is needed, got both"]
        expected = {
            rate: (self.duration_s or 0) * rate if self.requests is None else self.requests for rate in self.rates
        }
        return [
            f"a load of {n:.0f} requests ({rate:g}/s) is more than the {_MOST_REQUESTS:,} one process can keep"
            for rate, n in expected.items()
            if n > _MOST_REQUESTS
        ]

    @property
    def span(self) -> Span:
        """How long one load lasts."""
        return Span(duration_s=self.duration_s, requests=self.requests)


@dataclass(frozen=True, slots=True)
class Design:
    """One design under test: a command that prints a ready line, or the URL of a service that already runs.

    `ca_file`: the certificates (PEM) to trust at an https URL, instead of those that the system trusts.
    `settings` maps each name to its values in the order given; more than one value is a sweep.
    """

    name: str
    load: Load
    command: str | None = None
    url: str | None = None
    settings: Mapping[str, tuple[Value, ...]] = field(default_factory=lambda: MappingProxyType({}))
    ca_file: str | None = None

    def __post_init__(self) -> None:
        refuse(
            [
                *name_mistakes("design", self.name),
                *self._target_mistakes(),
                *self._trust_mistakes(),
                *self._setting_mistakes(),
            ]
        )

    def _target_mistakes(self) -> list[str]:
        if (self.command is None) == (self.url is None):
            got = "neither" if self.command is None else "both"
            return [f"exactly one of command and url is needed, got {got}"]
        if self.command is not None:
            return command_mistakes(self.command)
        return [] if self.url is None else url_mistakes(self.url)

    def _trust_mistakes(self) -> list[str]:
        if self.ca_file is None:
            return []
        if self.url is None or not self.url.lower().startswith("https:"):
            return [f"ca_file is for a url that begins with https://, got {self.url or self.command!r}"]
        return ca_file_mistakes(self.ca_file)

    def _setting_mistakes(self) -> list[str]:
        mistakes = []
        for name, values in self.settings.items():
            if not _SETTING.fullmatch(name):
                mistakes.append(f"settings.{name}: a name is lower-case letters, digits and _, as in max_batch_size")
            if name in _RESERVED_SETTINGS:
                mistakes.append(f"settings.{name}: the name is taken; write it into the command instead")
            mistakes += distinct(f"settings.{name}", values)
        return mistakes


@dataclass(frozen=True, slots=True)
class Study:
    """Everything one run measures: each design under its load, once per seed. `slo`: what its answers should keep."""

    name: str
    designs: tuple[Design, ...]
    title: str = ""
    seeds: tuple[int, ...] = (1,)
    workload: Workload = field(default_factory=Workload)
    slo: Slo | None = None

    def __post_init__(self) -> None:
        refuse(
            [
                *name_mistakes("study", self.name),
                *distinct("seeds", self.seeds),
                *(f"seeds must be >= 0, got {seed}" for seed in self.seeds if seed < 0),
                *distinct("designs", [design.name for design in self.designs]),
            ]
        )


def command_mistakes(command: str) -> list[str]:
    """A line where a command line is empty or cannot be split into words."""
    try:
        return [] if shlex.split(command) else ["command must not be empty"]
    except ValueError as error:
        return [f"command {command!r} cannot be split into words: {error}"]


def field_names(kind: type) -> list[str]:
    """The names a dataclass takes, in order."""
    return [item.name for item in fields(kind)]


def refuse(mistakes: Sequence[str]) -> None:
    """Raise StudyError where there are any."""
    if mistakes:
        raise StudyError(mistakes)


def positive(**values: float | None) -> list[str]:
    """A line for each that is there and not a finite number above 0."""
    return [f"{name} must be > 0, got {x:g}" for name, x in values.items() if x is not None and not 0 < x < math.inf]


def at_least(least: int, **values: int | None) -> list[str]:
    """A line for each that is there and below `least`."""
    return [f"{name} must be >= {least}, got {x}" for name, x in values.items() if x is not None and x < least]


def _from_to(least: int, most: int, **values: int) -> list[str]:
    return [f"{name} must be from {least} to {most}, got {x}" for name, x in values.items() if not least <= x <= most]


def distinct(name: str, values: Sequence[object]) -> list[str]:
    """A line where there are none, and one for each that is there twice."""
    if not values:
        return [f"{name} must not be empty"]
    twice = [value for i, value in enumerate(values) if value in values[:i]]
    return [f"{name}: {value!r} is there twice" for value in twice]


def name_mistakes(what: str, name: str) -> list[str]:
    """A line where a name cannot be that of a folder."""
    if _NAME.fullmatch(name):
        return []
    return [f"{what} name {name!r}: use letters, digits, and . _ - (it names folders)"]
