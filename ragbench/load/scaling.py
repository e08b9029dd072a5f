"""A fleet's report on its scaling: decisions and starts since a load began. Sends nothing."""

import math
from collections.abc import Mapping
from dataclasses import astuple, replace
from typing import Any, TypeVar

import msgspec

from ragbench.files.csv_format import LARGEST
from ragbench.load.answer import MOST_COUNTED
from ragbench.results.records import Decision, Scaling, Start

_T = TypeVar("_T", Decision, Start)


def read_scaling(report: Mapping[str, Any], *, now_s: float) -> Scaling:
    """The decisions and starts of `report`, which has their ages, from the schedule's origin on, in order.

    Figures of a decision's window that began before the load are left out; without `window_s` all of them.
    """
    try:
        window_s = max(0.0, _finite(report.get("window_s")))
    except ValueError:
        window_s = math.inf
    decisions = (
        decision if decision.t_s >= window_s else replace(decision, queue_wait_p95_s=None, arrival_rps=None)
        for decision in _dated(report.get("decisions"), Decision, now_s)
    )
    return Scaling(tuple(decisions), tuple(_dated(report.get("starts"), Start, now_s)))


def _dated(entries: object, kind: type[_T], now_s: float) -> list[_T]:
    """The readable `entries` since the origin; an entry has the names of the fields of `kind`, and its age."""
    dated = []
    for entry in entries if isinstance(entries, list) else []:
        try:
            value = msgspec.convert(entry | {"t_s": now_s - _finite(entry["age_s"])}, kind)
        except (KeyError, TypeError, ValueError):
            continue
        numbers = [number for number in astuple(value) if isinstance(number, int | float)]
        # A float holds a count up to MOST_COUNTED too, and figures are computed in floats.
        if value.t_s <= now_s and all(0 <= n <= (MOST_COUNTED if isinstance(n, int) else LARGEST) for n in numbers):
            dated.append(value)
    return sorted(dated, key=lambda value: value.t_s)


def _finite(value: object) -> float:
    """A number whose sums are finite too; JSON in Python also has NaN and Infinity. Raises ValueError."""
    if not isinstance(value, int | float) or not abs(value) <= LARGEST:
        raise ValueError(f"not a number that figures can be computed from: {value!r}")
    return float(value)
