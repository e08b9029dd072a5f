"""Messages on the latency intervals that points of a study lack, before it is measured and after. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from ragbench.statistics.columns import WARM_UP_SHARE
from ragbench.statistics.latency_intervals import FIGURES, needed


def too_short(requests: Sequence[float]) -> list[str]:
    """A line per figure that cannot have an interval, from how many requests each point is to send.

    There are at most as many independent answers as requests; in a busy queue there are far fewer.
    """
    within = [(1 - WARM_UP_SHARE) * count for count in requests]
    short = {figure: sum(count < needed(figure) for count in within) for figure in FIGURES}
    return [
        f"latency {figure}: no interval in {count} of {len(within)} points; it needs at least "
        f"{needed(figure):,.0f} requests after the first tenth, more where a queue is busy"
        for figure, count in short.items()
        if count
    ]


def left_empty(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line per figure that lacks its interval in valid points (rows of summary.csv): by what factor they are short.

    Rows without a number of independent answers are left out.
    """
    judged = [row for row in rows if row["verdict"] == "valid" and row.get("independent_answers")]
    lines = []
    for figure in FIGURES:
        factors = [
            needed(figure) / row["independent_answers"] for row in judged if row[f"latency_{figure}_low_s"] is None
        ]
        short = sorted(factor for factor in factors if factor > 1)
        if short:
            ends = dict.fromkeys((_factor(short[0]), _factor(short[-1])))
            lines.append(
                f"latency {figure}: no interval in {len(short)} of {len(judged)} valid points; "
                f"they would have to be {' to '.join(ends)} times as long"
            )
    return lines


def _factor(factor: float) -> str:
    """Two digits: 1.2, 46, 2,500."""
    return f"{factor:.2g}" if factor < 10 else f"{float(f'{factor:.2g}'):,.0f}"
