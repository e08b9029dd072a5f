"""What `ragbench retrieval` prints: a table per grid. No figure is computed here."""

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
    # pandas takes half a second to import, which a mistake in the study need not wait for.
    from ragbench.retrieval.results import by_grid  # noqa: PLC0415
    from ragbench.retrieval.rows import load_rows  # noqa: PLC0415

    return [_table(heading, rows) for heading, rows in by_grid(load_rows(summary))]


def _table(heading: str, rows: "pd.DataFrame") -> Table:
    """Reasons stand under the table, each once, since they are longer than its cells."""
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
    told = str(value)
    if value is None or told in ("<NA>", "nan"):
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    if isinstance(value, Integral):
        return f"{int(value):,}"
    return styled(told, _STYLES.get(told))
