"""The tables of the commands. No figure is computed here."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from numbers import Integral, Real
from operator import attrgetter
from typing import Any

from ragbench.measure.progress import offered
from ragbench.measure.sweep import Plan
from ragbench.results.metrics import Summary, bound
from ragbench.study.points import Launch, Point
from ragbench.terminal import Table, Text, minutes, styled

_STYLES = {
    **dict.fromkeys(("valid", "ok", "as named"), "green"),
    **dict.fromkeys(("saturated", "shedding", "skipped", "warn"), "yellow"),
    **dict.fromkeys(("failing", "failed", "fail", "NOT AS NAMED", "NOT REJECTED"), "red"),
    **dict.fromkeys(("client_limited", "contaminated"), "magenta"),
    "rejected": "green",  # of a process known to be bad
}
_WORD = 24  # characters of a word that is not broken
# A column is an attribute, as in `times.a_s`, or a key of its rows; or a heading and a function of a row.
Columns = Sequence[str | tuple[str, Callable[[Any], object]]]


def table_of(
    columns: Columns,
    rows: Sequence[Any],
    *,
    title: str,
    caption: str | None = None,
    style: Callable[[Any], str | None] = lambda row: None,
) -> Table:
    """A line per row, a heading per column: its name as in the CSV. `style`: of a row."""
    table = Table(title=title, caption=caption)
    cells = []
    for column in columns:
        heading, read = column if isinstance(column, tuple) else (column, partial(_read, column))
        values = [read(row) for row in rows]
        is_number = any(isinstance(value, Real) and not isinstance(value, bool) for value in values)
        heading, texts = heading.rpartition(".")[2].replace("_", " "), [_cell(value) for value in values]
        longest = max((len(word) for text in (heading, *texts) for word in str(text).split()), default=0)
        table.add_column(
            heading, justify="right" if is_number else "left", overflow="fold", min_width=min(longest, _WORD)
        )
        cells.append(texts)
    for row, *line in zip(rows, *cells, strict=True):
        table.add_row(*line, style=style(row))
    return table


def _read(name: str, row: Any) -> object:
    return row.get(name) if isinstance(row, Mapping) else attrgetter(name)(row)


def _cell(value: object) -> Text:
    """Four digits of a number, yes or no, nothing for what is absent; verdicts and other states in their colours."""
    if isinstance(value, bool):
        return styled("yes" if value else "no")
    if isinstance(value, Real) and value == value:  # noqa: PLR0124  nan
        number = float(value)
        return styled(f"{number:,.0f}" if isinstance(value, Integral) or abs(number) >= 1000 else f"{number:.4g}")
    text = "" if value is None or str(value) in ("nan", "<NA>") else str(value)
    return styled(text, _STYLES.get(text))


def points_table(manifests: Sequence[Mapping[str, Any]]) -> Table:
    """One line per whole point."""
    columns: Columns = [
        *("point", "verdict", ("load", offered), "throughput_rps", "goodput_rps"),
        *(
            "latency_p50_s",
            "latency_p95_s",
            "latency_p99_s",
            "batch_size",
            "exact_match",
            "f1",
            ("answered", _answered),
        ),
    ]
    table = table_of(columns, [manifest["summary"] for manifest in manifests], title=f"points: {len(manifests)}")
    table.columns[0].no_wrap = True
    return table


def reasons(manifests: Sequence[Mapping[str, Any]]) -> list[str]:
    """Why each point that is not valid is not, a line each."""
    rows = [manifest["summary"] for manifest in manifests]
    return [f"{row['point']}: {row['verdict']}: {row['verdict_reason']}" for row in rows if row["verdict"] != "valid"]


def plan_table(launches: Sequence[Launch], plan: Plan) -> Table:
    """One line per design and arrival: its loads, seeds, time under load, and how many of its points are whole."""
    groups: dict[tuple[str, str], list[Point]] = {}
    for point in (point for launch in launches for point in launch.points):
        groups.setdefault((point.configuration.name, point.arrival), []).append(point)
    columns: Columns = [
        ("design", lambda points: points[0].configuration.name),
        ("arrival", lambda points: points[0].arrival),
        ("loads", _loads),
        ("seeds", lambda points: " ".join(map(str, sorted({point.seed for point in points})))),
        ("points", len),
        ("whole", lambda points: sum(point.name in plan.whole for point in points)),
        ("changed", lambda points: sum(point.name in plan.changed for point in points)),
        ("load", lambda points: minutes(sum(point.expected_s for point in points))),
    ]
    return table_of(columns, [points for _, points in sorted(groups.items())], title="plan")


def _loads(points: Sequence[Point]) -> str:
    """The rates, or the numbers of users, of the points of one arrival."""
    rates = sorted({point.offered_rps for point in points if point.offered_rps is not None})
    users = sorted({point.concurrency for point in points if point.concurrency is not None})
    parts = {"requests/s": [f"{rate:g}" for rate in rates], "users": [str(n) for n in users]}
    return ", ".join(f"{' '.join(loads)} {unit}" for unit, loads in parts.items() if loads)


def load_table(summary: Summary, *, title: str) -> Table:
    """All figures of one load, one a line, each with its interval where it has one."""
    figures = {name: value for name, value in asdict(summary).items() if value is not None}
    low, high = (lambda name: figures.get(bound(name, "low"))), (lambda name: figures.get(bound(name, "high")))
    shown = [name for name in figures if not is_bound(name)]
    caption = "low, high: ends of the 95% interval"
    return table_of(
        [("figure", str), ("value", figures.get), ("low", low), ("high", high)], shown, title=title, caption=caption
    )


def is_bound(column: str) -> bool:
    """Whether a column is the end of another's interval, as in latency_p95_low_s."""
    return "_low_" in column or "_high_" in column


def _answered(row: Mapping[str, Any]) -> str:
    """The share answered in percent, never rounded up to 100."""
    share = row.get("answered_share")
    return "" if share is None else f"{math.floor(share * 1000) / 10:g}%"
