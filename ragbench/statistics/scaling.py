"""The cost and speed of a fleet's scaling: the columns of SCALING. Pure.

study/arrivals.py says when a load steps up.
"""

from collections.abc import Sequence

import numpy as np

from ragbench.results.records import ReplicaCount, Scaling


def scaling_figures(
    counts: Sequence[ReplicaCount], scaling: Scaling, *, duration_s: float, step_up_s: float | None, good: int
) -> dict[str, float | None]:
    """The figures of a fleet under a load of `duration_s`, `good` requests of which were answered within the SLO.

    A count holds until the next, the first from 0 on. A reaction is the first decision for more replicas than there
    were, those that drain not counted; capacity is there once as many are ready as ever.
    """
    changes = [(each.t_s, each.target - each.ready - each.starting) for each in scaling.decisions]
    directions = np.sign([change for _, change in changes if change])
    ends_s = [*(count.t_s for count in counts[1:]), np.inf]
    lengths_s = np.diff(np.clip([0.0, *ends_s], 0.0, duration_s))
    sizes = [count.ready + count.starting + count.draining for count in counts]
    paid = float(np.sum(lengths_s * sizes)) if counts else None
    most = max((count.ready for count in counts), default=0)
    since_s = np.inf if step_up_s is None else step_up_s
    reactions_s = (t_s - since_s for t_s, change in changes if t_s >= since_s and change > 0)
    full_s = (
        count.t_s for count, end_s in zip(counts, ends_s, strict=False) if count.ready == most and end_s > since_s
    )
    return {
        "replica_seconds": paid,
        "replica_s_per_1000_good": None if paid is None or not good else 1000 * paid / good,
        "reaction_s": next(reactions_s, None),
        "capacity_s": next((max(0.0, t_s - since_s) for t_s in full_s), None),
        "cold_start_s": float(np.mean([start.start_s for start in scaling.starts])) if scaling.starts else None,
        "reversals_per_min": float(np.count_nonzero(np.diff(directions)) * 60 / duration_s) if changes else None,
    }
