"""What a fleet tells of its scaling: decisions and starts since a load began. Asks nothing."""

import math
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any, TypeVar

from ragbench.load.answer import MOST_COUNTED
from ragbench.results.records import Decision, Scaling, Start

_T = TypeVar("_T", Decision, Start)

_LARGEST = 1e15  # of a number that a service tells: a sum of many is finite


def read_scaling(told: Mapping[str, Any], *, now_s: float) -> Scaling:
    """The decisions and starts that `told` lists by their age, from the schedule's origin on, in order.

    What a decision saw of a window that began before the load is left out: of how far back it reaches `told` says.
    """
    decisions = _dated(told.get("decisions"), Decision, now_s)
    own = tuple(one if one.t_s >= _window_s(told) else replace(one, **_UNSEEN) for one in decisions)
    return Scaling(own, _dated(told.get("starts"), Start, now_s))


def _window_s(told: Mapping[str, Any]) -> float:
    """How far back what a decision saw reaches; without end where it is not told."""
    try:
        return max(0.0, _finite(told.get("window_s")))
    except (TypeError, ValueError, OverflowError):
        return math.inf


def _dated(told: object, kind: type[_T], now_s: float) -> tuple[_T, ...]:
    """Those of the `told` that can be read and came since the origin; each has the names of the fields of `kind`."""
    readers = [(item.name, _READERS[item.type]) for item in fields(kind)[1:]]
    found = []
    for each in told if isinstance(told, list) else []:
        try:
            one = kind(now_s - _finite(each["age_s"]), *(read(each[name]) for name, read in readers))
        except (KeyError, TypeError, ValueError, OverflowError):
            continue
        if 0 <= one.t_s <= now_s:
            found.append(one)
    return tuple(sorted(found, key=lambda one: one.t_s))


def _finite(value: object) -> float:
    """A number whose sums are finite too; Python also reads NaN and Infinity. Raises ValueError, TypeError."""
    if not isinstance(value, int | float) or not abs(value) <= _LARGEST:
        raise ValueError(f"not a number that figures can be computed from: {value!r}")
    return float(value)


def _count(value: Any) -> int:
    """A whole number that a float holds too, in which figures are computed. Raises ValueError, TypeError."""
    if not 0 <= int(value) <= MOST_COUNTED:
        raise ValueError(f"no count: {value!r}")
    return int(value)


_READERS: Mapping[Any, Callable[[Any], Any]] = {float: _finite, float | None: _finite, int: _count, str: str}
_UNSEEN: dict[str, Any] = {"queue_wait_p95_s": None, "arrival_rps": None}
