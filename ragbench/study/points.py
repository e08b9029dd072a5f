"""Study -> launches and points, in the order in which they are measured.

A launch is one start of one server; a point is one load on it. Nothing is started here.
"""

import itertools
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ragbench.files.toml_tables import StudyError
from ragbench.results.slo import Slo
from ragbench.study.arrivals import CLOSED, ArrivalError, parse_arrival
from ragbench.study.study import Design, Load, Study, Value, Workload

_ANSWER_S = 0.1  # a guess at what a closed loop's user waits, for the time left
_OF_LOAD = ("duration_s", "requests", "warmup_requests", "timeout_s", "processes", "deadline_s", "restart")
_LONGEST_NAME = 180  # leaves room for suffixes within the 255 bytes that file systems allow


@dataclass(frozen=True, slots=True)
class Configuration:
    """One design with one choice of settings: what a launch starts. `swept` names the settings that vary."""

    design: str
    settings: Mapping[str, Value]
    swept: tuple[str, ...] = ()
    command: str | None = None
    url: str | None = None
    ca_file: str | None = None
    wire: str | None = None

    @property
    def name(self) -> str:
        """The design and its swept settings, as in `batched-max_batch_size=8`."""
        return "-".join([self.design, *(f"{name}={_plain(self.settings[name])}" for name in self.swept)])

    def argv(self, python: str) -> list[str]:
        """The command line to start, with any free port and the settings as flags. `python` runs "python"."""
        words = shlex.split(self.command or "")
        if words[:1] == ["python"]:
            words[0] = python
        if not any(word == "--port" or word.startswith("--port=") for word in words):
            words += ["--port", "0"]
        for name, value in self.settings.items():
            words += ["--" + name.replace("_", "-"), _flag(value)]
        return words


@dataclass(frozen=True, slots=True)
class Point:
    """One load on one design: the unit that is measured, written and skipped as a whole.

    Open loop: `arrival` at `offered_rps`. Closed loop: `arrival` is `closed` and `concurrency` users wait in turn.
    """

    configuration: Configuration
    arrival: str
    offered_rps: float | None
    seed: int
    load: Load
    workload: Workload
    concurrency: int | None = None
    slo: Slo | None = None

    def __post_init__(self) -> None:
        assert (self.offered_rps is None) != (self.concurrency is None), "a loop is open or closed"
        assert (self.arrival == CLOSED) == (self.offered_rps is None), f"arrival {self.arrival!r} with no rate"

    @property
    def name(self) -> str:
        """The name of the point's folder, as in `batched-max_batch_size=8-poisson-60rps-seed1`."""
        load = f"{self.concurrency}users" if self.offered_rps is None else f"{_plain(self.offered_rps)}rps"
        return file_name(f"{self.configuration.name}-{self.arrival}-{load}-seed{self.seed}")

    @property
    def expected_s(self) -> float:
        """How long the load lasts on average, in seconds, without start and warm-up."""
        if self.offered_rps is not None:
            return self.load.span.expected_s(self.offered_rps)
        return self.load.span.expected_s((self.concurrency or 1) / _ANSWER_S)

    def as_dict(self) -> dict[str, Any]:
        """Every setting of the point, as the manifest keeps it."""
        return {
            "name": self.name,
            "configuration": self.configuration.name,
            "design": self.configuration.design,
            **{name: getattr(self.configuration, name) for name in ("command", "url", "ca_file")},
            **({"wire": self.configuration.wire} if self.configuration.wire else {}),
            "settings": dict(self.configuration.settings),
            **{name: getattr(self, name) for name in ("arrival", "offered_rps", "concurrency", "seed")},
            **{name: getattr(self.load, name) for name in _OF_LOAD},
            **{name: getattr(self.workload, name) for name in ("questions", "k", "max_new_tokens")},
            "slo": None if self.slo is None else self.slo.as_dict(),
        }


@dataclass(frozen=True, slots=True)
class Launch:
    """One start of a design and the points that run inside it, in order. All share one seed."""

    configuration: Configuration
    points: tuple[Point, ...]


def expand(study: Study) -> list[Launch]:
    """All launches of `study` in the order of measurement. Raises StudyError where two points get one name.

    Seeds are blocks: every design once before any design again, so that a sweep cut short keeps whole repeats. Within
    a block, designs and the loads inside each are shuffled by the seed, so that drift favours none of them.
    """
    launches = []
    for seed in study.seeds:
        choices = [each for name, design in study.designs.items() for each in _configurations(name, design)]
        rng = np.random.default_rng(np.random.SeedSequence(seed))
        for i in rng.permutation(len(choices)):
            configuration, load = choices[i]
            loads = [(a, r, None) for a in load.arrivals for r in load.rates]
            loads += [(CLOSED, None, users) for users in load.concurrency]
            points = [Point(configuration, a, r, seed, load, study.workload, n, study.slo) for a, r, n in loads]
            shuffled = tuple(points[j] for j in rng.permutation(len(points)))
            groups = [(point,) for point in shuffled] if load.restart else [shuffled]
            launches += [Launch(configuration, group) for group in groups]
    points = [point for launch in launches for point in launch.points]
    _check_names([point.name for point in points])
    _check_traces(points)
    return launches


def file_name(text: str) -> str:
    """`text` as the name of a file: what could lead elsewhere, or a shell would read, is _."""
    return re.sub(r"[^A-Za-z0-9_.=+-]", "_", text)


def configuration_label(point: Mapping[str, Any]) -> str:
    """The configuration of a point in words, as in `batched max_batch_size=8`: all settings, swept or not."""
    settings = [f"{name}={value}" for name, value in point["settings"].items()]
    return " ".join([point["design"], *settings])


def _configurations(name: str, design: Design) -> Iterator[tuple[Configuration, Load]]:
    swept = tuple(key for key, values in design.settings.items() if len(values) > 1)
    for values in itertools.product(*design.settings.values()):
        settings = dict(zip(design.settings, values, strict=True))
        configuration = Configuration(
            name, settings, swept, command=design.command, url=design.url, ca_file=design.ca_file, wire=design.wire
        )
        yield configuration, design.load


def _check_traces(points: Sequence[Point]) -> None:
    """Raise StudyError where a trace is missing, unreadable or too short, before anything is started."""
    traced = {(p.arrival, p.offered_rps, p.load.span) for p in points if p.arrival.startswith("trace:")}
    mistakes = set()
    for arrival, rate_rps, span in traced:
        try:
            parse_arrival(arrival).draw(rate_rps or 0.0, span, np.random.default_rng(0))
        except ArrivalError as error:
            mistakes.add(f"[load] arrivals: {error}")
    if mistakes:
        raise StudyError(sorted(mistakes))


def _check_names(names: Sequence[str]) -> None:
    mistakes = [f"two points would share the folder {name}" for name, n in Counter(names).items() if n > 1]
    mistakes += [f"the point name {name} is longer than {_LONGEST_NAME}" for name in names if len(name) > _LONGEST_NAME]
    if mistakes:
        raise StudyError(mistakes)


def _plain(value: Value) -> str:
    """A value as it stands in a name: 20, 2.5, true, round_robin."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return _flag(value)


def _flag(value: Value) -> str:
    """A value as it stands on a command line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else str(value)
