"""The cost and speed of a fleet's scaling: replica-seconds, reactions, reversals. Pure.

study/arrivals.py says when a load steps up.
"""

from collections.abc import Sequence

import numpy as np

from ragbench.results.records import Decision, ReplicaCount, Start


def replica_seconds(counts: Sequence[ReplicaCount], *, duration_s: float) -> float | None:
    """Replicas in any state, integrated from 0 to `duration_s`: a count holds until the next, the first from 0 on."""
    if not counts:
        return None
    edges = np.clip([0.0, *(count.t_s for count in counts[1:]), duration_s], 0.0, duration_s)
    return float(np.sum(np.diff(edges) * [count.ready + count.starting + count.draining for count in counts]))


def reaction_s(decisions: Sequence[Decision], *, since_s: float | None) -> float | None:
    """From `since_s` to the first decision at or after it that asked for more replicas than there were."""
    if since_s is None:
        return None
    return next((d.t_s - since_s for d in decisions if d.t_s >= since_s and _change(d) > 0), None)


def capacity_s(counts: Sequence[ReplicaCount], *, since_s: float | None) -> float | None:
    """From `since_s` to the first count of as many ready replicas as ever in the point; None where there is none.

    0 where that many were ready at `since_s`: a count holds until the next.
    """
    if since_s is None:
        return None
    most = max((count.ready for count in counts), default=0)
    if [count.ready for count in counts if count.t_s <= since_s][-1:] == [most]:
        return 0.0
    return next((count.t_s - since_s for count in counts if count.t_s >= since_s and count.ready == most), None)


def cold_start_s(starts: Sequence[Start]) -> float | None:
    """Mean time from being started to ready."""
    return float(np.mean([start.start_s for start in starts])) if starts else None


def reversals_per_min(decisions: Sequence[Decision], *, duration_s: float) -> float | None:
    """How often per minute the changes of size turned from up to down or back."""
    if not decisions:
        return None
    directions = np.sign([change for change in map(_change, decisions) if change])
    return float(np.count_nonzero(np.diff(directions)) * 60 / duration_s)


def _change(decision: Decision) -> int:
    """By how many replicas a decision changed the fleet, in which draining replicas do not count."""
    return decision.target - decision.ready - decision.starting
