"""The tables of the commands: points, a plan, one load. No figure is computed here."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ragbench.measure.progress import offered
from ragbench.measure.sweep import Plan
from ragbench.results.metrics import Summary, bound
from ragbench.study.points import Launch, Point
from ragbench.terminal import Table, minutes, right, styled

_STYLES = {
    "valid": "green",
    "saturated": "yellow",
    "shedding": "yellow",
    "failing": "red",
    "client_limited": "magenta",
    "contaminated": "magenta",
    "failed": "red",
}
# Column -> (figure of the point, factor, decimals).
_POINTS = {
    "throughput/s": ("throughput_rps", 1, 1),
    "goodput/s": ("goodput_rps", 1, 1),
    "p50 ms": ("latency_p50_s", 1000, 1),
    "p95 ms": ("latency_p95_s", 1000, 1),
    "p99 ms": ("latency_p99_s", 1000, 1),
    "batch": ("batch_size", 1, 1),
    "exact": ("exact_match", 1, 2),
    "F1": ("f1", 1, 2),
}


def points_table(manifests: Sequence[Mapping[str, Any]]) -> Table:
    """One line per whole point."""
    table = Table("point", "verdict", *right("load", *_POINTS, "answered"), title=f"points: {len(manifests)}")
    table.columns[0].no_wrap = True
    for row in (manifest["summary"] for manifest in manifests):
        figures = [(row.get(name), factor, digits) for name, factor, digits in _POINTS.values()]
        cells = ("" if value is None else f"{value * factor:.{digits}f}" for value, factor, digits in figures)
        verdict = styled(row["verdict"], _STYLES[row["verdict"]])
        table.add_row(row["point"], verdict, offered(row), *cells, _share(row.get("answered_share")))
    return table


def reasons(manifests: Sequence[Mapping[str, Any]]) -> list[str]:
    """Why each point that is not valid is not, a line each."""
    rows = [manifest["summary"] for manifest in manifests]
    return [f"{row['point']}: {row['verdict']}: {row['verdict_reason']}" for row in rows if row["verdict"] != "valid"]


def plan_table(launches: Sequence[Launch], plan: Plan) -> Table:
    """One line per design and arrival: its loads, seeds, time under load, and how many of its points are whole."""
    table = Table("design", "arrival", "loads", "seeds", *right("points", "whole", "changed", "load"))
    groups: dict[tuple[str, str], list[Point]] = {}
    for point in (point for launch in launches for point in launch.points):
        groups.setdefault((point.configuration.name, point.arrival), []).append(point)
    for (design, arrival), points in sorted(groups.items()):
        state = Counter(
            "whole" if p.name in plan.whole else "changed" if p.name in plan.changed else "new" for p in points
        )
        seeds = " ".join(map(str, sorted({point.seed for point in points})))
        counts = (str(n) for n in (len(points), state["whole"], state["changed"]))
        load = minutes(sum(point.expected_s for point in points))
        table.add_row(design, arrival, _loads(points), seeds, *counts, load)
    return table


def _loads(points: Sequence[Point]) -> str:
    """The rates, or the numbers of users, of the points of one arrival."""
    rates = sorted({point.offered_rps for point in points if point.offered_rps is not None})
    users = sorted({point.concurrency for point in points if point.concurrency is not None})
    parts = {"requests/s": [f"{rate:g}" for rate in rates], "users": [str(n) for n in users]}
    return ", ".join(f"{' '.join(loads)} {unit}" for unit, loads in parts.items() if loads)


def load_table(summary: Summary, *, title: str) -> Table:
    """All figures of one load, one a line, each with its interval where it has one."""
    table = Table("figure", *right(""), "95% interval", title=title, show_header=False)
    figures = asdict(summary)
    for name, value in figures.items():
        bounds = [figures.get(bound(name, end)) for end in ("low", "high")]
        interval = "" if None in bounds else f"{_figure(bounds[0])} to {_figure(bounds[1])}"
        if value is not None and not is_bound(name):
            table.add_row(name, _figure(value), interval)
    return table


def is_bound(column: str) -> bool:
    """Whether a column is the end of another's interval, as in latency_p95_low_s."""
    return "_low_" in column or "_high_" in column


def _figure(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:.1f}"
    return str(value)


def _share(value: float | None) -> str:
    """In percent, never rounded up to 100."""
    return "" if value is None else f"{math.floor(value * 1000) / 10:g}%"
