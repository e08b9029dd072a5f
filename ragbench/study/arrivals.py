"""When requests are due: evenly spaced, at random, in bursts, at a rate that steps or ramps, or as in a trace.

A rate, a span and a generator in, due times out. Pure but for `trace`, which reads its file.

To add a process, write one function of the same shape, its parameters keyword-only with defaults, and give it a line in
`ARRIVALS` and its law a line in arrival_checks.py. Written as text it is `name` or `name:parameter=value,...`, as in
`gamma:cv=3`.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragbench.study.trace import ArrivalError, Trace, read_trace

__all__ = [
    "ARRIVALS",
    "CLOSED",
    "Arrival",
    "ArrivalError",
    "ArrivalSpec",
    "Span",
    "Times",
    "parse_arrival",
    "step_up_s",
]

Times = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Span:
    """How long a load lasts: `duration_s` seconds, or exactly `requests` arrivals. One of the two is None."""

    duration_s: float | None = None
    requests: int | None = None

    def __post_init__(self) -> None:
        if (self.duration_s is None) == (self.requests is None):
            raise ValueError("exactly one of duration_s and requests is needed")
        if self.duration_s is not None and not 0 < self.duration_s < math.inf:
            raise ValueError(f"duration_s must be > 0, got {self.duration_s:g}")
        if self.requests is not None and self.requests < 1:
            raise ValueError(f"requests must be >= 1, got {self.requests}")

    def expected_s(self, rate_rps: float) -> float:
        """Mean length of the load at `rate_rps`, in seconds."""
        return self.duration_s if self.duration_s is not None else (self.requests or 0) / rate_rps

    def expected_requests(self, rate_rps: float) -> float:
        """Mean number of requests at `rate_rps`."""
        return self.requests if self.requests is not None else rate_rps * (self.duration_s or 0.0)


Arrival = Callable[..., Times]


def ideal(rate_rps: float, span: Span, rng: np.random.Generator) -> Times:
    """Evenly spaced: 0, 1/rate, 2/rate, ... (n,) s. Each is a quotient, not a running sum, so no error builds up."""
    del rng
    n = span.requests
    if n is None:
        # 20/s for 3 s is 60 arrivals, also where the product comes out a hair above a whole number.
        n = math.ceil(rate_rps * (span.duration_s or 0.0) * (1 - 1e-12))
    return np.arange(n, dtype=np.float64) / rate_rps


def poisson(rate_rps: float, span: Span, rng: np.random.Generator) -> Times:
    """Independent exponential gaps of mean 1/rate. -> (n,) s, increasing.

    Over a duration the count is random, as it is for real users; it is never rescaled to rate x duration.
    """
    return _renewal(lambda n: rng.exponential(1 / rate_rps, n), rate_rps, span)


def uniform(rate_rps: float, span: Span, rng: np.random.Generator) -> Times:
    """Instants anywhere in the span, all equally likely; as many as rate x duration, to the nearest whole. -> (n,) s.

    A Poisson process whose count is known: for runs that must be equally long and hold equally many requests.
    """
    n = span.requests if span.requests is not None else max(1, round(rate_rps * (span.duration_s or 0.0)))
    return np.sort(rng.random(n) * span.expected_s(rate_rps))


def gamma(rate_rps: float, span: Span, rng: np.random.Generator, *, cv: float = 2.0) -> Times:
    """Independent gamma gaps of mean 1/rate and coefficient of variation `cv`. -> (n,) s, increasing.

    cv 1 is Poisson, above it bursts, below it nearer to even. vLLM's `burstiness` is 1 / cv^2. The first gap is the
    rest of one under way at the origin (a length-biased gap, cut anywhere), so that the mean count over any duration is
    rate x duration (Cox, Renewal Theory, 1962, section 5.2).
    """
    shape = 1 / cv**2
    scale_s = 1 / (rate_rps * shape)
    first_s = rng.random() * rng.gamma(shape + 1, scale_s)
    return _renewal(lambda n: rng.gamma(shape, scale_s, n), rate_rps, span, first_s=first_s)


def on_off(rate_rps: float, span: Span, rng: np.random.Generator, *, on_s: float = 1.0, off_s: float = 3.0) -> Times:
    """Bursts: Poisson while on, nothing while off; both periods exponential, of mean `on_s` and `off_s`. -> (n,) s.

    An interrupted Poisson process in its steady state from the origin; rate / (share of time on) while on, so that the
    mean rate is the one offered. Its gaps are independent and hyperexponential (Kuczura, Bell System Technical Journal
    52, 1973).
    """
    share = on_s / (on_s + off_s)
    # On a clock that stands while the source is off, arrivals and ends of on periods are two Poisson processes.
    on_times = poisson(rate_rps / share, span, rng)
    last_s = float(on_times[-1]) if len(on_times) else 0.0
    ends = poisson(1 / on_s, Span(duration_s=last_s), rng) if last_s > 0 else np.empty(0)
    waits = rng.exponential(off_s, len(ends) + 1)
    waits[0] *= rng.random() >= share  # begins off, with the rest of that period still to come
    times = on_times + np.cumsum(waits)[np.searchsorted(ends, on_times, side="right")]
    return times if span.duration_s is None else times[times < span.duration_s]


def step(
    rate_rps: float, span: Span, rng: np.random.Generator, *, share: float = 0.2, up: float = 0.33, down: float = 0.67
) -> Times:
    """Poisson at a high rate from `up` to `down`, parts of the span, and at `share` of it before and after. -> (n,) s.

    The rate offered is the mean: high = rate / (share + (1 - share) (down - up)).
    """
    high = 1 / (share + (1 - share) * (down - up))
    before, until = high * share * up, high * (share * up + down - up)
    return _varying(lambda part: np.interp(part, [0, before, until, 1], [0, up, down, 1]), rate_rps, span, rng)


def ramp(rate_rps: float, span: Span, rng: np.random.Generator, *, share: float = 0.1) -> Times:
    """Poisson at a rate that rises evenly from `share` of its peak to the peak at mid-span, and falls back. -> (n,) s.

    The rate offered is the mean: peak = rate * 2 / (1 + share).
    """

    def moment(part: Times) -> Times:
        # Of the rise: (1 - share) x^2 + share x = part / peak, solved for x without a difference of near equals.
        area = np.minimum(part, 1 - part) * (1 + share) / 2
        rise = 2 * area / (share + np.sqrt(share**2 + 4 * (1 - share) * area))
        return np.where(part < 0.5, rise, 1 - rise)

    return _varying(moment, rate_rps, span, rng)


def trace(rate_rps: float, span: Span, rng: np.random.Generator, *, path: str) -> Times:
    """The arrivals of the CSV at `path` from its first, its clock scaled so that its mean rate is the one offered.

    The same at every seed: seeds then vary the questions alone. Raises ArrivalError where it is not long enough for the
    span.
    """
    del rng
    recorded = read_trace(path)
    times = recorded.offsets_s * recorded.scale(rate_rps)
    lasts_s = len(times) / rate_rps
    if (span.requests or 0) > len(times) or (span.duration_s or 0.0) > lasts_s * (1 + 1e-9):
        raise ArrivalError(
            f"{path} holds {len(times)} arrivals, which last {lasts_s:.6g} s at {rate_rps:g}/s; "
            f"wanted {span.expected_requests(rate_rps):.0f} arrivals in {span.expected_s(rate_rps):.6g} s"
        )
    return times[: span.requests] if span.requests is not None else times[times < (span.duration_s or 0.0)]


ARRIVALS: dict[str, Arrival] = {
    "ideal": ideal,
    "poisson": poisson,
    "uniform": uniform,
    "gamma": gamma,
    "on_off": on_off,
    "step": step,
    "ramp": ramp,
    "trace": trace,
}
CLOSED = "closed"  # what stands for an arrival where users wait for their answers: no schedule at all
_RANGES = {
    "cv": (0.01, 100.0),
    "on_s": (1e-3, 1e5),
    "off_s": (1e-3, 1e5),
    "share": (1e-3, 1.0),
    "up": (1e-3, 0.999),
    "down": (1e-3, 0.999),
}


@dataclass(frozen=True, slots=True)
class ArrivalSpec:
    """An arrival as written in a study: a name in ARRIVALS and its parameters. Made by `parse_arrival`."""

    name: str
    parameters: Mapping[str, float | str]

    def draw(self, rate_rps: float, span: Span, rng: np.random.Generator) -> Times:
        """The due times, (n,) s. Raises ArrivalError."""
        return ARRIVALS[self.name](rate_rps, span, rng, **self.parameters)

    @property
    def trace(self) -> Trace | None:
        """The trace that it replays, if any. Raises ArrivalError."""
        return read_trace(str(self.parameters["path"])) if self.name == "trace" else None


def parse_arrival(text: str) -> ArrivalSpec:
    """`poisson`, `gamma:cv=3`, `on_off:on_s=1,off_s=3`, `trace:path=x.csv` -> the spec. Raises ArrivalError."""
    name, colon, rest = text.partition(":")
    if name not in ARRIVALS:
        raise ArrivalError(f"{name!r} is unknown (known: {', '.join(ARRIVALS)})")
    known = _parameters(ARRIVALS[name])
    values: dict[str, float | str] = {}
    for pair in rest.split(",") if colon else ():
        key, equals, value = (part.strip() for part in pair.partition("="))
        if not equals or key not in known or key in values:
            raise ArrivalError(f"{text!r}: cannot read {pair!r}; wanted {_usage(name)}")
        values[key] = _value(text, key, value)
    missing = [key for key, default in known.items() if default is inspect.Parameter.empty and key not in values]
    if missing:
        raise ArrivalError(f"{text!r} lacks {', '.join(missing)}; wanted {_usage(name)}")
    whole = known | values
    if name == "step" and not whole["up"] < whole["down"]:
        raise ArrivalError(f"{text!r}: up must be below down, got {whole['up']} and {whole['down']}")
    return ArrivalSpec(name, values)


def step_up_s(arrival: str, lasts_s: float) -> float | None:
    """When in a load of `lasts_s` seconds its rate steps up; None where it does not step. Raises ArrivalError."""
    if arrival.partition(":")[0] != "step":
        return None
    spec = parse_arrival(arrival)
    return lasts_s * float((_parameters(step) | dict(spec.parameters))["up"])


def _parameters(arrival: Arrival) -> dict[str, Any]:
    """Its parameters and their defaults."""
    parameters = inspect.signature(arrival).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}


def _usage(name: str) -> str:
    """How to write an arrival, as in `gamma:cv=2.0`."""
    empty = inspect.Parameter.empty
    pairs = [f"{key}={'...' if value is empty else value}" for key, value in _parameters(ARRIVALS[name]).items()]
    return f"{name}:{','.join(pairs)}" if pairs else f"{name} alone"


def _value(text: str, key: str, value: str) -> float | str:
    if key == "path":
        if not value:
            raise ArrivalError(f"{text!r}: path must not be empty")
        return value
    low, high = _RANGES[key]
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not low <= number <= high:
        raise ArrivalError(f"{text!r}: {key} must be a number from {low:g} to {high:g}, got {value!r}")
    return number


def _varying(at: Callable[[Times], Times], rate_rps: float, span: Span, rng: np.random.Generator) -> Times:
    """A Poisson process of varying rate, by inversion: one of even rate on the clock that counts the arrivals expected.

    `at(part)` is the part of the span by which `part` of all arrivals are expected, both 0 to 1 (Cinlar, Introduction
    to Stochastic Processes, 1975, section 4.7). Given their number, arrivals are independent: hence `uniform`.
    """
    lasts_s = span.expected_s(rate_rps)
    even = uniform if span.duration_s is None else poisson
    due = np.sort(at(even(rate_rps, span, rng) / lasts_s)) * lasts_s  # sorted: rounding may swap neighbours
    return np.minimum(due, np.nextafter(lasts_s, 0.0))


def _renewal(draw_gaps: Callable[[int], Times], rate_rps: float, span: Span, *, first_s: float | None = None) -> Times:
    """Sum up gaps until `span` is over. `draw_gaps(n)` gives the next n gaps in seconds, of mean 1/rate.

    `first_s` is the first arrival, where that is not a whole gap after the origin.
    """
    end_s = span.duration_s or 0.0
    block = span.requests or max(16, math.ceil(rate_rps * end_s))
    gaps = draw_gaps(block)
    gaps[0] = gaps[0] if first_s is None else first_s
    times = np.cumsum(gaps)
    if span.requests is not None:
        return times
    while times[-1] < end_s:
        times = np.concatenate([times, times[-1] + np.cumsum(draw_gaps(block))])
    return times[times < end_s]
