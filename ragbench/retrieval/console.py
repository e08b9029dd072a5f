"""The tables that `ragbench retrieval` prints, one per grid. Computes nothing."""

from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING

from ragbench.retrieval.cells import TEXT_SETTINGS
from ragbench.terminal import Table, Text, styled

if TYPE_CHECKING:
    import pandas as pd

_LEFT = (*TEXT_SETTINGS, "status")
_STYLES = {"ok": "green", "skipped": "yellow", "failed": "red"}


def grid_tables(summary: Path) -> list[Table]:
    """The tables of a summary.csv."""
    # pandas takes half a second to import: too long before a mistake in the study is reported.
    from ragbench.retrieval.results import by_grid  # noqa: PLC0415
    from ragbench.retrieval.rows import load_rows  # noqa: PLC0415

    return [_table(heading, rows) for heading, rows in by_grid(load_rows(summary))]


def _table(heading: str, rows: "pd.DataFrame") -> Table:
    """A grid's table. Reasons are too long for its cells: they stand below it, each once with its count."""
    reasons = rows["reason"].dropna().value_counts() if "reason" in rows else {}
    caption = "\n".join(f"{count} x {reason}" for reason, count in reasons.items())
    table = Table(title=heading, title_justify="left", caption=caption or None, caption_justify="left")
    shown = rows.drop(columns="reason", errors="ignore")
    for column in shown.columns:
        table.add_column(column, justify="left" if column in _LEFT else "right", overflow="fold")
    for values in shown.itertuples(index=False):
        table.add_row(*(_cell(value) for value in values))
    return table


def _cell(value: object) -> str | Text:
    text = str(value)
    if value is None or text in ("<NA>", "nan"):
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    if isinstance(value, Integral):
        return f"{int(value):,}"
    return styled(text, _STYLES.get(text))
