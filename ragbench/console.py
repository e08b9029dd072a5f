"""What the commands print: rich tables of points, of a plan and of one load. No figure is computed here."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from ragbench.points import Launch, Point
from ragbench.progress import minutes
from ragbench.stats import Summary
from ragbench.sweep import Plan

_STYLES = {"valid": "green", "saturated": "yellow", "client_limited": "magenta", "failed": "red"}


def points_table(manifests: Sequence[Mapping[str, Any]]) -> Table:
    """One line per whole point."""
    table = Table(title=f"points: {len(manifests)}")
    table.add_column("point", no_wrap=True)
    table.add_column("verdict")
    for column in ("offered/s", "throughput/s", "goodput/s", "p50 ms", "p99 ms", "batch", "exact", "not ok"):
        table.add_column(column, justify="right")
    for manifest in manifests:
        row = manifest["summary"]
        table.add_row(
            row["point"],
            f"[{_STYLES[row['verdict']]}]{row['verdict']}[/]",
            f"{row['offered_rps']:g}",
            f"{row['throughput_rps']:.1f}",
            f"{row['goodput_rps']:.1f}",
            _scaled(row["latency_p50_s"], 1000),
            _scaled(row["latency_p99_s"], 1000),
            _scaled(row["batch_size"], 1),
            _scaled(row["exact_match"], 1, digits=2),
            str(row["requests"] - row["completed"]),
        )
    return table


def plan_table(launches: Sequence[Launch], plan: Plan) -> Table:
    """One line per design and arrival: its rates, seeds, time under load, and how many of its points are whole."""
    table = Table("design", "arrival", "rates (requests/s)", "seeds")
    for column in ("points", "whole", "changed", "load"):
        table.add_column(column, justify="right")
    whole = {point.name for point in plan.whole}
    groups: dict[tuple[str, str], list[Point]] = {}
    for point in (point for launch in launches for point in launch.points):
        groups.setdefault((point.design.name, point.arrival), []).append(point)
    for (design, arrival), points in sorted(groups.items()):
        state = Counter("whole" if p.name in whole else "changed" if p.name in plan.changed else "new" for p in points)
        table.add_row(
            design,
            arrival,
            " ".join(f"{rate:g}" for rate in sorted({point.offered_rps for point in points})),
            " ".join(str(seed) for seed in sorted({point.seed for point in points})),
            str(len(points)),
            str(state["whole"]),
            str(state["changed"]),
            minutes(sum(point.expected_s for point in points)),
        )
    return table


def load_table(summary: Summary, *, title: str) -> Table:
    """All figures of one load, one a line."""
    table = Table("figure", title=title, show_header=False)
    table.add_column(justify="right")
    for name, value in asdict(summary).items():
        if isinstance(value, float):
            table.add_row(name, f"{value:.4g}" if abs(value) < 1000 else f"{value:.1f}")
        elif value is not None:
            table.add_row(name, str(value))
    return table


def _scaled(value: float | None, factor: float, *, digits: int = 1) -> str:
    return "" if value is None else f"{value * factor:.{digits}f}"
