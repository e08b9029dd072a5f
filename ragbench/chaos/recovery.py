"""How long a fault was felt. Pure.

A request is well served when it is answered within the p99 of the undisturbed first part, plus 50% of that or 250 ms,
whichever is more. A fault is recovered from at the first moment from which on, for 2 s, every request due is well
served, and those 2 s are over before the next fault and before the load's end.
"""

import math
from collections.abc import Sequence

import numpy as np

from ragbench.chaos.outcome import Exchange

CALM_S = 2.0
_SLACK_SHARE = 0.5
_SLACK_S = 0.25


def limit_s(exchanges: Sequence[Exchange], *, first_fault_s: float) -> float:
    """The latency up to which a request is well served; infinite where nothing was answered before the fault."""
    before = [each.latency_s for each in exchanges if each.row.due_s < first_fault_s and each.latency_s is not None]
    if not before:
        return math.inf
    p99_s = float(np.quantile(before, 0.99))
    return p99_s + max(_SLACK_SHARE * p99_s, _SLACK_S)


def recovery_s(exchanges: Sequence[Exchange], faults_s: Sequence[float], *, end_s: float) -> float | None:
    """The longest time from a fault until it was recovered from; None where one never was, or there was none.

    `exchanges` in the order in which they were due; `end_s`: the end of the load.
    """
    if not faults_s:
        return None
    limit = limit_s(exchanges, first_fault_s=faults_s[0])
    ends = [*faults_s[1:], end_s]
    times = [_after(exchanges, fault, until, limit) for fault, until in zip(faults_s, ends, strict=True)]
    felt = [time for time in times if time is not None]
    return max(felt) if len(felt) == len(times) else None


def _after(exchanges: Sequence[Exchange], fault_s: float, until_s: float, limit: float) -> float | None:
    """The calm begins at the fault itself or at a request that was ill served."""
    begin_s = fault_s
    is_empty = True  # no request is no proof
    for each in exchanges:
        due_s = each.row.due_s
        if not fault_s <= due_s < until_s:
            continue
        if due_s >= begin_s + CALM_S and not is_empty:
            break
        is_well_served = each.latency_s is not None and each.latency_s <= limit
        if is_well_served:
            is_empty = False
        else:
            begin_s, is_empty = due_s, True
    return begin_s - fault_s if not is_empty and begin_s + CALM_S <= until_s else None
